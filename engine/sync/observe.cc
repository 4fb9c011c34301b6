#include "engine/sync/observe.h"

#include <algorithm>
#include <map>
#include <optional>
#include <set>

#include "base/printable.h"
#include "engine/sync/identify.h"
#include "engine/sync/merge.h"

namespace imapmesh {
namespace {

constexpr size_t kBatchMessages = 5000;

uint64_t HashGuid(const std::string& guid) {
  if (guid.empty()) return 0;
  ContentDigest digest;
  digest.Add(guid);
  const Digest bytes = digest.Finish();
  uint64_t hash = 0;
  for (size_t i = 0; i < 8; ++i) hash = hash << 8 | bytes[i];
  return (hash >> 1) | 1;  // positive as SQLite's integers are signed; never 0, which means none
}

bool IsDue(const MailboxCopyRecord& record, const MailboxStatus& status) {
  return record.uid_validity != status.uid_validity || record.uid_next != status.uid_next ||
         record.highest_modseq != status.highest_modseq || record.rebinding;
}

// A server that is behind what it was before has been restored from an older copy.
bool WentBack(const MailboxCopyRecord& record, const MailboxStatus& status) {
  return record.uid_validity == status.uid_validity && status.uid_validity.value != 0 &&
         (status.uid_next < record.uid_next || (status.highest_modseq < record.highest_modseq));
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

  static void StartRebinding(State& state, MailboxCopyRecord& record) {
    state.Unbind(record.id);
    record.rebinding = true;
    record.uid_validity = UidValidity();
    record.uid_next = Uid();
    record.highest_modseq = ModSeq();
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
    state.AddConflict(conflict);
  }

  ReplicaId replica_;
  std::string replica_name_;
  const std::vector<MailboxStatus>& statuses_;
  int64_t now_;
  std::map<std::string, MailboxCopyRecord> known_;
};

// What identification still needs to know.
struct ContentNeeds {
  std::set<Uid> arrivals;                                 // of this mailbox copy
  std::map<MessageId, std::vector<CopyRegisters>> known;  // candidates and where they are
  bool empty() const { return arrivals.empty() && known.empty(); }
};

struct MergeResult {
  ContentNeeds needs;  // when not empty, nothing was written
  MailboxCopyRecord record;
  int64_t arrived = 0, changed = 0, vanished = 0, adopted = 0;
  bool brake = false;
  bool settling = false;  // intents are still too young to be judged
};

// Identifies and merges one observation. Runs on the store's thread over values only.
class RecordObservation {
 public:
  RecordObservation(Mesh& mesh, ReplicaIndex r, const MailboxCopyRecord& record, Observation& observation)
      : record_(record),
        observation_(observation),
        replica_name_(mesh.name(r)),
        brake_(mesh.graph->topology().policy().brake()),
        deleted_flag_(mesh.deleted_flag),
        now_(mesh.clock->UnixMillis()) {}

  std::map<Uid, Digest> arrival_content;      // filled between attempts
  std::map<MessageId, Digest> known_content;  // likewise, to be saved
  std::set<MessageId> unreachable_content;    // cannot be had now

  MergeResult operator()(State& state) {
    MergeResult result;
    result.record = record_;
    for (const auto& [message, content] : known_content) state.SetContent(message, content);
    BeginRebinding(state, result.record);
    LoadIntents(state, result.record.id);
    if (!IdentifyArrivals(state, result)) return result;
    context_ = {state.NextStamp(), deleted_flag_};
    MergeGone(state, result);
    MergeChanged(state, result);
    MergeArrived(state, result);
    Finish(state, result);
    return result;
  }

 private:
  struct Identified {
    const ArrivedMessage* arrived = nullptr;
    MessageId message;   // 0: new to the mesh
    bool known = false;  // this UID is recorded already
  };

  void BeginRebinding(State& state, MailboxCopyRecord& record) {
    const bool changed = record.uid_validity.value != 0 && record.uid_validity != observation_.cursor.uid_validity;
    if (changed && !record.rebinding) RecordLook::StartRebinding(state, record);
  }

  void LoadIntents(State& state, MailboxCopyId copy) {
    intents_.clear();
    for (Intent& intent : state.IntentsAt(copy)) intents_.emplace(intent.message, std::move(intent));
  }

  const Intent* FindIntent(MessageId message) const {
    const auto found = intents_.find(message);
    return found == intents_.end() ? nullptr : &found->second;
  }

  // False when content is needed first.
  bool IdentifyArrivals(State& state, MergeResult& result) {
    identified_.clear();
    std::map<Digest, int> twins;
    for (const ArrivedMessage& arrived : observation_.arrived) ++twins[arrived.header_digest];
    std::set<MessageId> taken;
    for (const ArrivedMessage& arrived : observation_.arrived) {
      if (const auto bound = state.LoadByUid(result.record.id, arrived.uid)) {
        identified_.push_back({&arrived, bound->id, true});
        continue;
      }
      Arrival arrival{arrived.size, arrived.internal_date, arrived.has_message_id, std::nullopt,
                      twins[arrived.header_digest] > 1};
      if (const auto content = arrival_content.find(arrived.uid); content != arrival_content.end()) {
        arrival.content = content->second;
      }
      const auto candidates = state.LoadCandidates(result.record.mailbox, arrived.header_digest);
      const Identification identification = Identify(arrival, Free(candidates, result.record.id, taken));
      if (identification.verdict == Identification::Verdict::kNeedContent) {
        if (!Need(arrived, identification, candidates, result)) break;  // cut here: it cannot be had now
        continue;
      }
      if (identification.verdict == Identification::Verdict::kMatch) taken.insert(identification.message);
      identified_.push_back({&arrived, identification.message, false});
    }
    return result.needs.empty();
  }

  std::vector<Candidate> Free(const std::vector<MessageRegisters>& messages, MailboxCopyId here,
                              const std::set<MessageId>& taken) const {
    std::vector<Candidate> candidates;
    for (const MessageRegisters& message : messages) {
      const CopyRegisters* copy = message.Find(here);
      const bool free = (copy == nullptr || copy->uid.value == 0) && !taken.contains(message.id);
      candidates.push_back({message.id, message.size, message.internal_date, message.content, free});
    }
    return candidates;
  }

  // False when a candidate's content cannot be had at present: this arrival and those after it wait.
  bool Need(const ArrivedMessage& arrived, const Identification& identification,
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
      if (needed) result.needs.known[candidate.id] = candidate.copies;
    }
    return true;
  }

  void MergeGone(State& state, MergeResult& result) {
    UidSet vanished = observation_.vanished;
    if (observation_.complete && !observation_.more && !result.record.rebinding && record_.uid_validity.value != 0) {
      AddUnlisted(state, result.record.id, vanished);
    }
    if (vanished.empty() || result.record.rebinding) return;
    const int64_t known = state.CountPresent(result.record.id);
    const int64_t count = state.CountByUids(result.record.id, vanished);
    int64_t ours = 0;
    for (const auto& [message, intent] : intents_) ours += intent.kind == IntentKind::kExpunge ? 1 : 0;
    const bool hold = BrakeHolds(count - ours, known, brake_.fraction(), static_cast<int64_t>(brake_.min_messages()));
    for (MessageRegisters& message : state.LoadByUids(result.record.id, vanished, static_cast<size_t>(count))) {
      CopyRegisters* copy = message.Find(result.record.id);
      const Intent* intent = FindIntent(message.id);
      if (hold && intent == nullptr) {
        copy->presence = Presence::kHeld;
        copy->uid = Uid();
      } else if (!MergeVanished(*copy, intent, context_)) {
        continue;
      }
      state.SaveCopy(message.id, *copy);
      state.MarkUnsettled(message.id);
      ++result.vanished;
    }
    if (hold) RecordBrake(state, count, known, result);
  }

  void AddUnlisted(State& state, MailboxCopyId copy, UidSet& vanished) {
    std::vector<Uid> listed;
    for (const ArrivedMessage& arrived : observation_.arrived) listed.push_back(arrived.uid);
    const UidSet present(listed);
    UidSet all;
    all.AddRange(1, UINT32_MAX);
    for (const MessageRegisters& message : state.LoadByUids(copy, all, SIZE_MAX)) {
      const Uid uid = message.Find(copy)->uid;
      if (!present.Contains(uid)) vanished.Add(uid);
    }
  }

  void RecordBrake(State& state, int64_t count, int64_t known, MergeResult& result) {
    result.brake = true;
    ConflictRecord conflict;
    conflict.key = "brake:" + std::to_string(result.record.id.value) + ":" + std::to_string(context_.stamp.value);
    conflict.kind = "BRAKE";
    conflict.mailbox = result.record.mailbox_name;
    conflict.unix_ms = now_;
    conflict.replica_a = replica_name_;
    conflict.change_a = std::to_string(count) + " of " + std::to_string(known) + " messages were expunged at once";
    conflict.policy = "brake";
    conflict.outcome = "held: nothing is deleted elsewhere until someone decides";
    conflict.open = true;
    state.AddConflict(conflict);
  }

  void MergeChanged(State& state, MergeResult& result) {
    for (const FlagChange& change : observation_.changed) {
      auto message = state.LoadByUid(result.record.id, change.uid);
      if (message) MergeKnown(state, *message, change.flags, result);
    }
  }

  void MergeKnown(State& state, MessageRegisters& message, const std::vector<std::string>& flags, MergeResult& result) {
    CopyRegisters* copy = message.Find(result.record.id);
    if (!MergeFlags(*copy, Intern(state, flags), FindIntent(message.id), context_)) return;
    state.SaveCopy(message.id, *copy);
    state.MarkUnsettled(message.id);
    ++result.changed;
  }

  void MergeArrived(State& state, MergeResult& result) {
    for (const Identified& identified : identified_) {
      const ArrivedMessage& arrived = *identified.arrived;
      if (identified.known) {
        auto message = state.Load(identified.message);
        if (message) MergeKnown(state, *message, arrived.flags, result);
        continue;
      }
      MessageRegisters message = identified.message.value != 0 ? *state.Load(identified.message)
                                                               : NewMessage(state, arrived, result.record.mailbox);
      const Intent* intent = FindIntent(message.id);
      const bool unsettled = MergeArrival(message, result.record.id, arrived.uid, HashGuid(arrived.server_guid),
                                          Intern(state, arrived.flags), intent, context_);
      for (const CopyRegisters& copy : message.copies) state.SaveCopy(message.id, copy);
      if (unsettled) state.MarkUnsettled(message.id);
      if (intent != nullptr) state.CloseIntent(message.id, result.record.id);
      ++(identified.message.value != 0 ? result.adopted : result.arrived);
    }
  }

  MessageRegisters NewMessage(State& state, const ArrivedMessage& arrived, MailboxId mailbox) {
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

  std::vector<FlagId> Intern(State& state, const std::vector<std::string>& names) {
    std::vector<FlagId> flags;
    for (const std::string& name : names) flags.push_back(state.InternFlag(name));
    return flags;
  }

  void Finish(State& state, MergeResult& result) {
    MailboxCopyRecord& record = result.record;
    record.uid_validity = observation_.cursor.uid_validity;
    record.uid_next = cut_at_.value != 0 ? cut_at_ : observation_.cursor.uid_next;
    record.highest_modseq = observation_.cursor.highest_modseq;
    record.read_only = observation_.read_only;
    record.messages = static_cast<int64_t>(observation_.exists);
    const bool consumed = !observation_.more && cut_at_.value == 0;
    if (consumed) {
      if (record.rebinding) state.ForgetUnbound(record.id);
      record.rebinding = false;
      CloseSettledIntents(state, result);
    }
    state.Save(record);
  }

  void CloseSettledIntents(State& state, MergeResult& result) {
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

  const MailboxCopyRecord record_;
  const Observation& observation_;
  std::string replica_name_;
  v1::Brake brake_;
  FlagId deleted_flag_;
  int64_t now_;
  MergeContext context_;
  std::map<MessageId, Intent> intents_;
  std::vector<Identified> identified_;
  Uid cut_at_;
};

Digest DigestOf(const Body& body) {
  ContentDigest digest;
  std::vector<char> buffer(64 * 1024);
  for (uint64_t offset = 0; offset < body.size();) {
    const auto read = body.ReadAt(offset, buffer.data(), buffer.size());
    if (!read.ok() || *read == 0) break;
    digest.Add({buffer.data(), *read});
    offset += *read;
  }
  return digest.Finish();
}

// Fetches the whole messages that identification asked for and digests them.
asio::awaitable<void> FetchContent(Mesh& mesh, ReplicaIndex here, const MailboxCopyRecord& record, UidValidity validity,
                                   ContentNeeds needs, RecordObservation& recording) {
  UidSet arrivals;
  for (const Uid uid : needs.arrivals) arrivals.Add(uid);
  std::function<void(Uid, std::shared_ptr<const Body>)> take = [&](Uid uid, std::shared_ptr<const Body> body) {
    recording.arrival_content[uid] = DigestOf(*body);
  };
  MailboxReference reference{record.mailbox_name, validity};
  if (!arrivals.empty()) {
    const absl::Status fetched = co_await mesh.slot(here).replica->FetchBodies(reference, arrivals, take);
    if (!fetched.ok()) mesh.Warn(Message(fetched));
  }
  // Candidates, grouped by the mailbox copy they are fetched from.
  const auto view = mesh.View(false);
  std::map<MailboxCopyId, std::map<Uid, MessageId>> wanted;
  for (const auto& [message, copies] : needs.known) {
    recording.unreachable_content.insert(message);
    for (const CopyRegisters& copy : copies) {
      const auto where = view->copies.find(copy.mailbox_copy);
      if (!copy.present() || copy.uid.value == 0 || where == view->copies.end()) continue;
      if (!mesh.IsUp(where->second.first)) continue;
      wanted[copy.mailbox_copy][copy.uid] = message;
      break;
    }
  }
  for (const auto& [copy, messages] : wanted) {
    const auto [replica, mailbox] = view->copies.at(copy);
    UidSet uids;
    for (const auto& [uid, message] : messages) uids.Add(uid);
    const std::string& name = view->mailboxes.at(mailbox).name;
    MailboxReference other{name, mesh.FindCopy(replica, name)->uid_validity};
    const auto& messages_of_copy = messages;
    std::function<void(Uid, std::shared_ptr<const Body>)> take_known = [&](Uid uid, std::shared_ptr<const Body> body) {
      const auto message = messages_of_copy.find(uid);
      if (message == messages_of_copy.end()) return;
      recording.known_content[message->second] = DigestOf(*body);
      recording.unreachable_content.erase(message->second);
    };
    const absl::Status fetched = co_await mesh.slot(replica).replica->FetchBodies(other, uids, take_known);
    if (!fetched.ok()) mesh.Warn(Message(fetched));
  }
}

void Report(Mesh& mesh, ReplicaIndex r, const MergeResult& result) {
  std::string text;
  const auto add = [&](int64_t count, const char* what) {
    if (count == 0) return;
    text += (text.empty() ? "" : ", ") + std::to_string(count) + " " + what;
  };
  add(result.arrived, "new");
  add(result.adopted, "recognised");
  add(result.changed, "changed flags");
  add(result.vanished, result.brake ? "expunged, held by the brake" : "expunged");
  if (text.empty()) return;
  mesh.Emit("CHANGE_SEEN", r, EdgeIndex(-1), result.record.mailbox_name, text);
  if (result.brake) mesh.Emit("CONFLICT", r, EdgeIndex(-1), result.record.mailbox_name, text);
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
  for (const std::string& name : result->due) mesh.due.insert({r.value, name});
  for (const std::string& name : result->gone) {
    mesh.Emit("CHANGE_SEEN", r, EdgeIndex(-1), name, "the mailbox is gone");
  }
  co_return absl::OkStatus();
}

asio::awaitable<absl::Status> ObserveCopy(Mesh& mesh, ReplicaIndex r, std::string mailbox) {
  mesh.due.erase({r.value, mailbox});
  for (bool more = true; more;) {
    if (mesh.FindCopy(r, mailbox) == nullptr) co_return absl::OkStatus();
    const MailboxCopyRecord record = *mesh.FindCopy(r, mailbox);
    const MailboxCursor since{record.uid_validity, record.uid_next, record.highest_modseq};
    absl::StatusOr<Observation> observation = co_await mesh.slot(r).replica->Observe(mailbox, since, kBatchMessages);
    if (!observation.ok()) {
      if (OutcomeUnknown(observation.status())) {
        mesh.MarkDown(r, observation.status());
      } else {
        Refusal refusal;
        refusal.replica = r;
        refusal.report = {mesh.name(r),
                          mailbox,
                          "SELECT",
                          "",
                          Message(observation.status()),
                          "see what the server says about this mailbox",
                          mesh.clock->UnixMillis()};
        mesh.mailbox_refusals[{r.value, mailbox}] = refusal;
        mesh.Warn(Message(observation.status()));
      }
      co_return absl::OkStatus();
    }
    mesh.mailbox_refusals.erase({r.value, mailbox});
    RecordObservation recording(mesh, r, record, *observation);
    absl::StatusOr<MergeResult> result = co_await mesh.store->Run(recording);
    for (int attempt = 0; attempt < 3 && result.ok() && !result->needs.empty(); ++attempt) {
      ContentNeeds needs = result->needs;
      co_await FetchContent(mesh, r, record, observation->cursor.uid_validity, std::move(needs), recording);
      result = co_await mesh.store->Run(recording);
    }
    if (!result.ok()) co_return result.status();
    if (!result->needs.empty()) co_return absl::OkStatus();  // went away meanwhile: the next look finds it due
    *mesh.FindCopy(r, mailbox) = result->record;
    Report(mesh, r, *result);
    more = observation->more;
  }
  co_return absl::OkStatus();
}

}  // namespace imapmesh
