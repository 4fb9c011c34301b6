#include "engine/imap/login.h"

#include <utility>

#include "base/printable.h"
#include "engine/imap/commands.h"

namespace imapmesh::imap {

asio::awaitable<absl::Status> LogIn(Session& session, const LoginOptions& options) {
  CO_RETURN_IF_ERROR(co_await Capability(session));
  if (options.username.empty() || !options.password) {
    co_return Error(absl::StatusCode::kUnauthenticated,
                    "the server asks for a login, but the topology has no auth for this replica; add auth { username: "
                    "… password_command: … }");
  }
  const bool plain = session.HasCapability("AUTH=PLAIN");
  if (!plain && session.HasCapability("LOGINDISABLED")) {
    co_return Error(absl::StatusCode::kUnauthenticated,
                    "the server permits no login on this connection (LOGINDISABLED, no AUTH=PLAIN); use security: TLS "
                    "or STARTTLS");
  }
  absl::StatusOr<std::string> password = co_await options.password();
  if (!password.ok()) co_return password.status();
  absl::Status status;
  if (options.mechanism == "LOGIN" || (options.mechanism.empty() && !plain)) {
    status = co_await Login(session, options.username, *std::move(password));
  } else {
    status = co_await LoginPlain(session, options.username, *std::move(password));
  }
  const bool refused = !status.ok() && session.closed().ok();
  if (refused || absl::IsUnauthenticated(status)) {
    co_return Error(absl::StatusCode::kUnauthenticated,
                    "login as %s was refused (%s); check auth.username and the password in the topology",
                    Printable(options.username), Message(status));
  }
  co_return status;
}

}  // namespace imapmesh::imap
