// Servers that want to harm: every way to make the client wait, hold or show without end meets a limit.
#include <gtest/gtest.h>

#include "engine/imap/commands.h"
#include "engine/imap/open.h"
#include "engine/imap/scripted_stream.h"
#include "engine/net/signal.h"

namespace imapmesh::imap {
namespace {

using std::chrono::milliseconds;

// Says `beginning`, then one more byte every `pause`, for ever.
class TricklingStream : public ByteStream {
 public:
  TricklingStream(Clock& clock, asio::any_io_executor executor, std::string beginning, Duration pause)
      : clock_(clock), executor_(executor), left_(std::move(beginning)), pause_(pause) {}
  asio::awaitable<absl::StatusOr<size_t>> Read(std::span<char> into) override {
    if (left_.empty()) {
      co_await Sleep(clock_, executor_, pause_);
      left_ = "x";
    }
    if (closed_) co_return absl::UnavailableError("closed");
    const size_t count = std::min(into.size(), left_.size());
    std::copy_n(left_.begin(), count, into.begin());
    left_.erase(0, count);
    co_return count;
  }
  asio::awaitable<absl::Status> Write(std::string_view) override { co_return absl::OkStatus(); }
  void Close() override { closed_ = true; }
  uint64_t bytes_sent() const override { return 0; }
  uint64_t bytes_received() const override { return 0; }

 private:
  Clock& clock_;
  asio::any_io_executor executor_;
  std::string left_;
  Duration pause_;
  bool closed_ = false;
};

class HostileTest : public ScriptedSessionTest {};

TEST_F(HostileTest, AnEndlessGreetingIsGivenUpThoughEachByteComesInTime) {
  for (const std::string_view beginning : {"* OK hello ", "* OK hello\r\n* OK and "}) {
    OpenOptions options;
    options.inactivity_limit = milliseconds(100);
    auto stream =
        std::make_unique<TricklingStream>(*clock_, io_.get_executor(), std::string(beginning), milliseconds(10));
    const Duration begin = clock_->Now();
    const auto session = Run(OpenSession(std::move(stream), *clock_, io_.get_executor(), options));
    EXPECT_TRUE(absl::IsDeadlineExceeded(session.status())) << session.status();
    EXPECT_GE(clock_->Now() - begin, kOpeningWaits * milliseconds(100));
  }
}

}  // namespace
}  // namespace imapmesh::imap
