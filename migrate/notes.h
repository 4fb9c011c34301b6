// What is to be said about one file of another tool, each with its line: errors, and what has no counterpart here.
//
// The parsers of this room fill it, rpc/import_commands.cc prints it. Texts say what is wrong, or not carried over, and
// what to do; no password is ever in one. Any thread.
#ifndef IMAPMESH_MIGRATE_NOTES_H_
#define IMAPMESH_MIGRATE_NOTES_H_

#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace imapmesh {

class Notes {
 public:
  explicit Notes(std::string_view file) : file_(file) {}

  // Lines from 1; 0 is the file as a whole. Text is made printable.
  void Error(int line, std::string_view text);
  void Warning(int line, std::string_view text);

  bool ok() const { return errors_.empty(); }
  const std::vector<std::string>& warnings() const { return warnings_; }
  // kInvalidArgument with all errors, one a line; OK when there are none.
  absl::Status status() const;

 private:
  std::string Place(int line, std::string_view text) const;

  std::string file_;
  std::vector<std::string> errors_;
  std::vector<std::string> warnings_;
};

}  // namespace imapmesh

#endif  // IMAPMESH_MIGRATE_NOTES_H_
