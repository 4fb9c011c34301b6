// Tells when something changes in a folder of this machine or below it: inotify.
//
// engine/replica watches the mail store of a server on the coordinator's own machine with it, which is quicker than
// what the server tells. It says that something changed, never what: events that come together are told once, and
// files that tell nothing about mail (locks, caches) are passed over. Engine thread only.
#ifndef IMAPMESH_ENGINE_NET_FOLDER_WATCH_H_
#define IMAPMESH_ENGINE_NET_FOLDER_WATCH_H_

#include <asio/any_io_executor.hpp>
#include <cstddef>
#include <functional>
#include <memory>
#include <string>

#include "base/status.h"
#include "engine/net/clock.h"

namespace imapmesh {

class FolderWatch {
 public:
  static constexpr size_t kFoldersMax = 8192;  // watched; what lies in further ones goes unnoticed

  // Watches until it is destroyed; `changed` is called soon after the last of some changes. `clock` must outlive it.
  static absl::StatusOr<std::unique_ptr<FolderWatch>> Start(asio::any_io_executor executor, Clock& clock,
                                                            std::string path, std::function<void()> changed);
  ~FolderWatch();
  FolderWatch(const FolderWatch&) = delete;
  FolderWatch& operator=(const FolderWatch&) = delete;

  size_t folders() const;

 private:
  struct Watch;
  explicit FolderWatch(std::shared_ptr<Watch> watch);
  const std::shared_ptr<Watch> watch_;
};

}  // namespace imapmesh

#endif  // IMAPMESH_ENGINE_NET_FOLDER_WATCH_H_
