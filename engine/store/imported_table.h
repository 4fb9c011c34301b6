// What another tool knew when its accounts were taken over: which UIDs of several mailbox copies are one message.
//
// Reached through State::imported(). The client's import commands fill it, in a state that is new; engine/sync uses up
// each mailbox copy's part when it observes that copy for the first time (imported_pairs.h). Store thread, inside its
// transactions. It decides nothing.
#ifndef IMAPMESH_ENGINE_STORE_IMPORTED_TABLE_H_
#define IMAPMESH_ENGINE_STORE_IMPORTED_TABLE_H_

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "engine/store/database.h"

namespace imapmesh {

// One mailbox copy as the other tool knew it; its number in the table.
struct ImportedCopy {
  int64_t id = 0;
  UidValidity uid_validity;
};

// A message that the other tool had in a mailbox copy, and that was not there any more when that was first observed.
struct ImportedGone {
  MailboxCopyId mailbox_copy;
  MessageId message;
};

class ImportedTable {
 public:
  explicit ImportedTable(Database& database) : database_(database) {}

  // Everything: the import is made again.
  void Clear();
  // `mailbox`: its local name (MailboxCopyRecord::local_name). Each pair of replica and mailbox once.
  int64_t AddCopy(ReplicaId replica, std::string_view mailbox, UidValidity uid_validity);
  // UIDs with the same `number`, of whatever mailbox copies, are one message. Each UID of a copy once.
  void AddUid(int64_t copy, Uid uid, int64_t number);
  // The two numbers are one message.
  void Join(int64_t number, int64_t other);

  // nullopt: nothing was imported for it, or it is used up.
  std::optional<ImportedCopy> Find(ReplicaId replica, std::string_view mailbox);
  std::optional<int64_t> NumberOf(int64_t copy, Uid uid);
  // The message of the mesh that a number turned out to be.
  std::optional<MessageId> MessageOf(int64_t number);
  void SetMessage(int64_t number, MessageId message);
  // Whether `message` is known to be here under another UID than `uid`.
  bool IsElsewhere(int64_t copy, MessageId message, Uid uid);
  int64_t CountUids(int64_t copy);
  // Of them, those that no message has in `mailbox_copy`.
  int64_t CountMissing(int64_t copy, MailboxCopyId mailbox_copy);
  // These are taken for gone: TakeGone has them once it is known which messages they are.
  void MarkMissingGone(int64_t copy, MailboxCopyId mailbox_copy);
  std::vector<ImportedGone> TakeGone(MailboxId mailbox);
  // The copy's part is used up.
  void Forget(int64_t copy);
  // Everything about a mailbox of which no copy is left to be used up.
  void ForgetUsed(MailboxId mailbox, std::string_view name);

 private:
  bool Exists(Statement& statement);

  Database& database_;
};

}  // namespace imapmesh

#endif  // IMAPMESH_ENGINE_STORE_IMPORTED_TABLE_H_
