#include "engine/sync/apply_changes.h"

#include <algorithm>
#include <iterator>
#include <map>
#include <set>

#include "base/printable.h"
#include "engine/sync/listen.h"
#include "engine/sync/task_group.h"

namespace imapmesh {
namespace {

constexpr size_t kMessagesAStore = 1000;

// What is done in one mailbox copy.
struct CopyWork {
  MailboxCopyId copy;
  std::vector<std::vector<Change>> stores;  // groups that change alike
  std::vector<Change> expunges;

  std::vector<Change> All() const {
    std::vector<Change> all = expunges;
    for (const std::vector<Change>& group : stores) all.insert(all.end(), group.begin(), group.end());
    return all;
  }
};

class Changer {
 public:
  explicit Changer(Recorder& recorder) : recorder_(recorder), mesh_(recorder.mesh()) {}
  asio::awaitable<bool> Flags(const Work& work, ReplicaIndex target);  // as ApplyFlags
  asio::awaitable<void> Deletions(const Work& work, ReplicaIndex target);

 private:
  asio::awaitable<void> RunSideBySide(ReplicaIndex target, std::vector<CopyWork> mailboxes, IntentKind kind);
  asio::awaitable<std::vector<std::vector<Change>>> Confirm(ReplicaIndex target,
                                                            std::vector<std::vector<Change>> groups);
  asio::awaitable<void> RunTogether(ReplicaIndex target, std::vector<CopyWork> mailboxes, IntentKind kind);
  MailboxChanges ChangesOf(ReplicaIndex target, const CopyWork& mailbox) const;
  FlagStore StoreOf(const std::vector<Change>& group) const;
  asio::awaitable<void> FinishStore(ReplicaIndex target, std::vector<Change> group, absl::Status stored);
  asio::awaitable<void> StoreSingly(ReplicaIndex target, std::vector<Change> group);
  asio::awaitable<void> RecordStore(ReplicaIndex target, const std::vector<Change>& group, std::set<FlagId> refused);
  asio::awaitable<void> FinishExpunge(ReplicaIndex target, std::vector<Change> changes, ExpungeResult expunged);
  asio::awaitable<void> Refused(ReplicaIndex target, std::vector<Change> changes, std::string operation,
                                absl::Status status);
  asio::awaitable<void> GiveBack(ReplicaIndex target, MailboxCopyId copy, std::string mailbox, UidSet uids);

  Recorder& recorder_;
  Mesh& mesh_;
  bool put_off_ = false;  // something, to another round
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

// Whether one of several flags may be why: too long, or one too many.
bool MayBeOneFlag(const std::vector<Change>& group, const absl::Status& stored) {
  return !stored.ok() && !absl::IsFailedPrecondition(stored) && !absl::IsPermissionDenied(stored) &&
         group.front().plan->flag_changes.size() > 1;
}

asio::awaitable<bool> Changer::Flags(const Work& work, ReplicaIndex target) {
  std::vector<CopyWork> mailboxes;
  std::map<MailboxCopyId, size_t> places;
  auto groups = co_await Confirm(target, Groups(work, target, Action::kFlags));
  for (std::vector<Change>& group : groups) {
    const MailboxCopyId copy = group.front().mailbox_copy;
    const auto [place, added] = places.try_emplace(copy, mailboxes.size());
    if (added) mailboxes.emplace_back().copy = copy;
    mailboxes[place->second].stores.push_back(std::move(group));
  }
  co_await RunSideBySide(target, std::move(mailboxes), IntentKind::kFlags);
  co_return !put_off_;
}

asio::awaitable<void> Changer::Deletions(const Work& work, ReplicaIndex target) {
  std::vector<CopyWork> mailboxes;
  auto groups = co_await Confirm(target, Groups(work, target, Action::kExpunge));
  for (std::vector<Change>& group : groups) {
    CopyWork& mailbox = mailboxes.emplace_back();
    mailbox.copy = group.front().mailbox_copy;
    mailbox.expunges = std::move(group);
  }
  co_await RunSideBySide(target, std::move(mailboxes), IntentKind::kExpunge);
}

// Those of which the same mail stands beside only as far as they are still to be made.
asio::awaitable<std::vector<std::vector<Change>>> Changer::Confirm(ReplicaIndex target,
                                                                   std::vector<std::vector<Change>> groups) {
  const auto doubtful = [&](const Change& change) { return change.planned->equal_beside.contains(target.value); };
  std::vector<Change> asked;
  for (const std::vector<Change>& group : groups) {
    std::copy_if(group.begin(), group.end(), std::back_inserter(asked), doubtful);
  }
  if (asked.empty() || !recorder_.MayWork(target)) co_return groups;
  const size_t all = asked.size();
  const auto confirmed = co_await StillToChange(mesh_, recorder_.view(), std::move(asked));
  if (!confirmed.ok()) recorder_.Fail(confirmed.status());
  std::set<const CopyPlan*> left;
  for (const Change& change : confirmed.ok() ? *confirmed : std::vector<Change>()) left.insert(change.plan);
  put_off_ |= left.size() < all;
  for (std::vector<Change>& group : groups) {
    std::erase_if(group, [&](const Change& change) { return doubtful(change) && !left.contains(change.plan); });
  }
  std::erase_if(groups, [](const std::vector<Change>& group) { return group.empty(); });
  co_return groups;
}

// Over so many connections that each has some mailboxes: one more costs some exchanges before it is of use.
asio::awaitable<void> Changer::RunSideBySide(ReplicaIndex target, std::vector<CopyWork> mailboxes, IntentKind kind) {
  const auto connections = static_cast<size_t>(std::max(1, mesh_.graph->replica(target).max_connections()));
  const size_t enough = mesh_.slot(target).replica->mailboxes_a_connection();
  const size_t wanted = (mailboxes.size() + enough - 1) / enough;
  const size_t parts = std::min(connections, wanted);
  TaskGroup tasks(mesh_.executor);
  for (size_t part = 0; part < parts; ++part) {
    std::vector<CopyWork> share;
    for (size_t i = part; i < mailboxes.size(); i += parts) share.push_back(std::move(mailboxes[i]));
    tasks.Start(RunTogether(target, std::move(share), kind));
  }
  co_await tasks.Join();
}

asio::awaitable<void> Changer::RunTogether(ReplicaIndex target, std::vector<CopyWork> mailboxes, IntentKind kind) {
  if (!recorder_.MayWork(target)) co_return;
  std::vector<Change> all;
  std::vector<MailboxChanges> wanted;
  for (const CopyWork& mailbox : mailboxes) {
    const std::vector<Change> changes = mailbox.All();
    all.insert(all.end(), changes.begin(), changes.end());
    wanted.push_back(ChangesOf(target, mailbox));
  }
  if (!co_await recorder_.OpenIntents(all, kind)) co_return;
  const auto outcomes = co_await mesh_.slot(target).replica->ChangeTogether(std::move(wanted));
  absl::Status unknown;
  std::vector<std::vector<Change>> singly;
  TaskGroup finishing(mesh_.executor);  // side by side: one commit for all
  for (size_t i = 0; i < mailboxes.size(); ++i) {
    for (size_t g = 0; g < mailboxes[i].stores.size(); ++g) {
      const absl::Status& stored = outcomes[i].stored[g];
      if (OutcomeUnknown(stored)) {
        unknown = stored;
      } else if (MayBeOneFlag(mailboxes[i].stores[g], stored)) {
        singly.push_back(std::move(mailboxes[i].stores[g]));
      } else {
        finishing.Start(FinishStore(target, std::move(mailboxes[i].stores[g]), stored));
      }
    }
    if (mailboxes[i].expunges.empty()) continue;
    const absl::StatusOr<ExpungeResult>& expunged = outcomes[i].expunged;
    if (expunged.ok()) {
      finishing.Start(FinishExpunge(target, std::move(mailboxes[i].expunges), *expunged));
    } else if (OutcomeUnknown(expunged.status())) {
      unknown = expunged.status();
    } else {
      finishing.Start(Refused(target, std::move(mailboxes[i].expunges), "EXPUNGE", expunged.status()));
    }
  }
  co_await finishing.Join();
  if (!unknown.ok()) {
    co_await recorder_.Unknown(target, unknown);
    co_return;
  }
  for (std::vector<Change>& group : singly) co_await StoreSingly(target, std::move(group));
}

MailboxChanges Changer::ChangesOf(ReplicaIndex target, const CopyWork& mailbox) const {
  const std::string& name = recorder_.MailboxName(mailbox.copy);
  const MailboxCopyRecord* record = mesh_.FindCopy(target, name);
  MailboxChanges changes;
  changes.mailbox = recorder_.Reference(mailbox.copy);
  for (const std::vector<Change>& group : mailbox.stores) changes.stores.push_back(StoreOf(group));
  for (const Change& change : mailbox.All()) {
    const MessageRegisters& message = change.planned->message;
    MessageMark& mark = changes.known[message.Find(mailbox.copy)->uid];
    mark.size = message.size;
    mark.message_id = message.message_id;
  }
  for (const Change& change : mailbox.expunges) {
    changes.expunge.Add(change.planned->message.Find(mailbox.copy)->uid);
  }
  if (record != nullptr) changes.unchanged_since = record->highest_modseq;
  return changes;
}

FlagStore Changer::StoreOf(const std::vector<Change>& group) const {
  FlagStore store;
  for (const FlagRegister& entry : group.front().plan->flag_changes) {
    (entry.set ? store.add : store.remove).push_back(recorder_.FlagName(entry.flag));
  }
  for (const Change& change : group) store.uids.Add(change.planned->message.Find(change.mailbox_copy)->uid);
  return store;
}

asio::awaitable<void> Changer::Refused(ReplicaIndex target, std::vector<Change> changes, std::string operation,
                                       absl::Status status) {
  mesh_.slot(target).look_due = true;
  // Not as it was recorded: planned anew once it is observed. What was found there by its looks may have been changed
  // all the same, so the intents stay until then.
  if (absl::IsFailedPrecondition(status)) {
    mesh_.due.insert({target.value, recorder_.MailboxName(changes.front().mailbox_copy)});
    co_return;
  }
  co_await recorder_.CloseIntents(changes);
  if (absl::IsPermissionDenied(status) && operation == "EXPUNGE") {
    recorder_.Forbid(target, changes.front(), /*addition=*/false, status);
  } else {
    for (const Change& change : changes) recorder_.Refuse(target, change, operation.c_str(), status);
  }
}

asio::awaitable<void> Changer::FinishStore(ReplicaIndex target, std::vector<Change> group, absl::Status stored) {
  if (!stored.ok()) {
    co_await Refused(target, std::move(group), "STORE", stored);
    co_return;
  }
  std::set<FlagId> none;
  co_await RecordStore(target, group, std::move(none));
}

// One flag that a server does not take keeps back no other.
asio::awaitable<void> Changer::StoreSingly(ReplicaIndex target, std::vector<Change> group) {
  const FlagStore together = StoreOf(group);
  std::set<FlagId> refused;
  absl::Status reason;
  for (const FlagRegister& entry : group.front().plan->flag_changes) {
    std::vector<MailboxChanges> changes(1);
    changes[0].mailbox = recorder_.Reference(group.front().mailbox_copy);
    FlagStore& store = changes[0].stores.emplace_back();
    (entry.set ? store.add : store.remove).push_back(recorder_.FlagName(entry.flag));
    store.uids = together.uids;
    const auto outcomes = co_await mesh_.slot(target).replica->ChangeTogether(std::move(changes));
    const absl::Status& stored = outcomes[0].stored[0];
    if (OutcomeUnknown(stored)) {
      co_await recorder_.Unknown(target, stored);
      co_return;
    }
    if (stored.ok()) continue;
    refused.insert(entry.flag);
    reason = stored;
  }
  if (refused.size() < group.front().plan->flag_changes.size()) co_await RecordStore(target, group, refused);
  if (!refused.empty()) co_await Refused(target, std::move(group), "STORE", reason);
}

// What was stored: all that was planned but for `refused`.
asio::awaitable<void> Changer::RecordStore(ReplicaIndex target, const std::vector<Change>& group,
                                           std::set<FlagId> refused) {
  const std::string& mailbox = recorder_.MailboxName(*group.front().planned);
  std::vector<Recorded> records;
  for (const Change& change : group) {
    Recorded record{change.planned->message.id, *change.planned->message.Find(change.mailbox_copy), StepKind::kStored,
                    change.plan->because.edge};
    record.copy.stamp = change.plan->stamp;
    const FlagRegisters before = record.copy.flags;
    record.copy.flags = change.plan->flags;
    for (const FlagId flag : refused) record.copy.flags.Put(flag, before.IsSet(flag), before.Get(flag).stamp);
    records.push_back(std::move(record));
    recorder_.Done(change, mailbox, "STORE");
  }
  co_await recorder_.Record(target, mailbox, std::move(records));
}

asio::awaitable<void> Changer::FinishExpunge(ReplicaIndex target, std::vector<Change> changes, ExpungeResult expunged) {
  const std::string& mailbox = recorder_.MailboxName(*changes.front().planned);
  std::vector<Recorded> records;
  std::vector<Change> modified, kept;
  for (const Change& change : changes) {
    const CopyRegisters& before = *change.planned->message.Find(change.mailbox_copy);
    if (expunged.modified.Contains(before.uid)) {
      modified.push_back(change);
      continue;
    }
    if (expunged.kept.Contains(before.uid)) {
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
  if (!expunged.unmeant.empty()) co_await GiveBack(target, changes.front().mailbox_copy, mailbox, expunged.unmeant);
  if (!kept.empty()) {
    co_await recorder_.CloseIntents(kept);
    const absl::Status ignored =
        Error(absl::StatusCode::kPermissionDenied,
              "replica %s: mailbox %s: expunging messages: the server answered OK, but %d of them are still there",
              mesh_.name(target), Printable(mailbox), kept.size());
    recorder_.Forbid(target, kept.front(), /*addition=*/false, ignored);
  }
  if (!modified.empty()) {
    co_await recorder_.CloseIntents(modified);
    mesh_.slot(target).look_due = true;
    mesh_.due.insert({target.value, mailbox});
  }
}

// Messages that went with those that were meant count as never had there, so that the others give them back.
asio::awaitable<void> Changer::GiveBack(ReplicaIndex target, MailboxCopyId copy, std::string mailbox, UidSet uids) {
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
  const auto forgotten = co_await mesh_.store->Run(forget);
  if (!forgotten.ok()) recorder_.Fail(forgotten.status());
  const std::string text = "replica " + mesh_.name(target) + ": mailbox " + Printable(mailbox) +
                           ": another client marked UIDs " + uids.ToString() +
                           " as \\Deleted in the instant of an EXPUNGE, which took them too; they are given back";
  mesh_.Warn(text);
  mesh_.Emit("PROBLEM", target, EdgeIndex(-1), mailbox, text);
}

}  // namespace

asio::awaitable<bool> ApplyFlags(Recorder& recorder, const Work& work, ReplicaIndex target) {
  Changer changer(recorder);
  co_return co_await changer.Flags(work, target);
}

asio::awaitable<void> ApplyExpunges(Recorder& recorder, const Work& work, ReplicaIndex target) {
  Changer changer(recorder);
  co_await changer.Deletions(work, target);
}

}  // namespace imapmesh
