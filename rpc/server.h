// Where the coordinator can be reached: addresses, credentials, limits, and the gRPC server itself with the standard
// health service and reflection.
//
// The daemon owns one. A unix socket (mode 0600) makes whoever connects an operator; TCP is served by mutual TLS only,
// each call checked against the role of the client's certificate (rpc/access.h), except on loopback when that is asked
// for by name. Bounded, whatever clients do: connections of each address, calls of a connection, size of a request,
// time for a handshake, time without a call, memory of all connections. Any thread; Stop is called once.
#ifndef IMAPMESH_RPC_SERVER_H_
#define IMAPMESH_RPC_SERVER_H_

#include <grpcpp/server_builder.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/status.h"
#include "rpc/acceptor.h"
#include "rpc/service.h"

namespace imapmesh {

struct ServerOptions {
  std::vector<std::string> addresses;  // "unix:PATH" or "HOST:PORT"
  std::string tls_cert;                // PEM files; all three or none
  std::string tls_key;
  std::string tls_client_ca;
  std::string tls_dir;  // instead of the three: a folder that `imapmeshd certs` made
  // HOST:PORT on loopback without TLS, everybody on this machine an operator, is meant: nothing is warned of.
  bool insecure_loopback = false;
  int max_clients = 128;                         // connections of each address; more are closed at once
  std::function<void(const std::string&)> warn;  // any thread; may be empty
};

class RpcServer {
 public:
  // kInvalidArgument: an address or file that is no good, the text says which and what would be; kUnavailable: another
  // process has it. `control` outlives the server.
  static absl::StatusOr<std::unique_ptr<RpcServer>> Start(const ServerOptions& options, Control& control,
                                                          TopologyLoader load_topology);
  ~RpcServer();

  // As asked for, with the port chosen for port 0.
  const std::vector<std::string>& addresses() const { return addresses_; }

  // Ends every call (UNAVAILABLE, CANCELLED) and waits for them; removes the sockets.
  void Stop();

 private:
  using Handover = std::unique_ptr<grpc::experimental::ExternalConnectionAcceptor>;

  RpcServer(Control& control, TopologyLoader load_topology);
  // Opens every address, and has `builder` take the connections of each.
  absl::Status Listen(const ServerOptions& options, grpc::ServerBuilder& builder);

  CoordinatorService service_;
  std::vector<std::string> addresses_;
  std::vector<std::string> socket_paths_;
  std::vector<Handover> handovers_;
  std::vector<Acceptor::Listener> listeners_;  // until the acceptor has them
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<Acceptor> acceptor_;
};

}  // namespace imapmesh

#endif  // IMAPMESH_RPC_SERVER_H_
