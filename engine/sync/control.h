// The narrow interface through which everything outside the engine thread watches and steers the coordinator.
//
// rpc/ (gRPC's threads) and the daemon's main thread call it; engine/sync/coordinator.h implements it. Every method may
// be called from any thread: readers get immutable snapshots, orders are posted to the engine thread and answered
// through callbacks that run on the engine thread and must not block. Plain values only: no engine object crosses.
#ifndef IMAPMESH_ENGINE_SYNC_CONTROL_H_
#define IMAPMESH_ENGINE_SYNC_CONTROL_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/status.h"
#include "engine/replica/replica.h"
#include "graph/graph.h"

namespace imapmesh {

enum class ReplicaState { kUnknown, kConnecting, kUp, kDown };
enum class EdgeState {
  kUnknown,     // not looked at yet
  kInSync,      // nothing is pending and both ends are as recorded
  kPending,     // something is to be done
  kSyncing,     // it is being done
  kPaused,      // by topology or order
  kUnreachable  // an end is down
};

// Names as CONTRACT.md section 4 and the .proto spell them: "UP", "IN_SYNC"…
const char* Name(ReplicaState state);
const char* Name(EdgeState state);

struct ReplicaReport {
  std::string name;
  ReplicaState state = ReplicaState::kUnknown;
  ServerInfo server;
  ReplicaCounters counters;
  int64_t mailboxes = 0;
  int64_t messages = 0;
  std::string last_error;
  int64_t last_look_unix_ms = 0;     // 0: never
  int64_t state_since_unix_ms = 0;   // when `state` was entered
  int64_t next_attempt_unix_ms = 0;  // while down: when it is tried again
};

struct PendingCounts {
  int64_t additions = 0;
  int64_t flags = 0;
  int64_t deletions = 0;
  int64_t mailboxes = 0;
  int64_t total() const { return additions + flags + deletions + mailboxes; }
  void Add(const PendingCounts& other) {
    additions += other.additions;
    flags += other.flags;
    deletions += other.deletions;
    mailboxes += other.mailboxes;
  }
};

struct EdgeReport {
  std::string a;
  std::string b;
  EdgeState state = EdgeState::kUnknown;
  PendingCounts pending;
  int64_t operations = 0;  // done along this edge since the start of the daemon, or of the run for --once
  int64_t last_sync_unix_ms = 0;
  int64_t oldest_pending_unix_ms = 0;  // 0: nothing pending
  std::string last_error;
};

struct MailboxReport {
  std::string mailbox;
  struct Copy {
    std::string replica;
    std::string name_here;
    int64_t messages = 0;
    uint32_t uid_validity = 0;
    uint32_t uid_next = 0;
    uint64_t highest_modseq = 0;
    bool in_sync = false;
  };
  std::vector<Copy> copies;
};

// What a person can decide about an open conflict; which ones fit a kind stands in ConflictReport::choices.
enum class Decision {
  kKeep,     // the side of a named replica wins, on all replicas
  kDelete,   // it goes, on all replicas
  kRestore,  // it stays and comes back where it is missing
  kApprove,  // what is held goes on
  kReject,   // what is held is undone: the mail is put back
  kRetry,    // what a server refused is sent once more
  kLeave     // it stays out there
};
// As the client spells them: "keep", "delete", "restore", "approve", "reject", "retry", "leave".
const char* Name(Decision decision);

struct ConflictReport {
  int64_t id = 0;
  std::string kind;  // "DELETE_VS_CHANGE", "BRAKE", "EXCLUSIVE_KEYWORDS"…
  std::string mailbox;
  std::string message_id;  // Message-ID, "" for a mailbox
  std::string subject;     // these two "" where they are not known
  std::string sender;
  int64_t internal_date_unix_s = 0;  // of the message; 0 for a mailbox
  int64_t observed_unix_ms = 0;
  std::string replica_a;  // the two sides, what each did, and when that was seen (0: not known)
  std::string change_a;
  int64_t a_unix_ms = 0;
  std::string replica_b;
  std::string change_b;
  int64_t b_unix_ms = 0;
  std::string policy;
  std::string outcome;
  bool open = false;              // waits for a decision
  std::vector<Decision> choices;  // while open
  int64_t held = 0;               // messages that wait for the decision
  int64_t resolved_unix_ms = 0;   // 0 while open
};

// Where one message is on one replica, and how that came.
struct TracedCopy {
  std::string replica;
  bool present = false;
  std::string name_here;  // the mailbox as the server spells it
  uint32_t uid = 0;       // 0 when it is not there
  std::vector<std::string> flags;
  int64_t since_unix_ms = 0;  // when it came or went, as far as the history reaches; 0: before that
  std::string edge;           // along which it came or went; "" when somebody did that at this replica
  std::string pending;        // what is to be done here: "APPEND from laptop along laptop:server"; "" for nothing
  std::string because;        // how it got here, or why it is not here
  int64_t stamp = 0;          // of presence
};

// One step of a message's history.
struct TracedStep {
  int64_t unix_ms = 0;
  std::string replica;
  std::string edge;  // "" for what somebody did at the replica
  std::string what;  // "APPEND", "COPY", "MOVE", "STORE", "EXPUNGE"; "seen", "flags changed", "gone"
};

struct TracedMessage {
  int64_t message = 0;  // id in the mesh
  std::string mailbox;
  std::string message_id;
  int64_t size = 0;  // bytes
  int64_t internal_date_unix_s = 0;
  std::vector<TracedCopy> copies;   // one for each replica, in the topology's order
  std::vector<TracedStep> history;  // oldest first
};

struct ProblemReport {  // a refused operation: visible until it succeeds or is no longer wanted
  std::string replica;
  std::string mailbox;
  std::string operation;
  std::string message;  // what is refused
  std::string answer;   // what the server said
  std::string remedy;
  int64_t since_unix_ms = 0;
};

struct StatusSnapshot {
  std::string topology_name;
  int64_t generated_unix_ms = 0;
  bool converged = false;
  bool syncing = false;
  int64_t rounds = 0;
  std::vector<ReplicaReport> replicas;
  std::vector<EdgeReport> edges;
  std::vector<MailboxReport> mailboxes;
  std::vector<ProblemReport> problems;
  int64_t conflicts_open = 0;
  int64_t conflicts_resolved = 0;
};

// CONTRACT.md section 4.
struct RunReport {
  bool converged = false;
  int64_t rounds = 0;
  double wall_s = 0;
  std::vector<ReplicaReport> replicas;
  std::vector<EdgeReport> edges;
  int64_t conflicts_open = 0;
  int64_t conflicts_resolved = 0;
  int64_t refused = 0;
  // CONTRACT.md section 2: 0, 3 or 4.
  int ExitCode() const;
};

struct Progress {
  struct Edge {
    std::string a;
    std::string b;
    int64_t messages_done = 0;
    int64_t messages_total = 0;
    int64_t bytes_done = 0;
    int64_t bytes_total = 0;
  };
  std::string phase;  // "looking", "identifying", "adding", "flags", "deleting"
  std::vector<Edge> edges;
  double elapsed_s = 0;
};

struct PlanItem {
  int64_t wave = 0;
  std::string edge;       // "a:b"
  std::string from;       // replica that holds or changed it
  std::string to;         // replica that the operation changes
  std::string operation;  // "APPEND", "COPY", "MOVE", "STORE", "EXPUNGE", "CREATE"
  std::string mailbox;
  int64_t message = 0;  // id in the mesh, 0 for a mailbox
  std::string message_id;
  std::string detail;  // flags added and removed, source mailbox of a copy…
  int64_t bytes = 0;   // of body to upload
  std::string rule;    // why
  int64_t stamp = 0;

  // Why it comes along this edge, and what it costs.
  std::string via;                         // the edge's other end
  int64_t distance = 0;                    // edges from `from`
  int64_t path_cost = 0;                   // of them all: link_cost of both ends of each; no other path is cheaper
  std::string body_from;                   // APPEND: the holder whose body is fetched; "" when none can give it now
  std::vector<std::string> holders;        // APPEND: who may give the body here, cheapest first
  int64_t fetch_bytes = 0;                 // of the body, at the first item that it serves: it is fetched once
  std::string source_mailbox;              // COPY, MOVE: where the content is already
  std::vector<std::string> flags_added;    // STORE
  std::vector<std::string> flags_removed;  // STORE
};

struct Event {
  int64_t id = 0;  // rises by one; a gap means events were dropped for this reader
  int64_t unix_ms = 0;
  std::string kind;  // "REPLICA_UP", "REPLICA_DOWN", "CHANGE_SEEN", "OPERATION_DONE", "CONFLICT", "PROBLEM",
                     // "CONVERGED", "TOPOLOGY_RELOADED", "EDGE_PAUSED", "EDGE_RESUMED"
  std::string replica;
  std::string edge;
  std::string mailbox;
  std::string text;  // one printable line
};

// What a sync is asked for; empty: everything. A replica stands for its edges, an edge for its two ends. What is
// outside is not looked at for its sake, nor tried again, nor waited for.
struct SyncScope {
  std::string replica;
  std::string edge;
  std::string mailbox;
};

// A reader's place in the stream of events; the engine drops the oldest for a reader that is too slow.
class EventReader {
 public:
  virtual ~EventReader() = default;
  // Events not read yet, oldest first, at most `max`. Never blocks.
  virtual std::vector<Event> Take(size_t max) = 0;
};

class Control {
 public:
  virtual ~Control() = default;

  // Never null; nothing is known of the replicas before the state is loaded.
  virtual std::shared_ptr<const Graph> GetGraph() const = 0;
  virtual std::shared_ptr<const StatusSnapshot> GetStatus() const = 0;

  // `wake` is called (any thread, must not block) whenever the reader may have something to take; the first call may
  // come before this returns. Reading starts after event `after` as far as it is still kept; -1: only what is new; an
  // event that is yet to come is one of an earlier run of the daemon: then with the oldest kept.
  virtual std::shared_ptr<EventReader> ReadEvents(int64_t after, std::function<void()> wake) = 0;

  // Looks, and waits until nothing is left to do in the scope, or nothing can be done; the report lists the replicas
  // and edges of the scope. `progress` at most ten times a second. `done` once: kNotFound for a bad scope, else the
  // report. The returned function cancels the wait (the sync itself goes on; `done` gets kCancelled).
  virtual std::function<void()> Sync(SyncScope scope, std::function<void(Progress)> progress,
                                     std::function<void(absl::StatusOr<RunReport>)> done) = 0;

  // Looks, identifies and merges, and tells what would be done; changes nothing on any server. The returned function
  // cancels it: no further mailbox is looked into, and `done` gets kCancelled.
  virtual std::function<void()> Plan(std::function<void(absl::StatusOr<std::vector<PlanItem>>)> done) = 0;

  // Newest first, at most 10,000.
  virtual void ListConflicts(bool open_only, std::function<void(absl::StatusOr<std::vector<ConflictReport>>)> done) = 0;
  // kNotFound: there is none.
  virtual void FindConflict(int64_t id, std::function<void(absl::StatusOr<ConflictReport>)> done) = 0;
  // Decides an open conflict and lets a round carry it out. `replica` is for kKeep. kNotFound: no such conflict or
  // replica; kFailedPrecondition: it is not open; kInvalidArgument: a decision that does not fit its kind.
  virtual void Resolve(int64_t conflict, Decision decision, std::string replica,
                       std::function<void(absl::StatusOr<ConflictReport>)> done) = 0;
  // Every message with this Message-ID ("<…>" may be left out), in every mailbox. Asks no server. kInvalidArgument for
  // an empty one, kNotFound for one that the mesh does not know.
  virtual void Trace(std::string message_id, std::function<void(absl::StatusOr<std::vector<TracedMessage>>)> done) = 0;
  // `edge` is "a:b". kNotFound when there is no such edge.
  virtual void PauseEdge(std::string edge, bool paused, std::function<void(absl::Status)> done) = 0;
  // Takes over a validated graph; the file is read by the caller.
  virtual void Reload(std::shared_ptr<const Graph> graph, std::function<void(absl::Status)> done) = 0;
};

}  // namespace imapmesh

#endif  // IMAPMESH_ENGINE_SYNC_CONTROL_H_
