#include "tests/sim/shrink.h"

#include <algorithm>
#include <string>

#include "tests/sim/run.h"

namespace imapmesh::sim {
namespace {

constexpr int kRunsMax = 600;

// The invariants that a run broke, by their names.
std::string Broken(const RunResult& result) {
  return result.violations.empty() ? "" : result.violations.front().substr(0, result.violations.front().find(':'));
}

class Shrinker {
 public:
  explicit Shrinker(History history) : best_(std::move(history)), broken_(Broken(Run(best_, RunOptions()))) {}

  History Shrink() {
    for (size_t before = 0; before != best_.steps.size() && runs_ < kRunsMax;) {
      before = best_.steps.size();
      for (size_t chunk = std::max<size_t>(best_.steps.size() / 2, 1); chunk > 0; chunk /= 2) LeaveOut(chunk);
    }
    Simplify();
    return best_;
  }

 private:
  bool Try(const History& history) {
    if (++runs_ > kRunsMax || Broken(Run(history, RunOptions())) != broken_) return false;
    best_ = history;
    return true;
  }

  void LeaveOut(size_t chunk) {
    for (size_t at = 0; at < best_.steps.size();) {
      History shorter = best_;
      const auto begin = shorter.steps.begin() + static_cast<ptrdiff_t>(at);
      const auto end = shorter.steps.begin() + static_cast<ptrdiff_t>(std::min(at + chunk, shorter.steps.size()));
      uint64_t pause = 0;  // what follows keeps its time
      for (auto step = begin; step != end; ++step) pause += step->after_us;
      if (end != shorter.steps.end()) end->after_us += pause;
      shorter.steps.erase(begin, end);
      if (!Try(shorter)) at += chunk;
    }
  }

  void Simplify() {
    for (const auto simplify : {+[](History& h) { h.fragments = false; }, +[](History& h) { h.slow_percent = 0; },
                                +[](History& h) { h.server_bits = 0; }, +[](History& h) { h.tier_bits = 0; },
                                +[](History& h) { h.coordinators.clear(); }}) {
      History simpler = best_;
      simplify(simpler);
      Try(simpler);
    }
    for (size_t e = 0; e < best_.edges.size();) {
      History fewer = best_;
      if (!WithoutEdge(fewer, static_cast<int>(e)) || !Try(fewer)) ++e;
    }
  }

  // False when a coordinator would have none left.
  static bool WithoutEdge(History& history, int edge) {
    history.edges.erase(history.edges.begin() + edge);
    bool some = !history.edges.empty();
    for (std::vector<int>& share : history.coordinators) {
      std::erase(share, edge);
      for (int& other : share) other -= other > edge ? 1 : 0;
      some &= !share.empty();
    }
    return some;
  }

  History best_;
  const std::string broken_;
  int runs_ = 0;
};

}  // namespace

History Shrink(History history) {
  return Shrinker(std::move(history)).Shrink();
}

}  // namespace imapmesh::sim
