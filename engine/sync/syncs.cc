// Syncs that somebody asked for. Nothing is done for them that rounds would not do: what is in their scope is tried
// again and looked at, and they are answered once nothing is left to do there.
#include <algorithm>
#include <utility>

#include "base/printable.h"
#include "engine/sync/coordinator.h"
#include "engine/sync/kept_back.h"

namespace imapmesh {
namespace {

using std::chrono::milliseconds;

constexpr Duration kBetweenProgress = milliseconds(100);

}  // namespace

std::function<void()> Coordinator::Sync(SyncScope scope, std::function<void(Progress)> progress,
                                        std::function<void(absl::StatusOr<RunReport>)> done) {
  auto cancelled = std::make_shared<std::atomic<bool>>(false);
  SyncOrder order{std::move(scope), std::move(progress), std::move(done), cancelled};
  Post([this, order] { return RunSync(order); });
  return [cancelled] { *cancelled = true; };
}

absl::Status Coordinator::CheckScope(const SyncScope& scope) const {
  const Graph& graph = *mesh_.graph;
  if (!scope.replica.empty() && !graph.FindReplica(scope.replica)) {
    return Error(absl::StatusCode::kNotFound, "there is no replica %s", Printable(scope.replica));
  }
  if (!scope.edge.empty() && !graph.FindEdge(scope.edge)) {
    return Error(absl::StatusCode::kNotFound, "there is no edge %s; name it as A:B", Printable(scope.edge));
  }
  if (!scope.mailbox.empty() && !mesh_.mailboxes.contains(scope.mailbox)) {
    return Error(absl::StatusCode::kNotFound, "there is no mailbox %s", Printable(scope.mailbox));
  }
  return absl::OkStatus();
}

asio::awaitable<absl::Status> Coordinator::RunSync(SyncOrder order) {
  if (*order.cancelled || stopping_) {
    order.done(absl::CancelledError("the sync was cancelled before it began"));
    co_return absl::OkStatus();
  }
  if (const absl::Status valid = CheckScope(order.scope); !valid.ok()) {
    order.done(valid);
    co_return absl::OkStatus();
  }
  const auto unsettle = [](State& state) {
    state.kept_back().UnsettleMessages();
    return true;
  };
  const auto unsettled = co_await mesh_.store->Run(unsettle);
  if (!unsettled.ok()) {
    order.done(unsettled.status());
    co_return unsettled.status();
  }
  syncs_.push_back(NewSync(std::move(order)));
  RenewHope(syncs_.back());
  plan_due_ = true;
  mesh_.on_progress = [this] { ShowProgress(); };
  co_return absl::OkStatus();
}

// A replica is in agreement with those that it has edges with; an edge with its two ends.
Coordinator::WaitingSync Coordinator::NewSync(SyncOrder order) const {
  const Graph& graph = *mesh_.graph;
  WaitingSync sync;
  const auto named = graph.FindReplica(order.scope.replica);
  const auto along = graph.FindEdge(order.scope.edge);
  sync.asked.assign(mesh_.replicas.size(), !named && !along);
  if (named) sync.asked[static_cast<size_t>(named->value)] = true;
  sync.concerned = sync.asked;
  for (size_t e = 0; e < graph.edges().size(); ++e) {
    const GraphEdge& edge = graph.edges()[e];
    const auto a = static_cast<size_t>(edge.a.value), b = static_cast<size_t>(edge.b.value);
    const bool chosen = along && along->value == static_cast<int32_t>(e);
    if (chosen) sync.asked[a] = sync.asked[b] = true;
    sync.edges.push_back((!named && !along) || chosen || (named && (edge.a == *named || edge.b == *named)));
    if (sync.edges.back()) sync.concerned[a] = sync.concerned[b] = true;
  }
  sync.order = std::move(order);
  sync.started = mesh_.clock->Now();
  sync.counters = CountersNow();
  sync.edge_operations = mesh_.edge_operations;
  sync.rounds = rounds_;
  sync.operations = operations_;
  sync.conflicts_resolved = conflicts_resolved_;
  return sync;
}

void Coordinator::RenewHope(const WaitingSync& sync) {
  mesh_.no_copy.clear();
  mesh_.unfetchable.clear();
  for (size_t e = 0; e < sync.edges.size(); ++e) {
    if (sync.edges[e]) mesh_.edge_opens[e] = Duration(0);  // who asks does not wait for an interval
  }
  for (size_t r = 0; r < mesh_.replicas.size(); ++r) {
    ReplicaSlot& slot = mesh_.replicas[r];
    if (!sync.concerned[r]) continue;
    slot.look_due = true;
    slot.compare_due = true;
    slot.limits_due = true;
    slot.metadata_due = true;
    if (!sync.asked[r]) continue;
    mesh_.RenewHope(ReplicaIndex(static_cast<int32_t>(r)));
    slot.hopeless = false;
    slot.failures = 0;
    slot.next_attempt = Duration(0);
  }
}

void Coordinator::ShowProgress() {
  const Duration now = mesh_.clock->Now();
  for (WaitingSync& sync : syncs_) {
    if (*sync.order.cancelled || now - sync.last_shown < kBetweenProgress) continue;
    sync.last_shown = now;
    mesh_.progress.elapsed_s = std::chrono::duration<double>(now - sync.started).count();
    sync.order.progress(mesh_.progress);
  }
}

// Whether something waits in the scope; `among_up`: that could be carried now. What waits for a pause does not count.
bool Coordinator::HasPending(const WaitingSync& sync, bool among_up) const {
  const auto counts = [&](int32_t e) {
    const auto index = static_cast<size_t>(e);
    const GraphEdge& edge = mesh_.graph->edges()[index];
    if (!sync.edges[index] || mesh_.edge_paused[index]) return false;
    return !among_up || (mesh_.IsUp(edge.a) && mesh_.IsUp(edge.b));
  };
  const std::string& mailbox = sync.order.scope.mailbox;
  for (const auto& [name, edges] : pending_in_) {
    if (!mailbox.empty() && name != mailbox) continue;
    if (std::any_of(edges.begin(), edges.end(), counts)) return true;
  }
  return mailbox.empty() && std::any_of(pending_.begin(), pending_.end(), [&](const auto& edge) {
           return edge.second.mailboxes > 0 && counts(edge.first);
         });
}

// Whether nothing is left to do in the scope as far as its replicas can be reached, whatever goes on elsewhere.
bool Coordinator::IsLeftAlone(const WaitingSync& sync) const {
  const std::string& mailbox = sync.order.scope.mailbox;
  if (sync.IsOfEverything() || HasPending(sync, /*among_up=*/true)) return false;
  if (mailbox.empty() ? !uncounted_.empty() : uncounted_.contains(mailbox)) return false;
  for (size_t r = 0; r < mesh_.replicas.size(); ++r) {
    const ReplicaSlot& slot = mesh_.replicas[r];
    const bool away = slot.state == ReplicaState::kDown || (!sync.asked[r] && slot.state != ReplicaState::kUp);
    if (!sync.concerned[r] || away) continue;
    if (slot.state != ReplicaState::kUp || slot.look_due || slot.looking) return false;
    const auto due = mesh_.due.lower_bound({static_cast<int32_t>(r), mailbox});
    const bool here = due != mesh_.due.end() && due->first == static_cast<int32_t>(r);
    if (here && (mailbox.empty() || due->second == mailbox)) return false;
  }
  return true;
}

bool Coordinator::IsOver(const WaitingSync& sync) const {
  if (rounds_ == sync.rounds) return false;
  if (rounds_ - sync.rounds - sync.waits >= RoundsMost(operations_ - sync.operations)) return true;
  if (settling_ || WaitForReplica(sync.asked)) return false;
  return IsLeftAlone(sync) || (operations_of_round_ == 0 && !AnyBusy() && !RoundIsDue());
}

RunReport Coordinator::ReportOn(const WaitingSync& sync) const {
  RunReport report =
      MakeReport(sync.counters, sync.edge_operations, sync.rounds, sync.conflicts_resolved, sync.started);
  if (sync.IsOfEverything()) return report;
  const std::string& mailbox = sync.order.scope.mailbox;
  const Within within = [&](ReplicaIndex r, const std::string& name) {
    return sync.concerned[static_cast<size_t>(r.value)] && (mailbox.empty() || name == mailbox);
  };
  report.refused = mesh_.CountRefused(within) + CountRefused(mesh_, within);
  report.converged = report.refused == 0 && IsLeftAlone(sync) && !HasPending(sync, /*among_up=*/false);
  std::vector<ReplicaReport> replicas;
  for (size_t r = 0; r < report.replicas.size(); ++r) {
    if (!sync.concerned[r]) continue;
    report.converged &= report.replicas[r].state == ReplicaState::kUp;
    replicas.push_back(std::move(report.replicas[r]));
  }
  report.replicas = std::move(replicas);
  std::vector<EdgeReport> edges;
  for (size_t e = 0; e < report.edges.size(); ++e) {
    if (sync.edges[e]) edges.push_back(std::move(report.edges[e]));
  }
  report.edges = std::move(edges);
  return report;
}

// Of what the last round left.
void Coordinator::AnswerSyncs() {
  const bool waited = operations_of_round_ == 0 && AnyBusy();
  for (auto sync = syncs_.begin(); sync != syncs_.end();) {
    if (waited && sync->waits < kWaitsMost) ++sync->waits;  // a round that waits for somebody is none
    const bool cancelled = *sync->order.cancelled;
    if (!cancelled && !IsOver(*sync)) {
      ++sync;
      continue;
    }
    const auto done = std::move(sync->order.done);
    absl::StatusOr<RunReport> report = absl::CancelledError("the wait was cancelled; the sync went on");
    if (!cancelled) report = ReportOn(*sync);
    sync = syncs_.erase(sync);
    done(std::move(report));
  }
  if (syncs_.empty()) {
    mesh_.on_progress = nullptr;
  } else if (operations_of_round_ > 0) {
    plan_due_ = true;  // whether that was all, another round tells
  }
}

void Coordinator::EndSyncs(const absl::Status& why) {
  for (WaitingSync& sync : std::exchange(syncs_, {})) sync.order.done(why);
  mesh_.on_progress = nullptr;
}

}  // namespace imapmesh
