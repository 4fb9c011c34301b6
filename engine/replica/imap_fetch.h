// Bodies from several mailboxes over one connection, in one exchange for all of them.
//
// imap_replica.cc calls it with a session that is its own for the while. Nothing is given away before the server has
// said that the mailbox has the expected UIDVALIDITY. Engine thread.
#ifndef IMAPMESH_ENGINE_REPLICA_IMAP_FETCH_H_
#define IMAPMESH_ENGINE_REPLICA_IMAP_FETCH_H_

#include <asio/awaitable.hpp>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "engine/imap/session.h"
#include "engine/replica/replica.h"

namespace imapmesh {

struct FetchRequest {
  std::string mailbox_raw;
  MailboxReference mailbox;
  UidSet uids;
};

// One status for each request; `take` gets its place. `selected` counts mailboxes.
asio::awaitable<std::vector<absl::Status>> FetchMailboxes(
    imap::Session& session, std::vector<FetchRequest> requests,
    std::function<void(size_t, Uid, std::shared_ptr<const Body>)> take, uint64_t& selected);

}  // namespace imapmesh

#endif  // IMAPMESH_ENGINE_REPLICA_IMAP_FETCH_H_
