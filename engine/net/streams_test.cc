// The transports and layers as a caller sees them: tunnels, deflate, bodies that spill.
#include <gtest/gtest.h>

#include <array>
#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/io_context.hpp>
#include <deque>
#include <random>

#include "engine/net/body.h"
#include "engine/net/clock.h"
#include "engine/net/deadline.h"
#include "engine/net/deflate.h"
#include "engine/net/dialer.h"
#include "engine/net/tunnel.h"

namespace imapmesh {
namespace {

// Gives back what is written, in pieces of at most `piece` bytes.
class Loopback : public ByteStream {
 public:
  explicit Loopback(size_t piece) : piece_(piece) {}
  asio::awaitable<absl::StatusOr<size_t>> Read(std::span<char> into) override {
    const size_t count = std::min({into.size(), piece_, bytes_.size()});
    std::copy_n(bytes_.begin(), count, into.begin());
    bytes_.erase(bytes_.begin(), bytes_.begin() + static_cast<ptrdiff_t>(count));
    co_return count;
  }
  asio::awaitable<absl::Status> Write(std::string_view bytes) override {
    bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
    sent_ += bytes.size();
    co_return absl::OkStatus();
  }
  void Close() override {}
  uint64_t bytes_sent() const override { return sent_; }
  uint64_t bytes_received() const override { return 0; }

 private:
  size_t piece_;
  std::deque<char> bytes_;
  uint64_t sent_ = 0;
};

template <typename Function>
void RunEngine(asio::io_context& context, Function& function) {
  asio::co_spawn(context, function(), asio::detached);
  context.run();
}

asio::awaitable<std::string> ReadAll(ByteStream& stream, size_t wanted) {
  std::string text;
  char buffer[1000];
  while (text.size() < wanted) {
    std::span<char> into(buffer);
    const auto count = co_await stream.Read(into);
    EXPECT_TRUE(count.ok()) << count.status();
    if (!count.ok() || *count == 0) break;
    text.append(buffer, *count);
  }
  co_return text;
}

TEST(Deflate, WhatGoesThroughComesOutWhateverThePieces) {
  std::mt19937 random(1);
  for (const size_t piece : {1, 7, 100000}) {
    asio::io_context context;
    auto run = [&]() -> asio::awaitable<void> {
      auto stream = MakeDeflateStream(std::make_unique<Loopback>(piece), kDeflateNear);
      std::string all;
      for (int i = 0; i < 20; ++i) {
        std::string part;
        for (size_t n = random() % 3000; n > 0; --n) part.push_back(static_cast<char>('a' + random() % 8));
        if (part.empty()) continue;
        EXPECT_TRUE((co_await stream->Write(part)).ok());
        all += part;
      }
      EXPECT_EQ(co_await ReadAll(*stream, all.size()), all);
      EXPECT_LT(stream->bytes_sent(), all.size());
    };
    RunEngine(context, run);
  }
}

TEST(Deflate, PartsAreOneWriteToTheOtherEnd) {
  asio::io_context context;
  auto run = [&]() -> asio::awaitable<void> {
    const std::string text(40'000, 'm');
    auto together = MakeDeflateStream(std::make_unique<Loopback>(1000), kDeflateNear);
    auto apart = MakeDeflateStream(std::make_unique<Loopback>(1000), kDeflateNear);
    const std::array<std::string_view, 3> parts = {"A1 APPEND {40000+}\r\n", text, "\r\n"};
    const std::string all = std::string(parts[0]) + text + "\r\n";
    EXPECT_TRUE((co_await apart->WriteParts(parts)).ok());
    EXPECT_TRUE((co_await together->Write(all)).ok());
    EXPECT_EQ(apart->bytes_sent(), together->bytes_sent()) << "flushed between the parts";
    EXPECT_EQ(co_await ReadAll(*apart, all.size()), all);
  };
  RunEngine(context, run);
}

TEST(Deflate, FewerBytesGoToAPeerThatIsFarAway) {
  asio::io_context context;
  auto run = [&]() -> asio::awaitable<void> {
    std::mt19937 random(1);
    std::string mail;
    for (int i = 0; i < 5000; ++i) mail += "word" + std::to_string(random() % 500) + (i % 12 == 0 ? "\r\n" : " ");
    auto near = MakeDeflateStream(std::make_unique<Loopback>(1000), kDeflateNear);
    auto far = MakeDeflateStream(std::make_unique<Loopback>(1000), kDeflateFar);
    EXPECT_TRUE((co_await near->Write(mail)).ok());
    EXPECT_TRUE((co_await far->Write(mail)).ok());
    EXPECT_LT(far->bytes_sent(), near->bytes_sent());
    EXPECT_EQ(co_await ReadAll(*far, mail.size()), mail);
  };
  RunEngine(context, run);
}

TEST(Deflate, RefusesWhatIsNoDeflate) {
  asio::io_context context;
  auto run = [&]() -> asio::awaitable<void> {
    auto loopback = std::make_unique<Loopback>(100);
    EXPECT_TRUE((co_await loopback->Write("\xff\xff\xff\xff no such block type")).ok());
    auto stream = MakeDeflateStream(std::move(loopback), kDeflateFar);
    char buffer[100];
    std::span<char> into(buffer);
    const auto count = co_await stream->Read(into);
    EXPECT_TRUE(absl::IsDataLoss(count.status())) << count.status();
  };
  RunEngine(context, run);
}

// A gigabyte in a megabyte: each Read gives no more than the caller has room for, and what is not asked for stays
// packed.
TEST(Deflate, ABombIsInflatedOnlyAsFarAsItIsRead) {
  asio::io_context context;
  auto run = [&]() -> asio::awaitable<void> {
    auto loopback = std::make_unique<Loopback>(100'000);
    Loopback& below = *loopback;
    auto stream = MakeDeflateStream(std::move(loopback), kDeflateFar);
    const std::string zeros(1 << 20, '\0');
    for (int i = 0; i < 100; ++i) EXPECT_TRUE((co_await stream->Write(zeros)).ok());
    EXPECT_LT(below.bytes_sent(), 1u << 20);
    char buffer[1000];
    std::span<char> into(buffer);
    for (int i = 0; i < 1000; ++i) {
      const auto count = co_await stream->Read(into);
      EXPECT_TRUE(count.ok() && *count <= sizeof buffer) << count.status();
    }
  };
  RunEngine(context, run);
}

TEST(Tunnel, ACommandIsAStream) {
  asio::io_context context;
  auto run = [&]() -> asio::awaitable<void> {
    auto stream = StartTunnel(context.get_executor(), "cat", "/", "the command `cat`");
    EXPECT_TRUE(stream.ok()) << stream.status();
    EXPECT_TRUE((co_await (*stream)->Write("hello")).ok());
    EXPECT_EQ(co_await ReadAll(**stream, 5), "hello");
    EXPECT_EQ((*stream)->bytes_sent(), 5u);
  };
  RunEngine(context, run);
}

TEST(Tunnel, ACommandThatFailsTellsWhy) {
  asio::io_context context;
  auto run = [&]() -> asio::awaitable<void> {
    auto stream = StartTunnel(context.get_executor(), "echo oops >&2; exit 3", "/", "the command");
    char buffer[100];
    std::span<char> into(buffer);
    const auto count = co_await (*stream)->Read(into);
    EXPECT_TRUE(absl::IsUnavailable(count.status()));
    EXPECT_EQ(Message(count.status()), "the command ended with exit status 3: oops");
  };
  RunEngine(context, run);
}

TEST(Deadline, ClosesAStreamThatIsTooSlow) {
  asio::io_context context;
  auto run = [&]() -> asio::awaitable<void> {
    const auto clock = MakeSystemClock(context.get_executor());
    auto stream = StartTunnel(context.get_executor(), "sleep 60", "/", "the command");
    DeadlineGuard deadline(*clock, **stream, std::chrono::milliseconds(20));
    char buffer[100];
    std::span<char> into(buffer);
    EXPECT_FALSE((co_await (*stream)->Read(into)).ok());
    EXPECT_TRUE(deadline.fired());
  };
  RunEngine(context, run);
}

TEST(Dialer, TellsWhatCannotBeReached) {
  asio::io_context context;
  auto run = [&]() -> asio::awaitable<void> {
    const auto clock = MakeSystemClock(context.get_executor());
    const auto dialer = MakeSystemDialer(context.get_executor(), *clock);
    Endpoint missing = UnixEndpoint{"/nonexistent/imap.sock"};
    const auto stream = co_await dialer->Dial(missing);
    EXPECT_TRUE(absl::IsUnavailable(stream.status()));
    EXPECT_NE(Message(stream.status()).find("/nonexistent/imap.sock"), std::string::npos);
  };
  RunEngine(context, run);
}

TEST(Body, SpillsWhatIsTooLargeForMemory) {
  Body body(100);
  std::string all;
  for (int i = 0; i < 50; ++i) {
    const std::string part(static_cast<size_t>(i), static_cast<char>('a' + i % 26));
    ASSERT_TRUE(body.Append(part).ok());
    all += part;
  }
  EXPECT_FALSE(body.in_memory());
  EXPECT_EQ(body.size(), all.size());
  std::string read(all.size(), '\0');
  for (size_t offset = 0; offset < all.size();) {
    const auto count = body.ReadAt(offset, read.data() + offset, 37);
    ASSERT_TRUE(count.ok());
    offset += *count;
  }
  EXPECT_EQ(read.substr(0, all.size()), all);
  EXPECT_EQ(*body.ReadAt(all.size(), read.data(), 1), 0u);
}

TEST(Body, SaysWhenTheDiskIsFull) {
  Body body(10, "/nonexistent");
  EXPECT_TRUE(absl::IsResourceExhausted(body.Append(std::string(100, 'x'))));
}

}  // namespace
}  // namespace imapmesh
