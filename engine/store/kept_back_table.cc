#include "engine/store/kept_back_table.h"

#include <string>
#include <utility>

#include "engine/store/state.h"

namespace imapmesh {

void KeptBackTable::Put(MessageId message, const std::vector<KeptBack>& kept) {
  if (kept.empty() && IsEmpty()) return;
  empty_ = false;
  database_.Prepare("DELETE FROM kept_back WHERE message = ?").Bind(1, message.value).Run();
  for (const KeptBack& copy : kept) {
    const std::string flags = EncodeFlags(copy.flags);
    database_.Prepare("INSERT INTO kept_back(message, mailbox_copy, addition, deletion, flags) VALUES(?, ?, ?, ?, ?)")
        .Bind(1, message.value)
        .Bind(2, copy.mailbox_copy.value)
        .Bind(3, copy.addition)
        .Bind(4, copy.deletion)
        .BindBlob(5, flags)
        .Run();
  }
}

// Mostly it is: then a message that is planned needs no statement.
bool KeptBackTable::IsEmpty() {
  if (!std::exchange(asked_, true)) empty_ = !database_.Prepare("SELECT 1 FROM kept_back LIMIT 1").Step();
  return empty_;
}

std::vector<KeptBack> KeptBackTable::Of(MessageId message) {
  std::vector<KeptBack> kept;
  Statement statement =
      database_.Prepare("SELECT mailbox_copy, addition, deletion, flags FROM kept_back WHERE message = ?");
  statement.Bind(1, message.value);
  while (statement.Step()) {
    kept.push_back({message, MailboxCopyId(statement.Int(0)), statement.Int(1) != 0, statement.Int(2) != 0,
                    DecodeFlags(statement.Blob(3))});
  }
  return kept;
}

std::map<MailboxCopyId, KeptBackSummary> KeptBackTable::Summaries() {
  std::map<MailboxCopyId, KeptBackSummary> summaries;
  Statement statement = database_.Prepare(
      "SELECT mailbox_copy, sum(addition), sum(deletion), sum(length(flags) > 0), flags FROM kept_back "
      "GROUP BY mailbox_copy, flags");
  while (statement.Step()) {
    KeptBackSummary& summary = summaries[MailboxCopyId(statement.Int(0))];
    summary.additions += statement.Int(1);
    summary.deletions += statement.Int(2);
    summary.flagged += statement.Int(3);
    const FlagRegisters flags = DecodeFlags(statement.Blob(4));
    for (const FlagRegister& entry : flags.entries()) summary.flags.insert(entry.flag);
  }
  return summaries;
}

void KeptBackTable::Unsettle(MailboxCopyId copy) {
  database_
      .Prepare(
          "INSERT OR IGNORE INTO unsettled(message, mailbox) SELECT m.id, m.mailbox FROM kept_back k JOIN message m ON "
          "m.id = k.message WHERE k.mailbox_copy = ?")
      .Bind(1, copy.value)
      .Run();
}

void KeptBackTable::UnsettleMessages() {
  database_.Execute(
      "INSERT OR IGNORE INTO unsettled(message, mailbox) SELECT m.id, m.mailbox FROM kept_back k JOIN message m ON "
      "m.id = k.message WHERE k.addition = 1 OR k.deletion = 1");
}

}  // namespace imapmesh
