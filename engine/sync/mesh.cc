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
  view->context.edge_paused = edge_paused;
  if (ignore_downtime) view->context.edge_paused.assign(edge_paused.size(), false);
  view->context.deleted_flag = deleted_flag;
  view->context.exclusive = exclusive_keywords;
  for (const ReplicaSlot& slot : replicas) {
    view->context.replica_up.push_back(ignore_downtime || slot.state == ReplicaState::kUp);
    view->replicas.push_back(slot.id);
    view->can_move.push_back(slot.replica->can_move());
    view->busy.push_back(!ignore_downtime && slot.tasks > 0);
    view->awaited.push_back(!ignore_downtime && slot.tasks > 0 && !slot.left_behind);
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

void Mesh::Begin(ReplicaIndex r) {
  if (slot(r).tasks++ == 0) Progressed(r);
}

void Mesh::End(ReplicaIndex r) {
  if (--slot(r).tasks > 0) return;
  slot(r).left_behind = false;
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
