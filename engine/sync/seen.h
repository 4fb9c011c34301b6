// Since when nothing was known of a replica: what is seen gone there may have gone at any time since then.
//
// The coordinator loads it before the first look and tells when all of a replica was observed. A message that was found
// under another UID elsewhere meanwhile may be another one than the one that is gone (duplicates.h): only what was
// observed after that tells. Engine thread; the store's for the state. Where no message was found so, nothing is
// written.
#ifndef IMAPMESH_ENGINE_SYNC_SEEN_H_
#define IMAPMESH_ENGINE_SYNC_SEEN_H_

#include "engine/sync/duplicates.h"
#include "engine/sync/mesh.h"

namespace imapmesh {

asio::awaitable<absl::Status> LoadSeen(Mesh& mesh);

// All of the replica was observed, by a look and what it told of.
asio::awaitable<absl::Status> NoteSeen(Mesh& mesh, ReplicaIndex r);

// A message was found under another UID: a look at each replica that is up tells soon what is there all the same.
void NoteReplacement(Mesh& mesh);

// DeletedSince of what is seen there now.
ReplacedSince DeletedSinceOf(const Mesh& mesh, ReplicaIndex r);

}  // namespace imapmesh

#endif  // IMAPMESH_ENGINE_SYNC_SEEN_H_
