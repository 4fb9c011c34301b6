// Logging in: which mechanism, with what, and what a refusal means.
//
// open.cc calls it once the connection is as safe as it gets (TLS or STARTTLS done). Engine thread. No error and no log
// ever holds a password or a token.
#ifndef IMAPMESH_ENGINE_IMAP_LOGIN_H_
#define IMAPMESH_ENGINE_IMAP_LOGIN_H_

#include <functional>
#include <string>

#include "engine/imap/session.h"

namespace imapmesh::imap {

struct LoginOptions {
  LoginOptions() {}
  std::string username;
  std::string mechanism;  // "": PLAIN where offered, else LOGIN
  // Asked once, after the connection stands; may be empty for servers that greet with PREAUTH.
  std::function<asio::awaitable<absl::StatusOr<std::string>>()> password;
};

// kUnauthenticated: refused, or not possible as configured; the text says what the server answered and what to do.
// Other errors: Session. `options` must outlive the call.
asio::awaitable<absl::Status> LogIn(Session& session, const LoginOptions& options);

}  // namespace imapmesh::imap

#endif  // IMAPMESH_ENGINE_IMAP_LOGIN_H_
