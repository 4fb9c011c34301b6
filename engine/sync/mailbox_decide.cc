#include "engine/sync/mailbox_decide.h"

#include <algorithm>
#include <charconv>
#include <utility>

#include "engine/sync/merge.h"

namespace imapmesh {
namespace {

constexpr char kGoneKey[] = "mailbox-gone:";
constexpr char kInboxKey[] = "inbox-renamed:";

MailboxCopyId IdBehind(std::string_view prefix, const std::string& key) {
  if (!key.starts_with(prefix)) return MailboxCopyId();
  int64_t id = 0;
  std::from_chars(key.data() + prefix.size(), key.data() + key.size(), id);
  return MailboxCopyId(id);
}

std::string KeyOf(const MailboxCopyRecord& gone) {
  return kGoneKey + std::to_string(gone.id.value) + ":" + std::to_string(gone.exists_stamp.value);
}

void RecordKept(State& state, const MailboxCopyRecord& copy, Stamp stamp, const char* kind, const std::string& deleter,
                const std::string& kept, const std::string& change, int64_t now_unix_ms) {
  ConflictRecord conflict;
  conflict.key = "mailbox-kept:" + std::to_string(copy.id.value) + ":" + std::to_string(stamp.value);
  conflict.kind = kind;
  conflict.mailbox = copy.mailbox_name;
  conflict.unix_ms = now_unix_ms;
  conflict.replica_a = deleter;
  conflict.change_a = "the mailbox was deleted";
  conflict.replica_b = kept;
  conflict.change_b = change;
  conflict.policy = "mail wins over the deletion of a mailbox";
  conflict.outcome = "the mailbox is kept and put back";
  state.conflicts().Add(conflict);
}

}  // namespace

void RecordMailWon(State& state, const MailboxCopyRecord& kept_copy, Stamp stamp, const std::string& deleter,
                   const std::string& kept, int64_t now_unix_ms) {
  RecordKept(state, kept_copy, stamp, "MAILBOX_DELETED_AND_FILLED", deleter, kept, "mail arrived in it", now_unix_ms);
}

void ApproveMailboxDeletion(State& state, MailboxCopyId copy) {
  auto record = state.mailboxes().FindCopy(copy);
  if (!record || record->exists) return;
  const Stamp stamp = state.NextStamp();
  state.mailboxes().DeleteHeld(copy, stamp);
  record->gone = MailboxGone::kNo;
  record->exists_stamp = stamp;
  state.Save(*record);
}

void RejectMailboxDeletion(State& state, MailboxCopyId copy) {
  auto record = state.mailboxes().FindCopy(copy);
  if (!record || record->exists) return;
  state.mailboxes().ForgetHeld(copy);
  record->gone = MailboxGone::kNo;
  record->exists_stamp = Stamp(0);
  state.Save(*record);
}

namespace {

// The mark that we set on the way to an EXPUNGE goes along with what is moved: it is nobody's there either.
void KeepMarks(State& state, MailboxCopyId inbox) {
  const FlagId deleted = state.InternFlag("\\Deleted");
  for (const Intent& intent : state.IntentsAt(inbox)) {
    auto message = intent.kind == IntentKind::kExpunge ? state.Load(intent.message) : std::nullopt;
    CopyRegisters* copy = message ? message->Find(inbox) : nullptr;
    if (copy == nullptr || copy->flags.IsSet(deleted)) continue;
    copy->flags.Put(deleted, true, kCarried);
    state.SaveCopy(message->id, *copy);
  }
}

}  // namespace

MailboxCopyId MailboxCopyOf(const ConflictRecord& conflict) {
  return IdBehind(kGoneKey, conflict.key);
}

void HoldRenamedInbox(State& state, MailboxCopyRecord& inbox, MailboxCopyId to, const std::string& replica,
                      const std::string& name, Stamp stamp, int64_t now_unix_ms, const ReplacedSince& deleted_since) {
  ForgetReplacedElsewhere(state, inbox.id, deleted_since);
  KeepMarks(state, inbox.id);
  const int64_t messages = state.HoldAll(inbox.id);
  inbox.rebinding = false;
  inbox.uid_validity = UidValidity();
  inbox.uid_next = Uid();
  inbox.last_uid = Uid();
  inbox.highest_modseq = ModSeq();
  inbox.messages = 0;
  if (messages == 0) return;
  ConflictRecord conflict;
  conflict.key = kInboxKey + std::to_string(to.value) + ":" + std::to_string(stamp.value);
  conflict.kind = "BRAKE";
  conflict.mailbox = inbox.mailbox_name;
  conflict.unix_ms = now_unix_ms;
  conflict.replica_a = replica;
  conflict.change_a = "renamed to " + name + " with " + std::to_string(messages) + " messages";
  conflict.policy = "brake";
  conflict.outcome = "held: until the messages are seen in " + name + ", or someone decides";
  conflict.stamp = stamp;
  conflict.open = true;
  if (const auto id = state.conflicts().Add(conflict)) HoldGone(state, *id, inbox.id, now_unix_ms);
}

MailboxCopyId RenamedInboxTo(const ConflictRecord& conflict) {
  return IdBehind(kInboxKey, conflict.key);
}

void CloseMailboxConflict(State& state, const MailboxCopyRecord& copy, int64_t now_unix_ms) {
  const auto conflict = state.conflicts().FindByKey(KeyOf(copy));
  if (conflict && conflict->open) state.conflicts().Close(conflict->id, "the mailbox came back", now_unix_ms);
}

bool IsDeleted(const MailboxCopyRecord& copy) {
  return !copy.exists && copy.exists_stamp.value > 0 && copy.gone == MailboxGone::kNo;
}

MailboxDecisions DecideMailboxes::operator()(State& state) {
  decisions_ = MailboxDecisions();
  copies_ = state.MailboxCopies();
  for (const MailboxCopyRecord& copy : copies_) {
    if (busy_.contains(copy.replica)) continue;
    if (confirmed_.contains(copy.id) && copy.gone == MailboxGone::kUndecided) Decide(state, copy);
    if (copy.gone == MailboxGone::kKept || IsDeleted(copy)) Revive(state, copy);
    if (copy.gone == MailboxGone::kWaits) PutBackIfFilled(state, copy);
  }
  if (decisions_.changed) decisions_.copies = state.MailboxCopies();
  return std::move(decisions_);
}

void DecideMailboxes::Decide(State& state, const MailboxCopyRecord& gone) {
  decisions_.changed = true;
  bool told = false, anywhere = false;  // whether anyone may learn of the deletion; whether anyone has the mailbox
  for (const MailboxCopyRecord& other : copies_) {
    const bool waits = other.gone == MailboxGone::kWaits;  // it may be put back there
    if (other.mailbox != gone.mailbox || other.id == gone.id || (!other.exists && !waits)) continue;
    told |= Reaches(gone.replica, other.replica, gone.mailbox_name, ChangeKind::kMailboxDeletion);
    if (waits) continue;
    anywhere = true;
    if (!Reaches(other.replica, gone.replica, gone.mailbox_name, ChangeKind::kAddition)) continue;
    if (other.name_stamp > gone.name_stamp) {
      return PutBack(state, gone, other, "MAILBOX_DELETED_AND_RENAMED", "renamed to " + other.mailbox_name);
    }
    if (state.mailboxes().HasNews(other.id, gone.id)) {
      return PutBack(state, gone, other, "MAILBOX_DELETED_AND_FILLED", "mail arrived in it");
    }
  }
  if (anywhere && !told) return Keep(state, gone);
  const int64_t messages = state.mailboxes().CountHeld(gone.id);
  const v1::Policy& policy = graph_.topology().policy();
  const bool ask = anywhere && policy.mailbox_deletes() == v1::MailboxDeletePolicy::ASK;
  const bool brake = BrakeHolds(messages, messages, policy.brake().fraction(), policy.brake().min_messages());
  if (ask || brake || (messages > 0 && BrakeHoldsReplica(state, gone.replica))) return Hold(state, gone, messages);
  ApproveMailboxDeletion(state, gone.id);
}

// Many small mailboxes at once are a wiped disk too.
bool DecideMailboxes::BrakeHoldsReplica(State& state, ReplicaId replica) const {
  int64_t gone = 0, known = 0;
  for (const MailboxCopyRecord& copy : copies_) {
    if (copy.replica != replica) continue;
    if (copy.gone == MailboxGone::kUndecided) gone += state.mailboxes().CountHeld(copy.id);
    if (copy.exists) known += copy.messages;
  }
  const v1::Brake& brake = graph_.topology().policy().brake();
  return BrakeHolds(gone, gone + known, brake.fraction(), brake.min_messages());
}

void DecideMailboxes::Keep(State& state, const MailboxCopyRecord& gone) {
  MailboxCopyRecord record = gone;
  record.gone = MailboxGone::kKept;
  state.Save(record);
}

void DecideMailboxes::Hold(State& state, const MailboxCopyRecord& gone, int64_t messages) {
  MailboxCopyRecord record = gone;
  record.gone = MailboxGone::kWaits;
  state.Save(record);
  ConflictRecord conflict;
  conflict.key = KeyOf(gone);
  conflict.kind = "MAILBOX_GONE";
  conflict.mailbox = gone.mailbox_name;
  conflict.unix_ms = now_;
  conflict.replica_a = NameOf(gone.replica);
  conflict.change_a = "the mailbox was deleted with " + std::to_string(messages) + " messages in it";
  const bool ask = graph_.topology().policy().mailbox_deletes() == v1::MailboxDeletePolicy::ASK;
  conflict.policy = ask ? "mailbox_deletes: ASK" : "brake";
  conflict.outcome = "held: nothing is deleted elsewhere until someone decides";
  conflict.stamp = gone.exists_stamp;
  conflict.open = true;
  if (const auto id = state.conflicts().Add(conflict)) HoldGone(state, *id, gone.id, now_);
  decisions_.conflicts.push_back({gone.id, conflict.change_a + ": held until someone decides"});
}

void DecideMailboxes::PutBack(State& state, const MailboxCopyRecord& gone, const MailboxCopyRecord& other,
                              const char* kind, const std::string& change) {
  RejectMailboxDeletion(state, gone.id);
  RecordKept(state, gone, gone.exists_stamp, kind, NameOf(gone.replica), NameOf(other.replica), change, now_);
  decisions_.conflicts.push_back(
      {gone.id, "deleted here, but at " + NameOf(other.replica) + " " + change + ": it is kept and put back"});
}

// Mail that arrives while someone is asked about an empty mailbox decides it. Where messages wait as well the decision
// is about those; what is new stays in any case.
void DecideMailboxes::PutBackIfFilled(State& state, const MailboxCopyRecord& held) {
  if (state.mailboxes().CountHeld(held.id) > 0) return;
  for (const MailboxCopyRecord& other : copies_) {
    if (other.mailbox != held.mailbox || other.id == held.id || !other.exists) continue;
    if (!Reaches(other.replica, held.replica, held.mailbox_name, ChangeKind::kAddition)) continue;
    if (!state.mailboxes().HasNews(other.id, held.id)) continue;
    if (const auto conflict = state.conflicts().FindByKey(KeyOf(held)); conflict && conflict->open) {
      state.conflicts().Close(conflict->id, "mail arrived in the mailbox elsewhere: it is put back", now_);
    }
    decisions_.changed = true;
    return PutBack(state, held, other, "MAILBOX_DELETED_AND_FILLED", "mail arrived in it");
  }
}

// Mail for a mailbox that this replica does without and the other one keeps: it is made again, for what is new.
void DecideMailboxes::Revive(State& state, const MailboxCopyRecord& kept) {
  for (const MailboxCopyRecord& other : copies_) {
    if (other.mailbox != kept.mailbox || !other.exists) continue;
    if (!Reaches(other.replica, kept.replica, kept.mailbox_name, ChangeKind::kAddition)) continue;
    // Else it is deleted there too, unless mail wins there.
    const bool told = Reaches(kept.replica, other.replica, kept.mailbox_name, ChangeKind::kMailboxDeletion);
    if (IsDeleted(kept) && told) continue;
    if (!state.mailboxes().HasNews(other.id, kept.id)) continue;
    MailboxCopyRecord record = kept;
    record.gone = MailboxGone::kNo;
    record.exists_stamp = Stamp(0);
    state.Save(record);
    decisions_.changed = true;
    return;
  }
}

ReplicaIndex DecideMailboxes::IndexOf(ReplicaId replica) const {
  const auto found = std::find(replicas_.begin(), replicas_.end(), replica);
  return found == replicas_.end() ? ReplicaIndex(-1) : ReplicaIndex(static_cast<int32_t>(found - replicas_.begin()));
}

bool DecideMailboxes::Reaches(ReplicaId from, ReplicaId to, const std::string& mailbox, ChangeKind kind) const {
  const ReplicaIndex a = IndexOf(from), b = IndexOf(to);
  return a.value >= 0 && b.value >= 0 && a != b && graph_.Reaches(a, b, mailbox, kind);
}

}  // namespace imapmesh
