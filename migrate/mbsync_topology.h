// An mbsync configuration as a topology: a replica for each IMAP store that a channel uses, an edge for each channel.
//
// Pure; `imapmesh import-mbsync` calls it. Channels with a Maildir, and options without a counterpart, are noted with
// their lines. Any thread.
#ifndef IMAPMESH_MIGRATE_MBSYNC_TOPOLOGY_H_
#define IMAPMESH_MIGRATE_MBSYNC_TOPOLOGY_H_

#include <string>
#include <string_view>
#include <vector>

#include "migrate/draft.h"
#include "migrate/mbsync_config.h"
#include "migrate/notes.h"

namespace imapmesh {

// One side of a channel.
struct MbsyncEnd {
  std::string store;
  std::string replica;
  std::string box;  // as the channel says it: with Patterns what stands before every name, else the mailbox
};

// Where the state of a channel's mailboxes lies (mbsync(1), SyncState).
struct MbsyncStateSource {
  std::string channel;
  MbsyncEnd far, near;
  bool patterns = false;
  std::string mailbox;           // without patterns: its name in the mesh
  std::string path;              // what the files' paths begin with, "~" resolved
  bool names_both_ends = false;  // the global SyncState: the rest is ":far:box_:near:box", else the near box
  char delimiter = ':';          // FieldDelimiter
};

struct MbsyncDraft {
  Draft draft;
  std::vector<MbsyncStateSource> states;
};

// `home`: what "~" stands for. Errors are in `notes`; the draft counts only without any.
MbsyncDraft MbsyncTopology(const MbsyncConfig& config, std::string_view name, std::string_view home, Notes& notes);

}  // namespace imapmesh

#endif  // IMAPMESH_MIGRATE_MBSYNC_TOPOLOGY_H_
