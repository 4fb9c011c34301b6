#include "engine/sync/refusals.h"

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "base/printable.h"

namespace imapmesh {
namespace {

constexpr const char* kOfConnection[] = {"AUTH=", "COMPRESS=", "STARTTLS", "LOGINDISABLED", "SASL-IR"};

using RefusalKey = std::pair<MessageId, MailboxCopyId>;

// What a server that refused must do otherwise before it is asked again: its capabilities, APPENDLIMIT among them,
// without those that differ from connection to connection.
std::string Fingerprint(const ServerInfo& server) {
  std::vector<std::string> capabilities = server.capabilities;
  std::sort(capabilities.begin(), capabilities.end());
  std::string text;
  for (const std::string& capability : capabilities) {
    const bool of_connection = std::any_of(std::begin(kOfConnection), std::end(kOfConnection),
                                           [&](const char* prefix) { return capability.starts_with(prefix); });
    if (!of_connection) text += capability + " ";
  }
  return text;
}

std::string FingerprintKey(const Mesh& mesh, ReplicaIndex r) {
  return "refused_by:" + mesh.name(r);
}

Refusal FromConflict(const HeldCopy& held, const ConflictRecord& conflict, ReplicaIndex r) {
  Refusal refusal;
  refusal.replica = r;
  refusal.for_good = refusal.recorded = true;
  refusal.left_out = !held.open;
  const std::string message =
      conflict.message_id.empty() ? "message " + std::to_string(held.message.value) : Printable(conflict.message_id);
  refusal.report = {conflict.replica_a, conflict.mailbox, "APPEND",        message,
                    conflict.change_a,  kRefusalRemedy,   conflict.unix_ms};
  return refusal;
}

void Record(State& state, const RefusalKey& key, const Refusal& refusal) {
  const auto message = state.Load(key.first);
  if (!message) return;
  ConflictRecord conflict;
  conflict.key = "refused:" + std::to_string(key.first.value) + ":" + std::to_string(key.second.value) + ":" +
                 std::to_string(refusal.report.since_unix_ms);
  conflict.kind = kRefused;
  conflict.mailbox = refusal.report.mailbox;
  conflict.message = key.first;
  conflict.message_id = message->message_id;
  conflict.internal_date = message->internal_date;
  conflict.unix_ms = refusal.report.since_unix_ms;
  conflict.replica_a = refusal.report.replica;
  conflict.change_a = refusal.report.answer;
  conflict.policy = "ASK";
  conflict.outcome = "the message is missing there; it is not sent again until someone decides";
  conflict.open = true;
  if (const auto id = state.conflicts().Add(conflict)) state.conflicts().Hold(*id, key.first, key.second);
}

// Why nothing is left to decide; nullopt while there is.
std::optional<std::string> IsSettled(State& state, const RefusalKey& key) {
  const auto message = state.Load(key.first);
  const auto present = [](const CopyRegisters& copy) { return copy.present(); };
  if (!message || std::none_of(message->copies.begin(), message->copies.end(), present)) return "the message is gone";
  const CopyRegisters* here = message->Find(key.second);
  if (here != nullptr && here->present()) return "the message is there now";
  return std::nullopt;
}

// One transaction: what is new is recorded, what is settled or worth another try is let go of; those keys are returned.
class Review {
 public:
  Review(const Mesh& mesh, std::map<int32_t, std::string> servers)
      : mesh_(mesh), servers_(std::move(servers)), now_(mesh.clock->UnixMillis()) {}

  std::vector<RefusalKey> operator()(State& state) {
    std::vector<RefusalKey> over;
    for (const auto& [key, refusal] : mesh_.refusals) {
      if (!refusal.for_good) continue;
      if (!refusal.recorded) {
        state.SetMeta(FingerprintKey(mesh_, refusal.replica), servers_.at(refusal.replica.value));
        Record(state, key, refusal);
        continue;
      }
      std::optional<std::string> why = IsSettled(state, key);
      if (!why && IsOtherServer(state, refusal.replica)) why = "tried again: the server is another than it was";
      if (!why) continue;
      Release(state, key, *why);
      over.push_back(key);
    }
    return over;
  }

 private:
  bool IsOtherServer(State& state, ReplicaIndex r) const {
    if (!mesh_.IsUp(r)) return false;
    return state.Meta(FingerprintKey(mesh_, r)).value_or("") != servers_.at(r.value);
  }

  void Release(State& state, const RefusalKey& key, const std::string& why) const {
    state.MarkUnsettled(key.first);
    const auto conflict = state.conflicts().Holding(key.first, key.second);
    if (!conflict) return;
    state.conflicts().Release(key.first, key.second);
    if (state.conflicts().Find(*conflict)->open) state.conflicts().Close(*conflict, why, now_);
  }

  const Mesh& mesh_;
  const std::map<int32_t, std::string> servers_;
  const int64_t now_;
};

}  // namespace

bool IsForGood(const absl::Status& refusal) {
  return absl::IsInvalidArgument(refusal) || absl::IsOutOfRange(refusal);
}

asio::awaitable<absl::Status> LoadRefusals(Mesh& mesh) {
  const auto load = [](State& state) {
    std::vector<std::pair<HeldCopy, ConflictRecord>> loaded;
    for (const HeldCopy& held : state.conflicts().HeldByKind(kRefused)) {
      loaded.emplace_back(held, *state.conflicts().Find(held.conflict));
    }
    return loaded;
  };
  const auto loaded = co_await mesh.store->Run(load);
  if (!loaded.ok()) co_return loaded.status();
  const auto view = mesh.View(false);
  std::erase_if(mesh.refusals, [](const auto& refusal) { return refusal.second.for_good && refusal.second.recorded; });
  for (const auto& [held, conflict] : *loaded) {
    const auto where = view->copies.find(held.copy);
    if (where == view->copies.end()) continue;
    mesh.refusals[{held.message, held.copy}] = FromConflict(held, conflict, where->second.first);
  }
  co_return absl::OkStatus();
}

asio::awaitable<absl::Status> ReviewRefusals(Mesh& mesh) {
  std::map<int32_t, std::string> servers;
  for (const auto& [key, refusal] : mesh.refusals) {
    if (refusal.for_good) servers[refusal.replica.value] = Fingerprint(mesh.slot(refusal.replica).replica->info());
  }
  if (servers.empty()) co_return absl::OkStatus();
  Review review(mesh, std::move(servers));
  const auto over = co_await mesh.store->Run(review);
  if (!over.ok()) co_return over.status();
  for (auto& [key, refusal] : mesh.refusals) {
    if (!refusal.for_good || refusal.recorded) continue;
    refusal.recorded = true;
    mesh.Emit("CONFLICT", refusal.replica, EdgeIndex(-1), refusal.report.mailbox,
              "refused for good: " + refusal.report.message + ": " + refusal.report.answer);
  }
  for (const RefusalKey& key : *over) mesh.refusals.erase(key);
  if (!over->empty() && mesh.on_idle) mesh.on_idle();  // there is something to plan again
  co_return absl::OkStatus();
}

}  // namespace imapmesh
