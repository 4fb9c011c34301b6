// Carries out what is pending for mailboxes: CREATE, RENAME, SUBSCRIBE and UNSUBSCRIBE before any message is added,
// DELETE after every message is (DESIGN.md section 3, steps 4 to 6).
//
// The coordinator calls these at the start and the end of applying a round, each replica's part in a lane of its own,
// so that one that is stuck holds up no other. No intents are needed: each command brings one register to the value
// that the others have, so that its echo is no change even when the answer is lost. Engine thread; an error is of the
// store.
#ifndef IMAPMESH_ENGINE_SYNC_APPLY_MAILBOXES_H_
#define IMAPMESH_ENGINE_SYNC_APPLY_MAILBOXES_H_

#include <map>
#include <memory>
#include <set>
#include <vector>

#include "engine/sync/mailbox_plan.h"
#include "engine/sync/mesh.h"

namespace imapmesh {

// Whether mailbox copies of the replica are not listed any more, and nobody has asked for each since.
bool HasUndecidedMailboxes(const Mesh& mesh, ReplicaIndex r);
// Asks the replica about each of them; `confirmed` gets those that are certainly gone.
asio::awaitable<void> ConfirmGone(Mesh& mesh, ReplicaIndex r, std::shared_ptr<std::set<MailboxCopyId>> confirmed);
// Decides by policy about those.
asio::awaitable<absl::Status> DecideGone(Mesh& mesh, std::set<MailboxCopyId> confirmed);

enum class MailboxPhase { kAdditions, kDeletions };

struct MailboxWork {
  std::map<ReplicaIndex, std::vector<MailboxOperation>> commands;  // of replicas that are up and idle
  int64_t settled = 0;  // operations that needed no command: they are recorded
};

asio::awaitable<absl::StatusOr<MailboxWork>> PlanMailboxWork(Mesh& mesh, MailboxPhase phase);
// One replica's commands of it. How many operations were done.
asio::awaitable<absl::StatusOr<int64_t>> ApplyMailboxes(Mesh& mesh, ReplicaIndex target,
                                                        std::vector<MailboxOperation> operations);
// Counts in mesh.pending_mailboxes what is left to do.
asio::awaitable<absl::Status> CountPendingMailboxes(Mesh& mesh);

// What a sync would do to mailboxes, deletions of those included that will be empty by then.
asio::awaitable<absl::StatusOr<std::vector<MailboxOperation>>> ForeseeMailboxes(const Mesh& mesh);

}  // namespace imapmesh

#endif  // IMAPMESH_ENGINE_SYNC_APPLY_MAILBOXES_H_
