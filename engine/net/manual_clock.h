// For the tests of this folder: a clock that stands until it is moved, and a stream on which nothing comes.
#ifndef IMAPMESH_ENGINE_NET_MANUAL_CLOCK_H_
#define IMAPMESH_ENGINE_NET_MANUAL_CLOCK_H_

#include <asio/io_context.hpp>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "engine/net/clock.h"
#include "engine/net/stream.h"

namespace imapmesh {

// Time stands until Advance.
class ManualClock : public Clock {
 public:
  explicit ManualClock(asio::io_context& io) : io_(io) {}
  Duration Now() const override { return now_; }
  int64_t UnixMillis() const override { return 0; }
  std::unique_ptr<Alarm> CallAfter(Duration delay, std::function<void()> call) override {
    auto entry = std::make_unique<Entry>();
    entry->pending = std::make_shared<Pending>(Pending{now_ + delay, std::move(call)});
    pending_.push_back(entry->pending);
    return entry;
  }
  void Advance(Duration by) {
    const Duration end = now_ + by;
    Settle();
    while (const std::shared_ptr<Pending> next = Earliest(end)) {
      now_ = next->due;
      std::exchange(next->call, nullptr)();
      Settle();
    }
    now_ = end;
  }
  // Lets the coroutines run as far as they can at this instant.
  void Settle() {
    io_.restart();
    io_.poll();
  }

 private:
  struct Pending {
    Duration due;
    std::function<void()> call;
  };
  struct Entry : public Alarm {
    std::shared_ptr<Pending> pending;
  };
  std::shared_ptr<Pending> Earliest(Duration end) {
    std::shared_ptr<Pending> earliest;
    for (const auto& weak : pending_) {
      const auto each = weak.lock();
      if (each == nullptr || !each->call || each->due > end) continue;
      if (earliest == nullptr || each->due < earliest->due) earliest = each;
    }
    return earliest;
  }

  asio::io_context& io_;
  Duration now_{0};
  std::vector<std::weak_ptr<Pending>> pending_;
};

class NoStream : public ByteStream {
 public:
  asio::awaitable<absl::StatusOr<size_t>> Read(std::span<char>) override { co_return size_t{0}; }
  asio::awaitable<absl::Status> Write(std::string_view) override { co_return absl::OkStatus(); }
  void Close() override {}
  uint64_t bytes_sent() const override { return 0; }
  uint64_t bytes_received() const override { return 0; }
};

}  // namespace imapmesh

#endif  // IMAPMESH_ENGINE_NET_MANUAL_CLOCK_H_
