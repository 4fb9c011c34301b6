#include "engine/sync/identify.h"

#include <gtest/gtest.h>

#include <string>
#include <string_view>

#include "engine/sync/content_digest.h"

namespace imapmesh {
namespace {

using Verdict = Identification::Verdict;

// Content of which all (`exact`) and what other tools leave alone (`stable`) are told by a figure.
ContentIdentity Content(uint8_t exact, uint8_t stable) {
  ContentIdentity content;
  content.exact.fill(exact);
  content.stable.fill(stable);
  return content;
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
  gone.awaited_here = true;  // UIDVALIDITY changed while its other copies were deleted
  EXPECT_EQ(Identify(no_message_id, {gone}).message, MessageId(7));
  EXPECT_EQ(Identify(no_message_id, {gone, gone}).verdict, Verdict::kNew);
  Candidate equal = gone;
  equal.message = MessageId(8);
  Arrival twin = Exact();
  twin.has_twin = true;
  EXPECT_EQ(Identify(twin, {equal, gone}).message, MessageId(7)) << "a Message-ID says that the two are equal";
}

TEST(Identify, WhatIsFoundAgainElsewhereSoonIsWaitedFor) {
  Arrival no_message_id = Exact();
  no_message_id.has_message_id = false;
  Candidate lost = Known(7, true);  // its only other copy is being identified anew
  lost.obtainable = false;
  lost.lost_elsewhere = true;
  EXPECT_EQ(Identify(no_message_id, {lost}).need_content, std::vector<MessageId>{MessageId(7)});
  Candidate lost_here = Known(8, true);  // a mailbox copy that looks for some of its own waits for nobody
  lost_here.obtainable = false;
  lost_here.awaited_here = true;
  EXPECT_EQ(Identify(no_message_id, {lost, lost_here}).message, MessageId(8));
  EXPECT_EQ(Identify(no_message_id, {lost, lost_here, lost_here}).verdict, Verdict::kNew);
}

TEST(Identify, WhereTwoMailboxCopiesWaitForEachOtherOneWaitsNoLonger) {
  Arrival waits_no_more = Exact();
  waits_no_more.has_message_id = false;
  waits_no_more.may_wait = false;
  Candidate lost = Known(7, true);
  lost.obtainable = false;
  lost.lost_elsewhere = true;
  EXPECT_EQ(Identify(waits_no_more, {lost}).verdict, Verdict::kNew);
  // What can be compared is compared all the same.
  EXPECT_EQ(Identify(waits_no_more, {lost, Known(8, true)}).need_content, std::vector<MessageId>{MessageId(8)});
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
  arrival.content = Content(1, 1);
  Candidate other = Known(7, true);
  other.content = Content(2, 2);
  EXPECT_EQ(Identify(arrival, {other}).verdict, Verdict::kNew);
}

TEST(Identify, EqualMessagesKeepTheirNumber) {
  Arrival arrival = Exact();
  arrival.content = Content(1, 1);
  Candidate first = Known(7, false), second = Known(8, true), third = Known(9, true);
  first.content = second.content = third.content = Content(1, 1);
  EXPECT_EQ(Identify(arrival, {first, third, second}).message, MessageId(8));
}

// An arrival whose content is known, and candidates that hold the same.
Arrival WithContent() {
  Arrival arrival = Exact();
  arrival.content = Content(1, 1);
  return arrival;
}

Candidate EqualTo(const Arrival& arrival, int64_t id) {
  Candidate candidate = Known(id, true);
  candidate.content = arrival.content;
  return candidate;
}

TEST(Identify, TheMessageIsMeantAndNotItsSecondCopy) {
  const Arrival arrival = WithContent();
  Candidate second = EqualTo(arrival, 7), first = EqualTo(arrival, 8);
  second.second = true;
  EXPECT_EQ(Identify(arrival, {second, first}).message, MessageId(8));
  first.free = false;
  EXPECT_EQ(Identify(arrival, {second, first}).message, MessageId(7)) << "the first one is here already";
}

TEST(Identify, OfEqualMessagesOneThatIsSomewhereIsMeant) {
  const Arrival arrival = WithContent();
  Candidate gone = EqualTo(arrival, 7), somewhere = EqualTo(arrival, 8);
  gone.obtainable = false;
  EXPECT_EQ(Identify(arrival, {gone, somewhere}).message, MessageId(8)) << "the other one was deleted everywhere";
  gone.awaited_here = true;
  EXPECT_EQ(Identify(arrival, {gone, somewhere}).message, MessageId(7)) << "it was here under another UID";
}

TEST(Identify, WhatOtherToolsChangedOnTheWayIsTheSameMessage) {
  Arrival arrival = Exact();
  arrival.size = 200;
  arrival.content = Content(1, 5);
  Candidate other = Known(7, true), same = Known(8, true);
  other.content = Content(2, 6);
  same.content = Content(3, 5);
  EXPECT_EQ(Identify(arrival, {other, same}).message, MessageId(8));
}

TEST(Identify, WithoutAMessageIdAllOfTheContentMustBeEqual) {
  Arrival arrival = Exact();
  arrival.has_message_id = false;
  arrival.content = Content(1, 5);
  Candidate similar = Known(7, true);
  similar.content = Content(2, 5);
  const Identification found = Identify(arrival, {similar});
  EXPECT_EQ(found.verdict, Verdict::kNew);
  EXPECT_FALSE(found.in_doubt);
}

TEST(Identify, AMessageIdWithOtherContentIsADoubtAndAMessageOfItsOwn) {
  Arrival arrival = Exact();
  arrival.size = 200;
  arrival.content = Content(1, 5);
  Candidate other = Known(7, true);
  other.content = Content(2, 6);
  const Identification found = Identify(arrival, {other});
  EXPECT_EQ(found.verdict, Verdict::kNew);
  EXPECT_TRUE(found.in_doubt);
}

ContentIdentity DigestOf(const std::vector<std::string_view>& pieces) {
  ContentDigest content;
  for (const std::string_view piece : pieces) content.Add(piece);
  return content.Finish();
}

TEST(ContentDigest, DoesNotSeeWhatServersDoToLineEndsAndNul) {
  EXPECT_EQ(DigestOf({"a\nb\n"}), DigestOf({"a\r\nb\r\n"}));
  EXPECT_EQ(DigestOf({"a\r", "\nb"}), DigestOf({"a\r\nb"}));
  EXPECT_EQ(DigestOf({std::string_view("a\0b", 3)}), DigestOf({"a\x80"
                                                               "b"}));
  EXPECT_NE(DigestOf({"a"}).exact, DigestOf({"b"}).exact);
}

TEST(ContentDigest, TheStableViewLeavesOutWhatIsAddedOnTheWay) {
  const ContentIdentity plain = DigestOf({"Subject: x\r\nFrom: a\r\n\r\nbody\r\n"});
  for (const std::string_view added :
       {"Received: from b\r\n by c;\r\n\tdate\r\n", "X-TUID: 1234\r\n", "x-uid: 5\r\n", "Status: RO\r\n"}) {
    const std::string top = std::string(added) + "Subject: x\r\nFrom: a\r\n\r\nbody\r\n";
    const std::string middle = "Subject: x\r\n" + std::string(added) + "From: a\r\n\r\nbody\r\n";
    EXPECT_EQ(DigestOf({top}).stable, plain.stable) << added;
    EXPECT_EQ(DigestOf({middle}).stable, plain.stable) << added;
    EXPECT_NE(DigestOf({top}).exact, plain.exact) << added;
  }
  EXPECT_EQ(DigestOf({"Subject: x\r\nFrom: a\r\n\r\nbody\r\n\r\n"}).stable, plain.stable);
}

TEST(ContentDigest, TheStableViewSeesEveryOtherDifference) {
  const ContentIdentity plain = DigestOf({"Subject: x\r\nFrom: a\r\n\r\nbody\r\n"});
  for (const std::string_view other :
       {"Subject: y\r\nFrom: a\r\n\r\nbody\r\n", "Subject: x\r\nFrom: a\r\n\r\nBody\r\n",
        "Subject: x\r\nFrom: a\r\n\r\nX-Not: a header\r\nbody\r\n", "Subject: x\r\nFrom: a\r\n\r\n\r\nbody\r\n",
        "Subject: x\r\n folded\r\nFrom: a\r\n\r\nbody\r\n", "Subject: x\r\nFrom: a\r\n\r\nbo\r\ndy\r\n"}) {
    EXPECT_NE(DigestOf({other}).stable, plain.stable) << other;
  }
}

TEST(ContentDigest, IsTheSameHoweverTheMessageIsCut) {
  const std::string message = "Received: a\r\n b\r\nSubject: x\nX-A: 1\r\n\r\nbody\rwith\r\n\r\nblank lines\n\n\r\n";
  const ContentIdentity whole = DigestOf({message});
  for (size_t first = 0; first <= message.size(); ++first) {
    for (size_t second = first; second <= message.size(); second += 3) {
      const std::string_view all = message;
      EXPECT_EQ(DigestOf({all.substr(0, first), all.substr(first, second - first), all.substr(second)}), whole);
    }
  }
}

}  // namespace
}  // namespace imapmesh
