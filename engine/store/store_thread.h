// The state behind awaited transactions: runs functions over State on the store's executor, one after another.
//
// What several coroutines ask for at the same time is committed together: an fsync serves them all.
// engine/sync awaits Run from the engine thread; in the daemon the store has a thread of its own, in simulation it
// shares the engine's executor. What a function throws becomes a status: SQLITE_FULL and I/O errors kResourceExhausted,
// the rest kInternal. State is touched nowhere else.
#ifndef IMAPMESH_ENGINE_STORE_STORE_THREAD_H_
#define IMAPMESH_ENGINE_STORE_STORE_THREAD_H_

#include <asio/any_io_executor.hpp>
#include <asio/awaitable.hpp>
#include <asio/bind_executor.hpp>
#include <asio/post.hpp>
#include <asio/use_awaitable.hpp>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/status.h"
#include "engine/store/state.h"

namespace imapmesh {

class StoreThread {
 public:
  // Opens `path`. kFailedPrecondition for a file that is no state of ours or too new; kResourceExhausted for a full
  // disk; the text names the path.
  static absl::StatusOr<std::unique_ptr<StoreThread>> Open(const std::string& path,
                                                           asio::any_io_executor engine_executor,
                                                           asio::any_io_executor store_executor);

  // Runs `function(State&)` on the store's executor, all of it or nothing; committed before this returns. The function
  // must be a named object that outlives the co_await; its result is returned.
  template <typename Function>
  asio::awaitable<absl::StatusOr<std::invoke_result_t<Function&, State&>>> Run(Function& function) {
    co_await Switch(store_executor_);
    JobOf<Function> job(function);
    waiting_.push_back(&job);
    co_await Switch(store_executor_);  // who else is on the way joins; the first of them runs all
    if (!job.done) RunWaiting();
    co_await Switch(engine_executor_);
    co_return std::move(job.result);
  }

 private:
  StoreThread(std::string path, asio::any_io_executor engine_executor, asio::any_io_executor store_executor);

  static asio::awaitable<void> Switch(asio::any_io_executor executor) {
    co_await asio::post(asio::bind_executor(executor, asio::use_awaitable));
  }

  // What one Run asks for.
  class Job {
   public:
    virtual ~Job() = default;
    virtual void Do(State& state) = 0;
    virtual void Fail(absl::Status status) = 0;
    bool done = false;
  };
  template <typename Function>
  class JobOf : public Job {
   public:
    explicit JobOf(Function& function) : function_(function) {}
    // What it returns may be a status itself: that is its result, not ours.
    void Do(State& state) override { result.emplace(function_(state)); }
    void Fail(absl::Status status) override { result = std::move(status); }
    absl::StatusOr<std::invoke_result_t<Function&, State&>> result = absl::UnknownError("not run");

   private:
    Function& function_;
  };

  void RunWaiting();
  void RunWithin(Job& job);
  absl::Status Failure(const SqliteError& error) const;

  std::string path_;
  asio::any_io_executor engine_executor_;
  asio::any_io_executor store_executor_;
  std::unique_ptr<State> state_;
  std::vector<Job*> waiting_;  // the store's thread only
};

}  // namespace imapmesh

#endif  // IMAPMESH_ENGINE_STORE_STORE_THREAD_H_
