#include "engine/imap/write_chunk.h"

#include <utility>

namespace imapmesh::imap {
namespace {

constexpr size_t kCopiedMax = 2048;  // bytes: what a part of its own costs more than

}  // namespace

std::string& WriteChunk::LastText() {
  if (parts_.empty() || parts_.back().body != nullptr) parts_.emplace_back();
  return parts_.back().text;
}

void WriteChunk::AddText(std::string_view text) {
  if (text.empty()) return;
  LastText() += text;
  size_ += text.size();
}

absl::Status WriteChunk::AddBody(std::shared_ptr<const Body> body, uint64_t offset, size_t count) {
  if (body->in_memory() && count > kCopiedMax) {
    const std::string_view bytes = body->memory().substr(offset, count);
    parts_.push_back({"", std::move(body), bytes});
    size_ += bytes.size();
    return absl::OkStatus();
  }
  std::string& text = LastText();
  for (size_t added = 0; added < count;) {
    const size_t before = text.size();
    text.resize(before + count - added);
    ASSIGN_OR_RETURN(const size_t read, body->ReadAt(offset + added, text.data() + before, count - added));
    if (read == 0) return absl::DataLossError("it is shorter than it was");
    text.resize(before + read);
    added += read;
  }
  size_ += count;
  return absl::OkStatus();
}

std::vector<std::string_view> WriteChunk::Parts() const {
  std::vector<std::string_view> parts;
  parts.reserve(parts_.size());
  for (const Part& part : parts_) parts.push_back(part.body != nullptr ? part.bytes : std::string_view(part.text));
  return parts;
}

void WriteChunk::Clear() {
  parts_.clear();
  size_ = 0;
}

}  // namespace imapmesh::imap
