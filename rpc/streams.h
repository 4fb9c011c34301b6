// The two streams of the service: events, and the progress of a sync.
//
// rpc/service.cc starts them. A stream keeps one message in flight and no queue beyond one batch: who reads too slowly
// misses events and is told how many, or gets the newest progress only. Any thread.
#ifndef IMAPMESH_RPC_STREAMS_H_
#define IMAPMESH_RPC_STREAMS_H_

#include <cstdint>
#include <memory>

#include "engine/sync/control.h"
#include "rpc/call.h"
#include "rpc/control.pb.h"

namespace imapmesh {

// `after` as Control::ReadEvents takes it. `ticket` is held as long as the stream lives.
grpc::ServerWriteReactor<v1::Event>* StartEventStream(Control& control, int64_t after, std::shared_ptr<void> ticket);

// `ticket` is held until the engine has dropped the order, which can be after the client is gone.
grpc::ServerWriteReactor<v1::SyncReply>* StartSyncStream(Control& control, SyncScope scope,
                                                         std::shared_ptr<void> ticket);

// A stream that only ends, with an error.
template <typename Message>
grpc::ServerWriteReactor<Message>* RefuseStream(const absl::Status& status) {
  class Refusal final : public grpc::ServerWriteReactor<Message> {
   public:
    void OnDone() override { delete this; }
  };
  auto* const stream = new Refusal();
  stream->Finish(ToGrpc(status));
  return stream;
}

}  // namespace imapmesh

#endif  // IMAPMESH_RPC_STREAMS_H_
