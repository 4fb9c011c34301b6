// The IMAP commands the engine uses, as coroutines with typed results.
//
// engine/imap/open.h (connecting) and engine/replica call them; each takes a Session for as long as it runs. Mailbox
// names are raw: as the server spells them (modified UTF-7), with its own delimiter. Long UID sets are split over
// several pipelined commands. Errors: see Session; texts begin with the command's name. Engine thread.
#ifndef IMAPMESH_ENGINE_IMAP_COMMANDS_H_
#define IMAPMESH_ENGINE_IMAP_COMMANDS_H_

#include <asio/awaitable.hpp>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/ids.h"
#include "base/status.h"
#include "base/uid_set.h"
#include "engine/imap/response.h"
#include "engine/imap/sasl.h"
#include "engine/imap/session.h"
#include "engine/net/body.h"

namespace imapmesh::imap {

// ---- The connection

// Asks unless the server told already (session.capabilities()).
asio::awaitable<absl::Status> Capability(Session& session);
// RFC 2971, with this program's name. What the server told is also in session.server_id().
asio::awaitable<absl::StatusOr<std::map<std::string, std::string>>> Id(Session& session);
// kUnauthenticated when the server refuses; kUnavailable and kResourceExhausted when it says that the fault is its own.
// Both forget and ask again for capabilities where the server did not tell.
asio::awaitable<absl::Status> Login(Session& session, std::string username, std::string password);
// AUTHENTICATE, with SASL-IR where the server has it. `mechanism` must outlive the call. Its own error (Begin, Respond,
// Finish) is returned as it is; a session on which the server claimed a success that Finish denies is closed.
// `behind` is called when all that this side has to say has been queued with the command itself, before anything is
// sent: what it queues goes out in the same exchange.
asio::awaitable<absl::Status> Authenticate(Session& session, SaslMechanism& mechanism,
                                           std::function<void()> behind = nullptr);
// Those of `extensions` that the server has ("QRESYNC"). session.enabled() tells what is on.
asio::awaitable<absl::Status> Enable(Session& session, std::vector<std::string> extensions);
// COMPRESS DEFLATE (RFC 4978); kUnimplemented where the server lacks it. After OK the caller puts the layer on with
// session.UpgradeStream.
asio::awaitable<absl::Status> Compress(Session& session);
// What is turned on after the login. NAMESPACE and ENABLE are left out where the server has none.
struct SetUpRequest {
  SetUpRequest() {}
  bool id = true;
  std::vector<std::string> extensions;  // for Enable
  bool namespaces = false;
  bool compress = false;
};
struct SetUpResult {
  std::optional<NamespaceResponse> namespaces;
  bool compressed = false;  // the caller puts the layer on, as for Compress; refused is no error
};
// ID, ENABLE, NAMESPACE and COMPRESS in one exchange.
asio::awaitable<absl::StatusOr<SetUpResult>> SetUp(Session& session, SetUpRequest request);
// The two halves of SetUp; `capabilities` is what the server is believed to have.
struct SentSetUp {
  std::vector<std::pair<std::string, std::string>> commands;  // tag, name
};
absl::StatusOr<SentSetUp> SendSetUp(Session& session, const SetUpRequest& request, const Capabilities& capabilities);
asio::awaitable<absl::StatusOr<SetUpResult>> AwaitSetUp(Session& session, SentSetUp sent);
// STARTTLS; kUnimplemented where the server lacks it (ask Capability first). After OK likewise; the capabilities told
// before it are forgotten.
asio::awaitable<absl::Status> StartTls(Session& session);
asio::awaitable<absl::Status> Noop(Session& session);
// Sends LOGOUT and closes without waiting for the farewell: nothing depends on it.
asio::awaitable<void> Logout(Session& session);

// ---- Mailboxes

asio::awaitable<absl::StatusOr<NamespaceResponse>> Namespace(Session& session);
// What separates the levels of names, by LIST "" "" (RFC 3501 section 6.3.8); "" where names have no levels.
asio::awaitable<absl::StatusOr<std::string>> HierarchyDelimiter(Session& session);

// The STATUS item that tells a mailbox's identity, which stays when it is renamed: MAILBOXID (RFC 8474), or X-GUID of
// Dovecot; "" for none.
std::string MailboxIdentityItem(const Session& session);
// "\\Sent", "\\Trash", "\\Drafts", "\\Junk" or "\\Archive" (RFC 6154); "" for none.
std::string SpecialUse(const ListResponse& list);

struct ListedMailbox {
  ListResponse list;
  bool subscribed = false;
  std::optional<MailboxStatusResponse> status;
};
// Everything that matches `pattern` with its STATUS (UIDVALIDITY UIDNEXT, and HIGHESTMODSEQ where known, else UNSEEN):
// one exchange with LIST-STATUS, else LIST, LSUB and pipelined STATUS.
// `also` gets every response too: of commands that were queued before.
struct ListItems {
  bool counts = true;    // MESSAGES
  bool identity = true;  // MailboxIdentityItem
};
asio::awaitable<absl::StatusOr<std::vector<ListedMailbox>>> ListStatus(Session& session, std::string pattern,
                                                                       ListItems items = ListItems(),
                                                                       ResponseHandler also = nullptr);

// Whether LIST of exactly this name shows a mailbox that can be selected.
asio::awaitable<absl::StatusOr<bool>> Exists(Session& session, std::string mailbox_raw);
// By STATUS; the mailbox must not be selected here.
asio::awaitable<absl::StatusOr<uint32_t>> CountMessages(Session& session, std::string mailbox_raw);
// UIDVALIDITY and UIDNEXT by STATUS; 0 when the server does not say it. Servers answer it for the selected mailbox too,
// though RFC 3501 section 6.3.10 would rather not have it asked; a refusal then is no news.
struct NextUidResult {
  UidValidity uid_validity;
  Uid uid;
};
asio::awaitable<absl::StatusOr<NextUidResult>> NextUid(Session& session, std::string mailbox_raw);

struct SelectRequest {
  SelectRequest(std::string mailbox) : mailbox_raw(std::move(mailbox)) {}
  std::string mailbox_raw;
  bool read_only = false;    // EXAMINE
  UidValidity uid_validity;  // with modseq: SELECT asks with QRESYNC what happened since; needs ENABLE QRESYNC
  ModSeq modseq;
  UidSet known_uids;  // optional (RFC 7162 section 3.2.5.1); left out when longer than 4 kB
};
struct MessageFlags {
  Uid uid;
  ModSeq modseq;                   // 0 where the server has none
  std::vector<std::string> flags;  // without \Recent
};
struct SelectResult {
  UidValidity uid_validity;
  Uid uid_next;           // 0: the server did not tell
  ModSeq highest_modseq;  // 0: NOMODSEQ
  uint32_t exists = 0;
  std::vector<std::string> flags;
  std::optional<std::vector<std::string>> permanent_flags;  // nullopt: the server did not tell
  bool read_only = false;
  bool uid_not_sticky = false;
  UidSet vanished;                    // since the asked modseq; only when the UIDVALIDITY is the asked one
  std::vector<MessageFlags> changed;  // likewise
};
asio::awaitable<absl::StatusOr<SelectResult>> Select(Session& session, SelectRequest request);
// The two halves of Select, so that more can be sent behind it before it is answered. Each SendSelect needs its
// AwaitSelect; what was sent behind one that fails was refused, or is about another mailbox than the wanted one.
struct SentSelect {
  SentSelect(SelectRequest sent, std::string its_tag, bool asks_resync)
      : request(std::move(sent)), tag(std::move(its_tag)), resync(asks_resync) {}
  SelectRequest request;
  std::string tag;
  bool resync;
};
absl::StatusOr<SentSelect> SendSelect(Session& session, SelectRequest request);
asio::awaitable<absl::StatusOr<SelectResult>> AwaitSelect(Session& session, SentSelect sent);
// UNSELECT, or where missing an EXAMINE of a name that cannot exist: never CLOSE, which expunges.
asio::awaitable<absl::Status> Unselect(Session& session);
// The two halves of it, where a mailbox is selected.
absl::StatusOr<std::string> SendUnselect(Session& session);
asio::awaitable<absl::Status> AwaitUnselect(Session& session, std::string tag);

asio::awaitable<absl::Status> Create(Session& session, std::string mailbox_raw);
asio::awaitable<absl::Status> Delete(Session& session, std::string mailbox_raw);
asio::awaitable<absl::Status> Rename(Session& session, std::string from_raw, std::string to_raw);
asio::awaitable<absl::Status> Subscribe(Session& session, std::string mailbox_raw);
asio::awaitable<absl::Status> Unsubscribe(Session& session, std::string mailbox_raw);

// ---- Messages of the selected mailbox

// X-GUID, EMAILID or X-GM-MSGID: what this server can tell of a message's identity within the account; "" for none.
std::string IdentityItem(const Session& session);

struct NewMessage {
  Uid uid;
  std::vector<std::string> flags;  // without \Recent
  std::string internal_date;       // "dd-Mon-yyyy hh:mm:ss +zzzz" as the server wrote it
  uint64_t size = 0;
  ModSeq modseq;     // 0 where the server did not tell; not asked for: some mailboxes have none
  std::string guid;  // of the identity item; "" for none
  // Message-ID, Date, From, To, Cc, Subject, Content-Type, as written; at most 1 MiB of it. FetchNewWithBodies: nullopt
  // where they have to be asked for (plain_header.h).
  std::optional<std::string> header;
  std::shared_ptr<const Body> body;  // FetchNewWithBodies
};
// `take` gets each message of `uids` that exists, in the server's order.
asio::awaitable<absl::Status> FetchNew(Session& session, UidSet uids, std::function<absl::Status(NewMessage)> take);
// The same with the messages themselves, in which the header fields are read.
asio::awaitable<absl::Status> FetchNewWithBodies(Session& session, UidSet uids,
                                                 std::function<absl::Status(NewMessage)> take);
asio::awaitable<absl::Status> FetchSizes(Session& session, UidSet uids,
                                         std::function<absl::Status(Uid, uint64_t)> take);
// The two halves of FetchNew for a set that fits one command (a few ranges).
absl::StatusOr<std::string> SendFetchNew(Session& session, const UidSet& uids);
asio::awaitable<absl::Status> AwaitFetchNew(Session& session, std::string tag, UidSet uids,
                                            std::function<absl::Status(NewMessage)> take);
// UID, FLAGS and MODSEQ of what is in `uids`; with `changed_since` only what changed (CHANGEDSINCE).
asio::awaitable<absl::Status> FetchFlags(Session& session, UidSet uids, ModSeq changed_since,
                                         std::function<absl::Status(MessageFlags)> take);
// The two halves of FetchFlags without `changed_since`, for a set of a few kilobytes, see Session::Send.
struct SentForUids {
  std::vector<std::string> tags;
  absl::Status failed;  // at sending
};
SentForUids SendFetchFlags(Session& session, const UidSet& uids);
asio::awaitable<absl::Status> AwaitFetchFlags(Session& session, SentForUids sent, UidSet uids,
                                              std::function<absl::Status(MessageFlags)> take);
// BODY.PEEK[]; `take` gets each message that still exists.
asio::awaitable<absl::Status> FetchBodies(Session& session, UidSet uids,
                                          std::function<absl::Status(Uid, std::shared_ptr<const Body>)> take);
// The two halves, so that several can be sent before the first is answered; nothing is taken without `take`.
SentForUids SendFetchBodies(Session& session, const UidSet& uids);
asio::awaitable<absl::Status> AwaitFetchBodies(Session& session, SentForUids sent, UidSet uids,
                                               std::function<absl::Status(Uid, std::shared_ptr<const Body>)> take);
// The UID of the last message; 0 in an empty mailbox.
asio::awaitable<absl::StatusOr<Uid>> FetchLastUid(Session& session);
// Every UID in the mailbox, and those marked \Deleted: ESEARCH where the server has it.
asio::awaitable<absl::StatusOr<UidSet>> UidSearchAll(Session& session);
asio::awaitable<absl::StatusOr<UidSet>> UidSearchDeleted(Session& session);

struct StoreRequest {
  StoreRequest() {}
  UidSet uids;
  bool add = true;  // +FLAGS.SILENT, else -FLAGS.SILENT
  std::vector<std::string> flags;
  ModSeq unchanged_since;  // 0: whatever changed; needs CONDSTORE
};
// The UIDs left alone because they changed since.
asio::awaitable<absl::StatusOr<UidSet>> StoreFlags(Session& session, StoreRequest request);

// Several in one exchange; one status for each. None may have `unchanged_since`.
asio::awaitable<std::vector<absl::Status>> StoreTogether(Session& session, std::vector<StoreRequest> requests);

// \Deleted must be set already. Those that the server did not tell to be gone: they may be there still.
asio::awaitable<absl::StatusOr<UidSet>> UidExpunge(Session& session, UidSet uids);

// The two halves of StoreFlags and of UidExpunge, so that more can be sent behind them; each Send needs its Await. For
// sets of a few kilobytes, see Session::Send.
SentForUids SendStore(Session& session, const StoreRequest& request);
asio::awaitable<absl::StatusOr<UidSet>> AwaitStore(Session& session, SentForUids sent);
SentForUids SendUidExpunge(Session& session, const UidSet& uids);
// Of `uids` those that the server did not tell to be gone.
asio::awaitable<absl::StatusOr<UidSet>> AwaitUidExpunge(Session& session, SentForUids sent, UidSet uids);

// ---- Changing messages that are what they are known by, and no others

// For servers that keep what a search found (SEARCHRES, RFC 5182). SELECT, the search and the changes of what it found
// go out in one exchange: in a mailbox that was made anew meanwhile the search finds nothing, so nothing is changed.
struct KnownMessage {
  Uid uid;
  uint64_t size = 0;
  std::string message_id;
};
bool CanSearchKnown(const Session& session);
// Whether a search can tell it from every other message; only such ones may be searched for.
bool IsSearchable(const KnownMessage& message);
// Saves those of `messages` (some dozens) that are what they are known by; only those marked \Deleted if `deleted`. A
// search that is refused may leave what the one before has saved: between two of them behind one SELECT goes one that
// finds nothing.
absl::StatusOr<std::string> SendSearchNothing(Session& session);
absl::StatusOr<std::string> SendSearchKnown(Session& session, const std::vector<KnownMessage>& messages, bool deleted);
asio::awaitable<absl::StatusOr<UidSet>> AwaitSearchKnown(Session& session, std::string tag);
// SendStore and SendUidExpunge of what the last search saved; `uids` of the request is not used.
SentForUids SendStoreFound(Session& session, const StoreRequest& request);
SentForUids SendUidExpungeFound(Session& session);

// EXPUNGE: removes every message marked \Deleted, whoever marked it. Those of `shown`, the UIDs of the whole mailbox in
// order, that the server told to be gone meanwhile.
asio::awaitable<absl::StatusOr<UidSet>> ExpungeMarked(Session& session, UidSet shown);

struct CopyResult {
  UidValidity uid_validity;               // of the target; 0 where the server did not tell
  std::vector<std::pair<Uid, Uid>> uids;  // from, to; empty where the server did not tell
};
// kNotFound: the target does not exist. kUnimplemented: no MOVE. Refused after a part was done: kUnavailable.
asio::awaitable<absl::StatusOr<CopyResult>> UidCopy(Session& session, UidSet uids, std::string target_raw);
asio::awaitable<absl::StatusOr<CopyResult>> UidMove(Session& session, UidSet uids, std::string target_raw);

// ---- Adding messages

struct AppendMessage {
  std::shared_ptr<const Body> body;
  std::vector<std::string> flags;
  std::string internal_date;  // "dd-Mon-yyyy hh:mm:ss +zzzz"
};
struct AppendResult {
  UidValidity uid_validity;  // 0 where the server did not tell
  std::vector<Uid> uids;     // one for each message, in order; 0 where the server did not tell
};
// The two halves of Append, so that several can be sent before the first is answered: only with kCannotBeRefused, and
// where the server takes literals that it has not asked for.
struct SentAppend {
  std::string tag;
  size_t messages = 0;
};
bool TakesUnaskedLiterals(const Session& session);
absl::StatusOr<SentAppend> SendAppend(Session& session, std::string mailbox_raw,
                                      const std::vector<AppendMessage>& messages, LiteralSafety safety);
asio::awaitable<absl::StatusOr<AppendResult>> AwaitAppend(Session& session, SentAppend sent);
// All of them or none: several need MULTIAPPEND (kUnimplemented without). Flags and dates are validated first
// (kInvalidArgument). `safety` kCannotBeRefused only when the mailbox is known to exist and this server took these
// flags before. A refusal behind a non-synchronising literal closes the session, kUnavailable.
asio::awaitable<absl::StatusOr<AppendResult>> Append(Session& session, std::string mailbox_raw,
                                                     std::vector<AppendMessage> messages, LiteralSafety safety);

// ---- Being told

// One NOTIFY SET for the whole account (RFC 5465): once for each connection, see DESIGN.md section 7.
asio::awaitable<absl::Status> NotifySet(Session& session);

// Stays in IDLE and calls `due` with the raw names that may have changed (empty: any), until the connection breaks or
// is closed (its status) or NOTIFY overflows (kResourceExhausted: fall back to IDLE and polling). After NotifySet it
// tells of every mailbox, else of the selected one. IDLE is renewed after `refresh` (below 29 minutes, RFC 2177; a few
// minutes keep NAT and the server's patience). kUnimplemented without IDLE.
asio::awaitable<absl::Status> WatchLoop(Session& session, Duration refresh,
                                        std::function<void(std::vector<std::string>)> due);

}  // namespace imapmesh::imap

#endif  // IMAPMESH_ENGINE_IMAP_COMMANDS_H_
