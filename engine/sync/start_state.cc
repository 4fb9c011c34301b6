#include "engine/sync/start_state.h"

namespace imapmesh {
namespace {

// RFC 5788's registry says of $Junk and $NotJunk that a message has one at most; Thunderbird's pair likewise.
constexpr std::pair<const char*, const char*> kExclusivePairs[] = {{"$Junk", "$NotJunk"}, {"Junk", "NonJunk"}};

// What changes the meaning of the recorded registers: then every message is planned anew.
std::string GraphFingerprint(const Graph& graph) {
  std::string text;
  for (const v1::Replica& replica : graph.topology().replica()) text += replica.name() + ";";
  for (const v1::Edge& edge : graph.topology().edge()) text += edge.ShortDebugString() + ";";
  return text + graph.topology().policy().ShortDebugString();
}

// What names its mailboxes and keywords have in the mesh.
std::string NamesFingerprint(const v1::Replica& replica) {
  std::string text = replica.namespace_prefix();
  for (const v1::NameMap& map : replica.name_map()) text += ";" + map.ShortDebugString();
  for (const v1::KeywordMap& map : replica.keyword_map()) text += ";keyword " + map.ShortDebugString();
  return text;
}

// False when it is the one that was kept.
bool Replace(State& state, const std::string& key, const std::string& fingerprint) {
  if (state.Meta(key).value_or("") == fingerprint) return false;
  state.SetMeta(key, fingerprint);
  return true;
}

void LoadReplicas(State& state, const Graph& graph, StartState& loaded) {
  for (const v1::Replica& replica : graph.topology().replica()) {
    loaded.replicas.push_back(state.InternReplica(replica.name()));
    if (!Replace(state, "names:" + replica.name(), NamesFingerprint(replica))) continue;
    // Under other names the known mailboxes would look deleted.
    state.mailboxes().ForgetReplica(loaded.replicas.back());
    state.MarkAllUnsettled();
  }
}

void LoadEdges(State& state, const Graph& graph, StartState& loaded) {
  for (size_t e = 0; e < graph.edges().size(); ++e) {
    const GraphEdge& edge = graph.edges()[e];
    const std::optional<std::string> paused = state.Meta(PausedKey(edge.name));
    loaded.paused.push_back(paused ? std::optional<bool>(*paused == "1") : std::nullopt);
    const int64_t since = state.MetaNumber(PendingKey(edge));
    if (since > 0) loaded.waiting_unix_ms[static_cast<int32_t>(e)] = since;
  }
}

}  // namespace

std::string PendingKey(const GraphEdge& edge) {
  return "pending_since:" + edge.name;
}

std::string PausedKey(const std::string& edge) {
  return "paused:" + edge;
}

StartState LoadStartState(State& state, const Graph& graph, int64_t now_unix_ms) {
  StartState loaded;
  LoadReplicas(state, graph, loaded);
  LoadEdges(state, graph, loaded);
  loaded.deleted = state.InternFlag("\\Deleted");
  for (const auto& [one, other] : kExclusivePairs) {
    loaded.exclusive.emplace_back(state.InternFlag(one), state.InternFlag(other));
  }
  state.kept_back().UnsettleMessages();
  loaded.kept_back = LoadKeptBack(state);
  loaded.conflicts_open = state.conflicts().Count(true);
  loaded.conflicts_resolved = state.conflicts().Count(false);
  state.TouchIntents(now_unix_ms);  // whatever connection carried them is gone since now at the latest
  if (Replace(state, "graph", GraphFingerprint(graph))) {
    state.MarkAllUnsettled();
    state.mailboxes().DecideKeptAgain();
  }
  loaded.copies = state.MailboxCopies();
  return loaded;
}

}  // namespace imapmesh
