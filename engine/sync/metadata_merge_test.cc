#include "engine/sync/metadata_merge.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace imapmesh {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

constexpr char kComment[] = "/private/comment";
constexpr Stamp kLost(100), kWon(101);

// Given what is recorded ("" and stamp 0: never had one), and what the look shows.
MetadataCopy Known(const std::string& recorded, int64_t stamp, std::optional<std::string> observed) {
  MetadataCopy copy;
  copy.writable = true;
  copy.recorded.known = true;
  if (stamp > 0) copy.recorded.registers[kComment] = {recorded, Stamp(stamp)};
  if (observed) {
    copy.observed.emplace();
    if (!observed->empty()) copy.observed->values[kComment] = *observed;
  }
  return copy;
}

MetadataCopy First(const std::string& observed) {
  MetadataCopy copy = Known("", 0, observed);
  copy.recorded.known = false;
  return copy;
}

MetadataResult Merge(const std::vector<MetadataCopy>& copies) {
  return MergeMetadata(copies, {kLost, kWon}, [](size_t, size_t) { return true; });
}

// What is to be set at a copy; nullopt for nothing.
std::optional<std::string> Wanted(const MetadataResult& result, size_t copy) {
  const auto found = result.wanted[copy].find(kComment);
  if (found == result.wanted[copy].end()) return std::nullopt;
  return found->second.value;
}

TEST(MetadataMerge, WhatIsAsRecordedChangesNothing) {
  const auto copies = {Known("x", 5, "x"), Known("x", 5, "x")};
  const MetadataResult result = Merge(copies);
  EXPECT_EQ(result.registers[0], Known("x", 5, "x").recorded.registers);
  EXPECT_THAT(result.wanted, ElementsAre(IsEmpty(), IsEmpty()));
}

TEST(MetadataMerge, AChangeOrARemovalGoesToTheOthers) {
  const MetadataResult changed = Merge({Known("x", 5, "y"), Known("x", 5, "x"), Known("x", 5, std::nullopt)});
  EXPECT_EQ(changed.registers[0].at(kComment), (MetadataRegister{"y", kWon}));
  EXPECT_EQ(Wanted(changed, 1), "y");
  EXPECT_EQ(Wanted(changed, 2), "y");  // not looked at now, but before
  EXPECT_THAT(changed.conflicts, IsEmpty());
  const MetadataResult removed = Merge({Known("x", 5, "x"), Known("x", 5, "")});
  EXPECT_EQ(Wanted(removed, 0), "");
}

TEST(MetadataMerge, OfTwoChangesTheFirstReplicasHolds) {
  const MetadataResult result = Merge({Known("x", 5, "a"), Known("x", 5, "b")});
  EXPECT_EQ(Wanted(result, 0), std::nullopt);
  EXPECT_EQ(Wanted(result, 1), "a");
  EXPECT_THAT(result.conflicts, ElementsAre(MetadataConflict{kComment, 0, 1, "a", "b"}));
  EXPECT_THAT(Merge({Known("x", 5, "same"), Known("x", 5, "same")}).conflicts, IsEmpty());
}

TEST(MetadataMerge, AChangeThatMeetsOneNotArrivedYetHoldsAndIsTold) {
  const MetadataResult result = Merge({Known("a", 7, "a"), Known("x", 5, "b")});
  EXPECT_EQ(Wanted(result, 0), "b");
  EXPECT_THAT(result.conflicts, ElementsAre(MetadataConflict{kComment, 1, 0, "b", "a"}));
}

TEST(MetadataMerge, AtFirstContactBothSidesGiveAndRecordedOnesHold) {
  EXPECT_EQ(Wanted(Merge({First("x"), First("")}), 1), "x");
  EXPECT_EQ(Wanted(Merge({First(""), First("x")}), 0), "x");
  EXPECT_EQ(Wanted(Merge({First("x"), Known("y", 5, "y")}), 0), "y");
  EXPECT_EQ(Wanted(Merge({First("x"), Known("", 0, "")}), 1), "x");
  EXPECT_THAT(Merge({First("x"), First("y")}).conflicts, ElementsAre(MetadataConflict{kComment, 0, 1, "x", "y"}));
}

TEST(MetadataMerge, NothingGoesWhereNoEdgeCarriesIt) {
  const auto one_way = [](size_t from, size_t to) { return from == 0 && to == 1; };
  const MetadataResult back = MergeMetadata({Known("x", 5, "x"), Known("x", 5, "y")}, {kLost, kWon}, one_way);
  EXPECT_THAT(back.wanted, ElementsAre(IsEmpty(), IsEmpty()));
  const auto chain = [](size_t from, size_t to) { return from + 1 == to || to + 1 == from; };
  std::vector<MetadataCopy> copies = {Known("x", 5, "y"), Known("x", 5, "x"), Known("x", 5, "x")};
  EXPECT_EQ(Wanted(MergeMetadata(copies, {kLost, kWon}, chain), 2), "y");
  copies[1].writable = false;
  EXPECT_EQ(Wanted(MergeMetadata(copies, {kLost, kWon}, chain), 2), std::nullopt);
}

TEST(MetadataMerge, WhatIsTooLargeToTellIsNoRemoval) {
  MetadataCopy cut = Known("x", 5, "");
  cut.observed->complete = false;
  EXPECT_THAT(Merge({cut, Known("x", 5, "x")}).wanted, ElementsAre(IsEmpty(), IsEmpty()));
}

TEST(MetadataMerge, ServersOwnEntriesAreLeftAlone) {
  for (const char* own :
       {"/shared/vendor/cmu/cyrus-imapd/size", "/private/vendor/vendor.dovecot/pvt/x", "/private/specialuse"}) {
    EXPECT_TRUE(IsServersOwnEntry(own)) << own;
    MetadataCopy copy = First("");
    copy.observed->values[own] = "1";
    EXPECT_THAT(Merge({copy, First("")}).wanted[1], IsEmpty()) << own;
  }
  EXPECT_FALSE(IsServersOwnEntry("/shared/vendor/example/cmu/x"));
}

}  // namespace
}  // namespace imapmesh
