#include "engine/sync/apply.h"

#include <utility>

#include "engine/sync/apply_appends.h"
#include "engine/sync/apply_changes.h"
#include "engine/sync/apply_copies.h"
#include "engine/sync/task_group.h"

namespace imapmesh {
namespace {

// A copy made by the server carries the flags of its source: those are brought up to date first.
asio::awaitable<void> ApplyFlagsAndCopies(Recorder& recorder, const Work& work, ReplicaIndex target,
                                          std::shared_ptr<const Lane> lane) {
  const bool up_to_date = co_await ApplyFlags(recorder, work, target);
  if (up_to_date && recorder.failure().ok()) co_await ApplyCopies(recorder, work, target);
  lane.reset();
}

asio::awaitable<void> ApplyExpungesIn(Recorder& recorder, const Work& work, ReplicaIndex target,
                                      std::shared_ptr<const Lane> lane) {
  co_await ApplyExpunges(recorder, work, target);
  lane.reset();
}

}  // namespace

asio::awaitable<absl::StatusOr<int64_t>> ApplyAdditionsAndFlags(Mesh& mesh, const Work& work, Lanes lanes) {
  Recorder recorder(mesh, work.view);
  co_await recorder.LoadFlagNames(work);
  if (!recorder.failure().ok()) co_return recorder.failure();
  TaskGroup tasks(mesh.executor);
  tasks.Start(ApplyAppends(recorder, work, lanes));
  for (auto& [target, lane] : lanes) tasks.Start(ApplyFlagsAndCopies(recorder, work, target, std::move(lane)));
  co_await tasks.Join();
  if (!recorder.failure().ok()) co_return recorder.failure();
  co_return recorder.done();
}

asio::awaitable<absl::StatusOr<int64_t>> ApplyDeletions(Mesh& mesh, const Work& work, Lanes lanes) {
  Recorder recorder(mesh, work.view);
  TaskGroup tasks(mesh.executor);
  for (auto& [target, lane] : lanes) tasks.Start(ApplyExpungesIn(recorder, work, target, std::move(lane)));
  co_await tasks.Join();
  if (!recorder.failure().ok()) co_return recorder.failure();
  co_return recorder.done();
}

}  // namespace imapmesh
