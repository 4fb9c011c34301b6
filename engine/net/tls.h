// TLS as a client over any ByteStream: directly after connecting, or after STARTTLS.
//
// engine/imap/open.cc calls it. The server's certificate is verified by default: chain and name. With a pin, the key
// alone decides: a matching pin makes the chain unnecessary (self-signed servers), another key is refused whatever the
// chain says. Engine thread only.
#ifndef IMAPMESH_ENGINE_NET_TLS_H_
#define IMAPMESH_ENGINE_NET_TLS_H_

#include <memory>
#include <string>

#include "engine/net/stream.h"

namespace imapmesh {

struct TlsOptions {
  std::string server_name;  // verified, and sent by SNI
  std::string ca_file;      // PEM; "" for the system's authorities
  std::string pin_sha256;   // of the SPKI, base64 or hexadecimal; "" for none
  std::string min_version;  // "1.2" (default) or "1.3"
};

// The layer; it handshakes with the first Read or Write, which then may fail with kUnavailable (the connection broke)
// or kUnauthenticated (the certificate is refused: the text says which check failed, shows the key's pin and what to
// set). kInvalidArgument when ca_file cannot be used.
absl::StatusOr<std::unique_ptr<ByteStream>> MakeTlsStream(std::unique_ptr<ByteStream> below, TlsOptions options);

}  // namespace imapmesh

#endif  // IMAPMESH_ENGINE_NET_TLS_H_
