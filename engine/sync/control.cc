#include "engine/sync/control.h"

namespace imapmesh {

const char* Name(ReplicaState state) {
  switch (state) {
    case ReplicaState::kUnknown:
      return "UNKNOWN";
    case ReplicaState::kConnecting:
      return "CONNECTING";
    case ReplicaState::kUp:
      return "UP";
    case ReplicaState::kDown:
      return "DOWN";
  }
  return "UNKNOWN";
}

const char* Name(EdgeState state) {
  switch (state) {
    case EdgeState::kUnknown:
      return "UNKNOWN";
    case EdgeState::kInSync:
      return "IN_SYNC";
    case EdgeState::kPending:
      return "PENDING";
    case EdgeState::kSyncing:
      return "SYNCING";
    case EdgeState::kPaused:
      return "PAUSED";
    case EdgeState::kUnreachable:
      return "UNREACHABLE";
  }
  return "UNKNOWN";
}

const char* Name(Decision decision) {
  switch (decision) {
    case Decision::kKeep:
      return "keep";
    case Decision::kDelete:
      return "delete";
    case Decision::kRestore:
      return "restore";
    case Decision::kApprove:
      return "approve";
    case Decision::kReject:
      return "reject";
    case Decision::kRetry:
      return "retry";
    case Decision::kLeave:
      return "leave";
  }
  return "";
}

int RunReport::ExitCode() const {
  for (const ReplicaReport& replica : replicas) {
    if (replica.state != ReplicaState::kUp) return 4;
  }
  if (refused > 0) return 4;
  if (conflicts_open > 0) return 3;
  return converged ? 0 : 1;
}

}  // namespace imapmesh
