#include "rpc/service.h"

#include <algorithm>
#include <deque>
#include <mutex>
#include <optional>
#include <utility>

#include "base/printable.h"
#include "rpc/translate.h"
#include "rpc/version.h"

namespace imapmesh {
namespace {

constexpr int32_t kMaxPlanItems = 100'000;
constexpr size_t kEventBatch = 64;
// An error text travels in an HTTP/2 header, and clients refuse headers of more than 8 kB.
constexpr size_t kMaxErrorBytes = 4000;

// Line by line, since the errors of a topology file stand on lines of their own.
std::string PrintableLines(std::string_view text) {
  std::string lines;
  while (!text.empty() && lines.size() < kMaxErrorBytes) {
    const size_t end = text.find('\n');
    if (!lines.empty()) lines += '\n';
    lines += Printable(text.substr(0, end), kMaxErrorBytes - std::min(kMaxErrorBytes, lines.size()) + 100);
    if (end == std::string_view::npos) return lines;
    text.remove_prefix(end + 1);
  }
  return text.empty() ? lines : lines + "\n…";
}

// absl's codes are gRPC's.
grpc::Status ToGrpc(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  return grpc::Status(static_cast<grpc::StatusCode>(status.code()), PrintableLines(FromAbsl(status.message())));
}

// One unary call whose answer comes later, or never: a client that hangs up ends it at once, and an answer that comes
// after that touches nothing of gRPC's.
template <typename Reply>
class UnaryCall final : public grpc::ServerUnaryReactor {
 public:
  static std::shared_ptr<UnaryCall> Start(Reply* reply) {
    std::shared_ptr<UnaryCall> call(new UnaryCall(reply));
    call->self_ = call;
    return call;
  }

  // Any thread; the first call counts. `fill` is called unless there is an error or nobody waits any more.
  void Answer(const absl::Status& status, const std::function<void(Reply&)>& fill) {
    {
      const std::lock_guard lock(mutex_);
      if (finished_) return;
      finished_ = true;
      if (status.ok()) fill(*reply_);
    }
    Finish(ToGrpc(status));
  }

  void OnCancel() override { Answer(absl::CancelledError("the client went away or its deadline passed"), nullptr); }
  void OnDone() override { const std::shared_ptr<UnaryCall> last = std::move(self_); }

 private:
  explicit UnaryCall(Reply* reply) : reply_(reply) {}

  std::shared_ptr<UnaryCall> self_;
  Reply* const reply_;
  std::mutex mutex_;
  bool finished_ = false;  // guarded by mutex_
};

// The common part of the streams: at most one write in flight, Finish once and never beside a write.
template <typename Message>
class StreamCall : public grpc::ServerWriteReactor<Message> {
 public:
  void OnWriteDone(bool ok) override {
    {
      const std::lock_guard lock(mutex_);
      writing_ = false;
      if (!ok) End(grpc::Status(grpc::StatusCode::CANCELLED, "the client went away"));
    }
    Pump();
  }

  void OnCancel() override {
    {
      const std::lock_guard lock(mutex_);
      End(grpc::Status(grpc::StatusCode::CANCELLED, "the client went away or its deadline passed"));
    }
    Pump();
    Abandoned();
  }

  void OnDone() override { const std::shared_ptr<StreamCall> last = std::move(self_); }

 protected:
  // The next message into `message`, or false. Called with mutex_ held.
  virtual bool Next(Message& message) = 0;
  // The client is gone. Called without mutex_.
  virtual void Abandoned() = 0;

  void KeepAlive(std::shared_ptr<StreamCall> self) { self_ = std::move(self); }

  // mutex_ is held. The stream ends with `status` once the write in flight is done; the first call counts.
  void End(grpc::Status status) {
    if (!end_) end_ = std::move(status);
  }
  bool ended() const { return end_.has_value(); }

  // Writes what there is, or finishes. Without mutex_; any thread.
  void Pump() {
    std::optional<grpc::Status> finish;
    {
      const std::lock_guard lock(mutex_);
      if (writing_ || finished_) return;
      const bool gone = end_ && !end_->ok();
      message_.Clear();
      if (!gone && Next(message_)) {
        writing_ = true;
      } else if (end_) {
        finished_ = true;
        finish = *end_;
      } else {
        return;
      }
    }
    if (finish) {
      this->Finish(*finish);
    } else {
      this->StartWrite(&message_);
    }
  }

  std::mutex mutex_;

 private:
  std::shared_ptr<StreamCall> self_;
  Message message_;  // in flight while writing_
  // Guarded by mutex_:
  bool writing_ = false;
  bool finished_ = false;
  std::optional<grpc::Status> end_;
};

class EventStream final : public StreamCall<v1::Event> {
 public:
  static EventStream* Start(Control& control, int64_t after) {
    const auto call = std::make_shared<EventStream>();
    call->KeepAlive(call);
    const std::weak_ptr<EventStream> weak = call;
    auto reader = control.ReadEvents(after, [weak] {
      if (const auto stream = weak.lock()) stream->Pump();
    });
    {
      const std::lock_guard lock(call->mutex_);
      call->reader_ = std::move(reader);
    }
    // Headers first: a client knows then that it misses nothing from here on.
    call->StartSendInitialMetadata();
    call->Pump();
    return call.get();
  }

 private:
  bool Next(v1::Event& message) override {
    if (batch_.empty() && reader_ != nullptr) {
      for (Event& event : reader_->Take(kEventBatch)) batch_.push_back(std::move(event));
    }
    if (batch_.empty()) return false;
    ToProto(batch_.front(), message);
    batch_.pop_front();
    return true;
  }
  void Abandoned() override {}

  // Guarded by mutex_:
  std::shared_ptr<EventReader> reader_;
  std::deque<Event> batch_;
};

class SyncStream final : public StreamCall<v1::SyncReply> {
 public:
  static SyncStream* Start(Control& control, SyncScope scope) {
    const auto call = std::make_shared<SyncStream>();
    call->KeepAlive(call);
    auto cancel = control.Sync(
        std::move(scope), [call](Progress progress) { call->Report(std::move(progress)); },
        [call](absl::StatusOr<RunReport> report) { call->Complete(std::move(report)); });
    bool abandoned;
    {
      const std::lock_guard lock(call->mutex_);
      abandoned = call->ended();
      if (!abandoned) call->cancel_ = cancel;
    }
    if (abandoned && cancel) cancel();
    return call.get();
  }

 private:
  // A client slower than the progress gets the newest only.
  void Report(Progress progress) {
    {
      const std::lock_guard lock(mutex_);
      if (ended()) return;
      progress_ = std::move(progress);
    }
    Pump();
  }

  void Complete(absl::StatusOr<RunReport> report) {
    {
      const std::lock_guard lock(mutex_);
      if (ended()) return;
      progress_.reset();
      if (report.ok()) report_ = *std::move(report);
      End(ToGrpc(report.status()));
      cancel_ = nullptr;
    }
    Pump();
  }

  bool Next(v1::SyncReply& message) override {
    if (progress_) {
      ToProto(*progress_, *message.mutable_progress());
      progress_.reset();
      return true;
    }
    if (!report_) return false;
    ToProto(*report_, *message.mutable_report());
    report_.reset();
    return true;
  }

  void Abandoned() override {
    std::function<void()> cancel;
    {
      const std::lock_guard lock(mutex_);
      cancel = std::move(cancel_);
      cancel_ = nullptr;
    }
    if (cancel) cancel();
  }

  // Guarded by mutex_:
  std::optional<Progress> progress_;
  std::optional<RunReport> report_;
  std::function<void()> cancel_;
};

absl::Status CheckEdgeNamed(const std::string& edge) {
  if (!edge.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError("no edge is named; name one as a:b");
}

// "a:b" as the topology spells it.
std::string CanonicalEdge(const Control& control, const std::string& edge) {
  const auto graph = control.GetGraph();
  if (graph == nullptr) return edge;
  const auto index = graph->FindEdge(edge);
  return index ? graph->edges()[static_cast<size_t>(index->value)].name : edge;
}

template <typename Reply>
grpc::ServerUnaryReactor* SetPaused(Control& control, const std::string& edge, bool paused, Reply* reply) {
  const auto call = UnaryCall<Reply>::Start(reply);
  const absl::Status named = CheckEdgeNamed(edge);
  if (!named.ok()) {
    call->Answer(named, nullptr);
    return call.get();
  }
  const std::string name = CanonicalEdge(control, edge);
  control.PauseEdge(edge, paused, [call, name](const absl::Status& status) {
    call->Answer(status, [&](Reply& filled) { filled.set_edge(name); });
  });
  return call.get();
}

}  // namespace

CoordinatorService::CoordinatorService(Control& control, TopologyLoader load_topology)
    : control_(control), load_topology_(std::move(load_topology)) {}

grpc::ServerUnaryReactor* CoordinatorService::GetTopology(grpc::CallbackServerContext* /*context*/,
                                                          const v1::GetTopologyRequest* /*request*/,
                                                          v1::GetTopologyReply* reply) {
  const auto call = UnaryCall<v1::GetTopologyReply>::Start(reply);
  const auto graph = control_.GetGraph();
  const absl::Status status = graph ? absl::OkStatus() : absl::UnavailableError("the coordinator is starting");
  call->Answer(status, [&](v1::GetTopologyReply& filled) { filled = DescribeTopology(*graph); });
  return call.get();
}

grpc::ServerUnaryReactor* CoordinatorService::GetStatus(grpc::CallbackServerContext* /*context*/,
                                                        const v1::GetStatusRequest* request,
                                                        v1::GetStatusReply* reply) {
  const auto call = UnaryCall<v1::GetStatusReply>::Start(reply);
  const auto snapshot = control_.GetStatus();
  const absl::Status status = snapshot ? absl::OkStatus() : absl::UnavailableError("the coordinator is starting");
  call->Answer(status, [&](v1::GetStatusReply& filled) {
    ToProto(*snapshot, !request->omit_mailboxes(), filled);
    filled.set_version(kVersion);
  });
  return call.get();
}

grpc::ServerWriteReactor<v1::Event>* CoordinatorService::WatchEvents(grpc::CallbackServerContext* /*context*/,
                                                                     const v1::WatchEventsRequest* request) {
  return EventStream::Start(control_, request->has_after() ? request->after() : -1);
}

grpc::ServerWriteReactor<v1::SyncReply>* CoordinatorService::Sync(grpc::CallbackServerContext* /*context*/,
                                                                  const v1::SyncRequest* request) {
  SyncScope scope;
  scope.replica = request->replica();
  scope.edge = request->edge();
  scope.mailbox = request->mailbox();
  return SyncStream::Start(control_, std::move(scope));
}

grpc::ServerUnaryReactor* CoordinatorService::Plan(grpc::CallbackServerContext* /*context*/,
                                                   const v1::PlanRequest* request, v1::PlanReply* reply) {
  const auto call = UnaryCall<v1::PlanReply>::Start(reply);
  const int32_t asked = request->limit();
  if (asked < 0) {
    call->Answer(absl::InvalidArgumentError("limit is negative"), nullptr);
    return call.get();
  }
  const int32_t limit = asked == 0 ? kMaxPlanItems : std::min(asked, kMaxPlanItems);
  control_.Plan([call, limit](const absl::StatusOr<std::vector<PlanItem>>& items) {
    call->Answer(items.status(), [&](v1::PlanReply& filled) {
      filled.set_total(static_cast<int64_t>(items->size()));
      for (const PlanItem& item : *items) {
        if (filled.items_size() == limit) break;
        ToProto(item, *filled.add_items());
      }
    });
  });
  return call.get();
}

grpc::ServerUnaryReactor* CoordinatorService::ListConflicts(grpc::CallbackServerContext* /*context*/,
                                                            const v1::ListConflictsRequest* request,
                                                            v1::ListConflictsReply* reply) {
  const auto call = UnaryCall<v1::ListConflictsReply>::Start(reply);
  control_.ListConflicts(request->open_only(), [call](const absl::StatusOr<std::vector<ConflictReport>>& conflicts) {
    call->Answer(conflicts.status(), [&](v1::ListConflictsReply& filled) {
      for (const ConflictReport& conflict : *conflicts) ToProto(conflict, *filled.add_conflicts());
    });
  });
  return call.get();
}

grpc::ServerUnaryReactor* CoordinatorService::ResolveConflict(grpc::CallbackServerContext* /*context*/,
                                                              const v1::ResolveConflictRequest* /*request*/,
                                                              v1::ResolveConflictReply* reply) {
  const auto call = UnaryCall<v1::ResolveConflictReply>::Start(reply);
  call->Answer(absl::UnimplementedError("this version cannot resolve conflicts yet; ListConflicts shows them"),
               nullptr);
  return call.get();
}

grpc::ServerUnaryReactor* CoordinatorService::PauseEdge(grpc::CallbackServerContext* /*context*/,
                                                        const v1::PauseEdgeRequest* request,
                                                        v1::PauseEdgeReply* reply) {
  return SetPaused(control_, request->edge(), true, reply);
}

grpc::ServerUnaryReactor* CoordinatorService::ResumeEdge(grpc::CallbackServerContext* /*context*/,
                                                         const v1::ResumeEdgeRequest* request,
                                                         v1::ResumeEdgeReply* reply) {
  return SetPaused(control_, request->edge(), false, reply);
}

grpc::ServerUnaryReactor* CoordinatorService::ReloadTopology(grpc::CallbackServerContext* /*context*/,
                                                             const v1::ReloadTopologyRequest* /*request*/,
                                                             v1::ReloadTopologyReply* reply) {
  const auto call = UnaryCall<v1::ReloadTopologyReply>::Start(reply);
  const absl::StatusOr<LoadedTopology> loaded = load_topology_();
  if (!loaded.ok()) {
    call->Answer(loaded.status(), nullptr);
    return call.get();
  }
  const LoadedTopology topology = *loaded;
  control_.Reload(topology.graph, [call, topology](const absl::Status& status) {
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
                                                           const v1::TraceMessageRequest* /*request*/,
                                                           v1::TraceMessageReply* reply) {
  const auto call = UnaryCall<v1::TraceMessageReply>::Start(reply);
  call->Answer(absl::UnimplementedError("this version cannot trace messages yet"), nullptr);
  return call.get();
}

}  // namespace imapmesh
