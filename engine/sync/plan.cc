#include "engine/sync/plan.h"

#include <algorithm>

namespace imapmesh {
namespace {

// One register over all replicas while its newest value spreads.
struct Node {
  bool takes_part = false;
  bool value = false;
  Stamp stamp;
  Because because;
};

class Planner {
 public:
  Planner(const MessageRegisters& message, const MailboxView& mailbox, const Admissions& admissions,
          const PlanContext& context)
      : message_(message), mailbox_(mailbox), admissions_(admissions), context_(context), graph_(*context.graph) {
    for (const MailboxCopyId id : mailbox.copies) {
      here_.push_back(id.value == 0 ? nullptr : message.Find(id));
    }
  }

  MessagePlan Plan() {
    std::vector<Node> presence = PresenceNodes();
    Spread(presence, [&](const Node& from) { return from.value ? ChangeKind::kAddition : ChangeKind::kDeletion; });
    MessagePlan plan;
    for (size_t r = 0; r < here_.size(); ++r) PlanCopy(r, presence[r], plan);
    DecideConflicts(plan);
    PlanFlags(presence, plan);
    for (const auto& [one, other] : context_.exclusive) SettleExclusive(one, other, plan);
    for (size_t r = 0; r < mailbox_.limits.size(); ++r) KeepBack(r, plan);
    FindHolders(presence, plan);
    return plan;
  }

 private:
  bool Up(size_t r) const { return context_.replica_up[r]; }
  bool Present(size_t r) const { return here_[r] != nullptr && here_[r]->present(); }
  bool Held(size_t r) const { return here_[r] != nullptr && here_[r]->presence == Presence::kHeld; }

  std::vector<Node> PresenceNodes() const {
    std::vector<Node> nodes(here_.size());
    for (size_t r = 0; r < nodes.size(); ++r) {
      nodes[r].takes_part = Up(r) && !Held(r);
      nodes[r].value = Present(r);
      nodes[r].stamp = here_[r] == nullptr ? Stamp(0) : here_[r]->stamp;
      nodes[r].because.origin = ReplicaIndex(static_cast<int32_t>(r));
    }
    return nodes;
  }

  // Lets greater stamps flow along the admitting edges until nothing moves: a stamp only grows, so it ends.
  template <typename KindOf>
  void Spread(std::vector<Node>& nodes, KindOf kind_of) const {
    bool moved = true;
    while (moved) {
      moved = false;
      for (size_t e = 0; e < graph_.edges().size(); ++e) {
        if (context_.edge_paused[e]) continue;
        const GraphEdge& edge = graph_.edges()[e];
        moved |= Flow(nodes, e, edge.a, edge.b, true, kind_of);
        moved |= Flow(nodes, e, edge.b, edge.a, false, kind_of);
      }
    }
  }

  template <typename KindOf>
  bool Flow(std::vector<Node>& nodes, size_t e, ReplicaIndex from, ReplicaIndex to, bool from_a, KindOf kind_of) const {
    const Node& source = nodes[static_cast<size_t>(from.value)];
    Node& target = nodes[static_cast<size_t>(to.value)];
    if (!source.takes_part || !target.takes_part || source.stamp < target.stamp) return false;
    const int64_t cost = source.because.cost + graph_.replica(from).link_cost() + graph_.replica(to).link_cost();
    const bool better = source.stamp > target.stamp || (target.because.depth > 0 && cost < target.because.cost);
    if (!better) return false;
    const EdgeIndex edge(static_cast<int32_t>(e));
    if (!admissions_.Admits(edge, from_a, kind_of(source))) return false;
    target.value = source.value;
    target.stamp = source.stamp;
    target.because = {edge, source.because.origin, source.stamp, source.because.depth + 1, cost};
    return true;
  }

  void PlanCopy(size_t r, const Node& presence, MessagePlan& plan) const {
    if (presence.because.depth == 0) return;
    CopyPlan copy;
    copy.target = ReplicaIndex(static_cast<int32_t>(r));
    copy.mailbox_copy = mailbox_.copies[r];
    copy.stamp = presence.stamp;
    copy.presence = presence.value ? Presence::kPresent : Presence::kAbsent;
    copy.because = presence.because;
    if (here_[r] != nullptr) copy.flags = here_[r]->flags;
    if (presence.value == Present(r)) {
      copy.action = Action::kLevel;
    } else if (presence.value) {
      copy.action = Action::kAdd;
      copy.flags = FlagRegisters();
    } else {
      copy.action = Action::kExpunge;
    }
    plan.copies.push_back(std::move(copy));
  }

  // A change that some holder has and the deleter had not seen concerns every copy that the deletion would reach.
  void DecideConflicts(MessagePlan& plan) const {
    for (CopyPlan& copy : plan.copies) {
      if (copy.action != Action::kExpunge) continue;
      copy.unseen = ChangedUnseen(static_cast<size_t>(copy.target.value), copy.because.origin);
      copy.conflict = !copy.unseen.empty();
      const v1::Policy::DeleteVsChange policy = graph_.DeleteVsChange(copy.because.edge);
      if (!copy.conflict || policy == v1::Policy::DELETE_WINS) continue;
      for (CopyPlan& same : plan.copies) {
        if (same.action != Action::kExpunge || same.stamp != copy.stamp) continue;
        same.action = policy == v1::Policy::ASK ? Action::kAsk : Action::kRestore;
        same.presence = Presence::kPresent;
      }
    }
  }

  // The changes of the copy at `r` that could have reached the replica where the message was deleted, but had not.
  std::vector<FlagRegister> ChangedUnseen(size_t r, ReplicaIndex deleter) const {
    std::vector<FlagRegister> unseen;
    if (!admissions_.FlagsReach(ReplicaIndex(static_cast<int32_t>(r)), deleter)) return unseen;
    for (const FlagRegister& entry : here_[r]->flags.entries()) {
      if (entry.flag == context_.deleted_flag) continue;
      if (!CanChange(FlagLimitsAt(static_cast<size_t>(deleter.value)), entry.flag)) continue;  // it can never be seen
      if (entry.stamp > SeenByDeletion(static_cast<size_t>(deleter.value), entry.flag)) unseen.push_back(entry);
    }
    return unseen;
  }

  // Wherever a deletion was carried it is the same one: what it met somewhere it has met, and somebody may have decided
  // about that.
  Stamp SeenByDeletion(size_t deleter, FlagId flag) const {
    Stamp seen(0);
    for (const CopyRegisters* copy : here_) {
      const bool same = copy != nullptr && here_[deleter] != nullptr && copy->presence == Presence::kAbsent &&
                        copy->stamp == here_[deleter]->stamp;
      if (same) seen = std::max(seen, copy->flags.Get(flag).stamp);
    }
    return seen;
  }

  FlagLimits FlagLimitsAt(size_t r) const {
    return r < mailbox_.limits.size() ? mailbox_.limits[r].flags : FlagLimits();
  }

  CopyPlan* FindPlan(MessagePlan& plan, size_t r) const {
    for (CopyPlan& copy : plan.copies) {
      if (copy.target.value == static_cast<int32_t>(r)) return &copy;
    }
    return nullptr;
  }

  std::vector<FlagId> AllFlags() const {
    std::vector<FlagId> flags;
    for (const CopyRegisters* copy : here_) {
      if (copy == nullptr || !copy->present()) continue;
      for (const FlagRegister& entry : copy->flags.entries()) flags.push_back(entry.flag);
    }
    std::sort(flags.begin(), flags.end());
    flags.erase(std::unique(flags.begin(), flags.end()), flags.end());
    return flags;
  }

  void PlanFlags(const std::vector<Node>& presence, MessagePlan& plan) const {
    for (const FlagId flag : AllFlags()) {
      std::vector<Node> nodes(here_.size());
      for (size_t r = 0; r < nodes.size(); ++r) {
        nodes[r].takes_part = presence[r].takes_part && presence[r].value;
        const FlagRegister now = Present(r) ? here_[r]->flags.Get(flag) : FlagRegister{flag, false, Stamp(0)};
        nodes[r].value = now.set;
        nodes[r].stamp = now.stamp;
        nodes[r].because.origin = ReplicaIndex(static_cast<int32_t>(r));
      }
      Spread(nodes, [](const Node&) { return ChangeKind::kFlags; });
      for (size_t r = 0; r < nodes.size(); ++r) {
        if (flag == context_.deleted_flag) TakeBackMark(r, nodes[r]);
        if (nodes[r].because.depth > 0) PlanFlag(r, flag, nodes[r], plan);
      }
    }
  }

  // \Deleted that nobody set, but the engine on its way to an EXPUNGE that is not wanted any more: it goes where no
  // flags flow, too.
  void TakeBackMark(size_t r, Node& mark) const {
    if (!mark.takes_part || !mark.value || mark.stamp != kCarried) return;
    const ReplicaIndex here(static_cast<int32_t>(r));
    mark.value = false;
    mark.stamp = Stamp(0);
    mark.because = {AnyEdgeOf(graph_, here), here, mark.stamp, 1, 0};
  }

  void PlanFlag(size_t r, FlagId flag, const Node& node, MessagePlan& plan) const {
    CopyPlan* copy = FindPlan(plan, r);
    if (copy == nullptr) {
      CopyPlan level;
      level.target = ReplicaIndex(static_cast<int32_t>(r));
      level.mailbox_copy = mailbox_.copies[r];
      level.stamp = here_[r]->stamp;
      level.flags = here_[r]->flags;
      level.because = node.because;
      plan.copies.push_back(std::move(level));
      copy = &plan.copies.back();
    }
    copy->flags.Put(flag, node.value, node.stamp);
    std::erase_if(copy->flag_changes, [flag](const FlagRegister& change) { return change.flag == flag; });
    const bool now = copy->action != Action::kAdd && Present(r) && here_[r]->flags.IsSet(flag);
    if (now == node.value) return;
    copy->flag_changes.push_back({flag, node.value, node.stamp});
    if (copy->action == Action::kLevel) {
      copy->action = Action::kFlags;
      copy->because = node.because;
    }
  }

  // Takes out of the plan what the mailbox copy at `r` cannot take: it flowed through to the others all the same.
  void KeepBack(size_t r, MessagePlan& plan) const {
    CopyPlan* copy = FindPlan(plan, r);
    if (copy == nullptr) return;
    const CopyLimits& limits = mailbox_.limits[r];
    KeptBack kept;
    kept.message = message_.id;
    kept.mailbox_copy = copy->mailbox_copy;
    const bool fixed_mark = !CanChange(limits.flags, context_.deleted_flag);
    kept.addition = copy->action == Action::kAdd && (limits.read_only || limits.no_additions);
    kept.deletion = copy->action == Action::kExpunge && (limits.read_only || limits.no_deletions || fixed_mark);
    if (!kept.addition && !kept.deletion) kept.flags = KeepFlagsBack(r, limits.flags, *copy);
    if (kept.addition || kept.deletion) {
      plan.copies.erase(plan.copies.begin() + (copy - plan.copies.data()));
    }
    if (kept.addition || kept.deletion || !kept.flags.entries().empty()) plan.kept_back.push_back(std::move(kept));
  }

  FlagRegisters KeepFlagsBack(size_t r, const FlagLimits& limits, CopyPlan& copy) const {
    if (copy.presence != Presence::kPresent) return {};
    FlagChanges changes = Divide(limits, copy.flag_changes);
    if (changes.kept_back.entries().empty()) return {};
    const bool added = copy.action == Action::kAdd;
    for (const FlagRegister& kept : changes.kept_back.entries()) {
      const FlagRegister now =
          added || !Present(r) ? FlagRegister{kept.flag, false, Stamp(0)} : here_[r]->flags.Get(kept.flag);
      copy.flags.Put(now.flag, now.set, now.stamp);
    }
    copy.kept_back = changes.kept_back.entries();
    copy.flag_changes = std::move(changes.stored);
    if (copy.action == Action::kFlags && copy.flag_changes.empty()) copy.action = Action::kLevel;
    return std::move(changes.kept_back);
  }

  // The registers that the copy at `r` will have; null where the message will not be.
  const FlagRegisters* Planned(size_t r, MessagePlan& plan) const {
    const CopyPlan* copy = FindPlan(plan, r);
    if (copy != nullptr) return copy->presence == Presence::kPresent ? &copy->flags : nullptr;
    return Present(r) && Up(r) ? &here_[r]->flags : nullptr;
  }

  // Of two keywords that exclude one another the newer one stays, wherever both would be set; keywords set in one
  // observation are left alone.
  void SettleExclusive(FlagId one, FlagId other, MessagePlan& plan) const {
    for (size_t r = 0; r < here_.size(); ++r) {
      const FlagRegisters* flags = Planned(r, plan);
      if (flags == nullptr || !flags->IsSet(one) || !flags->IsSet(other)) continue;
      FlagRegister kept = flags->Get(one), dropped = flags->Get(other);
      if (kept.stamp == dropped.stamp) continue;
      if (kept.stamp < dropped.stamp) std::swap(kept, dropped);
      NoteKeywordConflict(kept, dropped, plan);
      Node node;
      node.stamp = kept.stamp;
      node.because = BecauseOf(r, kept, plan);
      PlanFlag(r, dropped.flag, node, plan);
    }
  }

  // Why a keyword is dropped at `r`: the edge that brings the other one, or this replica itself.
  Because BecauseOf(size_t r, const FlagRegister& kept, MessagePlan& plan) const {
    const CopyPlan* copy = FindPlan(plan, r);
    if (copy != nullptr && copy->because.edge.value >= 0) return copy->because;
    const ReplicaIndex here(static_cast<int32_t>(r));
    return {AnyEdgeOf(graph_, here), here, kept.stamp, 1};
  }

  void NoteKeywordConflict(const FlagRegister& kept, const FlagRegister& dropped, MessagePlan& plan) const {
    if (plan.keywords) return;
    std::optional<size_t> kept_from, dropped_from;
    for (size_t r = 0; r < here_.size(); ++r) {
      if (!Present(r)) continue;
      const FlagRegister kept_here = here_[r]->flags.Get(kept.flag), dropped_here = here_[r]->flags.Get(dropped.flag);
      if (kept_here == kept && dropped_here != dropped) kept_from = r;
      if (dropped_here == dropped && kept_here != kept) dropped_from = r;
    }
    if (!kept_from || !dropped_from) return;  // one after the other: who set the newer knew the older
    plan.keywords = {kept.flag, dropped.flag, ReplicaIndex(static_cast<int32_t>(*kept_from)),
                     ReplicaIndex(static_cast<int32_t>(*dropped_from)), kept.stamp};
  }

  // Fetching anywhere else would carry content along no admitting path.
  void FindHolders(const std::vector<Node>& presence, MessagePlan& plan) const {
    const bool adds = std::any_of(plan.copies.begin(), plan.copies.end(),
                                  [](const CopyPlan& copy) { return copy.action == Action::kAdd; });
    if (!adds) return;
    std::vector<bool> takes_part;
    std::vector<ReplicaIndex> cheapest_first;
    for (size_t r = 0; r < presence.size(); ++r) {
      takes_part.push_back(presence[r].takes_part);
      const bool fetchable = presence[r].takes_part && Present(r) && here_[r]->uid.value != 0;
      if (fetchable) cheapest_first.emplace_back(static_cast<int32_t>(r));
    }
    std::stable_sort(cheapest_first.begin(), cheapest_first.end(), [&](ReplicaIndex a, ReplicaIndex b) {
      return graph_.replica(a).link_cost() < graph_.replica(b).link_cost();
    });
    for (const ReplicaIndex holder : cheapest_first) {
      const auto reached = admissions_.Reached(holder, ChangeKind::kAddition, context_.edge_paused, takes_part);
      for (CopyPlan& copy : plan.copies) {
        const bool arrives = copy.action == Action::kAdd && reached[static_cast<size_t>(copy.target.value)];
        if (arrives) copy.holders.push_back(holder);
      }
    }
  }

  const MessageRegisters& message_;
  const MailboxView& mailbox_;
  const Admissions& admissions_;
  const PlanContext& context_;
  const Graph& graph_;
  std::vector<const CopyRegisters*> here_;  // by replica; null where the message was never known
};

}  // namespace

Admissions::Admissions(const Graph& graph, const std::string& mailbox) : graph_(graph) {
  for (size_t e = 0; e < graph.edges().size(); ++e) {
    const EdgeIndex edge(static_cast<int32_t>(e));
    uint8_t bits = 0;
    for (const ChangeKind kind :
         {ChangeKind::kAddition, ChangeKind::kFlags, ChangeKind::kDeletion, ChangeKind::kMailboxDeletion}) {
      const int shift = static_cast<int>(kind) * 2;
      if (graph.Admits(edge, graph.edges()[e].b, mailbox, kind)) bits |= static_cast<uint8_t>(1 << shift);
      if (graph.Admits(edge, graph.edges()[e].a, mailbox, kind)) bits |= static_cast<uint8_t>(2 << shift);
    }
    bits_.push_back(bits);
  }
}

bool Admissions::FlagsReach(ReplicaIndex from, ReplicaIndex to) const {
  const std::vector<bool> none_paused(graph_.edges().size(), false);
  const std::vector<bool> all(static_cast<size_t>(graph_.replica_count()), true);
  return Reached(from, ChangeKind::kFlags, none_paused, all)[static_cast<size_t>(to.value)];
}

std::vector<bool> Admissions::Reached(ReplicaIndex from, ChangeKind kind, const std::vector<bool>& edge_paused,
                                      const std::vector<bool>& takes_part) const {
  std::vector<bool> reached(static_cast<size_t>(graph_.replica_count()), false);
  reached[static_cast<size_t>(from.value)] = true;
  for (bool moved = true; moved;) {
    moved = false;
    for (size_t e = 0; e < graph_.edges().size(); ++e) {
      if (edge_paused[e]) continue;
      const auto a = static_cast<size_t>(graph_.edges()[e].a.value), b = static_cast<size_t>(graph_.edges()[e].b.value);
      const EdgeIndex edge(static_cast<int32_t>(e));
      if (reached[a] && !reached[b] && takes_part[b] && Admits(edge, true, kind)) reached[b] = moved = true;
      if (reached[b] && !reached[a] && takes_part[a] && Admits(edge, false, kind)) reached[a] = moved = true;
    }
  }
  return reached;
}

EdgeIndex AnyEdgeOf(const Graph& graph, ReplicaIndex r) {
  for (size_t e = 0; e < graph.edges().size(); ++e) {
    if (graph.edges()[e].a == r || graph.edges()[e].b == r) return EdgeIndex(static_cast<int32_t>(e));
  }
  return EdgeIndex(0);
}

MessagePlan PlanMessage(const MessageRegisters& message, const MailboxView& mailbox, const Admissions& admissions,
                        const PlanContext& context) {
  return Planner(message, mailbox, admissions, context).Plan();
}

}  // namespace imapmesh
