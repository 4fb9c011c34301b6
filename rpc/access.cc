#include "rpc/access.h"

#include <grpc/grpc_security_constants.h>

#include <algorithm>
#include <set>

#include "base/printable.h"

namespace imapmesh {
namespace {

constexpr std::string_view kRolePrefix = "urn:imapmesh:role:";

const std::set<std::string_view>& ViewerCalls() {
  static const std::set<std::string_view> calls = {
      "/imapmesh.v1.Coordinator/GetTopology",
      "/imapmesh.v1.Coordinator/GetStatus",
      "/imapmesh.v1.Coordinator/WatchEvents",
      "/imapmesh.v1.Coordinator/Plan",
      "/imapmesh.v1.Coordinator/ListConflicts",
      "/imapmesh.v1.Coordinator/TraceMessage",
      "/grpc.health.v1.Health/Check",
      "/grpc.health.v1.Health/Watch",
      "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
  };
  return calls;
}

Role NeededFor(std::string_view method) {
  return ViewerCalls().contains(method) ? Role::kViewer : Role::kOperator;
}

std::string Text(const grpc::string_ref& text) {
  return std::string(text.data(), text.size());
}

class AccessCheck final : public grpc::AuthMetadataProcessor {
 public:
  bool IsBlocking() const override { return false; }

  grpc::Status Process(const InputMetadata& metadata, grpc::AuthContext* context, OutputMetadata* /*consumed*/,
                       OutputMetadata* /*response*/) override {
    if (context == nullptr || !context->IsPeerAuthenticated()) {
      return grpc::Status(grpc::StatusCode::UNAUTHENTICATED, "a client certificate is needed here");
    }
    std::vector<std::string> uris;
    for (const grpc::string_ref& uri : context->FindPropertyValues(GRPC_PEER_URI_PROPERTY_NAME)) {
      uris.push_back(Text(uri));
    }
    std::string client;
    for (const grpc::string_ref& name : context->FindPropertyValues(GRPC_X509_CN_PROPERTY_NAME)) client = Text(name);
    const auto path = metadata.find(":path");
    const absl::Status status = CheckAccess(client, uris, path == metadata.end() ? "" : Text(path->second));
    if (status.ok()) return grpc::Status::OK;
    return grpc::Status(static_cast<grpc::StatusCode>(status.code()), Message(status));
  }
};

}  // namespace

const char* Name(Role role) {
  return role == Role::kOperator ? "operator" : "viewer";
}

std::optional<Role> ParseRole(std::string_view name) {
  for (const Role role : {Role::kViewer, Role::kOperator}) {
    if (name == Name(role)) return role;
  }
  return std::nullopt;
}

std::string RoleUri(Role role) {
  return std::string(kRolePrefix) + Name(role);
}

absl::Status CheckAccess(std::string_view client, const std::vector<std::string>& uris, std::string_view method) {
  const auto has = [&](Role role) { return std::find(uris.begin(), uris.end(), RoleUri(role)) != uris.end(); };
  const Role needed = NeededFor(method);
  if (has(Role::kOperator) || (needed == Role::kViewer && has(Role::kViewer))) return absl::OkStatus();
  const std::string name = Printable(method.substr(method.rfind('/') + 1), 100);
  const std::string who = Printable(client, 100);
  if (!has(Role::kViewer)) {
    return Error(absl::StatusCode::kPermissionDenied,
                 "the certificate of client \"%s\" carries no role, and %s needs the role %s (a URI among its subject "
                 "alternative names: %s); issue one with imapmeshd certs client NAME --role %s",
                 who, name, Name(needed), RoleUri(needed), Name(needed));
  }
  return Error(absl::StatusCode::kPermissionDenied,
               "client \"%s\" has the role viewer, and %s needs the role operator; issue such a certificate with "
               "imapmeshd certs client NAME --role operator",
               who, name);
}

std::shared_ptr<grpc::AuthMetadataProcessor> MakeAccessCheck() {
  return std::make_shared<AccessCheck>();
}

}  // namespace imapmesh
