// Duplicates: second copies of a message that a race made. Two coordinators that bring a message into one mailbox copy
// in the same instant both append it, and IMAP gives neither a way to prevent that (docs/model.md, Several
// coordinators).
//
// Planning asks a Duplicates about what it would carry; RecordObservation asks TakeOver when a first copy is gone.
// Functions over State, run on the store's thread inside one transaction. Invariants: a second copy is carried nowhere,
// and expunged only when a person decided so and another copy stands beside it that stays; while it is there, the end
// of the first one by anybody's hand is no deletion of the message; of two copies the one with the lower UID counts as
// the first, so that all coordinators mean the same.
#ifndef IMAPMESH_ENGINE_SYNC_DUPLICATES_H_
#define IMAPMESH_ENGINE_SYNC_DUPLICATES_H_

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "engine/store/state.h"
#include "engine/sync/merge.h"
#include "engine/sync/mesh.h"
#include "engine/sync/plan.h"

namespace imapmesh {

// The kind of conflict, as recorded and shown: one for each second copy in each mailbox copy.
inline constexpr char kDuplicate[] = "DUPLICATE";

// What people are told about a conflict that planning recorded or closed.
struct ConflictNote {
  bool resolved = false;
  bool race = false;  // with somebody else
  ReplicaIndex replica;
  std::string mailbox;
  std::string text;  // printable
};

class Duplicates {
 public:
  enum class Standing {
    kOrdinary,       // a message of its own
    kSecond,         // left alone, but for Removals
    kLater,          // cannot be told or written down now: something is under way
    kAfterDeletions  // likewise, but only until the first one is deleted, as is planned
  };

  Duplicates(State& state, const MeshView& view, int64_t now_unix_ms);

  bool IsKnown(MessageId message) const { return held_.contains(message); }
  // Of a message that is to be carried somewhere, or that is known. Records what it finds. `planned` are the messages
  // of the batch so far and those that it copies from; `leaving` those of them that it only deletes.
  Standing Judge(const MessageRegisters& message, const std::set<MessageId>& planned,
                 const std::set<MessageId>& leaving);
  // What a person decided to remove and stands beside another copy. What stands alone by now is known no longer.
  std::vector<CopyPlan> Removals(const MessageRegisters& second);
  // Before `message` is expunged somewhere, since it was deleted elsewhere: of the same mail no fewer are left there
  // than where it was deleted. If an equal message that is where this one was deleted is not there, it is that one that
  // is there: they were paired otherwise by whoever carried what is known. So it is recorded, and true is returned:
  // nothing is to be expunged.
  bool TakePlace(const MessageRegisters& message, const CopyPlan& deletion);
  // Whether its copies have other UIDs since this was made.
  bool HasMoved(MessageId message) const { return moved_.contains(message); }
  std::vector<ConflictNote> TakeNotes() { return std::move(notes_); }

 private:
  struct Twin {
    MessageRegisters first;
    MailboxCopyId here;
  };

  // Another message of the same mail that is at `here` and no second copy itself: of two that came by a race one is the
  // first, however often either is judged. `raced`: one that came by a race with it. Others may be equal, too.
  std::optional<MessageRegisters> FindTwin(const MessageRegisters& message, MailboxCopyId here, bool raced) const;
  bool IsRace(const MessageRegisters& first, const MessageRegisters& second, MailboxCopyId here) const;
  bool HasComeBack(const MessageRegisters& first, MailboxCopyId here, int64_t unix_ms) const;
  bool WasElsewhere(const MessageRegisters& first, MailboxCopyId here, int64_t unix_ms) const;
  bool HasTwinThatStays(const MessageRegisters& second, MailboxCopyId here) const;
  std::optional<HistoryStep> CameAt(MessageId message, MailboxCopyId here) const;
  bool MustWait(const Twin& twin, const MessageRegisters& second, const std::set<MessageId>& planned) const;
  void Hold(Twin twin, MessageRegisters second);
  void CloseAll(const MessageRegisters& message, const std::string& outcome);
  bool IsHeld(MessageId message, MailboxCopyId here) const;
  ReplicaIndex ReplicaOf(MailboxCopyId copy) const { return view_.copies.at(copy).first; }

  State& state_;
  const MeshView& view_;
  const int64_t now_;
  std::map<MessageId, std::vector<HeldCopy>> held_;
  std::set<MessageId> moved_;
  std::vector<ConflictNote> notes_;
};

// `first` is gone from `here` by somebody's hand. When one of `held` is a second copy of it there that is not among
// `vanished`, that one takes its place: both are saved, and true is returned. `context` is the observation's.
bool TakeOver(State& state, const std::vector<HeldCopy>& held, MessageRegisters& first, MailboxCopyId here,
              const UidSet& vanished, const MergeContext& context);

// The same of an equal message beside it that is not everywhere where `first` is: because it was deleted there (one of
// two equal messages was deleted at each of two replicas, and whoever did it did not see which of them the mesh takes
// for which), or because it was not carried there yet. One stays, and where it is already: else two coordinators, each
// a step behind the other, could carry the one and delete the other in turn without end.
bool TakeEqual(State& state, MessageRegisters& first, MailboxCopyId here, const UidSet& vanished,
               const MergeContext& context);

// A new message looks as one that its mailbox has already. And whether that was so lately: what came before is no race.
void NoteAlike(State& state, int64_t now_unix_ms);
bool HasAlikeLately(State& state, int64_t now_unix_ms);

// Whether the same mail stands beside `message` at `here`. Before one of the two is expunged the mailbox copy is looked
// into once more (listen.h).
bool HasEqualBeside(State& state, const MessageRegisters& message, MailboxCopyId here);

// Whether a message that looks the same was just deleted here by this coordinator itself, or is about to be since it
// was deleted at one of `deleters`, from which deletions flow here: then another one, which took the one for the other,
// may have carried the same deletion, and `gone` was not meant.
bool IsCarriedTwice(State& state, const MessageRegisters& gone, MailboxCopyId here,
                    const std::set<MailboxCopyId>& deleters, int64_t now_unix_ms);

// From when on a deletion that is seen now at a replica may have been meant for what was there before: since nothing is
// known of the replica. With `company` others may have carried it, and one is slower than the other; what was taken for
// the one beside it they may carry to a replica that comes back, or once they come back themselves. Without, nobody
// else may have been seen yet.
ReplacedSince DeletedSince(int64_t now_unix_ms, int64_t unseen_since_unix_ms, bool company);

// Another message, which is equal, stands for this one at `here` now: one that was beside it (kReplaced: TakeOver,
// TakeEqual), or that came as it went (kFoundAgain). And when that happened last, anywhere; 0: never.
void NoteReplaced(State& state, MessageId message, MailboxCopyId here, StepKind how, int64_t now_unix_ms);
int64_t LastReplaced(State& state);

// Whether a copy of `gone` was replaced so elsewhere, at `since` (DeletedSince) or later, while it was still at
// `here` as far as is known: then the deletion that is seen here now may be that of the one which was replaced, or have
// been carried by another coordinator, and what took its place there is another message, which nobody deleted.
bool WasReplacedElsewhere(State& state, const MessageRegisters& gone, MailboxCopyId here, const ReplacedSince& since);

// What is known at `here`, and was replaced elsewhere so, counts as never had, so that it is given back.
void ForgetReplacedElsewhere(State& state, MailboxCopyId here, const ReplacedSince& since);

// Equal messages whose flags were exchanged at `here`: which of them is which nobody can tell, and another coordinator,
// which took the one for the other, carried the flags of each to the other. They change places there instead; else the
// coordinators could carry the flags crosswise in turn without end. False when they are not equal.
bool ExchangeEqual(State& state, MessageId one, MessageId other, MailboxCopyId here);

// Whatever is gone from `here` and marked as held waits for `conflict`. Second copies among it are none any more: what
// was to be decided about them is closed, and nobody decides twice about one message.
void HoldGone(State& state, int64_t conflict, MailboxCopyId here, int64_t now_unix_ms);

}  // namespace imapmesh

#endif  // IMAPMESH_ENGINE_SYNC_DUPLICATES_H_
