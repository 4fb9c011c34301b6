// TLS as a client over any ByteStream: directly after connecting, or after STARTTLS.
//
// engine/imap/open.cc calls it. The server's certificate is verified by default: chain and name. With a pin, the key
// alone decides: a matching pin makes the chain unnecessary (self-signed servers), another key is refused whatever the
// chain says. No session is resumed and no handshake repeated. Engine thread only.
#ifndef IMAPMESH_ENGINE_NET_TLS_H_
#define IMAPMESH_ENGINE_NET_TLS_H_

#include <memory>
#include <string>
#include <vector>

#include "engine/net/stream.h"

namespace imapmesh {

struct TlsOptions {
  std::string server_name;  // verified, and sent by SNI
  std::string ca_file;      // PEM; "" for the system's authorities
  std::string pin_sha256;   // of the SPKI, base64 or hexadecimal; "" for none
  std::string min_version;  // "1.2" (default) or "1.3"
  std::string client_cert;  // PEM, with the chain that leads to its authority; "" for none
  std::string client_key;   // PEM, without a passphrase
};

// What ties a login to this very channel, so that nobody can pass it on (RFC 5929, RFC 9266).
struct ChannelBinding {
  std::string type;  // "tls-exporter", "tls-unique", "tls-server-end-point"
  std::string data;
};

class TlsStream : public ByteStream {
 public:
  // The best first: of TLS 1.3 tls-exporter, of TLS 1.2 tls-unique (only with the extended master secret, RFC 7627),
  // then tls-server-end-point where the certificate has a hash for it. Empty before the first Read or Write returned.
  virtual std::vector<ChannelBinding> ChannelBindings() const = 0;
};

// The layer; it handshakes with the first Read or Write, which then may fail with kUnavailable (the connection broke)
// or kUnauthenticated (a certificate, ours or theirs, or the version is refused: the text says which check failed,
// shows the key's pin and what to set). kInvalidArgument when a file cannot be used; the text names the field.
absl::StatusOr<std::unique_ptr<TlsStream>> MakeTlsStream(std::unique_ptr<ByteStream> below, TlsOptions options);

}  // namespace imapmesh

#endif  // IMAPMESH_ENGINE_NET_TLS_H_
