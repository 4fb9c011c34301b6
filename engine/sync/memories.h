// What replicas remember of their servers from one start to the next (Replica::memory), kept in the state.
//
// The coordinator loads it before the first look and saves what is new after each. Engine thread; the store's for the
// state.
#ifndef IMAPMESH_ENGINE_SYNC_MEMORIES_H_
#define IMAPMESH_ENGINE_SYNC_MEMORIES_H_

#include "engine/sync/mesh.h"

namespace imapmesh {

asio::awaitable<absl::Status> LoadMemories(Mesh& mesh);
asio::awaitable<absl::Status> SaveMemories(Mesh& mesh);

}  // namespace imapmesh

#endif  // IMAPMESH_ENGINE_SYNC_MEMORIES_H_
