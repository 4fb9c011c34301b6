// Takes the connections of the gRPC server, and bounds how many there are.
//
// gRPC 1.51 takes every connection that comes: enough of them, and the mesh has no descriptor left for its mail
// servers. So the sockets listen here, and what is within the bound is handed over. Beyond it a connection is closed at
// once; each listener has a bound of its own, so that a crowd on the network does not lock out the owner of the unix
// socket. gRPC does not tell when it closes a connection: a descriptor that no longer is the socket that was handed
// over (its inode tells) has been closed. One thread of its own; Start and Stop from any one thread.
#ifndef IMAPMESH_RPC_ACCEPTOR_H_
#define IMAPMESH_RPC_ACCEPTOR_H_

#include <sys/types.h>

#include <functional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "rpc/listening_socket.h"

namespace imapmesh {

class Acceptor {
 public:
  struct Listener {
    ListeningSocket socket;
    size_t max_connections = 0;
    // Owns `fd` from then on. The acceptor's thread; must not block.
    std::function<void(int listener_fd, int fd)> take;
  };

  // `warn` is told, at most once a minute, that connections are refused. The acceptor's thread; may be empty.
  Acceptor(std::vector<Listener> listeners, std::function<void(const std::string&)> warn);
  ~Acceptor();

  void Start();
  // Takes no more; connections that were handed over stay.
  void Stop();

 private:
  struct Taken {
    int fd;
    ino_t inode;
  };

  void Run();
  void AcceptAll(size_t listener, int listener_fd);
  void Refuse(size_t listener, int fd);
  // Open connections of a listener, after forgetting those that gRPC closed.
  size_t CountOpen(size_t listener);

  std::vector<Listener> listeners_;
  std::function<void(const std::string&)> warn_;
  OwnedFd stop_;  // an eventfd: readable once to stop
  std::thread thread_;
  // The acceptor's thread:
  std::vector<std::vector<Taken>> taken_;  // by listener
  int64_t last_warning_ms_ = 0;
};

}  // namespace imapmesh

#endif  // IMAPMESH_RPC_ACCEPTOR_H_
