#include "engine/net/body.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>

namespace imapmesh {
namespace {

// An unlinked file: it goes with its descriptor, also after a crash.
absl::StatusOr<int> OpenTemporary(std::string directory) {
  if (directory.empty()) {
    const char* configured = std::getenv("TMPDIR");
    directory = configured != nullptr && *configured != '\0' ? configured : "/tmp";
  }
  std::string path = directory + "/imapmesh-body-XXXXXX";
  const int file = mkostemp(path.data(), O_CLOEXEC);
  if (file < 0) {
    return Error(absl::StatusCode::kResourceExhausted, "cannot make a temporary file in %s for a large message: %s",
                 directory, std::strerror(errno));
  }
  unlink(path.c_str());
  return file;
}

absl::Status WriteAll(int file, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written = write(file, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) {
      return Error(absl::StatusCode::kResourceExhausted, "the temporary file of a large message cannot grow: %s",
                   std::strerror(errno));
    }
    bytes.remove_prefix(static_cast<size_t>(written));
  }
  return absl::OkStatus();
}

}  // namespace

Body::Body(size_t memory_limit, std::string directory)
    : memory_limit_(memory_limit), directory_(std::move(directory)) {}

Body::~Body() {
  if (file_ >= 0) close(file_);
}

absl::Status Body::Append(std::string_view bytes) {
  if (file_ < 0 && memory_.size() + bytes.size() > memory_limit_) {
    ASSIGN_OR_RETURN(file_, OpenTemporary(directory_));
    RETURN_IF_ERROR(WriteAll(file_, memory_));
    memory_ = std::string();
  }
  if (file_ >= 0) {
    RETURN_IF_ERROR(WriteAll(file_, bytes));
  } else {
    memory_.append(bytes);
  }
  size_ += bytes.size();
  return absl::OkStatus();
}

absl::StatusOr<size_t> Body::ReadAt(uint64_t offset, char* into, size_t into_size) const {
  if (offset >= size_) return size_t{0};
  const size_t wanted = static_cast<size_t>(std::min<uint64_t>(into_size, size_ - offset));
  if (file_ < 0) {
    std::memcpy(into, memory_.data() + offset, wanted);
    return wanted;
  }
  while (true) {
    const ssize_t read = pread(file_, into, wanted, static_cast<off_t>(offset));
    if (read >= 0) return static_cast<size_t>(read);
    if (errno == EINTR) continue;
    return Error(absl::StatusCode::kInternal, "the temporary file of a large message cannot be read: %s",
                 std::strerror(errno));
  }
}

}  // namespace imapmesh
