#include "tests/sim/daemon.h"

#include <asio/co_spawn.hpp>
#include <utility>

#include "engine/replica/make_replica.h"
#include "tests/sim/memory_files.h"

namespace imapmesh::sim {
namespace {

constexpr uint64_t kStepsToEnd = 20'000;

}  // namespace

Daemon::Daemon(Network& network, DaemonOptions given)
    : network_(network),
      state_file_(given.state_file),
      clock_(network.time(), given.seed),
      dialer_(network, clock_, given.number) {
  const Defect defect = given.defect;
  const asio::any_io_executor executor = network.time().context().get_executor();
  CoordinatorOptions options;
  options.graph = std::move(given.graph);
  options.state_path = state_file_;
  options.engine_executor = executor;
  options.store_executor = executor;
  options.clock = &clock_;
  options.log = std::move(given.log);
  options.carried_bytes = 1000;  // a few messages, so that looks wait for room
  options.make_replica =
      [this, executor, defect](
          const Graph& declared, ReplicaIndex index,
          std::function<bool(std::string_view)> selects) -> absl::StatusOr<std::unique_ptr<Replica>> {
    return WithDefect(defect, MakeImapReplica(executor, clock_, dialer_, declared, index, std::move(selects)));
  };
  auto coordinator = Coordinator::Create(std::move(options));
  failed_ = coordinator.status();
  if (!failed_.ok()) return;
  coordinator_ = *std::move(coordinator);
  if (defect == Defect::kForgetsIntents) ForgetIntents(state_file_);
  running_ = true;
  asio::co_spawn(executor, coordinator_->RunForever(), [this](const std::exception_ptr& thrown, absl::Status status) {
    running_ = false;
    failed_ = thrown ? absl::InternalError("the coordinator threw") : std::move(status);
  });
}

Daemon::~Daemon() {
  if (running_) Kill();
}

bool Daemon::WindDown() {
  for (uint64_t i = 0; i < kStepsToEnd && running_; ++i) clock_.StepAlone();
  // What is still being closed comes to its end.
  // Not poll(): another daemon that spins would keep it busy for ever.
  for (uint64_t i = 0; i < kStepsToEnd && network_.time().context().poll_one() > 0; ++i) continue;
  return !running_;
}

bool Daemon::Kill() {
  dialer_.Die();
  clock_.Detach();
  CutOffOpenFiles(state_file_);
  if (!running_) return true;
  coordinator_->Stop();
  return WindDown();
}

bool Daemon::Stop() {
  if (!running_) return true;
  coordinator_->Stop();
  for (uint64_t i = 0; i < kStepsToEnd && running_; ++i) network_.time().Step();
  network_.time().context().poll();
  return !running_;
}

std::vector<ConflictReport> Daemon::OpenConflicts(uint64_t steps) {
  const auto result = std::make_shared<std::optional<std::vector<ConflictReport>>>();
  coordinator_->ListConflicts(true, [result](absl::StatusOr<std::vector<ConflictReport>> conflicts) {
    *result = conflicts.ok() ? *std::move(conflicts) : std::vector<ConflictReport>();
  });
  for (uint64_t i = 0; i < steps && running_ && !*result; ++i) network_.time().Step();
  return result->value_or(std::vector<ConflictReport>());
}

std::optional<absl::StatusOr<RunReport>> Daemon::Sync(uint64_t steps) {
  const auto result = std::make_shared<std::optional<absl::StatusOr<RunReport>>>();
  coordinator_->Sync(
      SyncScope(), [](const Progress&) {}, [result](absl::StatusOr<RunReport> report) { *result = std::move(report); });
  for (uint64_t i = 0; i < steps && running_ && !*result; ++i) {
    if (!network_.time().Step()) break;
  }
  if (!*result && !running_) return absl::StatusOr<RunReport>(failed_.ok() ? absl::InternalError("it ended") : failed_);
  return *result;
}

}  // namespace imapmesh::sim
