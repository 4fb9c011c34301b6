#include "engine/sync/apply_changes.h"

#include <algorithm>
#include <map>

#include "base/printable.h"
#include "engine/sync/task_group.h"

namespace imapmesh {
namespace {

constexpr size_t kMessagesAStore = 1000;

class Changer {
 public:
  explicit Changer(Recorder& recorder) : recorder_(recorder) {}
  asio::awaitable<void> Flags(const Work& work, ReplicaIndex target);
  asio::awaitable<void> Deletions(const Work& work, ReplicaIndex target);

 private:
  asio::awaitable<void> RunStores(ReplicaIndex target, std::vector<std::vector<Change>> groups);
  FlagStore StoreOf(const std::vector<Change>& group) const;
  asio::awaitable<void> Finish(ReplicaIndex target, std::vector<Change> group, absl::Status stored);
  asio::awaitable<void> RunExpunge(ReplicaIndex target, std::vector<Change> changes);
  asio::awaitable<void> GiveBack(ReplicaIndex target, MailboxCopyId copy, std::string mailbox, UidSet uids);

  Recorder& recorder_;
};

// Mailbox copy, and which flags change how: what one STORE can do.
using Alike = std::pair<MailboxCopyId, std::vector<std::pair<FlagId, bool>>>;

// What one command can do, in parts of at most kMessagesAStore, in the order of the plan.
std::vector<std::vector<Change>> Groups(const Work& work, ReplicaIndex target, Action action) {
  std::vector<std::vector<Change>> groups;
  std::map<Alike, size_t> open;
  for (const PlannedMessage& planned : work.messages) {
    for (const CopyPlan& copy : planned.plan.copies) {
      if (copy.action != action || copy.target != target) continue;
      Alike key{copy.mailbox_copy, {}};
      if (action == Action::kFlags) {
        for (const FlagRegister& entry : copy.flag_changes) key.second.emplace_back(entry.flag, entry.set);
      }
      const auto [group, added] = open.try_emplace(key, groups.size());
      if (added || groups[group->second].size() >= kMessagesAStore) {
        group->second = groups.size();
        groups.emplace_back();
      }
      groups[group->second].push_back({&planned, &copy, copy.mailbox_copy});
    }
  }
  return groups;
}

asio::awaitable<void> Changer::Flags(const Work& work, ReplicaIndex target) {
  TaskGroup tasks(recorder_.mesh().executor);
  std::map<MailboxCopyId, std::vector<std::vector<Change>>> by_mailbox;
  for (std::vector<Change>& group : Groups(work, target, Action::kFlags)) {
    by_mailbox[group.front().mailbox_copy].push_back(std::move(group));
  }
  for (auto& [copy, groups] : by_mailbox) tasks.Start(RunStores(target, std::move(groups)));
  co_await tasks.Join();
}

FlagStore Changer::StoreOf(const std::vector<Change>& group) const {
  FlagStore store;
  for (const FlagRegister& entry : group.front().plan->flag_changes) {
    (entry.set ? store.add : store.remove).push_back(recorder_.FlagName(entry.flag));
  }
  for (const Change& change : group) store.uids.Add(change.planned->message.Find(change.mailbox_copy)->uid);
  return store;
}

// Groups of one mailbox, each of which changes alike: all in one exchange.
asio::awaitable<void> Changer::RunStores(ReplicaIndex target, std::vector<std::vector<Change>> groups) {
  if (!recorder_.MayWork(target)) co_return;
  std::vector<Change> all;
  std::vector<FlagStore> stores;
  for (const std::vector<Change>& group : groups) {
    all.insert(all.end(), group.begin(), group.end());
    stores.push_back(StoreOf(group));
  }
  if (!co_await recorder_.OpenIntents(all, IntentKind::kFlags)) co_return;
  const std::string& mailbox = recorder_.MailboxName(*all.front().planned);
  MailboxReference reference = recorder_.Reference(target, mailbox);
  const std::vector<absl::Status> stored =
      co_await recorder_.mesh().slot(target).replica->StoreFlagsTogether(std::move(reference), std::move(stores));
  absl::Status unknown;
  for (size_t i = 0; i < groups.size(); ++i) {
    if (OutcomeUnknown(stored[i])) {
      unknown = stored[i];
    } else {
      co_await Finish(target, std::move(groups[i]), stored[i]);
    }
  }
  if (!unknown.ok()) co_await recorder_.Unknown(target, unknown);
}

asio::awaitable<void> Changer::Finish(ReplicaIndex target, std::vector<Change> group, absl::Status stored) {
  const std::string& mailbox = recorder_.MailboxName(*group.front().planned);
  if (!stored.ok()) {
    co_await recorder_.CloseIntents(group);
    recorder_.mesh().slot(target).look_due = true;
    if (absl::IsFailedPrecondition(stored)) {  // not as it was recorded: planned anew once it is observed
      recorder_.mesh().due.insert({target.value, mailbox});
      co_return;
    }
    for (const Change& change : group) recorder_.Refuse(target, change, "STORE", stored);
    co_return;
  }
  std::vector<Recorded> records;
  for (const Change& change : group) {
    Recorded record{change.planned->message.id, *change.planned->message.Find(change.mailbox_copy), StepKind::kStored,
                    change.plan->because.edge};
    record.copy.stamp = change.plan->stamp;
    record.copy.flags = change.plan->flags;
    records.push_back(std::move(record));
    recorder_.Done(change, mailbox, "STORE");
  }
  co_await recorder_.Record(target, mailbox, std::move(records));
}

asio::awaitable<void> Changer::Deletions(const Work& work, ReplicaIndex target) {
  TaskGroup tasks(recorder_.mesh().executor);
  for (std::vector<Change>& group : Groups(work, target, Action::kExpunge)) {
    tasks.Start(RunExpunge(target, std::move(group)));
  }
  co_await tasks.Join();
}

asio::awaitable<void> Changer::RunExpunge(ReplicaIndex target, std::vector<Change> changes) {
  if (!recorder_.MayWork(target)) co_return;
  if (!co_await recorder_.OpenIntents(changes, IntentKind::kExpunge)) co_return;
  UidSet uids;
  for (const Change& change : changes) uids.Add(change.planned->message.Find(change.mailbox_copy)->uid);
  const std::string& mailbox = recorder_.MailboxName(*changes.front().planned);
  MailboxReference reference = recorder_.Reference(target, mailbox);
  const MailboxCopyRecord* record = recorder_.mesh().FindCopy(target, mailbox);
  const ModSeq seen = record == nullptr ? ModSeq() : record->highest_modseq;
  const auto expunged = co_await recorder_.mesh().slot(target).replica->Expunge(reference, uids, seen);
  if (!expunged.ok()) {
    if (OutcomeUnknown(expunged.status())) {
      co_await recorder_.Unknown(target, expunged.status());
      co_return;
    }
    co_await recorder_.CloseIntents(changes);
    if (absl::IsPermissionDenied(expunged.status())) {
      recorder_.Forbid(target, changes.front(), /*addition=*/false, expunged.status());
      co_return;
    }
    for (const Change& change : changes) recorder_.Refuse(target, change, "EXPUNGE", expunged.status());
    co_return;
  }
  std::vector<Recorded> records;
  std::vector<Change> modified, kept;
  for (const Change& change : changes) {
    const CopyRegisters& before = *change.planned->message.Find(change.mailbox_copy);
    if (expunged->modified.Contains(before.uid)) {
      modified.push_back(change);
      continue;
    }
    if (expunged->kept.Contains(before.uid)) {
      kept.push_back(change);
      continue;
    }
    Recorded record{change.planned->message.id, before, StepKind::kExpunged, change.plan->because.edge};
    record.copy.presence = Presence::kAbsent;
    record.copy.uid = Uid();
    record.copy.stamp = change.plan->stamp;
    records.push_back(std::move(record));
    recorder_.Done(change, mailbox, "EXPUNGE");
  }
  co_await recorder_.Record(target, mailbox, std::move(records));
  if (!expunged->unmeant.empty()) co_await GiveBack(target, changes.front().mailbox_copy, mailbox, expunged->unmeant);
  if (!kept.empty()) {
    co_await recorder_.CloseIntents(kept);
    const absl::Status ignored =
        Error(absl::StatusCode::kPermissionDenied,
              "replica %s: mailbox %s: expunging messages: the server answered OK, but %d of them are still there",
              recorder_.mesh().name(target), Printable(mailbox), kept.size());
    recorder_.Forbid(target, kept.front(), /*addition=*/false, ignored);
  }
  if (!modified.empty()) {
    co_await recorder_.CloseIntents(modified);
    recorder_.mesh().slot(target).look_due = true;
    recorder_.mesh().due.insert({target.value, mailbox});
  }
}

// Messages that went with those that were meant count as never had there, so that the others give them back.
asio::awaitable<void> Changer::GiveBack(ReplicaIndex target, MailboxCopyId copy, std::string mailbox, UidSet uids) {
  Mesh& mesh = recorder_.mesh();
  const auto forget = [&](State& state) {
    for (MessageRegisters& message : state.LoadByUids(copy, uids, SIZE_MAX)) {
      CopyRegisters registers = *message.Find(copy);
      registers.presence = Presence::kAbsent;
      registers.uid = Uid();
      registers.stamp = Stamp(0);
      state.SaveCopy(message.id, registers);
      state.MarkUnsettled(message.id);
    }
    return true;
  };
  const auto forgotten = co_await mesh.store->Run(forget);
  if (!forgotten.ok()) recorder_.Fail(forgotten.status());
  const std::string text = "replica " + mesh.name(target) + ": mailbox " + Printable(mailbox) +
                           ": another client marked UIDs " + uids.ToString() +
                           " as \\Deleted in the instant of an EXPUNGE, which took them too; they are given back";
  mesh.Warn(text);
  mesh.Emit("PROBLEM", target, EdgeIndex(-1), mailbox, text);
}

}  // namespace

asio::awaitable<void> ApplyFlags(Recorder& recorder, const Work& work, ReplicaIndex target) {
  Changer changer(recorder);
  co_await changer.Flags(work, target);
}

asio::awaitable<void> ApplyExpunges(Recorder& recorder, const Work& work, ReplicaIndex target) {
  Changer changer(recorder);
  co_await changer.Deletions(work, target);
}

}  // namespace imapmesh
