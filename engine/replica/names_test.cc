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
