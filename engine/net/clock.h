// The engine's clock: a seam, so that simulation runs in virtual time.
//
// SystemClock serves the daemon; tests/sim has its own. Engine thread only.
#ifndef IMAPMESH_ENGINE_NET_CLOCK_H_
#define IMAPMESH_ENGINE_NET_CLOCK_H_

#include <asio/any_io_executor.hpp>
#include <asio/awaitable.hpp>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>

namespace imapmesh {

using Duration = std::chrono::nanoseconds;

// A pending call; destroying it cancels the call.
class Alarm {
 public:
  virtual ~Alarm() = default;
};

class Clock {
 public:
  virtual ~Clock() = default;
  // Monotonic, from an arbitrary start.
  virtual Duration Now() const = 0;
  // Wall time in milliseconds since 1970 UTC: only for what people read.
  virtual int64_t UnixMillis() const = 0;
  // Runs `call` on the engine's executor once `delay` has passed, unless the alarm is destroyed before.
  virtual std::unique_ptr<Alarm> CallAfter(Duration delay, std::function<void()> call) = 0;
};

// The real one. `executor` must outlive it.
std::unique_ptr<Clock> MakeSystemClock(asio::any_io_executor executor);

}  // namespace imapmesh

#endif  // IMAPMESH_ENGINE_NET_CLOCK_H_
