#include "graph/graph.h"

#include <algorithm>
#include <cctype>

namespace imapmesh {
namespace {

bool EqualsIgnoringCase(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](unsigned char x, unsigned char y) { return std::tolower(x) == std::tolower(y); });
}

// Glob matching without recursion: on a mismatch, the last wildcard takes one character more.
bool MatchesGlob(std::string_view pattern, std::string_view text) {
  size_t p = 0, t = 0;
  size_t star_pattern = std::string_view::npos, star_text = 0;        // last `*`
  size_t percent_pattern = std::string_view::npos, percent_text = 0;  // last `%`, after that `*`
  while (true) {
    if (p < pattern.size() && pattern[p] == '*') {
      star_pattern = ++p;
      star_text = t;
      percent_pattern = std::string_view::npos;
    } else if (p < pattern.size() && pattern[p] == '%') {
      percent_pattern = ++p;
      percent_text = t;
    } else if (p == pattern.size() && t == text.size()) {
      return true;
    } else if (p < pattern.size() && t < text.size() && pattern[p] == text[t]) {
      ++p;
      ++t;
    } else if (percent_pattern != std::string_view::npos && percent_text < text.size() && text[percent_text] != '/') {
      p = percent_pattern;
      t = ++percent_text;
    } else if (star_pattern != std::string_view::npos && star_text < text.size()) {
      percent_pattern = std::string_view::npos;
      p = star_pattern;
      t = ++star_text;
    } else {
      return false;
    }
  }
}

bool SelectsMailbox(const v1::MailboxSelection& selection, std::string_view mailbox) {
  const auto matches = [&](const std::string& pattern) { return MatchesPattern(pattern, mailbox); };
  const bool included =
      selection.include().empty() || std::any_of(selection.include().begin(), selection.include().end(), matches);
  return included && std::none_of(selection.exclude().begin(), selection.exclude().end(), matches);
}

}  // namespace

Graph::Graph(v1::Topology topology, std::string folder) : topology_(std::move(topology)), folder_(std::move(folder)) {
  for (const v1::Edge& edge : topology_.edge()) {
    edges_.push_back({*FindReplica(edge.a()), *FindReplica(edge.b()), edge.a() + ":" + edge.b()});
  }
}

std::optional<ReplicaIndex> Graph::FindReplica(std::string_view name) const {
  for (int i = 0; i < topology_.replica_size(); ++i) {
    if (topology_.replica(i).name() == name) return ReplicaIndex(i);
  }
  return std::nullopt;
}

std::optional<EdgeIndex> Graph::FindEdge(std::string_view name) const {
  const size_t colon = name.find(':');
  if (colon == std::string_view::npos) return std::nullopt;
  const std::string reversed = std::string(name.substr(colon + 1)) + ":" + std::string(name.substr(0, colon));
  for (size_t e = 0; e < edges_.size(); ++e) {
    if (edges_[e].name == name || edges_[e].name == reversed) return EdgeIndex(static_cast<int32_t>(e));
  }
  return std::nullopt;
}

bool Graph::Admits(EdgeIndex index, ReplicaIndex from, std::string_view mailbox, ChangeKind kind) const {
  const v1::Edge& edge = topology_.edge(index.value);
  const bool from_a = edges_[static_cast<size_t>(index.value)].a == from;
  if (edge.direction() == v1::Edge::A_TO_B && !from_a) return false;
  if (edge.direction() == v1::Edge::B_TO_A && from_a) return false;
  if (kind == ChangeKind::kFlags && edge.flags() == v1::Edge::NONE) return false;
  const bool deletion = kind == ChangeKind::kDeletion || kind == ChangeKind::kMailboxDeletion;
  if (deletion && edge.deletes() == v1::Edge::KEEP) return false;
  if (kind == ChangeKind::kMailboxDeletion && topology_.policy().mailbox_deletes() == v1::MailboxDeletePolicy::KEEP) {
    return false;
  }
  return SelectsMailbox(edge.mailboxes(), mailbox);
}

v1::Policy::DeleteVsChange Graph::DeleteVsChange(EdgeIndex index) const {
  const v1::Edge& edge = topology_.edge(index.value);
  return edge.has_delete_vs_change() ? edge.delete_vs_change() : topology_.policy().delete_vs_change();
}

bool Graph::Selects(ReplicaIndex replica, std::string_view mailbox) const {
  for (size_t e = 0; e < edges_.size(); ++e) {
    const bool touches = edges_[e].a == replica || edges_[e].b == replica;
    if (touches && SelectsMailbox(topology_.edge(static_cast<int>(e)).mailboxes(), mailbox)) return true;
  }
  return false;
}

bool Graph::Reaches(ReplicaIndex from, ReplicaIndex to, std::string_view mailbox, ChangeKind kind) const {
  std::vector<bool> reached(static_cast<size_t>(replica_count()), false);
  std::vector<ReplicaIndex> frontier{from};
  reached[static_cast<size_t>(from.value)] = true;
  while (!frontier.empty()) {
    const ReplicaIndex here = frontier.back();
    frontier.pop_back();
    for (size_t e = 0; e < edges_.size(); ++e) {
      if (edges_[e].a != here && edges_[e].b != here) continue;
      const ReplicaIndex there = edges_[e].a == here ? edges_[e].b : edges_[e].a;
      const EdgeIndex edge(static_cast<int32_t>(e));
      if (reached[static_cast<size_t>(there.value)] || !Admits(edge, here, mailbox, kind)) continue;
      reached[static_cast<size_t>(there.value)] = true;
      frontier.push_back(there);
    }
  }
  return reached[static_cast<size_t>(to.value)];
}

bool MatchesPattern(std::string_view pattern, std::string_view mailbox) {
  // INBOX is one name in any case (RFC 3501 section 5.1); the mesh spells it in capitals.
  constexpr std::string_view kInbox = "INBOX";
  if (EqualsIgnoringCase(pattern.substr(0, 5), kInbox) && (pattern.size() == 5 || pattern[5] == '/')) {
    return MatchesGlob(std::string(kInbox) + std::string(pattern.substr(5)), mailbox);
  }
  return MatchesGlob(pattern, mailbox);
}

}  // namespace imapmesh
