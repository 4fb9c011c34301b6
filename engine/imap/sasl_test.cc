// Mechanisms as a server sees them, by the RFCs' own examples; servers that lie; and which mechanism is chosen.
#include "engine/imap/sasl.h"

#include <gtest/gtest.h>

#include "absl/strings/escaping.h"
#include "engine/imap/mechanism_choice.h"
#include "engine/imap/sasl_prep.h"
#include "engine/imap/scram.h"

namespace imapmesh::imap {
namespace {

using std::string_literals::operator""s;

std::string Base64(const std::string& text) {
  std::string encoded;
  absl::Base64Escape(text, &encoded);
  return encoded;
}

std::string First(SaslMechanism& mechanism) {
  const auto first = mechanism.Begin();
  EXPECT_TRUE(first.ok()) << first.status();
  return first.ok() && *first ? **first : "(nothing)";
}

TEST(Plain, IsOneMessage) {
  const auto plain = MakePlain("tim", "tanstaaftanstaaf");
  EXPECT_EQ(First(*plain), "\0tim\0tanstaaftanstaaf"s);  // RFC 4616 section 4
  EXPECT_FALSE(plain->Respond("more").ok());
  EXPECT_FALSE(MakePlain("tim", "with\0nul"s)->Begin().ok());
}

TEST(Login, AnswersTwoPromptsWhateverTheirText) {
  const auto login = MakeLogin("tim", "secret");
  EXPECT_EQ(First(*login), "(nothing)");
  EXPECT_EQ(*login->Respond("Username:"), "tim");
  EXPECT_EQ(*login->Respond("Mot de passe"), "secret");
  EXPECT_FALSE(login->Respond("Password:").ok());
}

TEST(External, NamesTheAccountOrNobody) {
  EXPECT_EQ(First(*MakeExternal("tim")), "tim");
  EXPECT_EQ(First(*MakeExternal("")), "");
}

// RFC 7628 section 4.1.
TEST(OAuthBearer, IsTheRfcsExample) {
  OAuthIdentity identity;
  identity.username = "user@example.com";
  identity.host = "server.example.com";
  identity.port = 143;
  const auto bearer = MakeOAuthBearer(identity, "vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==");
  EXPECT_EQ(Base64(First(*bearer)),
            "bixhPXVzZXJAZXhhbXBsZS5jb20sAWhvc3Q9c2VydmVyLmV4YW1wbGUuY29tAXBvcnQ9MTQzAWF1dGg9QmVhcmVyI"
            "HZGOWRmdDRxbVRjMk52YjNSbGNrQmhiSFJoZG1semRHRXVZMjl0Q2c9PQEB");
}

// RFC 7628 section 4.3.
TEST(OAuthBearer, EndsARefusedExchangeAndTellsTheReason) {
  const auto bearer = MakeOAuthBearer({"u", "", 0}, "token");
  EXPECT_EQ(First(*bearer), "n,a=u,\1auth=Bearer token\1\1");
  const auto end = bearer->Respond(R"({"status":"invalid_token","scope":"example_scope"})");
  ASSERT_TRUE(end.ok()) << end.status();
  EXPECT_EQ(*end, "\1");
  EXPECT_EQ(bearer->refusal(), "invalid_token, scope \"example_scope\"");
  EXPECT_FALSE(bearer->Respond("{}").ok());
  EXPECT_FALSE(bearer->Finish().ok()) << "a refused token is not accepted afterwards";
}

TEST(OAuthBearer, EscapesTheNameAndTakesNoTokenThatCouldBeMore) {
  EXPECT_EQ(First(*MakeOAuthBearer({"a=b,c", "", 0}, "t")), "n,a=a=3Db=2Cc,\1auth=Bearer t\1\1");
  for (const char* token : {"", "two words", "ctrl\1host=evil", "line\n", "ü"}) {
    const auto begun = MakeOAuthBearer({"u", "", 0}, token)->Begin();
    ASSERT_FALSE(begun.ok()) << token;
    EXPECT_EQ(Message(begun.status()).find("evil"), std::string::npos);
  }
  EXPECT_FALSE(MakeXOAuth2("u\1auth=Bearer other", "t")->Begin().ok());
}

TEST(XOAuth2, IsGooglesFormAndIsEndedByAnEmptyAnswer) {
  const auto mechanism = MakeXOAuth2("someuser@example.com", "ya29.vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCg");
  EXPECT_EQ(Base64(First(*mechanism)),
            "dXNlcj1zb21ldXNlckBleGFtcGxlLmNvbQFhdXRoPUJlYXJlciB5YTI5LnZGOWRmdDRxbVRjMk52YjNSbGNrQmhkSFJoZG1semRHRXVZ"
            "Mjl0Q2cBAQ==");
  EXPECT_EQ(*mechanism->Respond(R"({"status":"401","schemes":"bearer mac","scope":"https://mail.google.com/"})"), "");
  EXPECT_EQ(mechanism->refusal(), "401, scope \"https://mail.google.com/\"");
}

TEST(OAuth, ShowsARefusalThatIsNoJsonWithoutWhatATerminalWouldObey) {
  for (const auto& [said, shown] :
       {std::pair{"\33[2Jgo away", "\"\\x1b[2Jgo away\""}, {"{}", "\"{}\""}, {"", "\"\""}}) {
    const auto mechanism = MakeXOAuth2("u", "t");
    EXPECT_TRUE(mechanism->Respond(said).ok());
    EXPECT_EQ(mechanism->refusal(), shown);
  }
  const auto deep = MakeXOAuth2("u", "t");
  EXPECT_TRUE(deep->Respond(std::string(100000, '[')).ok()) << "nesting is no danger";
  EXPECT_LT(deep->refusal().size(), 250u);
}

// ---- SCRAM

ScramOptions Pencil(ScramHash hash, std::string nonce) {
  ScramOptions options;
  options.hash = hash;
  options.username = "user";
  options.password = "pencil";
  options.nonce = std::move(nonce);
  return options;
}

// RFC 5802 section 5.
TEST(Scram, IsTheRfcsExampleWithSha1) {
  const auto scram = MakeScram(Pencil(ScramHash::kSha1, "fyko+d2lbbFgONRv9qkxdawL"));
  EXPECT_EQ(scram->name(), "SCRAM-SHA-1");
  EXPECT_EQ(First(*scram), "n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL");
  EXPECT_EQ(*scram->Respond("r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096"),
            "c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=");
  EXPECT_FALSE(scram->Finish().ok()) << "nothing is proved yet";
  EXPECT_EQ(*scram->Respond("v=rmF9pqV8S7suAoZWja4dJRkFsKQ="), "");
  EXPECT_TRUE(scram->Finish().ok());
}

constexpr char kNonce256[] = "rOprNGfwEbeRWgbNEkqO";
constexpr char kFirst256[] = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";

// RFC 7677 section 3.
TEST(Scram, IsTheRfcsExampleWithSha256) {
  const auto scram = MakeScram(Pencil(ScramHash::kSha256, kNonce256));
  EXPECT_EQ(First(*scram), "n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
  EXPECT_EQ(*scram->Respond(kFirst256),
            "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
            "p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=");
  EXPECT_TRUE(scram->Respond("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=").ok());
  EXPECT_TRUE(scram->Finish().ok());
}

TEST(Scram, BindsToTheChannelAndSaysThatItCould) {
  ScramOptions options = Pencil(ScramHash::kSha256, "abc");
  options.binding = ScramBinding{"tls-exporter", "\1\2\3"};
  const auto bound = MakeScram(options);
  EXPECT_EQ(bound->name(), "SCRAM-SHA-256-PLUS");
  EXPECT_EQ(First(*bound), "p=tls-exporter,,n=user,r=abc");
  const auto answer = bound->Respond("r=abcd,s=c2FsdA==,i=4096");
  ASSERT_TRUE(answer.ok());
  EXPECT_TRUE(answer->starts_with("c=" + Base64("p=tls-exporter,,\1\2\3") + ",r=abcd,p=")) << *answer;

  options.binding.reset();
  options.could_bind = true;
  EXPECT_EQ(First(*MakeScram(options)), "y,,n=user,r=abc");
}

TEST(Scram, EscapesAndPreparesTheName) {
  ScramOptions options = Pencil(ScramHash::kSha1, "n");
  options.username = "a=b,\xC2\xAA";  // RFC 4013: the ordinal indicator is an "a"
  EXPECT_EQ(First(*MakeScram(options)), "n,,n=a=3Db=2Ca,r=n");
}

TEST(Scram, RefusesASecretThatItCannotCarryWithoutShowingIt) {
  ScramOptions options = Pencil(ScramHash::kSha1, "n");
  options.password = "geheim\7";
  const absl::Status status = MakeScram(options)->Begin().status();
  EXPECT_TRUE(absl::IsInvalidArgument(status));
  EXPECT_EQ(Message(status).find("geheim"), std::string::npos);
  EXPECT_NE(Message(status).find("auth.mechanism"), std::string::npos) << status;
}

TEST(Scram, BelievesNoServerThatDoesNotKnowThePassword) {
  const auto scram = MakeScram(Pencil(ScramHash::kSha256, kNonce256));
  First(*scram);
  ASSERT_TRUE(scram->Respond(kFirst256).ok());
  const auto wrong = scram->Respond("v=7rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
  EXPECT_TRUE(absl::IsUnauthenticated(wrong.status())) << wrong.status();
  EXPECT_FALSE(scram->Finish().ok());
}

TEST(Scram, TellsTheServersReason) {
  const auto scram = MakeScram(Pencil(ScramHash::kSha256, kNonce256));
  First(*scram);
  ASSERT_TRUE(scram->Respond(kFirst256).ok());
  EXPECT_FALSE(scram->Respond("e=unsupported-channel-binding-type,x=1").ok());
  EXPECT_EQ(scram->refusal(), "unsupported-channel-binding-type");
}

class ScramFirst : public testing::TestWithParam<const char*> {};

// A server may send anything: none of these is answered with a proof that somebody could guess the password from.
TEST_P(ScramFirst, IsRefused) {
  const auto scram = MakeScram(Pencil(ScramHash::kSha256, "abc"));
  First(*scram);
  const auto answer = scram->Respond(GetParam());
  EXPECT_FALSE(answer.ok()) << *answer;
}

INSTANTIATE_TEST_SUITE_P(Hostile, ScramFirst,
                         testing::Values("", "r=abcd", "r=abc,s=c2FsdA==,i=4096", "r=xabcd,s=c2FsdA==,i=4096",
                                         "s=c2FsdA==,r=abcd,i=4096", "r=abcd,s=,i=4096", "r=abcd,s=!!!,i=4096",
                                         "r=abcd,s=c2FsdA==,i=", "r=abcd,s=c2FsdA==,i=-5000",
                                         "r=abcd,s=c2FsdA==,i=4096x", "r=abcd,s=c2FsdA==,i=4095",
                                         "r=abcd,s=c2FsdA==,i=1", "r=abcd,s=c2FsdA==,i=1000001",
                                         "r=abcd,s=c2FsdA==,i=99999999999999999999", "m=ext,r=abcd,s=c2FsdA==,i=4096",
                                         "r=abc\tx,s=c2FsdA==,i=4096", "e=other-error"));

TEST(Scram, TakesExtensionsThatItDoesNotKnow) {
  const auto scram = MakeScram(Pencil(ScramHash::kSha256, "abc"));
  First(*scram);
  EXPECT_TRUE(scram->Respond("r=abcd,s=c2FsdA==,i=4096,x=new").ok());
}

TEST(Scram, NoncesAreFreshAndMayStandInTheMessage) {
  const std::string nonce = MakeScramNonce();
  EXPECT_GE(nonce.size(), 24u);
  EXPECT_EQ(nonce.find(','), std::string::npos);
  EXPECT_NE(nonce, MakeScramNonce());
}

// RFC 4013 section 3.
TEST(SaslPrep, IsTheRfcsTable) {
  EXPECT_EQ(*SaslPrep("I\xC2\xADX"), "IX");
  EXPECT_EQ(*SaslPrep("user"), "user");
  EXPECT_EQ(*SaslPrep("USER"), "USER");
  EXPECT_EQ(*SaslPrep("\xC2\xAA"), "a");
  EXPECT_EQ(*SaslPrep("\xE2\x85\xA8"), "IX");
  EXPECT_EQ(*SaslPrep("no\xC2\xA0"
                      "break"),
            "no break");
  EXPECT_FALSE(SaslPrep("\7").ok());
  EXPECT_FALSE(SaslPrep("\xD8\xA7\x31").ok());
  for (const std::string& bad : {"nul\0"s, "\xFF\xFE"s, "\xC2\xAD"s, ""s, "\xF0\x9F\x93\xAC"s}) {
    EXPECT_FALSE(SaslPrep(bad).ok()) << bad;
  }
}

// ---- The choice

using Capabilities = std::set<std::string, std::less<>>;

std::string Choose(const Capabilities& capabilities, const MechanismPolicy& policy) {
  const auto choice = ChooseMechanism(capabilities, policy);
  if (!choice.ok()) return "refused: " + Message(choice.status());
  return choice->mechanism + (choice->login_command ? " command" : "");
}

const Capabilities kAll = {"AUTH=SCRAM-SHA-256-PLUS",
                           "AUTH=SCRAM-SHA-256",
                           "AUTH=SCRAM-SHA-1-PLUS",
                           "AUTH=SCRAM-SHA-1",
                           "AUTH=PLAIN",
                           "AUTH=LOGIN",
                           "AUTH=XOAUTH2",
                           "AUTH=OAUTHBEARER",
                           "AUTH=CRAM-MD5"};

TEST(Choice, IsTheStrongestThatBothKnow) {
  const std::vector<std::string> ladder = {"SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "SCRAM-SHA-1-PLUS",
                                           "SCRAM-SHA-1",        "PLAIN",         "LOGIN"};
  MechanismPolicy policy;
  policy.can_bind = true;
  Capabilities offered = kAll;
  for (const std::string& strongest : ladder) {
    EXPECT_EQ(Choose(offered, policy), strongest);
    offered.erase("AUTH=" + strongest);
  }
  EXPECT_EQ(Choose(offered, policy), "LOGIN command");
  offered.insert("LOGINDISABLED");
  EXPECT_EQ(Choose(offered, policy),
            "refused: the server permits no login on this connection (LOGINDISABLED, no AUTH=PLAIN; its mechanisms: "
            "CRAM-MD5, OAUTHBEARER, XOAUTH2); use security: TLS or STARTTLS, or set auth.mechanism to one of them that "
            "imapmesh knows");
}

TEST(Choice, BindsOnlyWhereThereIsTls) {
  EXPECT_EQ(Choose(kAll, {}), "SCRAM-SHA-256");
}

TEST(Choice, FollowsTheTopology) {
  MechanismPolicy policy;
  for (const char* wanted : {"PLAIN", "LOGIN", "XOAUTH2", "OAUTHBEARER", "SCRAM-SHA-1"}) {
    policy.wanted = wanted;
    EXPECT_EQ(Choose(kAll, policy), wanted);
  }
  policy.can_bind = true;
  EXPECT_EQ(Choose(kAll, policy), "SCRAM-SHA-1-PLUS") << "RFC 5802 section 6: who can bind must, where it is offered";
  policy.wanted = "EXTERNAL";
  EXPECT_EQ(
      Choose(kAll, policy),
      "refused: auth.mechanism EXTERNAL is not offered by the server (its mechanisms: CRAM-MD5, LOGIN, OAUTHBEARER, "
      "PLAIN, SCRAM-SHA-1, SCRAM-SHA-1-PLUS, SCRAM-SHA-256, SCRAM-SHA-256-PLUS, XOAUTH2); set auth.mechanism to "
      "one of these, or leave it out for the strongest");
}

TEST(Choice, WithATokenIsTheStandardsFormWhereOffered) {
  MechanismPolicy policy;
  policy.has_token = true;
  EXPECT_EQ(Choose(kAll, policy), "OAUTHBEARER");
  EXPECT_EQ(Choose({"AUTH=XOAUTH2", "AUTH=PLAIN"}, policy), "XOAUTH2");
  EXPECT_EQ(
      Choose({"AUTH=PLAIN"}, policy),
      "refused: auth.mechanism OAUTHBEARER or XOAUTH2 is not offered by the server (its mechanisms: PLAIN); check "
      "that this account may log in by tokens");
}

// Given a server that once let us in by a proof of the password, then offering less is what a thief would do.
TEST(Choice, NeverFallsBackFromWhatWasOfferedBefore) {
  MechanismPolicy policy;
  policy.can_bind = true;
  policy.strongest_before = "SCRAM-SHA-256";
  EXPECT_EQ(Choose(kAll, policy), "SCRAM-SHA-256-PLUS") << "stronger is welcome";
  EXPECT_EQ(Choose({"AUTH=SCRAM-SHA-256"}, policy), "SCRAM-SHA-256");
  EXPECT_EQ(
      Choose({"AUTH=PLAIN", "AUTH=LOGIN"}, policy),
      "refused: the server offered SCRAM-SHA-256 before and now nothing better than PLAIN (its mechanisms: LOGIN, "
      "PLAIN); somebody may be in between. If the server was changed on purpose, set "
      "auth.mechanism: \"PLAIN\"");
  EXPECT_TRUE(Choose({}, policy).starts_with("refused: the server offered SCRAM-SHA-256 before"));
  policy.strongest_before = "PLAIN";
  EXPECT_EQ(Choose({"AUTH=PLAIN"}, policy), "PLAIN");
}

}  // namespace
}  // namespace imapmesh::imap
