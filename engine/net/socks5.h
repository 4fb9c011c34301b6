// SOCKS5 as a client (RFC 1928, RFC 1929): asks a proxy, over a stream to it, for a connection to somewhere else.
//
// dialer.cc calls it. Afterwards the stream is the connection asked for. No deadline here: the caller sets one. Engine
// thread only. No error shows the password.
#ifndef IMAPMESH_ENGINE_NET_SOCKS5_H_
#define IMAPMESH_ENGINE_NET_SOCKS5_H_

#include <asio/awaitable.hpp>
#include <cstdint>
#include <string>

#include "base/status.h"
#include "engine/net/stream.h"

namespace imapmesh {

struct Socks5Request {
  Socks5Request() {}
  std::string host;  // an address, or a name that the proxy resolves; at most 255 bytes
  uint16_t port = 0;
  std::string username;  // "": no login is offered to the proxy; at most 255 bytes, like the password
  std::string password;
};

// kUnauthenticated: the proxy wants a login, or refused ours. kUnavailable: it cannot reach the host (retrying another
// address of it may help), or the connection to it broke. kDataLoss: it speaks no SOCKS5. kInvalidArgument: too long.
asio::awaitable<absl::Status> ConnectBySocks5(ByteStream& stream, Socks5Request request);

}  // namespace imapmesh

#endif  // IMAPMESH_ENGINE_NET_SOCKS5_H_
