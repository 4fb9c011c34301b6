// Identify and merge one observation in the transaction that records it (DESIGN.md section 3, steps 2, 3 and 6).
//
// observe.cc runs it on the store's thread: values in, a result out. When content must be fetched first to tell
// messages apart it writes nothing and says what it needs; run again with it. Invariant: the cursor moves only in the
// transaction that covers what it stands for.
#ifndef IMAPMESH_ENGINE_SYNC_RECORD_OBSERVATION_H_
#define IMAPMESH_ENGINE_SYNC_RECORD_OBSERVATION_H_

#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "engine/replica/replica.h"
#include "engine/store/state.h"
#include "engine/sync/duplicates.h"
#include "engine/sync/identify.h"
#include "engine/sync/imported_pairs.h"
#include "engine/sync/listen.h"
#include "engine/sync/merge.h"
#include "engine/sync/mesh.h"
#include "engine/sync/seen.h"

namespace imapmesh {

// How long an operation whose outcome is unknown may still take effect on its server, in milliseconds: its intent is
// kept open as long.
inline constexpr int64_t kSettleMillis = 5000;

// UIDVALIDITY changed, or the server went back to an older state: every UID is to be matched anew.
void StartRebinding(State& state, MailboxCopyRecord& record);
// The same, as the server counts so many messages more than are known. Remembered: what is not found then either costs
// no second time.
void StartRecounting(State& state, MailboxCopyRecord& record, int64_t unknown);
// The record's part of it.
void PrepareRebinding(MailboxCopyRecord& record);

// Where a known message can be fetched: its UID was recorded under this UIDVALIDITY.
struct ContentSource {
  MailboxCopyId mailbox_copy;
  UidValidity uid_validity;
  Uid uid;
};

// What identification still needs to know.
struct ContentNeeds {
  std::set<Uid> arrivals;                                 // of this mailbox copy
  std::map<MessageId, std::vector<ContentSource>> known;  // candidates and where they are
  bool empty() const { return arrivals.empty() && known.empty(); }
};

struct MergeResult {
  ContentNeeds needs;  // when not empty, nothing was written
  MailboxCopyRecord record;
  int64_t arrived = 0, changed = 0, vanished = 0, adopted = 0;
  bool others = false;    // somebody else brought a message that the mesh had elsewhere
  bool replaced = false;  // a known message was found under another UID
  bool marked = false;    // somebody marked messages \Deleted, those that arrived among them
  bool brake = false;
  bool settling = false;  // intents are still too young to be judged
  bool cut = false;       // arrivals wait for content that cannot be had now
  std::string distrust;   // ImportedPairs::distrust
  bool compare = false;   // observe once more, comparing everything: the limits of flags changed, or `untold`
  bool untold = false;    // more messages are known than the server counts
  int64_t unknown = 0;    // so many fewer are; nothing where just as many were not found when it was identified anew
  // Known UIDs stand for other messages by now: nothing was recorded but that the mailbox copy is to be identified
  // anew.
  bool uids_of_others = false;
};

class RecordObservation {
 public:
  RecordObservation(Mesh& mesh, ReplicaIndex r, const MailboxCopyRecord& record, Observation& observation)
      : record_(record),
        observation_(observation),
        replica_name_(mesh.name(r)),
        brake_(mesh.graph->topology().policy().brake()),
        deleted_flag_(mesh.deleted_flag),
        company_(HasCompany(mesh)),
        may_wait_(mesh.waits_no_more != std::make_optional(std::make_pair(r.value, record.mailbox_name))),
        now_(mesh.clock->UnixMillis()),
        deleted_since_(DeletedSinceOf(mesh, r)),
        is_listed_one_(IsListedOne(mesh.slot(r), record, observation)),
        deleters_(company_ ? Deleters(mesh, r, record) : std::set<MailboxCopyId>()) {}

  std::map<Uid, ContentIdentity> arrival_content;      // filled between attempts
  std::map<MessageId, ContentIdentity> known_content;  // likewise, to be saved
  std::set<MessageId> unreachable_content;             // cannot be had now

  MergeResult operator()(State& state);

 private:
  struct Identified {
    const ArrivedMessage* arrived = nullptr;
    MessageId message;   // 0: new to the mesh
    bool known = false;  // this UID is recorded already
    bool in_doubt = false;
    bool alike = false;  // new, and the mailbox has one that looks the same
  };

  void BeginRebinding(State& state, MailboxCopyRecord& record);
  bool HasUidsOfOthers(State& state, const MailboxCopyRecord& record) const;
  void LoadIntents(State& state, MailboxCopyId copy);
  const Intent* FindIntent(MessageId message) const;
  // What is held as DUPLICATE, as it was when it was first needed in this attempt; asked for once.
  const std::vector<HeldCopy>& SecondCopies(State& state);
  bool IsSecond(State& state, MessageId message);
  bool IsSecondAt(State& state, MessageId message, MailboxCopyId here);
  // False when content is needed first.
  bool IdentifyArrivals(State& state, MergeResult& result);
  // What was imported decides before anything is compared.
  std::optional<MessageId> FindImported(State& state, const ArrivedMessage& arrived, MailboxCopyId here,
                                        const std::set<MessageId>& taken) const;
  std::vector<Candidate> Free(State& state, const std::vector<MessageRegisters>& messages, MailboxCopyId here,
                              Uid arrived, const std::set<MessageId>& taken);
  // False when a candidate's content cannot be had at present: this arrival and those after it wait.
  bool Need(State& state, const ArrivedMessage& arrived, const Identification& identification,
            const std::vector<MessageRegisters>& candidates, MergeResult& result);
  void FindVanished(State& state, const MailboxCopyRecord& record);
  bool IsReplaceable(const CopyRegisters* copy, const Intent* intent) const;
  void MergeGone(State& state, MergeResult& result);
  void MergeGone(State& state, MessageRegisters& message, bool hold, MergeResult& result);
  static bool IsListedOne(const ReplicaSlot& slot, const MailboxCopyRecord& record, const Observation& observation);
  static std::set<MailboxCopyId> Deleters(const Mesh& mesh, ReplicaIndex r, const MailboxCopyRecord& record);
  bool Holds(State& state, MailboxCopyId here, int64_t count, int64_t known, int64_t ours) const;
  bool IsNoDeletion(State& state, const MessageRegisters& gone, MailboxCopyId here);
  bool IsWhole() const;
  void AddUnlisted(State& state, MailboxCopyId copy, const UidSet& present, UidSet& vanished);
  void RecordBrake(State& state, int64_t count, int64_t known, MergeResult& result);
  void ExchangeEquals(State& state, MailboxCopyId here);
  void MergeChanged(State& state, MergeResult& result);
  void MergeKnown(State& state, MessageId message, CopyRegisters& copy, const std::vector<std::string>& flags,
                  MergeResult& result);
  void MergeArrived(State& state, MergeResult& result);
  bool MayHaveBeenMarked(State& state, const MessageRegisters& message, const std::vector<FlagId>& flags) const;
  MessageRegisters NewMessage(State& state, const ArrivedMessage& arrived, MailboxId mailbox);
  std::vector<FlagId> Intern(State& state, const std::vector<std::string>& names);
  void RecordDoubt(State& state, const MessageRegisters& message) const;
  void NoteArrival(State& state, MessageId message, const Intent* intent, bool adopted, bool replaces) const;
  void Note(State& state, MessageId message, StepKind what) const;
  void MergeImportedGone(State& state, const std::vector<ImportedGone>& gone, MergeResult& result);
  void Finish(State& state, MergeResult& result);
  void TakeLimits(State& state, MergeResult& result);
  void CheckCount(State& state, MergeResult& result) const;
  void CloseSettledIntents(State& state, MergeResult& result);

  const MailboxCopyRecord record_;
  const Observation& observation_;
  std::string replica_name_;
  v1::Brake brake_;
  FlagId deleted_flag_;
  bool company_;   // other coordinators are at work
  bool may_wait_;  // for other mailbox copies to be identified
  int64_t now_;
  ReplacedSince deleted_since_;       // before it
  bool is_listed_one_;                // of the name: what the last look told of it is not of another mailbox
  std::set<MailboxCopyId> deleters_;  // of the same mailbox, from where deletions flow here; asked for with company
  MergeContext context_;
  ImportedPairs imported_;
  std::map<MessageId, Intent> intents_;
  std::optional<std::vector<HeldCopy>> second_copies_;
  UidSet vanished_;
  std::vector<Identified> identified_;
  Uid cut_at_;
  std::pair<std::vector<std::string>, std::vector<FlagId>> last_interned_;
};

}  // namespace imapmesh

#endif  // IMAPMESH_ENGINE_SYNC_RECORD_OBSERVATION_H_
