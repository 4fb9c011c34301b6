// Servers that want to harm: every way to make the client wait, hold or show without end meets a limit.
#include <gtest/gtest.h>

#include "engine/imap/commands.h"
#include "engine/imap/open.h"
#include "engine/imap/scripted_stream.h"
#include "engine/net/signal.h"

namespace imapmesh::imap {
namespace {

using std::chrono::milliseconds;

// Says `beginning`, then one more byte every `pause`, for ever.
class TricklingStream : public ByteStream {
 public:
  TricklingStream(Clock& clock, asio::any_io_executor executor, std::string beginning, Duration pause)
      : clock_(clock), executor_(executor), left_(std::move(beginning)), pause_(pause) {}
  asio::awaitable<absl::StatusOr<size_t>> Read(std::span<char> into) override {
    if (left_.empty()) {
      co_await Sleep(clock_, executor_, pause_);
      left_ = "x";
    }
    if (closed_) co_return absl::UnavailableError("closed");
    const size_t count = std::min(into.size(), left_.size());
    std::copy_n(left_.begin(), count, into.begin());
    left_.erase(0, count);
    co_return count;
  }
  asio::awaitable<absl::Status> Write(std::string_view) override { co_return absl::OkStatus(); }
  void Close() override { closed_ = true; }
  uint64_t bytes_sent() const override { return 0; }
  uint64_t bytes_received() const override { return 0; }

 private:
  Clock& clock_;
  asio::any_io_executor executor_;
  std::string left_;
  Duration pause_;
  bool closed_ = false;
};

class HostileTest : public ScriptedSessionTest {};

TEST_F(HostileTest, AnEndlessGreetingIsGivenUpThoughEachByteComesInTime) {
  for (const std::string_view beginning : {"* OK hello ", "* OK hello\r\n* OK and "}) {
    OpenOptions options;
    options.inactivity_limit = milliseconds(100);
    auto stream =
        std::make_unique<TricklingStream>(*clock_, io_.get_executor(), std::string(beginning), milliseconds(10));
    const Duration begin = clock_->Now();
    const auto session = Run(OpenSession(std::move(stream), *clock_, io_.get_executor(), options));
    EXPECT_TRUE(absl::IsDeadlineExceeded(session.status())) << session.status();
    EXPECT_GE(clock_->Now() - begin, kOpeningWaits * milliseconds(100));
  }
}

TEST_F(HostileTest, AFloodOfUntaggedResponsesEndsTheSession) {
  options_.responses_max = 100;
  Greet("");
  std::string flood;
  for (int i = 0; i < 102; ++i) flood += "* OK still working\r\n";
  script_->Step("A1 NOOP\r\n", flood + "A1 OK done\r\n");
  const absl::Status status = Run(session().Run(Command("NOOP"), nullptr)).status();
  EXPECT_TRUE(absl::IsResourceExhausted(status)) << status;
  EXPECT_FALSE(session().closed().ok());
}

TEST_F(HostileTest, AFloodBeforeAContinuationEndsTheSession) {
  options_.responses_max = 100;
  Greet("");
  std::string flood;
  for (int i = 0; i < 102; ++i) flood += "* 1 EXISTS\r\n";
  script_->Step("A1 IDLE\r\n", flood + "+ idling\r\n");
  const absl::StatusOr<std::string> tag = session().Send(Command("IDLE"));
  const absl::Status status = Run(session().AwaitContinuation(*tag, nullptr)).status();
  EXPECT_TRUE(absl::IsResourceExhausted(status)) << status;
}

TEST_F(HostileTest, AListOfEndlessNamesIsRefused) {
  Greet("LIST-STATUS");
  std::string attributes, listing;
  for (int i = 0; i < 9'000; ++i) attributes += " \\x";
  for (int i = 0; i < 250; ++i) listing += "* LIST (" + attributes + ") \"/\" n" + std::to_string(i) + "\r\n";
  script_->Step("A1 LIST \"\" \"*\" RETURN (SUBSCRIBED STATUS (MESSAGES UNSEEN UIDVALIDITY UIDNEXT))\r\n",
                listing + "A1 OK done\r\n");
  const absl::Status status = Run(ListStatus(session(), "*")).status();
  EXPECT_TRUE(absl::IsResourceExhausted(status)) << status;
}

// Each of these takes no longer, and no more memory, than the few bytes that it is.
TEST_F(HostileTest, SetsOfBillionsOfUidsAreNeverExpanded) {
  Greet("QRESYNC CONDSTORE ESEARCH MOVE UIDPLUS ENABLE");
  script_->Step("A1 ENABLE QRESYNC\r\n", "* ENABLED QRESYNC\r\nA1 OK\r\n")
      .Step("A2 SELECT \"INBOX\" (QRESYNC (5 6))\r\n",
            "* OK [UIDVALIDITY 5] x\r\n* OK [UIDNEXT 4294967295] x\r\n* OK [HIGHESTMODSEQ 9223372036854775807] x\r\n"
            "* VANISHED (EARLIER) 1:4294967295\r\n* VANISHED 4294967295:1,7\r\nA2 OK\r\n")
      .Step("A3 UID SEARCH RETURN (ALL) ALL\r\n", "* ESEARCH (TAG \"A3\") UID ALL 1:4294967295\r\nA3 OK\r\n")
      .Step("A4 UID COPY 1:9 \"Work\"\r\n", "A4 OK [COPYUID 7 1:4294967295 1:4294967295] x\r\n")
      .Step("A5 UID STORE 1:9 +FLAGS.SILENT (\\Seen)\r\n", "A5 OK [MODIFIED 1:4294967295] x\r\n");
  std::vector<std::string> extensions(1, "QRESYNC");
  ASSERT_TRUE(Run(Enable(session(), extensions)).ok());
  SelectRequest request("INBOX");
  request.uid_validity = UidValidity(5);
  request.modseq = ModSeq(6);
  const auto selected = Run(Select(session(), request));
  ASSERT_TRUE(selected.ok()) << selected.status();
  EXPECT_EQ(selected->vanished.ToString(), "1:4294967295");
  EXPECT_EQ(selected->uid_next, Uid(4294967295));
  EXPECT_EQ(selected->highest_modseq, ModSeq(9223372036854775807));
  const auto all = Run(UidSearchAll(session()));
  ASSERT_TRUE(all.ok()) << all.status();
  EXPECT_EQ(all->size(), 4294967295u);
  UidSet uids;
  uids.AddRange(1, 9);
  const auto copied = Run(UidCopy(session(), uids, "Work"));
  ASSERT_TRUE(copied.ok()) << copied.status();
  EXPECT_TRUE(copied->uids.empty());
  StoreRequest store;
  store.uids = uids;
  store.flags.assign(1, "\\Seen");
  const auto modified = Run(StoreFlags(session(), store));
  ASSERT_TRUE(modified.ok()) << modified.status();
  EXPECT_EQ(modified->ToString(), "1:4294967295");
  EXPECT_TRUE(Done());
}

TEST_F(HostileTest, NumbersBeyondTheirLimitsEndTheSession) {
  for (const std::string_view line :
       {"* 1 FETCH (UID 4294967296 FLAGS ())", "* 1 FETCH (UID 0 FLAGS ())",
        "* 1 FETCH (UID 1 MODSEQ (9223372036854775808))", "* STATUS INBOX (HIGHESTMODSEQ 18446744073709551616)",
        "* 1 FETCH (RFC822.SIZE 9223372036854775808)"}) {
    ResponseReader reader;
    reader.Feed(std::string(line) + "\r\n");
    EXPECT_TRUE(absl::IsDataLoss(ParseResponse(**reader.Next()).status())) << line;
  }
}

TEST_F(HostileTest, ListsOfEndlessWordsAreRefused) {
  std::string words;
  for (int i = 0; i < 20'000; ++i) words += " w";
  for (const std::string& line : {"* CAPABILITY" + words, "* 1 FETCH (FLAGS (" + words + "))",
                                  "* LIST (" + words + ") \"/\" INBOX", "* ENABLED" + words}) {
    ResponseReader reader;
    reader.Feed(line + "\r\n");
    EXPECT_TRUE(absl::IsDataLoss(ParseResponse(**reader.Next()).status())) << line.substr(0, 20);
  }
}

}  // namespace
}  // namespace imapmesh::imap
