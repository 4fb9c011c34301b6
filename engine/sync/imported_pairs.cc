#include "engine/sync/imported_pairs.h"

#include "base/status.h"
#include "engine/sync/merge.h"

namespace imapmesh {

void ImportedPairs::Begin(State& state, const MailboxCopyRecord& record, UidValidity observed) {
  copy_ = state.imported().Find(record.replica, record.local_name);
  if (!copy_ || copy_->uid_validity == observed) return;
  state.imported().Forget(copy_->id);
  copy_.reset();
  distrust_ = "UIDVALIDITY has changed since the other tool's last run, so its state is of no use here";
}

std::optional<MessageRegisters> ImportedPairs::Match(State& state, const ArrivedMessage& arrived) const {
  if (!copy_) return std::nullopt;
  const auto number = state.imported().NumberOf(copy_->id, arrived.uid);
  if (!number) return std::nullopt;
  const auto id = state.imported().MessageOf(*number);
  if (!id) return std::nullopt;
  auto message = state.Load(*id);
  const bool same = message && (message->identity == arrived.header_digest ||
                                (arrived.has_message_id && message->message_id == arrived.message_id));
  return same ? message : std::nullopt;
}

bool ImportedPairs::IsAnother(State& state, MessageId message, Uid uid) const {
  return copy_ && state.imported().IsElsewhere(copy_->id, message, uid);
}

void ImportedPairs::Note(State& state, Uid uid, MessageId message) const {
  if (!copy_) return;
  const auto number = state.imported().NumberOf(copy_->id, uid);
  if (number) state.imported().SetMessage(*number, message);
}

std::vector<ImportedGone> ImportedPairs::Finish(State& state, const MailboxCopyRecord& record, bool consumed,
                                                const v1::Brake& brake) {
  if (copy_ && consumed) {
    const int64_t known = state.imported().CountUids(copy_->id);
    const int64_t missing = state.imported().CountMissing(copy_->id, record.id);
    if (BrakeHolds(missing, known, brake.fraction(), static_cast<int64_t>(brake.min_messages()))) {
      distrust_ = absl::StrFormat(
          "%d of the %d messages that the other tool had here are missing: that is more than the brake lets pass, so "
          "they do not count as deleted and are put back from the other replicas",
          missing, known);
    } else if (missing > 0) {
      state.imported().MarkMissingGone(copy_->id, record.id);
    }
    state.imported().Forget(copy_->id);
  }
  std::vector<ImportedGone> gone = state.imported().TakeGone(record.mailbox);
  if (copy_ && consumed) {
    state.imported().ForgetUsed(record.mailbox, record.local_name);
    copy_.reset();
  }
  return gone;
}

}  // namespace imapmesh
