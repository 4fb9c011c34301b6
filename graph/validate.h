// What a topology must fulfil beyond its syntax (CONTRACT.md section 1). Called by load.cc. Pure; any thread.
#ifndef IMAPMESH_GRAPH_VALIDATE_H_
#define IMAPMESH_GRAPH_VALIDATE_H_

#include "graph/findings.h"
#include "graph/topology.pb.h"

namespace imapmesh {

// `root` is the place of the whole file. Reports everything that is wrong, and never a password.
void ValidateTopology(const v1::Topology& topology, const Place& root, Findings& findings);
// One replica by itself: name, endpoint, login, TLS, numbers.
void ValidateReplica(const v1::Replica& replica, const Place& place, Findings& findings);
// Its namespace_prefix and name_map.
void ValidateMailboxNames(const v1::Replica& replica, const Place& place, Findings& findings);

// [a-z0-9_-]+, at most 64 characters.
bool IsName(std::string_view text);

// The defaults that depend on nothing but the file (load.h).
void FillInDefaults(v1::Topology& topology);
// 993 for TLS, else 143, when the file has no port.
int32_t PortOf(const v1::Imap& imap);

}  // namespace imapmesh

#endif  // IMAPMESH_GRAPH_VALIDATE_H_
