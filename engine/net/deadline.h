// Closes a stream when a wait takes too long: the only kind of deadline in the engine, since a stream that timed out is
// of no more use. Engine thread only.
#ifndef IMAPMESH_ENGINE_NET_DEADLINE_H_
#define IMAPMESH_ENGINE_NET_DEADLINE_H_

#include <memory>

#include "engine/net/clock.h"
#include "engine/net/stream.h"

namespace imapmesh {

// `stream` must outlive the guard.
class DeadlineGuard {
 public:
  DeadlineGuard(Clock& clock, ByteStream& stream, Duration limit)
      : alarm_(clock.CallAfter(limit, [this, &stream] {
          fired_ = true;
          stream.Close();
        })) {}
  DeadlineGuard(const DeadlineGuard&) = delete;
  DeadlineGuard& operator=(const DeadlineGuard&) = delete;
  bool fired() const { return fired_; }

 private:
  bool fired_ = false;
  std::unique_ptr<Alarm> alarm_;
};

}  // namespace imapmesh

#endif  // IMAPMESH_ENGINE_NET_DEADLINE_H_
