#include "engine/replica/header_text.h"

#include <gtest/gtest.h>

namespace imapmesh {
namespace {

TEST(HeaderText, EncodedWordsAreDecoded) {
  const HeaderText text = ReadHeaderText(
      "From: =?utf-8?q?J=C3=BCrgen?= <j@example.org>\r\n"
      "Subject: =?iso-8859-1?Q?Gr=FC=DFe?= =?utf-8?b?8J+TrA==?=\r\n\r\n");
  EXPECT_EQ(text.subject, "Grüße📬");
  EXPECT_EQ(text.sender, "Jürgen <j@example.org>");
}

TEST(HeaderText, FoldsAreUndoneAndTheFirstFieldCounts) {
  EXPECT_EQ(ReadHeaderText("subject: one\r\n two\r\nSUBJECT: other\r\n").subject, "one two");
}

TEST(HeaderText, RawEightBitBytesBecomeUtf8) {
  EXPECT_EQ(ReadHeaderText("Subject: Gr\xC3\xBC\xC3\x9F"
                           "e\n")
                .subject,
            "Grüße");
  EXPECT_EQ(ReadHeaderText("Subject: Gr\xFC\xDF"
                           "e\n")
                .subject,
            "Grüße");
}

TEST(HeaderText, MissingEmptyAndBrokenOnesAreEmptyOrAsWritten) {
  EXPECT_EQ(ReadHeaderText("").subject, "");
  EXPECT_EQ(ReadHeaderText("Subject:\r\nFrom: a\r\n").subject, "");
  EXPECT_EQ(ReadHeaderText("Subjects: x\r\n").subject, "");
  EXPECT_EQ(ReadHeaderText("Subject: =?utf-8?b?").subject, "=?utf-8?b?");
}

TEST(HeaderText, LongOnesAreCutBetweenCharacters) {
  std::string subject = "x";
  for (int i = 0; i < 1000; ++i) subject += "ü";
  const std::string cut = ReadHeaderText("Subject: " + subject + "\r\n").subject;
  EXPECT_LE(cut.size(), 1000u);
  EXPECT_EQ(subject.substr(0, cut.size()), cut);
  EXPECT_EQ(cut.size() % 2, 1u);
}

}  // namespace
}  // namespace imapmesh
