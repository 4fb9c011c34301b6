// A lane: all that is under way at one replica. While a replica is busy nothing else is begun there, and the rest of
// the mesh goes on without it.
//
// The coordinator and the apply files take a Lane for each task at a replica. Engine thread only.
#ifndef IMAPMESH_ENGINE_SYNC_LANE_H_
#define IMAPMESH_ENGINE_SYNC_LANE_H_

#include <map>
#include <memory>

#include "engine/sync/mesh.h"

namespace imapmesh {

// Keeps a replica busy as long as it lives.
class Lane {
 public:
  Lane(Mesh& mesh, ReplicaIndex replica, const std::shared_ptr<Batch>& batch) : mesh_(mesh), replica_(replica) {
    mesh.Begin(replica, batch);
  }
  ~Lane() { mesh_.End(replica_); }
  Lane(const Lane&) = delete;
  Lane& operator=(const Lane&) = delete;

 private:
  Mesh& mesh_;
  const ReplicaIndex replica_;
};

// Shared by the tasks of a batch at a replica: it is busy until the last of them is done.
using Lanes = std::map<ReplicaIndex, std::shared_ptr<const Lane>>;

}  // namespace imapmesh

#endif  // IMAPMESH_ENGINE_SYNC_LANE_H_
