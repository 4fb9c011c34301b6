// Plan: what is pending for a message, and what is to be done about it (DESIGN.md section 3, step 4).
//
// Pure: registers and graph in, operations out, each with its reason. Newest stamps spread over the edges that admit
// them, each target reached along its cheapest path. The coordinator calls it for every unsettled message, groups the
// operations, and applies additions before flags before deletions.
#ifndef IMAPMESH_ENGINE_SYNC_PLAN_H_
#define IMAPMESH_ENGINE_SYNC_PLAN_H_

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "engine/store/registers.h"
#include "engine/sync/flag_limits.h"
#include "graph/graph.h"

namespace imapmesh {

// What planning needs to know of the mesh besides the registers. Vectors are indexed by ReplicaIndex or EdgeIndex.
struct PlanContext {
  const Graph* graph = nullptr;
  std::vector<bool> replica_up;
  std::vector<bool> edge_paused;
  FlagId deleted_flag;
  std::vector<std::pair<FlagId, FlagId>> exclusive;  // keywords of which a message has one at most
};

// A mailbox of the mesh: its copy on each replica, id 0 where there is none.
struct MailboxView {
  MailboxId id;
  std::string name;
  std::vector<MailboxCopyId> copies;    // by ReplicaIndex
  std::vector<bool> exists = {};        // likewise: whether it is there now
  std::vector<bool> waits = {};         // likewise: whether its deletion waits for a decision
  std::vector<CopyLimits> limits = {};  // likewise; empty: there are none
};

// Which edges admit what for one mailbox: computed once a mailbox, asked for every message.
class Admissions {
 public:
  Admissions(const Graph& graph, const std::string& mailbox);
  bool Admits(EdgeIndex edge, bool from_a, ChangeKind kind) const {
    return (bits_[static_cast<size_t>(edge.value)] >> (static_cast<int>(kind) * 2 + (from_a ? 1 : 0)) & 1) != 0;
  }
  // Whether a flag change at `from` may arrive at `to`.
  bool FlagsReach(ReplicaIndex from, ReplicaIndex to) const;
  // Where a change of this kind at `from` may arrive along edges that are not paused, through replicas that take part.
  std::vector<bool> Reached(ReplicaIndex from, ChangeKind kind, const std::vector<bool>& edge_paused,
                            const std::vector<bool>& takes_part) const;

 private:
  const Graph& graph_;
  std::vector<uint8_t> bits_;
};

// An edge of the replica, to tell along which something is done that no other replica is the reason of.
EdgeIndex AnyEdgeOf(const Graph& graph, ReplicaIndex r);

enum class Action {
  kLevel,    // the values agree already: only the stamps are taken over
  kAdd,      // append or copy
  kFlags,    // store
  kExpunge,  // expunge
  kRestore,  // a change won over a deletion: the copy stays, with a new stamp
  kAsk       // a change against a deletion: the copy stays as it is until a person decides
};

// Why: the edge it flows along, the replica where it began, and the stamp.
struct Because {
  EdgeIndex edge;
  ReplicaIndex origin;
  Stamp stamp;
  int depth = 0;     // edges from the origin
  int64_t cost = 0;  // of the path: link_cost of both ends of each of its edges
};

struct CopyPlan {
  ReplicaIndex target;
  MailboxCopyId mailbox_copy;  // 0: the mailbox does not exist there yet
  Action action = Action::kLevel;
  Presence presence = Presence::kPresent;
  Stamp stamp;                             // of presence afterwards
  FlagRegisters flags;                     // all registers of the copy afterwards
  std::vector<FlagRegister> flag_changes;  // whose value changes
  std::vector<FlagRegister> kept_back;     // changes that the mailbox copy cannot hold: not in `flags`
  Because because;
  std::vector<ReplicaIndex> holders;  // kAdd: whose content policy lets arrive here, cheapest first
  bool conflict = false;              // against changes at this copy that the deleter had not seen: these
  std::vector<FlagRegister> unseen;
};

// Two keywords that exclude one another were set by people who did not know of each other: the newer one stays.
struct KeywordConflict {
  FlagId kept;
  FlagId dropped;
  ReplicaIndex kept_from;
  ReplicaIndex dropped_from;
  Stamp stamp;  // of the kept one
};

struct MessagePlan {
  std::vector<CopyPlan> copies;
  std::optional<KeywordConflict> keywords;
  std::vector<KeptBack> kept_back;  // what mailbox copies cannot take
};

MessagePlan PlanMessage(const MessageRegisters& message, const MailboxView& mailbox, const Admissions& admissions,
                        const PlanContext& context);

}  // namespace imapmesh

#endif  // IMAPMESH_ENGINE_SYNC_PLAN_H_
