#include "engine/replica/mailbox_names.h"

#include <algorithm>
#include <cctype>
#include <utility>

#include "engine/imap/modified_utf7.h"

namespace imapmesh {
namespace {

constexpr char kHex[] = "0123456789ABCDEF";

bool IsInbox(std::string_view name) {
  constexpr std::string_view kInbox = "INBOX";
  return std::equal(name.begin(), name.end(), kInbox.begin(), kInbox.end(),
                    [](unsigned char a, unsigned char b) { return std::toupper(a) == b; });
}

std::vector<std::string> Split(std::string_view text, std::string_view delimiter) {
  std::vector<std::string> levels;
  while (!delimiter.empty()) {
    const size_t at = text.find(delimiter);
    if (at == std::string_view::npos) break;
    levels.emplace_back(text.substr(0, at));
    text.remove_prefix(at + delimiter.size());
  }
  levels.emplace_back(text);
  return levels;
}

std::string Escape(char c) {
  const auto byte = static_cast<unsigned char>(c);
  return {'=', kHex[byte >> 4], kHex[byte & 15]};
}

std::optional<char> EscapedAt(std::string_view level, size_t at) {
  if (at + 2 >= level.size() || level[at] != '=') return std::nullopt;
  const char* high = std::find(kHex, kHex + 16, level[at + 1]);
  const char* low = std::find(kHex, kHex + 16, level[at + 2]);
  if (high == kHex + 16 || low == kHex + 16) return std::nullopt;
  return static_cast<char>((high - kHex) * 16 + (low - kHex));
}

}  // namespace

MailboxNames::MailboxNames(std::string delimiter, std::string prefix, std::vector<std::string> foreign_prefixes)
    : delimiter_(std::move(delimiter)), prefix_(std::move(prefix)), foreign_prefixes_(std::move(foreign_prefixes)) {}

// Within a level, the mesh cannot have "/", this server cannot have its delimiter: each is escaped on the side where it
// would split the level, and undone on the other; an escape that a name really holds has its "=" escaped.
std::optional<std::string> MailboxNames::ToMesh(std::string_view raw) const {
  if (IsInbox(raw)) return "INBOX";
  for (const std::string& foreign : foreign_prefixes_) {
    if (!foreign.empty() && raw.starts_with(foreign)) return std::nullopt;
  }
  if (!prefix_.empty() && raw.starts_with(prefix_)) raw.remove_prefix(prefix_.size());
  if (raw.empty()) return std::nullopt;
  std::string mesh;
  for (const std::string& level_raw : Split(raw, delimiter_)) {
    const std::string level = imap::DecodeModifiedUtf7(level_raw).value_or(level_raw);
    if (!mesh.empty()) mesh += '/';
    for (size_t i = 0; i < level.size(); ++i) {
      const auto escaped = EscapedAt(level, i);
      if (escaped && delimiter_ == std::string(1, *escaped) && *escaped != '/') {
        mesh += *escaped;
        i += 2;
      } else if (level[i] == '/') {
        mesh += Escape('/');
      } else if (escaped == '/' || escaped == '=') {
        mesh += Escape('=');
      } else {
        mesh += level[i];
      }
    }
  }
  if (IsInbox(mesh.substr(0, mesh.find('/')))) mesh.replace(0, 5, "INBOX");
  return mesh;
}

std::string MailboxNames::ToServer(std::string_view mailbox) const {
  if (mailbox == "INBOX") return "INBOX";
  std::string raw;
  bool first = true;
  for (const std::string& level_mesh : Split(mailbox, "/")) {
    std::string level;
    for (size_t i = 0; i < level_mesh.size(); ++i) {
      const auto escaped = EscapedAt(level_mesh, i);
      if (delimiter_ == std::string(1, level_mesh[i])) {
        level += Escape(level_mesh[i]);
      } else if (escaped == '/' && delimiter_ != "/") {
        level += '/';
        i += 2;
      } else if (escaped == '=') {
        level += '=';
        i += 2;
      } else {
        level += level_mesh[i];
      }
    }
    if (!first) raw += delimiter_;
    first = false;
    raw += imap::EncodeModifiedUtf7(level).value_or(level);
  }
  return prefix_ + raw;
}

}  // namespace imapmesh
