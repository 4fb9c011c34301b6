// The recorded conflicts, and which message copies wait for a decision of which conflict.
//
// Reached through State::conflicts(); store thread, inside its transactions. It decides nothing:
// engine/sync/conflicts.h does.
#ifndef IMAPMESH_ENGINE_STORE_CONFLICT_TABLE_H_
#define IMAPMESH_ENGINE_STORE_CONFLICT_TABLE_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/ids.h"
#include "engine/store/database.h"

namespace imapmesh {

struct ConflictRecord {
  int64_t id = 0;
  std::string key;  // the same concurrent changes are recorded once
  std::string kind;
  std::string mailbox;
  MessageId message;  // 0 for a conflict about a mailbox
  std::string message_id;
  std::string subject, sender;  // "" until they were fetched, or for a mailbox
  int64_t internal_date = 0;    // seconds since 1970 UTC
  int64_t unix_ms = 0;          // when it was observed
  std::string replica_a, change_a, replica_b, change_b;
  int64_t a_unix_ms = 0, b_unix_ms = 0;  // when each side's change was seen; 0: not known
  std::string policy, outcome;
  Stamp stamp;  // of the change of side a
  bool open = false;
  bool described = false;  // subject and sender are as good as they will be
  int64_t resolved_unix_ms = 0;
};

// A message copy that waits: for the decision of an open conflict, or for what a closed one decided.
struct HeldCopy {
  MessageId message;
  MailboxCopyId copy;
  int64_t conflict = 0;
  bool open = false;
};

class ConflictTable {
 public:
  explicit ConflictTable(Database& database) : database_(database) {}

  // The new conflict's id; nullopt when the same (key) is recorded already.
  std::optional<int64_t> Add(const ConflictRecord& conflict);
  std::optional<ConflictRecord> Find(int64_t id);
  std::optional<ConflictRecord> FindByKey(std::string_view key);
  // Those about a message that wait for a decision.
  std::vector<ConflictRecord> OpenAbout(MessageId message);
  // Newest first.
  std::vector<ConflictRecord> List(bool open_only, size_t limit);
  int64_t Count(bool open);
  // With `release` nothing waits for it any more; without, what it holds is still to be dealt with as decided.
  void Close(int64_t id, std::string_view outcome, int64_t unix_ms, bool release = true);
  // As if it had never been recorded; what it holds stays as it is and waits for nothing.
  void Forget(int64_t id);
  void Describe(int64_t id, std::string_view subject, std::string_view sender);
  std::vector<ConflictRecord> Undescribed(size_t limit);
  bool HasUndescribed() { return !Undescribed(1).empty(); }

  // A message copy waits for the decision; a copy waits for one conflict at a time, the last one.
  void Hold(int64_t conflict, MessageId message, MailboxCopyId copy);
  // Every held copy of a mailbox copy that waits for none yet.
  void HoldAll(int64_t conflict, MailboxCopyId copy);
  void Release(MessageId message, MailboxCopyId copy);
  std::optional<int64_t> Holding(MessageId message, MailboxCopyId copy);
  std::vector<std::pair<MessageId, MailboxCopyId>> Held(int64_t conflict);
  int64_t CountHeld(int64_t conflict);
  // Everything that conflicts of one kind hold.
  std::vector<HeldCopy> HeldByKind(std::string_view kind);

 private:
  Database& database_;
};

}  // namespace imapmesh

#endif  // IMAPMESH_ENGINE_STORE_CONFLICT_TABLE_H_
