#include "tests/sim/history.h"

#include <algorithm>
#include <array>
#include <set>
#include <sstream>

#include "tests/sim/random.h"

namespace imapmesh::sim {
namespace {

constexpr std::array<const char*, static_cast<size_t>(StepKind::kCount)> kNames = {
    "deliver", "redeliver",  "flag",     "unflag",    "expunge",        "move",           "copy",
    "create",  "burst",      "cut-up",   "cut-down",  "stall",          "down",           "kill",
    "restart", "lose-state", "remember", "roll-back", "renumber",       "backup",         "restore",
    "pause",   "resume",     "reload",   "sync",      "delete-mailbox", "rename-mailbox", "wipe"};

std::string ReplicaName(int r) {
  return "r" + std::to_string(r);
}

std::string DrawEdge(Random& random, int a, int b, bool plain) {
  std::string edge = "a: \"" + ReplicaName(a) + "\" b: \"" + ReplicaName(b) + "\"";
  if (plain) return edge;
  if (random.Chance(40)) edge += random.Chance(50) ? " direction: A_TO_B" : " direction: B_TO_A";
  if (random.Chance(25))
    edge += " mailboxes { exclude: \"Spam*\" }";
  else if (random.Chance(10))
    edge += " mailboxes { include: \"INBOX\" }";
  if (random.Chance(20)) edge += " flags: NONE";
  if (random.Chance(25)) edge += " deletes: KEEP";
  return edge;
}

void DrawGraph(Random& random, const Limits& limits, History& history) {
  const uint64_t size = random.Below(100);
  int replicas = size < 40 ? 2 : size < 70 ? 3 : size < 85 ? 4 : static_cast<int>(random.Between(5, 12));
  history.replicas = std::min(replicas, limits.replicas_max);
  const bool plain = random.Chance(60);
  std::set<std::pair<int, int>> pairs;
  for (int r = 1; r < history.replicas; ++r)
    pairs.insert({static_cast<int>(random.Below(static_cast<uint64_t>(r))), r});
  const uint64_t extra = random.Below(static_cast<uint64_t>(history.replicas));
  for (uint64_t i = 0; i < extra; ++i) {
    const int a = static_cast<int>(random.Below(static_cast<uint64_t>(history.replicas)));
    const int b = static_cast<int>(random.Below(static_cast<uint64_t>(history.replicas)));
    if (a != b) pairs.insert({std::min(a, b), std::max(a, b)});
  }
  for (const auto& [a, b] : pairs) history.edges.push_back(DrawEdge(random, a, b, plain || random.Chance(50)));
  history.policy = "brake { min_messages: 1000000 }";
  if (random.Chance(20)) history.policy += " delete_vs_change: CHANGE_WINS";
}

struct Weight {
  StepKind kind;
  int weight;
  bool fault;
};

constexpr Weight kWeights[] = {
    {StepKind::kDeliver, 30, false},   {StepKind::kRedeliver, 4, false},    {StepKind::kFlag, 14, false},
    {StepKind::kUnflag, 8, false},     {StepKind::kExpunge, 12, false},     {StepKind::kMove, 12, false},
    {StepKind::kCopy, 5, false},       {StepKind::kCreate, 4, false},       {StepKind::kBurst, 3, false},
    {StepKind::kCutToServer, 8, true}, {StepKind::kCutToClient, 8, true},   {StepKind::kStall, 3, true},
    {StepKind::kDown, 5, true},        {StepKind::kKill, 8, true},          {StepKind::kRestart, 2, true},
    {StepKind::kLoseState, 2, true},   {StepKind::kRememberState, 3, true}, {StepKind::kRollBackState, 3, true},
    {StepKind::kRenumber, 3, true},    {StepKind::kBackup, 2, true},        {StepKind::kRestore, 2, true},
    {StepKind::kPause, 3, true},       {StepKind::kResume, 3, true},        {StepKind::kReload, 4, true},
    {StepKind::kSync, 4, false},
};

uint64_t DrawDelay(Random& random, int pace) {
  switch (pace) {
    case 0:
      return random.Below(3'000);  // within one exchange
    case 1:
      return random.Chance(50) ? random.Below(20'000) : random.Logarithmic(23);
    default:
      return random.Chance(80) ? random.Logarithmic(22) : random.Below(60'000'000);
  }
}

// Some of the edges each, every edge at least once.
void DrawCoordinators(Random& random, History& history) {
  history.coordinators.resize(random.Chance(70) ? 2 : 3);
  for (std::vector<int>& share : history.coordinators) {
    for (size_t e = 0; e < history.edges.size(); ++e) {
      if (random.Chance(65)) share.push_back(static_cast<int>(e));
    }
    if (share.empty()) share.push_back(static_cast<int>(random.Below(history.edges.size())));
  }
  for (int e = 0; e < static_cast<int>(history.edges.size()); ++e) {
    const bool carried = std::any_of(history.coordinators.begin(), history.coordinators.end(), [e](const auto& share) {
      return std::find(share.begin(), share.end(), e) != share.end();
    });
    if (!carried) history.coordinators[random.Below(history.coordinators.size())].push_back(e);
  }
}

// A mailbox that is renamed out of an edge's selection is a question of its own.
void SelectEverything(std::string& edge) {
  const size_t begin = edge.find(" mailboxes {");
  if (begin != std::string::npos) edge.erase(begin, edge.find('}', begin) + 1 - begin);
}

void ReplaceSome(Random& random, History& history, StepKind kind, int percent) {
  for (Step& step : history.steps) {
    if (random.Chance(percent)) step.kind = kind;
  }
}

// What only some histories have, each drawn apart from the rest, so that what a seed means otherwise stays.
void DrawExtras(Random random, const Limits& limits, History& history) {
  const bool several = random.Chance(15);
  Random coordinators(random.Next());
  if (several && limits.several) DrawCoordinators(coordinators, history);
  if (random.Chance(15)) ReplaceSome(random, history, StepKind::kDeleteMailbox, 8);
  if (random.Chance(12)) {
    ReplaceSome(random, history, StepKind::kRenameMailbox, 8);
    for (std::string& edge : history.edges) SelectEverything(edge);
  }
  history.approves = random.Chance(50);
  if (random.Chance(15)) {
    history.policy = "brake { min_messages: " + std::to_string(random.Between(2, 5)) + " }";
    ReplaceSome(random, history, StepKind::kWipe, 8);
    ReplaceSome(random, history, StepKind::kBurst, 10);
    // What waits as a duplicate and is wiped as well: docs/reliability.md, Open.
    std::erase_if(history.steps, [](const Step& step) { return step.kind == StepKind::kRedeliver; });
  }
  if (random.Chance(10))
    history.policy = history.policy.substr(0, history.policy.find('}') + 1) + " delete_vs_change: ASK";
  if (random.Chance(5)) history.policy += " mailbox_deletes: ASK";
  if (random.Chance(20)) history.tier_bits = static_cast<uint32_t>(random.Next());
  if (random.Chance(15)) history.keyword_bits = static_cast<uint32_t>(random.Next());
}

}  // namespace

bool HasFaults(const History& history) {
  return history.slow_percent > 0 || std::any_of(history.steps.begin(), history.steps.end(), [](const Step& step) {
           return step.kind >= StepKind::kCutToServer && step.kind <= StepKind::kReload;
         });
}

std::vector<std::vector<int>> Shares(const History& history) {
  if (!history.coordinators.empty()) return history.coordinators;
  std::vector<int> all;
  for (int e = 0; e < static_cast<int>(history.edges.size()); ++e) all.push_back(e);
  return {all};
}

const char* Name(StepKind kind) {
  return kNames[static_cast<size_t>(kind)];
}

// Swarm testing: each history draws its own mix, so that rare combinations are not drowned in the average.
History Draw(uint64_t seed, const Limits& limits) {
  Random random(seed);
  History history;
  history.seed = seed;
  DrawGraph(random, limits, history);
  history.server_bits = random.Chance(50) ? 0 : static_cast<uint32_t>(random.Next());
  history.latency_us = static_cast<uint32_t>(100 + random.Logarithmic(14));
  history.slow_percent = limits.faults && random.Chance(20) ? static_cast<int>(random.Between(1, 10)) : 0;
  history.fragments = random.Chance(15);
  const bool calm = !limits.faults || random.Chance(20);
  std::vector<Weight> mix;
  int total = 0;
  for (const Weight& weight : kWeights) {
    const bool on =
        weight.kind == StepKind::kDeliver || (random.Chance(weight.fault ? 35 : 70) && !(weight.fault && calm));
    if (!on) continue;
    mix.push_back(weight);
    total += weight.weight;
  }
  const int pace = static_cast<int>(random.Below(3));
  const uint64_t steps = 3 + random.Logarithmic(7) % static_cast<uint64_t>(limits.steps_max);
  for (uint64_t i = 0; i < steps; ++i) {
    Step step;
    auto draw = static_cast<int>(random.Below(static_cast<uint64_t>(total)));
    for (const Weight& weight : mix) {
      step.kind = weight.kind;
      draw -= weight.weight;
      if (draw < 0) break;
    }
    step.after_us = DrawDelay(random, pace);
    step.a = static_cast<uint32_t>(random.Below(1'000'000));
    step.b = static_cast<uint32_t>(random.Logarithmic(20));
    step.c = static_cast<uint32_t>(random.Below(1'000'000));
    history.steps.push_back(step);
  }
  DrawExtras(Random(seed ^ 0xe875a5), limits, history);
  return history;
}

std::string ToText(const History& history) {
  std::ostringstream out;
  out << "history seed=" << history.seed << " replicas=" << history.replicas << " servers=" << history.server_bits
      << " latency_us=" << history.latency_us << " slow=" << history.slow_percent
      << " fragments=" << (history.fragments ? 1 : 0) << " approves=" << (history.approves ? 1 : 0)
      << " tiers=" << history.tier_bits << " keywords=" << history.keyword_bits << "\n";
  out << "policy " << history.policy << "\n";
  for (const std::string& edge : history.edges) out << "edge " << edge << "\n";
  for (const std::vector<int>& share : history.coordinators) {
    out << "coordinator";
    for (const int edge : share) out << " " << edge;
    out << "\n";
  }
  for (const Step& step : history.steps) {
    out << "step " << step.after_us << " " << Name(step.kind) << " " << step.a << " " << step.b << " " << step.c
        << "\n";
  }
  return out.str();
}

absl::StatusOr<History> Parse(std::string_view text) {
  History history;
  std::istringstream lines{std::string(text)};
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string word;
    if (line.empty() || line[0] == '#' || !(words >> word)) continue;
    if (word == "history") {
      while (words >> word) {
        const size_t equals = word.find('=');
        const std::string key = word.substr(0, equals);
        const uint64_t value = std::stoull(word.substr(equals + 1));
        if (key == "seed") history.seed = value;
        if (key == "replicas") history.replicas = static_cast<int>(value);
        if (key == "servers") history.server_bits = static_cast<uint32_t>(value);
        if (key == "latency_us") history.latency_us = static_cast<uint32_t>(value);
        if (key == "slow") history.slow_percent = static_cast<int>(value);
        if (key == "fragments") history.fragments = value != 0;
        if (key == "approves") history.approves = value != 0;
        if (key == "tiers") history.tier_bits = static_cast<uint32_t>(value);
        if (key == "keywords") history.keyword_bits = static_cast<uint32_t>(value);
      }
    } else if (word == "policy" || word == "edge") {
      const std::string rest = line.size() > word.size() ? line.substr(word.size() + 1) : "";
      if (word == "policy") history.policy = rest;
      if (word == "edge") history.edges.push_back(rest);
    } else if (word == "coordinator") {
      history.coordinators.emplace_back();
      for (int edge = 0; words >> edge;) history.coordinators.back().push_back(edge);
    } else if (word == "step") {
      Step step;
      words >> step.after_us >> word >> step.a >> step.b >> step.c;
      const auto found = std::find(kNames.begin(), kNames.end(), word);
      if (found == kNames.end()) return Error(absl::StatusCode::kInvalidArgument, "no such step: %s", line);
      step.kind = static_cast<StepKind>(found - kNames.begin());
      history.steps.push_back(step);
    } else {
      return Error(absl::StatusCode::kInvalidArgument, "no line of a history: %s", line);
    }
  }
  return history;
}

std::string TopologyText(const History& history, const std::vector<int>& without) {
  std::string edges;
  for (size_t e = 0; e < history.edges.size(); ++e) {
    if (std::find(without.begin(), without.end(), static_cast<int>(e)) != without.end()) continue;
    edges += "edge { " + history.edges[e] + " }\n";
  }
  std::string text = "name: \"sim\" policy { " + history.policy + " }\n";
  for (int r = 0; r < history.replicas; ++r) {
    const std::string name = ReplicaName(r);
    if (edges.find("\"" + name + "\"") == std::string::npos) continue;
    text += "replica { name: \"" + name + "\" tunnel { command: \"" + name + "\" } }\n";
  }
  return text + edges;
}

}  // namespace imapmesh::sim
