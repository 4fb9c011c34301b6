// Flags and expunges of several mailboxes over one connection: one exchange a mailbox for flags, two for expunges, and
// one for all of them to see what an EXPUNGE left.
//
// imap_replica.cc calls it with a session that is its own for the while. A mailbox's SELECT goes out behind the changes
// of the one before. What a search can make sure of is done first, in an exchange or two for all (imap_change_known.h).
// Invariant: nothing else that changes a message is sent before the server has said that the mailbox has the expected
// UIDVALIDITY. Engine thread.
#ifndef IMAPMESH_ENGINE_REPLICA_IMAP_CHANGE_H_
#define IMAPMESH_ENGINE_REPLICA_IMAP_CHANGE_H_

#include <asio/awaitable.hpp>
#include <string>
#include <vector>

#include "engine/imap/session.h"
#include "engine/replica/flag_names.h"
#include "engine/replica/replica.h"

namespace imapmesh {

// kFailedPrecondition unless `now` is what `mailbox` names, or it names none.
absl::Status CheckValidity(const MailboxReference& mailbox, UidValidity now);

struct ChangeRequest {
  std::string mailbox_raw;
  MailboxChanges changes;
};

// One outcome for each request. `selected` counts mailboxes. A server without UIDPLUS: no expunges here, see
// imap_expunge.h.
asio::awaitable<std::vector<MailboxOutcome>> ChangeMailboxes(imap::Session& session,
                                                             std::vector<ChangeRequest> requests,
                                                             const FlagNames& flag_names, uint64_t& selected);

}  // namespace imapmesh

#endif  // IMAPMESH_ENGINE_REPLICA_IMAP_CHANGE_H_
