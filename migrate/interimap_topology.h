// An InterIMAP configuration as a topology: two replicas, "local" and "remote", and an edge.
//
// Pure; `imapmesh import-interimap` calls it. Every option is carried over or noted with its line. Any thread.
#ifndef IMAPMESH_MIGRATE_INTERIMAP_TOPOLOGY_H_
#define IMAPMESH_MIGRATE_INTERIMAP_TOPOLOGY_H_

#include <string>
#include <string_view>
#include <vector>

#include "migrate/draft.h"
#include "migrate/interimap_config.h"
#include "migrate/notes.h"

namespace imapmesh {

// `mailboxes`: those of the database, names of the mesh, where one is at hand: what list-select-opts had selected.
// `has_database`: one is. Errors are in `notes`; the draft counts only without any.
Draft InterimapTopology(const InterimapConfig& config, std::string_view name, bool has_database,
                        const std::vector<std::string>& mailboxes, Notes& notes);

}  // namespace imapmesh

#endif  // IMAPMESH_MIGRATE_INTERIMAP_TOPOLOGY_H_
