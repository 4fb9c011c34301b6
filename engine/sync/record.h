// Record: intents before a server is told anything, registers and closed intents after it confirmed (DESIGN.md section
// 3, steps 5 and 6).
//
// One Recorder serves one batch; apply_appends, apply_copies, apply_changes and apply_mailboxes work through it. It
// counts what was done, remembers what was refused, and stops the batch when the store fails. Engine thread;
// transactions on the store's.
#ifndef IMAPMESH_ENGINE_SYNC_RECORD_H_
#define IMAPMESH_ENGINE_SYNC_RECORD_H_

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/uid_set.h"
#include "engine/sync/mesh.h"
#include "engine/sync/work.h"

namespace imapmesh {

// One copy that an operation changes, and how it will be recorded.
struct Change {
  const PlannedMessage* planned = nullptr;
  const CopyPlan* plan = nullptr;
  MailboxCopyId mailbox_copy;
};

struct Recorded {
  MessageId message;
  CopyRegisters copy;
  StepKind step = StepKind::kAppended;
  EdgeIndex edge;  // along which it flowed
};

class Recorder {
 public:
  // `view`: that the batch was planned with.
  Recorder(Mesh& mesh, std::shared_ptr<const MeshView> view) : mesh_(mesh), view_(std::move(view)) {}

  Mesh& mesh() { return mesh_; }
  const MeshView& view() const { return *view_; }
  int64_t done() const { return done_; }
  // Of the store: nothing more may be begun.
  const absl::Status& failure() const { return failure_; }
  void Fail(absl::Status status) { failure_ = std::move(status); }
  // Whether an operation at `target` may begin.
  bool MayWork(ReplicaIndex target) const { return failure_.ok() && mesh_.IsUp(target); }

  const std::string& MailboxName(const PlannedMessage& planned) const {
    return view_->mailboxes.at(planned.message.mailbox).name;
  }
  const std::string& MailboxName(MailboxCopyId copy) const {
    return view_->mailboxes.at(view_->copies.at(copy).second).name;
  }
  // With the UIDVALIDITY of the plan's UIDs: what is observed meanwhile may be another one.
  MailboxReference Reference(MailboxCopyId copy) const;

  // The names of all flags in `work`; FlagName knows only these.
  asio::awaitable<void> LoadFlagNames(const Work& work);
  const std::string& FlagName(FlagId flag) const { return flag_names_.at(flag); }

  // Commits an intent for each change; false when the store failed.
  asio::awaitable<bool> OpenIntents(const std::vector<Change>& changes, IntentKind kind);
  // The server refused, and nothing changed.
  asio::awaitable<void> CloseIntents(const std::vector<Change>& changes);
  // Registers and closed intents, and the UIDNEXT of the cursor when the new UIDs follow it without a gap. `validity`:
  // under which UIDVALIDITY new UIDs were given; of a mailbox that was never observed they begin with 1.
  asio::awaitable<void> Record(ReplicaIndex target, const std::string& mailbox, std::vector<Recorded> records,
                               UidValidity validity = UidValidity());
  // The outcome is unknown: the intents stay open until the replica is observed again.
  asio::awaitable<void> Unknown(ReplicaIndex target, absl::Status status);
  // A refused operation: a visible problem, not tried again for now.
  void Refuse(ReplicaIndex target, const Change& change, const char* operation, const absl::Status& status);
  // The server refused for want of rights: nothing more of the kind is tried in this mailbox copy for now.
  void Forbid(ReplicaIndex target, const Change& change, bool addition, const absl::Status& status);
  void Done(const Change& change, const std::string& mailbox, const char* operation);

 private:
  std::optional<MailboxCopyRecord> MoveCursor(const MailboxCopyRecord& now, const std::vector<Recorded>& records,
                                              UidValidity validity);

  Mesh& mesh_;
  std::shared_ptr<const MeshView> view_;
  std::map<FlagId, std::string> flag_names_;
  // UIDs that were given to this batch's additions, by mailbox copy and UIDVALIDITY: what several connections add at
  // the same time is recorded in any order.
  std::map<std::pair<MailboxCopyId, UidValidity>, UidSet> given_;
  int64_t done_ = 0;
  absl::Status failure_;
};

}  // namespace imapmesh

#endif  // IMAPMESH_ENGINE_SYNC_RECORD_H_
