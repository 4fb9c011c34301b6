#include "graph/describe.h"

#include <algorithm>
#include <map>
#include <tuple>

#include "absl/strings/str_format.h"
#include "base/printable.h"

namespace imapmesh {
namespace {

constexpr size_t kProbesMax = 20;        // more patterns than this tell a person nothing
constexpr char kOther[] = "\x7f other";  // no mailbox is named so: no pattern but a wildcard matches it

// Which replicas a change that starts at `from` arrives at. `next` is the adjacency of one probe and kind of change.
std::vector<bool> Spread(const std::vector<std::vector<int>>& next, int from) {
  std::vector<bool> reached(next.size(), false);
  std::vector<int> frontier{from};
  reached[static_cast<size_t>(from)] = true;
  while (!frontier.empty()) {
    const int here = frontier.back();
    frontier.pop_back();
    for (const int there : next[static_cast<size_t>(here)]) {
      if (reached[static_cast<size_t>(there)]) continue;
      reached[static_cast<size_t>(there)] = true;
      frontier.push_back(there);
    }
  }
  return reached;
}

std::vector<std::vector<int>> Adjacency(const Graph& graph, const std::string& mailbox, ChangeKind kind) {
  std::vector<std::vector<int>> next(static_cast<size_t>(graph.replica_count()));
  for (size_t e = 0; e < graph.edges().size(); ++e) {
    const GraphEdge& edge = graph.edges()[e];
    const EdgeIndex index(static_cast<int32_t>(e));
    if (graph.Admits(index, edge.a, mailbox, kind)) next[static_cast<size_t>(edge.a.value)].push_back(edge.b.value);
    if (graph.Admits(index, edge.b, mailbox, kind)) next[static_cast<size_t>(edge.b.value)].push_back(edge.a.value);
  }
  return next;
}

std::string KindsText(const Arrival& arrival) {
  std::string text;
  if (arrival.additions) text += "new mail";
  if (arrival.flags) text += text.empty() ? "flags" : ", flags";
  if (arrival.deletions) text += text.empty() ? "deletions" : ", deletions";
  return text;
}

}  // namespace

std::vector<MailboxProbe> MailboxProbes(const Graph& graph) {
  std::map<std::string, std::string> probes;  // stands for, to mailbox
  const auto add = [&](const std::string& pattern) {
    if (pattern == "*" || probes.size() >= kProbesMax) return;
    std::string mailbox = pattern;
    std::replace_if(
        mailbox.begin(), mailbox.end(), [](char c) { return c == '*' || c == '%'; }, 'x');
    // The mesh spells INBOX in capitals whatever the pattern does.
    if (MatchesPattern(pattern, "INBOX")) mailbox = "INBOX";
    const bool below_inbox = mailbox.size() > 5 && mailbox[5] == '/' && MatchesPattern(mailbox.substr(0, 5), "INBOX");
    if (below_inbox) mailbox.replace(0, 5, "INBOX");
    probes.emplace(pattern, mailbox);
  };
  for (const v1::Edge& edge : graph.topology().edge()) {
    for (const std::string& pattern : edge.mailboxes().include()) add(pattern);
    for (const std::string& pattern : edge.mailboxes().exclude()) add(pattern);
  }
  std::vector<MailboxProbe> ordered{{kOther, probes.empty() ? "every mailbox" : "every other mailbox"}};
  for (const auto& [pattern, mailbox] : probes) ordered.push_back({mailbox, pattern});
  return ordered;
}

std::vector<Arrival> Arrivals(const Graph& graph) {
  std::vector<Arrival> arrivals;
  const std::vector<MailboxProbe> probes = MailboxProbes(graph);
  for (size_t p = 0; p < probes.size(); ++p) {
    const auto additions = Adjacency(graph, probes[p].mailbox, ChangeKind::kAddition);
    const auto flags = Adjacency(graph, probes[p].mailbox, ChangeKind::kFlags);
    const auto deletions = Adjacency(graph, probes[p].mailbox, ChangeKind::kDeletion);
    for (int from = 0; from < graph.replica_count(); ++from) {
      const std::vector<bool> added = Spread(additions, from), flagged = Spread(flags, from),
                              deleted = Spread(deletions, from);
      for (int to = 0; to < graph.replica_count(); ++to) {
        const size_t t = static_cast<size_t>(to);
        if (to == from || !(added[t] || flagged[t] || deleted[t])) continue;
        arrivals.push_back({ReplicaIndex(from), ReplicaIndex(to), p, added[t], flagged[t], deleted[t]});
      }
    }
  }
  std::sort(arrivals.begin(), arrivals.end(), [](const Arrival& x, const Arrival& y) {
    return std::tie(x.to, x.probe, x.from) < std::tie(y.to, y.probe, y.from);
  });
  return arrivals;
}

std::string DescribeReach(const Graph& graph) {
  const std::vector<MailboxProbe> probes = MailboxProbes(graph);
  const std::vector<Arrival> arrivals = Arrivals(graph);
  std::string text;
  size_t next = 0;
  for (int to = 0; to < graph.replica_count(); ++to) {
    text += absl::StrFormat("%s receives\n", graph.topology().replica(to).name());
    if (next == arrivals.size() || arrivals[next].to.value != to) text += "  nothing: no edge leads here\n";
    for (size_t p = 0; p < probes.size(); ++p) {
      // Sources that pass on the same kinds share a line.
      std::map<std::string, std::string> sources;  // kinds, to names
      for (; next < arrivals.size() && arrivals[next].to.value == to && arrivals[next].probe == p; ++next) {
        std::string& names = sources[KindsText(arrivals[next])];
        names += (names.empty() ? "" : ", ") + graph.replica(arrivals[next].from).name();
      }
      for (const auto& [kinds, names] : sources) {
        text += absl::StrFormat("  %s: %s from %s\n", Printable(probes[p].stands_for, 80), kinds, names);
      }
      if (sources.empty() && p > 0) text += absl::StrFormat("  %s: nothing\n", Printable(probes[p].stands_for, 80));
    }
  }
  return text;
}

}  // namespace imapmesh
