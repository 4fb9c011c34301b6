#include "engine/sync/trace.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"

#include "base/printable.h"
#include "engine/sync/conflicts.h"
#include "engine/sync/duplicates.h"
#include "engine/sync/kept_back.h"

namespace imapmesh {
namespace {

constexpr size_t kMessagesMax = 1000;
constexpr size_t kStepsMax = 1000;

const char* What(StepKind kind) {
  switch (kind) {
    case StepKind::kSeen:
      return "seen";
    case StepKind::kFlagsChanged:
      return "flags changed";
    case StepKind::kGone:
      return "gone";
    case StepKind::kAppended:
      return "APPEND";
    case StepKind::kCopied:
      return "COPY";
    case StepKind::kMoved:
      return "MOVE";
    case StepKind::kStored:
      return "STORE";
    case StepKind::kExpunged:
      return "EXPUNGE";
    case StepKind::kReplaced:
      return "gone, and an equal one beside it took its place";
    case StepKind::kFoundAgain:
      return "gone, and an equal one that came took its place";
  }
  return "";
}

const CopyPlan* FindPlan(const MessagePlan& plan, ReplicaIndex r) {
  const auto found =
      std::find_if(plan.copies.begin(), plan.copies.end(), [&](const CopyPlan& copy) { return copy.target == r; });
  return found == plan.copies.end() || found->action == Action::kLevel ? nullptr : &*found;
}

std::string DescribePlan(const MeshView& view, const CopyPlan& plan) {
  const std::string& edge = view.graph->edges()[static_cast<size_t>(plan.because.edge.value)].name;
  const std::string along = " from " + view.graph->replica(plan.because.origin).name() + " along " + edge;
  switch (plan.action) {
    case Action::kAdd:
      return "APPEND" + along;
    case Action::kFlags:
      return "STORE" + along;
    case Action::kExpunge:
      return "EXPUNGE" + along;
    case Action::kRestore:
    case Action::kAsk:
      return "a deletion" + along + " that met a change here";
    case Action::kLevel:
      break;
  }
  return "";
}

std::string FormatUnixMillis(int64_t unix_ms) {
  const auto text = absl::FormatTime("%Y-%m-%dT%H:%M:%SZ", absl::FromUnixMillis(unix_ms), absl::UTCTimeZone());
  return {text.data(), text.size()};
}

// How the copy came or went, by its last step that changed that.
std::string DescribeStep(const HistoryStep& step, bool present) {
  if (step.edge.empty()) return present ? "somebody put it there" : "somebody deleted or moved it there";
  return std::string(present ? "arrived" : "removed") + " by " + What(step.kind) + " along " + step.edge;
}

}  // namespace

Tracer::Tracer(const Mesh& mesh, std::string message_id)
    : message_id_(std::move(message_id)),
      view_(mesh.View(false)),
      ideal_(mesh.View(true)),
      edge_paused_(mesh.edge_paused) {
  for (size_t r = 0; r < mesh.replicas.size(); ++r) {
    const ReplicaSlot& slot = mesh.replicas[r];
    if (slot.state != ReplicaState::kUp) {
      down_[static_cast<int32_t>(r)] = {slot.state_since_unix_ms, slot.last_error};
    }
  }
  for (const auto& [key, refusal] : mesh.refusals) {
    refused_[key] = refusal.report.answer + (refusal.left_out ? "; it was decided to leave it so" : "");
  }
  for (const auto& [key, problem] : mesh.forbidden) {
    if (key.second) forbidden_[key.first] = problem.answer;
  }
  for (const auto& [name, entry] : mesh.mailboxes) {
    for (const MailboxCopyRecord& record : entry.copies) names_here_[record.id] = Printable(record.name_here);
  }
}

std::vector<TracedMessage> Tracer::operator()(State& state) {
  std::vector<MessageId> ids = state.MessagesWithMessageId(message_id_, kMessagesMax);
  if (ids.empty() && !message_id_.starts_with('<')) {
    ids = state.MessagesWithMessageId("<" + message_id_ + ">", kMessagesMax);
  }
  std::vector<TracedMessage> traced;
  for (const MessageId id : ids) {
    const auto message = state.Load(id);
    if (message && view_->mailboxes.contains(message->mailbox)) traced.push_back(TraceOne(state, *message));
  }
  return traced;
}

TracedMessage Tracer::TraceOne(State& state, const MessageRegisters& message) const {
  const MailboxView& mailbox = view_->mailboxes.at(message.mailbox);
  const Admissions admissions(*view_->graph, mailbox.name);
  const MessagePlan now = PlanMessage(message, mailbox, admissions, view_->context);
  const MessagePlan ideal = PlanMessage(message, mailbox, admissions, ideal_->context);
  const std::vector<HistoryStep> steps = state.history().Of(message.id, kStepsMax);
  TracedMessage traced;
  traced.message = message.id.value;
  traced.mailbox = Printable(mailbox.name);
  traced.message_id = Printable(message.message_id);
  traced.size = static_cast<int64_t>(message.size);
  traced.internal_date_unix_s = message.internal_date;
  for (int32_t r = 0; r < view_->graph->replica_count(); ++r) {
    traced.copies.push_back(TraceCopy(state, message, ReplicaIndex(r), now, ideal, steps));
  }
  for (const HistoryStep& step : steps) {
    const auto where = view_->copies.find(step.mailbox_copy);
    const std::string replica = where == view_->copies.end() ? "" : view_->graph->replica(where->second.first).name();
    traced.history.push_back({step.unix_ms, replica, step.edge, What(step.kind)});
  }
  ExplainSecondCopy(state, traced);
  ExplainConflicts(state, traced);
  return traced;
}

// With policy ASK the message stays as it is on both sides.
void Tracer::ExplainConflicts(State& state, TracedMessage& traced) const {
  for (const ConflictRecord& conflict : state.conflicts().OpenAbout(MessageId(traced.message))) {
    if (conflict.kind != kDeleteVsChange) continue;
    for (TracedCopy& copy : traced.copies) {
      copy.pending.clear();
      copy.because += "; deleted at " + conflict.replica_a + ", changed at " + conflict.replica_b +
                      ": it waits for the decision of conflict " + std::to_string(conflict.id);
    }
  }
}

// A second copy that a race made is carried nowhere until somebody decides.
void Tracer::ExplainSecondCopy(State& state, TracedMessage& traced) const {
  for (const HeldCopy& held : state.conflicts().HeldByKind(kDuplicate)) {
    if (held.message.value != traced.message) continue;
    for (TracedCopy& copy : traced.copies) {
      copy.pending.clear();
      if (copy.present) continue;
      copy.because =
          "a second copy of the same message: it waits for the decision of conflict " + std::to_string(held.conflict);
    }
    return;
  }
}

TracedCopy Tracer::TraceCopy(State& state, const MessageRegisters& message, ReplicaIndex r, const MessagePlan& now,
                             const MessagePlan& ideal, const std::vector<HistoryStep>& steps) const {
  TracedCopy traced;
  traced.replica = view_->graph->replica(r).name();
  const MailboxCopyId here = view_->mailboxes.at(message.mailbox).copies[static_cast<size_t>(r.value)];
  if (const auto name = names_here_.find(here); here.value != 0 && name != names_here_.end()) {
    traced.name_here = name->second;
  }
  const CopyRegisters* copy = here.value == 0 ? nullptr : message.Find(here);
  const HistoryStep* last = nullptr;
  for (const HistoryStep& step : steps) {
    if (step.mailbox_copy == here && ChangesPresence(step.kind)) last = &step;
  }
  if (last != nullptr) {
    traced.since_unix_ms = last->unix_ms;
    traced.edge = last->edge;
  }
  const CopyPlan* planned = FindPlan(now, r);
  if (planned != nullptr) traced.pending = DescribePlan(*view_, *planned);
  if (copy != nullptr) traced.stamp = copy->stamp.value;
  if (copy == nullptr || !copy->present()) {
    traced.because = WhyAbsent(state, message, r, planned, ideal);
    if (traced.because.empty() && last != nullptr) traced.because = DescribeStep(*last, /*present=*/false);
    if (traced.because.empty()) traced.because = "it was deleted there, before the history begins";
    return traced;
  }
  traced.present = true;
  traced.uid = copy->uid.value;
  for (const FlagRegister& flag : copy->flags.entries()) {
    if (flag.set) traced.flags.push_back(Printable(state.FlagName(flag.flag)));
  }
  traced.because = last == nullptr ? "it was there before the history begins" : DescribeStep(*last, /*present=*/true);
  traced.because += WhatIsKeptBack(state, here, ideal);
  return traced;
}

// Of a copy that is there; "" for nothing.
std::string Tracer::WhatIsKeptBack(State& state, MailboxCopyId here, const MessagePlan& ideal) const {
  std::string text;
  for (const KeptBack& kept : ideal.kept_back) {
    if (kept.mailbox_copy != here) continue;
    if (kept.deletion) text += "; it was deleted elsewhere, and the account may not expunge it here";
    if (kept.flags.entries().empty()) continue;
    const auto name_of = [&](FlagId flag) { return state.FlagName(flag); };
    text += "; not storable here: " + DescribeChanges(kept.flags.entries(), name_of);
  }
  return text;
}

// "" when it was deleted there: the history tells more.
std::string Tracer::WhyAbsent(State& state, const MessageRegisters& message, ReplicaIndex r, const CopyPlan* now,
                              const MessagePlan& ideal_plan) const {
  const CopyPlan* ideal = FindPlan(ideal_plan, r);
  const MailboxCopyId here = view_->mailboxes.at(message.mailbox).copies[static_cast<size_t>(r.value)];
  const CopyRegisters* copy = here.value == 0 ? nullptr : message.Find(here);
  if (copy != nullptr && copy->presence == Presence::kHeld) {
    const auto conflict = state.conflicts().Holding(message.id, here);
    return "it is gone there, and held by the brake until someone decides" +
           (conflict ? " conflict " + std::to_string(*conflict) : std::string());
  }
  if (const auto refused = refused_.find({message.id, here}); refused != refused_.end()) {
    return "the server refused it: " + refused->second;
  }
  for (const KeptBack& kept : ideal_plan.kept_back) {
    if (kept.mailbox_copy != here || !kept.addition) continue;
    const auto forbidden = forbidden_.find(here);
    return forbidden == forbidden_.end() ? "waits: the mailbox is read-only there"
                                         : "waits: the account has no right to add it: " + forbidden->second;
  }
  if (now != nullptr && now->action == Action::kAdd) {
    const bool unknown = here.value != 0 && state.HasIntent(message.id, here);
    return unknown ? "it was sent, and whether it arrived is found out with the next look" : "it is on its way";
  }
  if (ideal != nullptr && ideal->action == Action::kAdd) return WhatBlocks(r, *ideal);
  if (copy != nullptr && copy->stamp.value != 0) return "";
  return WhyNever(message, r);
}

// The replica or edges for which an addition waits.
std::string Tracer::WhatBlocks(ReplicaIndex r, const CopyPlan& ideal) const {
  std::string text;
  const auto add = [&](const std::string& reason) { text += (text.empty() ? "waits: " : "; ") + reason; };
  for (const auto& [index, downtime] : down_) {
    const bool concerned = index == r.value || index == ideal.because.origin.value;
    if (!concerned) continue;
    std::string since;
    if (downtime.since_unix_ms != 0) since = " since " + FormatUnixMillis(downtime.since_unix_ms);
    const std::string error = downtime.error.empty() ? "" : " (" + Printable(downtime.error) + ")";
    add(absl::StrCat("replica ", view_->graph->replica(ReplicaIndex(index)).name(), " is down", since, error));
  }
  for (size_t e = 0; e < view_->graph->edges().size(); ++e) {
    if (!view_->context.edge_paused[e]) continue;
    add("edge " + view_->graph->edges()[e].name + (edge_paused_[e] ? " is paused" : " waits for its interval_s"));
  }
  if (text.empty()) return "waits: no path of edges leads there while other replicas are down";
  return text;
}

// Why no path ever brings the message there.
std::string Tracer::WhyNever(const MessageRegisters& message, ReplicaIndex r) const {
  const std::string& mailbox = view_->mailboxes.at(message.mailbox).name;
  const std::string& name = view_->graph->replica(r).name();
  if (!view_->graph->Selects(r, mailbox)) return "no edge of " + name + " selects the mailbox";
  std::vector<bool> reached(static_cast<size_t>(view_->graph->replica_count()));
  for (const CopyRegisters& copy : message.copies) {
    const auto where = view_->copies.find(copy.mailbox_copy);
    if (!copy.present() || where == view_->copies.end()) continue;
    const ReplicaIndex holder = where->second.first;
    for (int32_t there = 0; there < view_->graph->replica_count(); ++there) {
      const ReplicaIndex to(there);
      const bool arrives = to == holder || view_->graph->Reaches(holder, to, mailbox, ChangeKind::kAddition);
      if (arrives) reached[static_cast<size_t>(there)] = true;
    }
  }
  if (std::none_of(reached.begin(), reached.end(), [](bool there) { return there; })) {
    return "no replica holds it any more";
  }
  if (reached[static_cast<size_t>(r.value)]) {
    return "nothing is pending: a later deletion reached the edges that would bring it";
  }
  return "no edge carries it from where it is to " + name + WhatStopsIt(reached);
}

// The edges at which it ends, and why; `reached`: the replicas that it comes to.
std::string Tracer::WhatStopsIt(const std::vector<bool>& reached) const {
  std::string text;
  for (size_t e = 0; e < view_->graph->edges().size(); ++e) {
    const GraphEdge& edge = view_->graph->edges()[e];
    const bool at_a = reached[static_cast<size_t>(edge.a.value)], at_b = reached[static_cast<size_t>(edge.b.value)];
    if (at_a == at_b) continue;
    const v1::Edge::Direction against = at_a ? v1::Edge::B_TO_A : v1::Edge::A_TO_B;
    const bool one_way = view_->graph->topology().edge(static_cast<int>(e)).direction() == against;
    text += (text.empty() ? ": " : "; ") + edge.name +
            (one_way ? " goes the other way only (direction)" : " does not select the mailbox");
  }
  return text;
}

}  // namespace imapmesh
