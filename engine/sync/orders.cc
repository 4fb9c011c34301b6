// The coordinator's answers to orders, and what it publishes.
#include <algorithm>

#include "base/printable.h"
#include "engine/sync/coordinator.h"

namespace imapmesh {
namespace {

constexpr size_t kPlanBatch = 2000;
constexpr size_t kMaxPlanItems = 200'000;

ReplicaCounters Minus(const ReplicaCounters& now, const ReplicaCounters& before) {
  ReplicaCounters difference;
  difference.commands = now.commands - before.commands;
  difference.bytes_sent = now.bytes_sent - before.bytes_sent;
  difference.bytes_received = now.bytes_received - before.bytes_received;
  difference.mailboxes_selected = now.mailboxes_selected - before.mailboxes_selected;
  difference.messages_fetched = now.messages_fetched - before.messages_fetched;
  difference.messages_appended = now.messages_appended - before.messages_appended;
  difference.messages_copied_server_side = now.messages_copied_server_side - before.messages_copied_server_side;
  difference.flags_changed = now.flags_changed - before.flags_changed;
  difference.messages_expunged = now.messages_expunged - before.messages_expunged;
  return difference;
}

const char* OperationName(Action action, bool copied) {
  switch (action) {
    case Action::kAdd:
      return copied ? "COPY" : "APPEND";
    case Action::kFlags:
      return "STORE";
    case Action::kExpunge:
      return "EXPUNGE";
    default:
      return "NONE";
  }
}

}  // namespace

void Coordinator::Post(Order order) {
  auto enqueue = [this, order = std::move(order)] {
    orders_.push_back(order);
    wake_.Notify();
  };
  asio::post(mesh_.executor, enqueue);
}

std::shared_ptr<const Graph> Coordinator::GetGraph() const {
  const std::lock_guard lock(published_mutex_);
  return published_graph_;
}

std::shared_ptr<const StatusSnapshot> Coordinator::GetStatus() const {
  const std::lock_guard lock(published_mutex_);
  if (published_ == nullptr) return std::make_shared<StatusSnapshot>();
  return published_;
}

std::shared_ptr<EventReader> Coordinator::ReadEvents(int64_t after, std::function<void()> wake) {
  return events_->Read(after, std::move(wake));
}

// ---- sync

std::function<void()> Coordinator::Sync(SyncScope scope, std::function<void(Progress)> progress,
                                        std::function<void(absl::StatusOr<RunReport>)> done) {
  auto cancelled = std::make_shared<std::atomic<bool>>(false);
  SyncOrder order{std::move(scope), std::move(progress), std::move(done), cancelled};
  Post([this, order] { return RunSync(order); });
  return [cancelled] { *cancelled = true; };
}

asio::awaitable<absl::Status> Coordinator::RunSync(SyncOrder order) {
  if (*order.cancelled || stopping_) {
    order.done(absl::CancelledError("the sync was cancelled before it began"));
    co_return absl::OkStatus();
  }
  const Graph& graph = *mesh_.graph;
  if (!order.scope.replica.empty() && !graph.FindReplica(order.scope.replica)) {
    order.done(Error(absl::StatusCode::kNotFound, "there is no replica %s", Printable(order.scope.replica)));
    co_return absl::OkStatus();
  }
  if (!order.scope.edge.empty() && !graph.FindEdge(order.scope.edge)) {
    order.done(Error(absl::StatusCode::kNotFound, "there is no edge %s; name it as A:B", Printable(order.scope.edge)));
    co_return absl::OkStatus();
  }
  if (!order.scope.mailbox.empty() && !mesh_.mailboxes.contains(order.scope.mailbox)) {
    order.done(Error(absl::StatusCode::kNotFound, "there is no mailbox %s", Printable(order.scope.mailbox)));
    co_return absl::OkStatus();
  }
  RenewHope();
  const Duration started = mesh_.clock->Now();
  Duration last_shown(0);
  const auto before = CountersNow();
  const auto operations_before = mesh_.edge_operations;
  const int64_t rounds_before = rounds_;
  mesh_.on_progress = [this, &order, started, &last_shown] {
    const Duration now = mesh_.clock->Now();
    if (*order.cancelled || now - last_shown < std::chrono::milliseconds(100)) return;
    last_shown = now;
    mesh_.progress.elapsed_s = std::chrono::duration<double>(now - started).count();
    order.progress(mesh_.progress);
  };
  const absl::Status status = co_await Converge();
  mesh_.on_progress = nullptr;
  if (status.ok()) StartWatchers();
  const absl::Status published = co_await Publish(false);
  if (*order.cancelled) {
    order.done(absl::CancelledError("the wait was cancelled; the sync went on"));
  } else if (!status.ok()) {
    order.done(status);
  } else {
    order.done(MakeReport(before, operations_before, rounds_before, started));
  }
  co_return status.ok() ? published : status;
}

// ---- plan

std::function<void()> Coordinator::Plan(std::function<void(absl::StatusOr<std::vector<PlanItem>>)> done) {
  auto cancelled = std::make_shared<std::atomic<bool>>(false);
  Post([this, done = std::move(done), cancelled] { return RunPlan(done, cancelled); });
  return [cancelled] { *cancelled = true; };
}

asio::awaitable<absl::Status> Coordinator::RunPlan(std::function<void(absl::StatusOr<std::vector<PlanItem>>)> done,
                                                   Cancelled cancelled) {
  if (stopping_ || *cancelled) {
    done(stopping_ ? absl::UnavailableError("the daemon is stopping")
                   : absl::CancelledError("the plan was cancelled before it began"));
    co_return absl::OkStatus();
  }
  plan_cancelled_ = cancelled;
  for (ReplicaSlot& slot : mesh_.replicas) slot.look_due = slot.compare_due = true;
  absl::Status status = co_await LookAndObserve();
  std::vector<PlanItem> items;
  if (status.ok() && !*cancelled) {
    const auto mailboxes = co_await UnsettledMailboxes();
    status = mailboxes.status();
    const auto view = mesh_.View(false), ideal = mesh_.View(true);
    const PlanExceptions exceptions = Exceptions();
    for (size_t m = 0; status.ok() && m < mailboxes->size(); ++m) {
      for (MessageId after; !*cancelled;) {
        PlanBatch batch(*view, *ideal, exceptions, (*mailboxes)[m], after, kPlanBatch, mesh_.clock->UnixMillis());
        const auto work = co_await mesh_.store->Run(batch);
        status = work.status();
        if (!status.ok()) break;
        AppendPlanItems(*work, items);
        if (!work->more || items.size() > kMaxPlanItems) break;
        after = work->last;
      }
    }
  }
  plan_cancelled_ = nullptr;
  if (!status.ok() || *cancelled) {
    done(status.ok() ? absl::CancelledError("the plan was cancelled") : status);
    co_return status;
  }
  std::stable_sort(items.begin(), items.end(), [](const PlanItem& a, const PlanItem& b) { return a.wave < b.wave; });
  done(std::move(items));
  co_return absl::OkStatus();
}

void Coordinator::AppendPlanItems(const Work& work, std::vector<PlanItem>& items) const {
  for (const PlannedMessage& planned : work.messages) {
    std::string mailbox;
    for (const auto& [name, entry] : mesh_.mailboxes) {
      if (entry.id == planned.message.mailbox) mailbox = name;
    }
    for (const CopyPlan& copy : planned.plan.copies) {
      const bool copied = planned.copy_from.contains(copy.target.value);
      const bool deletion = copy.action == Action::kExpunge;
      PlanItem item;
      item.wave = copy.because.depth + (deletion ? mesh_.graph->replica_count() : 0);
      item.edge = mesh_.graph->edges()[static_cast<size_t>(copy.because.edge.value)].name;
      item.from = mesh_.name(copy.because.origin);
      item.to = mesh_.name(copy.target);
      item.operation = OperationName(copy.action, copied);
      item.mailbox = Printable(mailbox);
      item.message = planned.message.id.value;
      item.message_id = Printable(planned.message.message_id);
      if (copy.action == Action::kFlags) item.detail = std::to_string(copy.flag_changes.size()) + " flags";
      item.bytes = copy.action == Action::kAdd && !copied ? static_cast<int64_t>(planned.message.size) : 0;
      item.rule = deletion ? "its deletion was observed at " + item.from
                           : (copy.action == Action::kAdd ? "held by " + item.from + ", missing here"
                                                          : "flags changed at " + item.from);
      item.stamp = copy.because.stamp.value;
      items.push_back(std::move(item));
    }
  }
}

// ---- conflicts, pauses, reload

void Coordinator::ListConflicts(bool open_only, std::function<void(absl::StatusOr<std::vector<ConflictReport>>)> done) {
  Post([this, open_only, done = std::move(done)] { return RunListConflicts(open_only, done); });
}

asio::awaitable<absl::Status> Coordinator::RunListConflicts(
    bool open_only, std::function<void(absl::StatusOr<std::vector<ConflictReport>>)> done) {
  const auto load = [&](State& state) { return state.Conflicts(open_only, 10'000); };
  const auto records = co_await mesh_.store->Run(load);
  if (!records.ok()) {
    done(records.status());
    co_return records.status();
  }
  std::vector<ConflictReport> conflicts;
  for (const ConflictRecord& record : *records) {
    ConflictReport report;
    report.id = record.id;
    report.kind = record.kind;
    report.mailbox = Printable(record.mailbox);
    report.message_id = Printable(record.message_id);
    report.subject = Printable(record.subject);
    report.observed_unix_ms = record.unix_ms;
    report.replica_a = record.replica_a;
    report.change_a = record.change_a;
    report.replica_b = record.replica_b;
    report.change_b = record.change_b;
    report.policy = record.policy;
    report.outcome = record.outcome;
    report.open = record.open;
    conflicts.push_back(std::move(report));
  }
  done(std::move(conflicts));
  co_return absl::OkStatus();
}

void Coordinator::PauseEdge(std::string edge, bool paused, std::function<void(absl::Status)> done) {
  Post([this, edge = std::move(edge), paused, done = std::move(done)] { return RunPause(edge, paused, done); });
}

asio::awaitable<absl::Status> Coordinator::RunPause(std::string edge, bool paused,
                                                    std::function<void(absl::Status)> done) {
  const auto index = mesh_.graph->FindEdge(edge);
  if (!index) {
    done(Error(absl::StatusCode::kNotFound, "there is no edge %s; name it as A:B", Printable(edge)));
    co_return absl::OkStatus();
  }
  const std::string name = mesh_.graph->edges()[static_cast<size_t>(index->value)].name;
  const auto save = [&](State& state) {
    state.SetMeta("paused:" + name, paused ? "1" : "0");
    return true;
  };
  const auto saved = co_await mesh_.store->Run(save);
  if (!saved.ok()) {
    done(saved.status());
    co_return saved.status();
  }
  mesh_.edge_paused[static_cast<size_t>(index->value)] = paused;
  if (!paused) {
    for (ReplicaSlot& slot : mesh_.replicas) slot.look_due = true;  // a round follows
  }
  mesh_.Emit(paused ? "EDGE_PAUSED" : "EDGE_RESUMED", ReplicaIndex(-1), *index, "", name);
  const absl::Status published = co_await Publish(false);
  done(published);
  co_return published;
}

void Coordinator::Reload(std::shared_ptr<const Graph> graph, std::function<void(absl::Status)> done) {
  Post([this, graph = std::move(graph), done = std::move(done)] { return RunReload(graph, done); });
}

asio::awaitable<absl::Status> Coordinator::RunReload(std::shared_ptr<const Graph> graph,
                                                     std::function<void(absl::Status)> done) {
  if (stopping_) {
    done(absl::UnavailableError("the daemon is stopping"));
    co_return absl::OkStatus();
  }
  co_await StopWatchers();
  const absl::Status built = BuildReplicas(graph);
  if (!built.ok()) {  // the running graph stays
    done(built);
    co_return absl::OkStatus();
  }
  const absl::Status loaded = co_await LoadState();
  if (loaded.ok()) {
    mesh_.Emit(
        "TOPOLOGY_RELOADED", ReplicaIndex(-1), EdgeIndex(-1), "",
        std::to_string(graph->replica_count()) + " replicas, " + std::to_string(graph->edges().size()) + " edges");
  }
  absl::Status published = loaded;
  if (loaded.ok()) published = co_await Publish(false);
  done(published);
  co_return published;
}

// ---- what is published

std::vector<ReplicaCounters> Coordinator::CountersNow() const {
  std::vector<ReplicaCounters> counters;
  for (const ReplicaSlot& slot : mesh_.replicas) counters.push_back(slot.replica->counters());
  return counters;
}

bool Coordinator::Converged() const {
  for (const ReplicaSlot& slot : mesh_.replicas) {
    if (slot.state != ReplicaState::kUp || slot.look_due) return false;
  }
  for (const auto& [edge, counts] : pending_) {
    const bool paused = mesh_.edge_paused[static_cast<size_t>(edge)];
    if (counts.total() > 0 && !paused) return false;
  }
  return mesh_.due.empty() && mesh_.refusals.empty() && mesh_.mailbox_refusals.empty() && !settling_;
}

EdgeReport Coordinator::DescribeEdge(size_t e, bool syncing) const {
  const GraphEdge& edge = mesh_.graph->edges()[e];
  EdgeReport report;
  report.a = mesh_.name(edge.a);
  report.b = mesh_.name(edge.b);
  const auto pending = pending_.find(static_cast<int32_t>(e));
  if (pending != pending_.end()) report.pending = pending->second;
  report.operations = mesh_.edge_operations[e];
  report.last_sync_unix_ms = mesh_.edge_last_sync_unix_ms[e];
  const auto since = pending_since_unix_ms_.find(static_cast<int32_t>(e));
  if (since != pending_since_unix_ms_.end()) report.oldest_pending_unix_ms = since->second;
  for (const ReplicaIndex end : {edge.a, edge.b}) {
    const ReplicaSlot& slot = mesh_.replicas[static_cast<size_t>(end.value)];
    if (report.last_error.empty() && slot.state == ReplicaState::kDown) report.last_error = slot.last_error;
  }
  const bool up = mesh_.IsUp(edge.a) && mesh_.IsUp(edge.b);
  if (mesh_.edge_paused[e]) {
    report.state = EdgeState::kPaused;
  } else if (rounds_ == 0) {
    report.state = EdgeState::kUnknown;
  } else if (!up) {
    report.state = EdgeState::kUnreachable;
  } else if (report.pending.total() > 0) {
    report.state = syncing ? EdgeState::kSyncing : EdgeState::kPending;
  } else {
    report.state = EdgeState::kInSync;
  }
  return report;
}

asio::awaitable<absl::Status> Coordinator::Publish(bool syncing) {
  const int64_t now = mesh_.clock->UnixMillis();
  for (size_t e = 0; e < mesh_.graph->edges().size(); ++e) {
    const auto key = static_cast<int32_t>(e);
    const auto pending = pending_.find(key);
    if (pending == pending_.end() || pending->second.total() == 0) {
      pending_since_unix_ms_.erase(key);
    } else {
      pending_since_unix_ms_.try_emplace(key, now);
    }
  }
  auto snapshot = std::make_shared<StatusSnapshot>();
  snapshot->topology_name = mesh_.graph->name();
  snapshot->generated_unix_ms = now;
  snapshot->converged = Converged();
  snapshot->syncing = syncing;
  snapshot->rounds = rounds_;
  snapshot->conflicts_open = conflicts_open_;
  snapshot->conflicts_resolved = conflicts_resolved_;
  for (size_t r = 0; r < mesh_.replicas.size(); ++r) {
    const ReplicaSlot& slot = mesh_.replicas[r];
    ReplicaReport report;
    report.name = slot.replica->name();
    report.state = slot.state;
    report.server = slot.replica->info();
    report.counters = slot.replica->counters();
    report.last_error = slot.last_error;
    report.last_look_unix_ms = slot.last_look_unix_ms;
    report.state_since_unix_ms = slot.state_since_unix_ms;
    const bool waits = slot.state == ReplicaState::kDown && !slot.hopeless;
    if (waits) {
      const auto until = std::chrono::duration_cast<std::chrono::milliseconds>(slot.next_attempt - mesh_.clock->Now());
      report.next_attempt_unix_ms = now + std::max<int64_t>(0, until.count());
    }
    for (const auto& [name, entry] : mesh_.mailboxes) {
      if (!entry.copies[r].exists) continue;
      ++report.mailboxes;
      report.messages += entry.copies[r].messages;
    }
    snapshot->replicas.push_back(std::move(report));
  }
  for (size_t e = 0; e < mesh_.graph->edges().size(); ++e) snapshot->edges.push_back(DescribeEdge(e, syncing));
  for (const auto& [name, entry] : mesh_.mailboxes) {
    MailboxReport report;
    report.mailbox = Printable(name);
    for (size_t r = 0; r < entry.copies.size(); ++r) {
      const MailboxCopyRecord& record = entry.copies[r];
      if (record.id.value == 0 || !record.exists) continue;
      const bool due = mesh_.due.contains({static_cast<int32_t>(r), name});
      report.copies.push_back({mesh_.replicas[r].replica->name(), Printable(record.name_here), record.messages,
                               record.uid_validity.value, record.uid_next.value, record.highest_modseq.value, !due});
    }
    snapshot->mailboxes.push_back(std::move(report));
  }
  for (const auto& [key, refusal] : mesh_.refusals) snapshot->problems.push_back(refusal.report);
  for (const auto& [key, refusal] : mesh_.mailbox_refusals) snapshot->problems.push_back(refusal.report);
  const std::lock_guard lock(published_mutex_);
  published_ = std::move(snapshot);
  co_return absl::OkStatus();
}

RunReport Coordinator::MakeReport(const std::vector<ReplicaCounters>& before,
                                  const std::vector<int64_t>& operations_before, int64_t rounds_before,
                                  Duration started) const {
  const auto snapshot = GetStatus();
  RunReport report;
  report.converged = snapshot->converged;
  report.rounds = rounds_ - rounds_before;
  report.wall_s = std::chrono::duration<double>(mesh_.clock->Now() - started).count();
  report.replicas = snapshot->replicas;
  for (size_t r = 0; r < report.replicas.size(); ++r) {
    report.replicas[r].counters = Minus(report.replicas[r].counters, before[r]);
  }
  report.edges = snapshot->edges;
  for (size_t e = 0; e < report.edges.size(); ++e) report.edges[e].operations -= operations_before[e];
  report.conflicts_open = snapshot->conflicts_open;
  report.conflicts_resolved = snapshot->conflicts_resolved;
  report.refused = static_cast<int64_t>(mesh_.refusals.size() + mesh_.mailbox_refusals.size());
  return report;
}

}  // namespace imapmesh
