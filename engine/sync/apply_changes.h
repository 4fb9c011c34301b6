// Flags by +FLAGS and -FLAGS, deletions by EXPUNGE of just these, at one replica. Called by apply.cc. Engine thread.
#ifndef IMAPMESH_ENGINE_SYNC_APPLY_CHANGES_H_
#define IMAPMESH_ENGINE_SYNC_APPLY_CHANGES_H_

#include "engine/sync/record.h"

namespace imapmesh {

// False: some flags were put off to another round, and copies of their messages would not carry them.
asio::awaitable<bool> ApplyFlags(Recorder& recorder, const Work& work, ReplicaIndex target);
asio::awaitable<void> ApplyExpunges(Recorder& recorder, const Work& work, ReplicaIndex target);

}  // namespace imapmesh

#endif  // IMAPMESH_ENGINE_SYNC_APPLY_CHANGES_H_
