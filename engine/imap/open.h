// From a connected byte stream to a session that is logged in and ready: greeting, TLS, login, extensions.
//
// engine/replica calls it for every connection. Engine thread. Errors: kUnauthenticated for a refused login or
// certificate, kUnimplemented for a server that lacks what is needed, kUnavailable for a connection that broke or a
// peer that speaks no IMAP; each text says what the server answered and what to do.
#ifndef IMAPMESH_ENGINE_IMAP_OPEN_H_
#define IMAPMESH_ENGINE_IMAP_OPEN_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "engine/imap/login.h"
#include "engine/imap/session.h"
#include "engine/net/tls.h"

namespace imapmesh::imap {

inline constexpr int kOpeningWaits = 4;

enum class Security { kNone, kTls, kStartTls };

// What a server was when it let us in last: the next login sends ENABLE and COMPRESS with it instead of waiting for its
// capabilities, and does not ask again for what it told then. Believed while the server greets as it did; when the
// guess turns out wrong, what is missing is asked for again, and after a failure it is forgotten.
struct ServerMemory {
  std::string greeting;
  Capabilities capabilities;  // after the login; empty: nothing is known
  // ID's fields, and when they were told: asked for again each day, since a server may be updated and greet as before.
  std::map<std::string, std::string> server_id;
  int64_t server_id_unix_ms = 0;
  std::optional<NamespaceResponse> namespaces;
  // A session that guessed was lost, so no more guesses are made. Not kept by Encode. Cyrus 3.6 under load reads what
  // came behind the login twice.
  bool distrusted = false;
};

// A few kilobytes; "" for nothing. What Decode does not understand gives an empty memory.
std::string Encode(const ServerMemory& memory);
ServerMemory DecodeServerMemory(std::string_view text);

struct OpenOptions {
  OpenOptions() {}
  Security security = Security::kNone;
  TlsOptions tls;
  bool compress = false;
  LoginOptions login;
  Capabilities ignored;  // SessionOptions::ignored
  // Read and written; may be null.
  std::shared_ptr<ServerMemory> memory;
  // Gets the namespaces, where the server tells them, or `remembered` ones; empty: they are not asked for.
  std::function<void(NamespaceResponse, bool remembered)> take_namespaces;
  // Whether remembered namespaces will do: nothing tells here when they are others now.
  bool believe_namespaces = false;
  // Without a byte, of one wait; the whole of OpenSession may take kOpeningWaits times as long.
  Duration inactivity_limit = std::chrono::seconds(30);
};

// zlib's level for what goes to a server whose greeting or answer to the login took this long, whichever was quicker.
// Servers that are near need 1 to 10 ms, for their processes; for those far away fewer bytes count for more than the
// time that it takes to compress them.
int DeflateLevel(Duration quickest_answer);

asio::awaitable<absl::StatusOr<std::unique_ptr<Session>>> OpenSession(std::unique_ptr<ByteStream> stream, Clock& clock,
                                                                      asio::any_io_executor executor,
                                                                      OpenOptions options);

}  // namespace imapmesh::imap

#endif  // IMAPMESH_ENGINE_IMAP_OPEN_H_
