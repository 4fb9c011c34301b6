// What the store does with mailbox copies as a whole, beside the loading and saving of state.h.
//
// Reached through State::mailboxes(); store thread, inside its transactions. It decides nothing: engine/sync does.
#ifndef IMAPMESH_ENGINE_STORE_MAILBOX_TABLE_H_
#define IMAPMESH_ENGINE_STORE_MAILBOX_TABLE_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "base/ids.h"
#include "engine/store/database.h"

namespace imapmesh {

class MailboxTable {
 public:
  explicit MailboxTable(Database& database) : database_(database) {}

  // Everything known of a replica's mailbox copies, as if it were looked at for the first time: its mail is identified
  // again, and nothing of it counts as deleted.
  void ForgetReplica(ReplicaId replica);

 private:
  Database& database_;
};

}  // namespace imapmesh

#endif  // IMAPMESH_ENGINE_STORE_MAILBOX_TABLE_H_
