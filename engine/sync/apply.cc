#include "engine/sync/apply.h"

#include "engine/sync/apply_appends.h"
#include "engine/sync/apply_changes.h"
#include "engine/sync/apply_copies.h"
#include "engine/sync/conflicts.h"
#include "engine/sync/task_group.h"

namespace imapmesh {
namespace {

bool HasConflict(const Work& work) {
  for (const PlannedMessage& planned : work.messages) {
    for (const CopyPlan& copy : planned.plan.copies) {
      if (copy.action == Action::kExpunge && copy.conflict) return true;
    }
  }
  return false;
}

}  // namespace

asio::awaitable<absl::StatusOr<int64_t>> ApplyAdditionsAndFlags(Mesh& mesh, const Work& work) {
  Recorder recorder(mesh);
  co_await recorder.LoadFlagNames(work);
  if (recorder.failure().ok()) {
    TaskGroup tasks(mesh.executor);
    tasks.Start(ApplyCopies(recorder, work));
    tasks.Start(ApplyAppends(recorder, work));
    co_await tasks.Join();
  }
  if (recorder.failure().ok()) co_await ApplyFlags(recorder, work);
  if (!recorder.failure().ok()) co_return recorder.failure();
  co_return recorder.done();
}

asio::awaitable<absl::StatusOr<int64_t>> ApplyDeletions(Mesh& mesh, const Work& work) {
  // What a conflict is about must be read before it is gone.
  if (HasConflict(work)) CO_RETURN_IF_ERROR(co_await DescribeConflicts(mesh));
  Recorder recorder(mesh);
  co_await ApplyExpunges(recorder, work);
  if (!recorder.failure().ok()) co_return recorder.failure();
  co_return recorder.done();
}

}  // namespace imapmesh
