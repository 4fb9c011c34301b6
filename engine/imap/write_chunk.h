// What a session writes in one go: texts and messages one behind the other. Messages are not copied, but for small ones
// and those that lie in a file. session.cc fills and writes it. Engine thread.
#ifndef IMAPMESH_ENGINE_IMAP_WRITE_CHUNK_H_
#define IMAPMESH_ENGINE_IMAP_WRITE_CHUNK_H_

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "engine/net/body.h"

namespace imapmesh::imap {

class WriteChunk {
 public:
  void AddText(std::string_view text);
  // `count` bytes of the body from `offset` on, at least one. What ReadAt tells of one in a file; kDataLoss where it is
  // shorter.
  absl::Status AddBody(std::shared_ptr<const Body> body, uint64_t offset, size_t count);

  size_t size() const { return size_; }  // bytes
  // Valid until the chunk changes.
  std::vector<std::string_view> Parts() const;
  void Clear();

 private:
  struct Part {
    std::string text;
    std::shared_ptr<const Body> body;  // null: the part is `text`
    std::string_view bytes;            // of `body`
  };
  std::string& LastText();

  std::vector<Part> parts_;
  size_t size_ = 0;
};

}  // namespace imapmesh::imap

#endif  // IMAPMESH_ENGINE_IMAP_WRITE_CHUNK_H_
