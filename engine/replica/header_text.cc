#include "engine/replica/header_text.h"

#include <iconv.h>

#include <algorithm>
#include <cctype>
#include <optional>
#include <string>

#include "absl/strings/escaping.h"

namespace imapmesh {
namespace {

constexpr size_t kTextBytesMax = 1000;

// The value of the first field of this name, its folds undone; "" for none.
std::string FieldValue(std::string_view header, std::string_view name) {
  bool inside = false;
  std::string value;
  while (!header.empty()) {
    const size_t end = header.find('\n');
    std::string_view line = header.substr(0, end);
    header.remove_prefix(end == std::string_view::npos ? header.size() : end + 1);
    if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
    const bool folded = !line.empty() && (line[0] == ' ' || line[0] == '\t');
    if (inside && !folded) break;
    if (inside) {
      value += line;
    } else if (line.size() > name.size() && line[name.size()] == ':') {
      inside = true;
      for (size_t i = 0; i < name.size(); ++i) inside &= std::tolower(static_cast<unsigned char>(line[i])) == name[i];
      if (inside) value = line.substr(name.size() + 1);
    }
  }
  const size_t first = value.find_first_not_of(" \t");
  return first == std::string::npos ? "" : value.substr(first);
}

// Cut between characters, not within one.
std::string Cut(std::string text) {
  if (text.size() <= kTextBytesMax) return text;
  size_t end = kTextBytesMax;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
  text.resize(end);
  return text;
}

// `bytes` of `charset` in UTF-8; nullopt when it is not known or they do not fit it.
std::optional<std::string> ToUtf8(std::string bytes, const std::string& charset) {
  const iconv_t converter = iconv_open("UTF-8", charset.c_str());
  // NOLINTNEXTLINE(performance-no-int-to-ptr): iconv_open(3) says so
  if (converter == reinterpret_cast<iconv_t>(-1)) return std::nullopt;
  std::string utf8(bytes.size() * 4 + 16, '\0');
  char *in = bytes.data(), *out = utf8.data();
  size_t in_left = bytes.size(), out_left = utf8.size();
  const bool fits = iconv(converter, &in, &in_left, &out, &out_left) != static_cast<size_t>(-1);
  iconv_close(converter);
  if (!fits) return std::nullopt;
  utf8.resize(utf8.size() - out_left);
  return utf8;
}

std::optional<unsigned> HexDigit(char c) {
  if (c >= '0' && c <= '9') return static_cast<unsigned>(c - '0');
  const int lower = std::tolower(static_cast<unsigned char>(c));
  if (lower >= 'a' && lower <= 'f') return static_cast<unsigned>(lower - 'a' + 10);
  return std::nullopt;
}

// RFC 2047 section 4.2.
std::string DecodeQ(std::string_view text) {
  std::string bytes;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto high = i + 2 < text.size() && text[i] == '=' ? HexDigit(text[i + 1]) : std::nullopt;
    const auto low = high ? HexDigit(text[i + 2]) : std::nullopt;
    if (low) {
      bytes += static_cast<char>(*high << 4 | *low);
      i += 2;
    } else {
      bytes += text[i] == '_' ? ' ' : text[i];
    }
  }
  return bytes;
}

// An encoded word, "=?charset?encoding?text?=" (RFC 2047 section 2), with what it means.
struct EncodedWord {
  size_t length = 0;
  std::string charset;
  std::string bytes;
};
std::optional<EncodedWord> TakeEncodedWord(std::string_view text) {
  if (!text.starts_with("=?")) return std::nullopt;
  const size_t charset_end = text.find('?', 2);
  if (charset_end == std::string_view::npos || charset_end + 2 >= text.size() || text[charset_end + 2] != '?') {
    return std::nullopt;
  }
  const size_t end = text.find("?=", charset_end + 3);
  if (end == std::string_view::npos) return std::nullopt;
  const std::string_view encoded = text.substr(charset_end + 3, end - charset_end - 3);
  if (encoded.find_first_of(" \t") != std::string_view::npos) return std::nullopt;
  EncodedWord word;
  word.length = end + 2;
  word.charset = text.substr(2, charset_end - 2);
  word.charset.resize(std::min(word.charset.find('*'), word.charset.size()));  // a language, RFC 2231 section 5
  const char encoding = text[charset_end + 1];
  if (encoding == 'q' || encoding == 'Q') {
    word.bytes = DecodeQ(encoded);
  } else if ((encoding != 'b' && encoding != 'B') || !absl::Base64Unescape(ToAbsl(encoded), &word.bytes)) {
    return std::nullopt;
  }
  return word;
}

// Raw bytes that no header may have are UTF-8 if they can be, else Latin-1, which takes everything.
std::string DecodeRaw(const std::string& text) {
  if (auto utf8 = ToUtf8(text, "UTF-8")) return *std::move(utf8);
  return ToUtf8(text, "ISO-8859-1").value_or(text);
}

std::string Decode(std::string_view value) {
  std::string out, raw, charset, bytes;  // `bytes`: of encoded words in a row, which may share a character
  const auto flush_words = [&] {
    if (!bytes.empty()) out += ToUtf8(bytes, charset).value_or(DecodeRaw(bytes));
    bytes.clear();
  };
  const auto flush_raw = [&] {
    out += DecodeRaw(raw);
    raw.clear();
  };
  while (!value.empty() && out.size() < 2 * kTextBytesMax) {
    const auto word = TakeEncodedWord(value);
    if (!word) {
      raw += value.front();
      value.remove_prefix(1);
      continue;
    }
    // White space between encoded words is not shown (RFC 2047 section 6.2).
    if (!bytes.empty() && raw.find_first_not_of(" \t") == std::string::npos) raw.clear();
    if (!raw.empty() || word->charset != charset) flush_words();
    flush_raw();
    charset = word->charset;
    bytes += word->bytes;
    value.remove_prefix(word->length);
  }
  flush_words();
  flush_raw();
  return Cut(std::move(out));
}

}  // namespace

HeaderText ReadHeaderText(std::string_view header) {
  HeaderText text;
  text.subject = Decode(FieldValue(header, "subject"));
  text.sender = Decode(FieldValue(header, "from"));
  return text;
}

}  // namespace imapmesh
