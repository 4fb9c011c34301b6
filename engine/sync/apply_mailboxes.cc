#include "engine/sync/apply_mailboxes.h"

#include <algorithm>
#include <utility>
#include <vector>

namespace imapmesh {
namespace {

// Which replicas lack a mailbox that an edge would bring them, and along which edge.
std::vector<std::pair<ReplicaIndex, EdgeIndex>> MissingCopies(const Mesh& mesh, const MailboxEntry& entry) {
  std::vector<std::pair<ReplicaIndex, EdgeIndex>> missing;
  const Admissions admissions(*mesh.graph, entry.name);
  std::vector<bool> exists;
  for (const MailboxCopyRecord& record : entry.copies) exists.push_back(record.exists);
  for (bool moved = true; moved;) {
    moved = false;
    for (size_t e = 0; e < mesh.graph->edges().size(); ++e) {
      if (mesh.edge_paused[e]) continue;
      const GraphEdge& edge = mesh.graph->edges()[e];
      for (const bool from_a : {true, false}) {
        const ReplicaIndex from = from_a ? edge.a : edge.b, to = from_a ? edge.b : edge.a;
        const auto f = static_cast<size_t>(from.value), t = static_cast<size_t>(to.value);
        const EdgeIndex index(static_cast<int32_t>(e));
        if (!exists[f] || exists[t] || entry.copies[t].tombstone || !mesh.IsUp(to) || mesh.IsBusy(to) ||
            !mesh.IsUp(from)) {
          continue;
        }
        if (mesh.mailbox_refusals.contains({to.value, entry.name})) continue;
        if (!admissions.Admits(index, from_a, ChangeKind::kAddition)) continue;
        exists[t] = moved = true;
        missing.emplace_back(to, index);
      }
    }
  }
  return missing;
}

asio::awaitable<absl::Status> CreateCopy(Mesh& mesh, ReplicaIndex target, EdgeIndex edge, std::string name,
                                         bool subscribe) {
  const absl::Status created = co_await mesh.slot(target).replica->CreateMailbox(name, subscribe);
  if (!created.ok()) {
    if (OutcomeUnknown(created)) {
      mesh.MarkDown(target, created);
    } else {
      Refusal refusal;
      refusal.replica = target;
      refusal.report = {mesh.name(target),
                        name,
                        "CREATE",
                        "",
                        Message(created),
                        "create it by hand, or exclude it on the edges to this replica",
                        mesh.clock->UnixMillis()};
      mesh.mailbox_refusals[{target.value, name}] = refusal;
      mesh.Warn(Message(created));
      mesh.Emit("PROBLEM", target, edge, name, Message(created));
    }
    co_return absl::OkStatus();
  }
  MailboxCopyRecord record;
  record.replica = mesh.slot(target).id;
  record.mailbox = mesh.Entry(name).id;
  record.mailbox_name = name;
  record.name_here = name;
  record.exists = true;
  record.subscribed = subscribe;
  if (const MailboxCopyRecord* known = mesh.FindCopy(target, name)) record.id = known->id;
  const auto save = [&](State& state) {
    state.Save(record);
    return record;
  };
  const auto saved = co_await mesh.store->Run(save);
  if (!saved.ok()) co_return saved.status();
  mesh.Entry(name).copies[static_cast<size_t>(target.value)] = *saved;
  mesh.slot(target).look_due = true;
  ++mesh.edge_operations[static_cast<size_t>(edge.value)];
  mesh.Emit("OPERATION_DONE", target, edge, name, "CREATE");
  co_return absl::OkStatus();
}

}  // namespace

std::vector<PlannedMailbox> MailboxesToMake(const Mesh& mesh) {
  std::vector<PlannedMailbox> mailboxes;
  for (const auto& [name, entry] : mesh.mailboxes) {
    for (const auto& [target, edge] : MissingCopies(mesh, entry)) mailboxes.push_back({target, edge, name});
  }
  return mailboxes;
}

asio::awaitable<absl::StatusOr<int64_t>> ApplyMailboxes(Mesh& mesh) {
  struct Creation {
    ReplicaIndex target;
    EdgeIndex edge;
    std::string name;
    bool subscribe;
  };
  std::vector<Creation> creations;
  for (const auto& [name, entry] : mesh.mailboxes) {
    const bool subscribe = std::any_of(entry.copies.begin(), entry.copies.end(),
                                       [](const MailboxCopyRecord& record) { return record.subscribed; });
    for (const auto& [target, edge] : MissingCopies(mesh, entry)) creations.push_back({target, edge, name, subscribe});
  }
  for (const Creation& creation : creations) {
    if (!mesh.IsUp(creation.target)) continue;
    const absl::Status status =
        co_await CreateCopy(mesh, creation.target, creation.edge, creation.name, creation.subscribe);
    if (!status.ok()) co_return status;
  }
  co_return static_cast<int64_t>(creations.size());
}

}  // namespace imapmesh
