// Happy Eyeballs by a clock that the test moves, and SOCKS5 by a proxy made of a script.
#include "engine/net/connect.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/io_context.hpp>
#include <map>
#include <optional>

#include "engine/net/manual_clock.h"
#include "engine/net/socks5.h"

namespace imapmesh {
namespace {

using asio::ip::tcp;
using std::chrono::milliseconds;
using std::chrono::seconds;
using std::string_literals::operator""s;

tcp::endpoint Address(const std::string& text) {
  return tcp::endpoint(asio::ip::make_address(text), 993);
}

class ConnectTest : public testing::Test {
 protected:
  struct Attempt : public ConnectAttempt {
    Attempt(ConnectTest& test_of, std::string name_of) : test(test_of), name(std::move(name_of)) {}
    ~Attempt() override { test.running.erase(name); }
    ConnectTest& test;
    std::string name;
  };
  using Done = std::function<void(absl::StatusOr<std::unique_ptr<ByteStream>>)>;

  // Whatever still runs comes to its end while the test is whole.
  void TearDown() override { clock.Advance(std::chrono::hours(1)); }

  void Start(const std::vector<std::string>& texts) {
    std::vector<tcp::endpoint> addresses;
    for (const std::string& text : texts) addresses.push_back(Address(text));
    auto run = [this, addresses]() -> asio::awaitable<void> {
      StartConnect start = [this](const tcp::endpoint& address, Done done) {
        const std::string name = address.address().to_string();
        started.push_back(name);
        running[name] = std::move(done);
        return std::make_unique<Attempt>(*this, name);
      };
      ConnectLimits limits;
      outcome = co_await ConnectToFirst(io.get_executor(), clock, addresses, start, limits);
    };
    run_ = run;  // outlives the coroutine
    asio::co_spawn(io, run_(), asio::detached);
    clock.Settle();
  }
  void Answer(const std::string& name) {
    running.at(name)(std::make_unique<NoStream>());
    clock.Settle();
  }
  void Refuse(const std::string& name) {
    running.at(name)(absl::UnavailableError("Connection refused"));
    clock.Settle();
  }

  asio::io_context io;
  ManualClock clock{io};
  std::vector<std::string> started;
  std::map<std::string, Done> running;
  std::optional<absl::StatusOr<std::unique_ptr<ByteStream>>> outcome;

 private:
  std::function<asio::awaitable<void>()> run_;
};

using Names = std::vector<std::string>;

TEST_F(ConnectTest, FamiliesAlternateAndTheFirstKeepsItsPlace) {
  std::string mixed;
  for (const tcp::endpoint& each : InterleaveFamilies(
           {Address("2001:db8::1"), Address("2001:db8::2"), Address("2001:db8::3"), Address("192.0.2.1")})) {
    mixed += each.address().to_string() + " ";
  }
  EXPECT_EQ(mixed, "2001:db8::1 192.0.2.1 2001:db8::2 2001:db8::3 ");
}

TEST_F(ConnectTest, TheFirstThatAnswersWinsAndNoOtherIsTried) {
  Start({"2001:db8::1", "192.0.2.1"});
  clock.Advance(milliseconds(249));
  Answer("2001:db8::1");
  ASSERT_TRUE(outcome.has_value());
  EXPECT_TRUE(outcome->ok());
  clock.Advance(seconds(60));
  EXPECT_EQ(started, Names({"2001:db8::1"}));
}

TEST_F(ConnectTest, AnAddressThatIsSilentGetsCompanyAfterAQuarterOfASecond) {
  Start({"2001:db8::1", "192.0.2.1", "192.0.2.2"});
  EXPECT_EQ(started, Names({"2001:db8::1"}));
  clock.Advance(milliseconds(250));
  EXPECT_EQ(started, Names({"2001:db8::1", "192.0.2.1"}));
  EXPECT_EQ(running.size(), 2u) << "the first may still answer";
  Answer("192.0.2.1");
  EXPECT_TRUE(outcome.has_value() && outcome->ok());
  EXPECT_TRUE(running.empty()) << "the loser is given up";
}

TEST_F(ConnectTest, TheSlowFirstOneMayStillWin) {
  Start({"2001:db8::1", "192.0.2.1"});
  clock.Advance(milliseconds(300));
  Answer("2001:db8::1");
  EXPECT_TRUE(outcome.has_value() && outcome->ok());
}

TEST_F(ConnectTest, ARefusalBringsTheNextAtOnce) {
  Start({"2001:db8::1", "192.0.2.1"});
  Refuse("2001:db8::1");
  EXPECT_EQ(started, Names({"2001:db8::1", "192.0.2.1"}));
  EXPECT_EQ(running.size(), 1u);
}

TEST_F(ConnectTest, WhenNoneAnswersTheErrorTellsOfEach) {
  Start({"2001:db8::1", "192.0.2.1"});
  Refuse("2001:db8::1");
  clock.Advance(seconds(14));
  EXPECT_FALSE(outcome.has_value());
  clock.Advance(seconds(1));
  ASSERT_TRUE(outcome.has_value());
  EXPECT_EQ(Message(outcome->status()), "[2001:db8::1]: Connection refused; 192.0.2.1: no answer within 15 s");
  EXPECT_TRUE(running.empty());
}

TEST_F(ConnectTest, OneAddressNeedsNoName) {
  Start({"192.0.2.1"});
  Refuse("192.0.2.1");
  EXPECT_EQ(Message(outcome->status()), "Connection refused");
}

TEST_F(ConnectTest, ANameWithManyAddressesIsNoWayToHoldUsUp) {
  Names many;
  for (int i = 1; i <= 100; ++i) many.push_back("192.0.2." + std::to_string(i));
  Start(many);
  clock.Advance(seconds(60));
  EXPECT_EQ(started.size(), 16u);
  EXPECT_TRUE(outcome.has_value());
}

TEST_F(ConnectTest, NoAddressIsAnError) {
  Start({});
  EXPECT_TRUE(outcome.has_value() && absl::IsUnavailable(outcome->status()));
}

// ---- SOCKS5

// Says `answers` whatever it is told, one byte at a time, and then closes.
class ScriptedProxy : public ByteStream {
 public:
  explicit ScriptedProxy(std::string answers) : answers_(std::move(answers)) {}
  asio::awaitable<absl::StatusOr<size_t>> Read(std::span<char> into) override {
    if (next_ == answers_.size()) co_return size_t{0};
    into[0] = answers_[next_++];
    co_return size_t{1};
  }
  asio::awaitable<absl::Status> Write(std::string_view bytes) override {
    told += bytes;
    co_return absl::OkStatus();
  }
  void Close() override {}
  uint64_t bytes_sent() const override { return 0; }
  uint64_t bytes_received() const override { return 0; }
  bool all_read() const { return next_ == answers_.size(); }

  std::string told;

 private:
  std::string answers_;
  size_t next_ = 0;
};

absl::Status Ask(ScriptedProxy& proxy, const Socks5Request& request) {
  asio::io_context io;
  absl::Status status;
  auto run = [&]() -> asio::awaitable<void> { status = co_await ConnectBySocks5(proxy, request); };
  asio::co_spawn(io, run(), asio::detached);
  io.run();
  return status;
}

Socks5Request To(std::string host, std::string username = "", std::string password = "") {
  Socks5Request request;
  request.host = std::move(host);
  request.port = 993;
  request.username = std::move(username);
  request.password = std::move(password);
  return request;
}

constexpr char kBound[] = "\5\0\0\1\0\0\0\0\0\0";
const std::string kConnected = std::string(kBound, 10);

TEST(Socks5, AsksForANameWithoutALogin) {
  ScriptedProxy proxy("\5\0"s + kConnected);
  EXPECT_EQ(Ask(proxy, To("mail.example.org")), absl::OkStatus());
  EXPECT_EQ(proxy.told, "\5\1\0\5\1\0\3\x10mail.example.org\3\xe1"s);
  EXPECT_TRUE(proxy.all_read());
}

TEST(Socks5, AsksForAddressesAsSuch) {
  ScriptedProxy v4("\5\0"s + kConnected);
  EXPECT_EQ(Ask(v4, To("192.0.2.1")), absl::OkStatus());
  EXPECT_EQ(v4.told, "\5\1\0\5\1\0\1\xc0\0\2\1\3\xe1"s);
  ScriptedProxy v6("\5\0"s + kConnected);
  EXPECT_EQ(Ask(v6, To("2001:db8::1")), absl::OkStatus());
  EXPECT_EQ(v6.told, "\5\1\0\5\1\0\4\x20\1\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\1\3\xe1"s);
}

TEST(Socks5, LogsInWhenAsked) {
  ScriptedProxy proxy("\5\2\1\0"s + kConnected);
  EXPECT_EQ(Ask(proxy, To("h", "user", "secret")), absl::OkStatus());
  EXPECT_EQ(proxy.told, "\5\2\0\2\1\4user\6secret\5\1\0\3\1h\3\xe1"s);
  ScriptedProxy open("\5\0"s + kConnected);
  EXPECT_EQ(Ask(open, To("h", "user", "secret")), absl::OkStatus());
  EXPECT_EQ(open.told.find("secret"), std::string::npos) << "who does not ask is not told";
}

TEST(Socks5, ReadsAnyBoundAddressToItsEnd) {
  for (const std::string& bound : {"\4"s + std::string(18, 'x'), "\3\5bound\1\2"s, "\3\0\1\2"s}) {
    ScriptedProxy proxy("\5\0\5\0\0"s + bound);
    EXPECT_EQ(Ask(proxy, To("h")), absl::OkStatus());
    EXPECT_TRUE(proxy.all_read());
  }
}

TEST(Socks5, TellsRefusalsApart) {
  const auto refused = [](const std::string& answers, const Socks5Request& request = To("h", "user", "secret")) {
    ScriptedProxy proxy(answers);
    return Ask(proxy, request);
  };
  EXPECT_TRUE(absl::IsUnauthenticated(refused("\5\xff"s, To("h"))));
  EXPECT_TRUE(absl::IsUnauthenticated(refused("\5\xff"s)));
  EXPECT_TRUE(absl::IsUnauthenticated(refused("\5\2\1\1"s)));
  EXPECT_NE(Message(refused("\5\0\5\4\0\1"s)).find("host unreachable"), std::string::npos);
  EXPECT_TRUE(absl::IsUnavailable(refused("\5\0\5\xc8\0\1"s)));
  EXPECT_TRUE(absl::IsUnavailable(refused("\5\0\5\0\0\1\1"s))) << "it closes in the middle";
  for (const std::string& other : {"HTTP/1.1 400"s, "\4\0"s, "\5\2"s, "\5\0\5\0\0\7"s, "\5\0\4\0\0\1"s}) {
    EXPECT_TRUE(absl::IsDataLoss(refused(other, To("h")))) << other;
  }
  EXPECT_TRUE(absl::IsInvalidArgument(refused("", To(std::string(256, 'h')))));
  EXPECT_TRUE(absl::IsInvalidArgument(refused("", To("h", "u", std::string(256, 'p')))));
}

}  // namespace
}  // namespace imapmesh
