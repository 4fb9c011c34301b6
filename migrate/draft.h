// A topology made from another tool's configuration, before its passwords have found a place. Values; any thread.
#ifndef IMAPMESH_MIGRATE_DRAFT_H_
#define IMAPMESH_MIGRATE_DRAFT_H_

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "graph/topology.pb.h"

namespace imapmesh {

struct Draft {
  v1::Topology topology;
  // In clear in the other tool's file, by replica: to be put where only their owner reads them (Auth.password_file).
  std::map<std::string, std::string> passwords;
  std::map<std::string, std::string> origins;  // by replica: where it comes from, one line
  std::vector<std::string> edge_origins;       // likewise, by edge
};

// "Mail (work)" becomes "mail-work": what the topology allows in a name. `fallback` when nothing is left.
std::string TopologyName(std::string_view text, std::string_view fallback);

// The topology as a file that says where it comes from; graph/load.h reads it. `head`: lines of comment.
std::string TopologyText(const Draft& draft, const std::vector<std::string>& head);

}  // namespace imapmesh

#endif  // IMAPMESH_MIGRATE_DRAFT_H_
