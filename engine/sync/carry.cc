#include "engine/sync/carry.h"

#include <algorithm>
#include <vector>

#include "engine/sync/mesh.h"

namespace imapmesh {
namespace {

constexpr Duration kPatience = std::chrono::seconds(10);
// Each look of some megabytes selects the mailbox anew, at a cost that grows with it: beyond this reading all messages
// twice costs less.
constexpr Uid kMostUids = Uid(20'000);

// What the last look told of a mailbox copy that was not looked into yet; 0 where it did not.
Uid ListedNextUid(const ReplicaSlot& slot, const std::string& mailbox) {
  const auto listed = slot.not_observed.find(mailbox);
  return listed == slot.not_observed.end() ? Uid() : listed->second.uid_next;
}

// Whether it is certain that the replica holds no message of the mailbox.
bool HoldsNothing(const ReplicaSlot& slot, const MailboxCopyRecord& copy) {
  if (copy.id.value == 0 || !copy.exists) return true;
  if (copy.rebinding) return false;
  const Uid next = copy.uid_validity.value != 0 ? copy.uid_next : ListedNextUid(slot, copy.mailbox_name);
  return next == Uid(1);
}

bool IsOnlyHere(const Mesh& mesh, ReplicaIndex here, const MailboxEntry& entry) {
  const MailboxCopyRecord& copy = entry.copies[static_cast<size_t>(here.value)];
  if (copy.id.value == 0 || !copy.exists || copy.rebinding || copy.uid_validity.value != 0) return false;
  const Uid next = ListedNextUid(mesh.replicas[static_cast<size_t>(here.value)], entry.name);
  if (next <= Uid(1) || next > kMostUids) return false;
  std::vector<bool> up, closed;
  for (const ReplicaSlot& each : mesh.replicas) up.push_back(each.state == ReplicaState::kUp);
  for (size_t e = 0; e < mesh.edge_paused.size(); ++e) closed.push_back(mesh.IsClosed(e));
  const Admissions admissions(*mesh.graph, entry.name);
  const std::vector<bool> reached = admissions.Reached(here, ChangeKind::kAddition, closed, up);
  bool wanted = false;
  for (size_t r = 0; r < mesh.replicas.size(); ++r) {
    const ReplicaIndex other(static_cast<int32_t>(r));
    if (other == here || !up[r]) continue;
    if (!HoldsNothing(mesh.replicas[r], entry.copies[r])) return false;
    wanted |= reached[r] && mesh.graph->Selects(other, entry.name);
  }
  return wanted;
}

}  // namespace

void CarriedBodies::Put(const BodyPlace& place, const ArrivedMessage& arrived, Duration now) {
  Entry& entry = bodies_[place];
  if (entry.body != nullptr) bytes_ -= entry.body->size();
  entry = {next_++, arrived.header_digest, arrived.size, arrived.body};
  bytes_ += entry.body->size();
  last_change_ = now;
  Measure();
}

std::shared_ptr<const Body> CarriedBodies::Take(const BodyPlace& place, const MessageRegisters& message, Duration now) {
  const auto found = bodies_.find(place);
  if (found == bodies_.end()) return nullptr;
  const Entry entry = std::move(found->second);
  bodies_.erase(found);
  bytes_ -= entry.body->size();
  last_change_ = now;
  Measure();
  // A server that went back to an older state gives a UID twice.
  return entry.identity == message.identity && entry.size == message.size ? entry.body : nullptr;
}

Duration CarriedBodies::PatienceEnds() const {
  return last_change_ + kPatience;
}

bool CarriedBodies::EndPass() {
  const auto left = [&](const auto& entry) { return entry.second.number < first_of_pass_; };
  for (const auto& entry : bodies_) bytes_ -= left(entry) ? entry.second.body->size() : 0;
  const bool any = std::erase_if(bodies_, left) > 0;
  Measure();
  return any;
}

void CarriedBodies::Clear() {
  bodies_.clear();
  bytes_ = 0;
  Measure();
}

void CarriedBodies::Measure() {
  full_ = full_ ? bytes_ > most_ / 2 : bytes_ >= most_;
}

bool IsFirstContact(const Mesh& mesh, ReplicaIndex r) {
  return std::all_of(mesh.mailboxes.begin(), mesh.mailboxes.end(), [&](const auto& mailbox) {
    const MailboxCopyRecord& copy = mailbox.second.copies[static_cast<size_t>(r.value)];
    return !copy.rebinding && (copy.uid_validity.value == 0 || copy.uid_next == Uid(1));
  });
}

std::set<std::pair<int32_t, std::string>> FindCarrying(const Mesh& mesh, ReplicaIndex r) {
  const bool first = mesh.replicas[static_cast<size_t>(r.value)].first_contact;
  std::set<std::pair<int32_t, std::string>> carrying;
  for (auto due = mesh.due.lower_bound({r.value, ""}); due != mesh.due.end() && due->first == r.value; ++due) {
    const auto entry = mesh.mailboxes.find(due->second);
    const bool begins = first && entry != mesh.mailboxes.end() && IsOnlyHere(mesh, r, entry->second);
    if (begins || mesh.carrying.contains(*due)) carrying.insert(*due);
  }
  return carrying;
}

}  // namespace imapmesh
