#include "engine/sync/explain.h"

#include <gtest/gtest.h>

#include "graph/load.h"

namespace imapmesh {
namespace {

PlanItem Item(const std::string& operation, int64_t distance) {
  PlanItem item;
  item.operation = operation;
  item.wave = distance;
  item.message = operation == "CREATE" ? 0 : 1;
  return item;
}

// A chain a, b, c, a mailbox "Work" on each.
class Explain : public ::testing::Test {
 protected:
  Explain() {
    const auto loaded = LoadTopologyText(R"(
        name: "test"
        replica { name: "a" tunnel { command: "a" } link_cost: 2 }
        replica { name: "b" tunnel { command: "b" } }
        replica { name: "c" tunnel { command: "c" } }
        edge { a: "a" b: "b" }  edge { a: "b" b: "c" })",
                                         "test", ".");
    EXPECT_TRUE(loaded.ok()) << loaded.status();
    view_.graph = loaded->graph;
    const MailboxView work{MailboxId(1), "Work", {MailboxCopyId(1), MailboxCopyId(2), MailboxCopyId(3)}};
    view_.mailboxes[work.id] = work;
    for (int32_t r = 0; r < 3; ++r) view_.copies[work.copies[static_cast<size_t>(r)]] = {ReplicaIndex(r), work.id};
    planned_.message.id = MessageId(5);
    planned_.message.mailbox = work.id;
    planned_.message.size = 700;
    planned_.message.message_id = "<m@example.org>";
  }

  CopyPlan& Plan(int target, int edge, int depth, Action action) {
    CopyPlan copy;
    copy.target = ReplicaIndex(target);
    copy.mailbox_copy = MailboxCopyId(target + 1);
    copy.action = action;
    copy.because = {EdgeIndex(edge), ReplicaIndex(0), Stamp(9), depth, depth == 1 ? 3 : 5};
    copy.holders = {ReplicaIndex(0)};
    planned_.plan.copies.push_back(copy);
    return planned_.plan.copies.back();
  }

  std::vector<PlanItem> Items() {
    Work work;
    work.messages.push_back(planned_);
    std::vector<PlanItem> items = ExplainWork(view_, work, {{FlagId(1), "\\Seen"}, {FlagId(2), "$Work"}});
    OrderWaves(items);
    return items;
  }

  MeshView view_;
  PlannedMessage planned_;
};

TEST_F(Explain, AnAppendTellsItsPathAndTheBodyIsCountedOnce) {
  Plan(2, 1, 2, Action::kAdd);
  Plan(1, 0, 1, Action::kAdd);
  const auto items = Items();
  ASSERT_EQ(items.size(), 2u);
  EXPECT_EQ(items[0].to, "b");
  EXPECT_EQ(items[0].wave, 1);
  EXPECT_EQ(items[1].to, "c");
  EXPECT_EQ(items[1].wave, 2);
  EXPECT_EQ(items[1].edge, "b:c");
  EXPECT_EQ(items[1].from, "a");
  EXPECT_EQ(items[1].via, "b");
  EXPECT_EQ(items[1].path_cost, 5);
  EXPECT_EQ(items[1].body_from, "a");
  EXPECT_EQ(items[1].holders, std::vector<std::string>{"a"});
  EXPECT_EQ(items[0].bytes + items[1].bytes, 1400);
  EXPECT_EQ(items[0].fetch_bytes + items[1].fetch_bytes, 700);
}

TEST_F(Explain, FlagsAreNamed) {
  Plan(1, 0, 1, Action::kFlags).flag_changes = {{FlagId(1), true, Stamp(9)}, {FlagId(2), false, Stamp(8)}};
  const auto items = Items();
  ASSERT_EQ(items.size(), 1u);
  EXPECT_EQ(items[0].operation, "STORE");
  EXPECT_EQ(items[0].detail, "+\\Seen -$Work");
  EXPECT_EQ(items[0].flags_added, std::vector<std::string>{"\\Seen"});
  EXPECT_EQ(items[0].flags_removed, std::vector<std::string>{"$Work"});
}

TEST_F(Explain, ACopyWithinTheReplicaNamesItsSourceAndMovesNoBytes) {
  const MailboxView archive{MailboxId(2), "Archive", {MailboxCopyId(4), MailboxCopyId(5), MailboxCopyId(6)}};
  view_.mailboxes[archive.id] = archive;
  view_.copies[MailboxCopyId(5)] = {ReplicaIndex(1), archive.id};
  Plan(1, 0, 1, Action::kAdd);
  planned_.copy_from[1] = {{MessageId(4), MailboxCopyId(5), Uid(3)}, Stamp(8)};
  const auto items = Items();
  ASSERT_EQ(items.size(), 1u);
  EXPECT_EQ(items[0].operation, "MOVE");
  EXPECT_EQ(items[0].source_mailbox, "Archive");
  EXPECT_EQ(items[0].bytes + items[0].fetch_bytes, 0);
}

MailboxOperation ForMailbox(MailboxAction action, int target, int edge, int depth) {
  MailboxOperation operation;
  operation.action = action;
  operation.target = ReplicaIndex(target);
  operation.name = "New";
  operation.from = "Old";
  operation.because = {EdgeIndex(edge), ReplicaIndex(0), Stamp(9), depth};
  return operation;
}

TEST_F(Explain, MailboxesAreMadeOneEdgeAfterTheOther) {
  const auto items = ExplainMailboxes(
      view_, {ForMailbox(MailboxAction::kCreate, 1, 0, 1), ForMailbox(MailboxAction::kCreate, 2, 1, 2)});
  ASSERT_EQ(items.size(), 2u);
  EXPECT_EQ(items[0].operation, "CREATE");
  EXPECT_EQ(items[1].from, "a");
  EXPECT_EQ(items[1].via, "b");
  EXPECT_EQ(items[1].distance, 2);
}

TEST_F(Explain, RenamesSubscriptionsAndDeletionsOfMailboxesAreTold) {
  auto items = ExplainMailboxes(
      view_, {ForMailbox(MailboxAction::kDelete, 1, 0, 1), ForMailbox(MailboxAction::kRename, 1, -1, 0),
              ForMailbox(MailboxAction::kSubscribe, 2, 1, 2)});
  OrderWaves(items);
  ASSERT_EQ(items.size(), 3u);
  EXPECT_EQ(items[0].operation, "RENAME");
  EXPECT_EQ(items[0].detail, "from Old");
  EXPECT_EQ(items[0].edge, "a:b");
  EXPECT_EQ(items[1].operation, "SUBSCRIBE");
  EXPECT_EQ(items[2].operation, "DELETE");
  EXPECT_EQ(items[2].wave, 3);
}

TEST(OrderWaves, MailboxesThenWhatIsAddedOrChangedThenDeletions) {
  std::vector<PlanItem> items = {Item("EXPUNGE", 1), Item("APPEND", 3), Item("STORE", 1), Item("CREATE", 1),
                                 Item("MOVE", 1)};
  OrderWaves(items);
  std::vector<std::pair<std::string, int64_t>> order;
  for (const PlanItem& item : items) order.emplace_back(item.operation, item.wave);
  EXPECT_EQ(order, (std::vector<std::pair<std::string, int64_t>>{
                       {"CREATE", 1}, {"STORE", 2}, {"MOVE", 2}, {"APPEND", 3}, {"EXPUNGE", 4}}));
}

}  // namespace
}  // namespace imapmesh
