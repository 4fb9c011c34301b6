#include "engine/sync/conflicts.h"

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "base/printable.h"
#include "engine/sync/duplicates.h"
#include "engine/sync/mailbox_decide.h"
#include "engine/sync/merge.h"
#include "engine/sync/refusals.h"

namespace imapmesh {
namespace {

constexpr size_t kReviewedAtOnce = 1000;
constexpr size_t kDescribedAtOnce = 100;

std::string ChoiceNames(const std::vector<Decision>& choices) {
  std::string names;
  for (const Decision choice : choices) names += (names.empty() ? "" : ", ") + std::string(Name(choice));
  return names;
}

bool IsHeldKind(const std::string& kind) {
  return kind == kBrake || kind == kMailboxGone;
}

// "keep" names a side: for the kinds here that means one of the other decisions.
Decision WithoutKeep(const ConflictRecord& conflict, Decision decision, const std::string& replica) {
  const bool has_sides = conflict.kind != kDuplicate && conflict.kind != kRefused;
  if (decision != Decision::kKeep || !has_sides) return decision;
  const bool deleter = replica == conflict.replica_a;
  if (IsHeldKind(conflict.kind)) return deleter ? Decision::kApprove : Decision::kReject;
  return deleter ? Decision::kDelete : Decision::kRestore;
}

// ---- a deletion against a change

// The deletion now counts as done in knowledge of every change, so it flows.
void LetDeletionFlow(State& state, MessageRegisters& message, Stamp deletion) {
  std::map<FlagId, FlagRegister> newest;
  for (const CopyRegisters& copy : message.copies) {
    if (!copy.present()) continue;
    for (const FlagRegister& entry : copy.flags.entries()) {
      FlagRegister& known = newest.try_emplace(entry.flag, entry).first->second;
      if (entry.stamp > known.stamp) known = entry;
    }
  }
  for (CopyRegisters& copy : message.copies) {
    if (copy.presence != Presence::kAbsent || copy.stamp < deletion) continue;
    for (const auto& [flag, entry] : newest) copy.flags.Put(flag, entry.set, entry.stamp);
    state.SaveCopy(message.id, copy);
  }
}

// Every copy that is left is newer than the deletion, so it comes back where it is missing.
void LetMessageStay(State& state, MessageRegisters& message) {
  const Stamp stamp = state.NextStamp();
  for (CopyRegisters& copy : message.copies) {
    if (!copy.present()) continue;
    copy.stamp = stamp;
    state.SaveCopy(message.id, copy);
  }
}

std::string DecideMessage(State& state, const ConflictRecord& conflict, Decision decision) {
  auto message = state.Load(conflict.message);
  if (!message) return "the message is gone";
  if (decision == Decision::kDelete) {
    LetDeletionFlow(state, *message, conflict.stamp);
  } else {
    LetMessageStay(state, *message);
  }
  state.MarkUnsettled(message->id);
  return decision == Decision::kDelete ? "decided: the message is deleted"
                                       : "decided: the message is kept and put back";
}

// ---- what the brake holds

void Approve(State& state, MessageId id, MailboxCopyId here, Stamp stamp) {
  auto message = state.Load(id);
  CopyRegisters* copy = message ? message->Find(here) : nullptr;
  if (copy == nullptr || copy->presence != Presence::kHeld) return;
  copy->presence = Presence::kAbsent;
  copy->uid = Uid();
  copy->stamp = stamp;
  state.SaveCopy(id, *copy);
  state.MarkUnsettled(id);
}

// Nobody has decided: as any deletion that is seen it may be that of an equal message, which this one stands for
// elsewhere since it was held, or another coordinator's (RecordObservation::IsNoDeletion). It is given back then.
void LetGo(State& state, const MeshView& view, MessageId id, MailboxCopyId here, Stamp stamp, int64_t held_unix_ms) {
  ReplacedSince since = {held_unix_ms, held_unix_ms};
  if (const auto where = view.copies.find(here); where != view.copies.end()) {
    const auto carried = view.carried_since.find(where->second.first.value);
    if (carried != view.carried_since.end()) {
      since.beside_unix_ms = std::min(held_unix_ms, carried->second.beside_unix_ms);
      since.found_again_unix_ms = std::min(held_unix_ms, carried->second.found_again_unix_ms);
    }
  }
  const auto message = state.Load(id);
  if (!message || !WasReplacedElsewhere(state, *message, here, since)) return Approve(state, id, here, stamp);
  state.ForgetCopy(id, here);
  state.MarkUnsettled(id);
}

std::string DecideHeld(State& state, const ConflictRecord& conflict, Decision decision) {
  const auto held = state.conflicts().Held(conflict.id);
  const Stamp stamp = state.NextStamp();
  if (const MailboxCopyId gone = MailboxCopyOf(conflict); gone.value != 0) {
    if (decision == Decision::kApprove) {
      ApproveMailboxDeletion(state, gone);
    } else {
      RejectMailboxDeletion(state, gone);
    }
  }
  for (const auto& [message, copy] : held) {
    if (decision == Decision::kApprove) {
      Approve(state, message, copy, stamp);
    } else {
      state.ForgetCopy(message, copy);  // it counts as never had, so that others give it back
      state.MarkUnsettled(message);
    }
  }
  const std::string count = std::to_string(held.size()) + (held.size() == 1 ? " message" : " messages");
  const std::string what = conflict.kind == kMailboxGone ? "the mailbox with " + count : count;
  return (decision == Decision::kApprove ? "approved, deleted everywhere: " : "rejected, put back: ") + what;
}

// ---- a second copy

// Removed, it goes with the next round, which looks whether the other copy is still there; kept, it is a message of its
// own, in every mailbox copy where it is held.
void DecideDuplicate(State& state, const ConflictRecord& conflict, Decision decision, int64_t now) {
  state.MarkUnsettled(conflict.message);
  if (decision == Decision::kDelete) {
    state.conflicts().Close(conflict.id, "decided: the second copy is deleted", now, /*release=*/false);
    return;
  }
  const char* kept = "decided: both are kept, and the second one is carried like any message";
  for (const HeldCopy& held : state.conflicts().HeldByKind(kDuplicate)) {
    if (held.message == conflict.message) state.conflicts().Close(held.conflict, kept, now);
  }
  state.conflicts().Close(conflict.id, kept, now);  // it may hold nothing any more: UIDVALIDITY changed
}

// ---- what is refused for good

void DecideRefused(State& state, const ConflictRecord& conflict, Decision decision, int64_t now) {
  state.MarkUnsettled(conflict.message);
  const bool retry = decision == Decision::kRetry;
  state.conflicts().Close(conflict.id, retry ? "decided: it is sent once more" : "decided: it is left out there", now,
                          /*release=*/retry);
}

// Whether the replica of `here` holds the content of `message` in another mailbox. A message that is just being deleted
// is not where it went.
bool IsElsewhere(State& state, const MeshView& view, const MessageRegisters& message, const CopyRegisters& here) {
  const auto replica = view.copies.find(here.mailbox_copy);
  if (replica == view.copies.end()) return false;
  for (const MessageId id : state.MessagesWithIdentity(message.identity, 16)) {
    const auto other = id == message.id ? std::nullopt : state.Load(id);
    if (!other || other->size != message.size || other->internal_date != message.internal_date) continue;
    const auto absent = [](const CopyRegisters& copy) { return copy.presence == Presence::kAbsent; };
    if (std::any_of(other->copies.begin(), other->copies.end(), absent)) continue;
    for (const CopyRegisters& copy : other->copies) {
      const auto where = view.copies.find(copy.mailbox_copy);
      const bool same_replica = where != view.copies.end() && where->second.first == replica->second.first;
      const bool same_content = copy.guid == 0 || here.guid == 0 || copy.guid == here.guid;
      if (same_replica && copy.present() && same_content) return true;
    }
  }
  return false;
}

// Whether all that is in a mailbox copy is known.
bool IsObserved(State& state, const MeshView& view, MailboxCopyId copy) {
  const auto record = state.mailboxes().FindCopy(copy);
  if (!record || !record->exists) return true;
  return record->uid_validity.value != 0 && !view.incomplete.contains(copy);
}

bool ReviewBrake(State& state, const MeshView& view, const ConflictRecord& conflict, int64_t now) {
  const MailboxCopyId renamed_to = RenamedInboxTo(conflict);
  if (renamed_to.value != 0 && !IsObserved(state, view, renamed_to)) return false;
  const auto held = state.conflicts().Held(conflict.id);
  if (held.empty()) {
    state.conflicts().Close(conflict.id, "the mail came back", now);
    return true;
  }
  const Stamp stamp = conflict.stamp.value != 0 ? conflict.stamp : state.NextStamp();
  int64_t moved = 0;
  std::optional<MailboxCopyId> where;
  for (const auto& [id, here] : held) {
    const auto message = state.Load(id);
    const CopyRegisters* copy = message ? message->Find(here) : nullptr;
    where = here;
    if (copy == nullptr || copy->presence != Presence::kHeld) {
      state.conflicts().Release(id, here);
      ++moved;
    } else if (IsElsewhere(state, view, *message, *copy)) {
      LetGo(state, view, id, here, stamp, conflict.unix_ms);
      state.conflicts().Release(id, here);
      ++moved;
    }
  }
  if (moved == 0 && renamed_to.value == 0) return false;
  const auto left = static_cast<int64_t>(held.size()) - moved;
  const v1::Brake& brake = view.graph->topology().policy().brake();
  const int64_t known = state.CountPresent(*where) + static_cast<int64_t>(held.size());
  // The mailbox may have grown since: that makes no deletion a smaller one.
  const bool most_moved = moved > left;
  if (!most_moved || BrakeHolds(left, known, brake.fraction(), static_cast<int64_t>(brake.min_messages()))) return true;
  for (const auto& [id, here] : state.conflicts().Held(conflict.id)) {
    LetGo(state, view, id, here, stamp, conflict.unix_ms);
  }
  if (renamed_to.value != 0) {
    state.conflicts().Forget(conflict.id);  // a rename like any: nothing was in conflict
  } else {
    state.conflicts().Close(conflict.id, "not held: most were moved to other mailboxes", now);
  }
  return true;
}

// ---- subject and sender

using ByReplica = std::map<ReplicaIndex, std::vector<ToDescribe>>;

// What nobody has any more is described as well as it will be.
ByReplica FindMessages(State& state, const MeshView& view) {
  ByReplica found;
  for (const ConflictRecord& conflict : state.conflicts().Undescribed(kDescribedAtOnce)) {
    const auto message = state.Load(conflict.message);
    std::optional<std::pair<ReplicaIndex, ToDescribe>> idle;
    bool busy = false;
    for (const CopyRegisters& copy : message ? message->copies : std::vector<CopyRegisters>()) {
      const auto where = view.copies.find(copy.mailbox_copy);
      if (!copy.present() || copy.uid.value == 0 || where == view.copies.end()) continue;
      const auto r = static_cast<size_t>(where->second.first.value);
      if (!view.context.replica_up[r]) continue;
      busy |= view.busy[r];
      if (view.busy[r] || idle) continue;
      const UidValidity validity = state.mailboxes().UidValidityOf(copy.mailbox_copy);
      idle = {where->second.first, {conflict.id, {conflict.mailbox, validity}, copy.uid}};
    }
    if (idle) {
      found[idle->first].push_back(std::move(idle->second));
    } else if (!busy) {
      state.conflicts().Describe(conflict.id, "", "");
    }
  }
  return found;
}

}  // namespace

std::vector<Decision> Choices(const ConflictRecord& conflict) {
  if (!conflict.open) return {};
  if (conflict.kind == kRefused) return {Decision::kRetry, Decision::kLeave};
  if (IsHeldKind(conflict.kind)) return {Decision::kApprove, Decision::kReject, Decision::kKeep};
  if (conflict.kind == kDuplicate) return {Decision::kDelete, Decision::kRestore};
  if (conflict.kind == kDeleteVsChange) return {Decision::kDelete, Decision::kRestore, Decision::kKeep};
  return {};
}

ConflictReport ToReport(const ConflictRecord& conflict, int64_t held) {
  ConflictReport report;
  report.id = conflict.id;
  report.kind = conflict.kind;
  report.mailbox = Printable(conflict.mailbox);
  report.message_id = Printable(conflict.message_id);
  report.subject = Printable(conflict.subject);
  report.sender = Printable(conflict.sender);
  report.internal_date_unix_s = conflict.internal_date;
  report.observed_unix_ms = conflict.unix_ms;
  report.replica_a = conflict.replica_a;
  report.change_a = Printable(conflict.change_a);
  report.a_unix_ms = conflict.a_unix_ms;
  report.replica_b = conflict.replica_b;
  report.change_b = Printable(conflict.change_b);
  report.b_unix_ms = conflict.b_unix_ms;
  report.policy = conflict.policy;
  report.outcome = Printable(conflict.outcome);
  report.open = conflict.open;
  report.choices = Choices(conflict);
  report.held = held;
  report.resolved_unix_ms = conflict.resolved_unix_ms;
  return report;
}

std::set<MessageId> MessagesOf(State& state, int64_t conflict) {
  std::set<MessageId> messages;
  if (const auto record = state.conflicts().Find(conflict)) messages.insert(record->message);
  for (const auto& [message, copy] : state.conflicts().Held(conflict)) messages.insert(message);
  return messages;
}

absl::StatusOr<ConflictRecord> Decide(State& state, const MeshView& view, int64_t id, Decision decision,
                                      const std::string& replica, int64_t now_unix_ms) {
  const auto conflict = state.conflicts().Find(id);
  if (!conflict) return Error(absl::StatusCode::kNotFound, "there is no conflict %d", id);
  if (!conflict->open) {
    return Error(absl::StatusCode::kFailedPrecondition, "conflict %d is not open: %s", id,
                 Printable(conflict->outcome));
  }
  if (decision == Decision::kKeep && !view.graph->FindReplica(replica)) {
    return Error(absl::StatusCode::kNotFound, "there is no replica %s whose side could be kept", Printable(replica));
  }
  const std::vector<Decision> choices = Choices(*conflict);
  const Decision meant = WithoutKeep(*conflict, decision, replica);
  if (std::find(choices.begin(), choices.end(), meant) == choices.end()) {
    return Error(absl::StatusCode::kInvalidArgument, "%s does not fit conflict %d (%s): decide %s", Name(decision), id,
                 conflict->kind, ChoiceNames(choices));
  }
  if (conflict->kind == kDuplicate || conflict->kind == kRefused) {
    const auto decide = conflict->kind == kDuplicate ? DecideDuplicate : DecideRefused;
    decide(state, *conflict, meant, now_unix_ms);
    return *state.conflicts().Find(id);
  }
  const std::string outcome =
      IsHeldKind(conflict->kind) ? DecideHeld(state, *conflict, meant) : DecideMessage(state, *conflict, meant);
  state.conflicts().Close(id, outcome, now_unix_ms);
  return *state.conflicts().Find(id);
}

bool ReviewBrakes(State& state, const MeshView& view, int64_t now_unix_ms) {
  bool released = false;
  for (const ConflictRecord& conflict : state.conflicts().List(/*open_only=*/true, kReviewedAtOnce)) {
    if (conflict.kind == kBrake) released |= ReviewBrake(state, view, conflict, now_unix_ms);
  }
  return released;
}

asio::awaitable<absl::StatusOr<ByReplica>> FindUndescribed(Mesh& mesh) {
  const auto view = mesh.View(false);
  const auto find = [&](State& state) { return FindMessages(state, *view); };
  co_return co_await mesh.store->Run(find);
}

asio::awaitable<absl::Status> DescribeConflicts(Mesh& mesh, ReplicaIndex r, std::vector<ToDescribe> wanted) {
  std::map<int64_t, HeaderText> texts;
  for (const ToDescribe& each : wanted) {
    if (!mesh.IsUp(r)) break;
    UidSet uids;
    uids.Add(each.uid);
    const int64_t conflict = each.conflict;
    std::function<void(Uid, HeaderText)> take = [&texts, conflict](Uid, HeaderText text) {
      texts[conflict] = std::move(text);
    };
    const absl::Status fetched = co_await mesh.slot(r).replica->FetchHeaders(each.mailbox, uids, take);
    if (!fetched.ok() && OutcomeUnknown(fetched)) {
      mesh.MarkDown(r, fetched);
    } else {
      texts.try_emplace(conflict);
    }
  }
  const auto save = [&](State& state) {
    for (const auto& [conflict, text] : texts) state.conflicts().Describe(conflict, text.subject, text.sender);
    return true;
  };
  const auto saved = co_await mesh.store->Run(save);
  co_return saved.status();
}

}  // namespace imapmesh
