#include "engine/store/store_thread.h"

#include <sqlite3.h>

namespace imapmesh {

StoreThread::StoreThread(std::string path, asio::any_io_executor engine_executor, asio::any_io_executor store_executor)
    : path_(std::move(path)), engine_executor_(engine_executor), store_executor_(store_executor) {}

absl::StatusOr<std::unique_ptr<StoreThread>> StoreThread::Open(const std::string& path,
                                                               asio::any_io_executor engine_executor,
                                                               asio::any_io_executor store_executor) {
  std::unique_ptr<StoreThread> store(new StoreThread(path, engine_executor, store_executor));
  try {
    store->state_ = std::make_unique<State>(path);
  } catch (const SqliteError& error) {
    return store->Failure(error);
  }
  return store;
}

// In one transaction. A job that fails is taken back, and the others stay.
void StoreThread::RunWaiting() {
  const std::vector<Job*> jobs = std::exchange(waiting_, {});
  try {
    Transaction transaction(state_->database());
    if (jobs.size() == 1) {
      jobs.front()->Do(*state_);
    } else {
      for (Job* job : jobs) RunWithin(*job);
    }
    transaction.Commit();
  } catch (const SqliteError& error) {
    state_->ForgetCaches();
    for (Job* job : jobs) job->Fail(Failure(error));
  }
  for (Job* job : jobs) job->done = true;
}

void StoreThread::RunWithin(Job& job) {
  state_->database().Prepare("SAVEPOINT job").Run();
  try {
    job.Do(*state_);
    state_->database().Prepare("RELEASE job").Run();
  } catch (const SqliteError& error) {
    state_->ForgetCaches();
    job.Fail(Failure(error));
    // A full disk may have ended the transaction already: then this throws, and all of them fail.
    state_->database().Execute("ROLLBACK TO job");
    state_->database().Execute("RELEASE job");
  }
}

absl::Status StoreThread::Failure(const SqliteError& error) const {
  const int primary = error.code() & 0xFF;
  if (primary == SQLITE_FULL || primary == SQLITE_IOERR) {
    return Error(absl::StatusCode::kResourceExhausted,
                 "state file %s: cannot be written (%s); free some space on its disk, or choose another path with "
                 "--state; nothing is lost, the next run goes on from what was recorded",
                 path_, error.what());
  }
  if (primary == SQLITE_MISMATCH || primary == SQLITE_NOTADB || primary == SQLITE_CORRUPT) {
    return Error(absl::StatusCode::kFailedPrecondition,
                 "state file %s: %s; it may be moved away: the mail is then identified again, nothing is lost", path_,
                 error.what());
  }
  if (primary == SQLITE_CANTOPEN || primary == SQLITE_READONLY || primary == SQLITE_PERM) {
    return Error(absl::StatusCode::kPermissionDenied,
                 "state file %s: %s; check that its folder exists and may be written, or choose another path with "
                 "--state",
                 path_, error.what());
  }
  return Error(absl::StatusCode::kInternal, "state file %s: %s", path_, error.what());
}

}  // namespace imapmesh
