#include "engine/sync/events.h"

#include <algorithm>
#include <utility>

namespace imapmesh {

class EventLog::Reader : public EventReader {
 public:
  Reader(std::shared_ptr<EventLog> log, int64_t id, int64_t after) : log_(std::move(log)), id_(id), after_(after) {}
  ~Reader() override {
    const std::lock_guard lock(log_->mutex_);
    log_->wakes_.erase(id_);
  }

  std::vector<Event> Take(size_t max) override {
    const std::lock_guard lock(log_->mutex_);
    std::vector<Event> taken;
    const auto begin = std::upper_bound(log_->events_.begin(), log_->events_.end(), after_,
                                        [](int64_t id, const Event& event) { return id < event.id; });
    for (auto it = begin; it != log_->events_.end() && taken.size() < max; ++it) taken.push_back(*it);
    if (!taken.empty()) after_ = taken.back().id;
    return taken;
  }

 private:
  std::shared_ptr<EventLog> log_;
  int64_t id_;
  int64_t after_;  // guarded by log_->mutex_
};

void EventLog::Add(Event event) {
  std::vector<std::shared_ptr<std::function<void()>>> wakes;
  {
    const std::lock_guard lock(mutex_);
    event.id = next_id_++;
    events_.push_back(std::move(event));
    if (events_.size() > capacity_) events_.pop_front();
    for (const auto& [id, wake] : wakes_) wakes.push_back(wake);
  }
  for (const auto& wake : wakes) (*wake)();
}

std::shared_ptr<EventReader> EventLog::Read(int64_t after, std::function<void()> wake) {
  const std::lock_guard lock(mutex_);
  const int64_t id = next_reader_++;
  const int64_t newest = next_id_ - 1;
  const int64_t from = after < 0 ? newest : after > newest ? 0 : after;
  wakes_[id] = std::make_shared<std::function<void()>>(std::move(wake));
  return std::make_shared<Reader>(shared_from_this(), id, from);
}

}  // namespace imapmesh
