#include "engine/sync/coordinator.h"

#include <algorithm>
#include <set>
#include <utility>

#include "engine/sync/apply.h"
#include "engine/sync/apply_mailboxes.h"
#include "engine/sync/conflicts.h"
#include "engine/sync/look.h"
#include "engine/sync/memories.h"
#include "engine/sync/observe.h"

namespace imapmesh {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr size_t kPlanBatch = 2000;
constexpr int kMaxRounds = 200;  // a bound, never reached by a mesh that can come to rest
// RFC 5788's registry says of $Junk and $NotJunk that a message has one at most; Thunderbird's pair likewise.
constexpr std::pair<const char*, const char*> kExclusivePairs[] = {{"$Junk", "$NotJunk"}, {"Junk", "NonJunk"}};
constexpr int64_t kHistoryMillis = int64_t{90} * 24 * 3600 * 1000;
constexpr int64_t kHistorySteps = 500'000;
constexpr int64_t kProgressWorthwhile = 200;  // unsettled messages from which on totals are counted first

// What changes the meaning of the recorded registers: then every message is planned anew.
std::string GraphFingerprint(const Graph& graph) {
  std::string text;
  for (const v1::Replica& replica : graph.topology().replica()) text += replica.name() + ";";
  for (const v1::Edge& edge : graph.topology().edge()) text += edge.ShortDebugString() + ";";
  return text + graph.topology().policy().ShortDebugString();
}

// What names its mailboxes have in the mesh.
std::string NamesFingerprint(const v1::Replica& replica) {
  std::string text = replica.namespace_prefix();
  for (const v1::NameMap& map : replica.name_map()) text += ";" + map.ShortDebugString();
  return text;
}

}  // namespace

Coordinator::Coordinator(CoordinatorOptions options)
    : options_(std::move(options)),
      events_(std::make_shared<EventLog>()),
      wake_(options_.engine_executor),
      watchers_(options_.engine_executor) {
  mesh_.executor = options_.engine_executor;
  mesh_.clock = options_.clock;
  mesh_.log = options_.log;
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
  mesh_.refusals.clear();
  mesh_.mailbox_refusals.clear();
  const size_t edges = graph->edges().size();
  mesh_.edge_paused.assign(edges, false);
  for (size_t e = 0; e < edges; ++e) mesh_.edge_paused[e] = graph->topology().edge(static_cast<int>(e)).paused();
  mesh_.edge_operations.assign(edges, 0);
  mesh_.edge_last_sync_unix_ms.assign(edges, 0);
  next_poll_.assign(mesh_.replicas.size(), Duration(0));
  watched_.assign(mesh_.replicas.size(), false);
  pending_.clear();
  pending_since_unix_ms_.clear();
  const std::lock_guard lock(published_mutex_);
  published_graph_ = graph;
  return absl::OkStatus();
}

asio::awaitable<absl::Status> Coordinator::LoadState() {
  struct Loaded {
    std::vector<ReplicaId> replicas;
    std::vector<MailboxCopyRecord> copies;
    std::vector<std::optional<std::string>> paused;
    FlagId deleted;
    std::vector<std::pair<FlagId, FlagId>> exclusive;
  };
  const Graph& graph = *mesh_.graph;
  const int64_t now = mesh_.clock->UnixMillis();
  const auto load = [&](State& state) {
    Loaded loaded;
    for (const v1::Replica& replica : graph.topology().replica()) {
      loaded.replicas.push_back(state.InternReplica(replica.name()));
      // Under other names the known mailboxes would look deleted.
      const std::string names = "names:" + replica.name(), fingerprint = NamesFingerprint(replica);
      if (state.Meta(names).value_or("") == fingerprint) continue;
      state.mailboxes().ForgetReplica(loaded.replicas.back());
      state.MarkAllUnsettled();
      state.SetMeta(names, fingerprint);
    }
    for (const GraphEdge& edge : graph.edges()) loaded.paused.push_back(state.Meta("paused:" + edge.name));
    loaded.copies = state.MailboxCopies();
    loaded.deleted = state.InternFlag("\\Deleted");
    for (const auto& [one, other] : kExclusivePairs) {
      loaded.exclusive.emplace_back(state.InternFlag(one), state.InternFlag(other));
    }
    state.history().Prune(now - kHistoryMillis, kHistorySteps);
    state.TouchIntents(now);  // whatever connection carried them is gone since now at the latest
    const std::string fingerprint = GraphFingerprint(graph);
    if (state.Meta("graph") != fingerprint) {
      state.MarkAllUnsettled();
      state.SetMeta("graph", fingerprint);
    }
    return loaded;
  };
  auto loaded = co_await mesh_.store->Run(load);
  if (!loaded.ok()) co_return loaded.status();
  std::map<ReplicaId, size_t> index;
  for (size_t r = 0; r < loaded->replicas.size(); ++r) {
    mesh_.replicas[r].id = loaded->replicas[r];
    index[loaded->replicas[r]] = r;
  }
  for (size_t e = 0; e < loaded->paused.size(); ++e) {
    if (loaded->paused[e]) mesh_.edge_paused[e] = *loaded->paused[e] == "1";
  }
  for (MailboxCopyRecord& record : loaded->copies) {
    const auto replica = index.find(record.replica);
    if (replica == index.end()) continue;
    const bool selected = graph.Selects(ReplicaIndex(static_cast<int32_t>(replica->second)), record.mailbox_name);
    if (!selected) continue;  // no longer part of the mesh there: it is not missed when it is not listed
    MailboxEntry& entry = mesh_.Entry(record.mailbox_name);
    entry.id = record.mailbox;
    entry.copies[replica->second] = std::move(record);
  }
  mesh_.deleted_flag = loaded->deleted;
  mesh_.exclusive_keywords = loaded->exclusive;
  co_return co_await LoadMemories(mesh_);
}

// ---- rounds

bool Coordinator::LookIsDue(const ReplicaSlot& slot) const {
  if (slot.state != ReplicaState::kDown) return slot.look_due;
  return !slot.hopeless && mesh_.clock->Now() >= slot.next_attempt;
}

asio::awaitable<void> Coordinator::LookTask(ReplicaIndex r, absl::Status& failure) {
  const absl::Status status = co_await LookAt(mesh_, r);
  if (!status.ok()) failure = status;
}

asio::awaitable<void> Coordinator::ObserveTask(ReplicaIndex r, std::vector<std::string> mailboxes, Permits& permits,
                                               absl::Status& failure) {
  co_await permits.Acquire();
  if (mesh_.IsUp(r) && failure.ok() && !stopping_) {
    const absl::Status status = co_await ObserveCopies(mesh_, r, std::move(mailboxes));
    if (!status.ok()) failure = status;
  }
  permits.Release();
}

asio::awaitable<absl::Status> Coordinator::LookAndObserve() {
  absl::Status failure;
  {
    TaskGroup looks(mesh_.executor);
    for (size_t r = 0; r < mesh_.replicas.size(); ++r) {
      if (LookIsDue(mesh_.replicas[r])) looks.Start(LookTask(ReplicaIndex(static_cast<int32_t>(r)), failure));
    }
    co_await looks.Join();
  }
  if (!failure.ok()) co_return failure;
  // One replica after the other holds back nobody: each has permits of its own.
  std::vector<std::unique_ptr<Permits>> permits;
  for (size_t r = 0; r < mesh_.replicas.size(); ++r) {
    const int connections = std::max(1, mesh_.graph->replica(ReplicaIndex(static_cast<int32_t>(r))).max_connections());
    permits.push_back(std::make_unique<Permits>(mesh_.executor, connections));
  }
  TaskGroup observations(mesh_.executor);
  std::vector<std::pair<int32_t, std::vector<std::string>>> due = DueTogether(mesh_);
  for (auto& [r, mailboxes] : due) {
    observations.Start(ObserveTask(ReplicaIndex(r), std::move(mailboxes), *permits[static_cast<size_t>(r)], failure));
  }
  co_await observations.Join();
  if (!failure.ok() || due.empty()) co_return failure;
  const auto view = mesh_.View(false);
  const int64_t now = mesh_.clock->UnixMillis();
  const auto review = [&](State& state) { return ReviewBrakes(state, *view, now); };
  const auto reviewed = co_await mesh_.store->Run(review);
  co_return reviewed.status();
}

PlanExceptions Coordinator::Exceptions() const {
  PlanExceptions exceptions;
  for (const auto& [key, refusal] : mesh_.refusals) exceptions.refused.insert(key);
  exceptions.no_copy = mesh_.no_copy;
  return exceptions;
}

asio::awaitable<absl::StatusOr<std::vector<MailboxId>>> Coordinator::UnsettledMailboxes() {
  const auto load = [](State& state) { return state.UnsettledMailboxes(); };
  auto mailboxes = co_await mesh_.store->Run(load);
  if (!mailboxes.ok()) co_return mailboxes.status();
  std::vector<MailboxId> known;
  MailboxId inbox;
  for (const auto& [name, entry] : mesh_.mailboxes) {
    if (name == "INBOX") inbox = entry.id;
    if (std::find(mailboxes->begin(), mailboxes->end(), entry.id) != mailboxes->end()) known.push_back(entry.id);
  }
  std::stable_partition(known.begin(), known.end(), [&](MailboxId id) { return id == inbox; });
  co_return known;
}

asio::awaitable<absl::Status> Coordinator::EstimateProgress(std::vector<MailboxId> mailboxes) {
  const auto count = [](State& state) { return state.CountUnsettled(); };
  const auto unsettled = co_await mesh_.store->Run(count);
  if (!unsettled.ok()) co_return unsettled.status();
  if (*unsettled < kProgressWorthwhile) co_return absl::OkStatus();
  const auto view = mesh_.View(false), ideal = mesh_.View(true);
  const PlanExceptions exceptions = Exceptions();
  mesh_.progress.phase = "adding";
  mesh_.progress.edges.clear();
  for (const GraphEdge& edge : mesh_.graph->edges()) {
    mesh_.progress.edges.push_back({mesh_.name(edge.a), mesh_.name(edge.b), 0, 0, 0, 0});
  }
  for (const MailboxId mailbox : mailboxes) {
    for (MessageId after; true;) {
      PlanBatch batch(*view, *ideal, exceptions, mailbox, after, kPlanBatch, mesh_.clock->UnixMillis());
      const auto work = co_await mesh_.store->Run(batch);
      if (!work.ok()) co_return work.status();
      for (const PlannedMessage& planned : work->messages) {
        for (const CopyPlan& copy : planned.plan.copies) {
          if (copy.action != Action::kAdd || copy.because.edge.value < 0) continue;
          Progress::Edge& edge = mesh_.progress.edges[static_cast<size_t>(copy.because.edge.value)];
          ++edge.messages_total;
          edge.bytes_total += static_cast<int64_t>(planned.message.size);
        }
      }
      if (!work->more) break;
      after = work->last;
    }
  }
  co_return absl::OkStatus();
}

asio::awaitable<absl::StatusOr<int64_t>> Coordinator::PlanAndApply() {
  CO_ASSIGN_OR_RETURN(const int64_t created, co_await ApplyMailboxes(mesh_));
  CO_ASSIGN_OR_RETURN(const std::vector<MailboxId> mailboxes, co_await UnsettledMailboxes());
  if (mesh_.on_progress) CO_RETURN_IF_ERROR(co_await EstimateProgress(mailboxes));
  int64_t operations = created;
  PendingByEdge pending;
  std::vector<MailboxId> with_deletions;
  const auto ideal = mesh_.View(true);
  for (const bool deletions : {false, true}) {
    for (const MailboxId mailbox : deletions ? with_deletions : mailboxes) {
      bool deletes = false;
      for (MessageId after; !stopping_;) {
        const auto view = mesh_.View(false);
        const PlanExceptions exceptions = Exceptions();
        PlanBatch batch(*view, *ideal, exceptions, mailbox, after, kPlanBatch, mesh_.clock->UnixMillis());
        const auto work = co_await mesh_.store->Run(batch);
        if (!work.ok()) co_return work.status();
        for (const PlannedMessage& planned : work->messages) {
          for (const CopyPlan& copy : planned.plan.copies) deletes |= copy.action == Action::kExpunge;
        }
        if (!deletions) {
          for (const auto& [edge, counts] : batch.pending) {
            pending[edge].additions += counts.additions;
            pending[edge].flags += counts.flags;
            pending[edge].deletions += counts.deletions;
          }
        }
        absl::StatusOr<int64_t> done(0);
        if (deletions) {
          done = co_await ApplyDeletions(mesh_, *work);
        } else {
          done = co_await ApplyAdditionsAndFlags(mesh_, *work);
        }
        if (!done.ok()) co_return done.status();
        operations += *done;
        if (!work->more) break;
        after = work->last;
      }
      if (deletes && !deletions) with_deletions.push_back(mailbox);
    }
  }
  pending_ = std::move(pending);
  co_return operations;
}

asio::awaitable<absl::StatusOr<Coordinator::RoundOutcome>> Coordinator::Round() {
  RoundOutcome outcome;
  ++rounds_;
  CO_RETURN_IF_ERROR(co_await LookAndObserve());
  CO_RETURN_IF_ERROR(co_await SaveMemories(mesh_));
  if (stopping_) co_return outcome;
  CO_ASSIGN_OR_RETURN(outcome.operations, co_await PlanAndApply());
  const auto count = [](State& state) {
    return std::make_tuple(state.CopiesWithIntents(), state.conflicts().Count(true), state.conflicts().Count(false),
                           state.conflicts().HasUndescribed());
  };
  const auto counted = co_await mesh_.store->Run(count);
  if (!counted.ok()) co_return counted.status();
  conflicts_open_ = std::get<1>(*counted);
  conflicts_resolved_ = std::get<2>(*counted);
  if (std::get<3>(*counted)) CO_RETURN_IF_ERROR(co_await DescribeConflicts(mesh_));
  // Open intents keep their mailbox copy due: only another observation settles them.
  for (const MailboxCopyId copy : std::get<0>(*counted)) {
    for (const auto& [name, entry] : mesh_.mailboxes) {
      for (size_t r = 0; r < entry.copies.size(); ++r) {
        const bool here = entry.copies[r].id == copy && mesh_.replicas[r].state == ReplicaState::kUp;
        if (!here) continue;
        outcome.settling = true;
        mesh_.due.insert({static_cast<int32_t>(r), name});
      }
    }
  }
  settling_ = outcome.settling;
  co_return outcome;
}

std::optional<Duration> Coordinator::WaitForReplica() const {
  constexpr int kAttempts = 4;
  std::optional<Duration> wait;
  for (const ReplicaSlot& slot : mesh_.replicas) {
    const bool worthwhile =
        slot.state == ReplicaState::kDown && slot.was_up && !slot.hopeless && slot.failures < kAttempts;
    if (!worthwhile) continue;
    const Duration until = std::max<Duration>(slot.next_attempt - mesh_.clock->Now(), milliseconds(1));
    if (!wait || until < *wait) wait = until;
  }
  return wait;
}

asio::awaitable<absl::Status> Coordinator::Converge() {
  for (int round = 0; round < kMaxRounds && !stopping_; ++round) {
    const auto outcome = co_await Round();
    if (!outcome.ok()) co_return outcome.status();
    CO_RETURN_IF_ERROR(co_await Publish(true));
    const bool look_due = std::any_of(mesh_.replicas.begin(), mesh_.replicas.end(),
                                      [&](const ReplicaSlot& slot) { return LookIsDue(slot); });
    if (outcome->settling) {
      co_await Sleep(*mesh_.clock, mesh_.executor, milliseconds(500));
      continue;
    }
    if (outcome->operations > 0 || look_due) continue;
    const auto wait = WaitForReplica();
    if (!wait) break;
    co_await Sleep(*mesh_.clock, mesh_.executor, *wait);
  }
  co_return absl::OkStatus();
}

void Coordinator::RenewHope() {
  mesh_.refusals.clear();
  mesh_.mailbox_refusals.clear();
  mesh_.no_copy.clear();
  for (ReplicaSlot& slot : mesh_.replicas) {
    slot.look_due = true;
    slot.compare_due = true;
    slot.hopeless = false;
    slot.failures = 0;
    slot.next_attempt = Duration(0);
  }
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
  if (!status.ok()) co_return status;
  CO_RETURN_IF_ERROR(co_await Publish(false));
  co_return MakeReport(before, operations_before, 0, started);
}

// ---- continuous operation

void Coordinator::Stop() {
  auto stop = [this] {
    stopping_ = true;
    for (ReplicaSlot& slot : mesh_.replicas) slot.replica->Close();
    wake_.Notify();
  };
  asio::post(mesh_.executor, stop);
}

void Coordinator::StartWatchers() {
  watching_ = true;
  for (size_t r = 0; r < mesh_.replicas.size(); ++r) {
    if (watched_[r] || mesh_.replicas[r].state != ReplicaState::kUp) continue;
    watched_[r] = true;
    watchers_.Start(WatchTask(ReplicaIndex(static_cast<int32_t>(r))));
  }
}

asio::awaitable<void> Coordinator::StopWatchers() {
  watching_ = false;
  for (ReplicaSlot& slot : mesh_.replicas) slot.replica->Close();
  wake_.Notify();
  co_await watchers_.Join();
}

asio::awaitable<void> Coordinator::WatchTask(ReplicaIndex r) {
  std::function<void(std::vector<std::string>)> due = [this, r](std::vector<std::string> mailboxes) {
    for (const std::string& mailbox : mailboxes) {
      if (mesh_.FindCopy(r, mailbox) != nullptr) {
        mesh_.due.insert({r.value, mailbox});
      } else {
        mesh_.slot(r).look_due = true;
      }
    }
    if (mailboxes.empty()) mesh_.slot(r).look_due = true;
    wake_.Notify();
  };
  const absl::Status ended = co_await mesh_.slot(r).replica->Watch(due);
  watched_[static_cast<size_t>(r.value)] = false;
  if (!watching_ || stopping_) co_return;
  if (absl::IsUnimplemented(ended)) {
    watched_[static_cast<size_t>(r.value)] = true;  // polled instead, until it reconnects
    co_return;
  }
  mesh_.Debug(Message(ended));
  if (mesh_.IsUp(r))
    mesh_.MarkDown(
        r, ended.ok() ? absl::UnavailableError("replica " + mesh_.name(r) + ": the watching connection ended") : ended);
  wake_.Notify();
}

Duration Coordinator::UntilNextDue() {
  const Duration now = mesh_.clock->Now();
  Duration wait = settling_ ? Duration(milliseconds(500)) : Duration(seconds(3600));
  for (size_t r = 0; r < mesh_.replicas.size(); ++r) {
    ReplicaSlot& slot = mesh_.replicas[r];
    if (slot.state == ReplicaState::kDown && !slot.hopeless) wait = std::min(wait, slot.next_attempt - now);
    if (slot.state != ReplicaState::kUp) continue;
    if (next_poll_[r] == Duration(0)) {
      const bool pushed = slot.replica->info().can_push;
      const auto interval = static_cast<int64_t>(mesh_.graph->topology().policy().poll_interval_s());
      next_poll_[r] = now + (pushed ? Duration(std::chrono::minutes(15)) : Duration(seconds(interval)));
    }
    if (now >= next_poll_[r]) {
      slot.look_due = true;
      slot.compare_due = true;
      next_poll_[r] = Duration(0);
    }
    wait = std::min(wait, slot.look_due ? Duration(0) : next_poll_[r] - now);
  }
  for (const auto& [r, mailbox] : mesh_.due) {
    if (!settling_ && mesh_.IsUp(ReplicaIndex(r))) wait = Duration(0);
  }
  return std::max(wait, Duration(0));
}

asio::awaitable<absl::Status> Coordinator::RunForever() {
  absl::Status status = co_await LoadState();
  bool was_converged = false;
  while (status.ok() && !stopping_) {
    if (!orders_.empty()) {
      const Order order = std::move(orders_.front());
      orders_.pop_front();
      status = co_await order();
      continue;
    }
    const Duration wait = UntilNextDue();
    if (wait > Duration(0) && rounds_ > 0) {
      co_await wake_.WaitFor(*mesh_.clock, wait);
      if (!settling_) continue;  // what woke us is looked at first; open intents need a round by themselves
    }
    if (stopping_) break;
    status = co_await Publish(true);
    if (!status.ok()) break;
    const auto outcome = co_await Round();
    status = outcome.status();
    if (!status.ok() || stopping_) break;
    StartWatchers();
    status = co_await Publish(false);
    const bool converged = Converged();
    if (converged && !was_converged) mesh_.Emit("CONVERGED", ReplicaIndex(-1), EdgeIndex(-1), "", "nothing is pending");
    was_converged = converged;
  }
  stopping_ = true;
  while (!orders_.empty()) {  // each caller gets its answer
    const Order order = std::move(orders_.front());
    orders_.pop_front();
    const absl::Status ignored = co_await order();
    (void)ignored;
  }
  co_await StopWatchers();
  co_return status;
}

}  // namespace imapmesh
