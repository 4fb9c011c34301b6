// Additions at one replica that its server does itself, by COPY or MOVE from where it holds the content already. Called
// by apply.cc; what a server refuses is uploaded instead. Engine thread.
#ifndef IMAPMESH_ENGINE_SYNC_APPLY_COPIES_H_
#define IMAPMESH_ENGINE_SYNC_APPLY_COPIES_H_

#include "engine/sync/record.h"

namespace imapmesh {

asio::awaitable<void> ApplyCopies(Recorder& recorder, const Work& work, ReplicaIndex target);

}  // namespace imapmesh

#endif  // IMAPMESH_ENGINE_SYNC_APPLY_COPIES_H_
