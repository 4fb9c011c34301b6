#include "rpc/server.h"

#include <arpa/inet.h>
#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/resource_quota.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server_builder.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <utility>

namespace imapmesh {
namespace {

constexpr int kMaxRequestBytes = 1 << 20;  // every request is a few names
constexpr int kMaxConcurrentCalls = 100;   // per connection
constexpr std::string_view kUnix = "unix:";

struct HostPort {
  std::string host;
  std::string port;
};

absl::StatusOr<HostPort> SplitHostPort(const std::string& address) {
  const size_t colon = address.rfind(':');
  HostPort result;
  if (colon != std::string::npos) {
    result.host = address.substr(0, colon);
    result.port = address.substr(colon + 1);
  }
  const bool digits = !result.port.empty() && result.port.size() <= 5 &&
                      result.port.find_first_not_of("0123456789") == std::string::npos;
  if (result.host.empty() || !digits || std::stoi(result.port) > 65535) {
    return Error(absl::StatusCode::kInvalidArgument, "--listen %s: an address is unix:PATH or HOST:PORT", address);
  }
  if (result.host.front() == '[' && result.host.back() == ']')
    result.host = result.host.substr(1, result.host.size() - 2);
  return result;
}

// By the text only: a name other than localhost may resolve to anything tomorrow.
bool IsLoopback(const std::string& host) {
  if (host == "localhost") return true;
  in_addr v4{};
  if (inet_pton(AF_INET, host.c_str(), &v4) == 1) return (ntohl(v4.s_addr) >> 24) == 127;
  in6_addr v6{};
  return inet_pton(AF_INET6, host.c_str(), &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
}

absl::StatusOr<std::string> ReadPem(const std::string& option, const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  if (!file.good() && text.empty()) {
    return Error(absl::StatusCode::kInvalidArgument, "%s: cannot read %s: %s", option, path, std::strerror(errno));
  }
  if (text.find("-----BEGIN ") == std::string::npos) {
    return Error(absl::StatusCode::kInvalidArgument, "%s: %s is no PEM file", option, path);
  }
  return text;
}

absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> MutualTls(const ServerOptions& options) {
  if (options.tls_cert.empty() || options.tls_key.empty() || options.tls_client_ca.empty()) {
    return absl::InvalidArgumentError("--tls-cert, --tls-key and --tls-client-ca go together");
  }
  ASSIGN_OR_RETURN(const std::string key, ReadPem("--tls-key", options.tls_key));
  ASSIGN_OR_RETURN(const std::string certificate, ReadPem("--tls-cert", options.tls_cert));
  ASSIGN_OR_RETURN(const std::string client_ca, ReadPem("--tls-client-ca", options.tls_client_ca));
  grpc::SslServerCredentialsOptions tls(GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
  tls.pem_root_certs = client_ca;
  tls.pem_key_cert_pairs.push_back({key, certificate});
  return grpc::SslServerCredentials(tls);
}

// Whether somebody answers there.
bool SomebodyListens(const sockaddr_un& address) {
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return false;
  const bool connected = connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0;
  const bool busy = !connected && errno == EAGAIN;
  close(fd);
  return connected || busy;
}

absl::Status PrepareSocket(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty()) return absl::InvalidArgumentError("--listen unix: names no path");
  if (path.size() >= sizeof(address.sun_path)) {
    return Error(absl::StatusCode::kInvalidArgument,
                 "--listen unix:%s: a socket's path has at most %d bytes; take a shorter one", path,
                 static_cast<int>(sizeof(address.sun_path)) - 1);
  }
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  const std::filesystem::path folder = std::filesystem::path(path).parent_path();
  std::error_code error;
  const bool made = std::filesystem::create_directories(folder, error);
  if (!error && made) std::filesystem::permissions(folder, std::filesystem::perms::owner_all, error);
  if (error) {
    return Error(absl::StatusCode::kInvalidArgument, "--listen unix:%s: cannot make the folder: %s", path,
                 error.message());
  }
  struct stat found {};
  if (lstat(path.c_str(), &found) != 0) return absl::OkStatus();
  if (!S_ISSOCK(found.st_mode)) {
    return Error(absl::StatusCode::kInvalidArgument, "--listen unix:%s: something that is no socket is there", path);
  }
  if (SomebodyListens(address)) {
    return Error(absl::StatusCode::kUnavailable,
                 "--listen unix:%s: another process listens there; stop it or listen elsewhere", path);
  }
  if (unlink(path.c_str()) != 0) {
    return Error(absl::StatusCode::kInvalidArgument, "--listen unix:%s: cannot remove the old socket: %s", path,
                 std::strerror(errno));
  }
  return absl::OkStatus();
}

// Sockets made while this lives are the owner's alone.
class PrivateUmask {
 public:
  PrivateUmask() : before_(umask(0177)) {}
  ~PrivateUmask() { umask(before_); }

 private:
  mode_t before_;
};

void SetLimits(grpc::ServerBuilder& builder) {
  builder.SetMaxReceiveMessageSize(kMaxRequestBytes);
  builder.SetMaxSendMessageSize(-1);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, kMaxConcurrentCalls);
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  // Clients on a link that sleeps: pings allowed, and a dead client is noticed.
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, 60'000);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 10'000);
}

}  // namespace

RpcServer::RpcServer(Control& control, TopologyLoader load_topology) : service_(control, std::move(load_topology)) {}

RpcServer::~RpcServer() {
  Stop();
}

absl::StatusOr<std::unique_ptr<RpcServer>> RpcServer::Start(const ServerOptions& options, Control& control,
                                                            TopologyLoader load_topology) {
  grpc::EnableDefaultHealthCheckService(true);
  static const bool reflection = [] {
    grpc::reflection::InitProtoReflectionServerBuilderPlugin();
    return true;
  }();
  (void)reflection;

  std::unique_ptr<RpcServer> server(new RpcServer(control, std::move(load_topology)));
  std::shared_ptr<grpc::ServerCredentials> tls;
  if (!options.tls_cert.empty() || !options.tls_key.empty() || !options.tls_client_ca.empty()) {
    ASSIGN_OR_RETURN(tls, MutualTls(options));
  }
  grpc::ServerBuilder builder;
  SetLimits(builder);
  std::vector<int> ports(options.addresses.size(), 0);
  for (size_t i = 0; i < options.addresses.size(); ++i) {
    RETURN_IF_ERROR(server->Listen(options.addresses[i], tls, builder, ports[i]));
  }
  builder.RegisterService(&server->service_);
  {
    const PrivateUmask private_sockets;
    server->server_ = builder.BuildAndStart();
  }
  for (size_t i = 0; i < options.addresses.size(); ++i) {
    std::string& address = server->addresses_[i];
    if (server->server_ == nullptr || ports[i] == 0) {
      return Error(absl::StatusCode::kUnavailable,
                   "cannot listen on %s: in use, not permitted, no such address, or a certificate that does not fit "
                   "its key",
                   address);
    }
    const bool chosen = address.size() > 2 && address.substr(address.size() - 2) == ":0";
    if (chosen) address = address.substr(0, address.size() - 1) + std::to_string(ports[i]);
  }
  for (const std::string& path : server->socket_paths_) chmod(path.c_str(), 0600);
  return server;
}

absl::Status RpcServer::Listen(const std::string& address, const std::shared_ptr<grpc::ServerCredentials>& tls,
                               grpc::ServerBuilder& builder, int& port) {
  if (std::string_view(address).substr(0, kUnix.size()) == kUnix) {
    std::string path = address.substr(kUnix.size());
    std::error_code ignored;
    if (!path.empty()) path = std::filesystem::absolute(path, ignored);
    RETURN_IF_ERROR(PrepareSocket(path));
    socket_paths_.push_back(path);
    addresses_.push_back(std::string(kUnix) + path);
    builder.AddListeningPort(addresses_.back(), grpc::InsecureServerCredentials(), &port);
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(const HostPort where, SplitHostPort(address));
  if (!IsLoopback(where.host) && tls == nullptr) {
    return Error(absl::StatusCode::kInvalidArgument,
                 "--listen %s: beyond loopback mutual TLS is required: give --tls-cert, --tls-key and "
                 "--tls-client-ca, or listen on unix:PATH, 127.0.0.1:PORT",
                 address);
  }
  addresses_.push_back(address);
  builder.AddListeningPort(address, tls != nullptr ? tls : grpc::InsecureServerCredentials(), &port);
  return absl::OkStatus();
}

void RpcServer::Stop() {
  if (server_ == nullptr) return;
  server_->Shutdown(std::chrono::system_clock::now() + std::chrono::milliseconds(300));
  server_->Wait();
  server_.reset();
  for (const std::string& path : socket_paths_) unlink(path.c_str());
}

}  // namespace imapmesh
