#include "rpc/certs_command.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <filesystem>

#include "base/printable.h"
#include "rpc/certificates.h"
#include "rpc/exit_codes.h"
#include "rpc/paths.h"
#include "rpc/pem_files.h"

namespace imapmesh {
namespace {

constexpr int64_t kDay = 86'400;
constexpr int64_t kAuthorityDays = 3650;
constexpr int64_t kClockSkew = 3'600;  // of a client whose clock is behind, seconds

absl::StatusOr<Validity> ValidFor(int64_t days) {
  if (days < 1 || days > kAuthorityDays) {
    return Error(absl::StatusCode::kInvalidArgument, "--days %d: must be 1 to %d", days, kAuthorityDays);
  }
  Validity validity;
  const auto now = static_cast<int64_t>(std::time(nullptr));
  validity.not_before_unix_s = now - kClockSkew;
  validity.not_after_unix_s = now + days * kDay;
  return validity;
}

absl::Status CannotWrite(const std::string& path, int error) {
  return Error(absl::StatusCode::kPermissionDenied, "cannot write %s: %s", path, std::strerror(error));
}

absl::Status MakePrivateFolder(const std::string& path) {
  std::error_code error;
  const bool made = std::filesystem::create_directories(path, error);
  if (!error && made) std::filesystem::permissions(path, std::filesystem::perms::owner_all, error);
  if (error) return CannotWrite(path, error.value());
  return absl::OkStatus();
}

// Whole or not at all, and never readable by others for a moment; follows no link.
absl::Status WriteFile(const std::string& path, const std::string& text, mode_t mode) {
  const std::string draft = path + ".tmp." + std::to_string(getpid());
  const int fd = open(draft.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
  if (fd < 0) return CannotWrite(path, errno);
  const ssize_t written = write(fd, text.data(), text.size());
  int error = written == static_cast<ssize_t>(text.size()) ? 0 : written < 0 ? errno : ENOSPC;
  if (error == 0 && (fchmod(fd, mode) != 0 || fsync(fd) != 0)) error = errno;
  if (close(fd) != 0 && error == 0) error = errno;
  if (error == 0 && rename(draft.c_str(), path.c_str()) != 0) error = errno;
  if (error == 0) return absl::OkStatus();
  unlink(draft.c_str());
  return CannotWrite(path, error);
}

// The key first: a certificate without its key would be no use.
absl::Status WritePair(const std::string& stem, const CertifiedKey& pair) {
  RETURN_IF_ERROR(WriteFile(stem + ".key", pair.key, 0600));
  return WriteFile(stem + ".pem", pair.certificate, 0644);
}

bool Exists(const std::string& path) {
  struct stat found {};
  return lstat(path.c_str(), &found) == 0;
}

// A name is a folder's and a certificate's.
absl::Status CheckClientName(const std::string& name) {
  const auto plain = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' ||
           c == '.' || c == '@';
  };
  if (!name.empty() && name.size() <= 64 && name.front() != '.' && std::all_of(name.begin(), name.end(), plain)) {
    return absl::OkStatus();
  }
  return Error(absl::StatusCode::kInvalidArgument,
               "client name \"%s\": letters, digits and -_.@ only, at most 64, not starting with a dot",
               Printable(name));
}

std::vector<std::string> HostNames(const CertsOptions& options) {
  std::vector<std::string> hosts = options.hosts;
  char name[256] = "";
  if (hosts.empty() && gethostname(name, sizeof(name) - 1) == 0 && name[0] != '\0') hosts.push_back(name);
  for (const char* local : {"localhost", "127.0.0.1", "::1"}) {
    if (std::find(hosts.begin(), hosts.end(), local) == hosts.end()) hosts.push_back(local);
  }
  return hosts;
}

std::string Date(int64_t unix_s) {
  const time_t seconds = unix_s;
  tm date{};
  gmtime_r(&seconds, &date);
  char text[32];
  return std::string(text, strftime(text, sizeof(text), "%Y-%m-%d", &date));
}

absl::Status WriteServer(const std::string& dir, const CertifiedKey& authority, const CertsOptions& options,
                         std::ostream& out) {
  ASSIGN_OR_RETURN(const Validity validity, ValidFor(options.days));
  const std::vector<std::string> hosts = HostNames(options);
  ASSIGN_OR_RETURN(const CertifiedKey server, IssueServer(authority, hosts, validity));
  RETURN_IF_ERROR(WritePair(dir + "/server", server));
  ASSIGN_OR_RETURN(const int64_t expiry, ExpiryUnixSeconds(server.certificate));
  out << "server  " << dir << "/server.pem, valid until " << Date(expiry) << ", for";
  for (const std::string& host : hosts) out << " " << host;
  out << "\n";
  return absl::OkStatus();
}

absl::Status WriteClient(const std::string& dir, const CertifiedKey& authority, const std::string& name, Role role,
                         const CertsOptions& options, std::ostream& out) {
  RETURN_IF_ERROR(CheckClientName(name));
  ASSIGN_OR_RETURN(const Validity validity, ValidFor(options.days));
  const std::string folder = dir + "/clients/" + name;
  if (Exists(folder + "/client.pem") && !options.renew) {
    return Error(absl::StatusCode::kAlreadyExists,
                 "%s holds a certificate; --renew replaces it (the old one stays valid until it expires)", folder);
  }
  ASSIGN_OR_RETURN(const CertifiedKey client, IssueClient(authority, name, role, validity));
  RETURN_IF_ERROR(MakePrivateFolder(dir + "/clients"));
  RETURN_IF_ERROR(MakePrivateFolder(folder));
  RETURN_IF_ERROR(WriteFile(folder + "/ca.pem", authority.certificate, 0644));
  RETURN_IF_ERROR(WritePair(folder + "/client", client));
  ASSIGN_OR_RETURN(const int64_t expiry, ExpiryUnixSeconds(client.certificate));
  out << "client  " << folder << ", role " << Name(role) << ", valid until " << Date(expiry) << "\n";
  return absl::OkStatus();
}

absl::StatusOr<std::string> Folder(const CertsOptions& options) {
  if (!options.dir.empty()) return options.dir;
  return DefaultCertificateFolder();
}

absl::StatusOr<Role> RoleOf(const CertsOptions& options) {
  const auto role = ParseRole(options.role);
  if (role) return *role;
  return Error(absl::StatusCode::kInvalidArgument, "--role %s: a role is viewer or operator", Printable(options.role));
}

absl::StatusOr<CertifiedKey> LoadAuthority(const std::string& dir) {
  CertifiedKey authority;
  ASSIGN_OR_RETURN(authority.certificate, ReadPemFile("the authority", dir + "/ca.pem"));
  ASSIGN_OR_RETURN(authority.key, ReadPemFile("the authority's key", dir + "/ca.key"));
  const absl::Status fits = CheckPair(authority);
  if (!fits.ok()) return Annotate(fits, dir + "/ca.pem");
  return authority;
}

absl::Status Init(const CertsOptions& options, std::ostream& out) {
  ASSIGN_OR_RETURN(const std::string dir, Folder(options));
  ASSIGN_OR_RETURN(const Role role, RoleOf(options));
  RETURN_IF_ERROR(ValidFor(options.days).status());
  if (!options.client.empty()) RETURN_IF_ERROR(CheckClientName(options.client));
  for (const char* file : {"/ca.pem", "/ca.key", "/server.pem", "/server.key"}) {
    if (!Exists(dir + file)) continue;
    return Error(absl::StatusCode::kAlreadyExists,
                 "%s%s is there already, and what it vouches for would be worthless without it: add clients with "
                 "imapmeshd certs client, renew the server's with imapmeshd certs server, or take another --dir",
                 dir, file);
  }
  ASSIGN_OR_RETURN(const Validity validity, ValidFor(kAuthorityDays));
  const std::vector<std::string> hosts = HostNames(options);
  const std::string name = "imapmesh authority of " + hosts.front();
  ASSIGN_OR_RETURN(const CertifiedKey authority, MakeAuthority(name.substr(0, 64), validity));
  RETURN_IF_ERROR(MakePrivateFolder(dir));
  RETURN_IF_ERROR(WritePair(dir + "/ca", authority));
  out << "CA      " << dir << "/ca.pem, valid until " << Date(validity.not_after_unix_s)
      << "; keep ca.key away from others, or off this machine\n";
  RETURN_IF_ERROR(WriteServer(dir, authority, options, out));
  if (!options.client.empty()) {
    RETURN_IF_ERROR(WriteClient(dir, authority, options.client, role, options, out));
  } else {
    for (const Role each : {Role::kViewer, Role::kOperator}) {
      RETURN_IF_ERROR(WriteClient(dir, authority, Name(each), each, options, out));
    }
  }
  const std::string client = options.client.empty() ? Name(Role::kOperator) : options.client;
  out << "\nThe daemon:  imapmeshd --topology FILE --listen 0.0.0.0:7443 --tls-dir " << dir
      << "\nA client:    imapmesh --address " << hosts.front() << ":7443 --tls-dir " << dir << "/clients/" << client
      << " status\n";
  return absl::OkStatus();
}

absl::Status AddClient(const CertsOptions& options, std::ostream& out) {
  ASSIGN_OR_RETURN(const std::string dir, Folder(options));
  ASSIGN_OR_RETURN(const Role role, RoleOf(options));
  ASSIGN_OR_RETURN(const CertifiedKey authority, LoadAuthority(dir));
  return WriteClient(dir, authority, options.client, role, options, out);
}

absl::Status AddServer(const CertsOptions& options, std::ostream& out) {
  ASSIGN_OR_RETURN(const std::string dir, Folder(options));
  ASSIGN_OR_RETURN(const CertifiedKey authority, LoadAuthority(dir));
  return WriteServer(dir, authority, options, out);
}

int Conclude(const absl::Status& status, std::ostream& error) {
  if (status.ok()) return kExitDone;
  error << "imapmeshd certs: " << Message(status) << "\n";
  return absl::IsInvalidArgument(status) ? kExitUsage : kExitFailed;
}

}  // namespace

int InitCertificates(const CertsOptions& options, std::ostream& out, std::ostream& error) {
  return Conclude(Init(options, out), error);
}

int IssueClientCertificate(const CertsOptions& options, std::ostream& out, std::ostream& error) {
  return Conclude(AddClient(options, out), error);
}

int IssueServerCertificate(const CertsOptions& options, std::ostream& out, std::ostream& error) {
  return Conclude(AddServer(options, out), error);
}

}  // namespace imapmesh
