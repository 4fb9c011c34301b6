// Work: one batch of the plan as operations to carry out. Made by the store's thread from unsettled messages
// (planning), carried out by apply.cc, printed by `imapmesh plan`. Values only.
#ifndef IMAPMESH_ENGINE_SYNC_WORK_H_
#define IMAPMESH_ENGINE_SYNC_WORK_H_

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "engine/store/state.h"
#include "engine/sync/control.h"
#include "engine/sync/duplicates.h"
#include "engine/sync/order.h"
#include "engine/sync/plan.h"

namespace imapmesh {

struct MeshView;

// An addition done by the server itself, from where it holds the same content already.
struct ServerSideCopy {
  MessageSource source;
  // Of the source's own pending expunge, when nothing else wants the source: then one MOVE does both, and no instant
  // shows the message twice.
  std::optional<Stamp> departure;
  // Changes of the source that whoever moved it had not seen: they go along.
  std::vector<FlagRegister> unseen = {};
};

// A message and what is to be done to its copies.
struct PlannedMessage {
  MessageRegisters message;
  MessagePlan plan;
  // For an addition at a replica: where that replica holds the same content already, by replica index.
  std::map<int32_t, ServerSideCopy> copy_from;
  // By replica index: where the same mail stands beside what is to be expunged, or to get other flags where others may
  // do likewise. It is looked at once more before (listen.h).
  std::set<int32_t> equal_beside;

  // The additions for which the body must be brought; with those into mailboxes that are still to be made, if asked.
  std::vector<const CopyPlan*> Appends(bool into_missing = false) const;
};

// A place in the list of mailboxes to plan, and the message there behind which it goes on.
struct PlanPosition {
  size_t mailbox = 0;
  MessageId after;
};

struct Work {
  std::shared_ptr<const MeshView> view;  // that it was planned with; null: it is only to be shown
  std::vector<PlannedMessage> messages;
  PlanPosition next;    // where the next batch begins
  bool more = false;    // there is a next batch
  int64_t settled = 0;  // messages found to need nothing
  // Messages that another pass has to plan: they wait for a busy replica, or a change won just now.
  int64_t skipped = 0;
  bool waits_briefly = false;           // some of these wait for a moment only (MeshView::brief)
  std::vector<ConflictNote> conflicts;  // recorded or closed while planning

  // Of its deletions, or of all else.
  std::set<ReplicaIndex> Targets(bool deletions) const;
};

// Pending operations by edge, counting what cannot be done at present too (a replica down, an edge paused).
using PendingByEdge = std::map<int32_t, PendingCounts>;

// What planning leaves out.
struct PlanExceptions {
  std::set<std::pair<MessageId, MailboxCopyId>> refused;
  std::set<std::pair<MessageId, MailboxCopyId>> left_out;  // of these: as somebody decided, so nothing is pending
  std::set<std::pair<MessageId, MailboxCopyId>> no_copy;
  std::set<std::pair<MessageId, MailboxCopyId>> unfetchable;
  std::set<std::pair<ReplicaIndex, MailboxId>> no_mailbox;  // the replica would not make it
};

// What a pass is likely to add along each edge, for the display alone: messages and bytes. Of kPlanMessages unsettled
// messages from a position on; writes nothing. For StoreThread::Run.
class EstimateAdditions {
 public:
  EstimateAdditions(const MeshView& view, const std::vector<UnsettledMailbox>& mailboxes)
      : view_(view), mailboxes_(mailboxes) {}
  bool operator()(State& state);  // whether there is more

  std::map<int32_t, std::pair<int64_t, int64_t>> by_edge;

 private:
  const MeshView& view_;
  const std::vector<UnsettledMailbox>& mailboxes_;
  PlanPosition next_;
};

// Loads, plans and levels the next batch of unsettled messages, mailbox after mailbox in the given order: at most
// kPlanMessages of them, and not many more bytes to append than kPlanBytes. For StoreThread::Run.
class PlanBatch {
 public:
  static constexpr size_t kPlanMessages = 2000;
  static constexpr uint64_t kPlanBytes = 32 * 1024 * 1024;
  // In a mailbox with more unsettled messages than this a body waits until all that want it can take it, so that it is
  // fetched once; below, nobody waits for a replica that is busy for longer than a moment.
  static constexpr int64_t kSmallWork = 200;

  PlanBatch(const MeshView& view, const MeshView& ideal, const PlanExceptions& exceptions,
            const std::vector<UnsettledMailbox>& mailboxes, PlanPosition from, int64_t now_unix_ms)
      : view_(view), ideal_(ideal), exceptions_(exceptions), mailboxes_(mailboxes), from_(from), now_(now_unix_ms) {}
  Work operator()(State& state);

  PendingByEdge pending;
  // By mailbox: the edges on which something is pending, or will be once this batch is carried out.
  std::map<MailboxId, std::set<int32_t>> pending_in;

 private:
  Work PlanFrom(State& state);
  void PlanOne(State& state, MessageRegisters message, const UnsettledMailbox& unsettled, const Admissions& admissions,
               Work& work);
  // Of a message that may be a second copy made by a race: true when that is all there is to plan about it.
  bool PlanDuplicate(State& state, const MessageRegisters& message, const MessagePlan& ideal, Work& work);
  // Whether something is to be done about the copy now.
  bool Wanted(State& state, const MessageRegisters& message, const CopyPlan& copy) const;
  void Level(State& state, MessageRegisters& message, CopyPlan& plan);
  void DecideConflict(State& state, MessageRegisters& message, const MessagePlan& plan, Work& work);
  void RecordConflict(State& state, const MessageRegisters& message, const CopyPlan& plan, Work& work);
  void RecordKeywordConflict(State& state, const MessageRegisters& message, const KeywordConflict& keywords,
                             Work& work);
  ConflictRecord NewConflict(const MessageRegisters& message) const;
  bool MovePending(State& state, const MessageRegisters& message, const CopyPlan& plan) const;
  std::optional<ServerSideCopy> FindContent(State& state, const MessageRegisters& message, ReplicaIndex replica) const;
  bool TakesFlagsBack(State& state, const ServerSideCopy& source, const CopyPlan& addition) const;
  std::optional<CopyPlan> FindDeparture(State& state, const MessageRegisters& source, ReplicaIndex replica) const;
  void TakeAlong(State& state, const MailboxView& mailbox, const ServerSideCopy& source, CopyPlan& addition) const;
  bool GoesAlong(State& state, const MessageRegisters& message, const CopyPlan& plan) const;
  int PendingAdditions(State& state, const Digest& identity, MessageId except, ReplicaIndex replica) const;
  static bool MailboxWaits(const MailboxView& mailbox, ReplicaIndex replica);
  bool MovedWhereItWaits(State& state, const MessageRegisters& message, ReplicaIndex replica) const;
  void Count(State& state, const MessageRegisters& message, const MessagePlan& plan);

  const MeshView& view_;
  const MeshView& ideal_;  // as if every replica were up and no edge paused
  const PlanExceptions& exceptions_;
  const std::vector<UnsettledMailbox>& mailboxes_;
  PlanPosition from_;
  int64_t now_;
  bool alike_lately_ = false;             // HasAlikeLately
  bool as_ideal_ = false;                 // every replica is up and no edge paused: the two views plan the same
  uint64_t bytes_ = 0;                    // to append
  std::optional<Duplicates> duplicates_;  // of this batch
  std::set<MessageId> leaving_;           // of those in this batch: only deleted
  std::set<MessageId> planned_;           // in this batch, and what is copied from: by the UIDs that they have now
};

}  // namespace imapmesh

#endif  // IMAPMESH_ENGINE_SYNC_WORK_H_
