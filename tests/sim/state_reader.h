// What a daemon knows of one message copy: its state as it is committed, read by SQL.
//
// World asks when users delete and when daemons add; the engine has no part in it. One thread.
#ifndef IMAPMESH_TESTS_SIM_STATE_READER_H_
#define IMAPMESH_TESTS_SIM_STATE_READER_H_

#include <cstdint>
#include <string>

struct sqlite3;
struct sqlite3_stmt;

namespace imapmesh::sim {

class StateReader {
 public:
  explicit StateReader(const std::string& state_file);
  ~StateReader();
  StateReader(const StateReader&) = delete;
  StateReader& operator=(const StateReader&) = delete;

  // Whether this copy is bound to a message: then the daemon cannot miss its end.
  bool Binds(const std::string& replica, const std::string& mailbox, uint32_t uid_validity, uint32_t uid);
  // Whether the mailbox was listed, and looked into.
  bool LookedInto(const std::string& replica, const std::string& mailbox, uint32_t uid_validity);

 private:
  sqlite3* database_ = nullptr;
  sqlite3_stmt* statement_ = nullptr;
};

}  // namespace imapmesh::sim

#endif  // IMAPMESH_TESTS_SIM_STATE_READER_H_
