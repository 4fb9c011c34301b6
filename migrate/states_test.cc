#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "engine/store/database.h"
#include "engine/store/state.h"
#include "migrate/imported_state.h"
#include "migrate/interimap_database.h"
#include "migrate/mbsync_state.h"

namespace imapmesh {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Pair;
using testing::SizeIs;

std::string Fresh(const std::string& name) {
  const std::string path = testing::TempDir() + "/" + name;
  std::filesystem::remove_all(path);
  return path;
}

// ---- mbsync

TEST(MbsyncStateFile, HoldsTheUidsOfBothSides) {
  const auto state = ParseMbsyncState(
      "FarUidValidity 11\nNearUidValidity 22\nMaxPulledUid 4\nMaxPushedUid 9\n\n1 2 FS\n3 9 \n4 0 \n0 7 S\n5 6 ~S\n"
      "8 8 >S\n",
      "f");
  ASSERT_TRUE(state.ok()) << state.status();
  EXPECT_EQ(state->far, UidValidity(11));
  EXPECT_EQ(state->near, UidValidity(22));
  EXPECT_THAT(state->uids, ElementsAre(Pair(Uid(1), Uid(2)), Pair(Uid(3), Uid(9)), Pair(Uid(5), Uid(6))));
  EXPECT_EQ(state->one_sided, 2u);
  EXPECT_EQ(state->placeholders, 1u);
}

TEST(MbsyncStateFile, OfOlderVersionsIsReadToo) {
  const auto state = ParseMbsyncState("MasterUidValidity 1\nSlaveUidValidity 2\nMaxExpiredSlaveUid 0\n\n1 1 \n", "f");
  ASSERT_TRUE(state.ok()) << state.status();
  EXPECT_THAT(state->uids, SizeIs(1));
}

TEST(MbsyncStateFile, IsRefusedWithTheLineWhenItIsNone) {
  for (const auto& [text, line] :
       std::map<std::string, std::string>{{"", "f:1:"},
                                          {"FarUidValidity 1\nNearUidValidity 2\n", "f:3:"},
                                          {"FarUidValidity 1\n\n1 1 \n", "f:2:"},
                                          {"FarUidValidity 1\nNearUidValidity 2\n\n1 x \n", "f:4:"},
                                          {"FarUidValidity 1\nNearUidValidity 2\n\n1 99999999999 \n", "f:4:"},
                                          {"FarUidValidity 1\nNearUidValidity 2\n\n1 1 S", "f:4:"},
                                          {"Colour 3\n", "f:1:"}}) {
    const auto state = ParseMbsyncState(text, "f");
    ASSERT_FALSE(state.ok()) << text;
    EXPECT_THAT(Message(state.status()), HasSubstr(line)) << text;
  }
}

// ---- InterIMAP

class InterimapDatabaseTest : public testing::Test {
 protected:
  InterimapDatabaseTest() : path_(Fresh("interimap.db")) {}

  void Make(const char* rows, int version = 1) {
    Database database(path_);
    database.Execute(
        "CREATE TABLE mailboxes(idx INTEGER PRIMARY KEY, mailbox BLOB, subscribed);"
        "CREATE TABLE local(idx INTEGER PRIMARY KEY, UIDVALIDITY, UIDNEXT, HIGHESTMODSEQ);"
        "CREATE TABLE remote(idx INTEGER PRIMARY KEY, UIDVALIDITY, UIDNEXT, HIGHESTMODSEQ);"
        "CREATE TABLE mapping(idx, lUID, rUID, PRIMARY KEY(idx, lUID));"
        "INSERT INTO mailboxes VALUES(1, x'494E424F58', 1), (2, x'4C697374730026414F512D', 1);"
        "INSERT INTO local VALUES(1, 10, 5, 9), (2, 11, 5, 9);"
        "INSERT INTO remote VALUES(1, 20, 5, 9), (2, 4294967295, 5, 9);");
    database.Execute(rows);
    database.Execute(("PRAGMA user_version = " + std::to_string(version)).c_str());
  }

  const std::string path_;
};

TEST_F(InterimapDatabaseTest, TellsWhichUidsAreOneMessage) {
  Make("INSERT INTO mapping VALUES(1, 1, 7), (1, 2, 8), (2, 3, 3)");
  const auto pairs = ReadInterimapDatabase(path_);
  ASSERT_TRUE(pairs.ok()) << pairs.status();
  ASSERT_THAT(*pairs, SizeIs(2));
  EXPECT_EQ((*pairs)[0].a.mailbox, "INBOX");
  EXPECT_EQ((*pairs)[0].b.uid_validity, UidValidity(20));
  EXPECT_THAT((*pairs)[0].uids, ElementsAre(Pair(Uid(1), Uid(7)), Pair(Uid(2), Uid(8))));
  EXPECT_EQ((*pairs)[1].a.mailbox, "Lists/ä");
}

TEST_F(InterimapDatabaseTest, OfAnotherVersionIsRefused) {
  Make("", 0);
  EXPECT_THAT(Message(ReadInterimapDatabase(path_).status()), HasSubstr("run interimap 0.5 once"));
}

TEST_F(InterimapDatabaseTest, InUseIsRefused) {
  Make("");
  Database held(path_);
  held.Execute("PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE");
  EXPECT_THAT(Message(ReadInterimapDatabase(path_).status()), HasSubstr("stop interimap"));
}

TEST_F(InterimapDatabaseTest, DamagedIsRefused) {
  Make("INSERT INTO mapping VALUES(1, 1, -7)");
  EXPECT_THAT(Message(ReadInterimapDatabase(path_).status()), HasSubstr("a UID is out of range"));
  std::ofstream(path_, std::ios::trunc) << "this is no SQLite file at all, however long it may be";
  EXPECT_FALSE(ReadInterimapDatabase(path_).ok());
  EXPECT_THAT(Message(ReadInterimapDatabase(path_ + ".none").status()), HasSubstr("cannot be read"));
}

// ---- the state

TEST(ImportedState, PairsThatShareAUidAreOneMessage) {
  const std::string path = Fresh("imported.db");
  const std::vector<MailboxPair> pairs = {
      {{"a", "INBOX", UidValidity(1)}, {"b", "INBOX", UidValidity(2)}, {{Uid(1), Uid(1)}, {Uid(2), Uid(2)}}},
      {{"b", "INBOX", UidValidity(2)}, {"c", "INBOX", UidValidity(3)}, {{Uid(1), Uid(9)}}},
      {{"b", "INBOX", UidValidity(77)}, {"d", "INBOX", UidValidity(4)}, {{Uid(2), Uid(5)}}}};
  const auto taken = WriteImportedState(path, pairs);
  ASSERT_TRUE(taken.ok()) << taken.status();
  EXPECT_EQ(*taken, 3);  // the last pair contradicts: another UIDVALIDITY
  State state(path);
  const auto number = [&](const char* replica, uint32_t uid) {
    const auto copy = state.imported().Find(state.InternReplica(replica), "INBOX");
    return state.imported().NumberOf(copy->id, Uid(uid));
  };
  EXPECT_EQ(number("a", 1), number("c", 9));
  EXPECT_NE(number("a", 1), number("a", 2));
  EXPECT_EQ(number("a", 3), std::nullopt);
}

TEST(ImportedState, IsOnlyABeginning) {
  const std::string path = Fresh("twice.db");
  const std::vector<MailboxPair> pairs = {
      {{"a", "INBOX", UidValidity(1)}, {"b", "INBOX", UidValidity(2)}, {{Uid(1), Uid(1)}}}};
  ASSERT_TRUE(WriteImportedState(path, pairs).ok());
  EXPECT_EQ(WriteImportedState(path, pairs).value_or(0), 1);  // made again
  {
    State state(path);
    MailboxCopyRecord used;
    used.replica = state.InternReplica("a");
    used.mailbox = state.InternMailbox("INBOX");
    state.Save(used);
  }
  EXPECT_THAT(Message(WriteImportedState(path, pairs).status()), HasSubstr("there is a state already"));
}

}  // namespace
}  // namespace imapmesh
