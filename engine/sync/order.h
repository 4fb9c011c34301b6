// Order: what is done first, and where bodies come from (DESIGN.md section 3, step 4). Pure functions.
//
// The coordinator orders mailboxes with it; apply_appends.cc and explain.cc choose the sources of bodies with it, so
// that a plan tells the bytes that the run then moves.
#ifndef IMAPMESH_ENGINE_SYNC_ORDER_H_
#define IMAPMESH_ENGINE_SYNC_ORDER_H_

#include <string>
#include <vector>

#include "engine/sync/plan.h"

namespace imapmesh {

// A mailbox with messages to plan.
struct UnsettledMailbox {
  MailboxId id;
  std::string name;
  int64_t messages = 0;
};

// INBOX, then small work before bulk.
void SortForPlanning(std::vector<UnsettledMailbox>& mailboxes);

// A body that is wanted at a replica, and who may give it (CopyPlan::holders).
struct Demand {
  const CopyPlan* copy = nullptr;
  std::vector<ReplicaIndex> holders;
};

// One download of a body, and for whom.
struct Supply {
  ReplicaIndex source;
  std::vector<const CopyPlan*> copies;
};

// The fewest downloads that serve every demand that can be served, from the cheapest holders: with one holder that may
// give to all, it is one. Ties go to the holder declared first. Demands without holders are left out.
std::vector<Supply> ChooseSupplies(const Graph& graph, std::vector<Demand> demands);

}  // namespace imapmesh

#endif  // IMAPMESH_ENGINE_SYNC_ORDER_H_
