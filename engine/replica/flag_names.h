// Flags as one server knows them: which it keeps in a mailbox.
//
// imap_replica.cc asks before it stores. Values; any thread.
#ifndef IMAPMESH_ENGINE_REPLICA_FLAG_NAMES_H_
#define IMAPMESH_ENGINE_REPLICA_FLAG_NAMES_H_

#include <optional>
#include <string>
#include <vector>

#include "base/status.h"
#include "engine/replica/replica.h"

namespace imapmesh {

// kFailedPrecondition for a flag that is not among PERMANENTFLAGS: it would be taken and forgotten (RFC 3501 section
// 7.1). `permanent` nullopt: the server did not tell.
absl::Status CheckKept(const std::optional<std::vector<std::string>>& permanent, const FlagStore& store);

}  // namespace imapmesh

#endif  // IMAPMESH_ENGINE_REPLICA_FLAG_NAMES_H_
