// The coordinator: runs rounds over the graph and answers orders (DESIGN.md sections 3 and 5).
//
// The daemon owns one; rpc/ steers it through Control. A round is: look, observe (with identify and merge), create
// mailboxes, plan and apply additions and flags, then deletions. Rounds and orders never overlap: one coroutine runs
// them in turn; what a slow replica is left behind with goes on in its lane (lane.h), and who asked for a sync is
// answered after the round that left nothing to do. Engine thread, except for the
// Control methods, which may be called from any. Invariants: no server is changed before the intent is committed;
// deletions come after every addition of the round.
#ifndef IMAPMESH_ENGINE_SYNC_COORDINATOR_H_
#define IMAPMESH_ENGINE_SYNC_COORDINATOR_H_

#include <atomic>
#include <deque>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "engine/sync/apply_mailboxes.h"
#include "engine/sync/conflicts.h"
#include "engine/sync/events.h"
#include "engine/sync/lane.h"
#include "engine/sync/mesh.h"
#include "engine/sync/task_group.h"
#include "engine/sync/work.h"

namespace imapmesh {

// Makes the replica that the topology declares at `index`; the last argument tells which mailboxes belong to the mesh.
using ReplicaFactory = std::function<absl::StatusOr<std::unique_ptr<Replica>>(
    const Graph& graph, ReplicaIndex index, std::function<bool(std::string_view)> selects)>;

struct CoordinatorOptions {
  std::shared_ptr<const Graph> graph;
  std::string state_path;
  asio::any_io_executor engine_executor;  // of a single-threaded context
  asio::any_io_executor store_executor;   // likewise; may be the same
  Clock* clock = nullptr;                 // outlives the coordinator
  ReplicaFactory make_replica;
  Mesh::Log log;  // may be empty; engine thread
  uint64_t carried_bytes = CarriedBodies::kMost;
};

// Between two rounds that do nothing because somebody is busy.
inline constexpr Duration kPauseInVain = std::chrono::milliseconds(20);
// Before the round after one that left intents open whose outcome only a look can tell.
inline constexpr Duration kPauseToSettle = std::chrono::milliseconds(500);
// Before the round after one that did nothing, but did not come to its end.
inline constexpr Duration kPauseForOthers = std::chrono::milliseconds(100);
// The rounds that a run or a sync with so many operations may take, never reached by a mesh that can come to rest: bulk
// needs more rounds, but does more in each. As many again as kWaitsMost may wait for somebody.
constexpr int64_t RoundsMost(int64_t operations) {
  return 200 + operations / 100;
}
inline constexpr int64_t kWaitsMost = 100'000;

class Coordinator : public Control {
 public:
  // Opens the state. Errors of StoreThread::Open, or of the factory.
  static absl::StatusOr<std::unique_ptr<Coordinator>> Create(CoordinatorOptions options);
  ~Coordinator() override;

  // Rounds until converged or nothing more can be done; then logs out. `progress` may be empty.
  asio::awaitable<absl::StatusOr<RunReport>> RunOnce(std::function<void(Progress)> progress);
  // Runs for ever: pushed changes, polls, orders. Ends after Stop, connections closed; an error is of the store.
  asio::awaitable<absl::Status> RunForever();
  // From any thread. Running commands are abandoned; what they did is found out at the next start.
  void Stop();

  // Control:
  std::shared_ptr<const Graph> GetGraph() const override;
  std::shared_ptr<const StatusSnapshot> GetStatus() const override;
  std::shared_ptr<EventReader> ReadEvents(int64_t after, std::function<void()> wake) override;
  std::function<void()> Sync(SyncScope scope, std::function<void(Progress)> progress,
                             std::function<void(absl::StatusOr<RunReport>)> done) override;
  std::function<void()> Plan(std::function<void(absl::StatusOr<std::vector<PlanItem>>)> done) override;
  void ListConflicts(bool open_only, std::function<void(absl::StatusOr<std::vector<ConflictReport>>)> done) override;
  void FindConflict(int64_t id, std::function<void(absl::StatusOr<ConflictReport>)> done) override;
  void Resolve(int64_t conflict, Decision decision, std::string replica,
               std::function<void(absl::StatusOr<ConflictReport>)> done) override;
  void Trace(std::string message_id, std::function<void(absl::StatusOr<std::vector<TracedMessage>>)> done) override;
  void PauseEdge(std::string edge, bool paused, std::function<void(absl::Status)> done) override;
  void Reload(std::shared_ptr<const Graph> graph, std::function<void(absl::Status)> done) override;

 private:
  struct RoundOutcome {
    int64_t operations = 0;
    bool settling = false;  // intents wait for their server to come to rest
  };
  struct BegunBatch {
    std::shared_ptr<const Work> work;
    std::set<ReplicaIndex> targets;
  };
  struct SyncOrder {
    SyncScope scope;
    std::function<void(Progress)> progress;
    std::function<void(absl::StatusOr<RunReport>)> done;
    std::shared_ptr<std::atomic<bool>> cancelled;
  };
  // A sync that somebody waits for. Rounds and orders go on as ever; it is answered once nothing is left to do in its
  // scope.
  struct WaitingSync {
    SyncOrder order;
    std::vector<bool> asked;      // by replica: tried again whatever was refused, and waited for
    std::vector<bool> concerned;  // looked at; the asked ones among them
    std::vector<bool> edges;
    Duration started{0};
    Duration last_shown{0};
    // When it began:
    std::vector<ReplicaCounters> counters;
    std::vector<int64_t> edge_operations;
    int64_t rounds = 0;
    int64_t operations = 0;
    int64_t conflicts_resolved = 0;
    int64_t waits = 0;  // rounds since then in which there was nothing but to wait

    bool IsOfEverything() const {
      return order.scope.replica.empty() && order.scope.edge.empty() && order.scope.mailbox.empty();
    }
  };
  using Order = std::function<asio::awaitable<absl::Status>()>;
  using Cancelled = std::shared_ptr<std::atomic<bool>>;

  explicit Coordinator(CoordinatorOptions options);
  absl::Status BuildReplicas(std::shared_ptr<const Graph> graph);
  asio::awaitable<absl::Status> LoadState();

  // One round and its parts.
  asio::awaitable<absl::StatusOr<RoundOutcome>> Round();
  asio::awaitable<absl::Status> LookAndObserve();
  asio::awaitable<void> LookLane(ReplicaIndex r, std::shared_ptr<const Lane> lane, bool look);
  asio::awaitable<absl::Status> RecordLook(ReplicaIndex r);
  asio::awaitable<void> FindCarryingAt(ReplicaIndex r);
  void BeginCarrying();
  bool HasObservable(ReplicaIndex r) const;
  bool FirstLooksWait() const;
  asio::awaitable<void> QuietForRenames(ReplicaIndex r);
  asio::awaitable<void> ObserveDue(ReplicaIndex r);
  asio::awaitable<void> ObserveTask(ReplicaIndex r, std::deque<std::vector<std::string>>& left);
  asio::awaitable<absl::Status> PlanAndApply();
  asio::awaitable<absl::Status> DecideGoneMailboxes();
  asio::awaitable<absl::Status> RunMailboxes(MailboxPhase phase);
  asio::awaitable<absl::Status> BeginMailboxes(MailboxPhase phase, std::set<ReplicaIndex>& begun);
  asio::awaitable<void> ConfirmLane(ReplicaIndex r, std::shared_ptr<std::set<MailboxCopyId>> confirmed,
                                    std::shared_ptr<const Lane> lane);
  asio::awaitable<void> MailboxLane(ReplicaIndex r, std::vector<MailboxOperation> operations,
                                    std::shared_ptr<const Lane> lane);
  asio::awaitable<absl::Status> DescribeNewConflicts();
  asio::awaitable<void> DescribeLane(ReplicaIndex r, std::vector<ToDescribe> wanted, std::shared_ptr<const Lane> lane);
  asio::awaitable<absl::StatusOr<BegunBatch>> BeginBatch(const std::vector<UnsettledMailbox>& mailboxes,
                                                         const MeshView& ideal, PlanPosition next, bool deletions,
                                                         PendingByEdge& pending);
  asio::awaitable<absl::StatusOr<bool>> Pass(const std::vector<UnsettledMailbox>& mailboxes, bool deletions,
                                             PendingByEdge& pending);
  asio::awaitable<void> Apply(std::shared_ptr<const Work> work, Lanes lanes, bool deletions);
  asio::awaitable<bool> Settle(std::set<ReplicaIndex> awaited, bool interruptible);
  bool PlanIsDue() const;
  bool ObserveAgain(const std::vector<MailboxCopyId>& with_intents);
  bool ObservePartsAgain();
  void CountPartsInVain(bool wait);
  bool ObservationIsDue() const;
  bool MovesAreDue() const;
  bool AnyBusy() const;
  // Until no lane works on any of the messages.
  asio::awaitable<void> AwaitWorkOn(std::set<MessageId> messages);
  asio::awaitable<absl::StatusOr<std::vector<UnsettledMailbox>>> UnsettledMailboxes();
  asio::awaitable<absl::Status> EstimateProgress(const std::vector<UnsettledMailbox>& mailboxes);
  int64_t CountUnseen(EdgeIndex index) const;
  PlanExceptions Exceptions() const;
  asio::awaitable<absl::Status> TellConflicts(const Work& work);

  // Rounds until nothing more can be done now.
  asio::awaitable<absl::Status> Converge();
  bool LookIsDue(const ReplicaSlot& slot) const;
  bool RoundIsDue() const;
  std::optional<Duration> WaitForReplica(const std::vector<bool>& asked) const;

  // Syncs that somebody asked for.
  asio::awaitable<absl::Status> RunSync(SyncOrder order);
  absl::Status CheckScope(const SyncScope& scope) const;
  WaitingSync NewSync(SyncOrder order) const;
  void RenewHope(const WaitingSync& sync);
  void ShowProgress();
  bool IsOver(const WaitingSync& sync) const;
  bool IsLeftAlone(const WaitingSync& sync) const;
  bool HasPending(const WaitingSync& sync, bool among_up) const;
  RunReport ReportOn(const WaitingSync& sync) const;
  void AnswerSyncs();
  void EndSyncs(const absl::Status& why);

  asio::awaitable<absl::Status> RunPlan(std::function<void(absl::StatusOr<std::vector<PlanItem>>)> done,
                                        Cancelled cancelled);
  asio::awaitable<absl::Status> RunListConflicts(bool open_only,
                                                 std::function<void(absl::StatusOr<std::vector<ConflictReport>>)> done);
  asio::awaitable<absl::Status> RunFindConflict(int64_t id, std::function<void(absl::StatusOr<ConflictReport>)> done);
  asio::awaitable<absl::Status> RunResolve(int64_t conflict, Decision decision, std::string replica,
                                           std::function<void(absl::StatusOr<ConflictReport>)> done);
  asio::awaitable<absl::Status> RunTrace(std::string message_id,
                                         std::function<void(absl::StatusOr<std::vector<TracedMessage>>)> done);
  asio::awaitable<absl::Status> RunPause(std::string edge, bool paused, std::function<void(absl::Status)> done);
  asio::awaitable<absl::Status> RunReload(std::shared_ptr<const Graph> graph, std::function<void(absl::Status)> done);
  void Post(Order order);
  asio::awaitable<absl::StatusOr<std::vector<PlanItem>>> ExplainAll(Cancelled cancelled);

  // Watching.
  void StartWatchers();
  asio::awaitable<void> StopWatchers();
  asio::awaitable<void> WatchTask(ReplicaIndex r);
  Duration UntilNextDue();
  Duration UntilRetry(ReplicaIndex r);
  Duration UntilEdgesOpen();
  void CloseEdges();

  void PublishStart();
  void Publish(bool syncing);
  std::shared_ptr<StatusSnapshot> DescribeGraph(bool syncing) const;
  RunReport MakeReport(const std::vector<ReplicaCounters>& before, const std::vector<int64_t>& operations_before,
                       int64_t rounds_before, int64_t resolved_before, Duration started) const;
  std::vector<ReplicaCounters> CountersNow() const;
  bool Converged() const;
  EdgeReport DescribeEdge(size_t e, bool syncing) const;
  ReplicaReport DescribeReplica(size_t r, int64_t now_unix_ms) const;
  MailboxReport DescribeMailbox(const MailboxEntry& entry) const;
  void NotePending(int64_t now_unix_ms);
  std::map<int32_t, int64_t> LongPending(int64_t now_unix_ms) const;

  CoordinatorOptions options_;
  Mesh mesh_;
  std::shared_ptr<EventLog> events_;
  Signal wake_;
  Signal listed_;  // a look is recorded, or failed
  TaskGroup lanes_;
  std::vector<std::weak_ptr<const Work>> under_way_;  // what lanes were given; gone when they are done with it
  Permits listings_;                                  // being recorded
  Permits names_;  // of the mailboxes: a plan has it until its lanes are begun, who records renames meanwhile
  absl::Status lane_failure_;  // of the store
  TaskGroup watchers_;
  std::deque<Order> orders_;
  std::list<WaitingSync> syncs_;
  bool stopping_ = false;
  bool watching_ = false;
  bool settling_ = false;
  Cancelled plan_cancelled_;         // of the Plan that runs; else null
  bool plan_due_ = false;            // a lane became empty
  bool in_vain_ = false;             // the last round did nothing, and what is left waits for somebody or something
  bool pass_complete_ = true;        // the last one went to its end and skipped nothing
  bool deletions_deferred_ = false;  // by the last one
  bool look_for_parts_ = false;      // the next round looks at every replica: mailbox copies were observed in part
  int parts_in_vain_ = 0;            // rounds in a row that learned nothing of those
  int64_t learned_before_ = 0;       // mesh_.learned, of the round before
  Duration last_pass_{0};
  Duration plan_again_{0};  // engine time from which on a pass that is not complete is made again
  int64_t operations_ = 0;
  int64_t operations_of_round_ = 0;  // of the last one
  int64_t rounds_ = 0;
  int64_t prune_again_unix_ms_ = 0;  // the history
  int64_t conflicts_open_ = 0;
  int64_t conflicts_resolved_ = 0;
  PendingByEdge pending_;
  std::set<std::string> uncounted_;                      // mailboxes that the last pass did not come to the end of
  std::map<std::string, std::set<int32_t>> pending_in_;  // by mailbox: the edges on which something is pending
  std::map<int32_t, int64_t> pending_since_unix_ms_;
  std::map<int32_t, int64_t> saved_waiting_;  // LongPending as the state has it
  std::vector<Duration> next_poll_;
  std::vector<bool> watched_;

  mutable std::mutex published_mutex_;
  // Guarded by published_mutex_.
  std::shared_ptr<const StatusSnapshot> published_;
  std::shared_ptr<const Graph> published_graph_;
};

}  // namespace imapmesh

#endif  // IMAPMESH_ENGINE_SYNC_COORDINATOR_H_
