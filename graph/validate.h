// The rules a topology must keep. Called by load.cc only; pure.
#ifndef IMAPMESH_GRAPH_VALIDATE_H_
#define IMAPMESH_GRAPH_VALIDATE_H_

#include <string>
#include <vector>

#include "graph/topology.pb.h"

namespace imapmesh {

// Where in the file something stands: "replica[2].imap.port" is {{"replica", 2}, {"imap", -1}, {"port", -1}}.
struct FieldStep {
  std::string field;
  int index = -1;  // -1: not repeated
};
using FieldPath = std::vector<FieldStep>;

struct Finding {
  FieldPath path;
  std::string text;  // "what is wrong; what would be right"
  bool warning = false;
};

std::vector<Finding> Validate(const v1::Topology& topology);

}  // namespace imapmesh

#endif  // IMAPMESH_GRAPH_VALIDATE_H_
