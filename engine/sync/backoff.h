// How long a replica that failed is left alone before the next attempt.
//
// Pure; mesh.cc asks with each failure. Invariant: the pause doubles from half a second to five minutes, and what is
// drawn takes away up to half of it, so that many clients of one server do not come back all at once.
#ifndef IMAPMESH_ENGINE_SYNC_BACKOFF_H_
#define IMAPMESH_ENGINE_SYNC_BACKOFF_H_

#include <algorithm>

#include "engine/net/clock.h"

namespace imapmesh {

inline constexpr Duration kFirstPause = std::chrono::milliseconds(500);
inline constexpr Duration kLongestPause = std::chrono::minutes(5);

// `failures` in a row before this one. `draw(longest)` gives a duration from 0 to `longest`.
template <typename Draw>
Duration PauseAfter(int failures, Draw draw) {
  constexpr int kDoublingsMost = 10;
  const Duration pause =
      std::min<Duration>(kFirstPause * (1 << std::clamp(failures, 0, kDoublingsMost)), kLongestPause);
  return pause - draw(pause / 2);
}

}  // namespace imapmesh

#endif  // IMAPMESH_ENGINE_SYNC_BACKOFF_H_
