// Capabilities, layers, logging out. Logging in: commands_authenticate.cc.
#include <chrono>
#include <utility>

#include "engine/imap/command_support.h"
#include "engine/imap/commands.h"

namespace imapmesh::imap {
namespace {

constexpr Duration kLogoutLimit = std::chrono::seconds(2);

}  // namespace

asio::awaitable<absl::Status> Capability(Session& session) {
  if (!session.capabilities().empty()) co_return absl::OkStatus();
  Command command("CAPABILITY");
  co_return co_await RunPlain(session, std::move(command));
}

asio::awaitable<absl::StatusOr<std::map<std::string, std::string>>> Id(Session& session) {
  Command command("ID");
  command.Text(" (\"name\" \"imapmesh\")");
  CO_RETURN_IF_ERROR(co_await RunPlain(session, std::move(command)));
  co_return session.server_id();
}

asio::awaitable<absl::Status> Enable(Session& session, std::vector<std::string> extensions) {
  Command command("ENABLE");
  bool any = false;
  for (const std::string& extension : extensions) {
    if (!session.HasCapability(extension)) continue;
    command.Text(" ").Text(extension);
    any = true;
  }
  if (!any || !session.HasCapability("ENABLE")) co_return absl::OkStatus();
  co_return co_await RunPlain(session, std::move(command));
}

asio::awaitable<absl::Status> Compress(Session& session) {
  if (!session.HasCapability("COMPRESS=DEFLATE")) co_return Missing("COMPRESS=DEFLATE");
  Command command("COMPRESS DEFLATE");
  co_return co_await RunPlain(session, std::move(command));
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
  const Duration end = session.clock().Now() + kLogoutLimit;
  bool over = !tag.ok();
  while (!over) {
    const absl::StatusOr<std::optional<Response>> response =
        co_await session.WaitForResponse(end - session.clock().Now());
    if (!response.ok() || !response->has_value()) break;
    const auto* status = std::get_if<StatusResponse>(&**response);
    over = status != nullptr && status->tag == *tag;
  }
  session.Close(absl::UnavailableError("logged out"));
}

}  // namespace imapmesh::imap
