#include "engine/store/state.h"

#include <cctype>
#include <charconv>
#include <cstring>

#include "engine/store/schema.h"

namespace imapmesh {
namespace {

// Pages of 4 KB: what is unused is given back once it is more than a twentieth of the file.
constexpr int64_t kUnusedPagesMin = 250;
constexpr int64_t kUnusedShare = 20;
constexpr int64_t kPagesAtOnce = 5000;

void PutVarint(std::string& out, uint64_t value) {
  while (value >= 0x80) {
    out.push_back(static_cast<char>(value | 0x80));
    value >>= 7;
  }
  out.push_back(static_cast<char>(value));
}

uint64_t TakeVarint(std::string_view& bytes) {
  uint64_t value = 0;
  for (int shift = 0; shift < 64 && !bytes.empty(); shift += 7) {
    const auto byte = static_cast<unsigned char>(bytes.front());
    bytes.remove_prefix(1);
    value |= static_cast<uint64_t>(byte & 0x7F) << shift;
    if (byte < 0x80) break;
  }
  return value;
}

std::string_view Bytes(const Digest& digest) {
  return {reinterpret_cast<const char*>(digest.data()), digest.size()};
}

Digest ToDigest(std::string_view bytes) {
  Digest digest{};
  std::memcpy(digest.data(), bytes.data(), std::min(bytes.size(), digest.size()));
  return digest;
}

// The two digests, one after the other.
std::string Encode(const ContentIdentity& content) {
  return std::string(Bytes(content.exact)) + std::string(Bytes(content.stable));
}

std::optional<ContentIdentity> DecodeContent(std::string_view bytes) {
  ContentIdentity content;
  const size_t half = content.exact.size();
  if (bytes.size() != 2 * half) return std::nullopt;
  return ContentIdentity{ToDigest(bytes.substr(0, half)), ToDigest(bytes.substr(half))};
}

std::string Folded(std::string_view name) {
  std::string folded(name);
  for (char& c : folded) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return folded;
}

CopyRegisters ReadCopy(const Statement& statement) {
  CopyRegisters copy;
  copy.mailbox_copy = MailboxCopyId(statement.Int(0));
  copy.uid = Uid(static_cast<uint32_t>(statement.Int(1)));
  copy.presence = static_cast<Presence>(statement.Int(2));
  copy.stamp = Stamp(statement.Int(3));
  copy.flags = DecodeFlags(statement.Blob(4));
  copy.guid = static_cast<uint64_t>(statement.Int(5));
  return copy;
}

Intent ReadIntent(const Statement& statement) {
  Intent intent;
  intent.message = MessageId(statement.Int(0));
  intent.mailbox_copy = MailboxCopyId(statement.Int(1));
  intent.kind = static_cast<IntentKind>(statement.Int(2));
  intent.stamp = Stamp(statement.Int(3));
  intent.flags = DecodeFlags(statement.Blob(4));
  intent.unix_ms = statement.Int(5);
  return intent;
}

}  // namespace

std::string EncodeFlags(const FlagRegisters& flags) {
  std::string out;
  for (const FlagRegister& entry : flags.entries()) {
    PutVarint(out, static_cast<uint64_t>(entry.flag.value) << 1 | (entry.set ? 1 : 0));
    PutVarint(out, static_cast<uint64_t>(entry.stamp.value));
  }
  return out;
}

FlagRegisters DecodeFlags(std::string_view bytes) {
  FlagRegisters flags;
  while (!bytes.empty()) {
    const uint64_t key = TakeVarint(bytes);
    const uint64_t stamp = TakeVarint(bytes);
    flags.Put(FlagId(static_cast<int32_t>(key >> 1)), (key & 1) != 0, Stamp(static_cast<int64_t>(stamp)));
  }
  return flags;
}

State::State(const std::string& path) : database_(path) {
  // Of a new file, for GiveBackSpace. Setting it again writes to the file, which a start with nothing to do need not.
  constexpr int64_t kIncremental = 2;
  if (ReadNumber("PRAGMA auto_vacuum") != kIncremental) database_.Execute("PRAGMA auto_vacuum = INCREMENTAL");
  database_.Execute("PRAGMA journal_mode = WAL");
  // FULL: a committed intent must survive a power cut, since what follows it changes a server.
  database_.Execute("PRAGMA synchronous = FULL");
  database_.Execute("PRAGMA cache_size = -16000");
  database_.Execute("PRAGMA temp_store = MEMORY");
  ApplyMigrations(database_);
}

int64_t State::ReadNumber(const char* sql) {
  Statement statement = database_.Prepare(sql);
  return statement.Step() ? statement.Int(0) : 0;
}

void State::GiveBackSpace() {
  const int64_t unused = ReadNumber("PRAGMA freelist_count");
  if (unused < kUnusedPagesMin || unused * kUnusedShare < ReadNumber("PRAGMA page_count")) return;
  database_.Execute(("PRAGMA incremental_vacuum(" + std::to_string(kPagesAtOnce) + ")").c_str());
}

std::optional<std::string> State::Meta(std::string_view key) {
  Statement statement = database_.Prepare("SELECT value FROM meta WHERE key = ?");
  statement.Bind(1, key);
  if (!statement.Step()) return std::nullopt;
  return std::string(statement.Text(0));
}

void State::SetMeta(std::string_view key, std::string_view value) {
  database_.Prepare("INSERT OR REPLACE INTO meta(key, value) VALUES(?, ?)").Bind(1, key).Bind(2, value).Run();
}

int64_t State::MetaNumber(std::string_view key) {
  const std::string text = Meta(key).value_or("");
  int64_t number = 0;
  std::from_chars(text.data(), text.data() + text.size(), number);
  return number;
}

Stamp State::NextStamp() {
  Statement statement = database_.Prepare(
      "INSERT INTO meta(key, value) VALUES('stamp', 1) ON CONFLICT(key) DO UPDATE SET value = value + 1 RETURNING "
      "value");
  statement.Step();
  const Stamp stamp(statement.Int(0));
  statement.Run();
  return stamp;
}

ReplicaId State::InternReplica(std::string_view name) {
  database_.Prepare("INSERT OR IGNORE INTO replica(name) VALUES(?)").Bind(1, name).Run();
  Statement statement = database_.Prepare("SELECT id FROM replica WHERE name = ?");
  statement.Bind(1, name).Step();
  return ReplicaId(statement.Int(0));
}

MailboxId State::InternMailbox(std::string_view name) {
  const auto known = mailboxes_.find(std::string(name));
  if (known != mailboxes_.end()) return known->second;
  database_.Prepare("INSERT OR IGNORE INTO mailbox(name) VALUES(?)").Bind(1, name).Run();
  Statement statement = database_.Prepare("SELECT id FROM mailbox WHERE name = ?");
  statement.Bind(1, name).Step();
  return MailboxId(statement.Int(0));
}

FlagId State::InternFlag(std::string_view name) {
  const std::string folded = Folded(name);
  const auto known = flags_by_folded_name_.find(folded);
  if (known != flags_by_folded_name_.end()) return known->second;
  database_.Prepare("INSERT OR IGNORE INTO flag(name, folded) VALUES(?, ?)").Bind(1, name).Bind(2, folded).Run();
  Statement statement = database_.Prepare("SELECT id FROM flag WHERE folded = ?");
  statement.Bind(1, folded).Step();
  return FlagId(static_cast<int32_t>(statement.Int(0)));
}

std::string State::FlagName(FlagId flag) {
  const auto known = flag_names_.find(flag);
  if (known != flag_names_.end()) return known->second;
  Statement statement = database_.Prepare("SELECT name, folded FROM flag WHERE id = ?");
  if (!statement.Bind(1, flag.value).Step()) return "";
  // Cached only once read back here, so that a rolled back insertion leaves nothing in the caches.
  flags_by_folded_name_[std::string(statement.Text(1))] = flag;
  return flag_names_[flag] = std::string(statement.Text(0));
}

MessageId State::InsertMessage(const MessageRegisters& message) {
  Statement statement = database_.Prepare(
      "INSERT INTO message(mailbox, identity, size, internal_date, zone_minutes, content, message_id) "
      "VALUES(?, ?, ?, ?, ?, ?, ?)");
  statement.Bind(1, message.mailbox.value)
      .BindBlob(2, Bytes(message.identity))
      .Bind(3, static_cast<int64_t>(message.size))
      .Bind(4, message.internal_date)
      .Bind(5, message.zone_minutes)
      .Bind(7, message.message_id);
  const std::string content = message.content ? Encode(*message.content) : "";
  if (message.content) statement.BindBlob(6, content);
  statement.Run();
  return MessageId(database_.last_insert_id());
}

void State::SetContent(MessageId message, const ContentIdentity& content) {
  const std::string bytes = Encode(content);
  database_.Prepare("UPDATE message SET content = ? WHERE id = ?").BindBlob(1, bytes).Bind(2, message.value).Run();
}

#define MESSAGE_COLUMNS "m.id, m.mailbox, m.identity, m.size, m.internal_date, m.zone_minutes, m.content, m.message_id"

MessageRegisters State::ReadMessage(Statement& statement) {
  MessageRegisters message;
  message.id = MessageId(statement.Int(0));
  message.mailbox = MailboxId(statement.Int(1));
  message.identity = ToDigest(statement.Blob(2));
  message.size = static_cast<uint64_t>(statement.Int(3));
  message.internal_date = statement.Int(4);
  message.zone_minutes = static_cast<int32_t>(statement.Int(5));
  if (!statement.IsNull(6)) message.content = DecodeContent(statement.Blob(6));
  message.message_id = statement.Text(7);
  return message;
}

void State::LoadCopies(MessageRegisters& message) {
  Statement statement =
      database_.Prepare("SELECT mailbox_copy, uid, presence, stamp, flags, guid FROM message_copy WHERE message = ?");
  statement.Bind(1, message.id.value);
  while (statement.Step()) message.copies.push_back(ReadCopy(statement));
}

std::optional<MessageRegisters> State::Load(MessageId id) {
  Statement statement = database_.Prepare("SELECT " MESSAGE_COLUMNS " FROM message m WHERE m.id = ?");
  if (!statement.Bind(1, id.value).Step()) return std::nullopt;
  MessageRegisters message = ReadMessage(statement);
  LoadCopies(message);
  return message;
}

std::vector<MessageRegisters> State::LoadCandidates(MailboxId mailbox, const Digest& identity) {
  std::vector<MessageRegisters> messages;
  Statement statement = database_.Prepare("SELECT " MESSAGE_COLUMNS
                                          " FROM message m WHERE substr(m.identity, 1, 8) = substr(?1, 1, 8) AND "
                                          "m.identity = ?1 AND m.mailbox = ?2 ORDER BY m.id");
  statement.BindBlob(1, Bytes(identity)).Bind(2, mailbox.value);
  while (statement.Step()) messages.push_back(ReadMessage(statement));
  for (MessageRegisters& message : messages) LoadCopies(message);
  return messages;
}

std::optional<MessageRegisters> State::LoadByUid(MailboxCopyId copy, Uid uid) {
  int64_t id = 0;
  {
    Statement statement = database_.Prepare("SELECT message FROM message_copy WHERE mailbox_copy = ? AND uid = ?");
    if (!statement.Bind(1, copy.value).Bind(2, uid.value).Step()) return std::nullopt;
    id = statement.Int(0);
  }
  return Load(MessageId(id));
}

std::optional<std::pair<MessageId, CopyRegisters>> State::LoadCopyByUid(MailboxCopyId copy, Uid uid) {
  Statement statement = database_.Prepare(
      "SELECT mailbox_copy, uid, presence, stamp, flags, guid, message FROM message_copy WHERE mailbox_copy = ? AND "
      "uid "
      "= ?");
  if (!statement.Bind(1, copy.value).Bind(2, uid.value).Step()) return std::nullopt;
  return std::make_pair(MessageId(statement.Int(6)), ReadCopy(statement));
}

Uid State::LastUid(MailboxCopyId copy) {
  Statement statement = database_.Prepare("SELECT max(uid) FROM message_copy WHERE mailbox_copy = ? AND uid > 0");
  statement.Bind(1, copy.value).Step();
  return Uid(static_cast<uint32_t>(statement.Int(0)));
}

UidSet State::LastUids(MailboxCopyId copy, size_t count) {
  std::vector<Uid> uids;
  Statement statement =
      database_.Prepare("SELECT uid FROM message_copy WHERE mailbox_copy = ? AND uid > 0 ORDER BY uid DESC LIMIT ?");
  statement.Bind(1, copy.value).Bind(2, static_cast<int64_t>(count));
  while (statement.Step()) uids.emplace_back(static_cast<uint32_t>(statement.Int(0)));
  return UidSet(uids);
}

std::vector<MessageRegisters> State::LoadByUids(MailboxCopyId copy, const UidSet& uids, size_t limit) {
  std::vector<int64_t> ids;
  for (const UidRange& range : uids.ranges()) {
    Statement statement = database_.Prepare(
        "SELECT message FROM message_copy WHERE mailbox_copy = ? AND uid BETWEEN ? AND ? ORDER BY uid");
    statement.Bind(1, copy.value).Bind(2, range.first).Bind(3, range.last);
    while (ids.size() < limit && statement.Step()) ids.push_back(statement.Int(0));
    if (ids.size() >= limit) break;
  }
  std::vector<MessageRegisters> messages;
  for (const int64_t id : ids) {
    if (auto message = Load(MessageId(id))) messages.push_back(std::move(*message));
  }
  return messages;
}

int64_t State::CountByUids(MailboxCopyId copy, const UidSet& uids) {
  int64_t count = 0;
  for (const UidRange& range : uids.ranges()) {
    Statement statement =
        database_.Prepare("SELECT count(*) FROM message_copy WHERE mailbox_copy = ? AND uid BETWEEN ? AND ?");
    statement.Bind(1, copy.value).Bind(2, range.first).Bind(3, range.last).Step();
    count += statement.Int(0);
  }
  return count;
}

int64_t State::CountPresent(MailboxCopyId copy) {
  Statement statement = database_.Prepare("SELECT count(*) FROM message_copy WHERE mailbox_copy = ? AND uid > 0");
  statement.Bind(1, copy.value).Step();
  return statement.Int(0);
}

UidSet State::UidsOf(MailboxCopyId copy) {
  std::vector<Uid> uids;
  Statement statement =
      database_.Prepare("SELECT uid FROM message_copy WHERE mailbox_copy = ? AND uid > 0 ORDER BY uid");
  statement.Bind(1, copy.value);
  while (statement.Step()) uids.emplace_back(static_cast<uint32_t>(statement.Int(0)));
  return UidSet(uids);
}

void State::SaveCopy(MessageId message, const CopyRegisters& copy) {
  const std::string flags = EncodeFlags(copy.flags);
  Statement statement = database_.Prepare(
      "INSERT INTO message_copy(message, mailbox_copy, uid, presence, stamp, flags, guid) VALUES(?, ?, ?, ?, ?, ?, ?) "
      "ON CONFLICT(message, mailbox_copy) DO UPDATE SET uid = excluded.uid, presence = excluded.presence, "
      "stamp = excluded.stamp, flags = excluded.flags, guid = excluded.guid");
  statement.Bind(1, message.value).Bind(2, copy.mailbox_copy.value);
  if (copy.uid.value != 0) statement.Bind(3, copy.uid.value);
  statement.Bind(4, static_cast<int64_t>(copy.presence))
      .Bind(5, copy.stamp.value)
      .BindBlob(6, flags)
      .Bind(7, static_cast<int64_t>(copy.guid))
      .Run();
}

void State::ForgetCopy(MessageId message, MailboxCopyId copy) {
  database_.Prepare("DELETE FROM message_copy WHERE message = ? AND mailbox_copy = ?")
      .Bind(1, message.value)
      .Bind(2, copy.value)
      .Run();
}

void State::ForgetMessage(MessageId message) {
  for (const char* sql :
       {"DELETE FROM message_copy WHERE message = ?", "DELETE FROM intent WHERE message = ?",
        "DELETE FROM unsettled WHERE mailbox = (SELECT mailbox FROM message WHERE id = ?1) AND message = ?1",
        "DELETE FROM held WHERE message = ?",
        "DELETE FROM history WHERE message = ?",  // its id may be given again
        "DELETE FROM message WHERE id = ?"}) {
    database_.Prepare(sql).Bind(1, message.value).Run();
  }
}

void State::Unbind(MailboxCopyId copy) {
  database_.Prepare("UPDATE message_copy SET uid = NULL WHERE mailbox_copy = ? AND uid IS NOT NULL")
      .Bind(1, copy.value)
      .Run();
}

int64_t State::ForgetUnbound(MailboxCopyId copy) {
  database_
      .Prepare(
          "INSERT OR IGNORE INTO unsettled(message, mailbox) SELECT c.message, m.mailbox FROM message m "
          "JOIN message_copy c ON c.message = m.id WHERE c.mailbox_copy = ? AND c.uid IS NULL AND c.presence = 1")
      .Bind(1, copy.value)
      .Run();
  database_.Prepare("DELETE FROM message_copy WHERE mailbox_copy = ? AND uid IS NULL AND presence = 1")
      .Bind(1, copy.value)
      .Run();
  return database_.changes();
}

int64_t State::HoldAll(MailboxCopyId copy) {
  database_.Prepare("UPDATE message_copy SET presence = 2, uid = NULL WHERE mailbox_copy = ? AND presence = 1")
      .Bind(1, copy.value)
      .Run();
  return database_.changes();
}

std::vector<MessageId> State::MessagesWithIdentity(const Digest& identity, size_t limit) {
  std::vector<MessageId> ids;
  Statement statement = database_.Prepare(
      "SELECT id FROM message WHERE substr(identity, 1, 8) = substr(?1, 1, 8) AND identity = ?1 LIMIT ?2");
  statement.BindBlob(1, Bytes(identity)).Bind(2, static_cast<int64_t>(limit));
  while (statement.Step()) ids.emplace_back(statement.Int(0));
  return ids;
}

std::vector<MessageId> State::MessagesWithMessageId(std::string_view message_id, size_t limit) {
  std::vector<MessageId> ids;
  Statement statement = database_.Prepare("SELECT id FROM message WHERE message_id = ? ORDER BY id LIMIT ?");
  statement.Bind(1, message_id).Bind(2, static_cast<int64_t>(limit));
  while (statement.Step()) ids.emplace_back(statement.Int(0));
  return ids;
}

void State::MarkUnsettled(MessageId message) {
  database_.Prepare("INSERT OR IGNORE INTO unsettled(message, mailbox) SELECT id, mailbox FROM message WHERE id = ?")
      .Bind(1, message.value)
      .Run();
}

void State::MarkUnsettled(MessageId message, MailboxId mailbox) {
  database_.Prepare("INSERT OR IGNORE INTO unsettled(message, mailbox) VALUES(?, ?)")
      .Bind(1, message.value)
      .Bind(2, mailbox.value)
      .Run();
}

void State::MarkAllUnsettled() {
  database_.Execute("INSERT OR IGNORE INTO unsettled(message, mailbox) SELECT id, mailbox FROM message");
}

void State::ClearUnsettled(MessageId message, MailboxId mailbox) {
  database_.Prepare("DELETE FROM unsettled WHERE mailbox = ? AND message = ?")
      .Bind(1, mailbox.value)
      .Bind(2, message.value)
      .Run();
}

std::map<MailboxId, int64_t> State::UnsettledMailboxes() {
  std::map<MailboxId, int64_t> mailboxes;
  Statement statement = database_.Prepare("SELECT mailbox, count(*) FROM unsettled GROUP BY mailbox");
  while (statement.Step()) mailboxes[MailboxId(statement.Int(0))] = statement.Int(1);
  return mailboxes;
}

std::vector<MessageRegisters> State::LoadUnsettled(MailboxId mailbox, MessageId after, size_t limit) {
  std::vector<MessageRegisters> messages;
  Statement statement =
      database_.Prepare("SELECT " MESSAGE_COLUMNS
                        " FROM unsettled u JOIN message m ON m.id = u.message WHERE u.mailbox = ? AND u.message > ? "
                        "ORDER BY u.message LIMIT ?");
  statement.Bind(1, mailbox.value).Bind(2, after.value).Bind(3, static_cast<int64_t>(limit));
  while (statement.Step()) messages.push_back(ReadMessage(statement));
  for (MessageRegisters& message : messages) LoadCopies(message);
  return messages;
}

void State::AddIntent(const Intent& intent) {
  const std::string flags = EncodeFlags(intent.flags);
  database_.Prepare("INSERT INTO intent(message, mailbox_copy, kind, stamp, flags, unix_ms) VALUES(?, ?, ?, ?, ?, ?)")
      .Bind(1, intent.message.value)
      .Bind(2, intent.mailbox_copy.value)
      .Bind(3, static_cast<int64_t>(intent.kind))
      .Bind(4, intent.stamp.value)
      .BindBlob(5, flags)
      .Bind(6, intent.unix_ms)
      .Run();
}

void State::CloseIntent(MessageId message, MailboxCopyId copy) {
  database_.Prepare("DELETE FROM intent WHERE message = ? AND mailbox_copy = ?")
      .Bind(1, message.value)
      .Bind(2, copy.value)
      .Run();
}

#define INTENT_COLUMNS "message, mailbox_copy, kind, stamp, flags, unix_ms"

bool State::HasIntent(MessageId message, MailboxCopyId copy) {
  return FindIntent(message, copy).has_value();
}

std::optional<Intent> State::FindIntent(MessageId message, MailboxCopyId copy) {
  Statement statement =
      database_.Prepare("SELECT " INTENT_COLUMNS " FROM intent WHERE message = ? AND mailbox_copy = ?");
  if (!statement.Bind(1, message.value).Bind(2, copy.value).Step()) return std::nullopt;
  return ReadIntent(statement);
}

std::vector<Intent> State::IntentsAt(MailboxCopyId copy) {
  std::vector<Intent> intents;
  Statement statement = database_.Prepare("SELECT " INTENT_COLUMNS " FROM intent WHERE mailbox_copy = ?");
  statement.Bind(1, copy.value);
  while (statement.Step()) intents.push_back(ReadIntent(statement));
  return intents;
}

std::vector<MailboxCopyId> State::CopiesWithIntents() {
  std::vector<MailboxCopyId> copies;
  Statement statement = database_.Prepare("SELECT DISTINCT mailbox_copy FROM intent");
  while (statement.Step()) copies.emplace_back(statement.Int(0));
  return copies;
}

void State::AnswerIntent(MessageId message, MailboxCopyId copy) {
  database_.Prepare("UPDATE intent SET unix_ms = 0 WHERE message = ? AND mailbox_copy = ?")
      .Bind(1, message.value)
      .Bind(2, copy.value)
      .Run();
}

void State::TouchIntents(int64_t unix_ms) {
  database_.Prepare("UPDATE intent SET unix_ms = ?").Bind(1, unix_ms).Run();
}

}  // namespace imapmesh
