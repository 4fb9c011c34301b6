// Whether a mailbox copy that is gone was deleted, and what becomes of its messages then.
//
// A look only finds that a mailbox is not listed any more; until it is decided here its messages take no part. Decided
// by policy once the observations of the round are in, or by a person who resolves the conflict MAILBOX_GONE. Run on
// the store's thread, inside a transaction. Invariants: messages count as deleted only when the deletion of their
// mailbox is accepted; mail that the deleter had not seen keeps the mailbox.
#ifndef IMAPMESH_ENGINE_SYNC_MAILBOX_DECIDE_H_
#define IMAPMESH_ENGINE_SYNC_MAILBOX_DECIDE_H_

#include <set>
#include <string>
#include <vector>

#include "engine/store/state.h"
#include "engine/sync/duplicates.h"
#include "graph/graph.h"

namespace imapmesh {

// The deletion is meant: it spreads, and so do the deletions of its messages.
void ApproveMailboxDeletion(State& state, MailboxCopyId copy);
// It is not: the mailbox is made again there and gets its messages back from the others.
void RejectMailboxDeletion(State& state, MailboxCopyId copy);
// The mailbox copy that a conflict of a mailbox's deletion is about; 0 when it is none.
MailboxCopyId MailboxCopyOf(const ConflictRecord& conflict);

// Records that the deletion of a mailbox, observed at `deleter` with `stamp`, was not carried out at `kept`: mail is in
// it there that the deleter had not seen.
void RecordMailWon(State& state, const MailboxCopyRecord& kept_copy, Stamp stamp, const std::string& deleter,
                   const std::string& kept, int64_t now_unix_ms);

// RENAME of INBOX (RFC 3501 section 6.3.5) moved all that was in the copy `inbox` to the copy `to`: its messages are
// held, by a conflict that ReviewBrakes decides once they are seen there. `inbox` is as if never observed.
// `unseen`: of the replica, before that.
void HoldRenamedInbox(State& state, MailboxCopyRecord& inbox, MailboxCopyId to, const std::string& replica,
                      const std::string& name, Stamp stamp, int64_t now_unix_ms, const ReplacedSince& deleted_since);
// Where they went, for such a conflict; else 0.
MailboxCopyId RenamedInboxTo(const ConflictRecord& conflict);

// A mailbox copy that was gone is listed again: nothing is left to decide.
void CloseMailboxConflict(State& state, const MailboxCopyRecord& copy, int64_t now_unix_ms);

struct MailboxDecisions {
  struct Made {  // for people
    MailboxCopyId copy;
    std::string text;
  };
  bool changed = false;
  std::vector<MailboxCopyRecord> copies;  // then: as recorded now
  std::vector<Made> conflicts;
};

// Whether the mailbox was deleted there and nothing about that is open.
bool IsDeleted(const MailboxCopyRecord& copy);

// Decides by policy about the copies in `confirmed`: certainly gone. What is at work at the replicas in `busy` goes by
// what was decided before: about theirs it is decided another time. For StoreThread::Run.
class DecideMailboxes {
 public:
  DecideMailboxes(const Graph& graph, const std::vector<ReplicaId>& replicas, std::set<MailboxCopyId> confirmed,
                  std::set<ReplicaId> busy, int64_t now_unix_ms)
      : graph_(graph),
        replicas_(replicas),
        confirmed_(std::move(confirmed)),
        busy_(std::move(busy)),
        now_(now_unix_ms) {}

  MailboxDecisions operator()(State& state);

 private:
  void Decide(State& state, const MailboxCopyRecord& gone);
  void Keep(State& state, const MailboxCopyRecord& gone);
  void PutBackIfFilled(State& state, const MailboxCopyRecord& held);
  void Revive(State& state, const MailboxCopyRecord& kept);
  void Hold(State& state, const MailboxCopyRecord& gone, int64_t messages);
  void PutBack(State& state, const MailboxCopyRecord& gone, const MailboxCopyRecord& other, const char* kind,
               const std::string& change);
  bool BrakeHoldsReplica(State& state, ReplicaId replica) const;
  bool Reaches(ReplicaId from, ReplicaId to, const std::string& mailbox, ChangeKind kind) const;
  ReplicaIndex IndexOf(ReplicaId replica) const;
  std::string NameOf(ReplicaId replica) const { return graph_.replica(IndexOf(replica)).name(); }

  const Graph& graph_;
  const std::vector<ReplicaId>& replicas_;
  const std::set<MailboxCopyId> confirmed_;
  const std::set<ReplicaId> busy_;
  const int64_t now_;
  std::vector<MailboxCopyRecord> copies_;
  MailboxDecisions decisions_;
};

}  // namespace imapmesh

#endif  // IMAPMESH_ENGINE_SYNC_MAILBOX_DECIDE_H_
