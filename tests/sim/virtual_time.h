// Time that passes only when nothing else can happen, and the loop that lets it pass.
//
// One VirtualTime serves a whole simulated world: the servers, the network and the users set alarms on it directly; the
// engine has a SimClock over it. Everything runs on the thread that calls Step. Invariant: with the same seed the same
// calls happen in the same order.
#ifndef IMAPMESH_TESTS_SIM_VIRTUAL_TIME_H_
#define IMAPMESH_TESTS_SIM_VIRTUAL_TIME_H_

#include <asio/executor_work_guard.hpp>
#include <asio/io_context.hpp>
#include <functional>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "engine/net/clock.h"
#include "tests/sim/random.h"

namespace imapmesh::sim {

// Calls waiting for their instant. Those of one instant run in an order that the seed decides.
class AlarmQueue {
 public:
  using Key = std::pair<Duration, uint64_t>;
  explicit AlarmQueue(uint64_t seed) : order_(seed) {}

  Key Add(Duration at, std::function<void()> call);
  void Remove(Key key) { calls_.erase(key); }
  bool empty() const { return calls_.empty(); }
  Duration next() const { return calls_.begin()->first.first; }
  void RunFirst();

 private:
  std::map<Key, std::function<void()>> calls_;
  Random order_;
};

class VirtualTime {
 public:
  explicit VirtualTime(uint64_t seed) : alarms_(seed), work_(context_.get_executor()) {}

  asio::io_context& context() { return context_; }
  Duration now() const { return now_; }
  // Once `delay` has passed; the order of calls of one instant is the seed's.
  void After(Duration delay, std::function<void()> call) { alarms_.Add(now_ + delay, std::move(call)); }

  // Runs one handler that is ready, or else lets time pass to the next alarm of the world or of the engine. False when
  // neither is there.
  bool Step();
  uint64_t steps() const { return steps_; }
  // Since the time last moved: of an engine that spins they grow without end.
  uint64_t steps_at_this_instant() const { return steps_ - moved_at_step_; }

 private:
  friend class SimClock;

  asio::io_context context_{1};
  AlarmQueue alarms_;
  asio::executor_work_guard<asio::io_context::executor_type> work_;
  AlarmQueue* NextQueue();

  std::vector<AlarmQueue*> engine_alarms_;  // of the daemons that live
  Duration now_{0};
  uint64_t steps_ = 0;
  uint64_t moved_at_step_ = 0;
};

// The clock of one daemon. `time` must outlive it.
class SimClock : public Clock {
 public:
  SimClock(VirtualTime& time, uint64_t seed);
  ~SimClock() override;

  Duration Now() const override { return time_.now() + ahead_; }
  int64_t UnixMillis() const override;
  std::unique_ptr<Alarm> CallAfter(Duration delay, std::function<void()> call) override;

  // From here on the world stands still: StepAlone runs what is ready, or lets time pass for this clock only.
  void Detach();
  bool StepAlone();

 private:
  VirtualTime& time_;
  std::shared_ptr<AlarmQueue> alarms_;
  Duration ahead_{0};
};

}  // namespace imapmesh::sim

#endif  // IMAPMESH_TESTS_SIM_VIRTUAL_TIME_H_
