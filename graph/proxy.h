// The field `proxy` of a replica, taken apart. Used by the loader, which refuses what this refuses, and by
// engine/replica. Pure; any thread.
#ifndef IMAPMESH_GRAPH_PROXY_H_
#define IMAPMESH_GRAPH_PROXY_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "base/status.h"

namespace imapmesh {

struct Proxy {
  bool resolves = false;  // socks5h: names are resolved by the proxy; socks5: here
  std::string host;       // name or address, without brackets
  uint16_t port = 1080;
  std::string username;  // "": none
  std::string password;
};

// "socks5://[user:password@]host[:port]" or "socks5h://…". User and password in percent-encoding (RFC 3986 section
// 2.1) where they hold what means something in a URL; an IPv6 address in brackets. kInvalidArgument with what is wrong
// and what would be right; the text shows nothing of the value, which may hold a password.
absl::StatusOr<Proxy> ParseProxy(std::string_view url);

}  // namespace imapmesh

#endif  // IMAPMESH_GRAPH_PROXY_H_
