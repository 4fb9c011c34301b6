#include "engine/sync/order.h"

#include <algorithm>
#include <tuple>

namespace imapmesh {

void SortForPlanning(std::vector<UnsettledMailbox>& mailboxes) {
  const auto rank = [](const UnsettledMailbox& mailbox) {
    return std::make_tuple(mailbox.name == "INBOX" ? 0 : 1, mailbox.messages, mailbox.name);
  };
  std::sort(mailboxes.begin(), mailboxes.end(),
            [&](const UnsettledMailbox& a, const UnsettledMailbox& b) { return rank(a) < rank(b); });
}

std::vector<Supply> ChooseSupplies(const Graph& graph, std::vector<Demand> demands) {
  std::vector<Supply> supplies;
  std::vector<int> served(static_cast<size_t>(graph.replica_count()));
  while (true) {
    std::fill(served.begin(), served.end(), 0);
    for (const Demand& demand : demands) {
      for (const ReplicaIndex holder : demand.holders) ++served[static_cast<size_t>(holder.value)];
    }
    ReplicaIndex best(-1);
    for (int32_t r = 0; r < graph.replica_count(); ++r) {
      const int here = served[static_cast<size_t>(r)];
      if (here == 0) continue;
      const int most = best.value < 0 ? 0 : served[static_cast<size_t>(best.value)];
      const bool cheaper =
          best.value >= 0 && graph.replica(ReplicaIndex(r)).link_cost() < graph.replica(best).link_cost();
      if (here > most || (here == most && cheaper)) best = ReplicaIndex(r);
    }
    if (best.value < 0) return supplies;
    Supply supply{best, {}};
    std::vector<Demand> rest;
    for (Demand& demand : demands) {
      const bool serves = std::find(demand.holders.begin(), demand.holders.end(), best) != demand.holders.end();
      if (serves) {
        supply.copies.push_back(demand.copy);
      } else {
        rest.push_back(std::move(demand));
      }
    }
    demands = std::move(rest);
    supplies.push_back(std::move(supply));
  }
}

}  // namespace imapmesh
