// The state behind awaited transactions: runs functions over State on the store's executor, one after another.
//
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

  // Runs `function(State&)` in one transaction on the store's executor; committed before this returns. The function
  // must be a named object that outlives the co_await; its result is returned.
  template <typename Function>
  asio::awaitable<absl::StatusOr<std::invoke_result_t<Function&, State&>>> Run(Function& function) {
    co_await Switch(store_executor_);
    absl::StatusOr<std::invoke_result_t<Function&, State&>> result = RunNow(function);
    co_await Switch(engine_executor_);
    co_return result;
  }

 private:
  StoreThread(std::string path, asio::any_io_executor engine_executor, asio::any_io_executor store_executor);

  static asio::awaitable<void> Switch(asio::any_io_executor executor) {
    co_await asio::post(asio::bind_executor(executor, asio::use_awaitable));
  }

  template <typename Function>
  absl::StatusOr<std::invoke_result_t<Function&, State&>> RunNow(Function& function) {
    try {
      Transaction transaction(state_->database());
      auto result = function(*state_);
      transaction.Commit();
      return result;
    } catch (const SqliteError& error) {
      state_->ForgetCaches();
      return Failure(error);
    }
  }
  absl::Status Failure(const SqliteError& error) const;

  std::string path_;
  asio::any_io_executor engine_executor_;
  asio::any_io_executor store_executor_;
  std::unique_ptr<State> state_;
};

}  // namespace imapmesh

#endif  // IMAPMESH_ENGINE_STORE_STORE_THREAD_H_
