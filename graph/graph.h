// The declared graph after validation: what the engine may rely on. Immutable; any thread.
//
// graph/load.h makes it from a topology file. engine/sync asks it who may pass what to whom (Admits); the rest of the
// program reads names and settings from `topology()`.
#ifndef IMAPMESH_GRAPH_GRAPH_H_
#define IMAPMESH_GRAPH_GRAPH_H_

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "graph/topology.pb.h"

namespace imapmesh {

// The kinds of change that an edge can admit or not (CONTRACT.md section 1).
enum class ChangeKind {
  kAddition,        // a message, or a mailbox
  kFlags,           // flags and keywords
  kDeletion,        // a message's expunge
  kMailboxDeletion  // a mailbox's deletion; also under policy.mailbox_deletes
};

struct GraphEdge {
  ReplicaIndex a;
  ReplicaIndex b;
  std::string name;  // "a:b"
};

class Graph {
 public:
  // `topology` must have passed validation (load.h).
  Graph(v1::Topology topology, std::string folder);

  const v1::Topology& topology() const { return topology_; }
  const std::string& folder() const { return folder_; }  // of the topology file; relative paths start here
  const std::string& name() const { return topology_.name(); }
  int replica_count() const { return topology_.replica_size(); }
  const v1::Replica& replica(ReplicaIndex index) const { return topology_.replica(index.value); }
  std::optional<ReplicaIndex> FindReplica(std::string_view name) const;
  const std::vector<GraphEdge>& edges() const { return edges_; }
  // "a:b" or "b:a".
  std::optional<EdgeIndex> FindEdge(std::string_view name) const;

  // Whether the edge, from its end `from` to its other end, carries `kind` for the mailbox. Pauses are no matter here.
  bool Admits(EdgeIndex edge, ReplicaIndex from, std::string_view mailbox, ChangeKind kind) const;
  // What decides when a deletion that arrives along the edge meets a change: the edge's own policy, or the topology's.
  v1::Policy::DeleteVsChange DeleteVsChange(EdgeIndex edge) const;
  // Whether the mailbox belongs to the mesh at the replica: some edge there selects it.
  bool Selects(ReplicaIndex replica, std::string_view mailbox) const;
  // Whether a change of this kind at `from` may arrive at `to` along some path of admitting edges.
  bool Reaches(ReplicaIndex from, ReplicaIndex to, std::string_view mailbox, ChangeKind kind) const;

 private:
  v1::Topology topology_;
  std::string folder_;
  std::vector<GraphEdge> edges_;
};

// Mailbox patterns: `*` any text, `%` any text within a level, everything else itself; "INBOX" in any case.
bool MatchesPattern(std::string_view pattern, std::string_view mailbox);

}  // namespace imapmesh

#endif  // IMAPMESH_GRAPH_GRAPH_H_
