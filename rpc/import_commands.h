// The client's commands that take over another tool's configuration and state: files in, a topology and a state out.
//
// rpc/imapmesh.cc calls them; docs/migration.md tells people. Exit codes of CONTRACT.md section 2: what the other
// tool's files say wrong is bad usage. Nothing that exists is overwritten, and nothing is written unless everything
// can be read. One thread.
#ifndef IMAPMESH_RPC_IMPORT_COMMANDS_H_
#define IMAPMESH_RPC_IMPORT_COMMANDS_H_

#include <ostream>
#include <string>

namespace imapmesh {

struct ImportOptions {
  std::string config;    // the other tool's configuration file
  std::string database;  // InterIMAP's; "" for none
  std::string output;    // the topology's file; "" prints it
  std::string state;     // the state's file; "" for the daemon's default
  std::string name;      // of the topology; "" for one after the configuration file
  bool json = false;
};

int ImportInterimap(const ImportOptions& options, std::ostream& out, std::ostream& error);
// The states are found by the configuration's SyncState; those that are not there are not missed.
int ImportMbsync(const ImportOptions& options, std::ostream& out, std::ostream& error);

}  // namespace imapmesh

#endif  // IMAPMESH_RPC_IMPORT_COMMANDS_H_
