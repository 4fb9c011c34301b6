#include "engine/imap/open.h"

#include <algorithm>
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

absl::Status Apply(Session& session, SetUpResult result, const OpenOptions& options) {
  if (result.namespaces && options.take_namespaces) options.take_namespaces(*std::move(result.namespaces));
  if (!result.compressed) return absl::OkStatus();
  const std::function<std::unique_ptr<ByteStream>(std::unique_ptr<ByteStream>)> upgrade = MakeDeflateStream;
  return session.UpgradeStream(upgrade);
}

asio::awaitable<absl::Status> TurnOnExtensions(Session& session, const OpenOptions& options) {
  CO_RETURN_IF_ERROR(co_await Capability(session));
  CO_ASSIGN_OR_RETURN(SetUpResult result, co_await SetUp(session, RequestOf(options)));
  co_return Apply(session, std::move(result), options);
}

// The same where the commands went out with the login, for what the server was believed to have.
asio::awaitable<absl::Status> FinishGuess(Session& session, const OpenOptions& options, SentSetUp sent) {
  CO_RETURN_IF_ERROR(co_await Capability(session));
  absl::StatusOr<SetUpResult> result = co_await AwaitSetUp(session, std::move(sent));
  if (!session.closed().ok()) co_return session.closed();
  SetUpRequest rest = RequestOf(options);
  const bool right = result.ok() && session.capabilities() == options.memory->capabilities &&
                     (result->namespaces || !rest.namespaces || !session.HasCapability("NAMESPACE"));
  if (result.ok()) {
    rest.compress = rest.compress && !result->compressed;
    CO_RETURN_IF_ERROR(Apply(session, *std::move(result), options));
  }
  if (right) co_return absl::OkStatus();
  CO_ASSIGN_OR_RETURN(SetUpResult missing, co_await SetUp(session, std::move(rest)));
  co_return Apply(session, std::move(missing), options);
}

}  // namespace

// One line each: the greeting, the capabilities.
std::string Encode(const ServerMemory& memory) {
  if (memory.capabilities.empty() || memory.distrusted) return "";
  std::string text = memory.greeting + "\n";
  for (const std::string& capability : memory.capabilities) text += capability + " ";
  return text.size() <= kMemoryBytesMax ? text : "";
}

ServerMemory DecodeServerMemory(std::string_view text) {
  ServerMemory memory;
  const size_t line_end = text.find('\n');
  if (line_end == std::string_view::npos) return memory;
  memory.greeting = text.substr(0, line_end);
  for (size_t begin = line_end + 1; begin < text.size();) {
    const size_t end = std::min(text.find(' ', begin), text.size());
    if (end > begin) memory.capabilities.emplace(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return memory;
}

asio::awaitable<absl::StatusOr<std::unique_ptr<Session>>> OpenSession(std::unique_ptr<ByteStream> stream, Clock& clock,
                                                                      asio::any_io_executor executor,
                                                                      OpenOptions options) {
  const TlsStream* tls = nullptr;
  if (options.security == Security::kTls) {
    auto secured = MakeTlsStream(std::move(stream), options.tls);
    if (!secured.ok()) co_return secured.status();
    tls = secured->get();
    stream = *std::move(secured);
  }
  SessionOptions session_options;
  session_options.inactivity_limit = options.inactivity_limit;
  session_options.ignored = options.ignored;
  auto session = std::make_unique<Session>(std::move(stream), clock, executor, session_options);
  // A peer that sends a byte now and then meets every single deadline.
  const auto give_up = [&session] {
    session->Close(absl::DeadlineExceededError("the server took too long to let us in"));
  };
  const std::unique_ptr<Alarm> alarm = clock.CallAfter(kOpeningWaits * options.inactivity_limit, give_up);
  const auto greeting = co_await session->ReadGreeting();
  if (!greeting.ok()) co_return greeting.status();
  bool logged_in = greeting->kind == StatusKind::kPreauth;
  if (options.security == Security::kStartTls) {
    if (logged_in) {
      co_return Error(
          absl::StatusCode::kUnauthenticated,
          "the server greets with PREAUTH, so STARTTLS is no longer possible: somebody may be in between; use "
          "security: TLS");
    }
    CO_RETURN_IF_ERROR(co_await UpgradeToTls(*session, options.tls, tls));
  }
  if (options.memory != nullptr) {  // of a time when they were not ignored, perhaps
    std::erase_if(options.memory->capabilities,
                  [&](const std::string& name) { return options.ignored.contains(name); });
  }
  const std::string greeted = greeting->code.arguments + " " + greeting->text;
  ServerMemory* memory = options.memory.get();
  std::optional<SentSetUp> guessed;
  const bool believed = memory != nullptr && !memory->distrusted && !memory->capabilities.empty();
  if (believed && memory->greeting == greeted) {
    options.login.behind = [&] {
      auto sent = SendSetUp(*session, RequestOf(options), memory->capabilities);
      if (sent.ok()) guessed = *std::move(sent);
    };
  }
  absl::Status ready;
  const uint64_t commands_before = session->commands();
  if (!logged_in) ready = co_await LogIn(*session, options.login, tls);
  // A server that has to be asked for its capabilities cannot be guessed at: COMPRESS would be on by then.
  const size_t behind = guessed ? guessed->commands.size() : 0;
  const bool told = !logged_in && session->commands() == commands_before + 1 + behind;
  if (ready.ok() && guessed) {
    ready = co_await FinishGuess(*session, options, *std::move(guessed));
  } else if (ready.ok()) {
    ready = co_await TurnOnExtensions(*session, options);
  }
  if (memory != nullptr) {
    const bool misguided = guessed && !ready.ok() && !absl::IsUnauthenticated(ready);
    const bool distrusted = memory->distrusted || misguided;
    *memory = ServerMemory();
    if (ready.ok() && told) *memory = {greeted, session->capabilities()};
    memory->distrusted = distrusted;
  }
  if (!ready.ok()) co_return ready;
  co_return session;
}

}  // namespace imapmesh::imap
