#include "engine/net/dialer.h"

#include <asio/connect.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/local/stream_protocol.hpp>
#include <utility>

#include "base/printable.h"
#include "engine/net/socket_stream.h"
#include "engine/net/tunnel.h"

namespace imapmesh {
namespace {

constexpr Duration kConnectLimit = std::chrono::seconds(15);

using asio::ip::tcp;
using asio::local::stream_protocol;

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
  asio::awaitable<absl::StatusOr<std::unique_ptr<ByteStream>>> DialTcp(TcpEndpoint endpoint) {
    const std::string peer = Describe(endpoint);
    tcp::resolver resolver(executor_);
    auto token = asio::experimental::as_tuple(asio::use_awaitable);
    const std::string port = std::to_string(endpoint.port);
    const auto [unresolved, addresses] = co_await resolver.async_resolve(endpoint.host, port, token);
    if (unresolved) {
      co_return Error(absl::StatusCode::kUnavailable,
                      "cannot find the address of %s: %s; check the host name and the network", endpoint.host,
                      unresolved.message());
    }
    std::string last_error = "no address";
    for (const auto& address : addresses) {
      tcp::socket socket(executor_);
      auto give_up = [&socket] {
        asio::error_code ignored;
        socket.close(ignored);
      };
      const auto alarm = clock_.CallAfter(kConnectLimit, give_up);
      const tcp::endpoint target = address.endpoint();
      const auto [error] = co_await socket.async_connect(target, token);
      if (error) {
        last_error = error == asio::error::operation_aborted ? "no answer within 15 s" : error.message();
        continue;
      }
      asio::error_code ignored;
      socket.set_option(tcp::no_delay(true), ignored);
      socket.set_option(asio::socket_base::keep_alive(true), ignored);
      co_return std::make_unique<SocketStream<tcp::socket>>(std::move(socket), peer);
    }
    co_return Error(absl::StatusCode::kUnavailable,
                    "cannot connect to %s: %s; check that the server runs and that host and port are right", peer,
                    last_error);
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
    const bool v6 = tcp->host.find(':') != std::string::npos;
    return (v6 ? "[" + tcp->host + "]" : tcp->host) + ":" + std::to_string(tcp->port);
  }
  if (const auto* unix_socket = std::get_if<UnixEndpoint>(&endpoint)) return Printable(unix_socket->path);
  return "the command `" + Printable(std::get<TunnelEndpoint>(endpoint).command) + "`";
}

std::unique_ptr<Dialer> MakeSystemDialer(asio::any_io_executor executor, Clock& clock) {
  return std::make_unique<SystemDialer>(executor, clock);
}

}  // namespace imapmesh
