// What a coordinator starts with: read from the state in one transaction, which also settles what another graph, or
// names that are mapped otherwise, change about what was recorded.
//
// coordinator.cc runs it on the store's thread before the first look.
#ifndef IMAPMESH_ENGINE_SYNC_START_STATE_H_
#define IMAPMESH_ENGINE_SYNC_START_STATE_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "engine/store/state.h"
#include "engine/sync/kept_back.h"
#include "graph/graph.h"

namespace imapmesh {

struct StartState {
  std::vector<ReplicaId> replicas;             // of the graph, in its order
  std::vector<std::optional<bool>> paused;     // of its edges; nullopt: nobody has said so far
  std::map<int32_t, int64_t> waiting_unix_ms;  // edges on which something is pending, since when
  std::vector<MailboxCopyRecord> copies;
  FlagId deleted;                                    // \Deleted
  std::vector<std::pair<FlagId, FlagId>> exclusive;  // keywords of which a message has one at most
  KeptBackReport kept_back;
  int64_t conflicts_open = 0, conflicts_resolved = 0;
};

StartState LoadStartState(State& state, const Graph& graph, int64_t now_unix_ms);

// Where the state keeps since when something is pending on an edge.
std::string PendingKey(const GraphEdge& edge);

// Whether an edge is paused, by whoever said so last.
std::string PausedKey(const std::string& edge);

}  // namespace imapmesh

#endif  // IMAPMESH_ENGINE_SYNC_START_STATE_H_
