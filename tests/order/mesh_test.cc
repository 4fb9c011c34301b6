// The order of work: what is fetched and moved, in which waves, and that nobody waits for a slow or stuck replica.
#include <gtest/gtest.h>

#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <random>

#include "engine/sync/coordinator.h"
#include "graph/load.h"
#include "tests/order/memory_replica.h"

namespace imapmesh {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

using Edges = std::vector<std::pair<int, int>>;

class TestMesh {
 public:
  // `costs` are link_cost by replica; missing ones are 1.
  TestMesh(int size, const Edges& edges, const std::vector<int>& costs = {}) {
    std::string text = "name: \"test\"";
    for (int i = 0; i < size; ++i) {
      const int cost = static_cast<size_t>(i) < costs.size() ? costs[static_cast<size_t>(i)] : 1;
      text += " replica { name: \"" + Name(i) + "\" tunnel { command: \"" + Name(i) +
              "\" } link_cost: " + std::to_string(cost) + " }";
    }
    for (const auto& [a, b] : edges) text += " edge { a: \"" + Name(a) + "\" b: \"" + Name(b) + "\" }";
    const auto loaded = LoadTopologyText(text, "test", ".");
    EXPECT_TRUE(loaded.ok()) << loaded.status();
    CoordinatorOptions options;
    options.graph = loaded->graph;
    options.state_path = ":memory:";
    options.engine_executor = options.store_executor = context_.get_executor();
    options.clock = &clock;
    options.make_replica = [this](const Graph& graph, ReplicaIndex index, std::function<bool(std::string_view)>) {
      const v1::Replica& declared = graph.replica(index);
      auto replica = std::make_unique<MemoryReplica>(context_.get_executor(), clock, declared.name(), 4);
      replicas_.push_back(replica.get());
      return absl::StatusOr<std::unique_ptr<Replica>>(std::move(replica));
    };
    auto created = Coordinator::Create(std::move(options));
    EXPECT_TRUE(created.ok()) << created.status();
    coordinator_ = *std::move(created);
  }

  ~TestMesh() {
    if (!running_) return;
    coordinator_->Stop();
    EXPECT_TRUE(RunUntil([this] { return !running_; }, seconds(60)));
  }

  MemoryReplica& operator[](int r) { return *replicas_[static_cast<size_t>(r)]; }
  int size() const { return static_cast<int>(replicas_.size()); }
  Coordinator& coordinator() { return *coordinator_; }

  RunReport RunOnce() {
    std::optional<absl::StatusOr<RunReport>> report;
    const auto take = [&](std::exception_ptr, absl::StatusOr<RunReport> result) { report = std::move(result); };
    asio::co_spawn(context_, coordinator_->RunOnce(nullptr), take);
    EXPECT_TRUE(RunUntil([&] { return report.has_value(); }, std::chrono::hours(10)));
    EXPECT_TRUE(report && report->ok());
    return report && report->ok() ? **report : RunReport();
  }

  void Start() {
    running_ = true;
    const auto ended = [this](std::exception_ptr, const absl::Status&) { running_ = false; };
    asio::co_spawn(context_, coordinator_->RunForever(), ended);
  }

  // Lets time pass until `holds`, at most for `limit`; false when that was not enough.
  bool RunUntil(const std::function<bool()>& holds, Duration limit) {
    const Duration end = clock.Now() + limit;
    while (!holds()) {
      if (clock.Now() > end || !clock.Step(context_)) return false;
    }
    return true;
  }

  std::vector<PlanItem> Plan() {
    std::optional<absl::StatusOr<std::vector<PlanItem>>> items;
    coordinator_->Plan([&](absl::StatusOr<std::vector<PlanItem>> result) { items = std::move(result); });
    EXPECT_TRUE(RunUntil([&] { return items.has_value(); }, seconds(60)));
    EXPECT_TRUE(items && items->ok());
    return items && items->ok() ? **items : std::vector<PlanItem>();
  }

  bool Converged() { return coordinator_->GetStatus()->converged; }
  size_t Count(int r, const std::string& mailbox = "INBOX") { return (*this)[r].Messages(mailbox).size(); }

  VirtualClock clock;

 private:
  static std::string Name(int i) { return "r" + std::to_string(i); }

  asio::io_context context_{1};
  std::vector<MemoryReplica*> replicas_;
  std::unique_ptr<Coordinator> coordinator_;
  bool running_ = false;
};

std::string Mail(int number, size_t size = 1000) {
  return "mail" + std::to_string(number) + " " + std::string(size, 'x');
}

Edges Star(int size) {
  Edges edges;
  for (int i = 1; i < size; ++i) edges.emplace_back(0, i);
  return edges;
}

Edges Chain(int size) {
  Edges edges;
  for (int i = 1; i < size; ++i) edges.emplace_back(i - 1, i);
  return edges;
}

Edges RingWithChords(int size) {
  Edges edges = Chain(size);
  edges.emplace_back(0, size - 1);
  for (int i = 0; i + 7 < size; i += 5) edges.emplace_back(i, i + 7);
  return edges;
}

// Each of a hundred messages lies at one replica; the run moves each once from there and once to each other.
void ExpectLowerBound(int size, const Edges& edges) {
  TestMesh mesh(size, edges);
  std::mt19937 random(20261124);
  uint64_t bytes = 0;
  constexpr int kMessages = 100;
  for (int i = 0; i < kMessages; ++i) {
    const std::string mail = Mail(i, 100 + random() % 5000);
    bytes += mail.size();
    mesh[static_cast<int>(random() % static_cast<unsigned>(size))].Put(i % 2 == 0 ? "INBOX" : "Archive", mail);
  }
  const RunReport report = mesh.RunOnce();
  EXPECT_TRUE(report.converged);
  EXPECT_LE(report.rounds, 4);
  uint64_t fetched = 0, fetched_bytes = 0, appended = 0, appended_bytes = 0;
  for (int r = 0; r < size; ++r) {
    EXPECT_EQ(mesh.Count(r) + mesh.Count(r, "Archive"), static_cast<size_t>(kMessages));
    fetched += mesh[r].counters().messages_fetched;
    appended += mesh[r].counters().messages_appended;
    fetched_bytes += mesh[r].bytes_fetched;
    appended_bytes += mesh[r].bytes_appended;
  }
  EXPECT_EQ(fetched, static_cast<uint64_t>(kMessages));
  EXPECT_EQ(fetched_bytes, bytes);
  EXPECT_EQ(appended, static_cast<uint64_t>(kMessages * (size - 1)));
  EXPECT_EQ(appended_bytes, bytes * static_cast<uint64_t>(size - 1));
}

TEST(Transfer, AStarOfFiftyMovesEachBodyOnceFromAHolderAndOnceToEachOther) {
  ExpectLowerBound(50, Star(50));
}
TEST(Transfer, ARingOfFiftyWithChordsLikewise) {
  ExpectLowerBound(50, RingWithChords(50));
}
TEST(Transfer, AChainOfFiftyLikewise) {
  ExpectLowerBound(50, Chain(50));
}

TEST(Transfer, OfWhatAnotherOneBringsInTheSameMomentOnlyTheFirstComesTwice) {
  TestMesh mesh(2, Star(2));
  for (int i = 0; i < 20; ++i) mesh[0].Put("INBOX", Mail(i));
  mesh[1].before_append = [&] {
    for (int i = 0; i < 20; ++i) mesh[1].Put("INBOX", Mail(i));
  };
  mesh.RunOnce();
  EXPECT_EQ(mesh.Count(1), 21u);
  EXPECT_EQ(mesh.Count(0), 20u) << "the second copy is reported, and carried nowhere";
  EXPECT_EQ(mesh.coordinator().GetStatus()->conflicts_open, 1);
}

TEST(Transfer, WhatComesMeanwhileMakesNobodyFetchABodyTwice) {
  TestMesh mesh(2, Star(2));
  for (int i = 0; i < 20; ++i) mesh[0].Put("INBOX", Mail(i));
  mesh[1].before_append = [&] { mesh[1].Put("INBOX", Mail(100)); };
  EXPECT_TRUE(mesh.RunOnce().converged);
  EXPECT_EQ(mesh.Count(0), 21u);
  EXPECT_EQ(mesh.Count(1), 21u);
  EXPECT_EQ(mesh[0].counters().messages_fetched, 20u);
}

TEST(Transfer, MessagesWhoseFlagsChangeAlikeAreStoredTogether) {
  TestMesh mesh(2, {{0, 1}});
  constexpr int kMessages = 600;
  std::vector<Uid> uids;
  for (int i = 0; i < kMessages; ++i) uids.push_back(mesh[0].Put("INBOX", Mail(i)));
  mesh.Start();
  ASSERT_TRUE(mesh.RunUntil([&] { return mesh.Count(1) == kMessages && mesh.Converged(); }, seconds(600)));
  for (size_t i = 0; i < uids.size(); ++i) {
    if (i % 3 != 0) mesh[0].SetFlag("INBOX", uids[i], "\\Seen");
    if (i % 3 != 1) mesh[0].SetFlag("INBOX", uids[i], "\\Flagged");
  }
  const auto flagged = [&] { return mesh[1].counters().flags_changed == kMessages && mesh.Converged(); };
  ASSERT_TRUE(mesh.RunUntil(flagged, seconds(600)));
  EXPECT_EQ(mesh[1].stores, 3u) << "one for \\Seen, one for \\Flagged, one for both";
}

TEST(Transfer, TheCheapestHolderGivesTheBody) {
  TestMesh mesh(4, {{0, 1}, {1, 2}, {2, 3}, {0, 3}}, {5, 9, 2, 9});
  for (const int holder : {0, 1, 2}) mesh[holder].Put("INBOX", Mail(1));
  EXPECT_TRUE(mesh.RunOnce().converged);
  EXPECT_EQ(mesh.Count(3), 1u);
  EXPECT_EQ(mesh[2].counters().messages_fetched, 1u);
  EXPECT_EQ(mesh[0].counters().messages_fetched + mesh[1].counters().messages_fetched, 0u);
}

TEST(Transfer, AnotherHolderGivesWhatTheCheapestRefuses) {
  TestMesh mesh(3, {{0, 1}, {1, 2}, {0, 2}}, {1, 5, 5});
  for (const int holder : {0, 1}) {
    for (int i = 0; i < 10; ++i) mesh[holder].Put("INBOX", Mail(i));
  }
  mesh[0].gives_bodies = false;
  mesh.RunOnce();
  EXPECT_EQ(mesh.Count(2), 10u);
  EXPECT_EQ(mesh[1].counters().messages_fetched, 10u);
}

TEST(Transfer, AnotherHolderGivesTheRestWhenTheCheapestGoesAway) {
  TestMesh mesh(3, {{0, 1}, {1, 2}, {0, 2}}, {1, 5, 5});
  constexpr int kMessages = 1000;
  for (const int holder : {0, 1}) {
    for (int i = 0; i < kMessages; ++i) mesh[holder].Put("INBOX", Mail(i));
  }
  mesh[0].per_byte = std::chrono::microseconds(10);
  mesh.Start();
  ASSERT_TRUE(mesh.RunUntil([&] { return mesh.Count(2) > 0; }, seconds(60)));
  ASSERT_LT(mesh.Count(2), static_cast<size_t>(kMessages));
  const uint64_t before = mesh[1].counters().messages_fetched;
  EXPECT_EQ(before, 0u);
  mesh[0].SetStuck(true);
  EXPECT_TRUE(mesh.RunUntil([&] { return mesh.Count(2) == static_cast<size_t>(kMessages); }, seconds(120)));
  EXPECT_GT(mesh[1].counters().messages_fetched, 0u);
}

TEST(Plan, TheWavesAreTheDepthOfTheGraphAndTheBytesThoseThatTheRunMoves) {
  constexpr int kSize = 50;
  for (const Edges& edges : {Chain(kSize), Star(kSize), RingWithChords(kSize)}) {
    TestMesh mesh(kSize, edges);
    for (int i = 0; i < 5; ++i) mesh[0].Put("INBOX", Mail(i, 1000 + static_cast<size_t>(i)));
    // Breadth first: how far the farthest replica is.
    std::vector<int> distance(kSize, -1);
    distance[0] = 0;
    for (bool moved = true; moved;) {
      moved = false;
      for (const auto& [a, b] : edges) {
        for (const auto& [from, to] : {std::make_pair(a, b), std::make_pair(b, a)}) {
          const int here = distance[static_cast<size_t>(from)], there = distance[static_cast<size_t>(to)];
          if (here < 0 || (there >= 0 && there <= here + 1)) continue;
          distance[static_cast<size_t>(to)] = here + 1;
          moved = true;
        }
      }
    }
    mesh.Start();
    const std::vector<PlanItem> items = mesh.Plan();
    ASSERT_EQ(items.size(), 5u * (kSize - 1));
    EXPECT_EQ(items.back().wave, *std::max_element(distance.begin(), distance.end()));
    int64_t fetch_bytes = 0, bytes = 0;
    for (const PlanItem& item : items) {
      EXPECT_EQ(item.operation, "APPEND");
      EXPECT_EQ(item.wave, distance[static_cast<size_t>(std::stoi(item.to.substr(1)))]);
      EXPECT_EQ(item.path_cost, 2 * item.wave);
      EXPECT_EQ(item.body_from, "r0");
      fetch_bytes += item.fetch_bytes;
      bytes += item.bytes;
    }
    EXPECT_EQ(mesh[0].counters().messages_fetched, 0u) << "a plan changes and moves nothing";
    ASSERT_TRUE(mesh.RunUntil([&] { return mesh.Converged(); }, seconds(60)));
    int64_t appended = 0;
    for (int r = 0; r < kSize; ++r) appended += static_cast<int64_t>(mesh[r].bytes_appended);
    EXPECT_EQ(static_cast<int64_t>(mesh[0].bytes_fetched), fetch_bytes);
    EXPECT_EQ(appended, bytes);
  }
}

TEST(Plan, TellsWhatWillBeDoneToMailboxesThemselves) {
  TestMesh mesh(3, Chain(3));
  mesh[0].Put("Gone", Mail(1));
  mesh[0].Put("Stays", Mail(2));
  mesh.Start();
  ASSERT_TRUE(mesh.RunUntil([&] { return mesh.Converged(); }, seconds(10)));
  mesh[0].Remove("Gone");
  mesh[1].SetSubscribed("Stays", true);
  std::vector<std::string> lines;
  for (const PlanItem& item : mesh.Plan()) {
    lines.push_back(std::to_string(item.wave) + " " + item.operation + " " + item.mailbox + " " + item.from + " " +
                    item.to);
  }
  EXPECT_EQ(lines,
            (std::vector<std::string>{"1 SUBSCRIBE Stays r1 r0", "1 SUBSCRIBE Stays r1 r2", "2 EXPUNGE Gone r0 r1",
                                      "3 EXPUNGE Gone r0 r2", "4 DELETE Gone r0 r1", "5 DELETE Gone r0 r2"}));
  EXPECT_TRUE(mesh[1].Has("Gone") && mesh[2].Has("Gone")) << "a plan changes nothing";
  ASSERT_TRUE(mesh.RunUntil([&] { return !mesh[1].Has("Gone") && !mesh[2].Has("Gone"); }, seconds(60)));
}

TEST(Patience, AReplicaThatNeverAnswersDelaysTheFirstSyncOfTheOthersBySecondsOnly) {
  constexpr int kSize = 50;
  TestMesh mesh(kSize, Star(kSize));
  for (int i = 0; i < 20; ++i) mesh[0].Put("INBOX", Mail(i));
  mesh[7].SetStuck(true);
  mesh.Start();
  const auto all_but_one = [&] {
    for (int r = 0; r < kSize; ++r) {
      if (r != 7 && mesh.Count(r) != 20u) return false;
    }
    return true;
  };
  ASSERT_TRUE(mesh.RunUntil(all_but_one, seconds(11)));
  mesh[7].SetStuck(false);
  EXPECT_TRUE(mesh.RunUntil([&] { return mesh.Count(7) == 20u; }, seconds(120)));
}

TEST(Patience, AReplicaThatStopsAnsweringDelaysTheOthersOnceAndThenNoMore) {
  constexpr int kSize = 5;
  TestMesh mesh(kSize, RingWithChords(kSize));
  mesh.Start();
  ASSERT_TRUE(mesh.RunUntil([&] { return mesh.Converged(); }, seconds(10)));
  mesh[2].SetStuck(true);
  Duration worst(0);
  for (int i = 1; i <= 5; ++i) {
    const Duration sent = mesh.clock.Now();
    mesh[0].Put("INBOX", Mail(i));
    const auto arrived = [&] {
      return mesh.Count(1) == static_cast<size_t>(i) && mesh.Count(3) == static_cast<size_t>(i) &&
             mesh.Count(4) == static_cast<size_t>(i);
    };
    ASSERT_TRUE(mesh.RunUntil(arrived, seconds(5))) << "message " << i;
    if (i > 1) worst = std::max(worst, mesh.clock.Now() - sent);
    mesh.RunUntil([] { return false; }, seconds(3));
  }
  EXPECT_LT(worst, milliseconds(100));
  mesh[2].SetStuck(false);
  EXPECT_TRUE(mesh.RunUntil([&] { return mesh.Count(2) == 5u && mesh.Converged(); }, seconds(600)));
  for (int r = 0; r < kSize; ++r) EXPECT_EQ(mesh.Count(r), 5u);
}

// LIST works, each SELECT runs into the deadline: this is a failure in a row, though it comes back each time.
TEST(Patience, ARunGivesUpAReplicaThatIsListedButCannotBeLookedInto) {
  TestMesh mesh(3, Star(3));
  mesh[2].Put("INBOX", Mail(1));
  mesh[1].Put("INBOX", Mail(2));
  mesh[2].looks_while_stuck = true;
  mesh[2].SetStuck(true);
  const RunReport report = mesh.RunOnce();
  EXPECT_FALSE(report.converged);
  EXPECT_LT(mesh.clock.Now(), seconds(5 * 30));
  EXPECT_EQ(mesh.Count(0), 1u);
  EXPECT_EQ(mesh[2].counters().commands, 4u);
}

TEST(Patience, AReplicaThatIsStuckDelaysNoMailboxesOfOthers) {
  TestMesh mesh(5, RingWithChords(5));
  mesh.Start();
  ASSERT_TRUE(mesh.RunUntil([&] { return mesh.Converged(); }, seconds(10)));
  mesh[2].SetStuck(true);
  Duration worst(0);
  for (int i = 1; i <= 4; ++i) {
    const std::string made = "New" + std::to_string(i);
    const Duration begun = mesh.clock.Now();
    mesh[0].Put(made, Mail(i));
    const auto arrived = [&] {
      return mesh.Count(1, made) == 1 && mesh.Count(3, made) == 1 && mesh.Count(4, made) == 1;
    };
    ASSERT_TRUE(mesh.RunUntil(arrived, seconds(5))) << made;
    if (i > 1) worst = std::max(worst, mesh.clock.Now() - begun);
    mesh.RunUntil([] { return false; }, seconds(3));
  }
  EXPECT_LT(worst, milliseconds(100));
  mesh[2].SetStuck(false);
  EXPECT_TRUE(mesh.RunUntil([&] { return mesh.Count(2, "New4") == 1 && mesh.Converged(); }, seconds(600)));
}

TEST(Patience, AReplicaThatIsStuckDelaysNoConflictsOfOthers) {
  const Edges edges = {{0, 1}, {0, 2}, {1, 2}, {1, 3}, {2, 3}};
  TestMesh mesh(4, edges);
  const Uid uid = mesh[0].Put("INBOX", Mail(0));
  mesh.Start();
  ASSERT_TRUE(mesh.RunUntil([&] { return mesh.Converged(); }, seconds(10)));
  mesh[0].SetStuck(true);  // the first that could tell subject and sender
  mesh[1].SetFlag("INBOX", uid, "$Junk");
  mesh[2].SetFlag("INBOX", uid, "$NotJunk");
  ASSERT_TRUE(mesh.RunUntil([&] { return mesh.coordinator().GetStatus()->conflicts_resolved == 1; }, seconds(10)));
  const Duration sent = mesh.clock.Now();
  mesh[1].Put("INBOX", Mail(1));
  ASSERT_TRUE(mesh.RunUntil([&] { return mesh.Count(2) == 2 && mesh.Count(3) == 2; }, seconds(5)));
  EXPECT_LT(mesh.clock.Now() - sent, seconds(3));
}

TEST(Sync, AnswersConvergedThoughTheEnginesOwnChangesAreToldBackToIt) {
  TestMesh mesh(4, Star(4));
  mesh.Start();
  ASSERT_TRUE(mesh.RunUntil([&] { return mesh.Converged(); }, seconds(10)));
  for (int i = 0; i < 50; ++i) {
    mesh[i % 4].Put("INBOX", Mail(i));
    if (i % 3 == 0) mesh.RunUntil([] { return false; }, milliseconds(i));
    std::optional<absl::StatusOr<RunReport>> report;
    mesh.coordinator().Sync(
        SyncScope(), [](const Progress&) {}, [&](absl::StatusOr<RunReport> result) { report = std::move(result); });
    ASSERT_TRUE(mesh.RunUntil([&] { return report.has_value(); }, seconds(60)));
    ASSERT_TRUE(report->ok());
    EXPECT_TRUE((*report)->converged) << "sync " << i;
    for (int r = 0; r < 4; ++r) EXPECT_EQ(mesh.Count(r), static_cast<size_t>(i) + 1);
  }
}

// Begins a sync; its report once it is answered.
std::shared_ptr<std::optional<RunReport>> Sync(TestMesh& mesh, SyncScope scope = {}) {
  auto answer = std::make_shared<std::optional<RunReport>>();
  const auto take = [answer](absl::StatusOr<RunReport> report) {
    EXPECT_TRUE(report.ok()) << report.status();
    *answer = report.ok() ? *report : RunReport();
  };
  mesh.coordinator().Sync(
      std::move(scope), [](const Progress&) {}, take);
  return answer;
}

TEST(Sync, WhileItWaitsForAReplicaThatNeverAnswersOrdersAreCarriedOut) {
  TestMesh mesh(3, RingWithChords(3));
  mesh.Start();
  ASSERT_TRUE(mesh.RunUntil([&] { return mesh.Converged(); }, seconds(10)));
  mesh[2].SetStuck(true);
  const auto synced = Sync(mesh);
  mesh.RunUntil([] { return false; }, seconds(1));
  int answers = 0;
  mesh.coordinator().ListConflicts(false, [&](const auto&) { ++answers; });
  mesh.coordinator().Trace("<nobody@example>", [&](const auto&) { ++answers; });
  mesh.coordinator().PauseEdge("r0:r1", true, [&](const auto&) { ++answers; });
  EXPECT_TRUE(mesh.RunUntil([&] { return answers == 3; }, seconds(3)));
  EXPECT_FALSE(*synced);
  mesh[2].SetStuck(false);
  ASSERT_TRUE(mesh.RunUntil([&] { return synced->has_value(); }, seconds(60)));
  EXPECT_TRUE((*synced)->converged);
}

TEST(Conflicts, ADecisionWaitsForNoBulkThatIsUnderWay) {
  TestMesh mesh(4, Star(4));
  for (int i = 0; i < 60; ++i) {
    for (const int holder : {0, 1, 2, 3}) mesh[holder].Put("Work", Mail(20'000 + i));
  }
  for (int i = 0; i < 3000; ++i) {
    for (const int holder : {0, 1, 2}) mesh[holder].Put("Archive", Mail(i));
  }
  mesh[3].per_byte = std::chrono::microseconds(100);
  mesh.Start();
  ASSERT_TRUE(mesh.RunUntil([&] { return mesh.Count(3, "Archive") > 0; }, seconds(60)));
  mesh[1].Remove("Work");
  mesh.coordinator().Plan([](const auto&) {});  // looks
  ASSERT_TRUE(mesh.RunUntil([&] { return mesh.coordinator().GetStatus()->conflicts_open == 1; }, seconds(60)));
  std::optional<absl::StatusOr<ConflictReport>> resolved;
  mesh.coordinator().Resolve(1, Decision::kReject, "", [&](auto decided) { resolved = std::move(decided); });
  ASSERT_TRUE(mesh.RunUntil([&] { return resolved.has_value(); }, seconds(5)));
  ASSERT_TRUE(resolved->ok()) << resolved->status();
  ASSERT_TRUE(mesh.RunUntil([&] { return mesh[1].Has("Work") && mesh.Count(1, "Work") == 60u; }, seconds(60)));
  EXPECT_LT(mesh.Count(3, "Archive"), 3000u) << "the bulk is still on its way";
}

TEST(History, IsPrunedWhileTheDaemonRuns) {
  TestMesh mesh(2, Star(2));
  mesh.Start();
  ASSERT_TRUE(mesh.RunUntil([&] { return mesh.Converged(); }, seconds(10)));
  mesh[0].Put("INBOX", Mail(1));
  ASSERT_TRUE(mesh.RunUntil([&] { return mesh.Count(1) == 1; }, seconds(10)));
  const auto steps = [&] {
    std::optional<size_t> found;
    mesh.coordinator().Trace("<mail1>",
                             [&](const auto& traced) { found = traced.ok() ? traced->at(0).history.size() : 0; });
    EXPECT_TRUE(mesh.RunUntil([&] { return found.has_value(); }, seconds(10)));
    return found.value_or(0);
  };
  EXPECT_GT(steps(), 0u);
  mesh.RunUntil([] { return false; }, std::chrono::hours(24 * 91));
  EXPECT_EQ(steps(), 0u);
}

TEST(Sync, OfOneReplicaWaitsForNoOther) {
  TestMesh mesh(4, {{0, 1}, {1, 2}, {2, 3}});
  mesh.Start();
  ASSERT_TRUE(mesh.RunUntil([&] { return mesh.Converged(); }, seconds(10)));
  mesh[3].SetStuck(true);
  const auto of_all = Sync(mesh);
  mesh[0].Put("INBOX", Mail(1));
  const Duration begun = mesh.clock.Now();
  const auto of_one = Sync(mesh, {"r0", "", ""});
  ASSERT_TRUE(mesh.RunUntil([&] { return of_one->has_value(); }, seconds(10)));
  EXPECT_LT(mesh.clock.Now() - begun, seconds(5));
  EXPECT_TRUE((*of_one)->converged);
  EXPECT_EQ((*of_one)->ExitCode(), 0);
  ASSERT_EQ((*of_one)->replicas.size(), 2u);  // itself, and the one that it has an edge with
  ASSERT_EQ((*of_one)->edges.size(), 1u);
  EXPECT_EQ((*of_one)->edges[0].b, "r1");
  EXPECT_EQ(mesh.Count(1), 1u);
  EXPECT_FALSE(*of_all);
  ASSERT_TRUE(mesh.RunUntil([&] { return of_all->has_value(); }, std::chrono::minutes(10)));
  EXPECT_FALSE((*of_all)->converged);
}

TEST(Sync, OfOneEdgeLooksAtItsEndsOnly) {
  TestMesh mesh(4, {{0, 1}, {1, 2}, {2, 3}});
  mesh.Start();
  ASSERT_TRUE(mesh.RunUntil([&] { return mesh.Converged(); }, seconds(10)));
  std::vector<uint64_t> before;
  for (int r = 0; r < 4; ++r) before.push_back(mesh[r].counters().commands);
  const auto synced = Sync(mesh, {"", "r2:r1", ""});
  ASSERT_TRUE(mesh.RunUntil([&] { return synced->has_value(); }, seconds(10)));
  EXPECT_TRUE((*synced)->converged);
  for (int r = 0; r < 4; ++r) EXPECT_EQ(mesh[r].counters().commands - before[static_cast<size_t>(r)], r == 1 || r == 2);
}

TEST(Sync, OfOneMailboxIsAnsweredThoughBulkIsUnderWayInAnother) {
  TestMesh mesh(2, Star(2));
  for (int i = 0; i < 5000; ++i) mesh[0].Put("Archive", Mail(i));
  mesh[1].per_byte = std::chrono::microseconds(100);
  mesh.Start();
  ASSERT_TRUE(mesh.RunUntil([&] { return mesh.Count(1, "Archive") > 0; }, seconds(60)));
  mesh[0].Put("INBOX", Mail(10'000));
  const auto synced = Sync(mesh, {"", "", "INBOX"});
  ASSERT_TRUE(mesh.RunUntil([&] { return synced->has_value(); }, std::chrono::hours(1)));
  EXPECT_TRUE((*synced)->converged);
  EXPECT_EQ(mesh.Count(1), 1u);
  EXPECT_LT(mesh.Count(1, "Archive"), 5000u);
}

TEST(Sync, BeginsAnewOnATopologyThatIsReloadedMeanwhile) {
  TestMesh mesh(3, Star(3));
  mesh.Start();
  ASSERT_TRUE(mesh.RunUntil([&] { return mesh.Converged(); }, seconds(10)));
  mesh[2].SetStuck(true);
  const auto synced = Sync(mesh);
  mesh.RunUntil([] { return false; }, seconds(1));
  bool reloaded = false;
  mesh.coordinator().Reload(mesh.coordinator().GetGraph(), [&](const absl::Status& status) { reloaded = status.ok(); });
  ASSERT_TRUE(mesh.RunUntil([&] { return reloaded && synced->has_value(); }, seconds(60)));
  EXPECT_TRUE((*synced)->converged) << "the new replicas are not stuck";
}

TEST(Sync, CountsTheConflictsThatItResolvedAndNoOthers) {
  TestMesh mesh(2, Star(2));
  const Uid uid = mesh[0].Put("INBOX", Mail(0));
  mesh.Start();
  ASSERT_TRUE(mesh.RunUntil([&] { return mesh.Converged(); }, seconds(10)));
  for (const int64_t expected : {1, 0}) {
    if (expected == 1) {
      mesh[0].SetFlag("INBOX", uid, "$Junk");
      mesh[1].SetFlag("INBOX", uid, "$NotJunk");
    }
    const auto synced = Sync(mesh);
    ASSERT_TRUE(mesh.RunUntil([&] { return synced->has_value(); }, seconds(10)));
    EXPECT_EQ((*synced)->conflicts_resolved, expected);
  }
}

TEST(Starvation, BulkToASlowReplicaHoldsBackNoSmallChangeOfOthers) {
  TestMesh mesh(4, Star(4));
  for (int i = 0; i < 3000; ++i) {
    for (const int holder : {0, 1, 2}) mesh[holder].Put("Archive", Mail(i));
  }
  mesh[3].per_byte = std::chrono::microseconds(100);  // 10 kB/s: five minutes on one connection
  mesh.Start();
  const auto on_its_way = [&] { return mesh.Count(3, "Archive") > 1; };  // the first went ahead
  ASSERT_TRUE(mesh.RunUntil(on_its_way, seconds(60)));
  mesh[1].Put("INBOX", Mail(5000));
  mesh[1].SetFlag("Archive", Uid(2900), "\\Flagged");
  const auto arrived = [&] {
    return mesh.Count(2) == 1 && mesh[2].Messages("Archive").at(2900).flags.contains("\\Flagged");
  };
  ASSERT_TRUE(mesh.RunUntil(arrived, seconds(2)));
  EXPECT_LT(mesh.Count(3, "Archive"), 3000u) << "the bulk is still on its way";
  ASSERT_TRUE(mesh.RunUntil([&] { return mesh.Converged(); }, std::chrono::hours(1)));
  EXPECT_EQ(mesh.Count(3, "Archive"), 3000u);
  EXPECT_EQ(mesh.Count(3), 1u);
}

TEST(Starvation, EachTargetOfTheSameBulkGoesAtItsOwnSpeed) {
  TestMesh mesh(3, Star(3));
  for (int i = 0; i < 5000; ++i) mesh[0].Put("Archive", Mail(i));
  mesh[1].per_byte = std::chrono::microseconds(1);
  mesh[2].per_byte = std::chrono::microseconds(100);
  mesh.Start();
  // 5 MB at 1 us a byte on four connections are 1.3 s; the slow one needs a hundred times as long.
  ASSERT_TRUE(mesh.RunUntil([&] { return mesh.Count(1, "Archive") == 5000u; }, seconds(15)));
  EXPECT_LT(mesh.Count(2, "Archive"), 3000u);
  ASSERT_TRUE(mesh.RunUntil([&] { return mesh.Converged(); }, std::chrono::hours(1)));
  EXPECT_EQ(mesh.Count(2, "Archive"), 5000u);
}

TEST(Starvation, NewMailAllTheTimeMakesNobodyWaitForASlowReplica) {
  TestMesh mesh(3, Star(3));
  for (int i = 0; i < 5000; ++i) mesh[0].Put("Archive", Mail(i));
  mesh[1].per_byte = std::chrono::microseconds(1);
  mesh[2].per_byte = std::chrono::microseconds(100);
  mesh.Start();
  for (int second = 0; second < 15; ++second) {
    mesh[0].Put("INBOX", Mail(10'000 + second));
    mesh.RunUntil([] { return false; }, seconds(1));
  }
  EXPECT_EQ(mesh.Count(1), 15u);
  EXPECT_EQ(mesh.Count(1, "Archive"), 5000u);
  EXPECT_LT(mesh.Count(2, "Archive"), 3000u);
}

TEST(Transfer, TargetsOfLikeSpeedShareEachDownloadOfBulk) {
  TestMesh mesh(3, Star(3));
  for (int i = 0; i < 5000; ++i) mesh[0].Put("Archive", Mail(i));
  mesh[1].per_byte = std::chrono::microseconds(2);
  mesh[2].per_byte = std::chrono::microseconds(3);
  EXPECT_TRUE(mesh.RunOnce().converged);
  EXPECT_EQ(mesh.Count(1, "Archive"), 5000u);
  EXPECT_EQ(mesh.Count(2, "Archive"), 5000u);
  EXPECT_EQ(mesh[0].counters().messages_fetched, 5000u);
}

TEST(Paths, WithAReplicaDownChangesTakeAnotherPath) {
  TestMesh mesh(4, {{0, 1}, {1, 2}, {0, 3}, {3, 2}}, {1, 1, 1, 50});
  mesh.Start();
  ASSERT_TRUE(mesh.RunUntil([&] { return mesh.Converged(); }, seconds(10)));
  mesh[1].SetStuck(true);  // the cheap way from 0 to 2
  mesh[0].Put("INBOX", Mail(1));
  EXPECT_TRUE(mesh.RunUntil([&] { return mesh.Count(2) == 1 && mesh.Count(3) == 1; }, seconds(5)));
  EXPECT_EQ(mesh.Count(1), 0u);
}

}  // namespace
}  // namespace imapmesh
