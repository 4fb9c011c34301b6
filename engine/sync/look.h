// Look: one exchange with a replica that tells which mailbox copies exist there and which moved since they were
// recorded (DESIGN.md section 3, step 1).
//
// The coordinator calls LookAt and RecordListing at the start of each round, for all replicas side by side. Engine
// thread; the listing is recorded in one transaction on the store's.
#ifndef IMAPMESH_ENGINE_SYNC_LOOK_H_
#define IMAPMESH_ENGINE_SYNC_LOOK_H_

#include "engine/sync/mesh.h"
#include "engine/sync/task_group.h"

namespace imapmesh {

// Marks the replica up or down, and keeps its listing for RecordListing.
asio::awaitable<void> LookAt(Mesh& mesh, ReplicaIndex r);

// Whether the listing that waits to be recorded has a known mailbox under another name.
bool TellsOfRenames(const Mesh& mesh, ReplicaIndex r);

// Records what the listing tells: mailboxes that are new, renamed, gone, subscribed; and adds to mesh.due what is to be
// observed. Names of mailboxes in the mesh change only here: while TellsOfRenames, nothing may be under way anywhere.
// An error is of the store. `turns`: one at a time, as each needs the records of all mailbox copies.
asio::awaitable<absl::Status> RecordListing(Mesh& mesh, ReplicaIndex r, Permits& turns);

}  // namespace imapmesh

#endif  // IMAPMESH_ENGINE_SYNC_LOOK_H_
