// Flags and expunges of messages that are what they are known by, in as many mailboxes as there are: one exchange for
// flags, two for expunges.
//
// imap_change.cc tries it first, on servers that keep what a search found (SEARCHRES). SELECT, a search for the
// messages by UID, size and Message-ID, and the change of what it found go out together for all mailboxes. In a mailbox
// that was made anew since it was looked at the search finds nothing, and nothing is changed. Engine thread.
#ifndef IMAPMESH_ENGINE_REPLICA_IMAP_CHANGE_KNOWN_H_
#define IMAPMESH_ENGINE_REPLICA_IMAP_CHANGE_KNOWN_H_

#include <asio/awaitable.hpp>
#include <vector>

#include "engine/imap/session.h"
#include "engine/replica/flag_names.h"
#include "engine/replica/imap_change.h"

namespace imapmesh {

// Takes what it has done out of `requests`; what is left has to be done in the ordinary way, and is not told of in
// `outcomes`, which has one for each request.
asio::awaitable<void> ChangeKnown(imap::Session& session, std::vector<ChangeRequest>& requests,
                                  const FlagNames& flag_names, std::vector<MailboxOutcome>& outcomes,
                                  uint64_t& selected);

}  // namespace imapmesh

#endif  // IMAPMESH_ENGINE_REPLICA_IMAP_CHANGE_KNOWN_H_
