// What the engine's steps share: the graph, the replicas and their state, the table of mailbox copies, the store.
//
// Owned by the coordinator; observe.cc and apply.cc work on it. Engine thread only: what runs on the store's thread
// gets a MeshView, an immutable copy. The table mirrors the state file and is updated only after a transaction
// committed.
#ifndef IMAPMESH_ENGINE_SYNC_MESH_H_
#define IMAPMESH_ENGINE_SYNC_MESH_H_

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "engine/net/clock.h"
#include "engine/replica/replica.h"
#include "engine/store/store_thread.h"
#include "engine/sync/carry.h"
#include "engine/sync/control.h"
#include "engine/sync/plan.h"
#include "graph/graph.h"

namespace imapmesh {

enum class LogLevel { kDebug, kInfo, kWarning, kError };

// What to do about a refusal for now: nothing, unless somebody knows why.
inline constexpr char kTriedAgain[] =
    "the rest goes on; it is tried again with growing pauses, and at once with the next sync that is asked for";

// For so long even what is small waits for a replica that wants it too, and has just begun something else.
inline constexpr Duration kBriefly = std::chrono::milliseconds(250);

// What is begun together at several replicas. Each is waited for until it has shown no progress for `patience`, or
// takes `margin` more than three times as long as the first that was done.
struct Batch {
  Duration started{0};
  Duration patience{0};
  Duration margin{0};
  std::optional<Duration> first_done;
};

// What a look tells of a mailbox copy, of what is needed before the first observation.
struct ListedStatus {
  UidValidity uid_validity;
  Uid uid_next;
};

struct ReplicaSlot {
  std::unique_ptr<Replica> replica;
  ReplicaId id;
  std::string memory;  // Replica::memory() as the state has it
  ReplicaState state = ReplicaState::kUnknown;
  std::string last_error;
  bool tells_of_downtime = false;  // down since `state_since_unix_ms`, however often it was tried meanwhile
  bool was_up = false;             // since the start
  bool hopeless = false;           // a login refused or a server that lacks what is needed: only an order tries again
  int failures = 0;                // with nothing done in between: a look that succeeds is not enough
  Duration next_attempt{0};        // engine time, while down
  bool look_due = true;
  // Messages went since the last look: where IDLE told of it, which is of one mailbox, only a look shows where to.
  bool gone_since_look = false;
  // Where a server has no mod-sequences a status does not show changed flags: the next look makes those mailbox copies
  // due whatever it shows. Set by an asked sync, by the poll interval, and when the replica comes back.
  bool compare_due = true;
  // What a mailbox copy can take is told when it is selected: the next look makes those due from which something is
  // kept back. Set by an asked sync and when the daemon starts.
  bool limits_due = true;
  bool metadata_due = true;  // likewise for annotations, of whose changes nothing tells
  // What is refused or kept back is tried again with growing pauses, since nothing tells that room was made or a right
  // was given (Coordinator::UntilNextDue).
  int retries = 0;                                      // in a row that left something refused
  Duration next_retry{0};                               // engine time; 0 while nothing is refused
  std::map<std::string, uint64_t> unseen;               // by mailbox, of the last look, there
  std::map<std::string, ListedStatus> not_observed;     // likewise, of those that were not looked into yet
  std::map<MailboxCopyId, UidValidity> other_validity;  // seen by SELECT, for which a look was asked
  // Whose last messages were found to be those that are known, since the server was last lost sight of: it may have
  // been restored from an older copy, and have given UIDs for the second time since.
  std::set<MailboxCopyId> recognised;
  // Identified anew since the server counted more messages there than were known.
  std::set<MailboxCopyId> recounted;
  // To be identified anew, since a UID was found to stand for another message; and what was so since the server was
  // last lost sight of: if that changed nothing, it sends its messages otherwise than it tells of them.
  std::set<MailboxCopyId> doubted, cleared;
  // When something was last added there and nothing else had come before it; and until when what is to be added leaves
  // the turn to others, by mailbox (listen.h). Engine time.
  std::map<MailboxCopyId, Duration> turns;
  std::map<std::string, Duration> yields;
  bool recognise_due = false;    // all of them: it was lost sight of since the start
  bool looking = false;          // its lane looks and observes: what has happened there is not known yet
  int tasks = 0;                 // under way in its lane (lane.h); while there are any nothing else is begun here
  std::shared_ptr<Batch> batch;  // of them; null while there are none
  Duration last_progress{0};     // engine time
  int64_t last_look_unix_ms = 0;
  // What is observed there may have happened since then: since the look before, where nothing told of it meanwhile;
  // over restarts (seen.h).
  int64_t unseen_since_unix_ms = 0;
  int64_t seen_unix_ms = 0;        // the last look after which all was observed; 0: not known
  int64_t saved_seen_unix_ms = 0;  // the same, as the state has it
  bool all_observed = false;       // after the last look
  int64_t state_since_unix_ms = 0;
  std::optional<std::vector<MailboxStatus>> listing;  // of the last look, until it is recorded
  bool unrecorded = false;                            // a look has begun and is not recorded yet
  bool first_contact = false;                         // nothing was known of what it holds as that look began
  bool waits_for_quiet = false;  // its listing tells of renames, which are recorded while no other replica is at work
};

struct MailboxEntry {
  MailboxId id;
  std::string name;
  std::vector<MailboxCopyRecord> copies;  // by ReplicaIndex; id 0 where there is none
};

// Since when a message that another one stands for elsewhere by now may be the one that is seen gone (duplicates.h):
// one that was beside it (StepKind::kReplaced), or that came as it went (kFoundAgain).
struct ReplacedSince {
  int64_t beside_unix_ms = 0;
  int64_t found_again_unix_ms = 0;
};

// An immutable picture of the mesh for the store's thread.
struct MeshView {
  std::shared_ptr<const Graph> graph;
  PlanContext context;
  std::map<MailboxId, MailboxView> mailboxes;
  std::map<MailboxCopyId, std::pair<ReplicaIndex, MailboxId>> copies;
  std::map<MailboxCopyId, UidValidity> uid_validities;  // of which the UIDs planned with this are
  std::vector<ReplicaId> replicas;
  std::set<MailboxCopyId> incomplete;
  std::vector<bool> can_move;  // by ReplicaIndex
  std::vector<bool> busy;      // nothing new is begun there now
  std::vector<bool> awaited;   // busy, and soon done
  std::vector<bool> brief;     // busy, and only just begun
  // Since when others may have carried the deletions that are seen there now, by replica (DeletedSince); nothing where
  // nobody else was seen.
  std::map<int32_t, ReplacedSince> carried_since;
};

// A refused operation: shown as a problem, and not tried again before Mesh::RenewHope.
struct Refusal {
  ReplicaIndex replica;
  ProblemReport report;
  bool for_good = false;  // an addition that will never be taken (refusals.h): not tried in later runs either
  bool recorded = false;  // in the state, as a conflict
  bool left_out = false;  // somebody decided that it may stay so: no problem any more
};

// What mailbox copies cannot take, for people (kept_back.h).
struct KeptBackReport {
  std::map<MailboxCopyId, KeptBackSummary> copies;
  std::map<FlagId, std::string> flag_names;
};

// The annotations of mailbox copies: (replica, mailbox).
struct MetadataLooks {
  std::map<std::pair<int32_t, std::string>, MailboxMetadata> fresh;  // looked at, and not merged yet
  std::set<std::pair<int32_t, std::string>> seen;                    // since all of the replica's were due
  std::set<std::tuple<int32_t, std::string, std::string>> refused;   // and entry: not tried again before RenewHope

  // Something changed in the mailbox copy, its annotations perhaps: some servers count that as a change (Dovecot).
  void Doubt(const std::pair<int32_t, std::string>& copy) {
    if (!fresh.contains(copy)) seen.erase(copy);
  }
};

// A part of the mesh: which mailboxes of which replicas.
using Within = std::function<bool(ReplicaIndex, const std::string& mailbox)>;
inline bool Anywhere(ReplicaIndex, const std::string&) {
  return true;
}

class Mesh {
 public:
  using Log = std::function<void(LogLevel, const std::string&)>;
  using EventSink = std::function<void(Event)>;

  asio::any_io_executor executor;
  Clock* clock = nullptr;
  std::shared_ptr<const Graph> graph;
  std::unique_ptr<StoreThread> store;
  std::vector<ReplicaSlot> replicas;
  std::vector<bool> edge_paused;
  std::vector<Duration> edge_opens;  // engine time from which on an edge with interval_s carries again; 0: it is open
  std::vector<int64_t> edge_operations;
  std::vector<int64_t> edge_last_sync_unix_ms;
  std::map<std::string, MailboxEntry> mailboxes;
  std::set<std::pair<int32_t, std::string>> due;         // (replica, mailbox): to be observed
  std::set<std::pair<int32_t, std::string>> incomplete;  // observed in part only: nothing is added there
  std::set<std::pair<int32_t, std::string>> carrying;    // whose first look brings bodies, until it is complete
  CarriedBodies carried;
  int64_t learned = 0;  // observations that told of something
  // The mailbox copy that waits for no other one to be identified, since each waited for another.
  std::optional<std::pair<int32_t, std::string>> waits_no_more;
  std::map<std::pair<MessageId, MailboxCopyId>, Refusal> refusals;
  std::map<std::pair<int32_t, std::string>, Refusal> mailbox_refusals;  // (replica, mailbox): CREATE, SELECT…
  // Likewise: to get a name that is there already; and whether that was looked at since, and is so still.
  std::map<std::pair<int32_t, std::string>, bool> left_to_look;
  // Additions (true) or deletions that a mailbox copy refused for want of rights: it is not asked for more before
  // RenewHope.
  std::map<std::pair<MailboxCopyId, bool>, ProblemReport> forbidden;
  KeptBackReport kept_back;
  std::set<std::pair<MessageId, MailboxCopyId>> no_copy;  // a server-side copy failed: upload instead
  // The body was asked for and did not come: nobody is sent there for it before the mailbox copy is observed again.
  std::set<std::pair<MessageId, MailboxCopyId>> unfetchable;
  std::map<int32_t, int64_t> pending_mailboxes;  // by edge: what is to be done to mailboxes themselves
  int64_t others_unix_ms = 0;                    // when another coordinator's work was seen last (listen.h); 0: never
  int64_t replaced_unix_ms = 0;                  // when a message was found under another UID last (seen.h); 0: never
  uint64_t draws = 0;                            // what Draw goes on from
  MetadataLooks metadata;
  FlagId deleted_flag;
  std::vector<std::pair<FlagId, FlagId>> exclusive_keywords;
  Progress progress;
  std::function<void()> on_progress;  // may be empty
  std::function<void()> on_idle;      // a lane is empty
  std::function<void()> on_room;      // for more carried bodies
  Log log;
  EventSink emit;

  ReplicaSlot& slot(ReplicaIndex r) { return replicas[static_cast<size_t>(r.value)]; }
  const std::string& name(ReplicaIndex r) const { return graph->replica(r).name(); }
  // Whether nothing flows along the edge now: it is paused, or waits for its interval.
  bool IsClosed(size_t edge) const { return edge_paused[edge] || edge_opens[edge] > Duration(0); }
  bool IsUp(ReplicaIndex r) const { return replicas[static_cast<size_t>(r.value)].state == ReplicaState::kUp; }

  bool IsBusy(ReplicaIndex r) const { return replicas[static_cast<size_t>(r.value)].tasks > 0; }
  // Until when the others wait for it; only of a busy one.
  Duration AwaitedUntil(ReplicaIndex r) const;
  bool IsAwaited(ReplicaIndex r) const { return IsBusy(r) && clock->Now() < AwaitedUntil(r); }
  // Busy for so short a time that even what is small waits for it, rather than be fetched twice.
  bool IsBrieflyBusy(ReplicaIndex r) const;
  // Its first look waits until carried bodies have gone where they are wanted.
  bool WaitsForRoom(const std::pair<int32_t, std::string>& copy) const {
    return carrying.contains(copy) && !carried.HasRoom() && clock->Now() < carried.PatienceEnds();
  }
  // A part of `longest`, drawn so that coordinators that begin together do not go on together.
  Duration Draw(Duration longest);
  std::shared_ptr<Batch> NewBatch(Duration patience, Duration margin) const;
  void Begin(ReplicaIndex r, const std::shared_ptr<Batch>& batch);
  void End(ReplicaIndex r);
  void Progressed(ReplicaIndex r) { slot(r).last_progress = clock->Now(); }
  // Something was learned or written there, or nothing is left to do: its next failure is a first one.
  void Achieved(ReplicaIndex r) { slot(r).failures = 0; }

  MailboxCopyRecord* FindCopy(ReplicaIndex r, const std::string& mailbox);
  // Operations that are refused and that nobody has decided to leave so.
  int64_t CountRefused(const Within& within = Anywhere) const;
  // Whether the replica refuses or keeps back something that it may take another time.
  bool RefusesForNow(ReplicaIndex r) const;
  // All of that is tried once more.
  void RenewHope(ReplicaIndex r);
  // The entry for a mailbox, made when necessary (its id is set by the transaction that interns it).
  MailboxEntry& Entry(const std::string& mailbox);
  // Takes what is recorded of all mailbox copies, as far as it belongs to the mesh.
  void TakeAllMailboxes(std::vector<MailboxCopyRecord> records);
  // The same of all mailbox copies of the replicas in `changed`, and of any of others, of which only what is new and
  // the mailboxes' names are taken: they may be at work. Due mailboxes follow their new names.
  void TakeMailboxes(std::vector<MailboxCopyRecord> records, const std::set<ReplicaId>& changed);
  // What is recorded of one copy now, of which nothing is under way.
  void TakeCopy(const MailboxCopyRecord& record);
  std::shared_ptr<const MeshView> View(bool ignore_downtime) const;
  PlanContext Context(bool ignore_downtime) const;  // the View's

  // Takes a replica out after a failed call; what is unknown then stays in the intents. Only for outcome-unknown
  // errors.
  void MarkDown(ReplicaIndex r, const absl::Status& status);
  void MarkUp(ReplicaIndex r);
  void Emit(std::string kind, ReplicaIndex r, EdgeIndex edge, const std::string& mailbox, std::string text);
  void Warn(const std::string& text) const {
    if (log) log(LogLevel::kWarning, text);
  }
  void Debug(const std::string& text) const {
    if (log) log(LogLevel::kDebug, text);
  }

 private:
  void TakeNames(const std::vector<MailboxCopyRecord>& records);
  void FollowNames(const std::map<std::string, MailboxId>& known);
};

}  // namespace imapmesh

#endif  // IMAPMESH_ENGINE_SYNC_MESH_H_
