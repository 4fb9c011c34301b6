#include "engine/replica/flag_names.h"

#include <gtest/gtest.h>

namespace imapmesh {
namespace {

using Flags = std::vector<std::string>;

const FlagNames kNames({{"$Work", "Label1"}, {"Home", "$Label2"}});

TEST(FlagNames, TranslatesBothWaysInAnyCaseAndLeavesTheRest) {
  EXPECT_EQ(kNames.ToMesh({"\\Seen", "LABEL1", "$label2", "Other"}), (Flags{"\\Seen", "$Work", "Home", "Other"}));
  EXPECT_EQ(kNames.ToSet({"\\Seen", "$work", "HOME", "Other"}), (Flags{"\\Seen", "Label1", "$Label2", "Other"}));
}

TEST(FlagNames, AKeywordThatIsHereByTheMeshsOwnNameCountsOnceAndIsRemovedByBoth) {
  EXPECT_EQ(kNames.ToMesh({"$Work", "Label1"}), Flags{"$Work"});
  EXPECT_EQ(kNames.ToRemove({"$Work"}, std::nullopt), (Flags{"Label1", "$Work"}));
}

TEST(FlagNames, ARemovalSendsNoNameThatTheServerDoesNotKeep) {
  const Flags fixed = {"\\Seen", "Label1"};
  EXPECT_EQ(kNames.ToRemove({"$Work"}, fixed), Flags{"Label1"});
  FlagStore store;
  store.remove = kNames.ToRemove({"$Work"}, fixed);
  EXPECT_TRUE(CheckKept(fixed, store).ok());
}

TEST(FlagNames, WhatIsKeptIsToldInTheMeshsWordsByTheNameHere) {
  EXPECT_EQ(kNames.PermanentToMesh({"\\Seen", "Label1", "Home", "\\*"}), (Flags{"\\Seen", "$Work", "\\*"}));
}

TEST(FlagNames, KeywordsWhoseNamesStandForOthersAreApart) {
  EXPECT_EQ(kNames.apart(), (Flags{"Label1", "$Label2"}));
  const FlagNames swapped({{"A", "B"}, {"B", "A"}});
  EXPECT_TRUE(swapped.apart().empty());
  EXPECT_EQ(swapped.ToMesh({"A"}), Flags{"B"});
  EXPECT_EQ(swapped.ToRemove({"A"}, std::nullopt), Flags{"B"});
}

TEST(CheckKept, RefusesWhatWouldBeTakenAndForgotten) {
  FlagStore store;
  store.add = {"$Work"};
  EXPECT_TRUE(CheckKept(std::nullopt, store).ok());
  EXPECT_TRUE(CheckKept(Flags{"\\Seen", "\\*"}, store).ok());
  EXPECT_TRUE(absl::IsFailedPrecondition(CheckKept(Flags{"\\Seen"}, store)));
  store.add = {};
  store.remove = {"\\Flagged"};
  EXPECT_TRUE(absl::IsFailedPrecondition(CheckKept(Flags{"\\Seen", "\\*"}, store)));
}

}  // namespace
}  // namespace imapmesh
