// LOGIN and AUTHENTICATE.
#include <utility>

#include "absl/strings/escaping.h"
#include "engine/imap/command_support.h"
#include "engine/imap/commands.h"

namespace imapmesh::imap {
namespace {

constexpr size_t kInitialBytesMax = 8000;  // of a command line (RFC 2683 section 3.2.1.5)
constexpr int kChallengesMax = 10;         // no mechanism here has more than three

// A refused login is the account's fault unless the server says that it is its own.
absl::Status LoginStatus(const absl::Status& status, const StatusResponse& response) {
  const std::string& code = response.code.name;
  if (code == "UNAVAILABLE" || code == "INUSE" || code == "SERVERBUG") {
    return absl::Status(absl::StatusCode::kUnavailable, status.message());
  }
  if (code == "LIMIT") return absl::Status(absl::StatusCode::kResourceExhausted, status.message());
  return absl::Status(absl::StatusCode::kUnauthenticated, status.message());
}

std::string Base64(std::string_view bytes) {
  std::string text;
  absl::Base64Escape(ToAbsl(bytes), &text);
  return text;
}

ResponseHandler NoticeCapabilities(bool& told) {
  return [&told](Response& response) {
    told |= std::holds_alternative<CapabilityResponse>(response);
    return absl::OkStatus();
  };
}

// Awaits the login's completion and learns what the server can do now. `told`: it has said so on the way.
asio::awaitable<absl::Status> FinishLogin(Session& session, std::string name, std::string tag, bool told,
                                          const SaslMechanism* mechanism) {
  ResponseHandler handler = NoticeCapabilities(told);
  const absl::StatusOr<StatusResponse> response = co_await session.AwaitCompletion(std::move(tag), handler);
  if (!response.ok()) co_return Annotate(response.status(), name);
  if (response->kind != StatusKind::kOk) co_return LoginStatus(RefusalStatus(name, *response), *response);
  if (mechanism != nullptr) {
    const absl::Status believed = mechanism->Finish();
    if (!believed.ok()) {
      session.Close(believed);
      co_return believed;
    }
  }
  if (told || response->code.name == "CAPABILITY") co_return absl::OkStatus();
  session.ForgetCapabilities();
  co_return co_await Capability(session);
}

// The answer to one "+". `first` is what the mechanism has to say unasked and has not said.
absl::StatusOr<std::string> Answer(SaslMechanism& mechanism, std::optional<std::string>& first,
                                   const std::string& challenge_base64) {
  if (first) return *std::exchange(first, std::nullopt);
  std::string challenge;
  if (!absl::Base64Unescape(ToAbsl(challenge_base64), &challenge)) {
    return Error(absl::StatusCode::kDataLoss, "AUTHENTICATE %s: the server's challenge is no base64", mechanism.name());
  }
  return mechanism.Respond(challenge);
}

}  // namespace

asio::awaitable<absl::Status> Login(Session& session, std::string username, std::string password) {
  Command command("LOGIN");
  command.Text(" ").String(username).Text(" ").String(password);
  absl::StatusOr<std::string> tag = session.Send(std::move(command));
  if (!tag.ok()) co_return tag.status();
  co_return co_await FinishLogin(session, "LOGIN", *std::move(tag), false, nullptr);
}

asio::awaitable<absl::Status> Authenticate(Session& session, SaslMechanism& mechanism, std::function<void()> behind) {
  const std::string name = "AUTHENTICATE " + std::string(mechanism.name());
  absl::StatusOr<std::optional<std::string>> begun = mechanism.Begin();
  if (!begun.ok()) co_return begun.status();
  std::optional<std::string> first = *std::move(begun);
  Command command(name);
  if (first && session.HasCapability("SASL-IR") && first->size() * 4 / 3 < kInitialBytesMax) {
    command.Text(" ").Text(first->empty() ? "=" : Base64(*first));  // RFC 4959 section 3
    first.reset();
  }
  absl::StatusOr<std::string> tag = session.Send(std::move(command));
  if (!tag.ok()) co_return tag.status();
  if (!first && behind) behind();
  bool told = false;
  ResponseHandler handler = NoticeCapabilities(told);
  absl::Status ended;  // by this side
  for (int challenges = 0;; ++challenges) {
    const absl::StatusOr<std::optional<std::string>> more = co_await session.AwaitMore(*tag, handler);
    if (!more.ok()) co_return Annotate(more.status(), name);
    if (!*more) break;
    if (!ended.ok() || challenges == kChallengesMax) {
      co_return Error(absl::StatusCode::kDataLoss, "%s: the server goes on asking", name);
    }
    absl::StatusOr<std::string> answer = Answer(mechanism, first, **more);
    std::string line = "*";  // calls it off (RFC 3501 section 6.2.2)
    if (answer.ok()) line = Base64(*answer);
    ended = answer.status();
    CO_RETURN_IF_ERROR(co_await session.SendLine(std::move(line)));
  }
  if (ended.ok()) co_return co_await FinishLogin(session, name, *std::move(tag), told, &mechanism);
  const absl::StatusOr<StatusResponse> response = co_await session.AwaitCompletion(*std::move(tag), std::move(handler));
  if (!response.ok()) co_return Annotate(response.status(), name);
  if (response->kind == StatusKind::kOk) session.Close(ended);  // an exchange that was called off cannot succeed
  co_return ended;
}

}  // namespace imapmesh::imap
