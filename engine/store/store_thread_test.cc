// What is asked for at the same time is committed together, and what fails of it is taken back alone.
#include "engine/store/store_thread.h"

#include <gtest/gtest.h>
#include <sqlite3.h>

#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/io_context.hpp>
#include <filesystem>

namespace imapmesh {
namespace {

class StoreThreadTest : public testing::Test {
 protected:
  StoreThreadTest() : path_(testing::TempDir() + "/store_thread_test.db") {
    std::filesystem::remove(path_);
    store_ = *StoreThread::Open(path_, io_.get_executor(), io_.get_executor());
  }

  asio::awaitable<void> Set(std::string key, bool fails, absl::Status& outcome) {
    const auto set = [&](State& state) {
      in_transaction_.push_back(key);
      state.SetMeta(key, "set");
      if (fails) throw SqliteError(SQLITE_IOERR, "a test");
      return true;
    };
    const auto done = co_await store_->Run(set);
    outcome = done.status();
  }
  std::string Get(std::string key) {
    std::string value;
    asio::co_spawn(io_, Load(key, value), asio::detached);
    io_.restart();
    io_.run();
    return value;
  }
  asio::awaitable<void> Load(std::string key, std::string& value) {
    const auto get = [&](State& state) { return state.Meta(key).value_or("unset"); };
    const auto loaded = co_await store_->Run(get);
    value = loaded.value_or("failed");
  }

  asio::io_context io_;
  const std::string path_;
  std::unique_ptr<StoreThread> store_;
  std::vector<std::string> in_transaction_;
};

TEST_F(StoreThreadTest, OneThatFailsIsTakenBackAndTheOthersStay) {
  std::vector<absl::Status> outcomes(3);
  for (int i = 0; i < 3; ++i) {
    asio::co_spawn(io_, Set("key" + std::to_string(i), i == 1, outcomes[static_cast<size_t>(i)]), asio::detached);
  }
  io_.run();
  EXPECT_EQ(in_transaction_.size(), 3u);
  EXPECT_TRUE(outcomes[0].ok()) << outcomes[0];
  EXPECT_TRUE(absl::IsResourceExhausted(outcomes[1])) << outcomes[1];
  EXPECT_TRUE(outcomes[2].ok()) << outcomes[2];
  EXPECT_EQ(Get("key0"), "set");
  EXPECT_EQ(Get("key1"), "unset");
  EXPECT_EQ(Get("key2"), "set");
}

TEST_F(StoreThreadTest, AStatusThatIsReturnedIsAResult) {
  const auto refuse = [](State&) { return absl::StatusOr<int>(absl::NotFoundError("none")); };
  absl::StatusOr<absl::StatusOr<int>> outcome = absl::UnknownError("");
  const auto run = [&]() -> asio::awaitable<void> {
    outcome = absl::StatusOr<absl::StatusOr<int>>(co_await store_->Run(refuse));
  };
  asio::co_spawn(io_, run, asio::detached);
  io_.run();
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  EXPECT_TRUE(absl::IsNotFound(outcome->status()));
}

TEST_F(StoreThreadTest, OneAloneThatFailsIsTakenBack) {
  absl::Status outcome;
  asio::co_spawn(io_, Set("key", true, outcome), asio::detached);
  io_.run();
  EXPECT_TRUE(absl::IsResourceExhausted(outcome)) << outcome;
  EXPECT_EQ(Get("key"), "unset");
}

}  // namespace
}  // namespace imapmesh
