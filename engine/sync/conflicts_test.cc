#include "engine/sync/conflicts.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <map>
#include <optional>

#include "engine/sync/duplicates.h"
#include "graph/load.h"

namespace imapmesh {
namespace {

constexpr int64_t kNow = 1'700'000'000'000;

// Two replicas "a" and "b" that hold INBOX, and a state with their registers.
class ConflictsTest : public testing::Test {
 protected:
  ConflictsTest()
      : folder_(std::filesystem::temp_directory_path() / ("conflicts-" + std::to_string(getpid()))),
        state_((std::filesystem::create_directories(folder_), folder_ / "state.db")) {
    auto loaded = LoadTopologyText(
        R"(name: "t" replica { name: "a" tunnel { command: "a" } } replica { name: "b" tunnel { command: "b" } }
           edge { a: "a" b: "b" } policy { delete_vs_change: ASK })",
        "t", ".");
    EXPECT_TRUE(loaded.ok()) << loaded.status();
    view_.graph = loaded->graph;
    view_.context.graph = view_.graph.get();
    view_.context.replica_up = {true, true};
    view_.context.edge_paused = {false};
    for (const char* name : {"INBOX", "Archive"}) AddMailbox(name);
    for (int i = 0; i < 10; ++i) state_.NextStamp();  // the mesh has seen changes before
  }
  ~ConflictsTest() override { std::filesystem::remove_all(folder_); }

  void AddMailbox(const std::string& name) {
    MailboxView mailbox;
    mailbox.id = state_.InternMailbox(name);
    mailbox.name = name;
    for (int32_t r = 0; r < 2; ++r) {
      mailbox.copies.emplace_back(++last_copy_);
      view_.copies[mailbox.copies.back()] = {ReplicaIndex(r), mailbox.id};
    }
    view_.mailboxes[mailbox.id] = mailbox;
    mailboxes_[name] = mailbox;
  }

  MessageRegisters Insert(const std::string& mailbox, uint8_t identity) {
    MessageRegisters message;
    message.mailbox = mailboxes_[mailbox].id;
    message.identity[0] = identity;
    message.size = 100;
    message.message_id = "<" + std::to_string(identity) + "@example.org>";
    message.id = state_.InsertMessage(message);
    return message;
  }

  void Put(const MessageRegisters& message, const std::string& mailbox, size_t replica, Presence presence, Stamp stamp,
           const FlagRegisters& flags = FlagRegisters()) {
    CopyRegisters copy;
    copy.mailbox_copy = mailboxes_[mailbox].copies[replica];
    copy.uid = Uid(presence == Presence::kPresent ? ++last_uid_ : 0);
    copy.presence = presence;
    copy.stamp = stamp;
    copy.flags = flags;
    state_.SaveCopy(message.id, copy);
  }

  int64_t AddConflict(const std::string& kind, const MessageRegisters& message, Stamp stamp) {
    ConflictRecord conflict;
    conflict.key = kind + std::to_string(stamp.value);
    conflict.kind = kind;
    conflict.mailbox = "INBOX";
    conflict.message = message.id;
    conflict.replica_a = "a";
    conflict.replica_b = "b";
    conflict.stamp = stamp;
    conflict.open = true;
    return *state_.conflicts().Add(conflict);
  }

  MessagePlan Plan(MessageId id) {
    const auto message = state_.Load(id);
    const MailboxView& mailbox = view_.mailboxes[message->mailbox];
    return PlanMessage(*message, mailbox, Admissions(*view_.graph, mailbox.name), view_.context);
  }

  // A message deleted at a while its flags changed at b: the plan asks.
  int64_t DeleteAgainstChange(MessageRegisters& message) {
    message = Insert("INBOX", 1);
    FlagRegisters changed;
    changed.Put(state_.InternFlag("\\Seen"), true, state_.NextStamp());
    Put(message, "INBOX", 1, Presence::kPresent, Stamp(0), changed);
    const Stamp deletion = state_.NextStamp();
    Put(message, "INBOX", 0, Presence::kAbsent, deletion);
    EXPECT_EQ(Plan(message.id).copies.at(0).action, Action::kAsk);
    return AddConflict(kDeleteVsChange, message, deletion);
  }

  std::filesystem::path folder_;
  State state_;
  std::optional<Transaction> transaction_{std::in_place, state_.database()};  // one, as on the store's thread
  MeshView view_;
  std::map<std::string, MailboxView> mailboxes_;
  int64_t last_copy_ = 0;
  uint32_t last_uid_ = 0;
};

TEST_F(ConflictsTest, DecidedForTheDeletionItFlowsWithoutAsking) {
  for (const auto& [decision, replica] : {std::pair(Decision::kDelete, ""), std::pair(Decision::kKeep, "a")}) {
    MessageRegisters message;
    const int64_t conflict = DeleteAgainstChange(message);
    const auto decided = Decide(state_, view_, conflict, decision, replica, kNow);
    ASSERT_TRUE(decided.ok()) << decided.status();
    EXPECT_FALSE(decided->open);
    EXPECT_EQ(decided->resolved_unix_ms, kNow);
    const MessagePlan plan = Plan(message.id);
    ASSERT_EQ(plan.copies.size(), 1u);
    EXPECT_EQ(plan.copies[0].action, Action::kExpunge);
    EXPECT_FALSE(plan.copies[0].conflict);
  }
}

TEST_F(ConflictsTest, DecidedForTheChangeTheMessageComesBack) {
  for (const auto& [decision, replica] : {std::pair(Decision::kRestore, ""), std::pair(Decision::kKeep, "b")}) {
    MessageRegisters message;
    const int64_t conflict = DeleteAgainstChange(message);
    ASSERT_TRUE(Decide(state_, view_, conflict, decision, replica, kNow).ok());
    const MessagePlan plan = Plan(message.id);
    ASSERT_EQ(plan.copies.size(), 1u);
    EXPECT_EQ(plan.copies[0].action, Action::kAdd);
    EXPECT_EQ(plan.copies[0].target, ReplicaIndex(0));
  }
}

TEST_F(ConflictsTest, WhatIsHeldGoesOnOnceApproved) {
  int64_t stamp = 1;
  for (const auto& [decision, replica] : {std::pair(Decision::kApprove, ""), std::pair(Decision::kKeep, "a")}) {
    const MessageRegisters message = Insert("INBOX", 1);
    Put(message, "INBOX", 0, Presence::kHeld, Stamp(1));
    Put(message, "INBOX", 1, Presence::kPresent, Stamp(1));
    const int64_t conflict = AddConflict(kBrake, MessageRegisters(), Stamp(++stamp));
    state_.conflicts().HoldAll(conflict, mailboxes_["INBOX"].copies[0]);
    EXPECT_EQ(state_.conflicts().CountHeld(conflict), 1);
    ASSERT_TRUE(Decide(state_, view_, conflict, decision, replica, kNow).ok());
    ASSERT_EQ(Plan(message.id).copies.size(), 1u);
    EXPECT_EQ(Plan(message.id).copies[0].action, Action::kExpunge);
    EXPECT_EQ(state_.conflicts().CountHeld(conflict), 0);
  }
}

TEST_F(ConflictsTest, WhatIsHeldIsPutBackOnceRejected) {
  int64_t stamp = 1;
  for (const auto& [decision, replica] : {std::pair(Decision::kReject, ""), std::pair(Decision::kKeep, "b")}) {
    const MessageRegisters message = Insert("INBOX", 1);
    Put(message, "INBOX", 0, Presence::kHeld, Stamp(1));
    Put(message, "INBOX", 1, Presence::kPresent, Stamp(1));
    const int64_t conflict = AddConflict(kBrake, MessageRegisters(), Stamp(++stamp));
    state_.conflicts().HoldAll(conflict, mailboxes_["INBOX"].copies[0]);
    ASSERT_TRUE(Decide(state_, view_, conflict, decision, replica, kNow).ok());
    ASSERT_EQ(Plan(message.id).copies.size(), 1u);
    EXPECT_EQ(Plan(message.id).copies[0].action, Action::kAdd);
    EXPECT_EQ(Plan(message.id).copies[0].target, ReplicaIndex(0));
  }
}

TEST_F(ConflictsTest, AConflictHoldsOnlyItsOwn) {
  const MessageRegisters one = Insert("INBOX", 1), other = Insert("INBOX", 2);
  for (const MessageRegisters& message : {one, other}) {
    Put(message, "INBOX", 0, Presence::kHeld, Stamp(1));
    Put(message, "INBOX", 1, Presence::kPresent, Stamp(1));
  }
  const int64_t first = AddConflict(kBrake, MessageRegisters(), Stamp(2));
  const int64_t second = AddConflict(kBrake, MessageRegisters(), Stamp(3));
  state_.conflicts().Hold(first, one.id, mailboxes_["INBOX"].copies[0]);
  state_.conflicts().Hold(second, other.id, mailboxes_["INBOX"].copies[0]);
  ASSERT_TRUE(Decide(state_, view_, first, Decision::kApprove, "", kNow).ok());
  EXPECT_EQ(Plan(one.id).copies.at(0).action, Action::kExpunge);
  EXPECT_TRUE(Plan(other.id).copies.empty());
}

TEST_F(ConflictsTest, MessagesThatWereMovedAreNotHeld) {
  const int64_t conflict = AddConflict(kBrake, MessageRegisters(), state_.NextStamp());
  std::vector<MessageId> left;
  for (uint8_t i = 0; i < 60; ++i) {
    const MessageRegisters message = Insert("INBOX", i);
    Put(message, "INBOX", 0, Presence::kHeld, Stamp(1));
    Put(message, "INBOX", 1, Presence::kPresent, Stamp(1));
    left.push_back(message.id);
    const MessageRegisters moved = Insert("Archive", i);
    Put(moved, "Archive", 0, Presence::kPresent, state_.NextStamp());
  }
  state_.conflicts().HoldAll(conflict, mailboxes_["INBOX"].copies[0]);
  EXPECT_TRUE(ReviewBrakes(state_, view_, kNow));
  EXPECT_FALSE(state_.conflicts().Find(conflict)->open);
  for (const MessageId id : left) EXPECT_EQ(Plan(id).copies.at(0).action, Action::kExpunge);
}

TEST_F(ConflictsTest, DeletionsStayHeldThoughAFewOfThemWereMoves) {
  const int64_t conflict = AddConflict(kBrake, MessageRegisters(), state_.NextStamp());
  std::vector<MessageId> deleted;
  for (uint8_t i = 0; i < 100; ++i) {
    const MessageRegisters message = Insert("INBOX", i);
    Put(message, "INBOX", 0, Presence::kHeld, Stamp(1));
    Put(message, "INBOX", 1, Presence::kPresent, Stamp(1));
    if (i < 5) {
      Put(Insert("Archive", i), "Archive", 0, Presence::kPresent, state_.NextStamp());
    } else {
      deleted.push_back(message.id);
    }
  }
  state_.conflicts().HoldAll(conflict, mailboxes_["INBOX"].copies[0]);
  EXPECT_TRUE(ReviewBrakes(state_, view_, kNow));
  EXPECT_TRUE(state_.conflicts().Find(conflict)->open);
  EXPECT_EQ(state_.conflicts().CountHeld(conflict), 95);
  for (const MessageId id : deleted) EXPECT_TRUE(Plan(id).copies.empty());
}

// The copies had always been in the other mailbox, and go from there at b.
TEST_F(ConflictsTest, MessagesThatAreDeletedElsewhereTooStayHeld) {
  const int64_t conflict = AddConflict(kBrake, MessageRegisters(), state_.NextStamp());
  for (uint8_t i = 0; i < 60; ++i) {
    const MessageRegisters message = Insert("INBOX", i);
    Put(message, "INBOX", 0, Presence::kHeld, Stamp(1));
    Put(message, "INBOX", 1, Presence::kPresent, Stamp(1));
    const MessageRegisters copy = Insert("Archive", i);
    Put(copy, "Archive", 0, Presence::kPresent, Stamp(1));
    Put(copy, "Archive", 1, Presence::kAbsent, state_.NextStamp());
  }
  state_.conflicts().HoldAll(conflict, mailboxes_["INBOX"].copies[0]);
  EXPECT_FALSE(ReviewBrakes(state_, view_, kNow));
  EXPECT_TRUE(state_.conflicts().Find(conflict)->open);
  EXPECT_EQ(state_.conflicts().CountHeld(conflict), 60);
}

// INBOX was renamed at a. Another coordinator carried that to b, where an equal message took the place of what went.
TEST_F(ConflictsTest, WhatWasReplacedElsewhereIsNotDeletedWithARenamedInbox) {
  const MessageRegisters replaced = Insert("INBOX", 1), other = Insert("INBOX", 2);
  for (const MessageRegisters& message : {replaced, other}) {
    Put(message, "INBOX", 0, Presence::kHeld, Stamp(1));
    Put(message, "INBOX", 1, Presence::kPresent, Stamp(1));
    Put(Insert("Archive", message.identity[0]), "Archive", 0, Presence::kPresent, state_.NextStamp());
  }
  NoteReplaced(state_, replaced.id, mailboxes_["INBOX"].copies[1], StepKind::kReplaced, kNow);
  const int64_t conflict = AddConflict(kBrake, MessageRegisters(), state_.NextStamp());
  state_.conflicts().HoldAll(conflict, mailboxes_["INBOX"].copies[0]);
  view_.carried_since[0] = {kNow - 1000, kNow - 1000};
  EXPECT_TRUE(ReviewBrakes(state_, view_, kNow));
  EXPECT_EQ(Plan(replaced.id).copies.at(0).action, Action::kAdd) << "to a, which lacks it";
  EXPECT_EQ(Plan(other.id).copies.at(0).action, Action::kExpunge) << "from b, as at a";
}

TEST_F(ConflictsTest, WhatDoesNotFitIsRefused) {
  MessageRegisters message;
  const int64_t conflict = DeleteAgainstChange(message);
  EXPECT_EQ(Decide(state_, view_, 99, Decision::kDelete, "", kNow).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(Decide(state_, view_, conflict, Decision::kKeep, "nobody", kNow).status().code(),
            absl::StatusCode::kNotFound);
  EXPECT_EQ(Decide(state_, view_, conflict, Decision::kApprove, "", kNow).status().code(),
            absl::StatusCode::kInvalidArgument);
  ASSERT_TRUE(Decide(state_, view_, conflict, Decision::kDelete, "", kNow).ok());
  EXPECT_EQ(Decide(state_, view_, conflict, Decision::kRestore, "", kNow).status().code(),
            absl::StatusCode::kFailedPrecondition);
}

TEST_F(ConflictsTest, DecisionsSurviveARestart) {
  MessageRegisters message;
  const int64_t conflict = DeleteAgainstChange(message);
  ASSERT_TRUE(Decide(state_, view_, conflict, Decision::kRestore, "", kNow).ok());
  transaction_->Commit();
  State again(folder_ / "state.db");
  EXPECT_FALSE(again.conflicts().Find(conflict)->open);
  EXPECT_EQ(again.conflicts().Count(/*open=*/false), 1);
}

TEST_F(ConflictsTest, TheHistoryIsBoundedByAgeAndNumber) {
  const MessageRegisters message = Insert("INBOX", 1);
  for (int64_t i = 0; i < 100; ++i) {
    state_.history().Add({kNow + i, message.id, mailboxes_["INBOX"].copies[0], StepKind::kStored, "a:b"});
  }
  state_.history().Prune(kNow + 10, 1000);
  EXPECT_EQ(state_.history().Of(message.id, 1000).size(), 90u);
  state_.history().Prune(0, 20);
  const auto steps = state_.history().Of(message.id, 1000);
  ASSERT_EQ(steps.size(), 20u);
  EXPECT_EQ(steps.back().unix_ms, kNow + 99);
  state_.history().Prune(kNow + 1000, 20);
  EXPECT_TRUE(state_.history().Of(message.id, 1000).empty());
  state_.history().Prune(kNow + 1000, 20);
}

}  // namespace
}  // namespace imapmesh
