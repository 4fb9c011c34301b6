#include "engine/replica/make_replica.h"

#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/ascii.h"

#include "engine/replica/credentials.h"
#include "engine/replica/imap_replica.h"
#include "graph/proxy.h"

namespace imapmesh {
namespace {

constexpr int kDefaultConnections = 4;

// A proxy that cannot be read, which the loader refuses, is one without a host: never a connection without it.
std::optional<Socks5Proxy> ProxyOf(const v1::Replica& replica) {
  if (replica.proxy().empty()) return std::nullopt;
  const Proxy parsed = ParseProxy(replica.proxy()).value_or(Proxy());
  Socks5Proxy proxy;
  proxy.host = parsed.host;
  proxy.port = parsed.port;
  proxy.resolves = parsed.resolves;
  proxy.username = parsed.username;
  proxy.password = parsed.password;
  return proxy;
}

int PortOf(const v1::Imap& imap) {
  return imap.has_port() ? imap.port() : (imap.security() == v1::Imap::TLS ? 993 : 143);
}

imap::Security SecurityOf(const v1::Replica& replica) {
  if (!replica.has_imap() || replica.imap().security() == v1::Imap::PLAINTEXT) return imap::Security::kNone;
  return replica.imap().security() == v1::Imap::STARTTLS ? imap::Security::kStartTls : imap::Security::kTls;
}

// A credential that systemd did not pass keeps its name, which the error about the file then shows.
std::string TlsFile(const std::string& path, const std::string& folder) {
  return ResolveFile(path, folder, "tls").value_or(path);
}

TlsOptions TlsOf(const v1::Replica& replica, const std::string& folder) {
  const v1::Tls& tls = replica.tls();
  TlsOptions options;
  options.server_name = tls.server_name().empty() ? replica.imap().host() : tls.server_name();
  options.ca_file = TlsFile(tls.ca_file(), folder);
  options.pin_sha256 = tls.pin_sha256();
  options.min_version = tls.min_version();
  options.client_cert = TlsFile(tls.client_cert(), folder);
  options.client_key = TlsFile(tls.client_key(), folder);
  return options;
}

imap::LoginOptions LoginOf(asio::any_io_executor executor, Clock& clock, const v1::Replica& replica,
                           const std::string& folder) {
  const v1::Auth& auth = replica.auth();
  imap::LoginOptions login;
  login.username = auth.username();
  login.mechanism = auth.mechanism();
  login.host = replica.imap().host();
  login.port = static_cast<uint16_t>(PortOf(replica.imap()));
  login.memory = std::make_shared<imap::LoginMemory>();
  if (!auth.token_command().empty()) {
    const auto source = std::make_shared<TokenSource>(executor, clock, auth.token_command(), folder);
    login.token = [source](std::string refused) { return source->Token(std::move(refused)); };
  } else if (replica.has_auth()) {
    login.password = [executor, &clock, auth, folder] { return ReadPassword(executor, clock, auth, folder); };
  }
  return login;
}

// In capitals, as sessions know them. QRESYNC builds on CONDSTORE (RFC 7162 section 3.2).
imap::Capabilities IgnoredOf(const v1::Replica& replica) {
  imap::Capabilities ignored;
  for (const std::string& name : replica.ignore_capabilities()) ignored.insert(absl::AsciiStrToUpper(name));
  if (ignored.contains("CONDSTORE")) ignored.insert("QRESYNC");
  return ignored;
}

}  // namespace

Endpoint EndpointOf(const Graph& graph, ReplicaIndex index) {
  const v1::Replica& replica = graph.replica(index);
  const std::string& folder = graph.folder();
  if (replica.has_tunnel()) return TunnelEndpoint{replica.tunnel().command(), folder};
  if (replica.has_unix_socket()) {
    const std::string& path = replica.unix_socket().path();
    return UnixEndpoint{path.starts_with('/') || folder.empty() ? path : folder + "/" + path};
  }
  const v1::Imap& imap = replica.imap();
  return TcpEndpoint{imap.host(), static_cast<uint16_t>(PortOf(imap)), ProxyOf(replica)};
}

std::unique_ptr<Replica> MakeImapReplica(asio::any_io_executor executor, Clock& clock, Dialer& dialer,
                                         const Graph& graph, ReplicaIndex index,
                                         std::function<bool(std::string_view)> selects) {
  const v1::Replica& replica = graph.replica(index);
  ImapReplicaOptions options;
  options.name = replica.name();
  options.endpoint = EndpointOf(graph, index);
  options.max_connections = replica.has_max_connections() ? replica.max_connections() : kDefaultConnections;
  options.selects = std::move(selects);
  options.namespace_prefix = replica.namespace_prefix();
  for (const v1::NameMap& map : replica.name_map()) options.name_map.push_back({map.mesh(), map.here()});
  for (const v1::KeywordMap& map : replica.keyword_map()) options.keyword_map.push_back({map.mesh(), map.here()});
  if (!replica.watch_path().empty()) {
    options.watch_path = ResolveFile(replica.watch_path(), graph.folder(), "watch_path").value_or(replica.watch_path());
  }
  options.open.ignored = IgnoredOf(replica);
  options.open.security = SecurityOf(replica);
  options.open.compress = replica.has_compress() ? replica.compress() : replica.has_imap();
  if (replica.has_timeout_s()) options.open.inactivity_limit = std::chrono::seconds(replica.timeout_s());
  options.open.tls = TlsOf(replica, graph.folder());
  options.open.login = LoginOf(executor, clock, replica, graph.folder());
  return std::make_unique<ImapReplica>(executor, clock, dialer, std::move(options));
}

}  // namespace imapmesh
