// A replica over IMAP: the engine's calls as commands on pooled connections.
//
// make_replica.h builds it from the topology; engine/sync sees only the Replica interface (replica.h), whose rules hold
// here. Engine thread only.
#ifndef IMAPMESH_ENGINE_REPLICA_IMAP_REPLICA_H_
#define IMAPMESH_ENGINE_REPLICA_IMAP_REPLICA_H_

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "engine/imap/commands.h"
#include "engine/imap/open.h"
#include "engine/net/dialer.h"
#include "engine/net/folder_watch.h"
#include "engine/net/signal.h"
#include "engine/replica/connection_pool.h"
#include "engine/replica/flag_names.h"
#include "engine/replica/imap_metadata.h"
#include "engine/replica/imap_observe.h"
#include "engine/replica/mailbox_names.h"
#include "engine/replica/replica.h"

namespace imapmesh {

struct ImapReplicaOptions {
  std::string name;
  Endpoint endpoint;
  imap::OpenOptions open;
  int max_connections = 4;
  std::function<bool(std::string_view)> selects;  // whether a mailbox belongs to the mesh here
  std::string namespace_prefix;                   // see MailboxNames::Declare
  std::vector<NameMapping> name_map;
  std::vector<KeywordMapping> keyword_map;
  std::string watch_path;  // the server's mail store on this machine; "": elsewhere
};

class ImapReplica : public Replica {
 public:
  // `clock` and `dialer` must outlive it.
  ImapReplica(asio::any_io_executor executor, Clock& clock, Dialer& dialer, ImapReplicaOptions options);

  const std::string& name() const override { return options_.name; }
  void Expect(std::map<std::pair<std::string, UidValidity>, std::string> known) override {
    expected_ = std::move(known);
  }
  asio::awaitable<absl::StatusOr<std::vector<MailboxStatus>>> Look() override;
  asio::awaitable<absl::StatusOr<Observation>> Observe(std::string mailbox, MailboxCursor since,
                                                       ObserveLimits limits) override;
  asio::awaitable<std::vector<std::optional<Observation>>> ObserveTogether(
      std::vector<std::pair<std::string, MailboxCursor>> mailboxes) override;
  asio::awaitable<absl::Status> FetchBodies(MailboxReference mailbox, UidSet uids,
                                            std::function<void(Uid, std::shared_ptr<const Body>)> take) override;
  asio::awaitable<absl::Status> FetchBodiesTogether(
      std::vector<BodiesRequest> requests, std::function<void(size_t, Uid, std::shared_ptr<const Body>)> take) override;
  asio::awaitable<absl::Status> FetchHeaders(MailboxReference mailbox, UidSet uids,
                                             std::function<void(Uid, HeaderText)> take) override;
  asio::awaitable<absl::StatusOr<Appended>> Append(MailboxReference mailbox, std::vector<AppendItem> items) override;
  asio::awaitable<std::vector<absl::StatusOr<Appended>>> AppendTogether(std::vector<AppendRequest> requests) override;
  size_t max_append() const override;
  asio::awaitable<absl::StatusOr<MailboxCursor>> CursorNow(std::string mailbox) override;
  bool can_move() const override;
  asio::awaitable<absl::StatusOr<std::vector<CopiedUid>>> CopyMessages(MailboxReference from, MailboxReference to,
                                                                       UidSet uids, bool move) override;
  asio::awaitable<std::vector<MailboxOutcome>> ChangeTogether(std::vector<MailboxChanges> changes) override;
  size_t mailboxes_a_connection() const override;
  asio::awaitable<absl::Status> StoreFlags(MailboxReference mailbox, UidSet uids, std::vector<std::string> add,
                                           std::vector<std::string> remove) override;
  asio::awaitable<absl::StatusOr<ExpungeResult>> Expunge(MailboxReference mailbox, UidSet uids,
                                                         ModSeq unchanged_since) override;
  asio::awaitable<absl::StatusOr<bool>> CreateMailbox(std::string mailbox, bool subscribe) override;
  asio::awaitable<absl::Status> Subscribe(std::string mailbox, bool subscribed) override;
  asio::awaitable<absl::StatusOr<bool>> MailboxExists(std::string local_name) override;
  asio::awaitable<absl::Status> DeleteMailbox(std::string mailbox) override;
  asio::awaitable<absl::StatusOr<bool>> RenameMailbox(std::string from, std::string to,
                                                      std::vector<std::string> subscribed) override;
  void SetAliases(std::map<std::string, std::string> mesh_to_local) override;
  bool has_metadata() const override;
  void AskMetadata(std::vector<std::string> mailboxes) override { metadata_asked_ = std::move(mailboxes); }
  MetadataByMailbox TakeMetadata() override { return std::exchange(metadata_, {}); }
  asio::awaitable<absl::StatusOr<MetadataByMailbox>> GetMetadata(std::vector<std::string> mailboxes) override;
  asio::awaitable<absl::Status> SetMetadata(std::string mailbox,
                                            std::vector<std::pair<std::string, std::string>> entries) override;
  asio::awaitable<absl::Status> Watch(std::function<void(std::vector<std::string>)> due) override;
  asio::awaitable<void> KeepAlive() override;
  void Close() override;
  asio::awaitable<void> Logout() override;
  ReplicaCounters counters() const override;
  const ServerInfo& info() const override;
  void DistrustResync(std::string why) override;
  std::string memory() const override;
  void Remember(std::string memory) override;

 private:
  using Lease = ConnectionPool::Lease;

  asio::awaitable<absl::StatusOr<std::unique_ptr<imap::Session>>> Open();
  asio::awaitable<absl::StatusOr<std::unique_ptr<imap::Session>>> OpenOnce();
  asio::awaitable<absl::Status> LearnServer(imap::Session& session, std::optional<imap::NamespaceResponse> namespaces);
  void LearnNames(std::string delimiter, const imap::NamespaceResponse& namespaces);
  asio::awaitable<absl::Status> ConfirmNames(imap::Session& session);
  void LearnTier(const imap::Session& session);
  void LearnMailbox(const std::string& mailbox, const Observation& observation);
  asio::awaitable<absl::StatusOr<Lease>> Acquire(const std::string& mailbox);
  asio::awaitable<absl::StatusOr<std::vector<imap::ListedMailbox>>> List(imap::Session& session, bool identity,
                                                                         imap::ResponseHandler also);
  // A line of a listing that is a mailbox of the mesh.
  struct Line {
    const imap::ListedMailbox* listed;
    std::string mesh, local;
    bool selectable = false;
  };
  std::vector<Line> LinesOf(const std::vector<imap::ListedMailbox>& listed) const;
  bool AsExpected(const std::vector<Line>& lines) const;
  std::vector<MailboxStatus> Statuses(const std::vector<Line>& lines, bool asked_identity);
  MailboxStatus StatusOf(const Line& line, bool asked_identity) const;
  asio::awaitable<absl::StatusOr<bool>> AskIfExists(std::string local_name);
  asio::awaitable<absl::Status> EnsureSelected(imap::Session& session, MailboxReference mailbox);
  asio::awaitable<void> AppendAtOnce(const std::vector<AppendRequest>& requests, std::vector<size_t> which,
                                     std::vector<absl::StatusOr<Appended>>& outcomes);
  std::vector<imap::AppendMessage> MessagesOf(const std::vector<AppendItem>& items) const;
  static absl::StatusOr<Appended> UidsOf(const MailboxReference& mailbox, size_t items,
                                         const imap::AppendResult& appended);
  asio::awaitable<absl::StatusOr<Appended>> AppendOnce(const MailboxReference& mailbox,
                                                       const std::vector<AppendItem>& items, imap::LiteralSafety safety,
                                                       bool& refused_unasked);
  void Count(const MailboxChanges& changes, MailboxOutcome& outcome);
  asio::awaitable<absl::StatusOr<ExpungeResult>> ExpungeOnce(MailboxReference mailbox, UidSet uids,
                                                             ModSeq unchanged_since);
  void WatchFolder(const std::function<void(std::vector<std::string>)>& due);
  asio::awaitable<absl::Status> WatchOn(imap::Session& session, std::function<void(std::vector<std::string>)> due);
  bool CannotBeRefused(const MailboxReference& mailbox, const std::vector<AppendItem>& items) const;

  // "replica R: mailbox M: what: …"
  absl::Status Explain(const absl::Status& status, std::string_view mailbox, std::string_view what) const;

  asio::any_io_executor executor_;
  Clock& clock_;
  Dialer& dialer_;
  ImapReplicaOptions options_;
  bool has_uidplus_ = false;
  std::set<std::string> expunging_;  // mailboxes, of a server without UIDPLUS
  Signal expunged_;
  ConnectionPool pool_;
  imap::Session* watcher_ = nullptr;  // while Watch runs
  std::unique_ptr<FolderWatch> folder_watch_;
  std::string watch_quirk_;  // why there is none
  MailboxNames names_;
  const FlagNames flag_names_;
  std::map<std::string, std::string> aliases_;  // for names_, once the server is known
  bool knows_names_ = false;
  bool names_remembered_ = false;  // from another start: a listing that is not as expected has them asked for
  bool multi_append_ = false;
  bool searches_known_ = false;
  bool takes_unasked_literals_ = false;
  bool refused_together_ = false;  // an APPEND among several: they are sent one by one, so that each is told why
  Tier tier_ = Tier::kPlain;
  bool trust_resync_ = true;
  std::map<std::pair<std::string, UidValidity>, std::string> expected_;  // see Expect
  std::map<std::string, Uid> looked_;                                    // UIDNEXT of the last look
  std::string resync_quirk_;                                             // why not; "" while it is
  std::set<std::string> went_back_;                                      // mailboxes whose HIGHESTMODSEQ did
  std::set<std::string> without_modseq_;     // mailboxes of a server that keeps mod-sequences for others
  std::set<std::string> flags_taken_;        // by an APPEND here before
  std::set<std::string> mailboxes_listed_;   // names of the mesh
  std::vector<std::string> metadata_asked_;  // by the next look
  MetadataByMailbox metadata_;               // of the last one
  mutable ReplicaCounters counters_;
  mutable ServerInfo info_;
};

}  // namespace imapmesh

#endif  // IMAPMESH_ENGINE_REPLICA_IMAP_REPLICA_H_
