// One connection to an IMAP server: sends commands, reads responses, keeps what the connection itself knows.
//
// engine/imap/commands.h builds on it; engine/replica owns the sessions. Caller-driven: nothing happens between calls,
// and one coroutine uses a session at a time. Engine thread; one executor for the session, its stream and its callers.
// Invariants:
//   1. Every wait has a deadline; a session that missed one, lost its peer or lost its trust in the answers is closed
//      for good, and every later call returns the same error.
//   2. No error text holds a command's arguments.
//   3. Errors kUnavailable, kDeadlineExceeded, kCancelled and kDataLoss mean that a command's outcome is unknown; NO
//      and BAD never map to them, except behind a non-synchronising literal.
#ifndef IMAPMESH_ENGINE_IMAP_SESSION_H_
#define IMAPMESH_ENGINE_IMAP_SESSION_H_

#include <asio/any_io_executor.hpp>
#include <asio/awaitable.hpp>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/ids.h"
#include "base/status.h"
#include "engine/imap/command.h"
#include "engine/imap/response.h"
#include "engine/imap/response_reader.h"
#include "engine/imap/write_chunk.h"
#include "engine/net/clock.h"
#include "engine/net/stream.h"

namespace imapmesh::imap {

using Capabilities = std::set<std::string, std::less<>>;

struct SessionOptions {
  SessionOptions() {}
  Duration inactivity_limit = std::chrono::seconds(60);  // of one wait; begins anew whenever bytes move
  ReaderLimits limits;
  // Read while one command is awaited: a server that talks without end must not keep its replica waiting for ever.
  uint64_t responses_max = 50'000'000;
  Capabilities ignored;  // in capitals: as if the server had neither announced nor enabled them
};

// Gets each untagged response while a command runs. An error closes the session and is what Await returns.
using ResponseHandler = std::function<absl::Status(Response&)>;

class Session {
 public:
  // `clock` must outlive the session.
  Session(std::unique_ptr<ByteStream> stream, Clock& clock, asio::any_io_executor executor,
          SessionOptions options = SessionOptions());
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  // The first thing to call. OK or PREAUTH; BYE is kUnavailable with what the server said, anything else kDataLoss.
  asio::awaitable<absl::StatusOr<StatusResponse>> ReadGreeting();

  // Gives `command` a tag and queues it; Await or Flush writes it. Several may be queued: they are pipelined. What the
  // server says while much is written is read and kept: mind what that may be before megabytes are asked for so.
  absl::StatusOr<std::string> Send(Command command);

  // Writes what is queued, up to a literal that the server has to ask for.
  asio::awaitable<absl::Status> Flush();

  // Writes what is queued and reads until the command of `tag` is completed; untagged responses go to `handler` (may be
  // empty). Await the tags in the order of Send. The tagged response, whatever its kind.
  asio::awaitable<absl::StatusOr<StatusResponse>> AwaitCompletion(std::string tag, ResponseHandler handler);
  // The same, where NO and BAD become a status (RefusalStatus).
  asio::awaitable<absl::StatusOr<StatusResponse>> Await(std::string tag, ResponseHandler handler);
  // Send, then Await.
  asio::awaitable<absl::StatusOr<StatusResponse>> Run(Command command, ResponseHandler handler);

  // Waits until the server has asked for more ("+") on behalf of `tag`: its text. nullopt when the command completed
  // instead; AwaitCompletion then returns at once. For AUTHENTICATE.
  asio::awaitable<absl::StatusOr<std::optional<std::string>>> AwaitMore(std::string tag, ResponseHandler handler);
  // The same where the server has to ask: IDLE. When the command completes instead, the error of RefusalStatus
  // (kInternal if it completed with OK).
  asio::awaitable<absl::StatusOr<std::string>> AwaitContinuation(std::string tag, ResponseHandler handler);
  // Writes `line` and CRLF: the answer to a continuation. Errors never show it.
  asio::awaitable<absl::Status> SendLine(std::string line);

  // The next untagged response, or nullopt once `limit` passed without one; the session stays usable. For IDLE.
  // A tagged response ends the wait too (IDLE refused or ended): it is returned here, and kept for Await.
  asio::awaitable<absl::StatusOr<std::optional<Response>>> WaitForResponse(Duration limit);

  // Puts a layer (TLS, deflate) on the stream, between two commands. kDataLoss, and closed, when the server already
  // sent something that would have to pass through it (injected before STARTTLS); kUnavailable, and closed, when
  // `upgrade` returns null.
  absl::Status UpgradeStream(const std::function<std::unique_ptr<ByteStream>(std::unique_ptr<ByteStream>)>& upgrade);
  // Whether bytes were received that no response has consumed.
  bool HasBufferedInput() const;

  // Drops the connection; outstanding calls end with `reason`, later ones too. Idempotent.
  void Close(absl::Status reason = absl::UnavailableError("the connection was closed here"));
  // Why the session is closed; OK while it is not.
  const absl::Status& closed() const { return closed_; }

  // What the server told last; empty before it told (commands.h, Capability). In capitals.
  const Capabilities& capabilities() const { return capabilities_; }
  bool HasCapability(std::string_view name) const { return capabilities_.find(name) != capabilities_.end(); }
  void ForgetCapabilities() { capabilities_.clear(); }
  const std::set<std::string, std::less<>>& enabled() const { return enabled_; }

  // The selected mailbox (raw name), "" for none; the commands in commands.h keep it.
  const std::string& selected() const { return selected_; }
  // Its UIDVALIDITY when it was selected: another mailbox may have its name since. 0 where the server did not tell.
  UidValidity selected_validity() const { return selected_validity_; }
  void set_selected(std::string mailbox_raw, UidValidity validity = UidValidity());
  // Its PERMANENTFLAGS as the server told last (RFC 3501 section 7.1); nullopt: it did not tell.
  const std::optional<std::vector<std::string>>& permanent_flags() const { return permanent_flags_; }
  // How many messages the selected mailbox holds, as the server told last.
  uint64_t exists() const { return exists_; }
  // What the server did that QRESYNC forbids once it is enabled (RFC 7162 section 3.2.10); "" for nothing. What it
  // tells of vanished messages is not to be relied on then.
  const std::string& resync_defect() const { return resync_defect_; }
  // What the server said with BYE; "" if it did not.
  const std::string& bye_text() const { return bye_text_; }
  // The last HIGHESTMODSEQ of a tagged OK (RFC 7162 section 3.2.7) in the selected mailbox; 0 for none.
  ModSeq highest_modseq() const { return highest_modseq_; }
  // ID's fields, once commands.h Id has run, or as they are remembered.
  const std::map<std::string, std::string>& server_id() const { return server_id_; }
  void set_server_id(std::map<std::string, std::string> fields) { server_id_ = std::move(fields); }

  // Whether the session was closed because a command with a non-synchronising literal was refused: the same command
  // with synchronising ones, on a new session, will tell why.
  bool refused_behind_literal() const { return refused_behind_literal_; }

  uint64_t commands() const { return commands_; }
  uint64_t bytes_sent() const;
  uint64_t bytes_received() const;
  Clock& clock() { return clock_; }

 private:
  struct Connection;  // the stream, and the read that may be outstanding on it

  // A stretch of queued output: `bytes`, then the body.
  struct Outgoing {
    std::string tag;
    bool wait = false;  // only once the server has sent "+"
    std::string bytes;
    std::shared_ptr<const Body> body;
  };
  // A command that is not completed.
  struct Pending {
    std::string tag;
    std::string name;
    bool literal_unasked = false;  // a non-synchronising literal was used
  };

  static asio::awaitable<void> ReadOnce(std::shared_ptr<Connection> connection);
  void StartReading();
  asio::awaitable<absl::StatusOr<bool>> ReadSome(Duration limit);
  asio::awaitable<absl::StatusOr<Response>> ReadResponse();
  asio::awaitable<absl::Status> Write(WriteChunk& chunk);
  asio::awaitable<absl::Status> AddBody(std::shared_ptr<const Body> body, WriteChunk& chunk);
  absl::StatusOr<std::optional<Response>> NextBuffered();
  absl::Status Consume(Response& response, const ResponseHandler& handler);
  absl::Status Complete(const StatusResponse& response);
  void Track(const Response& response);
  void TrackMessages(const Response& response);
  absl::Status Fail(absl::Status reason);
  absl::Status TooManyResponses() const;
  absl::Status Lost(const absl::Status& cause);
  bool MayUseUnaskedLiteral(const Command& command, uint64_t size) const;

  const std::shared_ptr<Connection> connection_;
  Clock& clock_;
  const asio::any_io_executor executor_;
  const SessionOptions options_;
  ResponseReader reader_;
  std::deque<Outgoing> queue_;
  std::deque<Pending> pending_;                      // in the order of Send
  std::map<std::string, StatusResponse> completed_;  // not yet awaited
  std::map<std::string, std::string> names_;         // of the commands in completed_
  std::optional<std::string> continuation_;          // a "+" nobody has consumed
  bool wants_continuation_ = false;                  // AwaitContinuation is running
  bool refused_behind_literal_ = false;
  absl::Status closed_;
  Capabilities capabilities_;
  std::set<std::string, std::less<>> enabled_;
  std::map<std::string, std::string> server_id_;
  std::string selected_;
  UidValidity selected_validity_;
  std::optional<std::vector<std::string>> permanent_flags_;
  std::string bye_text_;
  uint64_t exists_ = 0;
  std::string resync_defect_;
  ModSeq highest_modseq_;
  uint64_t commands_ = 0;
  size_t written_ = 0;  // since the last read
};

// What a NO or BAD means to the callers (base/status.h): by its response code, else kAborted for NO and
// kInvalidArgument for BAD. Never a code that leaves the outcome unknown.
absl::Status RefusalStatus(std::string_view command_name, const StatusResponse& response);

}  // namespace imapmesh::imap

#endif  // IMAPMESH_ENGINE_IMAP_SESSION_H_
