// What the tests of this package share: short ways to a graph and to a loader's errors.
#ifndef IMAPMESH_GRAPH_TEST_SUPPORT_H_
#define IMAPMESH_GRAPH_TEST_SUPPORT_H_

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "graph/load.h"

namespace imapmesh {

// A replica block on one line, by tunnel.
inline std::string ReplicaText(const std::string& name) {
  return "replica { name: \"" + name + "\" tunnel { command: \"" + name + "\" } }\n";
}

// A mesh of tunnels; `rest` holds the edges and whatever else.
inline std::string TopologyText(const std::vector<std::string>& replicas, const std::string& rest) {
  std::string text = "name: \"test\"\n";
  for (const std::string& name : replicas) text += ReplicaText(name);
  return text + rest;
}

inline LoadedTopology MustLoad(const std::string& text) {
  auto loaded = LoadTopologyText(text, "t", "/folder");
  EXPECT_TRUE(loaded.ok()) << loaded.status() << "\n" << text;
  return loaded.ok() ? *loaded : LoadedTopology{std::make_shared<const Graph>(v1::Topology(), ""), {}};
}

// The loader's complaints about the text; "" if it has none.
inline std::string ErrorsOf(const std::string& text) {
  const auto loaded = LoadTopologyText(text, "t", "/folder");
  if (loaded.ok()) return "";
  EXPECT_EQ(loaded.status().code(), absl::StatusCode::kInvalidArgument);
  return Message(loaded.status());
}

}  // namespace imapmesh

#endif  // IMAPMESH_GRAPH_TEST_SUPPORT_H_
