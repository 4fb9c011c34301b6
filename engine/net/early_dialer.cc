#include "engine/net/early_dialer.h"

#include <algorithm>
#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <optional>
#include <utility>

#include "engine/net/signal.h"

namespace imapmesh {
namespace {

constexpr Duration kKept = std::chrono::seconds(10);  // servers wait a minute or more for a login

}  // namespace

struct EarlyDialer::Begun {
  Begun(asio::any_io_executor executor, Endpoint target, Duration now)
      : endpoint(std::move(target)), since(now), done(executor) {}

  const Endpoint endpoint;
  const Duration since;
  std::optional<absl::StatusOr<std::unique_ptr<ByteStream>>> stream;
  Signal done;
};

EarlyDialer::EarlyDialer(asio::any_io_executor executor, Clock& clock, std::unique_ptr<Dialer> dialer)
    : executor_(executor), clock_(clock), dialer_(std::move(dialer)) {}

EarlyDialer::~EarlyDialer() = default;

void EarlyDialer::Begin(Endpoint endpoint) {
  const auto begun = std::make_shared<Begun>(executor_, std::move(endpoint), clock_.Now());
  begun_.push_back(begun);
  asio::co_spawn(executor_, Connect(begun), asio::detached);
}

asio::awaitable<void> EarlyDialer::Connect(std::shared_ptr<Begun> begun) {
  const std::shared_ptr<Dialer> dialer = dialer_;
  begun->stream = co_await dialer->Dial(begun->endpoint);
  begun->done.Notify();
}

std::shared_ptr<EarlyDialer::Begun> EarlyDialer::TakeBegun(const Endpoint& endpoint) {
  begun_.remove_if([&](const auto& begun) { return clock_.Now() - begun->since > kKept; });
  const auto found =
      std::find_if(begun_.begin(), begun_.end(), [&](const auto& begun) { return begun->endpoint == endpoint; });
  if (found == begun_.end()) return nullptr;
  std::shared_ptr<Begun> begun = *found;
  begun_.erase(found);
  return begun;
}

asio::awaitable<absl::StatusOr<std::unique_ptr<ByteStream>>> EarlyDialer::Dial(Endpoint endpoint) {
  const std::shared_ptr<Begun> begun = TakeBegun(endpoint);
  if (begun == nullptr) co_return co_await dialer_->Dial(std::move(endpoint));
  while (!begun->stream) co_await begun->done.Wait();
  co_return *std::move(begun->stream);
}

}  // namespace imapmesh
