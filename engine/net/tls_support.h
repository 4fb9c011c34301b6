// What tls.cc needs of OpenSSL beside the stream itself: pins, channel bindings, client certificates, errors in words.
// Engine thread.
#ifndef IMAPMESH_ENGINE_NET_TLS_SUPPORT_H_
#define IMAPMESH_ENGINE_NET_TLS_SUPPORT_H_

#include <openssl/ssl.h>

#include <string>
#include <string_view>
#include <vector>

#include "engine/net/tls.h"

namespace imapmesh {

struct TlsError {
  int reason = 0;  // SSL_R_…; 0 for none
  std::string text;
};
// Takes OpenSSL's last error off its queue.
TlsError LastTlsError();
// What it means for this connection and what to do. `handshake`: it was not through.
absl::Status ExplainTlsError(const TlsError& error, const TlsOptions& options, bool handshake);

// SHA-256 of the peer's public key (SPKI), 32 bytes; "" without a certificate.
std::string PublicKeyHash(SSL* ssl);
// As tls.pin_sha256 spells it: base64.
std::string PinText(std::string_view hash);
// `pin` in base64, or hexadecimal with colons or without.
bool PinMatches(const std::string& pin, std::string_view hash);

// See TlsStream::ChannelBindings.
std::vector<ChannelBinding> ChannelBindingsOf(SSL* ssl);

// kInvalidArgument naming the field and the file.
absl::Status UseClientCertificate(SSL_CTX* context, const std::string& certificate, const std::string& key);

}  // namespace imapmesh

#endif  // IMAPMESH_ENGINE_NET_TLS_SUPPORT_H_
