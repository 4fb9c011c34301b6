#include "engine/sync/memories.h"

#include <string>
#include <utility>
#include <vector>

namespace imapmesh {
namespace {

std::string Key(const Mesh& mesh, size_t r) {
  return "server:" + mesh.name(ReplicaIndex(static_cast<int32_t>(r)));
}

}  // namespace

asio::awaitable<absl::Status> LoadMemories(Mesh& mesh) {
  const auto load = [&](State& state) {
    std::vector<std::string> memories;
    for (size_t r = 0; r < mesh.replicas.size(); ++r) memories.push_back(state.Meta(Key(mesh, r)).value_or(""));
    return memories;
  };
  const auto memories = co_await mesh.store->Run(load);
  if (!memories.ok()) co_return memories.status();
  for (size_t r = 0; r < mesh.replicas.size(); ++r) {
    mesh.replicas[r].memory = (*memories)[r];
    mesh.replicas[r].replica->Remember((*memories)[r]);
  }
  co_return absl::OkStatus();
}

asio::awaitable<absl::Status> SaveMemories(Mesh& mesh) {
  std::vector<std::pair<std::string, std::string>> news;
  for (size_t r = 0; r < mesh.replicas.size(); ++r) {
    ReplicaSlot& slot = mesh.replicas[r];
    std::string memory = slot.replica->memory();
    if (memory == slot.memory) continue;
    slot.memory = memory;
    news.emplace_back(Key(mesh, r), std::move(memory));
  }
  if (news.empty()) co_return absl::OkStatus();
  const auto save = [&](State& state) {
    for (const auto& [key, memory] : news) state.SetMeta(key, memory);
    return true;
  };
  const auto saved = co_await mesh.store->Run(save);
  co_return saved.status();
}

}  // namespace imapmesh
