// Names, dates and headers: what crosses between the mesh and one server.
#include <gtest/gtest.h>

#include <random>

#include "engine/imap/date_time.h"
#include "engine/imap/modified_utf7.h"
#include "engine/replica/header_digest.h"
#include "engine/replica/mailbox_names.h"

namespace imapmesh {
namespace {

TEST(ModifiedUtf7, SpellsNamesAsTheRfcDoes) {
  EXPECT_EQ(imap::EncodeModifiedUtf7("~peter/mail/台北/日本語"), "~peter/mail/&U,BTFw-/&ZeVnLIqe-");
  EXPECT_EQ(imap::DecodeModifiedUtf7("&U,BTFw-/&ZeVnLIqe-"), "台北/日本語");
  EXPECT_EQ(imap::EncodeModifiedUtf7("Tom & Jerry"), "Tom &- Jerry");
  EXPECT_EQ(imap::EncodeModifiedUtf7("😀"), "&2D3eAA-");
  EXPECT_EQ(imap::DecodeModifiedUtf7("&2D3eAA-"), "😀");
}

TEST(ModifiedUtf7, RefusesWhatItWouldNotHaveWritten) {
  for (const char* raw : {"&", "&U,BTFw", "&AGE-", "&2D0-", "Entw\xc3\xbcrfe", "a\x01", "&U,BTFw-&ZeVnLIqe-"}) {
    EXPECT_EQ(imap::DecodeModifiedUtf7(raw), std::nullopt) << raw;
  }
  EXPECT_EQ(imap::EncodeModifiedUtf7("\xff"), std::nullopt);
}

TEST(DateTime, IsReadAndWrittenWithItsZone) {
  const auto date = imap::ParseDateTime("17-Jul-1996 02:44:25 -0700");
  ASSERT_TRUE(date.has_value());
  EXPECT_EQ(date->unix_seconds, 837596665);
  EXPECT_EQ(date->zone_minutes, -420);
  EXPECT_EQ(imap::FormatDateTime(*date), "17-Jul-1996 02:44:25 -0700");
  EXPECT_EQ(imap::ParseDateTime(" 1-Feb-2020 00:00:00 +0000")->unix_seconds, 1580515200);
  const auto leap = imap::ParseDateTime("31-Dec-9999 23:59:60 -1400");
  EXPECT_EQ(imap::ParseDateTime(imap::FormatDateTime(leap.value())), leap);
  for (const char* text : {"", "32-Jan-2020 00:00:00 +0000", "30-Feb-2020 00:00:00 +0000", "01-Foo-2020 00:00:00 +0000",
                           "01-Jan-2020 24:00:00 +0000", "01-Jan-2020 00:00:00 0000", "01/Jan/2020 00:00:00 +0000"}) {
    EXPECT_EQ(imap::ParseDateTime(text), std::nullopt) << text;
  }
}

TEST(DateTime, SurvivesTheWayThere) {
  std::mt19937_64 random(3);
  for (int i = 0; i < 10'000; ++i) {
    imap::DateTime date;
    date.unix_seconds = static_cast<int64_t>(random() % 8'000'000'000ull) - 3'000'000'000ll;
    date.zone_minutes = static_cast<int32_t>(random() % 1600) - 800;
    EXPECT_EQ(imap::ParseDateTime(imap::FormatDateTime(date)), date) << imap::FormatDateTime(date);
  }
}

TEST(MailboxNames, InboxIsOneNameInAnyCase) {
  const MailboxNames names("/", "", {});
  EXPECT_EQ(names.ToMesh("inbox"), "INBOX");
  EXPECT_EQ(names.ToMesh("Inbox/Sub"), "INBOX/Sub");
}

TEST(MailboxNames, LevelsAreSlashesInTheMesh) {
  const MailboxNames dots(".", "INBOX.", {"shared."});
  EXPECT_EQ(dots.ToMesh("INBOX.Lists.lkml"), "Lists/lkml");
  EXPECT_EQ(dots.ToServer("Lists/lkml"), "INBOX.Lists.lkml");
  EXPECT_EQ(dots.ToServer("INBOX"), "INBOX");
  EXPECT_EQ(dots.ToMesh("shared.other"), std::nullopt);
}

TEST(MailboxNames, WhatOneServerCannotSpellIsEscapedThereAndBack) {
  const MailboxNames dots(".", "", {}), slashes("/", "", {});
  for (const char* mesh :
       {"v1.2/notes", "Entwürfe/重要", "a=2Fb", "plain", "x=2Ey/z.w", "a=3Db", "a=3D2Fb", "=3D3D2E.", "="}) {
    EXPECT_EQ(dots.ToMesh(dots.ToServer(mesh)), mesh) << dots.ToServer(mesh);
    EXPECT_EQ(slashes.ToMesh(slashes.ToServer(mesh)), mesh) << slashes.ToServer(mesh);
  }
  EXPECT_EQ(dots.ToMesh("a/b"), "a=2Fb");
  EXPECT_EQ(dots.ToServer("a=2Fb"), "a/b");
}

TEST(MailboxNames, CharactersThatOneServerForbidsAreEscapedThereAndBack) {
  const MailboxNames strict("/", "", {}, "!%;"), dots(".", "", {}, "!%;");
  EXPECT_EQ(strict.ToServer("Read!/100%"), "Read=21/100=25");
  EXPECT_EQ(strict.ToMesh("Read=21/100=25"), "Read!/100%");
  EXPECT_EQ(strict.ToServer("a=21b"), "a=3D21b");
  EXPECT_EQ(dots.ToServer("v1.2!/x"), "v1=2E2=21.x");
  EXPECT_EQ(strict.ToMesh("v1=2E2"), "v1=2E2");  // no escape there
}

TEST(MailboxNames, FurtherPersonalNamespacesTakePart) {
  const MailboxNames names("/", "INBOX/", {"Public/"}, "", {"Archive/"});
  EXPECT_EQ(names.ToMesh("INBOX/Work"), "Work");
  EXPECT_EQ(names.ToMesh("Archive/2020"), "Archive/2020");
  EXPECT_EQ(names.ToServer("Archive/2020"), "Archive/2020");
  EXPECT_EQ(names.ToMesh("INBOX/Archive/2020"), std::nullopt);  // its name is the other's
  EXPECT_EQ(names.ToMesh("Public/Team"), std::nullopt);
}

TEST(MailboxNames, WhatCannotBeSpelledBackIsNotTaken) {
  const MailboxNames dots(".", "INBOX.", {});
  EXPECT_EQ(dots.ToMesh("elsewhere"), std::nullopt);    // outside the personal namespace
  EXPECT_EQ(dots.ToMesh("INBOX.a & b"), std::nullopt);  // no modified UTF-7
  EXPECT_EQ(dots.ToMesh("INBOX.&AGE-"), std::nullopt);  // "a" in a spelling that nobody would write again
  EXPECT_EQ(dots.ToMesh("INBOX.a &- b"), "a & b");
}

TEST(MailboxNames, APrefixHoldsTheWholeMesh) {
  MailboxNames names(".", "", {});
  names.Declare("Accounts/Work", {});
  EXPECT_EQ(names.ToMesh("Accounts.Work.INBOX"), "INBOX");
  EXPECT_EQ(names.ToServer("INBOX"), "Accounts.Work.INBOX");
  EXPECT_EQ(names.ToMesh("Accounts.Work.Lists.lkml"), "Lists/lkml");
  EXPECT_EQ(names.ToServer("Lists/lkml"), "Accounts.Work.Lists.lkml");
  for (const char* outside : {"INBOX", "Accounts", "Accounts.Work", "Accounts.Workshop", "Lists.lkml"}) {
    EXPECT_EQ(names.ToMesh(outside), std::nullopt) << outside;
  }
  // Two mailboxes of this server, two of the mesh.
  EXPECT_EQ(names.ToMesh("Accounts.Work.Inbox"), "Inbox=");
  EXPECT_EQ(names.ToServer("Inbox="), "Accounts.Work.Inbox");
}

TEST(MailboxNames, AMappingCarriesItsChildrenAndNothingElse) {
  MailboxNames names("/", "", {});
  names.Declare("", {{"Sent", "Sent Items"}, {"Trash", "Deleted/Items"}});
  EXPECT_EQ(names.ToMesh("Sent Items"), "Sent");
  EXPECT_EQ(names.ToServer("Sent/2024"), "Sent Items/2024");
  EXPECT_EQ(names.ToMesh("Deleted/Items/x"), "Trash/x");
  EXPECT_EQ(names.ToMesh("Deleted"), "Deleted");
  EXPECT_EQ(names.ToMesh("Sent Itemsx"), "Sent Itemsx");
  // What is called so for other reasons makes way, on both sides.
  EXPECT_EQ(names.ToMesh("Sent"), "Sent=");
  EXPECT_EQ(names.ToServer("Sent Items"), "Sent Items=");
}

TEST(MailboxNames, ForeignNamespacesAreLeftAloneUnlessNamed) {
  MailboxNames names(".", "INBOX.", {"shared."});
  names.Declare("", {{"Team", "shared/team"}});
  EXPECT_EQ(names.ToMesh("shared.team"), "Team");
  EXPECT_EQ(names.ToServer("Team/x"), "shared.team.x");
  EXPECT_EQ(names.ToMesh("shared.other"), std::nullopt);
  MailboxNames below(".", "INBOX.", {"shared."});
  below.Declare("shared/team", {});
  EXPECT_EQ(below.ToMesh("shared.team.INBOX"), "INBOX");
  EXPECT_EQ(below.ToServer("a/b"), "shared.team.a.b");
}

TEST(MailboxNames, AliasesRenameSingleMailboxes) {
  MailboxNames names("/", "", {});
  names.SetAliases({{"Sent", "Sent Items"}});
  EXPECT_EQ(names.ToMesh("Sent Items"), "Sent");
  EXPECT_EQ(names.LocalName("Sent Items"), "Sent Items");
  EXPECT_EQ(names.ToServer("Sent"), "Sent Items");
  EXPECT_EQ(names.ToServer("Sent/2024"), "Sent/2024");
  names.SetAliases({});
  EXPECT_EQ(names.ToServer("Sent"), "Sent");
}

TEST(MailboxNames, EveryNameSurvivesTheWayThereAndBack) {
  std::mt19937_64 random(7);
  const std::vector<std::string> pieces = {"a",     "b", ".", "=",    "=2E",    "=2F", "3D", "INBOX",
                                           "inbox", "ü", "&", "Sent", " Items", "台",  "!",  "=21"};
  const auto word = [&](bool levels) {
    std::string text;
    const size_t length = 1 + random() % 4;
    for (size_t i = 0; i < length; ++i) {
      if (levels && i > 0 && random() % 3 == 0) text += '/';
      text += pieces[random() % pieces.size()];
    }
    return text;
  };
  for (int round = 0; round < 20'000; ++round) {
    const std::string forbidden = random() % 2 == 0 ? "!" : "";
    MailboxNames names(random() % 2 == 0 ? "." : "/", random() % 3 == 0 ? "INBOX." : "", {}, forbidden);
    names.Declare(random() % 3 == 0 ? "p/q" : "", random() % 2 == 0
                                                      ? std::vector<NameMapping>{{"Sent", "a"}, {"b", "b=/Sent"}}
                                                      : std::vector<NameMapping>{{"a", "Sent"}, {"Sent", "a"}});
    std::string name = word(true);
    if (name.size() >= 5 && (name.substr(0, 5) == "inbox")) continue;  // the mesh knows INBOX in capitals only
    const std::string raw = names.ToServer(name);
    EXPECT_EQ(names.ToMesh(raw), name) << raw;
    const std::string there = word(false);
    if (const auto mesh = names.ToMesh(there); mesh && there.substr(0, 5) != "inbox") {
      EXPECT_EQ(names.ToServer(*mesh), there) << *mesh;
    }
  }
}

TEST(HeaderDigest, SeesValuesAndNotTheirFoldingOrOrder) {
  const auto a = IdentifyHeader("Message-ID: <x@y>\r\nSubject: a\r\n  b\r\n\r\n");
  const auto b = IdentifyHeader("SUBJECT:  a b\nmessage-id: <x@y>\n\n");
  EXPECT_EQ(a.digest, b.digest);
  EXPECT_EQ(a.message_id, "<x@y>");
  EXPECT_TRUE(a.has_message_id);
  EXPECT_NE(a.digest, IdentifyHeader("Message-ID: <x@y>\r\nSubject: a c\r\n\r\n").digest);
  EXPECT_FALSE(IdentifyHeader("Message-ID: \r\n\r\n").has_message_id);
  EXPECT_FALSE(IdentifyHeader("").has_message_id);
}

}  // namespace
}  // namespace imapmesh
