#include "rpc/paths.h"

#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <vector>

namespace imapmesh {
namespace {

// Absolute, or "" (the XDG specification has relative paths ignored).
std::string Folder(const char* variable) {
  const char* value = std::getenv(variable);
  return value != nullptr && value[0] == '/' ? value : "";
}

// "" when there is none.
std::string Home() {
  std::string folder = Folder("HOME");
  if (!folder.empty()) return folder;
  const passwd* user = getpwuid(geteuid());
  if (user != nullptr && user->pw_dir != nullptr && user->pw_dir[0] == '/') folder = user->pw_dir;
  return folder;
}

absl::StatusOr<std::string> StateHome() {
  std::string folder = Folder("XDG_STATE_HOME");
  if (!folder.empty()) return folder;
  folder = Home();
  if (folder.empty()) {
    return absl::FailedPreconditionError("neither XDG_STATE_HOME nor HOME is set: say where with --state and --listen");
  }
  return folder + "/.local/state";
}

absl::StatusOr<std::string> SocketFolder() {
  std::string folder = Folder("XDG_RUNTIME_DIR");
  if (folder.empty()) {
    const std::string usual = "/run/user/" + std::to_string(geteuid());
    struct stat found {};
    if (stat(usual.c_str(), &found) == 0 && S_ISDIR(found.st_mode) && found.st_uid == geteuid()) folder = usual;
  }
  if (folder.empty()) {
    ASSIGN_OR_RETURN(folder, StateHome());
  }
  return folder + "/imapmesh";
}

}  // namespace

absl::StatusOr<std::string> DefaultStatePath(const std::string& topology_name) {
  ASSIGN_OR_RETURN(const std::string folder, StateHome());
  return folder + "/imapmesh/" + topology_name + ".db";
}

absl::StatusOr<std::string> DefaultListenAddress(const std::string& topology_name) {
  ASSIGN_OR_RETURN(const std::string folder, SocketFolder());
  return "unix:" + folder + "/" + topology_name + ".sock";
}

absl::StatusOr<std::string> DefaultConfigFolder() {
  std::string folder = Folder("XDG_CONFIG_HOME");
  if (folder.empty()) {
    folder = Home();
    if (folder.empty()) {
      return absl::FailedPreconditionError("neither XDG_CONFIG_HOME nor HOME is set: set one of them");
    }
    folder += "/.config";
  }
  return folder + "/imapmesh";
}

absl::StatusOr<std::string> DefaultCertificateFolder() {
  const auto folder = DefaultConfigFolder();
  if (!folder.ok()) {
    return absl::FailedPreconditionError("neither XDG_CONFIG_HOME nor HOME is set: say where with --dir");
  }
  return *folder + "/tls";
}

absl::StatusOr<std::string> FindDaemonAddress() {
  ASSIGN_OR_RETURN(const std::string folder, SocketFolder());
  std::vector<std::string> sockets;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
    if (entry.path().extension() == ".sock" && entry.is_socket(error)) sockets.push_back(entry.path());
  }
  if (sockets.size() == 1) return "unix:" + sockets.front();
  if (sockets.empty()) {
    return Error(absl::StatusCode::kUnavailable,
                 "no coordinator is running (no socket in %s): start one with imapmeshd --topology FILE, or name one "
                 "with --address",
                 folder);
  }
  std::sort(sockets.begin(), sockets.end());
  std::string list;
  for (const std::string& socket : sockets) list += "\n  --address unix:" + socket;
  return absl::InvalidArgumentError("several coordinators run here; say which:" + list);
}

}  // namespace imapmesh
