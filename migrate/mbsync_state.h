// mbsync's sync state: one text file for each pair of mailboxes, and where those files are.
//
// Parsing is pure; FindMbsyncStates reads folders and files and changes nothing. `imapmesh import-mbsync` calls both.
// Hostile input: numbers and counts are checked. One thread.
#ifndef IMAPMESH_MIGRATE_MBSYNC_STATE_H_
#define IMAPMESH_MIGRATE_MBSYNC_STATE_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/ids.h"
#include "base/status.h"
#include "migrate/imported_state.h"
#include "migrate/mbsync_topology.h"

namespace imapmesh {

struct MbsyncState {
  UidValidity far, near;
  std::vector<std::pair<Uid, Uid>> uids;  // far, near
  size_t one_sided = 0;     // the message is on one side only: new, expired, deleted or refused on the other
  size_t placeholders = 0;  // one side holds a placeholder (MaxSize): not the same message
};

// kInvalidArgument with the line of the first fault.
absl::StatusOr<MbsyncState> ParseMbsyncState(std::string_view text, std::string_view file);

struct MbsyncStates {
  std::vector<MailboxPair> pairs;  // a is far, b is near
  std::vector<std::string> warnings;
};

// The states of these channels' mailboxes. What cannot be read, and what an interrupted run left unfinished, is warned
// of and left out: that mail is recognised by its headers.
MbsyncStates FindMbsyncStates(const std::vector<MbsyncStateSource>& sources);

}  // namespace imapmesh

#endif  // IMAPMESH_MIGRATE_MBSYNC_STATE_H_
