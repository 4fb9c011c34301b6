#include "engine/net/connect.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "engine/net/signal.h"
#include "engine/net/socket_stream.h"

namespace imapmesh {
namespace {

using asio::ip::tcp;
using Connected = absl::StatusOr<std::unique_ptr<ByteStream>>;

// What the attempts tell; outlives them.
struct Race {
  Race(asio::any_io_executor executor, size_t count) : changed(executor), outcomes(count) {}
  size_t Running(size_t started) const {
    return static_cast<size_t>(
        std::count(outcomes.begin(), outcomes.begin() + static_cast<ptrdiff_t>(started), std::optional<std::string>()));
  }

  Signal changed;
  std::unique_ptr<ByteStream> winner;
  std::vector<std::optional<std::string>> outcomes;  // why an address failed; nullopt while it has not
};

struct Runner {
  std::unique_ptr<ConnectAttempt> attempt;
  std::unique_ptr<Alarm> limit;
};

Runner Run(Clock& clock, Race& race, size_t index, const tcp::endpoint& address, const StartConnect& start,
           const ConnectLimits& limits) {
  Runner runner;
  runner.attempt = start(address, [&race, index](Connected connected) {
    if (race.outcomes[index]) return;  // too late
    if (connected.ok()) {
      if (race.winner == nullptr) race.winner = *std::move(connected);
    } else {
      race.outcomes[index] = Message(connected.status());
    }
    race.changed.Notify();
  });
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(limits.each).count();
  runner.limit = clock.CallAfter(limits.each, [&race, index, seconds] {
    if (race.outcomes[index]) return;
    race.outcomes[index] = "no answer within " + std::to_string(seconds) + " s";
    race.changed.Notify();
  });
  return runner;
}

std::string AddressText(const tcp::endpoint& address) {
  const std::string text = address.address().to_string();
  return address.address().is_v6() ? "[" + text + "]" : text;
}

// "Connection refused" of a single address, else "[2001:db8::1]: Connection refused; 192.0.2.1: no answer …".
std::string Outcomes(const Race& race, const std::vector<tcp::endpoint>& addresses) {
  if (addresses.size() == 1) return *race.outcomes[0];
  std::string text;
  for (size_t i = 0; i < addresses.size(); ++i) {
    text += (i == 0 ? "" : "; ") + AddressText(addresses[i]) + ": " + *race.outcomes[i];
  }
  return text;
}

class SystemAttempt : public ConnectAttempt {
 public:
  SystemAttempt(asio::any_io_executor executor, const tcp::endpoint& address, std::string peer,
                std::function<void(Connected)> done)
      : state_(std::make_shared<State>(executor, std::move(peer), std::move(done))) {
    // The handler may still be queued when the attempt is gone.
    state_->socket.async_connect(address, [weak = std::weak_ptr(state_)](const asio::error_code& error) {
      if (const auto state = weak.lock()) Finish(*state, error);
    });
  }

 private:
  struct State {
    State(asio::any_io_executor executor, std::string peer_name, std::function<void(Connected)> tell)
        : socket(executor), peer(std::move(peer_name)), done(std::move(tell)) {}
    tcp::socket socket;
    std::string peer;
    std::function<void(Connected)> done;
  };

  static void Finish(State& state, const asio::error_code& error) {
    if (error) {
      state.done(absl::UnavailableError(error.message()));
      return;
    }
    asio::error_code ignored;
    state.socket.set_option(tcp::no_delay(true), ignored);
    state.socket.set_option(asio::socket_base::keep_alive(true), ignored);
    state.done(std::make_unique<SocketStream<tcp::socket>>(std::move(state.socket), state.peer));
  }

  std::shared_ptr<State> state_;
};

}  // namespace

std::vector<tcp::endpoint> InterleaveFamilies(const std::vector<tcp::endpoint>& addresses) {
  std::vector<tcp::endpoint> same, other, mixed;
  for (const tcp::endpoint& address : addresses) {
    const bool first_family = address.address().is_v6() == addresses.front().address().is_v6();
    (first_family ? same : other).push_back(address);
  }
  for (size_t i = 0; i < std::max(same.size(), other.size()); ++i) {
    if (i < same.size()) mixed.push_back(same[i]);
    if (i < other.size()) mixed.push_back(other[i]);
  }
  return mixed;
}

asio::awaitable<absl::StatusOr<std::unique_ptr<ByteStream>>> ConnectToFirst(asio::any_io_executor executor,
                                                                            Clock& clock,
                                                                            std::vector<tcp::endpoint> addresses,
                                                                            StartConnect start, ConnectLimits limits) {
  addresses = InterleaveFamilies(addresses);
  if (addresses.size() > limits.addresses_max) addresses.resize(limits.addresses_max);
  if (addresses.empty()) co_return absl::UnavailableError("the name has no address");
  Race race(executor, addresses.size());
  std::vector<Runner> runners;
  Duration next_start = clock.Now();
  while (true) {
    if (race.winner != nullptr) co_return std::move(race.winner);
    const size_t running = race.Running(runners.size());
    const bool more = runners.size() < addresses.size();
    if (running == 0 && !more) break;
    if (more && (running == 0 || clock.Now() >= next_start)) {
      runners.push_back(Run(clock, race, runners.size(), addresses[runners.size()], start, limits));
      next_start = clock.Now() + limits.next;
    } else if (more) {
      co_await race.changed.WaitFor(clock, next_start - clock.Now());
    } else {
      co_await race.changed.Wait();
    }
    // An attempt that ended needs no socket any longer.
    for (size_t i = 0; i < runners.size(); ++i) {
      if (race.outcomes[i]) runners[i] = Runner();
    }
  }
  co_return absl::UnavailableError(ToAbsl(Outcomes(race, addresses)));
}

StartConnect SystemConnect(asio::any_io_executor executor, std::string peer) {
  return [executor, peer](const tcp::endpoint& address, std::function<void(Connected)> done) {
    return std::make_unique<SystemAttempt>(executor, address, peer, std::move(done));
  };
}

}  // namespace imapmesh
