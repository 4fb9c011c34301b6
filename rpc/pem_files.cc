#include "rpc/pem_files.h"

#include <cerrno>
#include <cstring>
#include <fstream>
#include <iterator>

namespace imapmesh {

absl::StatusOr<std::string> ReadPemFile(const std::string& option, const std::string& path) {
  errno = 0;
  std::ifstream file(path, std::ios::binary);
  std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  if (!file.is_open()) {
    return Error(absl::StatusCode::kInvalidArgument, "%s: cannot read %s: %s", option, path, std::strerror(errno));
  }
  if (text.find("-----BEGIN ") == std::string::npos) {
    return Error(absl::StatusCode::kInvalidArgument, "%s: %s is no PEM file", option, path);
  }
  return text;
}

absl::StatusOr<TlsMaterial> ReadTlsFiles(const TlsFiles& files) {
  if (files.authority.empty() || files.certificate.empty() || files.key.empty()) {
    return Error(absl::StatusCode::kInvalidArgument, "--tls-cert, --tls-key and %s go together; --tls-dir names all",
                 files.authority_option);
  }
  TlsMaterial material;
  ASSIGN_OR_RETURN(material.own.key, ReadPemFile("--tls-key", files.key));
  ASSIGN_OR_RETURN(material.own.certificate, ReadPemFile("--tls-cert", files.certificate));
  ASSIGN_OR_RETURN(material.authority, ReadPemFile(files.authority_option, files.authority));
  const absl::Status fits = CheckPair(material.own);
  if (!fits.ok()) return Annotate(fits, files.certificate + " and " + files.key);
  return material;
}

}  // namespace imapmesh
