// Settings of a replica that InterIMAP and mbsync have in common, as the topology says them. Pure; any thread.
#ifndef IMAPMESH_MIGRATE_REPLICA_SETTINGS_H_
#define IMAPMESH_MIGRATE_REPLICA_SETTINGS_H_

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "graph/topology.pb.h"
#include "migrate/notes.h"

namespace imapmesh {

std::optional<int> ParsePort(std::string_view text);  // 1 to 65535

// PLAINTEXT to another machine is what the other tool did: permitted, and said.
void AllowPlaintext(v1::Imap& imap, int line, Notes& notes);

// The mechanisms that the other tool might use, the best first.
void SetMechanisms(const std::vector<std::string>& mechanisms, int line, v1::Auth& auth, Notes& notes);

// `version` as OpenSSL writes it, "TLSv1.2"; `option` is named in notes.
void SetMinVersion(std::string_view version, std::string_view option, int line, v1::Tls& tls, Notes& notes);

}  // namespace imapmesh

#endif  // IMAPMESH_MIGRATE_REPLICA_SETTINGS_H_
