// The client against a real Dovecot, spoken to through `doveadm exec imap`: no network, no login. Skipped without one.
#include <gtest/gtest.h>
#include <pwd.h>
#include <unistd.h>

#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/io_context.hpp>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>

#include "engine/imap/commands.h"
#include "engine/net/dialer.h"
#include "engine/net/signal.h"

namespace imapmesh::imap {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr char kDate[] = "17-Jul-1996 02:44:25 -0700";

class DovecotTest : public testing::Test {
 protected:
  void SetUp() override {
    if (std::system("command -v doveadm >/dev/null 2>&1") != 0) GTEST_SKIP() << "no doveadm";
    std::string folder = "/tmp/imap_dovecot_test.XXXXXX";
    ASSERT_NE(mkdtemp(folder.data()), nullptr);
    folder_ = folder;
    // Dovecot gives root no mail.
    const passwd* user = getuid() == 0 ? getpwnam("nobody") : getpwuid(getuid());
    ASSERT_NE(user, nullptr);
    std::ofstream(folder_ + "/dovecot.conf") << "base_dir = " << folder_ << "/run\nmail_location = maildir:" << folder_
                                             << "/mail\nmail_uid = " << user->pw_uid << "\nmail_gid = " << user->pw_gid
                                             << "\nfirst_valid_uid = 0\nfirst_valid_gid = 0\n"
                                             << "protocols = imap\nssl = no\nlog_path = " << folder_ << "/log\n";
    command_ = "USER=" + std::string(user->pw_name) + " HOME=" + folder_ + " exec doveadm -c " + folder_ +
               "/dovecot.conf exec imap";
    for (const char* path : {"", "/dovecot.conf"}) {
      const int given = getuid() == 0 ? chown((folder_ + path).c_str(), user->pw_uid, user->pw_gid) : 0;
      ASSERT_EQ(given, 0);
    }
  }
  ~DovecotTest() override {
    sessions_.clear();
    if (!folder_.empty()) std::filesystem::remove_all(folder_);
  }

  template <typename Result>
  Result Run(asio::awaitable<Result> coroutine) {
    std::optional<Result> result;
    asio::co_spawn(io_, Keep(std::move(coroutine), result), asio::detached);
    io_.restart();
    while (!result && io_.run_one() > 0) {
    }
    return *std::move(result);
  }
  template <typename Result>
  static asio::awaitable<void> Keep(asio::awaitable<Result> coroutine, std::optional<Result>& result) {
    result.emplace(co_await std::move(coroutine));
  }

  Session& Connect() {
    TunnelEndpoint endpoint;
    endpoint.command = command_;
    endpoint.folder = folder_;
    auto stream = Run(MakeSystemDialer(io_.get_executor(), *clock_)->Dial(endpoint));
    EXPECT_TRUE(stream.ok()) << stream.status();
    sessions_.push_back(std::make_unique<Session>(*std::move(stream), *clock_, io_.get_executor()));
    Session& session = *sessions_.back();
    const absl::StatusOr<StatusResponse> greeting = Run(session.ReadGreeting());
    EXPECT_TRUE(greeting.ok()) << greeting.status();
    EXPECT_TRUE(Run(Capability(session)).ok());
    EXPECT_TRUE(Run(Id(session)).ok());
    EXPECT_TRUE(Run(Enable(session, {"QRESYNC"})).ok());
    return session;
  }

  static AppendMessage MakeMessage(const std::string& content, std::vector<std::string> flags) {
    AppendMessage message;
    auto body = std::make_shared<Body>();
    EXPECT_TRUE(body->Append(content).ok());
    message.body = std::move(body);
    message.flags = std::move(flags);
    message.internal_date = kDate;
    return message;
  }

  std::string folder_;
  std::string command_;
  asio::io_context io_;
  std::unique_ptr<Clock> clock_ = MakeSystemClock(io_.get_executor());
  std::vector<std::unique_ptr<Session>> sessions_;
};

TEST_F(DovecotTest, AMessagesWholeLife) {
  Session& session = Connect();
  EXPECT_EQ(IdentityItem(session), "X-GUID");
  const std::string large = "Subject: large\r\n\r\n" + std::string(700'000, 'x') + "\r\n";
  std::vector<AppendMessage> messages = {MakeMessage("Subject: one\r\n\r\nbody {3}\r\n", {"\\Seen", "$Foo"}),
                                         MakeMessage(large, {})};
  for (const LiteralSafety safety : {LiteralSafety::kMayBeRefused, LiteralSafety::kCannotBeRefused}) {
    const absl::StatusOr<AppendResult> appended = Run(Append(session, "INBOX", messages, safety));
    ASSERT_TRUE(appended.ok()) << appended.status();
    ASSERT_EQ(appended->uids.size(), 2u);
    EXPECT_NE(appended->uids[1], Uid());
  }
  EXPECT_TRUE(absl::IsNotFound(Run(Append(session, "None", messages, LiteralSafety::kMayBeRefused)).status()));

  const absl::StatusOr<SelectResult> first = Run(Select(session, SelectRequest("INBOX")));
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_EQ(first->exists, 4u);
  EXPECT_EQ(first->uid_next, Uid(5));

  std::vector<NewMessage> seen;
  const std::function<absl::Status(NewMessage)> take = [&](NewMessage message) {
    seen.push_back(std::move(message));
    return absl::OkStatus();
  };
  UidSet all;
  all.AddRange(1, 100);
  absl::Status status = Run(FetchNew(session, all, take));
  ASSERT_TRUE(status.ok()) << status;
  ASSERT_EQ(seen.size(), 4u);
  EXPECT_TRUE(IsDateTime(seen[0].internal_date)) << seen[0].internal_date;  // in the server's own zone
  EXPECT_EQ(seen[0].flags, (std::vector<std::string>{"\\Seen", "$Foo"}));
  EXPECT_EQ(seen[0].header, "Subject: one\r\n\r\n");
  EXPECT_EQ(seen[1].size, large.size());
  EXPECT_FALSE(seen[0].guid.empty());

  std::map<Uid, uint64_t> sizes;
  const std::function<absl::Status(Uid, std::shared_ptr<const Body>)> measure = [&](Uid uid,
                                                                                    std::shared_ptr<const Body> body) {
    sizes[uid] = body->size();
    return absl::OkStatus();
  };
  status = Run(FetchBodies(session, all, measure));
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(sizes[Uid(2)], large.size());
  EXPECT_EQ(Run(UidSearchAll(session))->ToString(), "1:4");

  StoreRequest store;
  store.uids.AddRange(1, 2);
  store.flags = {"\\Deleted"};
  store.unchanged_since = ModSeq(1);
  EXPECT_EQ(Run(StoreFlags(session, store))->ToString(), "1:2");
  store.unchanged_since = first->highest_modseq;
  EXPECT_TRUE(Run(StoreFlags(session, store))->empty());
  UidSet one;
  one.Add(Uid(1));
  EXPECT_TRUE(Run(UidExpunge(session, one)).ok());

  ASSERT_TRUE(Run(Create(session, "Foo")).ok());
  EXPECT_TRUE(absl::IsAlreadyExists(Run(Create(session, "Foo"))));
  const absl::StatusOr<CopyResult> copied = Run(UidCopy(session, all, "Foo"));
  ASSERT_TRUE(copied.ok()) << copied.status();
  EXPECT_EQ(copied->uids.size(), 3u);
  UidSet third;
  third.Add(Uid(3));
  const absl::StatusOr<CopyResult> moved = Run(UidMove(session, third, "Foo"));
  ASSERT_TRUE(moved.ok()) << moved.status();
  ASSERT_EQ(moved->uids.size(), 1u);
  EXPECT_EQ(moved->uids[0], std::make_pair(Uid(3), Uid(4)));
  EXPECT_TRUE(absl::IsNotFound(Run(UidCopy(session, all, "None")).status()));

  // Then another look tells just what happened since the first.
  ASSERT_TRUE(Run(Unselect(session)).ok());
  SelectRequest again("INBOX");
  again.uid_validity = first->uid_validity;
  again.modseq = first->highest_modseq;
  const absl::StatusOr<SelectResult> second = Run(Select(session, again));
  ASSERT_TRUE(second.ok()) << second.status();
  EXPECT_EQ(second->vanished.ToString(), "1,3");
  ASSERT_EQ(second->changed.size(), 1u);
  EXPECT_EQ(second->changed[0].uid, Uid(2));
  EXPECT_EQ(second->changed[0].flags, (std::vector<std::string>{"\\Deleted"}));

  const absl::StatusOr<std::vector<ListedMailbox>> listed = Run(ListStatus(session, "*"));
  ASSERT_TRUE(listed.ok()) << listed.status();
  ASSERT_EQ(listed->size(), 2u);
  for (const ListedMailbox& mailbox : *listed) {
    EXPECT_TRUE(mailbox.status && mailbox.status->highest_modseq > ModSeq(0)) << mailbox.list.mailbox;
  }
  EXPECT_TRUE(Run(Namespace(session)).ok());
  EXPECT_TRUE(Run(Rename(session, "Foo", "Bar")).ok());
  EXPECT_TRUE(Run(Delete(session, "Bar")).ok());
  EXPECT_TRUE(Run(Noop(session)).ok());
}

TEST_F(DovecotTest, TheWatchTellsWhatHappensInMailboxesThatAreNotSelected) {
  Session& watcher = Connect();
  Session& worker = Connect();
  ASSERT_TRUE(Run(Create(worker, "Foo")).ok());
  ASSERT_TRUE(Run(NotifySet(watcher)).ok());
  std::set<std::string> told;
  Signal changed(io_.get_executor());
  const std::function<void(std::vector<std::string>)> due = [&](std::vector<std::string> names) {
    told.insert(names.begin(), names.end());
    changed.Notify();
  };
  std::optional<absl::Status> ended;
  const auto watch = [&]() -> asio::awaitable<void> { ended = co_await WatchLoop(watcher, seconds(1), due); };
  asio::co_spawn(io_, watch(), asio::detached);
  const auto wait_for = [&](std::string name) -> asio::awaitable<bool> {
    const Duration end = clock_->Now() + seconds(10);
    while (!told.contains(name) && !ended && clock_->Now() < end) co_await changed.WaitFor(*clock_, milliseconds(50));
    co_return told.contains(name);
  };
  // Until the watch is in its first IDLE.
  const auto settle = [&]() -> asio::awaitable<bool> {
    co_await changed.WaitFor(*clock_, milliseconds(300));
    co_return true;
  };
  Run(settle());
  std::vector<AppendMessage> messages = {MakeMessage("Subject: one\r\n\r\n", {})};
  ASSERT_TRUE(Run(Append(worker, "Foo", messages, LiteralSafety::kCannotBeRefused)).ok());
  EXPECT_TRUE(Run(wait_for("Foo")));
  ASSERT_TRUE(Run(Create(worker, "New")).ok());
  EXPECT_TRUE(Run(wait_for("New")));
  EXPECT_FALSE(ended.has_value()) << *ended;
  watcher.Close();
  Run(wait_for("never"));
  EXPECT_TRUE(ended.has_value() && absl::IsUnavailable(*ended));
}

}  // namespace
}  // namespace imapmesh::imap
