// Observe: looks at replicas and mailbox copies and records what changed (DESIGN.md section 3, steps 1 to 3).
//
// The coordinator calls it at the start of each round. Each mailbox copy is fetched, identified and merged in batches;
// a batch, its registers and its cursor are one transaction. Engine thread; transactions on the store's.
#ifndef IMAPMESH_ENGINE_SYNC_OBSERVE_H_
#define IMAPMESH_ENGINE_SYNC_OBSERVE_H_

#include <string>

#include "engine/sync/mesh.h"

namespace imapmesh {

// One look at a replica: which mailbox copies exist, and which moved since they were recorded (added to mesh.due).
// Marks the replica up or down. An error is of the store; a replica's own is in its slot.
asio::awaitable<absl::Status> LookAt(Mesh& mesh, ReplicaIndex r);

// Observes one mailbox copy until everything is consumed. Errors as above.
asio::awaitable<absl::Status> ObserveCopy(Mesh& mesh, ReplicaIndex r, std::string mailbox);

// How long an operation whose outcome is unknown may still take effect on its server, in milliseconds: its intent is
// kept open as long.
inline constexpr int64_t kSettleMillis = 5000;

}  // namespace imapmesh

#endif  // IMAPMESH_ENGINE_SYNC_OBSERVE_H_
