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
  AlarmQueue* queue = NextQueue();
  if (queue == nullptr) return false;
  if (queue->next() > now_) {
    now_ = queue->next();
    moved_at_step_ = steps_;
  }
  queue->RunFirst();
  return true;
}

// The one whose alarm comes first; of the same instant the world's goes before the engines'. Null when there is none.
AlarmQueue* VirtualTime::NextQueue() {
  AlarmQueue* first = alarms_.empty() ? nullptr : &alarms_;
  for (AlarmQueue* queue : engine_alarms_) {
    if (!queue->empty() && (first == nullptr || queue->next() < first->next())) first = queue;
  }
  return first;
}

SimClock::SimClock(VirtualTime& time, uint64_t seed) : time_(time), alarms_(std::make_shared<AlarmQueue>(seed)) {
  time_.engine_alarms_.push_back(alarms_.get());
}

SimClock::~SimClock() {
  Detach();
}

int64_t SimClock::UnixMillis() const {
  return kUnixStartMillis + std::chrono::duration_cast<std::chrono::milliseconds>(Now()).count();
}

std::unique_ptr<Alarm> SimClock::CallAfter(Duration delay, std::function<void()> call) {
  const auto key = alarms_->Add(Now() + std::max(delay, Duration(0)), std::move(call));
  return std::make_unique<SimAlarm>(alarms_, key);
}

void SimClock::Detach() {
  std::erase(time_.engine_alarms_, alarms_.get());
}

bool SimClock::StepAlone() {
  if (time_.context_.poll_one() > 0) return true;
  if (alarms_->empty()) return false;
  ahead_ = std::max(ahead_, alarms_->next() - time_.now());
  alarms_->RunFirst();
  return true;
}

}  // namespace imapmesh::sim
