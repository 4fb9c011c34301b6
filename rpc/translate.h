// The engine's plain values as the messages of control.proto.
//
// rpc/service.cc and the daemon's report use it. Every text that came from a mail server leaves here printable, which
// also makes it the valid UTF-8 that protobuf demands. Pure; any thread.
#ifndef IMAPMESH_RPC_TRANSLATE_H_
#define IMAPMESH_RPC_TRANSLATE_H_

#include <optional>
#include <vector>

#include "engine/sync/control.h"
#include "rpc/control.pb.h"

namespace imapmesh {

// Passwords replaced by "(hidden)".
v1::GetTopologyReply DescribeTopology(const Graph& graph);

void ToProto(const StatusSnapshot& status, bool with_mailboxes, v1::GetStatusReply& reply);
void ToProto(const Event& event, v1::Event& message);
void ToProto(const Progress& progress, v1::SyncProgress& message);
void ToProto(const RunReport& report, v1::SyncReport& message);
void ToProto(const PlanItem& item, v1::PlanItem& message);
void ToProto(const ConflictReport& conflict, v1::Conflict& message);
void ToProto(const TracedMessage& traced, v1::TracedMessage& message);
// Nothing for UNDECIDED and what this version does not know.
std::optional<Decision> FromProto(v1::ResolveConflictRequest::Decision decision);

// CONTRACT.md section 2: 0, 1, 3 or 4.
int ExitCode(const v1::SyncReport& report);

}  // namespace imapmesh

#endif  // IMAPMESH_RPC_TRANSLATE_H_
