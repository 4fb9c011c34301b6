// Flags and expunges of several mailboxes over one connection, over a scripted server.
#include "engine/replica/imap_change.h"

#include <gtest/gtest.h>

#include "engine/imap/scripted_stream.h"

namespace imapmesh {
namespace {

UidSet Uids(std::string_view text) {
  return UidSet::Parse(text).value();
}

std::string Selected(const std::string& tag, int uid_validity) {
  return "* 9 EXISTS\r\n* OK [UIDVALIDITY " + std::to_string(uid_validity) + "]\r\n" + tag + " OK [READ-WRITE]\r\n";
}

ChangeRequest Flag(const std::string& mailbox, std::string_view uids) {
  ChangeRequest request;
  request.mailbox_raw = mailbox;
  request.changes.mailbox = {mailbox, UidValidity(5)};
  FlagStore& store = request.changes.stores.emplace_back();
  store.uids = Uids(uids);
  store.add.push_back("\\Seen");
  return request;
}

ChangeRequest Expunge(const std::string& mailbox, std::string_view uids) {
  ChangeRequest request;
  request.mailbox_raw = mailbox;
  request.changes.mailbox = {mailbox, UidValidity(5)};
  request.changes.expunge = Uids(uids);
  request.changes.unchanged_since = ModSeq(9);
  return request;
}

const std::string kStillThere = "* 1 FETCH (UID 4 FLAGS (\\Deleted) MODSEQ (12))\r\n";

class ChangeTest : public imap::ScriptedSessionTest {
 protected:
  ~ChangeTest() override { EXPECT_TRUE(Done()) << "the client never sent \"" << script_->steps.front().first << '"'; }
  std::vector<MailboxOutcome> Change(std::vector<ChangeRequest> requests) {
    return Run(ChangeMailboxes(session(), std::move(requests), flag_names_, selected_));
  }
  FlagNames flag_names_;
  uint64_t selected_ = 0;
};

TEST_F(ChangeTest, EachMailboxCostsOneExchangeAsTheNextSelectGoesWithTheChanges) {
  Greet("UIDPLUS");
  script_->Step("A1 SELECT \"one\"\r\n", Selected("A1", 5))
      .Step("A2 UID STORE 1:3 +FLAGS.SILENT (\\Seen)\r\nA3 SELECT \"two\"\r\n", "A2 OK\r\n" + Selected("A3", 5))
      .Step("A4 UID STORE 7 +FLAGS.SILENT (\\Seen)\r\n", "A4 OK\r\n");
  const auto outcomes = Change({Flag("one", "1:3"), Flag("two", "7")});
  EXPECT_TRUE(outcomes[0].stored[0].ok()) << outcomes[0].stored[0];
  EXPECT_TRUE(outcomes[1].stored[0].ok()) << outcomes[1].stored[0];
  EXPECT_EQ(selected_, 2u);
}

TEST_F(ChangeTest, AMailboxOfAnotherUidvalidityIsNotTouchedAndTheOthersAre) {
  Greet("UIDPLUS CONDSTORE");
  script_->Step("A1 SELECT \"one\" (CONDSTORE)\r\n", Selected("A1", 6))
      .Step("A2 SELECT \"two\" (CONDSTORE)\r\n", Selected("A2", 5))
      .Step("A3 UID STORE 4 (UNCHANGEDSINCE 9) +FLAGS.SILENT (\\Deleted)\r\n", "A3 OK\r\n")
      .Step("A4 UID EXPUNGE 4\r\n", "* VANISHED 4\r\nA4 OK\r\n");
  const auto outcomes = Change({Expunge("one", "3"), Expunge("two", "4")});
  EXPECT_TRUE(absl::IsFailedPrecondition(outcomes[0].expunged.status())) << outcomes[0].expunged.status();
  EXPECT_TRUE(outcomes[1].expunged.ok()) << outcomes[1].expunged.status();
}

TEST_F(ChangeTest, AMailboxThatIsGoneIsRefusedAndTheOthersAreChanged) {
  Greet("UIDPLUS");
  script_->Step("A1 SELECT \"one\"\r\n", "A1 NO [NONEXISTENT] no such mailbox\r\n")
      .Step("A2 SELECT \"two\"\r\n", Selected("A2", 5))
      .Step("A3 UID STORE 7 +FLAGS.SILENT (\\Seen)\r\n", "A3 OK\r\n");
  const auto outcomes = Change({Flag("one", "1:3"), Flag("two", "7")});
  EXPECT_TRUE(absl::IsNotFound(outcomes[0].stored[0])) << outcomes[0].stored[0];
  EXPECT_TRUE(outcomes[1].stored[0].ok()) << outcomes[1].stored[0];
}

TEST_F(ChangeTest, WhatChangedSinceIsLeftAloneAndTold) {
  Greet("UIDPLUS CONDSTORE");
  script_->Step("A1 SELECT \"one\" (CONDSTORE)\r\n", Selected("A1", 5))
      .Step("A2 UID STORE 3:5 (UNCHANGEDSINCE 9) +FLAGS.SILENT (\\Deleted)\r\n", "A2 OK [MODIFIED 4] some changed\r\n")
      .Step("A3 UID EXPUNGE 3,5\r\nA4 SELECT \"two\" (CONDSTORE)\r\n",
            "* VANISHED 3,5\r\nA3 OK\r\n" + Selected("A4", 5))
      .Step("A5 UID STORE 7 +FLAGS.SILENT (\\Seen)\r\n", "A5 OK\r\n");
  const auto outcomes = Change({Expunge("one", "3:5"), Flag("two", "7")});
  ASSERT_TRUE(outcomes[0].expunged.ok()) << outcomes[0].expunged.status();
  EXPECT_EQ(outcomes[0].expunged->modified.ToString(), "4");
}

TEST_F(ChangeTest, TheMailboxThatIsSelectedIsBroughtUpToDateFirst) {
  Greet("UIDPLUS");
  script_->Step("A1 SELECT \"one\"\r\n", Selected("A1", 5))
      .Step("A2 UID STORE 1 +FLAGS.SILENT (\\Seen)\r\n", "A2 OK\r\n");
  Change({Flag("one", "1")});
  script_->Step("A3 NOOP\r\n", "A3 OK\r\n").Step("A4 UID STORE 2 +FLAGS.SILENT (\\Seen)\r\n", "A4 OK\r\n");
  EXPECT_TRUE(Change({Flag("one", "2")})[0].stored[0].ok());
}

TEST_F(ChangeTest, ARefusedChangeIsTheRefusedOnesAlone) {
  Greet("UIDPLUS");
  script_->Step("A1 SELECT \"one\"\r\n", Selected("A1", 5))
      .Step("A2 UID STORE 1 +FLAGS.SILENT (\\Seen)\r\nA3 SELECT \"two\"\r\n",
            "A2 NO [NOPERM] not yours\r\n" + Selected("A3", 5))
      .Step("A4 UID STORE 2 +FLAGS.SILENT (\\Seen)\r\n", "A4 OK\r\n");
  const auto outcomes = Change({Flag("one", "1"), Flag("two", "2")});
  EXPECT_TRUE(absl::IsPermissionDenied(outcomes[0].stored[0])) << outcomes[0].stored[0];
  EXPECT_TRUE(outcomes[1].stored[0].ok()) << outcomes[1].stored[0];
}

TEST_F(ChangeTest, WhatTheServerKeepsInSpiteOfOkIsToldAndUnmarked) {
  Greet("UIDPLUS CONDSTORE");
  script_->Step("A1 SELECT \"one\" (CONDSTORE)\r\n", Selected("A1", 5))
      .Step("A2 UID STORE 3:4 (UNCHANGEDSINCE 9) +FLAGS.SILENT (\\Deleted)\r\n", "A2 OK\r\n")
      .Step("A3 UID EXPUNGE 3:4\r\nA4 SELECT \"two\" (CONDSTORE)\r\n", "* VANISHED 3\r\nA3 OK\r\n" + Selected("A4", 5))
      .Step("A5 UID STORE 7 +FLAGS.SILENT (\\Seen)\r\n", "A5 OK\r\n")
      .Step("A6 SELECT \"one\" (CONDSTORE)\r\nA7 UID FETCH 4 (UID FLAGS MODSEQ)\r\n",
            Selected("A6", 5) + kStillThere + "A7 OK\r\n")
      .Step("A8 SELECT \"one\" (CONDSTORE)\r\n", Selected("A8", 5))
      .Step("A9 UID FETCH 4 (UID FLAGS MODSEQ)\r\n", kStillThere + "A9 OK\r\n")
      .Step("A10 UID STORE 4 -FLAGS.SILENT (\\Deleted)\r\n", "A10 OK\r\n");
  const auto outcomes = Change({Expunge("one", "3:4"), Flag("two", "7")});
  ASSERT_TRUE(outcomes[0].expunged.ok()) << outcomes[0].expunged.status();
  EXPECT_EQ(outcomes[0].expunged->kept.ToString(), "4");
  EXPECT_TRUE(outcomes[1].stored[0].ok());
}

// As Dovecot does, which answers an EXPUNGE in few words once it has read a SELECT behind it.
TEST_F(ChangeTest, WhatTheServerDoesNotTellIsAskedForOfAllMailboxesTogether) {
  Greet("UIDPLUS CONDSTORE");
  script_->Step("A1 SELECT \"one\" (CONDSTORE)\r\n", Selected("A1", 5))
      .Step("A2 UID STORE 3 (UNCHANGEDSINCE 9) +FLAGS.SILENT (\\Deleted)\r\n", "A2 OK\r\n")
      .Step("A3 UID EXPUNGE 3\r\nA4 SELECT \"two\" (CONDSTORE)\r\n", "A3 OK\r\n" + Selected("A4", 5))
      .Step("A5 UID STORE 6 (UNCHANGEDSINCE 9) +FLAGS.SILENT (\\Deleted)\r\n", "A5 OK\r\n")
      .Step("A6 UID EXPUNGE 6\r\n", "A6 OK\r\n")
      .Step(
          "A7 SELECT \"one\" (CONDSTORE)\r\nA8 UID FETCH 3 (UID FLAGS MODSEQ)\r\n"
          "A9 SELECT \"two\" (CONDSTORE)\r\nA10 UID FETCH 6 (UID FLAGS MODSEQ)\r\n",
          Selected("A7", 5) + "A8 OK\r\n" + Selected("A9", 6) + "A10 OK\r\n");
  const auto outcomes = Change({Expunge("one", "3"), Expunge("two", "6")});
  ASSERT_TRUE(outcomes[0].expunged.ok()) << outcomes[0].expunged.status();
  EXPECT_TRUE(outcomes[0].expunged->kept.empty());
  EXPECT_TRUE(absl::IsFailedPrecondition(outcomes[1].expunged.status())) << outcomes[1].expunged.status();
}

TEST_F(ChangeTest, ARefusedExpungeLeavesNoMarks) {
  Greet("UIDPLUS CONDSTORE");
  script_->Step("A1 SELECT \"one\" (CONDSTORE)\r\n", Selected("A1", 5))
      .Step("A2 UID STORE 3 (UNCHANGEDSINCE 9) +FLAGS.SILENT (\\Deleted)\r\n", "A2 OK\r\n")
      .Step("A3 UID EXPUNGE 3\r\n", "A3 NO [NOPERM] not yours\r\n")
      .Step("A4 SELECT \"one\" (CONDSTORE)\r\n", Selected("A4", 5))
      .Step("A5 UID STORE 3 -FLAGS.SILENT (\\Deleted)\r\n", "A5 OK\r\n");
  const auto outcomes = Change({Expunge("one", "3")});
  EXPECT_TRUE(absl::IsPermissionDenied(outcomes[0].expunged.status())) << outcomes[0].expunged.status();
}

TEST_F(ChangeTest, AFlagThatTheMailboxDoesNotKeepIsNotSent) {
  Greet("UIDPLUS");
  script_->Step("A1 SELECT \"one\"\r\n", "* OK [PERMANENTFLAGS (\\Answered)]\r\n" + Selected("A1", 5));
  EXPECT_TRUE(absl::IsFailedPrecondition(Change({Flag("one", "1")})[0].stored[0]));
}

TEST_F(ChangeTest, WhatALostConnectionLeavesOpenIsUnknown) {
  Greet("UIDPLUS");
  script_->Step("A1 SELECT \"one\"\r\n", Selected("A1", 5));
  script_->Step("A2 UID STORE 1 +FLAGS.SILENT (\\Seen)\r\nA3 SELECT \"two\"\r\n", "* BYE\r\n").ThenCloses();
  const auto outcomes = Change({Flag("one", "1"), Flag("two", "2")});
  EXPECT_TRUE(OutcomeUnknown(outcomes[0].stored[0])) << outcomes[0].stored[0];
  EXPECT_TRUE(OutcomeUnknown(outcomes[1].stored[0])) << outcomes[1].stored[0];
}

// ---- by what the messages are known by

std::string Known(int uid) {
  const std::string number = std::to_string(uid);
  return "(UID " + number + " LARGER 99 SMALLER 101 HEADER MESSAGE-ID \"<m" + number + "@x>\")";
}

std::string Found(const std::string& tag, const std::string& uids) {
  return "* ESEARCH (TAG \"" + tag + "\") UID" + (uids.empty() ? "" : " ALL " + uids) + "\r\n" + tag + " OK\r\n";
}

// With what its messages are known by.
ChangeRequest Mark(ChangeRequest request) {
  UidSet uids = request.changes.expunge;
  for (const FlagStore& store : request.changes.stores) {
    for (const Uid uid : store.uids.Take(100)) uids.Add(uid);
  }
  for (const Uid uid : uids.Take(100)) {
    request.changes.known[uid] = {100, "<m" + std::to_string(uid.value) + "@x>"};
  }
  return request;
}

constexpr char kSearching[] = "UIDPLUS CONDSTORE ESEARCH SEARCHRES";

TEST_F(ChangeTest, KnownMessagesOfAllMailboxesAreFlaggedInOneExchange) {
  Greet(kSearching);
  script_->Step(
      "A1 SELECT \"one\" (CONDSTORE)\r\nA2 UID SEARCH RETURN (SAVE ALL) UID 3:4 OR " + Known(3) + " " + Known(4) +
          "\r\nA3 UID STORE $ +FLAGS.SILENT (\\Seen)\r\nA4 SELECT \"two\" (CONDSTORE)\r\n"
          "A5 UID SEARCH RETURN (SAVE ALL) UID 7 " +
          Known(7) + "\r\nA6 UID STORE $ +FLAGS.SILENT (\\Seen)\r\n",
      Selected("A1", 5) + Found("A2", "3:4") + "A3 OK\r\n" + Selected("A4", 5) + Found("A5", "7") + "A6 OK\r\n");
  const auto outcomes = Change({Mark(Flag("one", "3:4")), Mark(Flag("two", "7"))});
  EXPECT_TRUE(outcomes[0].stored[0].ok()) << outcomes[0].stored[0];
  EXPECT_TRUE(outcomes[1].stored[0].ok()) << outcomes[1].stored[0];
}

TEST_F(ChangeTest, BetweenTwoSearchesOfAMailboxGoesOneThatFindsNothing) {
  Greet(kSearching);
  ChangeRequest request = Flag("one", "3");
  FlagStore& second = request.changes.stores.emplace_back();
  second.uids = Uids("5");
  second.remove.push_back("\\Seen");
  script_->Step("A1 SELECT \"one\" (CONDSTORE)\r\nA2 UID SEARCH RETURN (SAVE ALL) UID 3 " + Known(3) +
                    "\r\nA3 UID STORE $ +FLAGS.SILENT (\\Seen)\r\nA4 UID SEARCH RETURN (SAVE) NOT ALL\r\n"
                    "A5 UID SEARCH RETURN (SAVE ALL) UID 5 " +
                    Known(5) + "\r\nA6 UID STORE $ -FLAGS.SILENT (\\Seen)\r\n",
                Selected("A1", 5) + Found("A2", "3") + "A3 OK\r\nA4 OK\r\n" + Found("A5", "5") + "A6 OK\r\n");
  const auto outcomes = Change({Mark(request)});
  EXPECT_TRUE(outcomes[0].stored[0].ok()) << outcomes[0].stored[0];
  EXPECT_TRUE(outcomes[0].stored[1].ok()) << outcomes[0].stored[1];
}

TEST_F(ChangeTest, WhatASearchDoesNotFindIsDoneInTheOrdinaryWay) {
  Greet(kSearching);
  script_
      ->Step("A1 SELECT \"one\" (CONDSTORE)\r\nA2 UID SEARCH RETURN (SAVE ALL) UID 3:4 OR " + Known(3) + " " +
                 Known(4) + "\r\nA3 UID STORE $ +FLAGS.SILENT (\\Seen)\r\n",
             Selected("A1", 5) + Found("A2", "3") + "A3 OK\r\n")
      .Step("A4 NOOP\r\n", "A4 OK\r\n")
      .Step("A5 UID STORE 4 +FLAGS.SILENT (\\Seen)\r\n", "A5 OK\r\n");
  EXPECT_TRUE(Change({Mark(Flag("one", "3:4"))})[0].stored[0].ok());
}

TEST_F(ChangeTest, InAMailboxMadeAnewNothingIsFoundAndTheOrdinaryWayTellsWhy) {
  Greet(kSearching);
  script_
      ->Step("A1 SELECT \"one\" (CONDSTORE)\r\nA2 UID SEARCH RETURN (SAVE ALL) UID 3 " + Known(3) +
                 "\r\nA3 UID STORE $ (UNCHANGEDSINCE 9) +FLAGS.SILENT (\\Deleted)\r\n",
             Selected("A1", 6) + Found("A2", "") + "A3 OK\r\n")
      .Step("A4 SELECT \"one\" (CONDSTORE)\r\n", Selected("A4", 6));
  const auto outcomes = Change({Mark(Expunge("one", "3"))});
  EXPECT_TRUE(absl::IsFailedPrecondition(outcomes[0].expunged.status())) << outcomes[0].expunged.status();
}

TEST_F(ChangeTest, KnownMessagesAreMarkedThenExpungedInTwoExchangesForAllMailboxes) {
  Greet(kSearching);
  const auto search = [](int uid, bool deleted) {
    return "UID SEARCH RETURN (SAVE ALL) UID " + std::to_string(uid) + (deleted ? " DELETED " : " ") + Known(uid) +
           "\r\n";
  };
  script_
      ->Step("A1 SELECT \"one\" (CONDSTORE)\r\nA2 " + search(3, false) +
                 "A3 UID STORE $ (UNCHANGEDSINCE 9) +FLAGS.SILENT (\\Deleted)\r\n"
                 "A4 SELECT \"two\" (CONDSTORE)\r\nA5 " +
                 search(6, false) + "A6 UID STORE $ (UNCHANGEDSINCE 9) +FLAGS.SILENT (\\Deleted)\r\n",
             Selected("A1", 5) + Found("A2", "3") + "A3 OK\r\n" + Selected("A4", 5) + Found("A5", "6") +
                 "A6 OK [MODIFIED 6]\r\n")
      .Step("A7 SELECT \"one\" (CONDSTORE)\r\nA8 " + search(3, true) + "A9 UID EXPUNGE $\r\n",
            Selected("A7", 5) + Found("A8", "3") + "* VANISHED 3\r\nA9 OK\r\n");
  const auto outcomes = Change({Mark(Expunge("one", "3")), Mark(Expunge("two", "6"))});
  ASSERT_TRUE(outcomes[0].expunged.ok()) << outcomes[0].expunged.status();
  EXPECT_TRUE(outcomes[0].expunged->kept.empty());
  ASSERT_TRUE(outcomes[1].expunged.ok()) << outcomes[1].expunged.status();
  EXPECT_EQ(outcomes[1].expunged->modified.ToString(), "6");
}

TEST_F(ChangeTest, AKnownMessageThatTheServerKeepsIsUnmarked) {
  Greet(kSearching);
  script_
      ->Step("A1 SELECT \"one\" (CONDSTORE)\r\nA2 UID SEARCH RETURN (SAVE ALL) UID 4 " + Known(4) +
                 "\r\nA3 UID STORE $ (UNCHANGEDSINCE 9) +FLAGS.SILENT (\\Deleted)\r\n",
             Selected("A1", 5) + Found("A2", "4") + "A3 OK\r\n")
      .Step("A4 SELECT \"one\" (CONDSTORE)\r\nA5 UID SEARCH RETURN (SAVE ALL) UID 4 DELETED " + Known(4) +
                "\r\nA6 UID EXPUNGE $\r\n",
            Selected("A4", 5) + Found("A5", "4") + "A6 OK Expunge ignored\r\n")
      .Step("A7 SELECT \"one\" (CONDSTORE)\r\nA8 UID FETCH 4 (UID FLAGS MODSEQ)\r\n",
            Selected("A7", 5) + kStillThere + "A8 OK\r\n")
      .Step("A9 SELECT \"one\" (CONDSTORE)\r\n", Selected("A9", 5))
      .Step("A10 UID FETCH 4 (UID FLAGS MODSEQ)\r\n", kStillThere + "A10 OK\r\n")
      .Step("A11 UID STORE 4 -FLAGS.SILENT (\\Deleted)\r\n", "A11 OK\r\n");
  const auto outcomes = Change({Mark(Expunge("one", "4"))});
  ASSERT_TRUE(outcomes[0].expunged.ok()) << outcomes[0].expunged.status();
  EXPECT_EQ(outcomes[0].expunged->kept.ToString(), "4");
}

}  // namespace
}  // namespace imapmesh
