#include "engine/sync/duplicates.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <set>

#include "engine/sync/conflicts.h"
#include "engine/sync/work.h"
#include "graph/load.h"

namespace imapmesh {
namespace {

constexpr int64_t kNow = 1'700'000'000'000;

// Three replicas a, b and c with INBOX, and a message that came to a and was carried to b and c.
class DuplicatesTest : public testing::Test {
 protected:
  DuplicatesTest()
      : folder_(std::filesystem::temp_directory_path() / ("duplicates-" + std::to_string(getpid()))),
        state_((std::filesystem::create_directories(folder_), folder_ / "state.db")) {
    auto loaded = LoadTopologyText(R"(
        name: "t" replica { name: "a" tunnel { command: "a" } } replica { name: "b" tunnel { command: "b" } }
        replica { name: "c" tunnel { command: "c" } } edge { a: "a" b: "b" } edge { a: "b" b: "c" })",
                                   "t", ".");
    EXPECT_TRUE(loaded.ok()) << loaded.status();
    view_.graph = loaded->graph;
    view_.context.graph = view_.graph.get();
    view_.context.replica_up = {true, true, true};
    view_.context.edge_paused = {false, false};
    view_.busy = view_.awaited = view_.brief = view_.can_move = {false, false, false};
    mailbox_ = {state_.InternMailbox("INBOX"), "INBOX", {}, {true, true, true}};
    for (int32_t r = 0; r < 3; ++r) {
      mailbox_.copies.emplace_back(r + 1);
      view_.copies[mailbox_.copies.back()] = {ReplicaIndex(r), mailbox_.id};
    }
    view_.mailboxes[mailbox_.id] = mailbox_;
    first_ = Insert();
    Put(first_, 0, 10, kNow, StepKind::kSeen);
    Put(first_, 1, 20, kNow + 50, StepKind::kAppended);
    Put(first_, 2, 30, kNow + 60, StepKind::kAppended);
  }
  ~DuplicatesTest() override { std::filesystem::remove_all(folder_); }

  MessageId Insert(int64_t internal_date = 5000) {
    MessageRegisters message;
    message.mailbox = mailbox_.id;
    message.identity[0] = 7;
    message.size = 100;
    message.internal_date = internal_date;
    message.message_id = "<m@example.org>";
    return state_.InsertMessage(message);
  }

  void Put(MessageId message, size_t replica, uint32_t uid, int64_t unix_ms, StepKind step,
           const FlagRegisters& flags = FlagRegisters()) {
    CopyRegisters copy;
    copy.mailbox_copy = mailbox_.copies[replica];
    copy.uid = Uid(uid);
    copy.presence = Presence::kPresent;
    copy.stamp = message == first_ ? Stamp(1) : state_.NextStamp();
    copy.flags = flags;
    state_.SaveCopy(message, copy);
    state_.MarkUnsettled(message);
    state_.history().Add({unix_ms, message, copy.mailbox_copy, step, ""});
  }

  // What is gone from a mailbox copy by somebody's hand.
  bool EndsByHand(MessageId id, size_t replica) {
    auto message = *state_.Load(id);
    UidSet vanished;
    vanished.Add(message.Find(mailbox_.copies[replica])->uid);
    return TakeOver(state_, state_.conflicts().HeldByKind(kDuplicate), message, mailbox_.copies[replica], vanished,
                    Now());
  }

  // Of an observation that is made now.
  MergeContext Now() { return {state_.NextStamp(), deleted_}; }

  void Mark(MessageId id, size_t replica, Stamp stamp) {
    CopyRegisters copy = *state_.Load(id)->Find(mailbox_.copies[replica]);
    copy.flags.Put(deleted_, true, stamp);
    state_.SaveCopy(id, copy);
  }

  // By somebody, as the observation of that replica saw it.
  void Delete(MessageId id, size_t replica) {
    CopyRegisters copy = *state_.Load(id)->Find(mailbox_.copies[replica]);
    copy.presence = Presence::kAbsent;
    copy.uid = Uid();
    copy.stamp = state_.NextStamp();
    state_.SaveCopy(id, copy);
    state_.MarkUnsettled(id);
  }

  Work Plan() {
    const std::vector<UnsettledMailbox> unsettled = {{mailbox_.id, mailbox_.name, 10}};
    PlanBatch batch(view_, view_, exceptions_, unsettled, PlanPosition(), kNow + 1000);
    Work work = batch(state_);
    pending_ = batch.pending;
    return work;
  }

  std::vector<ConflictRecord> Open() { return state_.conflicts().List(/*open_only=*/true, 100); }
  Uid UidOf(MessageId message, size_t replica) { return state_.Load(message)->Find(mailbox_.copies[replica])->uid; }

  std::filesystem::path folder_;
  State state_;
  std::optional<Transaction> transaction_{std::in_place, state_.database()};
  MeshView view_;
  PlanExceptions exceptions_;
  PendingByEdge pending_;  // of the last Plan
  MailboxView mailbox_;
  MessageId first_;
  FlagId deleted_ = state_.InternFlag("\\Deleted");
};

TEST_F(DuplicatesTest, ASecondCopyWhereAMessageWasCarriedIsReportedAndCarriedNowhere) {
  const MessageId second = Insert();
  Put(second, 1, 21, kNow + 80, StepKind::kSeen);
  const Work work = Plan();
  EXPECT_TRUE(work.messages.empty());
  ASSERT_EQ(Open().size(), 1u);
  const ConflictRecord conflict = Open()[0];
  EXPECT_EQ(conflict.kind, kDuplicate);
  EXPECT_EQ(conflict.replica_a, "b");
  EXPECT_EQ(conflict.mailbox, "INBOX");
  EXPECT_NE(conflict.change_a.find("UID 20 and UID 21"), std::string::npos);
  EXPECT_EQ(Choices(conflict), (std::vector<Decision>{Decision::kDelete, Decision::kRestore}));
  ASSERT_EQ(work.conflicts.size(), 1u);
  EXPECT_NE(work.conflicts[0].text.find("<m@example.org>"), std::string::npos);
  EXPECT_TRUE(Plan().conflicts.empty());  // it is told once
}

TEST_F(DuplicatesTest, OfTwoCopiesTheLowerUidIsTheFirstWhoeverAppendedIt) {
  FlagRegisters seen;
  const FlagId flag = state_.InternFlag("\\Seen");
  seen.Put(flag, true, state_.NextStamp());
  const MessageId second = Insert();
  Put(second, 1, 19, kNow + 80, StepKind::kSeen, seen);
  Plan();
  EXPECT_EQ(UidOf(first_, 1), Uid(19));
  EXPECT_EQ(UidOf(second, 1), Uid(20));
  EXPECT_TRUE(state_.Load(first_)->Find(mailbox_.copies[1])->flags.IsSet(flag));
  EXPECT_FALSE(state_.Load(second)->Find(mailbox_.copies[1])->flags.IsSet(flag));
}

// Somebody had put the message there twice. Each of two coordinators carried the other one of these, and took what the
// other coordinator carried for one more, in turn without end.
TEST_F(DuplicatesTest, OfSeveralEqualMessagesTheOneThatWasCarriedJustNowIsTheFirst) {
  const MessageId carried = Insert(), second = Insert();
  Put(carried, 0, 11, kNow + 1'000'000, StepKind::kSeen);
  Put(carried, 1, 21, kNow + 1'000'050, StepKind::kAppended);
  Put(carried, 2, 31, kNow + 1'000'060, StepKind::kAppended);
  Put(second, 1, 22, kNow + 1'000'070, StepKind::kSeen);
  EXPECT_TRUE(Plan().messages.empty());
  ASSERT_EQ(Open().size(), 1u);
  EXPECT_NE(Open()[0].change_a.find("UID 21 and UID 22"), std::string::npos);
}

TEST_F(DuplicatesTest, RacesAtSeveralReplicasAreOneSecondMessage) {
  const MessageId second = Insert();
  Put(second, 1, 21, kNow + 80, StepKind::kSeen);
  Put(second, 2, 29, kNow + 90, StepKind::kSeen);
  EXPECT_TRUE(Plan().messages.empty());
  EXPECT_EQ(Open().size(), 2u);
  EXPECT_EQ(UidOf(first_, 2), Uid(29));
}

TEST_F(DuplicatesTest, OfTwoThatAreBothStillToBeCarriedOneIsTheFirst) {
  const MessageId one = Insert(6000), other = Insert(6000);
  for (const MessageId message : {one, other}) {
    const uint32_t uid = message == one ? 50 : 51;
    Put(message, 0, uid, kNow, message == one ? StepKind::kAppended : StepKind::kSeen);
    Put(message, 1, uid, kNow, StepKind::kSeen);
  }
  const Work work = Plan();
  EXPECT_EQ(Open().size(), 2u);  // the same one at a and at b
  for (const ConflictRecord& conflict : Open()) EXPECT_EQ(conflict.message, Open()[0].message);
  ASSERT_EQ(work.messages.size(), 1u);
  EXPECT_NE(work.messages[0].message.id, Open()[0].message);

  // When both are to stay, then both are carried.
  ASSERT_TRUE(Decide(state_, view_, Open()[0].id, Decision::kRestore, "", kNow + 2000).ok());
  EXPECT_EQ(Plan().messages.size(), 2u);
  EXPECT_TRUE(Open().empty());
}

TEST_F(DuplicatesTest, WhatIsNoRaceIsAMessageOfItsOwn) {
  const MessageId at_its_origin = Insert();
  Put(at_its_origin, 0, 11, kNow + 20, StepKind::kSeen);  // before it was anywhere else
  EXPECT_EQ(Plan().messages.size(), 1u);
  const MessageId much_later = Insert();
  Put(much_later, 1, 22, kNow + 3'600'000, StepKind::kSeen);
  EXPECT_EQ(Plan().messages.size(), 2u);
  const MessageId other_date = Insert(6000);
  Put(other_date, 1, 23, kNow + 80, StepKind::kSeen);
  EXPECT_EQ(Plan().messages.size(), 3u);
  EXPECT_TRUE(Open().empty());
}

TEST_F(DuplicatesTest, WhenAnybodyRemovesOneOfTheTwoTheMessageIsStillThere) {
  const MessageId second = Insert();
  Put(second, 1, 21, kNow + 80, StepKind::kSeen);
  Plan();
  EXPECT_TRUE(EndsByHand(first_, 1));
  EXPECT_EQ(UidOf(first_, 1), Uid(21));
  const Work work = Plan();
  EXPECT_TRUE(work.messages.empty());
  EXPECT_FALSE(state_.Load(second).has_value());
  EXPECT_TRUE(Open().empty());
  ASSERT_EQ(work.conflicts.size(), 1u);
  EXPECT_TRUE(work.conflicts[0].resolved);
  EXPECT_FALSE(EndsByHand(first_, 1));  // the last one: that is a deletion
}

TEST_F(DuplicatesTest, TheMarkOfTheOneThatIsExpungedGoesWithIt) {
  const MessageId second = Insert();
  Put(second, 1, 21, kNow + 80, StepKind::kSeen);
  Plan();
  const Stamp marked = state_.NextStamp();
  for (size_t replica = 0; replica < 3; ++replica) Mark(first_, replica, marked);  // it was carried before the EXPUNGE
  EXPECT_TRUE(EndsByHand(first_, 1));
  const Work work = Plan();
  ASSERT_EQ(work.messages.size(), 1u);
  std::set<int32_t> taken_back;
  for (const CopyPlan& copy : work.messages[0].plan.copies) {
    if (!copy.flag_changes.empty() && !copy.flags.IsSet(deleted_)) taken_back.insert(copy.target.value);
  }
  EXPECT_EQ(taken_back, (std::set<int32_t>{0, 2}));
}

TEST_F(DuplicatesTest, OfTwoEqualMessagesDeletedCrosswiseOneStays) {
  const MessageId second = Insert();
  Put(second, 0, 11, kNow, StepKind::kSeen);
  Put(second, 1, 21, kNow, StepKind::kAppended);
  Put(second, 2, 31, kNow, StepKind::kAppended);
  auto message = *state_.Load(second);
  UidSet vanished;
  vanished.Add(Uid(20));
  auto first = *state_.Load(first_);
  const MergeContext now = Now();
  EXPECT_FALSE(TakeEqual(state_, first, mailbox_.copies[1], vanished, now)) << "the other one is to stay";
  CopyRegisters gone = *message.Find(mailbox_.copies[0]);
  gone.presence = Presence::kAbsent;
  gone.uid = Uid();
  gone.stamp = state_.NextStamp();
  state_.SaveCopy(second, gone);
  EXPECT_TRUE(TakeEqual(state_, first, mailbox_.copies[1], vanished, now));
  EXPECT_EQ(UidOf(first_, 1), Uid(21));
  EXPECT_FALSE(state_.Load(second)->Find(mailbox_.copies[1])->present());
  const Work work = Plan();
  ASSERT_EQ(work.messages.size(), 1u) << "of the two that c still has one goes";
  EXPECT_EQ(work.messages[0].message.id, second);
  ASSERT_EQ(work.messages[0].plan.copies.size(), 1u);
  EXPECT_EQ(work.messages[0].plan.copies[0].target, ReplicaIndex(2));
}

TEST_F(DuplicatesTest, OfWhatAnotherCoordinatorReplacedElsewhereTheDeletionSeenHereIsThatOne) {
  const MessageRegisters first = *state_.Load(first_);
  const auto is_replaced = [&](size_t here, int64_t since) {
    return WasReplacedElsewhere(state_, first, mailbox_.copies[here], {since, since});
  };
  EXPECT_FALSE(is_replaced(0, kNow));
  NoteReplaced(state_, first_, mailbox_.copies[1], StepKind::kReplaced, kNow + 1000);
  EXPECT_TRUE(is_replaced(0, kNow));
  EXPECT_TRUE(is_replaced(2, kNow + 1000));
  EXPECT_FALSE(is_replaced(0, kNow + 1001)) << "too long ago";
  EXPECT_FALSE(is_replaced(1, kNow)) << "what goes there now went after the other one";
  Put(first_, 0, 11, kNow + 2000, StepKind::kAppended);
  EXPECT_FALSE(is_replaced(0, kNow)) << "it came here since";
  EXPECT_EQ(state_.history().LastPresence(first_, mailbox_.copies[1], 100)->kind, StepKind::kAppended);
}

TEST_F(DuplicatesTest, OnlyADeletionThatFlowsHereCanHaveBeenCarriedTwice) {
  const MessageId second = Insert();
  Put(second, 1, 21, kNow, StepKind::kSeen);
  Delete(first_, 0);
  const auto is_twice = [&](const std::set<MailboxCopyId>& deleters) {
    return IsCarriedTwice(state_, *state_.Load(second), mailbox_.copies[1], deleters, kNow);
  };
  EXPECT_TRUE(is_twice({mailbox_.copies[0], mailbox_.copies[2]})) << "the first one is about to go";
  EXPECT_FALSE(is_twice({mailbox_.copies[2]})) << "the first one stays: its deletion does not come here";
}

TEST_F(DuplicatesTest, ADeletionSeenBeforeItsReplicaWasLookedAtAgainIsNotThatOfAMessageFoundUnderAnotherUid) {
  const MessageRegisters first = *state_.Load(first_);
  const auto seen = [](int64_t since) { return DeletedSince(kNow + 2000, since, /*company=*/false); };
  NoteReplaced(state_, first_, mailbox_.copies[1], StepKind::kFoundAgain, kNow + 1000);
  EXPECT_EQ(LastReplaced(state_), kNow + 1000);
  EXPECT_TRUE(WasReplacedElsewhere(state_, first, mailbox_.copies[0], seen(kNow)));
  EXPECT_FALSE(WasReplacedElsewhere(state_, first, mailbox_.copies[0], seen(kNow + 1001)))
      << "it was there all the same: nothing is in doubt";
  EXPECT_TRUE(WasReplacedElsewhere(state_, first, mailbox_.copies[0], DeletedSince(kNow + 2000, kNow + 1001, true)))
      << "others may be slow to carry what went";
  ForgetReplacedElsewhere(state_, mailbox_.copies[0], seen(kNow + 1001));
  EXPECT_NE(state_.Load(first_)->Find(mailbox_.copies[0]), nullptr);
  ForgetReplacedElsewhere(state_, mailbox_.copies[0], seen(kNow));
  EXPECT_EQ(state_.Load(first_)->Find(mailbox_.copies[0]), nullptr) << "it is given back";
  EXPECT_NE(state_.Load(first_)->Find(mailbox_.copies[2]), nullptr);
}

TEST_F(DuplicatesTest, ADeletionMayBeAsOldAsWhatIsUnseenOfItsReplica) {
  const auto carried_since = [](int64_t unseen_since) { return DeletedSince(kNow, unseen_since, /*company=*/true); };
  EXPECT_EQ(carried_since(kNow).found_again_unix_ms, kNow - 10'000)
      << "one coordinator is a little slower than the other";
  EXPECT_EQ(carried_since(kNow - 3'600'000).found_again_unix_ms, kNow - 3'600'000)
      << "it was down, or is looked at now and then";
  EXPECT_EQ(carried_since(0).found_again_unix_ms, kNow - 24 * 3'600'000) << "the daemon was just started";
  EXPECT_EQ(DeletedSince(kNow, kNow, /*company=*/false).found_again_unix_ms, kNow);
}

TEST_F(DuplicatesTest, WhatWasTakenForTheOneBesideItOthersMayCarryForADay) {
  EXPECT_EQ(DeletedSince(kNow, kNow, /*company=*/true).beside_unix_ms, kNow - 24 * 3'600'000)
      << "to a replica that comes back, or once they come back themselves";
  EXPECT_EQ(DeletedSince(kNow, kNow, /*company=*/false).beside_unix_ms, kNow - 10'000) << "nobody was seen yet";
  const MessageRegisters first = *state_.Load(first_);
  const MailboxCopyId c = mailbox_.copies[2];
  NoteReplaced(state_, first_, mailbox_.copies[1], StepKind::kReplaced, kNow + 1000);
  EXPECT_TRUE(WasReplacedElsewhere(state_, first, c, DeletedSince(kNow + 3'600'000, kNow + 3'599'000, true)));
  EXPECT_FALSE(WasReplacedElsewhere(state_, first, c, DeletedSince(kNow + 3'600'000, kNow + 3'599'000, false)));
  NoteReplaced(state_, first_, mailbox_.copies[0], StepKind::kFoundAgain, kNow + 2000);
  Put(first_, 1, 25, kNow + 3000, StepKind::kSeen);
  Put(first_, 2, 35, kNow + 1500, StepKind::kSeen);
  EXPECT_FALSE(WasReplacedElsewhere(state_, first, c, DeletedSince(kNow + 3'600'000, kNow + 3'599'000, true)))
      << "it came to c after b, and what came as it went at a is known soon";
}

TEST_F(DuplicatesTest, MailBehindAMailboxThatSomebodyMustDecideAboutIsNotPending) {
  for (const size_t lacks : {1, 2}) state_.ForgetCopy(first_, mailbox_.copies[lacks]);
  MailboxView& mailbox = view_.mailboxes[mailbox_.id];
  mailbox.exists = {true, false, false};
  mailbox.waits = {false, false, false};
  Plan();
  EXPECT_EQ(pending_[0].additions, 1);
  EXPECT_EQ(pending_[1].additions, 1);
  mailbox.waits = {false, true, false};  // at b, so that it cannot be made at c before
  Plan();
  EXPECT_TRUE(pending_.empty());
}

TEST_F(DuplicatesTest, OfTwoEqualMessagesWhoseFlagsWereExchangedEachTakesTheOthersPlace) {
  const MessageId second = Insert(), other = Insert(/*internal_date=*/6000);
  Put(second, 1, 21, kNow, StepKind::kSeen);
  Put(other, 1, 22, kNow, StepKind::kSeen);
  EXPECT_FALSE(ExchangeEqual(state_, first_, other, mailbox_.copies[1])) << "they are not equal";
  EXPECT_TRUE(ExchangeEqual(state_, first_, second, mailbox_.copies[1]));
  EXPECT_EQ(UidOf(first_, 1), Uid(21));
  EXPECT_EQ(UidOf(second, 1), Uid(20));
  EXPECT_EQ(UidOf(first_, 0), Uid(10)) << "elsewhere nothing changed";
}

TEST_F(DuplicatesTest, WhenOneOfTwoEqualMessagesIsDeletedTheOneThatIsEverywhereStays) {
  const MessageId second = Insert();
  Put(second, 1, 21, kNow, StepKind::kSeen);
  UidSet vanished;
  vanished.Add(Uid(20));
  auto first = *state_.Load(first_);
  EXPECT_TRUE(TakeEqual(state_, first, mailbox_.copies[1], vanished, Now()));
  EXPECT_EQ(UidOf(first_, 1), Uid(21));
  EXPECT_TRUE(Plan().messages.empty()) << "nothing is carried, nothing expunged";
  EXPECT_TRUE(Open().empty());
}

TEST_F(DuplicatesTest, DecidedToDeleteTheSecondCopyGoesWhileTheFirstIsThere) {
  const MessageId second = Insert();
  Put(second, 1, 21, kNow + 80, StepKind::kSeen);
  Plan();
  const int64_t conflict = Open()[0].id;
  EXPECT_EQ(Decide(state_, view_, conflict, Decision::kKeep, "b", kNow).status().code(),
            absl::StatusCode::kInvalidArgument);
  ASSERT_TRUE(Decide(state_, view_, conflict, Decision::kDelete, "", kNow).ok());
  EXPECT_TRUE(Open().empty());
  const Work work = Plan();
  ASSERT_EQ(work.messages.size(), 1u);
  EXPECT_EQ(work.messages[0].message.id, second);
  ASSERT_EQ(work.messages[0].plan.copies.size(), 1u);
  EXPECT_EQ(work.messages[0].plan.copies[0].action, Action::kExpunge);
  EXPECT_EQ(work.messages[0].plan.copies[0].target, ReplicaIndex(1));
}

TEST_F(DuplicatesTest, DecidedToDeleteItStaysWhileTheFirstOneIsToGo) {
  const MessageId second = Insert();
  Put(second, 1, 21, kNow + 80, StepKind::kSeen);
  Plan();
  ASSERT_TRUE(Decide(state_, view_, Open()[0].id, Decision::kDelete, "", kNow).ok());
  Delete(first_, 0);
  const Work work = Plan();
  ASSERT_EQ(work.messages.size(), 1u) << "else both would go";
  EXPECT_EQ(work.messages[0].message.id, first_);
  state_.ForgetCopy(first_, mailbox_.copies[1]);
  for (const PlannedMessage& planned : Plan().messages) {
    if (planned.message.id != second) continue;
    for (const CopyPlan& copy : planned.plan.copies) EXPECT_EQ(copy.action, Action::kAdd) << "it is the message now";
  }
}

TEST_F(DuplicatesTest, DecidedToDeleteItIsNotBegunWhereSomethingIsUnderWay) {
  Put(Insert(), 1, 21, kNow + 80, StepKind::kSeen);
  Plan();
  ASSERT_TRUE(Decide(state_, view_, Open()[0].id, Decision::kDelete, "", kNow).ok());
  view_.busy[1] = true;
  const Work work = Plan();
  EXPECT_TRUE(work.messages.empty());
  EXPECT_EQ(work.skipped, 1);
}

TEST_F(DuplicatesTest, WhereTheSameMailStandsBesideItIsLookedAtOnceMore) {
  const MessageId second = Insert();
  for (const size_t r : {0, 1, 2}) Put(second, r, static_cast<uint32_t>(40 + r), kNow - 3'600'000, StepKind::kSeen);
  const auto beside = [&] {
    std::set<int32_t> where;
    for (const PlannedMessage& planned : Plan().messages) where.merge(std::set<int32_t>(planned.equal_beside));
    return where;
  };
  CopyRegisters changed = *state_.Load(first_)->Find(mailbox_.copies[0]);
  changed.flags.Put(state_.InternFlag("\\Seen"), true, state_.NextStamp());
  state_.SaveCopy(first_, changed);
  EXPECT_TRUE(beside().empty()) << "flags, and nobody else is there";
  view_.carried_since[1] = {kNow, kNow};
  EXPECT_EQ(beside(), (std::set<int32_t>{1, 2})) << "others may take the one for the other";
  view_.carried_since.clear();
  changed.presence = Presence::kAbsent;
  changed.uid = Uid();
  changed.stamp = state_.NextStamp();
  state_.SaveCopy(first_, changed);
  state_.MarkUnsettled(first_);
  EXPECT_EQ(beside(), (std::set<int32_t>{1, 2})) << "a deletion";
  state_.ForgetCopy(second, mailbox_.copies[1]);
  EXPECT_EQ(beside(), (std::set<int32_t>{2}));
}

TEST_F(DuplicatesTest, OfTwoEqualMessagesTheOneThatIsDeletedIsNoSecondCopyWhereItIsLeft) {
  const MessageId other = Insert();
  for (const size_t r : {0, 1, 2}) Put(other, r, static_cast<uint32_t>(40 + r), kNow + 50, StepKind::kAppended);
  for (const size_t r : {0, 1}) {
    Delete(other, r);
  }
  const Work work = Plan();
  EXPECT_TRUE(Open().empty());
  ASSERT_EQ(work.messages.size(), 1u);
  EXPECT_EQ(work.messages[0].message.id, other);
  EXPECT_EQ(work.messages[0].plan.copies.at(0).target, ReplicaIndex(2));
  EXPECT_EQ(work.messages[0].plan.copies.at(0).action, Action::kExpunge);
}

// b holds but one, which this coordinator took for the one that was deleted at a; somebody else has carried that.
TEST_F(DuplicatesTest, WhereNoMoreAreLeftThanWhereOneWasDeletedNothingIsExpunged) {
  const MessageId other = Insert();
  Put(other, 0, 40, kNow - 3'600'000, StepKind::kSeen);
  CopyRegisters held = *state_.Load(other)->Find(mailbox_.copies[0]);
  held.mailbox_copy = mailbox_.copies[1];
  held.presence = Presence::kHeld;  // by the brake, or gone: all the same
  held.uid = Uid();
  state_.SaveCopy(other, held);
  state_.ForgetCopy(first_, mailbox_.copies[2]);
  Delete(first_, 0);
  for (const PlannedMessage& planned : Plan().messages) {
    for (const CopyPlan& copy : planned.plan.copies) EXPECT_NE(copy.action, Action::kExpunge);
  }
  EXPECT_EQ(UidOf(other, 1), Uid(20)) << "that one is there";
  EXPECT_TRUE(state_.Load(other)->Find(mailbox_.copies[1])->present());
  EXPECT_EQ(state_.Load(first_)->Find(mailbox_.copies[1])->presence, Presence::kAbsent);
}

TEST_F(DuplicatesTest, DecidedToDeleteTheLastCopyStays) {
  const MessageId second = Insert();
  Put(second, 1, 21, kNow + 80, StepKind::kSeen);
  Plan();
  ASSERT_TRUE(Decide(state_, view_, Open()[0].id, Decision::kDelete, "", kNow).ok());
  state_.ForgetCopy(first_, mailbox_.copies[1]);
  for (const PlannedMessage& planned : Plan().messages) {
    for (const CopyPlan& copy : planned.plan.copies) EXPECT_NE(copy.action, Action::kExpunge);
  }
}

TEST_F(DuplicatesTest, DecidedToKeepItIsCarriedLikeAnyMessage) {
  const MessageId second = Insert();
  Put(second, 1, 21, kNow + 80, StepKind::kSeen);
  Plan();
  ASSERT_TRUE(Decide(state_, view_, Open()[0].id, Decision::kRestore, "", kNow).ok());
  const Work work = Plan();
  ASSERT_EQ(work.messages.size(), 1u);
  EXPECT_EQ(work.messages[0].plan.copies.size(), 2u);
}

TEST_F(DuplicatesTest, WhatIsUnderWayIsNotGivenAnotherUid) {
  const MessageId second = Insert();
  Put(second, 1, 19, kNow + 80, StepKind::kSeen);
  view_.busy[1] = true;
  EXPECT_EQ(Plan().skipped, 1);
  EXPECT_TRUE(Open().empty());
  view_.busy[1] = false;
  EXPECT_EQ(Plan().skipped, 0);
  EXPECT_EQ(Open().size(), 1u);
}

}  // namespace
}  // namespace imapmesh
