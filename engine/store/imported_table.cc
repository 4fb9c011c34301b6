#include "engine/store/imported_table.h"

namespace imapmesh {

// UIDs of a copy under which no message is recorded there.
#define IMPORTED_MISSING                                                                                          \
  "FROM imported_uid u WHERE u.copy = ?1 AND NOT EXISTS (SELECT 1 FROM message_copy c WHERE c.mailbox_copy = ?2 " \
  "AND c.uid = u.uid)"

void ImportedTable::Clear() {
  for (const char* sql : {"DELETE FROM imported_copy", "DELETE FROM imported_uid", "DELETE FROM imported_message",
                          "DELETE FROM imported_gone"}) {
    database_.Prepare(sql).Run();
  }
}

int64_t ImportedTable::AddCopy(ReplicaId replica, std::string_view mailbox, UidValidity uid_validity) {
  database_.Prepare("INSERT INTO imported_copy(replica, mailbox, uid_validity) VALUES(?, ?, ?)")
      .Bind(1, replica.value)
      .Bind(2, mailbox)
      .Bind(3, uid_validity.value)
      .Run();
  return database_.last_insert_id();
}

void ImportedTable::AddUid(int64_t copy, Uid uid, int64_t number) {
  database_.Prepare("INSERT INTO imported_uid(copy, uid, number) VALUES(?, ?, ?)")
      .Bind(1, copy)
      .Bind(2, uid.value)
      .Bind(3, number)
      .Run();
}

void ImportedTable::Join(int64_t number, int64_t other) {
  database_.Prepare("UPDATE imported_uid SET number = ? WHERE number = ?").Bind(1, number).Bind(2, other).Run();
}

std::optional<ImportedCopy> ImportedTable::Find(ReplicaId replica, std::string_view mailbox) {
  Statement statement =
      database_.Prepare("SELECT id, uid_validity FROM imported_copy WHERE replica = ? AND mailbox = ?");
  if (!statement.Bind(1, replica.value).Bind(2, mailbox).Step()) return std::nullopt;
  return ImportedCopy{statement.Int(0), UidValidity(static_cast<uint32_t>(statement.Int(1)))};
}

std::optional<int64_t> ImportedTable::NumberOf(int64_t copy, Uid uid) {
  Statement statement = database_.Prepare("SELECT number FROM imported_uid WHERE copy = ? AND uid = ?");
  if (!statement.Bind(1, copy).Bind(2, uid.value).Step()) return std::nullopt;
  return statement.Int(0);
}

std::optional<MessageId> ImportedTable::MessageOf(int64_t number) {
  Statement statement = database_.Prepare("SELECT message FROM imported_message WHERE number = ?");
  if (!statement.Bind(1, number).Step()) return std::nullopt;
  return MessageId(statement.Int(0));
}

void ImportedTable::SetMessage(int64_t number, MessageId message) {
  database_.Prepare("INSERT OR IGNORE INTO imported_message(number, message) VALUES(?, ?)")
      .Bind(1, number)
      .Bind(2, message.value)
      .Run();
}

bool ImportedTable::Exists(Statement& statement) {
  return statement.Step() && statement.Int(0) != 0;
}

bool ImportedTable::IsElsewhere(int64_t copy, MessageId message, Uid uid) {
  Statement statement = database_.Prepare(
      "SELECT EXISTS (SELECT 1 FROM imported_message m JOIN imported_uid u ON u.number = m.number "
      "WHERE m.message = ? AND u.copy = ? AND u.uid <> ?)");
  statement.Bind(1, message.value).Bind(2, copy).Bind(3, uid.value);
  return Exists(statement);
}

int64_t ImportedTable::CountUids(int64_t copy) {
  Statement statement = database_.Prepare("SELECT count(*) FROM imported_uid WHERE copy = ?");
  statement.Bind(1, copy).Step();
  return statement.Int(0);
}

int64_t ImportedTable::CountMissing(int64_t copy, MailboxCopyId mailbox_copy) {
  Statement statement = database_.Prepare("SELECT count(*) " IMPORTED_MISSING);
  statement.Bind(1, copy).Bind(2, mailbox_copy.value).Step();
  return statement.Int(0);
}

void ImportedTable::MarkMissingGone(int64_t copy, MailboxCopyId mailbox_copy) {
  database_.Prepare("INSERT OR IGNORE INTO imported_gone(mailbox_copy, number) SELECT ?2, u.number " IMPORTED_MISSING)
      .Bind(1, copy)
      .Bind(2, mailbox_copy.value)
      .Run();
}

std::vector<ImportedGone> ImportedTable::TakeGone(MailboxId mailbox) {
  std::vector<ImportedGone> gone;
  Statement statement = database_.Prepare(
      "SELECT g.mailbox_copy, m.message FROM imported_gone g JOIN imported_message m ON m.number = g.number "
      "JOIN mailbox_copy c ON c.id = g.mailbox_copy WHERE c.mailbox = ?");
  statement.Bind(1, mailbox.value);
  while (statement.Step()) gone.push_back({MailboxCopyId(statement.Int(0)), MessageId(statement.Int(1))});
  if (gone.empty()) return gone;
  database_
      .Prepare(
          "DELETE FROM imported_gone WHERE mailbox_copy IN (SELECT id FROM mailbox_copy WHERE mailbox = ?) "
          "AND number IN (SELECT number FROM imported_message)")
      .Bind(1, mailbox.value)
      .Run();
  return gone;
}

void ImportedTable::Forget(int64_t copy) {
  for (const char* sql : {"DELETE FROM imported_uid WHERE copy = ?", "DELETE FROM imported_copy WHERE id = ?"}) {
    database_.Prepare(sql).Bind(1, copy).Run();
  }
}

void ImportedTable::ForgetUsed(MailboxId mailbox, std::string_view name) {
  Statement left = database_.Prepare("SELECT EXISTS (SELECT 1 FROM imported_copy WHERE mailbox = ?)");
  left.Bind(1, name);
  if (Exists(left)) return;
  for (const char* sql :
       {"DELETE FROM imported_gone WHERE mailbox_copy IN (SELECT id FROM mailbox_copy WHERE mailbox = ?)",
        "DELETE FROM imported_message WHERE message IN (SELECT id FROM message WHERE mailbox = ?)"}) {
    database_.Prepare(sql).Bind(1, mailbox.value).Run();
  }
}

}  // namespace imapmesh
