// libFuzzer over the layers between gRPC's transport and the engine, without the network: requests as they come off the
// wire, the engine's values with hostile texts as replies, and what the client prints of any reply.
//
// The first byte chooses. Checked: a reply always serialises as valid protobuf, JSON and printed text hold nothing that
// a terminal would obey.
#include <google/protobuf/message.h>
#include <google/protobuf/stubs/logging.h>

#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "graph/load.h"
#include "rpc/control.pb.h"
#include "rpc/json.h"
#include "rpc/print.h"
#include "rpc/translate.h"

namespace {

using namespace imapmesh;  // NOLINT: a program of one file

void Require(bool holds) {
  if (!holds) std::abort();
}

void CheckShown(std::string_view text) {
  for (const char c : text) Require((static_cast<unsigned char>(c) >= 0x20 || c == '\n') && c != 0x7f);
}

const Graph& SomeGraph() {
  static const auto loaded = LoadTopologyText(
      "name: \"g\" replica { name: \"a\" tunnel { command: \"a\" } } replica { name: \"b\" tunnel { command: \"b\" } } "
      "edge { a: \"a\" b: \"b\" }",
      "g", "/");
  return *loaded->graph;
}

void CheckReply(const google::protobuf::Message& reply) {
  std::string bytes;
  Require(reply.SerializeToString(&bytes));
  CheckShown(ToJson(reply, JsonLayout::kOneLine));
  CheckShown(ToJson(reply, JsonLayout::kIndented));
}

// A client gets a reply from anybody.
template <typename Reply, typename Show>
void Receive(std::string_view bytes, Show show) {
  Reply reply;
  if (!reply.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) return;
  CheckReply(reply);
  CheckShown(show(reply));
}

// The daemon gets a request from anybody: what it names is looked up.
void Request(std::string_view bytes) {
  v1::SyncRequest sync;
  if (sync.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
    SomeGraph().FindEdge(sync.edge());
    SomeGraph().FindReplica(sync.replica());
    CheckReply(sync);
  }
  v1::PauseEdgeRequest pause;
  if (pause.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) SomeGraph().FindEdge(pause.edge());
}

// The engine's values with the server's words in every place.
void Translate(std::string_view bytes) {
  const std::string text(bytes);
  StatusSnapshot status;
  ReplicaReport replica;
  replica.last_error = replica.server.software = text;
  replica.server.capabilities.assign(2, text);
  status.replicas.assign(1, replica);
  EdgeReport edge;
  edge.last_error = text;
  status.edges.assign(1, edge);
  MailboxReport mailbox;
  mailbox.mailbox = text;
  mailbox.copies.resize(1);
  mailbox.copies[0].name_here = text;
  status.mailboxes.assign(1, mailbox);
  ProblemReport problem;
  problem.mailbox = problem.operation = problem.message = problem.answer = problem.remedy = text;
  status.problems.assign(1, problem);
  v1::GetStatusReply reply;
  ToProto(status, true, reply);
  CheckReply(reply);
  CheckShown(StatusText(reply));
  Event event;
  event.mailbox = event.text = text;
  v1::Event event_message;
  ToProto(event, event_message);
  CheckReply(event_message);
  CheckShown(EventLine(event_message));
  PlanItem item;
  item.mailbox = item.message_id = item.detail = text;
  v1::PlanReply plan;
  ToProto(item, *plan.add_items());
  CheckReply(plan);
  CheckShown(PlanText(plan));
  ConflictReport conflict;
  conflict.mailbox = conflict.message_id = conflict.subject = text;
  conflict.change_a = conflict.change_b = conflict.outcome = text;
  v1::ListConflictsReply conflicts;
  ToProto(conflict, *conflicts.add_conflicts());
  CheckReply(conflicts);
  CheckShown(ConflictsText(conflicts));
}

}  // namespace

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  google::protobuf::SetLogHandler(nullptr);  // it tells of every string that is no UTF-8
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  switch (data[0] % 8) {
    case 0:
      Request(bytes);
      break;
    case 1:
      Receive<v1::GetStatusReply>(bytes, StatusText);
      break;
    case 2:
      Receive<v1::PlanReply>(bytes, PlanText);
      break;
    case 3:
      Receive<v1::ListConflictsReply>(bytes, ConflictsText);
      break;
    case 4:
      Receive<v1::SyncReport>(bytes, ReportText);
      break;
    case 5:
      Receive<v1::GetTopologyReply>(bytes, TopologyText);
      break;
    case 6:
      Receive<v1::Event>(bytes, EventLine);
      break;
    default:
      Translate(bytes);
  }
  return 0;
}
