#include "engine/replica/make_replica.h"

#include <string>
#include <utility>

#include "engine/replica/credentials.h"
#include "engine/replica/imap_replica.h"

namespace imapmesh {
namespace {

constexpr int kDefaultConnections = 4;

std::string Resolve(const std::string& path, const std::string& folder) {
  return path.empty() || path.starts_with('/') || folder.empty() ? path : folder + "/" + path;
}

Endpoint EndpointOf(const v1::Replica& replica, const std::string& folder) {
  if (replica.has_tunnel()) return TunnelEndpoint{replica.tunnel().command(), folder};
  if (replica.has_unix_socket()) return UnixEndpoint{Resolve(replica.unix_socket().path(), folder)};
  const v1::Imap& imap = replica.imap();
  const int port = imap.has_port() ? imap.port() : (imap.security() == v1::Imap::TLS ? 993 : 143);
  return TcpEndpoint{imap.host(), static_cast<uint16_t>(port)};
}

imap::Security SecurityOf(const v1::Replica& replica) {
  if (!replica.has_imap() || replica.imap().security() == v1::Imap::PLAINTEXT) return imap::Security::kNone;
  return replica.imap().security() == v1::Imap::STARTTLS ? imap::Security::kStartTls : imap::Security::kTls;
}

}  // namespace

std::unique_ptr<Replica> MakeImapReplica(asio::any_io_executor executor, Clock& clock, Dialer& dialer,
                                         const Graph& graph, ReplicaIndex index,
                                         std::function<bool(std::string_view)> selects) {
  const v1::Replica& replica = graph.replica(index);
  ImapReplicaOptions options;
  options.name = replica.name();
  options.endpoint = EndpointOf(replica, graph.folder());
  options.max_connections = replica.has_max_connections() ? replica.max_connections() : kDefaultConnections;
  options.selects = std::move(selects);
  options.namespace_prefix = replica.namespace_prefix();
  for (const v1::NameMap& map : replica.name_map()) options.name_map.push_back({map.mesh(), map.here()});
  options.open.security = SecurityOf(replica);
  options.open.compress = replica.has_compress() ? replica.compress() : replica.has_imap();
  if (replica.has_timeout_s()) options.open.inactivity_limit = std::chrono::seconds(replica.timeout_s());
  options.open.login.username = replica.auth().username();
  options.open.login.mechanism = replica.auth().mechanism();
  options.open.tls.server_name =
      replica.tls().server_name().empty() ? replica.imap().host() : replica.tls().server_name();
  options.open.tls.ca_file = Resolve(replica.tls().ca_file(), graph.folder());
  options.open.tls.pin_sha256 = replica.tls().pin_sha256();
  options.open.tls.min_version = replica.tls().min_version();
  if (replica.has_auth()) {
    options.open.login.password = [executor, &clock, auth = replica.auth(), folder = graph.folder()] {
      return ReadPassword(executor, clock, auth, folder);
    };
  }
  return std::make_unique<ImapReplica>(executor, clock, dialer, std::move(options));
}

}  // namespace imapmesh
