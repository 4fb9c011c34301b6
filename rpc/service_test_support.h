// What tests of the gRPC side share: an engine that the test plays itself, and a server in front of it.
//
// service_test.cc and server_test.cc. A test's own thread; the server's threads call FakeControl.
#ifndef IMAPMESH_RPC_SERVICE_TEST_SUPPORT_H_
#define IMAPMESH_RPC_SERVICE_TEST_SUPPORT_H_

#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <deque>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "rpc/server.h"
#include "rpc/service.h"

namespace imapmesh {

inline v1::Topology Pair() {
  v1::Topology topology;
  topology.set_name("home");
  for (const char* name : {"laptop", "server"}) {
    v1::Replica& replica = *topology.add_replica();
    replica.set_name(name);
    replica.mutable_imap()->set_host("mail.example.org");
    replica.mutable_auth()->set_username("alice");
    replica.mutable_auth()->set_password("secret-password");
    replica.set_proxy("socks5://user:secret-proxy@proxy:1080");
  }
  v1::Edge& edge = *topology.add_edge();
  edge.set_a("laptop");
  edge.set_b("server");
  return topology;
}

// Keeps the newest events, as the engine does; answers orders when the test says so.
class FakeControl : public Control {
 public:
  static constexpr size_t kKept = 100;

  std::shared_ptr<const Graph> GetGraph() const override { return graph_; }
  std::shared_ptr<const StatusSnapshot> GetStatus() const override {
    auto status = std::make_shared<StatusSnapshot>();
    status->topology_name = "home";
    status->converged = true;
    status->generated_unix_ms = 10'000;
    status->replicas.resize(1);
    status->replicas[0].name = "laptop";
    status->replicas[0].state = ReplicaState::kUp;
    status->replicas[0].last_error = "bad \xFF bytes\x1b[2J";
    status->edges.resize(1);
    status->edges[0].a = "laptop";
    status->edges[0].b = "server";
    status->edges[0].state = EdgeState::kPending;
    status->edges[0].pending.flags = 3;
    status->edges[0].oldest_pending_unix_ms = 7'500;
    status->mailboxes.resize(1);
    status->mailboxes[0].mailbox = "INBOX";
    return status;
  }

  std::shared_ptr<EventReader> ReadEvents(int64_t after, std::function<void()> wake) override {
    const std::lock_guard lock(mutex_);
    const int64_t reader = next_reader_++;
    wakes_[reader] = std::move(wake);
    return std::make_shared<Reader>(*this, reader, after < 0 ? next_event_ - 1 : after);
  }
  void Add(const std::string& text) {
    std::map<int64_t, std::function<void()>> wakes;
    {
      const std::lock_guard lock(mutex_);
      Event event;
      event.id = next_event_++;
      event.kind = "CHANGE_SEEN";
      event.text = text;
      events_.push_back(event);
      if (events_.size() > kKept) events_.pop_front();
      wakes = wakes_;
    }
    for (const auto& [reader, wake] : wakes) wake();
  }
  size_t readers() {
    const std::lock_guard lock(mutex_);
    return wakes_.size();
  }

  std::function<void()> Sync(SyncScope scope, std::function<void(Progress)> progress,
                             std::function<void(absl::StatusOr<RunReport>)> done) override {
    if (scope.replica == "nobody") {
      done(absl::NotFoundError("there is no replica nobody"));  // before this returns
      return [] {};
    }
    const std::lock_guard lock(mutex_);
    sync_progress_ = std::move(progress);
    sync_done_ = std::move(done);
    return [this] { sync_cancelled_ = true; };
  }
  std::function<void()> Plan(std::function<void(absl::StatusOr<std::vector<PlanItem>>)> done) override {
    if (plan_hangs_) {
      const std::lock_guard lock(mutex_);
      hung_plans_.push_back(std::move(done));
      return [this] { ++plans_cancelled_; };
    }
    std::vector<PlanItem> items(5);
    items[0].operation = "APPEND";
    done(std::move(items));
    return [] {};
  }
  void DropHungPlans() {
    const std::lock_guard lock(mutex_);
    hung_plans_.clear();
  }
  size_t hung_plans() {
    const std::lock_guard lock(mutex_);
    return hung_plans_.size();
  }
  void ListConflicts(bool, std::function<void(absl::StatusOr<std::vector<ConflictReport>>)> done) override {
    const std::lock_guard lock(mutex_);
    conflicts_done_ = std::move(done);  // never answered, unless the test does
  }
  // There is 8, however many there are.
  void FindConflict(int64_t id, std::function<void(absl::StatusOr<ConflictReport>)> done) override {
    if (id != 8) return done(absl::NotFoundError("there is no conflict"));
    ConflictReport report;
    report.id = id;
    report.sender = "mallory\x1b[2J";
    report.choices = {Decision::kApprove, Decision::kReject};
    report.a_unix_ms = 5;
    report.b_unix_ms = 6;
    done(report);
  }
  void Resolve(int64_t conflict, Decision, std::string,
               std::function<void(absl::StatusOr<ConflictReport>)> done) override {
    ConflictReport report;
    report.id = conflict;
    done(report);
  }
  void Trace(std::string, std::function<void(absl::StatusOr<std::vector<TracedMessage>>)> done) override {
    done(std::vector<TracedMessage>(1));
  }
  void PauseEdge(std::string edge, bool paused, std::function<void(absl::Status)> done) override {
    if (!graph_->FindEdge(edge)) return done(absl::NotFoundError("there is no edge " + edge));
    paused_ = paused;
    done(absl::OkStatus());
  }
  void Reload(std::shared_ptr<const Graph>, std::function<void(absl::Status)> done) override { done(absl::OkStatus()); }

  template <typename Function>
  Function WaitFor(Function& slot) {
    for (int i = 0; i < 1000; ++i) {
      {
        const std::lock_guard lock(mutex_);
        if (slot) return slot;
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    return nullptr;
  }

  std::function<void(Progress)> sync_progress_;
  std::function<void(absl::StatusOr<RunReport>)> sync_done_;
  std::function<void(absl::StatusOr<std::vector<ConflictReport>>)> conflicts_done_;
  std::atomic<bool> sync_cancelled_ = false;
  std::atomic<bool> paused_ = false;
  std::atomic<bool> plan_hangs_ = false;
  std::atomic<int> plans_cancelled_ = 0;

 private:
  class Reader : public EventReader {
   public:
    Reader(FakeControl& control, int64_t id, int64_t after) : control_(control), id_(id), after_(after) {}
    ~Reader() override {
      const std::lock_guard lock(control_.mutex_);
      control_.wakes_.erase(id_);
    }
    std::vector<Event> Take(size_t max) override {
      const std::lock_guard lock(control_.mutex_);
      std::vector<Event> taken;
      for (const Event& event : control_.events_) {
        if (event.id > after_ && taken.size() < max) taken.push_back(event);
      }
      if (!taken.empty()) after_ = taken.back().id;
      return taken;
    }

   private:
    FakeControl& control_;
    int64_t id_;
    int64_t after_;
  };

  std::shared_ptr<const Graph> graph_ = std::make_shared<const Graph>(Pair(), "/");
  std::mutex mutex_;
  std::deque<Event> events_;
  std::vector<std::function<void(absl::StatusOr<std::vector<PlanItem>>)>> hung_plans_;
  std::map<int64_t, std::function<void()>> wakes_;
  int64_t next_event_ = 1;
  int64_t next_reader_ = 1;
};

class ServiceTest : public testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/rpc.XXXXXX";
    folder_ = mkdtemp(name);
    path_ = folder_ + "/run/mesh.sock";
    options_.addresses = {"unix:" + path_};
    server_ = Start();
    ASSERT_NE(server_, nullptr);
    stub_ = v1::Coordinator::NewStub(grpc::CreateChannel("unix:" + path_, grpc::InsecureChannelCredentials()));
  }
  void TearDown() override {
    server_.reset();
    std::filesystem::remove_all(folder_);
  }

  std::unique_ptr<RpcServer> Start() {
    auto server = RpcServer::Start(options_, control_, [this]() -> absl::StatusOr<LoadedTopology> {
      if (!topology_errors_.empty()) return absl::InvalidArgumentError(topology_errors_);
      LoadedTopology loaded;
      loaded.graph = control_.GetGraph();
      loaded.warnings = {"an island"};
      return loaded;
    });
    if (server.ok()) return *std::move(server);
    start_error_ = server.status();
    return nullptr;
  }

  template <typename Condition>
  bool Eventually(Condition condition) {
    for (int i = 0; i < 1000 && !condition(); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(5));
    return condition();
  }

  FakeControl control_;
  std::string topology_errors_;
  std::string folder_;
  std::string path_;
  ServerOptions options_;
  absl::Status start_error_;
  std::unique_ptr<RpcServer> server_;
  std::unique_ptr<v1::Coordinator::Stub> stub_;
  grpc::ClientContext context_;
};

}  // namespace imapmesh

#endif  // IMAPMESH_RPC_SERVICE_TEST_SUPPORT_H_
