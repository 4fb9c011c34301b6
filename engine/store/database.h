// SQLite as RAII: a connection, prepared statements, transactions. Used by engine/store, and by migrate/ to read the
// databases of other tools.
//
// One thread at a time (the store thread). Failures inside a statement throw SqliteError; state.h turns them into
// absl::Status at the room's border.
#ifndef IMAPMESH_ENGINE_STORE_DATABASE_H_
#define IMAPMESH_ENGINE_STORE_DATABASE_H_

#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <unordered_map>

struct sqlite3;
struct sqlite3_stmt;

namespace imapmesh {

class SqliteError : public std::runtime_error {
 public:
  SqliteError(int code, const std::string& text) : std::runtime_error(text), code_(code) {}
  int code() const { return code_; }

 private:
  int code_;
};

// One execution of a prepared statement; resets it when it goes. Parameters from 1, columns from 0.
class Statement {
 public:
  Statement(sqlite3* database, sqlite3_stmt* statement) : database_(database), statement_(statement) {}
  ~Statement();
  Statement(const Statement&) = delete;
  Statement& operator=(const Statement&) = delete;

  Statement& Bind(int index, int64_t value);
  Statement& BindNull(int index);
  Statement& Bind(int index, std::string_view text);       // must outlive the execution
  Statement& BindBlob(int index, std::string_view bytes);  // must outlive the execution
  bool Step();                                             // whether there is a row
  void Run() {
    while (Step()) {
    }
  }

  int64_t Int(int column) const;
  bool IsNull(int column) const;
  std::string_view Text(int column) const;  // valid until the next Step
  std::string_view Blob(int column) const;

 private:
  sqlite3* database_;
  sqlite3_stmt* statement_;
};

class Database {
 public:
  enum class Mode { kReadWrite, kReadOnly };
  explicit Database(const std::string& path, Mode mode = Mode::kReadWrite);  // throws SqliteError
  ~Database();
  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;

  void Execute(const char* sql);
  // Prepared once, kept for the database's life; `sql` must be a literal.
  Statement Prepare(const char* sql);
  int64_t last_insert_id() const;
  int64_t changes() const;

 private:
  sqlite3* database_ = nullptr;
  std::unordered_map<const char*, sqlite3_stmt*> statements_;
};

// BEGIN IMMEDIATE; rolls back unless committed.
class Transaction {
 public:
  explicit Transaction(Database& database) : database_(database) { database_.Prepare("BEGIN IMMEDIATE").Run(); }
  ~Transaction();
  void Commit() {
    database_.Prepare("COMMIT").Run();
    open_ = false;
  }

 private:
  Database& database_;
  bool open_ = true;
};

}  // namespace imapmesh

#endif  // IMAPMESH_ENGINE_STORE_DATABASE_H_
