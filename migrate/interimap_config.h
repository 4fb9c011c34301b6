// InterIMAP's configuration file (interimap(1), CONFIGURATION FILE): sections, options, values, each with its line.
//
// Pure: what the options mean is interimap_topology.h's matter. Hostile input: lengths and counts are capped. Any
// thread.
#ifndef IMAPMESH_MIGRATE_INTERIMAP_CONFIG_H_
#define IMAPMESH_MIGRATE_INTERIMAP_CONFIG_H_

#include <map>
#include <string>
#include <string_view>

#include "migrate/notes.h"

namespace imapmesh {

inline constexpr size_t kForeignConfigBytesMax = 1 << 20;

struct ConfigOption {
  std::string value;
  int line = 0;  // from 1
};

using ConfigSection = std::map<std::string, ConfigOption, std::less<>>;

struct InterimapConfig {
  ConfigSection defaults;  // before the first section: holds for both
  ConfigSection local;
  ConfigSection remote;
};

// Errors are in `notes`; other sections (pullimap shares the format) are noted and left out.
InterimapConfig ParseInterimapConfig(std::string_view text, Notes& notes);

}  // namespace imapmesh

#endif  // IMAPMESH_MIGRATE_INTERIMAP_CONFIG_H_
