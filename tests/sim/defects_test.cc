// The simulation must be able to fail: each deliberate defect is found within a stated number of histories.
#include "tests/sim/defects.h"

#include <gtest/gtest.h>

#include <ostream>

#include "tests/sim/memory_files.h"
#include "tests/sim/run.h"

namespace imapmesh::sim {
namespace {

struct Case {
  Defect defect;
  int histories;  // within so many it is found
  bool faults = true;
};
std::ostream& operator<<(std::ostream& out, const Case& planted) {
  return out << Name(planted.defect);
}

class Defects : public testing::TestWithParam<Case> {
 protected:
  static void SetUpTestSuite() { InstallMemoryFiles(); }
};

// Given an engine with one defect, when histories are run, then one of the first breaks an invariant.
TEST_P(Defects, AreFound) {
  RunOptions options;
  options.defect = GetParam().defect;
  Limits limits;
  limits.faults = GetParam().faults;
  limits.several = false;
  for (int i = 1; i <= GetParam().histories; ++i) {
    const History history = Draw(static_cast<uint64_t>(i), limits);
    const RunResult result = sim::Run(history, options);
    if (result.violations.empty()) continue;
    // It is the defect that was found, and nothing else.
    EXPECT_TRUE(sim::Run(history, RunOptions()).violations.empty());
    std::cout << Name(options.defect) << ": history " << i << ": " << result.violations.front() << "\n";
    return;
  }
  FAIL() << Name(options.defect) << ": not found in " << GetParam().histories << " histories";
}

INSTANTIATE_TEST_SUITE_P(Each, Defects,
                         testing::Values(Case{Defect::kIdentifiesNothing, 60}, Case{Defect::kSkipsArrivals, 60},
                                         Case{Defect::kSkipsDeletions, 60}, Case{Defect::kIgnoresPolicy, 60},
                                         Case{Defect::kAppendsNothing, 20}, Case{Defect::kDeletesTooMuch, 60},
                                         Case{Defect::kReplacesFlags, 200}, Case{Defect::kSpoilsContent, 20},
                                         Case{Defect::kForgetsToRecord, 20}, Case{Defect::kForgetsIntents, 400},
                                         Case{Defect::kExpungesFirst, 60, false}));

}  // namespace
}  // namespace imapmesh::sim
