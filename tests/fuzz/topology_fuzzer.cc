// libFuzzer over the topology loader and what is made of a graph: any file is loaded or refused with errors fit to
// print.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "graph/describe.h"
#include "graph/draw.h"
#include "graph/load.h"

namespace {

void CheckLines(std::string_view text) {
  for (const char c : text) {
    if ((static_cast<unsigned char>(c) < 0x20 && c != '\n') || c == 0x7f) std::abort();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto loaded = imapmesh::LoadTopologyText(text, "fuzz.textproto", "/");
  if (!loaded.ok()) {
    CheckLines(imapmesh::FromAbsl(loaded.status().message()));
    if (loaded.status().message().empty()) std::abort();
    return 0;
  }
  const imapmesh::Graph& graph = *loaded->graph;
  if (graph.replica_count() == 0) std::abort();
  for (const std::string& warning : loaded->warnings) CheckLines(warning);
  if (graph.replica_count() > 20) return 0;  // every pair of replicas is looked at
  CheckLines(imapmesh::DescribeReach(graph));
  CheckLines(imapmesh::DrawText(graph));
  CheckLines(imapmesh::DrawDot(graph));
  return 0;
}
