// The service behind a real gRPC server on a unix socket, with an engine that the test plays itself.
#include "rpc/service.h"

#include "rpc/service_test_support.h"

namespace imapmesh {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

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

TEST_F(ServiceTest, ARequestThatIsTooLargeIsRefusedUnread) {
  v1::PauseEdgeRequest request;
  request.set_edge(std::string(100'000, 'x'));
  v1::PauseEdgeReply reply;
  EXPECT_EQ(stub_->PauseEdge(&context_, request, &reply).error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
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
    return stub_->ListConflicts(&context, request, &reply).error_code();
  };
  v1::ListConflictsReply reply;
  EXPECT_EQ(ask(8, reply), grpc::StatusCode::OK);
  ASSERT_EQ(reply.conflicts_size(), 1);
  EXPECT_EQ(reply.conflicts(0).id(), 8);
  EXPECT_EQ(reply.conflicts(0).sender(), "mallory\\x1b[2J");
  ASSERT_EQ(reply.conflicts(0).choices_size(), 2);
  EXPECT_EQ(reply.conflicts(0).choices(1), v1::ResolveConflictRequest::REJECT);
  EXPECT_EQ(reply.conflicts(0).change_a_unix_ms(), 5);
  EXPECT_EQ(reply.conflicts(0).change_b_unix_ms(), 6);
  EXPECT_EQ(ask(9, reply), grpc::StatusCode::NOT_FOUND);
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

}  // namespace
}  // namespace imapmesh
