// Apply and record: carries out planned work (DESIGN.md section 3, steps 5 and 6).
//
// The coordinator calls it for one batch: additions and flags of every batch first, deletions last. A replica's lane
// ends with its last operation, whatever the others still do; the call returns when all are done. Intents are committed
// before a server is told; what it confirms becomes registers and closes the intents in one transaction. An operation
// whose outcome is unknown leaves its intents open: the next observation of that mailbox copy settles them. Engine
// thread; transactions on the store's.
#ifndef IMAPMESH_ENGINE_SYNC_APPLY_H_
#define IMAPMESH_ENGINE_SYNC_APPLY_H_

#include <vector>

#include "engine/sync/lane.h"
#include "engine/sync/mesh.h"
#include "engine/sync/work.h"

namespace imapmesh {

// Flags and additions. `lanes` has one for each target. Returns how many operations were done. An error is of the
// store.
asio::awaitable<absl::StatusOr<int64_t>> ApplyAdditionsAndFlags(Mesh& mesh, const Work& work, Lanes lanes);

// Deletions only.
asio::awaitable<absl::StatusOr<int64_t>> ApplyDeletions(Mesh& mesh, const Work& work, Lanes lanes);

}  // namespace imapmesh

#endif  // IMAPMESH_ENGINE_SYNC_APPLY_H_
