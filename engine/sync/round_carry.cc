// First looks that bring bodies along (carry.h), within the rounds, and what the display expects of them.
#include <algorithm>
#include <utility>

#include "engine/sync/carry.h"
#include "engine/sync/coordinator.h"
#include "engine/sync/lane.h"

namespace imapmesh {
namespace {

using std::chrono::seconds;

constexpr Duration kPatience = seconds(2);
constexpr int64_t kProgressWorthwhile = 200;  // unsettled messages from which on totals are counted first

}  // namespace

bool Coordinator::HasObservable(ReplicaIndex r) const {
  auto due = mesh_.due.lower_bound({r.value, ""});
  while (due != mesh_.due.end() && due->first == r.value && mesh_.WaitsForRoom(*due)) ++due;
  return due != mesh_.due.end() && due->first == r.value;
}

// Of mailbox copies whose bodies are carried some were not looked into yet: what was moved may be there.
bool Coordinator::FirstLooksWait() const {
  return std::any_of(mesh_.carrying.begin(), mesh_.carrying.end(), [&](const auto& copy) {
    return mesh_.IsUp(ReplicaIndex(copy.first)) && mesh_.due.contains(copy);
  });
}

// Whether others hold nothing is known when they were looked at too.
asio::awaitable<void> Coordinator::FindCarryingAt(ReplicaIndex r) {
  const bool shown_only = plan_cancelled_ != nullptr;  // nothing is added, so no body would be taken
  const auto& listed = mesh_.slot(r).not_observed;
  const auto holds_mail = [](const auto& mailbox) { return mailbox.second.uid_next > Uid(1); };
  const bool begins =
      !shown_only && mesh_.slot(r).first_contact && std::any_of(listed.begin(), listed.end(), holds_mail);
  const auto unrecorded = [](const ReplicaSlot& slot) { return slot.unrecorded && !slot.waits_for_quiet; };
  const Duration until = mesh_.clock->Now() + kPatience;
  while (begins && std::any_of(mesh_.replicas.begin(), mesh_.replicas.end(), unrecorded) && !stopping_) {
    const Duration left = until - mesh_.clock->Now();
    if (left <= Duration(0)) break;
    co_await listed_.WaitFor(*mesh_.clock, left);
  }
  std::set<std::pair<int32_t, std::string>> found;
  if (!shown_only) found = FindCarrying(mesh_, r);
  std::erase_if(mesh_.carrying, [&](const auto& copy) { return copy.first == r.value; });
  mesh_.carrying.merge(found);
}

// While targets are at work on what came before. Where something else is due as well the pass ends for it.
void Coordinator::BeginCarrying() {
  if (settling_ || mesh_.carrying.empty()) return;
  for (size_t i = 0; i < mesh_.replicas.size(); ++i) {
    const ReplicaIndex r(static_cast<int32_t>(i));
    if (!mesh_.IsUp(r) || mesh_.IsBusy(r) || !HasObservable(r)) continue;
    auto due = mesh_.due.lower_bound({r.value, ""});
    while (due != mesh_.due.end() && due->first == r.value && mesh_.carrying.contains(*due)) ++due;
    if (due != mesh_.due.end() && due->first == r.value) continue;
    const auto batch = mesh_.NewBatch(kPatience, kPatience);
    lanes_.Start(LookLane(r, std::make_shared<const Lane>(mesh_, r, batch), false));
  }
}

// About how many messages are to go along the edge from mailbox copies that were not looked into yet.
int64_t Coordinator::CountUnseen(EdgeIndex index) const {
  const GraphEdge& edge = mesh_.graph->edges()[static_cast<size_t>(index.value)];
  int64_t unseen = 0;
  for (const auto& [r, mailbox] : mesh_.carrying) {
    const ReplicaIndex here(r);
    const bool flows =
        (edge.a == here || edge.b == here) && mesh_.graph->Admits(index, here, mailbox, ChangeKind::kAddition);
    const auto& not_observed = mesh_.replicas[static_cast<size_t>(r)].not_observed;
    const auto listed = not_observed.find(mailbox);
    const auto entry = mesh_.mailboxes.find(mailbox);
    if (!flows || listed == not_observed.end() || entry == mesh_.mailboxes.end()) continue;
    const uint32_t seen = std::max<uint32_t>(entry->second.copies[static_cast<size_t>(r)].uid_next.value, 1);
    unseen += std::max<int64_t>(0, static_cast<int64_t>(listed->second.uid_next.value) - seen);
  }
  return unseen;
}

asio::awaitable<absl::Status> Coordinator::EstimateProgress(const std::vector<UnsettledMailbox>& mailboxes) {
  int64_t unsettled = 0;
  for (const UnsettledMailbox& mailbox : mailboxes) unsettled += mailbox.messages;
  if (unsettled < kProgressWorthwhile) co_return absl::OkStatus();
  const auto view = mesh_.View(false);
  mesh_.progress.phase = "adding";
  if (pass_complete_) mesh_.progress.edges.clear();
  const bool goes_on = !mesh_.progress.edges.empty();
  for (const GraphEdge& edge : mesh_.graph->edges()) {
    if (!goes_on) mesh_.progress.edges.push_back({mesh_.name(edge.a), mesh_.name(edge.b), 0, 0, 0, 0});
  }
  EstimateAdditions estimate(*view, mailboxes);
  for (bool more = true; more;) {
    CO_ASSIGN_OR_RETURN(more, co_await mesh_.store->Run(estimate));
  }
  for (const auto& [index, additions] : estimate.by_edge) {
    Progress::Edge& edge = mesh_.progress.edges[static_cast<size_t>(index)];
    edge.messages_total = edge.messages_done + additions.first;
    edge.bytes_total = edge.bytes_done + additions.second;
    if (edge.messages_total == 0) continue;
    const int64_t unseen = CountUnseen(EdgeIndex(index));
    edge.bytes_total += unseen * (edge.bytes_total / edge.messages_total);
    edge.messages_total += unseen;
  }
  co_return absl::OkStatus();
}

}  // namespace imapmesh
