// The bytes of one message on their way from one replica to others: in memory while small, in an unlinked temporary
// file beyond that, so that memory stays bounded whatever is mailed.
//
// The IMAP parser fills it while a literal arrives; APPEND reads it, for several targets at once. Engine thread only;
// after Finish it is immutable.
#ifndef IMAPMESH_ENGINE_NET_BODY_H_
#define IMAPMESH_ENGINE_NET_BODY_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "base/status.h"

namespace imapmesh {

class Body {
 public:
  // Beyond `memory_limit` bytes the content goes to a file in `directory` ("" for $TMPDIR or /tmp).
  explicit Body(size_t memory_limit = 256 * 1024, std::string directory = "");
  ~Body();
  Body(const Body&) = delete;
  Body& operator=(const Body&) = delete;

  // So many bytes will be appended in all.
  void Expect(uint64_t size) { memory_.reserve(size <= memory_limit_ ? size : 0); }
  // kResourceExhausted when the temporary file cannot grow (disk full).
  absl::Status Append(std::string_view bytes);
  uint64_t size() const { return size_; }
  // Reads up to `into_size` bytes at `offset`; 0 at the end.
  absl::StatusOr<size_t> ReadAt(uint64_t offset, char* into, size_t into_size) const;
  // The whole content when it is in memory, else empty with in_memory() false.
  bool in_memory() const { return file_ < 0; }
  std::string_view memory() const { return memory_; }

 private:
  size_t memory_limit_;
  std::string directory_;
  std::string memory_;
  int file_ = -1;
  uint64_t size_ = 0;
};

}  // namespace imapmesh

#endif  // IMAPMESH_ENGINE_NET_BODY_H_
