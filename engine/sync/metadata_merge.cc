#include "engine/sync/metadata_merge.h"

#include <algorithm>
#include <set>

namespace imapmesh {
namespace {

// One entry of all copies.
class EntryMerge {
 public:
  EntryMerge(const std::vector<MetadataCopy>& copies, std::string entry, std::pair<Stamp, Stamp> now)
      : copies_(copies), entry_(std::move(entry)), lost_(now.first), won_(now.second) {
    for (const MetadataCopy& copy : copies) registers_.push_back(Recorded(copy));
  }

  void Observe(std::vector<MetadataConflict>& conflicts) {
    std::vector<size_t> changed;
    for (size_t i = 0; i < copies_.size(); ++i) {
      const auto value = Observed(copies_[i]);
      if (!value || *value == registers_[i].value) continue;
      changed.push_back(i);
    }
    const std::vector<MetadataRegister> before = registers_;
    for (const size_t i : changed) {
      registers_[i].value = *Observed(copies_[i]);
      // At first contact it is older than whatever others have recorded.
      const bool older = !copies_[i].recorded.known && AnyRecorded(before);
      registers_[i].stamp = older ? Stamp(0) : lost_;
    }
    std::erase_if(changed, [&](size_t i) { return registers_[i].stamp != lost_; });
    if (changed.empty()) return;
    const size_t winner = changed.front();
    for (const size_t i : changed) {
      if (registers_[i].value == registers_[winner].value) registers_[i].stamp = won_;
      if (registers_[i].value != registers_[winner].value) Tell(winner, i, conflicts);
    }
    // What had not arrived here yet when this was changed.
    for (size_t i = 0; i < copies_.size(); ++i) {
      const bool concurrent = before[i].stamp > before[winner].stamp && registers_[i].stamp == before[i].stamp;
      if (concurrent && registers_[i].value != registers_[winner].value) Tell(winner, i, conflicts);
    }
  }

  // The newest value goes on along admitting edges, as far as servers can be told.
  std::vector<MetadataRegister> Spread(const std::function<bool(size_t, size_t)>& admits) const {
    std::vector<MetadataRegister> spread = registers_;
    for (size_t round = 0; round < spread.size(); ++round) {
      bool moved = false;
      for (size_t from = 0; from < spread.size(); ++from) {
        for (size_t to = 0; to < spread.size(); ++to) {
          if (spread[from].stamp <= spread[to].stamp || !copies_[to].writable || !admits(from, to)) continue;
          spread[to] = spread[from];
          moved = true;
        }
      }
      if (!moved) break;
    }
    return spread;
  }

  const std::vector<MetadataRegister>& registers() const { return registers_; }

 private:
  MetadataRegister Recorded(const MetadataCopy& copy) const {
    const auto found = copy.recorded.registers.find(entry_);
    return found == copy.recorded.registers.end() ? MetadataRegister() : found->second;
  }

  // nullopt: not looked at, or too large to tell.
  std::optional<std::string> Observed(const MetadataCopy& copy) const {
    if (!copy.observed) return std::nullopt;
    const auto found = copy.observed->values.find(entry_);
    if (found != copy.observed->values.end()) return found->second;
    return copy.observed->complete ? std::optional<std::string>("") : std::nullopt;
  }

  static bool AnyRecorded(const std::vector<MetadataRegister>& registers) {
    return std::any_of(registers.begin(), registers.end(),
                       [](const MetadataRegister& entry) { return entry.stamp > Stamp(0); });
  }

  void Tell(size_t winner, size_t loser, std::vector<MetadataConflict>& conflicts) const {
    conflicts.push_back({entry_, winner, loser, registers_[winner].value, registers_[loser].value});
  }

  const std::vector<MetadataCopy>& copies_;
  const std::string entry_;
  const Stamp lost_, won_;
  std::vector<MetadataRegister> registers_;
};

}  // namespace

bool IsServersOwnEntry(std::string_view entry) {
  for (const std::string_view scope : {"/private/", "/shared/"}) {
    if (!entry.starts_with(scope)) continue;
    entry.remove_prefix(scope.size());
    for (const std::string_view own : {"vendor/cmu/", "vendor/vendor.dovecot/", "specialuse"}) {
      if (entry.starts_with(own)) return true;
    }
  }
  return false;
}

MetadataResult MergeMetadata(const std::vector<MetadataCopy>& copies, std::pair<Stamp, Stamp> now,
                             const std::function<bool(size_t, size_t)>& admits) {
  std::set<std::string> entries;
  for (const MetadataCopy& copy : copies) {
    for (const auto& [entry, recorded] : copy.recorded.registers) entries.insert(entry);
    if (!copy.observed) continue;
    for (const auto& [entry, value] : copy.observed->values) {
      if (!IsServersOwnEntry(entry)) entries.insert(entry);
    }
  }
  MetadataResult result;
  result.registers.resize(copies.size());
  result.wanted.resize(copies.size());
  for (const std::string& entry : entries) {
    EntryMerge merge(copies, entry, now);
    merge.Observe(result.conflicts);
    const std::vector<MetadataRegister> spread = merge.Spread(admits);
    for (size_t i = 0; i < copies.size(); ++i) {
      const MetadataRegister& observed = merge.registers()[i];
      if (observed != MetadataRegister()) result.registers[i][entry] = observed;
      if (spread[i].value == observed.value) {
        if (spread[i] != MetadataRegister()) result.registers[i][entry] = spread[i];
      } else {
        result.wanted[i][entry] = spread[i];
      }
    }
  }
  return result;
}

}  // namespace imapmesh
