// What a listing changes in the registers of mailbox copies, in the transaction that records it.
//
// look.cc runs it on the store's thread: values in, a result out. A mailbox that is new, gone, renamed or
// (un)subscribed otherwise than recorded is a change somebody made and gets the listing's stamp. Invariants: a mailbox
// keeps its id and its copies' messages when it is renamed; a copy that is gone is neither deleted elsewhere nor made
// again before that is decided (mailbox_decide.h).
#ifndef IMAPMESH_ENGINE_SYNC_MAILBOX_LISTING_H_
#define IMAPMESH_ENGINE_SYNC_MAILBOX_LISTING_H_

#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "engine/replica/replica.h"
#include "engine/store/state.h"
#include "engine/sync/duplicates.h"
#include "engine/sync/mailbox_match.h"
#include "graph/graph.h"

namespace imapmesh {

struct Listing {
  ReplicaIndex replica;
  std::vector<MailboxStatus> lines;
  ReplacedSince deleted_since;  // DeletedSinceOf, before it
  // By line: the first messages of a mailbox that may be a renamed one (ListingMatch::suspicions).
  std::map<size_t, std::vector<ArrivedMessage>> samples;
};

struct ListingResult {
  struct Seen {  // for people
    ReplicaIndex replica;
    std::string mailbox;
    std::string text;
    bool conflict = false;
  };
  bool changed = false;                   // `copies` is what is recorded now
  std::vector<MailboxCopyRecord> copies;  // of the replica, and of mailboxes that were renamed on all
  std::vector<std::pair<ReplicaIndex, MailboxId>> due;
  std::vector<Seen> seen;
  std::vector<ReplicaIndex> doubtful;  // their INBOX was not listed, so nothing there counts as gone
  std::vector<std::pair<ReplicaIndex, std::string>> unlisted;  // made by us, but the server does not list it
};

// Where each mailbox of a replica is there as recorded, and none besides: those that are due, as a ListingRecorder
// would find them. nullopt: there is something to record. `here`: the records of that replica.
std::optional<std::vector<MailboxId>> DueIfAsRecorded(const std::vector<const MailboxCopyRecord*>& here,
                                                      const std::vector<MailboxStatus>& lines,
                                                      const std::set<MailboxCopyId>& with_intents);

// Whether a mailbox copy was renamed while nobody could learn of it, and somebody can by now.
bool HasRenameToCarry(const MailboxCopyRecord& record, const Graph& graph, ReplicaIndex here);

// Whether what is in a mailbox of that name reaches any other replica, or would once it is made there.
bool FlowsAnywhere(const Graph& graph, ReplicaIndex here, const std::string& name);

class ListingRecorder {
 public:
  // Everything given must outlive it. `replicas`: by ReplicaIndex.
  ListingRecorder(const Graph& graph, const std::vector<ReplicaId>& replicas, const Listing& listing,
                  int64_t now_unix_ms)
      : graph_(graph), replicas_(replicas), listing_(listing), here_(listing.replica), now_(now_unix_ms) {}

  ListingResult operator()(State& state);

 private:
  Stamp Now(State& state);
  void Record(State& state);
  static bool Holds(State& state, const std::vector<ArrivedMessage>& sample, const MailboxCopyRecord& record);
  void Confirm(State& state, const std::vector<size_t>& mine, ListingMatch& match);
  bool IsOtherAccount(const std::vector<MailboxCopyRecord>& records, const ListingMatch& match) const;
  void Update(State& state, const MailboxStatus& line, MailboxCopyRecord& record);
  void ComeBack(State& state, MailboxCopyRecord& record);
  void Add(State& state, const MailboxStatus& line);
  void Vanish(State& state, MailboxCopyRecord& record);
  void Forget(State& state, MailboxCopyRecord& record);
  void Clear(State& state, MailboxCopyRecord& record);
  void EmptyInbox(State& state, size_t inbox, const MailboxStatus& line);
  void Rename(State& state, const std::string& name, MailboxCopyRecord& record);
  void RenameInMesh(State& state, const std::string& name, MailboxId mailbox);
  bool Join(State& state, const std::string& name, MailboxId mailbox);
  bool IsContested(State& state, const std::string& name) const;
  bool IsOwnAffair(const MailboxCopyRecord& record) const;
  void Name(State& state, MailboxId mailbox, const std::string& name, Stamp stamp);
  void GiveName(State& state, MailboxId mailbox, const std::string& name, Stamp stamp);
  void Observe(const MailboxStatus& line, const MailboxCopyRecord& record);
  MailboxId MailboxOf(State& state, const MailboxStatus& line);
  std::optional<MailboxId> ByRole(const MailboxStatus& line) const;
  std::optional<MailboxId> BySpelling(const MailboxStatus& line) const;
  void NoteSpelling(State& state, const MailboxCopyRecord& record);
  std::string FreeName(State& state, const std::string& name, const std::string& before = "");
  void SetAside(State& state, MailboxId mailbox, const std::string& name);
  bool IsAlive(MailboxId mailbox) const;
  bool FlowsAnywhere(const std::string& name) const { return imapmesh::FlowsAnywhere(graph_, here_, name); }
  MailboxCopyRecord* Find(MailboxId mailbox, ReplicaId replica);
  const std::string& ReplicaName() const { return graph_.replica(here_).name(); }
  std::string NameOf(ReplicaId replica) const;
  void See(const std::string& mailbox, std::string text, bool conflict = false);

  const Graph& graph_;
  const std::vector<ReplicaId>& replicas_;
  const Listing& listing_;
  const ReplicaIndex here_;
  const int64_t now_;
  // Of one run.
  std::vector<MailboxCopyRecord> copies_;  // that belong to the mesh, of all replicas
  std::set<MailboxCopyId> with_intents_;
  ListingResult result_;
  std::optional<Stamp> stamp_;
  std::map<std::string, std::set<std::string>> spellings_;  // names in the mesh, by FoldSpelling; once it is needed
  std::set<MailboxId> named_;                               // renamed in the mesh
  std::set<MailboxId> given_up_;                            // deleted here, as far as this listing tells
  std::set<std::string> as_new_;                // local names of lines whose mailbox is another one than was thought
  std::map<MailboxId, std::string> renamed_;    // mailboxes that are without a name until all old ones are free
  std::map<MailboxId, std::string> own_names_;  // got here, from where they go nowhere
};

}  // namespace imapmesh

#endif  // IMAPMESH_ENGINE_SYNC_MAILBOX_LISTING_H_
