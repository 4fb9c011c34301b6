// What happened to message copies, step by step: the memory behind `imapmesh trace`.
//
// Reached through State::history(); written in the transactions that record the steps themselves, so it tells what was
// confirmed and nothing else. Bounded by age and number of steps (Prune). Store thread.
#ifndef IMAPMESH_ENGINE_STORE_HISTORY_TABLE_H_
#define IMAPMESH_ENGINE_STORE_HISTORY_TABLE_H_

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "engine/store/database.h"

namespace imapmesh {

enum class StepKind : uint8_t {
  // What somebody did at the replica, as an observation saw it.
  kSeen = 1,
  kFlagsChanged = 2,
  kGone = 3,
  // What the engine did there.
  kAppended = 4,
  kCopied = 5,
  kMoved = 6,
  kStored = 7,
  kExpunged = 8,
  // What somebody did: the copy is gone, and an equal one beside it stands for the message now.
  kReplaced = 9,
  // What somebody did: the copy went while an equal one came, which is taken for it under another UID.
  kFoundAgain = 10
};

// Whether a step changed that the copy is there.
inline bool ChangesPresence(StepKind kind) {
  return kind != StepKind::kFlagsChanged && kind != StepKind::kStored && kind != StepKind::kReplaced;
}
// Whether the engine did it.
inline bool IsOurs(StepKind kind) {
  return kind >= StepKind::kAppended && kind <= StepKind::kExpunged;
}

struct HistoryStep {
  int64_t unix_ms = 0;
  MessageId message;
  MailboxCopyId mailbox_copy;
  StepKind kind = StepKind::kSeen;
  std::string edge;  // "a:b"; "" for what somebody did
};

class HistoryTable {
 public:
  explicit HistoryTable(Database& database) : database_(database) {}

  void Add(const HistoryStep& step);
  // Of one message, oldest first.
  std::vector<HistoryStep> Of(MessageId message, size_t limit);
  // The last step that brought the copy or took it away, if it is among the newest `steps` of all.
  std::optional<HistoryStep> LastPresence(MessageId message, MailboxCopyId copy, int64_t steps);
  // When somebody did something of this kind to the copy last, if it is among the newest steps of all; 0: not known.
  int64_t LastTime(MessageId message, MailboxCopyId copy, StepKind kind, int64_t steps);
  // To which messages something of this kind was done at `unix_ms` or later, by the newest steps of all.
  std::set<MessageId> MessagesSince(StepKind kind, int64_t unix_ms, int64_t steps);
  // Forgets what is older than `unix_ms`, and all but the newest `steps`.
  void Prune(int64_t unix_ms, int64_t steps);

 private:
  Database& database_;
};

}  // namespace imapmesh

#endif  // IMAPMESH_ENGINE_STORE_HISTORY_TABLE_H_
