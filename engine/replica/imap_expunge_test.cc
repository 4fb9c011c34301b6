// Expunging what is meant and nothing else, over a scripted server.
#include "engine/replica/imap_expunge.h"

#include <gtest/gtest.h>

#include "engine/imap/scripted_stream.h"

namespace imapmesh {
namespace {

UidSet Uids(std::string_view text) {
  return UidSet::Parse(text).value();
}

class ExpungeTest : public imap::ScriptedSessionTest {
 protected:
  ~ExpungeTest() override { EXPECT_TRUE(Done()) << "the client never sent \"" << script_->steps.front().first << '"'; }
};

TEST_F(ExpungeTest, WithUidplusJustTheseAreExpunged) {
  Greet("UIDPLUS CONDSTORE");
  script_
      ->Step("A1 UID STORE 3:5 (UNCHANGEDSINCE 9) +FLAGS.SILENT (\\Deleted)\r\n", "A1 OK [MODIFIED 4] some changed\r\n")
      .Step("A2 UID EXPUNGE 3,5\r\n", "* 1 EXPUNGE\r\n* 1 EXPUNGE\r\nA2 OK\r\n");
  const auto result = Run(ExpungeMessages(session(), Uids("3:5"), ModSeq(9)));
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->modified.ToString(), "4");
  EXPECT_TRUE(result->unmeant.empty());
}

TEST_F(ExpungeTest, WhatAServerIgnoredIsFoundStillThereAndNotLeftMarked) {
  // Dovecot without the right e: "OK Expunge ignored: Permission denied".
  Greet("UIDPLUS");
  script_->Step("A1 UID STORE 3,5 +FLAGS.SILENT (\\Deleted)\r\n", "A1 OK\r\n")
      .Step("A2 UID EXPUNGE 3,5\r\n", "A2 OK Expunge ignored: Permission denied\r\n")
      .Step("A3 UID FETCH 3,5 (UID FLAGS)\r\n", "* 1 FETCH (UID 3 FLAGS (\\Deleted))\r\nA3 OK\r\n")
      .Step("A4 UID STORE 3 -FLAGS.SILENT (\\Deleted)\r\n", "A4 OK\r\n");
  const auto result = Run(ExpungeMessages(session(), Uids("3,5"), ModSeq()));
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->kept.ToString(), "3");
}

TEST_F(ExpungeTest, ARefusedExpungeLeavesNoMarks) {
  Greet("UIDPLUS");
  script_->Step("A1 UID STORE 3 +FLAGS.SILENT (\\Deleted)\r\n", "A1 OK\r\n")
      .Step("A2 UID EXPUNGE 3\r\n", "A2 NO Permission denied\r\n")
      .Step("A3 UID STORE 3 -FLAGS.SILENT (\\Deleted)\r\n", "A3 OK\r\n");
  EXPECT_TRUE(absl::IsPermissionDenied(Run(ExpungeMessages(session(), Uids("3"), ModSeq())).status()));
}

TEST_F(ExpungeTest, WithoutUidplusExpungeIsSentWhenNothingElseIsMarked) {
  Greet("");
  script_->Step("A1 UID SEARCH DELETED\r\n", "* SEARCH 3\r\nA1 OK\r\n")
      .Step("A2 UID STORE 3,5 +FLAGS.SILENT (\\Deleted)\r\n", "A2 OK\r\n")
      .Step("A3 UID SEARCH ALL\r\n", "* SEARCH 1 3 5 8\r\nA3 OK\r\n")
      .Step("A4 UID SEARCH DELETED\r\n", "* SEARCH 3 5\r\nA4 OK\r\n")
      .Step("A5 EXPUNGE\r\n", "* 2 EXPUNGE\r\n* 2 EXPUNGE\r\nA5 OK\r\n");
  const auto result = Run(ExpungeMessages(session(), Uids("3,5"), ModSeq()));
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_TRUE(result->unmeant.empty());
}

TEST_F(ExpungeTest, WhileOthersAreMarkedNothingIsTouched) {
  Greet("");
  script_->Step("A1 UID SEARCH DELETED\r\n", "* SEARCH 3 7\r\nA1 OK\r\n");
  const auto result = Run(ExpungeMessages(session(), Uids("3,5"), ModSeq()));
  EXPECT_TRUE(absl::IsAborted(result.status())) << result.status();
  EXPECT_NE(Message(result.status()).find("UIDs 7"), std::string::npos) << result.status();
}

TEST_F(ExpungeTest, AMessageMarkedMeanwhileStopsItAndOurMarksAreTakenBack) {
  Greet("");
  script_->Step("A1 UID SEARCH DELETED\r\n", "* SEARCH\r\nA1 OK\r\n")
      .Step("A2 UID STORE 3 +FLAGS.SILENT (\\Deleted)\r\n", "A2 OK\r\n")
      .Step("A3 UID SEARCH ALL\r\n", "* SEARCH 1 3 5 8\r\nA3 OK\r\n")
      .Step("A4 UID SEARCH DELETED\r\n", "* SEARCH 3 8\r\nA4 OK\r\n")
      .Step("A5 UID STORE 3 -FLAGS.SILENT (\\Deleted)\r\n", "A5 OK\r\n");
  EXPECT_TRUE(absl::IsAborted(Run(ExpungeMessages(session(), Uids("3"), ModSeq())).status()));
}

TEST_F(ExpungeTest, WhatWentInTheSameInstantIsTold) {
  Greet("");
  script_->Step("A1 UID SEARCH DELETED\r\n", "* SEARCH\r\nA1 OK\r\n")
      .Step("A2 UID STORE 3 +FLAGS.SILENT (\\Deleted)\r\n", "A2 OK\r\n")
      .Step("A3 UID SEARCH ALL\r\n", "* SEARCH 1 3 5 8\r\nA3 OK\r\n")
      .Step("A4 UID SEARCH DELETED\r\n", "* SEARCH 3\r\nA4 OK\r\n")
      .Step("A5 EXPUNGE\r\n", "* 4 EXPUNGE\r\n* 2 EXPUNGE\r\n* 9 EXPUNGE\r\nA5 OK\r\n");
  const auto result = Run(ExpungeMessages(session(), Uids("3"), ModSeq()));
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->unmeant.ToString(), "8");
}

}  // namespace
}  // namespace imapmesh
