#include "migrate/replica_settings.h"

#include <algorithm>
#include <cctype>
#include <charconv>

#include "graph/loopback.h"

namespace imapmesh {
namespace {

bool IsKnown(const std::string& mechanism) {
  static constexpr std::string_view kKnown[] = {
      "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS", "SCRAM-SHA-1", "SCRAM-SHA-1-PLUS", "PLAIN", "LOGIN"};
  return std::find(std::begin(kKnown), std::end(kKnown), mechanism) != std::end(kKnown);
}

}  // namespace

std::optional<int> ParsePort(std::string_view text) {
  int port = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  const bool whole = error == std::errc() && end == text.data() + text.size();
  if (!whole || port < 1 || port > 65535) return std::nullopt;
  return port;
}

void AllowPlaintext(v1::Imap& imap, int line, Notes& notes) {
  if (imap.security() != v1::Imap::PLAINTEXT || IsLoopback(imap.host())) return;
  imap.set_allow_plaintext(true);
  notes.Warning(line, "the password crosses the network to " + imap.host() +
                          " in clear, as it did before; better use security: TLS or STARTTLS");
}

void SetMechanisms(const std::vector<std::string>& mechanisms, int line, v1::Auth& auth, Notes& notes) {
  if (mechanisms.size() != 1) {
    notes.Warning(line, "the list of mechanisms is not carried over: the strongest that both sides know is used");
    return;
  }
  std::string mechanism = mechanisms[0];
  for (char& c : mechanism) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  if (mechanism == "*") return;
  if (mechanism == "EXTERNAL" || IsKnown(mechanism)) {
    auth.set_mechanism(mechanism);
  } else if (mechanism == "XOAUTH2" || mechanism == "OAUTHBEARER") {
    auth.set_mechanism(mechanism);
    if (auth.secret_case() == v1::Auth::kPasswordCommand) {  // there it prints the token
      auth.set_token_command(auth.password_command());
      auth.clear_secret();
    }
  } else {
    notes.Warning(
        line, "the mechanism " + mechanism + " is not known here: the strongest that both sides know is used instead");
  }
}

void SetMinVersion(std::string_view version, std::string_view option, int line, v1::Tls& tls, Notes& notes) {
  if (version == "TLSv1.3") {
    tls.set_min_version("1.3");
  } else if (version != "TLSv1.2") {
    notes.Warning(line, std::string(option) + ": " + std::string(version) +
                            " is not carried over: nothing older than TLS 1.2 is used");
  }
}

}  // namespace imapmesh
