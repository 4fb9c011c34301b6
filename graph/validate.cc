#include "graph/validate.h"

#include <algorithm>
#include <map>
#include <set>

#include "base/printable.h"
#include "base/status.h"
#include "graph/load.h"

namespace imapmesh {
namespace {

constexpr int kIntervalMaxS = 7 * 24 * 3600;
constexpr int kPatternsMax = 1000;

std::string ReplicaLabel(const v1::Topology& topology, int index) {
  const std::string& name = topology.replica(index).name();
  return IsName(name) ? name : absl::StrFormat("%d", index + 1);
}

std::string EdgeLabel(const v1::Edge& edge, int index) {
  return IsName(edge.a()) && IsName(edge.b()) ? edge.a() + ":" + edge.b() : absl::StrFormat("%d", index + 1);
}

Place PlaceOfReplica(const v1::Topology& topology, const Place& root, int index) {
  return root.Nested("replica", index, ReplicaLabel(topology, index));
}

// What makes two replicas the same account: where it is and whose it is.
std::string AccountKey(const v1::Replica& replica, const std::string& user) {
  std::string where;
  switch (replica.endpoint_case()) {
    case v1::Replica::kImap: {
      std::string host = replica.imap().host();
      std::transform(host.begin(), host.end(), host.begin(), [](unsigned char c) { return std::tolower(c); });
      where = absl::StrFormat("imap %s:%d", host, PortOf(replica.imap()));
      break;
    }
    case v1::Replica::kTunnel:
      where = "tunnel " + replica.tunnel().command();
      break;
    case v1::Replica::kUnixSocket:
      where = "unix_socket " + replica.unix_socket().path();
      break;
    case v1::Replica::ENDPOINT_NOT_SET:
      return "";
  }
  return where + std::string(1, '\0') + user;
}

class TopologyValidator {
 public:
  TopologyValidator(const v1::Topology& topology, const Place& root, Findings& findings)
      : topology_(topology), root_(root), findings_(findings) {}

  void Run() {
    if (!IsName(topology_.name())) {
      const bool missing = topology_.name().empty();
      findings_.Error(root_, "name",
                      missing ? "the mesh has no name; add name: \"home\""
                              : absl::StrFormat("\"%s\" is no name; use a to z, 0 to 9, _ and -, at most 64 characters",
                                                Printable(topology_.name(), 80)));
    }
    if (!CheckCounts()) return;
    CheckReplicas();
    CheckEdges();
    CheckPolicy();
    if (findings_.ok()) WarnOfIslands();
  }

 private:
  bool CheckCounts() {
    if (topology_.replica_size() == 0) {
      findings_.Error(root_, "replica", "the graph is empty; declare at least two replicas and an edge between them");
      return false;
    }
    if (topology_.edge_size() == 0) {
      findings_.Error(root_, "edge",
                      "the graph has no edge, so nothing would be synced; add edge { a: \"…\" b: \"…\" }");
    }
    if (topology_.replica_size() > kTopologyReplicasMax) {
      findings_.Error(root_, "replica",
                      absl::StrFormat("%d replicas; at most %d", topology_.replica_size(), kTopologyReplicasMax),
                      kTopologyReplicasMax);
      return false;
    }
    if (topology_.edge_size() > kTopologyEdgesMax) {
      findings_.Error(root_, "edge", absl::StrFormat("%d edges; at most %d", topology_.edge_size(), kTopologyEdgesMax),
                      kTopologyEdgesMax);
      return false;
    }
    return true;
  }

  void CheckReplicas() {
    std::map<std::string, std::vector<int>> accounts;  // key to replicas
    for (int i = 0; i < topology_.replica_size(); ++i) {
      const v1::Replica& replica = topology_.replica(i);
      const Place place = PlaceOfReplica(topology_, root_, i);
      ValidateReplica(replica, place, findings_);
      if (!replica.name().empty() && !indexes_.emplace(replica.name(), i).second) {
        findings_.Error(place, "name",
                        absl::StrFormat("the name \"%s\" is given twice; give each replica its own",
                                        Printable(replica.name(), 80)));
      }
      // By EXTERNAL the certificate may name the account alone.
      const v1::Auth& auth = replica.auth();
      const bool by_certificate = auth.username().empty() && auth.mechanism() == "EXTERNAL";
      const std::string key = AccountKey(replica, by_certificate ? replica.tls().client_cert() : auth.username());
      if (key.empty()) continue;
      for (const int other : accounts[key]) CheckSameAccount(place, i, other);
      accounts[key].push_back(i);
    }
  }

  // Several replicas may be one account if each has a part of its mailboxes to itself.
  void CheckSameAccount(const Place& place, int i, int other) {
    const std::string& prefix = topology_.replica(i).namespace_prefix();
    const std::string& other_prefix = topology_.replica(other).namespace_prefix();
    if (prefix == other_prefix) {
      findings_.Error(place, "",
                      absl::StrFormat("is the same account and namespace as replica \"%s\"; declare it once",
                                      ReplicaLabel(topology_, other)));
      return;
    }
    const bool inner = other_prefix.empty() || prefix.starts_with(other_prefix + "/");
    const bool outer = prefix.empty() || other_prefix.starts_with(prefix + "/");
    if (!inner && !outer) return;
    findings_.Warning(
        place, "namespace_prefix",
        absl::StrFormat(
            "this replica and \"%s\" are one account, and the mailboxes of one lie within the other's; give "
            "each a namespace_prefix of its own, or exclude \"%s/*\" on the edges of the outer one",
            ReplicaLabel(topology_, other), Printable(inner ? prefix : other_prefix, 80)));
  }

  void CheckEnd(const Place& place, std::string_view field, const std::string& name) {
    if (name.empty()) {
      findings_.Error(place, field, "is missing; name a replica");
    } else if (indexes_.count(name) == 0) {
      std::string names;
      for (const auto& [known, index] : indexes_) names += (names.empty() ? "" : ", ") + known;
      findings_.Error(place, field,
                      absl::StrFormat("there is no replica \"%s\"; the replicas are %s", Printable(name, 80),
                                      Printable(names, 200)));
    }
  }

  void CheckEdges() {
    std::map<std::pair<std::string, std::string>, int> pairs;
    for (int i = 0; i < topology_.edge_size(); ++i) {
      const v1::Edge& edge = topology_.edge(i);
      const Place place = root_.Nested("edge", i, EdgeLabel(edge, i));
      CheckEnd(place, "a", edge.a());
      CheckEnd(place, "b", edge.b());
      if (!edge.a().empty() && edge.a() == edge.b()) {
        findings_.Error(
            place, "b",
            absl::StrFormat("joins replica \"%s\" with itself; name two different replicas", Printable(edge.a(), 80)));
      }
      const auto [known, is_new] = pairs.emplace(std::minmax(edge.a(), edge.b()), i);
      if (!is_new && edge.a() != edge.b()) {
        const v1::Edge& other = topology_.edge(known->second);
        findings_.Error(
            place, "",
            absl::StrFormat("joins the same two replicas as edge %s:%s (joined twice); declare the pair once, "
                            "direction: BOTH goes both ways",
                            Printable(other.a(), 80), Printable(other.b(), 80)));
      }
      CheckEnum(place, "direction", v1::Edge::Direction_IsValid(edge.direction()));
      CheckEnum(place, "flags", v1::Edge::Flags_IsValid(edge.flags()));
      CheckEnum(place, "deletes", v1::Edge::Deletes_IsValid(edge.deletes()));
      CheckEnum(place, "delete_vs_change", v1::Policy::DeleteVsChange_IsValid(edge.delete_vs_change()));
      if (edge.interval_s() < 0 || edge.interval_s() > kIntervalMaxS) {
        findings_.Error(place, "interval_s", absl::StrFormat("%d seconds; use 0, which is at once", edge.interval_s()));
      }
      CheckPatterns(place, edge);
    }
  }

  void CheckPatterns(const Place& edge_place, const v1::Edge& edge) {
    if (!edge.has_mailboxes()) return;
    const Place place = edge_place.Nested("mailboxes");
    const auto check = [&](std::string_view field, const auto& patterns) {
      if (patterns.size() > kPatternsMax) {
        findings_.Error(place, field, absl::StrFormat("%d patterns; at most %d", patterns.size(), kPatternsMax),
                        kPatternsMax);
      }
      for (int i = 0; i < patterns.size(); ++i) {
        if (patterns.Get(i).empty()) {
          findings_.Error(place, field, "the pattern is empty and matches no mailbox; use \"*\" for every mailbox", i);
        } else if (Printable(patterns.Get(i), patterns.Get(i).size() + 1) != patterns.Get(i)) {
          findings_.Error(place, field, "the pattern is no printable UTF-8, as mailbox names are; write it so", i);
        }
      }
    };
    check("include", edge.mailboxes().include());
    check("exclude", edge.mailboxes().exclude());
  }

  void CheckEnum(const Place& place, std::string_view field, bool valid) {
    if (!valid) findings_.Error(place, field, "is a number without meaning; use a name from graph/topology.proto");
  }

  void CheckPolicy() {
    if (!topology_.has_policy()) return;
    const v1::Policy& policy = topology_.policy();
    const Place place = root_.Nested("policy");
    CheckEnum(place, "delete_vs_change", v1::Policy::DeleteVsChange_IsValid(policy.delete_vs_change()));
    CheckEnum(place, "mailbox_deletes", v1::MailboxDeletePolicy::Value_IsValid(policy.mailbox_deletes()));
    if (policy.has_poll_interval_s() && (policy.poll_interval_s() < 1 || policy.poll_interval_s() > kIntervalMaxS)) {
      findings_.Error(place, "poll_interval_s",
                      absl::StrFormat("%d seconds; use 1 to %d", policy.poll_interval_s(), kIntervalMaxS));
    }
    const Place brake = place.Nested("brake");
    const double fraction = policy.brake().fraction();
    if (!(fraction >= 0 && fraction <= 1)) {
      findings_.Error(brake, "fraction",
                      absl::StrFormat("%g is no part of a mailbox; use 0 to 1, such as 0.5", fraction));
    }
    if (policy.brake().min_messages() < 0) {
      findings_.Error(brake, "min_messages",
                      absl::StrFormat("%d is negative; use 0 or more", policy.brake().min_messages()));
    }
  }

  // Names the parts of the graph that no edge joins with the part of the first replica.
  void WarnOfIslands() {
    std::vector<std::vector<int>> neighbours(static_cast<size_t>(topology_.replica_size()));
    for (const v1::Edge& edge : topology_.edge()) {
      const int a = indexes_.at(edge.a()), b = indexes_.at(edge.b());
      neighbours[static_cast<size_t>(a)].push_back(b);
      neighbours[static_cast<size_t>(b)].push_back(a);
    }
    std::vector<bool> seen(neighbours.size(), false);
    for (int start = 0; start < topology_.replica_size(); ++start) {
      if (seen[static_cast<size_t>(start)]) continue;
      std::vector<int> island{start};
      seen[static_cast<size_t>(start)] = true;
      for (size_t next = 0; next < island.size(); ++next) {
        for (const int other : neighbours[static_cast<size_t>(island[next])]) {
          if (!seen[static_cast<size_t>(other)]) island.push_back(other);
          seen[static_cast<size_t>(other)] = true;
        }
      }
      if (start > 0) WarnOfIsland(island);
    }
  }

  void WarnOfIsland(const std::vector<int>& island) {
    std::string names;
    for (const int index : island) names += (names.empty() ? "" : ", ") + topology_.replica(index).name();
    findings_.Warning(
        PlaceOfReplica(topology_, root_, island.front()), "",
        absl::StrFormat("no path of edges leads from replica \"%s\" to: %s; add an edge if they belong together",
                        topology_.replica(0).name(), Printable(names, 400)));
  }

  const v1::Topology& topology_;
  const Place& root_;
  Findings& findings_;
  std::map<std::string, int> indexes_;  // of the first replica of each name
};

}  // namespace

bool IsName(std::string_view text) {
  return !text.empty() && text.size() <= 64 && std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
  });
}

void ValidateTopology(const v1::Topology& topology, const Place& root, Findings& findings) {
  TopologyValidator(topology, root, findings).Run();
}

int32_t PortOf(const v1::Imap& imap) {
  if (imap.has_port()) return imap.port();
  return imap.security() == v1::Imap::TLS ? 993 : 143;
}

void FillInDefaults(v1::Topology& topology) {
  for (v1::Replica& replica : *topology.mutable_replica()) {
    if (replica.has_imap()) replica.mutable_imap()->set_port(PortOf(replica.imap()));
    if (!replica.has_compress()) replica.set_compress(replica.has_imap());
    if (!replica.has_link_cost()) replica.set_link_cost(1);
    if (!replica.has_max_connections()) replica.set_max_connections(4);
  }
  v1::Policy& policy = *topology.mutable_policy();
  if (!policy.has_poll_interval_s()) policy.set_poll_interval_s(60);
  if (!policy.brake().has_fraction()) policy.mutable_brake()->set_fraction(0.5);
  if (!policy.brake().has_min_messages()) policy.mutable_brake()->set_min_messages(50);
}

}  // namespace imapmesh
