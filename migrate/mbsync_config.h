// mbsync's configuration file (mbsync(1), CONFIGURATION): sections and options, each with its line.
//
// Pure: what the options mean is mbsync_topology.h's matter. Hostile input: lengths and counts are capped. Any thread.
#ifndef IMAPMESH_MIGRATE_MBSYNC_CONFIG_H_
#define IMAPMESH_MIGRATE_MBSYNC_CONFIG_H_

#include <string>
#include <string_view>
#include <vector>

#include "migrate/notes.h"

namespace imapmesh {

struct MbsyncOption {
  std::string keyword;                 // in lower case
  std::vector<std::string> arguments;  // at least one
  int line = 0;                        // from 1
};

struct MbsyncSection {
  std::string kind;  // "imapaccount", "imapstore", "maildirstore", "channel", "group"
  std::string name;
  int line = 0;
  std::vector<std::string> more;  // what stands behind a group's name
  std::vector<MbsyncOption> options;
};

struct MbsyncConfig {
  std::vector<MbsyncOption> globals;
  std::vector<MbsyncSection> sections;
};

// Errors are in `notes`.
MbsyncConfig ParseMbsyncConfig(std::string_view text, Notes& notes);

}  // namespace imapmesh

#endif  // IMAPMESH_MIGRATE_MBSYNC_CONFIG_H_
