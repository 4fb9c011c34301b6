// The service behind a real gRPC server on a unix socket, with an engine that the test plays itself.
#include "rpc/service.h"

#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <filesystem>
#include <map>
#include <mutex>
#include <sstream>
#include <thread>

#include "rpc/client_commands.h"
#include "rpc/server.h"

namespace imapmesh {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

v1::Topology Pair() {
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
      std::this_thread::sleep_for(milliseconds(5));
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
    for (int i = 0; i < 1000 && !condition(); ++i) std::this_thread::sleep_for(milliseconds(5));
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

TEST_F(ServiceTest, StatusIsTranslatedAndSafeToPrint) {
  v1::GetStatusReply reply;
  ASSERT_TRUE(stub_->GetStatus(&context_, v1::GetStatusRequest(), &reply).ok());
  EXPECT_TRUE(reply.converged());
  ASSERT_EQ(reply.replicas_size(), 1);
  EXPECT_EQ(reply.replicas(0).state(), v1::ReplicaStatus::UP);
  EXPECT_EQ(reply.replicas(0).last_error(), "bad \\xff bytes\\x1b[2J");
  EXPECT_DOUBLE_EQ(reply.replicas(0).lag_s(), 2.5);
  EXPECT_EQ(reply.edges(0).edge(), "laptop:server");
  EXPECT_EQ(reply.edges(0).pending(), 3);
  EXPECT_EQ(reply.mailboxes_size(), 1);
  EXPECT_FALSE(reply.version().empty());
}

TEST_F(ServiceTest, MailboxesAreLeftOutWhenAsked) {
  v1::GetStatusRequest request;
  request.set_omit_mailboxes(true);
  v1::GetStatusReply reply;
  ASSERT_TRUE(stub_->GetStatus(&context_, request, &reply).ok());
  EXPECT_EQ(reply.mailboxes_size(), 0);
}

TEST_F(ServiceTest, TopologyShowsNoPassword) {
  v1::GetTopologyReply reply;
  ASSERT_TRUE(stub_->GetTopology(&context_, v1::GetTopologyRequest(), &reply).ok());
  EXPECT_EQ(reply.replicas(0).endpoint(), "imaps://mail.example.org:993");
  EXPECT_EQ(reply.edges(0).direction(), "BOTH");
  EXPECT_NE(reply.text().find("(hidden)"), std::string::npos);
  EXPECT_EQ(reply.DebugString().find("secret-"), std::string::npos) << reply.DebugString();
}

TEST_F(ServiceTest, EventsArriveInOrder) {
  const auto stream = stub_->WatchEvents(&context_, v1::WatchEventsRequest());
  stream->WaitForInitialMetadata();
  for (int i = 0; i < 300; ++i) {
    control_.Add("event " + std::to_string(i));
    v1::Event event;
    ASSERT_TRUE(stream->Read(&event));
    EXPECT_EQ(event.id(), i + 1);
  }
  context_.TryCancel();
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::CANCELLED);
  EXPECT_TRUE(Eventually([&] { return control_.readers() == 0; })) << "the stream outlived its client";
}

TEST_F(ServiceTest, EventsKeptFromBeforeAreReadWhenAsked) {
  for (int i = 0; i < 5; ++i) control_.Add("early");
  v1::WatchEventsRequest request;
  request.set_after(3);
  const auto stream = stub_->WatchEvents(&context_, request);
  v1::Event event;
  ASSERT_TRUE(stream->Read(&event));
  EXPECT_EQ(event.id(), 4);
  context_.TryCancel();
}

TEST_F(ServiceTest, SlowReaderMissesEventsButHoldsNobodyUp) {
  const auto stream = stub_->WatchEvents(&context_, v1::WatchEventsRequest());
  stream->WaitForInitialMetadata();
  constexpr int kEvents = 3'000;
  const std::string long_text(1500, 'x');
  for (int i = 0; i < kEvents; ++i) control_.Add(long_text);  // never blocks: far more than the transport buffers
  int64_t last = 0;
  int64_t received = 0;
  int64_t missed = 0;
  v1::Event event;
  while (last < kEvents && stream->Read(&event)) {
    if (event.kind() == "EVENTS_MISSED") {
      EXPECT_EQ(event.id(), last + event.missed()) << "the marker stands for what is not there";
      missed += event.missed();
    } else {
      EXPECT_EQ(event.id(), last + 1) << "a gap without a marker";
      ++received;
    }
    last = event.id();
  }
  EXPECT_EQ(last, kEvents);
  EXPECT_GT(missed, 0);
  EXPECT_EQ(received + missed, kEvents);
  context_.TryCancel();
}

TEST_F(ServiceTest, ReaderThatComesBackTooLateIsToldHowMuchItMissed) {
  for (int i = 0; i < 150; ++i) control_.Add("early");  // 51 to 150 are kept
  v1::WatchEventsRequest request;
  request.set_after(20);
  const auto stream = stub_->WatchEvents(&context_, request);
  v1::Event event;
  ASSERT_TRUE(stream->Read(&event));
  EXPECT_EQ(event.kind(), "EVENTS_MISSED");
  EXPECT_EQ(event.id(), 50);
  EXPECT_EQ(event.missed(), 30);
  ASSERT_TRUE(stream->Read(&event));
  EXPECT_EQ(event.id(), 51);
  context_.TryCancel();
}

TEST_F(ServiceTest, PlanThatTheClientLeavesStopsTheScan) {
  control_.plan_hangs_ = true;
  context_.set_deadline(std::chrono::system_clock::now() + milliseconds(200));
  v1::PlanReply reply;
  EXPECT_EQ(stub_->Plan(&context_, v1::PlanRequest(), &reply).error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  EXPECT_TRUE(Eventually([&] { return control_.plans_cancelled_ == 1; }));
}

TEST_F(ServiceTest, OrdersThatWaitForTheEngineAreBounded) {
  control_.plan_hangs_ = true;
  // Given callers that order and go away while the engine is busy with something else
  v1::PlanReply reply;
  grpc::Status status;
  for (int i = 0; i < 200; ++i) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + milliseconds(50));
    status = stub_->Plan(&context, v1::PlanRequest(), &reply);
    if (status.error_code() == grpc::StatusCode::RESOURCE_EXHAUSTED) break;
    ASSERT_EQ(status.error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  }
  // Then its queue is bounded, though every one of them is gone
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED) << status.error_message();
  EXPECT_LE(control_.hung_plans(), 64u);
  // And when the engine has dropped them there is room again
  control_.DropHungPlans();
  control_.plan_hangs_ = false;
  EXPECT_TRUE(stub_->Plan(&context_, v1::PlanRequest(), &reply).ok());
}

TEST_F(ServiceTest, StreamsOfEventsAreBounded) {
  std::vector<std::unique_ptr<grpc::ClientContext>> contexts;
  std::vector<std::unique_ptr<grpc::ClientReader<v1::Event>>> streams;
  std::vector<std::unique_ptr<v1::Coordinator::Stub>> stubs;
  grpc::Status refused;
  for (int i = 0; i < 200; ++i) {
    if (i % 20 == 0) {  // a connection has room for 32 calls
      grpc::ChannelArguments own;
      own.SetInt("connection", i);
      stubs.push_back(v1::Coordinator::NewStub(
          grpc::CreateCustomChannel("unix:" + path_, grpc::InsecureChannelCredentials(), own)));
    }
    contexts.push_back(std::make_unique<grpc::ClientContext>());
    streams.push_back(stubs.back()->WatchEvents(contexts.back().get(), v1::WatchEventsRequest()));
    streams.back()->WaitForInitialMetadata();
    if (contexts.back()->GetServerInitialMetadata().empty() && i >= 128) {
      refused = streams.back()->Finish();
      break;
    }
  }
  EXPECT_EQ(refused.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED) << refused.error_message();
  EXPECT_LE(control_.readers(), 128u);
  for (const auto& context : contexts) context->TryCancel();
  EXPECT_TRUE(Eventually([&] { return control_.readers() == 0; }));
}

TEST_F(ServiceTest, SyncStreamsProgressAndEndsWithTheReport) {
  const auto stream = stub_->Sync(&context_, v1::SyncRequest());
  const auto progress = control_.WaitFor(control_.sync_progress_);
  ASSERT_TRUE(progress);
  Progress now;
  now.phase = "adding";
  progress(now);
  v1::SyncReply reply;
  ASSERT_TRUE(stream->Read(&reply));
  EXPECT_EQ(reply.progress().phase(), "adding");
  RunReport report;
  report.converged = true;
  report.rounds = 2;
  control_.WaitFor(control_.sync_done_)(report);
  ASSERT_TRUE(stream->Read(&reply));
  EXPECT_TRUE(reply.report().converged());
  EXPECT_EQ(reply.report().rounds(), 2);
  EXPECT_FALSE(stream->Read(&reply));
  EXPECT_TRUE(stream->Finish().ok());
}

TEST_F(ServiceTest, SyncOfAnUnknownReplicaIsNotFound) {
  v1::SyncRequest request;
  request.set_replica("nobody");
  const auto stream = stub_->Sync(&context_, request);
  v1::SyncReply reply;
  EXPECT_FALSE(stream->Read(&reply));
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::NOT_FOUND);
}

TEST_F(ServiceTest, SyncThatTheClientLeavesIsCancelledAndItsLateAnswerHarmless) {
  auto stream = stub_->Sync(&context_, v1::SyncRequest());
  const auto done = control_.WaitFor(control_.sync_done_);
  context_.TryCancel();
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::CANCELLED);
  EXPECT_TRUE(Eventually([&] { return control_.sync_cancelled_.load(); }));
  done(RunReport());
}

TEST_F(ServiceTest, DeadlineEndsACallThatTheEngineDoesNotAnswer) {
  context_.set_deadline(std::chrono::system_clock::now() + milliseconds(100));
  v1::ListConflictsReply reply;
  const grpc::Status status = stub_->ListConflicts(&context_, v1::ListConflictsRequest(), &reply);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  control_.WaitFor(control_.conflicts_done_)(std::vector<ConflictReport>());  // too late, and harmless
}

TEST_F(ServiceTest, StopEndsOpenCallsSoon) {
  const auto events = stub_->WatchEvents(&context_, v1::WatchEventsRequest());
  events->WaitForInitialMetadata();
  const auto before = std::chrono::steady_clock::now();
  server_->Stop();
  EXPECT_LT(std::chrono::steady_clock::now() - before, seconds(3));
  v1::Event event;
  EXPECT_FALSE(events->Read(&event));
  EXPECT_FALSE(std::filesystem::exists(path_));
}

TEST_F(ServiceTest, PlanIsCutAtTheLimitButCountedWhole) {
  v1::PlanRequest request;
  request.set_limit(2);
  v1::PlanReply reply;
  ASSERT_TRUE(stub_->Plan(&context_, request, &reply).ok());
  EXPECT_EQ(reply.items_size(), 2);
  EXPECT_EQ(reply.total(), 5);
  EXPECT_EQ(reply.items(0).operation(), "APPEND");
}

TEST_F(ServiceTest, EdgesArePausedByEitherSpelling) {
  v1::PauseEdgeRequest request;
  request.set_edge("server:laptop");
  v1::PauseEdgeReply reply;
  ASSERT_TRUE(stub_->PauseEdge(&context_, request, &reply).ok());
  EXPECT_EQ(reply.edge(), "laptop:server");
  EXPECT_TRUE(control_.paused_);
  grpc::ClientContext another;
  v1::ResumeEdgeRequest resume;
  resume.set_edge("laptop:server");
  v1::ResumeEdgeReply resumed;
  ASSERT_TRUE(stub_->ResumeEdge(&another, resume, &resumed).ok());
  EXPECT_FALSE(control_.paused_);
}

TEST_F(ServiceTest, EdgesThatAreNotThereHaveErrors) {
  v1::PauseEdgeRequest request;
  v1::PauseEdgeReply reply;
  EXPECT_EQ(stub_->PauseEdge(&context_, request, &reply).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  request.set_edge("laptop:nowhere");
  grpc::ClientContext another;
  EXPECT_EQ(stub_->PauseEdge(&another, request, &reply).error_code(), grpc::StatusCode::NOT_FOUND);
}

TEST_F(ServiceTest, ReloadTellsWarningsAndRefusesABadFileWithAllItsErrors) {
  v1::ReloadTopologyReply reply;
  ASSERT_TRUE(stub_->ReloadTopology(&context_, v1::ReloadTopologyRequest(), &reply).ok());
  EXPECT_EQ(reply.replicas(), 2);
  EXPECT_EQ(reply.warnings(0), "an island");
  topology_errors_ = "f:1:1: one\nf:2:1: two\n" + std::string(100'000, 'x');
  grpc::ClientContext another;
  const grpc::Status status = stub_->ReloadTopology(&another, v1::ReloadTopologyRequest(), &reply);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(status.error_message().substr(0, 21), "f:1:1: one\nf:2:1: two");
}

TEST_F(ServiceTest, OneConflictIsShownByItsNumber) {
  const auto ask = [&](int64_t id, v1::ListConflictsReply& reply) {
    grpc::ClientContext context;
    v1::ListConflictsRequest request;
    request.set_id(id);
    control_.conflicts_done_ = nullptr;
    std::thread engine([&] {
      std::vector<ConflictReport> conflicts(2);
      conflicts[0].id = 7;
      conflicts[1].id = 8;
      conflicts[1].sender = "mallory\x1b[2J";
      conflicts[1].choices = {Decision::kApprove, Decision::kReject};
      control_.WaitFor(control_.conflicts_done_)(conflicts);
    });
    const grpc::Status status = stub_->ListConflicts(&context, request, &reply);
    engine.join();
    return status.error_code();
  };
  v1::ListConflictsReply reply;
  EXPECT_EQ(ask(8, reply), grpc::StatusCode::OK);
  ASSERT_EQ(reply.conflicts_size(), 1);
  EXPECT_EQ(reply.conflicts(0).id(), 8);
  EXPECT_EQ(reply.conflicts(0).sender(), "mallory\\x1b[2J");
  ASSERT_EQ(reply.conflicts(0).choices_size(), 2);
  EXPECT_EQ(reply.conflicts(0).choices(1), v1::ResolveConflictRequest::REJECT);
  EXPECT_EQ(ask(9, reply), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(ask(0, reply), grpc::StatusCode::OK);
  EXPECT_EQ(reply.conflicts_size(), 2);
}

TEST_F(ServiceTest, DecisionsAreCheckedBeforeTheEngineHearsOfThem) {
  const auto decide = [&](v1::ResolveConflictRequest::Decision decision, const std::string& replica) {
    grpc::ClientContext context;
    v1::ResolveConflictRequest request;
    request.set_id(3);
    request.set_decision(decision);
    request.set_replica(replica);
    v1::ResolveConflictReply reply;
    const grpc::Status status = stub_->ResolveConflict(&context, request, &reply);
    EXPECT_EQ(reply.conflict().id(), status.ok() ? 3 : 0);
    return status.error_code();
  };
  EXPECT_EQ(decide(v1::ResolveConflictRequest::APPROVE, ""), grpc::StatusCode::OK);
  EXPECT_EQ(decide(v1::ResolveConflictRequest::KEEP, "laptop"), grpc::StatusCode::OK);
  EXPECT_EQ(decide(v1::ResolveConflictRequest::UNDECIDED, ""), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(decide(static_cast<v1::ResolveConflictRequest::Decision>(99), ""), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(decide(v1::ResolveConflictRequest::KEEP, ""), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(decide(v1::ResolveConflictRequest::DELETE, "laptop"), grpc::StatusCode::INVALID_ARGUMENT);
}

TEST_F(ServiceTest, TraceIsTranslated) {
  v1::TraceMessageRequest request;
  request.set_message_id("<x@example.org>");
  v1::TraceMessageReply reply;
  ASSERT_TRUE(stub_->TraceMessage(&context_, request, &reply).ok());
  EXPECT_EQ(reply.messages_size(), 1);
}

TEST_F(ServiceTest, SocketIsTheOwnersAlone) {
  struct stat found {};
  ASSERT_EQ(stat(path_.c_str(), &found), 0);
  EXPECT_EQ(found.st_mode & 0777, 0600u);
  ASSERT_EQ(stat((folder_ + "/run").c_str(), &found), 0);
  EXPECT_EQ(found.st_mode & 0777, 0700u);
}

TEST_F(ServiceTest, LiveSocketIsRefusedAndADeadOneReplaced) {
  EXPECT_EQ(Start(), nullptr);
  EXPECT_TRUE(absl::IsUnavailable(start_error_)) << start_error_;
  server_->Stop();
  const int dead = socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, path_.c_str(), sizeof(address.sun_path) - 1);
  ASSERT_EQ(bind(dead, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  close(dead);
  ASSERT_TRUE(std::filesystem::exists(path_));
  EXPECT_NE(Start(), nullptr) << start_error_;
}

TEST_F(ServiceTest, BeyondLoopbackMutualTlsIsRequired) {
  for (const char* address : {"0.0.0.0:7443", "192.0.2.1:7443", "mail.example.org:7443", "[::]:7443"}) {
    options_.addresses = {address};
    EXPECT_EQ(Start(), nullptr) << address;
    EXPECT_TRUE(absl::IsInvalidArgument(start_error_)) << start_error_;
    EXPECT_NE(Message(start_error_).find("mutual TLS"), std::string::npos) << start_error_;
  }
  options_.insecure_loopback = true;
  options_.addresses = {"192.0.2.1:7443"};
  EXPECT_EQ(Start(), nullptr) << "that option is for loopback alone";
}

TEST_F(ServiceTest, LoopbackIsServedWithoutTlsWhenNamedAndWarnedOf) {
  options_.addresses = {"127.0.0.1:0"};
  std::string warning;
  options_.warn = [&](const std::string& text) { warning += text; };
  const auto loopback = Start();
  ASSERT_NE(loopback, nullptr) << start_error_;
  EXPECT_NE(loopback->addresses()[0], "127.0.0.1:0");
  const auto stub =
      v1::Coordinator::NewStub(grpc::CreateChannel(loopback->addresses()[0], grpc::InsecureChannelCredentials()));
  v1::GetStatusReply reply;
  EXPECT_TRUE(stub->GetStatus(&context_, v1::GetStatusRequest(), &reply).ok());
  EXPECT_NE(warning.find("every user of this machine"), std::string::npos) << warning;
  warning.clear();
  options_.insecure_loopback = true;
  EXPECT_NE(Start(), nullptr) << start_error_;
  EXPECT_EQ(warning, "");
}

TEST_F(ServiceTest, TlsFilesThatAreNoGoodAreNamed) {
  options_.addresses = {"127.0.0.1:0"};
  options_.tls_cert = "/nonexistent/cert.pem";
  EXPECT_EQ(Start(), nullptr);
  EXPECT_NE(Message(start_error_).find("go together"), std::string::npos) << start_error_;
  options_.tls_key = options_.tls_client_ca = "/nonexistent/key.pem";
  EXPECT_EQ(Start(), nullptr);
  EXPECT_NE(Message(start_error_).find("/nonexistent/key.pem"), std::string::npos) << start_error_;
}

TEST_F(ServiceTest, BadAddressesAreRefused) {
  for (const char* address : {"", "nonsense", "host:", ":1", "host:99999", "host:1x", "unix:"}) {
    options_.addresses = {address};
    EXPECT_EQ(Start(), nullptr) << address;
    EXPECT_TRUE(absl::IsInvalidArgument(start_error_)) << address << ": " << start_error_;
  }
}

TEST_F(ServiceTest, ClientPrintsAndReturnsTheContractsExitCodes) {
  ClientOptions options;
  options.address = "unix:" + path_;
  options.json = true;
  std::ostringstream out, error;
  const auto client = Client::Connect(options, out, error);
  ASSERT_TRUE(client.ok()) << client.status();
  EXPECT_EQ((*client)->Status(false), kExitDone);
  EXPECT_NE(out.str().find(R"("topology_name":"home")"), std::string::npos) << out.str();
  EXPECT_EQ((*client)->Pause("laptop:nowhere"), kExitUsage);
  EXPECT_NE(error.str().find("no edge laptop:nowhere"), std::string::npos) << error.str();
}

TEST_F(ServiceTest, ClientSaysThatNobodyAnswers) {
  ClientOptions options;
  options.address = "unix:" + folder_ + "/absent.sock";
  std::ostringstream out, error;
  const auto client = Client::Connect(options, out, error);
  ASSERT_FALSE(client.ok());
  EXPECT_NE(Message(client.status()).find("is imapmeshd running"), std::string::npos) << client.status();
}

}  // namespace
}  // namespace imapmesh
