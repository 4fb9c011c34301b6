#include "engine/sync/coordinator.h"

#include <algorithm>
#include <cstdlib>
#include <set>
#include <utility>

#include "engine/sync/listen.h"
#include "engine/sync/memories.h"
#include "engine/sync/refusals.h"
#include "engine/sync/seen.h"
#include "engine/sync/start_state.h"

namespace imapmesh {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

}  // namespace

Coordinator::Coordinator(CoordinatorOptions options)
    : options_(std::move(options)),
      events_(std::make_shared<EventLog>()),
      wake_(options_.engine_executor),
      listed_(options_.engine_executor),
      lanes_(options_.engine_executor),
      listings_(options_.engine_executor, 1),
      names_(options_.engine_executor, 1),
      watchers_(options_.engine_executor) {
  mesh_.executor = options_.engine_executor;
  mesh_.clock = options_.clock;
  mesh_.carried = CarriedBodies(options_.carried_bytes);
  mesh_.log = options_.log;
  mesh_.on_idle = [this] {
    plan_due_ = true;
    wake_.Notify();
  };
  mesh_.on_room = [this] { wake_.Notify(); };
  mesh_.emit = [events = events_](Event event) { events->Add(std::move(event)); };
}

Coordinator::~Coordinator() = default;

absl::StatusOr<std::unique_ptr<Coordinator>> Coordinator::Create(CoordinatorOptions options) {
  std::unique_ptr<Coordinator> coordinator(new Coordinator(std::move(options)));
  const CoordinatorOptions& given = coordinator->options_;
  auto store = StoreThread::Open(given.state_path, given.engine_executor, given.store_executor);
  if (!store.ok()) return store.status();
  coordinator->mesh_.store = *std::move(store);
  RETURN_IF_ERROR(coordinator->BuildReplicas(given.graph));
  coordinator->PublishStart();
  return coordinator;
}

absl::Status Coordinator::BuildReplicas(std::shared_ptr<const Graph> graph) {
  std::vector<ReplicaSlot> slots;
  for (int32_t i = 0; i < graph->replica_count(); ++i) {
    const ReplicaIndex index(i);
    std::function<bool(std::string_view)> selects = [graph, index](std::string_view mailbox) {
      return graph->Selects(index, mailbox);
    };
    ASSIGN_OR_RETURN(auto replica, options_.make_replica(*graph, index, std::move(selects)));
    ReplicaSlot slot;
    slot.replica = std::move(replica);
    slot.state_since_unix_ms = mesh_.clock->UnixMillis();
    slots.push_back(std::move(slot));
  }
  mesh_.graph = graph;
  mesh_.replicas = std::move(slots);
  mesh_.mailboxes.clear();
  mesh_.due.clear();
  mesh_.incomplete.clear();
  mesh_.carrying.clear();
  mesh_.carried.Clear();
  mesh_.refusals.clear();
  mesh_.mailbox_refusals.clear();
  mesh_.left_to_look.clear();
  mesh_.forbidden.clear();
  mesh_.metadata = MetadataLooks();
  const size_t edges = graph->edges().size();
  mesh_.edge_paused.assign(edges, false);
  for (size_t e = 0; e < edges; ++e) mesh_.edge_paused[e] = graph->topology().edge(static_cast<int>(e)).paused();
  mesh_.edge_opens.assign(edges, Duration(0));
  mesh_.edge_operations.assign(edges, 0);
  mesh_.edge_last_sync_unix_ms.assign(edges, 0);
  next_poll_.assign(mesh_.replicas.size(), Duration(0));
  watched_.assign(mesh_.replicas.size(), false);
  pending_.clear();
  uncounted_.clear();
  pending_in_.clear();
  pending_since_unix_ms_.clear();
  const std::lock_guard lock(published_mutex_);
  published_graph_ = graph;
  return absl::OkStatus();
}

asio::awaitable<absl::Status> Coordinator::LoadState() {
  const int64_t now = mesh_.clock->UnixMillis();
  const auto load = [&](State& state) { return LoadStartState(state, *mesh_.graph, now); };
  auto loaded = co_await mesh_.store->Run(load);
  if (!loaded.ok()) co_return loaded.status();
  for (size_t r = 0; r < loaded->replicas.size(); ++r) mesh_.replicas[r].id = loaded->replicas[r];
  for (size_t e = 0; e < loaded->paused.size(); ++e) {
    if (loaded->paused[e]) mesh_.edge_paused[e] = *loaded->paused[e];
  }
  mesh_.TakeAllMailboxes(std::move(loaded->copies));
  pending_since_unix_ms_ = saved_waiting_ = std::move(loaded->waiting_unix_ms);
  mesh_.deleted_flag = loaded->deleted;
  mesh_.exclusive_keywords = loaded->exclusive;
  mesh_.kept_back = std::move(loaded->kept_back);
  conflicts_open_ = loaded->conflicts_open;
  conflicts_resolved_ = loaded->conflicts_resolved;
  CO_RETURN_IF_ERROR(co_await LoadOthers(mesh_));
  CO_RETURN_IF_ERROR(co_await LoadSeen(mesh_));
  CO_RETURN_IF_ERROR(co_await LoadRefusals(mesh_));
  co_return co_await LoadMemories(mesh_);
}

// ---- rounds until nothing more can be done

std::optional<Duration> Coordinator::WaitForReplica(const std::vector<bool>& asked) const {
  constexpr int kAttempts = 4;
  std::optional<Duration> wait;
  for (size_t r = 0; r < mesh_.replicas.size(); ++r) {
    const ReplicaSlot& slot = mesh_.replicas[r];
    const bool worthwhile =
        asked[r] && slot.state == ReplicaState::kDown && slot.was_up && !slot.hopeless && slot.failures < kAttempts;
    if (!worthwhile) continue;
    const Duration until = std::max<Duration>(slot.next_attempt - mesh_.clock->Now(), milliseconds(1));
    if (!wait || until < *wait) wait = until;
  }
  return wait;
}

bool Coordinator::RoundIsDue() const {
  const bool look_due = std::any_of(mesh_.replicas.begin(), mesh_.replicas.end(),
                                    [&](const ReplicaSlot& slot) { return LookIsDue(slot); });
  return look_due || PlanIsDue() || ObservationIsDue();
}

asio::awaitable<absl::Status> Coordinator::Converge() {
  const int64_t operations_before = operations_;
  const std::vector<bool> all(mesh_.replicas.size(), true);
  int64_t waited = 0;
  for (int64_t round = 0; !stopping_; ++round) {
    if (round >= RoundsMost(operations_ - operations_before)) break;
    const auto outcome = co_await Round();
    if (!outcome.ok()) co_return outcome.status();
    Publish(true);
    if (outcome->settling) {
      co_await Sleep(*mesh_.clock, mesh_.executor, kPauseToSettle);
      continue;
    }
    if (outcome->operations > 0) continue;
    if (AnyBusy() && ++waited < kWaitsMost) --round;  // a round that waits for somebody is none
    while (AnyBusy() && !RoundIsDue() && !stopping_) co_await wake_.WaitFor(*mesh_.clock, seconds(1));
    const Duration vain = last_pass_ + kPauseInVain - mesh_.clock->Now();
    if (AnyBusy() && vain > Duration(0)) co_await Sleep(*mesh_.clock, mesh_.executor, vain);
    if (!pass_complete_ && !AnyBusy()) co_await Sleep(*mesh_.clock, mesh_.executor, kPauseForOthers);
    if (RoundIsDue()) continue;
    const auto wait = WaitForReplica(all);
    if (!wait) break;
    co_await Sleep(*mesh_.clock, mesh_.executor, *wait);
  }
  co_return absl::OkStatus();
}

asio::awaitable<absl::StatusOr<RunReport>> Coordinator::RunOnce(std::function<void(Progress)> progress) {
  CO_RETURN_IF_ERROR(co_await LoadState());
  const Duration started = mesh_.clock->Now();
  if (progress) {
    mesh_.on_progress = [this, progress, started] {
      mesh_.progress.elapsed_s = std::chrono::duration<double>(mesh_.clock->Now() - started).count();
      progress(mesh_.progress);
    };
  }
  const std::vector<ReplicaCounters> before(mesh_.replicas.size());
  const std::vector<int64_t> operations_before(mesh_.edge_operations.size(), 0);
  const int64_t resolved_before = conflicts_resolved_;
  const absl::Status status = co_await Converge();
  if (status.ok()) {
    TaskGroup goodbyes(mesh_.executor);
    for (ReplicaSlot& slot : mesh_.replicas) {
      if (slot.state == ReplicaState::kUp) goodbyes.Start(slot.replica->Logout());
    }
    co_await goodbyes.Join();
  }
  mesh_.on_progress = nullptr;
  for (ReplicaSlot& slot : mesh_.replicas) slot.replica->Close();
  co_await lanes_.Join();
  if (!status.ok()) co_return status;
  Publish(false);
  co_return MakeReport(before, operations_before, 0, resolved_before, started);
}

}  // namespace imapmesh
