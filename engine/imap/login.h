// Logging in: which mechanism, with what, and what a refusal means.
//
// open.cc calls it once the connection is as safe as it gets (TLS or STARTTLS done). Engine thread. No error and no log
// ever holds a password or a token.
#ifndef IMAPMESH_ENGINE_IMAP_LOGIN_H_
#define IMAPMESH_ENGINE_IMAP_LOGIN_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "engine/imap/session.h"
#include "engine/net/tls.h"

namespace imapmesh::imap {

// What one login leaves to the next of the same replica; plain values, which the owner may keep.
struct LoginMemory {
  std::string mechanism;  // of the last login that succeeded; "" for none (mechanism_choice.h, strongest_before)
};

struct LoginOptions {
  LoginOptions() {}
  std::string username;
  std::string mechanism;  // "": the strongest (mechanism_choice.h)
  std::string host;       // of the endpoint, for OAUTHBEARER; "" where there is none
  uint16_t port = 0;
  // Asked once the connection stands and the mechanism is known. Either may be empty; both are for servers that greet
  // with PREAUTH.
  std::function<asio::awaitable<absl::StatusOr<std::string>>()> password;
  // The access token; `refused` is one that the server did not take, "" for none.
  std::function<asio::awaitable<absl::StatusOr<std::string>>(std::string refused)> token;
  // Read and written by each login; may be null.
  std::shared_ptr<LoginMemory> memory;
  // Queues commands that go out together with the login, where it is one message (Authenticate); may be empty.
  std::function<void()> behind;
};

// kUnauthenticated: refused, or not possible as configured; the text says what the server answered and what to do.
// Other errors: Session. `options` must outlive the call. `tls` is the session's TLS layer, null without one.
asio::awaitable<absl::Status> LogIn(Session& session, const LoginOptions& options, const TlsStream* tls);

}  // namespace imapmesh::imap

#endif  // IMAPMESH_ENGINE_IMAP_LOGIN_H_
