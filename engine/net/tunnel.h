// A command as a ByteStream: its standard input and output, its standard error kept for the error.
//
// Called by dialer.cc, and by engine/replica/credentials.cc for password commands. The command runs by /bin/sh -c in a
// process group of its own, which is ended when the stream is closed. Engine thread only.
#ifndef IMAPMESH_ENGINE_NET_TUNNEL_H_
#define IMAPMESH_ENGINE_NET_TUNNEL_H_

#include <asio/any_io_executor.hpp>
#include <memory>
#include <string>

#include "engine/net/stream.h"

namespace imapmesh {

// `what` names the command in errors (it may hold a secret and is then not shown itself).
absl::StatusOr<std::unique_ptr<ByteStream>> StartTunnel(asio::any_io_executor executor, const std::string& command,
                                                        const std::string& folder, const std::string& what);

}  // namespace imapmesh

#endif  // IMAPMESH_ENGINE_NET_TUNNEL_H_
