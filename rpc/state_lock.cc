#include "rpc/state_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

namespace imapmesh {
namespace {

absl::Status CannotMake(const std::string& path, int error) {
  const bool full = error == ENOSPC || error == EDQUOT;
  return Error(full ? absl::StatusCode::kResourceExhausted : absl::StatusCode::kPermissionDenied,
               "state file %s: cannot be opened: %s; name another with --state", path, std::strerror(error));
}

std::string HolderOf(int fd) {
  char text[32];
  const ssize_t size = pread(fd, text, sizeof(text), 0);
  std::string pid;
  for (ssize_t i = 0; i < size && text[i] >= '0' && text[i] <= '9'; ++i) pid += text[i];
  return pid.empty() ? "another imapmeshd" : "another imapmeshd, process " + pid;
}

}  // namespace

absl::StatusOr<std::unique_ptr<StateLock>> StateLock::Take(const std::string& state_path) {
  const std::filesystem::path folder = std::filesystem::path(state_path).parent_path();
  std::error_code failure;
  if (!folder.empty() && std::filesystem::create_directories(folder, failure)) {
    std::filesystem::permissions(folder, std::filesystem::perms::owner_all, failure);
  }
  const std::string lock_path = state_path + ".lock";
  const int fd = open(lock_path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) return CannotMake(lock_path, errno);
  std::unique_ptr<StateLock> lock(new StateLock(fd));
  if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return CannotMake(lock_path, errno);
    return Error(absl::StatusCode::kFailedPrecondition,
                 "state file %s is in use by %s: stop that one first, or give this one a --state of its own",
                 state_path, HolderOf(fd));
  }
  const std::string pid = std::to_string(getpid()) + "\n";
  if (ftruncate(fd, 0) != 0 || pwrite(fd, pid.data(), pid.size(), 0) != static_cast<ssize_t>(pid.size())) {
    return CannotMake(lock_path, errno);
  }
  // Made here, so that nobody else can read it; SQLite gives its side files the same mode.
  const int state = open(state_path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (state < 0) return CannotMake(state_path, errno);
  close(state);
  return lock;
}

StateLock::~StateLock() {
  close(fd_);
}

}  // namespace imapmesh
