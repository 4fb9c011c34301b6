// Trace: where a message is on every replica, how it got there, and why it is not where it is not.
//
// The coordinator runs it for `imapmesh trace`, on the store's thread over values only. It plans the message twice, as
// things are and as if every replica were up and no edge paused: what differs is what waits. It changes nothing.
#ifndef IMAPMESH_ENGINE_SYNC_TRACE_H_
#define IMAPMESH_ENGINE_SYNC_TRACE_H_

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "engine/store/state.h"
#include "engine/sync/control.h"
#include "engine/sync/mesh.h"

namespace imapmesh {

class Tracer {
 public:
  // Takes what it needs of the mesh; engine thread.
  Tracer(const Mesh& mesh, std::string message_id);
  // Store thread. Empty: the mesh knows no such message.
  std::vector<TracedMessage> operator()(State& state);

 private:
  struct Downtime {
    int64_t since_unix_ms = 0;
    std::string error;
  };

  TracedMessage TraceOne(State& state, const MessageRegisters& message) const;
  TracedCopy TraceCopy(State& state, const MessageRegisters& message, ReplicaIndex r, const MessagePlan& now,
                       const MessagePlan& ideal, const std::vector<HistoryStep>& steps) const;
  std::string WhatIsKeptBack(State& state, MailboxCopyId here, const MessagePlan& ideal) const;
  std::string WhyAbsent(State& state, const MessageRegisters& message, ReplicaIndex r, const CopyPlan* now,
                        const MessagePlan& ideal_plan) const;
  void ExplainSecondCopy(State& state, TracedMessage& traced) const;
  void ExplainConflicts(State& state, TracedMessage& traced) const;
  std::string WhatBlocks(ReplicaIndex r, const CopyPlan& ideal) const;
  std::string WhatStopsIt(const std::vector<bool>& reached) const;
  std::string WhyNever(const MessageRegisters& message, ReplicaIndex r) const;

  std::string message_id_;
  std::shared_ptr<const MeshView> view_;
  std::shared_ptr<const MeshView> ideal_;
  std::vector<bool> edge_paused_;  // by topology or order; another closed edge waits for its interval
  std::map<int32_t, Downtime> down_;
  std::map<std::pair<MessageId, MailboxCopyId>, std::string> refused_;
  std::map<MailboxCopyId, std::string> names_here_;
  std::map<MailboxCopyId, std::string> forbidden_;  // what the server said to additions for which it gives no right
};

}  // namespace imapmesh

#endif  // IMAPMESH_ENGINE_SYNC_TRACE_H_
