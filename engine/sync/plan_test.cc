#include "engine/sync/plan.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "graph/load.h"

namespace imapmesh {
namespace {

constexpr FlagId kDeleted(1), kSeen(2), kFlagged(3);

// A mesh from a short description: replicas "a", "b"…, and edges in text format.
class Mesh {
 public:
  Mesh(int replicas, const std::vector<std::string>& edges, const std::string& policy = "") {
    std::string text = "name: \"test\" " + policy;
    for (int i = 0; i < replicas; ++i) {
      const std::string name(1, static_cast<char>('a' + i));
      text += " replica { name: \"" + name + "\" tunnel { command: \"" + name + "\" } }";
      mailbox.copies.emplace_back(i + 1);
    }
    for (const std::string& edge : edges) text += " edge { " + edge + " }";
    auto loaded = LoadTopologyText(text, "test", ".");
    EXPECT_TRUE(loaded.ok()) << loaded.status();
    graph = loaded->graph;
    mailbox.id = MailboxId(1);
    mailbox.name = "INBOX";
    context.graph = graph.get();
    context.replica_up.assign(static_cast<size_t>(replicas), true);
    context.edge_paused.assign(edges.size(), false);
    context.deleted_flag = kDeleted;
  }

  CopyRegisters& Put(MessageRegisters& message, int replica, Presence presence, int64_t stamp) const {
    CopyRegisters copy;
    copy.mailbox_copy = mailbox.copies[static_cast<size_t>(replica)];
    copy.uid = Uid(presence == Presence::kPresent ? 1 : 0);
    copy.presence = presence;
    copy.stamp = Stamp(stamp);
    message.copies.push_back(copy);
    return message.copies.back();
  }

  MessagePlan Plan(const MessageRegisters& message) const {
    return PlanMessage(message, mailbox, Admissions(*graph, mailbox.name), context);
  }

  // What the servers and the record would be after the plan was carried out.
  static void Apply(const MessagePlan& plan, MessageRegisters& message) {
    for (const CopyPlan& planned : plan.copies) {
      CopyRegisters* copy = message.Find(planned.mailbox_copy);
      if (copy == nullptr) {
        message.copies.push_back({});
        copy = &message.copies.back();
        copy->mailbox_copy = planned.mailbox_copy;
      }
      copy->presence = planned.presence;
      copy->stamp = planned.stamp;
      copy->flags = planned.flags;
      copy->uid = Uid(copy->present() ? 1 : 0);
    }
  }

  std::shared_ptr<const Graph> graph;
  MailboxView mailbox;
  PlanContext context;
};

const std::vector<std::string> kTriangle = {R"(a: "a" b: "b")", R"(a: "b" b: "c")", R"(a: "a" b: "c")"};

TEST(Plan, AMessageGoesToEveryReplicaOnceFromOneSource) {
  const Mesh mesh(3, kTriangle);
  MessageRegisters message;
  mesh.Put(message, 0, Presence::kPresent, 10);
  const MessagePlan plan = mesh.Plan(message);
  ASSERT_EQ(plan.copies.size(), 2u);
  EXPECT_EQ(plan.copies[0].action, Action::kAdd);
  EXPECT_EQ(plan.copies[1].action, Action::kAdd);
  for (const CopyPlan& copy : plan.copies) EXPECT_EQ(copy.holders, std::vector<ReplicaIndex>{ReplicaIndex(0)});
}

TEST(Plan, ContentComesOnlyFromWhereAnAdmittingPathLeadsCheapestFirst) {
  // c and d lack it.
  const Mesh mesh(4, {R"(a: "a" b: "c")", R"(a: "b" b: "c" direction: A_TO_B)", R"(a: "a" b: "d")",
                      R"(a: "d" b: "c" direction: B_TO_A mailboxes { exclude: "INBOX" })"});
  MessageRegisters message;
  mesh.Put(message, 0, Presence::kPresent, 10);
  mesh.Put(message, 1, Presence::kPresent, 10);
  MessagePlan plan = mesh.Plan(message);
  ASSERT_EQ(plan.copies.size(), 2u);
  EXPECT_EQ(plan.copies[0].target, ReplicaIndex(2));
  EXPECT_EQ(plan.copies[0].holders, (std::vector<ReplicaIndex>{ReplicaIndex(0), ReplicaIndex(1)}));
  EXPECT_EQ(plan.copies[1].target, ReplicaIndex(3));
  // From b along c and a to d: the edge between a and c goes both ways.
  EXPECT_EQ(plan.copies[1].holders, (std::vector<ReplicaIndex>{ReplicaIndex(0), ReplicaIndex(1)}));
}

TEST(Plan, APathThroughAReplicaThatIsDownBringsNoContent) {
  Mesh mesh(3, {R"(a: "a" b: "b")", R"(a: "b" b: "c")"});
  mesh.context.replica_up[1] = false;
  MessageRegisters message;
  mesh.Put(message, 0, Presence::kPresent, 10);
  EXPECT_TRUE(mesh.Plan(message).copies.empty());
}

TEST(Plan, ADeletionGoesEverywhereItIsAdmittedAndNoAdditionComesBack) {
  const Mesh mesh(3, {R"(a: "a" b: "b")", R"(a: "b" b: "c" deletes: KEEP)"});
  MessageRegisters message;
  mesh.Put(message, 0, Presence::kAbsent, 20);
  mesh.Put(message, 1, Presence::kPresent, 10);
  mesh.Put(message, 2, Presence::kPresent, 10);
  const MessagePlan plan = mesh.Plan(message);
  ASSERT_EQ(plan.copies.size(), 1u);
  EXPECT_EQ(plan.copies[0].target, ReplicaIndex(1));
  EXPECT_EQ(plan.copies[0].action, Action::kExpunge);
  EXPECT_FALSE(plan.copies[0].conflict);
}

TEST(Plan, OneWayEdgesCarryNothingBack) {
  const Mesh mesh(2, {R"(a: "a" b: "b" direction: A_TO_B)"});
  MessageRegisters message;
  mesh.Put(message, 1, Presence::kPresent, 10);
  EXPECT_TRUE(mesh.Plan(message).copies.empty());
}

TEST(Plan, FlagsOfBothSidesMeet) {
  const Mesh mesh(2, {R"(a: "a" b: "b")"});
  MessageRegisters message;
  mesh.Put(message, 0, Presence::kPresent, 10).flags.Put(kSeen, true, Stamp(20));
  mesh.Put(message, 1, Presence::kPresent, 10).flags.Put(kFlagged, true, Stamp(21));
  const MessagePlan plan = mesh.Plan(message);
  ASSERT_EQ(plan.copies.size(), 2u);
  for (const CopyPlan& copy : plan.copies) {
    EXPECT_EQ(copy.action, Action::kFlags);
    EXPECT_EQ(copy.flag_changes.size(), 1u);
    EXPECT_TRUE(copy.flags.IsSet(kSeen) && copy.flags.IsSet(kFlagged));
  }
}

TEST(Plan, AFlagThatACopyCarriedAlongIsTakenAwayAgain) {
  const Mesh mesh(2, {R"(a: "a" b: "b")"});
  MessageRegisters message;
  mesh.Put(message, 0, Presence::kPresent, 10);
  mesh.Put(message, 1, Presence::kPresent, 10).flags.Put(kSeen, true, kCarried);
  const MessagePlan plan = mesh.Plan(message);
  ASSERT_EQ(plan.copies.size(), 1u);
  EXPECT_EQ(plan.copies[0].target, ReplicaIndex(1));
  EXPECT_EQ(plan.copies[0].flag_changes, (std::vector<FlagRegister>{{kSeen, false, Stamp(0)}}));
}

TEST(Plan, AMarkOnTheWayToAnExpungeIsTakenBackWhereNoFlagsFlow) {
  const Mesh mesh(2, {R"(a: "a" b: "b" flags: NONE)"});
  MessageRegisters message;
  mesh.Put(message, 0, Presence::kPresent, 10);
  mesh.Put(message, 1, Presence::kPresent, 10).flags.Put(kDeleted, true, kCarried);
  const MessagePlan plan = mesh.Plan(message);
  ASSERT_EQ(plan.copies.size(), 1u);
  EXPECT_EQ(plan.copies[0].flag_changes, (std::vector<FlagRegister>{{kDeleted, false, Stamp(0)}}));
}

TEST(Plan, AnEdgeWithoutFlagsBringsTheMessageBare) {
  const Mesh mesh(2, {R"(a: "a" b: "b" flags: NONE)"});
  MessageRegisters message;
  mesh.Put(message, 0, Presence::kPresent, 10).flags.Put(kSeen, true, Stamp(10));
  const MessagePlan plan = mesh.Plan(message);
  ASSERT_EQ(plan.copies.size(), 1u);
  EXPECT_FALSE(plan.copies[0].flags.IsSet(kSeen));
}

TEST(Plan, ADeletionAgainstAnUnseenChangeIsAConflict) {
  for (const char* policy : {"policy { delete_vs_change: DELETE_WINS }", "policy { delete_vs_change: CHANGE_WINS }"}) {
    const Mesh mesh(2, {R"(a: "a" b: "b")"}, policy);
    MessageRegisters message;
    mesh.Put(message, 0, Presence::kAbsent, 20);
    mesh.Put(message, 1, Presence::kPresent, 10).flags.Put(kSeen, true, Stamp(19));
    const MessagePlan plan = mesh.Plan(message);
    ASSERT_EQ(plan.copies.size(), 1u);
    EXPECT_TRUE(plan.copies[0].conflict);
    EXPECT_EQ(plan.copies[0].unseen, (std::vector<FlagRegister>{{kSeen, true, Stamp(19)}}));
    const bool restore = std::string(policy).find("CHANGE_WINS") != std::string::npos;
    EXPECT_EQ(plan.copies[0].action, restore ? Action::kRestore : Action::kExpunge);
  }
}

TEST(Plan, WithPolicyAskAMessageIsLeftAsItIsEverywhere) {
  const Mesh mesh(3, kTriangle, "policy { delete_vs_change: ASK }");
  MessageRegisters message;
  mesh.Put(message, 0, Presence::kAbsent, 20);
  mesh.Put(message, 1, Presence::kPresent, 10).flags.Put(kSeen, true, Stamp(19));
  mesh.Put(message, 2, Presence::kPresent, 10);  // not changed, but not deleted either before the decision
  const MessagePlan plan = mesh.Plan(message);
  ASSERT_EQ(plan.copies.size(), 2u);
  for (const CopyPlan& copy : plan.copies) EXPECT_EQ(copy.action, Action::kAsk);
}

TEST(Plan, AChangeThatWinsKeepsTheOtherCopiesToo) {
  const Mesh mesh(3, kTriangle, "policy { delete_vs_change: CHANGE_WINS }");
  MessageRegisters message;
  mesh.Put(message, 0, Presence::kAbsent, 20);
  mesh.Put(message, 1, Presence::kPresent, 10).flags.Put(kSeen, true, Stamp(19));
  mesh.Put(message, 2, Presence::kPresent, 10);
  for (const CopyPlan& copy : mesh.Plan(message).copies) EXPECT_EQ(copy.action, Action::kRestore);
}

TEST(Plan, AnEdgesOwnPolicyCountsForWhatArrivesAlongIt) {
  const Mesh mesh(3, {R"(a: "a" b: "b" delete_vs_change: CHANGE_WINS)", R"(a: "a" b: "c")"});
  for (const int changed : {1, 2}) {
    MessageRegisters message;
    mesh.Put(message, 0, Presence::kAbsent, 20);
    mesh.Put(message, changed, Presence::kPresent, 10).flags.Put(kSeen, true, Stamp(19));
    const MessagePlan plan = mesh.Plan(message);
    const auto target = std::find_if(plan.copies.begin(), plan.copies.end(),
                                     [&](const CopyPlan& copy) { return copy.target == ReplicaIndex(changed); });
    ASSERT_NE(target, plan.copies.end());
    EXPECT_EQ(target->action, changed == 1 ? Action::kRestore : Action::kExpunge);
  }
}

TEST(Plan, OfExclusiveKeywordsSetApartTheNewerStaysEverywhere) {
  Mesh mesh(2, {R"(a: "a" b: "b")"});
  mesh.context.exclusive.emplace_back(kSeen, kFlagged);
  MessageRegisters message;
  mesh.Put(message, 0, Presence::kPresent, 10).flags.Put(kSeen, true, Stamp(20));
  mesh.Put(message, 1, Presence::kPresent, 10).flags.Put(kFlagged, true, Stamp(21));
  const MessagePlan plan = mesh.Plan(message);
  ASSERT_TRUE(plan.keywords.has_value());
  EXPECT_EQ(plan.keywords->kept, kFlagged);
  EXPECT_EQ(plan.keywords->kept_from, ReplicaIndex(1));
  EXPECT_EQ(plan.keywords->dropped_from, ReplicaIndex(0));
  Mesh::Apply(plan, message);
  for (const CopyRegisters& copy : message.copies) {
    EXPECT_TRUE(copy.flags.IsSet(kFlagged));
    EXPECT_FALSE(copy.flags.IsSet(kSeen));
  }
  EXPECT_TRUE(mesh.Plan(message).copies.empty());
}

TEST(Plan, AnExclusiveKeywordSetInKnowledgeOfTheOtherReplacesItWithoutConflict) {
  Mesh mesh(2, {R"(a: "a" b: "b")"});
  mesh.context.exclusive.emplace_back(kSeen, kFlagged);
  MessageRegisters message;
  mesh.Put(message, 0, Presence::kPresent, 10).flags.Put(kSeen, true, Stamp(20));
  CopyRegisters& newer = mesh.Put(message, 1, Presence::kPresent, 10);
  newer.flags.Put(kSeen, true, Stamp(20));
  newer.flags.Put(kFlagged, true, Stamp(21));
  const MessagePlan plan = mesh.Plan(message);
  EXPECT_FALSE(plan.keywords.has_value());
  Mesh::Apply(plan, message);
  for (const CopyRegisters& copy : message.copies) {
    EXPECT_TRUE(copy.flags.IsSet(kFlagged));
    EXPECT_FALSE(copy.flags.IsSet(kSeen));
  }
}

TEST(Plan, AChangeTheDeleterHadSeenIsNoConflict) {
  const Mesh mesh(2, {R"(a: "a" b: "b")"});
  MessageRegisters message;
  mesh.Put(message, 0, Presence::kAbsent, 20).flags.Put(kSeen, true, Stamp(15));
  mesh.Put(message, 1, Presence::kPresent, 10).flags.Put(kSeen, true, Stamp(15));
  EXPECT_FALSE(mesh.Plan(message).copies.at(0).conflict);
}

TEST(Plan, WhatADeletionMetSomewhereItHasMetWhereverItWasCarried) {
  const Mesh mesh(3, {R"(a: "a" b: "b")", R"(a: "b" b: "c")"}, "policy { delete_vs_change: ASK }");
  MessageRegisters message;
  mesh.Put(message, 0, Presence::kAbsent, 20).flags.Put(kSeen, true, Stamp(15));  // and somebody decided to delete it
  mesh.Put(message, 1, Presence::kAbsent, 20);  // before the change came here: nearer to the third
  mesh.Put(message, 2, Presence::kPresent, 10).flags.Put(kSeen, true, Stamp(15));
  const MessagePlan plan = mesh.Plan(message);
  ASSERT_EQ(plan.copies.size(), 1u);
  EXPECT_FALSE(plan.copies[0].conflict);
  EXPECT_EQ(plan.copies[0].action, Action::kExpunge);
}

TEST(Plan, WhatTheBrakeHoldsNeitherSpreadsNorIsPutBack) {
  const Mesh mesh(2, {R"(a: "a" b: "b")"});
  MessageRegisters message;
  mesh.Put(message, 0, Presence::kHeld, 10);
  mesh.Put(message, 1, Presence::kPresent, 12);
  EXPECT_TRUE(mesh.Plan(message).copies.empty());
}

TEST(Plan, AReplicaThatIsDownIsGoneAround) {
  Mesh mesh(3, kTriangle);
  mesh.context.replica_up[1] = false;
  MessageRegisters message;
  mesh.Put(message, 0, Presence::kPresent, 10);
  const MessagePlan plan = mesh.Plan(message);
  ASSERT_EQ(plan.copies.size(), 1u);
  EXPECT_EQ(plan.copies[0].target, ReplicaIndex(2));
}

// Random graphs of 2 to 5 replicas and random registers, as users' changes leave them: one plan settles everything, the
// newest reachable value wins everywhere, and nothing moves against the policy.
TEST(PlanProperty, OnePlanSettlesAMessage) {
  std::mt19937 random(20261124);
  for (int round = 0; round < 20'000; ++round) {
    const int replicas = 2 + static_cast<int>(random() % 4);
    std::vector<std::string> edges;
    for (int a = 0; a < replicas; ++a) {
      for (int b = a + 1; b < replicas; ++b) {
        if (b != a + 1 && random() % 2 == 0) continue;
        const char* kinds[] = {"", "direction: A_TO_B", "direction: B_TO_A", "deletes: KEEP", "flags: NONE"};
        edges.push_back(std::string("a: \"") + static_cast<char>('a' + a) + "\" b: \"" + static_cast<char>('a' + b) +
                        "\" " + kinds[random() % 10 < 6 ? 0 : random() % 5]);
      }
    }
    const Mesh mesh(replicas, edges);
    MessageRegisters message;
    int64_t stamp = 0;
    for (int r = 0; r < replicas; ++r) {
      if (random() % 4 == 0) continue;
      CopyRegisters& copy = mesh.Put(message, r, random() % 4 == 0 ? Presence::kAbsent : Presence::kPresent, ++stamp);
      for (const FlagId flag : {kSeen, kFlagged}) {
        if (random() % 2 == 0) copy.flags.Put(flag, random() % 2 == 0, Stamp(++stamp));
      }
    }
    const MessageRegisters before = message;
    Mesh::Apply(mesh.Plan(message), message);
    const MessagePlan again = mesh.Plan(message);
    ASSERT_TRUE(again.copies.empty()) << "round " << round;
    for (int r = 0; r < replicas; ++r) {
      const MailboxCopyId here = mesh.mailbox.copies[static_cast<size_t>(r)];
      const CopyRegisters* now = message.Find(here);
      const CopyRegisters* was = before.Find(here);
      if (now == nullptr) continue;
      // A copy goes only where a deletion of a replica that reaches this one is newer.
      if (was != nullptr && was->present() && !now->present()) {
        bool reached = false;
        for (int d = 0; d < replicas; ++d) {
          const CopyRegisters* deleted = before.Find(mesh.mailbox.copies[static_cast<size_t>(d)]);
          if (deleted == nullptr || deleted->present() || deleted->stamp != now->stamp) continue;
          reached |= mesh.graph->Reaches(ReplicaIndex(d), ReplicaIndex(r), "INBOX", ChangeKind::kDeletion);
        }
        ASSERT_TRUE(reached) << "round " << round;
      }
      // Equal stamps mean equal values.
      for (const CopyRegisters& other : message.copies) {
        if (other.stamp == now->stamp) {
          ASSERT_EQ(other.presence, now->presence);
        }
        for (const FlagRegister& entry : other.flags.entries()) {
          const FlagRegister mine = now->flags.Get(entry.flag);
          if (mine.stamp == entry.stamp && now->present() && other.present()) {
            ASSERT_EQ(mine.set, entry.set);
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace imapmesh
