// A look at all mailboxes of a scripted server: what is asked, and what of the answer is believed.
#include <gtest/gtest.h>

#include "engine/imap/scripted_stream.h"
#include "engine/replica/imap_replica.h"

namespace imapmesh {
namespace {

class ScriptedDialer : public Dialer {
 public:
  explicit ScriptedDialer(std::shared_ptr<imap::Script> script) : script_(std::move(script)) {}
  asio::awaitable<absl::StatusOr<std::unique_ptr<ByteStream>>> Dial(Endpoint) override {
    co_return std::make_unique<imap::ScriptedStream>(script_);
  }

 private:
  std::shared_ptr<imap::Script> script_;
};

constexpr char kLook[] = "A3 LIST \"\" \"*\" RETURN (SUBSCRIBED STATUS (UIDVALIDITY UIDNEXT HIGHESTMODSEQ))\r\n";

std::string Status(const std::string& mailbox, int uid_validity) {
  return "* STATUS " + mailbox + " (UIDVALIDITY " + std::to_string(uid_validity) + " UIDNEXT 10 HIGHESTMODSEQ 50)\r\n";
}

class LookTest : public imap::ScriptedSessionTest {
 protected:
  LookTest() : dialer_(script_), replica_(io_.get_executor(), *clock_, dialer_, Options()) {
    script_
        ->Step("",
               "* PREAUTH [CAPABILITY IMAP4rev1 ENABLE CONDSTORE QRESYNC LIST-EXTENDED LIST-STATUS OBJECTID] hi\r\n")
        .Step("A1 ENABLE QRESYNC\r\n", "* ENABLED QRESYNC\r\nA1 OK\r\n")
        .Step("A2 LIST \"\" \"\"\r\n", "* LIST (\\Noselect) \"/\" \"\"\r\nA2 OK\r\n");
    replica_.Expect({{{"INBOX", UidValidity(7)}, "inbox-id"}});
  }
  ~LookTest() override { EXPECT_TRUE(Done()) << "the client never sent \"" << script_->steps.front().first << '"'; }

  static ImapReplicaOptions Options() {
    ImapReplicaOptions options;
    options.name = "home";
    options.selects = [](std::string_view) { return true; };
    return options;
  }
  std::vector<MailboxStatus> Look() {
    absl::StatusOr<std::vector<MailboxStatus>> statuses = Run(replica_.Look());
    EXPECT_TRUE(statuses.ok()) << statuses.status();
    return statuses.ok() ? *std::move(statuses) : std::vector<MailboxStatus>();
  }

  ScriptedDialer dialer_;
  ImapReplica replica_;
};

TEST_F(LookTest, MailboxesThatAreAsExpectedAreNotAskedForTheirIdentities) {
  script_->Step(kLook, "* LIST (\\Subscribed) \"/\" INBOX\r\n" + Status("INBOX", 7) + "A3 OK\r\n");
  const std::vector<MailboxStatus> statuses = Look();
  ASSERT_EQ(statuses.size(), 1u);
  EXPECT_EQ(statuses[0].server_id, "inbox-id");
  EXPECT_EQ(statuses[0].uid_next, Uid(10));
}

TEST_F(LookTest, OtherwiseTheyAre) {
  script_->Step(kLook, "* LIST () \"/\" INBOX\r\n" + Status("INBOX", 8) + "A3 OK\r\n")
      .Step("A4 LIST \"\" \"*\" RETURN (SUBSCRIBED STATUS (UIDVALIDITY UIDNEXT HIGHESTMODSEQ MAILBOXID))\r\n",
            "* LIST () \"/\" INBOX\r\n"
            "* STATUS INBOX (UIDVALIDITY 8 UIDNEXT 10 HIGHESTMODSEQ 50 MAILBOXID (other-id))\r\nA4 OK\r\n");
  const std::vector<MailboxStatus> statuses = Look();
  ASSERT_EQ(statuses.size(), 1u);
  EXPECT_EQ(statuses[0].server_id, "other-id");
}

TEST_F(LookTest, TheStatusOfWhatCannotBeSelectedIsComparedWithNothing) {
  script_->Step(kLook, "* LIST () \"/\" INBOX\r\n" + Status("INBOX", 7) + "* LIST (\\Noselect) \"/\" Lists\r\n" +
                           Status("Lists", 9) + "A3 OK\r\n");
  const std::vector<MailboxStatus> statuses = Look();
  ASSERT_EQ(statuses.size(), 2u);
  EXPECT_FALSE(statuses[1].selectable);
  EXPECT_EQ(statuses[1].server_id, "");
}

}  // namespace
}  // namespace imapmesh
