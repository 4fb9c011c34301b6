#include "engine/imap/login.h"

#include <utility>
#include <vector>

#include "base/printable.h"
#include "engine/imap/commands.h"
#include "engine/imap/mechanism_choice.h"
#include "engine/imap/scram.h"

namespace imapmesh::imap {
namespace {

// The server answered NO or BAD, or the mechanism found out that it must not go on.
bool Refused(const Session& session, const absl::Status& status) {
  return absl::IsUnauthenticated(status) ||
         (!status.ok() && session.closed().ok() && !absl::IsUnavailable(status) && !absl::IsResourceExhausted(status));
}

// What the server's own code says is better than what we would guess (RFC 5530 section 3).
std::string_view RemedyFor(const absl::Status& status, std::string_view otherwise) {
  const std::string text = Message(status);
  if (text.find("[PRIVACYREQUIRED]") != std::string::npos)
    return "the server wants TLS first: use security: TLS or STARTTLS";
  if (text.find("[EXPIRED]") != std::string::npos)
    return "the password has expired: have the server give the account a new one";
  if (text.find("[AUTHORIZATIONFAILED]") != std::string::npos) {
    return "the account is known but may not log in here: ask who runs the server";
  }
  return otherwise;
}

absl::Status ExplainRefusal(const LoginOptions& options, const std::string& mechanism, const absl::Status& status,
                            std::string_view remedy) {
  return Error(absl::StatusCode::kUnauthenticated, "login as %s by %s was refused (%s); %s",
               options.username.empty() ? "whom the client certificate names" : Printable(options.username), mechanism,
               Message(status), RemedyFor(status, remedy));
}

asio::awaitable<absl::StatusOr<std::string>> AskPassword(const LoginOptions& options) {
  if (options.username.empty() || !options.password) {
    co_return Error(absl::StatusCode::kUnauthenticated,
                    "the server asks for a login, but the topology has no auth for this replica; add auth { username: "
                    "… password_command: … }");
  }
  co_return co_await options.password();
}

// The channel bindings differ from server to server, and only its refusal tells which it knows (RFC 5802 section 7,
// RFC 9266 section 4): they are tried in turn.
asio::awaitable<absl::Status> LogInByScram(Session& session, const LoginOptions& options, std::string mechanism,
                                           std::string password, std::vector<ChannelBinding> bindings) {
  ScramOptions scram;
  scram.hash = mechanism.starts_with("SCRAM-SHA-1") ? ScramHash::kSha1 : ScramHash::kSha256;
  scram.username = options.username;
  scram.password = std::move(password);
  scram.could_bind = !bindings.empty();
  const size_t tries = mechanism.ends_with("-PLUS") ? bindings.size() : 1;
  absl::Status status;
  for (size_t i = 0; i < tries; ++i) {
    scram.nonce = MakeScramNonce();
    if (mechanism.ends_with("-PLUS")) scram.binding = ScramBinding{bindings[i].type, bindings[i].data};
    const std::unique_ptr<SaslMechanism> exchange = MakeScram(scram);
    status = co_await Authenticate(session, *exchange);
    if (status.ok() || exchange->refusal() != "unsupported-channel-binding-type") break;
  }
  co_return status;
}

asio::awaitable<absl::Status> LogInByPassword(Session& session, const LoginOptions& options, MechanismChoice choice,
                                              std::vector<ChannelBinding> bindings) {
  absl::StatusOr<std::string> password = co_await AskPassword(options);
  if (!password.ok()) co_return password.status();
  absl::Status status;
  std::string remedy = "check auth.username and the password in the topology";
  if (choice.mechanism.starts_with("SCRAM-")) {
    status = co_await LogInByScram(session, options, choice.mechanism, *std::move(password), std::move(bindings));
    remedy += ", or set auth.mechanism: \"PLAIN\" if the server keeps the password in a form that SCRAM cannot use";
  } else if (choice.login_command) {
    status = co_await Login(session, options.username, *std::move(password));
  } else {
    const bool plain = choice.mechanism == "PLAIN";
    const std::unique_ptr<SaslMechanism> exchange =
        plain ? MakePlain(options.username, *std::move(password)) : MakeLogin(options.username, *std::move(password));
    std::function<void()> behind;
    if (plain) behind = options.behind;
    status = co_await Authenticate(session, *exchange, std::move(behind));
  }
  if (Refused(session, status)) co_return ExplainRefusal(options, choice.mechanism, status, remedy);
  co_return status;
}

// A token that was refused may just have expired: the command is asked once more (RFC 7628 section 3.2.2), unless the
// server says that the token is good and its scope is not.
asio::awaitable<absl::Status> LogInByToken(Session& session, const LoginOptions& options, std::string mechanism) {
  if (!options.token) {
    co_return Error(absl::StatusCode::kUnauthenticated, "%s needs a token; add auth.token_command", mechanism);
  }
  absl::Status status;
  std::string token, told;
  for (int tries = 0; tries < 2; ++tries) {
    CO_ASSIGN_OR_RETURN(token, co_await options.token(token));
    OAuthIdentity identity;
    identity.username = options.username;
    identity.host = options.host;
    identity.port = options.port;
    const bool bearer = mechanism == "OAUTHBEARER";
    const std::unique_ptr<SaslMechanism> exchange =
        bearer ? MakeOAuthBearer(identity, token) : MakeXOAuth2(options.username, token);
    status = co_await Authenticate(session, *exchange);
    if (!Refused(session, status) || !session.closed().ok()) break;
    told = exchange->refusal();
    if (told.starts_with("insufficient_scope") || told.starts_with("invalid_request")) break;
  }
  if (!Refused(session, status)) co_return status;
  const std::string reason = told.empty() ? "" : ", its reason: " + told;
  const absl::Status whole(status.code(), ToAbsl(Message(status) + reason));
  co_return ExplainRefusal(options, mechanism, whole,
                           told.starts_with("insufficient_scope")
                               ? "have auth.token_command ask for a token of that scope"
                               : "check that auth.token_command prints a token for this account that is valid now; it "
                                 "was run again after the first refusal");
}

asio::awaitable<absl::Status> LogInByCertificate(Session& session, const LoginOptions& options) {
  const std::unique_ptr<SaslMechanism> exchange = MakeExternal(options.username);
  const absl::Status status = co_await Authenticate(session, *exchange);
  if (!Refused(session, status)) co_return status;
  co_return ExplainRefusal(options, "EXTERNAL", status,
                           "check that tls.client_cert is one that the server accepts for auth.username");
}

}  // namespace

asio::awaitable<absl::Status> LogIn(Session& session, const LoginOptions& options, const TlsStream* tls) {
  CO_RETURN_IF_ERROR(co_await Capability(session));
  std::vector<ChannelBinding> bindings;
  if (tls != nullptr) bindings = tls->ChannelBindings();
  MechanismPolicy policy;
  policy.wanted = options.mechanism;
  policy.has_token = static_cast<bool>(options.token);
  policy.can_bind = !bindings.empty();
  if (options.memory != nullptr) policy.strongest_before = options.memory->mechanism;
  CO_ASSIGN_OR_RETURN(const MechanismChoice choice, ChooseMechanism(session.capabilities(), policy));
  absl::Status status;
  if (choice.mechanism == "EXTERNAL") {
    status = co_await LogInByCertificate(session, options);
  } else if (choice.mechanism == "OAUTHBEARER" || choice.mechanism == "XOAUTH2") {
    status = co_await LogInByToken(session, options, choice.mechanism);
  } else {
    status = co_await LogInByPassword(session, options, choice, std::move(bindings));
  }
  if (status.ok() && options.memory != nullptr) options.memory->mechanism = choice.mechanism;
  co_return status;
}

}  // namespace imapmesh::imap
