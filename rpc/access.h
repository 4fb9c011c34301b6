// Who may call what: the roles that client certificates carry, and the check of every call that comes by TLS.
//
// A role is a URI among the certificate's subject alternative names (RFC 5280 section 4.2.1.6, a URN as RFC 8141 has
// it): urn:imapmesh:role:viewer or urn:imapmesh:role:operator. There, and not in the subject, because a URI name is
// compared byte by byte and cannot be mistaken for an organisation's own naming. A certificate without a role may call
// nothing. rpc/server.h attaches the check to every listener with TLS; rpc/certificates.h writes the roles.
// A call that is not known to be a viewer's needs an operator, so a new one is closed until it is listed. Any thread.
#ifndef IMAPMESH_RPC_ACCESS_H_
#define IMAPMESH_RPC_ACCESS_H_

#include <grpcpp/security/auth_metadata_processor.h>

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace imapmesh {

enum class Role {
  kViewer,   // sees: topology, status, events, plan, conflicts, traces
  kOperator  // sees and steers
};

const char* Name(Role role);  // "viewer", "operator"
std::optional<Role> ParseRole(std::string_view name);
std::string RoleUri(Role role);

// Whether a client may make a call. `client`: the common name, for the text. `uris`: of its certificate. `method`: as
// in HTTP/2's :path, "/imapmesh.v1.Coordinator/Sync". kPermissionDenied tells which role is needed and how to get it.
// Pure.
absl::Status CheckAccess(std::string_view client, const std::vector<std::string>& uris, std::string_view method);

// The same for gRPC; refuses every call whose peer showed no certificate.
std::shared_ptr<grpc::AuthMetadataProcessor> MakeAccessCheck();

}  // namespace imapmesh

#endif  // IMAPMESH_RPC_ACCESS_H_
