// Conflicts: what a person can decide about one, and what a decision changes in the registers (DESIGN.md section 3,
// merge).
//
// Planning and observation record conflicts; the coordinator calls these when a person decides, and after observations.
// Decisions are functions over State, run on the store's thread inside one transaction; the next round carries out what
// they leave pending. Invariant: a decision touches only what its conflict holds.
#ifndef IMAPMESH_ENGINE_SYNC_CONFLICTS_H_
#define IMAPMESH_ENGINE_SYNC_CONFLICTS_H_

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "engine/store/state.h"
#include "engine/sync/control.h"
#include "engine/sync/mesh.h"

namespace imapmesh {

// Kinds, as recorded and shown.
inline constexpr char kDeleteVsChange[] = "DELETE_VS_CHANGE";
inline constexpr char kExclusiveKeywords[] = "EXCLUSIVE_KEYWORDS";
inline constexpr char kIdentityInDoubt[] = "IDENTITY_IN_DOUBT";
inline constexpr char kBrake[] = "BRAKE";
inline constexpr char kMailboxGone[] = "MAILBOX_GONE";

// What can be decided about an open conflict of this kind; empty for one that policy has decided.
std::vector<Decision> Choices(const ConflictRecord& conflict);

// As people see it, made printable.
ConflictReport ToReport(const ConflictRecord& conflict, int64_t held);

// Those that a decision about the conflict changes.
std::set<MessageId> MessagesOf(State& state, int64_t conflict);

// Carries out a decision. `replica` names the side to keep, for Decision::kKeep. kNotFound: no such conflict;
// kFailedPrecondition: it is not open; kInvalidArgument: the decision does not fit. The conflict as it is then.
absl::StatusOr<ConflictRecord> Decide(State& state, const MeshView& view, int64_t conflict, Decision decision,
                                      const std::string& replica, int64_t now_unix_ms);

// Lets go of held messages that were not deleted after all: they were moved, so the same replica holds them in another
// mailbox. What is left below the brake's measure goes too. True when something was released.
bool ReviewBrakes(State& state, const MeshView& view, int64_t now_unix_ms);

// A message that a new conflict is about, and where its header can be read now.
struct ToDescribe {
  int64_t conflict = 0;
  MailboxReference mailbox;
  Uid uid;
};

// The new conflicts of which subject and sender are to be fetched, by the replica that can tell; those whose message
// nobody has any more stay without. Errors of these two are of the store.
asio::awaitable<absl::StatusOr<std::map<ReplicaIndex, std::vector<ToDescribe>>>> FindUndescribed(Mesh& mesh);
asio::awaitable<absl::Status> DescribeConflicts(Mesh& mesh, ReplicaIndex r, std::vector<ToDescribe> wanted);

}  // namespace imapmesh

#endif  // IMAPMESH_ENGINE_SYNC_CONFLICTS_H_
