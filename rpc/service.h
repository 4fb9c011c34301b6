// The gRPC service: translates between control.proto and the engine's Control; decides nothing itself.
//
// rpc/server.h hosts it. gRPC's threads call in, the engine thread answers through callbacks; each call is an object of
// its own (rpc/call.h). Nothing here blocks the engine or grows its queue: streams keep no queue of their own, and both
// streams of events and orders that wait for the engine are bounded; beyond that a call ends with RESOURCE_EXHAUSTED.
#ifndef IMAPMESH_RPC_SERVICE_H_
#define IMAPMESH_RPC_SERVICE_H_

#include <functional>
#include <memory>

#include "base/status.h"
#include "engine/sync/control.h"
#include "graph/load.h"
#include "rpc/call.h"
#include "rpc/control.grpc.pb.h"

namespace imapmesh {

// Reads and validates the topology file again; errors as those of ReloadTopology. Called on gRPC's threads.
using TopologyLoader = std::function<absl::StatusOr<LoadedTopology>()>;

class CoordinatorService final : public v1::Coordinator::CallbackService {
 public:
  // `control` outlives the service and every call.
  CoordinatorService(Control& control, TopologyLoader load_topology);

  grpc::ServerUnaryReactor* GetTopology(grpc::CallbackServerContext* context, const v1::GetTopologyRequest* request,
                                        v1::GetTopologyReply* reply) override;
  grpc::ServerUnaryReactor* GetStatus(grpc::CallbackServerContext* context, const v1::GetStatusRequest* request,
                                      v1::GetStatusReply* reply) override;
  grpc::ServerWriteReactor<v1::Event>* WatchEvents(grpc::CallbackServerContext* context,
                                                   const v1::WatchEventsRequest* request) override;
  grpc::ServerWriteReactor<v1::SyncReply>* Sync(grpc::CallbackServerContext* context,
                                                const v1::SyncRequest* request) override;
  grpc::ServerUnaryReactor* Plan(grpc::CallbackServerContext* context, const v1::PlanRequest* request,
                                 v1::PlanReply* reply) override;
  grpc::ServerUnaryReactor* ListConflicts(grpc::CallbackServerContext* context, const v1::ListConflictsRequest* request,
                                          v1::ListConflictsReply* reply) override;
  grpc::ServerUnaryReactor* ResolveConflict(grpc::CallbackServerContext* context,
                                            const v1::ResolveConflictRequest* request,
                                            v1::ResolveConflictReply* reply) override;
  grpc::ServerUnaryReactor* PauseEdge(grpc::CallbackServerContext* context, const v1::PauseEdgeRequest* request,
                                      v1::PauseEdgeReply* reply) override;
  grpc::ServerUnaryReactor* ResumeEdge(grpc::CallbackServerContext* context, const v1::ResumeEdgeRequest* request,
                                       v1::ResumeEdgeReply* reply) override;
  grpc::ServerUnaryReactor* ReloadTopology(grpc::CallbackServerContext* context,
                                           const v1::ReloadTopologyRequest* request,
                                           v1::ReloadTopologyReply* reply) override;
  grpc::ServerUnaryReactor* TraceMessage(grpc::CallbackServerContext* context, const v1::TraceMessageRequest* request,
                                         v1::TraceMessageReply* reply) override;

 private:
  Control& control_;
  TopologyLoader load_topology_;
  Tickets event_streams_;
  Tickets orders_;
};

}  // namespace imapmesh

#endif  // IMAPMESH_RPC_SERVICE_H_
