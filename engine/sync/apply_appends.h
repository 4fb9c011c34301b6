// Additions by APPEND: each body is fetched once, from the cheapest holder, and appended at all that want it at the
// same time, while the next are fetched; from another holder when that one is gone, stuck, or lacks it. Called by
// apply.cc.
//
// Each target goes at its own speed. What was fetched is kept until the slowest has it, so memory is bounded by the
// batch (PlanBatch::kPlanBytes); how far fetching runs ahead of the fastest target, by the chunks in flight. Engine
// thread.
#ifndef IMAPMESH_ENGINE_SYNC_APPLY_APPENDS_H_
#define IMAPMESH_ENGINE_SYNC_APPLY_APPENDS_H_

#include "engine/sync/lane.h"
#include "engine/sync/record.h"

namespace imapmesh {

asio::awaitable<void> ApplyAppends(Recorder& recorder, const Work& work, Lanes lanes);

}  // namespace imapmesh

#endif  // IMAPMESH_ENGINE_SYNC_APPLY_APPENDS_H_
