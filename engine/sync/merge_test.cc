#include "engine/sync/merge.h"

#include <gtest/gtest.h>

namespace imapmesh {
namespace {

constexpr MailboxCopyId kHere(1), kThere(2);
constexpr FlagId kDeleted(1), kSeen(2), kAnswered(3);
const MergeContext kContext{Stamp(50), kDeleted};

CopyRegisters Copy(MailboxCopyId where, Presence presence, Stamp stamp) {
  CopyRegisters copy;
  copy.mailbox_copy = where;
  copy.uid = Uid(presence == Presence::kPresent ? 9 : 0);
  copy.presence = presence;
  copy.stamp = stamp;
  return copy;
}

TEST(Merge, ANewMessageAndItsFlagsGetTheStampOfTheObservation) {
  MessageRegisters message;
  EXPECT_TRUE(MergeArrival(message, kHere, Uid(4), 0, {kSeen}, nullptr, kContext));
  const CopyRegisters& copy = message.copies.at(0);
  EXPECT_TRUE(copy.present());
  EXPECT_EQ(copy.stamp, Stamp(50));
  EXPECT_EQ(copy.flags.Get(kSeen), (FlagRegister{kSeen, true, Stamp(50)}));
  EXPECT_EQ(copy.flags.Get(kAnswered).stamp, Stamp(0));
}

TEST(Merge, AdoptionUnitesFlagsAndLeavesNothingPendingThatAgrees) {
  MessageRegisters message;
  message.copies.push_back(Copy(kThere, Presence::kPresent, Stamp(10)));
  message.copies[0].flags.Put(kSeen, true, Stamp(10));
  MergeArrival(message, kHere, Uid(4), 0, {kSeen, kAnswered}, nullptr, kContext);
  const CopyRegisters& here = *message.Find(kHere);
  EXPECT_EQ(here.stamp, Stamp(10));
  EXPECT_EQ(here.flags.Get(kSeen).stamp, Stamp(10));
  EXPECT_EQ(here.flags.Get(kAnswered).stamp, Stamp(50));
}

TEST(Merge, AdoptionNeverSpreadsDeleted) {
  MessageRegisters message;
  message.copies.push_back(Copy(kThere, Presence::kPresent, Stamp(10)));
  MergeArrival(message, kHere, Uid(4), 0, {kDeleted}, nullptr, kContext);
  EXPECT_EQ(message.Find(kHere)->flags.Get(kDeleted).stamp, Stamp(0));
  EXPECT_EQ(message.Find(kThere)->flags.Get(kDeleted), (FlagRegister{kDeleted, false, Stamp(50)}));
}

TEST(Merge, WhatSeveralCopiesHaveAsDeletedAtFirstContactEachOfThemIsStillToLose) {
  MessageRegisters message;
  message.copies.push_back(Copy(kThere, Presence::kPresent, Stamp(10)));
  message.copies.push_back(Copy(MailboxCopyId(9), Presence::kPresent, Stamp(10)));
  message.copies[0].flags.Put(kDeleted, false, Stamp(40));
  message.copies[1].flags.Put(kDeleted, true, Stamp(0));
  MergeArrival(message, kHere, Uid(4), 0, {kDeleted}, nullptr, kContext);
  EXPECT_EQ(message.Find(kHere)->flags.Get(kDeleted), (FlagRegister{kDeleted, true, Stamp(0)}));
  EXPECT_EQ(message.Find(MailboxCopyId(9))->flags.Get(kDeleted), (FlagRegister{kDeleted, true, Stamp(0)}));
  EXPECT_EQ(message.Find(kThere)->flags.Get(kDeleted), (FlagRegister{kDeleted, false, Stamp(50)}));
}

TEST(Merge, WhatSomebodyAddsAgainAfterItsDeletionIsNew) {
  MessageRegisters message;
  message.copies.push_back(Copy(kThere, Presence::kAbsent, Stamp(20)));
  message.copies.push_back(Copy(kHere, Presence::kAbsent, Stamp(20)));
  MergeArrival(message, kHere, Uid(4), 0, {}, nullptr, kContext);
  EXPECT_EQ(message.Find(kHere)->stamp, Stamp(50));
}

TEST(Merge, OurOwnAppendCarriesTheStampsOfItsSource) {
  MessageRegisters message;
  message.copies.push_back(Copy(kThere, Presence::kPresent, Stamp(10)));
  Intent intent;
  intent.kind = IntentKind::kAdd;
  intent.stamp = Stamp(10);
  intent.flags.Put(kSeen, true, Stamp(11));
  intent.flags.Put(kAnswered, true, Stamp(12));
  // The server dropped \Answered: that is no removal by anybody, it stays pending.
  MergeArrival(message, kHere, Uid(4), 0, {kSeen}, &intent, kContext);
  const CopyRegisters& here = *message.Find(kHere);
  EXPECT_EQ(here.stamp, Stamp(10));
  EXPECT_EQ(here.flags.Get(kSeen), (FlagRegister{kSeen, true, Stamp(11)}));
  EXPECT_EQ(here.flags.Get(kAnswered), (FlagRegister{kAnswered, false, Stamp(0)}));
}

TEST(Merge, WhatOurOwnCopyCarriedAlongIsNobodysChange) {
  MessageRegisters message;
  Intent intent;
  intent.kind = IntentKind::kCopy;
  intent.stamp = Stamp(10);
  MergeArrival(message, kHere, Uid(4), 0, {kSeen}, &intent, kContext);
  EXPECT_EQ(message.copies.at(0).flags.Get(kSeen), (FlagRegister{kSeen, true, kCarried}));
}

TEST(Merge, EachFlagIsARegisterOfItsOwn) {
  CopyRegisters copy = Copy(kHere, Presence::kPresent, Stamp(10));
  copy.flags.Put(kSeen, true, Stamp(10));
  EXPECT_TRUE(MergeFlags(copy, {kAnswered}, nullptr, kContext));
  EXPECT_EQ(copy.flags.Get(kSeen), (FlagRegister{kSeen, false, Stamp(50)}));
  EXPECT_EQ(copy.flags.Get(kAnswered), (FlagRegister{kAnswered, true, Stamp(50)}));
  EXPECT_FALSE(MergeFlags(copy, {kAnswered}, nullptr, kContext));
}

TEST(Merge, TheEchoOfOurStoreIsNoChange) {
  CopyRegisters copy = Copy(kHere, Presence::kPresent, Stamp(10));
  Intent intent;
  intent.kind = IntentKind::kFlags;
  intent.flags.Put(kSeen, true, Stamp(30));
  MergeFlags(copy, {kSeen}, &intent, kContext);
  EXPECT_EQ(copy.flags.Get(kSeen).stamp, Stamp(30));
}

TEST(Merge, TheEchoOfOurExpungeIsNoDeletionBySomebody) {
  CopyRegisters copy = Copy(kHere, Presence::kPresent, Stamp(10));
  Intent intent;
  intent.kind = IntentKind::kExpunge;
  intent.stamp = Stamp(20);
  EXPECT_TRUE(MergeVanished(copy, &intent, kContext));
  EXPECT_EQ(copy.stamp, Stamp(20));
  CopyRegisters other = Copy(kHere, Presence::kPresent, Stamp(10));
  EXPECT_TRUE(MergeVanished(other, nullptr, kContext));
  EXPECT_EQ(other.stamp, Stamp(50));
}

TEST(Merge, DeletedOnTheWayToOurExpungeIsNobodysChange) {
  Intent intent;
  intent.kind = IntentKind::kExpunge;
  intent.stamp = Stamp(40);
  CopyRegisters copy = Copy(kHere, Presence::kPresent, Stamp(10));
  EXPECT_TRUE(MergeFlags(copy, {kDeleted}, &intent, kContext));
  EXPECT_EQ(copy.flags.Get(kDeleted), (FlagRegister{kDeleted, true, kCarried}));
  EXPECT_FALSE(MergeFlags(copy, {kDeleted}, nullptr, kContext));  // seen again once the intent is closed
  EXPECT_EQ(copy.flags.Get(kDeleted).stamp, kCarried);
}

TEST(Merge, ANewUidOfAKnownCopyKeepsItsRegisters) {
  MessageRegisters message;
  message.copies.push_back(Copy(kHere, Presence::kPresent, Stamp(10)));
  message.copies[0].uid = Uid();  // lost with the old UIDVALIDITY
  EXPECT_FALSE(MergeArrival(message, kHere, Uid(77), 0, {}, nullptr, kContext));
  EXPECT_EQ(message.copies[0].uid, Uid(77));
  EXPECT_EQ(message.copies[0].stamp, Stamp(10));
}

TEST(Merge, WhatWentAndCameAgainAfterItsDeletionElsewhereIsNew) {
  MessageRegisters message;
  message.copies.push_back(Copy(kThere, Presence::kAbsent, Stamp(20)));
  message.copies.push_back(Copy(kHere, Presence::kPresent, Stamp(10)));
  EXPECT_TRUE(MergeArrival(message, kHere, Uid(12), 0, {}, nullptr, kContext));
  EXPECT_EQ(message.Find(kHere)->stamp, Stamp(50)) << "another coordinator carried the deletion here, before that";
  EXPECT_EQ(message.Find(kHere)->uid, Uid(12));
}

TEST(Merge, DeletedOnTheWayToOurExpungeThatWentAlongElsewhereIsNobodysChange) {
  Intent intent;
  intent.kind = IntentKind::kExpunge;
  MessageRegisters message;
  MergeArrival(message, kHere, Uid(4), 0, {kSeen, kDeleted}, &intent, kContext);
  const CopyRegisters& here = *message.Find(kHere);
  EXPECT_EQ(here.flags.Get(kDeleted), (FlagRegister{kDeleted, true, kCarried}));
  EXPECT_EQ(here.flags.Get(kSeen).stamp, Stamp(50));
}

TEST(Merge, WhatWasPutBackAfterItsDeletionIsToBeThere) {
  MessageRegisters message;
  message.copies.push_back(Copy(kHere, Presence::kPresent, Stamp(10)));
  message.copies.push_back(Copy(kThere, Presence::kAbsent, Stamp(20)));
  EXPECT_FALSE(IsPutBack(message));
  message.copies.push_back(Copy(MailboxCopyId(3), Presence::kPresent, Stamp(30)));
  EXPECT_TRUE(IsDeletedSince(message, message.copies[0]));
  EXPECT_TRUE(IsPutBack(message));
}

TEST(Brake, HoldsMassDeletionsOnly) {
  EXPECT_TRUE(BrakeHolds(26, 50, 0.5, 50));
  EXPECT_FALSE(BrakeHolds(25, 50, 0.5, 50));
  EXPECT_FALSE(BrakeHolds(49, 49, 0.5, 50));
}

}  // namespace
}  // namespace imapmesh
