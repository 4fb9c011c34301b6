#include "tests/sim/state_reader.h"

#include <sqlite3.h>

namespace imapmesh::sim {

StateReader::StateReader(const std::string& state_file) {
  constexpr char kQuery[] =
      "SELECT 1 FROM message_copy c JOIN mailbox_copy mc ON mc.id = c.mailbox_copy JOIN replica r ON r.id = mc.replica "
      "JOIN mailbox m ON m.id = mc.mailbox "
      "WHERE r.name = ? AND m.name = ? AND c.uid = ? AND mc.uid_validity = ? AND mc.rebinding = 0";
  if (sqlite3_open_v2(state_file.c_str(), &database_, SQLITE_OPEN_READWRITE, nullptr) != SQLITE_OK) return;
  sqlite3_prepare_v2(database_, kQuery, -1, &statement_, nullptr);
}

StateReader::~StateReader() {
  sqlite3_finalize(statement_);
  sqlite3_close(database_);
}

bool StateReader::Binds(const std::string& replica, const std::string& mailbox, uint32_t uid_validity, uint32_t uid) {
  if (statement_ == nullptr) return false;
  sqlite3_reset(statement_);
  sqlite3_bind_text(statement_, 1, replica.c_str(), -1, SQLITE_STATIC);
  sqlite3_bind_text(statement_, 2, mailbox.c_str(), -1, SQLITE_STATIC);
  sqlite3_bind_int64(statement_, 3, uid);
  sqlite3_bind_int64(statement_, 4, uid_validity);
  const bool known = sqlite3_step(statement_) == SQLITE_ROW;
  sqlite3_reset(statement_);
  return known;
}

bool StateReader::LookedInto(const std::string& replica, const std::string& mailbox, uint32_t uid_validity) {
  constexpr char kQuery[] =
      "SELECT 1 FROM mailbox_copy mc JOIN replica r ON r.id = mc.replica JOIN mailbox m ON m.id = mc.mailbox "
      "WHERE r.name = ? AND m.name = ? AND mc.uid_validity = ? AND mc.rebinding = 0 AND mc.name_here != ''";
  sqlite3_stmt* statement = nullptr;
  if (sqlite3_prepare_v2(database_, kQuery, -1, &statement, nullptr) != SQLITE_OK) return false;
  sqlite3_bind_text(statement, 1, replica.c_str(), -1, SQLITE_STATIC);
  sqlite3_bind_text(statement, 2, mailbox.c_str(), -1, SQLITE_STATIC);
  sqlite3_bind_int64(statement, 3, uid_validity);
  const bool found = sqlite3_step(statement) == SQLITE_ROW;
  sqlite3_finalize(statement);
  return found;
}

}  // namespace imapmesh::sim
