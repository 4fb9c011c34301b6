// Expunging just the messages that are meant, also on servers that only know EXPUNGE of everything marked.
//
// imap_replica.cc calls it with a session that has the mailbox selected and up to date. With UIDPLUS it is UID EXPUNGE.
// Without, EXPUNGE is sent only when the server says that no other message is marked \Deleted; else nothing is changed
// and the caller gets kAborted. Another client may still mark a message between that answer and EXPUNGE: what went
// without being meant is in the result, so that it can be given back. Marks of others are never lifted, not even for
// a moment: a connection lost just then would lose them. Engine thread.
#ifndef IMAPMESH_ENGINE_REPLICA_IMAP_EXPUNGE_H_
#define IMAPMESH_ENGINE_REPLICA_IMAP_EXPUNGE_H_

#include <asio/awaitable.hpp>

#include "engine/imap/session.h"
#include "engine/replica/replica.h"

namespace imapmesh {

// Without UIDPLUS: one caller at a time for a mailbox.
asio::awaitable<absl::StatusOr<ExpungeResult>> ExpungeMessages(imap::Session& session, UidSet uids,
                                                               ModSeq unchanged_since);

// After UID EXPUNGE of `doomed`, with what it told: which of them the server has kept. Of those, and of all when it was
// refused, our mark is taken away again.
asio::awaitable<absl::StatusOr<UidSet>> SettleExpunge(imap::Session& session, UidSet doomed,
                                                      absl::StatusOr<UidSet> untold);

// `uids` without those of `excluded`.
UidSet Without(const UidSet& uids, const UidSet& excluded);

}  // namespace imapmesh

#endif  // IMAPMESH_ENGINE_REPLICA_IMAP_EXPUNGE_H_
