// The grammar: known answers from the RFCs, every chunking, caps, hostile input.
#include "engine/imap/response.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace imapmesh::imap {
namespace {

// All responses in `bytes`, fed `chunk` bytes at a time.
absl::StatusOr<std::vector<Response>> ParseAll(std::string_view bytes, size_t chunk, ReaderLimits limits = {}) {
  ResponseReader reader(limits);
  std::vector<Response> responses;
  for (size_t begin = 0; begin < bytes.size(); begin += chunk) {
    std::string buffer(bytes.substr(begin, chunk));
    reader.Feed(buffer, buffer.size());
    while (true) {
      ASSIGN_OR_RETURN(std::optional<RawResponse> raw, reader.Next());
      if (!raw) break;
      ASSIGN_OR_RETURN(Response response, ParseResponse(*std::move(raw)));
      responses.push_back(std::move(response));
    }
  }
  return responses;
}

template <typename Kind>
Kind ParseOne(std::string_view bytes) {
  absl::StatusOr<std::vector<Response>> responses = ParseAll(bytes, bytes.size());
  EXPECT_TRUE(responses.ok()) << responses.status() << " for " << bytes;
  if (!responses.ok() || responses->size() != 1 || !std::holds_alternative<Kind>((*responses)[0])) {
    ADD_FAILURE() << "not one response of the wanted kind: " << bytes;
    return Kind();
  }
  return std::get<Kind>(std::move((*responses)[0]));
}

absl::Status ParseError(std::string_view bytes, ReaderLimits limits = {}) {
  return ParseAll(bytes, 7, limits).status();
}

std::string Content(const Body& body) {
  std::string content(body.size(), '\0');
  size_t filled = 0;
  while (filled < content.size()) {
    const absl::StatusOr<size_t> count = body.ReadAt(filled, content.data() + filled, content.size() - filled);
    if (!count.ok() || *count == 0) break;
    filled += *count;
  }
  return content;
}

using Words = std::vector<std::string>;

TEST(StatusResponseTest, TaggedAndUntaggedWithCodes) {
  const auto greeting = ParseOne<StatusResponse>("* OK [CAPABILITY IMAP4rev1 SASL-IR LITERAL+] Dovecot ready.\r\n");
  EXPECT_EQ(greeting.tag, "");
  EXPECT_EQ(greeting.code.words, (Words{"IMAP4rev1", "SASL-IR", "LITERAL+"}));
  EXPECT_EQ(greeting.text, "Dovecot ready.");
  EXPECT_EQ(ParseOne<StatusResponse>("* PREAUTH hello\r\n").kind, StatusKind::kPreauth);
  EXPECT_EQ(ParseOne<StatusResponse>("* BYE Autologout\r\n").text, "Autologout");
  const auto bad = ParseOne<StatusResponse>("a7 BAD\r\n");
  EXPECT_EQ(bad.tag, "a7");
  EXPECT_EQ(bad.kind, StatusKind::kBad);
}

TEST(StatusResponseTest, NumbersAndSets) {
  EXPECT_EQ(ParseOne<StatusResponse>("* OK [UIDVALIDITY 3857529045] UIDs valid\r\n").code.number, 3857529045u);
  EXPECT_EQ(ParseOne<StatusResponse>("* OK [HIGHESTMODSEQ 9223372036854775807] x\r\n").code.number,
            9223372036854775807u);
  EXPECT_EQ(ParseOne<StatusResponse>("* OK [HIGHESTMODSEQ] empty\r\n").code.number, 0u);
  // RFC 7162 section 3.1.3, example 8.
  EXPECT_EQ(ParseOne<StatusResponse>("d105 OK [MODIFIED 7,9] Conditional STORE failed\r\n").code.modified.ToString(),
            "7,9");
}

TEST(StatusResponseTest, AppendUidAndCopyUidKeepTheOrderOfTheServer) {
  // RFC 4315 section 3.
  const auto append = ParseOne<StatusResponse>("A003 OK [APPENDUID 38505 3955] APPEND completed\r\n");
  EXPECT_EQ(append.code.uid_validity, UidValidity(38505));
  EXPECT_EQ(append.code.target_uids, (std::vector<UidRange>{{3955, 3955}}));
  const auto copy = ParseOne<StatusResponse>("A004 OK [COPYUID 38505 304,319:320 3956:3958] Done\r\n");
  EXPECT_EQ(copy.code.source_uids, (std::vector<UidRange>{{304, 304}, {319, 320}}));
  EXPECT_EQ(copy.code.target_uids, (std::vector<UidRange>{{3956, 3958}}));
  const auto unsorted = ParseOne<StatusResponse>("A OK [COPYUID 1 9,4 20,10] Done\r\n");
  EXPECT_EQ(unsorted.code.source_uids, (std::vector<UidRange>{{9, 9}, {4, 4}}));
  EXPECT_EQ(unsorted.code.target_uids, (std::vector<UidRange>{{20, 20}, {10, 10}}));
}

TEST(StatusResponseTest, PermanentFlagsMayHoldABracket) {
  const auto response = ParseOne<StatusResponse>("* OK [PERMANENTFLAGS (\\Answered a]b \\*)] Limited\r\n");
  EXPECT_EQ(response.code.words, (Words{"\\Answered", "a]b", "\\*"}));
  EXPECT_EQ(response.text, "Limited");
}

TEST(StatusResponseTest, UnknownCodesAndTextsThatLookLikeLiteralsAreText) {
  const auto unknown = ParseOne<StatusResponse>("* NO [X-VENDOR some \"quoted ] thing\"] text\r\n");
  EXPECT_EQ(unknown.code.name, "X-VENDOR");
  EXPECT_EQ(unknown.code.arguments, "some \"quoted ] thing\"");
  EXPECT_EQ(ParseOne<StatusResponse>("* OK see {5}\r\n").text, "see {5}");
  EXPECT_EQ(ParseOne<ContinuationResponse>("+ idling {3}\r\n").text, "idling {3}");
  EXPECT_EQ(ParseOne<ContinuationResponse>("+\r\n").text, "");
}

TEST(ListResponseTest, AttributesDelimitersAndExtendedItems) {
  const auto list = ParseOne<ListResponse>("* LIST (\\NoInferiors \\Subscribed) \".\" \"Entw&APw-rfe\" \r\n");
  EXPECT_TRUE(list.HasAttribute("\\noinferiors"));
  EXPECT_EQ(list.delimiter, ".");
  EXPECT_EQ(list.mailbox, "Entw&APw-rfe");
  EXPECT_EQ(ParseOne<ListResponse>("* LIST () NIL INBOX\r\n").delimiter, "");
  EXPECT_EQ(ParseOne<ListResponse>("* LIST () \"\\\\\" a\\b\r\n").delimiter, "\\");
  EXPECT_EQ(ParseOne<ListResponse>("* LIST () \"/\" {7}\r\nx \"y\"\r\n\r\n").mailbox, "x \"y\"\r\n");
  // RFC 5258 section 5, RFC 5465 section 5.4.
  const auto child = ParseOne<ListResponse>("* LIST () \"/\" \"Foo\" (\"CHILDINFO\" (\"SUBSCRIBED\"))\r\n");
  EXPECT_EQ(child.child_info, (Words{"SUBSCRIBED"}));
  const auto renamed = ParseOne<ListResponse>("* LIST () \"/\" \"New\" (\"OLDNAME\" (\"Old\") \"X\" (a (b)))\r\n");
  EXPECT_EQ(renamed.old_name, "Old");
  EXPECT_TRUE(ParseOne<ListResponse>("* LSUB () \"/\" Foo\r\n").subscriptions_only);
}

TEST(MailboxStatusTest, KnownUnknownAndEmptyItems) {
  const auto status = ParseOne<MailboxStatusResponse>(
      "* STATUS \"blurdy bloop\" (MESSAGES 231 UIDNEXT 44292 HIGHESTMODSEQ 9223372036854775807 X-SIZE (a b) "
      "MAILBOXID (F2212ea87) UIDVALIDITY 5 APPENDLIMIT NIL )\r\n");
  EXPECT_EQ(status.mailbox, "blurdy bloop");
  EXPECT_EQ(status.messages, 231u);
  EXPECT_EQ(status.uid_next, Uid(44292));
  EXPECT_EQ(status.uid_validity, UidValidity(5));
  EXPECT_EQ(status.highest_modseq, ModSeq(9223372036854775807u));
  EXPECT_EQ(status.mailbox_id, "F2212ea87");
  EXPECT_EQ(ParseOne<MailboxStatusResponse>("* STATUS INBOX (HIGHESTMODSEQ )\r\n").highest_modseq, ModSeq(0));
}

TEST(VanishedTest, EarlierAndNot) {
  // RFC 7162 section 3.2.5.1.
  const auto earlier = ParseOne<VanishedResponse>("* VANISHED (EARLIER) 41,43:116,118,120:211,214:540\r\n");
  EXPECT_TRUE(earlier.earlier);
  EXPECT_EQ(earlier.uids.ToString(), "41,43:116,118,120:211,214:540");
  EXPECT_FALSE(ParseOne<VanishedResponse>("* VANISHED 405,407\r\n").earlier);
}

TEST(VanishedTest, WhatNamesNoUidsIsMarkedAndDoesNotEndTheConnection) {
  for (const char* line : {"* VANISHED 0\r\n", "* VANISHED 5:*\r\n", "* VANISHED (LATER) 1\r\n",
                           "* VANISHED (EARLIER) 1:3,\r\n", "* VANISHED (EARLIER 1:3\r\n", "* VANISHED 1 2\r\n"}) {
    const auto vanished = ParseOne<VanishedResponse>(line);
    EXPECT_TRUE(vanished.malformed) << line;
    EXPECT_TRUE(vanished.uids.empty()) << line;
  }
}

TEST(FetchTest, EverythingTheEngineAsksFor) {
  const auto fetch = ParseOne<FetchResponse>(
      "* 12 FETCH (UID 7 FLAGS (\\Seen $Junk) INTERNALDATE \"17-Jul-1996 02:44:25 -0700\" RFC822.SIZE 4286 "
      "MODSEQ (624140003) X-GUID 9b1e EMAILID (M6d99) X-GM-MSGID 1278455344230334865 ENVELOPE (NIL (\"x\") {2}\r\nhi) "
      "BODY[HEADER.FIELDS (MESSAGE-ID \"date\")] {9}\r\nDate: 1\r\n)\r\n");
  EXPECT_EQ(fetch.sequence_number, 12u);
  EXPECT_EQ(fetch.uid, Uid(7));
  EXPECT_EQ(fetch.flags, (Words{"\\Seen", "$Junk"}));
  EXPECT_EQ(fetch.internal_date, "17-Jul-1996 02:44:25 -0700");
  EXPECT_EQ(fetch.size, 4286u);
  EXPECT_EQ(fetch.modseq, ModSeq(624140003));
  EXPECT_EQ(fetch.guid, "9b1e");
  EXPECT_EQ(fetch.email_id, "M6d99");
  EXPECT_EQ(fetch.gmail_id, "1278455344230334865");
  ASSERT_EQ(fetch.sections.size(), 1u);
  EXPECT_EQ(fetch.sections[0].section, "HEADER.FIELDS (MESSAGE-ID DATE)");
  ASSERT_NE(fetch.sections[0].body, nullptr);
  EXPECT_EQ(Content(*fetch.sections[0].body), "Date: 1\r\n");
}

TEST(FetchTest, BodiesAreStreamedWhateverTheirForm) {
  const auto literal = ParseOne<FetchResponse>("* 1 FETCH (BODY[]<0> {3}\r\na\nb UID 3)\r\n");
  EXPECT_EQ(literal.uid, Uid(3));
  EXPECT_EQ(literal.sections[0].origin, 0u);
  EXPECT_EQ(Content(*literal.sections[0].body), "a\nb");
  EXPECT_EQ(ParseOne<FetchResponse>("* 1 FETCH (BODY[] \"a\\\"b\")\r\n").sections[0].bytes, "a\"b");
  const auto nil = ParseOne<FetchResponse>("* 1 FETCH (BODY[] NIL)\r\n");
  EXPECT_EQ(nil.sections[0].body, nullptr);
  EXPECT_EQ(ParseOne<FetchResponse>("* 1 FETCH (BODY[] {0}\r\n)\r\n").sections[0].body->size(), 0u);
  const auto binary = ParseOne<FetchResponse>("* 1 FETCH (BINARY[] ~{3}\r\na\r\n BINARY.SIZE[1] 4 UID 2)\r\n");
  EXPECT_EQ(Content(*binary.sections[0].body), "a\r\n");
  EXPECT_EQ(binary.uid, Uid(2));
}

TEST(FetchTest, ALargeBodyGoesToAFile) {
  const std::string message(300'000, 'x');
  const auto fetch = ParseOne<FetchResponse>("* 1 FETCH (UID 1 BODY[] {300000}\r\n" + message + ")\r\n");
  ASSERT_EQ(fetch.sections.size(), 1u);
  EXPECT_FALSE(fetch.sections[0].body->in_memory());
  EXPECT_EQ(Content(*fetch.sections[0].body), message);
}

TEST(FetchResponseTest, ManyBytesAreTakenOverWithTheirBuffer) {
  const std::string message = std::string(20'000, 'a') + "\r\n" + std::string(40'000, 'b') + "\r\n";
  const std::string line = "* 1 FETCH (UID 7 BODY[] {" + std::to_string(message.size()) + "}\r\n" + message + ")\r\n";
  ResponseReader reader;
  std::string buffer = line.substr(0, 30'000) + "beyond what was read";
  const char* const bytes = buffer.data();
  reader.Feed(buffer, 30'000);
  EXPECT_NE(buffer.data(), bytes) << "copied";
  EXPECT_FALSE(reader.Next()->has_value());
  buffer = line.substr(30'000);
  reader.Feed(buffer, buffer.size());
  auto raw = reader.Next();
  ASSERT_TRUE(raw.ok() && raw->has_value()) << raw.status();
  EXPECT_EQ(Content(*(*raw)->literals.at(0).body), message);
}

TEST(FetchResponseTest, ManyBytesBehindHalfALineAreAppendedToIt) {
  const std::string message(30'000, 'a');
  const std::string line = "* 1 FETCH (UID 7 BODY[] {" + std::to_string(message.size()) + "}\r\n" + message + ")\r\n";
  ResponseReader reader;
  reader.Feed(line.substr(0, 10));
  EXPECT_FALSE(reader.Next()->has_value());
  std::string buffer = line.substr(10);
  reader.Feed(buffer, buffer.size());
  auto raw = reader.Next();
  ASSERT_TRUE(raw.ok() && raw->has_value()) << raw.status();
  EXPECT_EQ(Content(*(*raw)->literals.at(0).body), message);
}

TEST(OtherResponsesTest, NamespaceIdSearchEnabled) {
  // RFC 2342 section 5, examples 5.4 and 5.5.
  const auto namespaces = ParseOne<NamespaceResponse>(
      "* NAMESPACE ((\"\" \"/\")(\"#mh/\" \"/\" \"X-PARAM\" (\"FLAG1\" \"FLAG2\"))) NIL ((\"Public/\" \"/\"))\r\n");
  ASSERT_EQ(namespaces.personal.size(), 2u);
  EXPECT_EQ(namespaces.personal[1].prefix, "#mh/");
  EXPECT_TRUE(namespaces.other_users.empty());
  EXPECT_EQ(namespaces.shared[0].prefix, "Public/");
  const auto id = ParseOne<IdResponse>("* ID (\"Name\" \"Cyrus\" \"os\" NIL)\r\n");
  EXPECT_EQ(id.fields, (std::map<std::string, std::string>{{"name", "Cyrus"}}));
  EXPECT_TRUE(ParseOne<IdResponse>("* ID NIL\r\n").fields.empty());
  EXPECT_EQ(ParseOne<SearchResponse>("* SEARCH 2 5 6 (MODSEQ 917162500)\r\n").modseq, ModSeq(917162500));
  EXPECT_EQ(ParseOne<SearchResponse>("* SEARCH 84 2 882 \r\n").numbers.ToString(), "2,84,882");
  EXPECT_TRUE(ParseOne<SearchResponse>("* SEARCH\r\n").numbers.empty());
  const auto extended = ParseOne<SearchResponse>("* ESEARCH (TAG \"A285\") UID MIN 7 MAX 3800 ALL 7,9:3800\r\n");
  EXPECT_TRUE(extended.uid);
  EXPECT_EQ(extended.tag, "A285");
  EXPECT_EQ(extended.numbers.ToString(), "7,9:3800");
  EXPECT_EQ(ParseOne<EnabledResponse>("* ENABLED qresync X\r\n").extensions, (Words{"QRESYNC", "X"}));
  EXPECT_EQ(ParseOne<ExistsResponse>("* 23 EXISTS\r\n").count, 23u);
  EXPECT_EQ(ParseOne<ExpungeResponse>("* 4 expunge\r\n").sequence_number, 4u);
  EXPECT_EQ(ParseOne<UnknownResponse>("* QUOTA \"\" (STORAGE 10 512)\r\n").name, "QUOTA");
}

TEST(ReaderTest, EveryChunkingGivesTheSameResponses) {
  const std::string transcript =
      "* OK [CAPABILITY IMAP4rev1] ready {2}\r\n* LIST (\\X) \"/\" {3}\r\na b\r\n* 1 FETCH (UID 1 BODY[] {5}\r\n"
      "\r\n)\r\n FLAGS ())\r\n* 2 FETCH (UID 2 BODY[] {0}\r\n)\r\n+ go\r\n* VANISHED 1:3\r\nA1 OK done\n";
  for (size_t chunk = 1; chunk <= transcript.size(); ++chunk) {
    const absl::StatusOr<std::vector<Response>> responses = ParseAll(transcript, chunk);
    ASSERT_TRUE(responses.ok()) << chunk << ": " << responses.status();
    ASSERT_EQ(responses->size(), 7u) << chunk;
    EXPECT_EQ(std::get<ListResponse>((*responses)[1]).mailbox, "a b");
    EXPECT_EQ(Content(*std::get<FetchResponse>((*responses)[2]).sections[0].body), "\r\n)\r\n");
    EXPECT_EQ(std::get<FetchResponse>((*responses)[3]).uid, Uid(2));
    EXPECT_EQ(std::get<StatusResponse>((*responses)[6]).tag, "A1");
  }
}

TEST(ReaderTest, BufferedInputIsSeen) {
  ResponseReader reader;
  reader.Feed("A1 OK begin TLS\r\n* OK injected");
  ASSERT_TRUE(reader.Next()->has_value());
  EXPECT_TRUE(reader.HasBufferedInput());
  reader.Feed("\r\n");
  ASSERT_TRUE(reader.Next()->has_value());
  EXPECT_FALSE(reader.HasBufferedInput());
}

TEST(ReaderTest, LimitsHold) {
  ReaderLimits limits;
  limits.line_bytes_max = 100;
  limits.response_bytes_max = 150;
  limits.inline_literal_bytes_max = 50;
  limits.literals_max = 3;
  limits.bodies_max = 2;
  limits.body_bytes_max = 1000;
  EXPECT_TRUE(absl::IsResourceExhausted(ParseError(std::string(200, 'x'), limits)));
  EXPECT_TRUE(absl::IsResourceExhausted(ParseError("* LIST () \"/\" {51}\r\n", limits)));
  EXPECT_TRUE(absl::IsResourceExhausted(ParseError("* X {30}\r\n" + std::string(30, 'y') + " {30}\r\n", limits)));
  EXPECT_TRUE(absl::IsResourceExhausted(ParseError("* X {1}\r\na{1}\r\na{1}\r\na{1}\r\n", limits)));
  EXPECT_TRUE(absl::IsResourceExhausted(ParseError("* 1 FETCH (BODY[] {1001}\r\n", limits)));
  EXPECT_TRUE(
      absl::IsResourceExhausted(ParseError("* 1 FETCH (BODY[] {1}\r\na BODY[] {1}\r\na BODY[] {1}\r\n", limits)));
  const std::string half(600, 'b');
  EXPECT_TRUE(absl::IsResourceExhausted(
      ParseError("* 1 FETCH (BODY[] {600}\r\n" + half + " BODY[] {600}\r\n" + half + ")\r\n", limits)));
  EXPECT_TRUE(absl::IsResourceExhausted(ParseError("* X {99999999999999999999999}\r\n", limits)));
  const std::string long_text(90, 'z');
  EXPECT_TRUE(absl::IsResourceExhausted(ParseError("* X " + long_text + "{1}\r\na" + long_text + "\r\n", limits)));
}

TEST(ReaderTest, AfterAnErrorNothingComesOut) {
  ReaderLimits limits;
  limits.line_bytes_max = 10;
  ResponseReader reader(limits);
  reader.Feed("* a line that is too long\r\n");
  EXPECT_FALSE(reader.Next().ok());
  reader.Feed("* OK\r\n");
  EXPECT_FALSE(reader.Next().ok());
}

TEST(HostileTest, MalformedResponsesAreErrorsFitToPrint) {
  for (const std::string_view line : {
           "\r\n",
           "*\r\n",
           "* \r\n",
           "HTTP/1.1 400 Bad Request\r\n",
           "SSH-2.0-OpenSSH_9.2\r\n",
           "* 1 FETCH\r\n",
           "* 1 FETCH (UID 0)\r\n",
           "* 1 FETCH (UID 4294967296)\r\n",
           "* 1 FETCH (MODSEQ (9223372036854775808))\r\n",
           "* 1 FETCH (BODY[HEADER 5)\r\n",
           "* 1 FETCH (BODY[] atom)\r\n",
           "* 1 FETCH (FLAGS (\\Seen\r\n",
           "* 1 FETCH (UID 1\r\n",
           "* LIST (\\X) \"ab\" c\r\n",
           "* LIST () \"/\"\r\n",
           "* STATUS a (UIDNEXT -1)\r\n",
           "* STATUS a\r\n",
           "* SEARCH 1 x\r\n",
           "* NAMESPACE (\r\n",
           "* ID (\"a\r\n",
           "A1 BYE\r\n",
           "A1 FETCH\r\n",
           "* 1\r\n",
       }) {
    const absl::Status status = ParseError(line);
    EXPECT_TRUE(absl::IsDataLoss(status)) << line << ": " << status;
  }
  const absl::Status status = ParseError("\x1b[2J \x07\r\n");
  EXPECT_EQ(Message(status).find('\x1b'), std::string::npos) << status;
}

TEST(HostileTest, NestingIsCapped) {
  EXPECT_TRUE(absl::IsDataLoss(ParseError("* 1 FETCH (X " + std::string(100'000, '(') + "\r\n")));
  const std::string deep = std::string(60, '(') + std::string(60, ')');
  EXPECT_EQ(ParseOne<FetchResponse>("* 1 FETCH (X " + deep + " UID 1)\r\n").uid, Uid(1));
}

}  // namespace
}  // namespace imapmesh::imap
