// Carries out what is pending for mailboxes: CREATE, RENAME, SUBSCRIBE and UNSUBSCRIBE before any message is added,
// DELETE after every message is (DESIGN.md section 3, steps 4 to 6).
//
// Called by the coordinator at the start and the end of applying a round. No intents are needed: each command brings
// one register to the value that the others have, so that its echo is no change even when the answer is lost. Engine
// thread.
#ifndef IMAPMESH_ENGINE_SYNC_APPLY_MAILBOXES_H_
#define IMAPMESH_ENGINE_SYNC_APPLY_MAILBOXES_H_

#include <vector>

#include "engine/sync/mailbox_plan.h"
#include "engine/sync/mesh.h"
#include "engine/sync/work.h"

namespace imapmesh {

// Decides about mailboxes that are gone, then does everything but deletions. How many operations were done. An error is
// of the store.
asio::awaitable<absl::StatusOr<int64_t>> ApplyMailboxes(Mesh& mesh);

// Deletes mailbox copies that are empty by now, and counts in mesh.pending_mailboxes what is left to do.
asio::awaitable<absl::StatusOr<int64_t>> ApplyMailboxDeletions(Mesh& mesh);

// What is pending; with `ideal` as if every replica were up and no edge paused.
asio::awaitable<absl::StatusOr<std::vector<MailboxOperation>>> PlanMailboxes(const Mesh& mesh, bool ideal);

// The mailboxes that ApplyMailboxes would make, those first that others are made from.
std::vector<PlannedMailbox> MailboxesToMake(const Mesh& mesh);

}  // namespace imapmesh

#endif  // IMAPMESH_ENGINE_SYNC_APPLY_MAILBOXES_H_
