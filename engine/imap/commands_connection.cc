// Logging in, capabilities, layers, logging out.
#include <chrono>
#include <utility>

#include "absl/strings/escaping.h"
#include "engine/imap/command_support.h"
#include "engine/imap/commands.h"

namespace imapmesh::imap {
namespace {

constexpr Duration kLogoutLimit = std::chrono::seconds(2);

// A refused login is the account's fault unless the server says that it is its own.
absl::Status LoginStatus(const absl::Status& status, const StatusResponse& response) {
  const std::string& code = response.code.name;
  if (code == "UNAVAILABLE" || code == "INUSE" || code == "SERVERBUG") {
    return absl::Status(absl::StatusCode::kUnavailable, status.message());
  }
  if (code == "LIMIT") return absl::Status(absl::StatusCode::kResourceExhausted, status.message());
  return absl::Status(absl::StatusCode::kUnauthenticated, status.message());
}

// Awaits the login's completion and learns what the server can do now.
asio::awaitable<absl::Status> FinishLogin(Session& session, std::string name, std::string tag) {
  bool told = false;
  ResponseHandler handler = [&told](Response& response) {
    told |= std::holds_alternative<CapabilityResponse>(response);
    return absl::OkStatus();
  };
  const absl::StatusOr<StatusResponse> response = co_await session.AwaitCompletion(std::move(tag), handler);
  if (!response.ok()) co_return Annotate(response.status(), name);
  if (response->kind != StatusKind::kOk) co_return LoginStatus(RefusalStatus(name, *response), *response);
  if (told || response->code.name == "CAPABILITY") co_return absl::OkStatus();
  session.ForgetCapabilities();
  co_return co_await Capability(session);
}

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

asio::awaitable<absl::Status> Login(Session& session, std::string username, std::string password) {
  Command command("LOGIN");
  command.Text(" ").String(username).Text(" ").String(password);
  absl::StatusOr<std::string> tag = session.Send(std::move(command));
  if (!tag.ok()) co_return tag.status();
  co_return co_await FinishLogin(session, "LOGIN", *std::move(tag));
}

asio::awaitable<absl::Status> LoginPlain(Session& session, std::string username, std::string password) {
  if (username.find('\0') != std::string::npos || password.find('\0') != std::string::npos) {
    co_return absl::InvalidArgumentError("AUTHENTICATE PLAIN: a NUL byte in the user name or password");
  }
  std::string answer;
  absl::Base64Escape(ToAbsl(std::string(1, '\0') + username + std::string(1, '\0') + password), &answer);
  const bool initial = session.HasCapability("SASL-IR");
  Command command("AUTHENTICATE PLAIN");
  if (initial) command.Text(" ").Text(answer);
  absl::StatusOr<std::string> tag = session.Send(std::move(command));
  if (!tag.ok()) co_return tag.status();
  if (!initial) {
    ResponseHandler handler;
    const absl::StatusOr<std::string> challenge = co_await session.AwaitContinuation(*tag, std::move(handler));
    if (!challenge.ok()) {
      const bool refused = session.closed().ok();
      co_return refused ? absl::Status(absl::StatusCode::kUnauthenticated, challenge.status().message())
                        : challenge.status();
    }
    CO_RETURN_IF_ERROR(co_await session.SendLine(std::move(answer)));
  }
  co_return co_await FinishLogin(session, "AUTHENTICATE PLAIN", *std::move(tag));
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
