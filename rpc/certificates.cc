#include "rpc/certificates.h"

#include <arpa/inet.h>
#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <ctime>
#include <memory>
#include <utility>

#include "base/printable.h"

namespace imapmesh {
namespace {

constexpr int kSerialBits = 159;  // RFC 5280 section 4.1.2.2: at most 20 octets, positive
constexpr size_t kMaxCommonName = 64;

template <auto Free>
struct Freer {
  template <typename T>
  void operator()(T* object) const {
    Free(object);
  }
};
using Certificate = std::unique_ptr<X509, Freer<X509_free>>;
using Key = std::unique_ptr<EVP_PKEY, Freer<EVP_PKEY_free>>;
using Bio = std::unique_ptr<BIO, Freer<BIO_free_all>>;

absl::Status Failed(const char* what) {
  char text[256] = "unknown error";
  if (const unsigned long code = ERR_get_error(); code != 0) ERR_error_string_n(code, text, sizeof(text));
  ERR_clear_error();
  return Error(absl::StatusCode::kInternal, "OpenSSL cannot %s: %s", what, Printable(text));
}

std::string Contents(BIO* bio) {
  char* data = nullptr;
  const long length = BIO_get_mem_data(bio, &data);
  return std::string(data, static_cast<size_t>(length));
}

Bio Reading(const std::string& pem) {
  return Bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
}

Certificate ReadCertificate(const std::string& pem) {
  Certificate certificate(PEM_read_bio_X509(Reading(pem).get(), nullptr, nullptr, nullptr));
  ERR_clear_error();
  return certificate;
}

// No passphrase is asked for on the terminal: a key with one is not ours.
Key ReadKey(const std::string& pem) {
  const auto no_passphrase = [](char*, int, int, void*) { return 0; };
  Key key(PEM_read_bio_PrivateKey(Reading(pem).get(), nullptr, no_passphrase, nullptr));
  ERR_clear_error();
  return key;
}

absl::StatusOr<CertifiedKey> ToPem(X509* certificate, EVP_PKEY* key) {
  const Bio certificate_bio(BIO_new(BIO_s_mem()));
  const Bio key_bio(BIO_new(BIO_s_mem()));
  if (PEM_write_bio_X509(certificate_bio.get(), certificate) != 1 ||
      PEM_write_bio_PKCS8PrivateKey(key_bio.get(), key, nullptr, nullptr, 0, nullptr, nullptr) != 1) {
    return Failed("write PEM");
  }
  CertifiedKey pair;
  pair.certificate = Contents(certificate_bio.get());
  pair.key = Contents(key_bio.get());
  return pair;
}

absl::Status SetSerial(X509* certificate) {
  const std::unique_ptr<BIGNUM, Freer<BN_free>> number(BN_new());
  if (BN_rand(number.get(), kSerialBits, BN_RAND_TOP_ONE, BN_RAND_BOTTOM_ANY) != 1 ||
      BN_to_ASN1_INTEGER(number.get(), X509_get_serialNumber(certificate)) == nullptr) {
    return Failed("draw a serial number");
  }
  return absl::OkStatus();
}

absl::Status SetName(X509_NAME* name, const std::string& common_name) {
  if (common_name.empty() || common_name.size() > kMaxCommonName) {
    return Error(absl::StatusCode::kInvalidArgument, "the name \"%s\" must have 1 to %d bytes", Printable(common_name),
                 static_cast<int>(kMaxCommonName));
  }
  const auto* bytes = reinterpret_cast<const unsigned char*>(common_name.data());
  const auto length = static_cast<int>(common_name.size());
  if (X509_NAME_add_entry_by_txt(name, "O", MBSTRING_UTF8, reinterpret_cast<const unsigned char*>("imapmesh"), -1, -1,
                                 0) != 1 ||
      X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, bytes, length, -1, 0) != 1) {
    return Failed("set the name");
  }
  return absl::OkStatus();
}

struct Extension {
  int nid;
  std::string value;  // as openssl.cnf(5) spells it; made of checked text only
};

absl::Status AddExtensions(X509* certificate, X509* issuer, const std::vector<Extension>& extensions) {
  X509V3_CTX context;
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  X509V3_set_ctx_nodb(&context);
  for (const Extension& extension : extensions) {
    const std::unique_ptr<X509_EXTENSION, Freer<X509_EXTENSION_free>> made(
        X509V3_EXT_conf_nid(nullptr, &context, extension.nid, extension.value.c_str()));
    if (made == nullptr || X509_add_ext(certificate, made.get(), -1) != 1) return Failed("add an extension");
  }
  return absl::OkStatus();
}

struct Request {
  std::string common_name;
  Validity validity;
  std::vector<Extension> extensions;
};

// Signed by `issuer` with its key; by itself when that is null.
absl::StatusOr<CertifiedKey> Make(const Request& request, X509* issuer, EVP_PKEY* issuer_key) {
  const Key key(EVP_EC_gen("P-256"));
  const Certificate certificate(X509_new());
  if (key == nullptr || certificate == nullptr) return Failed("make a key");
  X509* const made = certificate.get();
  X509_set_version(made, X509_VERSION_3);
  RETURN_IF_ERROR(SetSerial(made));
  RETURN_IF_ERROR(SetName(X509_get_subject_name(made), request.common_name));
  time_t from = request.validity.not_before_unix_s;
  time_t until = request.validity.not_after_unix_s;
  if (X509_set_issuer_name(made, X509_get_subject_name(issuer != nullptr ? issuer : made)) != 1 ||
      X509_time_adj(X509_getm_notBefore(made), 0, &from) == nullptr ||
      X509_time_adj(X509_getm_notAfter(made), 0, &until) == nullptr || X509_set_pubkey(made, key.get()) != 1) {
    return Failed("fill in the certificate");
  }
  RETURN_IF_ERROR(AddExtensions(made, issuer != nullptr ? issuer : made, request.extensions));
  if (X509_sign(made, issuer_key != nullptr ? issuer_key : key.get(), EVP_sha256()) == 0) return Failed("sign");
  return ToPem(made, key.get());
}

absl::StatusOr<CertifiedKey> Issue(const CertifiedKey& authority, Request request) {
  RETURN_IF_ERROR(CheckPair(authority));
  const Certificate issuer = ReadCertificate(authority.certificate);
  const Key key = ReadKey(authority.key);
  if (X509_check_ca(issuer.get()) != 1) {
    return absl::InvalidArgumentError("the authority's certificate is not one that may issue others");
  }
  ASSIGN_OR_RETURN(const int64_t end, ExpiryUnixSeconds(authority.certificate));
  request.validity.not_after_unix_s = std::min(request.validity.not_after_unix_s, end);
  request.extensions.push_back({NID_basic_constraints, "critical,CA:FALSE"});
  request.extensions.push_back({NID_key_usage, "critical,digitalSignature"});
  request.extensions.push_back({NID_subject_key_identifier, "hash"});
  request.extensions.push_back({NID_authority_key_identifier, "keyid:always"});
  return Make(request, issuer.get(), key.get());
}

bool IsAddress(const std::string& host) {
  unsigned char parsed[sizeof(in6_addr)];
  return inet_pton(AF_INET, host.c_str(), parsed) == 1 || inet_pton(AF_INET6, host.c_str(), parsed) == 1;
}

// RFC 1123 section 2.1, with the underscore that machines' names have, and "*" for a first label. Nothing in it can be
// read as openssl.cnf's syntax.
bool IsDnsName(const std::string& host) {
  const std::string_view name = host.rfind("*.", 0) == 0 ? std::string_view(host).substr(2) : std::string_view(host);
  if (name.empty() || name.size() > 253 || name.front() == '.' || name.front() == '-' || name.back() == '.') {
    return false;
  }
  return std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' ||
           c == '.';
  });
}

}  // namespace

absl::StatusOr<CertifiedKey> MakeAuthority(const std::string& name, Validity validity) {
  Request request;
  request.common_name = name;
  request.validity = validity;
  request.extensions = {{NID_basic_constraints, "critical,CA:TRUE,pathlen:0"},
                        {NID_key_usage, "critical,keyCertSign,cRLSign"},
                        {NID_subject_key_identifier, "hash"}};
  return Make(request, nullptr, nullptr);
}

absl::StatusOr<CertifiedKey> IssueServer(const CertifiedKey& authority, const std::vector<std::string>& hosts,
                                         Validity validity) {
  std::string names;
  for (const std::string& host : hosts) {
    if (!IsAddress(host) && !IsDnsName(host)) {
      return Error(absl::StatusCode::kInvalidArgument, "\"%s\" is neither a host name nor an IP address",
                   Printable(host));
    }
    names += (names.empty() ? "" : ",") + std::string(IsAddress(host) ? "IP:" : "DNS:") + host;
  }
  if (names.empty()) return absl::InvalidArgumentError("a server's certificate needs a host name");
  Request request;
  request.common_name = hosts.front().size() <= kMaxCommonName ? hosts.front() : "imapmeshd";
  request.validity = validity;
  request.extensions = {{NID_ext_key_usage, "serverAuth"}, {NID_subject_alt_name, names}};
  return Issue(authority, std::move(request));
}

absl::StatusOr<CertifiedKey> IssueClient(const CertifiedKey& authority, const std::string& name, Role role,
                                         Validity validity) {
  Request request;
  request.common_name = name;
  request.validity = validity;
  request.extensions = {{NID_ext_key_usage, "clientAuth"}, {NID_subject_alt_name, "URI:" + RoleUri(role)}};
  return Issue(authority, std::move(request));
}

absl::Status CheckPair(const CertifiedKey& pair) {
  const Certificate certificate = ReadCertificate(pair.certificate);
  if (certificate == nullptr) return absl::InvalidArgumentError("the certificate cannot be read as PEM");
  const Key key = ReadKey(pair.key);
  if (key == nullptr) return absl::InvalidArgumentError("the key cannot be read as PEM without a passphrase");
  const bool fits = X509_check_private_key(certificate.get(), key.get()) == 1;
  ERR_clear_error();
  return fits ? absl::OkStatus() : absl::InvalidArgumentError("the key is not the certificate's");
}

absl::StatusOr<int64_t> ExpiryUnixSeconds(const std::string& certificate) {
  const Certificate read = ReadCertificate(certificate);
  tm end{};
  if (read == nullptr || ASN1_TIME_to_tm(X509_get0_notAfter(read.get()), &end) != 1) {
    return absl::InvalidArgumentError("the certificate cannot be read as PEM");
  }
  return static_cast<int64_t>(timegm(&end));
}

}  // namespace imapmesh
