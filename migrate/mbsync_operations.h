// What an mbsync channel carries in which direction, and how an edge says it. Pure; any thread.
//
// mbsync has a matrix of operations (mbsync(1), Sync); an edge has one direction, flags and deletes for all it carries.
// What does not fit is narrowed, never widened, and noted.
#ifndef IMAPMESH_MIGRATE_MBSYNC_OPERATIONS_H_
#define IMAPMESH_MIGRATE_MBSYNC_OPERATIONS_H_

#include <string>
#include <vector>

#include "graph/topology.pb.h"
#include "migrate/mbsync_config.h"
#include "migrate/notes.h"

namespace imapmesh {

struct MbsyncOperations {
  bool add = false;  // New
  bool flags = false;
  bool deletions = false;
};

struct MbsyncSides {  // of Create, Remove and Expunge
  bool far = false;
  bool near = false;
};

struct MbsyncRules {
  MbsyncOperations pull;  // far to near
  MbsyncOperations push;  // near to far
  MbsyncSides create, remove, expunge;
  int sync_line = 0;  // of the options; 0: the default holds
  int expunge_line = 0;
};

// The channel's options over the global ones.
MbsyncRules RulesOf(const std::vector<MbsyncOption>& globals, const MbsyncSection& channel, Notes& notes);

// Direction, flags and deletes of the edge from far (a) to near (b). False when nothing is left to carry.
bool ToEdge(const MbsyncRules& rules, const MbsyncSection& channel, v1::Edge& edge, Notes& notes);

}  // namespace imapmesh

#endif  // IMAPMESH_MIGRATE_MBSYNC_OPERATIONS_H_
