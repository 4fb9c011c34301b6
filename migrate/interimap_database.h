// InterIMAP's database (its schema 1, of interimap 0.5): the pairs of UIDs of each mailbox.
//
// Reads the file and changes nothing; `imapmesh import-interimap` calls it. Hostile input: numbers and counts are
// checked. One thread.
#ifndef IMAPMESH_MIGRATE_INTERIMAP_DATABASE_H_
#define IMAPMESH_MIGRATE_INTERIMAP_DATABASE_H_

#include <string>
#include <vector>

#include "base/status.h"
#include "migrate/imported_state.h"

namespace imapmesh {

// Side a is the replica "local", b is "remote" (interimap_topology.h). kFailedPrecondition: in use, interrupted, or of
// another version; kInvalidArgument: no such database. The text says what to do.
absl::StatusOr<std::vector<MailboxPair>> ReadInterimapDatabase(const std::string& path);

}  // namespace imapmesh

#endif  // IMAPMESH_MIGRATE_INTERIMAP_DATABASE_H_
