#include "engine/net/folder_watch.h"

#include <sys/inotify.h>
#include <unistd.h>

#include <algorithm>
#include <asio/awaitable.hpp>
#include <asio/buffer.hpp>
#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/experimental/as_tuple.hpp>
#include <asio/posix/stream_descriptor.hpp>
#include <asio/use_awaitable.hpp>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <map>
#include <string_view>
#include <utility>
#include <vector>

#include "base/printable.h"

namespace imapmesh {
namespace {

namespace fs = std::filesystem;

constexpr uint32_t kEvents = IN_CREATE | IN_MODIFY | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE | IN_ONLYDIR;
// A server writes a message, an index and a log one after the other.
constexpr Duration kPause = std::chrono::milliseconds(3);

// Of Dovecot: what it writes when somebody looks, and what comes before the change itself.
bool TellsNothing(std::string_view name) {
  static constexpr std::string_view kParts[] = {
      ".lock", "dovecot.index.cache", "dovecot.list.index", "dovecot-uidlist", "dovecot-uidvalidity", "temp.", ".tmp"};
  for (const std::string_view part : kParts) {
    if (name.find(part) != std::string_view::npos) return true;
  }
  return false;
}

}  // namespace

struct FolderWatch::Watch {
  Watch(asio::any_io_executor executor, Clock& its_clock, int descriptor, std::function<void()> call)
      : clock(its_clock), events(executor, descriptor), changed(std::move(call)) {}

  void AddFolders(const fs::path& folder);
  void TakeAll(std::string_view bytes);
  void Take(const inotify_event& event);
  static asio::awaitable<void> Listen(std::shared_ptr<Watch> watch);
  static void TellSoon(const std::shared_ptr<Watch>& watch);

  Clock& clock;
  asio::posix::stream_descriptor events;
  std::function<void()> changed;  // empty once nobody listens
  std::map<int, fs::path> folders;
  bool dirty = false;
  std::unique_ptr<Alarm> alarm;
};

void FolderWatch::Watch::AddFolders(const fs::path& folder) {
  if (folders.size() >= kFoldersMax) return;
  const int number = inotify_add_watch(events.native_handle(), folder.c_str(), kEvents);
  if (number < 0) return;  // gone again, or the system's limit
  folders[number] = folder;
  std::error_code ignored;
  for (fs::directory_iterator entry(folder, fs::directory_options::skip_permission_denied, ignored), end;
       !ignored && entry != end; entry.increment(ignored)) {
    std::error_code failed;
    const bool below = entry->is_directory(failed) && !entry->is_symlink(failed) && entry->path().filename() != "tmp";
    if (below && !failed) AddFolders(entry->path());
  }
}

void FolderWatch::Watch::TakeAll(std::string_view bytes) {
  while (bytes.size() >= sizeof(inotify_event)) {
    const auto* event = reinterpret_cast<const inotify_event*>(bytes.data());
    Take(*event);
    bytes.remove_prefix(std::min(bytes.size(), sizeof(inotify_event) + event->len));
  }
}

void FolderWatch::Watch::Take(const inotify_event& event) {
  if ((event.mask & IN_IGNORED) != 0) {
    folders.erase(event.wd);
    return;
  }
  const std::string_view name(event.len > 0 ? event.name : "");
  const auto folder = folders.find(event.wd);
  const bool appeared = (event.mask & IN_ISDIR) != 0 && (event.mask & (IN_CREATE | IN_MOVED_TO)) != 0;
  if (appeared && folder != folders.end() && name != "tmp") AddFolders(folder->second / name);
  dirty |= (event.mask & IN_Q_OVERFLOW) != 0 || !TellsNothing(name);
}

asio::awaitable<void> FolderWatch::Watch::Listen(std::shared_ptr<Watch> watch) {
  std::vector<char> buffer(16 * 1024);
  while (watch->changed) {
    const auto [error, count] =
        co_await watch->events.async_read_some(asio::buffer(buffer), asio::experimental::as_tuple(asio::use_awaitable));
    if (error || !watch->changed) break;
    watch->TakeAll(std::string_view(buffer.data(), count));
    if (watch->dirty && watch->alarm == nullptr) TellSoon(watch);
  }
}

void FolderWatch::Watch::TellSoon(const std::shared_ptr<Watch>& watch) {
  const std::weak_ptr<Watch> waiting = watch;
  auto tell = [waiting] {
    const std::shared_ptr<Watch> now = waiting.lock();
    if (now == nullptr) return;
    now->alarm.reset();
    now->dirty = false;
    if (now->changed) now->changed();
  };
  watch->alarm = watch->clock.CallAfter(kPause, std::move(tell));
}

absl::StatusOr<std::unique_ptr<FolderWatch>> FolderWatch::Start(asio::any_io_executor executor, Clock& clock,
                                                                std::string path, std::function<void()> changed) {
  const int descriptor = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
  if (descriptor < 0) {
    return Error(absl::StatusCode::kResourceExhausted, "inotify: %s", std::strerror(errno));
  }
  auto watch = std::make_shared<Watch>(executor, clock, descriptor, std::move(changed));
  watch->AddFolders(path);
  if (watch->folders.empty()) {
    return Error(absl::StatusCode::kNotFound, "%s cannot be watched: %s", Printable(path), std::strerror(errno));
  }
  asio::co_spawn(executor, Watch::Listen(watch), asio::detached);
  return std::unique_ptr<FolderWatch>(new FolderWatch(std::move(watch)));
}

FolderWatch::FolderWatch(std::shared_ptr<Watch> watch) : watch_(std::move(watch)) {}

FolderWatch::~FolderWatch() {
  watch_->changed = nullptr;
  watch_->alarm.reset();
  std::error_code ignored;
  watch_->events.close(ignored);
}

size_t FolderWatch::folders() const {
  return watch_->folders.size();
}

}  // namespace imapmesh
