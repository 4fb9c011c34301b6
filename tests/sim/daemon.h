// One life of the daemon in the simulated world: the real coordinator over the simulated network, clock and files.
//
// The runner starts one, lets the world run, and ends it: in order, or by Kill, after which nothing that it does has an
// effect: no byte leaves it, no transaction commits. Several may live at once, each with a state of its own. One
// thread.
#ifndef IMAPMESH_TESTS_SIM_DAEMON_H_
#define IMAPMESH_TESTS_SIM_DAEMON_H_

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/sync/coordinator.h"
#include "graph/graph.h"
#include "tests/sim/defects.h"
#include "tests/sim/network.h"
#include "tests/sim/virtual_time.h"

namespace imapmesh::sim {

struct DaemonOptions {
  int number = 0;          // among those of this world
  std::string state_file;  // of MemoryFiles
  std::shared_ptr<const Graph> graph;
  uint64_t seed = 0;
  Mesh::Log log;
  Defect defect = Defect::kNone;
};

class Daemon {
 public:
  Daemon(Network& network, DaemonOptions options);
  ~Daemon();
  Daemon(const Daemon&) = delete;
  Daemon& operator=(const Daemon&) = delete;

  // Why it ended by itself; OK while it runs.
  const absl::Status& failed() const { return failed_; }
  Control& control() { return *coordinator_; }

  // At this instant; false when it does not come to its end, which is a defect of the engine.
  bool Kill();
  // SIGTERM, with the world going on. False likewise.
  bool Stop();

  // What waits for a decision.
  std::vector<ConflictReport> OpenConflicts(uint64_t steps);

  // A sync that a person asks for; nullopt when it does not end within `steps` of the world.
  std::optional<absl::StatusOr<RunReport>> Sync(uint64_t steps);

 private:
  bool WindDown();

  Network& network_;
  const std::string state_file_;
  SimClock clock_;
  SimDialer dialer_;
  std::unique_ptr<Coordinator> coordinator_;
  bool running_ = false;
  absl::Status failed_;
};

}  // namespace imapmesh::sim

#endif  // IMAPMESH_TESTS_SIM_DAEMON_H_
