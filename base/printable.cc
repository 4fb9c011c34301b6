#include "base/printable.h"

#include <cstdint>

namespace imapmesh {
namespace {

// Length of the well-formed UTF-8 sequence at the start of `text`, 0 when there is none.
size_t SequenceLength(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char first = byte(0);
  if (first < 0x80) return 1;
  const size_t length = first >= 0xF0 && first <= 0xF4 ? 4 : first >= 0xE0 ? 3 : first >= 0xC2 ? 2 : 0;
  if (length == 0 || first > 0xF4 || text.size() < length) return 0;
  for (size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return 0;
  }
  if (first == 0xE0 && byte(1) < 0xA0) return 0;  // overlong
  if (first == 0xED && byte(1) > 0x9F) return 0;  // surrogate
  if (first == 0xF0 && byte(1) < 0x90) return 0;  // overlong
  if (first == 0xF4 && byte(1) > 0x8F) return 0;  // beyond U+10FFFF
  return length;
}

bool IsHarmless(std::string_view sequence) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(sequence[i]); };
  if (sequence.size() == 1) return byte(0) >= 0x20 && byte(0) != 0x7F;
  if (sequence.size() == 2) return !(byte(0) == 0xC2 && byte(1) < 0xA0);  // C1 controls
  if (sequence.size() == 3 && byte(0) == 0xE2) {
    if (byte(1) == 0x80 && ((byte(2) >= 0xAA && byte(2) <= 0xAE) || (byte(2) >= 0x8B && byte(2) <= 0x8F) ||
                            byte(2) == 0xA8 || byte(2) == 0xA9)) {
      return false;  // bidirectional controls, zero-width and line separators
    }
    if (byte(1) == 0x81 && byte(2) >= 0xA0 && byte(2) <= 0xAF) return false;  // isolates and invisible operators
  }
  return !(sequence.size() == 3 && sequence == "\xEF\xBB\xBF");
}

}  // namespace

std::string Printable(std::string_view text, size_t max_bytes) {
  static constexpr char kHex[] = "0123456789abcdef";
  std::string out;
  while (!text.empty()) {
    if (out.size() >= max_bytes) return out + "…";
    const size_t length = SequenceLength(text);
    if (length > 0 && IsHarmless(text.substr(0, length))) {
      out.append(text.substr(0, length));
      text.remove_prefix(length);
      continue;
    }
    const auto byte = static_cast<unsigned char>(text[0]);
    out.append({'\\', 'x', kHex[byte >> 4], kHex[byte & 15]});
    text.remove_prefix(1);
  }
  return out;
}

}  // namespace imapmesh
