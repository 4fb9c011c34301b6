// Connects to the first of several addresses that answers: Happy Eyeballs (RFC 8305).
//
// dialer.cc calls it with real sockets, its test with none. Addresses are resolved by getaddrinfo, which answers for
// both families together and in the order of RFC 6724, so there is no resolution delay to wait (section 3). Engine
// thread only.
#ifndef IMAPMESH_ENGINE_NET_CONNECT_H_
#define IMAPMESH_ENGINE_NET_CONNECT_H_

#include <asio/any_io_executor.hpp>
#include <asio/awaitable.hpp>
#include <asio/ip/tcp.hpp>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "engine/net/clock.h"
#include "engine/net/stream.h"

namespace imapmesh {

struct ConnectLimits {
  ConnectLimits() {}
  Duration next = std::chrono::milliseconds(250);  // until the next address is tried beside (RFC 8305 section 5)
  Duration each = std::chrono::seconds(15);        // for one address
  size_t addresses_max = 16;                       // what more a name may have is not tried
};

// A connection being made; destroying it gives it up.
class ConnectAttempt {
 public:
  virtual ~ConnectAttempt() = default;
};

// Begins to connect; `done` is called later, once, unless the attempt is destroyed before. The engine's executor.
using StartConnect = std::function<std::unique_ptr<ConnectAttempt>(
    const asio::ip::tcp::endpoint& address, std::function<void(absl::StatusOr<std::unique_ptr<ByteStream>>)> done)>;

// The families alternate, the first one's family first; within a family the order stays (RFC 8305 section 4).
std::vector<asio::ip::tcp::endpoint> InterleaveFamilies(const std::vector<asio::ip::tcp::endpoint>& addresses);

// The first that connects; the others are given up. kUnavailable with what became of each address. `addresses` in the
// order of preference. `clock` must outlive the call.
asio::awaitable<absl::StatusOr<std::unique_ptr<ByteStream>>> ConnectToFirst(
    asio::any_io_executor executor, Clock& clock, std::vector<asio::ip::tcp::endpoint> addresses, StartConnect start,
    ConnectLimits limits);

// With real sockets; `peer` names the other end in errors of the stream.
StartConnect SystemConnect(asio::any_io_executor executor, std::string peer);

}  // namespace imapmesh

#endif  // IMAPMESH_ENGINE_NET_CONNECT_H_
