#include "graph/validate.h"

#include <google/protobuf/message.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <set>

#include "base/printable.h"

namespace imapmesh {
namespace {

constexpr int kMaxReplicas = 1000;
constexpr int kMaxEdges = 10'000;

bool IsName(const std::string& name) {
  return !name.empty() && name.size() <= 64 &&
         name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789_-") == std::string::npos;
}

bool IsLoopback(const std::string& host) {
  return host == "localhost" || host == "::1" || host == "[::1]" || host.starts_with("127.");
}

class Validator {
 public:
  explicit Validator(const v1::Topology& topology) : topology_(topology) {}

  std::vector<Finding> Run() {
    if (topology_.replica().empty()) {
      Add({{"replica"}}, "the graph is empty; declare at least two replicas and an edge between them");
    }
    if (!IsName(topology_.name())) Add({{"name"}}, NameError("the mesh", topology_.name()));
    if (topology_.replica_size() > kMaxReplicas) Add({{"replica"}}, "more than 1000 replicas; split the mesh");
    if (topology_.edge_size() > kMaxEdges) Add({{"edge"}}, "more than 10000 edges; split the mesh");
    for (int i = 0; i < topology_.replica_size(); ++i) CheckReplica(i);
    CheckAccounts();
    for (int i = 0; i < topology_.edge_size(); ++i) CheckEdge(i);
    CheckIslands();
    CheckPolicy();
    return std::move(findings_);
  }

 private:
  void Add(FieldPath path, std::string text, bool warning = false) {
    findings_.push_back({std::move(path), std::move(text), warning});
  }

  static std::string NameError(const std::string& of, const std::string& name) {
    return "the name of " + of + ", \"" + Printable(name, 80) +
           "\", must be 1 to 64 characters of a to z, 0 to 9, _ and -; for example \"laptop\"";
  }

  FieldPath In(int replica, const char* field, const char* inner = nullptr) const {
    FieldPath path{{"replica", replica}, {field, -1}};
    if (inner != nullptr) path.push_back({inner, -1});
    return path;
  }

  void CheckReplica(int i) {
    const v1::Replica& replica = topology_.replica(i);
    if (!IsName(replica.name())) Add(In(i, "name"), NameError("a replica", replica.name()));
    if (!names_.emplace(replica.name(), i).second) {
      Add(In(i, "name"), "the name \"" + Printable(replica.name(), 80) +
                             "\" is given twice; give each replica a name of its own");
    }
    CheckEndpoint(i, replica);
    CheckAuth(i, replica);
    CheckTls(i, replica);
    if (!replica.proxy().empty()) Add(In(i, "proxy"), "not supported yet; remove it and connect directly");
    if (!replica.namespace_prefix().empty()) Add(In(i, "namespace_prefix"), "not supported yet; remove it");
    if (replica.name_map_size() > 0) Add(In(i, "name_map"), "not supported yet; remove it");
    if (replica.has_link_cost() && replica.link_cost() < 0) {
      Add(In(i, "link_cost"), "must not be negative; 1 is the default, 10 means ten times as dear");
    }
    if (replica.has_max_connections() && (replica.max_connections() < 1 || replica.max_connections() > 64)) {
      Add(In(i, "max_connections"), "must be 1 to 64; the default is 4");
    }
  }

  void CheckEndpoint(int i, const v1::Replica& replica) {
    switch (replica.endpoint_case()) {
      case v1::Replica::ENDPOINT_NOT_SET:
        Add({{"replica", i}}, "replica \"" + Printable(replica.name(), 80) +
                                  "\" has no endpoint; add one of imap { host: … }, tunnel { command: … }, "
                                  "unix_socket { path: … }");
        return;
      case v1::Replica::kTunnel:
        if (replica.tunnel().command().empty()) {
          Add(In(i, "tunnel"), "no command; add command: \"doveadm exec imap\" or another that speaks IMAP");
        }
        return;
      case v1::Replica::kUnixSocket:
        if (replica.unix_socket().path().empty()) Add(In(i, "unix_socket"), "no path; add path: \"/run/…\"");
        return;
      case v1::Replica::kImap:
        CheckImap(i, replica.imap());
    }
  }

  void CheckImap(int i, const v1::Imap& imap) {
    if (imap.host().empty()) Add(In(i, "imap"), "no host; add host: \"mail.example.org\"");
    if (imap.has_port() && (imap.port() < 1 || imap.port() > 65535)) {
      Add(In(i, "imap", "port"), "port " + std::to_string(imap.port()) +
                                     " is out of range; it must be 1 to 65535, 993 for TLS, 143 for STARTTLS");
    }
    const bool exposed =
        imap.security() == v1::Imap::PLAINTEXT && !imap.allow_plaintext() && !IsLoopback(imap.host());
    if (exposed) {
      Add(In(i, "imap", "security"),
          "PLAINTEXT would send the password and the mail in clear to " + Printable(imap.host(), 80) +
              "; use TLS or STARTTLS, or allow_plaintext: true if that is meant");
    }
  }

  void CheckAuth(int i, const v1::Replica& replica) {
    const v1::Auth& auth = replica.auth();
    const bool needed = replica.has_imap();
    if (needed && auth.username().empty()) {
      Add(In(i, "auth"), "no username for an imap endpoint; add auth { username: \"…\" password_command: \"…\" }");
    }
    const bool secretless = auth.secret_case() == v1::Auth::SECRET_NOT_SET && auth.token_command().empty();
    if (!auth.username().empty() && secretless) {
      Add(In(i, "auth"), "no password; add one of password_command, password_file, password_env");
    }
    if (!auth.token_command().empty()) Add(In(i, "auth", "token_command"), "not supported yet; use a password");
    const std::string& mechanism = auth.mechanism();
    if (!mechanism.empty() && mechanism != "PLAIN" && mechanism != "LOGIN") {
      Add(In(i, "auth", "mechanism"), "\"" + Printable(mechanism, 40) +
                                          "\" is not supported yet; leave it out, or use PLAIN or LOGIN");
    }
  }

  void CheckTls(int i, const v1::Replica& replica) {
    const v1::Tls& tls = replica.tls();
    const bool used = replica.has_imap() && replica.imap().security() != v1::Imap::PLAINTEXT;
    if (replica.has_tls() && !used) {
      Add(In(i, "tls"), "has no meaning without imap { security: TLS or STARTTLS }; remove it");
    }
    const std::string& version = tls.min_version();
    if (!version.empty() && version != "1.2" && version != "1.3") {
      Add(In(i, "tls", "min_version"), "must be \"1.2\" or \"1.3\"");
    }
    if (!tls.client_cert().empty()) Add(In(i, "tls", "client_cert"), "not supported yet; log in by password");
    if (!tls.client_key().empty()) Add(In(i, "tls", "client_key"), "not supported yet; log in by password");
    const size_t pin = tls.pin_sha256().size() - static_cast<size_t>(std::count(
                                                     tls.pin_sha256().begin(), tls.pin_sha256().end(), ':'));
    if (pin != 0 && pin != 44 && pin != 64) {
      Add(In(i, "tls", "pin_sha256"), "must be a SHA-256 in base64 (44 characters) or hexadecimal (64)");
    }
  }

  // The same account twice would make every message a duplicate of itself.
  void CheckAccounts() {
    std::map<std::string, int> accounts;
    for (int i = 0; i < topology_.replica_size(); ++i) {
      const v1::Replica& replica = topology_.replica(i);
      std::string account = replica.namespace_prefix() + "\n" + replica.auth().username() + "\n";
      switch (replica.endpoint_case()) {
        case v1::Replica::kImap:
          account += "imap\n" + replica.imap().host();
          account += ":" + std::to_string(replica.imap().has_port() ? replica.imap().port() : 0);
          break;
        case v1::Replica::kTunnel:
          account += "tunnel\n" + replica.tunnel().command();
          break;
        case v1::Replica::kUnixSocket:
          account += "unix\n" + replica.unix_socket().path();
          break;
        case v1::Replica::ENDPOINT_NOT_SET:
          continue;
      }
      const auto [first, added] = accounts.emplace(account, i);
      if (added) continue;
      Add({{"replica", i}}, "replicas \"" + Printable(topology_.replica(first->second).name(), 80) + "\" and \"" +
                                Printable(replica.name(), 80) +
                                "\" are the same account and namespace; remove one, or give one a namespace_prefix");
    }
  }

  void CheckEdge(int i) {
    const v1::Edge& edge = topology_.edge(i);
    for (const auto& [field, name] : {std::pair<const char*, std::string>("a", edge.a()), {"b", edge.b()}}) {
      if (names_.contains(name)) continue;
      Add({{"edge", i}, {field, -1}},
          "there is no replica \"" + Printable(name, 80) + "\"; declare it, or use one of " + KnownNames());
    }
    if (edge.a() == edge.b()) {
      Add({{"edge", i}}, "the edge leads from \"" + Printable(edge.a(), 80) +
                             "\" to itself; an edge joins two different replicas");
    } else if (!pairs_.insert(std::minmax(edge.a(), edge.b())).second) {
      Add({{"edge", i}}, "\"" + Printable(edge.a(), 80) + "\" and \"" + Printable(edge.b(), 80) +
                             "\" are joined twice; say all in one edge");
    }
    if (edge.interval_s() < 0) Add({{"edge", i}, {"interval_s", -1}}, "must not be negative; 0 means pushed");
    if (edge.interval_s() > 0) Add({{"edge", i}, {"interval_s", -1}}, "not supported yet; leave it out: it is pushed");
    for (int p = 0; p < edge.mailboxes().include_size(); ++p) {
      if (edge.mailboxes().include(p).empty()) {
        Add({{"edge", i}, {"mailboxes", -1}, {"include", p}}, "an empty pattern matches nothing; use \"*\" for all");
      }
    }
    for (int p = 0; p < edge.mailboxes().exclude_size(); ++p) {
      if (edge.mailboxes().exclude(p).empty()) {
        Add({{"edge", i}, {"mailboxes", -1}, {"exclude", p}}, "an empty pattern matches nothing; remove it");
      }
    }
  }

  std::string KnownNames() const {
    std::string text;
    for (const auto& [name, index] : names_) text += (text.empty() ? "" : ", ") + Printable(name, 80);
    return text.empty() ? "those you declare" : text;
  }

  void CheckIslands() {
    std::vector<int> group(static_cast<size_t>(topology_.replica_size()));
    std::iota(group.begin(), group.end(), 0);
    for (const v1::Edge& edge : topology_.edge()) {
      const auto a = names_.find(edge.a()), b = names_.find(edge.b());
      if (a == names_.end() || b == names_.end()) continue;
      const int from = group[static_cast<size_t>(a->second)], to = group[static_cast<size_t>(b->second)];
      std::replace(group.begin(), group.end(), from, to);
    }
    for (size_t i = 1; i < group.size(); ++i) {
      if (group[i] == group[0]) continue;
      Add({{"replica", static_cast<int>(i)}},
          "no path of edges joins \"" + Printable(topology_.replica(static_cast<int>(i)).name(), 80) + "\" with \"" +
              Printable(topology_.replica(0).name(), 80) + "\"; add an edge if they are to agree",
          true);
    }
  }

  void CheckPolicy() {
    const v1::Policy& policy = topology_.policy();
    if (policy.delete_vs_change() == v1::Policy::ASK) {
      Add({{"policy"}, {"delete_vs_change"}}, "ASK is not supported yet; use DELETE_WINS or CHANGE_WINS");
    }
    if (policy.mailbox_deletes() == v1::MailboxDeletePolicy::ASK) {
      Add({{"policy"}, {"mailbox_deletes"}}, "ASK is not supported yet; leave it out, or use KEEP");
    }
    const bool bad_fraction = policy.brake().has_fraction() &&
                              !(policy.brake().fraction() >= 0 && policy.brake().fraction() <= 1);
    if (bad_fraction) Add({{"policy"}, {"brake"}, {"fraction"}}, "must be 0 to 1; the default is 0.5");
    if (policy.brake().has_min_messages() && policy.brake().min_messages() < 0) {
      Add({{"policy"}, {"brake"}, {"min_messages"}}, "must not be negative; the default is 50");
    }
    if (policy.has_poll_interval_s() && policy.poll_interval_s() < 1) {
      Add({{"policy"}, {"poll_interval_s"}}, "must be at least 1 second; the default is 60");
    }
  }

  const v1::Topology& topology_;
  std::vector<Finding> findings_;
  std::map<std::string, int> names_;
  std::set<std::pair<std::string, std::string>> pairs_;
};

}  // namespace

std::vector<Finding> Validate(const v1::Topology& topology) { return Validator(topology).Run(); }

}  // namespace imapmesh
