// What the annotations of one mailbox (METADATA, RFC 5464) are after a look, and what is to be set where.
//
// Pure; sync_metadata.cc calls it inside the transaction that records the look. Registers as flags have them: what
// differs from the record is a change somebody made and gets the look's stamp, the newest change of an entry wins, and
// goes wherever flags may go. Of changes seen together, or of one that meets another which had not arrived yet, the one
// at the replica that the topology names first wins, and a conflict is told. A copy looked at for the first time gives
// way to what others have recorded.
#ifndef IMAPMESH_ENGINE_SYNC_METADATA_MERGE_H_
#define IMAPMESH_ENGINE_SYNC_METADATA_MERGE_H_

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/ids.h"
#include "engine/replica/replica.h"
#include "engine/store/metadata_table.h"

namespace imapmesh {

// Servers' own, computed or kept by other means: left alone everywhere.
bool IsServersOwnEntry(std::string_view entry);

// One mailbox copy; in the topology's order.
struct MetadataCopy {
  RecordedMetadata recorded;
  std::optional<MailboxMetadata> observed;  // nullopt: not looked at
  bool writable = false;                    // its server can be told now
};

struct MetadataConflict {
  std::string entry;
  size_t winner = 0, loser = 0;  // indices of copies
  std::string winning, losing;   // values, "" for none
  bool operator==(const MetadataConflict&) const = default;
};

struct MetadataResult {
  std::vector<MetadataRegisters> registers;                     // by copy, to be recorded before anything is set
  std::vector<std::map<std::string, MetadataRegister>> wanted;  // by copy: what is to be set, then recorded
  std::vector<MetadataConflict> conflicts;
};

// `now`: two stamps that nothing has yet, the first for changes that lose. `admits(from, to)`: some open edge carries
// flags of this mailbox from one to the other.
MetadataResult MergeMetadata(const std::vector<MetadataCopy>& copies, std::pair<Stamp, Stamp> now,
                             const std::function<bool(size_t, size_t)>& admits);

}  // namespace imapmesh

#endif  // IMAPMESH_ENGINE_SYNC_METADATA_MERGE_H_
