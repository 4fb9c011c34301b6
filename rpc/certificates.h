// X.509 certificates for the daemon's mutual TLS: an authority of its own, a server's, and clients' with a role.
//
// rpc/certs_command.h keeps them in files. EC keys on P-256, signatures by ECDSA with SHA-256, profiles by RFC 5280:
// the authority may only sign certificates (keyCertSign, no intermediate), a server's only serve (serverAuth), a
// client's only call (clientAuth). Blocking (randomness); any thread.
#ifndef IMAPMESH_RPC_CERTIFICATES_H_
#define IMAPMESH_RPC_CERTIFICATES_H_

#include <cstdint>
#include <string>
#include <vector>

#include "base/status.h"
#include "rpc/access.h"

namespace imapmesh {

// PEM. The key is PKCS #8, unencrypted.
struct CertifiedKey {
  std::string certificate;
  std::string key;
};

// Seconds since 1970 UTC, both included; a certificate never outlives its authority.
struct Validity {
  int64_t not_before_unix_s = 0;
  int64_t not_after_unix_s = 0;
};

// `name` becomes the common name, as in the two below: 1 to 64 bytes.
absl::StatusOr<CertifiedKey> MakeAuthority(const std::string& name, Validity validity);

// `hosts`: names and IP addresses under which clients reach the server, at least one; the first is the common name.
// kInvalidArgument: `authority` is no authority with its key, or a host is neither a DNS name nor an address.
absl::StatusOr<CertifiedKey> IssueServer(const CertifiedKey& authority, const std::vector<std::string>& hosts,
                                         Validity validity);
absl::StatusOr<CertifiedKey> IssueClient(const CertifiedKey& authority, const std::string& name, Role role,
                                         Validity validity);

// kInvalidArgument: `pair` is not a certificate and its own key.
absl::Status CheckPair(const CertifiedKey& pair);

// When a certificate ends; kInvalidArgument when it is none.
absl::StatusOr<int64_t> ExpiryUnixSeconds(const std::string& certificate);

}  // namespace imapmesh

#endif  // IMAPMESH_RPC_CERTIFICATES_H_
