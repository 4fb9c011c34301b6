// The files of mutual TLS as daemon and client read them: three options, or one folder as `imapmeshd certs` makes it.
//
// Blocking; any thread.
#ifndef IMAPMESH_RPC_PEM_FILES_H_
#define IMAPMESH_RPC_PEM_FILES_H_

#include <string>

#include "base/status.h"
#include "rpc/certificates.h"

namespace imapmesh {

// Paths; all three or none.
struct TlsFiles {
  std::string authority;  // vouches for the other side
  std::string certificate;
  std::string key;
  // How the command line calls them, for errors.
  const char* authority_option = "--tls-ca";
  bool empty() const { return authority.empty() && certificate.empty() && key.empty(); }
};

struct TlsMaterial {
  std::string authority;  // PEM
  CertifiedKey own;
};

// kInvalidArgument: it cannot be read or is no PEM file; the text begins with `option`.
absl::StatusOr<std::string> ReadPemFile(const std::string& option, const std::string& path);

// Reads all three and checks that certificate and key are a pair. kInvalidArgument names the file and what is wrong.
absl::StatusOr<TlsMaterial> ReadTlsFiles(const TlsFiles& files);

}  // namespace imapmesh

#endif  // IMAPMESH_RPC_PEM_FILES_H_
