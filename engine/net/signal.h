// Wakes coroutines: "something changed, look again". Engine thread only.
//
// A waiter must re-check its condition after Wait returns: Notify wakes all who wait at that moment and is not
// remembered.
#ifndef IMAPMESH_ENGINE_NET_SIGNAL_H_
#define IMAPMESH_ENGINE_NET_SIGNAL_H_

#include <asio/awaitable.hpp>
#include <asio/experimental/as_tuple.hpp>
#include <asio/steady_timer.hpp>
#include <asio/use_awaitable.hpp>

#include "engine/net/clock.h"

namespace imapmesh {

class Signal {
 public:
  explicit Signal(asio::any_io_executor executor) : timer_(executor, asio::steady_timer::time_point::max()) {}

  asio::awaitable<void> Wait() {
    // The timer never expires; its cancellation is the wake-up, so the error it reports is of no interest.
    co_await timer_.async_wait(asio::experimental::as_tuple(asio::use_awaitable));
  }

  // Wait, but at most `limit` of the engine's time.
  asio::awaitable<void> WaitFor(Clock& clock, Duration limit) {
    auto wake = [this] { Notify(); };
    const auto alarm = clock.CallAfter(limit, wake);
    co_await Wait();
  }

  void Notify() { timer_.cancel(); }

 private:
  asio::steady_timer timer_;
};

// Sleeps `delay` of the engine's time. Destroying the coroutine frame ends it.
inline asio::awaitable<void> Sleep(Clock& clock, asio::any_io_executor executor, Duration delay) {
  Signal signal(executor);
  bool over = false;
  auto wake = [&] {
    over = true;
    signal.Notify();
  };
  const auto alarm = clock.CallAfter(delay, wake);
  while (!over) co_await signal.Wait();
}

}  // namespace imapmesh

#endif  // IMAPMESH_ENGINE_NET_SIGNAL_H_
