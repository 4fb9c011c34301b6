// LOGIN and AUTHENTICATE against a server made of a script.
#include <gtest/gtest.h>

#include "absl/strings/escaping.h"
#include "engine/imap/commands.h"
#include "engine/imap/login.h"
#include "engine/imap/scram.h"
#include "engine/imap/scripted_stream.h"

namespace imapmesh::imap {
namespace {

class AuthenticateTest : public ScriptedSessionTest {
 protected:
  ~AuthenticateTest() override {
    EXPECT_TRUE(Done()) << "the client never sent \"" << script_->steps.front().first << '"';
  }
  absl::Status Try(std::unique_ptr<SaslMechanism> mechanism) { return Run(Authenticate(session(), *mechanism)); }
};

TEST_F(AuthenticateTest, SendsTheFirstAnswerAtOnceOrWhenAsked) {
  Greet("SASL-IR");
  script_->Step("A1 AUTHENTICATE PLAIN AHRpbQB0YW5zdGFhZnRhbnN0YWFm\r\n", "A1 OK [CAPABILITY IMAP4rev1 IDLE] in\r\n");
  EXPECT_TRUE(Try(MakePlain("tim", "tanstaaftanstaaf")).ok());
  EXPECT_TRUE(session().HasCapability("IDLE"));
  script_->Step("A2 AUTHENTICATE PLAIN\r\n", "+ \r\n")
      .Step("AHRpbQB0YW5zdGFhZnRhbnN0YWFm\r\n", "A2 OK in\r\n")
      .Step("A3 CAPABILITY\r\n", "* CAPABILITY IMAP4rev1 MOVE\r\nA3 OK\r\n");
  EXPECT_TRUE(Try(MakePlain("tim", "tanstaaftanstaaf")).ok());
  EXPECT_TRUE(session().HasCapability("MOVE"));
}

TEST_F(AuthenticateTest, AnEmptyFirstAnswerIsAnEqualsSign) {
  Greet("SASL-IR");
  script_->Step("A1 AUTHENTICATE EXTERNAL =\r\n", "* CAPABILITY IMAP4rev1\r\nA1 OK\r\n");
  EXPECT_TRUE(Try(MakeExternal("")).ok());
}

TEST_F(AuthenticateTest, LoginAnswersThePrompts) {
  Greet("SASL-IR");
  script_->Step("A1 AUTHENTICATE LOGIN\r\n", "+ VXNlcm5hbWU6\r\n")
      .Step("dGlt\r\n", "+ UGFzc3dvcmQ6\r\n")
      .Step("c2VjcmV0\r\n", "A1 OK [CAPABILITY IMAP4rev1]\r\n");
  EXPECT_TRUE(Try(MakeLogin("tim", "secret")).ok());
}

TEST_F(AuthenticateTest, ALongTokenDoesNotMakeALongCommand) {
  Greet("SASL-IR");
  const std::string token(9000, 't');
  std::string sent;
  absl::Base64Escape("user=u\1auth=Bearer " + token + "\1\1", &sent);
  script_->Step("A1 AUTHENTICATE XOAUTH2\r\n", "+ \r\n").Step(sent + "\r\n", "A1 OK [CAPABILITY IMAP4rev1]\r\n");
  EXPECT_TRUE(Try(MakeXOAuth2("u", token)).ok());
}

ScramOptions Pencil() {  // RFC 7677 section 3
  ScramOptions options;
  options.username = "user";
  options.password = "pencil";
  options.nonce = "rOprNGfwEbeRWgbNEkqO";
  return options;
}
// The RFC's messages in base64.
constexpr char kClientFirst[] = "biwsbj11c2VyLHI9ck9wck5HZndFYmVSV2diTkVrcU8=";
constexpr char kServerFirst[] =
    "cj1yT3ByTkdmd0ViZVJXZ2JORWtxTyVodllEcFdVYTJSYVRDQWZ1eEZJbGopaE5sRiRrMCxzPVcyMlphSjBTTlk3c29Fc1VFamI2Z1E9PSxpPTQw"
    "OTY=";
constexpr char kClientFinal[] =
    "Yz1iaXdzLHI9ck9wck5HZndFYmVSV2diTkVrcU8laHZZRHBXVWEyUmFUQ0FmdXhGSWxqKWhObEYkazAscD1kSHpiWmFwV0lrNGpVaE4rVXRlOXl0"
    "YWc5empmTUhnc3FtbWl6N0FuZFZRPQ==";
constexpr char kServerFinal[] = "dj02cnJpVFJCaTIzV3BSUi93dHVwK21NaFVaVW4vZEI1bkxUSlJzamw5NUc0PQ==";

TEST_F(AuthenticateTest, ScramProvesBothSides) {
  Greet("SASL-IR");
  script_
      ->Step("A1 AUTHENTICATE SCRAM-SHA-256 " + std::string(kClientFirst) + "\r\n",
             "+ " + std::string(kServerFirst) + "\r\n")
      .Step(std::string(kClientFinal) + "\r\n", "+ " + std::string(kServerFinal) + "\r\n")
      .Step("\r\n", "A1 OK [CAPABILITY IMAP4rev1]\r\n");
  EXPECT_TRUE(Try(MakeScram(Pencil())).ok());
}

TEST_F(AuthenticateTest, AServerThatSaysOkWithoutProofIsLeft) {
  Greet("SASL-IR");
  script_
      ->Step("A1 AUTHENTICATE SCRAM-SHA-256 " + std::string(kClientFirst) + "\r\n",
             "+ " + std::string(kServerFirst) + "\r\n")
      .Step(std::string(kClientFinal) + "\r\n", "A1 OK [CAPABILITY IMAP4rev1] trust me\r\n");
  const absl::Status status = Try(MakeScram(Pencil()));
  EXPECT_TRUE(absl::IsUnauthenticated(status)) << status;
  EXPECT_FALSE(session().closed().ok());
}

TEST_F(AuthenticateTest, WhatTheMechanismDoesNotTakeIsCalledOff) {
  Greet("SASL-IR");
  script_
      ->Step("A1 AUTHENTICATE SCRAM-SHA-256 " + std::string(kClientFirst) + "\r\n", "+ aT0x\r\n")  // "i=1"
      .Step("*\r\n", "A1 BAD called off\r\n");
  EXPECT_TRUE(absl::IsDataLoss(Try(MakeScram(Pencil()))));
  EXPECT_TRUE(session().closed().ok());
  script_->Step("A2 AUTHENTICATE SCRAM-SHA-256 " + std::string(kClientFirst) + "\r\n", "+ no base64!\r\n")
      .Step("*\r\n", "A2 BAD called off\r\n");
  EXPECT_TRUE(absl::IsDataLoss(Try(MakeScram(Pencil()))));
}

TEST_F(AuthenticateTest, ARefusedLoginIsUnauthenticatedAndKeepsItsSecret) {
  Greet("");
  script_->Step("A1 LOGIN \"tim\" \"geheim\"\r\n", "A1 NO [AUTHENTICATIONFAILED] Authentication failed.\r\n")
      .Step("A2 LOGIN \"tim\" \"geheim\"\r\n", "A2 NO [UNAVAILABLE] Temporary failure\r\n")
      .Step("A3 AUTHENTICATE PLAIN\r\n", "A3 NO no\r\n");
  const absl::Status refused = Run(Login(session(), "tim", "geheim"));
  EXPECT_TRUE(absl::IsUnauthenticated(refused)) << refused;
  EXPECT_EQ(Message(refused).find("geheim"), std::string::npos) << refused;
  EXPECT_TRUE(absl::IsUnavailable(Run(Login(session(), "tim", "geheim"))));
  EXPECT_TRUE(absl::IsUnauthenticated(Try(MakePlain("tim", "geheim"))));
}

// ---- The whole login

class LogInTest : public AuthenticateTest {
 protected:
  LogInTest() {
    options_.username = "tim";
    options_.memory = std::make_shared<LoginMemory>();
    options_.password = [this] { return Give(password_); };
  }
  void UseTokens(std::deque<std::string> tokens) {
    tokens_ = std::move(tokens);
    options_.password = nullptr;
    options_.token = [this](const std::string& refused) {
      EXPECT_EQ(refused, asked_++ > 0 ? tokens_.front() : "");
      if (!refused.empty()) tokens_.pop_front();
      return Give(tokens_.front());
    };
  }
  absl::Status Try() { return Run(LogIn(session(), options_, nullptr)); }

  LoginOptions options_;
  std::string password_ = "geheim";
  std::deque<std::string> tokens_;
  int asked_ = 0;

 private:
  static asio::awaitable<absl::StatusOr<std::string>> Give(std::string secret) { co_return secret; }
};

TEST_F(LogInTest, RemembersWhatItUsedAndRefusesLess) {
  Greet("AUTH=PLAIN SASL-IR");
  script_->Step("A1 AUTHENTICATE PLAIN AHRpbQBnZWhlaW0=\r\n", "A1 OK [CAPABILITY IMAP4rev1 AUTH=LOGIN] in\r\n");
  EXPECT_TRUE(Try().ok());
  EXPECT_EQ(options_.memory->mechanism, "PLAIN");
  options_.memory->mechanism = "SCRAM-SHA-256";
  const absl::Status less = Try();  // nothing is sent, the password least of all
  EXPECT_TRUE(absl::IsUnauthenticated(less)) << less;
  EXPECT_EQ(options_.memory->mechanism, "SCRAM-SHA-256");
}

TEST_F(LogInTest, ExplainsARefusal) {
  Greet("AUTH=PLAIN SASL-IR");
  script_->Step("A1 AUTHENTICATE PLAIN AHRpbQBnZWhlaW0=\r\n", "A1 NO [AUTHENTICATIONFAILED] no\r\n");
  EXPECT_EQ(Message(Try()),
            "login as tim by PLAIN was refused (AUTHENTICATE PLAIN: the server answered \"NO [AUTHENTICATIONFAILED] "
            "no\"); check auth.username and the password in the topology");
  EXPECT_EQ(options_.memory->mechanism, "");
}

TEST_F(LogInTest, TheServersCodeTellsTheRemedy) {
  Greet("AUTH=PLAIN SASL-IR");
  int tag = 0;
  for (const auto& [code, remedy] : {std::pair{"PRIVACYREQUIRED", "use security: TLS"},
                                     {"EXPIRED", "has expired"},
                                     {"AUTHORIZATIONFAILED", "may not log in here"}}) {
    const std::string name = "A" + std::to_string(++tag);
    script_->Step(name + " AUTHENTICATE PLAIN AHRpbQBnZWhlaW0=\r\n", name + " NO [" + code + "] no\r\n");
    const std::string text = Message(Try());
    EXPECT_NE(text.find(remedy), std::string::npos) << text;
  }
}

TEST_F(LogInTest, AServerThatIsBusyIsNoRefusal) {
  Greet("AUTH=PLAIN SASL-IR");
  script_->Step("A1 AUTHENTICATE PLAIN AHRpbQBnZWhlaW0=\r\n", "A1 NO [UNAVAILABLE] later\r\n");
  EXPECT_TRUE(absl::IsUnavailable(Try()));
}

constexpr char kOldToken[] = "dXNlcj10aW0BYXV0aD1CZWFyZXIgb2xkAQE=";
constexpr char kNewToken[] = "dXNlcj10aW0BYXV0aD1CZWFyZXIgbmV3AQE=";
constexpr char kInvalidToken[] = "+ eyJzdGF0dXMiOiJpbnZhbGlkX3Rva2VuIn0=\r\n";

TEST_F(LogInTest, AnExpiredTokenIsFetchedAgainOnce) {
  UseTokens({"old", "new", "never"});
  Greet("AUTH=XOAUTH2 SASL-IR");
  script_->Step("A1 AUTHENTICATE XOAUTH2 " + std::string(kOldToken) + "\r\n", kInvalidToken)
      .Step("\r\n", "A1 NO expired\r\n")
      .Step("A2 AUTHENTICATE XOAUTH2 " + std::string(kNewToken) + "\r\n", "A2 OK [CAPABILITY IMAP4rev1] in\r\n");
  EXPECT_TRUE(Try().ok());
  EXPECT_EQ(asked_, 2);
}

TEST_F(LogInTest, ATokenRefusedTwiceIsAnErrorWithTheReason) {
  UseTokens({"old", "new", "never"});
  Greet("AUTH=XOAUTH2 SASL-IR");
  script_->Step("A1 AUTHENTICATE XOAUTH2 " + std::string(kOldToken) + "\r\n", kInvalidToken)
      .Step("\r\n", "A1 NO expired\r\n")
      .Step("A2 AUTHENTICATE XOAUTH2 " + std::string(kNewToken) + "\r\n", kInvalidToken)
      .Step("\r\n", "A2 NO expired\r\n");
  EXPECT_EQ(
      Message(Try()),
      "login as tim by XOAUTH2 was refused (AUTHENTICATE XOAUTH2: the server answered \"NO expired\", its reason: "
      "invalid_token); check that auth.token_command prints a token for this account that is valid now; it was "
      "run again after the first refusal");
}

TEST_F(LogInTest, ATokenOfTheWrongScopeIsNotFetchedAgain) {
  UseTokens({"old", "never"});
  Greet("AUTH=XOAUTH2 SASL-IR");
  script_
      ->Step("A1 AUTHENTICATE XOAUTH2 " + std::string(kOldToken) + "\r\n",
             "+ eyJzdGF0dXMiOiJpbnN1ZmZpY2llbnRfc2NvcGUiLCJzY29wZSI6ImltYXAifQ==\r\n")
      .Step("\r\n", "A1 NO scope\r\n");
  const std::string text = Message(Try());
  EXPECT_NE(text.find("insufficient_scope, scope \"imap\""), std::string::npos) << text;
  EXPECT_NE(text.find("of that scope"), std::string::npos) << text;
  EXPECT_EQ(asked_, 1);
}

}  // namespace
}  // namespace imapmesh::imap
