#include "migrate/mbsync_account.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <optional>

#include "migrate/replica_settings.h"

namespace imapmesh {
namespace {

constexpr int kTimeoutMaxS = 3600;

std::string Lower(std::string text) {
  for (char& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return text;
}

bool IsYes(const std::string& text) {
  const std::string word = Lower(text);
  return word == "yes" || word == "true" || word == "on" || word == "1";
}

class AccountReader {
 public:
  AccountReader(std::vector<MbsyncOption>& options, int line, std::string_view home, Notes& notes)
      : options_(options), line_(line), home_(home), notes_(notes) {}

  MbsyncAccount Run() {
    Endpoint();
    Login();
    Tls();
    Connection();
    return std::move(account_);
  }

 private:
  // The last one counts.
  std::optional<MbsyncOption> Take(std::string_view keyword) {
    std::optional<MbsyncOption> found;
    std::erase_if(options_, [&](const MbsyncOption& option) {
      if (option.keyword != keyword) return false;
      found = option;
      return true;
    });
    return found;
  }

  void NotCarried(std::string_view keyword, std::string_view shown, std::string_view why) {
    if (const auto option = Take(keyword)) {
      notes_.Warning(option->line, std::string(shown) + " is not carried over: " + std::string(why));
    }
  }

  void Endpoint() {
    const auto tunnel = Take("tunnel");
    const auto host = Take("host");
    const auto port = Take("port");
    const auto ssl = Take("ssltype");
    std::string security = ssl ? Lower(ssl->arguments[0]) : tunnel ? "none" : "starttls";
    if (tunnel) {
      account_.replica.mutable_tunnel()->set_command(tunnel->arguments[0]);
      if (security != "none") notes_.Error(ssl->line, "TLS within a Tunnel has no counterpart; remove SSLType");
      return;
    }
    std::string name = host ? host->arguments[0] : "";
    if (name.starts_with("imaps:")) {  // of older versions
      name.erase(0, 6);
      security = "imaps";
    }
    if (name.empty()) notes_.Error(host ? host->line : line_, "has neither Host nor Tunnel; add one");
    v1::Imap& imap = *account_.replica.mutable_imap();
    imap.set_host(name);
    if (port) {
      const auto number = ParsePort(port->arguments[0]);
      if (!number) notes_.Error(port->line, "Port " + port->arguments[0] + ": write a number from 1 to 65535");
      imap.set_port(number.value_or(0));
    }
    if (security != "none" && security != "starttls" && security != "imaps") {
      notes_.Error(ssl->line, "SSLType " + ssl->arguments[0] + ": is none of None, STARTTLS and IMAPS");
    }
    imap.set_security(security == "imaps"  ? v1::Imap::TLS
                      : security == "none" ? v1::Imap::PLAINTEXT
                                           : v1::Imap::STARTTLS);
    AllowPlaintext(imap, ssl ? ssl->line : line_, notes_);
  }

  void Login() {
    v1::Auth& auth = *account_.replica.mutable_auth();
    const auto user = Take("user");
    const auto password = Take("pass");
    const auto command = Take("passcmd");
    const auto mechanisms = Take("authmechs");
    if (const auto script = Take("usercmd")) {
      notes_.Error(script->line, "UserCmd has no counterpart; write the user's name as User");
    }
    NotCarried("usekeychain", "UseKeychain", "print the password by a command (PassCmd)");
    if (user) auth.set_username(user->arguments[0]);
    if (command) {
      const std::string& text = command->arguments[0];
      auth.set_password_command(text.starts_with('+') ? text.substr(1) : text);
      if (text.starts_with('+')) {
        notes_.Warning(command->line, "PassCmd asks on a terminal (+), which a daemon does not have");
      }
    } else if (password) {
      account_.password = password->arguments[0];
    } else if (account_.replica.has_imap()) {
      notes_.Error(line_, "has neither Pass nor PassCmd, and a daemon cannot ask; add PassCmd");
    }
    if (mechanisms) SetMechanisms(mechanisms->arguments, mechanisms->line, auth, notes_);
    if (auth.ByteSizeLong() == 0 && account_.password.empty()) account_.replica.clear_auth();
  }

  void Tls() {
    const bool used = account_.replica.has_imap() && account_.replica.imap().security() != v1::Imap::PLAINTEXT;
    const auto versions = Take("sslversions");
    const auto system = Take("systemcertificates");
    const auto authorities = Take("certificatefile");
    const auto certificate = Take("clientcertificate");
    const auto key = Take("clientkey");
    NotCarried("cipherstring", "CipherString", "OpenSSL's system-wide choice holds");
    if (!used) return;
    v1::Tls tls;
    if (versions) Versions(*versions, tls);
    if (authorities) {
      tls.set_ca_file(ExpandHome(authorities->arguments[0], home_));
      notes_.Warning(authorities->line,
                     "CertificateFile is carried over as tls { ca_file }, whose authorities count instead of the "
                     "system's; for a server's own certificate in it, set tls { pin_sha256 } to the pin that "
                     "imapmeshd's error about it names");
    } else if (system && !IsYes(system->arguments[0])) {
      notes_.Warning(system->line, "SystemCertificates no is not carried over: name those to trust in tls { ca_file }");
    }
    if (certificate) tls.set_client_cert(ExpandHome(certificate->arguments[0], home_));
    if (key) tls.set_client_key(ExpandHome(key->arguments[0], home_));
    if (tls.ByteSizeLong() > 0) *account_.replica.mutable_tls() = tls;
  }

  void Versions(const MbsyncOption& option, v1::Tls& tls) {
    const auto has = [&](const char* version) {
      return std::find(option.arguments.begin(), option.arguments.end(), version) != option.arguments.end();
    };
    if (has("TLSv1.2")) return;
    if (has("TLSv1.3")) {
      tls.set_min_version("1.3");
    } else {
      notes_.Warning(option.line, "SSLVersions is not carried over: nothing older than TLS 1.2 is used");
    }
  }

  void Connection() {
    if (const auto timeout = Take("timeout")) {
      const std::string& text = timeout->arguments[0];
      int seconds = 0;
      const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), seconds);
      if (error != std::errc() || end != text.data() + text.size() || seconds < 0) {
        notes_.Error(timeout->line, "Timeout " + text + ": write seconds");
      }
      if (seconds == 0 || seconds > kTimeoutMaxS) {
        notes_.Warning(timeout->line, "Timeout is cut to 3600 seconds, the longest there is");
        seconds = kTimeoutMaxS;
      }
      account_.replica.set_timeout_s(seconds);
    }
    NotCarried("pipelinedepth", "PipelineDepth", "max_connections says how much goes on at once");
    for (const char* keyword : {"disableextension", "disableextensions"}) {
      const auto option = Take(keyword);
      if (!option) continue;
      for (const std::string& extension : option->arguments) {
        if (Lower(extension).starts_with("compress")) {
          account_.replica.set_compress(false);
        } else {
          notes_.Warning(option->line,
                         "DisableExtension " + extension + " is not carried over: there is no such switch");
        }
      }
    }
  }

  std::vector<MbsyncOption>& options_;
  const int line_;
  const std::string_view home_;
  Notes& notes_;
  MbsyncAccount account_;
};

}  // namespace

MbsyncAccount ReadMbsyncAccount(std::vector<MbsyncOption>& options, int line, std::string_view home, Notes& notes) {
  return AccountReader(options, line, home, notes).Run();
}

std::string ExpandHome(std::string_view path, std::string_view home) {
  if (path == "~" || path.starts_with("~/")) return std::string(home) + std::string(path.substr(1));
  return std::string(path);
}

}  // namespace imapmesh
