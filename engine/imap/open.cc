#include "engine/imap/open.h"

#include <algorithm>
#include <charconv>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "engine/imap/commands.h"
#include "engine/net/deadline.h"
#include "engine/net/deflate.h"

namespace imapmesh::imap {
namespace {

constexpr size_t kMemoryBytesMax = 4000;
constexpr Duration kNearAnswers = std::chrono::milliseconds(20);
constexpr int64_t kServerIdMillis = int64_t{24} * 3600 * 1000;

// `layer` becomes the TLS layer, which the session owns.
asio::awaitable<absl::Status> UpgradeToTls(Session& session, TlsOptions tls, const TlsStream*& layer) {
  CO_RETURN_IF_ERROR(co_await Capability(session));
  if (!session.HasCapability("STARTTLS")) {
    co_return Error(absl::StatusCode::kUnimplemented,
                    "the server does not offer STARTTLS; use security: TLS with its port (993)");
  }
  CO_RETURN_IF_ERROR(co_await imap::StartTls(session));
  absl::Status made;
  const std::function<std::unique_ptr<ByteStream>(std::unique_ptr<ByteStream>)> upgrade =
      [&](std::unique_ptr<ByteStream> below) -> std::unique_ptr<ByteStream> {
    auto stream = MakeTlsStream(std::move(below), tls);
    made = stream.status();
    if (!stream.ok()) return nullptr;
    layer = stream->get();
    return *std::move(stream);
  };
  const absl::Status upgraded = session.UpgradeStream(upgrade);
  co_return made.ok() ? upgraded : made;
}

SetUpRequest RequestOf(const OpenOptions& options) {
  SetUpRequest request;
  request.extensions.emplace_back("QRESYNC");
  request.namespaces = static_cast<bool>(options.take_namespaces);
  request.compress = options.compress;
  return request;
}

// Without what is remembered well enough.
SetUpRequest GuessOf(const OpenOptions& options, const ServerMemory& remembered, int64_t now_unix_ms) {
  SetUpRequest request = RequestOf(options);
  const int64_t age = now_unix_ms - remembered.server_id_unix_ms;
  request.id = remembered.server_id.empty() || age < 0 || age > kServerIdMillis;
  request.namespaces &= !options.believe_namespaces || !remembered.namespaces;
  return request;
}

// Cyrus throws away what came in one packet with AUTHENTICATE, and so never answers it.
bool DiscardsBehindLogin(const std::string& greeting) {
  return greeting.find("Cyrus") != std::string::npos;
}

// Its length, ":" and itself.
void Put(std::string& out, std::string_view text) {
  out += std::to_string(text.size()) + ":";
  out += text;
}

void Put(std::string& out, int64_t number) {
  Put(out, std::string_view(std::to_string(number)));
}

// What Put has put; once something is not as it would be, nothing more.
class Taker {
 public:
  explicit Taker(std::string_view text) : rest_(text) {}

  std::string Text() {
    const size_t colon = rest_.find(':');
    size_t size = 0;
    const auto [end, error] = std::from_chars(rest_.data(), rest_.data() + std::min(colon, rest_.size()), size);
    good_ &= colon != std::string_view::npos && error == std::errc() && end == rest_.data() + colon;
    good_ = good_ && size <= rest_.size() - colon - 1;
    if (!good_) return "";
    std::string text(rest_.substr(colon + 1, size));
    rest_.remove_prefix(colon + 1 + size);
    return text;
  }

  int64_t Number() {
    const std::string text = Text();
    int64_t number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    good_ &= error == std::errc() && end == text.data() + text.size() && number >= 0;
    return good_ ? number : 0;
  }

  bool good() const { return good_; }

 private:
  std::string_view rest_;
  bool good_ = true;
};

std::string EncodeAnswers(const ServerMemory& memory) {
  std::string text;
  Put(text, memory.server_id_unix_ms);
  Put(text, static_cast<int64_t>(memory.server_id.size()));
  for (const auto& [field, value] : memory.server_id) {
    Put(text, field);
    Put(text, value);
  }
  if (!memory.namespaces) return text;
  const NamespaceResponse& told = *memory.namespaces;
  for (const auto* namespaces : {&told.personal, &told.other_users, &told.shared}) {
    Put(text, static_cast<int64_t>(namespaces->size()));
    for (const NamespaceEntry& entry : *namespaces) {
      Put(text, entry.prefix);
      Put(text, entry.delimiter);
    }
  }
  return text;
}

void DecodeAnswers(std::string_view text, ServerMemory& memory) {
  Taker taker(text);
  const int64_t asked = taker.Number();
  std::map<std::string, std::string> server_id;
  for (int64_t left = taker.Number(); left > 0 && taker.good(); --left) {
    std::string field = taker.Text();
    server_id[std::move(field)] = taker.Text();
  }
  if (!taker.good()) return;
  memory.server_id_unix_ms = asked;
  memory.server_id = std::move(server_id);
  NamespaceResponse told;
  for (auto* namespaces : {&told.personal, &told.other_users, &told.shared}) {
    for (int64_t left = taker.Number(); left > 0 && taker.good(); --left) {
      NamespaceEntry& entry = namespaces->emplace_back();
      entry.prefix = taker.Text();
      entry.delimiter = taker.Text();
    }
  }
  if (taker.good()) memory.namespaces = std::move(told);
}

// One OpenSession, step by step.
class Opening {
 public:
  Opening(Clock& clock, asio::any_io_executor executor, OpenOptions options)
      : clock_(clock), executor_(std::move(executor)), options_(std::move(options)) {}

  asio::awaitable<absl::StatusOr<std::unique_ptr<Session>>> Run(std::unique_ptr<ByteStream> stream) {
    CO_RETURN_IF_ERROR(Begin(std::move(stream)));
    // A peer that sends a byte now and then meets every single deadline.
    const auto give_up = [this] {
      session_->Close(absl::DeadlineExceededError("the server took too long to let us in"));
    };
    const std::unique_ptr<Alarm> alarm = clock_.CallAfter(kOpeningWaits * options_.inactivity_limit, give_up);
    CO_RETURN_IF_ERROR(co_await Greet());
    Recall();
    const absl::Status ready = co_await LogInAndSetUp();
    if (options_.memory != nullptr) Memorise(ready);
    if (!ready.ok()) co_return ready;
    co_return std::move(session_);
  }

 private:
  absl::Status Begin(std::unique_ptr<ByteStream> stream) {
    if (options_.security == Security::kTls) {
      auto secured = MakeTlsStream(std::move(stream), options_.tls);
      if (!secured.ok()) return secured.status();
      tls_ = secured->get();
      stream = *std::move(secured);
    }
    SessionOptions session_options;
    session_options.inactivity_limit = options_.inactivity_limit;
    session_options.ignored = options_.ignored;
    session_ = std::make_unique<Session>(std::move(stream), clock_, executor_, session_options);
    return absl::OkStatus();
  }

  asio::awaitable<absl::Status> Greet() {
    const Duration begun = clock_.Now();
    const auto greeting = co_await session_->ReadGreeting();
    if (!greeting.ok()) co_return greeting.status();
    quickest_answer_ = clock_.Now() - begun;
    greeted_ = greeting->code.arguments + " " + greeting->text;
    logged_in_ = greeting->kind == StatusKind::kPreauth;
    if (options_.security != Security::kStartTls) co_return absl::OkStatus();
    if (logged_in_) {
      co_return Error(
          absl::StatusCode::kUnauthenticated,
          "the server greets with PREAUTH, so STARTTLS is no longer possible: somebody may be in between; use "
          "security: TLS");
    }
    co_return co_await UpgradeToTls(*session_, options_.tls, tls_);
  }

  // What is remembered of a server that greets so.
  void Recall() {
    ServerMemory* memory = options_.memory.get();
    if (memory == nullptr) return;
    // Of a time when they were not ignored, perhaps.
    std::erase_if(memory->capabilities, [&](const std::string& name) { return options_.ignored.contains(name); });
    if (memory->greeting != greeted_) {
      const bool distrusted = memory->distrusted;
      *memory = ServerMemory();
      memory->distrusted = distrusted;
    }
    remembered_ = *memory;
  }

  asio::awaitable<absl::Status> LogInAndSetUp() {
    if (!remembered_.distrusted && !remembered_.capabilities.empty() && !DiscardsBehindLogin(greeted_)) {
      guess_ = GuessOf(options_, remembered_, clock_.UnixMillis());
      options_.login.behind = [this] {
        auto sent = SendSetUp(*session_, guess_, remembered_.capabilities);
        if (sent.ok()) guessed_ = *std::move(sent);
      };
    }
    const uint64_t commands_before = session_->commands();
    const Duration begun = clock_.Now();
    if (!logged_in_) CO_RETURN_IF_ERROR(co_await LogIn(*session_, options_.login, tls_));
    if (!logged_in_) quickest_answer_ = std::min(quickest_answer_, clock_.Now() - begun);
    // A server that has to be asked for its capabilities cannot be guessed at: COMPRESS would be on by then.
    const size_t behind = guessed_ ? guessed_->commands.size() : 0;
    told_ = !logged_in_ && session_->commands() == commands_before + 1 + behind;
    if (!guessed_) co_return co_await TurnOnExtensions();
    co_return co_await FinishGuess(*std::move(guessed_));
  }

  asio::awaitable<absl::Status> TurnOnExtensions() {
    CO_RETURN_IF_ERROR(co_await Capability(*session_));
    CO_ASSIGN_OR_RETURN(SetUpResult result, co_await SetUp(*session_, RequestOf(options_)));
    co_return Apply(std::move(result));
  }

  // The same where the commands went out with the login, for what the server was believed to have.
  asio::awaitable<absl::Status> FinishGuess(SentSetUp sent) {
    CO_RETURN_IF_ERROR(co_await Capability(*session_));
    absl::StatusOr<SetUpResult> result = co_await AwaitSetUp(*session_, std::move(sent));
    if (!session_->closed().ok()) co_return session_->closed();
    SetUpRequest rest = RequestOf(options_);
    const bool right = result.ok() && session_->capabilities() == remembered_.capabilities &&
                       (result->namespaces || !guess_.namespaces || !session_->HasCapability("NAMESPACE"));
    if (result.ok()) {
      rest.compress = rest.compress && !result->compressed;
      CO_RETURN_IF_ERROR(Apply(*std::move(result)));
    }
    if (right) {
      if (!guess_.id) session_->set_server_id(remembered_.server_id);
      if (rest.namespaces && !guess_.namespaces) options_.take_namespaces(*remembered_.namespaces, true);
      co_return absl::OkStatus();
    }
    CO_ASSIGN_OR_RETURN(SetUpResult missing, co_await SetUp(*session_, std::move(rest)));
    co_return Apply(std::move(missing));
  }

  absl::Status Apply(SetUpResult result) {
    if (result.namespaces && options_.take_namespaces) {
      if (options_.memory != nullptr) options_.memory->namespaces = result.namespaces;
      options_.take_namespaces(*std::move(result.namespaces), false);
    }
    if (!result.compressed) return absl::OkStatus();
    const int level = DeflateLevel(quickest_answer_);
    const std::function<std::unique_ptr<ByteStream>(std::unique_ptr<ByteStream>)> upgrade =
        [level](std::unique_ptr<ByteStream> below) { return MakeDeflateStream(std::move(below), level); };
    return session_->UpgradeStream(upgrade);
  }

  void Memorise(const absl::Status& ready) {
    ServerMemory& memory = *options_.memory;
    const bool misguided = guessed_ && !ready.ok() && !absl::IsUnauthenticated(ready);
    const bool distrusted = memory.distrusted || misguided;
    if (ready.ok() && told_) {
      const bool id_told = !guessed_ || guess_.id || session_->server_id() != remembered_.server_id;
      memory.greeting = greeted_;
      memory.capabilities = session_->capabilities();
      memory.server_id = session_->server_id();
      if (id_told) memory.server_id_unix_ms = clock_.UnixMillis();
    } else {
      memory = ServerMemory();
    }
    memory.distrusted = distrusted;
  }

  Clock& clock_;
  asio::any_io_executor executor_;
  OpenOptions options_;
  std::unique_ptr<Session> session_;
  const TlsStream* tls_ = nullptr;  // the session's layer
  std::string greeted_;
  bool logged_in_ = false;   // by the greeting (PREAUTH)
  ServerMemory remembered_;  // a copy: other connections are opened meanwhile
  SetUpRequest guess_;
  std::optional<SentSetUp> guessed_;
  bool told_ = false;  // the capabilities, with the login
  Duration quickest_answer_{0};
};

}  // namespace

int DeflateLevel(Duration quickest_answer) {
  return quickest_answer < kNearAnswers ? kDeflateNear : kDeflateFar;
}

// One line each: the greeting, the capabilities; then what the server answered.
std::string Encode(const ServerMemory& memory) {
  if (memory.capabilities.empty() || memory.distrusted) return "";
  std::string text = memory.greeting + "\n";
  for (const std::string& capability : memory.capabilities) text += capability + " ";
  text += "\n" + EncodeAnswers(memory);
  return text.size() <= kMemoryBytesMax ? text : "";
}

ServerMemory DecodeServerMemory(std::string_view text) {
  ServerMemory memory;
  const size_t line_end = text.find('\n');
  if (line_end == std::string_view::npos) return memory;
  memory.greeting = text.substr(0, line_end);
  const size_t capabilities_end = std::min(text.find('\n', line_end + 1), text.size());
  for (size_t begin = line_end + 1; begin < capabilities_end;) {
    const size_t end = std::min(text.find(' ', begin), capabilities_end);
    if (end > begin) memory.capabilities.emplace(text.substr(begin, end - begin));
    begin = end + 1;
  }
  if (capabilities_end < text.size()) DecodeAnswers(text.substr(capabilities_end + 1), memory);
  return memory;
}

asio::awaitable<absl::StatusOr<std::unique_ptr<Session>>> OpenSession(std::unique_ptr<ByteStream> stream, Clock& clock,
                                                                      asio::any_io_executor executor,
                                                                      OpenOptions options) {
  Opening opening(clock, std::move(executor), std::move(options));
  co_return co_await opening.Run(std::move(stream));
}

}  // namespace imapmesh::imap
