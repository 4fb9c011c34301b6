// Look: one exchange with a replica that tells which mailbox copies exist there and which moved since they were
// recorded (DESIGN.md section 3, step 1).
//
// The coordinator calls it at the start of each round, for all replicas side by side. Engine thread; the listing is
// recorded in one transaction on the store's.
#ifndef IMAPMESH_ENGINE_SYNC_LOOK_H_
#define IMAPMESH_ENGINE_SYNC_LOOK_H_

#include "engine/sync/mesh.h"

namespace imapmesh {

// Marks the replica up or down, and adds to mesh.due what is to be observed. An error is of the store; a replica's own
// is in its slot.
asio::awaitable<absl::Status> LookAt(Mesh& mesh, ReplicaIndex r);

}  // namespace imapmesh

#endif  // IMAPMESH_ENGINE_SYNC_LOOK_H_
