// Listen before talk: where other coordinators carry the same mail, a moment's wait and a question before an addition
// leave few races (duplicates.h finds the others).
//
// apply_appends.cc and apply_copies.cc ask MayAdd; observe.cc tells what it saw of others. Engine thread. Where nobody
// else was seen nothing is waited for and nothing asked.
#ifndef IMAPMESH_ENGINE_SYNC_LISTEN_H_
#define IMAPMESH_ENGINE_SYNC_LISTEN_H_

#include <string>
#include <vector>

#include "engine/sync/mesh.h"
#include "engine/sync/record.h"

namespace imapmesh {

// Somebody else brought a message to a replica that the mesh had elsewhere already. Remembered over restarts, for a
// week from the last time.
asio::awaitable<absl::Status> NoteOthers(Mesh& mesh);
asio::awaitable<absl::Status> LoadOthers(Mesh& mesh);

// Whether an addition may be begun. False: something came to the mailbox copy that is not recorded yet; it is due for
// observation then, and the next plan knows better.
asio::awaitable<bool> MayAdd(Mesh& mesh, ReplicaIndex target, std::string mailbox);

// Of additions that listened: those that the plan would still make. What was deleted meanwhile, and brought to others
// all the same, they would take for new; so it would go round for ever. All of them where nobody else was seen.
asio::awaitable<absl::StatusOr<std::vector<Change>>> StillWanted(Mesh& mesh, const MeshView& view,
                                                                 std::vector<Change> additions);

}  // namespace imapmesh

#endif  // IMAPMESH_ENGINE_SYNC_LISTEN_H_
