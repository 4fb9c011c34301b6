// The stream of events: a bounded ring that any thread may read at its own pace.
//
// The engine adds; gRPC's threads read through EventReader. Its own mutex; nobody waits for a reader: who is too slow
// finds a gap in the ids.
#ifndef IMAPMESH_ENGINE_SYNC_EVENTS_H_
#define IMAPMESH_ENGINE_SYNC_EVENTS_H_

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "engine/sync/control.h"

namespace imapmesh {

class EventLog : public std::enable_shared_from_this<EventLog> {
 public:
  explicit EventLog(size_t capacity = 10'000) : capacity_(capacity) {}

  void Add(Event event);
  std::shared_ptr<EventReader> Read(int64_t after, std::function<void()> wake);

 private:
  class Reader;

  const size_t capacity_;
  std::mutex mutex_;
  // Guarded by mutex_.
  std::deque<Event> events_;
  int64_t next_id_ = 1;
  int64_t next_reader_ = 1;
  std::map<int64_t, std::shared_ptr<std::function<void()>>> wakes_;
};

}  // namespace imapmesh

#endif  // IMAPMESH_ENGINE_SYNC_EVENTS_H_
