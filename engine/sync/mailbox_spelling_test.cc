#include "engine/sync/mailbox_spelling.h"

#include <gtest/gtest.h>

#include "graph/load.h"

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

class ChosenNames : public testing::Test {
 protected:
  const std::shared_ptr<const Graph> graph_ = LoadTopologyText(R"(
      name: "t" replica { name: "r1" tunnel { command: "a" } } replica { name: "r2" tunnel { command: "b" } }
      edge { a: "r1" b: "r2" })",
                                                               "t", ".")
                                                  ->graph;
};

TEST_F(ChosenNames, AreThoseThatWereGivenWithAReplicaOrDeletedBehind) {
  for (const char* chosen : {"Work/done (r1)", "Work/done (r2 13)", "Work/done (deleted)", "Work/done (deleted 2)",
                             "Work/done (deleted) (deleted) (r2)"}) {
    EXPECT_EQ(AsGiven(chosen, *graph_), "Work/done") << chosen;
    EXPECT_TRUE(IsChosen(chosen, *graph_)) << chosen;
  }
}

TEST_F(ChosenNames, AreNotThoseThatPeopleGive) {
  for (const char* given : {"Work", "Work (2024)", "Work (r3)", "Work(r1)", "Work (r1", "Work (deleted by Ann)",
                            "Work (r1) old", "(r1)", ""}) {
    EXPECT_EQ(AsGiven(given, *graph_), given);
    EXPECT_FALSE(IsChosen(given, *graph_)) << given;
  }
}

TEST_F(ChosenNames, HoldForWhatIsBelow) {
  EXPECT_TRUE(IsChosen("Work (r1)/done", *graph_));
  EXPECT_EQ(AsGiven("Work (r1)/done", *graph_), "Work (r1)/done");
  EXPECT_EQ(AsGiven("Work (r1)/done (r2)", *graph_), "Work (r1)/done");
  EXPECT_EQ(AsGiven("Work (r1)/done)", *graph_), "Work (r1)/done)");
}

}  // namespace
}  // namespace imapmesh
