#include "engine/sync/mesh.h"

#include <algorithm>

namespace imapmesh {
namespace {

using std::chrono::milliseconds;

// Doubles from half a second to five minutes.
Duration Backoff(int failures) {
  const int doublings = std::min(failures, 10);
  return std::min<Duration>(milliseconds(500) * (1 << doublings), std::chrono::minutes(5));
}

}  // namespace

MailboxCopyRecord* Mesh::FindCopy(ReplicaIndex r, const std::string& mailbox) {
  const auto found = mailboxes.find(mailbox);
  if (found == mailboxes.end()) return nullptr;
  MailboxCopyRecord& record = found->second.copies[static_cast<size_t>(r.value)];
  return record.id.value == 0 ? nullptr : &record;
}

MailboxEntry& Mesh::Entry(const std::string& mailbox) {
  const auto [found, added] = mailboxes.try_emplace(mailbox);
  if (added) {
    found->second.name = mailbox;
    found->second.copies.resize(replicas.size());
  }
  return found->second;
}

std::shared_ptr<const MeshView> Mesh::View(bool ignore_downtime) const {
  auto view = std::make_shared<MeshView>();
  view->graph = graph;
  view->context.graph = graph.get();
  for (size_t e = 0; e < edge_paused.size(); ++e) {
    view->context.edge_paused.push_back(!ignore_downtime && IsClosed(e));
  }
  view->context.deleted_flag = deleted_flag;
  view->context.exclusive = exclusive_keywords;
  for (const ReplicaSlot& slot : replicas) {
    view->context.replica_up.push_back(ignore_downtime || slot.state == ReplicaState::kUp);
    view->replicas.push_back(slot.id);
    view->can_move.push_back(slot.replica->can_move());
    view->busy.push_back(!ignore_downtime && slot.tasks > 0);
    view->awaited.push_back(!ignore_downtime && IsAwaited(ReplicaIndex(static_cast<int32_t>(view->awaited.size()))));
  }
  for (const auto& [name, entry] : mailboxes) {
    MailboxView mailbox{entry.id, name, {}};
    for (size_t r = 0; r < entry.copies.size(); ++r) {
      const MailboxCopyId id = entry.copies[r].id;
      mailbox.copies.push_back(id);
      if (id.value == 0) continue;
      view->copies[id] = {ReplicaIndex(static_cast<int32_t>(r)), entry.id};
      if (incomplete.contains({static_cast<int32_t>(r), name})) view->incomplete.insert(id);
    }
    view->mailboxes[entry.id] = std::move(mailbox);
  }
  return view;
}

std::shared_ptr<Batch> Mesh::NewBatch(Duration patience, Duration margin) const {
  auto batch = std::make_shared<Batch>();
  batch->started = clock->Now();
  batch->patience = patience;
  batch->margin = margin;
  return batch;
}

Duration Mesh::AwaitedUntil(ReplicaIndex r) const {
  const ReplicaSlot& busy = replicas[static_cast<size_t>(r.value)];
  const Batch& batch = *busy.batch;
  const Duration until = busy.last_progress + batch.patience;
  if (!batch.first_done) return until;
  return std::min(until, *batch.first_done + (*batch.first_done - batch.started) * 2 + batch.margin);
}

void Mesh::Begin(ReplicaIndex r, const std::shared_ptr<Batch>& batch) {
  if (slot(r).tasks++ > 0) return;
  slot(r).batch = batch;
  Progressed(r);
}

void Mesh::End(ReplicaIndex r) {
  if (--slot(r).tasks > 0) return;
  if (!slot(r).batch->first_done) slot(r).batch->first_done = clock->Now();
  slot(r).batch = nullptr;
  if (on_idle) on_idle();
}

void Mesh::MarkDown(ReplicaIndex r, const absl::Status& status) {
  ReplicaSlot& down = slot(r);
  const bool news = down.state != ReplicaState::kDown || down.last_error != Message(status);
  down.last_error = Message(status);
  down.look_due = true;
  down.compare_due = true;
  down.hopeless = absl::IsUnauthenticated(status) || absl::IsUnimplemented(status) || absl::IsInvalidArgument(status);
  down.next_attempt = clock->Now() + Backoff(down.failures);
  if (down.state != ReplicaState::kDown) {
    down.state = ReplicaState::kDown;
    down.state_since_unix_ms = clock->UnixMillis();
  }
  ++down.failures;
  down.replica->Close();
  if (!news) return;
  Warn(down.last_error);
  Emit("REPLICA_DOWN", r, EdgeIndex(-1), "", down.last_error);
}

void Mesh::MarkUp(ReplicaIndex r) {
  ReplicaSlot& up = slot(r);
  up.failures = 0;
  if (up.state == ReplicaState::kUp) return;
  up.state = ReplicaState::kUp;
  up.was_up = true;
  up.hopeless = false;
  up.last_error.clear();
  up.state_since_unix_ms = clock->UnixMillis();
  Emit("REPLICA_UP", r, EdgeIndex(-1), "", up.replica->info().software);
}

void Mesh::Emit(std::string kind, ReplicaIndex r, EdgeIndex edge, const std::string& mailbox, std::string text) {
  if (!emit) return;
  Event event;
  event.unix_ms = clock->UnixMillis();
  event.kind = std::move(kind);
  if (r.value >= 0) event.replica = name(r);
  if (edge.value >= 0) event.edge = graph->edges()[static_cast<size_t>(edge.value)].name;
  event.mailbox = mailbox;
  event.text = std::move(text);
  emit(std::move(event));
}

}  // namespace imapmesh
