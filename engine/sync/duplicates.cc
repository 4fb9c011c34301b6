#include "engine/sync/duplicates.h"

#include <algorithm>
#include <cstdlib>
#include <utility>

#include "base/printable.h"
#include "engine/sync/merge.h"

namespace imapmesh {
namespace {

// How far apart two copies of a race may have come. Each coordinator appends by what it observed before; that is
// seconds old, or as old as the batch that it is at.
constexpr int64_t kRaceMillis = 10 * 60 * 1000;
// How much later than a copy its source may have been observed: both in one round.
constexpr int64_t kSameRoundMillis = 5000;
// How many steps of the history are looked through: what happened within kRaceMillis is among them.
constexpr int64_t kRecentSteps = 50'000;
constexpr char kReplacedKey[] = "replaced_unix_ms";
constexpr char kAlikeKey[] = "alike_unix_ms";
constexpr size_t kTwinsMost = 16;
// How far apart two coordinators carry one deletion.
constexpr int64_t kSameDeletionMillis = 10 * 1000;
// The same, where one of them could not look into a mailbox meanwhile, or was not there itself. Whoever removes one of
// two equal messages by hand and the other one too, unseen and within that time, gets it back once.
constexpr int64_t kSameDeletionUnseenMillis = int64_t{24} * 3600 * 1000;

bool IsSameMail(const MessageRegisters& a, const MessageRegisters& b) {
  if (a.id == b.id || a.mailbox != b.mailbox || a.identity != b.identity) return false;
  if (a.size != b.size || a.internal_date != b.internal_date || a.message_id != b.message_id) return false;
  return !a.content || !b.content || a.content->exact == b.content->exact;
}

// What certainly holds the same bytes.
bool IsEqual(const MessageRegisters& a, const MessageRegisters& b) {
  return IsSameMail(a, b) && (!a.message_id.empty() || (a.content && b.content));
}

const CopyRegisters* FindBound(const MessageRegisters& message, MailboxCopyId here) {
  const CopyRegisters* copy = message.Find(here);
  return copy != nullptr && copy->present() && copy->uid.value != 0 ? copy : nullptr;
}

// Of the same mail, and at `here` too.
std::vector<MessageRegisters> Beside(State& state, const MessageRegisters& message, MailboxCopyId here) {
  std::vector<MessageRegisters> beside;
  for (const MessageId id : state.MessagesWithIdentity(message.identity, kTwinsMost)) {
    auto other = id == message.id ? std::nullopt : state.Load(id);
    if (other && IsSameMail(message, *other) && FindBound(*other, here) != nullptr) beside.push_back(*std::move(other));
  }
  return beside;
}

// The registers of `recorded` at another UID, whose flags `there` shows. Flags that only the other one has were set by
// somebody; flags that it lacks come to it again from the other replicas, since nobody took them away.
FlagRegisters FlagsAt(const FlagRegisters& recorded, const FlagRegisters& there) {
  FlagRegisters flags = recorded;
  for (const FlagRegister& entry : recorded.entries()) {
    if (entry.set && !there.IsSet(entry.flag)) flags.Put(entry.flag, false, Stamp(0));
  }
  for (const FlagRegister& entry : there.entries()) {
    if (entry.set && !recorded.IsSet(entry.flag)) flags.Put(entry.flag, true, entry.stamp);
  }
  return flags;
}

// What is set there, and was set by nobody as far as this message goes.
FlagRegisters AsCarried(const FlagRegisters& there) {
  FlagRegisters flags;
  for (const FlagRegister& entry : there.entries()) {
    if (entry.set) flags.Put(entry.flag, true, kCarried);
  }
  return flags;
}

void MoveTo(CopyRegisters& copy, const CopyRegisters& other) {
  copy.uid = other.uid;
  copy.guid = other.guid;
  copy.flags = FlagsAt(copy.flags, other.flags);
}

// The one that `copy` meant is gone, and the mark that somebody put on it before with it: it says nothing of the other
// one, and where it was carried meanwhile it is taken back.
void Replace(CopyRegisters& copy, const CopyRegisters& other, const MergeContext& context) {
  if (copy.flags.IsSet(context.deleted_flag)) copy.flags.Put(context.deleted_flag, false, context.stamp);
  MoveTo(copy, other);
}

std::string KeyOf(const MessageRegisters& second, MailboxCopyId here) {
  const CopyRegisters* copy = second.Find(here);
  return "duplicate:" + std::to_string(second.id.value) + ":" + std::to_string(here.value) + ":" +
         std::to_string(copy->uid.value);
}

std::string NameOf(const MessageRegisters& message) {
  return message.message_id.empty() ? "message " + std::to_string(message.id.value) : Printable(message.message_id);
}

// Where one of them is and the other one is not: it was deleted there, or it was not carried there yet.
const CopyRegisters* FindApart(const MessageRegisters& first, const MessageRegisters& other, Stamp since) {
  for (const CopyRegisters& there : first.copies) {
    const CopyRegisters* lacking = other.Find(there.mailbox_copy);
    const bool bound = there.present() && there.uid.value != 0;
    if (!bound || (lacking != nullptr && lacking->presence != Presence::kAbsent)) continue;
    if (lacking == nullptr || lacking->stamp > since) return &there;
  }
  return nullptr;
}

}  // namespace

Duplicates::Duplicates(State& state, const MeshView& view, int64_t now_unix_ms)
    : state_(state), view_(view), now_(now_unix_ms) {
  for (const HeldCopy& held : state.conflicts().HeldByKind(kDuplicate)) held_[held.message].push_back(held);
}

bool Duplicates::IsHeld(MessageId message, MailboxCopyId here) const {
  const auto held = held_.find(message);
  return held != held_.end() &&
         std::any_of(held->second.begin(), held->second.end(), [&](const HeldCopy& copy) { return copy.copy == here; });
}

std::optional<MessageRegisters> Duplicates::FindTwin(const MessageRegisters& message, MailboxCopyId here,
                                                     bool raced) const {
  for (MessageRegisters& other : Beside(state_, message, here)) {
    if (!IsHeld(other.id, here) && (!raced || IsRace(other, message, here))) return std::move(other);
  }
  return std::nullopt;
}

// Else this one may be what is left of the message.
bool Duplicates::HasTwinThatStays(const MessageRegisters& second, MailboxCopyId here) const {
  const MailboxView& mailbox = view_.mailboxes.at(second.mailbox);
  const Admissions admissions(*view_.graph, mailbox.name);
  const std::vector<MessageRegisters> beside = Beside(state_, second, here);
  return std::any_of(beside.begin(), beside.end(), [&](const MessageRegisters& other) {
    const MessagePlan plan = PlanMessage(other, mailbox, admissions, view_.context);
    const bool leaves = std::any_of(plan.copies.begin(), plan.copies.end(), [&](const CopyPlan& copy) {
      return copy.mailbox_copy == here && (copy.action == Action::kExpunge || copy.action == Action::kAsk);
    });
    return !leaves && !IsHeld(other.id, here);
  });
}

std::optional<HistoryStep> Duplicates::CameAt(MessageId message, MailboxCopyId here) const {
  return state_.history().LastPresence(message, here, kRecentSteps);
}

// Else there was no other replica from which a second copy could have been carried here at `unix_ms`.
bool Duplicates::WasElsewhere(const MessageRegisters& first, MailboxCopyId here, int64_t unix_ms) const {
  return std::any_of(first.copies.begin(), first.copies.end(), [&](const CopyRegisters& other) {
    if (other.mailbox_copy == here || !other.present()) return false;
    const auto there = CameAt(first.id, other.mailbox_copy);
    return !there || there->unix_ms <= unix_ms + (IsOurs(there->kind) ? 0 : kSameRoundMillis);
  });
}

// Whether this coordinator had just carried it to where another one, which did not know that it was here, found it.
bool Duplicates::HasComeBack(const MessageRegisters& first, MailboxCopyId here, int64_t unix_ms) const {
  return std::any_of(first.copies.begin(), first.copies.end(), [&](const CopyRegisters& other) {
    const auto there = other.mailbox_copy == here ? std::nullopt : CameAt(first.id, other.mailbox_copy);
    return there && IsOurs(there->kind) && there->unix_ms <= unix_ms && unix_ms - there->unix_ms <= kRaceMillis;
  });
}

bool Duplicates::IsRace(const MessageRegisters& first, const MessageRegisters& second, MailboxCopyId here) const {
  for (const MessageRegisters* decided : {&first, &second}) {  // it was one, and both are kept
    if (state_.conflicts().FindByKey(KeyOf(*decided, here))) return false;
  }
  const auto came = CameAt(first.id, here), followed = CameAt(second.id, here);
  if (!came) return followed && HasComeBack(first, here, followed->unix_ms);  // it was there before the mesh was
  // Without a step it was there when the mailbox was first looked into, and yet was appended: a race for a new mailbox.
  if (!followed) return IsOurs(came->kind);
  return std::abs(came->unix_ms - followed->unix_ms) <= kRaceMillis &&
         WasElsewhere(first, here, std::max(came->unix_ms, followed->unix_ms));
}

// What is under way knows the copies by the UIDs that they had when it was planned.
bool Duplicates::MustWait(const Twin& twin, const MessageRegisters& second, const std::set<MessageId>& planned) const {
  if (FindBound(twin.first, twin.here)->uid < FindBound(second, twin.here)->uid) return false;
  return planned.contains(twin.first.id) || planned.contains(second.id) ||
         view_.busy[static_cast<size_t>(ReplicaOf(twin.here).value)] || state_.HasIntent(twin.first.id, twin.here) ||
         state_.HasIntent(second.id, twin.here);
}

Duplicates::Standing Duplicates::Judge(const MessageRegisters& message, const std::set<MessageId>& planned,
                                       const std::set<MessageId>& leaving) {
  const bool known = IsKnown(message.id);
  if (!known && state_.MessagesWithIdentity(message.identity, 2).size() < 2) return Standing::kOrdinary;
  std::vector<Twin> found;
  bool present = false;
  for (const CopyRegisters& copy : message.copies) {
    if (!copy.present()) continue;
    present = true;  // perhaps at a replica that the topology leaves out for now
    if (!view_.copies.contains(copy.mailbox_copy) || IsHeld(message.id, copy.mailbox_copy)) continue;
    const bool bound = FindBound(message, copy.mailbox_copy) != nullptr;
    auto first = bound ? FindTwin(message, copy.mailbox_copy, /*raced=*/true) : std::nullopt;
    if (!first) {
      if (known) CloseAll(message, "it came to another replica too: both are kept");
      return Standing::kOrdinary;
    }
    found.push_back({*std::move(first), copy.mailbox_copy});
  }
  if (!present) {
    if (!known) return Standing::kOrdinary;
    CloseAll(message, "one of the two copies is gone: the other one stays");
    state_.ForgetMessage(message.id);
    return Standing::kSecond;
  }
  for (const Twin& twin : found) {
    if (!MustWait(twin, message, planned)) continue;
    return leaving.contains(twin.first.id) ? Standing::kAfterDeletions : Standing::kLater;
  }
  for (Twin& twin : found) Hold(std::move(twin), *state_.Load(message.id));
  return Standing::kSecond;
}

void Duplicates::Hold(Twin twin, MessageRegisters second) {
  CopyRegisters &one = *twin.first.Find(twin.here), &other = *second.Find(twin.here);
  if (one.uid > other.uid) {
    const CopyRegisters before = one;
    MoveTo(one, other);
    MoveTo(other, before);
    state_.ForgetCopy(second.id, twin.here);  // no UID is two messages', not for a moment
    state_.SaveCopy(twin.first.id, one);
    state_.SaveCopy(second.id, other);
    state_.MarkUnsettled(twin.first.id);
    moved_.insert({twin.first.id, second.id});
  }
  const std::string uids = "UID " + std::to_string(one.uid.value) + " and UID " + std::to_string(other.uid.value);
  ConflictRecord conflict;
  conflict.key = KeyOf(second, twin.here);
  conflict.kind = kDuplicate;
  conflict.mailbox = view_.mailboxes.at(second.mailbox).name;
  conflict.message = second.id;
  conflict.message_id = second.message_id;
  conflict.internal_date = second.internal_date;
  conflict.unix_ms = now_;
  conflict.replica_a = view_.graph->replica(ReplicaOf(twin.here)).name();
  conflict.change_a = "holds it twice, as " + uids + ": somebody else carried it there at the same time";
  conflict.policy = "ASK";
  conflict.outcome = "waits for a decision: the second copy stays there and is carried nowhere";
  conflict.stamp = other.stamp;
  conflict.open = true;
  const auto id = state_.conflicts().Add(conflict);
  if (!id) return;
  state_.conflicts().Hold(*id, second.id, twin.here);
  held_[second.id].push_back({second.id, twin.here, *id, true});
  notes_.push_back({false, true, ReplicaOf(twin.here), conflict.mailbox, NameOf(second) + " " + conflict.change_a});
}

void Duplicates::CloseAll(const MessageRegisters& message, const std::string& outcome) {
  for (const HeldCopy& held : held_[message.id]) {
    state_.conflicts().Release(message.id, held.copy);
    if (!held.open) continue;
    state_.conflicts().Close(held.conflict, outcome, now_);
    if (!view_.copies.contains(held.copy)) continue;
    notes_.push_back({true, true, ReplicaOf(held.copy), view_.mailboxes.at(message.mailbox).name,
                      "conflict " + std::to_string(held.conflict) + ": " + outcome});
  }
  held_.erase(message.id);
}

std::vector<CopyPlan> Duplicates::Removals(const MessageRegisters& second) {
  std::vector<CopyPlan> removals;
  const auto held = held_.find(second.id);
  if (held == held_.end()) return removals;
  std::set<MailboxCopyId> alone;
  for (const HeldCopy& decided : held->second) {
    if (decided.open || !view_.copies.contains(decided.copy)) continue;
    const CopyRegisters *copy = second.Find(decided.copy), *here = FindBound(second, decided.copy);
    const bool gone = copy == nullptr || copy->presence == Presence::kAbsent;
    if (!gone && here == nullptr) continue;
    if (gone ||
        !FindTwin(second, decided.copy, /*raced=*/false)) {  // the first one is gone by now: this is the message
      state_.conflicts().Release(second.id, decided.copy);
      alone.insert(decided.copy);
      continue;
    }
    if (!HasTwinThatStays(second, decided.copy)) continue;
    CopyPlan removal;
    removal.target = ReplicaOf(decided.copy);
    removal.mailbox_copy = decided.copy;
    removal.action = Action::kExpunge;
    removal.stamp = here->stamp;
    removal.presence = Presence::kAbsent;
    removal.flags = here->flags;
    removal.because = {AnyEdgeOf(*view_.graph, removal.target), removal.target, here->stamp};
    removals.push_back(std::move(removal));
  }
  std::erase_if(held->second, [&](const HeldCopy& copy) { return alone.contains(copy.copy); });
  if (held->second.empty()) held_.erase(held);
  return removals;
}

bool Duplicates::TakePlace(const MessageRegisters& message, const CopyPlan& deletion) {
  const MailboxCopyId here = deletion.mailbox_copy;
  const MailboxView& mailbox = view_.mailboxes.at(message.mailbox);
  const MailboxCopyId origin = mailbox.copies[static_cast<size_t>(deletion.because.origin.value)];
  if (FindBound(message, here) == nullptr) return false;
  for (const MessageRegisters& other : Beside(state_, message, origin)) {
    const CopyRegisters* known = other.Find(here);
    if (!IsEqual(message, other) || (known != nullptr && known->present()) || state_.HasIntent(other.id, here))
      continue;
    CopyRegisters left = *message.Find(here), stays = left;
    left.presence = Presence::kAbsent;
    left.uid = Uid();
    left.stamp = deletion.stamp;
    stays.stamp = other.Find(origin)->stamp;
    stays.flags = AsCarried(stays.flags);
    state_.SaveCopy(message.id, left);  // no UID is two messages', not for a moment
    state_.SaveCopy(other.id, stays);
    state_.conflicts().Release(other.id, here);
    for (const MessageId id : {message.id, other.id}) state_.MarkUnsettled(id);
    state_.history().Add({now_, message.id, here, StepKind::kExpunged, ""});
    state_.history().Add({now_, other.id, here, StepKind::kSeen, ""});
    moved_.insert({message.id, other.id});
    return true;
  }
  return false;
}

bool TakeOver(State& state, const std::vector<HeldCopy>& held, MessageRegisters& first, MailboxCopyId here,
              const UidSet& vanished, const MergeContext& context) {
  for (const HeldCopy& candidate : held) {
    if (candidate.copy != here || candidate.message == first.id) continue;
    const auto second = state.Load(candidate.message);
    const CopyRegisters* other = second && IsSameMail(first, *second) ? FindBound(*second, here) : nullptr;
    if (other == nullptr || vanished.Contains(other->uid)) continue;
    CopyRegisters& copy = *first.Find(here);
    Replace(copy, *other, context);
    state.ForgetCopy(second->id, here);
    state.SaveCopy(first.id, copy);
    state.MarkUnsettled(first.id);
    state.MarkUnsettled(second->id);
    return true;
  }
  return false;
}

bool TakeEqual(State& state, MessageRegisters& first, MailboxCopyId here, const UidSet& vanished,
               const MergeContext& context) {
  for (const MessageRegisters& other : Beside(state, first, here)) {
    const CopyRegisters* beside = FindBound(other, here);
    if (!IsEqual(first, other) || vanished.Contains(beside->uid)) continue;
    const CopyRegisters* apart = FindApart(first, other, beside->stamp);
    if (apart == nullptr) continue;
    const CopyRegisters* deleted = other.Find(apart->mailbox_copy);
    CopyRegisters& copy = *first.Find(here);
    Replace(copy, *beside, context);
    CopyRegisters left = *other.Find(here);
    left.presence = Presence::kAbsent;
    left.uid = Uid();
    left.stamp = deleted != nullptr ? deleted->stamp : context.stamp;
    state.SaveCopy(other.id, left);  // no UID is two messages', not for a moment
    state.SaveCopy(first.id, copy);
    state.MarkUnsettled(first.id);
    state.MarkUnsettled(other.id);
    return true;
  }
  return false;
}

void NoteAlike(State& state, int64_t now_unix_ms) {
  state.SetMetaNumber(kAlikeKey, now_unix_ms);
}

bool HasAlikeLately(State& state, int64_t now_unix_ms) {
  return now_unix_ms - state.MetaNumber(kAlikeKey) <= kRaceMillis;
}

bool HasEqualBeside(State& state, const MessageRegisters& message, MailboxCopyId here) {
  return !Beside(state, message, here).empty();
}

bool IsCarriedTwice(State& state, const MessageRegisters& gone, MailboxCopyId here,
                    const std::set<MailboxCopyId>& deleters, int64_t now_unix_ms) {
  for (const MessageId id : state.MessagesWithIdentity(gone.identity, kTwinsMost)) {
    const auto other = id == gone.id ? std::nullopt : state.Load(id);
    const CopyRegisters* copy = other && IsSameMail(gone, *other) ? other->Find(here) : nullptr;
    if (copy == nullptr) continue;
    if (copy->present() && IsDeletedSince(*other, *copy, deleters)) return true;
    if (copy->presence != Presence::kAbsent) continue;
    const auto step = state.history().LastPresence(id, here, kRecentSteps);
    const bool ours = step && step->kind == StepKind::kExpunged;
    if (ours && now_unix_ms - step->unix_ms <= kSameDeletionMillis) return true;
  }
  return false;
}

ReplacedSince DeletedSince(int64_t now_unix_ms, int64_t unseen_since_unix_ms, bool company) {
  const int64_t a_day_ago = now_unix_ms - kSameDeletionUnseenMillis;
  if (!company) return {unseen_since_unix_ms - kSameDeletionMillis, unseen_since_unix_ms};
  return {a_day_ago, std::max(a_day_ago, std::min(now_unix_ms - kSameDeletionMillis, unseen_since_unix_ms))};
}

void NoteReplaced(State& state, MessageId message, MailboxCopyId here, StepKind how, int64_t now_unix_ms) {
  state.history().Add({now_unix_ms, message, here, how, ""});
  state.SetMetaNumber(kReplacedKey, now_unix_ms);
}

int64_t LastReplaced(State& state) {
  return state.MetaNumber(kReplacedKey);
}

bool WasReplacedElsewhere(State& state, const MessageRegisters& gone, MailboxCopyId here, const ReplacedSince& since) {
  const int64_t last = LastReplaced(state);  // hardly ever: most of what is deleted is asked for no more than that
  if (last == 0 || last < std::min(since.beside_unix_ms, since.found_again_unix_ms)) return false;
  const auto came = state.history().LastPresence(gone.id, here, kRecentSteps);
  const auto was = [&](const CopyRegisters& copy, StepKind how, int64_t since_unix_ms) {
    const int64_t replaced = state.history().LastTime(gone.id, copy.mailbox_copy, how, kRecentSteps);
    return replaced != 0 && replaced >= std::max(since_unix_ms, came ? came->unix_ms : 0);
  };
  return std::any_of(gone.copies.begin(), gone.copies.end(), [&](const CopyRegisters& copy) {
    if (copy.mailbox_copy == here || !copy.present()) return false;
    return was(copy, StepKind::kReplaced, since.beside_unix_ms) ||
           was(copy, StepKind::kFoundAgain, since.found_again_unix_ms);
  });
}

void ForgetReplacedElsewhere(State& state, MailboxCopyId here, const ReplacedSince& since) {
  const auto forget = [&](StepKind how, int64_t since_unix_ms) {
    if (LastReplaced(state) < since_unix_ms) return;
    for (const MessageId id : state.history().MessagesSince(how, since_unix_ms, kRecentSteps)) {
      const auto message = state.Load(id);
      const bool here_too = message && message->Find(here) != nullptr;
      if (!here_too || !WasReplacedElsewhere(state, *message, here, since)) continue;
      state.ForgetCopy(id, here);
      state.MarkUnsettled(id);
    }
  };
  forget(StepKind::kReplaced, since.beside_unix_ms);
  forget(StepKind::kFoundAgain, since.found_again_unix_ms);
}

bool ExchangeEqual(State& state, MessageId one, MessageId other, MailboxCopyId here) {
  auto first = state.Load(one), second = state.Load(other);
  if (!first || !second || !IsEqual(*first, *second)) return false;
  CopyRegisters &a = *first->Find(here), &b = *second->Find(here);
  std::swap(a.uid, b.uid);
  std::swap(a.guid, b.guid);
  state.ForgetCopy(other, here);  // no UID is two messages', not for a moment
  state.SaveCopy(one, a);
  state.SaveCopy(other, b);
  return true;
}

void HoldGone(State& state, int64_t conflict, MailboxCopyId here, int64_t now_unix_ms) {
  for (const HeldCopy& second : state.conflicts().HeldByKind(kDuplicate)) {
    const auto message = second.copy == here ? state.Load(second.message) : std::nullopt;
    const CopyRegisters* copy = message ? message->Find(here) : nullptr;
    if (copy == nullptr || copy->presence != Presence::kHeld) continue;
    state.conflicts().Close(second.conflict, "it is gone from there with others: see the brake", now_unix_ms);
  }
  state.conflicts().HoldAll(conflict, here);
}

}  // namespace imapmesh
