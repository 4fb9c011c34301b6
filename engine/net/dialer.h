// Connects to where a replica is: TCP, a unix socket, or a command that speaks on its standard input and output.
//
// engine/replica asks for a stream by Endpoint; tests/sim has a Dialer of its own. No TLS here (tls.h). Engine thread.
#ifndef IMAPMESH_ENGINE_NET_DIALER_H_
#define IMAPMESH_ENGINE_NET_DIALER_H_

#include <asio/any_io_executor.hpp>
#include <memory>
#include <string>
#include <variant>

#include "engine/net/clock.h"
#include "engine/net/stream.h"

namespace imapmesh {

struct TcpEndpoint {
  std::string host;  // name or address; its addresses are tried in turn
  uint16_t port = 0;
};
struct UnixEndpoint {
  std::string path;
};
struct TunnelEndpoint {
  std::string command;  // for /bin/sh -c
  std::string folder;   // where it runs
};
using Endpoint = std::variant<TcpEndpoint, UnixEndpoint, TunnelEndpoint>;

// "mail.example.org:993", "/run/imap.sock", "command `doveadm exec imap`": for errors and status.
std::string Describe(const Endpoint& endpoint);

class Dialer {
 public:
  virtual ~Dialer() = default;
  // kUnavailable, naming the endpoint and the cause.
  virtual asio::awaitable<absl::StatusOr<std::unique_ptr<ByteStream>>> Dial(Endpoint endpoint) = 0;
};

// The real one. `clock` must outlive it. Each address is given 15 s.
std::unique_ptr<Dialer> MakeSystemDialer(asio::any_io_executor executor, Clock& clock);

}  // namespace imapmesh

#endif  // IMAPMESH_ENGINE_NET_DIALER_H_
