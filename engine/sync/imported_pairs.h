// Imported pairs: a mailbox copy's first observation by what another tool knew of it (store/imported_table.h).
//
// RecordObservation calls it, inside its transaction. What the other tool had as one message on both sides is one
// message here, without a look at its content; what it had and is not there any more was deleted since, and is deleted
// elsewhere too. Invariants: only as long as UIDVALIDITY is the one the other tool knew; different messages are not
// merged: a pair must have one header, or one Message-ID; and when more is missing than the brake lets pass, nothing
// counts as deleted.
#ifndef IMAPMESH_ENGINE_SYNC_IMPORTED_PAIRS_H_
#define IMAPMESH_ENGINE_SYNC_IMPORTED_PAIRS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "engine/replica/replica.h"
#include "engine/store/state.h"
#include "graph/topology.pb.h"

namespace imapmesh {

class ImportedPairs {
 public:
  // Of one transaction: finds what is known of the copy, or drops it when UIDVALIDITY is another.
  void Begin(State& state, const MailboxCopyRecord& record, UidValidity observed);

  // The message that the arrival is by what was imported; nullopt leaves it to Identify. It may be known here already.
  std::optional<MessageRegisters> Match(State& state, const ArrivedMessage& arrived) const;
  // Whether the message is known to be another one than the arrival with this UID.
  bool IsAnother(State& state, MessageId message, Uid uid) const;
  // The arrival turned out to be this message.
  void Note(State& state, Uid uid, MessageId message) const;

  // What was deleted before the first observation, as far as it is known by now; each once. `consumed`: the copy is
  // observed in full.
  std::vector<ImportedGone> Finish(State& state, const MailboxCopyRecord& record, bool consumed,
                                   const v1::Brake& brake);

  // For people: what was imported and did not hold; "" for nothing.
  const std::string& distrust() const { return distrust_; }

 private:
  std::optional<ImportedCopy> copy_;
  std::string distrust_;
};

}  // namespace imapmesh

#endif  // IMAPMESH_ENGINE_SYNC_IMPORTED_PAIRS_H_
