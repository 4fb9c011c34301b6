#include "engine/sync/explain.h"

#include <algorithm>
#include <tuple>

#include "base/printable.h"
#include "engine/sync/kept_back.h"

namespace imapmesh {
namespace {

class Explainer {
 public:
  Explainer(const MeshView& view, const std::map<FlagId, std::string>& flags) : view_(view), flags_(flags) {}

  void Explain(const PlannedMessage& planned, std::vector<PlanItem>& items) const {
    const std::map<const CopyPlan*, Supply> supplies = Supplies(planned);
    for (const CopyPlan& copy : planned.plan.copies) {
      PlanItem item = Common(planned, copy);
      if (copy.action == Action::kAdd) {
        const auto supply = supplies.find(&copy);
        Addition(planned, copy, supply == supplies.end() ? nullptr : &supply->second, item);
      } else if (copy.action == Action::kFlags) {
        item.operation = "STORE";
        item.rule = "flags changed at " + item.from;
        NameFlags(copy.flag_changes, item);
      } else if (copy.action == Action::kExpunge) {
        item.operation = "EXPUNGE";
        const bool decided = copy.because.origin == copy.target;
        item.rule = decided ? "a second copy: its end was decided" : "its deletion was observed at " + item.from;
      } else {
        continue;
      }
      NameKeptBack(copy, item);
      items.push_back(std::move(item));
    }
  }

 private:
  const std::string& Name(ReplicaIndex r) const { return view_.graph->replica(r).name(); }

  // By copy: the download that serves it.
  std::map<const CopyPlan*, Supply> Supplies(const PlannedMessage& planned) const {
    std::vector<Demand> demands;
    for (const CopyPlan* copy : planned.Appends(true)) demands.push_back({copy, copy->holders});
    std::map<const CopyPlan*, Supply> supplies;
    for (const Supply& supply : ChooseSupplies(*view_.graph, std::move(demands))) {
      for (const CopyPlan* copy : supply.copies) supplies[copy] = supply;
    }
    return supplies;
  }

  PlanItem Common(const PlannedMessage& planned, const CopyPlan& copy) const {
    const Because& because = copy.because;
    const GraphEdge& edge = view_.graph->edges()[static_cast<size_t>(because.edge.value)];
    PlanItem item;
    item.wave = because.depth;
    item.edge = edge.name;
    item.from = Name(because.origin);
    item.via = Name(edge.a == copy.target ? edge.b : edge.a);
    item.to = Name(copy.target);
    item.distance = because.depth;
    item.path_cost = because.cost;
    item.mailbox = Printable(view_.mailboxes.at(planned.message.mailbox).name);
    item.message = planned.message.id.value;
    item.message_id = Printable(planned.message.message_id);
    item.stamp = because.stamp.value;
    return item;
  }

  void Addition(const PlannedMessage& planned, const CopyPlan& copy, const Supply* supply, PlanItem& item) const {
    item.rule = "held by " + item.from + ", missing here";
    const auto here = planned.copy_from.find(copy.target.value);
    if (here != planned.copy_from.end()) {
      item.operation = here->second.departure ? "MOVE" : "COPY";
      const MailboxCopyId source = here->second.source.mailbox_copy;
      item.source_mailbox = Printable(view_.mailboxes.at(view_.copies.at(source).second).name);
      item.detail = "from " + item.source_mailbox;
      return;
    }
    item.operation = "APPEND";
    item.bytes = static_cast<int64_t>(planned.message.size);
    for (const ReplicaIndex holder : copy.holders) item.holders.push_back(Name(holder));
    if (supply == nullptr) {
      item.rule += "; no holder can give it at present";
      return;
    }
    item.body_from = Name(supply->source);
    const bool fetches = supply->copies.front() == &copy;
    if (fetches) item.fetch_bytes = item.bytes;
    item.detail = "body of " + item.body_from + (fetches ? "" : ", fetched once");
  }

  void NameFlags(const std::vector<FlagRegister>& changes, PlanItem& item) const {
    for (const FlagRegister& change : changes) {
      const std::string name = Printable(flags_.at(change.flag));
      (change.set ? item.flags_added : item.flags_removed).push_back(name);
      item.detail += (item.detail.empty() ? "" : " ") + std::string(change.set ? "+" : "-") + name;
    }
  }

  void NameKeptBack(const CopyPlan& copy, PlanItem& item) const {
    if (copy.kept_back.empty()) return;
    const auto name_of = [&](FlagId flag) { return flags_.at(flag); };
    item.detail += (item.detail.empty() ? "" : "; ") + std::string("not storable here: ") +
                   DescribeChanges(copy.kept_back, name_of);
  }

  const MeshView& view_;
  const std::map<FlagId, std::string>& flags_;
};

// In what order kinds of operations are done.
int Phase(const PlanItem& item) {
  if (item.operation == "DELETE") return 3;
  if (item.operation == "EXPUNGE") return 2;
  return item.message == 0 ? 0 : 1;
}

std::string MailboxRule(MailboxAction action, const std::string& from) {
  switch (action) {
    case MailboxAction::kRename:
      return "it has this name at " + from;
    case MailboxAction::kSubscribe:
      return "subscribed at " + from;
    case MailboxAction::kUnsubscribe:
      return "no longer subscribed at " + from;
    case MailboxAction::kDelete:
      return "deleted at " + from + ", and empty here by then";
    default:
      return "it exists at " + from + ", not here";
  }
}

}  // namespace

std::vector<PlanItem> ExplainWork(const MeshView& view, const Work& work, const std::map<FlagId, std::string>& flags) {
  const Explainer explainer(view, flags);
  std::vector<PlanItem> items;
  for (const PlannedMessage& planned : work.messages) explainer.Explain(planned, items);
  return items;
}

std::vector<PlanItem> ExplainMailboxes(const MeshView& view, const std::vector<MailboxOperation>& operations) {
  std::vector<PlanItem> items;
  for (const MailboxOperation& operation : operations) {
    const Because& because = operation.because;
    const EdgeIndex along = because.edge.value >= 0 ? because.edge : AnyEdgeOf(*view.graph, operation.target);
    const GraphEdge& edge = view.graph->edges()[static_cast<size_t>(along.value)];
    PlanItem item;
    item.edge = edge.name;
    item.from = view.graph->replica(because.origin).name();
    item.via = view.graph->replica(edge.a == operation.target ? edge.b : edge.a).name();
    item.to = view.graph->replica(operation.target).name();
    item.wave = item.distance = std::max(because.depth, 1);
    item.operation = Name(operation.action);
    item.mailbox = Printable(operation.name);
    item.stamp = because.stamp.value;
    if (operation.action == MailboxAction::kRename) item.detail = "from " + Printable(operation.from);
    item.rule = MailboxRule(operation.action, item.from);
    items.push_back(std::move(item));
  }
  return items;
}

std::set<FlagId> FlagsOf(const Work& work) {
  std::set<FlagId> flags;
  for (const PlannedMessage& planned : work.messages) {
    for (const CopyPlan& copy : planned.plan.copies) {
      for (const FlagRegister& change : copy.flag_changes) flags.insert(change.flag);
      for (const FlagRegister& change : copy.kept_back) flags.insert(change.flag);
    }
  }
  return flags;
}

void OrderWaves(std::vector<PlanItem>& items) {
  const auto before = [](const PlanItem& a, const PlanItem& b) {
    return std::make_tuple(Phase(a), a.wave) < std::make_tuple(Phase(b), b.wave);
  };
  std::stable_sort(items.begin(), items.end(), before);
  int64_t wave = 0;
  std::pair<int, int64_t> last{-1, 0};
  for (PlanItem& item : items) {
    const std::pair<int, int64_t> now{Phase(item), item.wave};
    if (now != last) ++wave;
    last = now;
    item.wave = wave;
  }
}

}  // namespace imapmesh
