#include "engine/sync/order.h"

#include <gtest/gtest.h>

#include "graph/load.h"

namespace imapmesh {
namespace {

std::shared_ptr<const Graph> Star(const std::vector<int>& link_costs) {
  std::string text = "name: \"test\"";
  for (size_t r = 0; r < link_costs.size(); ++r) {
    const std::string name(1, static_cast<char>('a' + r));
    text += " replica { name: \"" + name + "\" tunnel { command: \"" + name +
            "\" } link_cost: " + std::to_string(link_costs[r]) + " }";
    if (r > 0) text += " edge { a: \"a\" b: \"" + name + "\" }";
  }
  const auto loaded = LoadTopologyText(text, "test", ".");
  EXPECT_TRUE(loaded.ok()) << loaded.status();
  return loaded->graph;
}

CopyPlan To(int target) {
  CopyPlan copy;
  copy.target = ReplicaIndex(target);
  copy.action = Action::kAdd;
  return copy;
}

TEST(SortForPlanning, InboxThenSmallWorkBeforeBulk) {
  std::vector<UnsettledMailbox> mailboxes = {{MailboxId(1), "Archive", 100'000},
                                             {MailboxId(2), "Sent", 3},
                                             {MailboxId(3), "INBOX", 500},
                                             {MailboxId(4), "A", 3}};
  SortForPlanning(mailboxes);
  std::vector<std::string> names;
  for (const UnsettledMailbox& mailbox : mailboxes) names.push_back(mailbox.name);
  EXPECT_EQ(names, (std::vector<std::string>{"INBOX", "A", "Sent", "Archive"}));
}

TEST(ChooseSupplies, OneDownloadFromTheCheapestWhoMayServeAll) {
  const auto graph = Star({5, 1, 3, 1});
  const CopyPlan c = To(2), d = To(3);
  const auto supplies =
      ChooseSupplies(*graph, {{&c, {ReplicaIndex(0), ReplicaIndex(1)}}, {&d, {ReplicaIndex(0), ReplicaIndex(1)}}});
  ASSERT_EQ(supplies.size(), 1u);
  EXPECT_EQ(supplies[0].source, ReplicaIndex(1));
  EXPECT_EQ(supplies[0].copies, (std::vector<const CopyPlan*>{&c, &d}));
}

TEST(ChooseSupplies, ADearHolderThatServesAllBeatsTwoCheapOnes) {
  const auto graph = Star({9, 1, 1, 1, 1});
  const CopyPlan d = To(3), e = To(4);
  const auto supplies =
      ChooseSupplies(*graph, {{&d, {ReplicaIndex(1), ReplicaIndex(0)}}, {&e, {ReplicaIndex(2), ReplicaIndex(0)}}});
  ASSERT_EQ(supplies.size(), 1u);
  EXPECT_EQ(supplies[0].source, ReplicaIndex(0));
}

TEST(ChooseSupplies, NobodyIsServedByAHolderWhoMayNot) {
  const auto graph = Star({1, 1, 1, 1});
  const CopyPlan c = To(2), d = To(3);
  const auto supplies = ChooseSupplies(*graph, {{&c, {ReplicaIndex(0)}}, {&d, {ReplicaIndex(1)}}});
  ASSERT_EQ(supplies.size(), 2u);
  for (const Supply& supply : supplies) ASSERT_EQ(supply.copies.size(), 1u);
  EXPECT_EQ(supplies[0].source, ReplicaIndex(0));
  EXPECT_EQ(supplies[0].copies[0], &c);
  EXPECT_EQ(supplies[1].source, ReplicaIndex(1));
  EXPECT_EQ(supplies[1].copies[0], &d);
}

TEST(ChooseSupplies, WhatNobodyHoldsIsLeftOut) {
  const auto graph = Star({1, 1});
  const CopyPlan b = To(1);
  EXPECT_TRUE(ChooseSupplies(*graph, {{&b, {}}}).empty());
}

}  // namespace
}  // namespace imapmesh
