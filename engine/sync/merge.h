// Merge: what an observation changes in the registers of one message (DESIGN.md section 3, step 3).
//
// Pure; observe.cc calls it inside the transaction that records the observation. What differs from the record is a
// change somebody made and gets the observation's stamp; what an open intent explains is our own echo and gets the
// stamp that the intent carries. Invariant: equal stamps of a register mean equal values.
#ifndef IMAPMESH_ENGINE_SYNC_MERGE_H_
#define IMAPMESH_ENGINE_SYNC_MERGE_H_

#include <set>
#include <vector>

#include "engine/store/registers.h"
#include "engine/sync/flag_limits.h"

namespace imapmesh {

struct MergeContext {
  Stamp stamp;          // of this observation
  FlagId deleted_flag;  // \Deleted: at first contact it is not spread
  // Of the mailbox copy, as recorded and as this observation tells.
  FlagLimits limits_before = {};
  FlagLimits limits = {};
};

// Whether the message was deleted at another copy after it came to this one.
bool IsDeletedSince(const MessageRegisters& message, const CopyRegisters& here);
// The same, at one of these copies: those from which a deletion flows here.
bool IsDeletedSince(const MessageRegisters& message, const CopyRegisters& here, const std::set<MailboxCopyId>& at);

// Whether the newest of it all is that somebody put it somewhere: it is to be wherever that reaches.
bool IsPutBack(const MessageRegisters& message);

// The message has a copy with this UID here that was not known before: new to the mesh, adopted, added again by
// somebody, or added by us (`intent`, may be null). Returns whether anything may be pending now.
bool MergeArrival(MessageRegisters& message, MailboxCopyId here, Uid uid, uint64_t guid,
                  const std::vector<FlagId>& flags, const Intent* intent, const MergeContext& context);

// All flags of a known copy as they are now. Returns whether a register changed.
bool MergeFlags(CopyRegisters& copy, const std::vector<FlagId>& flags, const Intent* intent,
                const MergeContext& context);

// The copy's UID is gone. Returns whether a register changed.
bool MergeVanished(CopyRegisters& copy, const Intent* intent, const MergeContext& context);

// The brake: whether so many deletions in one observation must wait for a decision.
bool BrakeHolds(int64_t vanished, int64_t known, double fraction, int64_t min_messages);

}  // namespace imapmesh

#endif  // IMAPMESH_ENGINE_SYNC_MERGE_H_
