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

// Where an escape of `character` begins at `at`, with any number of guards before its code ("=2F", "=3D2F",
// "=3D3D2F"…): how many guards; nullopt where none begins.
std::optional<size_t> GuardsAt(std::string_view level, size_t at, const std::string& code) {
  if (level[at] != '=') return std::nullopt;
  size_t guards = 0;
  for (at += 1; level.substr(at, 2) == "3D" && level.substr(at, 2) != code; at += 2) ++guards;
  if (level.substr(at, 2) != code) return std::nullopt;
  return guards;
}

std::string CodeOf(char character) {
  const auto byte = static_cast<unsigned char>(character);
  return {kHex[byte >> 4], kHex[byte & 15]};
}

// Writes a level where `character` cannot be part of one: "=XX" for it; what already looks like such an escape gets one
// guard more. Everything else stays, so that ordinary names are the same everywhere. Unescape is its exact inverse.
std::string Escape(std::string_view level, char character) {
  const std::string code = CodeOf(character);
  std::string out;
  for (size_t i = 0; i < level.size(); ++i) {
    if (level[i] == character) {
      out += "=" + code;
    } else {
      out += level[i];
      if (GuardsAt(level, i, code)) out += "3D";
    }
  }
  return out;
}

std::string Unescape(std::string_view level, char character) {
  const std::string code = CodeOf(character);
  std::string out;
  for (size_t i = 0; i < level.size(); ++i) {
    const auto guards = GuardsAt(level, i, code);
    if (guards == 0u) {
      out += character;
      i += 2;
    } else {
      out += level[i];
      if (guards) i += 2;
    }
  }
  return out;
}

}  // namespace

MailboxNames::MailboxNames(std::string delimiter, std::string prefix, std::vector<std::string> foreign_prefixes)
    : delimiter_(std::move(delimiter)), prefix_(std::move(prefix)), foreign_prefixes_(std::move(foreign_prefixes)) {}

std::optional<std::string> MailboxNames::ToMesh(std::string_view raw) const {
  if (IsInbox(raw)) return "INBOX";
  for (const std::string& foreign : foreign_prefixes_) {
    if (!foreign.empty() && raw.starts_with(foreign)) return std::nullopt;
  }
  if (!prefix_.empty() && raw.starts_with(prefix_)) raw.remove_prefix(prefix_.size());
  if (raw.empty()) return std::nullopt;
  std::string mesh;
  for (const std::string& level_raw : Split(raw, delimiter_)) {
    std::string level = imap::DecodeModifiedUtf7(level_raw).value_or(level_raw);
    if (!delimiter_.empty()) level = Unescape(level, delimiter_[0]);
    if (!mesh.empty()) mesh += '/';
    mesh += Escape(level, '/');
  }
  if (IsInbox(mesh.substr(0, mesh.find('/')))) mesh.replace(0, 5, "INBOX");
  return mesh;
}

std::string MailboxNames::ToServer(std::string_view mailbox) const {
  if (mailbox == "INBOX") return "INBOX";
  std::string raw;
  bool first = true;
  for (const std::string& level_mesh : Split(mailbox, "/")) {
    std::string level = Unescape(level_mesh, '/');
    if (!delimiter_.empty()) level = Escape(level, delimiter_[0]);
    if (!first) raw += delimiter_;
    first = false;
    raw += imap::EncodeModifiedUtf7(level).value_or(level);
  }
  return prefix_ + raw;
}

}  // namespace imapmesh
