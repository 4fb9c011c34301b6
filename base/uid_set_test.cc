#include "base/uid_set.h"

#include <gtest/gtest.h>

#include <random>
#include <set>

namespace imapmesh {
namespace {

TEST(UidSet, WritesSortedCompactRanges) {
  EXPECT_EQ(UidSet({Uid(9), Uid(1), Uid(2), Uid(3), Uid(2)}).ToString(), "1:3,9");
  EXPECT_EQ(UidSet().ToString(), "");
}

TEST(UidSet, ParsesWhatServersSend) {
  EXPECT_EQ(UidSet::Parse("5:3,1,2")->ToString(), "1:5");
  EXPECT_EQ(UidSet::Parse("7:*", 9)->ToString(), "7:9");
  EXPECT_EQ(UidSet::Parse("1:4294967295")->size(), 4294967295u);
}

TEST(UidSet, RefusesWhatIsNoSet) {
  for (const char* text : {"", "0", "1,", ",1", "1:", "a", "1:*", "4294967296", "1 2", "-1"}) {
    EXPECT_FALSE(UidSet::Parse(text).has_value()) << text;
  }
  EXPECT_FALSE(UidSet::Parse("1,3,5", std::nullopt, 2).has_value());
}

TEST(UidSet, BehavesAsASetOfNumbers) {
  std::mt19937 random(1);
  for (int round = 0; round < 500; ++round) {
    UidSet set;
    std::set<uint32_t> model;
    for (int i = 0; i < 20; ++i) {
      const uint32_t a = random() % 60 + 1, b = a + random() % 5;
      set.AddRange(a, b);
      for (uint32_t uid = a; uid <= b; ++uid) model.insert(uid);
    }
    EXPECT_EQ(set.size(), model.size());
    for (uint32_t uid = 1; uid < 70; ++uid) EXPECT_EQ(set.Contains(Uid(uid)), model.contains(uid));
    EXPECT_EQ(*UidSet::Parse(set.ToString()), set);
    for (size_t i = 1; i < set.ranges().size(); ++i) EXPECT_GT(set.ranges()[i].first, set.ranges()[i - 1].last + 1);
  }
}

TEST(UidSet, IsMadeOfRangesInAnyOrder) {
  const UidSet set = UidSet::FromRanges({{7, 9}, {1, 2}, {3, 4}, {8, 4294967295u}});
  EXPECT_EQ(set.ToString(), "1:4,7:4294967295");
  EXPECT_EQ(UidSet::FromRanges({}), UidSet());
}

TEST(UidSet, TakesInAnotherSet) {
  UidSet set = UidSet::FromRanges({{1, 2}, {9, 9}});
  set.Add(UidSet::FromRanges({{3, 4}, {8, 12}, {4294967295u, 4294967295u}}));
  EXPECT_EQ(set.ToString(), "1:4,8:12,4294967295");
  set.Add(UidSet());
  EXPECT_EQ(set.ToString(), "1:4,8:12,4294967295");
}

TEST(UidSet, SplitsLongSets) {
  UidSet set;
  for (uint32_t uid = 1; uid < 2000; uid += 2) set.Add(Uid(uid));
  std::string joined;
  for (const std::string& piece : set.ToStrings(100)) {
    EXPECT_LE(piece.size(), 100u);
    joined += (joined.empty() ? "" : ",") + piece;
  }
  EXPECT_EQ(*UidSet::Parse(joined), set);
}

}  // namespace
}  // namespace imapmesh
