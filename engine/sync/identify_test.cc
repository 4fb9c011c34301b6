#include "engine/sync/identify.h"

#include <gtest/gtest.h>

namespace imapmesh {
namespace {

using Verdict = Identification::Verdict;

Digest Filled(uint8_t value) {
  Digest digest;
  digest.fill(value);
  return digest;
}

Arrival Exact() {
  return {100, 5000, true, std::nullopt, false};
}
Candidate Known(int64_t id, bool free) {
  return {MessageId(id), 100, 5000, std::nullopt, free};
}

TEST(Identify, AnUnknownMessageIsNew) {
  EXPECT_EQ(Identify(Exact(), {}).verdict, Verdict::kNew);
}

TEST(Identify, TheOneExactCandidateIsAdoptedWithoutFetchingAnything) {
  const Identification found = Identify(Exact(), {Known(7, true)});
  EXPECT_EQ(found.verdict, Verdict::kMatch);
  EXPECT_EQ(found.message, MessageId(7));
}

TEST(Identify, ASecondCopyOfAMessageThatIsHereAlreadyIsAMessageOfItsOwn) {
  EXPECT_EQ(Identify(Exact(), {Known(7, false)}).verdict, Verdict::kNew);
}

TEST(Identify, WhatIsGoneEverywhereUnreadDoesNotHoldUpALookalike) {
  Arrival no_message_id = Exact();
  no_message_id.has_message_id = false;
  Candidate gone = Known(7, true);
  gone.obtainable = false;
  EXPECT_EQ(Identify(no_message_id, {gone}).verdict, Verdict::kNew);
  EXPECT_EQ(Identify(no_message_id, {gone, Known(8, true)}).need_content, std::vector<MessageId>{MessageId(8)});
  EXPECT_EQ(Identify(Exact(), {gone}).verdict, Verdict::kMatch);
  gone.lost_here = true;  // UIDVALIDITY changed while its other copies were deleted
  EXPECT_EQ(Identify(no_message_id, {gone}).message, MessageId(7));
  EXPECT_EQ(Identify(no_message_id, {gone, gone}).verdict, Verdict::kNew);
}

TEST(Identify, WhatIsNotCertainIsDecidedByContent) {
  Arrival other_date = Exact();
  other_date.internal_date = 1;
  Arrival no_message_id = Exact();
  no_message_id.has_message_id = false;
  Arrival twin = Exact();
  twin.has_twin = true;
  for (const Arrival& arrival : {other_date, no_message_id, twin}) {
    const Identification need = Identify(arrival, {Known(7, true)});
    EXPECT_EQ(need.verdict, Verdict::kNeedContent);
    EXPECT_EQ(need.need_content, std::vector<MessageId>{MessageId(7)});
  }
  EXPECT_EQ(Identify(Exact(), {Known(7, true), Known(8, true)}).verdict, Verdict::kNeedContent);
}

TEST(Identify, DifferentContentIsNeverMerged) {
  Arrival arrival = Exact();
  arrival.has_twin = true;
  arrival.content = Filled(1);
  Candidate other = Known(7, true);
  other.content = Filled(2);
  EXPECT_EQ(Identify(arrival, {other}).verdict, Verdict::kNew);
}

TEST(Identify, EqualMessagesKeepTheirNumber) {
  Arrival arrival = Exact();
  arrival.content = Filled(1);
  Candidate first = Known(7, false), second = Known(8, true), third = Known(9, true);
  first.content = second.content = third.content = Filled(1);
  EXPECT_EQ(Identify(arrival, {first, third, second}).message, MessageId(8));
}

TEST(ContentDigest, DoesNotSeeWhatServersDoToLineEndsAndNul) {
  const auto digest = [](std::vector<std::string_view> pieces) {
    ContentDigest content;
    for (const std::string_view piece : pieces) content.Add(piece);
    return content.Finish();
  };
  EXPECT_EQ(digest({"a\nb\n"}), digest({"a\r\nb\r\n"}));
  EXPECT_EQ(digest({"a\r", "\nb"}), digest({"a\r\nb"}));
  EXPECT_EQ(digest({std::string_view("a\0b", 3)}), digest({"a\x80"
                                                           "b"}));
  EXPECT_NE(digest({"a"}), digest({"b"}));
}

}  // namespace
}  // namespace imapmesh
