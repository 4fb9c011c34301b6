// The invariants of DESIGN.md section 4 as one function over what a harness saw.
//
// Every harness calls it: the simulation in C++, the tests on real servers through the program check_history. Pure: it
// touches no clock, file or network; any thread.
#ifndef IMAPMESH_TESTS_CHECKER_CHECKER_H_
#define IMAPMESH_TESTS_CHECKER_CHECKER_H_

#include <string>
#include <vector>

#include "tests/checker/history.pb.h"

namespace imapmesh::checker {

enum class Invariant {
  kNoLoss,          // a message that must be there is not
  kNoDuplicates,    // a message is there more often than it must be
  kFidelity,        // it is there with another content, size, date or other flags
  kNoResurrection,  // a message whose deletion was observed is back
  kConvergence,     // replicas that must agree differ
  kQuiescence,      // a run with nothing to do did something
  kPolicy,          // a message, or a flag, where no edge may have brought it
  kOneDownload,     // more bodies were fetched than messages had to be transferred
  kHarness          // the history contradicts itself: a group names a replica without a snapshot
};

const char* Name(Invariant invariant);

struct Violation {
  Invariant invariant = Invariant::kHarness;
  std::string replica;
  std::string mailbox;
  std::string text;  // one line: what is wrong

  bool operator==(const Violation&) const = default;
};

// Empty when all invariants hold. In the order of the history's groups, then deletions, then runs.
std::vector<Violation> Check(const History& history);

// "no loss: laptop: INBOX: ..."
std::string ToString(const Violation& violation);

}  // namespace imapmesh::checker

#endif  // IMAPMESH_TESTS_CHECKER_CHECKER_H_
