#include "engine/sync/mailbox_spelling.h"

#include <gtest/gtest.h>

namespace imapmesh {
namespace {

TEST(Spelling, CaseAndCompositionMakeNoDifference) {
  EXPECT_EQ(FoldSpelling("Projects/2024"), FoldSpelling("projects/2024"));
  EXPECT_EQ(FoldSpelling("Entw\u00fcrfe"), FoldSpelling("Entwu\u0308rfe"));
  EXPECT_EQ(FoldSpelling("\u0412\u0445\u043e\u0434"), FoldSpelling("\u0432\u0445\u043e\u0434"));
  EXPECT_EQ(FoldSpelling("Stra\u00dfe"), FoldSpelling("STRASSE"));
}

TEST(Spelling, OtherNamesStayApart) {
  EXPECT_NE(FoldSpelling("Work"), FoldSpelling("Word"));
  EXPECT_NE(FoldSpelling("Work"), FoldSpelling("Work/"));
  EXPECT_NE(FoldSpelling("u"), FoldSpelling("\u00fc"));
}

TEST(Spelling, WhatCannotBeFoldedIsAsItIs) {
  EXPECT_EQ(FoldSpelling("\xff\xfe"), "\xff\xfe");
  EXPECT_EQ(FoldSpelling(std::string("a\0b", 3)), std::string("a\0b", 3));
  EXPECT_EQ(FoldSpelling(std::string(5000, 'A')), std::string(5000, 'A'));
}

TEST(PlainSpelling, HasNoCharacterThatSomeServerForbids) {
  EXPECT_EQ(PlainSpelling("Work/2024 v1.2"), "Work/2024 v1.2");
  EXPECT_EQ(PlainSpelling("Entw\u00fcrfe=1"), "Entw\u00fcrfe=1");
  EXPECT_EQ(PlainSpelling("R&D!/a=b"), "R=26D=21/a=3Db");
  EXPECT_EQ(PlainSpelling("smile \U0001F600"), "smile =F0=9F=98=80");
}

TEST(PlainSpelling, IsReadBack) {
  for (const char* name : {"R&D!/a=b", "smile \U0001F600", "100%", "=3D!", "\\"}) {
    EXPECT_EQ(UnusualSpelling(PlainSpelling(name)), name);
  }
  for (const char* plain : {"Work", "a=b", "a=3Db", "=2e", "R&D=21", "=XY", "x="}) {
    EXPECT_EQ(UnusualSpelling(plain), std::nullopt) << plain;
  }
}

}  // namespace
}  // namespace imapmesh
