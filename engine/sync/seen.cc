#include "engine/sync/seen.h"

#include <string>
#include <utility>
#include <vector>

#include "engine/sync/listen.h"

namespace imapmesh {
namespace {

std::string Key(const Mesh& mesh, ReplicaIndex r) {
  return "seen:" + mesh.name(r);
}

bool IsAllObserved(const Mesh& mesh, ReplicaIndex r) {
  const auto concerns = [r](const std::set<std::pair<int32_t, std::string>>& copies) {
    const auto first = copies.lower_bound({r.value, ""});
    return first != copies.end() && first->first == r.value;
  };
  return !concerns(mesh.due) && !concerns(mesh.incomplete);
}

}  // namespace

asio::awaitable<absl::Status> LoadSeen(Mesh& mesh) {
  struct Loaded {
    std::vector<int64_t> seen_unix_ms;
    int64_t replaced = 0;
  };
  const auto load = [&](State& state) {
    Loaded loaded;
    loaded.replaced = LastReplaced(state);
    for (int32_t r = 0; r < mesh.graph->replica_count(); ++r) {
      loaded.seen_unix_ms.push_back(state.MetaNumber(Key(mesh, ReplicaIndex(r))));
    }
    return loaded;
  };
  const auto loaded = co_await mesh.store->Run(load);
  if (!loaded.ok()) co_return loaded.status();
  mesh.replaced_unix_ms = loaded->replaced;
  for (size_t r = 0; r < mesh.replicas.size(); ++r) {
    ReplicaSlot& slot = mesh.replicas[r];
    slot.seen_unix_ms = slot.unseen_since_unix_ms = slot.saved_seen_unix_ms = loaded->seen_unix_ms[r];
  }
  co_return absl::OkStatus();
}

asio::awaitable<absl::Status> NoteSeen(Mesh& mesh, ReplicaIndex r) {
  ReplicaSlot& slot = mesh.slot(r);
  slot.all_observed = IsAllObserved(mesh, r);
  if (!slot.all_observed) co_return absl::OkStatus();
  slot.seen_unix_ms = slot.last_look_unix_ms;
  slot.unseen_since_unix_ms = mesh.clock->UnixMillis();
  const bool news = mesh.replaced_unix_ms != 0 && slot.saved_seen_unix_ms <= mesh.replaced_unix_ms;
  if (!news) co_return absl::OkStatus();
  slot.saved_seen_unix_ms = slot.seen_unix_ms;
  const auto save = [key = Key(mesh, r), seen = slot.seen_unix_ms](State& state) {
    state.SetMetaNumber(key, seen);
    return true;
  };
  const auto saved = co_await mesh.store->Run(save);
  co_return saved.status();
}

void NoteReplacement(Mesh& mesh) {
  mesh.replaced_unix_ms = mesh.clock->UnixMillis();
  for (ReplicaSlot& slot : mesh.replicas) slot.look_due = true;
}

ReplacedSince DeletedSinceOf(const Mesh& mesh, ReplicaIndex r) {
  const ReplicaSlot& slot = mesh.replicas[static_cast<size_t>(r.value)];
  return DeletedSince(mesh.clock->UnixMillis(), slot.unseen_since_unix_ms, HasCompany(mesh));
}

}  // namespace imapmesh
