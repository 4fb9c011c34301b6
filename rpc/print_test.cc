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
