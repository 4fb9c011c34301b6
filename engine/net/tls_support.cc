#include "engine/net/tls_support.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509.h>

#include <array>
#include <cctype>
#include <memory>

namespace imapmesh {
namespace {

constexpr size_t kExporterBytes = 32;  // RFC 9266 section 2

struct CertificateDeleter {
  void operator()(X509* certificate) const { X509_free(certificate); }
};
using Certificate = std::unique_ptr<X509, CertificateDeleter>;

std::string Hex(std::string_view bytes) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  for (const char c : bytes) {
    text += kDigits[static_cast<unsigned char>(c) >> 4];
    text += kDigits[static_cast<unsigned char>(c) & 15];
  }
  return text;
}

bool IsVersion(int reason) {
  return reason == SSL_R_TLSV1_ALERT_PROTOCOL_VERSION || reason == SSL_R_UNSUPPORTED_PROTOCOL;
}

// What a server says of the client's certificate, or of its absence: TLS 1.2 servers then only tell a failure.
bool IsAboutOurCertificate(int reason) {
  switch (reason) {
    case SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED:
    case SSL_R_SSLV3_ALERT_NO_CERTIFICATE:
    case SSL_R_SSLV3_ALERT_BAD_CERTIFICATE:
    case SSL_R_SSLV3_ALERT_UNSUPPORTED_CERTIFICATE:
    case SSL_R_SSLV3_ALERT_CERTIFICATE_REVOKED:
    case SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED:
    case SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN:
    case SSL_R_SSLV3_ALERT_HANDSHAKE_FAILURE:
    case SSL_R_TLSV1_ALERT_UNKNOWN_CA:
    case SSL_R_TLSV1_ALERT_ACCESS_DENIED:
      return true;
    default:
      return false;
  }
}

// RFC 5929 section 4.1: the hash of the certificate by the hash of its own signature, MD5 and SHA-1 made SHA-256.
std::string EndPointData(X509* certificate) {
  int hash = NID_undef;
  if (X509_get_signature_info(certificate, &hash, nullptr, nullptr, nullptr) != 1 || hash == NID_undef) return "";
  if (hash == NID_md5 || hash == NID_sha1) hash = NID_sha256;
  const EVP_MD* algorithm = EVP_get_digestbynid(hash);
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest;
  unsigned int size = 0;
  if (algorithm == nullptr || X509_digest(certificate, algorithm, digest.data(), &size) != 1) return "";
  return std::string(reinterpret_cast<char*>(digest.data()), size);
}

}  // namespace

TlsError LastTlsError() {
  const unsigned long code = ERR_get_error();
  ERR_clear_error();
  TlsError error;
  error.reason = ERR_GET_LIB(code) == ERR_LIB_SSL ? ERR_GET_REASON(code) : 0;
  const char* reason = code == 0 ? nullptr : ERR_reason_error_string(code);
  error.text = reason != nullptr ? reason : "the handshake was refused";
  return error;
}

absl::Status ExplainTlsError(const TlsError& error, const TlsOptions& options, bool handshake) {
  if (IsVersion(error.reason)) {
    const std::string version = options.min_version == "1.3" ? "1.3" : "1.2";
    return Error(absl::StatusCode::kUnauthenticated, "%s does not speak TLS %s or newer (%s); %s", options.server_name,
                 version, error.text,
                 version == "1.3" ? "set tls.min_version: \"1.2\", or have the server offer TLS 1.3"
                                  : "have the server offer TLS 1.2 or 1.3; imapmesh speaks nothing older");
  }
  if (IsAboutOurCertificate(error.reason)) {
    return Error(
        absl::StatusCode::kUnauthenticated, "%s refused the TLS handshake (%s); %s", options.server_name, error.text,
        options.client_cert.empty() ? "if it wants a client certificate, set tls.client_cert and tls.client_key"
                                    : "check that tls.client_cert is valid and by an authority that the server trusts");
  }
  if (!handshake) {
    return Error(absl::StatusCode::kDataLoss, "TLS with %s broke: %s", options.server_name, error.text);
  }
  return Error(absl::StatusCode::kUnavailable,
               "TLS with %s failed: %s; check that the port speaks TLS (993) and not STARTTLS (143)",
               options.server_name, error.text);
}

std::string PublicKeyHash(SSL* ssl) {
  const Certificate certificate(SSL_get1_peer_certificate(ssl));
  if (certificate == nullptr) return "";
  unsigned char* der = nullptr;
  const int length = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(certificate.get()), &der);
  std::array<unsigned char, EVP_MAX_MD_SIZE> hash;
  unsigned int size = 0;
  if (length > 0) EVP_Digest(der, static_cast<size_t>(length), hash.data(), &size, EVP_sha256(), nullptr);
  OPENSSL_free(der);
  return std::string(reinterpret_cast<char*>(hash.data()), size);
}

std::string PinText(std::string_view hash) {
  std::string text(4 * ((hash.size() + 2) / 3), '\0');
  EVP_EncodeBlock(reinterpret_cast<unsigned char*>(text.data()), reinterpret_cast<const unsigned char*>(hash.data()),
                  static_cast<int>(hash.size()));
  return text;
}

bool PinMatches(const std::string& pin, std::string_view hash) {
  std::string lower;
  for (const char c : pin) {
    if (c != ':') lower += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  }
  return pin == PinText(hash) || lower == Hex(hash);
}

std::vector<ChannelBinding> ChannelBindingsOf(SSL* ssl) {
  std::vector<ChannelBinding> bindings;
  if (SSL_version(ssl) >= TLS1_3_VERSION) {
    static constexpr std::string_view kLabel = "EXPORTER-Channel-Binding";
    std::array<unsigned char, kExporterBytes> data;
    if (SSL_export_keying_material(ssl, data.data(), data.size(), kLabel.data(), kLabel.size(), nullptr, 0, 0) == 1) {
      bindings.push_back({"tls-exporter", std::string(reinterpret_cast<char*>(data.data()), data.size())});
    }
  } else if (SSL_get_extms_support(ssl) == 1) {
    // The first Finished of the handshake, which without resumption is the client's (RFC 5929 section 3.1).
    std::array<char, EVP_MAX_MD_SIZE> data;
    const size_t size = SSL_get_finished(ssl, data.data(), data.size());
    if (size > 0 && size <= data.size()) bindings.push_back({"tls-unique", std::string(data.data(), size)});
  }
  const Certificate certificate(SSL_get1_peer_certificate(ssl));
  const std::string end_point = certificate == nullptr ? "" : EndPointData(certificate.get());
  if (!end_point.empty()) bindings.push_back({"tls-server-end-point", end_point});
  return bindings;
}

absl::Status UseClientCertificate(SSL_CTX* context, const std::string& certificate, const std::string& key) {
  // Otherwise OpenSSL would ask at a terminal for a passphrase.
  SSL_CTX_set_default_passwd_cb(context, [](char*, int, int, void*) { return 0; });
  if (SSL_CTX_use_certificate_chain_file(context, certificate.c_str()) != 1) {
    return Error(absl::StatusCode::kInvalidArgument, "tls.client_cert %s cannot be read as a PEM certificate: %s",
                 certificate, LastTlsError().text);
  }
  if (SSL_CTX_use_PrivateKey_file(context, key.c_str(), SSL_FILETYPE_PEM) != 1) {
    const TlsError error = LastTlsError();
    const bool other = error.text == "key values mismatch";
    return Error(absl::StatusCode::kInvalidArgument, "tls.client_key %s %s: %s%s", key,
                 other ? "is not the key of tls.client_cert" : "cannot be read as a PEM key", error.text,
                 other ? "" : "; it must not have a passphrase (openssl pkey -in … -out … removes it)");
  }
  return absl::OkStatus();
}

}  // namespace imapmesh
