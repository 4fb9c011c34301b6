// The starting state of a mesh: which UIDs of two mailbox copies another tool had as one message.
//
// The readers of other tools' states make the values, rpc/import_commands.cc has them written into a state that is new;
// the engine uses them up at its first observations (engine/sync/imported_pairs.h). One thread.
#ifndef IMAPMESH_MIGRATE_IMPORTED_STATE_H_
#define IMAPMESH_MIGRATE_IMPORTED_STATE_H_

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "base/ids.h"
#include "base/status.h"

namespace imapmesh {

struct MailboxSide {
  std::string replica;
  std::string mailbox;  // the local name (MailboxCopyRecord::local_name): the mesh's, as far as the topology knows
  UidValidity uid_validity;
};

struct MailboxPair {
  MailboxSide a;
  MailboxSide b;
  std::vector<std::pair<Uid, Uid>> uids;  // of one message each
};

inline constexpr size_t kImportedPairsMax = 20'000'000;

// Writes them in place of what was imported before; `path` must hold no state yet, or one that was not used. Sides
// whose UIDVALIDITY contradicts another's are left out. Returns how many pairs were taken. kFailedPrecondition when
// imapmesh has synced with it; kInternal when SQLite fails: nothing is written then.
absl::StatusOr<int64_t> WriteImportedState(const std::string& path, const std::vector<MailboxPair>& pairs);

}  // namespace imapmesh

#endif  // IMAPMESH_MIGRATE_IMPORTED_STATE_H_
