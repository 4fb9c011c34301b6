// Whether a message that was fetched is the one that was known under its UID. A server that was restored from an older
// copy gives UIDs for the second time, and its counters need not show it.
//
// apply_appends.cc asks before anything is appended elsewhere. Pure; any thread.
#ifndef IMAPMESH_ENGINE_REPLICA_KNOWN_BODY_H_
#define IMAPMESH_ENGINE_REPLICA_KNOWN_BODY_H_

#include <cstdint>

#include "base/digest.h"
#include "engine/net/body.h"

namespace imapmesh {

// Of another size than `size`, and with other header fields than those of `header_digest` (header_digest.h). The size
// alone tells nothing: some servers count what they do not send. False where the header cannot be read for certain.
bool IsAnotherMessage(const Body& body, uint64_t size, const Digest& header_digest);

}  // namespace imapmesh

#endif  // IMAPMESH_ENGINE_REPLICA_KNOWN_BODY_H_
