// The annotations of mailbox copies (METADATA, RFC 5464) as recorded: a register for each entry.
//
// Reached through State::metadata(); store thread, inside its transactions. It decides nothing: engine/sync does.
#ifndef IMAPMESH_ENGINE_STORE_METADATA_TABLE_H_
#define IMAPMESH_ENGINE_STORE_METADATA_TABLE_H_

#include <map>
#include <string>

#include "base/ids.h"
#include "engine/store/database.h"

namespace imapmesh {

struct MetadataRegister {
  std::string value;  // "": the entry has none
  Stamp stamp;        // since when
  bool operator==(const MetadataRegister&) const = default;
};

// By entry name, in lower case.
using MetadataRegisters = std::map<std::string, MetadataRegister>;

struct RecordedMetadata {
  bool known = false;  // they were looked at before; registers hold what there was
  MetadataRegisters registers;
};

class MetadataTable {
 public:
  explicit MetadataTable(Database& database) : database_(database) {}

  // What was recorded under another UIDVALIDITY was about another mailbox: nothing is known then.
  RecordedMetadata Load(MailboxCopyId copy, UidValidity uid_validity);
  // Replaces all of the copy.
  void Save(MailboxCopyId copy, UidValidity uid_validity, const MetadataRegisters& registers);

 private:
  Database& database_;
};

}  // namespace imapmesh

#endif  // IMAPMESH_ENGINE_STORE_METADATA_TABLE_H_
