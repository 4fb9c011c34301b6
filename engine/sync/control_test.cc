// The border between other threads and the engine: every call of Control from plain threads at once, with the engine
// and the store on threads of their own as in the daemon. Made for ThreadSanitizer (--config=tsan; no gRPC is linked
// here). And what the daemon does for months: rounds, which must not grow.
#include "engine/sync/control.h"

#include <gtest/gtest.h>
#include <malloc.h>

#include <asio/co_spawn.hpp>
#include <asio/executor_work_guard.hpp>
#include <asio/io_context.hpp>
#include <atomic>
#include <condition_variable>
#include <filesystem>
#include <mutex>
#include <thread>

#include "engine/net/signal.h"
#include "engine/sync/coordinator.h"
#include "graph/test_support.h"

namespace imapmesh {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

// An account with one empty mailbox in which something always seems to have happened.
class RestlessReplica : public Replica {
 public:
  explicit RestlessReplica(std::string name) : name_(std::move(name)) { info_.tier = "QRESYNC"; }

  const std::string& name() const override { return name_; }
  asio::awaitable<absl::StatusOr<std::vector<MailboxStatus>>> Look() override {
    ++counters_.commands;
    std::vector<MailboxStatus> listed(1);
    listed[0].mailbox = listed[0].name_here = listed[0].local_name = "INBOX";
    listed[0].status_known = true;
    listed[0].uid_validity = UidValidity(1);
    listed[0].uid_next = Uid(1);
    listed[0].highest_modseq = ModSeq(++modseq_);
    co_return listed;
  }
  asio::awaitable<absl::StatusOr<Observation>> Observe(std::string, MailboxCursor since, size_t) override {
    ++counters_.commands;
    Observation observation;
    observation.complete = since.uid_validity != UidValidity(1);
    observation.cursor = {UidValidity(1), Uid(1), ModSeq(modseq_), std::nullopt};
    co_return observation;
  }
  asio::awaitable<absl::Status> FetchBodies(MailboxReference, UidSet,
                                            std::function<void(Uid, std::shared_ptr<const Body>)>) override {
    co_return absl::OkStatus();
  }
  asio::awaitable<absl::Status> FetchHeaders(MailboxReference, UidSet, std::function<void(Uid, HeaderText)>) override {
    co_return absl::OkStatus();
  }
  asio::awaitable<absl::StatusOr<Appended>> Append(MailboxReference, std::vector<AppendItem> items) override {
    Appended appended;
    appended.uids.resize(items.size());
    co_return appended;
  }
  size_t max_append() const override { return 1; }
  asio::awaitable<absl::StatusOr<std::vector<CopiedUid>>> CopyMessages(MailboxReference, MailboxReference, UidSet,
                                                                       bool) override {
    co_return std::vector<CopiedUid>();
  }
  bool can_move() const override { return true; }
  asio::awaitable<absl::Status> StoreFlags(MailboxReference, UidSet, std::vector<std::string>,
                                           std::vector<std::string>) override {
    co_return absl::OkStatus();
  }
  asio::awaitable<absl::StatusOr<ExpungeResult>> Expunge(MailboxReference, UidSet, ModSeq) override {
    co_return ExpungeResult();
  }
  asio::awaitable<absl::Status> CreateMailbox(std::string, bool) override { co_return absl::OkStatus(); }
  asio::awaitable<absl::Status> Subscribe(std::string, bool) override { co_return absl::OkStatus(); }
  asio::awaitable<absl::Status> DeleteMailbox(std::string) override { co_return absl::OkStatus(); }
  asio::awaitable<absl::StatusOr<bool>> MailboxExists(std::string) override { co_return true; }
  asio::awaitable<absl::StatusOr<bool>> RenameMailbox(std::string, std::string, std::vector<std::string>) override {
    co_return true;
  }
  void SetAliases(std::map<std::string, std::string>) override {}
  asio::awaitable<absl::Status> Watch(std::function<void(std::vector<std::string>)>) override {
    co_return absl::UnimplementedError("polled");
  }
  asio::awaitable<void> KeepAlive() override { co_return; }
  void Close() override {}
  asio::awaitable<void> Logout() override { co_return; }
  ReplicaCounters counters() const override { return counters_; }
  const ServerInfo& info() const override { return info_; }

 private:
  std::string name_;
  uint64_t modseq_ = 1;
  ReplicaCounters counters_;
  ServerInfo info_;
};

// The coordinator as rpc/engine_host.cc runs it, without what links gRPC.
class Daemon {
 public:
  explicit Daemon(std::string state_path) : clock_(MakeSystemClock(engine_.get_executor())) {
    CoordinatorOptions options;
    options.graph = Triangle();
    options.state_path = std::move(state_path);
    options.engine_executor = engine_.get_executor();
    options.store_executor = store_.get_executor();
    options.clock = clock_.get();
    options.make_replica = [](const Graph& graph, ReplicaIndex index,
                              std::function<bool(std::string_view)>) -> absl::StatusOr<std::unique_ptr<Replica>> {
      return std::make_unique<RestlessReplica>(graph.replica(index).name());
    };
    auto made = Coordinator::Create(std::move(options));
    EXPECT_TRUE(made.ok()) << made.status();
    coordinator_ = *std::move(made);
    asio::co_spawn(engine_, coordinator_->RunForever(),
                   [this](const std::exception_ptr& thrown, const absl::Status& status) {
                     ended_well_ = !thrown && status.ok();
                     engine_work_.reset();
                     store_work_.reset();
                   });
    store_thread_ = std::thread([this] { store_.run(); });
    engine_thread_ = std::thread([this] { engine_.run(); });
  }
  // Stops it; whether it ended well.
  bool Stop() {
    coordinator_->Stop();
    engine_thread_.join();
    store_thread_.join();
    return ended_well_;
  }
  Coordinator& coordinator() { return *coordinator_; }

  static std::shared_ptr<const Graph> Triangle() {
    return MustLoad(TopologyText({"a", "b", "c"},
                                 "edge { a: \"a\" b: \"b\" } edge { a: \"b\" b: \"c\" } edge { a: \"c\" b: \"a\" }"))
        .graph;
  }

 private:
  using Work = asio::executor_work_guard<asio::io_context::executor_type>;

  asio::io_context engine_{1};
  asio::io_context store_{1};
  Work engine_work_{engine_.get_executor()};
  Work store_work_{store_.get_executor()};
  std::unique_ptr<Clock> clock_;
  std::unique_ptr<Coordinator> coordinator_;
  std::thread engine_thread_;
  std::thread store_thread_;
  bool ended_well_ = false;
};

class ControlTest : public testing::Test {
 protected:
  ControlTest() {
    std::string pattern = testing::TempDir() + "/control.XXXXXX";
    folder_ = mkdtemp(pattern.data());
  }
  ~ControlTest() override { std::filesystem::remove_all(folder_); }
  std::filesystem::path folder_;
};

// Waits for an answer that comes on another thread.
template <typename Value>
class Answer {
 public:
  void Give(Value value) {
    const std::lock_guard lock(mutex_);
    value_ = std::move(value);
    given_.notify_all();
  }
  bool Wait() {
    std::unique_lock lock(mutex_);
    return given_.wait_for(lock, seconds(60), [&] { return value_.has_value(); });
  }

 private:
  std::mutex mutex_;
  std::condition_variable given_;
  std::optional<Value> value_;
};

using SyncAnswer = std::shared_ptr<Answer<absl::StatusOr<RunReport>>>;

SyncAnswer StartSync(Control& control, bool cancel) {
  auto answer = std::make_shared<Answer<absl::StatusOr<RunReport>>>();
  const auto stop = control.Sync(
      SyncScope(), [](const Progress&) {},
      [answer](absl::StatusOr<RunReport> report) { answer->Give(std::move(report)); });
  if (cancel) stop();
  return answer;
}

TEST_F(ControlTest, EveryCallFromManyThreadsAtOnce) {
  Daemon daemon(folder_ / "state.db");
  Control& control = daemon.coordinator();
  std::atomic<bool> over{false};
  std::atomic<int64_t> looks{0}, events{0}, orders{0}, answers{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 2; ++i) {
    threads.emplace_back([&] {
      while (!over) {
        const auto status = control.GetStatus();
        const auto graph = control.GetGraph();
        if (status && graph) looks += status->replicas.size() == 3 && graph->replica_count() == 3;
      }
    });
    threads.emplace_back([&] {
      while (!over) {
        const auto reader = control.ReadEvents(0, [&] { ++events; });
        for (int n = 0; n < 5; ++n) events += static_cast<int64_t>(reader->Take(10).size());
      }
    });
    threads.emplace_back([&, i] {
      const auto done = [&](const auto&) { ++answers; };
      for (int n = 0; !over; ++n) {
        control.Plan(done);
        control.ListConflicts(n % 2 == 0, done);
        control.PauseEdge(i == 0 ? "a:b" : "nobody:else", n % 2 == 0, done);
        control.Reload(Daemon::Triangle(), done);
        orders += 5;
        if (StartSync(control, n % 2 == 0)->Wait()) ++answers;
      }
    });
  }
  std::this_thread::sleep_for(seconds(2));
  over = true;
  for (std::thread& thread : threads) thread.join();
  EXPECT_TRUE(StartSync(control, false)->Wait());  // behind all the others
  EXPECT_EQ(answers, orders);
  EXPECT_GT(orders, 0);
  EXPECT_GT(looks, 0);
  EXPECT_GT(events, 0);
  EXPECT_TRUE(daemon.Stop());
}

size_t OpenFiles() {
  size_t count = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) ++count;
  return count;
}

// Under a sanitizer each takes many times as long.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr int kRounds = 800;
#else
constexpr int kRounds = 9000;
#endif

TEST_F(ControlTest, ThousandsOfRoundsDoNotGrow) {
  Daemon daemon(folder_ / "state.db");
  const auto rounds = [&](int count) {
    for (int i = 0; i < count; ++i) EXPECT_TRUE(StartSync(daemon.coordinator(), false)->Wait());
  };
  rounds(1000);
  const size_t bytes_before = mallinfo2().uordblks, files_before = OpenFiles();
  const int64_t rounds_before = daemon.coordinator().GetStatus()->rounds;
  rounds(kRounds);
  EXPECT_GE(daemon.coordinator().GetStatus()->rounds, rounds_before + kRounds);
  EXPECT_EQ(OpenFiles(), files_before);
  // Under a sanitizer mallinfo tells nothing, and the leak check looks instead.
  EXPECT_LT(mallinfo2().uordblks, bytes_before + 200'000);
  EXPECT_LT(std::filesystem::file_size(folder_ / "state.db"), 500'000u);
  EXPECT_TRUE(daemon.Stop());
}

}  // namespace
}  // namespace imapmesh
