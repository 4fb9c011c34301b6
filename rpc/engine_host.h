// Runs the coordinator: owns the engine thread, the store thread and what the engine stands on (clock, dialer).
//
// The daemon owns one; nothing else in rpc/ touches the Coordinator class. Main thread, except where said otherwise.
#ifndef IMAPMESH_RPC_ENGINE_HOST_H_
#define IMAPMESH_RPC_ENGINE_HOST_H_

#include <asio/executor_work_guard.hpp>
#include <asio/io_context.hpp>
#include <functional>
#include <future>
#include <memory>
#include <optional>
#include <string>
#include <thread>

#include "engine/net/clock.h"
#include "engine/net/early_dialer.h"
#include "engine/sync/coordinator.h"

namespace imapmesh {

class EngineHost {
 public:
  // Begins to connect to each replica, and opens the state; errors of Coordinator::Create. `log` is called on the
  // engine thread.
  static absl::StatusOr<std::unique_ptr<EngineHost>> Create(std::shared_ptr<const Graph> graph,
                                                            const std::string& state_path, Mesh::Log log);
  // Run must have ended, or never begun.
  ~EngineHost();

  Control& control() { return *coordinator_; }

  // One of the two, once. `done` is called on the engine thread, as is `progress`.
  void RunOnce(std::function<void(Progress)> progress, std::function<void(absl::StatusOr<RunReport>)> done);
  void RunForever(std::function<void(absl::Status)> done);

  // Makes the run end soon. Any thread.
  void Stop() { coordinator_->Stop(); }

  // After `done`: lets what is still being closed come to its end. False: it did not in time, and the process had
  // better exit without destroying this.
  bool Settle(std::chrono::milliseconds patience);

 private:
  using Work = asio::executor_work_guard<asio::io_context::executor_type>;

  EngineHost();
  void StartEngineThread();
  void StartStoreThread();

  // In this order: what the coordinator stands on is destroyed after it.
  asio::io_context engine_context_{1};
  asio::io_context store_context_{1};
  std::optional<Work> engine_work_;
  std::optional<Work> store_work_;
  std::unique_ptr<Clock> clock_;
  EarlyDialer dialer_;
  std::unique_ptr<Coordinator> coordinator_;
  std::thread engine_thread_;
  std::thread store_thread_;
  std::promise<void> engine_ended_;
  std::future<void> engine_end_ = engine_ended_.get_future();
};

}  // namespace imapmesh

#endif  // IMAPMESH_RPC_ENGINE_HOST_H_
