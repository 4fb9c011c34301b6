// One look into a mailbox copy over a scripted server: what is asked in each tier, and what is believed.
#include "engine/replica/imap_observe.h"

#include <gtest/gtest.h>

#include "engine/imap/commands.h"
#include "engine/imap/scripted_stream.h"

namespace imapmesh {
namespace {

constexpr char kItems[] =
    "(UID FLAGS INTERNALDATE RFC822.SIZE BODY.PEEK[HEADER.FIELDS (MESSAGE-ID DATE FROM TO CC SUBJECT CONTENT-TYPE)])";

std::string Selected(int exists, int uid_next, int modseq) {
  std::string text = "* " + std::to_string(exists) + " EXISTS\r\n* OK [UIDVALIDITY 7]\r\n";
  if (uid_next > 0) text += "* OK [UIDNEXT " + std::to_string(uid_next) + "]\r\n";
  if (modseq > 0) text += "* OK [HIGHESTMODSEQ " + std::to_string(modseq) + "]\r\n";
  return text;
}

std::string Arrival(int sequence, int uid) {
  return "* " + std::to_string(sequence) + " FETCH (UID " + std::to_string(uid) +
         " FLAGS () INTERNALDATE \" 1-Feb-2020 00:00:00 +0000\" RFC822.SIZE 9 BODY[HEADER.FIELDS (MESSAGE-ID DATE FROM "
         "TO CC SUBJECT CONTENT-TYPE)] {2}\r\n\r\n)\r\n";
}

constexpr char kItemsWithBodies[] = "(UID FLAGS INTERNALDATE RFC822.SIZE BODY.PEEK[])";

std::string WithBody(int uid, const std::string& bytes) {
  return "* 1 FETCH (UID " + std::to_string(uid) +
         " FLAGS () INTERNALDATE \" 1-Feb-2020 00:00:00 +0000\" RFC822.SIZE " + std::to_string(bytes.size()) +
         " BODY[] {" + std::to_string(bytes.size()) + "}\r\n" + bytes + ")\r\n";
}

std::string Flags(int sequence, int uid, const std::string& flags) {
  return "* " + std::to_string(sequence) + " FETCH (UID " + std::to_string(uid) + " FLAGS (" + flags + "))\r\n";
}

class ObserveTest : public imap::ScriptedSessionTest {
 protected:
  ~ObserveTest() override { EXPECT_TRUE(Done()) << "the client never sent \"" << script_->steps.front().first << '"'; }

  // UIDs 1 to 9 are consumed, five of them known.
  static ObserveRequest Known(uint64_t modseq) {
    ObserveRequest request("INBOX");
    request.since = {UidValidity(7), Uid(10), ModSeq(modseq), 5};
    request.max_messages = 100;
    return request;
  }
  void EnableQresync() {
    Greet("ENABLE CONDSTORE QRESYNC");
    script_->Step("A1 ENABLE QRESYNC\r\n", "* ENABLED QRESYNC\r\nA1 OK\r\n");
    ASSERT_TRUE(Run(imap::Enable(session(), {"QRESYNC"})).ok());
  }
  Observation Observe(ObserveRequest request) {
    absl::StatusOr<Observation> observation = Run(ObserveMailbox(session(), std::move(request)));
    EXPECT_TRUE(observation.ok()) << observation.status();
    return observation.ok() ? *std::move(observation) : Observation();
  }
};

TEST_F(ObserveTest, TheTierFollowsFromWhatTheServerCanDo) {
  Greet("");
  EXPECT_EQ(TierOf(session(), true), Tier::kPlain);
  session().ForgetCapabilities();
  script_->Step("A1 CAPABILITY\r\n", "* CAPABILITY IMAP4rev1 CONDSTORE QRESYNC\r\nA1 OK\r\n");
  ASSERT_TRUE(Run(imap::Capability(session())).ok());
  EXPECT_EQ(TierOf(session(), true), Tier::kCondstore) << "announced, but not enabled";
}

TEST_F(ObserveTest, ResyncTellsEverythingInSelect) {
  EnableQresync();
  script_
      ->Step("A2 SELECT \"INBOX\" (QRESYNC (7 50))\r\n",
             Selected(5, 11, 60) + "* VANISHED (EARLIER) 3\r\n" + Flags(1, 2, "\\Seen") + "A2 OK [READ-WRITE]\r\n")
      .Step(std::string("A3 UID FETCH 10 ") + kItems + "\r\n", Arrival(5, 10) + "A3 OK\r\n");
  const Observation seen = Observe(Known(50));
  EXPECT_FALSE(seen.complete);
  EXPECT_EQ(seen.vanished.ToString(), "3");
  EXPECT_FALSE(seen.present.has_value());
  ASSERT_EQ(seen.changed.size(), 1u);
  ASSERT_EQ(seen.arrived.size(), 1u);
  EXPECT_EQ(seen.cursor, (MailboxCursor{UidValidity(7), Uid(11), ModSeq(60), std::nullopt}));
  EXPECT_EQ(TierOf(session(), true), Tier::kQresync);
}

TEST_F(ObserveTest, AHighestmodseqThatWentBackMakesEverythingBeCompared) {
  EnableQresync();
  script_->Step("A2 SELECT \"INBOX\" (QRESYNC (7 50))\r\n", Selected(2, 10, 40) + "A2 OK [READ-WRITE]\r\n")
      .Step("A3 UID FETCH 1:9 (UID FLAGS MODSEQ)\r\n", Flags(1, 4, "\\Seen") + Flags(2, 9, "") + "A3 OK\r\n");
  const Observation seen = Observe(Known(50));
  EXPECT_EQ(seen.changed.size(), 2u);
  EXPECT_EQ(seen.present->ToString(), "4,9");
  EXPECT_EQ(seen.cursor.highest_modseq, ModSeq(40));
  EXPECT_TRUE(WentBack(Known(50).since, seen));
  EXPECT_FALSE(seen.counted.has_value());
}

TEST_F(ObserveTest, HowManyTheServerCountsIsToldWithWhatVanished) {
  EnableQresync();
  script_->Step("A2 SELECT \"INBOX\" (QRESYNC (7 50))\r\n", Selected(4, 10, 60) + "A2 OK [READ-WRITE]\r\n");
  EXPECT_EQ(Observe(Known(50)).counted, 4u);
}

TEST_F(ObserveTest, WhatIsToBeRecognisedIsToldOnceMoreWithTheArrivals) {
  EnableQresync();
  script_->Step("A2 SELECT \"INBOX\" (QRESYNC (7 50))\r\n", Selected(5, 11, 60) + "A2 OK [READ-WRITE]\r\n")
      .Step(std::string("A3 UID FETCH 8,10 ") + kItems + "\r\n", Arrival(4, 8) + Arrival(5, 10) + "A3 OK\r\n");
  ObserveRequest request = Known(50);
  request.since.recognise.Add(Uid(8));
  const Observation seen = Observe(request);
  ASSERT_EQ(seen.arrived.size(), 1u);
  EXPECT_EQ(seen.arrived[0].uid, Uid(10));
  ASSERT_EQ(seen.recognised.size(), 1u);
  EXPECT_EQ(seen.recognised[0].uid, Uid(8));
}

TEST_F(ObserveTest, PermanentflagsAreToldOrNot) {
  Greet("");
  script_
      ->Step("A1 SELECT \"INBOX\"\r\n",
             Selected(0, 1, 0) + "* OK [PERMANENTFLAGS (\\Seen $Label1)] Limited\r\nA1 OK [READ-WRITE]\r\n")
      .Step("A2 SELECT \"Other\"\r\n", Selected(0, 1, 0) + "A2 OK [READ-ONLY]\r\n");
  ObserveRequest request("INBOX");
  EXPECT_EQ(Observe(std::move(request)).permanent_flags, (std::vector<std::string>{"\\Seen", "$Label1"}));
  EXPECT_TRUE(session().permanent_flags().has_value());
  ObserveRequest other("Other");
  const Observation seen = Observe(std::move(other));
  EXPECT_FALSE(seen.permanent_flags.has_value());
  EXPECT_TRUE(seen.read_only);
  EXPECT_FALSE(session().permanent_flags().has_value());
}

TEST_F(ObserveTest, CondstoreAsksForChangedFlagsAndNothingMoreWhileTheCountIsRight) {
  Greet("CONDSTORE");
  script_->Step("A1 SELECT \"INBOX\" (CONDSTORE)\r\n", Selected(6, 11, 60) + "A1 OK [READ-WRITE]\r\n")
      .Step(std::string("A2 UID FETCH 10 ") + kItems + "\r\n", Arrival(6, 10) + "A2 OK\r\n")
      .Step("A3 UID FETCH 1:9 (UID FLAGS MODSEQ) (CHANGEDSINCE 50)\r\n", Flags(1, 2, "\\Seen") + "A3 OK\r\n");
  const Observation seen = Observe(Known(50));
  ASSERT_EQ(seen.changed.size(), 1u);
  EXPECT_EQ(seen.changed[0].uid, Uid(2));
  EXPECT_FALSE(seen.present.has_value());
}

TEST_F(ObserveTest, CondstoreListsUidsWhenTheCountIsAnother) {
  Greet("CONDSTORE ESEARCH");
  script_->Step("A1 SELECT \"INBOX\" (CONDSTORE)\r\n", Selected(4, 10, 50) + "A1 OK [READ-WRITE]\r\n")
      .Step("A2 UID SEARCH RETURN (ALL) ALL\r\n", "* ESEARCH (TAG \"A2\") UID ALL 2:5\r\nA2 OK\r\n");
  const Observation seen = Observe(Known(50));
  EXPECT_TRUE(seen.changed.empty());
  ASSERT_TRUE(seen.present.has_value());
  EXPECT_EQ(seen.present->ToString(), "2:5");
}

TEST_F(ObserveTest, UidsAreListedWhenNobodyKnowsTheCount) {
  Greet("CONDSTORE");
  script_->Step("A1 SELECT \"INBOX\" (CONDSTORE)\r\n", Selected(2, 10, 50) + "A1 OK [READ-WRITE]\r\n")
      .Step("A2 UID SEARCH ALL\r\n", "* SEARCH 9 1\r\nA2 OK\r\n");
  ObserveRequest request = Known(50);
  request.since.known.reset();
  EXPECT_EQ(Observe(std::move(request)).present->ToString(), "1,9");
}

TEST_F(ObserveTest, PlainComparesFlagsAndUidsInOneFetch) {
  Greet("");
  script_->Step("A1 SELECT \"INBOX\"\r\n", Selected(2, 10, 0) + "A1 OK [READ-WRITE]\r\n")
      .Step("A2 UID FETCH 1:9 (UID FLAGS)\r\n", Flags(1, 4, "\\Seen") + Flags(2, 9, "") + "A2 OK\r\n");
  const Observation seen = Observe(Known(0));
  EXPECT_EQ(seen.changed.size(), 2u);
  EXPECT_EQ(seen.present->ToString(), "4,9");
  EXPECT_EQ(seen.exists, 2u);
}

TEST_F(ObserveTest, AListingThatIsShorterThanTheCountDeletesNothing) {
  Greet("");
  script_->Step("A1 SELECT \"INBOX\"\r\n", Selected(3, 10, 0) + "A1 OK [READ-WRITE]\r\n")
      .Step("A2 UID FETCH 1:9 (UID FLAGS)\r\n", Flags(1, 4, "") + "A2 OK\r\n")
      .Step("A3 UID SEARCH ALL\r\n", "* SEARCH 4\r\nA3 OK\r\n")
      .Step("A4 NOOP\r\n", "A4 OK\r\n")
      .Step("A5 UID SEARCH ALL\r\n", "* SEARCH 4\r\nA5 OK\r\n")
      .Step("A6 NOOP\r\n", "A6 OK\r\n")
      .Step("A7 UID SEARCH ALL\r\n", "* SEARCH 4\r\nA7 OK\r\n");
  const auto seen = Run(ObserveMailbox(session(), Known(0)));
  EXPECT_TRUE(absl::IsAborted(seen.status())) << seen.status();
}

TEST_F(ObserveTest, AMessageThatGoesMeanwhileIsListedAgain) {
  Greet("");
  script_->Step("A1 SELECT \"INBOX\"\r\n", Selected(2, 10, 0) + "A1 OK [READ-WRITE]\r\n")
      .Step("A2 UID FETCH 1:9 (UID FLAGS)\r\n", Flags(1, 4, "") + Flags(2, 9, "") + "* 2 EXPUNGE\r\nA2 OK\r\n")
      .Step("A3 UID SEARCH ALL\r\n", "* SEARCH 4\r\nA3 OK\r\n");
  const Observation seen = Observe(Known(0));
  EXPECT_EQ(seen.present->ToString(), "4");
  EXPECT_EQ(seen.exists, 1u);
}

TEST_F(ObserveTest, AMailboxWithoutModSequencesIsCompared) {
  EnableQresync();
  script_
      ->Step("A2 SELECT \"INBOX\" (QRESYNC (7 50))\r\n",
             "* 1 EXISTS\r\n* OK [UIDVALIDITY 7]\r\n* OK [UIDNEXT 10]\r\n* OK [NOMODSEQ]\r\nA2 OK [READ-WRITE]\r\n")
      .Step("A3 UID FETCH 1:9 (UID FLAGS MODSEQ)\r\n", Flags(1, 4, "") + "A3 OK\r\n");
  EXPECT_EQ(Observe(Known(50)).present->ToString(), "4");
}

TEST_F(ObserveTest, AMalformedVanishedIsNotBelievedAndTheUidsAreListed) {
  EnableQresync();
  script_
      ->Step("A2 SELECT \"INBOX\" (QRESYNC (7 50))\r\n",
             Selected(1, 10, 60) + "* VANISHED (EARLIER) 1:3,\r\nA2 OK [READ-WRITE]\r\n")
      .Step("A3 UID FETCH 1:9 (UID FLAGS MODSEQ) (CHANGEDSINCE 50)\r\n", Flags(1, 4, "\\Seen") + "A3 OK\r\n")
      .Step("A4 UID SEARCH ALL\r\n", "* SEARCH 4\r\nA4 OK\r\n");
  const Observation seen = Observe(Known(50));
  EXPECT_TRUE(seen.vanished.empty());
  EXPECT_EQ(seen.present->ToString(), "4");
  EXPECT_EQ(TierOf(session(), true), Tier::kCondstore);
  EXPECT_NE(session().resync_defect(), "");
}

TEST_F(ObserveTest, ExpungeWhereVanishedIsDueIsADefect) {
  EnableQresync();
  script_->Step("A2 NOOP\r\n", "* 3 EXPUNGE\r\nA2 OK\r\n");
  ASSERT_TRUE(Run(imap::Noop(session())).ok());
  EXPECT_EQ(TierOf(session(), true), Tier::kCondstore);
}

TEST_F(ObserveTest, AServerThatDoesNotTellUidnextIsAskedForTheLastUid) {
  Greet("");
  script_->Step("A1 SELECT \"INBOX\"\r\n", Selected(1, 0, 0) + "A1 OK [READ-WRITE]\r\n")
      .Step("A2 UID FETCH * (UID)\r\n", "* 1 FETCH (UID 4)\r\nA2 OK\r\n")
      .Step("A3 UID FETCH 1:9 (UID FLAGS)\r\n", Flags(1, 4, "") + "A3 OK\r\n");
  EXPECT_EQ(Observe(Known(0)).cursor.uid_next, Uid(10)) << "never lower than it was";
}

TEST_F(ObserveTest, WhatStatusToldCountsWhereSelectDoesNotTellUidnext) {
  Greet("");
  script_->Step("A1 SELECT \"INBOX\"\r\n", Selected(0, 0, 0) + "A1 OK [READ-WRITE]\r\n")
      .Step("A2 UID FETCH 1:9 (UID FLAGS)\r\n", "A2 OK\r\n");
  ObserveRequest request = Known(0);
  request.status_uid_next = Uid(12);
  EXPECT_EQ(Observe(std::move(request)).cursor.uid_next, Uid(12));
}

TEST_F(ObserveTest, AnotherUidValidityIsListedFromTheBeginning) {
  Greet("CONDSTORE");
  script_
      ->Step("A1 SELECT \"INBOX\" (CONDSTORE)\r\n",
             "* 1 EXISTS\r\n* OK [UIDVALIDITY 8]\r\n* OK [UIDNEXT 3]\r\n* OK [HIGHESTMODSEQ 1]\r\nA1 OK\r\n")
      .Step(std::string("A2 UID FETCH 1:2 ") + kItems + "\r\n", Arrival(1, 2) + "A2 OK\r\n");
  const Observation seen = Observe(Known(50));
  EXPECT_TRUE(seen.complete);
  EXPECT_FALSE(seen.present.has_value());
  EXPECT_EQ(seen.arrived.size(), 1u);
}

TEST_F(ObserveTest, WhatGoesDuringTheFirstLookMakesEverythingBeLookedAtOnceMore) {
  Greet("CONDSTORE");
  script_
      ->Step("A1 SELECT \"INBOX\" (CONDSTORE)\r\n",
             "* 2 EXISTS\r\n* OK [UIDVALIDITY 8]\r\n* OK [UIDNEXT 3]\r\n* OK [HIGHESTMODSEQ 5]\r\nA1 OK\r\n")
      .Step(std::string("A2 UID FETCH 1:2 ") + kItems + "\r\n", "* 1 EXPUNGE\r\n" + Arrival(1, 2) + "A2 OK\r\n");
  EXPECT_EQ(Observe(Known(50)).cursor.uid_next, Uid(1));
}

TEST_F(ObserveTest, ManyArrivalsComeInBatchesAndTheRestIsComparedWithTheLast) {
  Greet("CONDSTORE");
  script_->Step("A1 SELECT \"INBOX\" (CONDSTORE)\r\n", Selected(4, 14, 60) + "A1 OK [READ-WRITE]\r\n")
      .Step("A2 UID SEARCH ALL\r\n", "* SEARCH 4 10 11 13\r\nA2 OK\r\n")
      .Step(std::string("A3 UID FETCH 10:11 ") + kItems + "\r\n", Arrival(2, 10) + Arrival(3, 11) + "A3 OK\r\n");
  ObserveRequest request = Known(50);
  request.max_messages = 2;
  const Observation seen = Observe(std::move(request));
  EXPECT_TRUE(seen.more);
  EXPECT_FALSE(seen.present.has_value());
  EXPECT_EQ(seen.cursor.uid_next, Uid(12));
  EXPECT_EQ(seen.cursor.highest_modseq, ModSeq(50)) << "what changed below is not consumed yet";
}

// What is left behind the limit begins behind all that came; of what is large only the header fields come.
TEST_F(ObserveTest, BodiesComeAlongUntilThereAreEnoughBytesOfThem) {
  Greet("CONDSTORE");
  const std::string plain = "Message-ID: <a@b>\r\n\r\n0123456789\r\n", folded = "Message-ID : <a@b>\r\n\r\n";
  const std::vector<std::pair<int, size_t>> sizes = {
      {7, 300'000}, {8, plain.size()}, {9, folded.size()}, {2, plain.size()}, {12, plain.size()}};
  std::string told;
  for (const auto& [uid, size] : sizes) {
    told += "* 1 FETCH (UID " + std::to_string(uid) + " RFC822.SIZE " + std::to_string(size) + ")\r\n";
  }
  script_->Step("A1 SELECT \"INBOX\" (CONDSTORE)\r\n", Selected(5, 13, 60) + "A1 OK [READ-WRITE]\r\n")
      .Step("A2 UID FETCH 1:12 (UID RFC822.SIZE)\r\n", told + "A2 OK\r\n")
      .Step(std::string("A3 UID FETCH 2,8:9 ") + kItemsWithBodies + "\r\n",
            WithBody(8, plain) + WithBody(9, folded) + WithBody(2, plain) + "A3 OK\r\n")
      .Step(std::string("A4 UID FETCH 7,9 ") + kItems + "\r\n", Arrival(1, 7) + Arrival(1, 9) + "A4 OK\r\n");
  ObserveRequest request("INBOX");
  request.max_messages = 1000;
  request.body_bytes = 2 * plain.size() + folded.size();
  const Observation seen = Observe(std::move(request));
  EXPECT_TRUE(seen.more);
  EXPECT_EQ(seen.cursor.uid_next, Uid(12));
  ASSERT_EQ(seen.arrived.size(), 4u);
  EXPECT_EQ(seen.arrived[0].message_id, "<a@b>");
  ASSERT_NE(seen.arrived[0].body, nullptr);
  EXPECT_EQ(seen.arrived[0].body->memory(), plain);
  EXPECT_EQ(seen.arrived[1].uid, Uid(7));
  EXPECT_EQ(seen.arrived[1].body, nullptr);
  EXPECT_EQ(seen.arrived[3].uid, Uid(9));
  ASSERT_NE(seen.arrived[3].body, nullptr) << "only its header is asked for once more";
  EXPECT_EQ(seen.arrived[3].body->memory(), folded);
}

// However much a server sends of what it told to be small, no more is held than was asked for, and as much again.
TEST_F(ObserveTest, BodiesThatAreLargerThanToldAreNotHeld) {
  Greet("CONDSTORE");
  std::string told, sent;
  const std::string large = "To: x\r\n\r\n" + std::string(65'000, 'x'), huge = large + std::string(1000, 'x');
  for (int uid = 1; uid <= 8; ++uid) {
    told += "* 1 FETCH (UID " + std::to_string(uid) + " RFC822.SIZE 100)\r\n";
    sent += WithBody(uid, uid == 1 ? huge : large);
  }
  script_->Step("A1 SELECT \"INBOX\" (CONDSTORE)\r\n", Selected(8, 9, 60) + "A1 OK [READ-WRITE]\r\n")
      .Step("A2 UID FETCH 1:8 (UID RFC822.SIZE)\r\n", told + "A2 OK\r\n")
      .Step(std::string("A3 UID FETCH 1:8 ") + kItemsWithBodies + "\r\n", sent + "A3 OK\r\n");
  ObserveRequest request("INBOX");
  request.max_messages = 1000;
  request.body_bytes = 80'000;
  const Observation seen = Observe(std::move(request));
  ASSERT_EQ(seen.arrived.size(), 8u);
  EXPECT_EQ(seen.arrived[0].body, nullptr);
  int held = 0;
  for (const ArrivedMessage& arrived : seen.arrived) held += arrived.body != nullptr;
  EXPECT_EQ(held, 3);
}

TEST_F(ObserveTest, AMailboxWhoseUidsDoNotLastIsRefused) {
  Greet("");
  script_->Step("A1 SELECT \"INBOX\"\r\n", Selected(1, 10, 0) + "* NO [UIDNOTSTICKY] no\r\nA1 OK\r\n");
  EXPECT_TRUE(absl::IsUnimplemented(Run(ObserveMailbox(session(), Known(0))).status()));
}

}  // namespace
}  // namespace imapmesh
