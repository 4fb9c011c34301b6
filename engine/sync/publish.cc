// What the coordinator publishes: status snapshots and run reports.
#include <algorithm>

#include "base/printable.h"
#include "engine/sync/coordinator.h"
#include "engine/sync/kept_back.h"

namespace imapmesh {
namespace {

constexpr int64_t kLongMillis = 5000;

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

}  // namespace

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
  return pass_complete_ && !AnyBusy() && mesh_.due.empty() && mesh_.CountRefused() == 0 && CountRefused(mesh_) == 0 &&
         !settling_;
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
  if (report.last_error.empty() && report.pending.total() > 0) {
    const auto refused = std::find_if(mesh_.refusals.begin(), mesh_.refusals.end(), [&](const auto& refusal) {
      const ReplicaIndex r = refusal.second.replica;
      return !refusal.second.left_out && (r == edge.a || r == edge.b);
    });
    if (refused != mesh_.refusals.end()) report.last_error = refused->second.report.answer;
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

// Since when something has been pending on each edge. A pass that did not come to the end knows of no edge without.
void Coordinator::NotePending(int64_t now) {
  for (size_t e = 0; e < mesh_.graph->edges().size(); ++e) {
    const auto key = static_cast<int32_t>(e);
    const auto pending = pending_.find(key);
    if (pending == pending_.end() || pending->second.total() == 0) {
      if (uncounted_.empty()) pending_since_unix_ms_.erase(key);
    } else {
      pending_since_unix_ms_.try_emplace(key, now);
    }
  }
}

// What has waited for long enough to be told of after a restart too: by edge, since when.
std::map<int32_t, int64_t> Coordinator::LongPending(int64_t now) const {
  std::map<int32_t, int64_t> pending;
  for (const auto& [edge, since] : pending_since_unix_ms_) {
    if (now - since >= kLongMillis) pending[edge] = since;
  }
  return pending;
}

ReplicaReport Coordinator::DescribeReplica(size_t r, int64_t now) const {
  const ReplicaSlot& slot = mesh_.replicas[r];
  ReplicaReport report;
  report.name = slot.replica->name();
  report.state = slot.state;
  report.server = slot.replica->info();
  report.counters = slot.replica->counters();
  report.last_error = slot.last_error;
  report.last_look_unix_ms = slot.last_look_unix_ms;
  report.state_since_unix_ms = slot.state_since_unix_ms;
  if (slot.state == ReplicaState::kDown && !slot.hopeless) {
    const auto until = std::chrono::duration_cast<std::chrono::milliseconds>(slot.next_attempt - mesh_.clock->Now());
    report.next_attempt_unix_ms = now + std::max<int64_t>(0, until.count());
  }
  for (const auto& [name, entry] : mesh_.mailboxes) {
    if (!entry.copies[r].exists) continue;
    ++report.mailboxes;
    report.messages += entry.copies[r].messages;
  }
  return report;
}

MailboxReport Coordinator::DescribeMailbox(const MailboxEntry& entry) const {
  MailboxReport report;
  report.mailbox = Printable(entry.name);
  for (size_t r = 0; r < entry.copies.size(); ++r) {
    const MailboxCopyRecord& record = entry.copies[r];
    if (record.id.value == 0 || !record.exists) continue;
    const bool due = !mesh_.due.empty() && mesh_.due.contains({static_cast<int32_t>(r), entry.name});
    report.copies.push_back({mesh_.replicas[r].replica->name(), Printable(record.name_here), record.messages,
                             record.uid_validity.value, record.uid_next.value, record.highest_modseq.value, !due});
  }
  return report;
}

// Who asks before the state is loaded is told which replicas and edges there are, and nothing of them yet.
void Coordinator::PublishStart() {
  const std::lock_guard lock(published_mutex_);
  published_ = DescribeGraph(false);
}

std::shared_ptr<StatusSnapshot> Coordinator::DescribeGraph(bool syncing) const {
  const int64_t now = mesh_.clock->UnixMillis();
  auto snapshot = std::make_shared<StatusSnapshot>();
  snapshot->topology_name = mesh_.graph->name();
  snapshot->generated_unix_ms = now;
  snapshot->syncing = syncing;
  for (size_t r = 0; r < mesh_.replicas.size(); ++r) snapshot->replicas.push_back(DescribeReplica(r, now));
  for (size_t e = 0; e < mesh_.graph->edges().size(); ++e) snapshot->edges.push_back(DescribeEdge(e, syncing));
  return snapshot;
}

void Coordinator::Publish(bool syncing) {
  const std::shared_ptr<StatusSnapshot> snapshot = DescribeGraph(syncing);
  snapshot->converged = Converged();
  snapshot->rounds = rounds_;
  snapshot->conflicts_open = conflicts_open_;
  snapshot->conflicts_resolved = conflicts_resolved_;
  for (const auto& [name, entry] : mesh_.mailboxes) {
    MailboxReport mailbox = DescribeMailbox(entry);
    if (!mailbox.copies.empty()) snapshot->mailboxes.push_back(std::move(mailbox));  // else it is deleted everywhere
  }
  for (const auto& [key, refusal] : mesh_.refusals) {
    if (!refusal.left_out) snapshot->problems.push_back(refusal.report);
  }
  for (const auto& [key, refusal] : mesh_.mailbox_refusals) snapshot->problems.push_back(refusal.report);
  for (ProblemReport& problem : DescribeKeptBack(mesh_)) snapshot->problems.push_back(std::move(problem));
  const std::lock_guard lock(published_mutex_);
  published_ = snapshot;
}

RunReport Coordinator::MakeReport(const std::vector<ReplicaCounters>& before,
                                  const std::vector<int64_t>& operations_before, int64_t rounds_before,
                                  int64_t resolved_before, Duration started) const {
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
  report.conflicts_resolved = snapshot->conflicts_resolved - resolved_before;
  report.refused = mesh_.CountRefused() + CountRefused(mesh_);
  return report;
}

}  // namespace imapmesh
