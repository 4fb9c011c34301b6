// From a host name to its addresses, without holding up the engine. dialer.cc calls it. Engine thread only.
#ifndef IMAPMESH_ENGINE_NET_RESOLVE_H_
#define IMAPMESH_ENGINE_NET_RESOLVE_H_

#include <asio/any_io_executor.hpp>
#include <asio/awaitable.hpp>
#include <asio/ip/tcp.hpp>
#include <cstdint>
#include <string>
#include <vector>

#include "base/status.h"
#include "engine/net/clock.h"

namespace imapmesh {

// The addresses of `host` (a name, or an address itself) in the order in which to try them (RFC 6724). By getaddrinfo
// on a thread of its own: who gives up after `limit`, or ends, does not wait for it. kUnavailable with the cause.
asio::awaitable<absl::StatusOr<std::vector<asio::ip::tcp::endpoint>>> Resolve(asio::any_io_executor executor,
                                                                              Clock& clock, std::string host,
                                                                              uint16_t port, Duration limit);

}  // namespace imapmesh

#endif  // IMAPMESH_ENGINE_NET_RESOLVE_H_
