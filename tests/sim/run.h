// Runs one history against the real engine, lets the world calm, and has the checker judge it.
//
// Used by the test and the explorer. Each run has a world of its own; only SQLite's files in memory are shared, so one
// run at a time in a process. InstallMemoryFiles must have been called.
#ifndef IMAPMESH_TESTS_SIM_RUN_H_
#define IMAPMESH_TESTS_SIM_RUN_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "tests/sim/defects.h"
#include "tests/sim/history.h"

namespace imapmesh::sim {

struct RunOptions {
  // Gets one line for each thing that happens; empty: none.
  std::function<void(const std::string&)> trace;
  Defect defect = Defect::kNone;
};

struct RunResult {
  std::vector<std::string> violations;  // one line each; empty: all invariants hold
  uint64_t trace_hash = 0;              // of every byte that crossed, with its time
  uint64_t engine_steps = 0;
  int64_t rounds_to_converge = 0;
  double virtual_seconds = 0;
};

RunResult Run(const History& history, const RunOptions& options);

}  // namespace imapmesh::sim

#endif  // IMAPMESH_TESTS_SIM_RUN_H_
