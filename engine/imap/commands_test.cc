// The commands over a scripted server: what goes over the wire, and what comes of the answers.
#include "engine/imap/commands.h"

#include "engine/imap/commands_metadata.h"

#include <gtest/gtest.h>

#include "engine/imap/scripted_stream.h"

namespace imapmesh::imap {
namespace {

using std::chrono::milliseconds;

constexpr char kDovecot[] =
    "SASL-IR ENABLE IDLE MULTIAPPEND UNSELECT NAMESPACE UIDPLUS CONDSTORE QRESYNC ESEARCH LIST-STATUS MOVE LITERAL+ "
    "NOTIFY";
constexpr char kHeader[] = "BODY[HEADER.FIELDS (MESSAGE-ID DATE FROM TO CC SUBJECT CONTENT-TYPE)]";

UidSet Uids(std::string_view text) {
  return UidSet::Parse(text).value();
}

AppendMessage MakeMessage(std::string_view content, std::vector<std::string> flags) {
  AppendMessage message;
  auto body = std::make_shared<Body>();
  EXPECT_TRUE(body->Append(content).ok());
  message.body = std::move(body);
  message.flags = std::move(flags);
  message.internal_date = "17-Jul-1996 02:44:25 -0700";
  return message;
}

class CommandsTest : public ScriptedSessionTest {
 protected:
  ~CommandsTest() override { EXPECT_TRUE(Done()) << "the client never sent \"" << script_->steps.front().first << '"'; }

  void EnableQresync() {
    Greet(kDovecot);
    script_->Step("A1 ENABLE QRESYNC\r\n", "* ENABLED QRESYNC\r\nA1 OK\r\n");
    ASSERT_TRUE(Run(Enable(session(), {"QRESYNC", "UTF8=ACCEPT"})).ok());
  }
};

TEST_F(CommandsTest, StartTlsForgetsWhatWasToldInTheClear) {
  Greet("STARTTLS AUTH=PLAIN");
  script_->Step("A1 STARTTLS\r\n", "A1 OK\r\n");
  EXPECT_TRUE(Run(StartTls(session())).ok());
  EXPECT_FALSE(session().HasCapability("AUTH=PLAIN"));
  EXPECT_TRUE(absl::IsUnimplemented(Run(StartTls(session()))));
}

TEST_F(CommandsTest, ListStatusInOneExchange) {
  Greet(kDovecot);
  script_->Step("A1 LIST \"\" \"*\" RETURN (SUBSCRIBED STATUS (MESSAGES UIDVALIDITY UIDNEXT HIGHESTMODSEQ))\r\n",
                "* LIST (\\Subscribed) \"/\" inbox\r\n* STATUS INBOX (UIDNEXT 3 UIDVALIDITY 7 HIGHESTMODSEQ 9)\r\n"
                "* LIST (\\Noselect) \"/\" Foo\r\nA1 OK\r\n");
  const absl::StatusOr<std::vector<ListedMailbox>> listed = Run(ListStatus(session(), "*"));
  ASSERT_TRUE(listed.ok()) << listed.status();
  ASSERT_EQ(listed->size(), 2u);
  EXPECT_TRUE((*listed)[0].subscribed);
  EXPECT_EQ((*listed)[0].status->highest_modseq, ModSeq(9));
  EXPECT_FALSE((*listed)[1].status.has_value());
}

TEST_F(CommandsTest, AMailboxThatIsListedAndNotThereIsNone) {
  Greet(kDovecot);
  script_
      ->Step("A1 LIST \"\" \"*\" RETURN (SUBSCRIBED STATUS (MESSAGES UIDVALIDITY UIDNEXT HIGHESTMODSEQ))\r\n",
             "* LIST (\\HasChildren) \".\" A\r\n* LIST () \".\" A.B\r\n* LIST () \".\" Locked\r\n"
             "* STATUS A.B (UIDNEXT 3 UIDVALIDITY 7 HIGHESTMODSEQ 9)\r\nA1 OK\r\n")
      .Step(
          "A2 STATUS \"A\" (MESSAGES UIDVALIDITY UIDNEXT HIGHESTMODSEQ)\r\n"
          "A3 STATUS \"Locked\" (MESSAGES UIDVALIDITY UIDNEXT HIGHESTMODSEQ)\r\n",
          "A2 NO Mailbox doesn't exist: A\r\nA3 NO [INUSE] Timeout\r\n");
  const absl::StatusOr<std::vector<ListedMailbox>> listed = Run(ListStatus(session(), "*"));
  ASSERT_TRUE(listed.ok()) << listed.status();
  ASSERT_EQ(listed->size(), 3u);
  EXPECT_TRUE((*listed)[0].list.HasAttribute("\\NonExistent"));
  EXPECT_FALSE((*listed)[1].list.HasAttribute("\\NonExistent"));
  EXPECT_FALSE((*listed)[2].list.HasAttribute("\\NonExistent"));
}

TEST_F(CommandsTest, AnnotationsComeInTheExchangeOfAList) {
  Greet(std::string(kDovecot) + " METADATA");
  script_->Step(
      "A1 GETMETADATA (DEPTH infinity MAXSIZE 65536) \"INBOX\" (/private /shared)\r\n"
      "A2 GETMETADATA (DEPTH infinity MAXSIZE 65536) \"Box\" (/private /shared)\r\n"
      "A3 GETMETADATA (DEPTH infinity MAXSIZE 65536) \"Gone\" (/private /shared)\r\n"
      "A4 LIST \"\" \"*\" RETURN (SUBSCRIBED STATUS (MESSAGES UIDVALIDITY UIDNEXT HIGHESTMODSEQ))\r\n",
      "* METADATA inbox (/private/Comment {4}\r\nmine \"/shared/comment\" NIL /shared/x \"\" /private/a*b \"bad\")\r\n"
      "A1 OK\r\n* METADATA Box (/shared/comment ~{2}\r\n\x01\x02)\r\n* METADATA Box /shared/comment\r\n"
      "A2 OK [METADATA LONGENTRIES 70000] x\r\nA3 NO gone\r\n* LIST () \"/\" INBOX\r\n"
      "* STATUS INBOX (UIDNEXT 3 UIDVALIDITY 7)\r\nA4 OK\r\n");
  GetMetadata metadata;
  ASSERT_TRUE(metadata.Send(session(), {"INBOX", "Box", "Gone"}).ok());
  const ResponseHandler also = [&](Response& response) { return metadata.Take(response); };
  ASSERT_TRUE(Run(ListStatus(session(), "*", ListItems(), also)).ok());
  const auto found = Run(metadata.Await(session()));
  ASSERT_TRUE(found.ok()) << found.status();
  ASSERT_EQ(found->size(), 2u);
  EXPECT_EQ(found->at("INBOX").values, (std::map<std::string, std::string>{{"/private/comment", "mine"}}));
  EXPECT_TRUE(found->at("INBOX").complete);
  EXPECT_EQ(found->at("Box").values.at("/shared/comment"), "\x01\x02");
  EXPECT_FALSE(found->at("Box").complete);
}

TEST_F(CommandsTest, AnnotationsAreSetWithoutBecomingCommands) {
  Greet("METADATA");
  script_->Step("A1 SETMETADATA \"Box\" (\"/private/comment\" {14}\r\n", "+ go\r\n")
      .Step("a\r\nA2 DELETE x \"/shared/comment\" NIL)\r\n", "A1 NO [METADATA TOOMANY] too many\r\n");
  const absl::Status set =
      Run(SetMetadata(session(), "Box", {{"/private/comment", "a\r\nA2 DELETE x"}, {"/shared/comment", ""}}));
  EXPECT_FALSE(set.ok());
  EXPECT_FALSE(absl::IsUnavailable(set)) << set;
}

TEST_F(CommandsTest, EntryNamesAreThoseOfMailboxes) {
  EXPECT_TRUE(IsEntryName("/private/comment"));
  EXPECT_TRUE(IsEntryName("/shared/vendor/example/x"));
  for (const char* bad :
       {"", "/comment", "/private/", "/private//x", "/private/a*", "/private/a b", "/shared/\xc3\xa4"}) {
    EXPECT_FALSE(IsEntryName(bad)) << bad;
  }
}

TEST_F(CommandsTest, ListStatusOnAPlainServer) {
  Greet("");
  script_->Step("A1 LIST \"\" \"*\"\r\n", "* LIST () \".\" INBOX\r\n* LIST () \".\" Bad\r\nA1 OK\r\n")
      .Step("A2 LSUB \"\" \"*\"\r\n", "* LSUB () \".\" INBOX\r\n* LSUB () \".\" Gone\r\nA2 OK\r\n")
      .Step(
          "A3 STATUS \"INBOX\" (MESSAGES UNSEEN UIDVALIDITY UIDNEXT)\r\nA4 STATUS \"Bad\" (MESSAGES UNSEEN UIDVALIDITY "
          "UIDNEXT)\r\n",
          "* STATUS INBOX (UIDNEXT 3 UIDVALIDITY 7)\r\nA3 OK\r\nA4 NO corrupt\r\n");
  const absl::StatusOr<std::vector<ListedMailbox>> listed = Run(ListStatus(session(), "*"));
  ASSERT_TRUE(listed.ok()) << listed.status();
  ASSERT_EQ(listed->size(), 2u);
  EXPECT_TRUE((*listed)[0].subscribed);
  EXPECT_EQ((*listed)[0].status->uid_next, Uid(3));
  EXPECT_FALSE((*listed)[1].status.has_value());
}

TEST_F(CommandsTest, SelectWithQresyncTellsWhatHappenedSince) {
  // RFC 7162 section 3.2.5.1, with a mailbox closed on the way.
  EnableQresync();
  script_->Step("A2 SELECT \"INBOX\" (QRESYNC (67890007 20050715194045000 41,43:211,214:541))\r\n",
                "* 99 EXISTS\r\n* VANISHED 5\r\n* OK [CLOSED]\r\n* 100 EXISTS\r\n* OK [UIDVALIDITY 67890007] x\r\n"
                "* OK [UIDNEXT 600] Predicted\r\n* OK [HIGHESTMODSEQ 90060115205545359] Highest\r\n"
                "* OK [PERMANENTFLAGS (\\Answered \\*)] Limited\r\n* FLAGS (\\Answered $Foo)\r\n"
                "* VANISHED (EARLIER) 41,43:116,118,120:211,214:540\r\n"
                "* 49 FETCH (UID 117 FLAGS (\\Seen \\Recent) MODSEQ (90060115194045001))\r\n"
                "A2 OK [READ-WRITE] mailbox selected\r\n");
  SelectRequest request("INBOX");
  request.uid_validity = UidValidity(67890007);
  request.modseq = ModSeq(20050715194045000);
  request.known_uids = Uids("41,43:211,214:541");
  const absl::StatusOr<SelectResult> result = Run(Select(session(), request));
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->exists, 100u);
  EXPECT_EQ(result->uid_next, Uid(600));
  EXPECT_EQ(result->highest_modseq, ModSeq(90060115205545359));
  EXPECT_EQ(result->vanished.ToString(), "41,43:116,118,120:211,214:540");
  ASSERT_EQ(result->changed.size(), 1u);
  EXPECT_EQ(result->changed[0].flags, (std::vector<std::string>{"\\Seen"}));
  EXPECT_FALSE(result->read_only);
  EXPECT_EQ(session().selected(), "INBOX");
}

TEST_F(CommandsTest, AnotherUidValidityMeansThatNothingWasTold) {
  EnableQresync();
  script_
      ->Step("A2 EXAMINE \"INBOX\" (QRESYNC (1 5))\r\n",
             "* OK [UIDVALIDITY 2] x\r\n* VANISHED (EARLIER) 1:9\r\nA2 OK [READ-ONLY] done\r\n")
      .Step("A3 SELECT \"Gone\" (CONDSTORE)\r\n", "A3 NO [NONEXISTENT] gone\r\n");
  SelectRequest request("INBOX");
  request.read_only = true;
  request.uid_validity = UidValidity(1);
  request.modseq = ModSeq(5);
  const absl::StatusOr<SelectResult> result = Run(Select(session(), request));
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_TRUE(result->vanished.empty());
  EXPECT_TRUE(result->read_only);
  EXPECT_TRUE(absl::IsNotFound(Run(Select(session(), SelectRequest("Gone"))).status()));
  EXPECT_EQ(session().selected(), "");
}

TEST_F(CommandsTest, FetchNewPassesOverWhatWasNotAskedFor) {
  Greet(kDovecot);
  script_->Step("A1 ID (\"name\" \"imapmesh\")\r\n", "* ID (\"name\" \"Dovecot\")\r\nA1 OK\r\n")
      .Step(
          "A2 UID FETCH 5:6 (UID FLAGS INTERNALDATE RFC822.SIZE X-GUID "
          "BODY.PEEK[HEADER.FIELDS (MESSAGE-ID DATE FROM TO CC SUBJECT CONTENT-TYPE)])\r\n",
          "* 1 FETCH (UID 2 FLAGS (\\Seen) MODSEQ (8))\r\n* 3 FETCH (UID 5 FLAGS (\\Recent $A) INTERNALDATE "
          "\" 1-Feb-2020 00:00:00 +0000\" RFC822.SIZE 100 MODSEQ (7) X-GUID abc " +
              std::string(kHeader) + " {12}\r\nSubject: a\r\n)\r\nA2 OK\r\n");
  ASSERT_TRUE(Run(Id(session())).ok());
  std::vector<NewMessage> messages;
  const std::function<absl::Status(NewMessage)> take = [&](NewMessage message) {
    messages.push_back(std::move(message));
    return absl::OkStatus();
  };
  const absl::Status status = Run(FetchNew(session(), Uids("5:6"), take));
  ASSERT_TRUE(status.ok()) << status;
  ASSERT_EQ(messages.size(), 1u);
  EXPECT_EQ(messages[0].uid, Uid(5));
  EXPECT_EQ(messages[0].flags, (std::vector<std::string>{"$A"}));
  EXPECT_EQ(messages[0].guid, "abc");
  EXPECT_EQ(messages[0].size, 100u);
  EXPECT_EQ(messages[0].header.value_or("none"), "Subject: a\r\n");
}

// Servers may read a header that is not written plainly in different ways, and a message must be known by the same
// fields wherever it is: those are left to the server.
TEST_F(CommandsTest, HeaderFieldsAreReadInTheMessageWhereTheyArePlain) {
  const std::vector<std::pair<std::string, std::optional<std::string>>> messages = {
      {"X-A: 1\r\n b\r\nsubject:a\r\n\tc\r\nTo: me\r\n\r\nFrom: text\r\n", "subject:a\r\n\tc\r\nTo: me\r\n\r\n"},
      {"\r\nTo: me\r\n", "\r\n"},
      {"Subject : a\r\n\r\n", std::nullopt},            // white space before the colon
      {"From me\r\nSubject: a\r\n\r\n", std::nullopt},  // an mbox line
      {"Subject: a\n\r\n\r\n", std::nullopt},           // a bare LF
      {"Subject: a\r\rb\r\n\r\n", std::nullopt},        // a bare CR
      {std::string("To: \0\r\n\r\n", 9), std::nullopt},
      {" Subject: a\r\n\r\n", std::nullopt},  // a continuation of nothing
      {"Subject: a\r\n \t\r\nb: c\r\n\r\n", std::nullopt},
      {"Subject: a\r\n", std::nullopt},  // no end
      {"", std::nullopt},
      {"X: " + std::string(32 * 1024, 'x') + "\r\n\r\n", std::nullopt},
  };
  Greet(kDovecot);
  std::string answer;
  for (size_t i = 0; i < messages.size(); ++i) {
    const std::string& bytes = messages[i].first;
    answer += "* 1 FETCH (UID " + std::to_string(i + 1) +
              " FLAGS (\\Seen) INTERNALDATE \" 1-Feb-2020 00:00:00 +0000\" RFC822.SIZE " +
              std::to_string(bytes.size()) + " BODY[] {" + std::to_string(bytes.size()) + "}\r\n" + bytes + ")\r\n";
  }
  answer += "* 1 FETCH (UID 90 FLAGS () INTERNALDATE \" 1-Feb-2020 00:00:00 +0000\" RFC822.SIZE 0 BODY[] NIL)\r\n";
  script_->Step("A1 UID FETCH 1:90 (UID FLAGS INTERNALDATE RFC822.SIZE BODY.PEEK[])\r\n", answer + "A1 OK\r\n");
  std::map<uint32_t, NewMessage> came;
  const std::function<absl::Status(NewMessage)> take = [&](NewMessage taken) {
    came[taken.uid.value] = std::move(taken);
    return absl::OkStatus();
  };
  const absl::Status status = Run(FetchNewWithBodies(session(), Uids("1:90"), take));
  ASSERT_TRUE(status.ok()) << status;
  ASSERT_EQ(came.size(), messages.size() + 1);
  for (size_t i = 0; i < messages.size(); ++i) {
    const NewMessage& message = came[static_cast<uint32_t>(i) + 1];
    EXPECT_EQ(message.header, messages[i].second) << i;
    ASSERT_NE(message.body, nullptr) << i;
    EXPECT_EQ(message.body->memory(), messages[i].first);
  }
  EXPECT_FALSE(came[90].header);
}

TEST_F(CommandsTest, FetchBodiesGivesEachMessageOnce) {
  Greet(kDovecot);
  script_->Step("A1 UID FETCH 5,7 (UID BODY.PEEK[])\r\n",
                "* 3 FETCH (UID 5 BODY[] {3}\r\nabc)\r\n* 3 FETCH (UID 5 BODY[] {3}\r\nxyz)\r\n"
                "* 4 FETCH (UID 6 BODY[] {1}\r\na)\r\n* 9 FETCH (BODY[] \"quoted\" UID 7)\r\nA1 OK\r\n");
  std::map<Uid, std::string> contents;
  const std::function<absl::Status(Uid, std::shared_ptr<const Body>)> take = [&](Uid uid,
                                                                                 std::shared_ptr<const Body> body) {
    contents[uid] += std::string(body->memory());
    return absl::OkStatus();
  };
  ASSERT_TRUE(Run(FetchBodies(session(), Uids("5,7"), take)).ok());
  EXPECT_EQ(contents, (std::map<Uid, std::string>{{Uid(5), "abc"}, {Uid(7), "quoted"}}));
}

TEST_F(CommandsTest, LongSetsAreSplitAndPipelined) {
  Greet("UIDPLUS");
  UidSet uids;
  for (uint32_t uid = 100001; uid < 103000; uid += 2) uids.Add(Uid(uid));
  const std::vector<std::string> pieces = uids.ToStrings(4000);
  ASSERT_EQ(pieces.size(), 3u);
  std::string expected, answers;
  for (size_t i = 0; i < pieces.size(); ++i) {
    expected += "A" + std::to_string(i + 1) + " UID EXPUNGE " + pieces[i] + "\r\n";
    answers += "A" + std::to_string(i + 1) + (i == 1 ? " NO [NOPERM] no\r\n" : " OK\r\n");
  }
  // Then all are awaited, so that the session stays usable, and the refusal is told.
  script_->Step(expected, answers).Step("A4 NOOP\r\n", "A4 OK\r\n");
  EXPECT_TRUE(absl::IsPermissionDenied(Run(UidExpunge(session(), uids)).status()));
  EXPECT_TRUE(Run(Noop(session())).ok());
}

TEST_F(CommandsTest, SearchInBothForms) {
  Greet("ESEARCH");
  script_->Step("A1 UID SEARCH RETURN (ALL) ALL\r\n", "* ESEARCH (TAG \"A1\") UID ALL 1:3,9\r\nA1 OK\r\n")
      .Step("A2 CAPABILITY\r\n", "* CAPABILITY IMAP4rev1\r\nA2 OK\r\n")
      .Step("A3 UID SEARCH ALL\r\n", "* SEARCH 9 1\r\n* SEARCH 2\r\nA3 OK\r\n");
  EXPECT_EQ(Run(UidSearchAll(session()))->ToString(), "1:3,9");
  session().ForgetCapabilities();
  ASSERT_TRUE(Run(Capability(session())).ok());
  EXPECT_EQ(Run(UidSearchAll(session()))->ToString(), "1:2,9");
}

TEST_F(CommandsTest, StoreTellsWhatItLeftAlone) {
  Greet(kDovecot);
  script_
      ->Step("A1 UID STORE 4:9 (UNCHANGEDSINCE 12) +FLAGS.SILENT (\\Deleted $x)\r\n",
             "* 1 FETCH (UID 4 MODSEQ (13))\r\nA1 OK [MODIFIED 7,9] Conditional STORE failed\r\n")
      .Step("A2 UID STORE 4 -FLAGS.SILENT (\\Seen)\r\n", "A2 OK\r\n");
  StoreRequest request;
  request.uids = Uids("4:9");
  request.flags = {"\\Deleted", "$x"};
  request.unchanged_since = ModSeq(12);
  EXPECT_EQ(Run(StoreFlags(session(), request))->ToString(), "7,9");
  StoreRequest remove;
  remove.uids = Uids("4");
  remove.add = false;
  remove.flags = {"\\Seen"};
  EXPECT_TRUE(Run(StoreFlags(session(), remove))->empty());
  remove.flags = {"x) \r\nA3 DELETE"};
  EXPECT_TRUE(absl::IsInvalidArgument(Run(StoreFlags(session(), remove)).status()));
}

TEST_F(CommandsTest, CopyUidComesTaggedOrUntagged) {
  Greet(kDovecot);
  script_->Step("A1 UID COPY 304,319:320 \"Foo\"\r\n", "A1 OK [COPYUID 38505 304,319:320 3956:3958] Done\r\n")
      .Step("A2 UID MOVE 42:43 \"Foo\"\r\n",
            "* OK [COPYUID 432432 42:43 1202,1201] Moved\r\n* VANISHED 42:43\r\nA2 OK Done\r\n")
      .Step("A3 UID COPY 1 \"Foo\"\r\n", "A3 OK [COPYUID 1 1:4294967295 1:4294967295] hostile\r\n")
      .Step("A4 UID COPY 1 \"None\"\r\n", "A4 NO [TRYCREATE] none\r\n");
  const absl::StatusOr<CopyResult> copied = Run(UidCopy(session(), Uids("304,319:320"), "Foo"));
  ASSERT_TRUE(copied.ok()) << copied.status();
  EXPECT_EQ(copied->uid_validity, UidValidity(38505));
  ASSERT_EQ(copied->uids.size(), 3u);
  EXPECT_EQ(copied->uids[2], std::make_pair(Uid(320), Uid(3958)));
  const absl::StatusOr<CopyResult> moved = Run(UidMove(session(), Uids("42:43"), "Foo"));
  ASSERT_TRUE(moved.ok() && moved->uids.size() == 2u);
  EXPECT_EQ(moved->uids[0], std::make_pair(Uid(42), Uid(1202)));
  EXPECT_TRUE(Run(UidCopy(session(), Uids("1"), "Foo"))->uids.empty());
  EXPECT_TRUE(absl::IsNotFound(Run(UidCopy(session(), Uids("1"), "None")).status()));
}

TEST_F(CommandsTest, AppendSeveralInOneCommand) {
  Greet(kDovecot);
  script_
      ->Step(
          "A1 APPEND \"INBOX\" (\\Seen $a) \"17-Jul-1996 02:44:25 -0700\" {3+}\r\nabc () "
          "\"17-Jul-1996 02:44:25 -0700\" {2+}\r\nde\r\n",
          "A1 OK [APPENDUID 5 9,4] done\r\n")
      .Step("A2 APPEND \"INBOX\" () \"17-Jul-1996 02:44:25 -0700\" {2}\r\n", "+ go\r\n")
      .Step("de () \"17-Jul-1996 02:44:25 -0700\" {1}\r\n", "+ go\r\n")
      .Step("f\r\n", "A2 OK no code\r\n");
  std::vector<AppendMessage> messages = {MakeMessage("abc", {"\\Seen", "$a"}), MakeMessage("de", {})};
  const absl::StatusOr<AppendResult> appended =
      Run(Append(session(), "INBOX", messages, LiteralSafety::kCannotBeRefused));
  ASSERT_TRUE(appended.ok()) << appended.status();
  EXPECT_EQ(appended->uid_validity, UidValidity(5));
  EXPECT_EQ(appended->uids, (std::vector<Uid>{Uid(9), Uid(4)}));
  messages = {MakeMessage("de", {}), MakeMessage("f", {})};
  const absl::StatusOr<AppendResult> unnumbered =
      Run(Append(session(), "INBOX", messages, LiteralSafety::kMayBeRefused));
  ASSERT_TRUE(unnumbered.ok()) << unnumbered.status();
  EXPECT_EQ(unnumbered->uids, (std::vector<Uid>{Uid(), Uid()}));
}

TEST_F(CommandsTest, AppendChecksBeforeItSends) {
  Greet("LITERAL+");
  std::vector<AppendMessage> messages = {MakeMessage("a", {"bad flag"})};
  EXPECT_TRUE(
      absl::IsInvalidArgument(Run(Append(session(), "INBOX", messages, LiteralSafety::kCannotBeRefused)).status()));
  messages = {MakeMessage("a", {})};
  messages[0].internal_date = "yesterday";
  EXPECT_TRUE(
      absl::IsInvalidArgument(Run(Append(session(), "INBOX", messages, LiteralSafety::kCannotBeRefused)).status()));
  messages = {MakeMessage("a", {}), MakeMessage("b", {})};
  EXPECT_TRUE(
      absl::IsUnimplemented(Run(Append(session(), "INBOX", messages, LiteralSafety::kCannotBeRefused)).status()));
  EXPECT_EQ(session().commands(), 0u);
}

TEST_F(CommandsTest, NotifyIsSetOnceOrRefused) {
  const std::string line =
      "NOTIFY SET (personal (MessageNew MessageExpunge FlagChange MailboxName SubscriptionChange))\r\n";
  Greet("NOTIFY");
  script_->Step("A1 " + line, "A1 OK\r\n").Step("A2 " + line, "A2 NO [BADEVENT (MessageNew)] no\r\n");
  EXPECT_TRUE(Run(NotifySet(session())).ok());
  EXPECT_TRUE(absl::IsUnimplemented(Run(NotifySet(session()))));
}

TEST_F(CommandsTest, TheWatchTellsNamesAndRenewsIdle) {
  Greet("IDLE");
  script_
      ->Step("A1 IDLE\r\n",
             "* STATUS Early (MESSAGES 1)\r\n+ idling\r\n* STATUS Foo (MESSAGES 1)\r\n"
             "* LIST () \"/\" New (\"OLDNAME\" (\"Old\"))\r\n* OK Still here\r\n")
      .Step("DONE\r\n", "* 3 EXISTS\r\nA1 OK\r\n")
      .Step("A2 IDLE\r\n", "+ idling\r\n* OK [NOTIFICATIONOVERFLOW] too much\r\n");
  std::vector<std::vector<std::string>> told;
  const std::function<void(std::vector<std::string>)> due = [&](std::vector<std::string> names) {
    told.push_back(std::move(names));
  };
  const absl::Status status = Run(WatchLoop(session(), milliseconds(30), due));
  EXPECT_TRUE(absl::IsResourceExhausted(status)) << status;
  EXPECT_EQ(told, (std::vector<std::vector<std::string>>{{"Early"}, {"Foo", "New", "Old"}, {}, {}, {}}));
}

TEST_F(CommandsTest, TheWatchEndsWhenIdleIsRefused) {
  Greet("IDLE");
  script_->Step("A1 IDLE\r\n", "A1 NO not now\r\n");
  const std::function<void(std::vector<std::string>)> due = [](std::vector<std::string>) {};
  EXPECT_TRUE(absl::IsAborted(Run(WatchLoop(session(), milliseconds(30), due))));
}

TEST_F(CommandsTest, MailboxCommands) {
  Greet("UNSELECT");
  script_->Step("A1 CREATE \"a&AOQ-\"\r\n", "A1 NO [ALREADYEXISTS] there\r\n")
      .Step("A2 RENAME \"a\" \"b\"\r\n", "A2 OK\r\n")
      .Step("A3 SUBSCRIBE \"b\"\r\n", "A3 OK\r\n")
      .Step("A4 UNSUBSCRIBE \"b\"\r\n", "A4 OK\r\n")
      .Step("A5 DELETE \"b\"\r\n", "A5 OK\r\n")
      .Step("A6 SELECT \"c\"\r\n", "* 0 EXISTS\r\nA6 OK [READ-ONLY]\r\n")
      .Step("A7 UNSELECT\r\n", "A7 OK\r\n")
      .Step("A8 LOGOUT\r\n", "");
  EXPECT_TRUE(absl::IsAlreadyExists(Run(Create(session(), "a&AOQ-"))));
  EXPECT_TRUE(Run(Rename(session(), "a", "b")).ok());
  EXPECT_TRUE(Run(Subscribe(session(), "b")).ok());
  EXPECT_TRUE(Run(Unsubscribe(session(), "b")).ok());
  EXPECT_TRUE(Run(Delete(session(), "b")).ok());
  EXPECT_TRUE(Run(Select(session(), SelectRequest("c")))->read_only);
  EXPECT_TRUE(Run(Unselect(session())).ok());
  EXPECT_TRUE(Run(Unselect(session())).ok());
  bool over = false;
  const auto log_out = [&]() -> asio::awaitable<bool> {
    co_await Logout(session());
    over = true;
    co_return true;
  };
  EXPECT_TRUE(Run(log_out()));
  EXPECT_TRUE(over && script_->closed);
}

TEST_F(CommandsTest, StatusIsAskedFromOutsideTheMailbox) {
  Greet("UNSELECT");
  script_->Step("A1 SELECT \"a\"\r\n", "* 1 EXISTS\r\nA1 OK\r\n")
      .Step("A2 STATUS \"b\" (UIDVALIDITY UIDNEXT)\r\n", "* STATUS b (UIDVALIDITY 7 UIDNEXT 3)\r\nA2 OK\r\n")
      .Step("A3 UNSELECT\r\nA4 STATUS \"a\" (UIDVALIDITY UIDNEXT)\r\n",
            "A3 OK\r\n* STATUS a (UIDVALIDITY 7 UIDNEXT 4)\r\nA4 OK\r\n");
  EXPECT_TRUE(Run(Select(session(), SelectRequest("a"))).ok());
  EXPECT_EQ(Run(NextUid(session(), "b"))->uid, Uid(3));
  EXPECT_EQ(Run(NextUid(session(), "a"))->uid, Uid(4)) << "what it had shown of it before may be less";
  EXPECT_TRUE(session().selected().empty());
}

TEST_F(CommandsTest, SetUpIsOneExchange) {
  Greet("ID ENABLE QRESYNC NAMESPACE COMPRESS=DEFLATE");
  script_->Step("A1 ID (\"name\" \"imapmesh\")\r\nA2 ENABLE QRESYNC\r\nA3 NAMESPACE\r\nA4 COMPRESS DEFLATE\r\n",
                "* ID (\"name\" \"Dovecot\")\r\nA1 NO not today\r\n* ENABLED QRESYNC\r\nA2 OK\r\n"
                "* NAMESPACE ((\"INBOX.\" \".\")) NIL NIL\r\nA3 OK\r\nA4 OK\r\n");
  SetUpRequest request;
  request.extensions = {"QRESYNC"};
  request.namespaces = request.compress = true;
  const auto result = Run(imap::SetUp(session(), request));
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_TRUE(result->compressed);
  ASSERT_TRUE(result->namespaces.has_value());
  EXPECT_EQ(result->namespaces->personal.at(0).prefix, "INBOX.");
  EXPECT_TRUE(session().enabled().contains("QRESYNC"));
}

TEST_F(CommandsTest, SetUpWithoutCompressionWhenItIsRefusedButNotWithoutWhatIsNeeded) {
  Greet("ENABLE QRESYNC COMPRESS=DEFLATE");
  script_->Step("A1 ENABLE QRESYNC\r\nA2 COMPRESS DEFLATE\r\n", "A1 OK\r\nA2 NO [COMPRESSIONACTIVE] TLS does\r\n")
      .Step("A3 ENABLE QRESYNC\r\n", "A3 BAD no\r\n");
  SetUpRequest request;
  request.extensions = {"QRESYNC"};
  request.compress = true;
  const auto refused = Run(imap::SetUp(session(), request));
  ASSERT_TRUE(refused.ok()) << refused.status();
  EXPECT_FALSE(refused->compressed);
  request.compress = false;
  EXPECT_EQ(Run(imap::SetUp(session(), request)).status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace imapmesh::imap
