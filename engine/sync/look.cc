#include "engine/sync/look.h"

#include <map>
#include <set>
#include <utility>
#include <vector>

#include "engine/sync/record_observation.h"

namespace imapmesh {
namespace {

bool IsDue(const MailboxCopyRecord& record, const MailboxStatus& status) {
  return record.uid_validity != status.uid_validity || record.uid_next != status.uid_next ||
         record.highest_modseq != status.highest_modseq || record.rebinding ||
         (status.messages && static_cast<int64_t>(*status.messages) != record.messages);
}

// A server that is behind what it was before has been restored from an older copy.
bool WentBack(const MailboxCopyRecord& record, const MailboxStatus& status) {
  return record.uid_validity == status.uid_validity && status.uid_validity.value != 0 &&
         (status.uid_next < record.uid_next ||
          (status.highest_modseq.value != 0 && status.highest_modseq < record.highest_modseq));
}

struct LookResult {
  std::vector<std::pair<std::string, MailboxCopyRecord>> copies;  // as saved
  std::vector<std::string> due;
  std::vector<std::string> gone;
};

// Records a listing. Runs on the store's thread over values only.
class RecordLook {
 public:
  RecordLook(Mesh& mesh, ReplicaIndex r, const std::vector<MailboxStatus>& statuses)
      : replica_(mesh.slot(r).id), replica_name_(mesh.name(r)), statuses_(statuses), now_(mesh.clock->UnixMillis()) {
    for (const auto& [name, entry] : mesh.mailboxes) known_[name] = entry.copies[static_cast<size_t>(r.value)];
  }

  LookResult operator()(State& state) {
    LookResult result;
    std::set<MailboxCopyId> with_intents;
    for (const MailboxCopyId copy : state.CopiesWithIntents()) with_intents.insert(copy);
    std::set<std::string> listed;
    for (const MailboxStatus& status : statuses_) {
      if (!status.selectable) continue;
      listed.insert(status.mailbox);
      MailboxCopyRecord record = known_.contains(status.mailbox) ? known_[status.mailbox] : MailboxCopyRecord();
      const bool differs = record.id.value == 0 || !record.exists || record.name_here != status.name_here ||
                           record.subscribed != status.subscribed;
      const bool restored = status.status_known && WentBack(record, status) && !record.rebinding;
      record.replica = replica_;
      record.mailbox = state.InternMailbox(status.mailbox);
      record.mailbox_name = status.mailbox;
      record.name_here = status.name_here;
      record.subscribed = status.subscribed;
      record.exists = true;
      record.tombstone = false;
      if (restored) StartRebinding(state, record);
      if (differs || restored) state.Save(record);
      const bool due = status.status_known && (IsDue(record, status) || with_intents.contains(record.id));
      if (due) result.due.push_back(status.mailbox);
      result.copies.emplace_back(status.mailbox, record);
    }
    for (auto& [name, record] : known_) {
      if (record.id.value != 0 && record.exists && !listed.contains(name)) Vanish(state, name, record, result);
    }
    return result;
  }

 private:
  void Vanish(State& state, const std::string& name, MailboxCopyRecord& record, LookResult& result) {
    const int64_t held = state.HoldAll(record.id);
    record.exists = false;
    record.tombstone = true;
    record.uid_validity = UidValidity();
    record.uid_next = Uid();
    record.highest_modseq = ModSeq();
    record.messages = 0;
    state.Save(record);
    result.copies.emplace_back(name, record);
    result.gone.push_back(name);
    if (held == 0) return;
    ConflictRecord conflict;
    conflict.key = "mailbox-gone:" + std::to_string(record.id.value) + ":" + std::to_string(now_);
    conflict.kind = "MAILBOX_GONE";
    conflict.mailbox = name;
    conflict.unix_ms = now_;
    conflict.replica_a = replica_name_;
    conflict.change_a = "the mailbox vanished with " + std::to_string(held) + " messages in it";
    conflict.policy = "brake";
    conflict.outcome = "held: nothing is deleted elsewhere until someone decides";
    conflict.open = true;
    if (const auto id = state.conflicts().Add(conflict)) state.conflicts().HoldAll(*id, record.id);
  }

  ReplicaId replica_;
  std::string replica_name_;
  const std::vector<MailboxStatus>& statuses_;
  int64_t now_;
  std::map<std::string, MailboxCopyRecord> known_;
};

// Flags may have changed unseen where there is no HIGHESTMODSEQ.
void AddUnshownDue(Mesh& mesh, ReplicaIndex r, const std::vector<MailboxStatus>& statuses) {
  ReplicaSlot& slot = mesh.slot(r);
  for (const MailboxStatus& status : statuses) {
    const MailboxCopyRecord* record = mesh.FindCopy(r, status.mailbox);
    const bool without = status.selectable && status.status_known && status.highest_modseq.value == 0;
    if (record == nullptr || !without || (status.messages == 0 && record->messages == 0)) continue;
    bool due = slot.compare_due;
    if (status.unseen) {
      const auto [before, added] = slot.unseen.try_emplace(status.mailbox, *status.unseen);
      due |= !added && before->second != *status.unseen;
      before->second = *status.unseen;
    }
    if (due) mesh.due.insert({r.value, status.mailbox});
  }
  slot.compare_due = false;
}

}  // namespace

asio::awaitable<absl::Status> LookAt(Mesh& mesh, ReplicaIndex r) {
  ReplicaSlot& slot = mesh.slot(r);
  if (slot.state != ReplicaState::kUp) slot.state = ReplicaState::kConnecting;
  slot.look_due = false;
  absl::StatusOr<std::vector<MailboxStatus>> statuses = co_await slot.replica->Look();
  if (!statuses.ok()) {
    mesh.MarkDown(r, statuses.status());
    co_return absl::OkStatus();
  }
  mesh.MarkUp(r);
  slot.last_look_unix_ms = mesh.clock->UnixMillis();
  RecordLook record(mesh, r, *statuses);
  absl::StatusOr<LookResult> result = co_await mesh.store->Run(record);
  if (!result.ok()) co_return result.status();
  for (auto& [name, copy] : result->copies) {
    MailboxEntry& entry = mesh.Entry(name);
    entry.id = copy.mailbox;
    entry.copies[static_cast<size_t>(r.value)] = copy;
  }
  for (auto& [name, copy] : result->copies) mesh.incomplete.erase({r.value, name});
  for (const std::string& name : result->due) {
    mesh.due.insert({r.value, name});
    mesh.incomplete.insert({r.value, name});
  }
  AddUnshownDue(mesh, r, *statuses);
  for (const std::string& name : result->gone) {
    mesh.Emit("CHANGE_SEEN", r, EdgeIndex(-1), name, "the mailbox is gone");
  }
  co_return absl::OkStatus();
}

}  // namespace imapmesh
