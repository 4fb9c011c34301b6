#include "tests/sim/run.h"

#include <algorithm>
#include <chrono>
#include <deque>
#include <map>
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
constexpr uint64_t kStepsAnInstant = 200'000;
// While nothing is asked of the engine; some hundreds a second are usual where much is done.
constexpr uint64_t kStepsAWait = 200'000, kStepsASecond = 20'000;
constexpr int kSyncsToConverge = 3;
constexpr int kSyncsOfSeveral = 12;  // each has to see what the others did
// A sync; and of each replica, as one that listens before it adds is done at a time of its own.
constexpr int64_t kRoundsToConverge = 20, kRoundsOfAReplica = 2;
constexpr int kDecisions = 20;

// One coordinator over all its lives.
struct Life {
  int number = 0;
  std::string state_file;
  std::vector<int> share;    // of the edges
  std::vector<int> without;  // of its edges, those that the loaded topology lacks
  std::shared_ptr<const Graph> graph;
  std::unique_ptr<Daemon> daemon;
  FilesImage remembered;
  uint64_t lives = 0;
  uint64_t kill_at = 0;  // a step of the world; 0: none
};

class Runner {
 public:
  Runner(const History& history, const RunOptions& options)
      : history_(history), options_(options), world_(history, options.trace), whole_(LoadGraph(history, {})) {
    std::vector<World::Coordinator> coordinators;
    for (const std::vector<int>& share : Shares(history)) {
      Life& life = lives_.emplace_back();
      life.number = static_cast<int>(lives_.size()) - 1;
      life.state_file = "state" + std::to_string(life.number) + ".db";
      life.share = share;
      life.graph = LoadGraph(history, Without(life));
      coordinators.push_back({life.state_file, {}});
      for (int32_t r = 0; life.graph != nullptr && r < life.graph->replica_count(); ++r) {
        coordinators.back().replicas.insert(std::stoi(life.graph->replica(ReplicaIndex(r)).name().substr(1)));
      }
    }
    world_.SetCoordinators(std::move(coordinators), whole_);
    if (DeletesDuplicates()) world_.model().DuplicatesGo();
    if (!HasFaults(history)) world_.model().RacesAreReported();
  }

  RunResult Execute() {
    for (Life& life : lives_) {
      RestoreDatabase(life.state_file, {});
      StartDaemon(life);
    }
    for (const Step& step : history_.steps) {
      if (!broken_.empty()) break;
      Wait(std::chrono::microseconds(step.after_us));
      Trace(std::string("-- ") + sim::Name(step.kind) + " " + std::to_string(step.a) + " " + std::to_string(step.b) +
            " " + std::to_string(step.c));
      Do(step);
    }
    if (broken_.empty()) Calm();
    if (broken_.empty()) Converge();
    RunResult result;
    result.rounds_to_converge = rounds_;
    for (Life& life : lives_) EndDaemon(life, true);
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
  bool several() const { return lives_.size() > 1; }
  bool DeletesDuplicates() const { return several() && history_.approves; }

  static std::shared_ptr<const Graph> LoadGraph(const History& history, const std::vector<int>& without) {
    auto loaded = LoadTopologyText(TopologyText(history, without), "history", ".");
    if (!loaded.ok()) return nullptr;  // fewer than two replicas are left
    return loaded->graph;
  }

  // Edges that a coordinator does not carry now.
  std::vector<int> Without(const Life& life) const {
    std::vector<int> without = life.without;
    for (int e = 0; e < static_cast<int>(history_.edges.size()); ++e) {
      if (std::find(life.share.begin(), life.share.end(), e) == life.share.end()) without.push_back(e);
    }
    return without;
  }

  // What the engine is given; the checker judges by the true one.
  std::shared_ptr<const Graph> EngineGraph(const Life& life) const {
    if (options_.defect != Defect::kIgnoresPolicy) return life.graph;
    History open = history_;
    for (std::string& edge : open.edges) edge = WithoutPolicy(edge);
    return LoadGraph(open, Without(life));
  }

  void StartDaemon(Life& life) {
    if (life.graph == nullptr) {
      return Broken("harness: the topology is refused: " + TopologyText(history_, Without(life)));
    }
    const bool fresh = MemoryFiles()[life.state_file].empty();
    if (fresh) RestoreDatabase(life.state_file, FreshState(life.state_file));
    DaemonOptions options;
    options.number = life.number;
    options.state_file = life.state_file;
    options.graph = EngineGraph(life);
    options.seed = history_.seed + static_cast<uint64_t>(life.number) * 1000 + ++life.lives;
    if (options_.trace) {
      options.log = [this, number = life.number](LogLevel, const std::string& text) {
        Trace("log " + std::to_string(number) + ": " + text);
      };
    }
    options.defect = options_.defect;
    life.daemon = std::make_unique<Daemon>(world_.network(), std::move(options));
    if (fresh && options_.defect == Defect::kNone) FreshState(life.state_file) = CopyDatabase(life.state_file);
    CheckAlive();
  }

  // What a daemon makes of nothing is the same each time, and costs more than all else of a short history.
  static FilesImage& FreshState(const std::string& state_file) {
    static auto* images = new std::map<std::string, FilesImage>;
    return (*images)[state_file];
  }

  void CheckAlive() {
    for (const Life& life : lives_) {
      if (life.daemon == nullptr || life.daemon->failed().ok()) continue;
      Broken("harness: the daemon ended: " + Message(life.daemon->failed()));
    }
  }

  void EndDaemon(Life& life, bool in_order) {
    if (life.daemon == nullptr) return;
    if (!(in_order ? life.daemon->Stop() : life.daemon->Kill())) Broken("liveness: the daemon does not end");
    life.daemon.reset();
    life.kill_at = 0;
  }

  // Lets the world go on for so long; a kill that is due strikes meanwhile.
  void Wait(std::chrono::microseconds delay) {
    bool over = false;
    const uint64_t seconds = static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::seconds>(delay).count());
    const uint64_t most = world_.time().steps() + kStepsAWait + seconds * kStepsASecond;
    world_.time().After(delay, [&over] { over = true; });
    while (!over) {
      if (!world_.broken().empty()) return Broken(world_.broken().front());
      world_.time().Step();
      if (world_.time().steps_at_this_instant() > kStepsAnInstant) return Broken("liveness: the engine spins");
      if (world_.time().steps() > most) return Broken("liveness: the engine does not rest");
      for (Life& life : lives_) {
        if (life.kill_at == 0 || world_.time().steps() < life.kill_at) continue;
        Trace("-- killed now");
        EndDaemon(life, false);
        StartDaemon(life);
      }
    }
    CheckAlive();
  }

  void Do(const Step& step) {
    Life& life = lives_[several() ? step.a % lives_.size() : 0];
    switch (step.kind) {
      case StepKind::kKill:
        life.kill_at = world_.time().steps() + 1 + step.b % 3000;
        break;
      case StepKind::kRestart:
        EndDaemon(life, true);
        StartDaemon(life);
        break;
      case StepKind::kLoseState:
        ReplaceState(life, {});
        break;
      case StepKind::kRememberState:
        life.remembered = CopyDatabase(life.state_file);
        break;
      case StepKind::kRollBackState:
        if (!life.remembered.empty()) ReplaceState(life, life.remembered);
        break;
      case StepKind::kPause:
      case StepKind::kResume: {
        const auto& edges = life.graph->edges();
        life.daemon->control().PauseEdge(edges[step.a % edges.size()].name, step.kind == StepKind::kPause,
                                         [](const absl::Status&) {});
        break;
      }
      case StepKind::kReload:
        Reload(life, life.share[step.a % life.share.size()]);
        break;
      case StepKind::kSync:
        life.daemon->control().Sync(
            SyncScope(), [](const Progress&) {}, [](const absl::StatusOr<RunReport>&) {});
        break;
      default:
        world_.Do(step);
    }
  }

  // Without its intents nothing tells of what is still on the way to a server: it takes a person that long to lose it.
  void ReplaceState(Life& life, const FilesImage& image) {
    EndDaemon(life, false);
    RestoreDatabase(life.state_file, image);
    // What the image knows of names is older than they are.
    world_.model().StateLost(!image.empty() || world_.NamesDiffer());
    Wait(std::chrono::seconds(5));
    StartDaemon(life);
  }

  void Reload(Life& life, int edge) {
    const auto before = life.without;
    if (std::erase(life.without, edge) == 0) life.without.push_back(edge);
    const auto graph = LoadGraph(history_, Without(life));
    if (graph == nullptr) {
      life.without = before;
      return;
    }
    life.graph = graph;
    life.daemon->control().Reload(EngineGraph(life), [](const absl::Status&) {});
  }

  // No faults any more, the whole topology, no edge paused.
  void Calm() {
    Trace("-- calm");
    world_.network().Calm();
    for (Life& life : lives_) {
      if (life.daemon == nullptr) StartDaemon(life);
      if (!broken_.empty()) return;
      life.kill_at = 0;
      if (!HasFaults(history_)) continue;
      life.without.clear();
      life.graph = LoadGraph(history_, Without(life));
      life.daemon->control().Reload(EngineGraph(life), [](const absl::Status&) {});
      for (const GraphEdge& edge : life.graph->edges()) {
        life.daemon->control().PauseEdge(edge.name, false, [](const absl::Status&) {});
      }
    }
  }

  void Converge() {
    if (several()) Wait(std::chrono::seconds(5));  // what was on its way is for nobody an arrival of its own then
    const int attempts = several() ? kSyncsOfSeveral : kSyncsToConverge;
    for (int i = 0; i < attempts; ++i) {
      bool settled = true;
      for (Life& life : lives_) settled &= SyncOnce(life);
      if (!broken_.empty()) return;
      if (!settled) continue;
      if (rounds_ > (kRoundsToConverge + kRoundsOfAReplica * history_.replicas) * attempts) {
        Broken("convergence: it took " + std::to_string(rounds_) + " rounds");
      }
      if (!DecideConflicts() && !DecideLate()) return Quiet();
      i = 0;
      if (++decisions_ > kDecisions) return Broken("convergence: there are conflicts without end");
    }
    Broken("convergence: not after " + std::to_string(rounds_) + " rounds");
  }

  // Whether it has converged; of several, also that nothing was to be done any more.
  bool SyncOnce(Life& life) {
    const auto report = life.daemon->Sync(kStepsASync);
    if (!report) Broken("liveness: a sync does not end");
    if (report && !report->ok()) Broken("liveness: a sync failed: " + Message(report->status()));
    if (!broken_.empty()) return false;
    rounds_ += (*report)->rounds;
    int64_t operations = 0;
    for (const EdgeReport& edge : (*report)->edges) operations += edge.operations;
    if ((*report)->converged) return !several() || operations == 0;
    for (const ReplicaReport& replica : (*report)->replicas) {
      if (!replica.last_error.empty()) Trace("last error: " + replica.last_error);
    }
    for (const EdgeReport& edge : (*report)->edges) {
      const PendingCounts& pending = edge.pending;
      Trace("edge " + edge.a + ":" + edge.b + " pending: " + std::to_string(pending.additions) + " additions, " +
            std::to_string(pending.flags) + " flags, " + std::to_string(pending.deletions) + " deletions, " +
            std::to_string(pending.mailboxes) + " mailboxes");
    }
    return false;
  }

  // A person decides what waits, at one coordinator at a time: the others see what comes of it. False when nothing did.
  bool DecideConflicts() {
    bool any = false;
    for (Life& life : lives_) {
      if (any) break;
      for (const ConflictReport& conflict : life.daemon->OpenConflicts(kStepsASync)) {
        // What a user put somewhere a second time looks like a race of two coordinators: the user says that it is none.
        const bool two = conflict.kind == kDuplicate;
        const auto wanted = [&](Decision decision) {
          if (two) return decision == (DeletesDuplicates() ? Decision::kDelete : Decision::kRestore);
          return decision == (history_.approves ? Decision::kApprove : Decision::kReject) ||
                 decision == (history_.approves ? Decision::kDelete : Decision::kRestore);
        };
        const auto choice = std::find_if(conflict.choices.begin(), conflict.choices.end(), wanted);
        if (choice == conflict.choices.end()) continue;
        Trace("-- decided: " + conflict.kind + " " + imapmesh::Name(*choice));
        life.daemon->control().Resolve(conflict.id, *choice, "", [this](const absl::StatusOr<ConflictReport>& done) {
          Trace("decision: " + (done.ok() ? done->outcome : Message(done.status())));
        });
        any = true;
      }
    }
    return any;
  }

  // Servers may still tell of what the engine did last, and carry out what was sent to them before a connection ended.
  bool DecideLate() {
    Wait(std::chrono::seconds(20));
    return DecideConflicts();
  }

  void Quiet() {
    for (Life& life : lives_) {
      if (broken_.empty()) QuietOnce(life);
    }
  }

  void QuietOnce(Life& life) {
    Trace("-- a sync with nothing to do");
    const auto report = life.daemon->Sync(kStepsASync);
    if (!report || !report->ok()) return Broken("quiescence: the second sync failed");
    if (!(*report)->converged) Broken("quiescence: a sync with nothing to do does not converge");
    checker::Run& run = *result_.add_runs();
    run.set_must_be_quiet(true);
    run.set_bodies_to_fetch(-1);
    for (const ReplicaReport& replica : (*report)->replicas) {
      // Some things are told by SELECT alone: flags there, and which keywords are taken by now.
      const bool fixed_keywords = (history_.keyword_bits >> (std::stoi(replica.name.substr(1)) % 32) & 1) != 0;
      const bool by_select = replica.server.tier == "PLAIN" || fixed_keywords;
      checker::Run::Replica& counted = *run.add_replicas();
      counted.set_replica(replica.name);
      counted.set_mailboxes_selected(by_select ? 0 : static_cast<int64_t>(replica.counters.mailboxes_selected));
      counted.set_messages_fetched(static_cast<int64_t>(replica.counters.messages_fetched));
      counted.set_messages_appended(static_cast<int64_t>(replica.counters.messages_appended));
      counted.set_messages_copied(static_cast<int64_t>(replica.counters.messages_copied_server_side));
      counted.set_flags_changed(static_cast<int64_t>(replica.counters.flags_changed));
      counted.set_messages_expunged(static_cast<int64_t>(replica.counters.messages_expunged));
    }
  }

  void Check() {
    world_.AddSnapshots(result_);
    Model::Carried carried;
    for (const Life& life : lives_) carried.push_back(life.graph);
    world_.model().Expect(*whole_, carried, result_);
    // Over a slower network, or where a mailbox was renamed, a replica may be busy for longer than what is small waits
    // for it.
    const bool quick = !HasFaults(history_) && history_.latency_us <= 4000 && !world_.model().renamed_or_renumbered();
    if (quick) world_.model().ExpectDownloads(result_);
    for (const std::string& broken : world_.broken()) Broken(broken);
    for (const checker::Violation& violation : checker::Check(result_)) Broken(ToString(violation));
  }

  const History& history_;
  const RunOptions& options_;
  World world_;
  const std::shared_ptr<const Graph> whole_;  // what all coordinators carry together
  std::deque<Life> lives_;
  int64_t rounds_ = 0;
  int decisions_ = 0;
  checker::History result_;
  std::vector<std::string> broken_;
};

}  // namespace

RunResult Run(const History& history, const RunOptions& options) {
  return Runner(history, options).Execute();
}

}  // namespace imapmesh::sim
