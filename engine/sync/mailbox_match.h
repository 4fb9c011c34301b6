// Which recorded mailbox copy each line of a listing is: the same, one that was renamed, or a new one; and what is
// gone.
//
// Pure; look.cc calls it for the whole listing of one replica. The server's own identity of a mailbox decides where
// there is one (MAILBOXID of RFC 8474, Dovecot's X-GUID), otherwise the name; a mailbox without identity that may have
// been renamed is only a suspicion, to be confirmed by what is in it. INBOX is never another mailbox: its RENAME moves
// its messages (RFC 3501 section 6.3.5).
#ifndef IMAPMESH_ENGINE_SYNC_MAILBOX_MATCH_H_
#define IMAPMESH_ENGINE_SYNC_MAILBOX_MATCH_H_

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "engine/replica/replica.h"
#include "engine/store/state.h"

namespace imapmesh {

struct ListingMatch {
  // By line of the listing: the index of the recorded copy; nullopt for a mailbox that is new, and for a line that is
  // no mailbox (\Noselect).
  std::vector<std::optional<size_t>> known;
  std::vector<size_t> gone;  // recorded copies that were there and are not listed
  // A copy that is gone, or INBOX when it is another one now, and a line that may be the same mailbox, since it has its
  // UIDVALIDITY: a new one, or one that has the name of another whose UIDVALIDITY was the same. Servers that take the
  // time for it give one to all that are made together.
  std::vector<std::pair<size_t, size_t>> suspicions;
  // INBOX, and the line of the mailbox that its messages went to by a RENAME.
  std::optional<std::pair<size_t, size_t>> inbox_renamed;
};

// Whether anything was ever seen in the mailbox, or added to it.
bool HeldAny(const MailboxCopyRecord& copy);

// `copies`: those of this replica that it is to be looked at for.
ListingMatch MatchListing(const std::vector<MailboxCopyRecord>& copies, const std::vector<MailboxStatus>& listing);

}  // namespace imapmesh

#endif  // IMAPMESH_ENGINE_SYNC_MAILBOX_MATCH_H_
