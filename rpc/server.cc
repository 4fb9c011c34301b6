#include "rpc/server.h"

#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/resource_quota.h>
#include <grpcpp/security/server_credentials.h>
#include <unistd.h>

#include <chrono>
#include <utility>

#include "rpc/access.h"
#include "rpc/listening_socket.h"
#include "rpc/pem_files.h"

namespace imapmesh {
namespace {

constexpr int kMaxRequestBytes = 64 << 10;      // every request is a few names
constexpr int kMaxHeaderBytes = 8 << 10;        // of one call
constexpr int kMaxConcurrentCalls = 32;         // of one connection
constexpr int kHandshakeMs = 10'000;            // from the connection to HTTP/2's SETTINGS
constexpr int kIdleMs = 5 * 60'000;             // without a call
constexpr int kKeepaliveMs = 60'000;            // then a ping; no answer in kKeepaliveTimeoutMs: the client is gone
constexpr int kKeepaliveTimeoutMs = 20'000;     // time enough for a link that sleeps
constexpr int kClientPingsMs = 10'000;          // more often is abuse
constexpr size_t kBufferedBytes = 64ULL << 20;  // gRPC's own buffers, all connections

absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> MutualTls(const ServerOptions& options) {
  TlsFiles files{options.tls_client_ca, options.tls_cert, options.tls_key, "--tls-client-ca"};
  if (!options.tls_dir.empty()) {
    if (!files.empty())
      return absl::InvalidArgumentError("--tls-dir stands for --tls-cert, --tls-key, --tls-client-ca");
    files.authority = options.tls_dir + "/ca.pem";
    files.certificate = options.tls_dir + "/server.pem";
    files.key = options.tls_dir + "/server.key";
  }
  if (files.empty()) return std::shared_ptr<grpc::ServerCredentials>();
  ASSIGN_OR_RETURN(const TlsMaterial material, ReadTlsFiles(files));
  ASSIGN_OR_RETURN(const int64_t expiry, ExpiryUnixSeconds(material.own.certificate));
  const auto now = std::chrono::system_clock::now();
  const auto left = std::chrono::system_clock::from_time_t(expiry) - now;
  if (options.warn && left < std::chrono::hours(24 * 30)) {
    options.warn(absl::StrFormat("%s %s; renew it with imapmeshd certs server", files.certificate,
                                 left.count() < 0 ? "has expired: no client will trust it" : "expires within 30 days"));
  }
  grpc::SslServerCredentialsOptions tls(GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
  tls.pem_root_certs = material.authority;
  tls.pem_key_cert_pairs.push_back({material.own.key, material.own.certificate});
  auto credentials = grpc::SslServerCredentials(tls);
  credentials->SetAuthMetadataProcessor(MakeAccessCheck());
  return credentials;
}

absl::Status CheckProtected(const ServerOptions& options, const std::string& given, const ListenAddress& address,
                            bool tls) {
  if (address.is_unix() || tls) return absl::OkStatus();
  if (!address.IsLoopback()) {
    return Error(absl::StatusCode::kInvalidArgument,
                 "--listen %s: beyond loopback mutual TLS is required: make certificates with imapmeshd certs init and "
                 "give --tls-dir (or --tls-cert, --tls-key and --tls-client-ca), or listen on unix:PATH",
                 given);
  }
  if (options.warn && !options.insecure_loopback) {
    options.warn(absl::StrFormat(
        "--listen %s: without TLS every user of this machine can steer the mesh; give --tls-dir (see imapmeshd certs "
        "init), listen on unix:PATH, or, if that is what you want, say so by --insecure-loopback",
        given));
  }
  return absl::OkStatus();
}

void SetLimits(grpc::ServerBuilder& builder) {
  builder.SetMaxReceiveMessageSize(kMaxRequestBytes);
  builder.SetMaxSendMessageSize(-1);
  builder.AddChannelArgument(GRPC_ARG_MAX_METADATA_SIZE, kMaxHeaderBytes);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, kMaxConcurrentCalls);
  builder.AddChannelArgument(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS, kHandshakeMs);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONNECTION_IDLE_MS, kIdleMs);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, kKeepaliveMs);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kKeepaliveTimeoutMs);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, kClientPingsMs);
  // Windows stay at HTTP/2's 64 kB instead of growing with the link: requests are small.
  builder.AddChannelArgument(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  grpc::ResourceQuota quota("imapmeshd");
  quota.Resize(kBufferedBytes);
  builder.SetResourceQuota(quota);
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
  grpc::ServerBuilder builder;
  SetLimits(builder);
  RETURN_IF_ERROR(server->Listen(options, builder));
  builder.RegisterService(&server->service_);
  server->server_ = builder.BuildAndStart();
  if (server->server_ == nullptr) return absl::InternalError("the gRPC server does not start");
  server->acceptor_ = std::make_unique<Acceptor>(std::move(server->listeners_), options.warn);
  server->acceptor_->Start();
  return server;
}

absl::Status RpcServer::Listen(const ServerOptions& options, grpc::ServerBuilder& builder) {
  ASSIGN_OR_RETURN(const auto tls, MutualTls(options));
  if (options.max_clients < 1) return absl::InvalidArgumentError("--max-clients must be at least 1");
  for (const std::string& given : options.addresses) {
    ASSIGN_OR_RETURN(const ListenAddress address, ParseListenAddress(given));
    RETURN_IF_ERROR(CheckProtected(options, given, address, tls != nullptr));
    Acceptor::Listener listener;
    ASSIGN_OR_RETURN(listener.socket, OpenListeningSocket(given, address));
    addresses_.push_back(listener.socket.address);
    if (address.is_unix()) socket_paths_.push_back(address.unix_path);
    const bool plain = address.is_unix() || tls == nullptr;
    handovers_.push_back(builder.experimental().AddExternalConnectionAcceptor(
        grpc::ServerBuilder::experimental_type::ExternalConnectionType::FROM_FD,
        plain ? grpc::InsecureServerCredentials() : tls));
    listener.max_connections = static_cast<size_t>(options.max_clients);
    listener.take = [handover = handovers_.back().get()](int listener_fd, int fd) {
      grpc::experimental::ExternalConnectionAcceptor::NewConnectionParameters connection;
      connection.listener_fd = listener_fd;
      connection.fd = fd;
      handover->HandleNewConnection(&connection);
    };
    listeners_.push_back(std::move(listener));
  }
  return absl::OkStatus();
}

void RpcServer::Stop() {
  if (acceptor_ != nullptr) acceptor_->Stop();
  if (server_ != nullptr) {
    server_->Shutdown(std::chrono::system_clock::now() + std::chrono::milliseconds(300));
    server_->Wait();
    server_.reset();
  }
  for (const std::string& path : socket_paths_) unlink(path.c_str());
  socket_paths_.clear();
}

}  // namespace imapmesh
