#include "rpc/engine_host.h"

#include <asio/co_spawn.hpp>
#include <chrono>
#include <exception>
#include <utility>

#include "engine/replica/make_replica.h"

namespace imapmesh {
namespace {

// What a coroutine threw: a defect, since the engine's borders carry statuses.
absl::Status Defect(const std::exception_ptr& thrown) {
  try {
    std::rethrow_exception(thrown);
  } catch (const std::exception& exception) {
    return Error(absl::StatusCode::kInternal, "the engine stopped on an unexpected error: %s", exception.what());
  }
}

}  // namespace

EngineHost::EngineHost()
    : clock_(MakeSystemClock(engine_context_.get_executor())),
      dialer_(engine_context_.get_executor(), *clock_, MakeSystemDialer(engine_context_.get_executor(), *clock_)) {}

absl::StatusOr<std::unique_ptr<EngineHost>> EngineHost::Create(std::shared_ptr<const Graph> graph,
                                                               const std::string& state_path, Mesh::Log log) {
  std::unique_ptr<EngineHost> host(new EngineHost());
  for (int32_t r = 0; r < graph->replica_count(); ++r) host->dialer_.Begin(EndpointOf(*graph, ReplicaIndex(r)));
  host->StartEngineThread();
  CoordinatorOptions options;
  options.graph = std::move(graph);
  options.state_path = state_path;
  options.engine_executor = host->engine_context_.get_executor();
  options.store_executor = host->store_context_.get_executor();
  options.clock = host->clock_.get();
  options.log = std::move(log);
  EngineHost* const owner = host.get();
  options.make_replica =
      [owner](const Graph& declared, ReplicaIndex index,
              std::function<bool(std::string_view)> selects) -> absl::StatusOr<std::unique_ptr<Replica>> {
    return MakeImapReplica(owner->engine_context_.get_executor(), *owner->clock_, owner->dialer_, declared, index,
                           std::move(selects));
  };
  ASSIGN_OR_RETURN(host->coordinator_, Coordinator::Create(std::move(options)));
  return host;
}

EngineHost::~EngineHost() {
  engine_context_.stop();  // nobody waits any more for what is still being connected
  store_work_.reset();
  if (engine_thread_.joinable()) engine_thread_.join();
  if (store_thread_.joinable()) store_thread_.join();
}

void EngineHost::StartStoreThread() {
  store_work_.emplace(store_context_.get_executor());
  store_thread_ = std::thread([this] { store_context_.run(); });
}

void EngineHost::StartEngineThread() {
  engine_work_.emplace(engine_context_.get_executor());
  engine_thread_ = std::thread([this] {
    engine_context_.run();
    engine_ended_.set_value();
  });
}

void EngineHost::RunOnce(std::function<void(Progress)> progress, std::function<void(absl::StatusOr<RunReport>)> done) {
  auto ended = [done = std::move(done)](const std::exception_ptr& thrown, absl::StatusOr<RunReport> report) {
    done(thrown ? absl::StatusOr<RunReport>(Defect(thrown)) : std::move(report));
  };
  StartStoreThread();
  asio::co_spawn(engine_context_, coordinator_->RunOnce(std::move(progress)), std::move(ended));
}

void EngineHost::RunForever(std::function<void(absl::Status)> done) {
  auto ended = [done = std::move(done)](const std::exception_ptr& thrown, absl::Status status) {
    done(thrown ? Defect(thrown) : std::move(status));
  };
  StartStoreThread();
  asio::co_spawn(engine_context_, coordinator_->RunForever(), std::move(ended));
}

bool EngineHost::Settle(std::chrono::milliseconds patience) {
  engine_work_.reset();
  return engine_end_.wait_for(patience) == std::future_status::ready;
}

}  // namespace imapmesh
