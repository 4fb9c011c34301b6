#include "engine/store/state.h"

#include <gtest/gtest.h>
#include <sqlite3.h>

#include <filesystem>

namespace imapmesh {
namespace {

class StateTest : public testing::Test {
 protected:
  StateTest() : path_(testing::TempDir() + "/state_test.db") { std::filesystem::remove(path_); }

  MessageRegisters AddMessage(State& state, MailboxId mailbox) {
    MessageRegisters message;
    message.mailbox = mailbox;
    message.identity.fill(7);
    message.size = 10;
    message.message_id = "<x@y>";
    message.id = state.InsertMessage(message);
    return message;
  }

  std::string path_;
};

TEST_F(StateTest, RemembersWhatItWasTold) {
  MessageId id;
  {
    State state(path_);
    const MailboxId mailbox = state.InternMailbox("Entwürfe");
    MailboxCopyRecord record;
    record.replica = state.InternReplica("laptop");
    record.mailbox = mailbox;
    record.uid_next = Uid(4000000000);
    record.highest_modseq = ModSeq(0x7FFFFFFFFFFFFFFF);
    state.Save(record);
    id = AddMessage(state, mailbox).id;
    CopyRegisters copy;
    copy.mailbox_copy = record.id;
    copy.uid = Uid(4294967295);
    copy.presence = Presence::kPresent;
    copy.stamp = Stamp(1'000'000'000'000);
    copy.flags.Put(state.InternFlag("\\Seen"), true, Stamp(300));
    copy.flags.Put(state.InternFlag("Work"), false, Stamp(5));
    state.SaveCopy(id, copy);
  }
  State state(path_);
  const auto record = state.MailboxCopies().at(0);
  EXPECT_EQ(state.mailboxes().FindCopy(record.id)->uid_validity, record.uid_validity);
  EXPECT_EQ(state.mailboxes().UidValidityOf(record.id), record.uid_validity);
  EXPECT_FALSE(state.mailboxes().FindCopy(MailboxCopyId(record.id.value + 1)));
  EXPECT_EQ(state.mailboxes().UidValidityOf(MailboxCopyId(record.id.value + 1)), UidValidity());
  EXPECT_EQ(record.mailbox_name, "Entwürfe");
  EXPECT_EQ(record.highest_modseq, ModSeq(0x7FFFFFFFFFFFFFFF));
  const auto message = state.LoadByUid(record.id, Uid(4294967295));
  ASSERT_TRUE(message.has_value());
  EXPECT_EQ(message->id, id);
  EXPECT_EQ(message->copies.at(0).stamp, Stamp(1'000'000'000'000));
  EXPECT_TRUE(message->copies[0].flags.IsSet(state.InternFlag("\\seen")));
  EXPECT_EQ(message->copies[0].flags.Get(state.InternFlag("WORK")).stamp, Stamp(5));
  EXPECT_EQ(state.FlagName(state.InternFlag("WORK")), "Work");
}

TEST_F(StateTest, GivesBackTheSpaceOfWhatWasSettled) {
  State state(path_);
  state.database().Execute(
      "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200000) "
      "INSERT INTO unsettled(message, mailbox) SELECT i, 1 FROM n");
  const auto bytes = [&] {
    state.database().Execute("PRAGMA wal_checkpoint(TRUNCATE)");
    return std::filesystem::file_size(path_);
  };
  const auto before = bytes();
  state.GiveBackSpace();
  EXPECT_EQ(bytes(), before);
  state.database().Execute("DELETE FROM unsettled WHERE message > 10");
  state.GiveBackSpace();
  EXPECT_LT(bytes(), before / 4);
}

TEST_F(StateTest, StampsOnlyGrow) {
  State state(path_);
  const Stamp first = state.NextStamp();
  EXPECT_GT(state.NextStamp(), first);
}

TEST_F(StateTest, TheSchemaForbidsTwoOpenIntentsForOneMessageOnOneReplica) {
  State state(path_);
  Intent intent;
  intent.message = MessageId(1);
  intent.mailbox_copy = MailboxCopyId(2);
  state.AddIntent(intent);
  EXPECT_THROW(state.AddIntent(intent), SqliteError);
  state.CloseIntent(MessageId(1), MailboxCopyId(2));
  state.AddIntent(intent);
}

TEST_F(StateTest, ATransactionThatFailsLeavesNothing) {
  State state(path_);
  {
    Transaction transaction(state.database());
    state.SetMeta("a", "1");
  }
  EXPECT_EQ(state.Meta("a"), std::nullopt);
}

TEST_F(StateTest, WhatIsNotFoundAgainAfterAUidvalidityChangeCountsAsNeverHad) {
  State state(path_);
  const MailboxId mailbox = state.InternMailbox("INBOX");
  const MessageRegisters message = AddMessage(state, mailbox);
  CopyRegisters copy;
  copy.mailbox_copy = MailboxCopyId(1);
  copy.uid = Uid(5);
  copy.presence = Presence::kPresent;
  state.SaveCopy(message.id, copy);
  state.Unbind(MailboxCopyId(1));
  EXPECT_EQ(state.ForgetUnbound(MailboxCopyId(1)), 1);
  EXPECT_TRUE(state.Load(message.id)->copies.empty());
  EXPECT_EQ(state.LoadUnsettled(mailbox, MessageId(0), 10).size(), 1u);
}

TEST_F(StateTest, AnnotationsAreThoseOfOneUidValidity) {
  State state(path_);
  const MailboxCopyId copy(1);
  EXPECT_FALSE(state.metadata().Load(copy, UidValidity(7)).known);
  const MetadataRegisters registers = {{"/private/comment", {std::string("a\0b", 3), Stamp(4)}},
                                       {"/shared/x", {"", Stamp(5)}}};
  state.metadata().Save(copy, UidValidity(7), registers);
  EXPECT_TRUE(state.metadata().Load(copy, UidValidity(7)).known);
  EXPECT_EQ(state.metadata().Load(copy, UidValidity(7)).registers, registers);
  EXPECT_FALSE(state.metadata().Load(copy, UidValidity(8)).known);
  state.metadata().Save(copy, UidValidity(8), {});
  EXPECT_TRUE(state.metadata().Load(copy, UidValidity(8)).registers.empty());
}

TEST_F(StateTest, RefusesAFileThatIsNotItsOwn) {
  {
    Database other(path_);
    other.Execute("CREATE TABLE somebody_elses(x)");
  }
  EXPECT_THROW(State state(path_), SqliteError);
}

TEST_F(StateTest, RefusesAFileOfANewerProgram) {
  { State state(path_); }
  {
    Database database(path_);
    database.Execute("PRAGMA user_version = 9999");
  }
  EXPECT_THROW(State state(path_), SqliteError);
}

}  // namespace
}  // namespace imapmesh
