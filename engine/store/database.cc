#include "engine/store/database.h"

#include <sqlite3.h>

namespace imapmesh {
namespace {

// Without its statistics of memory, which nobody asks for, SQLite takes no lock for each allocation.
void ConfigureOnce() {
  static const int configured = sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
  static_cast<void>(configured);  // SQLITE_MISUSE: somebody else has used SQLite before, and it stays as it is
}

void Check(sqlite3* database, int code) {
  if (code == SQLITE_OK || code == SQLITE_ROW || code == SQLITE_DONE) return;
  throw SqliteError(code, database != nullptr ? sqlite3_errmsg(database) : sqlite3_errstr(code));
}

}  // namespace

Statement::~Statement() {
  sqlite3_reset(statement_);
  sqlite3_clear_bindings(statement_);
}

Statement& Statement::Bind(int index, int64_t value) {
  Check(database_, sqlite3_bind_int64(statement_, index, value));
  return *this;
}

Statement& Statement::BindNull(int index) {
  Check(database_, sqlite3_bind_null(statement_, index));
  return *this;
}

Statement& Statement::Bind(int index, std::string_view text) {
  const char* data = text.data() == nullptr ? "" : text.data();
  Check(database_, sqlite3_bind_text64(statement_, index, data, text.size(), SQLITE_STATIC, SQLITE_UTF8));
  return *this;
}

Statement& Statement::BindBlob(int index, std::string_view bytes) {
  const char* data = bytes.data() == nullptr ? "" : bytes.data();
  Check(database_, sqlite3_bind_blob64(statement_, index, data, bytes.size(), SQLITE_STATIC));
  return *this;
}

bool Statement::Step() {
  const int code = sqlite3_step(statement_);
  Check(database_, code);
  return code == SQLITE_ROW;
}

int64_t Statement::Int(int column) const {
  return sqlite3_column_int64(statement_, column);
}

bool Statement::IsNull(int column) const {
  return sqlite3_column_type(statement_, column) == SQLITE_NULL;
}

std::string_view Statement::Text(int column) const {
  const auto* text = reinterpret_cast<const char*>(sqlite3_column_text(statement_, column));
  return {text == nullptr ? "" : text, static_cast<size_t>(sqlite3_column_bytes(statement_, column))};
}

std::string_view Statement::Blob(int column) const {
  const auto* bytes = static_cast<const char*>(sqlite3_column_blob(statement_, column));
  return {bytes == nullptr ? "" : bytes, static_cast<size_t>(sqlite3_column_bytes(statement_, column))};
}

Database::Database(const std::string& path, Mode mode) {
  ConfigureOnce();
  const int access = mode == Mode::kReadOnly ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE;
  const int flags = access | SQLITE_OPEN_NOMUTEX;
  const int code = sqlite3_open_v2(path.c_str(), &database_, flags, nullptr);
  if (code != SQLITE_OK) {
    const std::string text = database_ != nullptr ? sqlite3_errmsg(database_) : sqlite3_errstr(code);
    sqlite3_close(database_);
    throw SqliteError(code, text);
  }
  sqlite3_busy_timeout(database_, mode == Mode::kReadOnly ? 500 : 5000);
}

Database::~Database() {
  for (const auto& [sql, statement] : statements_) sqlite3_finalize(statement);
  sqlite3_close(database_);
}

void Database::Execute(const char* sql) {
  Check(database_, sqlite3_exec(database_, sql, nullptr, nullptr, nullptr));
}

Statement Database::Prepare(const char* sql) {
  sqlite3_stmt*& statement = statements_[sql];
  if (statement == nullptr) {
    Check(database_, sqlite3_prepare_v3(database_, sql, -1, SQLITE_PREPARE_PERSISTENT, &statement, nullptr));
  }
  return Statement(database_, statement);
}

int64_t Database::last_insert_id() const {
  return sqlite3_last_insert_rowid(database_);
}
int64_t Database::changes() const {
  return sqlite3_changes64(database_);
}

Transaction::~Transaction() {
  if (!open_) return;
  try {
    database_.Execute("ROLLBACK");
  } catch (const SqliteError&) {
    // SQLite rolls back by itself after a full disk or an I/O error; there is nothing left to undo then.
  }
}

}  // namespace imapmesh
