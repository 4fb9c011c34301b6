// Opening connections one after the other, by what is remembered of a server made of a script.
#include "engine/imap/open.h"

#include <gtest/gtest.h>

#include <vector>

#include "engine/imap/commands.h"
#include "engine/imap/scripted_stream.h"
#include "engine/net/deflate.h"

namespace imapmesh::imap {
namespace {

constexpr char kCapabilities[] = "AUTH=PLAIN ENABLE ID IMAP4rev1 NAMESPACE QRESYNC SASL-IR";
const std::string kGreeting = "* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN] Cedar ready.\r\n";
const std::string kLogin = "A1 AUTHENTICATE PLAIN AHRpbQBnZWhlaW0=\r\n";
const std::string kIn = "A1 OK [CAPABILITY " + std::string(kCapabilities) + "] in\r\n";
const std::string kId = " ID (\"name\" \"imapmesh\")\r\n";
const std::string kIdAnswer = "* ID (\"name\" \"Cedar\" \"version\" \"1:2\")\r\n";
const std::string kNamespaceAnswer = "* NAMESPACE ((\"Mail.\" \".\")) ((\"Users.\" \".\")) NIL\r\n";

class OpenTest : public ScriptedSessionTest {
 protected:
  OpenTest() {
    open_.memory = std::make_shared<ServerMemory>();
    open_.login.username = "tim";
    open_.login.password = []() -> asio::awaitable<absl::StatusOr<std::string>> { co_return "geheim"; };
    open_.take_namespaces = [this](NamespaceResponse told, bool remembered) {
      told_.push_back(std::move(told));
      remembered_.push_back(remembered);
    };
  }

  std::unique_ptr<Session> Open(const std::string& expected, const std::string& answers) {
    script_ = std::make_shared<Script>(io_.get_executor());
    script_->Step("", kGreeting).Step(expected, answers);
    auto session = Run(OpenSession(std::make_unique<ScriptedStream>(script_), *clock_, io_.get_executor(), open_));
    EXPECT_TRUE(session.ok()) << session.status();
    EXPECT_TRUE(Done());
    return session.ok() ? *std::move(session) : nullptr;
  }

  // Every answer is waited for, and everything is asked.
  void OpenStepByStep(const std::string& greeting) {
    script_ = std::make_shared<Script>(io_.get_executor());
    script_->Step("", greeting)
        .Step(kLogin, kIn)
        .Step("A2" + kId + "A3 ENABLE QRESYNC\r\nA4 NAMESPACE\r\n",
              kIdAnswer + "A2 OK\r\n* ENABLED QRESYNC\r\nA3 OK\r\n" + kNamespaceAnswer + "A4 OK\r\n");
    const auto session =
        Run(OpenSession(std::make_unique<ScriptedStream>(script_), *clock_, io_.get_executor(), open_));
    ASSERT_TRUE(session.ok()) << session.status();
    ASSERT_TRUE(Done());
  }

  // As the first start learns it and the next one finds it in the state.
  void LearnAndRestart() {
    ASSERT_NO_FATAL_FAILURE(OpenStepByStep(kGreeting));
    *open_.memory = DecodeServerMemory(Encode(*open_.memory));
    open_.believe_namespaces = true;
  }

  OpenOptions open_;
  std::vector<NamespaceResponse> told_;
  std::vector<bool> remembered_;
};

TEST_F(OpenTest, WhatAServerToldIsNotAskedForAgain) {
  LearnAndRestart();
  const auto session = Open(kLogin + "A2 ENABLE QRESYNC\r\n", kIn + "* ENABLED QRESYNC\r\nA2 OK\r\n");
  ASSERT_NE(session, nullptr);
  EXPECT_EQ(session->server_id().at("name"), "Cedar");
  EXPECT_EQ(session->server_id().at("version"), "1:2");
  EXPECT_EQ(remembered_, (std::vector<bool>{false, true}));
  ASSERT_EQ(told_.back().personal.size(), 1u);
  EXPECT_EQ(told_.back().personal[0].prefix, "Mail.");
  EXPECT_EQ(told_.back().personal[0].delimiter, ".");
  ASSERT_EQ(told_.back().other_users.size(), 1u);
  EXPECT_EQ(told_.back().other_users[0].prefix, "Users.");
  EXPECT_TRUE(told_.back().shared.empty());
}

TEST_F(OpenTest, NamespacesAreAskedForWhereRememberedOnesWillNotDo) {
  LearnAndRestart();
  open_.believe_namespaces = false;
  Open(kLogin + "A2 ENABLE QRESYNC\r\nA3 NAMESPACE\r\n",
       kIn + "* ENABLED QRESYNC\r\nA2 OK\r\n* NAMESPACE ((\"\" \"/\")) NIL NIL\r\nA3 OK\r\n");
  EXPECT_EQ(remembered_, (std::vector<bool>{false, false}));
  EXPECT_EQ(open_.memory->namespaces->personal[0].delimiter, "/");
}

TEST_F(OpenTest, AServerIsAskedAgainEachDayWhatItIs) {
  LearnAndRestart();
  const int64_t yesterday = clock_->UnixMillis() - int64_t{25} * 3600 * 1000;
  open_.memory->server_id_unix_ms = yesterday;
  const auto session = Open(kLogin + "A2" + kId + "A3 ENABLE QRESYNC\r\n",
                            kIn + "* ID (\"name\" \"Oak\")\r\nA2 OK\r\n* ENABLED QRESYNC\r\nA3 OK\r\n");
  ASSERT_NE(session, nullptr);
  EXPECT_EQ(session->server_id().at("name"), "Oak");
  EXPECT_EQ(open_.memory->server_id.at("name"), "Oak");
  EXPECT_GT(open_.memory->server_id_unix_ms, yesterday);
}

TEST_F(OpenTest, AServerThatCanOtherThingsNowIsAskedForEverything) {
  LearnAndRestart();
  const std::string more = "A1 OK [CAPABILITY " + std::string(kCapabilities) + " MOVE] in\r\n";
  script_ = std::make_shared<Script>(io_.get_executor());
  script_->Step("", kGreeting)
      .Step(kLogin + "A2 ENABLE QRESYNC\r\n", more + "* ENABLED QRESYNC\r\nA2 OK\r\n")
      .Step("A3" + kId + "A4 ENABLE QRESYNC\r\nA5 NAMESPACE\r\n",
            "* ID (\"name\" \"Oak\")\r\nA3 OK\r\nA4 OK\r\n" + kNamespaceAnswer + "A5 OK\r\n");
  const auto session = Run(OpenSession(std::make_unique<ScriptedStream>(script_), *clock_, io_.get_executor(), open_));
  ASSERT_TRUE(session.ok()) << session.status();
  EXPECT_TRUE(Done());
  EXPECT_EQ((*session)->server_id().at("name"), "Oak");
  EXPECT_EQ(remembered_, (std::vector<bool>{false, false}));
}

// Cyrus never answers what stands in one packet with AUTHENTICATE: each connection would cost a deadline.
TEST_F(OpenTest, CyrusIsSentNothingBehindTheLogin) {
  const std::string greeting = "* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN] mail Cyrus IMAP 3.6.1 server ready\r\n";
  for (int connection = 0; connection < 2; ++connection) ASSERT_NO_FATAL_FAILURE(OpenStepByStep(greeting));
}

TEST_F(OpenTest, AnotherGreetingIsAnotherServer) {
  LearnAndRestart();
  open_.memory->greeting = " Oak ready.";
  LearnAndRestart();
  EXPECT_EQ(remembered_, (std::vector<bool>{false, false}));
}

TEST(ServerMemory, WhatIsNotUnderstoodIsNotRemembered) {
  ServerMemory memory;
  memory.greeting = "CAPABILITY ready";
  memory.capabilities = {"ENABLE", "ID"};
  memory.server_id = {{"name", "a:b\nc"}, {"support-url", ""}};
  memory.server_id_unix_ms = 17;
  memory.namespaces.emplace();
  memory.namespaces->shared.push_back({"#shared/", "/"});
  const std::string text = Encode(memory);
  const ServerMemory whole = DecodeServerMemory(text);
  EXPECT_EQ(whole.capabilities, memory.capabilities);
  EXPECT_EQ(whole.server_id, memory.server_id);
  EXPECT_EQ(whole.server_id_unix_ms, 17);
  ASSERT_TRUE(whole.namespaces.has_value());
  EXPECT_EQ(whole.namespaces->shared.at(0).prefix, "#shared/");
  const size_t answers = text.find('\n', text.find('\n') + 1) + 1;
  for (size_t size = answers; size < text.size(); ++size) {
    const ServerMemory part = DecodeServerMemory(text.substr(0, size));
    EXPECT_EQ(part.capabilities, memory.capabilities) << size;
    EXPECT_FALSE(part.namespaces.has_value()) << size;
  }
  for (const char* bad : {"9999999999999999999:x", "3:ab", ":", "-1:", "2:-5", "1:11:9"}) {
    const ServerMemory part = DecodeServerMemory(text.substr(0, answers) + bad);
    EXPECT_TRUE(part.server_id.empty()) << bad;
    EXPECT_FALSE(part.namespaces.has_value()) << bad;
  }
}

TEST(DeflateLevel, IsHigherForAServerThatIsFarAway) {
  EXPECT_EQ(DeflateLevel(std::chrono::milliseconds(8)), kDeflateNear);
  EXPECT_EQ(DeflateLevel(std::chrono::milliseconds(50)), kDeflateFar);
}

}  // namespace
}  // namespace imapmesh::imap
