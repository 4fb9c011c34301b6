#include "engine/sync/mailbox_plan.h"

#include <algorithm>
#include <map>
#include <utility>

namespace imapmesh {
namespace {

// One register over all replicas while its newest value spreads.
struct Node {
  bool takes_part = false;
  bool value = false;
  Stamp stamp;
  Because because;
};

class MailboxPlanner {
 public:
  MailboxPlanner(const MailboxState& mailbox, const PlanContext& context)
      : mailbox_(mailbox), context_(context), admissions_(*context.graph, mailbox.name) {}

  std::vector<MailboxOperation> Plan() {
    const std::vector<Node> presence = SpreadPresence();
    const std::vector<Node> names = SpreadNames(presence);
    const std::vector<Node> subscriptions = SpreadSubscriptions(presence);
    for (size_t r = 0; r < Count(); ++r) {
      if (presence[r].takes_part) PlanCopy(r, presence[r], names[r], subscriptions[r]);
    }
    return std::move(operations_);
  }

 private:
  size_t Count() const { return mailbox_.copies.size(); }
  const MailboxRegisters& Copy(size_t r) const { return mailbox_.copies[r]; }
  bool Present(size_t r) const { return Copy(r).presence == Presence::kPresent; }

  Node NodeOf(size_t r, bool takes_part, bool value, Stamp stamp) const {
    Node node;
    node.takes_part = takes_part;
    node.value = value;
    node.stamp = stamp;
    node.because.edge = EdgeIndex(-1);
    node.because.origin = ReplicaIndex(static_cast<int32_t>(r));
    return node;
  }

  // A stamp only grows, so it ends.
  template <typename KindOf>
  void Spread(std::vector<Node>& nodes, KindOf kind_of) const {
    for (bool moved = true; moved;) {
      moved = false;
      for (size_t e = 0; e < context_.graph->edges().size(); ++e) {
        if (context_.edge_paused[e]) continue;
        const GraphEdge& edge = context_.graph->edges()[e];
        moved |= Flow(nodes, e, edge.a, edge.b, true, kind_of);
        moved |= Flow(nodes, e, edge.b, edge.a, false, kind_of);
      }
    }
  }

  template <typename KindOf>
  bool Flow(std::vector<Node>& nodes, size_t e, ReplicaIndex from, ReplicaIndex to, bool from_a, KindOf kind_of) const {
    const Node& source = nodes[static_cast<size_t>(from.value)];
    Node& target = nodes[static_cast<size_t>(to.value)];
    if (!source.takes_part || !target.takes_part || source.stamp <= target.stamp) return false;
    const EdgeIndex edge(static_cast<int32_t>(e));
    if (!admissions_.Admits(edge, from_a, kind_of(source))) return false;
    target.value = source.value;
    target.stamp = source.stamp;
    target.because = {edge, source.because.origin, source.stamp, source.because.depth + 1};
    return true;
  }

  std::vector<Node> SpreadPresence() const {
    std::vector<Node> nodes;
    for (size_t r = 0; r < Count(); ++r) {
      const bool takes_part = context_.replica_up[r] && Copy(r).presence != Presence::kHeld;
      nodes.push_back(NodeOf(r, takes_part, Present(r), Copy(r).presence_stamp));
    }
    Spread(nodes, [](const Node& from) { return from.value ? ChangeKind::kAddition : ChangeKind::kMailboxDeletion; });
    return nodes;
  }

  // The value is the mailbox's name in the mesh, wherever it was given; a name that the engine chose itself, since two
  // mailboxes cannot have one, is newer than every copy's. A copy whose name goes nowhere may be called otherwise.
  std::vector<Node> SpreadNames(const std::vector<Node>& presence) const {
    Stamp newest;
    for (size_t r = 0; r < Count(); ++r) {
      if (Present(r) && AnythingFlows(r, /*from_here=*/true)) newest = std::max(newest, Copy(r).name_stamp);
    }
    std::vector<Node> nodes;
    for (size_t r = 0; r < Count(); ++r) {
      Node node = NodeOf(r, presence[r].takes_part && Present(r), true, Copy(r).name_stamp);
      if (node.stamp == newest) node.stamp = std::max(newest, mailbox_.name_stamp);
      nodes.push_back(node);
    }
    Spread(nodes, [](const Node&) { return ChangeKind::kAddition; });
    return nodes;
  }

  std::vector<Node> SpreadSubscriptions(const std::vector<Node>& presence) const {
    std::vector<Node> nodes;
    for (size_t r = 0; r < Count(); ++r) {
      const bool takes_part = presence[r].takes_part && presence[r].value;
      const Stamp stamp = Present(r) ? Copy(r).subscribed_stamp : Stamp(-1);
      nodes.push_back(NodeOf(r, takes_part, Present(r) && Copy(r).subscribed, stamp));
    }
    Spread(nodes, [](const Node&) { return ChangeKind::kAddition; });
    return nodes;
  }

  MailboxOperation Begin(size_t r, const Because& because) const {
    MailboxOperation operation;
    operation.mailbox = mailbox_.id;
    operation.target = ReplicaIndex(static_cast<int32_t>(r));
    operation.name = mailbox_.name;
    operation.after = Copy(r);
    operation.because = because;
    return operation;
  }

  void PlanCopy(size_t r, const Node& presence, const Node& name, const Node& subscription) {
    if (presence.value && !Present(r)) {
      PlanCreation(r, presence, subscription);
    } else if (!presence.value && Present(r)) {
      // What is deleted comes last: until then it is not to stand in the way of the one that has its name now.
      if (Moves(r, name) && Copy(r).name != mailbox_.name) PlanRename(r, name);
      PlanDeletion(r, presence);
    } else {
      MailboxOperation level = Begin(r, presence.because);
      level.after.presence_stamp = presence.stamp;
      if (Present(r)) PlanNames(r, name, subscription, level.after);
      if (StampsDiffer(level.after, Copy(r))) operations_.push_back(std::move(level));
    }
  }

  static bool StampsDiffer(const MailboxRegisters& a, const MailboxRegisters& b) {
    return a.presence_stamp != b.presence_stamp || a.name_stamp != b.name_stamp ||
           a.subscribed_stamp != b.subscribed_stamp;
  }

  void PlanCreation(size_t r, const Node& presence, const Node& subscription) {
    MailboxOperation create = Begin(r, presence.because);
    create.action = MailboxAction::kCreate;
    create.subscribe = subscription.value;
    create.after.presence = Presence::kPresent;
    create.after.presence_stamp = presence.stamp;
    create.after.name = mailbox_.name;
    create.after.name_stamp = mailbox_.name_stamp;
    create.after.subscribed = subscription.value;
    create.after.subscribed_stamp = std::max(subscription.stamp, Stamp(0));
    operations_.push_back(std::move(create));
  }

  void PlanDeletion(size_t r, const Node& presence) {
    MailboxOperation operation = Begin(r, presence.because);
    if (Copy(r).live > 0) {
      operation.action = MailboxAction::kRestore;
    } else if (Copy(r).messages > 0) {
      return;  // their deletions come first
    } else {
      operation.action = MailboxAction::kDelete;
      operation.after.presence = Presence::kAbsent;
      operation.after.presence_stamp = presence.stamp;
      operation.after.subscribed = false;
      operation.after.subscribed_stamp = Stamp(0);
    }
    operations_.push_back(std::move(operation));
  }

  // Where the engine chose the name the copy that had it first follows too, if anything may flow there.
  bool Moves(size_t r, const Node& name) const {
    return name.because.depth > 0 || (name.stamp > Copy(r).name_stamp && AnythingFlows(r, /*from_here=*/false));
  }

  void PlanRename(size_t r, const Node& name) {
    MailboxOperation rename = Begin(r, name.because);
    rename.action = MailboxAction::kRename;
    rename.from = Copy(r).name;
    rename.after.name = mailbox_.name;
    rename.after.name_stamp = name.stamp;
    operations_.push_back(std::move(rename));
  }

  // Of a copy that is there and stays. What needs no command goes into `level`.
  void PlanNames(size_t r, const Node& name, const Node& subscription, MailboxRegisters& level) {
    if (Moves(r, name) && Copy(r).name != mailbox_.name) {
      PlanRename(r, name);
    } else if (Moves(r, name)) {
      level.name_stamp = name.stamp;
    }
    if (subscription.because.depth == 0) return;
    if (subscription.value == Copy(r).subscribed) {
      level.subscribed_stamp = subscription.stamp;
      return;
    }
    MailboxOperation operation = Begin(r, subscription.because);
    operation.action = subscription.value ? MailboxAction::kSubscribe : MailboxAction::kUnsubscribe;
    operation.after.subscribed = subscription.value;
    operation.after.subscribed_stamp = subscription.stamp;
    operations_.push_back(std::move(operation));
  }

  bool AnythingFlows(size_t r, bool from_here) const {
    for (size_t e = 0; e < context_.graph->edges().size(); ++e) {
      const GraphEdge& edge = context_.graph->edges()[e];
      const EdgeIndex index(static_cast<int32_t>(e));
      const auto here = static_cast<int32_t>(r);
      if (edge.a.value == here && admissions_.Admits(index, from_here, ChangeKind::kAddition)) return true;
      if (edge.b.value == here && admissions_.Admits(index, !from_here, ChangeKind::kAddition)) return true;
    }
    return false;
  }

  const MailboxState& mailbox_;
  const PlanContext& context_;
  const Admissions admissions_;
  std::vector<MailboxOperation> operations_;
};

size_t Depth(const std::string& name) {
  return static_cast<size_t>(std::count(name.begin(), name.end(), '/'));
}

bool Within(const std::string& name, const std::string& parent) {
  return name.starts_with(parent) && (name.size() == parent.size() || name[parent.size()] == '/');
}

// The mailboxes of a replica while renames are done one after the other: where each is now, and where it shall be.
class RenameOrder {
 public:
  RenameOrder(const std::set<std::string>& names, const std::vector<MailboxRename>& wanted) {
    for (const std::string& name : names) targets_[name] = name;
    for (const MailboxRename& rename : wanted) targets_[rename.from] = rename.to;
  }

  std::vector<MailboxRename> Run() {
    DropImpossible();
    for (size_t step = 0, steps = 4 * targets_.size(); step < steps; ++step) {
      const std::vector<MailboxRename> open = Open();
      if (open.empty()) break;
      const auto free =
          std::find_if(open.begin(), open.end(), [&](const MailboxRename& rename) { return IsFree(rename); });
      if (free != open.end()) {
        Do(*free);
      } else {
        SetAside(open);
      }
    }
    return std::move(commands_);
  }

 private:
  // What is not where it shall be, parents before children.
  std::vector<MailboxRename> Open() const {
    std::vector<MailboxRename> open;
    for (const auto& [name, target] : targets_) {
      if (name != target) open.push_back({name, target});
    }
    std::stable_sort(open.begin(), open.end(),
                     [](const MailboxRename& a, const MailboxRename& b) { return Depth(a.from) < Depth(b.from); });
    return open;
  }

  // Every new name is taken: the deepest mailbox, which takes no other along, makes room. None is set aside twice.
  void SetAside(const std::vector<MailboxRename>& open) {
    const auto aside = std::find_if(open.rbegin(), open.rend(), [](const MailboxRename& rename) {
      return !rename.from.starts_with(kTemporaryName) || Depth(rename.from) > 0;
    });
    if (aside != open.rend()) Do({aside->from, FreeTemporaryName()});
  }

  // One may be there that another coordinator, or this one, was not done with.
  std::string FreeTemporaryName() const {
    size_t number = commands_.size();
    while (targets_.contains(kTemporaryName + std::to_string(number))) ++number;
    return kTemporaryName + std::to_string(number);
  }

  // Whether the new name, and with it those of the children, is nobody's now.
  bool IsFree(const MailboxRename& rename) const {
    if (Within(rename.to, rename.from)) return false;
    return std::none_of(targets_.begin(), targets_.end(), [&](const auto& mailbox) {
      return Within(mailbox.first, rename.from) && targets_.contains(AfterRename(mailbox.first, rename));
    });
  }

  // A name that a mailbox keeps is not free, nor is then the name of the one that wanted it.
  void DropImpossible() {
    for (bool dropped = true; dropped;) {
      dropped = false;
      for (auto& [name, target] : targets_) {
        const auto taken = targets_.find(target);
        if (target == name || taken == targets_.end() || taken->second != target) continue;
        target = name;
        dropped = true;
      }
    }
  }

  void Do(const MailboxRename& rename) {
    commands_.push_back(rename);
    std::map<std::string, std::string> after;
    for (const auto& [name, target] : targets_) after[AfterRename(name, rename)] = target;
    targets_ = std::move(after);
  }

  std::map<std::string, std::string> targets_;  // by the name now
  std::vector<MailboxRename> commands_;
};

}  // namespace

const char* Name(MailboxAction action) {
  switch (action) {
    case MailboxAction::kCreate:
      return "CREATE";
    case MailboxAction::kRename:
      return "RENAME";
    case MailboxAction::kSubscribe:
      return "SUBSCRIBE";
    case MailboxAction::kUnsubscribe:
      return "UNSUBSCRIBE";
    case MailboxAction::kDelete:
      return "DELETE";
    default:
      return "NONE";
  }
}

std::vector<MailboxOperation> PlanMailbox(const MailboxState& mailbox, const PlanContext& context) {
  return MailboxPlanner(mailbox, context).Plan();
}

bool IsLevel(const std::vector<MailboxCopyRecord>& copies) {
  const MailboxCopyRecord& first = copies.front();
  return std::all_of(copies.begin(), copies.end(), [&](const MailboxCopyRecord& copy) {
    return copy.id.value != 0 && copy.exists && copy.exists_stamp == first.exists_stamp &&
           copy.name_stamp == first.name_stamp && copy.name_stamp >= copy.mailbox_name_stamp &&
           copy.subscribed_stamp == first.subscribed_stamp;
  });
}

std::string AfterRename(const std::string& name, const MailboxRename& rename) {
  return Within(name, rename.from) ? rename.to + name.substr(rename.from.size()) : name;
}

std::vector<MailboxRename> OrderRenames(const std::set<std::string>& names, const std::vector<MailboxRename>& wanted) {
  return RenameOrder(names, wanted).Run();
}

}  // namespace imapmesh
