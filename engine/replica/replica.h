// What the engine needs of one replica, in the mesh's words: an IMAP account behind an interface.
//
// engine/sync calls it; engine/replica/imap_replica.h implements it over engine/imap, with a pool of connections.
// Names are mailbox names of the mesh (UTF-8, "/" between levels, "INBOX" in capitals); the implementation translates
// to the server's. Engine thread only. Calls for one replica may run side by side, up to its max_connections; each
// takes a connection for as long as it runs.
//
// Errors: kUnavailable, kDeadlineExceeded, kCancelled and kDataLoss of a call that changes something mean that its
// outcome is unknown (OutcomeUnknown below); every other error is the server's refusal: nothing was changed, but for
// what ChangeTogether says. Texts name the replica, the mailbox, what was tried and what the server answered.
#ifndef IMAPMESH_ENGINE_REPLICA_REPLICA_H_
#define IMAPMESH_ENGINE_REPLICA_REPLICA_H_

#include <asio/awaitable.hpp>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/digest.h"
#include "base/ids.h"
#include "base/status.h"
#include "base/uid_set.h"
#include "engine/net/body.h"

namespace imapmesh {

// What one LIST-STATUS line tells of a mailbox copy.
struct MailboxStatus {
  std::string mailbox;      // name of the mesh
  std::string name_here;    // as the server spells it, for status and errors
  std::string local_name;   // as `mailbox`, before aliases (SetAliases)
  std::string server_id;    // stays when it is renamed: MAILBOXID (RFC 8474) or X-GUID; "" where the server has none
  std::string special_use;  // "\\Sent", "\\Trash"… (RFC 6154), unless the topology maps its name; "" for none
  bool selectable = true;
  bool subscribed = false;
  bool status_known = false;  // false: the server listed it but gave no STATUS; nothing below holds
  UidValidity uid_validity;
  Uid uid_next;
  ModSeq highest_modseq;  // 0: the server has none for it
  // Only where HIGHESTMODSEQ does not tell everything: a change of these makes the mailbox copy due.
  std::optional<uint64_t> messages;
  std::optional<uint64_t> unseen;
};

// Up to where a mailbox copy has been consumed (what the store records as its cursor).
struct MailboxCursor {
  UidValidity uid_validity;  // 0: never observed
  Uid uid_next;              // every UID below is known
  ModSeq highest_modseq;     // every change up to this is known, for UIDs below uid_next
  // How many messages are known, when each of them is below uid_next. Where the server cannot tell what vanished, its
  // UIDs are compared only if its count says so; without this they always are.
  std::optional<uint64_t> known;
  // Of what is known: to be told once more (Observation::recognised). Counters that went back with a restored server
  // and have risen since show nothing of it; the messages do.
  UidSet recognise{};
  bool operator==(const MailboxCursor&) const = default;
};

// A message copy seen for the first time, with all that identifies it.
struct ArrivedMessage {
  Uid uid;
  std::vector<std::string> flags;  // as the server spells them, without \Recent
  uint64_t size = 0;               // RFC822.SIZE, bytes
  int64_t internal_date = 0;       // seconds since 1970 UTC
  int32_t zone_minutes = 0;        // of INTERNALDATE as the server wrote it
  Digest header_digest{};          // of Message-ID, Date, From, To, Cc, Subject and Content-Type, unfolded
  bool has_message_id = false;
  std::string message_id;            // as written, cut at 998 bytes; "" when there is none
  std::string server_guid;           // X-GUID, EMAILID or X-GM-MSGID; "" when the server has none
  std::shared_ptr<const Body> body;  // where the look brought it along (ObserveLimits)
};

// How much one look into a mailbox copy may bring; what is cut off is for the next.
struct ObserveLimits {
  size_t messages = 0;  // arrivals, about
  // Not 0: arrivals bring their bodies along where these are small, up to so many bytes as the server tells sizes.
  uint64_t body_bytes = 0;
};

struct FlagChange {
  Uid uid;
  std::vector<std::string> flags;  // all that are set now, without \Recent
};

// One look into one mailbox copy.
struct Observation {
  MailboxCursor cursor;   // what is consumed once this observation is recorded
  bool complete = false;  // `since` was of no use: everything is in `arrived`
  bool more = false;      // arrivals were cut at a limit: observe again from `cursor`
  UidSet vanished;        // may name UIDs that never were known
  // Where the server cannot tell what vanished: what there is. Known UIDs below cursor.uid_next that are not in it are
  // gone. Only ever a listing that was complete: the tagged OK came, and it had as many messages as the server counts.
  std::optional<UidSet> present;
  std::vector<FlagChange> changed;         // UIDs below since.uid_next; their flags may be the known ones
  std::vector<ArrivedMessage> arrived;     // UIDs from since.uid_next on (from 1 when complete), ascending
  std::vector<ArrivedMessage> recognised;  // of since.recognise, what is there; nothing when complete
  uint64_t exists = 0;                     // messages in the mailbox copy now
  // How many the server counted when the mailbox was opened, where it then told what vanished: as many as are known
  // now, below cursor.uid_next, or it did not tell of all.
  std::optional<uint64_t> counted;
  bool read_only = false;
  // PERMANENTFLAGS, "\\*" among them where new keywords can be made (RFC 3501 section 7.1); nullopt: the server did
  // not tell.
  std::optional<std::vector<std::string>> permanent_flags;
  std::vector<std::string> keywords_apart;  // that this replica cannot hold: their names stand for others here
};

// The annotations of one mailbox (METADATA, RFC 5464): values by entry, in lower case; none is empty.
struct MailboxMetadata {
  std::map<std::string, std::string> values;
  bool complete = true;  // false: what is not in `values` may be there, but is too large to be carried
};

struct MailboxReference {
  std::string mailbox;
  UidValidity uid_validity;  // when not 0, an operation on another UIDVALIDITY fails with kFailedPrecondition
};

// What people know a message by; decoded to UTF-8, not yet made printable, each cut at 1,000 bytes.
struct HeaderText {
  std::string subject;
  std::string sender;
};

struct AppendItem {
  std::shared_ptr<const Body> body;
  std::vector<std::string> flags;
  int64_t internal_date = 0;  // seconds since 1970 UTC
  int32_t zone_minutes = 0;
};

// UIDs in order; 0 where the server did not tell.
struct Appended {
  std::vector<Uid> uids;
  UidValidity uid_validity;  // of the mailbox; 0 where the server did not tell
};

struct AppendRequest {
  MailboxReference mailbox;
  std::vector<AppendItem> items;
};

struct BodiesRequest {
  MailboxReference mailbox;
  UidSet uids;
};

struct FlagStore {
  UidSet uids;
  std::vector<std::string> add, remove;
};

// What a message copy is known by: a server that can search may be told to change it only if it is that one.
struct MessageMark {
  uint64_t size = 0;
  std::string message_id;
};

// What to change in one mailbox copy: flags, then what goes.
struct MailboxChanges {
  MailboxReference mailbox;
  std::vector<FlagStore> stores;
  UidSet expunge;
  ModSeq unchanged_since;            // of `expunge`
  std::map<Uid, MessageMark> known;  // of these UIDs; none need be there
};

struct CopiedUid {
  Uid from;
  Uid to;
};

struct ExpungeResult {
  UidSet modified;  // left alone: changed since `unchanged_since` (RFC 7162 section 3.1.3)
  // Gone beside what was asked for, in the same instant: only where the server cannot expunge single messages.
  UidSet unmeant;
  UidSet kept;  // still there though the server answered OK: what some do where the right is missing (RFC 4314: e)
};

struct MailboxOutcome {
  std::vector<absl::Status> stored;  // for each of MailboxChanges::stores
  absl::StatusOr<ExpungeResult> expunged{ExpungeResult()};
};

// CONTRACT.md section 4: counted since the replica object was made.
struct ReplicaCounters {
  uint64_t commands = 0;
  uint64_t bytes_sent = 0;
  uint64_t bytes_received = 0;
  uint64_t mailboxes_selected = 0;
  uint64_t messages_fetched = 0;  // bodies
  uint64_t messages_appended = 0;
  uint64_t messages_copied_server_side = 0;
  uint64_t flags_changed = 0;  // message copies
  uint64_t messages_expunged = 0;
};

struct ServerInfo {
  std::string software;  // ID name and version, or from the greeting; printable
  std::string tier;      // "QRESYNC", "CONDSTORE", "PLAIN"; "" before the first login
  // What this server or a mailbox on it does otherwise than its capabilities promise, and what is done about it.
  std::vector<std::string> quirks;
  std::vector<std::string> capabilities;
  bool can_push = false;  // NOTIFY
  int connections = 0;
  double round_trip_ms = 0;  // of the quickest look so far, the server's own time included; 0: none yet
};

// Mailbox copies that are looked into together: their commands stay below what Session::Send asks for.
inline constexpr size_t kObserveTogether = 32;

class Replica {
 public:
  virtual ~Replica() = default;

  virtual const std::string& name() const = 0;

  // What the next look is likely to find: server_id by local name and UIDVALIDITY. Where it finds just these it need
  // not ask the server for what they are.
  virtual void Expect(std::map<std::pair<std::string, UidValidity>, std::string>) {}

  // Every mailbox copy that belongs to the mesh, in one exchange. Connects when necessary.
  virtual asio::awaitable<absl::StatusOr<std::vector<MailboxStatus>>> Look() = 0;

  // What changed in `mailbox` since `since`. With another UIDVALIDITY than `since` names, or none, the observation is
  // `complete` (in batches: `more`, each from the last cursor).
  virtual asio::awaitable<absl::StatusOr<Observation>> Observe(std::string mailbox, MailboxCursor since,
                                                               ObserveLimits limits) = 0;

  // The same for several mailbox copies in as few exchanges as the server allows; nullopt for those that Observe has to
  // look into. Never an error: what failed is told by Observe. At most kObserveTogether.
  virtual asio::awaitable<std::vector<std::optional<Observation>>> ObserveTogether(
      std::vector<std::pair<std::string, MailboxCursor>> mailboxes) {
    co_return std::vector<std::optional<Observation>>(mailboxes.size());
  }

  // Fetches whole messages with BODY.PEEK[]; `take` gets each as it arrives. UIDs that are gone are left out.
  virtual asio::awaitable<absl::Status> FetchBodies(MailboxReference mailbox, UidSet uids,
                                                    std::function<void(Uid, std::shared_ptr<const Body>)> take) = 0;

  // The same from several mailboxes, one after the other over one connection in as few exchanges as the server allows;
  // `take` gets the request's place too. The first error, when all have been asked.
  virtual asio::awaitable<absl::Status> FetchBodiesTogether(
      std::vector<BodiesRequest> requests, std::function<void(size_t, Uid, std::shared_ptr<const Body>)> take) {
    absl::Status first;
    for (size_t i = 0; i < requests.size(); ++i) {
      const std::function<void(Uid, std::shared_ptr<const Body>)> take_here =
          [&take, i](Uid uid, std::shared_ptr<const Body> body) { take(i, uid, std::move(body)); };
      const absl::Status fetched = co_await FetchBodies(requests[i].mailbox, requests[i].uids, take_here);
      if (first.ok()) first = fetched;
    }
    co_return first;
  }

  // Subject and sender of messages. UIDs that are gone are left out.
  virtual asio::awaitable<absl::Status> FetchHeaders(MailboxReference mailbox, UidSet uids,
                                                     std::function<void(Uid, HeaderText)> take) = 0;

  // Appends all or none (MULTIAPPEND; without it, only one item may be given: see max_append). kNotFound: the mailbox
  // does not exist.
  virtual asio::awaitable<absl::StatusOr<Appended>> Append(MailboxReference mailbox, std::vector<AppendItem> items) = 0;
  virtual size_t max_append() const = 0;
  // The same into several mailboxes, one after the other over one connection in as few exchanges as the server allows;
  // one outcome for each.
  virtual asio::awaitable<std::vector<absl::StatusOr<Appended>>> AppendTogether(std::vector<AppendRequest> requests) {
    std::vector<absl::StatusOr<Appended>> outcomes;
    for (AppendRequest& request : requests) {
      absl::StatusOr<Appended> outcome = co_await Append(request.mailbox, std::move(request.items));
      outcomes.push_back(std::move(outcome));
    }
    co_return outcomes;
  }
  // UIDVALIDITY and UIDNEXT now; 0 where the server does not tell.
  virtual asio::awaitable<absl::StatusOr<MailboxCursor>> CursorNow(std::string /*mailbox*/) {
    co_return MailboxCursor();
  }

  // Copies within the replica, or moves: both at once or not at all (RFC 6851), so only where can_move. UIDs that are
  // gone are left out of the result.
  virtual asio::awaitable<absl::StatusOr<std::vector<CopiedUid>>> CopyMessages(MailboxReference from,
                                                                               MailboxReference to, UidSet uids,
                                                                               bool move) = 0;
  virtual bool can_move() const = 0;

  // +FLAGS.SILENT and -FLAGS.SILENT. UIDs that are gone are passed over. kFailedPrecondition also where the mailbox
  // does not keep one of the flags (PERMANENTFLAGS), and nothing was changed: observe it.
  virtual asio::awaitable<absl::Status> StoreFlags(MailboxReference mailbox, UidSet uids, std::vector<std::string> add,
                                                   std::vector<std::string> remove) = 0;

  // \Deleted with UNCHANGEDSINCE (where known), then UID EXPUNGE of just these. A server without UIDPLUS refuses
  // (kAborted) while other messages there are marked \Deleted. What was refused is not left marked.
  virtual asio::awaitable<absl::StatusOr<ExpungeResult>> Expunge(MailboxReference mailbox, UidSet uids,
                                                                 ModSeq unchanged_since) = 0;

  // Both, in several mailboxes, one after the other over one connection in as few exchanges as the server allows; one
  // outcome for each. After kFailedPrecondition (another UIDVALIDITY) messages that look like those that were meant may
  // have been changed.
  virtual asio::awaitable<std::vector<MailboxOutcome>> ChangeTogether(std::vector<MailboxChanges> changes) {
    std::vector<MailboxOutcome> outcomes(changes.size());
    for (size_t i = 0; i < changes.size(); ++i) {
      for (const FlagStore& store : changes[i].stores) {
        const absl::Status stored = co_await StoreFlags(changes[i].mailbox, store.uids, store.add, store.remove);
        outcomes[i].stored.push_back(stored);
      }
      if (changes[i].expunge.empty()) continue;
      outcomes[i].expunged = co_await Expunge(changes[i].mailbox, changes[i].expunge, changes[i].unchanged_since);
    }
    co_return outcomes;
  }

  // How many mailboxes it pays to change over one connection before another is used beside it.
  virtual size_t mailboxes_a_connection() const { return 4; }

  // CREATE, and SUBSCRIBE when asked. False when it exists already, kAlreadyExists when the server says so and does not
  // list it: it takes the name for another's, differing in case or spelling.
  virtual asio::awaitable<absl::StatusOr<bool>> CreateMailbox(std::string mailbox, bool subscribe) = 0;
  virtual asio::awaitable<absl::Status> Subscribe(std::string mailbox, bool subscribed) = 0;
  // Whether LIST of exactly this local name shows a mailbox.
  virtual asio::awaitable<absl::StatusOr<bool>> MailboxExists(std::string local_name) = 0;
  // Of an empty mailbox: kFailedPrecondition while there is a message in it.
  virtual asio::awaitable<absl::Status> DeleteMailbox(std::string mailbox) = 0;
  // Renames a mailbox, by local names, with its children; then has the subscriptions of `subscribed`, local names that
  // `from` is or holds, follow. False when that was refused: they are not subscribed under the new name.
  virtual asio::awaitable<absl::StatusOr<bool>> RenameMailbox(std::string from, std::string to,
                                                              std::vector<std::string> subscribed) = 0;
  // Mailboxes that have another local name than in the mesh; replaces the ones given before.
  virtual void SetAliases(std::map<std::string, std::string> mesh_to_local) = 0;

  // The annotations of mailboxes, where the server has METADATA; known once it was connected to.
  virtual bool has_metadata() const { return false; }
  // Of these, in the same exchange as the next Look, which TakeMetadata then gives; mailboxes may be left out.
  virtual void AskMetadata(std::vector<std::string>) {}
  virtual std::map<std::string, MailboxMetadata> TakeMetadata() { return {}; }
  // By themselves; those that the server refuses are left out.
  virtual asio::awaitable<absl::StatusOr<std::map<std::string, MailboxMetadata>>> GetMetadata(
      std::vector<std::string>) {
    co_return absl::UnimplementedError("the server has no METADATA");
  }
  // All or none; "" removes an entry.
  virtual asio::awaitable<absl::Status> SetMetadata(std::string, std::vector<std::pair<std::string, std::string>>) {
    co_return absl::UnimplementedError("the server has no METADATA");
  }

  // Watches on a connection of its own until it breaks or Close is called; `due` is called with the mailboxes that may
  // have changed (empty: any). kUnimplemented: the server cannot push, poll instead.
  virtual asio::awaitable<absl::Status> Watch(std::function<void(std::vector<std::string>)> due) = 0;

  // Keeps a NOOP or drops idle connections; called now and then while nothing happens. Never connects.
  virtual asio::awaitable<void> KeepAlive() = 0;

  // Drops every connection; outstanding calls end with kUnavailable. The next call connects anew.
  virtual void Close() = 0;
  // LOGOUT on idle connections, then Close.
  virtual asio::awaitable<void> Logout() = 0;

  virtual ReplicaCounters counters() const = 0;
  virtual const ServerInfo& info() const = 0;

  // What it tells of vanished messages turned out not to be all: it is not asked for that any more. `why` is shown.
  virtual void DistrustResync(std::string why) { static_cast<void>(why); }

  // What makes the next start's first connection cheaper, for a later object of the same replica to Remember: opaque, a
  // few kilobytes at most, "" for nothing. It may be stale or another server's: that costs an exchange, nothing else.
  virtual std::string memory() const { return ""; }
  virtual void Remember(std::string) {}
};

// Whether an operation that ended so may still have taken effect.
inline bool OutcomeUnknown(const absl::Status& status) {
  return absl::IsUnavailable(status) || absl::IsDeadlineExceeded(status) || absl::IsCancelled(status) ||
         absl::IsDataLoss(status);
}

}  // namespace imapmesh

#endif  // IMAPMESH_ENGINE_REPLICA_REPLICA_H_
