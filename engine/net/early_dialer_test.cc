// What was begun is taken up once, by whoever dials the same endpoint, and not when it has grown old.
#include "engine/net/early_dialer.h"

#include <gtest/gtest.h>

#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/io_context.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "engine/net/manual_clock.h"
#include "engine/net/signal.h"

namespace imapmesh {
namespace {

using Outcome = std::optional<absl::StatusOr<std::unique_ptr<ByteStream>>>;

// Connects when it is told to.
class SlowDialer : public Dialer {
 public:
  explicit SlowDialer(asio::io_context& io) : answered_(io.get_executor()) {}
  asio::awaitable<absl::StatusOr<std::unique_ptr<ByteStream>>> Dial(Endpoint endpoint) override {
    dialed.push_back(Describe(endpoint));
    while (!answers) co_await answered_.Wait();
    if (!refusal.ok()) co_return refusal;
    co_return std::make_unique<NoStream>();
  }
  void Answer() {
    answers = true;
    answered_.Notify();
  }

  std::vector<std::string> dialed;
  bool answers = false;
  absl::Status refusal;

 private:
  Signal answered_;
};

class EarlyDialerTest : public testing::Test {
 protected:
  EarlyDialerTest() {
    auto dialer = std::make_unique<SlowDialer>(io);
    slow = dialer.get();
    early.emplace(io.get_executor(), clock, std::move(dialer));
  }
  // Nobody waits any longer when the test goes.
  void TearDown() override {
    slow->Answer();
    clock.Settle();
  }

  void Begin(const Endpoint& endpoint) {
    early->Begin(endpoint);
    clock.Settle();
  }
  void Dial(const Endpoint& endpoint, Outcome& outcome) {
    asio::co_spawn(io, Take(endpoint, outcome), asio::detached);
    clock.Settle();
  }
  void Answer() {
    slow->Answer();
    clock.Settle();
  }

  asio::io_context io;
  ManualClock clock{io};
  SlowDialer* slow = nullptr;
  std::optional<EarlyDialer> early;
  const Endpoint home = TcpEndpoint{"192.0.2.1", 143, std::nullopt};
  const Endpoint work = TcpEndpoint{"192.0.2.2", 143, std::nullopt};

 private:
  asio::awaitable<void> Take(Endpoint endpoint, Outcome& outcome) {
    outcome = co_await early->Dial(std::move(endpoint));
  }
};

using Names = std::vector<std::string>;

TEST_F(EarlyDialerTest, WhatIsConnectedAlreadyIsTakenUp) {
  Begin(home);
  Answer();
  Outcome outcome;
  Dial(home, outcome);
  ASSERT_TRUE(outcome.has_value());
  EXPECT_TRUE(outcome->ok());
  EXPECT_EQ(slow->dialed, Names({"192.0.2.1:143"}));
}

TEST_F(EarlyDialerTest, WhatIsStillBeingConnectedIsWaitedFor) {
  Begin(home);
  Outcome outcome;
  Dial(home, outcome);
  EXPECT_FALSE(outcome.has_value());
  Answer();
  ASSERT_TRUE(outcome.has_value());
  EXPECT_TRUE(outcome->ok());
  EXPECT_EQ(slow->dialed, Names({"192.0.2.1:143"}));
}

TEST_F(EarlyDialerTest, EachIsTakenUpOnce) {
  Begin(home);
  Answer();
  Outcome first;
  Outcome second;
  Dial(home, first);
  Dial(home, second);
  EXPECT_TRUE(first->ok());
  EXPECT_TRUE(second->ok());
  EXPECT_EQ(slow->dialed, Names({"192.0.2.1:143", "192.0.2.1:143"}));
}

TEST_F(EarlyDialerTest, AnotherEndpointIsDialedAsEver) {
  Begin(home);
  Answer();
  Outcome outcome;
  Dial(work, outcome);
  EXPECT_TRUE(outcome->ok());
  EXPECT_EQ(slow->dialed, Names({"192.0.2.1:143", "192.0.2.2:143"}));
}

TEST_F(EarlyDialerTest, AnotherLoginAtTheProxyIsAnotherEndpoint) {
  Socks5Proxy proxy;
  proxy.host = "192.0.2.9";
  proxy.username = "one";
  Begin(TcpEndpoint{"192.0.2.1", 143, proxy});
  Answer();
  proxy.username = "two";
  Outcome outcome;
  Dial(TcpEndpoint{"192.0.2.1", 143, proxy}, outcome);
  EXPECT_TRUE(outcome->ok());
  EXPECT_EQ(slow->dialed.size(), 2u);
}

TEST_F(EarlyDialerTest, AFailureIsToldToWhoDials) {
  slow->refusal = absl::UnavailableError("nobody there");
  Begin(home);
  Answer();
  Outcome outcome;
  Dial(home, outcome);
  EXPECT_EQ(outcome->status().message(), "nobody there");
  slow->refusal = absl::OkStatus();
  Dial(home, outcome);
  EXPECT_TRUE(outcome->ok());
}

TEST_F(EarlyDialerTest, WhatHasWaitedLongIsDialedAnew) {
  Begin(home);
  Answer();
  clock.Advance(std::chrono::seconds(11));
  Outcome outcome;
  Dial(home, outcome);
  EXPECT_TRUE(outcome->ok());
  EXPECT_EQ(slow->dialed.size(), 2u);
}

}  // namespace
}  // namespace imapmesh
