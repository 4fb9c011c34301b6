#include <asio/steady_timer.hpp>
#include <utility>

#include "engine/net/clock.h"

namespace imapmesh {
namespace {

// The timer's own handler may still be queued when the alarm goes: what it needs outlives both.
class SystemAlarm : public Alarm {
 public:
  SystemAlarm(asio::any_io_executor executor, Duration delay, std::function<void()> call)
      : timer_(executor, delay), call_(std::make_shared<std::function<void()>>(std::move(call))) {
    timer_.async_wait([weak = std::weak_ptr(call_)](const asio::error_code& error) {
      const auto call = weak.lock();
      if (!error && call) (*call)();
    });
  }

 private:
  asio::steady_timer timer_;
  std::shared_ptr<std::function<void()>> call_;
};

class SystemClock : public Clock {
 public:
  explicit SystemClock(asio::any_io_executor executor) : executor_(executor) {}
  Duration Now() const override { return std::chrono::steady_clock::now().time_since_epoch(); }
  int64_t UnixMillis() const override {
    const auto now = std::chrono::system_clock::now().time_since_epoch();
    return std::chrono::duration_cast<std::chrono::milliseconds>(now).count();
  }
  std::unique_ptr<Alarm> CallAfter(Duration delay, std::function<void()> call) override {
    return std::make_unique<SystemAlarm>(executor_, delay, std::move(call));
  }

 private:
  asio::any_io_executor executor_;
};

}  // namespace

std::unique_ptr<Clock> MakeSystemClock(asio::any_io_executor executor) {
  return std::make_unique<SystemClock>(executor);
}

}  // namespace imapmesh
