// Over real folders.
#include "engine/net/folder_watch.h"

#include <gtest/gtest.h>

#include <asio/io_context.hpp>
#include <filesystem>
#include <fstream>

namespace imapmesh {
namespace {

namespace fs = std::filesystem;

class FolderWatchTest : public testing::Test {
 protected:
  FolderWatchTest() : clock_(MakeSystemClock(io_.get_executor())), root_(fs::path(testing::TempDir()) / "watched") {
    fs::remove_all(root_);
    fs::create_directories(root_ / "new");
  }

  void Start() {
    auto count = [this] { ++told_; };
    auto started = FolderWatch::Start(io_.get_executor(), *clock_, root_.string(), count);
    ASSERT_TRUE(started.ok()) << started.status();
    watch_ = *std::move(started);
  }
  void Write(const fs::path& path) { std::ofstream(root_ / path) << "x"; }
  // Lets it notice; whether it told.
  bool Told() {
    const int before = told_;
    io_.restart();
    io_.run_for(std::chrono::milliseconds(100));
    return told_ > before;
  }

  asio::io_context io_;
  std::unique_ptr<Clock> clock_;
  const fs::path root_;
  std::unique_ptr<FolderWatch> watch_;
  int told_ = 0;
};

TEST_F(FolderWatchTest, ChangesThatComeTogetherAreToldOnce) {
  Start();
  EXPECT_FALSE(Told());
  Write("new/1");
  Write("new/2");
  EXPECT_TRUE(Told());
  EXPECT_EQ(told_, 1);
  fs::rename(root_ / "new/1", root_ / "new/1:2,S");
  EXPECT_TRUE(Told());
  fs::remove(root_ / "new/2");
  EXPECT_TRUE(Told());
}

TEST_F(FolderWatchTest, FoldersThatAppearAreWatchedToo) {
  Start();
  fs::create_directories(root_ / ".Work/cur");
  EXPECT_TRUE(Told());
  EXPECT_EQ(watch_->folders(), 4u);
  Write(".Work/cur/1");
  EXPECT_TRUE(Told());
  fs::remove_all(root_ / ".Work");
  EXPECT_TRUE(Told());
  EXPECT_EQ(watch_->folders(), 2u);
}

TEST_F(FolderWatchTest, WhatTellsNothingIsPassedOver) {
  Start();
  Write("dovecot.index.cache");
  Write("dovecot-uidlist.lock");
  Write("dovecot.list.index.log");
  EXPECT_FALSE(Told());
  Write("dovecot.index.log");
  EXPECT_TRUE(Told());
}

TEST_F(FolderWatchTest, AfterItsEndNothingIsTold) {
  Start();
  Write("new/1");
  watch_.reset();
  EXPECT_FALSE(Told());
}

TEST_F(FolderWatchTest, AFolderThatIsNotThereIsAnError) {
  const auto started = FolderWatch::Start(io_.get_executor(), *clock_, (root_ / "none").string(), [] {});
  EXPECT_TRUE(absl::IsNotFound(started.status())) << started.status();
}

}  // namespace
}  // namespace imapmesh
