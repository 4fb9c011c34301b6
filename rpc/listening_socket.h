// Listening sockets of the daemon: parses what --listen takes, and opens it.
//
// rpc/server.cc opens one per address; rpc/acceptor.h takes connections from it. A unix socket is made mode 0600 in a
// folder that is made mode 0700; a socket that a dead daemon left is replaced, a live one is not. Any thread, but a
// process must not create files on another thread while OpenListeningSocket runs (it sets the umask for a moment).
#ifndef IMAPMESH_RPC_LISTENING_SOCKET_H_
#define IMAPMESH_RPC_LISTENING_SOCKET_H_

#include <string>
#include <utility>
#include <vector>

#include "base/status.h"

namespace imapmesh {

// Closes what it holds.
class OwnedFd {
 public:
  OwnedFd() = default;
  explicit OwnedFd(int fd) : fd_(fd) {}
  OwnedFd(OwnedFd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  OwnedFd& operator=(OwnedFd&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~OwnedFd();
  int get() const { return fd_; }
  int release() { return std::exchange(fd_, -1); }

 private:
  int fd_ = -1;
};

// "unix:PATH" or "HOST:PORT".
struct ListenAddress {
  std::string unix_path;  // absolute; "" for TCP
  std::string host;       // without brackets
  std::string port;
  bool is_unix() const { return !unix_path.empty(); }
  // By the text only: a name other than localhost may resolve to anything tomorrow.
  bool IsLoopback() const;
};

// kInvalidArgument, with the text of what an address is.
absl::StatusOr<ListenAddress> ParseListenAddress(const std::string& address);

struct ListeningSocket {
  std::string address;       // with the port chosen for port 0
  std::string unix_path;     // "" for TCP
  std::vector<OwnedFd> fds;  // listening, not blocking; several where a host name has several addresses
};

// kInvalidArgument: it can never work; kUnavailable: another process has it, or there is no such address here.
absl::StatusOr<ListeningSocket> OpenListeningSocket(const std::string& given, const ListenAddress& address);

}  // namespace imapmesh

#endif  // IMAPMESH_RPC_LISTENING_SOCKET_H_
