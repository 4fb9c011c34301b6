#include "engine/imap/open.h"

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "engine/imap/commands.h"
#include "engine/net/deadline.h"
#include "engine/net/deflate.h"

namespace imapmesh::imap {
namespace {

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

asio::awaitable<absl::Status> TurnOnExtensions(Session& session, const OpenOptions& options) {
  CO_RETURN_IF_ERROR(co_await Capability(session));
  SetUpRequest request;
  request.extensions.emplace_back("QRESYNC");
  request.namespaces = static_cast<bool>(options.take_namespaces);
  request.compress = options.compress;
  CO_ASSIGN_OR_RETURN(SetUpResult result, co_await SetUp(session, std::move(request)));
  if (result.namespaces && options.take_namespaces) options.take_namespaces(*std::move(result.namespaces));
  if (!result.compressed) co_return absl::OkStatus();
  const std::function<std::unique_ptr<ByteStream>(std::unique_ptr<ByteStream>)> upgrade = MakeDeflateStream;
  co_return session.UpgradeStream(upgrade);
}

}  // namespace

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
  if (!logged_in) CO_RETURN_IF_ERROR(co_await LogIn(*session, options.login, tls));
  CO_RETURN_IF_ERROR(co_await TurnOnExtensions(*session, options));
  co_return session;
}

}  // namespace imapmesh::imap
