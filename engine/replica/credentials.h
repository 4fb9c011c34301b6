// Where a replica's secrets come from: a command, a file, the environment, systemd, or the topology itself.
//
// make_replica.cc hands these to the login, which asks before each connection, so that a changed password is found. No
// error and no log ever holds a secret. Engine thread.
#ifndef IMAPMESH_ENGINE_REPLICA_CREDENTIALS_H_
#define IMAPMESH_ENGINE_REPLICA_CREDENTIALS_H_

#include <string>

#include "base/status.h"
#include "engine/net/clock.h"
#include "engine/net/signal.h"
#include "graph/topology.pb.h"

namespace imapmesh {

// A file that the topology names: relative to `folder`, or "${CREDENTIALS_DIRECTORY}/NAME", a credential that systemd
// passed to this service (LoadCredential=, systemd.exec(5)). kUnauthenticated when systemd passed none; `field` is
// named in the error.
absl::StatusOr<std::string> ResolveFile(const std::string& path, const std::string& folder, std::string_view field);

// The first line counts. Commands run in `folder` and may take 30 s. Errors say which source failed and how:
// kUnavailable where it may help to ask again (a command that fails, a file that cannot be read), else
// kUnauthenticated.
asio::awaitable<absl::StatusOr<std::string>> ReadPassword(asio::any_io_executor executor, Clock& clock, v1::Auth auth,
                                                          std::string folder);

// What token_command prints, kept for the connections that follow: token endpoints limit how often they are asked.
class TokenSource {
 public:
  // `clock` must outlive it.
  TokenSource(asio::any_io_executor executor, Clock& clock, std::string command, std::string folder);

  // `refused`: the token that the server did not take, "" for none: another one is wanted. The command runs once for
  // all who wait. Errors as above. This must outlive the call.
  asio::awaitable<absl::StatusOr<std::string>> Token(std::string refused);

 private:
  asio::any_io_executor executor_;
  Clock& clock_;
  const std::string command_;
  const std::string folder_;
  std::string token_;  // "": none yet
  bool running_ = false;
  Signal ended_;
};

}  // namespace imapmesh

#endif  // IMAPMESH_ENGINE_REPLICA_CREDENTIALS_H_
