// Runs coroutines side by side and waits for all of them: the engine's only way to fork. Engine thread only.
//
// Each task is a named coroutine whose arguments outlive Join. A task must not throw: it reports by its own means.
#ifndef IMAPMESH_ENGINE_SYNC_TASK_GROUP_H_
#define IMAPMESH_ENGINE_SYNC_TASK_GROUP_H_

#include <asio/awaitable.hpp>
#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <utility>

#include "engine/net/signal.h"

namespace imapmesh {

class TaskGroup {
 public:
  explicit TaskGroup(asio::any_io_executor executor) : executor_(executor), done_(executor) {}
  TaskGroup(const TaskGroup&) = delete;
  TaskGroup& operator=(const TaskGroup&) = delete;

  void Start(asio::awaitable<void> task) {
    ++running_;
    asio::co_spawn(executor_, Counted(std::move(task)), asio::detached);
  }

  // Must be awaited before the group goes.
  asio::awaitable<void> Join() {
    while (running_ > 0) co_await done_.Wait();
  }

 private:
  asio::awaitable<void> Counted(asio::awaitable<void> task) {
    co_await std::move(task);
    --running_;
    done_.Notify();
  }

  asio::any_io_executor executor_;
  Signal done_;
  int running_ = 0;
};

// At most `limit` holders at once; others wait in no particular order.
class Permits {
 public:
  Permits(asio::any_io_executor executor, int limit) : free_(limit), changed_(executor) {}
  asio::awaitable<void> Acquire() {
    while (free_ == 0) co_await changed_.Wait();
    --free_;
  }
  void Release() {
    ++free_;
    changed_.Notify();
  }

 private:
  int free_;
  Signal changed_;
};

// Gives back, at the end of its block, the permit that was acquired before.
class Held {
 public:
  explicit Held(Permits& permits) : permits_(permits) {}
  ~Held() { permits_.Release(); }
  Held(const Held&) = delete;
  Held& operator=(const Held&) = delete;

 private:
  Permits& permits_;
};

}  // namespace imapmesh

#endif  // IMAPMESH_ENGINE_SYNC_TASK_GROUP_H_
