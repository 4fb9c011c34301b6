#include "engine/store/conflict_table.h"

namespace imapmesh {
namespace {

#define CONFLICT_COLUMNS                                                                                        \
  "id, key, kind, mailbox, message, message_id, subject, sender, internal_date, unix_ms, replica_a, change_a, " \
  "replica_b, change_b, policy, outcome, stamp, open, described, resolved_unix_ms, a_unix_ms, b_unix_ms"

ConflictRecord ReadConflict(const Statement& statement) {
  ConflictRecord conflict;
  conflict.id = statement.Int(0);
  conflict.key = statement.Text(1);
  conflict.kind = statement.Text(2);
  conflict.mailbox = statement.Text(3);
  conflict.message = MessageId(statement.Int(4));
  conflict.message_id = statement.Text(5);
  conflict.subject = statement.Text(6);
  conflict.sender = statement.Text(7);
  conflict.internal_date = statement.Int(8);
  conflict.unix_ms = statement.Int(9);
  conflict.replica_a = statement.Text(10);
  conflict.change_a = statement.Text(11);
  conflict.replica_b = statement.Text(12);
  conflict.change_b = statement.Text(13);
  conflict.policy = statement.Text(14);
  conflict.outcome = statement.Text(15);
  conflict.stamp = Stamp(statement.Int(16));
  conflict.open = statement.Int(17) != 0;
  conflict.described = statement.Int(18) != 0;
  conflict.resolved_unix_ms = statement.Int(19);
  conflict.a_unix_ms = statement.Int(20);
  conflict.b_unix_ms = statement.Int(21);
  return conflict;
}

}  // namespace

std::optional<int64_t> ConflictTable::Add(const ConflictRecord& conflict) {
  Statement statement = database_.Prepare(
      "INSERT OR IGNORE INTO conflict(key, kind, mailbox, message, message_id, subject, sender, internal_date, "
      "unix_ms, replica_a, change_a, replica_b, change_b, policy, outcome, stamp, open, described, resolved_unix_ms, "
      "a_unix_ms, b_unix_ms) VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)");
  statement.Bind(1, conflict.key)
      .Bind(2, conflict.kind)
      .Bind(3, conflict.mailbox)
      .Bind(4, conflict.message.value)
      .Bind(5, conflict.message_id)
      .Bind(6, conflict.subject)
      .Bind(7, conflict.sender)
      .Bind(8, conflict.internal_date)
      .Bind(9, conflict.unix_ms)
      .Bind(10, conflict.replica_a)
      .Bind(11, conflict.change_a)
      .Bind(12, conflict.replica_b)
      .Bind(13, conflict.change_b)
      .Bind(14, conflict.policy)
      .Bind(15, conflict.outcome)
      .Bind(16, conflict.stamp.value)
      .Bind(17, conflict.open)
      .Bind(18, conflict.described || conflict.message.value == 0)
      .Bind(19, conflict.open ? 0 : conflict.unix_ms)
      .Bind(20, conflict.a_unix_ms != 0 ? conflict.a_unix_ms : conflict.unix_ms)
      .Bind(21, conflict.b_unix_ms)
      .Run();
  if (database_.changes() == 0) return std::nullopt;
  return database_.last_insert_id();
}

std::optional<ConflictRecord> ConflictTable::Find(int64_t id) {
  Statement statement = database_.Prepare("SELECT " CONFLICT_COLUMNS " FROM conflict WHERE id = ?");
  if (!statement.Bind(1, id).Step()) return std::nullopt;
  return ReadConflict(statement);
}

std::optional<ConflictRecord> ConflictTable::FindByKey(std::string_view key) {
  Statement statement = database_.Prepare("SELECT " CONFLICT_COLUMNS " FROM conflict WHERE key = ?");
  if (!statement.Bind(1, key).Step()) return std::nullopt;
  return ReadConflict(statement);
}

std::vector<ConflictRecord> ConflictTable::OpenAbout(MessageId message) {
  std::vector<ConflictRecord> conflicts;
  Statement statement =
      database_.Prepare("SELECT " CONFLICT_COLUMNS " FROM conflict WHERE open = 1 AND message = ? ORDER BY id");
  statement.Bind(1, message.value);
  while (statement.Step()) conflicts.push_back(ReadConflict(statement));
  return conflicts;
}

std::vector<ConflictRecord> ConflictTable::List(bool open_only, size_t limit) {
  std::vector<ConflictRecord> conflicts;
  Statement statement =
      database_.Prepare(open_only ? "SELECT " CONFLICT_COLUMNS " FROM conflict WHERE open = 1 ORDER BY id DESC LIMIT ?"
                                  : "SELECT " CONFLICT_COLUMNS " FROM conflict ORDER BY id DESC LIMIT ?");
  statement.Bind(1, static_cast<int64_t>(limit));
  while (statement.Step()) conflicts.push_back(ReadConflict(statement));
  return conflicts;
}

int64_t ConflictTable::Count(bool open) {
  Statement statement = database_.Prepare("SELECT count(*) FROM conflict WHERE open = ?");
  statement.Bind(1, open).Step();
  return statement.Int(0);
}

void ConflictTable::Close(int64_t id, std::string_view outcome, int64_t unix_ms, bool release) {
  database_.Prepare("UPDATE conflict SET open = 0, outcome = ?, resolved_unix_ms = ? WHERE id = ?")
      .Bind(1, outcome)
      .Bind(2, unix_ms)
      .Bind(3, id)
      .Run();
  if (release) database_.Prepare("DELETE FROM held WHERE conflict = ?").Bind(1, id).Run();
}

void ConflictTable::Forget(int64_t id) {
  database_.Prepare("DELETE FROM held WHERE conflict = ?").Bind(1, id).Run();
  database_.Prepare("DELETE FROM conflict WHERE id = ?").Bind(1, id).Run();
}

void ConflictTable::Describe(int64_t id, std::string_view subject, std::string_view sender) {
  database_.Prepare("UPDATE conflict SET described = 1, subject = ?, sender = ? WHERE id = ?")
      .Bind(1, subject)
      .Bind(2, sender)
      .Bind(3, id)
      .Run();
}

std::vector<ConflictRecord> ConflictTable::Undescribed(size_t limit) {
  std::vector<ConflictRecord> conflicts;
  Statement statement =
      database_.Prepare("SELECT " CONFLICT_COLUMNS " FROM conflict WHERE described = 0 ORDER BY id LIMIT ?");
  statement.Bind(1, static_cast<int64_t>(limit));
  while (statement.Step()) conflicts.push_back(ReadConflict(statement));
  return conflicts;
}

void ConflictTable::Hold(int64_t conflict, MessageId message, MailboxCopyId copy) {
  database_.Prepare("INSERT OR REPLACE INTO held(message, mailbox_copy, conflict) VALUES(?, ?, ?)")
      .Bind(1, message.value)
      .Bind(2, copy.value)
      .Bind(3, conflict)
      .Run();
}

void ConflictTable::HoldAll(int64_t conflict, MailboxCopyId copy) {
  database_
      .Prepare(
          "INSERT OR IGNORE INTO held(message, mailbox_copy, conflict) SELECT message, mailbox_copy, ? FROM "
          "message_copy WHERE mailbox_copy = ? AND presence = 2")
      .Bind(1, conflict)
      .Bind(2, copy.value)
      .Run();
}

void ConflictTable::Release(MessageId message, MailboxCopyId copy) {
  database_.Prepare("DELETE FROM held WHERE message = ? AND mailbox_copy = ?")
      .Bind(1, message.value)
      .Bind(2, copy.value)
      .Run();
}

std::vector<std::pair<MessageId, MailboxCopyId>> ConflictTable::Held(int64_t conflict) {
  std::vector<std::pair<MessageId, MailboxCopyId>> held;
  Statement statement = database_.Prepare("SELECT message, mailbox_copy FROM held WHERE conflict = ?");
  statement.Bind(1, conflict);
  while (statement.Step()) held.emplace_back(MessageId(statement.Int(0)), MailboxCopyId(statement.Int(1)));
  return held;
}

std::vector<HeldCopy> ConflictTable::HeldByKind(std::string_view kind) {
  std::vector<HeldCopy> held;
  Statement statement = database_.Prepare(
      "SELECT h.message, h.mailbox_copy, h.conflict, c.open FROM held h JOIN conflict c ON c.id = h.conflict WHERE "
      "c.kind = ?");
  statement.Bind(1, kind);
  while (statement.Step()) {
    held.push_back(
        {MessageId(statement.Int(0)), MailboxCopyId(statement.Int(1)), statement.Int(2), statement.Int(3) != 0});
  }
  return held;
}

int64_t ConflictTable::CountHeld(int64_t conflict) {
  Statement statement = database_.Prepare("SELECT count(*) FROM held WHERE conflict = ?");
  statement.Bind(1, conflict).Step();
  return statement.Int(0);
}

std::optional<int64_t> ConflictTable::Holding(MessageId message, MailboxCopyId copy) {
  Statement statement = database_.Prepare("SELECT conflict FROM held WHERE message = ? AND mailbox_copy = ?");
  if (!statement.Bind(1, message.value).Bind(2, copy.value).Step()) return std::nullopt;
  return statement.Int(0);
}

}  // namespace imapmesh
