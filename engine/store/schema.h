// The state file's schema and its migrations. Called by State when it opens the file; store thread.
//
// PRAGMA user_version counts the migrations applied. A file from a newer imapmesh is refused; none is ever edited in
// place outside a transaction.
#ifndef IMAPMESH_ENGINE_STORE_SCHEMA_H_
#define IMAPMESH_ENGINE_STORE_SCHEMA_H_

#include "engine/store/database.h"

namespace imapmesh {

// Throws SqliteError, also (SQLITE_MISMATCH) for a file that is newer or no state file.
void ApplyMigrations(Database& database);

}  // namespace imapmesh

#endif  // IMAPMESH_ENGINE_STORE_SCHEMA_H_
