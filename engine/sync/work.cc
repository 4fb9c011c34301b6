#include "engine/sync/work.h"

#include <algorithm>

#include "base/printable.h"
#include "engine/sync/conflicts.h"
#include "engine/sync/kept_back.h"
#include "engine/sync/mesh.h"

namespace imapmesh {
namespace {

constexpr int64_t kRecentSteps = 20'000;  // of the history: what happened earlier met its other side long ago

// Whether two messages of the mesh certainly hold the same bytes. The server's own identity counts within one replica
// only (DESIGN.md section 7, X-GUID).
bool SameContent(const MeshView& view, const MessageRegisters& a, const MessageRegisters& b) {
  const auto replica_of = [&](const CopyRegisters& copy) {
    const auto where = view.copies.find(copy.mailbox_copy);
    return where == view.copies.end() ? ReplicaIndex(-1) : where->second.first;
  };
  if (a.content && b.content) return a.content->exact == b.content->exact;
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

}  // namespace

std::vector<const CopyPlan*> PlannedMessage::Appends(bool into_missing) const {
  std::vector<const CopyPlan*> appends;
  for (const CopyPlan& copy : plan.copies) {
    const bool append = copy.action == Action::kAdd && !copy_from.contains(copy.target.value);
    if (append && (into_missing || copy.mailbox_copy.value != 0)) appends.push_back(&copy);
  }
  return appends;
}

std::set<ReplicaIndex> Work::Targets(bool deletions) const {
  std::set<ReplicaIndex> targets;
  for (const PlannedMessage& planned : messages) {
    for (const CopyPlan& copy : planned.plan.copies) {
      if ((copy.action == Action::kExpunge) == deletions) targets.insert(copy.target);
    }
  }
  return targets;
}

bool EstimateAdditions::operator()(State& state) {
  size_t left = PlanBatch::kPlanMessages;
  for (; next_.mailbox < mailboxes_.size(); next_ = {next_.mailbox + 1, MessageId()}) {
    const MailboxView& mailbox = view_.mailboxes.at(mailboxes_[next_.mailbox].id);
    const Admissions admissions(*view_.graph, mailbox.name);
    for (const MessageRegisters& message : state.LoadUnsettled(mailbox.id, next_.after, left)) {
      next_.after = message.id;
      for (const CopyPlan& copy : PlanMessage(message, mailbox, admissions, view_.context).copies) {
        if (copy.action != Action::kAdd || copy.because.edge.value < 0) continue;
        auto& [messages, bytes] = by_edge[copy.because.edge.value];
        ++messages;
        bytes += static_cast<int64_t>(message.size);
      }
      if (--left == 0) return true;
    }
  }
  return false;
}

Work PlanBatch::operator()(State& state) {
  pending.clear();
  pending_in.clear();
  bytes_ = 0;
  planned_.clear();
  leaving_.clear();
  duplicates_.emplace(state, view_, now_);
  alike_lately_ = HasAlikeLately(state, now_);
  as_ideal_ =
      view_.context.replica_up == ideal_.context.replica_up && view_.context.edge_paused == ideal_.context.edge_paused;
  Work work = PlanFrom(state);
  for (ConflictNote& note : duplicates_->TakeNotes()) work.conflicts.push_back(std::move(note));
  return work;
}

Work PlanBatch::PlanFrom(State& state) {
  Work work;
  size_t planned = 0;
  for (work.next = from_; work.next.mailbox < mailboxes_.size(); work.next = {work.next.mailbox + 1, MessageId()}) {
    const MailboxView& mailbox = view_.mailboxes.at(mailboxes_[work.next.mailbox].id);
    const Admissions admissions(*view_.graph, mailbox.name);
    auto messages = state.LoadUnsettled(mailbox.id, work.next.after, kPlanMessages - planned);
    for (MessageRegisters& message : messages) {
      work.next.after = message.id;
      PlanOne(state, std::move(message), mailboxes_[work.next.mailbox], admissions, work);
      work.more = ++planned == kPlanMessages || bytes_ >= kPlanBytes;
      if (work.more) return work;
    }
  }
  return work;
}

void PlanBatch::PlanOne(State& state, MessageRegisters message, const UnsettledMailbox& unsettled,
                        const Admissions& admissions, Work& work) {
  const MailboxView& mailbox = view_.mailboxes.at(unsettled.id);
  if (duplicates_->HasMoved(message.id)) message = *state.Load(message.id);  // another UID since it was loaded
  MessagePlan plan = PlanMessage(message, mailbox, admissions, view_.context);
  const MessagePlan ideal = as_ideal_ ? plan : PlanMessage(message, mailbox, admissions, ideal_.context);
  const bool adds = std::any_of(ideal.copies.begin(), ideal.copies.end(),
                                [](const auto& copy) { return copy.action == Action::kAdd; });
  // Without another message of its looks it has no double, and its content is nowhere else.
  const bool alone = adds && state.MessagesWithIdentity(message.identity, 2).size() < 2;
  const bool ordinary = alone && !duplicates_->IsKnown(message.id);
  if (!ordinary && PlanDuplicate(state, message, ideal, work)) return;
  Count(state, message, ideal);
  state.kept_back().Put(message.id, ideal.kept_back);
  PlannedMessage planned;
  bool open = ideal.copies.size() != plan.copies.size();
  DecideConflict(state, message, plan, work);
  // A change that won has a new stamp now: the next pass carries it back to where the message was deleted.
  bool skips = std::any_of(plan.copies.begin(), plan.copies.end(),
                           [](const CopyPlan& copy) { return copy.action == Action::kRestore; });
  const bool small = unsettled.messages <= kSmallWork;
  const std::vector<bool>& worth_waiting_for = small ? view_.brief : view_.awaited;
  const bool body_waits = std::any_of(plan.copies.begin(), plan.copies.end(), [&](const CopyPlan& copy) {
    return copy.action == Action::kAdd && worth_waiting_for[static_cast<size_t>(copy.target.value)];
  });
  for (CopyPlan& copy : plan.copies) {
    if (view_.busy[static_cast<size_t>(copy.target.value)]) {
      open = skips = true;
      continue;
    }
    if (copy.action == Action::kLevel) {
      Level(state, message, copy);
      continue;
    }
    open = true;
    if (!Wanted(state, message, copy)) continue;
    if (copy.action == Action::kAdd) {
      const bool copyable = !alone && !exceptions_.no_copy.contains({message.id, copy.mailbox_copy});
      auto source = copyable ? FindContent(state, message, copy.target) : std::nullopt;
      if (source && !copy.holders.empty() && TakesFlagsBack(state, *source, copy)) source.reset();
      if (source) {
        planned.copy_from[copy.target.value] = *source;
        planned_.insert(source->source.message);
        TakeAlong(state, mailbox, *source, copy);
      }
      std::erase_if(copy.holders, [&](ReplicaIndex holder) {
        const MailboxCopyId there = mailbox.copies[static_cast<size_t>(holder.value)];
        return exceptions_.unfetchable.contains({message.id, there});
      });
      if (!source && copy.holders.empty()) continue;  // until it is found again where it is
      if (!source && body_waits) {
        work.waits_briefly |= small;
        continue;
      }
    }
    if (copy.action == Action::kExpunge && duplicates_->TakePlace(message, copy)) {
      skips = true;
      continue;
    }
    const bool company = !view_.carried_since.empty();
    const bool doubtful = copy.action == Action::kExpunge || (copy.action == Action::kFlags && company);
    if (doubtful && HasEqualBeside(state, message, copy.mailbox_copy)) planned.equal_beside.insert(copy.target.value);
    planned.plan.copies.push_back(std::move(copy));
  }
  if (!open) {
    state.ClearUnsettled(message.id, message.mailbox);
    ++work.settled;
  }
  if (skips) ++work.skipped;
  if (planned.plan.copies.empty()) return;
  if (!planned.Appends().empty()) bytes_ += message.size;
  const bool leaves = std::all_of(planned.plan.copies.begin(), planned.plan.copies.end(),
                                  [](const CopyPlan& copy) { return copy.action == Action::kExpunge; });
  if (leaves) leaving_.insert(message.id);
  planned_.insert(message.id);
  planned.message = std::move(message);
  work.messages.push_back(std::move(planned));
}

bool PlanBatch::PlanDuplicate(State& state, const MessageRegisters& message, const MessagePlan& ideal, Work& work) {
  const auto plans = [&](Action action) {
    return std::any_of(ideal.copies.begin(), ideal.copies.end(),
                       [action](const CopyPlan& copy) { return copy.action == action; });
  };
  const bool spreads = plans(Action::kAdd), leaves = plans(Action::kExpunge) || plans(Action::kAsk);
  const auto copies = std::count_if(message.copies.begin(), message.copies.end(),
                                    [](const CopyRegisters& copy) { return copy.present(); });
  // One that goes nowhere came to the end of a one-way edge, or to all replicas by races at each of them; or it was
  // deleted everywhere else.
  const bool arrived = copies == 1 || (alike_lately_ && !plans(Action::kFlags));
  if (!spreads && (leaves || !arrived) && !duplicates_->IsKnown(message.id)) return false;
  const Duplicates::Standing standing = duplicates_->Judge(message, planned_, leaving_);
  if (standing == Duplicates::Standing::kOrdinary) return false;
  if (standing == Duplicates::Standing::kLater) {
    for (const CopyPlan& copy : ideal.copies) {
      if (copy.because.edge.value >= 0) pending_in[message.mailbox].insert(copy.because.edge.value);
    }
    ++work.skipped;
  }
  const bool known = duplicates_->IsKnown(message.id);
  PlannedMessage planned;
  for (CopyPlan& removal : duplicates_->Removals(message)) {
    const bool busy = view_.busy[static_cast<size_t>(removal.target.value)];
    if (busy) ++work.skipped;
    if (busy || !Wanted(state, message, removal)) continue;
    planned.equal_beside.insert(removal.target.value);
    planned.plan.copies.push_back(std::move(removal));
  }
  if (known && !duplicates_->IsKnown(message.id)) return false;
  Count(state, message, planned.plan);
  if (planned.plan.copies.empty()) return true;
  planned_.insert(message.id);
  planned.message = message;
  work.messages.push_back(std::move(planned));
  return true;
}

bool PlanBatch::Wanted(State& state, const MessageRegisters& message, const CopyPlan& copy) const {
  if (copy.action == Action::kRestore || copy.action == Action::kAsk) return false;
  if (exceptions_.refused.contains({message.id, copy.mailbox_copy})) return false;
  if (copy.mailbox_copy.value != 0 && state.HasIntent(message.id, copy.mailbox_copy)) return false;
  // What is there but not identified yet may be this very message.
  if (copy.action == Action::kAdd && view_.incomplete.contains(copy.mailbox_copy)) return false;
  const CopyRegisters* here = message.Find(copy.mailbox_copy);
  if (copy.action != Action::kAdd && (here == nullptr || here->uid.value == 0)) return false;
  // The mailbox is made first, or its deletion is decided first.
  const bool there = view_.mailboxes.at(message.mailbox).exists[static_cast<size_t>(copy.target.value)];
  const bool never = copy.mailbox_copy.value != 0 || exceptions_.no_mailbox.contains({copy.target, message.mailbox});
  if (copy.action == Action::kAdd && never && !there) return false;
  return copy.action != Action::kExpunge || !MovePending(state, message, copy);
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

// A deletion met a change, or two keywords exclude one another: recorded, and carried out as far as registers go.
void PlanBatch::DecideConflict(State& state, MessageRegisters& message, const MessagePlan& plan, Work& work) {
  if (plan.keywords) RecordKeywordConflict(state, message, *plan.keywords, work);
  std::optional<Stamp> restored;
  for (const CopyPlan& copy : plan.copies) {
    if (copy.conflict && !GoesAlong(state, message, copy)) RecordConflict(state, message, copy, work);
    if (copy.action != Action::kRestore) continue;
    if (!restored) restored = state.NextStamp();
    CopyRegisters* here = message.Find(copy.mailbox_copy);
    here->stamp = *restored;
    state.SaveCopy(message.id, *here);
  }
}

ConflictRecord PlanBatch::NewConflict(const MessageRegisters& message) const {
  ConflictRecord conflict;
  conflict.mailbox = view_.mailboxes.at(message.mailbox).name;
  conflict.message = message.id;
  conflict.message_id = message.message_id;
  conflict.internal_date = message.internal_date;
  conflict.unix_ms = now_;
  return conflict;
}

void PlanBatch::RecordConflict(State& state, const MessageRegisters& message, const CopyPlan& plan, Work& work) {
  ConflictRecord conflict = NewConflict(message);
  // One for each deletion, wherever the change is seen. A change that only showed after somebody had decided is asked
  // about anew: else it would stay between the two sides with nobody knowing.
  conflict.key = "delete-change:" + std::to_string(message.id.value) + ":" + std::to_string(plan.because.stamp.value);
  if (plan.action == Action::kAsk) {
    const std::vector<ConflictRecord> open = state.conflicts().OpenAbout(message.id);
    const bool asked = std::any_of(open.begin(), open.end(), [&](const ConflictRecord& other) {
      return other.kind == kDeleteVsChange && other.stamp == plan.because.stamp;
    });
    if (asked) return;
    const auto newest = std::max_element(plan.unseen.begin(), plan.unseen.end(),
                                         [](const auto& one, const auto& other) { return one.stamp < other.stamp; });
    if (state.conflicts().FindByKey(conflict.key)) conflict.key += ":" + std::to_string(newest->stamp.value);
  }
  conflict.kind = kDeleteVsChange;
  conflict.stamp = plan.because.stamp;
  conflict.replica_a = view_.graph->replica(plan.because.origin).name();
  conflict.change_a = "deleted";
  conflict.replica_b = view_.graph->replica(plan.target).name();
  conflict.change_b = "flags changed: " + DescribeChanges(plan.unseen, [&](FlagId f) { return state.FlagName(f); });
  const MailboxView& mailbox = view_.mailboxes.at(message.mailbox);
  const MailboxCopyId deleted = mailbox.copies[static_cast<size_t>(plan.because.origin.value)];
  conflict.a_unix_ms = state.history().LastTime(message.id, deleted, StepKind::kGone, kRecentSteps);
  conflict.b_unix_ms = state.history().LastTime(message.id, plan.mailbox_copy, StepKind::kFlagsChanged, kRecentSteps);
  if (plan.action == Action::kAsk) {
    conflict.policy = "ASK";
    conflict.outcome = "waits for a decision: the message is left as it is on both sides";
    conflict.open = true;
  } else if (plan.action == Action::kRestore) {
    conflict.policy = "CHANGE_WINS";
    conflict.outcome = "the message is kept and put back";
  } else {
    conflict.policy = "DELETE_WINS";
    conflict.outcome = "the message is deleted";
  }
  if (!state.conflicts().Add(conflict)) return;
  work.conflicts.push_back({false, false, plan.target, conflict.mailbox,
                            "deleted at " + conflict.replica_a + ", changed here: " + conflict.outcome});
}

void PlanBatch::RecordKeywordConflict(State& state, const MessageRegisters& message, const KeywordConflict& keywords,
                                      Work& work) {
  ConflictRecord conflict = NewConflict(message);
  conflict.key = "keywords:" + std::to_string(message.id.value) + ":" + std::to_string(keywords.stamp.value);
  conflict.kind = kExclusiveKeywords;
  conflict.stamp = keywords.stamp;
  conflict.replica_a = view_.graph->replica(keywords.kept_from).name();
  conflict.change_a = "+" + state.FlagName(keywords.kept);
  conflict.replica_b = view_.graph->replica(keywords.dropped_from).name();
  conflict.change_b = "+" + state.FlagName(keywords.dropped);
  const MailboxView& mailbox = view_.mailboxes.at(message.mailbox);
  const auto changed = [&](ReplicaIndex r) {
    const MailboxCopyId copy = mailbox.copies[static_cast<size_t>(r.value)];
    return state.history().LastTime(message.id, copy, StepKind::kFlagsChanged, kRecentSteps);
  };
  conflict.a_unix_ms = changed(keywords.kept_from);
  conflict.b_unix_ms = changed(keywords.dropped_from);
  conflict.policy = "NEWEST_WINS";
  conflict.outcome = state.FlagName(keywords.kept) + " stays";
  if (!state.conflicts().Add(conflict)) return;
  work.conflicts.push_back({false, false, keywords.dropped_from, conflict.mailbox,
                            conflict.change_b + " here, " + conflict.change_a + " at " + conflict.replica_a + ": " +
                                Printable(conflict.outcome)});
}

// How many additions of messages with this identity are still to be done at a replica.
int PlanBatch::PendingAdditions(State& state, const Digest& identity, MessageId except, ReplicaIndex replica) const {
  int pending = 0;
  for (const MessageId id : state.MessagesWithIdentity(identity, 16)) {
    if (id == except || duplicates_->IsKnown(id)) continue;
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
      ServerSideCopy here{{id, copy.mailbox_copy, copy.uid}, std::nullopt, {}};
      if (const auto departure = FindDeparture(state, *other, replica)) {
        if (view_.can_move[static_cast<size_t>(replica.value)]) here.departure = departure->stamp;
        here.unseen = departure->unseen;
        return here;
      }
      if (!found) found = here;
    }
  }
  return found;
}

// Flags that go along with a copy made by the server, and are not to be there, are taken back by a second command.
// Where others are at work one of them may look in between: to it that is a flag which somebody removed.
bool PlanBatch::TakesFlagsBack(State& state, const ServerSideCopy& source, const CopyPlan& addition) const {
  if (view_.carried_since.empty()) return false;
  const auto message = state.Load(source.source.message);
  const CopyRegisters* there = message ? message->Find(source.source.mailbox_copy) : nullptr;
  return there != nullptr &&
         std::any_of(there->flags.entries().begin(), there->flags.entries().end(),
                     [&](const FlagRegister& entry) { return entry.set && !addition.flags.IsSet(entry.flag); });
}

// The deletion of a message that leaves for the one place where one like it is to be added. As any deletion it waits
// until all of its mailbox is identified: what is not yet may be the message itself, or one to be added beside it.
std::optional<CopyPlan> PlanBatch::FindDeparture(State& state, const MessageRegisters& source,
                                                 ReplicaIndex replica) const {
  const MailboxView& mailbox = view_.mailboxes.at(source.mailbox);
  const auto in_part = [&](MailboxCopyId copy) { return view_.incomplete.contains(copy); };
  if (std::any_of(mailbox.copies.begin(), mailbox.copies.end(), in_part)) return std::nullopt;
  const Admissions admissions(*view_.graph, mailbox.name);
  for (CopyPlan& copy : PlanMessage(source, mailbox, admissions, view_.context).copies) {
    if (copy.target != replica || copy.action != Action::kExpunge) continue;
    if (exceptions_.refused.contains({source.id, copy.mailbox_copy})) continue;
    if (state.HasIntent(source.id, copy.mailbox_copy)) continue;
    // One addition, the one that asks: another would find its source gone.
    if (PendingAdditions(state, source.identity, source.id, replica) == 1) return std::move(copy);
  }
  return std::nullopt;
}

// What was changed of a message here, while somebody moved it elsewhere, is changed of it in its new mailbox.
void PlanBatch::TakeAlong(State& state, const MailboxView& mailbox, const ServerSideCopy& source,
                          CopyPlan& addition) const {
  if (source.unseen.empty()) return;
  const auto r = static_cast<size_t>(addition.target.value);
  const FlagLimits limits = r < mailbox.limits.size() ? mailbox.limits[r].flags : FlagLimits();
  const Stamp stamp = state.NextStamp();
  for (const FlagRegister& change : source.unseen) {
    if (CanChange(limits, change.flag)) addition.flags.Put(change.flag, change.set, stamp);
  }
}

// Whether the message was moved, and what was changed at the target of its deletion goes along, or has gone: nothing is
// lost then.
bool PlanBatch::GoesAlong(State& state, const MessageRegisters& message, const CopyPlan& plan) const {
  if (plan.action != Action::kExpunge) return false;
  if (PendingAdditions(state, message.identity, message.id, plan.target) == 1) return true;
  for (const MessageId id : state.MessagesWithIdentity(message.identity, 16)) {
    const auto other = id == message.id ? std::nullopt : state.Load(id);
    if (!other || !SameContent(view_, message, *other)) continue;
    for (const CopyRegisters& copy : other->copies) {
      const auto where = view_.copies.find(copy.mailbox_copy);
      if (where == view_.copies.end() || where->second.first != plan.target || !copy.present()) continue;
      const bool has_all = std::all_of(plan.unseen.begin(), plan.unseen.end(), [&](const FlagRegister& change) {
        return copy.flags.IsSet(change.flag) == change.set;
      });
      if (has_all) return true;
    }
  }
  return false;
}

// Where it is not there, the way may be through a replica where it waits, and it is not made before that is decided;
// if it can be made, that is what is pending.
bool PlanBatch::MailboxWaits(const MailboxView& mailbox, ReplicaIndex replica) {
  const auto r = static_cast<size_t>(replica.value);
  if (std::find(mailbox.waits.begin(), mailbox.waits.end(), true) == mailbox.waits.end()) return false;
  return mailbox.waits[r] || !mailbox.exists[r];
}

// Whether it was moved into a mailbox of which someone must decide first whether it stays deleted there.
bool PlanBatch::MovedWhereItWaits(State& state, const MessageRegisters& message, ReplicaIndex replica) const {
  const bool any = std::any_of(view_.mailboxes.begin(), view_.mailboxes.end(),
                               [&](const auto& mailbox) { return MailboxWaits(mailbox.second, replica); });
  if (!any) return false;
  for (const MessageId id : state.MessagesWithIdentity(message.identity, 16)) {
    const auto other = id == message.id ? std::nullopt : state.Load(id);
    const auto mailbox = other ? view_.mailboxes.find(other->mailbox) : view_.mailboxes.end();
    if (mailbox != view_.mailboxes.end() && MailboxWaits(mailbox->second, replica)) return true;
  }
  return false;
}

// What waits for a decision, with its mailbox, is not pending.
void PlanBatch::Count(State& state, const MessageRegisters& message, const MessagePlan& plan) {
  const MailboxView& mailbox = view_.mailboxes.at(message.mailbox);
  for (const CopyPlan& copy : plan.copies) {
    if (copy.because.edge.value < 0 || exceptions_.left_out.contains({message.id, copy.mailbox_copy})) continue;
    if (MailboxWaits(mailbox, copy.target)) continue;
    if (copy.action == Action::kExpunge && MovedWhereItWaits(state, message, copy.target)) continue;
    PendingCounts& counts = pending[copy.because.edge.value];
    if (copy.action == Action::kAdd) ++counts.additions;
    if (copy.action == Action::kFlags) ++counts.flags;
    if (copy.action == Action::kExpunge) ++counts.deletions;
    const bool at_rest = copy.action == Action::kLevel || copy.action == Action::kAsk;
    if (!at_rest) pending_in[message.mailbox].insert(copy.because.edge.value);
  }
}

}  // namespace imapmesh
