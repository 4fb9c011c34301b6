// The coordinator's answers to orders.
#include <algorithm>

#include "base/printable.h"
#include "engine/sync/conflicts.h"
#include "engine/sync/coordinator.h"
#include "engine/sync/explain.h"
#include "engine/sync/mailbox_decide.h"
#include "engine/sync/refusals.h"
#include "engine/sync/start_state.h"
#include "engine/sync/trace.h"

namespace imapmesh {
namespace {

constexpr size_t kMaxPlanItems = 200'000;
constexpr size_t kMaxConflicts = 10'000;

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
  return published_;
}

std::shared_ptr<EventReader> Coordinator::ReadEvents(int64_t after, std::function<void()> wake) {
  return events_->Read(after, std::move(wake));
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
  mesh_.carrying.clear();
  mesh_.carried.Clear();
  for (ReplicaSlot& slot : mesh_.replicas) slot.look_due = slot.compare_due = slot.metadata_due = true;
  absl::Status status = co_await LookAndObserve();
  if (status.ok() && !*cancelled) status = co_await DecideGoneMailboxes();
  if (!status.ok() || *cancelled) {
    plan_cancelled_ = nullptr;
    pass_complete_ = false;  // what was observed so far is work for the next round
    done(status.ok() ? absl::CancelledError("the plan was cancelled") : status);
    co_return status;
  }
  auto items = co_await ExplainAll(cancelled);
  plan_cancelled_ = nullptr;
  if (items.ok() && *cancelled) items = absl::CancelledError("the plan was cancelled");
  pass_complete_ = items.ok() && items->empty();  // what was observed for the plan is work for the next round
  done(items);
  co_return absl::IsCancelled(items.status()) ? absl::OkStatus() : items.status();
}

asio::awaitable<absl::StatusOr<std::vector<PlanItem>>> Coordinator::ExplainAll(Cancelled cancelled) {
  const auto view = mesh_.View(false), ideal = mesh_.View(true);
  CO_ASSIGN_OR_RETURN(const std::vector<MailboxOperation> operations, co_await ForeseeMailboxes(mesh_));
  std::vector<PlanItem> items = ExplainMailboxes(*view, operations);
  const PlanExceptions exceptions = Exceptions();
  CO_ASSIGN_OR_RETURN(const std::vector<UnsettledMailbox> mailboxes, co_await UnsettledMailboxes());
  PlanPosition next;
  for (bool more = true; more && items.size() <= kMaxPlanItems && !*cancelled;) {
    PlanBatch batch(*view, *ideal, exceptions, mailboxes, next, mesh_.clock->UnixMillis());
    std::map<FlagId, std::string> names;
    const auto plan = [&](State& state) {
      Work work = batch(state);
      for (const FlagId flag : FlagsOf(work)) names[flag] = state.FlagName(flag);
      return work;
    };
    const auto work = co_await mesh_.store->Run(plan);
    if (!work.ok()) co_return work.status();
    CO_RETURN_IF_ERROR(co_await TellConflicts(*work));
    for (PlanItem& item : ExplainWork(*view, *work, names)) items.push_back(std::move(item));
    next = work->next;
    more = work->more;
  }
  OrderWaves(items);
  co_return items;
}

// ---- conflicts

void Coordinator::ListConflicts(bool open_only, std::function<void(absl::StatusOr<std::vector<ConflictReport>>)> done) {
  Post([this, open_only, done = std::move(done)] { return RunListConflicts(open_only, done); });
}

asio::awaitable<absl::Status> Coordinator::RunListConflicts(
    bool open_only, std::function<void(absl::StatusOr<std::vector<ConflictReport>>)> done) {
  const auto load = [&](State& state) {
    std::vector<ConflictReport> reports;
    for (const ConflictRecord& conflict : state.conflicts().List(open_only, kMaxConflicts)) {
      reports.push_back(ToReport(conflict, conflict.open ? state.conflicts().CountHeld(conflict.id) : 0));
    }
    return reports;
  };
  auto conflicts = co_await mesh_.store->Run(load);
  done(conflicts);
  co_return conflicts.status();
}

void Coordinator::FindConflict(int64_t id, std::function<void(absl::StatusOr<ConflictReport>)> done) {
  Post([this, id, done = std::move(done)] { return RunFindConflict(id, done); });
}

asio::awaitable<absl::Status> Coordinator::RunFindConflict(int64_t id,
                                                           std::function<void(absl::StatusOr<ConflictReport>)> done) {
  const auto find = [&](State& state) -> absl::StatusOr<ConflictReport> {
    const auto conflict = state.conflicts().Find(id);
    if (!conflict) return Error(absl::StatusCode::kNotFound, "there is no conflict %d", id);
    return ToReport(*conflict, conflict->open ? state.conflicts().CountHeld(id) : 0);
  };
  const auto found = co_await mesh_.store->Run(find);
  if (!found.ok()) {
    done(found.status());
  } else {
    done(*found);
  }
  co_return found.status();
}

void Coordinator::Resolve(int64_t conflict, Decision decision, std::string replica,
                          std::function<void(absl::StatusOr<ConflictReport>)> done) {
  Post([this, conflict, decision, replica = std::move(replica), done = std::move(done)] {
    return RunResolve(conflict, decision, replica, done);
  });
}

asio::awaitable<absl::Status> Coordinator::RunResolve(int64_t conflict, Decision decision, std::string replica,
                                                      std::function<void(absl::StatusOr<ConflictReport>)> done) {
  const auto find = [&](State& state) { return MessagesOf(state, conflict); };
  const auto messages = co_await mesh_.store->Run(find);
  if (!messages.ok()) {
    done(messages.status());
    co_return messages.status();
  }
  co_await AwaitWorkOn(*messages);  // what is under way writes registers as they were planned
  const auto view = mesh_.View(false);
  const int64_t now = mesh_.clock->UnixMillis();
  std::optional<MailboxCopyRecord> gone;
  const auto decide = [&](State& state) {
    auto decided_now = Decide(state, *view, conflict, decision, replica, now);
    if (decided_now.ok()) gone = state.mailboxes().FindCopy(MailboxCopyOf(*decided_now));
    return decided_now;
  };
  const auto decided = co_await mesh_.store->Run(decide);
  if (!decided.ok()) {
    done(decided.status());
    co_return decided.status();
  }
  if (!decided->ok()) {
    done(decided->status());
    co_return absl::OkStatus();
  }
  if (gone) mesh_.TakeCopy(*gone);  // it is made again, or deleted everywhere
  const absl::Status reloaded = co_await LoadRefusals(mesh_);
  if (!reloaded.ok()) {
    done(reloaded);
    co_return reloaded;
  }
  const ConflictRecord& record = **decided;
  mesh_.Emit("CONFLICT_RESOLVED", ReplicaIndex(-1), EdgeIndex(-1), record.mailbox,
             "conflict " + std::to_string(record.id) + ": " + record.outcome);
  for (ReplicaSlot& slot : mesh_.replicas) slot.look_due = true;  // a round follows and carries it out
  done(ToReport(record, 0));
  co_return absl::OkStatus();
}

// ---- trace

void Coordinator::Trace(std::string message_id, std::function<void(absl::StatusOr<std::vector<TracedMessage>>)> done) {
  Post([this, message_id = std::move(message_id), done = std::move(done)] { return RunTrace(message_id, done); });
}

asio::awaitable<absl::Status> Coordinator::RunTrace(
    std::string message_id, std::function<void(absl::StatusOr<std::vector<TracedMessage>>)> done) {
  if (message_id.empty()) {
    done(absl::InvalidArgumentError("no Message-ID is given"));
    co_return absl::OkStatus();
  }
  Tracer tracer(mesh_, message_id);
  auto traced = co_await mesh_.store->Run(tracer);
  if (traced.ok() && traced->empty()) {
    done(Error(absl::StatusCode::kNotFound, "the mesh knows no message with the Message-ID %s", Printable(message_id)));
    co_return absl::OkStatus();
  }
  done(traced);
  co_return traced.status();
}

// ---- pauses, reload

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
    state.SetMeta(PausedKey(name), paused ? "1" : "0");
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
  Publish(false);
  done(absl::OkStatus());
  co_return absl::OkStatus();
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
  for (WaitingSync& sync : syncs_) {  // they begin anew, on what runs now
    orders_.push_back([this, order = std::move(sync.order)] { return RunSync(order); });
  }
  syncs_.clear();
  mesh_.on_progress = nullptr;
  const absl::Status loaded = co_await LoadState();
  if (loaded.ok()) {
    mesh_.Emit(
        "TOPOLOGY_RELOADED", ReplicaIndex(-1), EdgeIndex(-1), "",
        std::to_string(graph->replica_count()) + " replicas, " + std::to_string(graph->edges().size()) + " edges");
  }
  if (loaded.ok()) Publish(false);
  done(loaded);
  co_return loaded;
}

}  // namespace imapmesh
