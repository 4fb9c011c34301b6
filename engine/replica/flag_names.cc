#include "engine/replica/flag_names.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"

#include "base/printable.h"

namespace imapmesh {
namespace {

std::string Folded(std::string_view name) {
  return absl::AsciiStrToLower(ToAbsl(name));
}

bool Holds(const std::vector<std::string>& flags, std::string_view flag) {
  return std::any_of(flags.begin(), flags.end(),
                     [&](const std::string& each) { return absl::EqualsIgnoreCase(ToAbsl(each), ToAbsl(flag)); });
}

}  // namespace

FlagNames::FlagNames(const std::vector<KeywordMapping>& mappings) {
  for (const KeywordMapping& mapping : mappings) {
    to_mesh_[Folded(mapping.here)] = mapping.mesh;
    to_here_[Folded(mapping.mesh)] = mapping.here;
  }
  for (const KeywordMapping& mapping : mappings) {
    if (!to_here_.contains(Folded(mapping.here))) apart_.push_back(mapping.here);
  }
}

std::vector<std::string> FlagNames::ToMesh(std::vector<std::string> flags) const {
  if (to_mesh_.empty()) return flags;
  std::vector<std::string> translated;
  for (std::string& flag : flags) {
    const auto mesh = to_mesh_.find(Folded(flag));
    std::string name = mesh == to_mesh_.end() ? std::move(flag) : mesh->second;
    if (!Holds(translated, name)) translated.push_back(std::move(name));
  }
  return translated;
}

std::vector<std::string> FlagNames::PermanentToMesh(const std::vector<std::string>& flags) const {
  std::vector<std::string> translated;
  for (const std::string& flag : flags) {
    const auto mesh = to_mesh_.find(Folded(flag));
    if (mesh != to_mesh_.end()) {
      translated.push_back(mesh->second);
    } else if (!to_here_.contains(Folded(flag))) {
      translated.push_back(flag);
    }
  }
  return translated;
}

std::vector<std::string> FlagNames::ToSet(const std::vector<std::string>& flags) const {
  std::vector<std::string> translated;
  for (const std::string& flag : flags) {
    const auto here = to_here_.find(Folded(flag));
    translated.push_back(here == to_here_.end() ? flag : here->second);
  }
  return translated;
}

std::vector<std::string> FlagNames::ToRemove(const std::vector<std::string>& flags,
                                             const std::optional<std::vector<std::string>>& permanent) const {
  std::vector<std::string> translated = ToSet(flags);
  for (const std::string& flag : flags) {
    const std::string folded = Folded(flag);
    const bool kept = !permanent || Holds(*permanent, flag) || Holds(*permanent, "\\*");
    if (to_here_.contains(folded) && !to_mesh_.contains(folded) && kept) translated.push_back(flag);
  }
  return translated;
}

void FlagNames::Translate(Observation& observation) const {
  if (to_mesh_.empty()) return;
  for (FlagChange& change : observation.changed) change.flags = ToMesh(std::move(change.flags));
  for (ArrivedMessage& arrived : observation.arrived) arrived.flags = ToMesh(std::move(arrived.flags));
  if (observation.permanent_flags) observation.permanent_flags = PermanentToMesh(*observation.permanent_flags);
  observation.keywords_apart = apart_;
}

absl::Status CheckKept(const std::optional<std::vector<std::string>>& permanent, const FlagStore& store) {
  if (!permanent) return absl::OkStatus();
  const bool keywords = Holds(*permanent, "\\*");
  for (const std::vector<std::string>* flags : {&store.add, &store.remove}) {
    for (const std::string& flag : *flags) {
      if (Holds(*permanent, flag) || (keywords && !flag.starts_with('\\'))) continue;
      return Error(absl::StatusCode::kFailedPrecondition, "the server does not keep the flag %s there (PERMANENTFLAGS)",
                   Printable(flag));
    }
  }
  return absl::OkStatus();
}

}  // namespace imapmesh
