#include "engine/sync/sync_metadata.h"

#include <limits>
#include <map>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "base/printable.h"
#include "engine/sync/metadata_merge.h"

namespace imapmesh {
namespace {

using Entries = std::map<std::string, MetadataRegister>;

// What is to be set at one mailbox copy.
struct Setting {
  ReplicaIndex replica;
  MailboxCopyRecord record;
  Entries entries;
};

struct Seen {  // for people
  ReplicaIndex replica;
  std::string mailbox;
  std::string text;
};

ReplicaIndex At(size_t index) {
  return ReplicaIndex(static_cast<int32_t>(index));
}

bool IsAble(const Mesh& mesh, ReplicaIndex r) {
  return mesh.IsUp(r) && !mesh.IsBusy(r) && mesh.replicas[static_cast<size_t>(r.value)].replica->has_metadata();
}

bool IsThere(const MailboxCopyRecord& record) {
  return record.id.value != 0 && record.exists && record.uid_validity.value != 0 && !record.rebinding;
}

std::string Shown(const std::string& value) {
  return value.empty() ? "nothing" : "\"" + Printable(value, 60) + "\"";
}

// In the transaction that records what was looked at: merges each mailbox.
class RecordMetadata {
 public:
  RecordMetadata(Mesh& mesh, const std::set<std::string>& mailboxes)
      : graph_(mesh.graph), fresh_(mesh.metadata.fresh), now_(mesh.clock->UnixMillis()) {
    for (size_t e = 0; e < graph_->edges().size(); ++e) closed_.push_back(mesh.IsClosed(e));
    for (size_t r = 0; r < mesh.replicas.size(); ++r) able_.push_back(IsAble(mesh, At(r)));
    for (const std::string& name : mailboxes) {
      const auto entry = mesh.mailboxes.find(name);
      if (entry != mesh.mailboxes.end()) mailboxes_.push_back(entry->second);
    }
  }

  struct Result {
    std::vector<Setting> settings;
    std::vector<Seen> conflicts;
  };

  Result operator()(State& state) {
    Result result;
    for (const MailboxEntry& mailbox : mailboxes_) Merge(state, mailbox, result);
    return result;
  }

 private:
  void Merge(State& state, const MailboxEntry& mailbox, Result& result) const {
    std::vector<MetadataCopy> copies(mailbox.copies.size());
    for (size_t i = 0; i < copies.size(); ++i) {
      const MailboxCopyRecord& record = mailbox.copies[i];
      if (!IsThere(record)) continue;
      copies[i].recorded = state.metadata().Load(record.id, record.uid_validity);
      const auto fresh = fresh_.find({static_cast<int32_t>(i), mailbox.name});
      if (fresh != fresh_.end()) copies[i].observed = fresh->second;
      copies[i].writable = able_[i] && (copies[i].observed || copies[i].recorded.known);  // never unseen
    }
    const auto admits = [&](size_t from, size_t to) { return Admits(mailbox.name, from, to); };
    // Stamps are given only where something changed.
    constexpr int64_t kMost = std::numeric_limits<int64_t>::max();
    MetadataResult merged = MergeMetadata(copies, {Stamp(kMost - 1), Stamp(kMost)}, admits);
    if (Changes(copies, merged)) {
      const Stamp lost = state.NextStamp();
      merged = MergeMetadata(copies, {lost, state.NextStamp()}, admits);
    }
    for (size_t i = 0; i < copies.size(); ++i) {
      const bool news = copies[i].observed && !copies[i].recorded.known;
      if (news || merged.registers[i] != copies[i].recorded.registers) {
        state.metadata().Save(mailbox.copies[i].id, mailbox.copies[i].uid_validity, merged.registers[i]);
      }
      if (!merged.wanted[i].empty()) result.settings.push_back({At(i), mailbox.copies[i], merged.wanted[i]});
    }
    for (const MetadataConflict& conflict : merged.conflicts) Record(state, mailbox.name, conflict, result);
  }

  static bool Changes(const std::vector<MetadataCopy>& copies, const MetadataResult& merged) {
    for (size_t i = 0; i < copies.size(); ++i) {
      if (merged.registers[i] != copies[i].recorded.registers || !merged.wanted[i].empty()) return true;
    }
    return false;
  }

  // Annotations go where flags may go.
  bool Admits(const std::string& mailbox, size_t from, size_t to) const {
    for (size_t e = 0; e < graph_->edges().size(); ++e) {
      const GraphEdge& edge = graph_->edges()[e];
      const bool joins = (edge.a == At(from) && edge.b == At(to)) || (edge.b == At(from) && edge.a == At(to));
      const EdgeIndex index(static_cast<int32_t>(e));
      if (joins && !closed_[e] && graph_->Admits(index, At(from), mailbox, ChangeKind::kFlags)) return true;
    }
    return false;
  }

  void Record(State& state, const std::string& mailbox, const MetadataConflict& conflict, Result& result) const {
    const std::string& winner = graph_->replica(At(conflict.winner)).name();
    const std::string& loser = graph_->replica(At(conflict.loser)).name();
    ConflictRecord record;
    record.key = "metadata:" + mailbox + ":" + conflict.entry + ":" + std::to_string(now_) + ":" + loser;
    record.kind = "METADATA";
    record.mailbox = mailbox;
    record.unix_ms = record.resolved_unix_ms = record.b_unix_ms = now_;
    record.replica_a = winner;
    record.change_a = "annotation " + Printable(conflict.entry, 200) + " is " + Shown(conflict.winning);
    record.replica_b = loser;
    record.change_b = "annotation " + Printable(conflict.entry, 200) + " is " + Shown(conflict.losing);
    record.policy = "FIRST_REPLICA";
    record.outcome = "the value at " + winner + " holds";
    record.described = true;
    state.conflicts().Add(record);
    result.conflicts.push_back({At(conflict.loser), mailbox, record.change_a + " at " + winner + ", which holds"});
  }

  const std::shared_ptr<const Graph> graph_;
  const std::map<std::pair<int32_t, std::string>, MailboxMetadata> fresh_;
  const int64_t now_;
  std::vector<bool> closed_, able_;
  std::vector<MailboxEntry> mailboxes_;
};

void Refuse(Mesh& mesh, const Setting& setting, const std::string& entry, const absl::Status& status) {
  mesh.metadata.refused.insert({setting.replica.value, setting.record.mailbox_name, entry});
  const std::string text = "annotation " + Printable(entry, 200) + " is not set: " + Message(status);
  mesh.Emit("PROBLEM", setting.replica, EdgeIndex(-1), setting.record.mailbox_name, text);
  mesh.Warn(text);
}

// What was set; entries that the server refuses are left out.
asio::awaitable<Entries> Set(Mesh& mesh, const Setting& setting) {
  Replica& replica = *mesh.slot(setting.replica).replica;
  std::vector<std::pair<std::string, std::string>> entries;
  for (const auto& [entry, wanted] : setting.entries) entries.emplace_back(entry, wanted.value);
  const absl::Status all = co_await replica.SetMetadata(setting.record.mailbox_name, entries);
  if (all.ok()) co_return setting.entries;
  Entries set;
  for (const auto& [entry, wanted] : setting.entries) {
    absl::Status status = all;
    if (!OutcomeUnknown(status) && entries.size() > 1) {  // which one it is
      std::vector<std::pair<std::string, std::string>> one = {{entry, wanted.value}};
      status = co_await replica.SetMetadata(setting.record.mailbox_name, std::move(one));
    }
    if (OutcomeUnknown(status)) {
      mesh.MarkDown(setting.replica, status);
      co_return set;
    }
    if (status.ok()) {
      set[entry] = wanted;
    } else {
      Refuse(mesh, setting, entry, status);
    }
  }
  co_return set;
}

asio::awaitable<absl::StatusOr<int64_t>> SetAll(Mesh& mesh, std::vector<Setting> settings) {
  int64_t changed = 0;
  for (Setting& setting : settings) {
    const std::string& mailbox = setting.record.mailbox_name;
    std::erase_if(setting.entries, [&](const auto& entry) {
      return mesh.metadata.refused.contains({setting.replica.value, mailbox, entry.first});
    });
    if (setting.entries.empty() || !mesh.IsUp(setting.replica)) continue;
    const Entries set = co_await Set(mesh, setting);
    if (set.empty()) continue;
    ++changed;
    mesh.due.insert({setting.replica.value, mailbox});  // where that counts as a change, it is ours
    mesh.Emit("OPERATION_DONE", setting.replica, EdgeIndex(-1), mailbox,
              std::to_string(set.size()) + (set.size() == 1 ? " annotation set" : " annotations set"));
    const auto record = [&](State& state) {
      RecordedMetadata recorded = state.metadata().Load(setting.record.id, setting.record.uid_validity);
      for (const auto& [entry, now] : set) recorded.registers[entry] = now;
      state.metadata().Save(setting.record.id, setting.record.uid_validity, recorded.registers);
      return true;
    };
    const auto recorded = co_await mesh.store->Run(record);
    if (!recorded.ok()) co_return recorded.status();
  }
  co_return changed;
}

// Mailbox copies that have appeared since all were looked at.
asio::awaitable<void> LookAtMissing(Mesh& mesh) {
  for (size_t i = 0; i < mesh.replicas.size(); ++i) {
    const ReplicaIndex r = At(i);
    if (!IsAble(mesh, r)) continue;
    std::vector<std::string> missing;
    for (const auto& [name, entry] : mesh.mailboxes) {
      const bool there = IsThere(entry.copies[i]) && !mesh.metadata.seen.contains({r.value, name});
      if (there && !mesh.incomplete.contains({r.value, name})) missing.push_back(name);
    }
    if (missing.empty()) continue;
    const auto found = co_await mesh.slot(r).replica->GetMetadata(missing);
    if (!found.ok()) {
      if (OutcomeUnknown(found.status())) mesh.MarkDown(r, found.status());
      continue;
    }
    for (const std::string& name : missing) mesh.metadata.seen.insert({r.value, name});  // also those it refuses
    for (const auto& [name, metadata] : *found) mesh.metadata.fresh[{r.value, name}] = metadata;
  }
}

// A mailbox copy that is still to be observed may be another mailbox than the one that is known: what it lacks was
// removed by nobody. It is looked at again then.
void ForgetUnobserved(Mesh& mesh) {
  std::erase_if(mesh.metadata.fresh, [&](const auto& fresh) {
    const bool unobserved = mesh.incomplete.contains(fresh.first);
    if (unobserved) mesh.metadata.seen.erase(fresh.first);
    return unobserved;
  });
}

// Another replica that has annotations, or may have.
bool HasPartner(const Mesh& mesh, ReplicaIndex r) {
  for (size_t i = 0; i < mesh.replicas.size(); ++i) {
    const ReplicaSlot& slot = mesh.replicas[i];
    if (At(i) != r && (!slot.was_up || slot.replica->has_metadata())) return true;
  }
  return false;
}

}  // namespace

void AskMetadata(Mesh& mesh, ReplicaIndex r) {
  if (!mesh.slot(r).metadata_due || !HasPartner(mesh, r)) return;
  std::vector<std::string> mailboxes;
  for (const auto& [name, entry] : mesh.mailboxes) {
    if (IsThere(entry.copies[static_cast<size_t>(r.value)])) mailboxes.push_back(name);
  }
  mesh.slot(r).replica->AskMetadata(std::move(mailboxes));
}

void TakeMetadata(Mesh& mesh, ReplicaIndex r) {
  if (!mesh.slot(r).metadata_due) return;
  mesh.slot(r).metadata_due = false;
  std::erase_if(mesh.metadata.seen, [&](const auto& copy) { return copy.first == r.value; });
  for (auto& [name, metadata] : mesh.slot(r).replica->TakeMetadata()) {
    mesh.metadata.seen.insert({r.value, name});
    mesh.metadata.fresh[{r.value, name}] = metadata;
  }
}

asio::awaitable<absl::StatusOr<int64_t>> SyncMetadata(Mesh& mesh) {
  int able = 0, up = 0;
  for (size_t i = 0; i < mesh.replicas.size(); ++i) {
    up += mesh.IsUp(At(i)) && mesh.replicas[i].replica->has_metadata() ? 1 : 0;
    able += IsAble(mesh, At(i)) ? 1 : 0;
  }
  if (up < 2) {  // what was looked at alone is old by the time that another one comes
    mesh.metadata.fresh.clear();
    mesh.metadata.seen.clear();
  }
  if (able < 2) co_return int64_t{0};
  co_await LookAtMissing(mesh);
  ForgetUnobserved(mesh);
  std::set<std::string> mailboxes;
  for (const auto& [copy, metadata] : mesh.metadata.fresh) mailboxes.insert(copy.second);
  if (mailboxes.empty()) co_return int64_t{0};
  RecordMetadata record(mesh, mailboxes);
  auto recorded = co_await mesh.store->Run(record);
  if (!recorded.ok()) co_return recorded.status();
  mesh.metadata.fresh.clear();
  for (const Seen& seen : recorded->conflicts) {
    mesh.Emit("CONFLICT", seen.replica, EdgeIndex(-1), seen.mailbox, seen.text);
  }
  co_return co_await SetAll(mesh, std::move(recorded->settings));
}

}  // namespace imapmesh
