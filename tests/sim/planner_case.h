// Random lives of one message through merge and plan alone: no server, no store, millions in a few minutes.
//
// A PlannerWorld is one graph; each Case draws a life: users delete and flag, observations come late, replicas are
// away, edges paused, operations done, lost on the way, or done without an answer. In the end everything is observed
// and planned until nothing is pending, and the invariants are checked. explore.cc and planner_test.cc run them.
#ifndef IMAPMESH_TESTS_SIM_PLANNER_CASE_H_
#define IMAPMESH_TESTS_SIM_PLANNER_CASE_H_

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "engine/sync/merge.h"
#include "engine/sync/plan.h"
#include "tests/sim/random.h"

namespace imapmesh::sim {

class PlannerWorld {
 public:
  explicit PlannerWorld(uint64_t seed);

  // What is broken, or "". The same seed gives the same life.
  std::string Case(uint64_t seed);

 private:
  // What a server really holds.
  struct Copy {
    bool present = false;
    std::set<FlagId> flags;
  };

  size_t count() const { return servers_.size(); }
  MailboxCopyId id(size_t r) const { return mailbox_.copies[r]; }
  bool Reaches(size_t from, size_t to, ChangeKind kind) const;

  void Begin();
  void Users(Random& random);
  void Observe(size_t r);
  // Plans, and does each operation with the given chances in percent.
  bool Round(Random& random, int lost_percent, int unanswered_percent);
  void Do(const CopyPlan& plan, bool recorded);
  void Note(const CopyPlan& plan);
  std::string Judge() const;
  std::string JudgeFlags(size_t origin) const;

  std::shared_ptr<const Graph> graph_;
  MailboxView mailbox_;
  std::unique_ptr<Admissions> admissions_;
  PlanContext context_;
  std::set<std::pair<size_t, size_t>> reach_[4];  // by ChangeKind
  std::set<std::pair<size_t, size_t>> whole_;     // every kind passes

  // Of the case at hand:
  std::vector<Copy> servers_;
  MessageRegisters message_;
  std::map<size_t, Intent> intents_;  // by replica
  Stamp stamp_;
  size_t origin_ = 0;
  std::set<size_t> deleted_at_;  // where the engine knew the copy
  bool deleted_ = false;
  std::map<FlagId, std::set<bool>> flag_changes_;
};

}  // namespace imapmesh::sim

#endif  // IMAPMESH_TESTS_SIM_PLANNER_CASE_H_
