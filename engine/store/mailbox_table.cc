#include "engine/store/mailbox_table.h"

namespace imapmesh {

void MailboxTable::ForgetReplica(ReplicaId replica) {
  for (const char* sql :
       {"DELETE FROM intent WHERE mailbox_copy IN (SELECT id FROM mailbox_copy WHERE replica = ?)",
        "DELETE FROM message_copy WHERE mailbox_copy IN (SELECT id FROM mailbox_copy WHERE replica = ?)",
        "DELETE FROM mailbox_copy WHERE replica = ?"}) {
    database_.Prepare(sql).Bind(1, replica.value).Run();
  }
}

}  // namespace imapmesh
