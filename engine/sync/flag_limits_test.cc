#include "engine/sync/flag_limits.h"

#include <gtest/gtest.h>

#include <map>

#include "engine/sync/merge.h"
#include "engine/sync/plan.h"
#include "graph/load.h"

namespace imapmesh {
namespace {

constexpr FlagId kDeleted(1), kSeen(2), kWork(6), kJunk(7);

FlagId Intern(std::string_view name) {
  static std::map<std::string, int32_t> ids = {{"\\Deleted", 1}, {"\\Seen", 2}, {"\\Answered", 3}, {"\\Flagged", 4},
                                               {"\\Draft", 5},   {"Work", 6},   {"$Junk", 7}};
  return FlagId(ids.at(std::string(name)));
}

FlagLimits Limits(std::optional<std::vector<std::string>> permanent, bool read_only = false,
                  std::vector<std::string> apart = {}) {
  Observation observation;
  observation.permanent_flags = std::move(permanent);
  observation.read_only = read_only;
  observation.keywords_apart = std::move(apart);
  return LimitsOf(observation, Intern);
}

const std::vector<std::string> kAll = {"\\Answered", "\\Flagged", "\\Deleted", "\\Seen", "\\Draft", "\\*"};

TEST(FlagLimits, NothingIsLimitedByASilentServerNorByOneThatTakesNewKeywords) {
  EXPECT_EQ(Limits(std::nullopt), FlagLimits());
  EXPECT_EQ(Limits(kAll), FlagLimits());
  std::vector<std::string> with_known = kAll;
  with_known.emplace_back("Work");  // a keyword that it has already changes nothing
  EXPECT_EQ(Limits(with_known), FlagLimits());
}

TEST(FlagLimits, WithoutNewKeywordsOnlyWhatIsListedLasts) {
  const FlagLimits limits = Limits(std::vector<std::string>{"\\Seen", "$Junk"});
  EXPECT_TRUE(CanChange(limits, kSeen));
  EXPECT_TRUE(CanChange(limits, kJunk));
  EXPECT_FALSE(CanChange(limits, kWork));
  EXPECT_FALSE(CanChange(limits, kDeleted));
}

TEST(FlagLimits, ASystemFlagThatIsNotListedDoesNotLastBesideNewKeywords) {
  const FlagLimits limits = Limits(std::vector<std::string>{"\\Answered", "\\Flagged", "\\Deleted", "\\Draft", "\\*"});
  EXPECT_FALSE(CanChange(limits, kSeen));
  EXPECT_TRUE(CanChange(limits, kWork));
}

TEST(FlagLimits, NothingLastsInAReadOnlyMailboxWhateverItLists) {
  for (const FlagId flag : {kSeen, kWork, kDeleted}) EXPECT_FALSE(CanChange(Limits(kAll, true), flag));
  EXPECT_FALSE(CanChange(Limits(std::nullopt, true), kSeen));
}

TEST(FlagLimits, AKeywordWhoseNameStandsForAnotherHereIsApart) {
  EXPECT_FALSE(CanChange(Limits(kAll, false, {"$Junk"}), kJunk));
  EXPECT_FALSE(CanChange(Limits(std::vector<std::string>{"\\Seen", "$Junk"}, false, {"$Junk"}), kJunk));
  EXPECT_TRUE(CanChange(Limits(kAll, false, {"$Junk"}), kWork));
}

// ---- merge

CopyRegisters CopyWith(FlagId flag, Stamp stamp) {
  CopyRegisters copy;
  copy.mailbox_copy = MailboxCopyId(1);
  copy.uid = Uid(9);
  copy.presence = Presence::kPresent;
  copy.stamp = Stamp(10);
  copy.flags.Put(flag, true, stamp);
  return copy;
}

const FlagLimits kOnlySeen{true, {kSeen}};

TEST(MergeUnderLimits, WhatWasStoredAndIsDroppedByNewLimitsIsNobodysRemoval) {
  CopyRegisters copy = CopyWith(kWork, Stamp(20));
  const MergeContext context{Stamp(50), kDeleted, FlagLimits(), kOnlySeen};
  EXPECT_TRUE(MergeFlags(copy, {}, nullptr, context));
  EXPECT_EQ(copy.flags.Get(kWork), (FlagRegister{kWork, false, Stamp(0)}));
}

TEST(MergeUnderLimits, WhatWasSeenSetUnderTheSameLimitsSomebodyTookAway) {
  // A shared mailbox that this account may only read: its owner changes flags.
  CopyRegisters copy = CopyWith(kWork, Stamp(20));
  const MergeContext context{Stamp(50), kDeleted, kOnlySeen, kOnlySeen};
  EXPECT_TRUE(MergeFlags(copy, {}, nullptr, context));
  EXPECT_EQ(copy.flags.Get(kWork), (FlagRegister{kWork, false, Stamp(50)}));
}

TEST(MergeUnderLimits, WhatWasTakenAwayInVainIsNobodysAddition) {
  CopyRegisters copy = CopyWith(kSeen, Stamp(20));
  copy.flags.Put(kWork, false, Stamp(30));
  const MergeContext context{Stamp(50), kDeleted, FlagLimits(), kOnlySeen};
  EXPECT_TRUE(MergeFlags(copy, {kSeen, kWork}, nullptr, context));
  EXPECT_EQ(copy.flags.Get(kWork), (FlagRegister{kWork, true, kCarried}));  // older than any wish
}

TEST(MergeUnderLimits, ARemovalOfWhatLastsIsARemoval) {
  CopyRegisters copy = CopyWith(kSeen, Stamp(20));
  const MergeContext context{Stamp(50), kDeleted, FlagLimits(), kOnlySeen};
  EXPECT_TRUE(MergeFlags(copy, {}, nullptr, context));
  EXPECT_EQ(copy.flags.Get(kSeen), (FlagRegister{kSeen, false, Stamp(50)}));
}

TEST(MergeUnderLimits, AtFirstContactAMailboxThatCannotMarkTellsNothingOfDeletedByNotHavingIt) {
  MessageRegisters message;
  message.copies.push_back(CopyWith(kDeleted, Stamp(20)));
  const MergeContext context{Stamp(50), kDeleted, FlagLimits(), kOnlySeen};
  MergeArrival(message, MailboxCopyId(2), Uid(4), 0, {}, nullptr, context);
  EXPECT_EQ(message.Find(MailboxCopyId(2))->flags.Get(kDeleted).stamp, Stamp(0));
}

// ---- plan

// a - b - c, each able to take what `limits` says.
class Chain {
 public:
  explicit Chain(const std::string& policy = "") {
    std::string text = "name: \"t\" " + policy;
    for (const char* name : {"a", "b", "c"}) {
      text += std::string(" replica { name: \"") + name + "\" tunnel { command: \"" + name + "\" } }";
    }
    auto loaded = LoadTopologyText(text + R"( edge { a: "a" b: "b" } edge { a: "b" b: "c" })", "test", ".");
    EXPECT_TRUE(loaded.ok()) << loaded.status();
    graph_ = loaded->graph;
    context_.graph = graph_.get();
    context_.replica_up.assign(3, true);
    context_.edge_paused.assign(2, false);
    context_.deleted_flag = kDeleted;
    mailbox.id = MailboxId(1);
    mailbox.name = "INBOX";
    mailbox.copies = {MailboxCopyId(1), MailboxCopyId(2), MailboxCopyId(3)};
    mailbox.limits.resize(3);
    message.id = MessageId(1);
  }

  CopyRegisters& Put(int replica, Presence presence, int64_t stamp) {
    CopyRegisters copy;
    copy.mailbox_copy = mailbox.copies[static_cast<size_t>(replica)];
    copy.uid = Uid(presence == Presence::kPresent ? 7 : 0);
    copy.presence = presence;
    copy.stamp = Stamp(stamp);
    message.copies.push_back(copy);
    return message.copies.back();
  }

  MessagePlan Plan() const { return PlanMessage(message, mailbox, Admissions(*graph_, mailbox.name), context_); }
  static const CopyPlan* At(const MessagePlan& plan, int replica) {
    for (const CopyPlan& copy : plan.copies) {
      if (copy.target == ReplicaIndex(replica) && copy.action != Action::kLevel) return &copy;
    }
    return nullptr;
  }

  MailboxView mailbox;
  MessageRegisters message;

 private:
  std::shared_ptr<const Graph> graph_;
  PlanContext context_;
};

TEST(PlanUnderLimits, AFlagPassesThroughACopyThatCannotHoldIt) {
  Chain chain;
  for (int r = 0; r < 3; ++r) chain.Put(r, Presence::kPresent, 10);
  chain.message.copies[0].flags.Put(kWork, true, Stamp(20));
  chain.mailbox.limits[1].flags = kOnlySeen;
  const MessagePlan plan = chain.Plan();
  EXPECT_EQ(Chain::At(plan, 1), nullptr);
  ASSERT_NE(Chain::At(plan, 2), nullptr);
  EXPECT_EQ(Chain::At(plan, 2)->flag_changes, (std::vector<FlagRegister>{{kWork, true, Stamp(20)}}));
  ASSERT_EQ(plan.kept_back.size(), 1u);
  EXPECT_EQ(plan.kept_back[0].mailbox_copy, MailboxCopyId(2));
  EXPECT_TRUE(plan.kept_back[0].flags.IsSet(kWork));
}

TEST(PlanUnderLimits, OnceTheServerTakesItItIsStored) {
  Chain chain;
  for (int r = 0; r < 3; ++r) chain.Put(r, Presence::kPresent, 10);
  for (const size_t r : {0, 2}) chain.message.copies[r].flags.Put(kWork, true, Stamp(20));
  chain.mailbox.limits[1].flags = kOnlySeen;
  EXPECT_EQ(Chain::At(chain.Plan(), 1), nullptr);
  chain.mailbox.limits[1].flags = FlagLimits();
  const MessagePlan plan = chain.Plan();
  ASSERT_NE(Chain::At(plan, 1), nullptr);
  EXPECT_EQ(Chain::At(plan, 1)->action, Action::kFlags);
  EXPECT_TRUE(plan.kept_back.empty());
}

TEST(PlanUnderLimits, ANewMessageArrivesWithoutTheFlagsThatCannotBeHeld) {
  Chain chain;
  CopyRegisters& source = chain.Put(0, Presence::kPresent, 10);
  source.flags.Put(kWork, true, Stamp(10));
  source.flags.Put(kSeen, true, Stamp(10));
  chain.mailbox.limits[1].flags = kOnlySeen;
  const MessagePlan plan = chain.Plan();
  ASSERT_NE(Chain::At(plan, 1), nullptr);
  EXPECT_EQ(Chain::At(plan, 1)->action, Action::kAdd);
  EXPECT_FALSE(Chain::At(plan, 1)->flags.IsSet(kWork));
  EXPECT_TRUE(Chain::At(plan, 1)->flags.IsSet(kSeen));
  EXPECT_TRUE(Chain::At(plan, 2)->flags.IsSet(kWork));
}

TEST(PlanUnderLimits, AReadOnlyCopyIsASourceAndNoTarget) {
  Chain chain;
  chain.Put(1, Presence::kPresent, 10);  // its own mail goes to both sides
  chain.mailbox.limits[1].read_only = true;
  chain.mailbox.limits[1].flags = {true, {}};
  EXPECT_NE(Chain::At(chain.Plan(), 0), nullptr);
  EXPECT_NE(Chain::At(chain.Plan(), 2), nullptr);

  chain.message.copies.clear();
  chain.Put(0, Presence::kPresent, 10);  // and others' passes through it
  const MessagePlan plan = chain.Plan();
  EXPECT_EQ(Chain::At(plan, 1), nullptr);
  ASSERT_NE(Chain::At(plan, 2), nullptr);
  EXPECT_EQ(Chain::At(plan, 2)->holders, std::vector<ReplicaIndex>{ReplicaIndex(0)});
  ASSERT_EQ(plan.kept_back.size(), 1u);
  EXPECT_TRUE(plan.kept_back[0].addition);
}

TEST(PlanUnderLimits, ADeletionStaysOutOfACopyThatCannotMarkAndComesBackFromNowhere) {
  Chain chain;
  chain.Put(0, Presence::kAbsent, 20);
  chain.Put(1, Presence::kPresent, 10);
  chain.Put(2, Presence::kPresent, 10);
  chain.mailbox.limits[1].flags = kOnlySeen;
  const MessagePlan plan = chain.Plan();
  EXPECT_EQ(Chain::At(plan, 0), nullptr);
  EXPECT_EQ(Chain::At(plan, 1), nullptr);
  ASSERT_NE(Chain::At(plan, 2), nullptr);
  EXPECT_EQ(Chain::At(plan, 2)->action, Action::kExpunge);
  ASSERT_EQ(plan.kept_back.size(), 1u);
  EXPECT_TRUE(plan.kept_back[0].deletion);
}

TEST(PlanUnderLimits, WhoCannotHoldAFlagDeletesWithoutConflictOverIt) {
  Chain chain("policy { delete_vs_change: CHANGE_WINS }");
  chain.Put(0, Presence::kPresent, 10).flags.Put(kWork, true, Stamp(15));
  chain.Put(1, Presence::kAbsent, 20);
  chain.mailbox.limits[1].flags = kOnlySeen;
  const MessagePlan plan = chain.Plan();
  ASSERT_NE(Chain::At(plan, 0), nullptr);
  EXPECT_EQ(Chain::At(plan, 0)->action, Action::kExpunge);
  EXPECT_FALSE(Chain::At(plan, 0)->conflict);
}

}  // namespace
}  // namespace imapmesh
