// Reads and validates topology files. Called by the daemon and the client; any thread.
//
// All errors of a file are reported at once, each as "file:line:column: field: what is wrong; what would be right".
#ifndef IMAPMESH_GRAPH_LOAD_H_
#define IMAPMESH_GRAPH_LOAD_H_

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "graph/graph.h"

namespace imapmesh {

struct LoadedTopology {
  std::shared_ptr<const Graph> graph;  // with the defaults of topology.proto filled in
  std::vector<std::string> warnings;   // in the form of errors
};

// kInvalidArgument with every error, one a line; kNotFound or kPermissionDenied when the file cannot be read. No error
// holds a password. Relative paths in the file are relative to its folder, which the graph keeps.
absl::StatusOr<LoadedTopology> LoadTopologyFile(const std::string& path);
absl::StatusOr<LoadedTopology> LoadTopologyText(std::string_view text, const std::string& file_name,
                                                const std::string& folder);

}  // namespace imapmesh

#endif  // IMAPMESH_GRAPH_LOAD_H_
