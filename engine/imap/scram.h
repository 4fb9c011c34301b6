// SCRAM-SHA-1 and SCRAM-SHA-256, with channel binding or without (RFC 5802, RFC 7677). Pure; any thread.
//
// login.cc makes one. Own code on OpenSSL's primitives, because the library that Debian has for it (GNU SASL) runs as
// many iterations as the server asks for. Here the count is bounded: below 4096 the server is refused, since whoever
// plays it could guess the password from the answer; above a million too, since it would hold up the engine.
#ifndef IMAPMESH_ENGINE_IMAP_SCRAM_H_
#define IMAPMESH_ENGINE_IMAP_SCRAM_H_

#include <memory>
#include <optional>
#include <string>

#include "engine/imap/sasl.h"

namespace imapmesh::imap {

inline constexpr int kScramIterationsMin = 4096;  // RFC 5802 section 5.1
inline constexpr int kScramIterationsMax = 1'000'000;

enum class ScramHash { kSha1, kSha256 };

struct ScramBinding {
  std::string type;  // "tls-exporter": as RFC 5056's registry spells it
  std::string data;
};

struct ScramOptions {
  ScramOptions() {}
  ScramHash hash = ScramHash::kSha256;
  std::string username;  // both are prepared by SASLprep here
  std::string password;
  std::string nonce;  // fresh for each exchange; printable ASCII without ","
  // With it the mechanism is the -PLUS one.
  std::optional<ScramBinding> binding;
  // Without `binding`: the client could bind, the server does not offer it. The server notices when that is a lie.
  bool could_bind = false;
};

// refusal() is the server's error ("unsupported-channel-binding-type"); Finish fails unless the server has proved that
// it knows the password.
std::unique_ptr<SaslMechanism> MakeScram(ScramOptions options);

// 144 bits of randomness in base64; "" when there is none (Begin then fails).
std::string MakeScramNonce();

}  // namespace imapmesh::imap

#endif  // IMAPMESH_ENGINE_IMAP_SCRAM_H_
