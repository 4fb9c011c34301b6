// The coordinator daemon from its options to its exit code: loads the topology, holds the state, runs the engine,
// serves gRPC, obeys signals.
//
// rpc/imapmeshd.cc parses the command line and calls RunDaemon on the main thread, once.
#ifndef IMAPMESH_RPC_DAEMON_H_
#define IMAPMESH_RPC_DAEMON_H_

#include <string>

#include "rpc/server.h"

namespace imapmesh {

struct DaemonOptions {
  std::string topology_path;
  std::string state_path;   // "": CONTRACT.md section 2's default
  std::string report_path;  // "": none
  bool once = false;
  ServerOptions server;  // no addresses: the default one
};

// Returns the exit code of CONTRACT.md section 2. Logging must be set up.
int RunDaemon(DaemonOptions options);

}  // namespace imapmesh

#endif  // IMAPMESH_RPC_DAEMON_H_
