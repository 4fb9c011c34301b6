// The client's commands that need no daemon: they read a topology file. Exit codes of CONTRACT.md section 2.
//
// rpc/imapmesh.cc calls them. One thread.
#ifndef IMAPMESH_RPC_TOPOLOGY_COMMANDS_H_
#define IMAPMESH_RPC_TOPOLOGY_COMMANDS_H_

#include <ostream>
#include <string>

namespace imapmesh {

// Validates; prints what each replica can receive from whom, or every error.
int CheckTopology(const std::string& path, bool json, std::ostream& out, std::ostream& error);

// `format`: "text", "dot" or "svg".
int DrawTopology(const std::string& path, const std::string& format, bool json, std::ostream& out, std::ostream& error);

}  // namespace imapmesh

#endif  // IMAPMESH_RPC_TOPOLOGY_COMMANDS_H_
