#include "engine/sync/record_observation.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "engine/sync/conflicts.h"
#include "engine/sync/content_digest.h"

namespace imapmesh {
namespace {

constexpr size_t kEqualsMost = 16;  // messages compared with one whose flags changed

uint64_t HashGuid(const std::string& guid) {
  if (guid.empty()) return 0;
  Sha256 digest;
  digest.Add(guid);
  const Digest bytes = digest.Finish();
  uint64_t hash = 0;
  for (size_t i = 0; i < 8; ++i) hash = hash << 8 | bytes[i];
  return (hash >> 1) | 1;  // positive as SQLite's integers are signed; never 0, which means none
}

// What another coordinator carries is that deletion, and nobody's change: what came back since then stays.
Stamp NewestDeletion(const MessageRegisters& message) {
  Stamp newest(0);
  for (const CopyRegisters& copy : message.copies) {
    if (copy.presence == Presence::kAbsent) newest = std::max(newest, copy.stamp);
  }
  return newest;
}

std::string RecountedKey(MailboxCopyId copy) {
  return "recounted:" + std::to_string(copy.value);
}

bool IsFree(const CopyRegisters* copy) {
  return copy == nullptr || copy->uid.value == 0;
}

}  // namespace

void StartRebinding(State& state, MailboxCopyRecord& record) {
  state.Unbind(record.id);
  PrepareRebinding(record);
}

void StartRecounting(State& state, MailboxCopyRecord& record, int64_t unknown) {
  StartRebinding(state, record);
  state.SetMetaNumber(RecountedKey(record.id), unknown);
}

void PrepareRebinding(MailboxCopyRecord& record) {
  record.rebinding = true;
  record.uid_validity = UidValidity();
  record.uid_next = Uid();
  record.last_uid = Uid();
  record.highest_modseq = ModSeq();
}

// False where a mailbox was renamed, and another one called so, between the look and the first observation.
bool RecordObservation::IsListedOne(const ReplicaSlot& slot, const MailboxCopyRecord& record,
                                    const Observation& observation) {
  if (record.uid_validity.value != 0) return true;
  const auto listed = slot.not_observed.find(record.mailbox_name);
  return listed == slot.not_observed.end() || listed->second.uid_validity == observation.cursor.uid_validity;
}

std::set<MailboxCopyId> RecordObservation::Deleters(const Mesh& mesh, ReplicaIndex r, const MailboxCopyRecord& record) {
  std::set<MailboxCopyId> deleters;
  const auto entry = mesh.mailboxes.find(record.mailbox_name);
  if (entry == mesh.mailboxes.end()) return deleters;
  for (int32_t other = 0; other < mesh.graph->replica_count(); ++other) {
    const MailboxCopyId copy = entry->second.copies[static_cast<size_t>(other)].id;
    const bool flows = other != r.value && copy.value != 0 &&
                       mesh.graph->Reaches(ReplicaIndex(other), r, record.mailbox_name, ChangeKind::kDeletion);
    if (flows) deleters.insert(copy);
  }
  return deleters;
}

MergeResult RecordObservation::operator()(State& state) {
  MergeResult result;
  second_copies_.reset();
  result.record = record_;
  for (const auto& [message, content] : known_content) state.SetContent(message, content);
  BeginRebinding(state, result.record);
  if (HasUidsOfOthers(state, result.record)) {
    StartRebinding(state, result.record);
    state.Save(result.record);
    result.uids_of_others = true;
    return result;
  }
  LoadIntents(state, result.record.id);
  FindVanished(state, result.record);
  imported_.Begin(state, result.record, observation_.cursor.uid_validity);
  result.distrust = imported_.distrust();
  if (!IdentifyArrivals(state, result)) return result;
  const auto intern = [&](std::string_view name) { return state.InternFlag(name); };
  context_ = {state.NextStamp(), deleted_flag_, record_.flag_limits, LimitsOf(observation_, intern)};
  MergeGone(state, result);
  ExchangeEquals(state, result.record.id);
  MergeChanged(state, result);
  MergeArrived(state, result);
  Finish(state, result);
  return result;
}

void RecordObservation::BeginRebinding(State& state, MailboxCopyRecord& record) {
  const bool changed = record.uid_validity.value != 0 && record.uid_validity != observation_.cursor.uid_validity;
  if (changed) StartRebinding(state, record);  // also what was found again under the one before
}

// Whether one of the UIDs that are known is another message's now. The server's own identity tells; else it is unlike
// in more than one thing: of a message that a server changed as it took it the date, or all but the date, may not be
// what is known.
bool RecordObservation::HasUidsOfOthers(State& state, const MailboxCopyRecord& record) const {
  if (record.rebinding) return false;
  const auto is_other = [&](const ArrivedMessage& told) {
    const auto known = state.LoadByUid(record.id, told.uid);
    const uint64_t guid = known ? known->Find(record.id)->guid : 0, guid_now = HashGuid(told.server_guid);
    if (guid != 0 && guid_now != 0) return guid != guid_now;
    if (!known || known->internal_date == told.internal_date) return false;
    return known->identity != told.header_digest || known->size != told.size;
  };
  if (std::any_of(observation_.recognised.begin(), observation_.recognised.end(), is_other)) return true;
  // What was added behind a gap is told of as an arrival. A server may change much of what it takes, but not into
  // another message of the mailbox.
  if (observation_.arrived.empty()) return false;
  const Uid last_known = state.LastUid(record.id);
  return std::any_of(observation_.arrived.begin(), observation_.arrived.end(), [&](const ArrivedMessage& told) {
    return told.uid <= last_known && is_other(told) &&
           !state.LoadCandidates(record.mailbox, told.header_digest).empty();
  });
}

void RecordObservation::LoadIntents(State& state, MailboxCopyId copy) {
  intents_.clear();
  for (Intent& intent : state.IntentsAt(copy)) intents_.emplace(intent.message, std::move(intent));
}

const Intent* RecordObservation::FindIntent(MessageId message) const {
  const auto found = intents_.find(message);
  return found == intents_.end() ? nullptr : &found->second;
}

const std::vector<HeldCopy>& RecordObservation::SecondCopies(State& state) {
  if (!second_copies_) second_copies_ = state.conflicts().HeldByKind(kDuplicate);
  return *second_copies_;
}

bool RecordObservation::IsSecond(State& state, MessageId message) {
  const std::vector<HeldCopy>& held = SecondCopies(state);
  return std::any_of(held.begin(), held.end(), [&](const HeldCopy& each) { return each.message == message; });
}

bool RecordObservation::IsSecondAt(State& state, MessageId message, MailboxCopyId here) {
  const std::vector<HeldCopy>& held = SecondCopies(state);
  return std::any_of(held.begin(), held.end(),
                     [&](const HeldCopy& each) { return each.message == message && each.copy == here; });
}

// False when content is needed first.
bool RecordObservation::IdentifyArrivals(State& state, MergeResult& result) {
  identified_.clear();
  last_interned_ = {};  // what was interned is gone with the transaction, when this one is the second attempt
  cut_at_ = Uid();
  const Uid last_known = state.LastUid(result.record.id);
  std::map<Digest, int> twins;
  for (const ArrivedMessage& arrived : observation_.arrived) ++twins[arrived.header_digest];
  std::set<MessageId> taken;
  for (const ArrivedMessage& arrived : observation_.arrived) {
    const auto bound = arrived.uid <= last_known ? state.LoadCopyByUid(result.record.id, arrived.uid) : std::nullopt;
    if (bound) {
      identified_.push_back({&arrived, bound->first, true, false});
      continue;
    }
    if (const auto imported = FindImported(state, arrived, result.record.id, taken)) {
      taken.insert(*imported);
      identified_.push_back({&arrived, *imported, false, false});
      continue;
    }
    Arrival arrival{
        arrived.size, arrived.internal_date, arrived.has_message_id, std::nullopt, twins[arrived.header_digest] > 1,
        may_wait_};
    if (const auto content = arrival_content.find(arrived.uid); content != arrival_content.end()) {
      arrival.content = content->second;
    }
    const auto candidates = state.LoadCandidates(result.record.mailbox, arrived.header_digest);
    const Identification identification =
        Identify(arrival, Free(state, candidates, result.record.id, arrived.uid, taken));
    if (identification.verdict == Identification::Verdict::kNeedContent) {
      if (!Need(state, arrived, identification, candidates, result)) break;  // cut here: it cannot be had now
      continue;
    }
    if (identification.verdict == Identification::Verdict::kMatch) taken.insert(identification.message);
    const bool alike = identification.message.value == 0 && (!candidates.empty() || arrival.has_twin);
    identified_.push_back({&arrived, identification.message, false, identification.in_doubt, alike});
  }
  return result.needs.empty();
}

std::optional<MessageId> RecordObservation::FindImported(State& state, const ArrivedMessage& arrived,
                                                         MailboxCopyId here, const std::set<MessageId>& taken) const {
  const auto message = imported_.Match(state, arrived);
  if (!message || !IsFree(message->Find(here)) || taken.contains(message->id)) return std::nullopt;
  return message->id;
}

std::vector<Candidate> RecordObservation::Free(State& state, const std::vector<MessageRegisters>& messages,
                                               MailboxCopyId here, Uid arrived, const std::set<MessageId>& taken) {
  std::vector<Candidate> candidates;
  for (const MessageRegisters& message : messages) {
    const CopyRegisters* copy = message.Find(here);
    const Intent* intent = FindIntent(message.id);
    const bool replaceable = IsReplaceable(copy, intent);
    const bool free = (IsFree(copy) || replaceable) && !taken.contains(message.id) &&
                      !imported_.IsAnother(state, message.id, arrived);
    const bool obtainable = std::any_of(message.copies.begin(), message.copies.end(), [](const CopyRegisters& each) {
      return each.present() && each.uid.value != 0;
    });
    const bool lost = copy != nullptr && copy->present() && copy->uid.value == 0;
    const bool awaited = lost || replaceable || (intent != nullptr && Adds(intent->kind));
    const bool lost_elsewhere = std::any_of(message.copies.begin(), message.copies.end(), [&](const auto& each) {
      return each.present() && each.uid.value == 0 && each.mailbox_copy != here;
    });
    const bool second = messages.size() > 1 && IsSecond(state, message.id);
    candidates.push_back({message.id, message.size, message.internal_date, message.content, free, obtainable, awaited,
                          lost_elsewhere, second});
  }
  return candidates;
}

// False when a candidate's content cannot be had at present: this arrival and those after it wait.
bool RecordObservation::Need(State& state, const ArrivedMessage& arrived, const Identification& identification,
                             const std::vector<MessageRegisters>& candidates, MergeResult& result) {
  for (const MessageId message : identification.need_content) {
    if (!unreachable_content.contains(message)) continue;
    cut_at_ = arrived.uid;
    return false;
  }
  if (!arrival_content.contains(arrived.uid)) result.needs.arrivals.insert(arrived.uid);
  for (const MessageRegisters& candidate : candidates) {
    const bool needed = std::find(identification.need_content.begin(), identification.need_content.end(),
                                  candidate.id) != identification.need_content.end();
    if (!needed) continue;
    std::vector<ContentSource>& sources = result.needs.known[candidate.id];
    sources.clear();
    for (const CopyRegisters& copy : candidate.copies) {
      if (!copy.present() || copy.uid.value == 0) continue;
      sources.push_back({copy.mailbox_copy, state.mailboxes().UidValidityOf(copy.mailbox_copy), copy.uid});
    }
  }
  return true;
}

// UIDs that were recorded here and are gone.
void RecordObservation::FindVanished(State& state, const MailboxCopyRecord& record) {
  vanished_ = UidSet();
  if (record.rebinding) return;
  vanished_ = observation_.vanished;
  if (observation_.present) {
    AddUnlisted(state, record.id, *observation_.present, vanished_);
  } else if (IsWhole()) {  // what was added before the first observation may be gone again
    std::vector<Uid> arrived;
    for (const ArrivedMessage& message : observation_.arrived) arrived.push_back(message.uid);
    AddUnlisted(state, record.id, UidSet(arrived), vanished_);
  }
}

// Gone, and not by our own EXPUNGE: an equal message that arrived at the same time is this one under another UID.
bool RecordObservation::IsReplaceable(const CopyRegisters* copy, const Intent* intent) const {
  const bool gone = copy != nullptr && copy->present() && copy->uid.value != 0 && vanished_.Contains(copy->uid);
  return gone && intent == nullptr;
}

void RecordObservation::MergeGone(State& state, MergeResult& result) {
  const UidSet& vanished = vanished_;
  if (vanished.empty()) return;
  std::set<MessageId> replaced;
  for (const Identified& identified : identified_) replaced.insert(identified.message);
  const int64_t known = state.CountPresent(result.record.id);
  const int64_t count = state.CountByUids(result.record.id, vanished);
  int64_t ours = 0;
  for (const auto& [message, intent] : intents_) ours += intent.kind == IntentKind::kExpunge ? 1 : 0;
  const bool hold = Holds(state, result.record.id, count, known, ours);
  for (MessageRegisters& message : state.LoadByUids(result.record.id, vanished, static_cast<size_t>(count))) {
    if (!replaced.contains(message.id)) MergeGone(state, message, hold, result);
  }
  if (hold) RecordBrake(state, count, known, result);
}

void RecordObservation::MergeGone(State& state, MessageRegisters& message, bool hold, MergeResult& result) {
  const MailboxCopyId here = result.record.id;
  CopyRegisters* copy = message.Find(here);
  const Intent* intent = FindIntent(message.id);
  const bool ours = intent != nullptr && intent->kind == IntentKind::kExpunge;
  // What was to go is gone by another coordinator's hand: what stands beside it is another message, and stays.
  const bool was_to_go = ours || (IsDeletedSince(message, *copy) && !IsPutBack(message));
  if (!was_to_go && (TakeOver(state, SecondCopies(state), message, here, vanished_, context_) ||
                     TakeEqual(state, message, here, vanished_, context_))) {
    NoteReplaced(state, message.id, here, StepKind::kReplaced, now_);
    result.replaced = true;
    ++result.vanished;
    return;
  }
  if (hold && intent == nullptr) {
    copy->presence = Presence::kHeld;
    copy->uid = Uid();
  } else if (!was_to_go && IsNoDeletion(state, message, here)) {
    copy->presence = Presence::kAbsent;  // as if it had never been here: it is given back
    copy->uid = Uid();
    copy->stamp = Stamp(0);
  } else {
    MergeContext context = context_;
    if (company_ && was_to_go) context.stamp = NewestDeletion(message);
    if (!MergeVanished(*copy, intent, context)) return;
  }
  state.SaveCopy(message.id, *copy);
  state.MarkUnsettled(message.id);
  if (intent == nullptr) Note(state, message.id, StepKind::kGone);
  ++result.vanished;
}

// Of all that is known here, or of what was there at the last observation: what the engine has added since, behind a
// gap perhaps, does not make a deletion smaller. `ours`: how many were to be expunged.
bool RecordObservation::Holds(State& state, MailboxCopyId here, int64_t count, int64_t known, int64_t ours) const {
  const auto holds = [&](int64_t gone, int64_t of) {
    return BrakeHolds(gone - ours, of, brake_.fraction(), static_cast<int64_t>(brake_.min_messages()));
  };
  if (holds(count, known)) return true;
  const uint32_t next = record_.observed_uid_next.value;
  if (next <= 1) return false;
  UidSet observed, gone;
  observed.AddRange(1, next - 1);
  for (const UidRange& range : vanished_.ranges()) {
    if (range.first < next) gone.AddRange(range.first, std::min(range.last, next - 1));
  }
  return holds(state.CountByUids(here, gone), state.CountByUids(here, observed));
}

// Nobody deleted the message. It was a second copy here: whoever removed it decided that the first one stays, and this
// one may be a message of its own elsewhere. Or another coordinator carried the deletion of an equal message, and took
// this one for it, here or elsewhere; or the message was found under another UID elsewhere, since this replica was seen
// last: what was deleted here may be what it was then, and what stands for it there nobody deleted.
bool RecordObservation::IsNoDeletion(State& state, const MessageRegisters& gone, MailboxCopyId here) {
  if (IsSecondAt(state, gone.id, here)) return true;
  if (company_ && IsCarriedTwice(state, gone, here, deleters_, now_)) return true;
  return WasReplacedElsewhere(state, gone, here, deleted_since_);
}

// Everything below the cursor arrived: as many as the server counts, or the first batch of many.
bool RecordObservation::IsWhole() const {
  return observation_.complete && (observation_.more || observation_.arrived.size() >= observation_.exists);
}

void RecordObservation::AddUnlisted(State& state, MailboxCopyId copy, const UidSet& present, UidSet& vanished) {
  const UidSet all = state.UidsOf(copy);
  for (const UidRange& range : all.ranges()) {
    for (uint64_t uid = range.first; uid <= range.last; ++uid) {
      const Uid known(static_cast<uint32_t>(uid));
      if (known < observation_.cursor.uid_next && !present.Contains(known)) vanished.Add(known);
    }
  }
}

void RecordObservation::RecordBrake(State& state, int64_t count, int64_t known, MergeResult& result) {
  result.brake = true;
  ConflictRecord conflict;
  conflict.key = "brake:" + std::to_string(result.record.id.value) + ":" + std::to_string(context_.stamp.value);
  conflict.kind = "BRAKE";
  conflict.mailbox = result.record.mailbox_name;
  conflict.unix_ms = now_;
  conflict.replica_a = replica_name_;
  conflict.change_a = std::to_string(count) + " of " + std::to_string(known) + " messages were expunged at once";
  conflict.stamp = context_.stamp;
  conflict.policy = "brake";
  conflict.outcome = "held: nothing is deleted elsewhere until someone decides";
  conflict.open = true;
  if (const auto id = state.conflicts().Add(conflict)) HoldGone(state, *id, result.record.id, now_);
}

// Of messages whose flags are now what those of others were, and the other way round: equal ones change places.
void RecordObservation::ExchangeEquals(State& state, MailboxCopyId here) {
  using Flags = std::vector<FlagId>;
  if (observation_.changed.size() < 2) return;
  std::map<std::pair<Flags, Flags>, std::vector<MessageId>> changed;  // by flags as recorded and as they are now
  for (const FlagChange& change : observation_.changed) {
    const auto found = state.LoadCopyByUid(here, change.uid);
    if (!found || FindIntent(found->first) != nullptr || IsSecond(state, found->first)) continue;
    Flags before, now = Intern(state, change.flags);
    for (const FlagRegister& entry : found->second.flags.entries()) {
      if (entry.set) before.push_back(entry.flag);
    }
    std::sort(now.begin(), now.end());
    if (before == now) continue;
    std::vector<MessageId>& others = changed[{now, before}];
    const size_t most = std::min(others.size(), kEqualsMost);
    const auto end = others.begin() + static_cast<ptrdiff_t>(most);
    const auto equal = std::find_if(others.begin(), end,
                                    [&](MessageId other) { return ExchangeEqual(state, found->first, other, here); });
    if (equal != end) {
      others.erase(equal);
    } else {
      changed[{before, now}].push_back(found->first);
    }
  }
}

void RecordObservation::MergeChanged(State& state, MergeResult& result) {
  for (const FlagChange& change : observation_.changed) {
    auto found = state.LoadCopyByUid(result.record.id, change.uid);
    if (found) MergeKnown(state, found->first, found->second, change.flags, result);
  }
}

void RecordObservation::MergeKnown(State& state, MessageId message, CopyRegisters& copy,
                                   const std::vector<std::string>& flags, MergeResult& result) {
  if (!MergeFlags(copy, Intern(state, flags), FindIntent(message), context_)) return;
  state.SaveCopy(message, copy);
  state.MarkUnsettled(message);
  if (FindIntent(message) == nullptr) Note(state, message, StepKind::kFlagsChanged);
  const FlagRegister mark = copy.flags.Get(deleted_flag_);
  result.marked |= mark.set && mark.stamp == context_.stamp;
  ++result.changed;
}

void RecordObservation::MergeArrived(State& state, MergeResult& result) {
  const auto alike = [](const Identified& identified) { return identified.alike; };
  if (std::any_of(identified_.begin(), identified_.end(), alike)) NoteAlike(state, now_);
  for (const Identified& identified : identified_) {
    const ArrivedMessage& arrived = *identified.arrived;
    if (identified.known) {
      // By its UID: it may have taken another's place since (TakeOver).
      auto bound = state.LoadCopyByUid(result.record.id, arrived.uid);
      if (bound) MergeKnown(state, bound->first, bound->second, arrived.flags, result);
      continue;
    }
    MessageRegisters message = identified.message.value != 0 ? *state.Load(identified.message)
                                                             : NewMessage(state, arrived, result.record.mailbox);
    const Intent* intent = FindIntent(message.id);
    const CopyRegisters* before = message.Find(result.record.id);
    const bool was_here = before != nullptr && before->present();
    const bool replaces = was_here && before->uid.value != 0;
    const bool may_be_marked = intent == nullptr || intent->kind == IntentKind::kFlags;
    Intent mark = intent != nullptr ? *intent : Intent();  // with other flags that we stored, perhaps
    mark.kind = IntentKind::kExpunge;
    const std::vector<FlagId> flags = Intern(state, arrived.flags);
    const bool marked = may_be_marked && MayHaveBeenMarked(state, message, flags);
    const bool unsettled = MergeArrival(message, result.record.id, arrived.uid, HashGuid(arrived.server_guid), flags,
                                        marked ? &mark : intent, context_);
    for (const CopyRegisters& copy : message.copies) state.SaveCopy(message.id, copy);
    if (unsettled) state.MarkUnsettled(message.id, message.mailbox);
    imported_.Note(state, arrived.uid, message.id);
    const bool first_contact = record_.uid_validity.value == 0 || result.record.rebinding;
    result.others |= intent == nullptr && identified.message.value != 0 && !first_contact && !was_here;
    const bool has_mark = std::find(flags.begin(), flags.end(), deleted_flag_) != flags.end();
    result.marked |= has_mark && intent == nullptr && !first_contact;
    if (intent != nullptr) state.CloseIntent(message.id, result.record.id);
    state.conflicts().Release(message.id, result.record.id);
    NoteArrival(state, message.id, intent, identified.message.value != 0, replaces);
    result.replaced |= replaces;
    if (identified.in_doubt) RecordDoubt(state, message);
    ++(identified.message.value != 0 ? result.adopted : result.arrived);
  }
}

// \Deleted, set on the way to an EXPUNGE of an equal message that is still open here, may have gone to this one, which
// was found by its looks; or it went along when INBOX was renamed before that EXPUNGE.
bool RecordObservation::MayHaveBeenMarked(State& state, const MessageRegisters& message,
                                          const std::vector<FlagId>& flags) const {
  const bool here = std::any_of(intents_.begin(), intents_.end(), [&](const auto& each) {
    if (each.second.kind != IntentKind::kExpunge) return false;
    const auto other = state.Load(each.first);
    return other && other->identity == message.identity;
  });
  if (here || std::find(flags.begin(), flags.end(), deleted_flag_) == flags.end()) return here;
  for (const MessageId id : state.MessagesWithIdentity(message.identity, kEqualsMost)) {
    const auto other = id == message.id ? std::nullopt : state.Load(id);
    for (const CopyRegisters& copy : other ? other->copies : std::vector<CopyRegisters>()) {
      const FlagRegister mark = copy.flags.Get(deleted_flag_);
      if (copy.presence != Presence::kHeld || !mark.set || mark.stamp != kCarried) continue;
      const auto where = state.mailboxes().FindCopy(copy.mailbox_copy);
      if (where && where->replica == record_.replica) return true;
    }
  }
  return false;
}

// Kept apart though much is equal: nothing is lost, and people can see why there are two.
void RecordObservation::RecordDoubt(State& state, const MessageRegisters& message) const {
  ConflictRecord conflict;
  conflict.key = "identity:" + std::to_string(message.id.value);
  conflict.kind = kIdentityInDoubt;
  conflict.mailbox = record_.mailbox_name;
  conflict.message = message.id;
  conflict.message_id = message.message_id;
  conflict.internal_date = message.internal_date;
  conflict.unix_ms = now_;
  conflict.replica_a = replica_name_;
  conflict.change_a = "holds a message with the Message-ID and header of another, but other content";
  conflict.policy = "KEEP_BOTH";
  conflict.outcome = "both are kept";
  state.conflicts().Add(conflict);
}

// What a mailbox held when it was first seen needs no step each: that it was there is all there is to tell. But of what
// others have brought there it is to be known when, to recognise a second copy.
void RecordObservation::NoteArrival(State& state, MessageId message, const Intent* intent, bool adopted,
                                    bool replaces) const {
  if (replaces) return NoteReplaced(state, message, record_.id, StepKind::kFoundAgain, now_);
  if (intent == nullptr || !Adds(intent->kind)) {
    const bool tells = record_.uid_validity.value != 0 || (company_ && adopted);
    if (tells && !record_.rebinding) Note(state, message, StepKind::kSeen);
    return;
  }
  Note(state, message, intent->kind == IntentKind::kAdd ? StepKind::kAppended : StepKind::kCopied);
}

void RecordObservation::Note(State& state, MessageId message, StepKind what) const {
  state.history().Add({now_, message, record_.id, what, ""});
}

MessageRegisters RecordObservation::NewMessage(State& state, const ArrivedMessage& arrived, MailboxId mailbox) {
  MessageRegisters message;
  message.mailbox = mailbox;
  message.identity = arrived.header_digest;
  message.size = arrived.size;
  message.internal_date = arrived.internal_date;
  message.zone_minutes = arrived.zone_minutes;
  message.message_id = arrived.message_id;
  if (const auto content = arrival_content.find(arrived.uid); content != arrival_content.end()) {
    message.content = content->second;
  }
  message.id = state.InsertMessage(message);
  return message;
}

std::vector<FlagId> RecordObservation::Intern(State& state, const std::vector<std::string>& names) {
  if (names == last_interned_.first) return last_interned_.second;  // as most messages of a mailbox
  std::vector<FlagId> flags;
  flags.reserve(names.size());
  for (const std::string& name : names) flags.push_back(state.InternFlag(name));
  last_interned_ = {names, flags};
  return flags;
}

void RecordObservation::Finish(State& state, MergeResult& result) {
  MailboxCopyRecord& record = result.record;
  record.uid_validity = observation_.cursor.uid_validity;
  if (!is_listed_one_) record.server_id.clear();
  record.uid_next = cut_at_.value != 0 ? cut_at_ : observation_.cursor.uid_next;
  record.observed_uid_next = record.uid_next;
  record.highest_modseq = observation_.cursor.highest_modseq;
  record.messages = static_cast<int64_t>(observation_.exists);
  result.cut = cut_at_.value != 0;
  const bool consumed = !observation_.more && !result.cut;
  if (consumed) {
    if (record.rebinding) state.ForgetUnbound(record.id);
    record.rebinding = false;
    CloseSettledIntents(state, result);
    TakeLimits(state, result);
    CheckCount(state, result);
  }
  record.last_uid = state.LastUid(record.id);
  state.Save(record);
  MergeImportedGone(state, imported_.Finish(state, record, consumed, brake_), result);
  result.distrust = imported_.distrust();
}

// Deleted after the other tool's last run and before the first observation: at another copy perhaps than this one.
void RecordObservation::MergeImportedGone(State& state, const std::vector<ImportedGone>& gone, MergeResult& result) {
  if (gone.empty()) return;
  const Stamp stamp = state.NextStamp();  // newer than the arrivals that this observation recorded
  for (const auto& [mailbox_copy, id] : gone) {
    const auto message = state.Load(id);
    if (!message || message->Find(mailbox_copy) != nullptr) continue;
    CopyRegisters copy;
    copy.mailbox_copy = mailbox_copy;
    copy.presence = Presence::kAbsent;
    copy.stamp = stamp;
    state.SaveCopy(id, copy);
    state.MarkUnsettled(id);
    state.history().Add({now_, id, mailbox_copy, StepKind::kGone, ""});
    ++result.vanished;
  }
}

// Other limits hold once every flag was compared under them: until then it is not known what was dropped.
void RecordObservation::TakeLimits(State& state, MergeResult& result) {
  MailboxCopyRecord& record = result.record;
  const bool flags_differ = record_.flag_limits != context_.limits;
  if (!flags_differ && record_.read_only == observation_.read_only) return;
  const bool in_full = observation_.complete || record_.highest_modseq.value == 0 || record_.uid_next.value <= 1;
  if (flags_differ && !in_full) {
    record.highest_modseq = ModSeq();
    result.compare = true;
    return;
  }
  record.flag_limits = context_.limits;
  record.read_only = observation_.read_only;
  state.kept_back().Unsettle(record.id);
}

// A server that was to tell what vanished, and counts fewer messages than are known, did not tell of all. One that
// counts more was restored from an older copy perhaps, and has given UIDs that are known for other messages since.
void RecordObservation::CheckCount(State& state, MergeResult& result) const {
  if (!observation_.counted || result.record.uid_next.value <= 1) return;
  UidSet below;
  below.AddRange(1, result.record.uid_next.value - 1);
  const int64_t known = state.CountByUids(result.record.id, below);
  const int64_t counted = static_cast<int64_t>(*observation_.counted), unknown = std::max<int64_t>(0, counted - known);
  const std::string key = RecountedKey(result.record.id);
  const int64_t not_found = state.MetaNumber(key);
  if (unknown == 0 && not_found != 0) state.SetMetaNumber(key, 0);
  result.unknown = unknown == not_found ? 0 : unknown;
  if (known <= counted) return;
  result.untold = result.compare = true;
  result.record.highest_modseq = ModSeq();
}

void RecordObservation::CloseSettledIntents(State& state, MergeResult& result) {
  for (const auto& [message, intent] : intents_) {
    if (!state.HasIntent(message, intent.mailbox_copy)) continue;
    if (Adds(intent.kind) && intent.unix_ms + kSettleMillis > now_) {
      result.settling = true;  // the server may still be at it
      continue;
    }
    state.CloseIntent(message, intent.mailbox_copy);
    state.MarkUnsettled(message);
  }
}

}  // namespace imapmesh
