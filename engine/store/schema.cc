#include "engine/store/schema.h"

#include <sqlite3.h>

#include <iterator>
#include <string>

namespace imapmesh {
namespace {

constexpr int64_t kApplicationId = 0x494D4D53;  // "IMMS", PRAGMA application_id

// Migration i leads from version i to i + 1. Never change one that has shipped: add one.
constexpr const char* kMigrations[] = {
    R"sql(
CREATE TABLE meta(key TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE replica(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE mailbox(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE mailbox_copy(
  id INTEGER PRIMARY KEY, replica INTEGER NOT NULL, mailbox INTEGER NOT NULL, name_here TEXT NOT NULL,
  listed INTEGER NOT NULL, tombstone INTEGER NOT NULL, subscribed INTEGER NOT NULL, uid_validity INTEGER NOT NULL,
  uid_next INTEGER NOT NULL, highest_modseq INTEGER NOT NULL, rebinding INTEGER NOT NULL, read_only INTEGER NOT NULL,
  messages INTEGER NOT NULL, UNIQUE(replica, mailbox));
CREATE TABLE flag(id INTEGER PRIMARY KEY, name TEXT NOT NULL, folded TEXT NOT NULL UNIQUE);
CREATE TABLE message(
  id INTEGER PRIMARY KEY, mailbox INTEGER NOT NULL, identity BLOB NOT NULL, size INTEGER NOT NULL,
  internal_date INTEGER NOT NULL, zone_minutes INTEGER NOT NULL, content BLOB, message_id TEXT NOT NULL);
CREATE INDEX message_identity ON message(identity, mailbox);
CREATE TABLE message_copy(
  message INTEGER NOT NULL, mailbox_copy INTEGER NOT NULL, uid INTEGER, presence INTEGER NOT NULL,
  stamp INTEGER NOT NULL, flags BLOB NOT NULL, guid INTEGER NOT NULL, PRIMARY KEY(message, mailbox_copy)) WITHOUT ROWID;
CREATE UNIQUE INDEX message_copy_uid ON message_copy(mailbox_copy, uid) WHERE uid IS NOT NULL;
CREATE TABLE unsettled(message INTEGER PRIMARY KEY, mailbox INTEGER NOT NULL);
CREATE INDEX unsettled_mailbox ON unsettled(mailbox, message);
CREATE TABLE intent(
  message INTEGER NOT NULL, mailbox_copy INTEGER NOT NULL, kind INTEGER NOT NULL, stamp INTEGER NOT NULL,
  flags BLOB NOT NULL, unix_ms INTEGER NOT NULL, PRIMARY KEY(mailbox_copy, message)) WITHOUT ROWID;
CREATE TABLE conflict(
  id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, kind TEXT NOT NULL, mailbox TEXT NOT NULL, message INTEGER NOT NULL,
  message_id TEXT NOT NULL, subject TEXT NOT NULL, unix_ms INTEGER NOT NULL, replica_a TEXT NOT NULL,
  change_a TEXT NOT NULL, replica_b TEXT NOT NULL, change_b TEXT NOT NULL, policy TEXT NOT NULL, outcome TEXT NOT NULL,
  open INTEGER NOT NULL);
)sql",
    R"sql(
ALTER TABLE conflict ADD COLUMN sender TEXT NOT NULL DEFAULT '';
ALTER TABLE conflict ADD COLUMN internal_date INTEGER NOT NULL DEFAULT 0;
ALTER TABLE conflict ADD COLUMN stamp INTEGER NOT NULL DEFAULT 0;
ALTER TABLE conflict ADD COLUMN described INTEGER NOT NULL DEFAULT 1;
ALTER TABLE conflict ADD COLUMN resolved_unix_ms INTEGER NOT NULL DEFAULT 0;
CREATE INDEX conflict_open ON conflict(id) WHERE open = 1;
CREATE INDEX conflict_undescribed ON conflict(id) WHERE described = 0;
CREATE TABLE held(
  message INTEGER NOT NULL, mailbox_copy INTEGER NOT NULL, conflict INTEGER NOT NULL,
  PRIMARY KEY(message, mailbox_copy)) WITHOUT ROWID;
CREATE INDEX held_conflict ON held(conflict);
INSERT INTO held(message, mailbox_copy, conflict)
  SELECT c.message, c.mailbox_copy, max(f.id) FROM message_copy c JOIN conflict f
  ON f.open = 1 AND (f.key LIKE 'brake:' || c.mailbox_copy || ':%' OR f.key LIKE 'mailbox-gone:' || c.mailbox_copy || ':%')
  WHERE c.presence = 2 GROUP BY c.message, c.mailbox_copy;
CREATE TABLE history(
  id INTEGER PRIMARY KEY, unix_ms INTEGER NOT NULL, message INTEGER NOT NULL, mailbox_copy INTEGER NOT NULL,
  kind INTEGER NOT NULL, edge TEXT NOT NULL);
)sql",
    // What vanished before this version was held; what was there counts as seen once.
    R"sql(
ALTER TABLE mailbox ADD COLUMN name_stamp INTEGER NOT NULL DEFAULT 0;
ALTER TABLE mailbox_copy ADD COLUMN local_name TEXT NOT NULL DEFAULT '';
ALTER TABLE mailbox_copy ADD COLUMN name_stamp INTEGER NOT NULL DEFAULT 0;
ALTER TABLE mailbox_copy ADD COLUMN server_id TEXT NOT NULL DEFAULT '';
ALTER TABLE mailbox_copy ADD COLUMN special_use TEXT NOT NULL DEFAULT '';
ALTER TABLE mailbox_copy ADD COLUMN gone INTEGER NOT NULL DEFAULT 0;
ALTER TABLE mailbox_copy ADD COLUMN exists_stamp INTEGER NOT NULL DEFAULT 0;
ALTER TABLE mailbox_copy ADD COLUMN subscribed_stamp INTEGER NOT NULL DEFAULT 0;
UPDATE mailbox_copy SET local_name = (SELECT name FROM mailbox m WHERE m.id = mailbox);
UPDATE mailbox_copy SET exists_stamp = 1 WHERE listed = 1;
UPDATE mailbox_copy SET subscribed_stamp = 1 WHERE subscribed = 1;
UPDATE mailbox_copy SET gone = 2, exists_stamp = 1 WHERE listed = 0 AND tombstone = 1;
)sql",
    // What was imported from another tool (imported_table.h).
    R"sql(
CREATE TABLE imported_copy(
  id INTEGER PRIMARY KEY, replica INTEGER NOT NULL, mailbox TEXT NOT NULL, uid_validity INTEGER NOT NULL,
  UNIQUE(replica, mailbox));
CREATE TABLE imported_uid(
  copy INTEGER NOT NULL, uid INTEGER NOT NULL, number INTEGER NOT NULL, PRIMARY KEY(copy, uid)) WITHOUT ROWID;
CREATE INDEX imported_uid_number ON imported_uid(number);
CREATE TABLE imported_message(number INTEGER PRIMARY KEY, message INTEGER NOT NULL);
CREATE INDEX imported_message_message ON imported_message(message);
CREATE TABLE imported_gone(
  mailbox_copy INTEGER NOT NULL, number INTEGER NOT NULL, PRIMARY KEY(mailbox_copy, number)) WITHOUT ROWID;
)sql",
    R"sql(
ALTER TABLE mailbox_copy ADD COLUMN flag_limits TEXT NOT NULL DEFAULT '';
CREATE TABLE kept_back(
  message INTEGER NOT NULL, mailbox_copy INTEGER NOT NULL, addition INTEGER NOT NULL, deletion INTEGER NOT NULL,
  flags BLOB NOT NULL, PRIMARY KEY(message, mailbox_copy)) WITHOUT ROWID;
CREATE INDEX kept_back_copy ON kept_back(mailbox_copy);
)sql",
    // Annotations of mailbox copies (metadata_table.h).
    R"sql(
CREATE TABLE metadata_copy(mailbox_copy INTEGER PRIMARY KEY, uid_validity INTEGER NOT NULL);
CREATE TABLE metadata(
  mailbox_copy INTEGER NOT NULL, entry TEXT NOT NULL, value BLOB NOT NULL, stamp INTEGER NOT NULL,
  PRIMARY KEY(mailbox_copy, entry)) WITHOUT ROWID;
)sql",
    R"sql(
ALTER TABLE conflict ADD COLUMN a_unix_ms INTEGER NOT NULL DEFAULT 0;
ALTER TABLE conflict ADD COLUMN b_unix_ms INTEGER NOT NULL DEFAULT 0;
)sql",
    R"sql(
ALTER TABLE mailbox_copy ADD COLUMN observed_uid_next INTEGER NOT NULL DEFAULT 0;
)sql",
    // The beginning of a digest tells messages apart well enough, in two thirds of the room.
    R"sql(
DROP INDEX message_identity;
CREATE INDEX message_identity_begin ON message(substr(identity, 1, 8));
)sql",
    // A message never changes its mailbox, so one B-tree serves both ways of asking.
    R"sql(
ALTER TABLE unsettled RENAME TO unsettled_before;
CREATE TABLE unsettled(
  mailbox INTEGER NOT NULL, message INTEGER NOT NULL, PRIMARY KEY(mailbox, message)) WITHOUT ROWID;
INSERT INTO unsettled(mailbox, message) SELECT mailbox, message FROM unsettled_before;
DROP TABLE unsettled_before;
)sql",
    // The stamp of its not being there says as much.
    R"sql(
ALTER TABLE mailbox_copy DROP COLUMN tombstone;
)sql",
};

int64_t ReadPragma(Database& database, const char* sql) {
  Statement statement = database.Prepare(sql);
  return statement.Step() ? statement.Int(0) : 0;
}

}  // namespace

void ApplyMigrations(Database& database) {
  const int64_t version = ReadPragma(database, "PRAGMA user_version");
  const int64_t application = ReadPragma(database, "PRAGMA application_id");
  const int64_t tables = ReadPragma(database, "SELECT count(*) FROM sqlite_schema");
  if (application != kApplicationId && tables > 0) {
    throw SqliteError(SQLITE_MISMATCH, "this SQLite file is no imapmesh state; choose another path");
  }
  constexpr int64_t kNewest = std::size(kMigrations);
  if (version > kNewest) {
    throw SqliteError(SQLITE_MISMATCH, "the state was written by a newer imapmesh (schema " + std::to_string(version) +
                                           ", this program knows " + std::to_string(kNewest) + "); update imapmesh");
  }
  for (int64_t next = version; next < kNewest; ++next) {
    Transaction transaction(database);
    database.Execute(kMigrations[next]);
    database.Execute(("PRAGMA user_version = " + std::to_string(next + 1)).c_str());
    database.Execute(("PRAGMA application_id = " + std::to_string(kApplicationId)).c_str());
    transaction.Commit();
  }
}

}  // namespace imapmesh
