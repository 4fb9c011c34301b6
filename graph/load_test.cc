#include "graph/load.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>

#include "graph/test_support.h"

namespace imapmesh {
namespace {

// A whole topology around one replica "a" whose block holds `inner`, from line 3 on.
std::string WithReplica(const std::string& inner) {
  return "name: \"test\"\nreplica { name: \"a\"\n" + inner + "\n}\n" + ReplicaText("b") +
         "edge { a: \"a\" b: \"b\" }\n";
}

// Two replicas, one a line (2 and 3), and `rest` from line 4 on.
std::string WithTwo(const std::string& rest) {
  return TopologyText({"a", "b"}, rest);
}

const char kLogin[] = "auth { username: \"u\" password: \"hunter2\" }";

struct Case {
  const char* name;
  std::string text;
  std::string errors;
};

class Refused : public testing::TestWithParam<Case> {};

TEST_P(Refused, WithItsPlaceAndTheRemedy) {
  EXPECT_EQ(ErrorsOf(GetParam().text), GetParam().errors);
}

std::string NameOf(const testing::TestParamInfo<Case>& info) {
  return info.param.name;
}

INSTANTIATE_TEST_SUITE_P(
    Graph, Refused,
    testing::Values(
        Case{"UnknownReplica", WithTwo("edge { a: \"a\" b: \"c\" }"),
             "t:4:15: edge[a:c].b: there is no replica \"c\"; the replicas are a, b"},
        Case{"Keywords",
             WithReplica("tunnel { command: \"x\" }\n"
                         "keyword_map { mesh: \"$Work\" here: \"$Label1\" }\n"
                         "keyword_map { mesh: \"$WORK\" here: \"\\\\Flagged\" }\n"
                         "keyword_map { mesh: \"a b\" here: \"\" }"),
             "t:5:15: replica[a].keyword_map[2].mesh: \"$WORK\" is mapped twice; keep one of the two\n"
             "t:5:29: replica[a].keyword_map[2].here: begins with a backslash as system flags do, which are the same "
             "everywhere; only keywords are mapped\n"
             "t:6:15: replica[a].keyword_map[3].mesh: \"a b\" is no keyword; use ASCII without spaces and (){%*\"\\]\n"
             "t:6:27: replica[a].keyword_map[3].here: is empty; write a keyword, such as \"$Work\""},
        Case{
            "IgnoredCapabilities",
            WithReplica("tunnel { command: \"x\" }\n"
                        "ignore_capabilities: \"QRESYNC\"\n"
                        "ignore_capabilities: \"STARTTLS\"\n"
                        "ignore_capabilities: \"IMAP4rev1\"\n"
                        "ignore_capabilities: \"no way\""),
            "t:5:1: replica[a].ignore_capabilities: STARTTLS is about logging in; use security and auth { mechanism: … "
            "} "
            "for that\n"
            "t:6:1: replica[a].ignore_capabilities: IMAP4REV1 cannot be done without; remove it\n"
            "t:7:1: replica[a].ignore_capabilities: \"no way\" is no capability; write one as the server announces it, "
            "such as \"QRESYNC\""},
        Case{"MissingEnd", WithTwo("edge { a: \"a\" }"), "t:4:1: edge[1].b: is missing; name a replica"},
        Case{"EdgeToItself", WithTwo("edge { a: \"a\" b: \"a\" }"),
             "t:4:15: edge[a:a].b: joins replica \"a\" with itself; name two different replicas"},
        Case{"SamePairTwice", WithTwo("edge { a: \"a\" b: \"b\" }\nedge { a: \"b\" b: \"a\" }"),
             "t:5:1: edge[b:a]: joins the same two replicas as edge a:b (joined twice); declare the pair once, "
             "direction: BOTH goes both ways"},
        Case{"DuplicateNames",
             WithTwo("replica {\n  name: \"a\" tunnel { command: \"x\" } }\nedge { a: \"a\" b: \"b\" }"),
             "t:5:3: replica[a].name: the name \"a\" is given twice; give each replica its own"},
        Case{"SameAccount",
             "name: \"test\"\n"
             "replica { name: \"a\" imap { host: \"H\" port: 993 } auth { username: \"u\" password: \"hunter2\" } }\n"
             "replica { name: \"b\" imap { host: \"h\" } auth { username: \"u\" password: \"hunter2\" } }\n"
             "edge { a: \"a\" b: \"b\" }",
             "t:3:1: replica[b]: is the same account and namespace as replica \"a\"; declare it once"},
        Case{"EmptyGraph", "name: \"test\"",
             "t:1:1: replica: the graph is empty; declare at least two replicas and an edge between them"},
        Case{"EmptyFile", "",
             "t:1:1: name: the mesh has no name; add name: \"home\"\n"
             "t:1:1: replica: the graph is empty; declare at least two replicas and an edge between them"},
        Case{"NoEdge", WithTwo(""),
             "t:1:1: edge: the graph has no edge, so nothing would be synced; add edge { a: \"…\" b: \"…\" }"},
        Case{"EmptyPattern", WithTwo("edge { a: \"a\" b: \"b\"\n mailboxes { include: \"x\" include: \"\" } }"),
             "t:5:27: edge[a:b].mailboxes.include: the pattern is empty and matches no mailbox; use \"*\" for every "
             "mailbox"},
        Case{"PatternOfControlCharacters", WithTwo("edge { a: \"a\" b: \"b\"\n mailboxes { exclude: \"\\033[2J\" } }"),
             "t:5:14: edge[a:b].mailboxes.exclude: the pattern is no printable UTF-8, as mailbox names are; write it "
             "so"},
        Case{"DeleteVsChange", WithTwo("edge { a: \"a\" b: \"b\" delete_vs_change: 7 }"),
             "t:4:22: edge[a:b].delete_vs_change: is a number without meaning; use a name from graph/topology.proto"},
        Case{"NegativeInterval", WithTwo("edge { a: \"a\" b: \"b\" interval_s: -1 }"),
             "t:4:22: edge[a:b].interval_s: -1 seconds; use 0, which is at once"},
        Case{"EnumNumber", WithTwo("edge { a: \"a\" b: \"b\" direction: 7 }"),
             "t:4:22: edge[a:b].direction: is a number without meaning; use a name from graph/topology.proto"},
        Case{"Fraction", WithTwo("edge { a: \"a\" b: \"b\" }\npolicy { brake { fraction: 1.5 } }"),
             "t:5:18: policy.brake.fraction: 1.5 is no part of a mailbox; use 0 to 1, such as 0.5"},
        Case{"NoFraction", WithTwo("edge { a: \"a\" b: \"b\" }\npolicy { brake { fraction: nan } }"),
             "t:5:18: policy.brake.fraction: nan is no part of a mailbox; use 0 to 1, such as 0.5"},
        Case{"MinMessages", WithTwo("edge { a: \"a\" b: \"b\" }\npolicy { brake { min_messages: -2 } }"),
             "t:5:18: policy.brake.min_messages: -2 is negative; use 0 or more"},
        Case{"PollInterval", WithTwo("edge { a: \"a\" b: \"b\" }\npolicy { poll_interval_s: 0 }"),
             "t:5:10: policy.poll_interval_s: 0 seconds; use 1 to 604800"}),
    NameOf);

INSTANTIATE_TEST_SUITE_P(
    Replica, Refused,
    testing::Values(
        Case{"NoEndpoint", WithReplica(""),
             "t:2:1: replica[a]: has no endpoint; add imap { host: \"…\" }, tunnel { command: \"…\" } or unix_socket "
             "{ path: \"…\" }"},
        Case{"BadName", TopologyText({"a", "B\\033"}, "edge { a: \"a\" b: \"a\" }"),
             "t:3:11: replica[2].name: \"B\\x1b\" is no name; use a to z, 0 to 9, _ and -, at most 64 characters\n"
             "t:4:15: edge[a:a].b: joins replica \"a\" with itself; name two different replicas"},
        Case{"Port", WithReplica(std::string("imap { host: \"h\" port: 70000 }") + kLogin),
             "t:3:18: replica[a].imap.port: 70000 is out of range; use 1 to 65535, usually 993"},
        Case{"NoHost", WithReplica(std::string("imap { }") + kLogin),
             "t:3:1: replica[a].imap.host: is empty; set it, such as host: \"mail.example.org\""},
        Case{"Url", WithReplica(std::string("imap { host: \"imaps://h\" }") + kLogin),
             "t:3:8: replica[a].imap.host: \"imaps://h\" is no host; write the bare name or address, such as "
             "\"mail.example.org\" or \"2001:db8::1\""},
        Case{"PortInHost", WithReplica(std::string("imap { host: \"h:143\" }") + kLogin),
             "t:3:8: replica[a].imap.host: \"h:143\" has a port in it; write it as port: …"},
        Case{"Plaintext", WithReplica(std::string("imap { host: \"127.example.org\" security: PLAINTEXT }") + kLogin),
             "t:3:32: replica[a].imap.security: PLAINTEXT would send the password to \"127.example.org\" in clear; use "
             "TLS or STARTTLS, or set allow_plaintext: true"},
        Case{"NoUsername", WithReplica("imap { host: \"h\" }"),
             "t:2:1: replica[a].auth: an imap server needs a login; add auth { username: \"…\" password_command: "
             "\"…\" }"},
        Case{"NoPassword", WithReplica("imap { host: \"h\" } auth { username: \"u\" }"),
             "t:3:27: replica[a].auth.username: a username without a password; add one of password_command, "
             "password_file, password_env, password"},
        Case{
            "TwoPasswords",
            WithReplica("tunnel { command: \"x\" } auth { username: \"u\" password_env: \"P\" password: \"hunter2\" }"),
            "t:3:64: password: stands beside password_env; only one of the two is possible, remove the other"},
        Case{"TokenBesidePassword",
             WithReplica(
                 "tunnel { command: \"x\" } auth { username: \"u\" password: \"hunter2\" token_command: \"y\" }"),
             "t:3:66: replica[a].auth.token_command: stands beside a password; only one of the two is possible, remove "
             "the other"},
        Case{"NoMechanism",
             WithReplica(
                 "tunnel { command: \"x\" } auth { username: \"u\" password: \"hunter2\" mechanism: \"MAGIC\" }"),
             "t:3:66: replica[a].auth.mechanism: \"MAGIC\" is no mechanism; use SCRAM-SHA-256, SCRAM-SHA-1, PLAIN, "
             "LOGIN, XOAUTH2, OAUTHBEARER or EXTERNAL, or leave it out for the strongest"},
        Case{"EmptyCommand", WithReplica("tunnel { command: \" \" }"),
             "t:3:10: replica[a].tunnel.command: is empty; set it, such as command: \"doveadm exec imap\""},
        Case{"TwoEndpoints", WithReplica("tunnel { command: \"x\" }\nunix_socket { path: \"y\" }"),
             "t:4:1: unix_socket: stands beside tunnel; only one of the two is possible, remove the other"},
        Case{"TlsWithoutTls", WithReplica("tunnel { command: \"x\" } tls { server_name: \"h\" }"),
             "t:3:25: replica[a].tls: there is no TLS to this endpoint; remove tls, or use imap with security: TLS or "
             "STARTTLS"},
        Case{"Tls",
             WithReplica(std::string(kLogin) + "imap { host: \"h\" }\n"
                                               "tls { min_version: \"1.1\" pin_sha256: \"abc\" client_cert: \"c\" }"),
             "t:4:7: replica[a].tls.min_version: \"1.1\" is no version; use \"1.2\" or \"1.3\"\n"
             "t:4:26: replica[a].tls.pin_sha256: is no SHA-256; write 64 hexadecimal figures or 44 characters of "
             "base64\n"
             "t:4:44: replica[a].tls.client_cert: stands alone; client_cert and client_key go together, add "
             "client_key"},
        Case{"BadProxy", WithReplica(std::string(kLogin) + "imap { host: \"h\" }\nproxy: \"http://u:hunter2@h:99999\""),
             "t:4:1: replica[a].proxy: is no proxy that imapmesh knows; write socks5://host:port (names resolved here) "
             "or "
             "socks5h://user:password@host:port (names resolved by the proxy)"},
        Case{"ProxyOfATunnel", WithReplica("tunnel { command: \"x\" }\nproxy: \"socks5://u:hunter2@h:1080\""),
             "t:4:1: replica[a].proxy: there is no network connection to this endpoint; remove proxy"},
        Case{"NamespacePrefix", WithReplica("tunnel { command: \"x\" }\nnamespace_prefix: \"/p\""),
             "t:4:1: replica[a].namespace_prefix: \"/p\" has an empty level; write the levels with one \"/\" between "
             "them"},
        Case{
            "NameMap",
            WithReplica("tunnel { command: \"x\" }\n"
                        "name_map { mesh: \"Sent\" here: \"Sent Items\" }\n"
                        "name_map { mesh: \"Sent/x\" here: \"Sent Items\" }\n"
                        "name_map { mesh: \"INBOX\" here: \"\" }"),
            "t:5:12: replica[a].name_map[2].mesh: \"Sent/x\" and \"Sent\" lie one within the other, and a mapping "
            "carries the children; map only the upper one\n"
            "t:5:27: replica[a].name_map[2].here: \"Sent Items\" is mapped twice; keep one of the two\n"
            "t:6:12: replica[a].name_map[3].mesh: INBOX and what lies below it cannot be mapped; namespace_prefix puts "
            "a whole account, INBOX included, under another name\n"
            "t:6:26: replica[a].name_map[3].here: is empty; write a mailbox name, levels separated by \"/\""},
        Case{"Numbers", WithReplica("tunnel { command: \"x\" }\nlink_cost: -1\nmax_connections: 0"),
             "t:4:1: replica[a].link_cost: -1 is out of range; use 0 to 1000000\n"
             "t:5:1: replica[a].max_connections: 0 is out of range; use 1 to 100"},
        Case{"Timeout", WithReplica("tunnel { command: \"x\" }\ntimeout_s: 4000"),
             "t:4:1: replica[a].timeout_s: 4000 is out of range; use 1 to 3600"}),
    NameOf);

// A replica on TLS whose auth is the fields given; each error is told with its remedy.
std::string WithAuth(const std::string& fields, const std::string& tls = "") {
  return WithReplica("imap { host: \"h\" }\nauth { username: \"u\"\n" + fields + " }\n" + tls);
}

INSTANTIATE_TEST_SUITE_P(
    Login, Refused,
    testing::Values(
        Case{"ExternalWithoutCertificate", WithAuth("mechanism: \"EXTERNAL\""),
             "t:5:1: replica[a].auth.mechanism: EXTERNAL logs in by a client certificate; add tls { client_cert: \"…\" "
             "client_key: \"…\" }"},
        Case{"ExternalWithPassword",
             WithAuth("password: \"hunter2\" mechanism: \"EXTERNAL\"", "tls { client_cert: \"c\" client_key: \"k\" }"),
             "t:5:21: replica[a].auth.mechanism: EXTERNAL uses no password; remove the password or the mechanism"},
        Case{"ExternalWithoutTls", WithReplica("tunnel { command: \"x\" } auth { mechanism: \"EXTERNAL\" }"),
             "t:3:32: replica[a].auth.mechanism: EXTERNAL logs in by a client certificate, and there is no TLS here; "
             "use "
             "imap with security: TLS or STARTTLS, or another mechanism"},
        Case{"PlainWithToken", WithAuth("token_command: \"t\" mechanism: \"PLAIN\""),
             "t:5:1: replica[a].auth.token_command: PLAIN takes no token; use mechanism: \"OAUTHBEARER\" or "
             "\"XOAUTH2\", "
             "or a password"},
        Case{"OAuthWithoutToken", WithAuth("mechanism: \"XOAUTH2\""),
             "t:5:1: replica[a].auth.mechanism: XOAUTH2 needs a token; add token_command, which prints one"},
        Case{"OAuthWithPassword", WithAuth("password: \"hunter2\" mechanism: \"OAUTHBEARER\""),
             "t:5:21: replica[a].auth.mechanism: OAUTHBEARER uses no password; replace it by token_command, or remove "
             "the "
             "mechanism"},
        Case{"EmptyToken", WithAuth("token_command: \" \""),
             "t:5:1: replica[a].auth.token_command: is empty; set it, such as token_command: \"oauth2-token mail\""},
        Case{"TokenInClear",
             WithReplica("imap { host: \"h\" security: PLAINTEXT allow_plaintext: true }\n"
                         "auth { username: \"u\" token_command: \"t\" }"),
             "t:4:22: replica[a].auth.token_command: a token must not cross the network in clear (RFC 7628); use "
             "security: TLS or STARTTLS"},
        Case{
            "BindingWithoutTls",
            WithReplica("tunnel { command: \"x\" }\n"
                        "auth { username: \"u\" password: \"p\" mechanism: \"SCRAM-SHA-256-PLUS\" }"),
            "t:4:36: replica[a].auth.mechanism: SCRAM-SHA-256-PLUS ties the login to TLS, which there is none of here; "
            "use SCRAM-SHA-256"},
        Case{"OtherVariables",
             WithAuth("password_file: \"${HOME}/secret\"", "tls { ca_file: \"${CREDENTIALS_DIRECTORY}/../ca\" }"),
             "t:5:1: replica[a].auth.password_file: names a variable; only \"${CREDENTIALS_DIRECTORY}/NAME\" is known, "
             "a "
             "credential from systemd\n"
             "t:6:7: replica[a].tls.ca_file: names a variable; only \"${CREDENTIALS_DIRECTORY}/NAME\" is known, a "
             "credential from systemd"}),
    NameOf);

TEST(Load, PermitsEveryWayToLogIn) {
  const std::string certificate = "tls { client_cert: \"c\" client_key: \"${CREDENTIALS_DIRECTORY}/key\" }";
  for (const char* mechanism : {"SCRAM-SHA-256", "SCRAM-SHA-1", "SCRAM-SHA-256-PLUS", "PLAIN", "LOGIN"}) {
    EXPECT_EQ(ErrorsOf(WithAuth("password: \"p\" mechanism: \"" + std::string(mechanism) + "\"", certificate)), "");
  }
  EXPECT_EQ(ErrorsOf(WithAuth("token_command: \"t\"")), "");
  EXPECT_EQ(ErrorsOf(WithAuth("token_command: \"t\" mechanism: \"XOAUTH2\"")), "");
  EXPECT_EQ(ErrorsOf(WithAuth("mechanism: \"EXTERNAL\"", certificate)), "");
  EXPECT_EQ(ErrorsOf(WithReplica("imap { host: \"h\" } auth { mechanism: \"EXTERNAL\" }" + certificate)), "");
  EXPECT_EQ(ErrorsOf(WithAuth("password_file: \"${CREDENTIALS_DIRECTORY}/mail\"", "proxy: \"socks5h://p\"")), "");
}

INSTANTIATE_TEST_SUITE_P(
    Syntax, Refused,
    testing::Values(
        Case{"UnknownFieldsAllAtOnce", WithTwo("edge { a: \"a\" b: \"c\" colour: 3 }\nbreak { x: 1 }"),
             "t:4:15: edge[a:c].b: there is no replica \"c\"; the replicas are a, b\n"
             "t:4:22: there is no field \"colour\" here; use one of a, b, direction, mailboxes, flags, deletes, "
             "interval_s, paused, delete_vs_change\n"
             "t:5:1: there is no field \"break\" here; use one of name, replica, edge, policy"},
        Case{"UnknownValue", WithTwo("edge { a: \"a\" b: \"b\" direction: SIDEWAYS }"),
             "t:4:33: direction: there is no value \"SIDEWAYS\"; use one of BOTH, A_TO_B, B_TO_A"},
        Case{"GivenTwice", WithTwo("edge { a: \"a\" b: \"b\" b: \"a\" }"),
             "t:4:22: b: is given twice; keep one of them"},
        Case{"Unfinished", WithTwo("edge { a: "),
             "t:4:11: cannot be read (Expected string, got: ); see graph/topology.proto for what may stand here"},
        Case{"PasswordWithoutQuotes", WithReplica("auth { username: \"u\" password: hunter2 }"),
             "t:3:32: cannot be read; write the value as \"text in double quotes\""}),
    NameOf);

TEST(Load, SeveralReplicasMayShareAnAccountByPrefix) {
  const auto topology = [](const char* first, const char* second) {
    const std::string account = "imap { host: \"h\" } auth { username: \"u\" password_env: \"P\" } namespace_prefix: ";
    return "name: \"test\" replica { name: \"a\" " + account + first + " }\nreplica { name: \"b\" " + account + second +
           " } edge { a: \"a\" b: \"b\" }";
  };
  EXPECT_TRUE(MustLoad(topology("\"Work\"", "\"Workshop\"")).warnings.empty());
  const auto nested = MustLoad(topology("\"Work\"", "\"Work/Old\""));
  ASSERT_EQ(nested.warnings.size(), 1u);
  EXPECT_EQ(
      nested.warnings.front(),
      "t:2:81: replica[b].namespace_prefix: this replica and \"a\" are one account, and the mailboxes of one lie "
      "within the other's; give each a namespace_prefix of its own, or exclude \"Work/Old/*\" on the edges of the "
      "outer one");
}

TEST(Load, FillsInTheDefaults) {
  const auto loaded = MustLoad(
      "name: \"test\"\n"
      "replica { name: \"a\" imap { host: \"a\" } auth { username: \"u\" password_env: \"P\" } }\n"
      "replica { name: \"b\" imap { host: \"b\" security: STARTTLS } auth { username: \"u\" password_env: \"P\" } }\n"
      "replica { name: \"c\" tunnel { command: \"c\" } compress: true link_cost: 7 }\n"
      "edge { a: \"a\" b: \"b\" } edge { a: \"b\" b: \"c\" }");
  const v1::Topology& topology = loaded.graph->topology();
  EXPECT_EQ(topology.replica(0).imap().port(), 993);
  EXPECT_TRUE(topology.replica(0).compress());
  EXPECT_EQ(topology.replica(0).link_cost(), 1);
  EXPECT_EQ(topology.replica(0).max_connections(), 4);
  EXPECT_EQ(topology.replica(1).imap().port(), 143);
  EXPECT_TRUE(topology.replica(2).compress());
  EXPECT_EQ(topology.replica(2).link_cost(), 7);
  EXPECT_EQ(topology.edge(0).direction(), v1::Edge::BOTH);
  EXPECT_EQ(topology.policy().poll_interval_s(), 60);
  EXPECT_EQ(topology.policy().brake().fraction(), 0.5);
  EXPECT_EQ(topology.policy().brake().min_messages(), 50);
  EXPECT_EQ(loaded.graph->folder(), "/folder");
  EXPECT_TRUE(loaded.warnings.empty());
}

TEST(Load, PermitsPlaintextToLoopbackAndWhereAllowed) {
  for (const char* endpoint : {"host: \"localhost\"", "host: \"127.0.0.1\"", "host: \"::1\"",
                               "host: \"mail.example.org\" allow_plaintext: true"}) {
    EXPECT_EQ(ErrorsOf(WithReplica(std::string("imap { security: PLAINTEXT ") + endpoint + " } " + kLogin)), "");
  }
}

TEST(Load, PermitsATunnelWithoutALogin) {
  EXPECT_EQ(ErrorsOf(WithReplica("tunnel { command: \"x\" }")), "");
}

TEST(Load, PermitsTheSameServerForTwoAccounts) {
  EXPECT_EQ(ErrorsOf("name: \"test\"\n"
                     "replica { name: \"a\" imap { host: \"h\" } auth { username: \"u\" password: \"p\" } }\n"
                     "replica { name: \"b\" imap { host: \"h\" } auth { username: \"v\" password: \"p\" } }\n"
                     "edge { a: \"a\" b: \"b\" }"),
            "");
}

TEST(Load, PermitsTheSameServerForTwoCertificates) {
  const auto replica = [](const std::string& name, const std::string& certificate) {
    return "replica { name: \"" + name +
           "\" imap { host: \"h\" } auth { mechanism: \"EXTERNAL\" } tls { client_cert: \"" + certificate +
           "\" client_key: \"k\" } }\n";
  };
  const std::string edge = "edge { a: \"a\" b: \"b\" }";
  EXPECT_EQ(ErrorsOf("name: \"test\"\n" + replica("a", "alice.pem") + replica("b", "bob.pem") + edge), "");
  EXPECT_NE(ErrorsOf("name: \"test\"\n" + replica("a", "alice.pem") + replica("b", "alice.pem") + edge), "");
}

TEST(Load, WarnsOfAnIslandOnce) {
  const auto loaded =
      MustLoad(TopologyText({"a", "b", "c", "d"}, "edge { a: \"a\" b: \"b\" } edge { a: \"c\" b: \"d\" }"));
  ASSERT_EQ(loaded.warnings.size(), 1u);
  EXPECT_EQ(
      loaded.warnings[0],
      "t:4:1: replica[c]: no path of edges leads from replica \"a\" to: c, d; add an edge if they belong together");
}

TEST(Load, NeverShowsAPassword) {
  for (const char* inner : {
           "auth { username: \"u\" password: hunter2 }",
           "auth { username: \"u\" password: \"x\" hunter2 }",
           "auth { username: \"u\" password hunter2 }",
           "auth { username: \"u\" password: \n\n hunter2 }",
           "auth { username: \"u\" password: \"x\" \"hunter2\" : }",
           "auth { username: \"u\" password: x hunter2: 3 }",
           "proxy: hunter2",
           "proxy: socks5://u:hunter2@h:1",
           "auth { password: \"hunter2\" } imap { port: -1 }",
       }) {
    const std::string errors = ErrorsOf(WithReplica(inner));
    EXPECT_NE(errors, "") << inner;
    EXPECT_EQ(errors.find("hunter2"), std::string::npos) << inner << "\n" << errors;
  }
}

TEST(Load, ErrorsHoldNothingThatATerminalWouldObey) {
  for (const char* text : {"\b\"\001\001another member of oneof\xaf\xafz\037\"", "\"\x1b[2J has no field named\"",
                           "\x1b[2J: 1", "name: \"\x1b[2J\""}) {
    for (const char c : ErrorsOf(text)) EXPECT_TRUE(static_cast<unsigned char>(c) >= 0x20 || c == '\n') << text;
  }
}

TEST(Load, RefusesWhatIsTooLarge) {
  EXPECT_EQ(ErrorsOf(std::string(kTopologyBytesMax + 1, '#')),
            "t: is larger than 1048576 bytes; this is no topology file");
  std::string many = "name: \"test\"\nedge { a: \"a\" b: \"b\" }\n";
  for (int i = 0; i <= kTopologyReplicasMax; ++i) many += "replica {}\n";
  EXPECT_EQ(ErrorsOf(many), "t:1003:1: replica: 1001 replicas; at most 1000");
}

TEST(Load, SurvivesDeepNestingAndNoise) {
  std::string deep;
  for (int i = 0; i < 100000; ++i) deep += "x {";
  EXPECT_NE(ErrorsOf(deep), "");
  EXPECT_NE(ErrorsOf(std::string("\0\xff\xfe\x1b[2J", 7)), "");
  EXPECT_EQ(ErrorsOf("\x1b[2J").find('\x1b'), std::string::npos);
}

// Text format's short form of a list has one place for all members.
TEST(Load, TakesListsInBrackets) {
  EXPECT_EQ(ErrorsOf("name: \"t\" replica: [{ name: \"a\" tunnel { command: \"a\" } }, { name: \"b\" }]\n"
                     "edge: [{ a: \"a\" b: \"b\" mailboxes { include: [\"*\", \"\"] } }]"),
            "t:1:11: replica[b]: has no endpoint; add imap { host: \"…\" }, tunnel { command: \"…\" } or unix_socket "
            "{ path: \"…\" }\n"
            "t:2:24: edge[a:b].mailboxes.include: the pattern is empty and matches no mailbox; use \"*\" for every "
            "mailbox");
}

TEST(LoadFile, TellsThatItCannotBeRead) {
  const auto missing = LoadTopologyFile("/nonexistent/t.textproto");
  EXPECT_EQ(missing.status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(Message(missing.status()),
            "topology file /nonexistent/t.textproto cannot be read: No such file or directory");
  EXPECT_EQ(Message(LoadTopologyFile("/tmp").status()), "topology file /tmp cannot be read: Is a directory");
}

TEST(LoadFile, WarnsOfAPasswordThatOthersCanRead) {
  const std::string path = testing::TempDir() + "/graph_load_test.textproto";
  std::ofstream(path) << WithReplica(std::string("tunnel { command: \"x\" }") + kLogin);
  ASSERT_EQ(::chmod(path.c_str(), 0644), 0);
  auto loaded = LoadTopologyFile(path);
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  ASSERT_EQ(loaded->warnings.size(), 1u);
  EXPECT_EQ(loaded->warnings[0], path +
                                     ":1:1: auth.password: holds a password and others can read it; chmod 600 the "
                                     "file, or use password_command");
  ASSERT_EQ(::chmod(path.c_str(), 0600), 0);
  loaded = LoadTopologyFile(path);
  ASSERT_TRUE(loaded.ok());
  EXPECT_TRUE(loaded->warnings.empty());
  ::unlink(path.c_str());
}

// Bazel runs tests at the workspace's runfiles, where the examples are data.
TEST(Examples, LoadWithoutErrorsOrWarnings) {
  for (const char* name : {"triangle", "star", "chain", "ring", "two_sites", "archive"}) {
    const auto loaded = LoadTopologyFile(std::string("topologies/") + name + ".textproto");
    ASSERT_TRUE(loaded.ok()) << loaded.status();
    EXPECT_TRUE(loaded->warnings.empty()) << loaded->warnings[0];
  }
}

}  // namespace
}  // namespace imapmesh
