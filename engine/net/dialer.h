// Connects to where a replica is: TCP, directly or by a SOCKS5 proxy, a unix socket, or a command that speaks on its
// standard input and output.
//
// engine/replica asks for a stream by Endpoint; tests/sim has a Dialer of its own. No TLS here (tls.h). Engine thread.
#ifndef IMAPMESH_ENGINE_NET_DIALER_H_
#define IMAPMESH_ENGINE_NET_DIALER_H_

#include <asio/any_io_executor.hpp>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <variant>

#include "engine/net/clock.h"
#include "engine/net/stream.h"

namespace imapmesh {

struct Socks5Proxy {
  std::string host;  // name or address
  uint16_t port = 0;
  bool resolves = false;  // names are resolved by the proxy (socks5h), not here (socks5)
  std::string username;   // "": none
  std::string password;
  bool operator==(const Socks5Proxy&) const = default;
};
struct TcpEndpoint {
  std::string host;  // name or address
  uint16_t port = 0;
  std::optional<Socks5Proxy> proxy;
  bool operator==(const TcpEndpoint&) const = default;
};
struct UnixEndpoint {
  std::string path;
  bool operator==(const UnixEndpoint&) const = default;
};
struct TunnelEndpoint {
  std::string command;  // for /bin/sh -c
  std::string folder;   // where it runs
  bool operator==(const TunnelEndpoint&) const = default;
};
using Endpoint = std::variant<TcpEndpoint, UnixEndpoint, TunnelEndpoint>;

// "mail.example.org:993", "mail.example.org:993 by the proxy 127.0.0.1:1080", "/run/imap.sock", "the command `doveadm
// exec imap`": for errors and status. Never a proxy's password.
std::string Describe(const Endpoint& endpoint);

class Dialer {
 public:
  virtual ~Dialer() = default;
  // kUnavailable, naming the endpoint, the cause and what to do; kUnauthenticated where a proxy refuses the login.
  virtual asio::awaitable<absl::StatusOr<std::unique_ptr<ByteStream>>> Dial(Endpoint endpoint) = 0;
};

// The real one. `clock` must outlive it. Names are resolved in 30 s; of several addresses the first that answers is
// taken, each given 15 s (connect.h); a proxy has 30 s for each address it is asked for.
std::unique_ptr<Dialer> MakeSystemDialer(asio::any_io_executor executor, Clock& clock);

}  // namespace imapmesh

#endif  // IMAPMESH_ENGINE_NET_DIALER_H_
