#include "migrate/interimap_topology.h"

#include <algorithm>
#include <cctype>
#include <optional>
#include <set>
#include <sstream>

#include "migrate/mailbox_patterns.h"
#include "migrate/replica_settings.h"

namespace imapmesh {
namespace {

std::vector<std::string> Words(const std::string& text) {
  std::istringstream in(text);
  std::vector<std::string> words;
  for (std::string word; in >> word;) words.push_back(word);
  return words;
}

std::string Upper(std::string text) {
  for (char& c : text) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return text;
}

// One of the two sections as a replica.
class ReplicaDraft {
 public:
  ReplicaDraft(const InterimapConfig& config, bool remote, Draft& draft, Notes& notes)
      : options_(config.defaults), remote_(remote), draft_(draft), notes_(notes) {
    for (const auto& [key, option] : remote ? config.remote : config.local) options_[key] = option;
    for (const auto& [key, option] : options_) unread_.insert(key);
  }

  void Run() {
    replica_ = draft_.topology.add_replica();
    replica_->set_name(remote_ ? "remote" : "local");
    const std::string type = Text("type").value_or("imaps");
    if (type == "tunnel") {
      Tunnel();
    } else if (type == "imap" || type == "imaps") {
      Imap(type);
    } else {
      notes_.Error(LineOf("type"), "type = " + type + ": is none of imap, imaps and tunnel");
    }
    Login();
    Compression(type);
    Tls();
    Reference();
    NoteUnread();
    draft_.origins[replica_->name()] = remote_ ? "interimap's [remote]" : "interimap's [local]";
  }

 private:
  std::optional<std::string> Text(std::string_view key) {
    const auto found = options_.find(key);
    if (found == options_.end()) return std::nullopt;
    unread_.erase(found->first);
    return found->second.value;
  }

  int LineOf(std::string_view key) const {
    const auto found = options_.find(key);
    return found == options_.end() ? 0 : found->second.line;
  }

  std::optional<bool> YesOrNo(std::string_view key) {
    const auto text = Text(key);
    if (!text) return std::nullopt;
    const std::string upper = Upper(*text);
    if (upper != "YES" && upper != "NO") {
      notes_.Error(LineOf(key), std::string(key) + " = " + *text + ": write YES or NO");
    }
    return upper == "YES";
  }

  void NotCarried(std::string_view key, std::string_view why) {
    if (Text(key)) notes_.Warning(LineOf(key), std::string(key) + " is not carried over: " + std::string(why));
  }

  void Tunnel() {
    const std::string command = Text("command").value_or("");
    if (command.empty()) notes_.Error(LineOf("type"), "type = tunnel without command; add the command");
    const bool quiet = YesOrNo("null-stderr").value_or(false);
    replica_->mutable_tunnel()->set_command(quiet ? "exec 2>/dev/null; " + command : command);
    for (const char* key : {"host", "port", "STARTTLS", "proxy"}) Text(key);  // interimap does not look at them either
  }

  void Imap(const std::string& type) {
    std::string host = Text("host").value_or("localhost");
    if (host.size() > 2 && host.front() == '[' && host.back() == ']') host = host.substr(1, host.size() - 2);
    v1::Imap& imap = *replica_->mutable_imap();
    imap.set_host(host);
    if (const auto port = Text("port")) {
      const auto number = ParsePort(*port);
      if (!number) notes_.Error(LineOf("port"), "port = " + *port + ": write a number from 1 to 65535");
      imap.set_port(number.value_or(0));
    }
    const bool start_tls = YesOrNo("STARTTLS").value_or(true);
    imap.set_security(type == "imaps" ? v1::Imap::TLS : start_tls ? v1::Imap::STARTTLS : v1::Imap::PLAINTEXT);
    AllowPlaintext(imap, LineOf("STARTTLS"), notes_);
    if (const auto proxy = Text("proxy")) {
      replica_->set_proxy(*proxy);
      if (proxy->find('@') != std::string::npos) {
        notes_.Warning(LineOf("proxy"), "the proxy's password stands in the topology too: keep that file private");
      }
    }
    for (const char* key : {"command", "null-stderr"}) Text(key);
  }

  void Login() {
    const auto mechanisms = Text("auth");
    const auto username = Text("username");
    const auto password = Text("password");
    if (!username && !password) {
      if (replica_->has_imap()) {
        notes_.Error(0, std::string(remote_ ? "[remote]" : "[local]") +
                            " has no username and password; the topology needs them, so add them");
      }
      return;
    }
    v1::Auth& auth = *replica_->mutable_auth();
    auth.set_username(username.value_or(""));
    if (password) {
      draft_.passwords[replica_->name()] = *password;
    } else {
      notes_.Error(LineOf("username"), "username without password; add the password");
    }
    if (mechanisms) SetMechanisms(Words(*mechanisms), LineOf("auth"), auth, notes_);
  }

  void Compression(const std::string& type) {
    const bool compress = YesOrNo("compress").value_or(remote_);
    if (compress != (type != "tunnel")) replica_->set_compress(compress);
  }

  void Tls() {
    const bool used = replica_->has_imap() && replica_->imap().security() != v1::Imap::PLAINTEXT;
    if (!used) {
      std::erase_if(unread_, [](const std::string& key) { return key.starts_with("SSL_"); });
      return;
    }
    v1::Tls tls;
    const bool verify = YesOrNo("SSL_verify").value_or(true);
    Fingerprints(verify, tls);
    if (!verify && tls.pin_sha256().empty()) {
      notes_.Warning(LineOf("SSL_verify"),
                     "SSL_verify = NO is not carried over: certificates are always verified; for one that cannot be, "
                     "set tls { pin_sha256 } to the pin that imapmeshd's error about it names");
    }
    if (const auto version = Text("SSL_protocol_min")) {
      SetMinVersion(*version, "SSL_protocol_min", LineOf("SSL_protocol_min"), tls, notes_);
    }
    if (const auto file = Text("SSL_CAfile")) tls.set_ca_file(*file);
    if (const auto name = Text("SSL_hostname")) {
      if (name->empty()) {
        notes_.Warning(LineOf("SSL_hostname"), "an empty SSL_hostname is not carried over: SNI is always sent");
      } else {
        tls.set_server_name(*name);
        notes_.Warning(LineOf("SSL_hostname"),
                       "SSL_hostname is carried over as tls { server_name }, which is also the name that the "
                       "certificate must have");
      }
    }
    NotCarried("SSL_CApath", "name a file of certificates in tls { ca_file }");
    NotCarried("SSL_protocols", "tls { min_version } says the oldest version, 1.2 unless it is set");
    NotCarried("SSL_protocol_max", "the newest version that both sides know is used");
    NotCarried("SSL_cipherlist", "OpenSSL's system-wide choice holds");
    NotCarried("SSL_ciphersuites", "OpenSSL's system-wide choice holds");
    if (tls.ByteSizeLong() > 0) *replica_->mutable_tls() = tls;
  }

  void Fingerprints(bool verify, v1::Tls& tls) {
    const auto text = Text("SSL_fingerprint");
    if (!text) return;
    const int line = LineOf("SSL_fingerprint");
    for (const std::string& word : Words(*text)) {
      const size_t dollar = word.find('$');
      const std::string algorithm = dollar == std::string::npos ? "sha256" : word.substr(0, dollar);
      std::string digest = dollar == std::string::npos ? word : word.substr(dollar + 1);
      std::erase(digest, ':');
      if (Upper(algorithm) != "SHA256" || digest.size() != 64) {
        notes_.Warning(line, "fingerprint " + word + " is not carried over: a pin is a SHA-256");
      } else if (!tls.pin_sha256().empty()) {
        notes_.Warning(line, "fingerprint " + word +
                                 " is not carried over: there is one pin, and the first one is taken; if the server "
                                 "shows this key, put it into tls { pin_sha256 }");
      } else {
        tls.set_pin_sha256(digest);
      }
    }
    if (verify && !tls.pin_sha256().empty()) {
      notes_.Warning(line,
                     "SSL_fingerprint is carried over as tls { pin_sha256 }: of the same key, but it alone decides; "
                     "interimap also verified the certificate's chain and name");
    }
  }

  // "perso/": the mesh's mailboxes live below it here.
  void Reference() {
    const std::string reference = Text("list-reference").value_or("");
    if (reference.empty()) return;
    const int line = LineOf("list-reference");
    const char delimiter = reference.back();
    std::optional<std::string> prefix;
    if (reference.size() > 1 && std::ispunct(static_cast<unsigned char>(delimiter))) {
      prefix = PatternFromServer(std::string_view(reference).substr(0, reference.size() - 1), delimiter);
    }
    if (!prefix) {
      notes_.Error(line, "list-reference = " + reference +
                             ": only a level of the hierarchy with its delimiter, such as perso/, has a counterpart "
                             "(namespace_prefix); move the mailboxes below such a level");
      return;
    }
    replica_->set_namespace_prefix(*prefix);
  }

  void NoteUnread() {
    static const std::set<std::string, std::less<>> kShared = {"database",     "logfile",        "log-prefix",
                                                               "list-mailbox", "ignore-mailbox", "list-select-opts"};
    for (const std::string& key : unread_) {
      if (kShared.contains(key)) continue;
      notes_.Error(LineOf(key), key + ": is no option of interimap 0.5.7; correct or remove it");
    }
  }

  ConfigSection options_;
  const bool remote_;
  Draft& draft_;
  Notes& notes_;
  v1::Replica* replica_ = nullptr;
  std::set<std::string, std::less<>> unread_;
};

void SelectMailboxes(const ConfigSection& options, bool has_database, const std::vector<std::string>& mailboxes,
                     v1::Edge& edge, Notes& notes) {
  if (const auto list = options.find("list-mailbox"); list != options.end()) {
    const auto patterns = ParseListMailbox(list->second.value);
    if (!patterns) {
      notes.Error(list->second.line, "list-mailbox cannot be read; quote names with blanks, see interimap(1)");
      return;
    }
    for (const std::string& pattern : *patterns) {
      edge.mutable_mailboxes()->add_include(pattern);
      if (pattern.find('.') == std::string::npos) continue;
      notes.Warning(
          list->second.line,
          "the pattern " + pattern + " holds a dot; if that stands between levels on your server, write / for it");
    }
  }
  if (const auto ignore = options.find("ignore-mailbox"); ignore != options.end()) {
    const auto patterns = PatternsOfExpression(ignore->second.value);
    if (!patterns) {
      notes.Warning(ignore->second.line,
                    "ignore-mailbox is not carried over: patterns cannot say what this regular expression does; name "
                    "what is to be left out in edge { mailboxes { exclude } } before the first sync");
    } else {
      for (const std::string& pattern : *patterns) edge.mutable_mailboxes()->add_exclude(pattern);
    }
  }
  const auto select = options.find("list-select-opts");
  if (select == options.end() || select->second.value.empty()) return;
  const bool subscribed = Upper(select->second.value).find("SUBSCRIBED") != std::string::npos;
  if (subscribed && has_database) {
    edge.mutable_mailboxes()->clear_include();
    for (const std::string& mailbox : mailboxes) edge.mutable_mailboxes()->add_include(mailbox);
    notes.Warning(select->second.line,
                  "list-select-opts = SUBSCRIBED has no counterpart: the edge names the mailboxes of the database; add "
                  "those that you subscribe to later");
  } else {
    notes.Warning(select->second.line,
                  "list-select-opts is not carried over: mailboxes are synced whether they are subscribed or not; name "
                  "those that you want in edge { mailboxes { include } } before the first sync");
  }
}

}  // namespace

Draft InterimapTopology(const InterimapConfig& config, std::string_view name, bool has_database,
                        const std::vector<std::string>& mailboxes, Notes& notes) {
  Draft draft;
  draft.topology.set_name(std::string(name));
  ReplicaDraft(config, false, draft, notes).Run();
  ReplicaDraft(config, true, draft, notes).Run();
  v1::Edge& edge = *draft.topology.add_edge();
  edge.set_a("local");
  edge.set_b("remote");
  draft.edge_origins.emplace_back("both ways, as interimap syncs");
  SelectMailboxes(config.defaults, has_database, mailboxes, edge, notes);
  const auto note = [&](const char* key, const char* text) {
    const auto found = config.defaults.find(key);
    if (found != config.defaults.end()) notes.Warning(found->second.line, std::string(key) + " " + text);
  };
  note("logfile", "is not carried over: imapmeshd logs to standard error");
  note("log-prefix", "is not carried over: imapmeshd has a format of its own (--log-format)");
  if (!has_database) {
    const auto database = config.defaults.find("database");
    notes.Warning(database == config.defaults.end() ? 0 : database->second.line,
                  "interimap's database was not given: mail that both sides hold is recognised by its header, and "
                  "fetched and compared where that does not decide; give the database as a second argument to spare "
                  "that");
  }
  return draft;
}

}  // namespace imapmesh
