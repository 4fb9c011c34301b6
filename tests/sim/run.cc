#include "tests/sim/run.h"

#include <algorithm>
#include <chrono>
#include <set>
#include <utility>

#include "base/printable.h"
#include "engine/sync/duplicates.h"
#include "graph/load.h"
#include "tests/checker/checker.h"
#include "tests/sim/daemon.h"
#include "tests/sim/memory_files.h"
#include "tests/sim/world.h"

namespace imapmesh::sim {
namespace {

constexpr uint64_t kStepsASync = 150'000;
constexpr int kSyncsToConverge = 4;
constexpr int64_t kRoundsToConverge = 60;

class Runner {
 public:
  Runner(const History& history, const RunOptions& options)
      : history_(history), options_(options), world_(history, options.trace) {}

  RunResult Execute() {
    RestoreDatabase(kStateFile, {});
    StartDaemon();
    for (const Step& step : history_.steps) {
      if (!broken_.empty()) break;
      Wait(std::chrono::microseconds(step.after_us));
      Trace(std::string("-- ") + Name(step.kind) + " " + std::to_string(step.a) + " " + std::to_string(step.b) + " " +
            std::to_string(step.c));
      Do(step);
    }
    if (broken_.empty()) Calm();
    if (broken_.empty()) Converge();
    RunResult result;
    result.rounds_to_converge = rounds_;
    EndDaemon(true);
    if (broken_.empty()) Check();
    result.violations = broken_;
    result.trace_hash = world_.trace_hash();
    result.engine_steps = world_.time().steps();
    result.virtual_seconds = std::chrono::duration<double>(world_.time().now()).count();
    return result;
  }

 private:
  void Trace(const std::string& line) { world_.Trace(line); }
  void Broken(std::string what) { broken_.push_back(std::move(what)); }

  std::shared_ptr<const Graph> LoadGraph() { return LoadGraph(history_); }

  // What the engine is given; the checker judges by the true one.
  std::shared_ptr<const Graph> EngineGraph() {
    if (options_.defect != Defect::kIgnoresPolicy) return graph_;
    History open = history_;
    for (std::string& edge : open.edges) edge = WithoutPolicy(edge);
    return LoadGraph(open);
  }

  std::shared_ptr<const Graph> LoadGraph(const History& history) {
    auto loaded = LoadTopologyText(TopologyText(history, without_), "history", ".");
    if (!loaded.ok()) return nullptr;  // fewer than two replicas are left
    return loaded->graph;
  }

  void StartDaemon() {
    if (graph_ == nullptr) graph_ = LoadGraph();
    if (graph_ == nullptr) {
      Broken("harness: the topology is refused: " + TopologyText(history_, without_));
      return;
    }
    Mesh::Log log;
    if (options_.trace) log = [this](LogLevel, const std::string& text) { Trace("log: " + text); };
    daemon_ = std::make_unique<Daemon>(world_.network(), EngineGraph(), history_.seed + ++lives_, std::move(log),
                                       options_.defect);
    CheckAlive();
  }

  void CheckAlive() {
    if (daemon_ != nullptr && !daemon_->failed().ok())
      Broken("harness: the daemon ended: " + Message(daemon_->failed()));
  }

  void EndDaemon(bool in_order) {
    if (daemon_ == nullptr) return;
    if (!(in_order ? daemon_->Stop() : daemon_->Kill())) Broken("liveness: the daemon does not end");
    daemon_.reset();
    kill_at_ = 0;
  }

  // Lets the world go on for so long; a kill that is due strikes meanwhile.
  void Wait(Duration delay) {
    bool over = false;
    world_.time().After(delay, [&over] { over = true; });
    while (!over) {
      world_.time().Step();
      if (kill_at_ != 0 && world_.time().steps() >= kill_at_) {
        Trace("-- killed now");
        EndDaemon(false);
        StartDaemon();
      }
    }
    CheckAlive();
  }

  void Do(const Step& step) {
    switch (step.kind) {
      case StepKind::kKill:
        kill_at_ = world_.time().steps() + 1 + step.b % 3000;
        break;
      case StepKind::kRestart:
        EndDaemon(true);
        StartDaemon();
        break;
      case StepKind::kLoseState:
        ReplaceState({});
        break;
      case StepKind::kRememberState:
        remembered_ = CopyDatabase(kStateFile);
        break;
      case StepKind::kRollBackState:
        if (!remembered_.empty()) ReplaceState(remembered_);
        break;
      case StepKind::kPause:
      case StepKind::kResume: {
        const auto& edges = graph_->edges();
        daemon_->control().PauseEdge(edges[step.a % edges.size()].name, step.kind == StepKind::kPause,
                                     [](const absl::Status&) {});
        break;
      }
      case StepKind::kReload:
        Reload(static_cast<int>(step.a % history_.edges.size()));
        break;
      case StepKind::kSync:
        daemon_->control().Sync(
            SyncScope(), [](const Progress&) {}, [](const absl::StatusOr<RunReport>&) {});
        break;
      default:
        world_.Do(step);
    }
  }

  // Without its intents nothing tells of what is still on the way to a server: it takes a person that long to lose it.
  void ReplaceState(const FilesImage& image) {
    EndDaemon(false);
    RestoreDatabase(kStateFile, image);
    world_.model().StateLost();
    Wait(std::chrono::seconds(5));
    StartDaemon();
  }

  void Reload(int edge) {
    const auto before = without_;
    const auto found = std::find(without_.begin(), without_.end(), edge);
    if (found != without_.end()) {
      without_.erase(found);
    } else {
      without_.push_back(edge);
    }
    const auto graph = LoadGraph();
    if (graph == nullptr) {
      without_ = before;
      return;
    }
    graph_ = graph;
    daemon_->control().Reload(EngineGraph(), [](const absl::Status&) {});
  }

  // No faults any more, the whole topology, no edge paused.
  void Calm() {
    Trace("-- calm");
    world_.network().Calm();
    if (daemon_ == nullptr) StartDaemon();
    if (!broken_.empty()) return;
    kill_at_ = 0;
    without_.clear();
    graph_ = LoadGraph();
    daemon_->control().Reload(EngineGraph(), [](const absl::Status&) {});
    for (const GraphEdge& edge : graph_->edges()) {
      daemon_->control().PauseEdge(edge.name, false, [](const absl::Status&) {});
    }
  }

  // A message that a user put somewhere a second time looks like a race of two coordinators: the user says that it is
  // none.
  void DecideDuplicates() {
    Control& control = daemon_->control();
    control.ListConflicts(/*open_only=*/true, [&control](absl::StatusOr<std::vector<ConflictReport>> conflicts) {
      if (!conflicts.ok()) return;
      for (const ConflictReport& conflict : *conflicts) {
        if (conflict.kind != kDuplicate) continue;
        control.Resolve(conflict.id, Decision::kRestore, "", [](const absl::StatusOr<ConflictReport>&) {});
      }
    });
  }

  void Converge() {
    for (int i = 0; i < kSyncsToConverge; ++i) {
      const auto report = daemon_->Sync(kStepsASync);
      if (!report) return Broken("liveness: a sync does not end");
      if (!report->ok()) return Broken("liveness: a sync failed: " + Message(report->status()));
      rounds_ += (*report)->rounds;
      if ((*report)->conflicts_open > 0 && i + 1 < kSyncsToConverge) {
        DecideDuplicates();
        continue;
      }
      if ((*report)->converged) {
        if (rounds_ > kRoundsToConverge) Broken("convergence: it took " + std::to_string(rounds_) + " rounds");
        return Quiet();
      }
      for (const ReplicaReport& replica : (*report)->replicas) {
        if (!replica.last_error.empty()) Trace("last error: " + replica.last_error);
      }
      for (const EdgeReport& edge : (*report)->edges) {
        Trace("edge " + edge.a + ":" + edge.b + " pending " + std::to_string(edge.pending.total()));
      }
    }
    Broken("convergence: not after " + std::to_string(rounds_) + " rounds");
  }

  void Quiet() {
    Wait(std::chrono::seconds(20));  // servers may still tell of what the engine did last
    if (!broken_.empty()) return;
    Trace("-- a sync with nothing to do");
    const auto report = daemon_->Sync(kStepsASync);
    if (!report || !report->ok()) return Broken("quiescence: the second sync failed");
    if (!(*report)->converged) Broken("quiescence: a sync with nothing to do does not converge");
    checker::Run& run = *result_.add_runs();
    run.set_must_be_quiet(true);
    run.set_bodies_to_fetch(-1);
    for (const ReplicaReport& replica : (*report)->replicas) {
      checker::Run::Replica& counted = *run.add_replicas();
      counted.set_replica(replica.name);
      counted.set_mailboxes_selected(static_cast<int64_t>(replica.counters.mailboxes_selected));
      counted.set_messages_fetched(static_cast<int64_t>(replica.counters.messages_fetched));
      counted.set_messages_appended(static_cast<int64_t>(replica.counters.messages_appended));
      counted.set_messages_copied(static_cast<int64_t>(replica.counters.messages_copied_server_side));
      counted.set_flags_changed(static_cast<int64_t>(replica.counters.flags_changed));
      counted.set_messages_expunged(static_cast<int64_t>(replica.counters.messages_expunged));
    }
  }

  void Check() {
    world_.AddSnapshots(result_);
    world_.model().Expect(*graph_, result_);
    for (const checker::Violation& violation : checker::Check(result_)) Broken(ToString(violation));
  }

  const History& history_;
  const RunOptions& options_;
  World world_;
  std::shared_ptr<const Graph> graph_;
  std::unique_ptr<Daemon> daemon_;
  std::vector<int> without_;  // edges that the loaded topology lacks
  FilesImage remembered_;
  uint64_t lives_ = 0;
  uint64_t kill_at_ = 0;  // a step of the world; 0: none
  int64_t rounds_ = 0;
  checker::History result_;
  std::vector<std::string> broken_;
};

}  // namespace

RunResult Run(const History& history, const RunOptions& options) {
  return Runner(history, options).Execute();
}

}  // namespace imapmesh::sim
