#include "engine/net/resolve.h"

#include <fcntl.h>
#include <netdb.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <asio/experimental/as_tuple.hpp>
#include <asio/posix/stream_descriptor.hpp>
#include <asio/use_awaitable.hpp>
#include <cerrno>
#include <cstring>
#include <memory>
#include <system_error>
#include <thread>
#include <utility>

namespace imapmesh {
namespace {

using asio::ip::tcp;

// Shared by the engine and the thread that asks; the thread is done with it once it has written to `ready`.
struct Question {
  explicit Question(int event) : ready(event) {}
  ~Question() { close(ready); }
  const int ready;  // an eventfd
  std::string host, port;
  int error = 0;
  int system_error = 0;
  std::vector<tcp::endpoint> addresses;
};

void Ask(std::shared_ptr<Question> question) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICSERV;
  addrinfo* found = nullptr;
  question->error = getaddrinfo(question->host.c_str(), question->port.c_str(), &hints, &found);
  question->system_error = errno;
  for (const addrinfo* each = found; each != nullptr; each = each->ai_next) {
    tcp::endpoint address;
    if (each->ai_addrlen > address.capacity()) continue;
    std::memcpy(address.data(), each->ai_addr, each->ai_addrlen);
    address.resize(each->ai_addrlen);
    question->addresses.push_back(address);
  }
  if (found != nullptr) freeaddrinfo(found);
  const uint64_t one = 1;
  const ssize_t written = write(question->ready, &one, sizeof one);
  static_cast<void>(written);  // an eventfd at 0 takes it
}

}  // namespace

asio::awaitable<absl::StatusOr<std::vector<tcp::endpoint>>> Resolve(asio::any_io_executor executor, Clock& clock,
                                                                    std::string host, uint16_t port, Duration limit) {
  asio::error_code is_name;
  const asio::ip::address numeric = asio::ip::make_address(host, is_name);
  if (!is_name) co_return std::vector<tcp::endpoint>{tcp::endpoint(numeric, port)};
  const int event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  const int watched = event < 0 ? -1 : fcntl(event, F_DUPFD_CLOEXEC, 0);
  if (watched < 0) {
    if (event >= 0) close(event);
    co_return Error(absl::StatusCode::kUnavailable, "cannot ask for the address of %s: %s", host, std::strerror(errno));
  }
  const auto question = std::make_shared<Question>(event);
  question->host = host;
  question->port = std::to_string(port);
  asio::posix::stream_descriptor ready(executor, watched);
  try {
    std::thread(Ask, question).detach();
  } catch (const std::system_error& error) {
    co_return Error(absl::StatusCode::kUnavailable, "cannot ask for the address of %s: %s", host, error.what());
  }
  auto give_up = [&ready] { ready.cancel(); };
  const auto alarm = clock.CallAfter(limit, give_up);
  auto token = asio::experimental::as_tuple(asio::use_awaitable);
  const auto [late] = co_await ready.async_wait(asio::posix::stream_descriptor::wait_read, token);
  if (late) {
    co_return Error(absl::StatusCode::kUnavailable,
                    "cannot find the address of %s: no answer within %d s; check the network", host,
                    std::chrono::duration_cast<std::chrono::seconds>(limit).count());
  }
  if (question->error != 0 || question->addresses.empty()) {
    const char* cause = question->error == EAI_SYSTEM ? std::strerror(question->system_error)
                        : question->error != 0        ? gai_strerror(question->error)
                                                      : "it has none";
    co_return Error(absl::StatusCode::kUnavailable,
                    "cannot find the address of %s: %s; check the host name and the network", host, cause);
  }
  co_return question->addresses;
}

}  // namespace imapmesh
