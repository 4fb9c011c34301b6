#include "engine/imap/modified_utf7.h"

#include <cstdint>

namespace imapmesh::imap {
namespace {

constexpr std::string_view kAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,";

// The next code point of valid UTF-8, taken off `text`; nullopt when it is not valid.
std::optional<uint32_t> TakeCodePoint(std::string_view& text) {
  const auto byte = [&](size_t i) { return static_cast<uint32_t>(static_cast<unsigned char>(text[i])); };
  const uint32_t first = byte(0);
  const size_t length = first < 0x80 ? 1 : first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : first >= 0xC2 ? 2 : 0;
  if (length == 0 || first > 0xF4 || text.size() < length) return std::nullopt;
  uint32_t point = length == 1 ? first : first & (0xFFu >> (length + 1));
  for (size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return std::nullopt;
    point = point << 6 | (byte(i) & 0x3F);
  }
  constexpr uint32_t kSmallest[] = {0, 0, 0x80, 0x800, 0x10000};
  const bool surrogate = point >= 0xD800 && point <= 0xDFFF;
  if (point < kSmallest[length] || point > 0x10FFFF || surrogate || point == 0) return std::nullopt;
  text.remove_prefix(length);
  return point;
}

void PutUtf8(std::string& out, uint32_t point) {
  if (point < 0x80) {
    out.push_back(static_cast<char>(point));
    return;
  }
  const int more = point < 0x800 ? 1 : point < 0x10000 ? 2 : 3;
  constexpr uint32_t kLead[] = {0, 0xC0, 0xE0, 0xF0};
  out.push_back(static_cast<char>(kLead[more] | point >> (6 * more)));
  for (int i = more - 1; i >= 0; --i) out.push_back(static_cast<char>(0x80 | ((point >> (6 * i)) & 0x3F)));
}

// Writes UTF-16 units as the base64 of the RFC.
class Base64Writer {
 public:
  explicit Base64Writer(std::string& out) : out_(out) {}
  void Put(uint32_t unit) {
    buffer_ = buffer_ << 16 | unit;
    bits_ += 16;
    for (; bits_ >= 6; bits_ -= 6) out_.push_back(kAlphabet[(buffer_ >> (bits_ - 6)) & 63]);
  }
  void Finish() {
    if (bits_ > 0) out_.push_back(kAlphabet[(buffer_ << (6 - bits_)) & 63]);
    bits_ = 0;
    buffer_ = 0;
  }

 private:
  std::string& out_;
  uint64_t buffer_ = 0;
  int bits_ = 0;
};

// Decodes one base64 run into UTF-8; false when it is broken.
bool PutDecoded(std::string& out, std::string_view base64) {
  uint64_t buffer = 0;
  int bits = 0;
  uint32_t high = 0;
  for (const char c : base64) {
    const size_t value = kAlphabet.find(c);
    if (value == std::string_view::npos) return false;
    buffer = (buffer << 6 | value) & 0xFFFFFFFF;
    bits += 6;
    if (bits < 16) continue;
    bits -= 16;
    const auto unit = static_cast<uint32_t>(buffer >> bits & 0xFFFF);
    if (high != 0) {
      if (unit < 0xDC00 || unit > 0xDFFF) return false;
      PutUtf8(out, 0x10000 + ((high - 0xD800) << 10) + (unit - 0xDC00));
      high = 0;
    } else if (unit >= 0xD800 && unit <= 0xDBFF) {
      high = unit;
    } else if (unit >= 0xDC00 && unit <= 0xDFFF) {
      return false;
    } else {
      PutUtf8(out, unit);
    }
  }
  return high == 0;
}

}  // namespace

std::optional<std::string> EncodeModifiedUtf7(std::string_view utf8) {
  std::string out;
  Base64Writer base64(out);
  bool shifted = false;
  const auto end_shift = [&] {
    if (!shifted) return;
    base64.Finish();
    out.push_back('-');
    shifted = false;
  };
  while (!utf8.empty()) {
    const auto point = TakeCodePoint(utf8);
    if (!point) return std::nullopt;
    if (*point >= 0x20 && *point <= 0x7E) {
      end_shift();
      out.push_back(static_cast<char>(*point));
      if (*point == '&') out.push_back('-');
      continue;
    }
    if (!shifted) out.push_back('&');
    shifted = true;
    if (*point >= 0x10000) {
      base64.Put(0xD800 + ((*point - 0x10000) >> 10));
      base64.Put(0xDC00 + ((*point - 0x10000) & 0x3FF));
    } else {
      base64.Put(*point);
    }
  }
  end_shift();
  return out;
}

std::optional<std::string> DecodeModifiedUtf7(std::string_view raw) {
  std::string out;
  for (size_t i = 0; i < raw.size(); ++i) {
    const auto c = static_cast<unsigned char>(raw[i]);
    if (c < 0x20 || c > 0x7E) return std::nullopt;
    if (c != '&') {
      out.push_back(raw[i]);
      continue;
    }
    const size_t end = raw.find('-', i);
    if (end == std::string_view::npos) return std::nullopt;
    if (end == i + 1) {
      out.push_back('&');
    } else if (!PutDecoded(out, raw.substr(i + 1, end - i - 1))) {
      return std::nullopt;
    }
    i = end;
  }
  if (EncodeModifiedUtf7(out) != raw) return std::nullopt;
  return out;
}

}  // namespace imapmesh::imap
