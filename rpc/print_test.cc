#include "rpc/print.h"

#include <gtest/gtest.h>

namespace imapmesh {
namespace {

v1::SyncProgress ProgressAt(double elapsed_s, int64_t messages, int64_t bytes) {
  v1::SyncProgress progress;
  progress.set_phase("adding");
  progress.set_elapsed_s(elapsed_s);
  v1::EdgeProgress& edge = *progress.add_edges();
  edge.set_a("laptop");
  edge.set_b("server");
  edge.set_messages_done(messages);
  edge.set_messages_total(10'000);
  edge.set_bytes_done(bytes);
  edge.set_bytes_total(40'000'000);
  return progress;
}

TEST(Units, AreReadable) {
  EXPECT_EQ(BytesText(0), "0 B");
  EXPECT_EQ(BytesText(999), "999 B");
  EXPECT_EQ(BytesText(4'000), "4.0 kB");
  EXPECT_EQ(BytesText(999'960), "1.0 MB");
  EXPECT_EQ(SecondsText(0.44), "0.4 s");
  EXPECT_EQ(SecondsText(59.97), "1:00");
  EXPECT_EQ(SecondsText(187), "3:07");
  EXPECT_EQ(SecondsText(7380), "2:03:00");
  EXPECT_EQ(TimeText(0), "never");
}

TEST(DisplayWidth, CountsColumns) {
  EXPECT_EQ(DisplayWidth("Entwürfe"), 8u);
  EXPECT_EQ(DisplayWidth("草稿"), 4u);
  EXPECT_EQ(DisplayWidth(""), 0u);
  EXPECT_EQ(DisplayWidth("\xE8\x8D"), 1u);  // cut short: no matter, but no crash
}

TEST(Table, AlignsWhatHasWideCharacters) {
  Table table({"MAILBOX", "N"});
  table.Add({"草稿", "1"});
  table.Add({"Entwürfe", "2"});
  EXPECT_EQ(table.Text(),
            "MAILBOX   N\n"
            "草稿      1\n"
            "Entwürfe  2\n");
}

TEST(Table, ShowsWhatATerminalWouldObeyInTheHeadingToo) {
  EXPECT_EQ(Table({"a\x1b[2J"}).Text(), "a\\x1b[2J\n");
}

TEST(Table, ShowsWhatATerminalWouldObey) {
  Table table({"ERROR"});
  table.Add({"\x1b[2J\nboo"});
  EXPECT_EQ(table.Text(), "ERROR\n\\x1b[2J\\x0aboo\n");
}

TEST(Progress, TellsMessagesBytesRateAndTimeLeft) {
  ProgressDisplay display(stderr, false);
  display.Lines(ProgressAt(1, 0, 0));
  const auto lines = display.Lines(ProgressAt(3, 2'000, 8'000'000));
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_EQ(lines[0], "adding, 3.0 s");
  EXPECT_EQ(lines[1], "laptop:server  2,000 of 10,000 messages, 8.0 MB of 40.0 MB, 4.0 MB/s, 8.0 s left");
}

TEST(Progress, SaysNothingOfRatesBeforeThereIsOne) {
  ProgressDisplay display(stderr, false);
  const auto lines = display.Lines(ProgressAt(0.1, 0, 0));
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_EQ(lines[1], "laptop:server  0 of 10,000 messages, 0 B of 40.0 MB");
}

TEST(Conflict, ShowsBothSidesAndTheCommandsThatDecideIt) {
  v1::Conflict conflict;
  conflict.set_id(12);
  conflict.set_kind("DELETE_VS_CHANGE");
  conflict.set_subject("\x1b]0;owned\x07 hello");
  conflict.set_replica_a("laptop");
  conflict.set_change_a("deleted");
  conflict.set_replica_b("server");
  conflict.set_change_b("flagged");
  conflict.set_open(true);
  conflict.add_choices(v1::ResolveConflictRequest::KEEP);
  conflict.add_choices(v1::ResolveConflictRequest::DELETE);
  const std::string text = ConflictText(conflict);
  EXPECT_NE(text.find("Conflict 12: DELETE_VS_CHANGE, OPEN"), std::string::npos) << text;
  EXPECT_NE(text.find("laptop: deleted"), std::string::npos) << text;
  EXPECT_NE(text.find("imapmesh conflicts resolve 12 --keep REPLICA | --delete\n"), std::string::npos) << text;
  EXPECT_EQ(text.find('\x1b'), std::string::npos) << "a subject commands no terminal";
  conflict.set_open(false);
  EXPECT_EQ(ConflictText(conflict).find("conflicts resolve"), std::string::npos) << "decided is decided";
}

TEST(Trace, TellsPresenceReasonAndHistory) {
  v1::TraceMessageReply reply;
  v1::TracedMessage& message = *reply.add_messages();
  message.set_message_id("<1@example.org>");
  message.set_mailbox("INBOX");
  message.set_size(4'000);
  v1::TracedCopy& there = *message.add_copies();
  there.set_replica("laptop");
  there.set_present(true);
  there.set_uid(17);
  there.add_flags("\\Seen");
  there.set_because("arrived here");
  v1::TracedCopy& absent = *message.add_copies();
  absent.set_replica("server");
  absent.set_because("edge laptop:server is paused");
  v1::TracedStep& step = *message.add_history();
  step.set_replica("laptop");
  step.set_what("APPEND");
  step.set_edge("desktop:laptop");
  const std::string text = TraceText(reply);
  EXPECT_NE(text.find("<1@example.org> in INBOX, 4.0 kB"), std::string::npos) << text;
  EXPECT_NE(text.find("laptop   yes    17   \\Seen"), std::string::npos) << text;
  EXPECT_NE(text.find("edge laptop:server is paused"), std::string::npos) << text;
  EXPECT_NE(text.find("laptop  APPEND along desktop:laptop"), std::string::npos) << text;
}

TEST(Plan, ExplainedGroupsWavesAndEdgesAndCountsBytes) {
  v1::PlanReply plan;
  plan.set_total(2);
  for (const int64_t wave : {2, 1}) {
    v1::PlanItem& item = *plan.add_items();
    item.set_wave(wave);
    item.set_edge(wave == 1 ? "a:b" : "b:c");
    item.set_operation("APPEND");
    item.set_source("a");
    item.set_target(wave == 1 ? "b" : "c");
    item.set_mailbox("INBOX");
    item.set_message_id("<1@example.org>");
    item.set_bytes(4'000);
    item.set_rule("held by a, missing here");
    item.set_stamp(9);
    item.set_distance(wave);
    item.set_via(wave == 1 ? "a" : "b");
    item.set_path_cost(11 * wave);
    item.set_body_from("a");
    item.add_holders("a");
    item.set_fetch_bytes(wave == 1 ? 4'000 : 0);
  }
  const std::string text = ExplainedPlanText(plan);
  const size_t first =
      text.find("Wave 1\n  a:b: 1 operation, 4.0 kB\n    APPEND at b: INBOX <1@example.org>, 4.0 kB\n");
  const size_t second = text.find("Wave 2\n  b:c: 1 operation");
  EXPECT_NE(first, std::string::npos) << text;
  EXPECT_LT(first, second) << text;
  EXPECT_NE(text.find("because: held by a, missing here; 2 edges from a by way of b, path cost 22, none cheaper; "
                      "holders, cheapest first: a; change 9"),
            std::string::npos)
      << text;
  EXPECT_NE(text.find("2 operations; bodies: 4.0 kB to fetch, 8.0 kB to upload."), std::string::npos) << text;
}

TEST(Plan, ExplainedPutsDeletionsAfterAllElse) {
  v1::PlanReply plan;
  for (const char* operation : {"EXPUNGE", "APPEND"}) {
    v1::PlanItem& item = *plan.add_items();
    item.set_wave(operation[0] == 'E' ? 1 : 2);
    item.set_edge("a:b");
    item.set_operation(operation);
  }
  const std::string text = ExplainedPlanText(plan);
  EXPECT_LT(text.find("Wave 2\n"), text.find("Wave 1 of deletions\n")) << text;
}

TEST(Status, TellsOfPausesAndWhereConflictsAreShown) {
  v1::GetStatusReply status;
  status.set_converged(true);
  status.set_conflicts_open(2);
  status.add_edges()->set_state(v1::EdgeStatus::PAUSED);
  EXPECT_NE(StatusText(status).find("2 conflicts open (imapmesh conflicts --open), 1 edge paused\n"), std::string::npos)
      << StatusText(status);
}

TEST(Waiting, IsWhatEdgesThatCarryNothingNowHavePending) {
  v1::GetStatusReply status;
  const auto add = [&](const char* name, v1::EdgeStatus::State state, int64_t additions) {
    v1::EdgeStatus& edge = *status.add_edges();
    edge.set_edge(name);
    edge.set_state(state);
    edge.set_pending(additions);
    edge.set_pending_additions(additions);
  };
  add("a:b", v1::EdgeStatus::PENDING, 3);
  add("a:c", v1::EdgeStatus::PAUSED, 0);
  EXPECT_EQ(WaitingText(status), "");
  add("b:c", v1::EdgeStatus::UNREACHABLE, 2);
  status.mutable_edges(2)->set_last_error("no route");
  EXPECT_EQ(WaitingText(status),
            "Waits, as b:c is UNREACHABLE: 2 (2 new, 0 flags, 0 deleted, 0 mailboxes); no route\n");
}

TEST(Conflict, TellsOfBothSidesAndWhen) {
  v1::Conflict conflict;
  conflict.set_replica_a("laptop");
  conflict.set_change_a("deleted");
  conflict.set_change_a_unix_ms(1'700'000'000'000);
  conflict.set_change_b("another mailbox has that name elsewhere");
  const std::string text = ConflictText(conflict);
  EXPECT_NE(text.find("side:     laptop: deleted, seen " + TimeText(1'700'000'000'000) + "\n"), std::string::npos)
      << text;
  EXPECT_NE(text.find("side:     another mailbox has that name elsewhere\n"), std::string::npos) << text;
}

TEST(Report, NamesUnreachableReplicasAndOpenConflicts) {
  v1::SyncReport report;
  report.set_conflicts_open(2);
  v1::SyncReportReplica& replica = *report.add_replicas();
  replica.set_name("desktop");
  replica.set_last_error("connection refused");
  const std::string text = ReportText(report);
  EXPECT_NE(text.find("Not converged"), std::string::npos) << text;
  EXPECT_NE(text.find("2 conflicts open"), std::string::npos) << text;
  EXPECT_NE(text.find("unreachable: connection refused"), std::string::npos) << text;
}

}  // namespace
}  // namespace imapmesh
