// A slice of the planner's random lives; explore --planner runs millions.
#include <gtest/gtest.h>

#include "tests/sim/planner_case.h"

namespace imapmesh::sim {
namespace {

TEST(Planner, EveryLifeOfAMessageComesToRestWithTheInvariantsKept) {
  for (uint64_t graph = 1; graph <= 200; ++graph) {
    PlannerWorld world(graph);
    for (uint64_t i = 0; i < 200; ++i) {
      const uint64_t seed = graph * 1'000'003 + i;
      ASSERT_EQ(world.Case(seed), "") << "graph " << graph << " seed " << seed;
    }
  }
}

}  // namespace
}  // namespace imapmesh::sim
