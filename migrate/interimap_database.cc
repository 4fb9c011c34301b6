#include "migrate/interimap_database.h"

#include <sqlite3.h>

#include <limits>
#include <map>

#include "base/printable.h"
#include "engine/replica/mailbox_names.h"
#include "engine/store/database.h"

namespace imapmesh {
namespace {

constexpr int64_t kVersion = 1;
constexpr size_t kMailboxesMax = 100'000;

bool IsUid(int64_t number) {
  return number > 0 && number <= std::numeric_limits<uint32_t>::max();
}

absl::Status Damaged(const std::string& path, std::string_view what) {
  return Error(absl::StatusCode::kInvalidArgument,
               "%s: %s; this is no sound database of interimap: import without it, the mail is recognised by its "
               "headers",
               path, what);
}

absl::Status Failure(const std::string& path, const SqliteError& error) {
  const int primary = error.code() & 0xFF;
  if (primary == SQLITE_BUSY || primary == SQLITE_LOCKED) {
    return Error(absl::StatusCode::kFailedPrecondition, "%s: interimap is using it; stop interimap, then import", path);
  }
  if (primary == SQLITE_READONLY) {
    return Error(absl::StatusCode::kFailedPrecondition,
                 "%s: a run of interimap was interrupted; run interimap once more, then import", path);
  }
  if (primary == SQLITE_CANTOPEN || primary == SQLITE_PERM) {
    return Error(absl::StatusCode::kInvalidArgument, "%s: cannot be read (%s); name interimap's database file", path,
                 error.what());
  }
  return Damaged(path, error.what());
}

absl::StatusOr<std::map<int64_t, MailboxPair>> ReadMailboxes(Database& database, const std::string& path) {
  std::map<int64_t, MailboxPair> mailboxes;
  const MailboxNames names(std::string(1, '\0'), "", {});  // NUL stands between the levels
  Statement statement = database.Prepare(
      "SELECT m.idx, CAST(m.mailbox AS BLOB), l.UIDVALIDITY, r.UIDVALIDITY FROM mailboxes m "
      "JOIN local l ON l.idx = m.idx JOIN remote r ON r.idx = m.idx");
  while (statement.Step()) {
    const auto name = names.LocalName(statement.Blob(1));
    const int64_t local = statement.Int(2), remote = statement.Int(3);
    if (!name || name->empty() || !IsUid(local) || !IsUid(remote) || mailboxes.size() == kMailboxesMax) {
      return Damaged(path, absl::StrFormat("mailbox \"%s\" cannot be read", Printable(statement.Blob(1), 200)));
    }
    MailboxPair pair;
    pair.a = {"local", *name, UidValidity(static_cast<uint32_t>(local))};
    pair.b = {"remote", *name, UidValidity(static_cast<uint32_t>(remote))};
    mailboxes.emplace(statement.Int(0), std::move(pair));
  }
  return mailboxes;
}

absl::Status ReadMapping(Database& database, const std::string& path, std::map<int64_t, MailboxPair>& mailboxes) {
  Statement statement = database.Prepare("SELECT idx, lUID, rUID FROM mapping");
  for (size_t count = 0; statement.Step(); ++count) {
    const auto mailbox = mailboxes.find(statement.Int(0));
    const int64_t local = statement.Int(1), remote = statement.Int(2);
    if (!IsUid(local) || !IsUid(remote)) return Damaged(path, "a UID is out of range");
    if (count == kImportedPairsMax) return Damaged(path, "it holds more pairs of UIDs than can be");
    if (mailbox == mailboxes.end()) continue;
    mailbox->second.uids.emplace_back(Uid(static_cast<uint32_t>(local)), Uid(static_cast<uint32_t>(remote)));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::vector<MailboxPair>> ReadInterimapDatabase(const std::string& path) {
  try {
    Database database(path, Database::Mode::kReadOnly);
    database.Execute("BEGIN");
    int64_t version = 0;
    {
      Statement statement = database.Prepare("PRAGMA user_version");
      version = statement.Step() ? statement.Int(0) : 0;
    }
    if (version != kVersion) {
      return Error(absl::StatusCode::kFailedPrecondition,
                   "%s: its version is %d, that of interimap 0.5 is %d; run interimap 0.5 once, which brings it up to "
                   "date, or import without it",
                   path, version, kVersion);
    }
    ASSIGN_OR_RETURN(auto mailboxes, ReadMailboxes(database, path));
    RETURN_IF_ERROR(ReadMapping(database, path, mailboxes));
    std::vector<MailboxPair> pairs;
    for (auto& [idx, pair] : mailboxes) pairs.push_back(std::move(pair));
    return pairs;
  } catch (const SqliteError& error) {
    return Failure(path, error);
  }
}

}  // namespace imapmesh
