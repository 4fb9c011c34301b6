// Makes a failing history short: leaves out steps, then faults of the network, while it still fails. Uses run.h.
#ifndef IMAPMESH_TESTS_SIM_SHRINK_H_
#define IMAPMESH_TESTS_SIM_SHRINK_H_

#include "tests/sim/history.h"

namespace imapmesh::sim {

// REQUIRES: the history fails, with a violation of some invariant. The result fails in the same invariant.
History Shrink(History history);

}  // namespace imapmesh::sim

#endif  // IMAPMESH_TESTS_SIM_SHRINK_H_
