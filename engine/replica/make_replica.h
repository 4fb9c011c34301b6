// From a replica as the topology declares it to one that the engine can use. The daemon's factory; engine thread.
#ifndef IMAPMESH_ENGINE_REPLICA_MAKE_REPLICA_H_
#define IMAPMESH_ENGINE_REPLICA_MAKE_REPLICA_H_

#include <functional>
#include <memory>
#include <string_view>

#include "engine/net/dialer.h"
#include "engine/replica/replica.h"
#include "graph/graph.h"

namespace imapmesh {

// Where the replica is.
Endpoint EndpointOf(const Graph& graph, ReplicaIndex index);

// `clock` and `dialer` must outlive the replica. Nothing is connected yet.
std::unique_ptr<Replica> MakeImapReplica(asio::any_io_executor executor, Clock& clock, Dialer& dialer,
                                         const Graph& graph, ReplicaIndex index,
                                         std::function<bool(std::string_view)> selects);

}  // namespace imapmesh

#endif  // IMAPMESH_ENGINE_REPLICA_MAKE_REPLICA_H_
