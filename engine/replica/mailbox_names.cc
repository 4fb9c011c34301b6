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

std::string CodeOf(char character) {
  const auto byte = static_cast<unsigned char>(character);
  return {kHex[byte >> 4], kHex[byte & 15]};
}

// An escape: any number of guards before its code ("=2F", "=3D2F", "=3D3D2F"…).
struct EscapeFound {
  char character = 0;  // that it stands for
  size_t guards = 0;
};

// The escape of one of `characters`, which "=" is none of, that begins at `at`; nullopt where none does.
std::optional<EscapeFound> EscapeAt(std::string_view level, size_t at, std::string_view characters) {
  if (level[at] != '=') return std::nullopt;
  EscapeFound found;
  for (at += 1; level.substr(at, 2) == "3D"; at += 2) ++found.guards;
  for (const char character : characters) {
    if (level.substr(at, 2) != CodeOf(character)) continue;
    found.character = character;
    return found;
  }
  return std::nullopt;
}

// Writes a level where `characters` cannot be part of one: "=XX" for each; what already looks like such an escape gets
// one guard more. Everything else stays, so that ordinary names are the same everywhere. Unescape is its exact inverse.
std::string Escape(std::string_view level, std::string_view characters) {
  std::string out;
  for (size_t i = 0; i < level.size(); ++i) {
    if (characters.find(level[i]) != std::string_view::npos) {
      out += "=" + CodeOf(level[i]);
    } else {
      out += level[i];
      if (EscapeAt(level, i, characters)) out += "3D";
    }
  }
  return out;
}

std::string Unescape(std::string_view level, std::string_view characters) {
  std::string out;
  for (size_t i = 0; i < level.size(); ++i) {
    const auto found = EscapeAt(level, i, characters);
    out += found && found->guards == 0 ? found->character : level[i];
    if (found) i += 2;
  }
  return out;
}

// A name that must make way for another moves by one "=" behind its last level, and so do those that look moved
// already: Grow and Shrink are each other's inverse. `taken` is the name that is not free, `name` may lie within it.
std::optional<std::string> Grow(std::string_view name, std::string_view taken) {
  if (!name.starts_with(taken)) return std::nullopt;
  size_t end = taken.size();
  while (end < name.size() && name[end] == '=') ++end;
  if (end < name.size() && name[end] != '/') return std::nullopt;
  return std::string(name.substr(0, end)) + "=" + std::string(name.substr(end));
}

std::optional<std::string> Shrink(std::string_view name, std::string_view taken) {
  if (!name.starts_with(taken)) return std::nullopt;
  size_t end = taken.size();
  while (end < name.size() && name[end] == '=') ++end;
  if (end == taken.size() || (end < name.size() && name[end] != '/')) return std::nullopt;
  return std::string(name.substr(0, end - 1)) + std::string(name.substr(end));
}

// The first level when it is INBOX in some case, possibly moved.
std::optional<std::string> InboxLevel(std::string_view name) {
  if (name.size() < 5 || !IsInbox(name.substr(0, 5))) return std::nullopt;
  return std::string(name.substr(0, 5));
}

const NameMapping* FindMapping(const std::vector<NameMapping>& mappings, std::string_view name,
                               std::string NameMapping::*side) {
  for (const NameMapping& mapping : mappings) {
    if (IsWithin(name, mapping.*side)) return &mapping;
  }
  return nullptr;
}

bool IsSide(const std::vector<NameMapping>& mappings, const std::string& name, std::string NameMapping::*side) {
  return std::any_of(mappings.begin(), mappings.end(),
                     [&](const NameMapping& mapping) { return mapping.*side == name; });
}

// One side of each mapping replaced by the other; what stands in the way of a name on the other side moves.
std::string Translate(const std::vector<NameMapping>& mappings, std::string name, std::string NameMapping::*from,
                      std::string NameMapping::*to) {
  if (const NameMapping* mapping = FindMapping(mappings, name, from)) {
    return mapping->*to + name.substr((mapping->*from).size());
  }
  for (const NameMapping& mapping : mappings) {
    // A name that is on both sides is not in its own way.
    if (!IsSide(mappings, mapping.*from, to)) {
      if (auto moved = Shrink(name, mapping.*from)) return *moved;
    }
    if (!IsSide(mappings, mapping.*to, from)) {
      if (auto moved = Grow(name, mapping.*to)) return *moved;
    }
  }
  return name;
}

bool BeginsWithAny(std::string_view raw, const std::vector<std::string>& prefixes) {
  return std::any_of(prefixes.begin(), prefixes.end(),
                     [&](const std::string& prefix) { return !prefix.empty() && raw.starts_with(prefix); });
}

}  // namespace

bool IsWithin(std::string_view name, std::string_view parent) {
  return name.starts_with(parent) && (name.size() == parent.size() || name[parent.size()] == '/');
}

MailboxNames::MailboxNames(std::string delimiter, std::string prefix, std::vector<std::string> foreign_prefixes,
                           std::string_view forbidden, std::vector<std::string> further_prefixes)
    : delimiter_(std::move(delimiter)),
      prefix_(std::move(prefix)),
      foreign_prefixes_(std::move(foreign_prefixes)),
      further_prefixes_(std::move(further_prefixes)),
      escaped_(delimiter_ + std::string(forbidden)) {
  std::erase(escaped_, '=');
}

void MailboxNames::Declare(std::string namespace_prefix, std::vector<NameMapping> mappings) {
  namespace_prefix_ = namespace_prefix.empty() ? "" : namespace_prefix + "/";
  mappings_ = std::move(mappings);
}

void MailboxNames::SetAliases(std::map<std::string, std::string> mesh_to_local) {
  mesh_to_local_.clear();
  local_to_mesh_.clear();
  for (const auto& [mesh, local] : mesh_to_local) {
    mesh_to_local_[mesh] = local;
    local_to_mesh_[local] = mesh;
  }
}

bool MailboxNames::IsForeign(std::string_view raw) const {
  return BeginsWithAny(raw, foreign_prefixes_);
}

// Not below the account's first namespace.
bool MailboxNames::IsWhole(std::string_view raw) const {
  return BeginsWithAny(raw, foreign_prefixes_) || BeginsWithAny(raw, further_prefixes_);
}

std::optional<std::string> MailboxNames::OwnName(std::string_view raw) const {
  if (IsInbox(raw)) return "INBOX";
  std::string canonical(raw);
  const bool below_inbox = raw.size() > 5 && !delimiter_.empty() && raw[5] == delimiter_[0] && InboxLevel(raw);
  if (below_inbox) canonical.replace(0, 5, "INBOX");
  std::string_view rest = canonical;
  if (!prefix_.empty() && !IsWhole(rest)) {
    if (!rest.starts_with(prefix_)) return std::nullopt;
    rest.remove_prefix(prefix_.size());
  }
  if (rest.empty()) return std::nullopt;
  std::string own;
  bool first = true;
  for (const std::string& level_raw : Split(rest, delimiter_)) {
    auto level = imap::DecodeModifiedUtf7(level_raw);
    if (!level) return std::nullopt;  // it could not be spelled as the server does
    level = Unescape(*level, escaped_);
    if (!first) own += '/';
    first = false;
    own += Escape(*level, "/");
  }
  if (InboxLevel(own) && (own.size() == 5 || own[5] == '/')) own.replace(0, 5, "INBOX");
  if (OwnToServer(own) != canonical) return std::nullopt;
  return own;
}

std::string MailboxNames::OwnToServer(std::string_view own) const {
  if (own == "INBOX") return "INBOX";
  std::string raw;
  bool first = true;
  for (const std::string& level_mesh : Split(own, "/")) {
    const std::string level = Escape(Unescape(level_mesh, "/"), escaped_);
    if (!first) raw += delimiter_;
    first = false;
    raw += imap::EncodeModifiedUtf7(level).value_or(level);
  }
  return IsWhole(raw) ? raw : prefix_ + raw;
}

// From the own name to the one in the mesh.
std::optional<std::string> MailboxNames::Place(std::string own, bool foreign) const {
  bool named = false;
  if (!namespace_prefix_.empty()) {
    if (!own.starts_with(namespace_prefix_)) return std::nullopt;
    own.erase(0, namespace_prefix_.size());
    if (own.empty()) return std::nullopt;
    named = true;
    // Only the server's INBOX is the same in any case: below a prefix "Inbox" is another mailbox than "INBOX".
    const auto inbox = InboxLevel(own);
    if (inbox && *inbox != "INBOX") own = Grow(own, *inbox).value_or(own);
  }
  named |= FindMapping(mappings_, own, &NameMapping::here) != nullptr;
  if (foreign && !named) return std::nullopt;
  return Translate(mappings_, std::move(own), &NameMapping::here, &NameMapping::mesh);
}

std::string MailboxNames::Unplace(std::string name) const {
  std::string own = Translate(mappings_, std::move(name), &NameMapping::mesh, &NameMapping::here);
  if (namespace_prefix_.empty()) return own;
  const auto inbox = InboxLevel(own);
  if (inbox && *inbox != "INBOX") own = Shrink(own, *inbox).value_or(own);
  return namespace_prefix_ + own;
}

std::optional<std::string> MailboxNames::LocalName(std::string_view raw) const {
  auto own = OwnName(raw);
  if (!own) return std::nullopt;
  return Place(*std::move(own), IsForeign(raw));
}

bool MailboxNames::IsMapped(std::string_view local) const {
  return FindMapping(mappings_, local, &NameMapping::mesh) != nullptr;
}

std::optional<std::string> MailboxNames::ToMesh(std::string_view raw) const {
  const auto local = LocalName(raw);
  if (!local) return std::nullopt;
  return LocalToMesh(*local);
}

std::string MailboxNames::LocalToMesh(std::string_view local) const {
  const auto alias = local_to_mesh_.find(local);
  return alias == local_to_mesh_.end() ? std::string(local) : alias->second;
}

std::string MailboxNames::ToServer(std::string_view mailbox) const {
  const auto alias = mesh_to_local_.find(mailbox);
  return LocalToServer(alias == mesh_to_local_.end() ? mailbox : std::string_view(alias->second));
}

}  // namespace imapmesh
