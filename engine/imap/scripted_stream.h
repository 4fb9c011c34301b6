// A server made of a script, for tests: it waits for the bytes it expects, then says what it should say.
//
// Engine thread. Invariant: bytes other than the expected ones fail the test and close the stream.
#ifndef IMAPMESH_ENGINE_IMAP_SCRIPTED_STREAM_H_
#define IMAPMESH_ENGINE_IMAP_SCRIPTED_STREAM_H_

#include <gtest/gtest.h>

#include <algorithm>
#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/io_context.hpp>
#include <deque>
#include <memory>
#include <string>
#include <utility>

#include "engine/imap/session.h"
#include "engine/net/signal.h"
#include "engine/net/stream.h"

namespace imapmesh::imap {

// What the server side keeps, readable after the stream is gone.
struct Script {
  explicit Script(asio::any_io_executor executor) : arrived(executor) {}
  // Waits for `expected`, then sends `reply`; an empty `expected` sends at once.
  Script& Step(std::string expected, std::string reply) {
    steps.emplace_back(std::move(expected), std::move(reply));
    return *this;
  }
  // After the steps: the peer closes in order.
  Script& ThenCloses() {
    closes_at_end = true;
    return *this;
  }
  void Advance() {
    while (!steps.empty() && unread.starts_with(steps.front().first)) {
      unread.erase(0, steps.front().first.size());
      to_client += steps.front().second;
      steps.pop_front();
    }
    const std::string expected = steps.empty() ? "" : steps.front().first;
    if (!expected.starts_with(unread)) {
      ADD_FAILURE() << "the client sent \"" << unread << "\" where \"" << expected << "\" was expected";
      closed = true;
    }
    arrived.Notify();
  }

  std::deque<std::pair<std::string, std::string>> steps;
  std::string unread;
  std::string to_client;
  bool closes_at_end = false;
  bool closed = false;
  size_t read_bytes_max = 1 << 20;
  Signal arrived;
};

class ScriptedStream : public ByteStream {
 public:
  explicit ScriptedStream(std::shared_ptr<Script> script) : script_(std::move(script)) { script_->Advance(); }

  asio::awaitable<absl::StatusOr<size_t>> Read(std::span<char> into) override {
    const std::shared_ptr<Script> script = script_;
    while (script->to_client.empty()) {
      if (script->closed) co_return absl::UnavailableError("closed");
      if (script->closes_at_end && script->steps.empty()) co_return size_t{0};
      co_await script->arrived.Wait();
    }
    const size_t count = std::min({into.size(), script->to_client.size(), script->read_bytes_max});
    std::copy_n(script->to_client.begin(), count, into.begin());
    script->to_client.erase(0, count);
    received_ += count;
    co_return count;
  }
  asio::awaitable<absl::Status> Write(std::string_view bytes) override {
    if (script_->closed) co_return absl::UnavailableError("closed");
    sent_ += bytes.size();
    script_->unread += bytes;
    script_->Advance();
    co_return absl::OkStatus();
  }
  void Close() override {
    script_->closed = true;
    script_->arrived.Notify();
  }
  uint64_t bytes_sent() const override { return sent_; }
  uint64_t bytes_received() const override { return received_; }

 private:
  std::shared_ptr<Script> script_;
  uint64_t sent_ = 0;
  uint64_t received_ = 0;
};

// A session over a script; `Run` drives one coroutine to its end.
class ScriptedSessionTest : public testing::Test {
 protected:
  ScriptedSessionTest()
      : clock_(MakeSystemClock(io_.get_executor())), script_(std::make_shared<Script>(io_.get_executor())) {}

  // To call once the script stands.
  Session& session() {
    if (session_ == nullptr) {
      session_ =
          std::make_unique<Session>(std::make_unique<ScriptedStream>(script_), *clock_, io_.get_executor(), options_);
    }
    return *session_;
  }

  template <typename Result>
  Result Run(asio::awaitable<Result> coroutine) {
    std::optional<Result> result;
    asio::co_spawn(io_, Keep(std::move(coroutine), result), asio::detached);
    io_.restart();
    while (!result && io_.run_one() > 0) {
    }
    EXPECT_TRUE(result.has_value()) << "the coroutine never ended";
    return *std::move(result);
  }

  // Reads a greeting that tells `capabilities`.
  void Greet(const std::string& capabilities) {
    script_->Step("", "* PREAUTH [CAPABILITY IMAP4rev1 " + capabilities + "] ready\r\n");
    const absl::StatusOr<StatusResponse> greeting = Run(session().ReadGreeting());
    ASSERT_TRUE(greeting.ok()) << greeting.status();
  }
  // Whether the client has said all that the script expects.
  bool Done() const { return script_->steps.empty(); }

  asio::io_context io_;
  std::unique_ptr<Clock> clock_;
  std::shared_ptr<Script> script_;
  SessionOptions options_;

 private:
  template <typename Result>
  static asio::awaitable<void> Keep(asio::awaitable<Result> coroutine, std::optional<Result>& result) {
    result.emplace(co_await std::move(coroutine));
  }

  std::unique_ptr<Session> session_;
};

}  // namespace imapmesh::imap

#endif  // IMAPMESH_ENGINE_IMAP_SCRIPTED_STREAM_H_
