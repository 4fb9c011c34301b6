#include "rpc/streams.h"

#include <deque>
#include <utility>

#include "rpc/translate.h"

namespace imapmesh {
namespace {

constexpr size_t kEventBatch = 64;

class EventStream final : public StreamCall<v1::Event> {
 public:
  static EventStream* Start(Control& control, int64_t after, std::shared_ptr<void> ticket) {
    const auto call = std::make_shared<EventStream>();
    call->KeepAlive(call);
    call->ticket_ = std::move(ticket);
    call->last_ = after;
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
    const Event& next = batch_.front();
    if (last_ > 0 && next.id != last_ + 1) {
      MarkMissed(next, message);
      last_ = next.id - 1;
      return true;
    }
    last_ = next.id;
    ToProto(next, message);
    batch_.pop_front();
    return true;
  }

  // In place of what is not kept any more.
  void MarkMissed(const Event& next, v1::Event& message) const {
    message.set_id(next.id - 1);
    message.set_unix_ms(next.unix_ms);
    message.set_kind("EVENTS_MISSED");
    if (next.id > last_) {
      message.set_missed(next.id - 1 - last_);
      message.set_text(absl::StrFormat("%d events were dropped because this client read too slowly or came too late",
                                       message.missed()));
    } else {
      message.set_text(
          absl::StrFormat("the coordinator was started anew since event %d; what it did before is not kept", last_));
    }
  }

  void Abandoned() override {}

  // Guarded by mutex_:
  std::shared_ptr<EventReader> reader_;
  std::deque<Event> batch_;
  int64_t last_ = -1;             // the event that this client had last; not above 0: none
  std::shared_ptr<void> ticket_;  // not guarded: only held
};

class SyncStream final : public StreamCall<v1::SyncReply> {
 public:
  static SyncStream* Start(Control& control, SyncScope scope, std::shared_ptr<void> ticket) {
    const auto call = std::make_shared<SyncStream>();
    call->KeepAlive(call);
    auto cancel = control.Sync(
        std::move(scope), [call](Progress progress) { call->Report(std::move(progress)); },
        [call, ticket = std::move(ticket)](absl::StatusOr<RunReport> report) { call->Complete(std::move(report)); });
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

}  // namespace

grpc::ServerWriteReactor<v1::Event>* StartEventStream(Control& control, int64_t after, std::shared_ptr<void> ticket) {
  return EventStream::Start(control, after, std::move(ticket));
}

grpc::ServerWriteReactor<v1::SyncReply>* StartSyncStream(Control& control, SyncScope scope,
                                                         std::shared_ptr<void> ticket) {
  return SyncStream::Start(control, std::move(scope), std::move(ticket));
}

}  // namespace imapmesh
