#include "rpc/client_commands.h"

#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <thread>

#include "base/printable.h"
#include "rpc/json.h"
#include "rpc/paths.h"
#include "rpc/pem_files.h"
#include "rpc/print.h"
#include "rpc/translate.h"

namespace imapmesh {
namespace {

using std::chrono::seconds;
using std::chrono::system_clock;

constexpr int kMaxReplyBytes = 256 << 20;  // a plan of 100,000 items
constexpr auto kConnectPatience = seconds(5);
constexpr auto kReplyPatience = seconds(30);

absl::Status NobodyAnswers(const std::string& address) {
  return Error(absl::StatusCode::kUnavailable,
               "no coordinator answers at %s: is imapmeshd running there? Start it with imapmeshd --topology FILE; one "
               "that serves HOST:PORT wants TLS, see --tls-dir",
               address);
}

// The channel does not tell why it cannot be used; these are the usual reasons.
absl::Status NobodyAnswersByTls(const std::string& address) {
  return Error(
      absl::StatusCode::kUnavailable,
      "no coordinator answers at %s by TLS: is imapmeshd running and listening there, does the authority given "
      "(--tls-ca) vouch for it, and does its certificate name that host and is it still valid?",
      address);
}

// Null: none are given.
absl::StatusOr<std::shared_ptr<grpc::ChannelCredentials>> TlsCredentials(const ClientOptions& options) {
  TlsFiles files{options.tls_ca, options.tls_cert, options.tls_key};
  if (!options.tls_dir.empty()) {
    if (!files.empty()) return absl::InvalidArgumentError("--tls-dir stands for --tls-ca, --tls-cert and --tls-key");
    files.authority = options.tls_dir + "/ca.pem";
    files.certificate = options.tls_dir + "/client.pem";
    files.key = options.tls_dir + "/client.key";
  }
  if (files.empty()) return std::shared_ptr<grpc::ChannelCredentials>();
  ASSIGN_OR_RETURN(const TlsMaterial material, ReadTlsFiles(files));
  grpc::SslCredentialsOptions tls;
  tls.pem_root_certs = material.authority;
  tls.pem_cert_chain = material.own.certificate;
  tls.pem_private_key = material.own.key;
  return grpc::SslCredentials(tls);
}

void SetPatience(grpc::ClientContext& context) {
  context.set_deadline(system_clock::now() + kReplyPatience);
}

}  // namespace

Client::Client(std::shared_ptr<grpc::Channel> channel, bool json, std::ostream& out, std::ostream& error)
    : stub_(v1::Coordinator::NewStub(channel)), json_(json), out_(out), error_(error) {}

absl::StatusOr<std::unique_ptr<Client>> Client::Connect(const ClientOptions& options, std::ostream& out,
                                                        std::ostream& error) {
  std::string address = options.address;
  if (address.empty()) {
    ASSIGN_OR_RETURN(address, FindDaemonAddress());
  }
  if (address.rfind("unix:", 0) == 0) {
    std::error_code ignored;
    if (!std::filesystem::exists(address.substr(5), ignored)) return NobodyAnswers(address);
  } else if (address.find(':') == std::string::npos) {
    return Error(absl::StatusCode::kInvalidArgument, "--address %s: an address is unix:PATH or HOST:PORT", address);
  }
  std::shared_ptr<grpc::ChannelCredentials> credentials;
  if (address.rfind("unix:", 0) != 0) {
    ASSIGN_OR_RETURN(credentials, TlsCredentials(options));
  }
  const bool tls = credentials != nullptr;
  if (!tls) credentials = grpc::InsecureChannelCredentials();
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(kMaxReplyBytes);
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  // Over unix sockets and tunnels the name of the peer means nothing; HTTP/2 wants one all the same.
  if (address.rfind("unix:", 0) == 0) arguments.SetString(GRPC_ARG_DEFAULT_AUTHORITY, "localhost");
  const auto channel = grpc::CreateCustomChannel(address, credentials, arguments);
  const auto deadline = system_clock::now() + kConnectPatience;
  grpc_connectivity_state state = channel->GetState(true);
  while (state != GRPC_CHANNEL_READY) {
    const bool hopeless = state == GRPC_CHANNEL_TRANSIENT_FAILURE || state == GRPC_CHANNEL_SHUTDOWN;
    if (hopeless || !channel->WaitForStateChange(state, deadline)) {
      return tls ? NobodyAnswersByTls(address) : NobodyAnswers(address);
    }
    state = channel->GetState(true);
  }
  return std::unique_ptr<Client>(new Client(channel, options.json, out, error));
}

void Client::PrintJson(const google::protobuf::Message& message) {
  out_ << ToJson(message, JsonLayout::kOneLine) << std::endl;
}

int Client::Fail(const std::string& tried, const grpc::Status& status) {
  error_ << "imapmesh: " << tried << ": ";
  switch (status.error_code()) {
    case grpc::StatusCode::UNAVAILABLE:
    case grpc::StatusCode::CANCELLED:  // not by us: the server ends its calls so
      error_ << "the coordinator is stopping, went away, or refuses this client's certificate\n";
      return kExitFailed;
    case grpc::StatusCode::DEADLINE_EXCEEDED:
      error_ << "the coordinator did not answer in time\n";
      return kExitFailed;
    default:
      break;
  }
  const std::string message = status.error_message();
  std::string_view text = message;
  while (true) {  // the errors of a topology stand on lines of their own
    const size_t end = text.find('\n');
    error_ << Printable(text.substr(0, end), 4000) << "\n";
    if (end == std::string_view::npos) break;
    text.remove_prefix(end + 1);
  }
  const bool usage =
      status.error_code() == grpc::StatusCode::INVALID_ARGUMENT || status.error_code() == grpc::StatusCode::NOT_FOUND;
  return usage ? kExitUsage : kExitFailed;
}

int Client::Status(bool watch) {
  const bool redraw = watch && !json_ && isatty(STDOUT_FILENO) != 0;
  while (true) {
    grpc::ClientContext context;
    SetPatience(context);
    v1::GetStatusRequest request;
    request.set_omit_mailboxes(watch && !json_);
    v1::GetStatusReply reply;
    const grpc::Status status = stub_->GetStatus(&context, request, &reply);
    if (!status.ok()) return Fail("status", status);
    if (json_) {
      PrintJson(reply);
    } else {
      if (redraw) out_ << "\x1b[H\x1b[J";
      out_ << StatusText(reply) << std::flush;
    }
    if (!watch) return kExitDone;
    if (!out_) return kExitDone;  // whoever read is gone
    if (!redraw && !json_) out_ << "\n";
    std::this_thread::sleep_for(seconds(1));
  }
}

int Client::Topology() {
  grpc::ClientContext context;
  SetPatience(context);
  v1::GetTopologyReply reply;
  const grpc::Status status = stub_->GetTopology(&context, v1::GetTopologyRequest(), &reply);
  if (!status.ok()) return Fail("topology", status);
  if (json_) {
    PrintJson(reply);
  } else {
    out_ << TopologyText(reply);
  }
  return kExitDone;
}

int Client::Sync(const v1::SyncRequest& scope) {
  grpc::ClientContext context;
  const auto stream = stub_->Sync(&context, scope);
  ProgressDisplay display(stderr, isatty(STDERR_FILENO) != 0);
  v1::SyncReply reply;
  v1::SyncReport report;
  bool reported = false;
  while (stream->Read(&reply)) {
    if (reply.has_progress() && !json_) display.Show(reply.progress());
    if (reply.has_report()) {
      report = reply.report();
      reported = true;
    }
  }
  display.Clear();
  const grpc::Status status = stream->Finish();
  if (!status.ok()) return Fail("sync", status);
  if (!reported) return Fail("sync", grpc::Status(grpc::StatusCode::INTERNAL, "the coordinator sent no report"));
  if (json_) {
    PrintJson(report);
  } else {
    out_ << ReportText(report);
  }
  return ExitCode(report);
}

int Client::Plan(bool explain) {
  grpc::ClientContext context;
  v1::PlanReply reply;
  const grpc::Status status = stub_->Plan(&context, v1::PlanRequest(), &reply);
  if (!status.ok()) return Fail("plan", status);
  if (json_) {
    PrintJson(reply);
    return kExitDone;
  }
  grpc::ClientContext another;
  SetPatience(another);
  v1::GetStatusRequest request;
  request.set_omit_mailboxes(true);
  v1::GetStatusReply now;
  const grpc::Status known = stub_->GetStatus(&another, request, &now);
  if (!known.ok()) return Fail("plan", known);
  const std::string waiting = WaitingText(now);
  if (reply.items().empty() && !waiting.empty()) {
    out_ << "Nothing can be done now.\n" << waiting;
  } else {
    out_ << (explain ? ExplainedPlanText(reply) : PlanText(reply)) << waiting;
  }
  return kExitDone;
}

int Client::Events() {
  grpc::ClientContext context;
  const auto stream = stub_->WatchEvents(&context, v1::WatchEventsRequest());
  v1::Event event;
  while (out_ && stream->Read(&event)) {
    if (json_) {
      PrintJson(event);
    } else {
      out_ << EventLine(event) << std::endl;
    }
  }
  if (!out_) context.TryCancel();
  const grpc::Status status = stream->Finish();
  if (!out_ || status.ok()) return kExitDone;
  return Fail("events", status);
}

int Client::Conflicts(bool open_only) {
  grpc::ClientContext context;
  v1::ListConflictsRequest request;
  request.set_open_only(open_only);
  v1::ListConflictsReply reply;
  const grpc::Status status = stub_->ListConflicts(&context, request, &reply);
  if (!status.ok()) return Fail("conflicts", status);
  if (json_) {
    PrintJson(reply);
  } else {
    out_ << ConflictsText(reply);
  }
  return kExitDone;
}

int Client::ShowConflict(int64_t id) {
  grpc::ClientContext context;
  v1::ListConflictsRequest request;
  request.set_id(id);
  v1::ListConflictsReply reply;
  const grpc::Status status = stub_->ListConflicts(&context, request, &reply);
  if (!status.ok()) return Fail("conflicts show", status);
  if (json_) {
    PrintJson(reply);
  } else {
    for (const v1::Conflict& conflict : reply.conflicts()) out_ << ConflictText(conflict);
  }
  return kExitDone;
}

int Client::ResolveConflict(const v1::ResolveConflictRequest& request) {
  grpc::ClientContext context;
  v1::ResolveConflictReply reply;
  const grpc::Status status = stub_->ResolveConflict(&context, request, &reply);
  if (!status.ok()) return Fail("conflicts resolve", status);
  if (json_) {
    PrintJson(reply);
  } else {
    out_ << ConflictText(reply.conflict());
  }
  return kExitDone;
}

int Client::Trace(const std::string& message_id) {
  grpc::ClientContext context;
  v1::TraceMessageRequest request;
  request.set_message_id(message_id);
  v1::TraceMessageReply reply;
  const grpc::Status status = stub_->TraceMessage(&context, request, &reply);
  if (!status.ok()) return Fail("trace", status);
  if (json_) {
    PrintJson(reply);
  } else {
    out_ << TraceText(reply);
  }
  return kExitDone;
}

int Client::Pause(const std::string& edge) {
  grpc::ClientContext context;
  v1::PauseEdgeRequest request;
  request.set_edge(edge);
  v1::PauseEdgeReply reply;
  const grpc::Status status = stub_->PauseEdge(&context, request, &reply);
  if (!status.ok()) return Fail("pause " + edge, status);
  if (json_) {
    PrintJson(reply);
  } else {
    out_ << reply.edge() << " is paused.\n";
  }
  return kExitDone;
}

int Client::Resume(const std::string& edge) {
  grpc::ClientContext context;
  v1::ResumeEdgeRequest request;
  request.set_edge(edge);
  v1::ResumeEdgeReply reply;
  const grpc::Status status = stub_->ResumeEdge(&context, request, &reply);
  if (!status.ok()) return Fail("resume " + edge, status);
  if (json_) {
    PrintJson(reply);
  } else {
    out_ << reply.edge() << " is resumed.\n";
  }
  return kExitDone;
}

int Client::Reload() {
  grpc::ClientContext context;
  v1::ReloadTopologyReply reply;
  const grpc::Status status = stub_->ReloadTopology(&context, v1::ReloadTopologyRequest(), &reply);
  if (!status.ok()) return Fail("reload", status);
  if (json_) {
    PrintJson(reply);
    return kExitDone;
  }
  for (const std::string& warning : reply.warnings()) error_ << "warning: " << Printable(warning, 2000) << "\n";
  out_ << "Reloaded " << reply.name() << ": " << reply.replicas() << " replicas, " << reply.edges() << " edges.\n";
  return kExitDone;
}

}  // namespace imapmesh
