// Makes the mailbox copies that edges want and that do not exist yet. Called by the coordinator at the start of a
// round, before any message is added. Engine thread.
#ifndef IMAPMESH_ENGINE_SYNC_APPLY_MAILBOXES_H_
#define IMAPMESH_ENGINE_SYNC_APPLY_MAILBOXES_H_

#include <vector>

#include "engine/sync/mesh.h"
#include "engine/sync/work.h"

namespace imapmesh {

// What ApplyMailboxes would make, in its order.
std::vector<PlannedMailbox> MailboxesToMake(const Mesh& mesh);

// How many were made. An error is of the store.
asio::awaitable<absl::StatusOr<int64_t>> ApplyMailboxes(Mesh& mesh);

}  // namespace imapmesh

#endif  // IMAPMESH_ENGINE_SYNC_APPLY_MAILBOXES_H_
