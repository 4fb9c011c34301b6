#include "rpc/service.h"

#include <algorithm>
#include <utility>

#include "base/printable.h"
#include "rpc/call.h"
#include "rpc/streams.h"
#include "rpc/translate.h"
#include "rpc/version.h"

namespace imapmesh {
namespace {

constexpr int32_t kMaxPlanItems = 100'000;
constexpr int kMaxEventStreams = 128;  // each costs the engine a wake-up per event
constexpr int kMaxOrders = 64;         // that wait for the engine or are being carried out; it takes one at a time

absl::Status TooMany(const char* what, int limit) {
  return Error(absl::StatusCode::kResourceExhausted, "%d %s already; try again when some have ended", limit, what);
}

absl::Status TooManyOrders() {
  return TooMany("calls wait for the coordinator", kMaxOrders);
}

absl::Status CheckEdgeNamed(const std::string& edge) {
  if (!edge.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError("no edge is named; name one as a:b");
}

// "a:b" as the topology spells it.
std::string CanonicalEdge(const Control& control, const std::string& edge) {
  const auto graph = control.GetGraph();
  const auto index = graph->FindEdge(edge);
  return index ? graph->edges()[static_cast<size_t>(index->value)].name : edge;
}

template <typename Reply>
grpc::ServerUnaryReactor* SetPaused(Control& control, const std::string& edge, bool paused, Tickets& orders,
                                    Reply* reply) {
  const auto call = UnaryCall<Reply>::Start(reply);
  const auto ticket = orders.Take();
  const absl::Status named = ticket == nullptr ? TooManyOrders() : CheckEdgeNamed(edge);
  if (!named.ok()) {
    call->Answer(named, nullptr);
    return call.get();
  }
  const std::string name = CanonicalEdge(control, edge);
  control.PauseEdge(edge, paused, [call, name, ticket](const absl::Status& status) {
    call->Answer(status, [&](Reply& filled) { filled.set_edge(name); });
  });
  return call.get();
}

}  // namespace

CoordinatorService::CoordinatorService(Control& control, TopologyLoader load_topology)
    : control_(control),
      load_topology_(std::move(load_topology)),
      event_streams_(kMaxEventStreams),
      orders_(kMaxOrders) {}

grpc::ServerUnaryReactor* CoordinatorService::GetTopology(grpc::CallbackServerContext* /*context*/,
                                                          const v1::GetTopologyRequest* /*request*/,
                                                          v1::GetTopologyReply* reply) {
  const auto call = UnaryCall<v1::GetTopologyReply>::Start(reply);
  call->Answer(absl::OkStatus(),
               [&](v1::GetTopologyReply& filled) { filled = DescribeTopology(*control_.GetGraph()); });
  return call.get();
}

grpc::ServerUnaryReactor* CoordinatorService::GetStatus(grpc::CallbackServerContext* /*context*/,
                                                        const v1::GetStatusRequest* request,
                                                        v1::GetStatusReply* reply) {
  const auto call = UnaryCall<v1::GetStatusReply>::Start(reply);
  const auto snapshot = control_.GetStatus();
  call->Answer(absl::OkStatus(), [&](v1::GetStatusReply& filled) {
    ToProto(*snapshot, !request->omit_mailboxes(), filled);
    filled.set_version(kVersion);
  });
  return call.get();
}

grpc::ServerWriteReactor<v1::Event>* CoordinatorService::WatchEvents(grpc::CallbackServerContext* /*context*/,
                                                                     const v1::WatchEventsRequest* request) {
  if (request->has_after() && request->after() < 0) {
    return RefuseStream<v1::Event>(absl::InvalidArgumentError("after is negative"));
  }
  auto ticket = event_streams_.Take();
  if (ticket == nullptr) return RefuseStream<v1::Event>(TooMany("streams of events are open", kMaxEventStreams));
  return StartEventStream(control_, request->has_after() ? request->after() : -1, std::move(ticket));
}

grpc::ServerWriteReactor<v1::SyncReply>* CoordinatorService::Sync(grpc::CallbackServerContext* /*context*/,
                                                                  const v1::SyncRequest* request) {
  auto ticket = orders_.Take();
  if (ticket == nullptr) return RefuseStream<v1::SyncReply>(TooManyOrders());
  SyncScope scope;
  scope.replica = request->replica();
  scope.edge = request->edge();
  scope.mailbox = request->mailbox();
  return StartSyncStream(control_, std::move(scope), std::move(ticket));
}

grpc::ServerUnaryReactor* CoordinatorService::Plan(grpc::CallbackServerContext* /*context*/,
                                                   const v1::PlanRequest* request, v1::PlanReply* reply) {
  const auto call = UnaryCall<v1::PlanReply>::Start(reply);
  const int32_t asked = request->limit();
  const auto ticket = orders_.Take();
  if (ticket == nullptr || asked < 0) {
    call->Answer(asked < 0 ? absl::InvalidArgumentError("limit is negative") : TooManyOrders(), nullptr);
    return call.get();
  }
  const int32_t limit = asked == 0 ? kMaxPlanItems : std::min(asked, kMaxPlanItems);
  auto cancel = control_.Plan([call, limit, ticket](const absl::StatusOr<std::vector<PlanItem>>& items) {
    call->Answer(items.status(), [&](v1::PlanReply& filled) {
      filled.set_total(static_cast<int64_t>(items->size()));
      for (const PlanItem& item : *items) {
        if (filled.items_size() == limit) break;
        ToProto(item, *filled.add_items());
      }
    });
  });
  call->OnAbandoned(std::move(cancel));
  return call.get();
}

grpc::ServerUnaryReactor* CoordinatorService::ListConflicts(grpc::CallbackServerContext* /*context*/,
                                                            const v1::ListConflictsRequest* request,
                                                            v1::ListConflictsReply* reply) {
  const auto call = UnaryCall<v1::ListConflictsReply>::Start(reply);
  const auto ticket = orders_.Take();
  if (ticket == nullptr) {
    call->Answer(TooManyOrders(), nullptr);
    return call.get();
  }
  if (request->id() != 0) {
    control_.FindConflict(request->id(), [call, ticket](const absl::StatusOr<ConflictReport>& conflict) {
      call->Answer(conflict.status(),
                   [&](v1::ListConflictsReply& filled) { ToProto(*conflict, *filled.add_conflicts()); });
    });
    return call.get();
  }
  control_.ListConflicts(request->open_only(),
                         [call, ticket](const absl::StatusOr<std::vector<ConflictReport>>& conflicts) {
                           call->Answer(conflicts.status(), [&](v1::ListConflictsReply& filled) {
                             for (const ConflictReport& conflict : *conflicts)
                               ToProto(conflict, *filled.add_conflicts());
                           });
                         });
  return call.get();
}

grpc::ServerUnaryReactor* CoordinatorService::ResolveConflict(grpc::CallbackServerContext* /*context*/,
                                                              const v1::ResolveConflictRequest* request,
                                                              v1::ResolveConflictReply* reply) {
  const auto call = UnaryCall<v1::ResolveConflictReply>::Start(reply);
  const auto ticket = orders_.Take();
  const auto decision = FromProto(request->decision());
  const bool keep = decision == Decision::kKeep;
  absl::Status status;
  if (ticket == nullptr) {
    status = TooManyOrders();
  } else if (!decision) {
    status = absl::InvalidArgumentError("no decision is given: KEEP, DELETE, RESTORE, APPROVE, REJECT, RETRY or LEAVE");
  } else if (keep != !request->replica().empty()) {
    status = absl::InvalidArgumentError("KEEP, and only KEEP, names the replica whose side wins");
  }
  if (!status.ok()) {
    call->Answer(status, nullptr);
    return call.get();
  }
  control_.Resolve(
      request->id(), *decision, request->replica(), [call, ticket](const absl::StatusOr<ConflictReport>& resolved) {
        call->Answer(resolved.status(),
                     [&](v1::ResolveConflictReply& filled) { ToProto(*resolved, *filled.mutable_conflict()); });
      });
  return call.get();
}

grpc::ServerUnaryReactor* CoordinatorService::PauseEdge(grpc::CallbackServerContext* /*context*/,
                                                        const v1::PauseEdgeRequest* request,
                                                        v1::PauseEdgeReply* reply) {
  return SetPaused(control_, request->edge(), true, orders_, reply);
}

grpc::ServerUnaryReactor* CoordinatorService::ResumeEdge(grpc::CallbackServerContext* /*context*/,
                                                         const v1::ResumeEdgeRequest* request,
                                                         v1::ResumeEdgeReply* reply) {
  return SetPaused(control_, request->edge(), false, orders_, reply);
}

grpc::ServerUnaryReactor* CoordinatorService::ReloadTopology(grpc::CallbackServerContext* /*context*/,
                                                             const v1::ReloadTopologyRequest* /*request*/,
                                                             v1::ReloadTopologyReply* reply) {
  const auto call = UnaryCall<v1::ReloadTopologyReply>::Start(reply);
  const auto ticket = orders_.Take();
  const absl::StatusOr<LoadedTopology> loaded = ticket ? load_topology_() : TooManyOrders();
  if (!loaded.ok()) {
    call->Answer(loaded.status(), nullptr);
    return call.get();
  }
  const LoadedTopology topology = *loaded;
  control_.Reload(topology.graph, [call, topology, ticket](const absl::Status& status) {
    call->Answer(status, [&](v1::ReloadTopologyReply& filled) {
      filled.set_name(topology.graph->name());
      filled.set_replicas(topology.graph->replica_count());
      filled.set_edges(static_cast<int32_t>(topology.graph->edges().size()));
      for (const std::string& warning : topology.warnings) filled.add_warnings(Printable(warning, 2000));
    });
  });
  return call.get();
}

grpc::ServerUnaryReactor* CoordinatorService::TraceMessage(grpc::CallbackServerContext* /*context*/,
                                                           const v1::TraceMessageRequest* request,
                                                           v1::TraceMessageReply* reply) {
  const auto call = UnaryCall<v1::TraceMessageReply>::Start(reply);
  const auto ticket = orders_.Take();
  if (ticket == nullptr) {
    call->Answer(TooManyOrders(), nullptr);
    return call.get();
  }
  control_.Trace(request->message_id(), [call, ticket](const absl::StatusOr<std::vector<TracedMessage>>& messages) {
    call->Answer(messages.status(), [&](v1::TraceMessageReply& filled) {
      for (const TracedMessage& message : *messages) ToProto(message, *filled.add_messages());
    });
  });
  return call.get();
}

}  // namespace imapmesh
