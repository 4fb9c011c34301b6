// Observe: what changed in one mailbox copy, identified, merged and recorded (DESIGN.md section 3, steps 1 to 3).
//
// The coordinator calls it for what is due after the looks of a round. Each mailbox copy is fetched, identified and
// merged in batches; a batch, its registers and its cursor are one transaction. Engine thread; transactions on the
// store's.
#ifndef IMAPMESH_ENGINE_SYNC_OBSERVE_H_
#define IMAPMESH_ENGINE_SYNC_OBSERVE_H_

#include <deque>
#include <string>
#include <vector>

#include "engine/sync/mesh.h"

namespace imapmesh {

// Observes mailbox copies of a replica until everything is consumed, looked into together where the server allows it.
// Marks the replica down when it fails. At most kObserveTogether. An error is of the store.
asio::awaitable<absl::Status> ObserveCopies(Mesh& mesh, ReplicaIndex r, std::vector<std::string> mailboxes);

// What is due at a replica, in groups for ObserveCopies; each first look, which takes long, alone.
std::deque<std::vector<std::string>> DueTogether(Mesh& mesh, ReplicaIndex r);

}  // namespace imapmesh

#endif  // IMAPMESH_ENGINE_SYNC_OBSERVE_H_
