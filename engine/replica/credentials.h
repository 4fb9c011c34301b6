// Where a replica's password comes from: a command, a file, the environment, or the topology itself.
//
// connection_pool.cc asks before each login, so that a changed password is found. No error and no log ever holds it.
// Engine thread.
#ifndef IMAPMESH_ENGINE_REPLICA_CREDENTIALS_H_
#define IMAPMESH_ENGINE_REPLICA_CREDENTIALS_H_

#include <string>

#include "base/status.h"
#include "engine/net/clock.h"
#include "graph/topology.pb.h"

namespace imapmesh {

// kUnauthenticated, saying which source failed and how. Commands run in `folder` and may take 30 s; relative files are
// relative to it. The first line counts.
asio::awaitable<absl::StatusOr<std::string>> ReadPassword(asio::any_io_executor executor, Clock& clock, v1::Auth auth,
                                                          std::string folder);

}  // namespace imapmesh

#endif  // IMAPMESH_ENGINE_REPLICA_CREDENTIALS_H_
