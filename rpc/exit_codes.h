// Exit codes of both programs (CONTRACT.md section 2).
#ifndef IMAPMESH_RPC_EXIT_CODES_H_
#define IMAPMESH_RPC_EXIT_CODES_H_

namespace imapmesh {

enum ExitCodes {
  kExitDone = 0,  // converged
  kExitFailed = 1,
  kExitUsage = 2,      // or an invalid topology
  kExitConflicts = 3,  // done, but conflicts wait for a decision
  kExitIncomplete = 4  // done as far as possible: a replica was unreachable or an operation refused
};

}  // namespace imapmesh

#endif  // IMAPMESH_RPC_EXIT_CODES_H_
