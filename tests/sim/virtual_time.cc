#include "tests/sim/virtual_time.h"

#include <algorithm>

namespace imapmesh::sim {
namespace {

constexpr int64_t kUnixStartMillis = 1'700'000'000'000;

class SimAlarm : public Alarm {
 public:
  SimAlarm(std::weak_ptr<AlarmQueue> queue, AlarmQueue::Key key) : queue_(std::move(queue)), key_(key) {}
  ~SimAlarm() override {
    if (const auto queue = queue_.lock()) queue->Remove(key_);
  }

 private:
  std::weak_ptr<AlarmQueue> queue_;
  AlarmQueue::Key key_;
};

}  // namespace

AlarmQueue::Key AlarmQueue::Add(Duration at, std::function<void()> call) {
  Key key{at, order_.Next()};
  while (!calls_.emplace(key, call).second) key.second = order_.Next();
  return key;
}

void AlarmQueue::RunFirst() {
  auto first = calls_.extract(calls_.begin());
  first.mapped()();
}

bool VirtualTime::Step() {
  ++steps_;
  if (context_.poll_one() > 0) return true;
  const bool engine = engine_alarms_ != nullptr && !engine_alarms_->empty();
  if (alarms_.empty() && !engine) return false;
  const bool engine_first = engine && (alarms_.empty() || engine_alarms_->next() < alarms_.next());
  AlarmQueue& queue = engine_first ? *engine_alarms_ : alarms_;
  now_ = std::max(now_, queue.next());
  queue.RunFirst();
  return true;
}

SimClock::SimClock(VirtualTime& time, uint64_t seed) : time_(time), alarms_(std::make_shared<AlarmQueue>(seed)) {
  time_.engine_alarms_ = alarms_.get();
}

SimClock::~SimClock() {
  if (time_.engine_alarms_ == alarms_.get()) time_.engine_alarms_ = nullptr;
}

int64_t SimClock::UnixMillis() const {
  return kUnixStartMillis + std::chrono::duration_cast<std::chrono::milliseconds>(Now()).count();
}

std::unique_ptr<Alarm> SimClock::CallAfter(Duration delay, std::function<void()> call) {
  const auto key = alarms_->Add(Now() + std::max(delay, Duration(0)), std::move(call));
  return std::make_unique<SimAlarm>(alarms_, key);
}

void SimClock::Detach() {
  if (time_.engine_alarms_ == alarms_.get()) time_.engine_alarms_ = nullptr;
}

bool SimClock::StepAlone() {
  if (time_.context_.poll_one() > 0) return true;
  if (alarms_->empty()) return false;
  ahead_ = std::max(ahead_, alarms_->next() - time_.now());
  alarms_->RunFirst();
  return true;
}

}  // namespace imapmesh::sim
