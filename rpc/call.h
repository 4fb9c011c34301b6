// One gRPC call each: what unary calls and streams have in common, whatever they carry.
//
// rpc/service.cc and its streams are made of these. An object is shared by whoever may still touch it and lives until
// gRPC is done with it (OnDone); gRPC's threads and the engine thread call in, each object has its own mutex.
#ifndef IMAPMESH_RPC_CALL_H_
#define IMAPMESH_RPC_CALL_H_

#include <grpcpp/support/server_callback.h>

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>

#include "base/status.h"

namespace imapmesh {

// absl's codes are gRPC's; the text is made printable and short enough for a header.
grpc::Status ToGrpc(const absl::Status& status);

// How many of something there may be at a time. A ticket is held by what it stands for and counts until the last copy
// is destroyed, which may be after the counter is. Any thread.
class Tickets {
 public:
  explicit Tickets(int limit) : limit_(limit) {}
  // Null: there are as many as may be.
  std::shared_ptr<void> Take() {
    if (taken_->fetch_add(1) < limit_) {
      return std::shared_ptr<void>(taken_.get(), [taken = taken_](void*) { --*taken; });
    }
    --*taken_;
    return nullptr;
  }

 private:
  const int limit_;
  const std::shared_ptr<std::atomic<int>> taken_ = std::make_shared<std::atomic<int>>(0);
};

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
      cancel_ = nullptr;
      if (status.ok()) fill(*reply_);
    }
    Finish(ToGrpc(status));
  }

  // `cancel` is called (any thread) when the client gives up before the answer; at once if it has already.
  void OnAbandoned(std::function<void()> cancel) {
    {
      const std::lock_guard lock(mutex_);
      if (!finished_) {
        cancel_ = std::move(cancel);
        return;
      }
      if (!abandoned_) return;
    }
    cancel();
  }

  void OnCancel() override {
    std::function<void()> cancel;
    {
      const std::lock_guard lock(mutex_);
      abandoned_ = !finished_;
      cancel = std::move(cancel_);
      cancel_ = nullptr;
    }
    if (cancel) cancel();
    Answer(absl::CancelledError("the client went away or its deadline passed"), nullptr);
  }
  void OnDone() override { const std::shared_ptr<UnaryCall> last = std::move(self_); }

 private:
  explicit UnaryCall(Reply* reply) : reply_(reply) {}

  std::shared_ptr<UnaryCall> self_;
  Reply* const reply_;
  std::mutex mutex_;
  // Guarded by mutex_:
  bool finished_ = false;
  bool abandoned_ = false;
  std::function<void()> cancel_;
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

}  // namespace imapmesh

#endif  // IMAPMESH_RPC_CALL_H_
