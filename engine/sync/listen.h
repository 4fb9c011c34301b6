// Listen before talk: where other coordinators carry the same mail, a moment's wait and a question before an addition,
// a RENAME or a CREATE leave few races (duplicates.h finds the others); and what they do in two steps is not taken for
// two changes.
//
// deliver.cc and apply_copies.cc ask MayAdd, apply_mailboxes.cc MayRename and MayCreate, apply_changes.cc
// StillToChange; observe.cc tells what it saw of others, and asks AwaitExpunge. Engine thread. Where nobody else was
// seen nothing is waited for, and nothing asked but before one of two equal messages is expunged.
#ifndef IMAPMESH_ENGINE_SYNC_LISTEN_H_
#define IMAPMESH_ENGINE_SYNC_LISTEN_H_

#include <set>
#include <string>
#include <vector>

#include "engine/sync/mesh.h"
#include "engine/sync/record.h"

namespace imapmesh {

// Whether somebody else was seen to carry the same mail lately.
bool HasCompany(const Mesh& mesh);

// Somebody else brought a message to a replica that the mesh had elsewhere already. Remembered over restarts, for a
// week from the last time.
asio::awaitable<absl::Status> NoteOthers(Mesh& mesh);
asio::awaitable<absl::Status> LoadOthers(Mesh& mesh);

// Before the question of MayAdd: waits for a drawn moment, and longer where somebody else was found to be adding. Where
// nobody else was seen it does not.
asio::awaitable<void> Listen(Mesh& mesh, ReplicaIndex target, std::set<std::string> mailboxes);

// Somebody else is adding to the mailbox just now what was to be added, `bytes` in all: Listen waits longer than that
// takes mostly, since what comes by one MULTIAPPEND shows when all of it is there.
void Yield(Mesh& mesh, ReplicaIndex target, const std::string& mailbox, uint64_t bytes);

// More than another coordinator needs from one step to the next, mostly: what Listen waits for at most where nobody
// adds. So long who just added something need not listen again.
Duration Moment(Mesh& mesh, ReplicaIndex r);

// Of the mailboxes those to which something may be added at once. To the others something came that is not recorded
// yet, or another mailbox has the name; they are due for observation then, and the next plan knows better. Asked just
// before the addition, with nothing between them that takes long: what another coordinator adds meanwhile is doubled.
asio::awaitable<std::set<std::string>> MayAdd(Mesh& mesh, ReplicaIndex target, std::set<std::string> mailboxes);

// Whether mailboxes may be renamed. False: one of the names is another mailbox's by now; the look that is due tells.
// Else coordinators that exchange the names of two mailboxes in the same moment each undo what the other one did.
asio::awaitable<bool> MayRename(Mesh& mesh, ReplicaIndex target, std::vector<std::string> mailboxes);

// Whether a mailbox may be made that is at `origin`. False: it is not there any more, under this name; the look that is
// due tells. Else a coordinator that has not seen a rename yet makes the mailbox again behind the one that carries it.
asio::awaitable<bool> MayCreate(Mesh& mesh, ReplicaIndex target, ReplicaIndex origin, std::string mailbox);

// Somebody marked messages \Deleted at the replica. Where others were seen that may be one of them on its way to an
// EXPUNGE: waits as long as that takes mostly, and returns whether it did; then the mailbox copy is to be observed
// again.
asio::awaitable<bool> AwaitExpunge(Mesh& mesh, ReplicaIndex r);

// Of additions that listened: those that the plan would still make. What was deleted meanwhile, and brought to others
// all the same, they would take for new; so it would go round for ever.
asio::awaitable<absl::StatusOr<std::vector<Change>>> StillWanted(Mesh& mesh, const MeshView& view,
                                                                 std::vector<Change> additions);

// Of deletions and flags at one replica, where the same mail stands beside each message: those that the plan would
// still make, of these UIDs, after one more look. What was deleted may be gone there by now, by somebody's hand, and
// the other one would be taken for it; and coordinators that took the one for the other would give each the flags of
// the other in turn without end.
asio::awaitable<absl::StatusOr<std::vector<Change>>> StillToChange(Mesh& mesh, const MeshView& view,
                                                                   std::vector<Change> changes);

}  // namespace imapmesh

#endif  // IMAPMESH_ENGINE_SYNC_LISTEN_H_
