// The session over a scripted server: pipelining, literals, refusals, deadlines, layers.
#include "engine/imap/session.h"

#include <gtest/gtest.h>

#include "engine/imap/scripted_stream.h"

namespace imapmesh::imap {
namespace {

using std::chrono::milliseconds;

std::shared_ptr<Body> MakeBody(std::string_view content) {
  auto body = std::make_shared<Body>();
  EXPECT_TRUE(body->Append(content).ok());
  return body;
}

class SessionTest : public ScriptedSessionTest {
 protected:
  std::string Send(Command command) {
    absl::StatusOr<std::string> tag = session().Send(std::move(command));
    EXPECT_TRUE(tag.ok()) << tag.status();
    return tag.ok() ? *tag : "";
  }
  absl::Status Await(const std::string& tag, ResponseHandler handler = nullptr) {
    return Run(session().Await(tag, std::move(handler))).status();
  }
};

Command AppendOf(std::string_view content, LiteralSafety safety) {
  Command command("APPEND", safety);
  command.Text(" ").String("INBOX").Text(" ").Message(MakeBody(content));
  return command;
}

TEST_F(SessionTest, TheGreetingTellsCapabilities) {
  Greet("IDLE literal+");
  EXPECT_TRUE(session().HasCapability("IDLE"));
  EXPECT_TRUE(session().HasCapability("LITERAL+"));
  EXPECT_FALSE(session().HasCapability("NOTIFY"));
}

TEST_F(SessionTest, AGreetingWithByeTellsWhy) {
  script_->Step("", "* BYE too many connections\r\n").ThenCloses();
  const absl::Status status = Run(session().ReadGreeting()).status();
  EXPECT_TRUE(absl::IsUnavailable(status));
  EXPECT_NE(Message(status).find("too many connections"), std::string::npos) << status;
}

TEST_F(SessionTest, APeerThatSpeaksNoImapIsRefused) {
  script_->Step("", "HTTP/1.1 400 Bad Request\r\n");
  EXPECT_TRUE(absl::IsDataLoss(Run(session().ReadGreeting()).status()));
  EXPECT_FALSE(session().closed().ok());
}

TEST_F(SessionTest, PipelinedCommandsAreCompletedInAnyOrder) {
  Greet("");
  script_->Step("A1 NOOP\r\nA2 CHECK\r\n", "* 3 EXISTS\r\nA2 OK two\r\n* 4 EXISTS\r\nA1 OK one\r\n");
  const std::string first = Send(Command("NOOP"));
  const std::string second = Send(Command("CHECK"));
  std::vector<uint32_t> counts;
  ResponseHandler handler = [&](Response& response) {
    if (const auto* exists = std::get_if<ExistsResponse>(&response)) counts.push_back(exists->count);
    return absl::OkStatus();
  };
  EXPECT_TRUE(Await(first, handler).ok());
  EXPECT_TRUE(Await(second, handler).ok());
  EXPECT_EQ(counts, (std::vector<uint32_t>{3, 4}));
  EXPECT_EQ(session().commands(), 2u);
}

TEST_F(SessionTest, ASynchronisingLiteralWaitsForTheServer) {
  Greet("LITERAL+");
  script_->Step("A1 APPEND \"INBOX\" {5}\r\n", "* 1 EXISTS\r\n+ go ahead\r\n").Step("hello\r\n", "A1 OK done\r\n");
  EXPECT_TRUE(Await(Send(AppendOf("hello", LiteralSafety::kMayBeRefused))).ok());
  EXPECT_TRUE(Done());
}

TEST_F(SessionTest, ARefusedSynchronisingLiteralIsNeverSent) {
  Greet("LITERAL+");
  script_->Step("A1 APPEND \"INBOX\" {5}\r\n", "A1 NO [TRYCREATE] no such mailbox\r\n")
      .Step("A2 NOOP\r\n", "A2 OK\r\n");
  const absl::Status status = Await(Send(AppendOf("hello", LiteralSafety::kMayBeRefused)));
  EXPECT_TRUE(absl::IsNotFound(status)) << status;
  EXPECT_TRUE(Await(Send(Command("NOOP"))).ok());
}

TEST_F(SessionTest, AnUnaskedLiteralSavesTheExchange) {
  Greet("LITERAL+");
  script_->Step("A1 APPEND \"INBOX\" {5+}\r\nhello\r\n", "A1 OK\r\n");
  EXPECT_TRUE(Await(Send(AppendOf("hello", LiteralSafety::kCannotBeRefused))).ok());
}

TEST_F(SessionTest, LiteralMinusIsForShortOnes) {
  Greet("LITERAL-");
  const std::string large(4097, 'x');
  script_->Step("A1 APPEND \"INBOX\" {5+}\r\nhello\r\n", "A1 OK\r\n")
      .Step("A2 APPEND \"INBOX\" {4097}\r\n", "+\r\n")
      .Step(large + "\r\n", "A2 OK\r\n");
  EXPECT_TRUE(Await(Send(AppendOf("hello", LiteralSafety::kCannotBeRefused))).ok());
  EXPECT_TRUE(Await(Send(AppendOf(large, LiteralSafety::kCannotBeRefused))).ok());
}

TEST_F(SessionTest, ARefusalBehindAnUnaskedLiteralClosesAtOnce) {
  Greet("LITERAL+");
  // Given a server that refuses the flags and takes the message's lines for commands.
  script_->Step("A1 APPEND \"INBOX\" {12+}\r\nx DELETE a\r\n\r\n", "A1 BAD flags\r\nx OK deleted\r\n");
  const absl::Status status = Await(Send(AppendOf("x DELETE a\r\n", LiteralSafety::kCannotBeRefused)));
  EXPECT_TRUE(absl::IsUnavailable(status)) << status;
  EXPECT_NE(Message(status).find("BAD flags"), std::string::npos) << status;
  EXPECT_TRUE(session().refused_behind_literal());
  EXPECT_TRUE(script_->closed);
  EXPECT_FALSE(session().Send(Command("NOOP")).ok());
}

TEST_F(SessionTest, AStrayContinuationAnswersNoLaterLiteral) {
  Greet("");
  script_->Step("A1 NOOP\r\n", "+ stray\r\nA1 OK\r\n")
      .Step("A2 APPEND \"INBOX\" {5}\r\n", "A2 NO quota\r\n")
      .Step("A3 NOOP\r\n", "A3 OK\r\n");
  EXPECT_TRUE(Await(Send(Command("NOOP"))).ok());
  EXPECT_TRUE(absl::IsAborted(Await(Send(AppendOf("hello", LiteralSafety::kMayBeRefused)))));
  EXPECT_TRUE(Await(Send(Command("NOOP"))).ok());
}

TEST_F(SessionTest, StringsAreQuotedOrBecomeLiterals) {
  Greet("");
  script_->Step("A1 LOGIN \"a\\\"b\\\\c\" {5}\r\n", "+\r\n").Step("p\xC3\xA4\r\n\r\n", "A1 OK\r\n");
  Command command("LOGIN");
  command.Text(" ").String("a\"b\\c").Text(" ").String("p\xC3\xA4\r\n");
  EXPECT_TRUE(Await(Send(std::move(command))).ok());
}

TEST_F(SessionTest, NothingCanBreakOutOfACommand) {
  Greet("");
  Command text("SELECT");
  text.Text(" a\r\nA9 DELETE b");
  EXPECT_TRUE(absl::IsInvalidArgument(session().Send(std::move(text)).status()));
  Command nul("SELECT");
  nul.Text(" ").String(std::string_view("a\0b", 3));
  EXPECT_TRUE(absl::IsInvalidArgument(session().Send(std::move(nul)).status()));
}

TEST_F(SessionTest, RefusalsMapToCodesThatLeaveNoDoubt) {
  const std::vector<std::pair<std::string, absl::StatusCode>> cases = {
      {"NO [OVERQUOTA] full", absl::StatusCode::kResourceExhausted},
      {"NO [LIMIT] of one message", absl::StatusCode::kOutOfRange},
      {"NO [NOPERM] no", absl::StatusCode::kPermissionDenied},
      {"NO [NONEXISTENT] no", absl::StatusCode::kNotFound},
      {"NO [ALREADYEXISTS] yes", absl::StatusCode::kAlreadyExists},
      {"NO [AUTHENTICATIONFAILED] who", absl::StatusCode::kUnauthenticated},
      {"NO [INUSE] locked", absl::StatusCode::kAborted},
      {"NO just no", absl::StatusCode::kAborted},
      {"BAD what", absl::StatusCode::kInvalidArgument},
  };
  Greet("");
  for (size_t i = 0; i < cases.size(); ++i) {
    const std::string tag = "A" + std::to_string(i + 1);
    script_->Step(tag + " CREATE secret\r\n", tag + " " + cases[i].first + "\r\n");
  }
  for (const auto& [answer, code] : cases) {
    Command command("CREATE");
    command.Text(" secret");
    const absl::Status status = Await(Send(std::move(command)));
    EXPECT_EQ(status.code(), code) << answer;
    EXPECT_NE(Message(status).find("CREATE: the server answered \"" + answer), std::string::npos) << status;
    EXPECT_EQ(Message(status).find("secret"), std::string::npos) << status;
  }
}

TEST_F(SessionTest, ALostConnectionTellsTheServersBye) {
  Greet("");
  script_->Step("A1 NOOP\r\n", "* BYE shutting down\r\n").ThenCloses();
  const absl::Status status = Await(Send(Command("NOOP")));
  EXPECT_TRUE(absl::IsUnavailable(status)) << status;
  EXPECT_NE(Message(status).find("shutting down"), std::string::npos) << status;
  EXPECT_EQ(session().bye_text(), "shutting down");
}

TEST_F(SessionTest, SilenceEndsTheSession) {
  options_.inactivity_limit = milliseconds(30);
  Greet("");
  script_->Step("A1 NOOP\r\n", "* 1 EXISTS\r\n");
  const absl::Status status = Await(Send(Command("NOOP")));
  EXPECT_TRUE(absl::IsDeadlineExceeded(status)) << status;
  EXPECT_TRUE(script_->closed);
  EXPECT_TRUE(absl::IsDeadlineExceeded(session().closed()));
}

TEST_F(SessionTest, WaitForResponseGivesUpWithoutClosing) {
  Greet("");
  absl::StatusOr<std::optional<Response>> nothing = Run(session().WaitForResponse(milliseconds(20)));
  ASSERT_TRUE(nothing.ok()) << nothing.status();
  EXPECT_FALSE(nothing->has_value());
  // The read left outstanding serves the next command.
  script_->Step("A1 NOOP\r\n", "* 2 EXISTS\r\nA1 OK\r\n");
  EXPECT_TRUE(Await(Send(Command("NOOP"))).ok());
  script_->Step("", "* 5 EXISTS\r\n");
  script_->Advance();
  const absl::StatusOr<std::optional<Response>> exists = Run(session().WaitForResponse(milliseconds(1000)));
  ASSERT_TRUE(exists.ok() && exists->has_value());
  EXPECT_TRUE(std::holds_alternative<ExistsResponse>(**exists));
}

TEST_F(SessionTest, AHandlersErrorClosesTheSession) {
  Greet("");
  script_->Step("A1 NOOP\r\n", "* 1 EXISTS\r\nA1 OK\r\n");
  ResponseHandler handler = [](Response&) { return absl::ResourceExhaustedError("the disk is full"); };
  EXPECT_TRUE(absl::IsResourceExhausted(Await(Send(Command("NOOP")), handler)));
  EXPECT_TRUE(script_->closed);
}

TEST_F(SessionTest, ALayerIsRefusedWhenSomethingWasInjectedBeforeIt) {
  Greet("STARTTLS");
  script_->Step("A1 STARTTLS\r\n", "A1 OK begin\r\n* CAPABILITY injected\r\n");
  ASSERT_TRUE(Await(Send(Command("STARTTLS"))).ok());
  EXPECT_TRUE(session().HasBufferedInput());
  bool upgraded = false;
  const absl::Status status = session().UpgradeStream([&](std::unique_ptr<ByteStream> below) {
    upgraded = true;
    return below;
  });
  EXPECT_TRUE(absl::IsDataLoss(status)) << status;
  EXPECT_FALSE(upgraded);
  EXPECT_TRUE(script_->closed);
}

TEST_F(SessionTest, ALayerIsPutOnBetweenCommands) {
  Greet("");
  script_->Step("A1 COMPRESS DEFLATE\r\n", "A1 OK\r\n").Step("A2 NOOP\r\n", "A2 OK\r\n");
  ASSERT_TRUE(Await(Send(Command("COMPRESS DEFLATE"))).ok());
  EXPECT_TRUE(session().UpgradeStream([](std::unique_ptr<ByteStream> below) { return below; }).ok());
  EXPECT_TRUE(Await(Send(Command("NOOP"))).ok());
}

TEST_F(SessionTest, ALayerThatCannotBeMadeClosesTheSession) {
  Greet("");
  EXPECT_TRUE(absl::IsUnavailable(session().UpgradeStream([](std::unique_ptr<ByteStream>) { return nullptr; })));
  EXPECT_TRUE(absl::IsUnavailable(Run(session().Run(Command("NOOP"), nullptr)).status()));
  EXPECT_EQ(session().bytes_received(), 0u);
}

TEST_F(SessionTest, ACompletionNobodyAskedForIsAnAttack) {
  Greet("");
  script_->Step("A1 NOOP\r\n", "A7 OK\r\n");
  EXPECT_TRUE(absl::IsDataLoss(Await(Send(Command("NOOP")))));
}

TEST_F(SessionTest, ALargeMessageIsStreamedInPieces) {
  Greet("LITERAL+");
  const std::string large(700'000, 'm');
  script_->read_bytes_max = 1;
  script_->Step("A1 APPEND \"INBOX\" {700000+}\r\n" + large + "\r\n", "A1 OK [HIGHESTMODSEQ 7] done\r\n");
  EXPECT_TRUE(Await(Send(AppendOf(large, LiteralSafety::kCannotBeRefused))).ok());
  EXPECT_EQ(session().highest_modseq(), ModSeq(7));
}

TEST(CommandTest, FlagsAndDatesAreChecked) {
  for (const std::string_view good : {"\\Seen", "$Forwarded", "a[b", "+x"}) EXPECT_TRUE(IsFlag(good)) << good;
  for (const std::string_view bad : {"", "\\", "a b", "a)b", "a\r\nb", "\\*", "a]", "\\a\\b", "\xC3\xA4", "a\"b"}) {
    EXPECT_FALSE(IsFlag(bad)) << bad;
  }
  for (const std::string_view good :
       {"17-Jul-1996 02:44:25 -0700", " 1-Feb-2000 00:00:00 +0000", "29-Feb-2024 23:59:60 +1400"}) {
    EXPECT_TRUE(IsDateTime(good)) << good;
  }
  for (const std::string_view bad :
       {"", "31-Feb-2024 00:00:00 +0000", "29-Feb-2023 00:00:00 +0000", "01-Foo-2023 00:00:00 +0000",
        "01-Jan-2023 24:00:00 +0000", "01-Jan-2023 00:00:00 00000", "01-Jan-2023 00:00:00 +0000\"",
        "-1-Jan-2023 00:00:00 +0000"}) {
    EXPECT_FALSE(IsDateTime(bad)) << bad;
  }
}

}  // namespace
}  // namespace imapmesh::imap
