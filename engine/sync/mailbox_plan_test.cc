#include "engine/sync/mailbox_plan.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>

#include "graph/load.h"

namespace imapmesh {
namespace {

// A mailbox in a mesh of replicas "a", "b"…; every copy is there from the start, in agreement.
class MailboxPlan {
 public:
  MailboxPlan(int replicas, const std::vector<std::string>& edges, const std::string& policy = "") {
    std::string text = "name: \"test\" " + policy;
    for (int i = 0; i < replicas; ++i) {
      const std::string name(1, static_cast<char>('a' + i));
      text += " replica { name: \"" + name + "\" tunnel { command: \"" + name + "\" } }";
      MailboxRegisters copy;
      copy.id = MailboxCopyId(i + 1);
      copy.presence = Presence::kPresent;
      copy.presence_stamp = Stamp(1);
      copy.name = "Work";
      mailbox.copies.push_back(copy);
    }
    for (const std::string& edge : edges) text += " edge { " + edge + " }";
    auto loaded = LoadTopologyText(text, "test", ".");
    EXPECT_TRUE(loaded.ok()) << loaded.status();
    graph = loaded->graph;
    mailbox.id = MailboxId(1);
    mailbox.name = "Work";
    context.graph = graph.get();
    context.replica_up.assign(static_cast<size_t>(replicas), true);
    context.edge_paused.assign(edges.size(), false);
  }

  MailboxRegisters& operator[](size_t r) { return mailbox.copies[r]; }

  void Gone(size_t r, int64_t stamp) {
    mailbox.copies[r].presence = Presence::kAbsent;
    mailbox.copies[r].presence_stamp = Stamp(stamp);
  }
  void Renamed(size_t r, const std::string& name, int64_t stamp) {
    mailbox.copies[r].name = mailbox.name = name;
    mailbox.copies[r].name_stamp = mailbox.name_stamp = Stamp(stamp);
  }

  // "b CREATE", "c RENAME Work"…, in the plan's order; only the ones that need a command or decide something.
  std::vector<std::string> Plan() const {
    std::vector<std::string> lines;
    for (const MailboxOperation& operation : PlanMailbox(mailbox, context)) {
      const std::string target = graph->replica(operation.target).name();
      if (operation.action == MailboxAction::kLevel) continue;
      if (operation.action == MailboxAction::kRestore) {
        lines.push_back(target + " RESTORE");
      } else {
        lines.push_back(target + " " + Name(operation.action) + (operation.from.empty() ? "" : " " + operation.from));
      }
    }
    return lines;
  }

  // As if every operation had succeeded. Whether there were any.
  bool Settle() {
    const auto operations = PlanMailbox(mailbox, context);
    for (const MailboxOperation& operation : operations) {
      mailbox.copies[static_cast<size_t>(operation.target.value)] = operation.after;
    }
    return !operations.empty();
  }

  std::shared_ptr<const Graph> graph;
  MailboxState mailbox;
  PlanContext context;
};

const std::vector<std::string> kTriangle = {"a: \"a\" b: \"b\"", "a: \"b\" b: \"c\"", "a: \"c\" b: \"a\""};
using Lines = std::vector<std::string>;

TEST(MailboxPlan, NothingIsPendingInAgreement) {
  EXPECT_EQ(MailboxPlan(3, kTriangle).Plan(), Lines());
}

TEST(MailboxPlan, ANewMailboxIsMadeEverywhereInACycle) {
  MailboxPlan plan(3, kTriangle);
  plan.Gone(1, 0);
  plan.Gone(2, 0);
  plan[0].subscribed = true;
  plan[0].subscribed_stamp = Stamp(1);
  EXPECT_EQ(plan.Plan(), (Lines{"b CREATE", "c CREATE"}));
  for (const MailboxOperation& operation : PlanMailbox(plan.mailbox, plan.context)) EXPECT_TRUE(operation.subscribe);
  EXPECT_TRUE(plan.Settle());
  EXPECT_FALSE(plan.Settle());
}

TEST(MailboxPlan, ADeletionTakesEmptyCopiesAtOnceAndWaitsForDoomedMessages) {
  MailboxPlan plan(3, kTriangle);
  plan.Gone(0, 5);
  plan[2].messages = 7;  // all of them deleted with the mailbox
  EXPECT_EQ(plan.Plan(), (Lines{"b DELETE"}));
  plan[2].messages = 0;
  EXPECT_EQ(plan.Plan(), (Lines{"b DELETE", "c DELETE"}));
}

TEST(MailboxPlan, WhatIsDeletedMakesRoomFirst) {
  // Its name is another mailbox's now; the messages in it are deleted after that one has it.
  MailboxPlan plan(3, kTriangle);
  plan.Gone(0, 5);
  plan[1].messages = plan[2].messages = 7;
  plan.mailbox.name = "Work (deleted)";
  plan.mailbox.name_stamp = Stamp(6);
  EXPECT_EQ(plan.Plan(), (Lines{"b RENAME Work", "c RENAME Work"}));
  plan.Settle();
  plan[1].messages = plan[2].messages = 0;
  EXPECT_EQ(plan.Plan(), (Lines{"b DELETE", "c DELETE"}));
}

TEST(MailboxPlan, MailThatTheDeletionDoesNotMeanKeepsTheMailbox) {
  MailboxPlan plan(3, kTriangle);
  plan.Gone(0, 5);
  plan[2].messages = 7;
  plan[2].live = 1;
  EXPECT_EQ(plan.Plan(), (Lines{"b DELETE", "c RESTORE"}));
  plan[2].presence_stamp = Stamp(6);  // what RESTORE does
  plan.Gone(1, 5);
  EXPECT_EQ(plan.Plan(), (Lines{"a CREATE", "b CREATE"}));
}

TEST(MailboxPlan, ADeletionThatIsNotDecidedIsNeitherSpreadNorUndone) {
  MailboxPlan plan(3, kTriangle);
  plan.Gone(0, 5);
  plan[0].presence = Presence::kHeld;
  EXPECT_EQ(plan.Plan(), Lines());
}

TEST(MailboxPlan, PolicyHoldsDeletionsBack) {
  MailboxPlan kept(2, {"a: \"a\" b: \"b\" deletes: KEEP"});
  kept.Gone(0, 5);
  EXPECT_EQ(kept.Plan(), Lines());
  MailboxPlan policy(2, {"a: \"a\" b: \"b\""}, "policy { mailbox_deletes: KEEP }");
  policy.Gone(0, 5);
  EXPECT_EQ(policy.Plan(), Lines());
  MailboxPlan archive(2, {"a: \"a\" b: \"b\" direction: A_TO_B"});
  archive.Gone(1, 5);
  EXPECT_EQ(archive.Plan(), Lines());
}

TEST(MailboxPlan, ARenameGoesOnceToEachReplicaOfACycle) {
  MailboxPlan plan(3, kTriangle);
  plan.Renamed(1, "Job", 5);
  EXPECT_EQ(plan.Plan(), (Lines{"a RENAME Work", "c RENAME Work"}));
  EXPECT_TRUE(plan.Settle());
  EXPECT_EQ(plan[0].name, "Job");
  EXPECT_FALSE(plan.Settle());
}

TEST(MailboxPlan, OfTwoRenamesTheNewerHolds) {
  MailboxPlan plan(3, kTriangle);
  plan.Renamed(0, "Job", 5);
  plan.Renamed(1, "Office", 6);
  EXPECT_EQ(plan.Plan(), (Lines{"a RENAME Job", "c RENAME Work"}));
  EXPECT_TRUE(plan.Settle());
  for (size_t r = 0; r < 3; ++r) EXPECT_EQ(plan[r].name, "Office");
}

TEST(MailboxPlan, ARenameGoesNoWayThatIsNotAdmitted) {
  MailboxPlan plan(2, {"a: \"a\" b: \"b\" direction: A_TO_B"});
  plan.Renamed(1, "Job", 5);
  EXPECT_EQ(plan.Plan(), Lines());
}

TEST(MailboxPlan, ANameThatTheEngineChoseGoesToTheReplicaThatHadTheNameFirstToo) {
  MailboxPlan plan(2, {"a: \"a\" b: \"b\""});
  plan.mailbox.name = "Work (a)";
  plan.mailbox.name_stamp = Stamp(5);
  plan.Gone(1, 0);
  EXPECT_EQ(plan.Plan(), (Lines{"a RENAME Work", "b CREATE"}));
}

TEST(MailboxPlan, ANameThatTheEngineChoseGoesOnThoughOneThatGoesNowhereIsNewer) {
  MailboxPlan plan(3, {"a: \"a\" b: \"b\"", "a: \"a\" b: \"c\" direction: A_TO_B"});
  plan.mailbox.name = "Work (a)";
  plan.mailbox.name_stamp = Stamp(5);
  plan[2].name = "Job";
  plan[2].name_stamp = Stamp(6);
  EXPECT_EQ(plan.Plan(), (Lines{"a RENAME Work", "b RENAME Work"}));
}

TEST(MailboxPlan, SubscriptionsAreMergedThreeWays) {
  MailboxPlan plan(3, kTriangle);
  plan[0].subscribed = true;
  plan[0].subscribed_stamp = Stamp(5);
  EXPECT_EQ(plan.Plan(), (Lines{"b SUBSCRIBE", "c SUBSCRIBE"}));
  EXPECT_TRUE(plan.Settle());
  plan[2].subscribed = false;
  plan[2].subscribed_stamp = Stamp(6);
  EXPECT_EQ(plan.Plan(), (Lines{"a UNSUBSCRIBE", "b UNSUBSCRIBE"}));
  EXPECT_TRUE(plan.Settle());
  EXPECT_FALSE(plan.Settle());
}

TEST(MailboxPlan, AReplicaThatIsDownIsLeftAsItIs) {
  MailboxPlan plan(3, kTriangle);
  plan.Renamed(0, "Job", 5);
  plan.context.replica_up[2] = false;
  EXPECT_EQ(plan.Plan(), (Lines{"b RENAME Work"}));
}

TEST(MailboxPlanProperty, ComesToRestOnAnyGraph) {
  std::mt19937_64 random(11);
  for (int round = 0; round < 3000; ++round) {
    const int replicas = 2 + static_cast<int>(random() % 4);
    std::vector<std::string> edges;
    for (int a = 0; a < replicas; ++a) {
      for (int b = a + 1; b < replicas; ++b) {
        if (random() % 3 == 0 && !(a == 0 && b == 1)) continue;
        const char* directions[] = {"", " direction: A_TO_B", " direction: B_TO_A"};
        edges.push_back(std::string("a: \"") + static_cast<char>('a' + a) + "\" b: \"" + static_cast<char>('a' + b) +
                        "\"" + directions[random() % 3]);
      }
    }
    MailboxPlan plan(replicas, edges);
    int64_t stamp = 5;
    for (size_t r = 0; r < static_cast<size_t>(replicas); ++r) {
      if (random() % 3 == 0) plan.Gone(r, random() % 2 == 0 ? 0 : stamp++);
      if (random() % 3 == 0) plan.Renamed(r, "Name" + std::to_string(stamp), stamp + 1);
      stamp += 2;
      plan[r].live = plan[r].messages = static_cast<int64_t>(random() % 2);
      if (plan[r].presence != Presence::kPresent) plan[r].live = plan[r].messages = 0;
    }
    int rounds = 0;
    while (true) {
      auto operations = PlanMailbox(plan.mailbox, plan.context);
      if (operations.empty()) break;
      ASSERT_LT(++rounds, 8);
      for (MailboxOperation& operation : operations) {
        if (operation.action == MailboxAction::kRestore) operation.after.presence_stamp = Stamp(stamp++);
        const bool loses_mail = operation.action == MailboxAction::kDelete && operation.after.messages > 0;
        EXPECT_FALSE(loses_mail);
        plan[static_cast<size_t>(operation.target.value)] = operation.after;
      }
    }
  }
}

// What a server does with the commands: mailbox contents (here their first name) by name.
std::map<std::string, std::string> Carry(const std::set<std::string>& names,
                                         const std::vector<MailboxRename>& commands) {
  std::map<std::string, std::string> tree;
  for (const std::string& name : names) tree[name] = name;
  for (const MailboxRename& command : commands) {
    EXPECT_TRUE(tree.contains(command.from)) << command.from;
    EXPECT_FALSE(tree.contains(command.to)) << command.to;
    std::map<std::string, std::string> after;
    for (const auto& [name, content] : tree) after[AfterRename(name, command)] = content;
    EXPECT_EQ(after.size(), tree.size());
    tree = std::move(after);
  }
  return tree;
}

TEST(OrderRenames, OneCommandCarriesTheChildren) {
  const auto commands = OrderRenames({"a", "a/b", "a/b/c", "d"}, {{"a/b/c", "x/b/c"}, {"a/b", "x/b"}, {"a", "x"}});
  EXPECT_EQ(commands, (std::vector<MailboxRename>{{"a", "x"}}));
}

TEST(OrderRenames, NamesAreSwappedByWayOfATemporaryOne) {
  const auto tree = Carry({"a", "b", "c"}, OrderRenames({"a", "b", "c"}, {{"a", "b"}, {"b", "c"}, {"c", "a"}}));
  EXPECT_EQ(tree, (std::map<std::string, std::string>{{"b", "a"}, {"c", "b"}, {"a", "c"}}));
}

TEST(OrderRenames, ATemporaryNameThatSomebodyLeftIsNotUsedASecondTime) {
  const std::string left = kTemporaryName + std::string("0");
  const auto tree = Carry({"a", "b", left}, OrderRenames({"a", "b", left}, {{"a", "b"}, {"b", "a"}}));
  EXPECT_EQ(tree, (std::map<std::string, std::string>{{"b", "a"}, {"a", "b"}, {left, left}}));
}

TEST(OrderRenames, ANameThatStaysTakenIsNotRenamedOnto) {
  EXPECT_TRUE(OrderRenames({"a", "b"}, {{"a", "b"}}).empty());
}

TEST(OrderRenames, AChildThatDoesNotMoveGoesBack) {
  const auto tree = Carry({"a", "a/b"}, OrderRenames({"a", "a/b"}, {{"a", "x"}}));
  EXPECT_EQ(tree, (std::map<std::string, std::string>{{"x", "a"}, {"a/b", "a/b"}}));
}

TEST(OrderRenamesProperty, EveryMailboxArrives) {
  std::mt19937_64 random(5);
  const std::vector<std::string> pool = {"a",     "b",     "c",   "a/b", "a/c", "b/a",
                                         "a/b/c", "b/a/c", "c/c", "d",   "d/a", "a/a/a"};
  for (int round = 0; round < 5000; ++round) {
    std::vector<std::string> names = pool, targets = pool;
    std::shuffle(names.begin(), names.end(), random);
    std::shuffle(targets.begin(), targets.end(), random);
    const size_t count = 1 + random() % pool.size();
    std::set<std::string> present(names.begin(), names.begin() + static_cast<ptrdiff_t>(count));
    std::vector<MailboxRename> wanted;
    for (size_t i = 0; i < count; ++i) wanted.push_back({names[i], targets[i]});
    std::map<std::string, std::string> expected;
    for (const MailboxRename& rename : wanted) expected[rename.to] = rename.from;
    EXPECT_EQ(Carry(present, OrderRenames(present, wanted)), expected);
  }
}

TEST(IsLevel, OnlyWhereNothingCanBePending) {
  std::vector<MailboxCopyRecord> copies(3);
  for (size_t r = 0; r < copies.size(); ++r) {
    copies[r].id = MailboxCopyId(static_cast<int64_t>(r) + 1);
    copies[r].exists = true;
    copies[r].exists_stamp = Stamp(4);
    copies[r].name_stamp = copies[r].mailbox_name_stamp = Stamp(5);
    copies[r].subscribed_stamp = Stamp(6);
  }
  EXPECT_TRUE(IsLevel(copies));
  const std::vector<void (*)(MailboxCopyRecord&)> changes = {
      [](MailboxCopyRecord& copy) { copy.id = MailboxCopyId(); },
      [](MailboxCopyRecord& copy) { copy.exists = false; },
      [](MailboxCopyRecord& copy) { copy.exists_stamp = Stamp(9); },
      [](MailboxCopyRecord& copy) { copy.name_stamp = Stamp(9); },
      [](MailboxCopyRecord& copy) { copy.subscribed_stamp = Stamp(9); },
      [](MailboxCopyRecord& copy) { copy.mailbox_name_stamp = Stamp(9); },  // the engine chose another name
  };
  for (size_t i = 0; i < changes.size(); ++i) {
    for (size_t r = 0; r < copies.size(); ++r) {
      std::vector<MailboxCopyRecord> changed = copies;
      changes[i](changed[r]);
      EXPECT_FALSE(IsLevel(changed)) << i << " " << r;
    }
  }
}

}  // namespace
}  // namespace imapmesh
