#include "rpc/translate.h"

#include <google/protobuf/text_format.h>

#include <algorithm>
#include <string>

#include "base/printable.h"
#include "base/status.h"
#include "rpc/exit_codes.h"

namespace imapmesh {
namespace {

constexpr char kHidden[] = "(hidden)";

// Longer than any mailbox name, Message-ID or server answer that a person would read to its end.
std::string Text(std::string_view text) {
  return Printable(text, 2000);
}

int64_t Signed(uint64_t count) {
  return static_cast<int64_t>(count);
}

v1::ReplicaStatus::State ToProto(ReplicaState state) {
  switch (state) {
    case ReplicaState::kUnknown:
      return v1::ReplicaStatus::UNKNOWN;
    case ReplicaState::kConnecting:
      return v1::ReplicaStatus::CONNECTING;
    case ReplicaState::kUp:
      return v1::ReplicaStatus::UP;
    case ReplicaState::kDown:
      return v1::ReplicaStatus::DOWN;
  }
  return v1::ReplicaStatus::UNKNOWN;
}

v1::EdgeStatus::State ToProto(EdgeState state) {
  switch (state) {
    case EdgeState::kUnknown:
      return v1::EdgeStatus::UNKNOWN;
    case EdgeState::kInSync:
      return v1::EdgeStatus::IN_SYNC;
    case EdgeState::kPending:
      return v1::EdgeStatus::PENDING;
    case EdgeState::kSyncing:
      return v1::EdgeStatus::SYNCING;
    case EdgeState::kPaused:
      return v1::EdgeStatus::PAUSED;
    case EdgeState::kUnreachable:
      return v1::EdgeStatus::UNREACHABLE;
  }
  return v1::EdgeStatus::UNKNOWN;
}

// "socks5://user:password@host" without the password.
std::string HideProxyPassword(const std::string& proxy) {
  const size_t scheme = proxy.find("://");
  const size_t at = proxy.rfind('@');
  if (scheme == std::string::npos || at == std::string::npos || at < scheme + 3) return proxy;
  const size_t colon = proxy.find(':', scheme + 3);
  if (colon == std::string::npos || colon > at) return proxy;
  return proxy.substr(0, colon + 1) + kHidden + proxy.substr(at);
}

v1::Topology WithoutSecrets(v1::Topology topology) {
  for (v1::Replica& replica : *topology.mutable_replica()) {
    if (replica.auth().has_password()) replica.mutable_auth()->set_password(kHidden);
    replica.set_proxy(HideProxyPassword(replica.proxy()));
  }
  return topology;
}

std::string Endpoint(const v1::Replica& replica) {
  if (replica.has_tunnel()) return "tunnel: " + replica.tunnel().command();
  if (replica.has_unix_socket()) return "unix:" + replica.unix_socket().path();
  const v1::Imap& imap = replica.imap();
  const bool tls = imap.security() == v1::Imap::TLS;
  const int port = imap.has_port() ? imap.port() : tls ? 993 : 143;
  return absl::StrFormat("%s://%s:%d", tls ? "imaps" : "imap", imap.host(), port);
}

void ToProto(const ReplicaCounters& counters, v1::Counters& message) {
  message.set_commands(Signed(counters.commands));
  message.set_bytes_sent(Signed(counters.bytes_sent));
  message.set_bytes_received(Signed(counters.bytes_received));
  message.set_mailboxes_selected(Signed(counters.mailboxes_selected));
  message.set_messages_fetched(Signed(counters.messages_fetched));
  message.set_messages_appended(Signed(counters.messages_appended));
  message.set_messages_copied_server_side(Signed(counters.messages_copied_server_side));
  message.set_flags_changed(Signed(counters.flags_changed));
  message.set_messages_expunged(Signed(counters.messages_expunged));
}

v1::ResolveConflictRequest::Decision ToProto(Decision decision) {
  switch (decision) {
    case Decision::kKeep:
      return v1::ResolveConflictRequest::KEEP;
    case Decision::kDelete:
      return v1::ResolveConflictRequest::DELETE;
    case Decision::kRestore:
      return v1::ResolveConflictRequest::RESTORE;
    case Decision::kApprove:
      return v1::ResolveConflictRequest::APPROVE;
    case Decision::kReject:
      return v1::ResolveConflictRequest::REJECT;
    case Decision::kRetry:
      return v1::ResolveConflictRequest::RETRY;
    case Decision::kLeave:
      return v1::ResolveConflictRequest::LEAVE;
  }
  return v1::ResolveConflictRequest::UNDECIDED;
}

void ToProto(const TracedCopy& copy, v1::TracedCopy& message) {
  message.set_replica(copy.replica);
  message.set_present(copy.present);
  message.set_uid(copy.uid);
  for (const std::string& flag : copy.flags) message.add_flags(Text(flag));
  message.set_because(Text(copy.because));
  message.set_stamp(copy.stamp);
  message.set_name_here(Text(copy.name_here));
  message.set_since_unix_ms(copy.since_unix_ms);
  message.set_edge(copy.edge);
  message.set_pending(Text(copy.pending));
}

double Lag(const StatusSnapshot& status, const std::string& replica) {
  int64_t oldest = status.generated_unix_ms;
  for (const EdgeReport& edge : status.edges) {
    if (edge.a != replica && edge.b != replica) continue;
    if (edge.oldest_pending_unix_ms > 0) oldest = std::min(oldest, edge.oldest_pending_unix_ms);
  }
  return static_cast<double>(status.generated_unix_ms - oldest) / 1000;
}

void ToProto(const ReplicaReport& replica, v1::ReplicaStatus& message) {
  message.set_name(replica.name);
  message.set_state(ToProto(replica.state));
  message.set_state_since_unix_ms(replica.state_since_unix_ms);
  message.set_server_software(Text(replica.server.software));
  message.set_tier(replica.server.tier);
  for (const std::string& capability : replica.server.capabilities) message.add_capabilities(Text(capability));
  for (const std::string& quirk : replica.server.quirks) message.add_quirks(Text(quirk));
  message.set_pushes(replica.server.can_push);
  message.set_round_trip_ms(replica.server.round_trip_ms);
  message.set_connections(replica.server.connections);
  message.set_mailboxes(replica.mailboxes);
  message.set_messages(replica.messages);
  message.set_last_error(Text(replica.last_error));
  message.set_last_look_unix_ms(replica.last_look_unix_ms);
  message.set_next_attempt_unix_ms(replica.next_attempt_unix_ms);
  ToProto(replica.counters, *message.mutable_counters());
}

void ToProto(const EdgeReport& edge, v1::EdgeStatus& message) {
  message.set_edge(edge.a + ":" + edge.b);
  message.set_a(edge.a);
  message.set_b(edge.b);
  message.set_state(ToProto(edge.state));
  message.set_pending(edge.pending.total());
  message.set_pending_additions(edge.pending.additions);
  message.set_pending_flags(edge.pending.flags);
  message.set_pending_deletions(edge.pending.deletions);
  message.set_pending_mailboxes(edge.pending.mailboxes);
  message.set_operations(edge.operations);
  message.set_last_sync_unix_ms(edge.last_sync_unix_ms);
  message.set_oldest_pending_unix_ms(edge.oldest_pending_unix_ms);
  message.set_last_error(Text(edge.last_error));
}

void ToProto(const MailboxReport& mailbox, v1::MailboxStatus& message) {
  message.set_mailbox(Text(mailbox.mailbox));
  for (const MailboxReport::Copy& copy : mailbox.copies) {
    v1::MailboxCopyStatus& to = *message.add_copies();
    to.set_replica(copy.replica);
    to.set_name_here(Text(copy.name_here));
    to.set_messages(copy.messages);
    to.set_uid_validity(copy.uid_validity);
    to.set_uid_next(copy.uid_next);
    to.set_highest_modseq(copy.highest_modseq);
    to.set_in_sync(copy.in_sync);
  }
}

void ToProto(const ProblemReport& problem, v1::Problem& message) {
  message.set_replica(problem.replica);
  message.set_mailbox(Text(problem.mailbox));
  message.set_operation(Text(problem.operation));
  message.set_message(Text(problem.message));
  message.set_answer(Text(problem.answer));
  message.set_remedy(Text(problem.remedy));
  message.set_since_unix_ms(problem.since_unix_ms);
}

}  // namespace

v1::GetTopologyReply DescribeTopology(const Graph& graph) {
  const v1::Topology topology = WithoutSecrets(graph.topology());
  v1::GetTopologyReply reply;
  reply.set_name(topology.name());
  google::protobuf::TextFormat::Printer printer;
  printer.SetUseUtf8StringEscaping(true);
  printer.PrintToString(topology, reply.mutable_text());
  for (const v1::Replica& replica : topology.replica()) {
    v1::TopologyReplica& to = *reply.add_replicas();
    to.set_name(replica.name());
    to.set_endpoint(Endpoint(replica));
    to.set_username(replica.auth().username());
    to.set_link_cost(replica.has_link_cost() ? replica.link_cost() : 1);
    to.set_max_connections(replica.has_max_connections() ? replica.max_connections() : 4);
    to.set_namespace_prefix(replica.namespace_prefix());
  }
  for (const v1::Edge& edge : topology.edge()) {
    v1::TopologyEdge& to = *reply.add_edges();
    to.set_edge(edge.a() + ":" + edge.b());
    to.set_a(edge.a());
    to.set_b(edge.b());
    to.set_direction(v1::Edge::Direction_Name(edge.direction()));
    *to.mutable_include() = edge.mailboxes().include();
    *to.mutable_exclude() = edge.mailboxes().exclude();
    to.set_flags(v1::Edge::Flags_Name(edge.flags()));
    to.set_deletes(v1::Edge::Deletes_Name(edge.deletes()));
    to.set_interval_s(edge.interval_s());
    to.set_paused(edge.paused());
  }
  return reply;
}

void ToProto(const StatusSnapshot& status, bool with_mailboxes, v1::GetStatusReply& reply) {
  reply.set_topology_name(status.topology_name);
  reply.set_generated_unix_ms(status.generated_unix_ms);
  reply.set_converged(status.converged);
  reply.set_syncing(status.syncing);
  reply.set_rounds(status.rounds);
  for (const ReplicaReport& replica : status.replicas) {
    v1::ReplicaStatus& to = *reply.add_replicas();
    ToProto(replica, to);
    to.set_lag_s(Lag(status, replica.name));
  }
  for (const EdgeReport& edge : status.edges) ToProto(edge, *reply.add_edges());
  if (with_mailboxes) {
    for (const MailboxReport& mailbox : status.mailboxes) ToProto(mailbox, *reply.add_mailboxes());
  }
  for (const ProblemReport& problem : status.problems) ToProto(problem, *reply.add_problems());
  reply.set_conflicts_open(status.conflicts_open);
  reply.set_conflicts_resolved(status.conflicts_resolved);
}

void ToProto(const Event& event, v1::Event& message) {
  message.set_id(event.id);
  message.set_unix_ms(event.unix_ms);
  message.set_kind(event.kind);
  message.set_replica(event.replica);
  message.set_edge(event.edge);
  message.set_mailbox(Text(event.mailbox));
  message.set_text(Text(event.text));
}

void ToProto(const Progress& progress, v1::SyncProgress& message) {
  message.set_phase(progress.phase);
  message.set_elapsed_s(progress.elapsed_s);
  for (const Progress::Edge& edge : progress.edges) {
    v1::EdgeProgress& to = *message.add_edges();
    to.set_a(edge.a);
    to.set_b(edge.b);
    to.set_messages_done(edge.messages_done);
    to.set_messages_total(edge.messages_total);
    to.set_bytes_done(edge.bytes_done);
    to.set_bytes_total(edge.bytes_total);
  }
}

void ToProto(const RunReport& report, v1::SyncReport& message) {
  message.set_converged(report.converged);
  message.set_rounds(report.rounds);
  message.set_wall_s(report.wall_s);
  for (const ReplicaReport& replica : report.replicas) {
    v1::SyncReportReplica& to = *message.add_replicas();
    const ReplicaCounters& counters = replica.counters;
    to.set_name(replica.name);
    to.set_reachable(replica.state == ReplicaState::kUp);
    to.set_server_software(Text(replica.server.software));
    to.set_commands(Signed(counters.commands));
    to.set_mailboxes(replica.mailboxes);
    to.set_mailboxes_selected(Signed(counters.mailboxes_selected));
    to.set_bytes_sent(Signed(counters.bytes_sent));
    to.set_bytes_received(Signed(counters.bytes_received));
    to.set_messages_fetched(Signed(counters.messages_fetched));
    to.set_messages_appended(Signed(counters.messages_appended));
    to.set_messages_copied_server_side(Signed(counters.messages_copied_server_side));
    to.set_flags_changed(Signed(counters.flags_changed));
    to.set_messages_expunged(Signed(counters.messages_expunged));
    to.set_last_error(Text(replica.last_error));
  }
  for (const EdgeReport& edge : report.edges) {
    v1::SyncReportEdge& to = *message.add_edges();
    to.set_a(edge.a);
    to.set_b(edge.b);
    to.set_state(ToProto(edge.state));
    to.set_pending(edge.pending.total());
    to.set_operations(edge.operations);
  }
  message.set_conflicts_open(report.conflicts_open);
  message.set_conflicts_resolved(report.conflicts_resolved);
  message.set_refused(report.refused);
}

void ToProto(const PlanItem& item, v1::PlanItem& message) {
  message.set_wave(item.wave);
  message.set_edge(item.edge);
  message.set_source(item.from);
  message.set_target(item.to);
  message.set_operation(item.operation);
  message.set_mailbox(Text(item.mailbox));
  message.set_message(item.message);
  message.set_message_id(Text(item.message_id));
  message.set_detail(Text(item.detail));
  message.set_bytes(item.bytes);
  message.set_rule(item.rule);
  message.set_stamp(item.stamp);
  message.set_via(item.via);
  message.set_distance(item.distance);
  message.set_path_cost(item.path_cost);
  message.set_body_from(item.body_from);
  for (const std::string& holder : item.holders) message.add_holders(holder);
  message.set_fetch_bytes(item.fetch_bytes);
  message.set_source_mailbox(Text(item.source_mailbox));
  for (const std::string& flag : item.flags_added) message.add_flags_added(Text(flag));
  for (const std::string& flag : item.flags_removed) message.add_flags_removed(Text(flag));
}

void ToProto(const ConflictReport& conflict, v1::Conflict& message) {
  message.set_id(conflict.id);
  message.set_kind(conflict.kind);
  message.set_mailbox(Text(conflict.mailbox));
  message.set_message_id(Text(conflict.message_id));
  message.set_subject(Text(conflict.subject));
  message.set_observed_unix_ms(conflict.observed_unix_ms);
  message.set_replica_a(conflict.replica_a);
  message.set_change_a(Text(conflict.change_a));
  message.set_change_a_unix_ms(conflict.a_unix_ms);
  message.set_replica_b(conflict.replica_b);
  message.set_change_b_unix_ms(conflict.b_unix_ms);
  message.set_change_b(Text(conflict.change_b));
  message.set_policy(conflict.policy);
  message.set_outcome(Text(conflict.outcome));
  message.set_open(conflict.open);
  message.set_sender(Text(conflict.sender));
  message.set_internal_date_unix_ms(conflict.internal_date_unix_s * 1000);
  for (const Decision choice : conflict.choices) message.add_choices(ToProto(choice));
  message.set_held(conflict.held);
  message.set_resolved_unix_ms(conflict.resolved_unix_ms);
}

void ToProto(const TracedMessage& traced, v1::TracedMessage& message) {
  message.set_message(traced.message);
  message.set_mailbox(Text(traced.mailbox));
  message.set_message_id(Text(traced.message_id));
  message.set_size(traced.size);
  message.set_internal_date_unix_ms(traced.internal_date_unix_s * 1000);
  for (const TracedCopy& copy : traced.copies) ToProto(copy, *message.add_copies());
  for (const TracedStep& step : traced.history) {
    v1::TracedStep& to = *message.add_history();
    to.set_unix_ms(step.unix_ms);
    to.set_replica(step.replica);
    to.set_edge(step.edge);
    to.set_what(Text(step.what));
  }
}

std::optional<Decision> FromProto(v1::ResolveConflictRequest::Decision decision) {
  for (const Decision each : {Decision::kKeep, Decision::kDelete, Decision::kRestore, Decision::kApprove,
                              Decision::kReject, Decision::kRetry, Decision::kLeave}) {
    if (ToProto(each) == decision) return each;
  }
  return std::nullopt;
}

int ExitCode(const v1::SyncReport& report) {
  for (const v1::SyncReportReplica& replica : report.replicas()) {
    if (!replica.reachable()) return kExitIncomplete;
  }
  if (report.refused() > 0) return kExitIncomplete;
  if (report.conflicts_open() > 0) return kExitConflicts;
  return report.converged() ? kExitDone : kExitFailed;
}

}  // namespace imapmesh
