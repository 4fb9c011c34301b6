// SQLite's files in memory, so that a state can be lost, rolled back or cut off from its daemon at any instant.
//
// A VFS of SQLite, made the default one: every database that this program opens lives here. Names are plain keys. One
// thread. It offers no shared memory, so SQLite keeps a rollback journal instead of a WAL; what is committed and what
// is not is the same.
#ifndef IMAPMESH_TESTS_SIM_MEMORY_FILES_H_
#define IMAPMESH_TESTS_SIM_MEMORY_FILES_H_

#include <map>
#include <optional>
#include <string>

namespace imapmesh::sim {

// Every file by its name.
std::map<std::string, std::string>& MemoryFiles();

// Makes them SQLite's. Once a program, before the first database.
void InstallMemoryFiles();

// From now on every write through an open handle of this database fails: what the process that holds it does no longer
// counts.
void CutOffOpenFiles(const std::string& name);

// The database and its journal as they are, and back again; nullopt: there is none.
using FilesImage = std::map<std::string, std::string>;
FilesImage CopyDatabase(const std::string& name);
void RestoreDatabase(const std::string& name, const FilesImage& image);

}  // namespace imapmesh::sim

#endif  // IMAPMESH_TESTS_SIM_MEMORY_FILES_H_
