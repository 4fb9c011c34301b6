// The IMAP part of an mbsync store or account as a replica: endpoint, login, TLS. Pure; any thread.
#ifndef IMAPMESH_MIGRATE_MBSYNC_ACCOUNT_H_
#define IMAPMESH_MIGRATE_MBSYNC_ACCOUNT_H_

#include <string>
#include <string_view>
#include <vector>

#include "graph/topology.pb.h"
#include "migrate/mbsync_config.h"
#include "migrate/notes.h"

namespace imapmesh {

struct MbsyncAccount {
  v1::Replica replica;   // without a name
  std::string password;  // in clear in the configuration; "" for none
};

// From the options of a store with those of its account: takes those that it understands out of `options`.
MbsyncAccount ReadMbsyncAccount(std::vector<MbsyncOption>& options, int line, std::string_view home, Notes& notes);

// "~/x" resolved, as mbsync does in paths.
std::string ExpandHome(std::string_view path, std::string_view home);

}  // namespace imapmesh

#endif  // IMAPMESH_MIGRATE_MBSYNC_ACCOUNT_H_
