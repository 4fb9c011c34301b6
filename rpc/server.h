// Where the coordinator can be reached: addresses, credentials, and the gRPC server itself with the standard health
// service and reflection.
//
// The daemon owns one. Start refuses an address that is not safe: beyond loopback only with mutual TLS. A unix socket
// is made mode 0600 in a folder of mode 0700; a socket that a dead daemon left is replaced, a live one is not.
// Any thread; Stop is called once.
#ifndef IMAPMESH_RPC_SERVER_H_
#define IMAPMESH_RPC_SERVER_H_

#include <grpcpp/server_builder.h>

#include <memory>
#include <string>
#include <vector>

#include "base/status.h"
#include "rpc/service.h"

namespace imapmesh {

struct ServerOptions {
  std::vector<std::string> addresses;  // "unix:PATH" or "HOST:PORT"
  std::string tls_cert;                // PEM files; all three or none
  std::string tls_key;
  std::string tls_client_ca;
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
  RpcServer(Control& control, TopologyLoader load_topology);
  // Adds one address to what `builder` will listen on; `port` is set once it does.
  absl::Status Listen(const std::string& address, const std::shared_ptr<grpc::ServerCredentials>& tls,
                      grpc::ServerBuilder& builder, int& port);

  CoordinatorService service_;
  std::vector<std::string> addresses_;
  std::vector<std::string> socket_paths_;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace imapmesh

#endif  // IMAPMESH_RPC_SERVER_H_
