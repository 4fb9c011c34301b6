#include "engine/store/metadata_table.h"

namespace imapmesh {

RecordedMetadata MetadataTable::Load(MailboxCopyId copy, UidValidity uid_validity) {
  RecordedMetadata recorded;
  {
    Statement statement = database_.Prepare("SELECT 1 FROM metadata_copy WHERE mailbox_copy = ? AND uid_validity = ?");
    recorded.known = statement.Bind(1, copy.value).Bind(2, uid_validity.value).Step();
  }
  if (!recorded.known) return recorded;
  Statement statement = database_.Prepare("SELECT entry, value, stamp FROM metadata WHERE mailbox_copy = ?");
  statement.Bind(1, copy.value);
  while (statement.Step()) {
    MetadataRegister& entry = recorded.registers[std::string(statement.Text(0))];
    entry.value = std::string(statement.Blob(1));
    entry.stamp = Stamp(statement.Int(2));
  }
  return recorded;
}

void MetadataTable::Save(MailboxCopyId copy, UidValidity uid_validity, const MetadataRegisters& registers) {
  database_.Prepare("INSERT OR REPLACE INTO metadata_copy(mailbox_copy, uid_validity) VALUES(?, ?)")
      .Bind(1, copy.value)
      .Bind(2, uid_validity.value)
      .Run();
  database_.Prepare("DELETE FROM metadata WHERE mailbox_copy = ?").Bind(1, copy.value).Run();
  for (const auto& [name, entry] : registers) {
    database_.Prepare("INSERT INTO metadata(mailbox_copy, entry, value, stamp) VALUES(?, ?, ?, ?)")
        .Bind(1, copy.value)
        .Bind(2, name)
        .BindBlob(3, entry.value)
        .Bind(4, entry.stamp.value)
        .Run();
  }
}

}  // namespace imapmesh
