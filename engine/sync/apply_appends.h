// Additions by APPEND: each body is fetched once, from the cheapest holder, and appended at all that want it at once.
// Called by apply.cc. Memory is bounded by the chunks in flight. Engine thread.
#ifndef IMAPMESH_ENGINE_SYNC_APPLY_APPENDS_H_
#define IMAPMESH_ENGINE_SYNC_APPLY_APPENDS_H_

#include "engine/sync/record.h"

namespace imapmesh {

asio::awaitable<void> ApplyAppends(Recorder& recorder, const Work& work);

}  // namespace imapmesh

#endif  // IMAPMESH_ENGINE_SYNC_APPLY_APPENDS_H_
