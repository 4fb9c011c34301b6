// The plan for mailboxes: what is pending for the copies of one, and in which order renames can be done.
//
// Pure; apply_mailboxes.cc calls it each round before anything is planned for messages. A mailbox copy has registers as
// a message copy has: is it there, is it subscribed, has it the mailbox's newest name. Newest stamps spread over the
// edges that admit them. Invariants: a copy is deleted only while no message is in it that nothing else is about to
// delete; equal stamps of a register mean equal values.
#ifndef IMAPMESH_ENGINE_SYNC_MAILBOX_PLAN_H_
#define IMAPMESH_ENGINE_SYNC_MAILBOX_PLAN_H_

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "engine/store/mailbox_table.h"
#include "engine/store/registers.h"
#include "engine/sync/plan.h"
#include "graph/graph.h"

namespace imapmesh {

// The registers of one mailbox copy.
struct MailboxRegisters {
  MailboxCopyId id;                       // 0: there never was one
  Presence presence = Presence::kAbsent;  // kHeld: it is gone, and whether that is a deletion is not decided
  Stamp presence_stamp;
  std::string name;  // at its replica, before aliases (MailboxNames::LocalName)
  Stamp name_stamp;
  bool subscribed = false;
  Stamp subscribed_stamp;
  int64_t messages = 0;  // in it
  int64_t live = 0;      // of these, the ones that no newer deletion is about to take away
};

struct MailboxState {
  MailboxId id;
  std::string name;                      // in the mesh
  Stamp name_stamp;                      // since when
  std::vector<MailboxRegisters> copies;  // by ReplicaIndex
};

enum class MailboxAction {
  kLevel,  // the values agree already: only the stamps are taken over
  kCreate,
  kRename,  // to the mailbox's name in the mesh
  kSubscribe,
  kUnsubscribe,
  kDelete,
  kRestore  // mail won over a deletion: the copy stays, with a new stamp
};
// "CREATE", "RENAME"…
const char* Name(MailboxAction action);

struct MailboxOperation {
  MailboxId mailbox;
  ReplicaIndex target;
  MailboxAction action = MailboxAction::kLevel;
  std::string name;        // in the mesh
  std::string from;        // kRename: the copy's name at the target until now
  bool subscribe = false;  // kCreate
  MailboxRegisters after;  // the registers once it is done
  Because because;
};

// What can be done now; kDelete of a copy that still has messages waits until they are gone.
std::vector<MailboxOperation> PlanMailbox(const MailboxState& mailbox, const PlanContext& context);

// Whether PlanMailbox would find nothing, whatever the context: each replica has the mailbox, and each register has the
// same stamp everywhere. `copies`: one a replica.
bool IsLevel(const std::vector<MailboxCopyRecord>& copies);

// ---- Renames at one replica

struct MailboxRename {
  std::string from;
  std::string to;
  bool operator==(const MailboxRename&) const = default;
};

// A name for the time between two renames that swap names. No one else's mailboxes are called so.
inline constexpr char kTemporaryName[] = "imapmesh-renaming-";

// RENAME commands that bring each mailbox of `wanted` from its name to the wanted one. `names`: every mailbox there is.
// RENAME carries the mailboxes below along (RFC 3501 section 6.3.5), so a parent goes first and its children may be
// done with it or must go back. What cannot be done, since its name is taken by a mailbox that keeps it, is left out.
std::vector<MailboxRename> OrderRenames(const std::set<std::string>& names, const std::vector<MailboxRename>& wanted);

// `name` after the rename: itself, unless it is or lies within rename.from.
std::string AfterRename(const std::string& name, const MailboxRename& rename);

}  // namespace imapmesh

#endif  // IMAPMESH_ENGINE_SYNC_MAILBOX_PLAN_H_
