// Capabilities, layers, logging out. Logging in: commands_authenticate.cc.
#include <utility>

#include "engine/imap/command_support.h"
#include "engine/imap/commands.h"

namespace imapmesh::imap {
namespace {

Command IdCommand() {
  Command command("ID");
  command.Text(" (\"name\" \"imapmesh\")");
  return command;
}

std::optional<Command> EnableCommand(const Capabilities& capabilities, const std::vector<std::string>& extensions) {
  Command command("ENABLE");
  bool any = false;
  for (const std::string& extension : extensions) {
    if (!capabilities.contains(extension)) continue;
    command.Text(" ").Text(extension);
    any = true;
  }
  if (!any || !capabilities.contains("ENABLE")) return std::nullopt;
  return command;
}

}  // namespace

asio::awaitable<absl::Status> Capability(Session& session) {
  if (!session.capabilities().empty()) co_return absl::OkStatus();
  Command command("CAPABILITY");
  co_return co_await RunPlain(session, std::move(command));
}

asio::awaitable<absl::StatusOr<std::map<std::string, std::string>>> Id(Session& session) {
  CO_RETURN_IF_ERROR(co_await RunPlain(session, IdCommand()));
  co_return session.server_id();
}

asio::awaitable<absl::Status> Enable(Session& session, std::vector<std::string> extensions) {
  std::optional<Command> command = EnableCommand(session.capabilities(), extensions);
  if (!command) co_return absl::OkStatus();
  co_return co_await RunPlain(session, *std::move(command));
}

asio::awaitable<absl::Status> Compress(Session& session) {
  if (!session.HasCapability("COMPRESS=DEFLATE")) co_return Missing("COMPRESS=DEFLATE");
  Command command("COMPRESS DEFLATE");
  co_return co_await RunPlain(session, std::move(command));
}

absl::StatusOr<SentSetUp> SendSetUp(Session& session, const SetUpRequest& request, const Capabilities& capabilities) {
  std::vector<Command> commands;
  if (request.id && capabilities.contains("ID")) commands.push_back(IdCommand());
  if (auto enable = EnableCommand(capabilities, request.extensions)) commands.push_back(*std::move(enable));
  if (request.namespaces && capabilities.contains("NAMESPACE")) commands.emplace_back("NAMESPACE");
  // The last one: what follows its OK is compressed (RFC 4978 section 3).
  if (request.compress && capabilities.contains("COMPRESS=DEFLATE")) commands.emplace_back("COMPRESS DEFLATE");
  SentSetUp sent;
  for (Command& command : commands) {
    std::string name = command.name();
    ASSIGN_OR_RETURN(std::string tag, session.Send(std::move(command)));
    sent.commands.emplace_back(std::move(tag), std::move(name));
  }
  return sent;
}

asio::awaitable<absl::StatusOr<SetUpResult>> AwaitSetUp(Session& session, SentSetUp sent) {
  SetUpResult result;
  ResponseHandler handler = [&result](Response& response) {
    if (auto* namespaces = std::get_if<NamespaceResponse>(&response)) result.namespaces = std::move(*namespaces);
    return absl::OkStatus();
  };
  absl::Status refused;
  for (const auto& [tag, name] : sent.commands) {
    const absl::StatusOr<StatusResponse> response = co_await session.AwaitCompletion(tag, handler);
    if (!response.ok()) co_return Annotate(response.status(), name);
    const bool accepted = response->kind == StatusKind::kOk;
    if (name == "COMPRESS DEFLATE") result.compressed = accepted;
    const bool needed = name == "ENABLE" || name == "NAMESPACE";
    if (!accepted && needed && refused.ok()) refused = RefusalStatus(name, *response);
  }
  if (!refused.ok()) co_return refused;
  co_return result;
}

asio::awaitable<absl::StatusOr<SetUpResult>> SetUp(Session& session, SetUpRequest request) {
  absl::StatusOr<SentSetUp> sent = SendSetUp(session, request, session.capabilities());
  if (!sent.ok()) co_return sent.status();
  co_return co_await AwaitSetUp(session, *std::move(sent));
}

asio::awaitable<absl::Status> StartTls(Session& session) {
  if (!session.HasCapability("STARTTLS")) co_return Missing("STARTTLS");
  Command command("STARTTLS");
  CO_RETURN_IF_ERROR(co_await RunPlain(session, std::move(command)));
  // RFC 3501 section 6.2.1: what was told in the clear may have been somebody else's words.
  session.ForgetCapabilities();
  co_return absl::OkStatus();
}

asio::awaitable<absl::Status> Noop(Session& session) {
  Command command("NOOP");
  co_return co_await RunPlain(session, std::move(command));
}

asio::awaitable<void> Logout(Session& session) {
  Command command("LOGOUT");
  const absl::StatusOr<std::string> tag = session.Send(std::move(command));
  if (tag.ok()) {
    const absl::Status ignored = co_await session.Flush();
    (void)ignored;
  }
  session.Close(absl::UnavailableError("logged out"));
}

}  // namespace imapmesh::imap
