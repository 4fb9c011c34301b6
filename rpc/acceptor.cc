#include "rpc/acceptor.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>

namespace imapmesh {
namespace {

constexpr int64_t kWarningEveryMs = 60'000;
constexpr auto kPauseWithoutDescriptors = std::chrono::milliseconds(100);

int64_t NowMs() {
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::milliseconds>(now).count();
}

ino_t Inode(int fd) {
  struct stat found {};
  return fstat(fd, &found) == 0 && S_ISSOCK(found.st_mode) ? found.st_ino : 0;
}

// The socket's mode keeps others out already; this holds where its folder is on a file system without modes.
bool IsOwnerOrRoot(int fd) {
  ucred peer{};
  socklen_t length = sizeof(peer);
  if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) != 0) return false;
  return peer.uid == geteuid() || peer.uid == 0;
}

}  // namespace

Acceptor::Acceptor(std::vector<Listener> listeners, std::function<void(const std::string&)> warn)
    : listeners_(std::move(listeners)),
      warn_(std::move(warn)),
      stop_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      taken_(listeners_.size()) {}

Acceptor::~Acceptor() {
  Stop();
}

void Acceptor::Start() {
  thread_ = std::thread([this] { Run(); });
}

void Acceptor::Stop() {
  if (!thread_.joinable()) return;
  eventfd_write(stop_.get(), 1);
  thread_.join();
  for (Listener& listener : listeners_) listener.socket.fds.clear();  // who waits in the queue is told now
}

void Acceptor::Run() {
  std::vector<pollfd> polled = {{stop_.get(), POLLIN, 0}};
  std::vector<size_t> owners = {0};
  for (size_t i = 0; i < listeners_.size(); ++i) {
    for (const OwnedFd& fd : listeners_[i].socket.fds) {
      polled.push_back({fd.get(), POLLIN, 0});
      owners.push_back(i);
    }
  }
  while (true) {
    if (poll(polled.data(), polled.size(), -1) < 0 && errno != EINTR) return;
    if (polled[0].revents != 0) return;
    for (size_t i = 1; i < polled.size(); ++i) {
      if (polled[i].revents != 0) AcceptAll(owners[i], polled[i].fd);
    }
  }
}

void Acceptor::AcceptAll(size_t listener, int listener_fd) {
  const Listener& to = listeners_[listener];
  constexpr int kAtOnce = 64;  // then the other listeners have their turn
  for (int i = 0; i < kAtOnce; ++i) {
    const int fd = accept4(listener_fd, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0) {
      // Without descriptors or memory the queue stays readable: no busy loop over it.
      const bool exhausted = errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM;
      if (exhausted) std::this_thread::sleep_for(kPauseWithoutDescriptors);
      return;
    }
    const bool is_unix = !to.socket.unix_path.empty();
    if (is_unix && !IsOwnerOrRoot(fd)) {
      close(fd);
      continue;
    }
    if (CountOpen(listener) >= to.max_connections) {
      Refuse(listener, fd);
      continue;
    }
    const int on = 1;
    if (!is_unix) setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    taken_[listener].push_back({fd, Inode(fd)});
    to.take(listener_fd, fd);
  }
}

void Acceptor::Refuse(size_t listener, int fd) {
  close(fd);
  const int64_t now = NowMs();
  if (!warn_ || (last_warning_ms_ != 0 && now - last_warning_ms_ < kWarningEveryMs)) return;
  last_warning_ms_ = now;
  warn_(absl::StrFormat("%s: refusing connections, %d are open already", listeners_[listener].socket.address,
                        static_cast<int>(taken_[listener].size())));
}

size_t Acceptor::CountOpen(size_t listener) {
  std::vector<Taken>& taken = taken_[listener];
  const auto closed = [](const Taken& each) { return Inode(each.fd) != each.inode; };
  taken.erase(std::remove_if(taken.begin(), taken.end(), closed), taken.end());
  return taken.size();
}

}  // namespace imapmesh
