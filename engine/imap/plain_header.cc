#include "engine/imap/plain_header.h"

#include <algorithm>

#include "engine/imap/response_parser.h"

namespace imapmesh::imap {
namespace {

constexpr size_t kHeaderBytesMax = 32 * 1024;

bool IsAskedField(std::string_view name) {
  return std::any_of(kHeaderFieldNames.begin(), kHeaderFieldNames.end(),
                     [&](std::string_view asked) { return EqualsInAnyCase(name, asked); });
}

// "Name:" of RFC 5322 section 2.2, and nothing between the two.
std::optional<std::string_view> FieldName(std::string_view line) {
  const size_t colon = line.find(':');
  if (colon == 0 || colon == std::string_view::npos) return std::nullopt;
  const std::string_view name = line.substr(0, colon);
  const bool printable = std::all_of(name.begin(), name.end(), [](char c) { return c > ' ' && c < 0x7F; });
  return printable ? std::make_optional(name) : std::nullopt;
}

}  // namespace

std::optional<std::string> PlainHeaderFields(std::string_view message) {
  std::string fields;
  bool asked = false;
  message = message.substr(0, kHeaderBytesMax);
  for (bool first = true;; first = false) {
    const size_t end = message.find("\r\n");
    if (end == std::string_view::npos) return std::nullopt;
    const std::string_view line = message.substr(0, end);
    message.remove_prefix(end + 2);
    if (line.empty()) return fields + "\r\n";
    const bool stray = line.find('\r') != std::string_view::npos || line.find('\n') != std::string_view::npos ||
                       line.find('\0') != std::string_view::npos;
    if (stray) return std::nullopt;
    if (line[0] == ' ' || line[0] == '\t') {
      const bool blank = line.find_first_not_of(" \t") == std::string_view::npos;
      if (first || blank) return std::nullopt;
    } else {
      const auto name = FieldName(line);
      if (!name) return std::nullopt;
      asked = IsAskedField(*name);
    }
    if (asked) fields.append(line).append("\r\n");
  }
}

}  // namespace imapmesh::imap
