#include "migrate/imported_state.h"

#include <map>
#include <optional>

#include "engine/store/state.h"

namespace imapmesh {
namespace {

class Writer {
 public:
  explicit Writer(State& state) : state_(state) {}

  void Add(const MailboxPair& pair) {
    const auto a = CopyOf(pair.a), b = CopyOf(pair.b);
    if (!a || !b) return;
    for (const auto& [uid_a, uid_b] : pair.uids) AddPair(*a, uid_a, *b, uid_b);
  }
  int64_t taken() const { return taken_; }

 private:
  std::optional<int64_t> CopyOf(const MailboxSide& side) {
    const ReplicaId replica = state_.InternReplica(side.replica);
    if (const auto known = state_.imported().Find(replica, side.mailbox)) {
      if (known->uid_validity != side.uid_validity) return std::nullopt;
      return known->id;
    }
    return state_.imported().AddCopy(replica, side.mailbox, side.uid_validity);
  }

  void AddPair(int64_t copy_a, Uid a, int64_t copy_b, Uid b) {
    const auto number_a = state_.imported().NumberOf(copy_a, a);
    const auto number_b = state_.imported().NumberOf(copy_b, b);
    if (number_a && number_b) {
      if (*number_a != *number_b) state_.imported().Join(*number_a, *number_b);
    } else {
      const int64_t number = number_a ? *number_a : number_b ? *number_b : ++last_number_;
      if (!number_a) state_.imported().AddUid(copy_a, a, number);
      if (!number_b) state_.imported().AddUid(copy_b, b, number);
    }
    ++taken_;
  }

  State& state_;
  int64_t last_number_ = 0;
  int64_t taken_ = 0;
};

}  // namespace

absl::StatusOr<int64_t> WriteImportedState(const std::string& path, const std::vector<MailboxPair>& pairs) {
  try {
    State state(path);
    if (!state.MailboxCopies().empty()) {
      return Error(absl::StatusCode::kFailedPrecondition,
                   "%s: there is a state already; another tool's can only be the beginning: choose another path with "
                   "--state, or move this one away",
                   path);
    }
    Transaction transaction(state.database());
    state.imported().Clear();
    Writer writer(state);
    for (const MailboxPair& pair : pairs) writer.Add(pair);
    transaction.Commit();
    return writer.taken();
  } catch (const SqliteError& error) {
    return Error(absl::StatusCode::kInternal, "%s: cannot be written: %s", path, error.what());
  }
}

}  // namespace imapmesh
