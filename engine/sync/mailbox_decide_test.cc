#include "engine/sync/mailbox_decide.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <filesystem>
#include <optional>

#include "graph/load.h"

namespace imapmesh {
namespace {

constexpr int64_t kNow = 1'700'000'000'000;
enum { kA, kB, kC };

// A mailbox at three replicas; what is deleted at b or c is kept at a.
class MailboxDecideTest : public testing::Test {
 protected:
  MailboxDecideTest()
      : folder_(std::filesystem::temp_directory_path() / ("mailbox-decide-" + std::to_string(getpid()))),
        state_((std::filesystem::create_directories(folder_), folder_ / "state.db")) {
    auto loaded = LoadTopologyText(
        R"(name: "t" replica { name: "a" tunnel { command: "a" } } replica { name: "b" tunnel { command: "b" } }
           replica { name: "c" tunnel { command: "c" } } edge { a: "a" b: "b" deletes: KEEP } edge { a: "b" b: "c" }
           policy { mailbox_deletes: ASK })",
        "t", ".");
    EXPECT_TRUE(loaded.ok()) << loaded.status();
    graph_ = loaded->graph;
    mailbox_ = state_.InternMailbox("Work");
    for (size_t r = 0; r < copies_.size(); ++r) {
      MailboxCopyRecord record;
      record.replica = ReplicaId(static_cast<int64_t>(r) + 1);
      record.mailbox = mailbox_;
      record.local_name = "Work";
      record.exists = true;
      record.exists_stamp = state_.NextStamp();
      state_.Save(record);
      copies_[r] = record.id;
    }
  }
  ~MailboxDecideTest() override { std::filesystem::remove_all(folder_); }

  MailboxCopyRecord Copy(size_t r) { return *state_.mailboxes().FindCopy(copies_[r]); }
  void SetGone(size_t r, MailboxGone gone, Stamp stamp) {
    MailboxCopyRecord record = Copy(r);
    record.exists = false;
    record.gone = gone;
    record.exists_stamp = stamp;
    state_.Save(record);
  }
  void Decide(const std::set<MailboxCopyId>& confirmed, const std::set<ReplicaId>& busy = {}) {
    DecideMailboxes(*graph_, {ReplicaId(1), ReplicaId(2), ReplicaId(3)}, confirmed, busy, kNow)(state_);
  }

  std::filesystem::path folder_;
  State state_;
  std::optional<Transaction> transaction_{std::in_place, state_.database()};
  std::shared_ptr<const Graph> graph_;
  MailboxId mailbox_;
  std::array<MailboxCopyId, 3> copies_;
};

TEST_F(MailboxDecideTest, ADeletionIsAskedAboutWhereAnotherOneWaitsForAnAnswer) {
  SetGone(kB, MailboxGone::kUndecided, state_.NextStamp());
  Decide({copies_[kB]});
  EXPECT_EQ(Copy(kB).gone, MailboxGone::kWaits);
  SetGone(kC, MailboxGone::kUndecided, state_.NextStamp());
  Decide({copies_[kC]});
  EXPECT_EQ(Copy(kC).gone, MailboxGone::kWaits) << "b may be put back, and tells c of it";
}

TEST_F(MailboxDecideTest, WhatTookOverADeletionIsMadeAgainForMailToo) {
  const Stamp deletion = state_.NextStamp();
  SetGone(kB, MailboxGone::kNo, deletion);
  SetGone(kC, MailboxGone::kNo, deletion);
  MessageRegisters message;
  message.mailbox = mailbox_;
  message.id = state_.InsertMessage(message);
  CopyRegisters copy;
  copy.mailbox_copy = copies_[kA];
  copy.uid = Uid(1);
  copy.presence = Presence::kPresent;
  copy.stamp = state_.NextStamp();
  state_.SaveCopy(message.id, copy);
  Decide({}, {ReplicaId(2)});
  EXPECT_FALSE(IsDeleted(Copy(kC)));
  SetGone(kC, MailboxGone::kNo, deletion);  // b, which was busy, tells it of the deletion
  Decide({});
  EXPECT_FALSE(IsDeleted(Copy(kB)));
  EXPECT_FALSE(IsDeleted(Copy(kC)));
}

}  // namespace
}  // namespace imapmesh
