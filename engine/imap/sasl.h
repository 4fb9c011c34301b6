// SASL mechanisms (RFC 4422) as the client speaks them: challenges in, answers out, no I/O.
//
// login.cc makes one for each attempt and commands.h Authenticate carries it over the wire. Values are raw; base64 is
// the wire's business. One object serves one exchange. Pure; any thread. What a mechanism is told in confidence (a
// password, a token) leaves it in answers only, never in an error.
#ifndef IMAPMESH_ENGINE_IMAP_SASL_H_
#define IMAPMESH_ENGINE_IMAP_SASL_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/status.h"

namespace imapmesh::imap {

class SaslMechanism {
 public:
  virtual ~SaslMechanism() = default;

  // As the registry and AUTH= spell it: "SCRAM-SHA-256-PLUS".
  virtual std::string_view name() const = 0;
  // What the client says first; nullopt where the server begins. kInvalidArgument: this cannot be said with what was
  // given (a NUL in the password); nothing was sent then.
  virtual absl::StatusOr<std::optional<std::string>> Begin() = 0;
  // The answer to a challenge. An error ends the exchange: the server said what it must not, or refused us by it.
  virtual absl::StatusOr<std::string> Respond(std::string_view challenge) = 0;
  // After the server's OK: whether it may be believed. Mechanisms that prove the server's identity say no until it has.
  virtual absl::Status Finish() const { return absl::OkStatus(); }
  // Why the server refused, in its own words within the exchange; "" if it told nothing there. Printable.
  virtual std::string refusal() const { return ""; }
};

// RFC 4616.
std::unique_ptr<SaslMechanism> MakePlain(std::string username, std::string password);
// draft-murchison-sasl-login: asked for the name, then for the password.
std::unique_ptr<SaslMechanism> MakeLogin(std::string username, std::string password);
// RFC 4422 appendix A. `username` "": whatever the client certificate says.
std::unique_ptr<SaslMechanism> MakeExternal(std::string username);

// Where the token is to be used (RFC 7628 section 3.1); host and port are left out where there are none.
struct OAuthIdentity {
  std::string username;
  std::string host;
  uint16_t port = 0;
};
// RFC 7628. After a refusal refusal() is the status of the server's JSON ("invalid_token"), with the scope it wants.
std::unique_ptr<SaslMechanism> MakeOAuthBearer(OAuthIdentity identity, std::string token);
// Google's and Microsoft's older form of it.
std::unique_ptr<SaslMechanism> MakeXOAuth2(std::string username, std::string token);

// ',' and '=' of a name as GS2 wants them (RFC 5801 section 4).
std::string EscapeSaslName(std::string_view name);

}  // namespace imapmesh::imap

#endif  // IMAPMESH_ENGINE_IMAP_SASL_H_
