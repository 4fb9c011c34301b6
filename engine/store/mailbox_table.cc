#include "engine/store/mailbox_table.h"

#include <algorithm>

namespace imapmesh {

#define MAILBOX_COPY_COLUMNS                                                                                 \
  "c.id, c.replica, c.mailbox, m.name, m.name_stamp, c.name_here, c.local_name, c.name_stamp, c.server_id, " \
  "c.special_use, c.listed, c.gone, c.exists_stamp, c.subscribed, c.subscribed_stamp, c.uid_validity, "      \
  "c.uid_next, c.highest_modseq, c.rebinding, c.read_only, c.messages, c.flag_limits, c.observed_uid_next, " \
  "(SELECT max(uid) FROM message_copy WHERE mailbox_copy = c.id AND uid > 0) "                               \
  "FROM mailbox_copy c JOIN mailbox m ON m.id = c.mailbox "

namespace {

// "" for none, else "+" for these alone or "-" for all but these, and their ids: "+1,3,7".
std::string EncodeLimits(const FlagLimits& limits) {
  if (!limits.only && limits.flags.empty()) return "";
  std::string text = limits.only ? "+" : "-";
  for (const FlagId flag : limits.flags) text += (text.size() > 1 ? "," : "") + std::to_string(flag.value);
  return text;
}

FlagLimits DecodeLimits(std::string_view text) {
  FlagLimits limits;
  limits.only = text.starts_with('+');
  for (size_t begin = 1; begin < text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    limits.flags.emplace_back(std::stoi(std::string(text.substr(begin, end - begin))));
    begin = end + 1;
  }
  return limits;
}

MailboxCopyRecord ReadRecord(const Statement& statement) {
  MailboxCopyRecord record;
  record.id = MailboxCopyId(statement.Int(0));
  record.replica = ReplicaId(statement.Int(1));
  record.mailbox = MailboxId(statement.Int(2));
  record.mailbox_name = statement.Text(3);
  record.mailbox_name_stamp = Stamp(statement.Int(4));
  record.name_here = statement.Text(5);
  record.local_name = statement.Text(6);
  record.name_stamp = Stamp(statement.Int(7));
  record.server_id = statement.Text(8);
  record.special_use = statement.Text(9);
  record.exists = statement.Int(10) != 0;
  record.gone = static_cast<MailboxGone>(statement.Int(11));
  record.exists_stamp = Stamp(statement.Int(12));
  record.subscribed = statement.Int(13) != 0;
  record.subscribed_stamp = Stamp(statement.Int(14));
  record.uid_validity = UidValidity(static_cast<uint32_t>(statement.Int(15)));
  record.uid_next = Uid(static_cast<uint32_t>(statement.Int(16)));
  record.highest_modseq = ModSeq(static_cast<uint64_t>(statement.Int(17)));
  record.rebinding = statement.Int(18) != 0;
  record.read_only = statement.Int(19) != 0;
  record.messages = statement.Int(20);
  record.flag_limits = DecodeLimits(statement.Text(21));
  record.observed_uid_next = Uid(static_cast<uint32_t>(statement.Int(22)));
  record.last_uid = Uid(static_cast<uint32_t>(statement.Int(23)));
  return record;
}

}  // namespace

std::vector<MailboxCopyRecord> MailboxTable::Copies() {
  std::vector<MailboxCopyRecord> records;
  Statement statement = database_.Prepare("SELECT " MAILBOX_COPY_COLUMNS "ORDER BY c.id");
  while (statement.Step()) records.push_back(ReadRecord(statement));
  return records;
}

std::vector<MailboxCopyRecord> MailboxTable::Copies(ReplicaId replica, const std::set<MailboxId>& mailboxes) {
  std::vector<MailboxCopyRecord> records;
  Statement here = database_.Prepare("SELECT " MAILBOX_COPY_COLUMNS "WHERE c.replica = ? ORDER BY c.id");
  here.Bind(1, replica.value);
  while (here.Step()) records.push_back(ReadRecord(here));
  for (const MailboxId mailbox : mailboxes) {
    Statement others = database_.Prepare("SELECT " MAILBOX_COPY_COLUMNS "WHERE c.mailbox = ? AND c.replica <> ?");
    others.Bind(1, mailbox.value).Bind(2, replica.value);
    while (others.Step()) records.push_back(ReadRecord(others));
  }
  return records;
}

std::optional<MailboxCopyRecord> MailboxTable::FindCopy(ReplicaId replica, MailboxId mailbox) {
  Statement statement = database_.Prepare("SELECT " MAILBOX_COPY_COLUMNS "WHERE c.replica = ? AND c.mailbox = ?");
  if (!statement.Bind(1, replica.value).Bind(2, mailbox.value).Step()) return std::nullopt;
  return ReadRecord(statement);
}

std::optional<MailboxCopyRecord> MailboxTable::FindCopy(MailboxCopyId copy) {
  Statement statement = database_.Prepare("SELECT " MAILBOX_COPY_COLUMNS "WHERE c.id = ?");
  if (!statement.Bind(1, copy.value).Step()) return std::nullopt;
  return ReadRecord(statement);
}

UidValidity MailboxTable::UidValidityOf(MailboxCopyId copy) {
  const auto record = FindCopy(copy);
  return record ? record->uid_validity : UidValidity();
}

void MailboxTable::Save(MailboxCopyRecord& record) {
  if (record.id.value == 0) {
    database_
        .Prepare(
            "INSERT INTO mailbox_copy(replica, mailbox, name_here, listed, subscribed, uid_validity, uid_next, "
            "highest_modseq, rebinding, read_only, messages) VALUES(?, ?, '', 0, 0, 0, 0, 0, 0, 0, 0)")
        .Bind(1, record.replica.value)
        .Bind(2, record.mailbox.value)
        .Run();
    record.id = MailboxCopyId(database_.last_insert_id());
  }
  database_
      .Prepare(
          "UPDATE mailbox_copy SET name_here = ?, listed = ?, subscribed = ?, uid_validity = ?, "
          "uid_next = ?, highest_modseq = ?, rebinding = ?, read_only = ?, messages = ?, local_name = ?, "
          "name_stamp = ?, server_id = ?, special_use = ?, gone = ?, exists_stamp = ?, subscribed_stamp = ?, "
          "flag_limits = ?, observed_uid_next = ? "
          "WHERE id = ?")
      .Bind(1, record.name_here)
      .Bind(2, record.exists)
      .Bind(3, record.subscribed)
      .Bind(4, record.uid_validity.value)
      .Bind(5, record.uid_next.value)
      .Bind(6, static_cast<int64_t>(record.highest_modseq.value))
      .Bind(7, record.rebinding)
      .Bind(8, record.read_only)
      .Bind(9, record.messages)
      .Bind(10, record.local_name)
      .Bind(11, record.name_stamp.value)
      .Bind(12, record.server_id)
      .Bind(13, record.special_use)
      .Bind(14, static_cast<int64_t>(record.gone))
      .Bind(15, record.exists_stamp.value)
      .Bind(16, record.subscribed_stamp.value)
      .Bind(17, EncodeLimits(record.flag_limits))
      .Bind(18, record.observed_uid_next.value)
      .Bind(19, record.id.value)
      .Run();
}

std::optional<MailboxId> MailboxTable::Find(std::string_view name) {
  Statement statement = database_.Prepare("SELECT id FROM mailbox WHERE name = ?");
  if (!statement.Bind(1, name).Step()) return std::nullopt;
  return MailboxId(statement.Int(0));
}

std::pair<std::string, Stamp> MailboxTable::NameOf(MailboxId mailbox) {
  Statement statement = database_.Prepare("SELECT name, name_stamp FROM mailbox WHERE id = ?");
  if (!statement.Bind(1, mailbox.value).Step()) return {};
  return {std::string(statement.Text(0)), Stamp(statement.Int(1))};
}

void MailboxTable::Rename(MailboxId mailbox, std::string_view name, Stamp stamp) {
  database_.Prepare("UPDATE mailbox SET name = ?, name_stamp = ? WHERE id = ?")
      .Bind(1, name)
      .Bind(2, stamp.value)
      .Bind(3, mailbox.value)
      .Run();
}

void MailboxTable::DecideKeptAgain() {
  database_.Prepare("UPDATE mailbox_copy SET gone = ? WHERE gone = ?")
      .Bind(1, static_cast<int64_t>(MailboxGone::kUndecided))
      .Bind(2, static_cast<int64_t>(MailboxGone::kKept))
      .Run();
}

void MailboxTable::ForgetReplica(ReplicaId replica) {
  for (const char* sql :
       {"DELETE FROM intent WHERE mailbox_copy IN (SELECT id FROM mailbox_copy WHERE replica = ?)",
        "DELETE FROM imported_gone WHERE mailbox_copy IN (SELECT id FROM mailbox_copy WHERE replica = ?)",
        "DELETE FROM metadata WHERE mailbox_copy IN (SELECT id FROM mailbox_copy WHERE replica = ?)",
        "DELETE FROM metadata_copy WHERE mailbox_copy IN (SELECT id FROM mailbox_copy WHERE replica = ?)",
        "DELETE FROM message_copy WHERE mailbox_copy IN (SELECT id FROM mailbox_copy WHERE replica = ?)",
        "DELETE FROM kept_back WHERE mailbox_copy IN (SELECT id FROM mailbox_copy WHERE replica = ?)",
        "DELETE FROM mailbox_copy WHERE replica = ?"}) {
    database_.Prepare(sql).Bind(1, replica.value).Run();
  }
}

int64_t MailboxTable::Count(const char* sql, MailboxCopyId copy) {
  Statement statement = database_.Prepare(sql);
  statement.Bind(1, copy.value).Step();
  return statement.Int(0);
}

int64_t MailboxTable::CountHeld(MailboxCopyId copy) {
  return Count("SELECT count(*) FROM message_copy WHERE mailbox_copy = ? AND presence = 2", copy);
}

int64_t MailboxTable::CountPresent(MailboxCopyId copy) {
  return Count("SELECT count(*) FROM message_copy WHERE mailbox_copy = ? AND presence = 1", copy);
}

int64_t MailboxTable::CountLive(MailboxCopyId copy) {
  return Count(
      "SELECT count(*) FROM message_copy c WHERE c.mailbox_copy = ? AND c.presence = 1 AND NOT EXISTS (SELECT 1 FROM "
      "message_copy d WHERE d.message = c.message AND d.presence = 0 AND d.stamp > c.stamp)",
      copy);
}

bool MailboxTable::HasNews(MailboxCopyId other, MailboxCopyId copy) {
  Statement statement = database_.Prepare(
      "SELECT EXISTS (SELECT 1 FROM message_copy o WHERE o.mailbox_copy = ? AND o.presence = 1 AND NOT EXISTS (SELECT "
      "1 "
      "FROM message_copy h WHERE h.message = o.message AND h.mailbox_copy = ? AND (h.presence = 2 OR h.stamp >= "
      "o.stamp)))");
  statement.Bind(1, other.value).Bind(2, copy.value).Step();
  return statement.Int(0) != 0;
}

void MailboxTable::MarkHeldUnsettled(MailboxCopyId copy) {
  database_
      .Prepare(
          "INSERT OR IGNORE INTO unsettled(message, mailbox) SELECT c.message, m.mailbox FROM message_copy c "
          "JOIN message m ON m.id = c.message WHERE c.mailbox_copy = ? AND c.presence = 2")
      .Bind(1, copy.value)
      .Run();
}

void MailboxTable::DeleteHeld(MailboxCopyId copy, Stamp stamp) {
  MarkHeldUnsettled(copy);
  database_
      .Prepare("UPDATE message_copy SET presence = 0, uid = NULL, stamp = ? WHERE mailbox_copy = ? AND presence = 2")
      .Bind(1, stamp.value)
      .Bind(2, copy.value)
      .Run();
}

void MailboxTable::ReleaseHeld(MailboxCopyId copy) {
  MarkHeldUnsettled(copy);
  database_.Prepare("UPDATE message_copy SET presence = 1, uid = NULL WHERE mailbox_copy = ? AND presence = 2")
      .Bind(1, copy.value)
      .Run();
}

void MailboxTable::ForgetHeld(MailboxCopyId copy) {
  MarkHeldUnsettled(copy);
  database_.Prepare("DELETE FROM message_copy WHERE mailbox_copy = ? AND presence = 2").Bind(1, copy.value).Run();
}

}  // namespace imapmesh
