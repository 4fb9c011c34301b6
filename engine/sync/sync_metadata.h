// The annotations of mailboxes (METADATA, RFC 5464) kept in agreement where both sides have them.
//
// There is no notice of their changes, so they are looked at when a replica comes up, at each asked sync and each poll,
// in the same exchange as the look at its mailboxes; between these those of mailboxes that are new or were observed.
// round.cc calls SyncMetadata behind the plan, when mailboxes are where they belong. Engine thread.
#ifndef IMAPMESH_ENGINE_SYNC_SYNC_METADATA_H_
#define IMAPMESH_ENGINE_SYNC_SYNC_METADATA_H_

#include <asio/awaitable.hpp>
#include <cstdint>

#include "base/status.h"
#include "engine/sync/mesh.h"

namespace imapmesh {

// Before a look: has its annotations come along, when they are due and another replica may have some.
void AskMetadata(Mesh& mesh, ReplicaIndex r);
// After it.
void TakeMetadata(Mesh& mesh, ReplicaIndex r);

// Merges what was looked at, and sets what differs. How many mailbox copies were changed; what a server refuses is a
// problem, and not tried again before the next asked sync. An error only when the state cannot be written.
asio::awaitable<absl::StatusOr<int64_t>> SyncMetadata(Mesh& mesh);

}  // namespace imapmesh

#endif  // IMAPMESH_ENGINE_SYNC_SYNC_METADATA_H_
