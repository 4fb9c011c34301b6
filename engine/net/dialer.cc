#include "engine/net/dialer.h"

#include <asio/ip/tcp.hpp>
#include <asio/local/stream_protocol.hpp>
#include <utility>
#include <vector>

#include "base/printable.h"
#include "engine/net/connect.h"
#include "engine/net/deadline.h"
#include "engine/net/resolve.h"
#include "engine/net/socket_stream.h"
#include "engine/net/socks5.h"
#include "engine/net/tunnel.h"

namespace imapmesh {
namespace {

constexpr Duration kResolveLimit = std::chrono::seconds(30);
constexpr Duration kProxyLimit = std::chrono::seconds(30);
constexpr size_t kProxyAddressesMax = 4;

using asio::ip::tcp;
using asio::local::stream_protocol;

std::string HostAndPort(const std::string& host, uint16_t port) {
  const bool v6 = host.find(':') != std::string::npos;
  return (v6 ? "[" + host + "]" : host) + ":" + std::to_string(port);
}

class SystemDialer : public Dialer {
 public:
  SystemDialer(asio::any_io_executor executor, Clock& clock) : executor_(executor), clock_(clock) {}

  asio::awaitable<absl::StatusOr<std::unique_ptr<ByteStream>>> Dial(Endpoint endpoint) override {
    if (const auto* tcp = std::get_if<TcpEndpoint>(&endpoint)) co_return co_await DialTcp(*tcp);
    if (const auto* unix_socket = std::get_if<UnixEndpoint>(&endpoint)) co_return co_await DialUnix(*unix_socket);
    const TunnelEndpoint& tunnel = std::get<TunnelEndpoint>(endpoint);
    co_return StartTunnel(executor_, tunnel.command, tunnel.folder, Describe(endpoint));
  }

 private:
  // By the addresses of `host`.
  asio::awaitable<absl::StatusOr<std::unique_ptr<ByteStream>>> ConnectTo(std::string host, uint16_t port,
                                                                         std::string peer) {
    CO_ASSIGN_OR_RETURN(std::vector<tcp::endpoint> addresses,
                        co_await Resolve(executor_, clock_, host, port, kResolveLimit));
    StartConnect start = SystemConnect(executor_, peer);
    ConnectLimits limits;
    co_return co_await ConnectToFirst(executor_, clock_, std::move(addresses), std::move(start), limits);
  }

  asio::awaitable<absl::StatusOr<std::unique_ptr<ByteStream>>> DialTcp(TcpEndpoint endpoint) {
    if (endpoint.proxy) co_return co_await DialByProxy(std::move(endpoint));
    const std::string peer = Describe(endpoint);
    auto stream = co_await ConnectTo(endpoint.host, endpoint.port, peer);
    if (stream.ok()) co_return stream;
    co_return Error(absl::StatusCode::kUnavailable,
                    "cannot connect to %s: %s; check that the server runs and that host and port are right", peer,
                    Message(stream.status()));
  }

  // The proxy gets the name (socks5h), or each address that the name has here (socks5) until one can be reached.
  asio::awaitable<absl::StatusOr<std::unique_ptr<ByteStream>>> DialByProxy(TcpEndpoint endpoint) {
    std::vector<std::string> targets(1, endpoint.host);
    if (!endpoint.proxy->resolves) {
      CO_ASSIGN_OR_RETURN(std::vector<tcp::endpoint> addresses,
                          co_await Resolve(executor_, clock_, endpoint.host, endpoint.port, kResolveLimit));
      addresses = InterleaveFamilies(addresses);
      if (addresses.size() > kProxyAddressesMax) addresses.resize(kProxyAddressesMax);
      targets.clear();
      for (const tcp::endpoint& address : addresses) targets.push_back(address.address().to_string());
    }
    absl::Status status;
    for (const std::string& target : targets) {
      auto stream = co_await DialOneByProxy(endpoint, target);
      if (stream.ok()) co_return stream;
      status = stream.status();
      if (!absl::IsUnavailable(status)) break;
    }
    co_return status;
  }

  asio::awaitable<absl::StatusOr<std::unique_ptr<ByteStream>>> DialOneByProxy(const TcpEndpoint& endpoint,
                                                                              std::string target) {
    const std::string peer = Describe(endpoint);
    const Socks5Proxy& proxy = *endpoint.proxy;
    auto stream = co_await ConnectTo(proxy.host, proxy.port, peer);
    if (!stream.ok()) {
      co_return Error(
          absl::StatusCode::kUnavailable,
          "cannot connect to %s: the proxy cannot be reached: %s; check that it runs and that proxy is right", peer,
          Message(stream.status()));
    }
    DeadlineGuard deadline(clock_, **stream, kProxyLimit);
    Socks5Request request;
    request.host = target;
    request.port = endpoint.port;
    request.username = proxy.username;
    request.password = proxy.password;
    const absl::Status connected = co_await ConnectBySocks5(**stream, std::move(request));
    if (connected.ok()) co_return stream;
    const std::string cause = deadline.fired() ? "no answer within 30 s" : Message(connected);
    const std::string asked = target == endpoint.host ? "" : " (asked for " + target + ")";
    co_return Error(connected.code(), "cannot connect to %s: the proxy%s: %s", peer, asked, cause);
  }

  asio::awaitable<absl::StatusOr<std::unique_ptr<ByteStream>>> DialUnix(UnixEndpoint endpoint) {
    const std::string peer = Describe(endpoint);
    if (endpoint.path.size() >= 108) {
      co_return Error(absl::StatusCode::kInvalidArgument, "the socket path %s is longer than 107 bytes", peer);
    }
    stream_protocol::socket socket(executor_);
    auto token = asio::experimental::as_tuple(asio::use_awaitable);
    const stream_protocol::endpoint target(endpoint.path);
    const auto [error] = co_await socket.async_connect(target, token);
    if (error) {
      co_return Error(absl::StatusCode::kUnavailable,
                      "cannot connect to %s: %s; check that the server runs and that the path is right", peer,
                      error.message());
    }
    co_return std::make_unique<SocketStream<stream_protocol::socket>>(std::move(socket), peer);
  }

  asio::any_io_executor executor_;
  Clock& clock_;
};

}  // namespace

std::string Describe(const Endpoint& endpoint) {
  if (const auto* tcp = std::get_if<TcpEndpoint>(&endpoint)) {
    const std::string target = HostAndPort(tcp->host, tcp->port);
    return tcp->proxy ? target + " by the proxy " + HostAndPort(tcp->proxy->host, tcp->proxy->port) : target;
  }
  if (const auto* unix_socket = std::get_if<UnixEndpoint>(&endpoint)) return Printable(unix_socket->path);
  return "the command `" + Printable(std::get<TunnelEndpoint>(endpoint).command) + "`";
}

std::unique_ptr<Dialer> MakeSystemDialer(asio::any_io_executor executor, Clock& clock) {
  return std::make_unique<SystemDialer>(executor, clock);
}

}  // namespace imapmesh
