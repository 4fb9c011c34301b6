// Explain: planned work as people read it (`imapmesh plan`): waves, operations, bytes, and the reason of each. Pure.
//
// The coordinator calls it for a Plan order, batch by batch, and orders the waves at the end. The bytes are those that
// the run moves: sources of bodies are chosen as apply_appends.cc chooses them (order.h).
#ifndef IMAPMESH_ENGINE_SYNC_EXPLAIN_H_
#define IMAPMESH_ENGINE_SYNC_EXPLAIN_H_

#include <map>
#include <set>
#include <string>
#include <vector>

#include "engine/sync/control.h"
#include "engine/sync/mailbox_plan.h"
#include "engine/sync/mesh.h"
#include "engine/sync/work.h"

namespace imapmesh {

// Of each item `wave` is its distance from where the change began, until OrderWaves.
std::vector<PlanItem> ExplainWork(const MeshView& view, const Work& work, const std::map<FlagId, std::string>& flags);
std::vector<PlanItem> ExplainMailboxes(const MeshView& view, const std::vector<MailboxOperation>& operations);

// The flags that ExplainWork names.
std::set<FlagId> FlagsOf(const Work& work);

// Sorts by wave and numbers the waves from 1: mailboxes are made, renamed and subscribed, then messages and flags go
// out from where they are, one edge further with each wave, then deletions do, of messages and then of mailboxes.
void OrderWaves(std::vector<PlanItem>& items);

}  // namespace imapmesh

#endif  // IMAPMESH_ENGINE_SYNC_EXPLAIN_H_
