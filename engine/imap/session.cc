#include "engine/imap/session.h"

#include <algorithm>
#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <utility>

#include "base/printable.h"
#include "engine/imap/response_parser.h"
#include "engine/net/signal.h"

namespace imapmesh::imap {
namespace {

constexpr size_t kChunkBytes = 64 * 1024;
constexpr size_t kReadBytes = 64 * 1024;
constexpr size_t kWrittenMax = 32 * 1024;       // from then on what is written may make the server wait for a reader
constexpr size_t kEarlyMax = 64 * 1024 * 1024;  // of what arrives while we write
constexpr size_t kEnabledMax = 1000;
constexpr uint64_t kLiteralMinusBytesMax = 4096;  // RFC 7888 section 5

// The server's own words, for errors: "NO [CODE arguments] text".
std::string AnswerText(const StatusResponse& response) {
  std::string answer = response.kind == StatusKind::kBad ? "BAD" : response.kind == StatusKind::kNo ? "NO" : "OK";
  if (!response.code.name.empty()) {
    answer += " [" + response.code.name;
    if (!response.code.arguments.empty()) answer += " " + response.code.arguments;
    answer += "]";
  }
  if (!response.text.empty()) answer += " " + response.text;
  return Printable(answer);
}

absl::StatusCode RefusalCode(const StatusResponse& response) {
  const std::string& code = response.code.name;
  if (code == "OVERQUOTA") return absl::StatusCode::kResourceExhausted;
  if (code == "LIMIT" || code == "TOOBIG") return absl::StatusCode::kOutOfRange;
  if (code == "NOPERM") return absl::StatusCode::kPermissionDenied;
  if (code == "TRYCREATE" || code == "NONEXISTENT") return absl::StatusCode::kNotFound;
  if (code == "AUTHENTICATIONFAILED" || code == "AUTHORIZATIONFAILED" || code == "EXPIRED" ||
      code == "PRIVACYREQUIRED") {
    return absl::StatusCode::kUnauthenticated;
  }
  if (code == "ALREADYEXISTS") return absl::StatusCode::kAlreadyExists;
  // Servers older than RFC 5530 say so in words only; Cyrus still does.
  const bool denied = InCapitals(response.text).find("PERMISSION DENIED") != std::string::npos;
  if (code.empty() && denied) return absl::StatusCode::kPermissionDenied;
  if (code == "CANNOT" || code == "CLIENTBUG") return absl::StatusCode::kInvalidArgument;
  return response.kind == StatusKind::kBad ? absl::StatusCode::kInvalidArgument : absl::StatusCode::kAborted;
}

}  // namespace

absl::Status RefusalStatus(std::string_view command_name, const StatusResponse& response) {
  return Error(RefusalCode(response), "%s: the server answered \"%s\"", command_name, AnswerText(response));
}

struct Session::Connection {
  Connection(std::unique_ptr<ByteStream> bottom, asio::any_io_executor executor)
      : stream(std::move(bottom)), arrived(executor) {}
  std::unique_ptr<ByteStream> stream;  // null only where no layer could be made: the session is closed then
  std::string buffer;
  std::string early;  // arrived while much was written; before `result`
  bool writing = false;
  bool reading = false;                          // a ReadOnce is outstanding
  std::optional<absl::StatusOr<size_t>> result;  // of a ReadOnce, not yet taken
  Signal arrived;
};

Session::Session(std::unique_ptr<ByteStream> stream, Clock& clock, asio::any_io_executor executor,
                 SessionOptions options)
    : connection_(std::make_shared<Connection>(std::move(stream), executor)),
      clock_(clock),
      executor_(executor),
      options_(std::move(options)),
      reader_(options_.limits) {}

Session::~Session() {
  Close();
}

uint64_t Session::bytes_sent() const {
  return connection_->stream == nullptr ? 0 : connection_->stream->bytes_sent();
}
uint64_t Session::bytes_received() const {
  return connection_->stream == nullptr ? 0 : connection_->stream->bytes_received();
}

void Session::set_selected(std::string mailbox_raw, UidValidity validity) {
  selected_ = std::move(mailbox_raw);
  selected_validity_ = validity;
  highest_modseq_ = ModSeq();
  if (selected_.empty()) permanent_flags_.reset();  // what SELECT tells comes before it is answered
}

void Session::Close(absl::Status reason) {
  if (closed_.ok()) closed_ = reason.ok() ? absl::UnavailableError("the connection was closed here") : reason;
  queue_.clear();
  if (connection_->stream != nullptr) connection_->stream->Close();
}

// Closes for good; the error every later call returns.
absl::Status Session::Fail(absl::Status reason) {
  Close(std::move(reason));
  return closed_;
}

absl::Status Session::Lost(const absl::Status& cause) {
  const std::string bye = bye_text_.empty() ? "" : "; the server said \"BYE " + Printable(bye_text_) + "\"";
  const absl::StatusCode code = absl::IsDataLoss(cause) ? absl::StatusCode::kDataLoss : absl::StatusCode::kUnavailable;
  return Fail(Error(code, "the connection was lost: %s%s", Message(cause), bye));
}

// ---- Reading

// Outlives the session if need be: a wait may end without its read (WaitForResponse). While much is written it goes on:
// a server that nobody reads from would not read either.
asio::awaitable<void> Session::ReadOnce(std::shared_ptr<Connection> connection) {
  while (true) {
    connection->buffer.resize(kReadBytes);
    absl::StatusOr<size_t> result = co_await connection->stream->Read(std::span<char>(connection->buffer));
    const bool more = connection->writing && result.ok() && *result > 0 && connection->early.size() < kEarlyMax;
    if (!more) {
      connection->result = std::move(result);
      break;
    }
    connection->early.append(connection->buffer.data(), *result);
  }
  connection->reading = false;
  connection->arrived.Notify();
}

void Session::StartReading() {
  if (connection_->reading || connection_->result) return;
  connection_->reading = true;
  asio::co_spawn(executor_, ReadOnce(connection_), asio::detached);
}

// Gives the reader what the next read brings. False when `limit` passed first.
asio::awaitable<absl::StatusOr<bool>> Session::ReadSome(Duration limit) {
  const std::shared_ptr<Connection> connection = connection_;
  if (!closed_.ok()) co_return closed_;
  written_ = 0;
  if (!connection->early.empty()) {
    reader_.Feed(connection->early);
    connection->early.clear();
    co_return true;
  }
  StartReading();
  const Duration end = clock_.Now() + limit;
  while (!connection->result) {
    const Duration left = end - clock_.Now();
    if (left <= Duration::zero()) co_return false;
    co_await connection->arrived.WaitFor(clock_, left);
  }
  const absl::StatusOr<size_t> result = *std::exchange(connection->result, std::nullopt);
  if (!closed_.ok()) co_return closed_;
  if (!result.ok()) co_return Lost(result.status());
  if (*result == 0) co_return Lost(absl::UnavailableError("the server closed it"));
  reader_.Feed(connection->buffer, *result);
  co_return true;
}

absl::StatusOr<std::optional<Response>> Session::NextBuffered() {
  if (!closed_.ok()) return closed_;
  absl::StatusOr<std::optional<RawResponse>> raw = reader_.Next();
  if (!raw.ok()) return Fail(raw.status());
  if (!raw->has_value()) return std::optional<Response>();
  absl::StatusOr<Response> response = ParseResponse(**std::move(raw));
  if (!response.ok()) return Fail(response.status());
  return std::optional<Response>(*std::move(response));
}

asio::awaitable<absl::StatusOr<Response>> Session::ReadResponse() {
  while (true) {
    CO_ASSIGN_OR_RETURN(std::optional<Response> response, NextBuffered());
    if (response) co_return *std::move(response);
    CO_ASSIGN_OR_RETURN(const bool read, co_await ReadSome(options_.inactivity_limit));
    if (!read) {
      co_return Fail(Error(absl::StatusCode::kDeadlineExceeded, "the server sent nothing for %d s",
                           std::chrono::duration_cast<std::chrono::seconds>(options_.inactivity_limit).count()));
    }
  }
}

asio::awaitable<absl::StatusOr<StatusResponse>> Session::ReadGreeting() {
  CO_ASSIGN_OR_RETURN(Response response, co_await ReadResponse());
  Track(response);
  auto* status = std::get_if<StatusResponse>(&response);
  if (status != nullptr && status->tag.empty() && status->kind == StatusKind::kBye) {
    co_return Lost(absl::UnavailableError("the server does not serve us"));
  }
  if (status == nullptr || !status->tag.empty() ||
      (status->kind != StatusKind::kOk && status->kind != StatusKind::kPreauth)) {
    const std::string said = status != nullptr ? ": it said \"" + Printable(status->text) + "\"" : "";
    co_return Fail(absl::DataLossError(
        ToAbsl("what answers there did not greet as an IMAP server does" + said + "; check host, port and command")));
  }
  co_return std::move(*status);
}

// ---- What responses mean to the session

void Session::Track(const Response& response) {
  const auto learn = [&](const std::vector<std::string>& words) {
    capabilities_.clear();
    for (const std::string& word : words) {
      std::string name = InCapitals(word);
      if (!options_.ignored.contains(name)) capabilities_.insert(std::move(name));
    }
  };
  if (const auto* status = std::get_if<StatusResponse>(&response)) {
    if (status->kind == StatusKind::kBye) bye_text_ = status->text;
    if (status->code.name == "CAPABILITY") learn(status->code.words);
    if (status->code.name == "PERMANENTFLAGS") permanent_flags_ = status->code.words;
    if (status->code.name == "CLOSED") permanent_flags_.reset();  // RFC 7162 section 3.2.11
  } else if (const auto* capability = std::get_if<CapabilityResponse>(&response)) {
    learn(capability->capabilities);
  } else if (const auto* enabled = std::get_if<EnabledResponse>(&response)) {
    for (const std::string& extension : enabled->extensions) {
      if (enabled_.size() < kEnabledMax && !options_.ignored.contains(extension)) enabled_.insert(extension);
    }
  } else if (const auto* id = std::get_if<IdResponse>(&response)) {
    server_id_ = id->fields;
  } else {
    TrackMessages(response);
  }
}

void Session::TrackMessages(const Response& response) {
  if (const auto* exists = std::get_if<ExistsResponse>(&response)) {
    exists_ = exists->count;
  } else if (std::holds_alternative<ExpungeResponse>(response)) {
    if (exists_ > 0) --exists_;
    if (enabled_.contains("QRESYNC")) resync_defect_ = "it sends EXPUNGE where QRESYNC demands VANISHED";
  } else if (const auto* vanished = std::get_if<VanishedResponse>(&response)) {
    if (vanished->malformed) resync_defect_ = "it sends a VANISHED that names no UIDs";
    if (!vanished->earlier) exists_ -= std::min<uint64_t>(exists_, vanished->uids.size());
  }
}

absl::Status Session::Complete(const StatusResponse& response) {
  const auto command =
      std::find_if(pending_.begin(), pending_.end(), [&](const Pending& each) { return each.tag == response.tag; });
  if (command == pending_.end()) {
    return Fail(Error(absl::StatusCode::kDataLoss, "the server completed a command that was never sent: \"%s %s\"",
                      Printable(response.tag, 40), AnswerText(response)));
  }
  if (response.kind != StatusKind::kOk && command->literal_unasked) {
    refused_behind_literal_ = true;
    return Fail(Error(absl::StatusCode::kUnavailable,
                      "%s: the server answered \"%s\" behind a literal it had not asked for; its answers are untrusted",
                      command->name, AnswerText(response)));
  }
  // Refused before it asked for a literal: the rest of the command must not be sent.
  std::erase_if(queue_, [&](const Outgoing& outgoing) { return outgoing.tag == response.tag; });
  continuation_.reset();
  if (response.kind == StatusKind::kOk && response.code.name == "HIGHESTMODSEQ") {
    highest_modseq_ = ModSeq(response.code.number);
  }
  completed_[response.tag] = response;
  names_[response.tag] = command->name;
  pending_.erase(command);
  return absl::OkStatus();
}

absl::Status Session::Consume(Response& response, const ResponseHandler& handler) {
  Track(response);
  if (auto* continuation = std::get_if<ContinuationResponse>(&response)) {
    // One that nobody waits for must not answer a later question.
    if (wants_continuation_ || (!queue_.empty() && queue_.front().wait)) continuation_ = std::move(continuation->text);
    return absl::OkStatus();
  }
  const auto* status = std::get_if<StatusResponse>(&response);
  if (status != nullptr && !status->tag.empty()) return Complete(*status);
  if (!handler) return absl::OkStatus();
  if (absl::Status handled = handler(response); !handled.ok()) return Fail(handled);
  return absl::OkStatus();
}

// ---- Writing

bool Session::MayUseUnaskedLiteral(const Command& command, uint64_t size) const {
  if (command.safety() != LiteralSafety::kCannotBeRefused) return false;
  return HasCapability("LITERAL+") || (HasCapability("LITERAL-") && size <= kLiteralMinusBytesMax);
}

absl::StatusOr<std::string> Session::Send(Command command) {
  if (!closed_.ok()) return closed_;
  RETURN_IF_ERROR(command.status());
  Pending pending;
  pending.tag = "A" + std::to_string(++commands_);
  pending.name = command.name();
  Outgoing outgoing;
  outgoing.tag = pending.tag;
  outgoing.bytes = pending.tag + " ";
  for (const Command::Piece& piece : command.pieces()) {
    outgoing.bytes += piece.text;
    if (!piece.has_literal) continue;
    const uint64_t size = piece.body != nullptr ? piece.body->size() : piece.bytes.size();
    const bool unasked = MayUseUnaskedLiteral(command, size);
    outgoing.bytes += "{" + std::to_string(size) + (unasked ? "+}\r\n" : "}\r\n");
    pending.literal_unasked |= unasked;
    if (!unasked) {
      queue_.push_back(std::exchange(outgoing, Outgoing()));
      outgoing.tag = pending.tag;
      outgoing.wait = true;
    }
    outgoing.bytes += piece.bytes;
    if (piece.body != nullptr) {
      outgoing.body = piece.body;
      queue_.push_back(std::exchange(outgoing, Outgoing()));
      outgoing.tag = pending.tag;
    }
  }
  outgoing.bytes += "\r\n";
  queue_.push_back(std::move(outgoing));
  pending_.push_back(pending);
  return pending.tag;
}

// Leaves `chunk` empty. REQUIRES: at most kChunkBytes or what one command's text holds, so that the deadline is one of
// inactivity.
asio::awaitable<absl::Status> Session::Write(WriteChunk& chunk) {
  if (!closed_.ok()) co_return closed_;
  auto give_up = [this] { Close(absl::DeadlineExceededError("the server took no data in time")); };
  const std::unique_ptr<Alarm> alarm = clock_.CallAfter(options_.inactivity_limit, give_up);
  const std::shared_ptr<Connection> connection = connection_;
  written_ += chunk.size();
  connection->writing = written_ > kWrittenMax;
  if (connection->writing) StartReading();
  const std::vector<std::string_view> parts = chunk.Parts();
  const absl::Status written = co_await connection->stream->WriteParts(parts);
  chunk.Clear();
  connection->writing = false;
  if (!closed_.ok()) co_return closed_;
  if (!written.ok()) co_return Lost(written);
  co_return absl::OkStatus();
}

// Adds the body to `chunk`, which is written whenever it is full.
asio::awaitable<absl::Status> Session::AddBody(std::shared_ptr<const Body> body, WriteChunk& chunk) {
  for (uint64_t offset = 0; offset < body->size();) {
    const size_t count = static_cast<size_t>(std::min<uint64_t>(kChunkBytes, body->size() - offset));
    const absl::Status added = chunk.AddBody(body, offset, count);
    // Half a literal is on the wire: nothing else can follow.
    if (!added.ok()) co_return Fail(absl::UnavailableError(ToAbsl("a spilled message: " + Message(added))));
    offset += count;
    if (chunk.size() >= kChunkBytes) CO_RETURN_IF_ERROR(co_await Write(chunk));
  }
  co_return absl::OkStatus();
}

// What need not wait goes out in as few writes as chunks allow.
asio::awaitable<absl::Status> Session::Flush() {
  if (!closed_.ok()) co_return closed_;
  WriteChunk chunk;
  while (!queue_.empty()) {
    if (queue_.front().wait) {
      if (!continuation_) break;
      continuation_.reset();
      queue_.front().wait = false;
    }
    const Outgoing outgoing = std::move(queue_.front());
    queue_.pop_front();
    chunk.AddText(outgoing.bytes);
    if (outgoing.body != nullptr) CO_RETURN_IF_ERROR(co_await AddBody(outgoing.body, chunk));
    if (chunk.size() >= kChunkBytes) CO_RETURN_IF_ERROR(co_await Write(chunk));
  }
  if (chunk.size() > 0) CO_RETURN_IF_ERROR(co_await Write(chunk));
  co_return absl::OkStatus();
}

asio::awaitable<absl::Status> Session::SendLine(std::string line) {
  if (line.find_first_of("\r\n") != std::string::npos) co_return absl::InvalidArgumentError("a line end within a line");
  WriteChunk chunk;
  chunk.AddText(line + "\r\n");
  co_return co_await Write(chunk);
}

// ---- Waiting

asio::awaitable<absl::StatusOr<StatusResponse>> Session::AwaitCompletion(std::string tag, ResponseHandler handler) {
  for (uint64_t responses = 0; responses <= options_.responses_max; ++responses) {
    if (const auto done = completed_.find(tag); done != completed_.end()) {
      StatusResponse response = std::move(done->second);
      completed_.erase(done);
      names_.erase(tag);
      co_return response;
    }
    CO_RETURN_IF_ERROR(co_await Flush());
    CO_ASSIGN_OR_RETURN(Response response, co_await ReadResponse());
    CO_RETURN_IF_ERROR(Consume(response, handler));
  }
  co_return Fail(TooManyResponses());
}

absl::Status Session::TooManyResponses() const {
  return Error(absl::StatusCode::kResourceExhausted, "the server sent over %d responses and no completion",
               options_.responses_max);
}

asio::awaitable<absl::StatusOr<StatusResponse>> Session::Await(std::string tag, ResponseHandler handler) {
  const auto pending =
      std::find_if(pending_.begin(), pending_.end(), [&](const Pending& each) { return each.tag == tag; });
  const std::string name = pending != pending_.end() ? pending->name : names_[tag];
  absl::StatusOr<StatusResponse> response = co_await AwaitCompletion(tag, std::move(handler));
  if (!response.ok()) co_return Annotate(response.status(), name);
  if (response->kind != StatusKind::kOk) co_return RefusalStatus(name, *response);
  co_return response;
}

asio::awaitable<absl::StatusOr<StatusResponse>> Session::Run(Command command, ResponseHandler handler) {
  absl::StatusOr<std::string> tag = Send(std::move(command));
  if (!tag.ok()) co_return tag.status();
  co_return co_await Await(*std::move(tag), std::move(handler));
}

asio::awaitable<absl::StatusOr<std::optional<std::string>>> Session::AwaitMore(std::string tag,
                                                                               ResponseHandler handler) {
  CO_RETURN_IF_ERROR(co_await Flush());
  wants_continuation_ = true;
  absl::Status status;
  uint64_t responses = 0;
  while (status.ok() && !continuation_ && completed_.find(tag) == completed_.end()) {
    absl::StatusOr<Response> response = co_await ReadResponse();
    status = response.ok() ? Consume(*response, handler) : response.status();
    if (++responses > options_.responses_max) status = Fail(TooManyResponses());
  }
  wants_continuation_ = false;
  if (!status.ok()) co_return status;
  co_return std::exchange(continuation_, std::nullopt);
}

asio::awaitable<absl::StatusOr<std::string>> Session::AwaitContinuation(std::string tag, ResponseHandler handler) {
  CO_ASSIGN_OR_RETURN(std::optional<std::string> text, co_await AwaitMore(tag, std::move(handler)));
  if (text) co_return *std::move(text);
  const StatusResponse response = std::move(completed_[tag]);
  const std::string name = names_[tag];
  completed_.erase(tag);
  names_.erase(tag);
  if (response.kind != StatusKind::kOk) co_return RefusalStatus(name, response);
  co_return Error(absl::StatusCode::kInternal, "%s: the server answered \"%s\" without asking for more", name,
                  AnswerText(response));
}

asio::awaitable<absl::StatusOr<std::optional<Response>>> Session::WaitForResponse(Duration limit) {
  CO_RETURN_IF_ERROR(co_await Flush());
  const Duration end = clock_.Now() + limit;
  while (true) {
    CO_ASSIGN_OR_RETURN(std::optional<Response> response, NextBuffered());
    if (response) {
      CO_RETURN_IF_ERROR(Consume(*response, nullptr));
      if (!std::holds_alternative<ContinuationResponse>(*response)) co_return response;
      continue;
    }
    const Duration left = end - clock_.Now();
    if (left <= Duration::zero()) co_return std::optional<Response>();
    CO_ASSIGN_OR_RETURN(const bool read, co_await ReadSome(left));
    if (!read) co_return std::optional<Response>();
  }
}

// ---- Layers

bool Session::HasBufferedInput() const {
  return reader_.HasBufferedInput() || connection_->result.has_value() || !connection_->early.empty();
}

absl::Status Session::UpgradeStream(
    const std::function<std::unique_ptr<ByteStream>(std::unique_ptr<ByteStream>)>& upgrade) {
  if (!closed_.ok()) return closed_;
  if (HasBufferedInput()) {
    return Fail(absl::DataLossError(
        "the server sent data ahead of the new layer (someone may be tampering with the connection)"));
  }
  if (connection_->reading || !queue_.empty() || !pending_.empty()) {
    return Fail(absl::InternalError("a layer was put on the stream while a command was running"));
  }
  connection_->stream = upgrade(std::move(connection_->stream));
  if (connection_->stream == nullptr) return Fail(absl::UnavailableError("the layer could not be put on the stream"));
  return absl::OkStatus();
}

}  // namespace imapmesh::imap
