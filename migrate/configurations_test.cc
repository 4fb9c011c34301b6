#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "graph/load.h"
#include "migrate/interimap_config.h"
#include "migrate/interimap_topology.h"
#include "migrate/mailbox_patterns.h"
#include "migrate/mbsync_config.h"
#include "migrate/mbsync_operations.h"
#include "migrate/mbsync_topology.h"

namespace imapmesh {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::Optional;

struct Imported {
  Draft draft;
  std::vector<MbsyncStateSource> states;
  std::vector<std::string> warnings;
  std::string errors;  // one a line; "" for none
};

Imported FromInterimap(std::string_view text, bool has_database = true, std::vector<std::string> mailboxes = {}) {
  Notes notes("conf");
  Imported imported;
  const InterimapConfig config = ParseInterimapConfig(text, notes);
  if (notes.ok()) imported.draft = InterimapTopology(config, "home", has_database, mailboxes, notes);
  imported.warnings = notes.warnings();
  imported.errors = Message(notes.status());
  return imported;
}

Imported FromMbsync(std::string_view text) {
  Notes notes("rc");
  Imported imported;
  const MbsyncConfig config = ParseMbsyncConfig(text, notes);
  if (notes.ok()) {
    MbsyncDraft made = MbsyncTopology(config, "home", "/home/me", notes);
    imported.draft = std::move(made.draft);
    imported.states = std::move(made.states);
  }
  imported.warnings = notes.warnings();
  imported.errors = Message(notes.status());
  return imported;
}

// As the command does: the passwords in files.
absl::Status Check(Draft draft) {
  for (v1::Replica& replica : *draft.topology.mutable_replica()) {
    if (draft.passwords.contains(replica.name())) replica.mutable_auth()->set_password_file("secret");
  }
  return LoadTopologyText(TopologyText(draft, {"head"}), "made", "/").status();
}

// ---- patterns

TEST(Patterns, ReadListMailboxAsInterimapDoes) {
  EXPECT_THAT(ParseListMailbox(R"(INBOX "a b" "Lists\x00%" Entw&APw-rfe)"),
              Optional(ElementsAre("INBOX", "a b", "Lists/%", "Entwürfe")));
  EXPECT_THAT(ParseListMailbox(R"("quote\"back\\slash")"), Optional(ElementsAre("quote\"back\\slash")));
  for (const char* bad : {"\"open", "a\"b", R"("\q")", R"("\x0")", "&&"})
    EXPECT_EQ(ParseListMailbox(bad), std::nullopt);
}

TEST(Patterns, SayWhatARegularExpressionDoes) {
  EXPECT_THAT(PatternsOfExpression(R"(^virtual(?:\x00|$))"), Optional(ElementsAre("virtual/*", "virtual")));
  EXPECT_THAT(PatternsOfExpression(R"(^(?:Spam|Trash)$)"), Optional(ElementsAre("Spam", "Trash")));
  EXPECT_THAT(PatternsOfExpression("Junk"), Optional(ElementsAre("*Junk*")));
  EXPECT_THAT(PatternsOfExpression(R"(^Lists\x00.*\.old$|^tmp)"), Optional(ElementsAre("Lists/*.old", "tmp*")));
}

TEST(Patterns, RefuseWhatTheyCannotSay) {
  for (const char* expression : {"^[ab]", "a+", "a.b", "(?i)spam", "(?!x)", "a^b", "(", "a)", R"(\d)", "x*", R"(\*)"}) {
    EXPECT_EQ(PatternsOfExpression(expression), std::nullopt) << expression;
  }
  std::string explosive;
  for (int i = 0; i < 20; ++i) explosive += "(a|b)";
  EXPECT_EQ(PatternsOfExpression(explosive), std::nullopt);
  EXPECT_EQ(PatternsOfExpression(std::string(10'000, '(')), std::nullopt);
}

// ---- InterIMAP

TEST(Interimap, BecomesTwoReplicasAndAnEdge) {
  const Imported made = FromInterimap(R"(
; comment
database = x.db
[local]
type = tunnel
command = doveadm exec imap
null-stderr = YES
list-reference = perso/
[remote]
host = imap.example.net ; a comment behind
proxy = socks5h://localhost:9050
username = guilhem
password = secret-word
SSL_protocol_min = TLSv1.3
SSL_CAfile = /etc/ca.pem
)");
  EXPECT_EQ(made.errors, "");
  const v1::Topology& topology = made.draft.topology;
  EXPECT_EQ(topology.replica(0).tunnel().command(), "exec 2>/dev/null; doveadm exec imap");
  EXPECT_EQ(topology.replica(0).namespace_prefix(), "perso");
  EXPECT_EQ(topology.replica(1).imap().host(), "imap.example.net");
  EXPECT_EQ(topology.replica(1).imap().security(), v1::Imap::TLS);
  EXPECT_EQ(topology.replica(1).tls().min_version(), "1.3");
  EXPECT_EQ(topology.replica(1).tls().ca_file(), "/etc/ca.pem");
  EXPECT_EQ(topology.replica(1).proxy(), "socks5h://localhost:9050");
  EXPECT_EQ(made.draft.passwords.at("remote"), "secret-word");
  EXPECT_TRUE(Check(made.draft).ok()) << Check(made.draft);
  EXPECT_THAT(TopologyText(made.draft, {}), Not(HasSubstr("secret-word")));
}

TEST(Interimap, DefaultsOfTheFirstSectionHoldForBoth) {
  const Imported made = FromInterimap(
      "type = imap\nSTARTTLS = NO\nusername = u\npassword = p\n[local]\nhost = localhost\n[remote]\nhost = "
      "mail.example\n"
      "STARTTLS = yes\n");
  EXPECT_EQ(made.errors, "");
  EXPECT_EQ(made.draft.topology.replica(0).imap().security(), v1::Imap::PLAINTEXT);
  EXPECT_FALSE(made.draft.topology.replica(0).imap().allow_plaintext());
  EXPECT_EQ(made.draft.topology.replica(1).imap().security(), v1::Imap::STARTTLS);
  EXPECT_FALSE(made.draft.topology.replica(0).compress());
  EXPECT_FALSE(made.draft.topology.replica(1).has_compress());  // the default is interimap's for [remote]
}

constexpr char kAccounts[] = "[local]\ntype=tunnel\ncommand=x\n[remote]\nhost=h\nusername=u\npassword=p\n";

TEST(Interimap, WhatHasNoCounterpartIsNamedWithItsLine) {
  const Imported made = FromInterimap("logfile = /log\nlist-select-opts = SUBSCRIBED\nignore-mailbox = [a-z]\n" +
                                          std::string(kAccounts) + "SSL_verify = NO\nSSL_cipherlist = HIGH\n",
                                      false);
  EXPECT_EQ(made.errors, "");
  for (const char* expected : {"conf:1: logfile", "conf:2: list-select-opts", "conf:3: ignore-mailbox",
                               "conf:11: SSL_verify", "conf:12: SSL_cipherlist", "database was not given"}) {
    EXPECT_THAT(made.warnings, Contains(HasSubstr(expected)));
  }
}

TEST(Interimap, SubscribedMailboxesAreThoseOfTheDatabase) {
  const Imported made =
      FromInterimap("list-select-opts = SUBSCRIBED\n" + std::string(kAccounts), true, {"INBOX", "Lists/a"});
  EXPECT_THAT(made.draft.topology.edge(0).mailboxes().include(), ElementsAre("INBOX", "Lists/a"));
}

TEST(Interimap, AFingerprintIsAPinWhenItIsOne) {
  const std::string digest(64, 'a');
  const Imported one = FromInterimap(kAccounts + ("SSL_verify = NO\nSSL_fingerprint = sha256$" + digest));
  EXPECT_EQ(one.draft.topology.replica(1).tls().pin_sha256(), digest);
  EXPECT_THAT(one.warnings, IsEmpty());
  const Imported more =
      FromInterimap(kAccounts + ("SSL_fingerprint = sha1$abcd " + digest + " " + std::string(64, 'b')));
  EXPECT_EQ(more.draft.topology.replica(1).tls().pin_sha256(), digest);
  EXPECT_THAT(more.warnings, Contains(HasSubstr("sha1$abcd is not carried over")));
  EXPECT_THAT(more.warnings, Contains(HasSubstr("there is one pin")));
  EXPECT_THAT(more.warnings, Contains(HasSubstr("it alone decides")));
}

TEST(Interimap, ContradictionsAreRefusedWithLineAndRemedy) {
  EXPECT_THAT(FromInterimap("host = x\n").errors, HasSubstr("has no section [local]"));
  EXPECT_THAT(FromInterimap("nonsense\n").errors, HasSubstr("conf:1: is neither a section"));
  EXPECT_THAT(FromInterimap(kAccounts + std::string("colour = red\n")).errors, HasSubstr("conf:8: colour"));
  EXPECT_THAT(FromInterimap(kAccounts + std::string("port = 99999\n")).errors, HasSubstr("conf:8: port"));
  EXPECT_THAT(FromInterimap("[local]\ntype=pop3\n[remote]\nhost=h\n").errors, HasSubstr("conf:2: type = pop3"));
  EXPECT_THAT(
      FromInterimap("[local]\ntype=tunnel\ncommand=x\nlist-reference=abc\n[remote]\ntype=tunnel\ncommand=y\n").errors,
      HasSubstr("conf:4: list-reference"));
  EXPECT_THAT(FromInterimap(std::string(kForeignConfigBytesMax + 1, 'x')).errors, HasSubstr("larger than 1 MiB"));
}

// ---- mbsync

constexpr char kStores[] =
    "IMAPAccount a\nHost far.example\nUser me\nPassCmd \"pass show \\\"far\\\"\"\nSSLType IMAPS\n\n"
    "IMAPStore far\nAccount a\n\nIMAPStore near\nTunnel \"doveadm exec imap\"\n\n";

Imported Channel(const std::string& options,
                 const std::string& globals = "Create Both\nRemove Both\nExpunge Both\n\n") {
  return FromMbsync(globals + kStores + "Channel c\nFar :far:\nNear :near:\n" + options);
}

TEST(Mbsync, StoresAndChannelsBecomeReplicasAndEdges) {
  const Imported made = Channel("Patterns * !Trash\n");
  EXPECT_EQ(made.errors, "");
  EXPECT_THAT(made.warnings, IsEmpty());
  const v1::Topology& topology = made.draft.topology;
  EXPECT_EQ(topology.replica(0).name(), "far");
  EXPECT_EQ(topology.replica(0).imap().security(), v1::Imap::TLS);
  EXPECT_EQ(topology.replica(0).auth().password_command(), "pass show \"far\"");
  EXPECT_EQ(topology.replica(1).tunnel().command(), "doveadm exec imap");
  EXPECT_EQ(topology.edge(0).direction(), v1::Edge::BOTH);
  EXPECT_EQ(topology.edge(0).deletes(), v1::Edge::PROPAGATE);
  EXPECT_THAT(topology.edge(0).mailboxes().exclude(), ElementsAre("Trash"));
  EXPECT_FALSE(topology.has_policy());
  EXPECT_TRUE(Check(made.draft).ok()) << Check(made.draft);
  ASSERT_EQ(made.states.size(), 1u);
  EXPECT_EQ(made.states[0].path, "/home/me/.mbsync/");
  EXPECT_TRUE(made.states[0].names_both_ends);
}

struct SyncCase {
  const char* options;
  v1::Edge::Direction direction;
  v1::Edge::Flags flags;
  v1::Edge::Deletes deletes;
  const char* warning;  // "" for none
};

TEST(Mbsync, OperationsAreNarrowedNeverWidened) {
  constexpr SyncCase kCases[] = {
      {"Sync All", v1::Edge::BOTH, v1::Edge::ALL, v1::Edge::PROPAGATE, ""},
      {"Sync Pull", v1::Edge::A_TO_B, v1::Edge::ALL, v1::Edge::PROPAGATE, ""},
      {"Sync Push", v1::Edge::B_TO_A, v1::Edge::ALL, v1::Edge::PROPAGATE, ""},
      {"Sync New", v1::Edge::BOTH, v1::Edge::NONE, v1::Edge::KEEP, ""},
      {"Sync Pull New Flags", v1::Edge::A_TO_B, v1::Edge::ALL, v1::Edge::KEEP, ""},
      {"Sync PullNew Push", v1::Edge::BOTH, v1::Edge::NONE, v1::Edge::KEEP, "deletions in one direction only"},
      {"Sync PullFlags PushNew", v1::Edge::B_TO_A, v1::Edge::NONE, v1::Edge::KEEP, "Pull without New"},
      {"Sync All\nExpunge None", v1::Edge::BOTH, v1::Edge::ALL, v1::Edge::KEEP, "without Expunge"},
      {"Sync All\nExpunge Near", v1::Edge::BOTH, v1::Edge::ALL, v1::Edge::KEEP, "deletions in one direction only"},
      {"Sync Pull\nExpunge Near", v1::Edge::A_TO_B, v1::Edge::ALL, v1::Edge::PROPAGATE, ""},
  };
  for (const SyncCase& given : kCases) {
    const Imported made = Channel(std::string("Patterns *\n") + given.options + "\n");
    ASSERT_EQ(made.draft.topology.edge_size(), 1) << given.options << made.errors;
    const v1::Edge& edge = made.draft.topology.edge(0);
    EXPECT_EQ(edge.direction(), given.direction) << given.options;
    EXPECT_EQ(edge.flags(), given.flags) << given.options;
    EXPECT_EQ(edge.deletes(), given.deletes) << given.options;
    if (*given.warning == '\0') {
      EXPECT_THAT(made.warnings, IsEmpty()) << given.options;
    } else {
      EXPECT_THAT(made.warnings, Contains(HasSubstr(given.warning))) << given.options;
    }
  }
  EXPECT_THAT(Channel("Patterns *\nSync None\n").errors, HasSubstr("no channel joins"));
  EXPECT_THAT(Channel("Patterns *\nSync Sideways\n").errors, HasSubstr("Sync Sideways"));
}

TEST(Mbsync, LaterPatternsTakePrecedenceWhereAnEdgeCanSayThat) {
  EXPECT_THAT(Channel("Patterns !Trash *\n").draft.topology.edge(0).mailboxes().exclude(), IsEmpty());
  const Imported kept = Channel("Patterns * !Lists/* Lists/dear\n");
  EXPECT_THAT(kept.draft.topology.edge(0).mailboxes().exclude(), ElementsAre("Lists/*"));
  EXPECT_THAT(kept.warnings, Contains(HasSubstr("what is excluded stays excluded")));
}

TEST(Mbsync, APrefixBeforeTheNamesIsANamespace) {
  const Imported made = FromMbsync(std::string(kStores) + "Channel c\nFar :far:\nNear :near:work/\nPatterns *\n");
  EXPECT_EQ(made.draft.topology.replica(1).namespace_prefix(), "work");
  EXPECT_EQ(made.draft.topology.replica(1).name(), "near-work");
  EXPECT_EQ(made.states[0].near.box, "work/");
}

TEST(Mbsync, ChannelsOfSingleMailboxesShareAnEdge) {
  const Imported made = FromMbsync("Create Both\nRemove Both\nExpunge Both\n\n" + std::string(kStores) +
                                   "Channel i\nFar :far:\nNear :near:\n\nChannel s\nFar \":far:Sent Items\"\n"
                                   "Near :near:Sent\nSyncState ~/s-\n");
  EXPECT_EQ(made.errors, "");
  ASSERT_EQ(made.draft.topology.edge_size(), 1);
  EXPECT_THAT(made.draft.topology.edge(0).mailboxes().include(), ElementsAre("INBOX", "Sent Items"));
  EXPECT_EQ(made.draft.topology.replica(1).name_map(0).here(), "Sent");
  EXPECT_TRUE(Check(made.draft).ok()) << Check(made.draft);
  EXPECT_EQ(made.states[1].path, "/home/me/s-");
  EXPECT_FALSE(made.states[1].names_both_ends);
  EXPECT_EQ(made.states[1].mailbox, "Sent Items");
}

TEST(Mbsync, WhatHasNoCounterpartIsNamedWithItsLine) {
  const Imported made = Channel("Patterns *\nMaxMessages 10\n\nGroup all c\n");
  EXPECT_THAT(made.warnings, Contains(HasSubstr("rc:21: channel c: maxmessages")));
  EXPECT_THAT(made.warnings, Contains(HasSubstr("rc:23: group all")));
  const Imported maildir = FromMbsync(std::string(kStores) +
                                      "MaildirStore m\nPath ~/Mail/\nSubFolders Verbatim\n\n"
                                      "Channel c\nFar :far:\nNear :m:\nPatterns *\n");
  EXPECT_THAT(maildir.warnings, Contains(HasSubstr("store m is a Maildir")));
  EXPECT_THAT(maildir.errors, HasSubstr("no channel joins two IMAP stores"));
  const Imported inbox = FromMbsync(std::string(kStores) + "Channel c\nFar :far:\nNear :near:in\n");
  EXPECT_THAT(inbox.warnings, Contains(HasSubstr("INBOX cannot have another name")));
}

TEST(Mbsync, ContradictionsAreRefusedWithLineAndRemedy) {
  EXPECT_THAT(FromMbsync("Channel c\nFar :x:\nNear :y:\n").errors, HasSubstr("rc:2: store x is not defined"));
  EXPECT_THAT(FromMbsync("Channel \"c\n").errors, HasSubstr("rc:1: a quote is not closed"));
  EXPECT_THAT(Channel("Patterns *\nColour red\n").errors, HasSubstr("colour: is no option"));
  EXPECT_THAT(FromMbsync("IMAPStore s\nHost h\nUser u\n\nChannel c\nFar :s:\nNear :s:\nPatterns *\n").errors,
              HasSubstr("neither Pass nor PassCmd"));
  EXPECT_THAT(Channel("Patterns *\n\nChannel d\nFar :near:\nNear :far:\nPatterns *\n").errors,
              HasSubstr("the other way round"));
}

}  // namespace
}  // namespace imapmesh
