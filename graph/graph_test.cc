#include "graph/graph.h"

#include <random>

#include "graph/describe.h"
#include "graph/draw.h"
#include "graph/test_support.h"

namespace imapmesh {
namespace {

constexpr ChangeKind kKinds[] = {ChangeKind::kAddition, ChangeKind::kFlags, ChangeKind::kDeletion,
                                 ChangeKind::kMailboxDeletion};

bool Reaches(const Graph& graph, const char* from, const char* to, const char* mailbox = "INBOX",
             ChangeKind kind = ChangeKind::kAddition) {
  return graph.Reaches(*graph.FindReplica(from), *graph.FindReplica(to), mailbox, kind);
}

TEST(Pattern, StarIsAnyText) {
  EXPECT_TRUE(MatchesPattern("*", "Work/2024/May"));
  EXPECT_TRUE(MatchesPattern("*", ""));
  EXPECT_TRUE(MatchesPattern("Work/*", "Work/2024/May"));
  EXPECT_FALSE(MatchesPattern("Work/*", "Work"));
  EXPECT_TRUE(MatchesPattern("*May", "Work/2024/May"));
  EXPECT_TRUE(MatchesPattern("*a*b*", "xaybz"));
  EXPECT_FALSE(MatchesPattern("*a*b*c", "xaybz"));
}

TEST(Pattern, PercentStaysWithinALevel) {
  EXPECT_TRUE(MatchesPattern("%", "Work"));
  EXPECT_FALSE(MatchesPattern("%", "Work/2024"));
  EXPECT_TRUE(MatchesPattern("Work/%", "Work/2024"));
  EXPECT_FALSE(MatchesPattern("Work/%", "Work/2024/May"));
  EXPECT_TRUE(MatchesPattern("Work/%/May", "Work/2024/May"));
  EXPECT_TRUE(MatchesPattern("*/%y", "Work/2024/May"));
}

TEST(Pattern, OnlyInboxIsTheSameInAnyCase) {
  EXPECT_TRUE(MatchesPattern("inbox", "INBOX"));
  EXPECT_TRUE(MatchesPattern("Inbox/*", "INBOX/lists"));
  EXPECT_FALSE(MatchesPattern("inboxes", "INBOXES"));
  EXPECT_FALSE(MatchesPattern("work", "Work"));
}

TEST(Reach, PassesAlongAChainBothWays) {
  const auto loaded = MustLoad(TopologyText({"a", "b", "c"}, "edge { a: \"a\" b: \"b\" } edge { a: \"b\" b: \"c\" }"));
  EXPECT_TRUE(Reaches(*loaded.graph, "a", "c"));
  EXPECT_TRUE(Reaches(*loaded.graph, "c", "a"));
}

TEST(Reach, GoesOneWayAlongAOneWayEdge) {
  const auto loaded = MustLoad(TopologyText({"a", "b", "c"}, R"(
    edge { a: "a" b: "b" direction: A_TO_B }
    edge { a: "c" b: "b" direction: B_TO_A })"));
  EXPECT_TRUE(Reaches(*loaded.graph, "a", "c"));
  EXPECT_FALSE(Reaches(*loaded.graph, "c", "a"));
  EXPECT_FALSE(Reaches(*loaded.graph, "b", "a"));
}

TEST(Reach, OfACycleOfOneWayEdgesIsEverywhere) {
  const auto loaded = MustLoad(TopologyText({"a", "b", "c"}, R"(
    edge { a: "a" b: "b" direction: A_TO_B }
    edge { a: "b" b: "c" direction: A_TO_B }
    edge { a: "c" b: "a" direction: A_TO_B })"));
  for (const char* from : {"a", "b", "c"}) {
    for (const char* to : {"a", "b", "c"}) EXPECT_TRUE(Reaches(*loaded.graph, from, to)) << from << to;
  }
}

TEST(Reach, EndsWhereTheMailboxIsNotSelected) {
  const auto loaded = MustLoad(TopologyText({"a", "b", "c"}, R"(
    edge { a: "a" b: "b" mailboxes { include: "Work/*" include: "INBOX" exclude: "Work/secret" } }
    edge { a: "b" b: "c" })"));
  EXPECT_TRUE(Reaches(*loaded.graph, "a", "c", "Work/x"));
  EXPECT_FALSE(Reaches(*loaded.graph, "a", "c", "Work/secret"));
  EXPECT_FALSE(Reaches(*loaded.graph, "a", "c", "Other"));
  EXPECT_TRUE(Reaches(*loaded.graph, "b", "c", "Other"));
  EXPECT_FALSE(loaded.graph->Selects(*loaded.graph->FindReplica("a"), "Other"));
  EXPECT_TRUE(loaded.graph->Selects(*loaded.graph->FindReplica("b"), "Other"));
}

TEST(Reach, DependsOnTheKindOfChange) {
  const auto loaded = MustLoad(TopologyText({"a", "b", "c"}, R"(
    edge { a: "a" b: "b" flags: NONE }
    edge { a: "b" b: "c" deletes: KEEP }
    policy { mailbox_deletes: KEEP })"));
  EXPECT_TRUE(Reaches(*loaded.graph, "a", "c", "INBOX", ChangeKind::kAddition));
  EXPECT_FALSE(Reaches(*loaded.graph, "a", "b", "INBOX", ChangeKind::kFlags));
  EXPECT_TRUE(Reaches(*loaded.graph, "b", "c", "INBOX", ChangeKind::kFlags));
  EXPECT_TRUE(Reaches(*loaded.graph, "a", "b", "INBOX", ChangeKind::kDeletion));
  EXPECT_FALSE(Reaches(*loaded.graph, "b", "c", "INBOX", ChangeKind::kDeletion));
  EXPECT_FALSE(Reaches(*loaded.graph, "a", "b", "INBOX", ChangeKind::kMailboxDeletion));
}

TEST(Graph, FindsAnEdgeFromEitherEnd) {
  const auto loaded = MustLoad(TopologyText({"a", "b"}, "edge { a: \"a\" b: \"b\" }"));
  EXPECT_EQ(loaded.graph->FindEdge("a:b"), EdgeIndex(0));
  EXPECT_EQ(loaded.graph->FindEdge("b:a"), EdgeIndex(0));
  EXPECT_EQ(loaded.graph->FindEdge("a:c"), std::nullopt);
  EXPECT_EQ(loaded.graph->FindEdge("a"), std::nullopt);
}

// Tries every path without a repeated replica.
bool ReachesByTrying(const v1::Topology& topology, const std::string& from, const std::string& to,
                     const std::string& mailbox, ChangeKind kind, std::vector<std::string> path) {
  if (from == to) return true;
  path.push_back(from);
  for (const v1::Edge& edge : topology.edge()) {
    if (edge.a() != from && edge.b() != from) continue;
    const std::string& next = edge.a() == from ? edge.b() : edge.a();
    if (std::find(path.begin(), path.end(), next) != path.end()) continue;
    const bool against = edge.direction() == (edge.a() == from ? v1::Edge::B_TO_A : v1::Edge::A_TO_B);
    const bool no_flags = kind == ChangeKind::kFlags && edge.flags() == v1::Edge::NONE;
    const bool deletion = kind == ChangeKind::kDeletion || kind == ChangeKind::kMailboxDeletion;
    const bool excluded = !edge.mailboxes().exclude().empty() && edge.mailboxes().exclude(0) == mailbox;
    if (against || no_flags || excluded || (deletion && edge.deletes() == v1::Edge::KEEP)) continue;
    if (ReachesByTrying(topology, next, to, mailbox, kind, path)) return true;
  }
  return false;
}

v1::Topology RandomTopology(std::mt19937& random) {
  v1::Topology topology;
  topology.set_name("random");
  const int count = 2 + static_cast<int>(random() % 5);
  for (int i = 0; i < count; ++i) topology.add_replica()->set_name("r" + std::to_string(i));
  for (int a = 0; a < count; ++a) {
    for (int b = a + 1; b < count; ++b) {
      if (random() % 5 < 2) continue;
      v1::Edge& edge = *topology.add_edge();
      edge.set_a(topology.replica(a).name());
      edge.set_b(topology.replica(b).name());
      edge.set_direction(static_cast<v1::Edge::Direction>(random() % 3));
      if (random() % 3 == 0) edge.set_flags(v1::Edge::NONE);
      if (random() % 3 == 0) edge.set_deletes(v1::Edge::KEEP);
      if (random() % 3 == 0) edge.mutable_mailboxes()->add_exclude("INBOX");
    }
  }
  return topology;
}

TEST(Reach, EqualsATrialOfEveryPathOnRandomGraphs) {
  for (unsigned seed = 1; seed <= 300; ++seed) {
    std::mt19937 random(seed);
    const v1::Topology topology = RandomTopology(random);
    const Graph graph(topology, "");
    for (const v1::Replica& from : topology.replica()) {
      for (const v1::Replica& to : topology.replica()) {
        for (const ChangeKind kind : kKinds) {
          for (const char* mailbox : {"INBOX", "Other"}) {
            ASSERT_EQ(Reaches(graph, from.name().c_str(), to.name().c_str(), mailbox, kind),
                      ReachesByTrying(topology, from.name(), to.name(), mailbox, kind, {}))
                << "seed " << seed << " " << from.name() << " to " << to.name() << " " << mailbox << "\n"
                << topology.DebugString();
          }
        }
      }
    }
  }
}

TEST(DescribeReach, AgreesWithReachesOnRandomGraphs) {
  for (unsigned seed = 1; seed <= 100; ++seed) {
    std::mt19937 random(seed);
    const Graph graph(RandomTopology(random), "");
    const std::vector<MailboxProbe> probes = MailboxProbes(graph);
    const std::vector<Arrival> arrivals = Arrivals(graph);
    size_t expected = 0;
    for (size_t p = 0; p < probes.size(); ++p) {
      for (int from = 0; from < graph.replica_count(); ++from) {
        for (int to = 0; to < graph.replica_count(); ++to) {
          if (from == to) continue;
          const ReplicaIndex f(from), t(to);
          const std::string& mailbox = probes[p].mailbox;
          const Arrival arrival{f,
                                t,
                                p,
                                graph.Reaches(f, t, mailbox, ChangeKind::kAddition),
                                graph.Reaches(f, t, mailbox, ChangeKind::kFlags),
                                graph.Reaches(f, t, mailbox, ChangeKind::kDeletion)};
          if (!arrival.additions && !arrival.flags && !arrival.deletions) continue;
          ++expected;
          EXPECT_NE(std::find(arrivals.begin(), arrivals.end(), arrival), arrivals.end()) << "seed " << seed;
        }
      }
    }
    EXPECT_EQ(arrivals.size(), expected) << "seed " << seed;
  }
}

TEST(DescribeReach, TellsForEachReplicaWhatItReceives) {
  const auto loaded = MustLoad(TopologyText({"server", "laptop", "archive"}, R"(
    edge { a: "server" b: "laptop" mailboxes { exclude: "Spam/*" } }
    edge { a: "server" b: "archive" direction: A_TO_B deletes: KEEP })"));
  EXPECT_EQ(DescribeReach(*loaded.graph),
            "server receives\n"
            "  every other mailbox: new mail, flags, deletions from laptop\n"
            "  Spam/*: nothing\n"
            "laptop receives\n"
            "  every other mailbox: new mail, flags, deletions from server\n"
            "  Spam/*: nothing\n"
            "archive receives\n"
            "  every other mailbox: new mail, flags from server, laptop\n"
            "  Spam/*: new mail, flags from server\n");
}

const char kDrawn[] = R"(
name: "home"
replica { name: "server" imap { host: "mail.example.org" } auth { username: "alice" password: "hunter2" } }
replica { name: "laptop" tunnel { command: "sh -c \"imap\"" } }
edge { a: "laptop" b: "server" }
)";

TEST(Draw, TextListsReplicasAndEdges) {
  EXPECT_EQ(DrawText(*MustLoad(kDrawn).graph),
            "home: 2 replica(s), 1 edge(s)\n\n"
            "replicas\n"
            "  server  alice@mail.example.org:993 (TLS)\n"
            "  laptop  tunnel `sh -c \"imap\"`\n\n"
            "edges\n"
            "  laptop <-> server  every mailbox, every change\n");
}

TEST(Draw, DotQuotesWhatItShowsAndHoldsNoPassword) {
  const std::string dot = DrawDot(*MustLoad(kDrawn).graph);
  EXPECT_NE(dot.find(R"("laptop" [label="laptop\ntunnel `sh -c \"imap\"`"];)"), std::string::npos) << dot;
  EXPECT_NE(dot.find(R"("laptop" -> "server" [dir=both];)"), std::string::npos) << dot;
  EXPECT_EQ(dot.find("hunter2"), std::string::npos);
}

TEST(Draw, EdgesSayWhatTheyDoNotCarry) {
  const auto loaded = MustLoad(TopologyText(
      {"a", "b"}, R"(edge { a: "a" b: "b" flags: NONE deletes: KEEP paused: true mailboxes { exclude: "Spam" } })"));
  EXPECT_EQ(CarriesText(loaded.graph->topology().edge(0)),
            "every mailbox but Spam; no flags; deletions are not passed on; paused");
}

TEST(Draw, SvgComesFromGraphvizOrTellsThatItIsMissing) {
  const auto svg = DrawSvg(*MustLoad(kDrawn).graph);
  if (svg.ok()) {
    EXPECT_NE(svg->find("<svg"), std::string::npos);
    EXPECT_NE(svg->find("mail.example.org"), std::string::npos);
  } else {
    EXPECT_EQ(Message(svg.status()),
              "Graphviz's dot is not installed; run apt-get install graphviz, or use --format dot or text");
  }
}

}  // namespace
}  // namespace imapmesh
