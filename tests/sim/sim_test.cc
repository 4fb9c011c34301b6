// The whole engine in simulation: remembered histories, fresh ones, and that a history replays exactly.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>

#include "tests/sim/memory_files.h"
#include "tests/sim/run.h"

namespace imapmesh::sim {
namespace {

std::string Report(const History& history, const RunResult& result) {
  std::string report;
  for (const std::string& violation : result.violations) report += violation + "\n";
  return report + ToText(history);
}

void ExpectHolds(const History& history) {
  const RunResult result = sim::Run(history, RunOptions());
  EXPECT_TRUE(result.violations.empty()) << Report(history, result);
}

class Simulation : public testing::Test {
 protected:
  static void SetUpTestSuite() { InstallMemoryFiles(); }
};

TEST_F(Simulation, RememberedHistoriesHold) {
  std::ifstream file("tests/sim/remembered.txt");
  ASSERT_TRUE(file) << "tests/sim/remembered.txt is not there";
  std::string text;
  int count = 0;
  for (std::string line; true;) {
    const bool more = static_cast<bool>(std::getline(file, line));
    if (more && !line.empty()) {
      text += line + "\n";
      continue;
    }
    const auto history = Parse(text);
    ASSERT_TRUE(history.ok()) << history.status();
    if (!history->edges.empty()) {
      ExpectHolds(*history);
      ++count;
    }
    text.clear();
    if (!more) break;
  }
  EXPECT_GT(count, 0);
}

TEST_F(Simulation, FreshHistoriesWithoutFaultsHold) {
  Limits limits;
  limits.faults = false;
  limits.several = false;
  for (uint64_t seed = 1; seed <= 200 && !HasFailure(); ++seed) ExpectHolds(Draw(seed, limits));
}

TEST_F(Simulation, FreshHistoriesWithFaultsHold) {
  for (uint64_t seed = 1; seed <= 100 && !HasFailure(); ++seed) ExpectHolds(Draw(seed, Limits()));
}

// Given any history, when it is run twice, then every byte crosses at the same instant both times.
TEST_F(Simulation, AHistoryReplaysExactly) {
  for (uint64_t seed = 1; seed <= 40; ++seed) {
    const History history = Draw(seed, Limits());
    const auto read_back = Parse(ToText(history));
    ASSERT_TRUE(read_back.ok()) << read_back.status();
    ASSERT_EQ(sim::Run(history, RunOptions()).trace_hash, sim::Run(*read_back, RunOptions()).trace_hash)
        << "seed " << seed;
  }
}

}  // namespace
}  // namespace imapmesh::sim
