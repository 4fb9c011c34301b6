// delay_proxy DELAY_MS PORT:TARGET_PORT...: passes TCP connections on, on 127.0.0.1, and counts what crosses them.
//
// Each byte arrives DELAY_MS after it was read, in either direction; the bandwidth is not limited. For each line on
// standard input one line of JSON is written with the counts so far, by port; the program ends with its input.
// An exchange is a turn-around: the client sends after something of the server was delivered to it (the first command
// after the greeting is the first exchange). A client that streams while answers arrive is charged for each turn, so
// the number is an upper bound of the round trips that were waited for.
#include <algorithm>
#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/io_context.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/posix/stream_descriptor.hpp>
#include <asio/read_until.hpp>
#include <asio/redirect_error.hpp>
#include <asio/steady_timer.hpp>
#include <asio/use_awaitable.hpp>
#include <asio/write.hpp>
#include <charconv>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace {

using asio::ip::tcp;
using Clock = std::chrono::steady_clock;

constexpr size_t kChunkBytes = 256 * 1024;
constexpr size_t kQueuedBytesMax = 16 * 1024 * 1024;  // in flight in one direction; beyond it the sender waits

struct Counts {
  uint64_t connections = 0;
  uint64_t to_server = 0;  // bytes
  uint64_t to_client = 0;
  uint64_t exchanges = 0;
  uint64_t exchanges_max = 0;  // of one connection
};

// Both ends of one connection that is passed on.
struct Link {
  Link(tcp::socket client_end, tcp::socket server_end, Counts& port_counts)
      : client(std::move(client_end)), server(std::move(server_end)), counts(port_counts) {}
  tcp::socket client, server;
  Counts& counts;
  bool server_spoke_last = true;
  uint64_t exchanges = 0;
};

struct Chunk {
  Clock::time_point due;
  std::string bytes;
};

// What is on its way in one direction.
struct Pipe {
  explicit Pipe(const asio::any_io_executor& executor) : changed(executor, Clock::time_point::max()) {}
  std::deque<Chunk> chunks;
  size_t bytes = 0;
  bool ended = false;
  asio::steady_timer changed;  // cancelled to wake who waits on it
};

asio::awaitable<void> Wait(asio::steady_timer& timer) {
  asio::error_code ignored;
  co_await timer.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
}

void CountSent(Link& link, size_t bytes) {
  link.counts.to_server += bytes;
  if (!link.server_spoke_last) return;
  link.server_spoke_last = false;
  ++link.counts.exchanges;
  link.counts.exchanges_max = std::max(link.counts.exchanges_max, ++link.exchanges);
}

asio::awaitable<void> Receive(std::shared_ptr<Link> link, std::shared_ptr<Pipe> pipe, bool from_client,
                              Clock::duration delay) {
  tcp::socket& from = from_client ? link->client : link->server;
  std::string buffer(kChunkBytes, '\0');
  while (true) {
    asio::error_code error;
    const size_t count =
        co_await from.async_read_some(asio::buffer(buffer), asio::redirect_error(asio::use_awaitable, error));
    if (error || count == 0) break;
    if (from_client) CountSent(*link, count);
    pipe->chunks.push_back({Clock::now() + delay, buffer.substr(0, count)});
    pipe->bytes += count;
    pipe->changed.cancel();
    while (pipe->bytes > kQueuedBytesMax && !pipe->ended) co_await Wait(pipe->changed);
  }
  pipe->ended = true;
  pipe->changed.cancel();
}

asio::awaitable<void> Deliver(std::shared_ptr<Link> link, std::shared_ptr<Pipe> pipe, bool from_client) {
  tcp::socket& to = from_client ? link->server : link->client;
  asio::error_code error;
  while (!error) {
    if (pipe->chunks.empty()) {
      if (pipe->ended) break;
      co_await Wait(pipe->changed);
      continue;
    }
    Chunk chunk = std::move(pipe->chunks.front());
    pipe->chunks.pop_front();
    if (chunk.due > Clock::now()) {
      asio::steady_timer due(to.get_executor(), chunk.due);
      co_await Wait(due);
    }
    if (!from_client) {
      link->counts.to_client += chunk.bytes.size();
      link->server_spoke_last = true;
    }
    co_await asio::async_write(to, asio::buffer(chunk.bytes), asio::redirect_error(asio::use_awaitable, error));
    pipe->bytes -= chunk.bytes.size();
    pipe->changed.cancel();
  }
  pipe->ended = true;
  pipe->changed.cancel();
  asio::error_code ignored;
  to.shutdown(tcp::socket::shutdown_send, ignored);
  if (!error) co_return;
  link->client.close(ignored);
  link->server.close(ignored);
}

asio::awaitable<void> Accept(tcp::acceptor acceptor, uint16_t target, Counts& counts, Clock::duration delay) {
  const auto executor = acceptor.get_executor();
  while (true) {
    tcp::socket client = co_await acceptor.async_accept(asio::use_awaitable);
    tcp::socket server(executor);
    const tcp::endpoint endpoint(asio::ip::address_v4::loopback(), target);
    asio::error_code error;
    co_await server.async_connect(endpoint, asio::redirect_error(asio::use_awaitable, error));
    if (error) continue;
    client.set_option(tcp::no_delay(true));
    server.set_option(tcp::no_delay(true));
    ++counts.connections;
    auto link = std::make_shared<Link>(std::move(client), std::move(server), counts);
    for (const bool from_client : {true, false}) {
      auto pipe = std::make_shared<Pipe>(executor);
      asio::co_spawn(executor, Receive(link, pipe, from_client, delay), asio::detached);
      asio::co_spawn(executor, Deliver(link, pipe, from_client), asio::detached);
    }
  }
}

void Print(const std::map<uint16_t, Counts>& ports) {
  std::string line;
  for (const auto& [port, counts] : ports) {
    line += (line.empty() ? "{\"" : ", \"") + std::to_string(port) +
            "\": {\"connections\": " + std::to_string(counts.connections) +
            ", \"to_server\": " + std::to_string(counts.to_server) +
            ", \"to_client\": " + std::to_string(counts.to_client) +
            ", \"exchanges\": " + std::to_string(counts.exchanges) +
            ", \"exchanges_max\": " + std::to_string(counts.exchanges_max) + "}";
  }
  std::printf("%s}\n", line.c_str());
  std::fflush(stdout);
}

asio::awaitable<void> Answer(asio::io_context& context, const std::map<uint16_t, Counts>& ports) {
  asio::posix::stream_descriptor input(context, 0);
  std::string line;
  while (true) {
    asio::error_code error;
    const size_t count = co_await asio::async_read_until(input, asio::dynamic_buffer(line), '\n',
                                                         asio::redirect_error(asio::use_awaitable, error));
    if (error) break;
    line.erase(0, count);
    Print(ports);
  }
  context.stop();
}

template <typename Number>
bool Parse(std::string_view text, Number& number) {
  const auto result = std::from_chars(text.data(), text.data() + text.size(), number);
  return result.ec == std::errc() && result.ptr == text.data() + text.size();
}

}  // namespace

int main(int argc, char** argv) {
  int delay_ms = 0;
  bool valid = argc >= 3 && Parse(std::string_view(argv[1]), delay_ms) && delay_ms >= 0;
  asio::io_context context(1);
  std::map<uint16_t, Counts> ports;
  for (int i = 2; i < argc && valid; ++i) {
    const std::string_view argument(argv[i]);
    const size_t colon = argument.find(':');
    uint16_t port = 0, target = 0;
    valid = colon != std::string_view::npos && Parse(argument.substr(0, colon), port) &&
            Parse(argument.substr(colon + 1), target);
    if (!valid) break;
    tcp::acceptor acceptor(context, tcp::endpoint(asio::ip::address_v4::loopback(), port));
    asio::co_spawn(context, Accept(std::move(acceptor), target, ports[port], std::chrono::milliseconds(delay_ms)),
                   asio::detached);
  }
  if (!valid) {
    std::fprintf(stderr, "usage: %s DELAY_MS PORT:TARGET_PORT...\n", argv[0]);
    return 2;
  }
  asio::co_spawn(context, Answer(context, ports), asio::detached);
  context.run();
  return 0;
}
