// A history: a world and what happens in it, as a list of decisions.
//
// Drawn from a seed, or read from text (the remembered ones). Each step is interpreted against what is there when its
// time comes ("the 5th message, counted round"), so any of them can be left out and the rest still means something:
// that is what shrinking does. Values; any thread.
#ifndef IMAPMESH_TESTS_SIM_HISTORY_H_
#define IMAPMESH_TESTS_SIM_HISTORY_H_

#include <cstdint>
#include <string>
#include <vector>

#include "base/status.h"

namespace imapmesh::sim {

enum class StepKind {
  // Users, at replica a:
  kDeliver,    // a new message into mailbox b; c: variant (flags, twins, no Message-ID)
  kRedeliver,  // the content of message c of mailbox b of some replica, once more
  kFlag,       // sets a flag (c) on a message (b)
  kUnflag,
  kExpunge,  // message b
  kMove,     // message b into mailbox c
  kCopy,
  kCreate,  // mailbox b
  kBurst,   // c messages at once into mailbox b
  // Faults; of the daemon: that of coordinator a, counted round:
  kCutToServer,  // at replica a, after b bytes
  kCutToClient,
  kStall,
  kDown,  // replica a, for b milliseconds
  kKill,  // the daemon, after b steps of its executor
  kRestart,
  kLoseState,  // with the daemon killed
  kRememberState,
  kRollBackState,  // to what was remembered, with the daemon killed
  kRenumber,       // mailbox b of replica a gets another UIDVALIDITY
  kBackup,         // of replica a
  kRestore,
  kPause,  // edge a
  kResume,
  kReload,  // the topology: edge a is left out, or put back
  kSync,    // a person asks for it
  // More that users do:
  kDeleteMailbox,  // mailbox b of replica a
  kRenameMailbox,  // mailbox b of replica a, to name c
  kWipe,           // every message of mailbox b of replica a at once
  kCount
};
const char* Name(StepKind kind);

struct Step {
  StepKind kind = StepKind::kDeliver;
  uint64_t after_us = 0;  // since the step before
  uint32_t a = 0, b = 0, c = 0;
};

struct History {
  uint64_t seed = 0;
  int replicas = 2;
  std::vector<std::string> edges;  // as in a topology file
  std::string policy;
  // The edges that each coordinator carries, by index; empty: one carries all.
  std::vector<std::vector<int>> coordinators;
  bool approves = true;       // what a person decides in the end about what waits: it goes, or it is put back
  uint32_t server_bits = 0;   // traits of replica r: bits 4r to 4r+3 turned on its head
  uint32_t tier_bits = 0;     // of replica r, bits 2r and 2r+1: 2: no QRESYNC; 3: no CONDSTORE either
  uint32_t keyword_bits = 0;  // bit r: replica r keeps a fixed set of keywords
  uint32_t latency_us = 2000;
  int slow_percent = 0;
  bool fragments = false;
  std::vector<Step> steps;
};

// What may be drawn; everything by default.
struct Limits {
  int replicas_max = 12;
  int steps_max = 60;
  bool faults = true;
  bool several = true;  // coordinators
};

// Whether anything but users and the mesh itself is at work.
bool HasFaults(const History& history);
// The edges of each coordinator: at least one.
std::vector<std::vector<int>> Shares(const History& history);
History Draw(uint64_t seed, const Limits& limits);
std::string ToText(const History& history);
absl::StatusOr<History> Parse(std::string_view text);
// The topology with all edges but those in `without` (by index).
std::string TopologyText(const History& history, const std::vector<int>& without);

}  // namespace imapmesh::sim

#endif  // IMAPMESH_TESTS_SIM_HISTORY_H_
