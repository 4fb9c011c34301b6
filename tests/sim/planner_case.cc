#include "tests/sim/planner_case.h"

#include <algorithm>

#include "graph/load.h"

namespace imapmesh::sim {
namespace {

constexpr FlagId kDeleted(1);
constexpr int kFlags = 3;  // ids from 2 on
constexpr int kRoundsToSettle = 4;

std::string DrawTopology(Random& random) {
  const auto replicas = static_cast<int>(random.Between(2, random.Chance(80) ? 4 : 8));
  std::string replica_text, edge_text;
  const bool plain = random.Chance(40);
  for (int b = 0; b < replicas; ++b) {
    const std::string name = "r" + std::to_string(b);
    replica_text += "replica { name: \"" + name + "\" tunnel { command: \"" + name + "\" } }\n";
    const auto parent = b == 0 ? 0 : static_cast<int>(random.Below(static_cast<uint64_t>(b)));
    for (int a = 0; a < b; ++a) {
      if (a != parent && !random.Chance(30)) continue;
      constexpr const char* kKinds[] = {"",
                                        "direction: A_TO_B",
                                        "direction: B_TO_A",
                                        "deletes: KEEP",
                                        "flags: NONE",
                                        "direction: A_TO_B deletes: KEEP"};
      edge_text += "edge { a: \"r" + std::to_string(a) + "\" b: \"" + name + "\" " +
                   kKinds[plain || random.Chance(50) ? 0 : random.Below(6)] + " }\n";
    }
  }
  return "name: \"planner\"\n" + replica_text + edge_text;
}

}  // namespace

PlannerWorld::PlannerWorld(uint64_t seed) {
  Random random(seed);
  graph_ = LoadTopologyText(DrawTopology(random), "planner", ".")->graph;
  const auto replicas = static_cast<size_t>(graph_->replica_count());
  mailbox_.id = MailboxId(1);
  mailbox_.name = "INBOX";
  for (size_t r = 0; r < replicas; ++r) mailbox_.copies.emplace_back(static_cast<int64_t>(r) + 1);
  servers_.resize(replicas);
  admissions_ = std::make_unique<Admissions>(*graph_, mailbox_.name);
  context_.graph = graph_.get();
  context_.deleted_flag = kDeleted;
  for (const ChangeKind kind : {ChangeKind::kAddition, ChangeKind::kFlags, ChangeKind::kDeletion}) {
    for (size_t a = 0; a < replicas; ++a) {
      for (size_t b = 0; b < replicas; ++b) {
        const ReplicaIndex from(static_cast<int32_t>(a)), to(static_cast<int32_t>(b));
        if (a == b || graph_->Reaches(from, to, "INBOX", kind)) reach_[static_cast<size_t>(kind)].insert({a, b});
      }
    }
  }
  for (const GraphEdge& edge : graph_->edges()) {
    const auto a = static_cast<size_t>(edge.a.value), b = static_cast<size_t>(edge.b.value);
    const auto& declared = graph_->topology().edge(static_cast<int>(&edge - graph_->edges().data()));
    const bool both = declared.direction() == v1::Edge::BOTH && declared.flags() == v1::Edge::ALL &&
                      declared.deletes() == v1::Edge::PROPAGATE;
    if (both) whole_.insert({std::min(a, b), std::max(a, b)});
  }
}

bool PlannerWorld::Reaches(size_t from, size_t to, ChangeKind kind) const {
  return reach_[static_cast<size_t>(kind)].contains({from, to});
}

void PlannerWorld::Begin() {
  servers_.assign(count(), Copy());
  message_ = MessageRegisters();
  message_.id = MessageId(1);
  message_.mailbox = mailbox_.id;
  intents_.clear();
  stamp_ = Stamp(1);
  deleted_at_.clear();
  deleted_ = false;
  flag_changes_.clear();
  context_.replica_up.assign(count(), true);
  context_.edge_paused.assign(graph_->edges().size(), false);
}

void PlannerWorld::Users(Random& random) {
  const size_t r = random.Below(count());
  Copy& copy = servers_[r];
  if (!copy.present) return;
  if (random.Chance(25)) {
    const CopyRegisters* known = message_.Find(id(r));
    const bool seen = known != nullptr && known->present() && !intents_.contains(r);
    if (seen) deleted_at_.insert(r);
    deleted_ = true;
    copy = Copy();
    return;
  }
  const FlagId flag(static_cast<int32_t>(2 + random.Below(kFlags)));
  const bool set = random.Chance(60);
  if (copy.flags.contains(flag) == set) return;
  flag_changes_[flag].insert(set);
  if (set) {
    copy.flags.insert(flag);
  } else {
    copy.flags.erase(flag);
  }
}

void PlannerWorld::Observe(size_t r) {
  if (!context_.replica_up[r]) return;
  const Copy& copy = servers_[r];
  const auto open = intents_.find(r);
  const Intent* intent = open == intents_.end() ? nullptr : &open->second;
  CopyRegisters* known = message_.Find(id(r));
  const bool bound = known != nullptr && known->present();
  const MergeContext context{Stamp(++stamp_.value), kDeleted};
  const std::vector<FlagId> flags(copy.flags.begin(), copy.flags.end());
  if (copy.present && !bound) {
    MergeArrival(message_, id(r), Uid(1), 0, flags, intent, context);
  } else if (copy.present) {
    MergeFlags(*known, flags, intent, context);
  } else if (bound) {
    MergeVanished(*known, intent, context);
  }
  intents_.erase(r);
}

void PlannerWorld::Note(const CopyPlan& plan) {
  CopyRegisters* copy = message_.Find(plan.mailbox_copy);
  if (copy == nullptr) {
    message_.copies.push_back({plan.mailbox_copy, Uid(), Presence::kAbsent, Stamp(0), {}, 0});
    copy = &message_.copies.back();
  }
  copy->presence = plan.presence;
  copy->stamp = plan.stamp;
  copy->flags = plan.flags;
  copy->uid = Uid(copy->present() ? 1 : 0);
}

void PlannerWorld::Do(const CopyPlan& plan, bool recorded) {
  const auto r = static_cast<size_t>(plan.target.value);
  Copy& copy = servers_[r];
  Intent intent;
  intent.message = message_.id;
  intent.mailbox_copy = plan.mailbox_copy;
  intent.stamp = plan.stamp;
  intent.flags = plan.flags;
  if (plan.action == Action::kAdd) {
    intent.kind = IntentKind::kAdd;
    copy.present = true;
    copy.flags.clear();
    for (const FlagRegister& entry : plan.flags.entries()) {
      if (entry.set) copy.flags.insert(entry.flag);
    }
  } else if (plan.action == Action::kFlags) {
    intent.kind = IntentKind::kFlags;
    for (const FlagRegister& change : plan.flag_changes) {
      if (!copy.present) break;
      if (change.set) {
        copy.flags.insert(change.flag);
      } else {
        copy.flags.erase(change.flag);
      }
    }
  } else {
    intent.kind = IntentKind::kExpunge;
    copy = Copy();
  }
  if (recorded) {
    Note(plan);
  } else {
    intents_[r] = intent;
  }
}

bool PlannerWorld::Round(Random& random, int lost_percent, int unanswered_percent) {
  MessagePlan plan = PlanMessage(message_, mailbox_, *admissions_, context_);
  const bool any = !plan.copies.empty();
  for (size_t i = plan.copies.size(); i > 1; --i) std::swap(plan.copies[i - 1], plan.copies[random.Below(i)]);
  for (const bool deletions : {false, true}) {
    for (const CopyPlan& copy : plan.copies) {
      const auto r = static_cast<size_t>(copy.target.value);
      if ((copy.action == Action::kExpunge) != deletions || intents_.contains(r)) continue;
      if (copy.action == Action::kLevel) {
        Note(copy);
        continue;
      }
      const CopyRegisters* known = message_.Find(copy.mailbox_copy);
      const bool there = known != nullptr && known->present();
      if ((copy.action != Action::kAdd && !there) || random.Chance(lost_percent)) continue;
      Do(copy, !random.Chance(unanswered_percent));
    }
  }
  return any;
}

std::string PlannerWorld::Case(uint64_t seed) {
  Random random(seed);
  Begin();
  origin_ = random.Below(count());
  servers_[origin_].present = true;
  Observe(origin_);
  const uint64_t steps = 2 + random.Below(14);
  const int lost = random.Chance(50) ? 0 : 30, unanswered = random.Chance(50) ? 0 : 30;
  for (uint64_t i = 0; i < steps; ++i) {
    const uint64_t what = random.Below(10);
    if (what < 4) Users(random);
    if (what == 4) context_.replica_up[random.Below(count())].flip();
    if (what == 5) context_.edge_paused[random.Below(graph_->edges().size())].flip();
    if (what == 6 || what == 7) Observe(random.Below(count()));
    if (what >= 8) Round(random, lost, unanswered);
  }
  context_.replica_up.assign(count(), true);
  context_.edge_paused.assign(graph_->edges().size(), false);
  for (int round = 0; round < kRoundsToSettle; ++round) {
    for (size_t r = 0; r < count(); ++r) Observe(r);
    if (!Round(random, 0, 0)) return Judge();
  }
  return "convergence: still pending after " + std::to_string(kRoundsToSettle) + " rounds";
}

std::string PlannerWorld::Judge() const {
  for (size_t r = 0; r < count(); ++r) {
    const std::string at = "r" + std::to_string(r);
    const CopyRegisters* known = message_.Find(id(r));
    const bool recorded = known != nullptr && known->present();
    if (recorded != servers_[r].present) return "record: presence at " + at + " is not what is recorded";
    if (servers_[r].present && !Reaches(origin_, r, ChangeKind::kAddition)) return "policy: " + at + " may not have it";
    if (!deleted_ && Reaches(origin_, r, ChangeKind::kAddition) && !servers_[r].present) return "no loss: " + at;
    for (const size_t d : deleted_at_) {
      if (Reaches(d, r, ChangeKind::kDeletion) && servers_[r].present) return "no resurrection: " + at;
    }
    for (const FlagId flag : servers_[r].flags) {
      if (!known->flags.IsSet(flag)) return "record: a flag at " + at + " is not recorded";
    }
  }
  for (const auto& [a, b] : whole_) {
    const bool equal = servers_[a].present == servers_[b].present && servers_[a].flags == servers_[b].flags;
    if (!equal) return "convergence: r" + std::to_string(a) + " and r" + std::to_string(b) + " differ";
  }
  return JudgeFlags(origin_);
}

// A flag that was only ever set is wherever flags pass from every holder; one that nobody set is nowhere.
std::string PlannerWorld::JudgeFlags(size_t origin) const {
  for (int i = 0; i < kFlags; ++i) {
    const FlagId flag(2 + i);
    const auto changes = flag_changes_.find(flag);
    const bool was_set = changes != flag_changes_.end() && changes->second.contains(true);
    for (size_t r = 0; r < count(); ++r) {
      if (servers_[r].flags.contains(flag) && !was_set) return "policy: a flag nobody set, at r" + std::to_string(r);
    }
    if (!was_set || changes->second.contains(false) || deleted_) continue;
    const bool somewhere =
        std::any_of(servers_.begin(), servers_.end(), [&](const Copy& copy) { return copy.flags.contains(flag); });
    if (!somewhere)
      return "fidelity: a flag that was set and never taken away is gone, origin r" + std::to_string(origin);
  }
  return "";
}

}  // namespace imapmesh::sim
