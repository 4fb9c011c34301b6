// libFuzzer over the IMAP grammar: no crash, no unbounded memory, and the same responses however the bytes are cut.
//
// The first byte of the input says how it is cut. tests/fuzz/run builds and runs it.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "engine/imap/response.h"
#include "engine/imap/response_reader.h"

namespace {

using imapmesh::imap::ParseResponse;
using imapmesh::imap::RawResponse;
using imapmesh::imap::ReaderLimits;
using imapmesh::imap::ResponseReader;

ReaderLimits SmallLimits() {
  ReaderLimits limits;
  limits.line_bytes_max = 2000;
  limits.response_bytes_max = 4000;
  limits.inline_literal_bytes_max = 1000;
  limits.literals_max = 20;
  limits.bodies_max = 4;
  limits.body_bytes_max = 1000;
  return limits;
}

// One line for each response: its pieces, and whether the grammar takes them.
std::vector<std::string> Responses(std::string_view bytes, size_t chunk) {
  std::vector<std::string> all;
  ResponseReader reader(SmallLimits());
  for (size_t begin = 0; begin < bytes.size(); begin += chunk) {
    std::string buffer(bytes.substr(begin, chunk));
    reader.Feed(buffer, buffer.size());
    while (true) {
      absl::StatusOr<std::optional<RawResponse>> raw = reader.Next();
      if (!raw.ok()) {
        all.push_back("error");
        return all;
      }
      if (!raw->has_value()) break;
      std::string line;
      for (const std::string& text : (*raw)->texts) line += text + "|";
      for (const auto& literal : (*raw)->literals) {
        line += literal.body != nullptr ? std::string(literal.body->memory()) : literal.bytes;
        line += literal.body != nullptr ? "#" : "~";
      }
      line += ParseResponse(**std::move(raw)).ok() ? "+" : "-";
      all.push_back(std::move(line));
    }
  }
  return all;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  if (Responses(bytes, bytes.size() + 1) != Responses(bytes, data[0] % 16 + 1)) std::abort();
  return 0;
}
