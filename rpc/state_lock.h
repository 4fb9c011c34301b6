// Keeps a second daemon off the same state file: a lock on FILE.lock, held as long as this lives and no longer than the
// process. The file is left in place: removing it would race with the next holder.
#ifndef IMAPMESH_RPC_STATE_LOCK_H_
#define IMAPMESH_RPC_STATE_LOCK_H_

#include <memory>
#include <string>

#include "base/status.h"

namespace imapmesh {

class StateLock {
 public:
  // Makes the folder and the (private) state file where missing. kFailedPrecondition: another daemon has it, its
  // process id is in the text; kPermissionDenied, kResourceExhausted: the files cannot be made.
  static absl::StatusOr<std::unique_ptr<StateLock>> Take(const std::string& state_path);
  ~StateLock();
  StateLock(const StateLock&) = delete;
  StateLock& operator=(const StateLock&) = delete;

 private:
  explicit StateLock(int fd) : fd_(fd) {}
  const int fd_;
};

}  // namespace imapmesh

#endif  // IMAPMESH_RPC_STATE_LOCK_H_
