#include <algorithm>
#include <cctype>

#include "base/printable.h"
#include "base/status.h"
#include "graph/loopback.h"
#include "graph/proxy.h"
#include "graph/validate.h"

namespace imapmesh {
namespace {

constexpr int kConnectionsMax = 100;
constexpr int kLinkCostMax = 1000000;
constexpr int kTimeoutMaxS = 3600;

bool IsHost(std::string_view host) {
  return host.size() <= 255 && std::none_of(host.begin(), host.end(), [](unsigned char c) {
           return c <= ' ' || c == 0x7f || c == '/' || c == '@' || c == '[' || c == ']';
         });
}

// 32 bytes: 64 hexadecimal figures (colons allowed), or base64.
bool IsPin(std::string_view pin) {
  std::string hexadecimal(pin);
  std::erase(hexadecimal, ':');
  if (hexadecimal.size() == 64 &&
      std::all_of(hexadecimal.begin(), hexadecimal.end(), [](unsigned char c) { return std::isxdigit(c); })) {
    return true;
  }
  return pin.size() == 44 && pin.back() == '=' && std::all_of(pin.begin(), pin.end() - 1, [](unsigned char c) {
           return std::isalnum(c) || c == '+' || c == '/';
         });
}

bool IsPasswordMechanism(std::string_view name) {
  for (const std::string_view known :
       {"SCRAM-SHA-256", "SCRAM-SHA-256-PLUS", "SCRAM-SHA-1", "SCRAM-SHA-1-PLUS", "PLAIN", "LOGIN"}) {
    if (name == known) return true;
  }
  return false;
}

bool IsEnvironmentName(std::string_view name) {
  return !name.empty() && !std::isdigit(static_cast<unsigned char>(name[0])) &&
         std::all_of(name.begin(), name.end(), [](unsigned char c) { return std::isalnum(c) || c == '_'; });
}

class ReplicaValidator {
 public:
  ReplicaValidator(const v1::Replica& replica, const Place& place, Findings& findings)
      : replica_(replica), place_(place), findings_(findings) {}

  void Run() {
    CheckName();
    CheckEndpoint();
    if (replica_.has_auth()) CheckAuth(place_.Nested("auth"));
    if (replica_.has_imap() && replica_.auth().username().empty() && replica_.auth().mechanism() != "EXTERNAL") {
      const Place auth = replica_.has_auth() ? place_.Nested("auth") : place_;
      findings_.Error(auth, replica_.has_auth() ? "username" : "auth",
                      "an imap server needs a login; add auth { username: \"…\" password_command: \"…\" }");
    }
    if (replica_.has_tls()) CheckTls(place_.Nested("tls"));
    CheckProxy();
    ValidateMailboxNames(replica_, place_, findings_);
    CheckNumbers();
    for (int i = 0; i < replica_.ignore_capabilities_size(); ++i) CheckIgnored(i);
  }

 private:
  void CheckName() {
    if (replica_.name().empty()) {
      findings_.Error(place_, "name", "the replica has no name; add name: \"laptop\"");
    } else if (!IsName(replica_.name())) {
      findings_.Error(place_, "name",
                      absl::StrFormat("\"%s\" is no name; use a to z, 0 to 9, _ and -, at most 64 characters",
                                      Printable(replica_.name(), 80)));
    }
  }

  void CheckEndpoint() {
    switch (replica_.endpoint_case()) {
      case v1::Replica::ENDPOINT_NOT_SET:
        findings_.Error(place_, "",
                        "has no endpoint; add imap { host: \"…\" }, tunnel { command: \"…\" } or "
                        "unix_socket { path: \"…\" }");
        break;
      case v1::Replica::kImap:
        CheckImap(place_.Nested("imap"));
        break;
      case v1::Replica::kTunnel:
        CheckText(place_.Nested("tunnel"), "command", replica_.tunnel().command(), "\"doveadm exec imap\"");
        break;
      case v1::Replica::kUnixSocket:
        CheckText(place_.Nested("unix_socket"), "path", replica_.unix_socket().path(), "\"/run/user/1000/imap.sock\"");
        break;
    }
  }

  void CheckText(const Place& place, std::string_view field, const std::string& text, std::string_view example) {
    if (text.find_first_not_of(" \t\n") == std::string::npos) {
      findings_.Error(place, field, absl::StrFormat("is empty; set it, such as %s: %s", field, example));
    } else if (text.find('\0') != std::string::npos) {
      findings_.Error(place, field, "holds a NUL byte; remove it");
    }
  }

  void CheckImap(const Place& place) {
    const v1::Imap& imap = replica_.imap();
    if (imap.host().empty()) {
      findings_.Error(place, "host", "is empty; set it, such as host: \"mail.example.org\"");
    } else if (!IsHost(imap.host())) {
      findings_.Error(place, "host",
                      absl::StrFormat("\"%s\" is no host; write the bare name or address, such as "
                                      "\"mail.example.org\" or \"2001:db8::1\"",
                                      Printable(imap.host(), 80)));
    } else if (std::count(imap.host().begin(), imap.host().end(), ':') == 1) {
      findings_.Error(place, "host",
                      absl::StrFormat("\"%s\" has a port in it; write it as port: …", Printable(imap.host(), 80)));
    }
    if (imap.has_port() && (imap.port() < 1 || imap.port() > 65535)) {
      findings_.Error(place, "port", absl::StrFormat("%d is out of range; use 1 to 65535, usually 993", imap.port()));
    }
    if (!v1::Imap::Security_IsValid(imap.security())) {
      findings_.Error(place, "security", "is a number without meaning; use one of TLS, STARTTLS, PLAINTEXT");
    }
    if (imap.security() == v1::Imap::PLAINTEXT && !IsLoopback(imap.host()) && !imap.allow_plaintext()) {
      findings_.Error(
          place, "security",
          absl::StrFormat("PLAINTEXT would send the password to \"%s\" in clear; use TLS or STARTTLS, or set "
                          "allow_plaintext: true",
                          Printable(imap.host(), 80)));
    }
  }

  void CheckAuth(const Place& place) {
    const v1::Auth& auth = replica_.auth();
    const bool secret = auth.secret_case() != v1::Auth::SECRET_NOT_SET;
    CheckLogin(place, auth, secret);
    CheckMechanism(place, auth, secret);
    if (auth.secret_case() == v1::Auth::kPasswordCommand) {
      CheckText(place, "password_command", auth.password_command(), "\"pass show mail\"");
    } else if (auth.secret_case() == v1::Auth::kPasswordFile) {
      CheckFile(place, "password_file", auth.password_file(), "\"mail.secret\"");
    } else if (auth.secret_case() == v1::Auth::kPasswordEnv && !IsEnvironmentName(auth.password_env())) {
      findings_.Error(place, "password_env", "is no name of an environment variable; use such as \"MAIL_PASSWORD\"");
    } else if (auth.secret_case() == v1::Auth::kPassword && auth.password().empty()) {
      findings_.Error(place, "password", "is empty; set it, or use password_command");
    } else if (auth.secret_case() == v1::Auth::kPassword && auth.password().find('\0') != std::string::npos) {
      findings_.Error(place, "password", "holds a NUL byte; no login can carry it");
    }
  }

  void CheckLogin(const Place& place, const v1::Auth& auth, bool secret) {
    if (auth.username().find('\0') != std::string::npos) {
      findings_.Error(place, "username", "holds a NUL byte; remove it");
    }
    if (auth.username().empty() && secret && !replica_.has_imap()) {
      findings_.Error(place, "username", "a password without a username; set username");
    }
    const bool by_password = auth.mechanism().empty() || IsPasswordMechanism(auth.mechanism());
    if (!auth.username().empty() && !secret && auth.token_command().empty() && by_password) {
      findings_.Error(place, "username",
                      "a username without a password; add one of password_command, password_file, "
                      "password_env, password");
    }
  }

  // A path that the daemon resolves (engine/replica/credentials.h): no other variable is.
  void CheckFile(const Place& place, std::string_view field, const std::string& path, std::string_view example) {
    static constexpr std::string_view kCredential = "${CREDENTIALS_DIRECTORY}/";
    CheckText(place, field, path, example);
    if (path.find("${") == std::string::npos) return;
    const std::string_view name =
        path.starts_with(kCredential) ? std::string_view(path).substr(kCredential.size()) : std::string_view();
    if (name.empty() || name.find_first_of("/$") != std::string_view::npos) {
      findings_.Error(place, field,
                      "names a variable; only \"${CREDENTIALS_DIRECTORY}/NAME\" is known, a credential from systemd");
    }
  }

  bool HasTls() const { return replica_.has_imap() && replica_.imap().security() != v1::Imap::PLAINTEXT; }

  void CheckMechanism(const Place& place, const v1::Auth& auth, bool secret) {
    const std::string& mechanism = auth.mechanism();
    const bool by_token = mechanism == "XOAUTH2" || mechanism == "OAUTHBEARER";
    const bool by_certificate = mechanism == "EXTERNAL";
    if (!mechanism.empty() && !by_token && !by_certificate && !IsPasswordMechanism(mechanism)) {
      findings_.Error(place, "mechanism",
                      absl::StrFormat("\"%s\" is no mechanism; use SCRAM-SHA-256, SCRAM-SHA-1, PLAIN, LOGIN, XOAUTH2, "
                                      "OAUTHBEARER or EXTERNAL, or leave it out for the strongest",
                                      Printable(mechanism, 40)));
      return;
    }
    if (mechanism.ends_with("-PLUS") && !HasTls()) {
      findings_.Error(place, "mechanism",
                      absl::StrFormat("%s ties the login to TLS, which there is none of here; use %s", mechanism,
                                      mechanism.substr(0, mechanism.size() - 5)));
    }
    if (by_certificate) {
      CheckExternal(place, auth, secret);
    } else {
      CheckToken(place, auth, secret, by_token);
    }
  }

  void CheckExternal(const Place& place, const v1::Auth& auth, bool secret) {
    if (secret) findings_.Error(place, "mechanism", "EXTERNAL uses no password; remove the password or the mechanism");
    if (!auth.token_command().empty()) {
      findings_.Error(place, "token_command", "EXTERNAL uses no token; remove token_command or the mechanism");
    }
    if (!HasTls()) {
      findings_.Error(place, "mechanism",
                      "EXTERNAL logs in by a client certificate, and there is no TLS here; use imap with security: TLS "
                      "or STARTTLS, or another mechanism");
    } else if (replica_.tls().client_cert().empty()) {
      findings_.Error(place, "mechanism",
                      "EXTERNAL logs in by a client certificate; add tls { client_cert: \"…\" client_key: \"…\" }");
    }
  }

  void CheckToken(const Place& place, const v1::Auth& auth, bool secret, bool by_token) {
    const std::string& mechanism = auth.mechanism();
    const bool token = !auth.token_command().empty();
    if (secret && token) {
      findings_.Error(place, "token_command",
                      "stands beside a password; only one of the two is possible, remove the other");
    } else if (secret && by_token) {
      findings_.Error(
          place, "mechanism",
          absl::StrFormat("%s uses no password; replace it by token_command, or remove the mechanism", mechanism));
    } else if (by_token && !token) {
      findings_.Error(place, "mechanism",
                      absl::StrFormat("%s needs a token; add token_command, which prints one", mechanism));
    } else if (token && !by_token && !mechanism.empty()) {
      findings_.Error(place, "token_command",
                      absl::StrFormat("%s takes no token; use mechanism: \"OAUTHBEARER\" or \"XOAUTH2\", or a password",
                                      mechanism));
    }
    if (!token) return;
    CheckText(place, "token_command", auth.token_command(), "\"oauth2-token mail\"");
    if (auth.username().empty() && !replica_.has_imap()) {
      findings_.Error(place, "username", "a token without a username; set username");
    }
    if (replica_.has_imap() && !HasTls() && !IsLoopback(replica_.imap().host())) {
      findings_.Error(place, "token_command",
                      "a token must not cross the network in clear (RFC 7628); use security: TLS or STARTTLS");
    }
  }

  void CheckTls(const Place& place) {
    const v1::Tls& tls = replica_.tls();
    const bool no_endpoint = replica_.endpoint_case() == v1::Replica::ENDPOINT_NOT_SET;
    if (!no_endpoint && (!replica_.has_imap() || replica_.imap().security() == v1::Imap::PLAINTEXT)) {
      findings_.Error(place, "",
                      "there is no TLS to this endpoint; remove tls, or use imap with security: TLS or STARTTLS");
    }
    if (!tls.min_version().empty() && tls.min_version() != "1.2" && tls.min_version() != "1.3") {
      findings_.Error(
          place, "min_version",
          absl::StrFormat("\"%s\" is no version; use \"1.2\" or \"1.3\"", Printable(tls.min_version(), 40)));
    }
    if (!tls.pin_sha256().empty() && !IsPin(tls.pin_sha256())) {
      findings_.Error(place, "pin_sha256", "is no SHA-256; write 64 hexadecimal figures or 44 characters of base64");
    }
    if (!IsHost(tls.server_name())) {
      findings_.Error(place, "server_name", "is no host name; write the name in the server's certificate");
    }
    if (tls.client_cert().empty() != tls.client_key().empty()) {
      const bool key_missing = tls.client_key().empty();
      findings_.Error(place, key_missing ? "client_cert" : "client_key",
                      absl::StrFormat("stands alone; client_cert and client_key go together, add %s",
                                      key_missing ? "client_key" : "client_cert"));
    }
    if (!tls.ca_file().empty()) CheckFile(place, "ca_file", tls.ca_file(), "\"ca.pem\"");
    if (!tls.client_cert().empty()) CheckFile(place, "client_cert", tls.client_cert(), "\"client.pem\"");
    if (!tls.client_key().empty()) CheckFile(place, "client_key", tls.client_key(), "\"client.key\"");
  }

  void CheckProxy() {
    if (replica_.proxy().empty()) return;
    // The value may hold a password: it is not shown.
    const absl::Status status = ParseProxy(replica_.proxy()).status();
    if (!status.ok()) findings_.Error(place_, "proxy", Message(status));
    if (!replica_.has_imap() && replica_.endpoint_case() != v1::Replica::ENDPOINT_NOT_SET) {
      findings_.Error(place_, "proxy", "there is no network connection to this endpoint; remove proxy");
    }
  }

  void CheckIgnored(int i) {
    std::string name = replica_.ignore_capabilities(i);
    std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return std::toupper(c); });
    const bool atom = !name.empty() && name.size() <= 100 && std::all_of(name.begin(), name.end(), [](unsigned char c) {
      return std::isalnum(c) || c == '-' || c == '=' || c == '.' || c == '+' || c == '_' || c == '/' || c == ':';
    });
    if (!atom) {
      findings_.Error(
          place_, "ignore_capabilities",
          absl::StrFormat("\"%s\" is no capability; write one as the server announces it, such as \"QRESYNC\"",
                          Printable(replica_.ignore_capabilities(i), 80)),
          i);
    } else if (name == "STARTTLS" || name == "LOGINDISABLED" || name.starts_with("AUTH=")) {
      findings_.Error(place_, "ignore_capabilities",
                      absl::StrFormat("%s is about logging in; use security and auth { mechanism: … } for that", name),
                      i);
    } else if (name.starts_with("IMAP4")) {
      findings_.Error(place_, "ignore_capabilities", absl::StrFormat("%s cannot be done without; remove it", name), i);
    }
  }

  void CheckNumbers() {
    if (replica_.has_link_cost() && (replica_.link_cost() < 0 || replica_.link_cost() > kLinkCostMax)) {
      findings_.Error(place_, "link_cost",
                      absl::StrFormat("%d is out of range; use 0 to %d", replica_.link_cost(), kLinkCostMax));
    }
    if (replica_.has_max_connections() &&
        (replica_.max_connections() < 1 || replica_.max_connections() > kConnectionsMax)) {
      findings_.Error(place_, "max_connections",
                      absl::StrFormat("%d is out of range; use 1 to %d", replica_.max_connections(), kConnectionsMax));
    }
    if (replica_.has_timeout_s() && (replica_.timeout_s() < 1 || replica_.timeout_s() > kTimeoutMaxS)) {
      findings_.Error(place_, "timeout_s",
                      absl::StrFormat("%d is out of range; use 1 to %d", replica_.timeout_s(), kTimeoutMaxS));
    }
  }

  const v1::Replica& replica_;
  const Place& place_;
  Findings& findings_;
};

}  // namespace

void ValidateReplica(const v1::Replica& replica, const Place& place, Findings& findings) {
  ReplicaValidator(replica, place, findings).Run();
}

}  // namespace imapmesh
