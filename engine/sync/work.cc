#include "engine/sync/work.h"

#include <algorithm>

#include "engine/sync/mesh.h"

namespace imapmesh {
namespace {

// Whether two messages of the mesh certainly hold the same bytes. The server's own identity counts within one replica
// only (DESIGN.md section 7, X-GUID).
bool SameContent(const MeshView& view, const MessageRegisters& a, const MessageRegisters& b) {
  const auto replica_of = [&](const CopyRegisters& copy) {
    const auto where = view.copies.find(copy.mailbox_copy);
    return where == view.copies.end() ? ReplicaIndex(-1) : where->second.first;
  };
  if (a.content && b.content) return *a.content == *b.content;
  if (a.size != b.size || a.internal_date != b.internal_date) return false;
  bool guids = false;
  for (const CopyRegisters& one : a.copies) {
    for (const CopyRegisters& other : b.copies) {
      if (one.guid == 0 || other.guid == 0 || replica_of(one) != replica_of(other)) continue;
      if (one.guid == other.guid) return true;
      guids = true;
    }
  }
  // Different identities on the server tell nothing about the bytes: then only a Message-ID without them convinces, and
  // not between two messages that stand side by side.
  return !guids && !a.message_id.empty() && a.mailbox != b.mailbox;
}

std::string DescribeChange(const MessageRegisters& message, const CopyPlan& plan) {
  return "flags of message " + std::to_string(message.id.value) + " changed while it was deleted at the other replica" +
         (plan.action == Action::kRestore ? " (change kept)" : "");
}

}  // namespace

Work PlanBatch::operator()(State& state) {
  pending.clear();
  Work work;
  const MailboxView& mailbox = view_.mailboxes.at(mailbox_);
  const Admissions admissions(*view_.graph, mailbox.name);
  std::vector<MessageRegisters> messages = state.LoadUnsettled(mailbox_, after_, limit_);
  work.more = messages.size() == limit_;
  for (MessageRegisters& message : messages) {
    work.last = message.id;
    MessagePlan plan = PlanMessage(message, mailbox, admissions, view_.context);
    MessagePlan ideal = PlanMessage(message, mailbox, admissions, ideal_.context);
    Count(ideal);
    PlannedMessage planned;
    bool open = ideal.copies.size() != plan.copies.size();
    for (CopyPlan& copy : plan.copies) {
      if (copy.action == Action::kRestore) Restore(state, message, copy);
      if (copy.action == Action::kLevel) {
        Level(state, message, copy);
        continue;
      }
      open = true;
      const std::pair<MessageId, MailboxCopyId> key{message.id, copy.mailbox_copy};
      if (copy.action == Action::kRestore || exceptions_.refused.contains(key)) continue;
      if (copy.mailbox_copy.value != 0 && state.HasIntent(message.id, copy.mailbox_copy)) continue;
      const CopyRegisters* here = message.Find(copy.mailbox_copy);
      if (copy.action != Action::kAdd && (here == nullptr || here->uid.value == 0)) continue;
      if (copy.action == Action::kExpunge) {
        if (MovePending(state, message, copy)) continue;
        if (copy.conflict) RecordConflict(state, message, copy);
      }
      if (copy.action == Action::kAdd && !exceptions_.no_copy.contains(key)) {
        if (const auto source = FindContent(state, message, copy.target))
          planned.copy_from[copy.target.value] = *source;
      }
      planned.plan.copies.push_back(std::move(copy));
    }
    if (!open) {
      state.ClearUnsettled(message.id);
      ++work.settled;
    }
    if (planned.plan.copies.empty()) continue;
    planned.plan.sources = std::move(plan.sources);
    planned.message = std::move(message);
    work.messages.push_back(std::move(planned));
  }
  return work;
}

void PlanBatch::Level(State& state, MessageRegisters& message, CopyPlan& plan) {
  if (plan.mailbox_copy.value == 0) return;
  CopyRegisters* copy = message.Find(plan.mailbox_copy);
  if (copy == nullptr) {
    message.copies.push_back({plan.mailbox_copy, Uid(), Presence::kAbsent, Stamp(0), {}, 0});
    copy = &message.copies.back();
  }
  copy->stamp = plan.stamp;
  copy->flags = plan.flags;
  state.SaveCopy(message.id, *copy);
}

void PlanBatch::Restore(State& state, MessageRegisters& message, const CopyPlan& plan) {
  RecordConflict(state, message, plan);
  CopyRegisters* copy = message.Find(plan.mailbox_copy);
  copy->stamp = state.NextStamp();
  state.SaveCopy(message.id, *copy);
}

void PlanBatch::RecordConflict(State& state, const MessageRegisters& message, const CopyPlan& plan) {
  ConflictRecord conflict;
  conflict.key = "delete-change:" + std::to_string(message.id.value) + ":" + std::to_string(plan.target.value) + ":" +
                 std::to_string(plan.because.stamp.value);
  conflict.kind = "DELETE_VS_CHANGE";
  conflict.mailbox = view_.mailboxes.at(mailbox_).name;
  conflict.message = message.id;
  conflict.message_id = message.message_id;
  conflict.unix_ms = now_;
  conflict.replica_a = view_.graph->replica(plan.because.origin).name();
  conflict.change_a = "deleted";
  conflict.replica_b = view_.graph->replica(plan.target).name();
  conflict.change_b = DescribeChange(message, plan);
  conflict.policy = plan.action == Action::kRestore ? "CHANGE_WINS" : "DELETE_WINS";
  conflict.outcome = plan.action == Action::kRestore ? "the message is kept and put back" : "the message is deleted";
  state.AddConflict(conflict);
}

// How many additions of messages with this identity are still to be done at a replica.
int PlanBatch::PendingAdditions(State& state, const Digest& identity, MessageId except, ReplicaIndex replica) const {
  int pending = 0;
  for (const MessageId id : state.MessagesWithIdentity(identity, 16)) {
    if (id == except) continue;
    const auto other = state.Load(id);
    const auto mailbox = other ? view_.mailboxes.find(other->mailbox) : view_.mailboxes.end();
    if (mailbox == view_.mailboxes.end()) continue;
    const Admissions admissions(*view_.graph, mailbox->second.name);
    for (const CopyPlan& copy : PlanMessage(*other, mailbox->second, admissions, view_.context).copies) {
      const bool refused = exceptions_.refused.contains({id, copy.mailbox_copy});
      if (copy.target == replica && copy.action == Action::kAdd && !refused) ++pending;
    }
  }
  return pending;
}

// A message that was moved must have arrived in its new mailbox before it leaves the old one.
bool PlanBatch::MovePending(State& state, const MessageRegisters& message, const CopyPlan& plan) const {
  return PendingAdditions(state, message.identity, message.id, plan.target) > 0;
}

std::optional<ServerSideCopy> PlanBatch::FindContent(State& state, const MessageRegisters& message,
                                                     ReplicaIndex replica) const {
  std::optional<ServerSideCopy> found;
  for (const MessageId id : state.MessagesWithIdentity(message.identity, 16)) {
    if (id == message.id) continue;
    const auto other = state.Load(id);
    if (!other || !SameContent(view_, message, *other)) continue;
    for (const CopyRegisters& copy : other->copies) {
      const auto where = view_.copies.find(copy.mailbox_copy);
      if (where == view_.copies.end() || where->second.first != replica) continue;
      if (!copy.present() || copy.uid.value == 0) continue;
      const ServerSideCopy here{{id, copy.mailbox_copy, copy.uid}, FindDeparture(state, *other, replica)};
      if (here.departure) return here;
      if (!found) found = here;
    }
  }
  return found;
}

std::optional<Stamp> PlanBatch::FindDeparture(State& state, const MessageRegisters& source,
                                              ReplicaIndex replica) const {
  if (!view_.can_move[static_cast<size_t>(replica.value)]) return std::nullopt;
  const MailboxView& mailbox = view_.mailboxes.at(source.mailbox);
  const Admissions admissions(*view_.graph, mailbox.name);
  for (const CopyPlan& copy : PlanMessage(source, mailbox, admissions, view_.context).copies) {
    if (copy.target != replica || copy.action != Action::kExpunge || copy.conflict) continue;
    if (exceptions_.refused.contains({source.id, copy.mailbox_copy})) continue;
    if (state.HasIntent(source.id, copy.mailbox_copy)) continue;
    // One addition, the one that asks: another would find its source gone.
    if (PendingAdditions(state, source.identity, source.id, replica) == 1) return copy.stamp;
  }
  return std::nullopt;
}

void PlanBatch::Count(const MessagePlan& plan) {
  for (const CopyPlan& copy : plan.copies) {
    if (copy.because.edge.value < 0) continue;
    PendingCounts& counts = pending[copy.because.edge.value];
    if (copy.action == Action::kAdd) ++counts.additions;
    if (copy.action == Action::kFlags) ++counts.flags;
    if (copy.action == Action::kExpunge) ++counts.deletions;
  }
}

}  // namespace imapmesh
