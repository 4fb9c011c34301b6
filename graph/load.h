// Reads and checks a topology file (protobuf text format, topology.proto).
//
// Called by the daemon at start and on reload, and by `imapmesh check` and `imapmesh graph`. What it returns has passed
// every check and has its defaults filled in: imap.port, compress, link_cost, max_connections, poll_interval_s and the
// brake are always set, so nobody else needs to know them. Reads no other file and runs no command. Any thread.
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
  std::shared_ptr<const Graph> graph;
  std::vector<std::string> warnings;  // same form as the errors, one each
};

inline constexpr size_t kTopologyBytesMax = 1 << 20;
inline constexpr int kTopologyReplicasMax = 1000;
inline constexpr int kTopologyEdgesMax = 10000;

// kInvalidArgument with all errors of the file, one a line: "file:line:column: field: what is wrong; what would be
// right". Passwords never appear in it. kNotFound or kPermissionDenied when the file cannot be read.
absl::StatusOr<LoadedTopology> LoadTopologyFile(const std::string& path);

// The same for text at hand; `file_name` is only named in errors, `folder` is where relative paths start.
absl::StatusOr<LoadedTopology> LoadTopologyText(std::string_view text, std::string_view file_name,
                                                std::string_view folder);

}  // namespace imapmesh

#endif  // IMAPMESH_GRAPH_LOAD_H_
