#include "engine/sync/apply.h"

#include "engine/sync/apply_appends.h"
#include "engine/sync/apply_changes.h"
#include "engine/sync/apply_copies.h"
#include "engine/sync/task_group.h"

namespace imapmesh {

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
  Recorder recorder(mesh);
  co_await ApplyExpunges(recorder, work);
  if (!recorder.failure().ok()) co_return recorder.failure();
  co_return recorder.done();
}

}  // namespace imapmesh
