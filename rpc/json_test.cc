#include "rpc/json.h"

#include <gtest/gtest.h>

#include <limits>

#include "rpc/control.pb.h"

namespace imapmesh {
namespace {

TEST(Json, EmptyReportPrintsEveryKeyOfTheContract) {
  EXPECT_EQ(ToJson(v1::SyncReport(), JsonLayout::kOneLine),
            R"({"converged":false,"rounds":0,"wall_s":0,"replicas":[],"edges":[],)"
            R"("conflicts_open":0,"conflicts_resolved":0,"refused":0})");
}

TEST(Json, WideIntegersAreNumbersAndEnumsAreNames) {
  v1::SyncReport report;
  report.set_wall_s(1.25);
  v1::SyncReportReplica& replica = *report.add_replicas();
  replica.set_name("laptop");
  replica.set_bytes_sent(std::numeric_limits<int64_t>::max());
  report.add_edges()->set_state(v1::EdgeStatus::IN_SYNC);

  const std::string json = ToJson(report, JsonLayout::kOneLine);

  EXPECT_NE(json.find(R"("bytes_sent":9223372036854775807)"), std::string::npos) << json;
  EXPECT_NE(json.find(R"("state":"IN_SYNC")"), std::string::npos) << json;
  EXPECT_NE(json.find(R"("wall_s":1.25)"), std::string::npos) << json;
  EXPECT_NE(json.find(R"("last_error":"")"), std::string::npos) << json;
}

TEST(Json, UnsetMemberOfAOneofAndUnsetOptionalAreLeftOut) {
  EXPECT_EQ(ToJson(v1::SyncReply(), JsonLayout::kOneLine), "{}");
  v1::WatchEventsRequest request;
  EXPECT_EQ(ToJson(request, JsonLayout::kOneLine), "{}");
  request.set_after(0);
  EXPECT_EQ(ToJson(request, JsonLayout::kOneLine), R"({"after":0})");
}

TEST(Json, AbsentMessageIsNull) {
  EXPECT_EQ(ToJson(v1::ResolveConflictReply(), JsonLayout::kOneLine), R"({"conflict":null})");
}

TEST(Json, UnknownEnumValuePrintsItsNumber) {
  v1::SyncReportEdge edge;
  edge.set_state(static_cast<v1::EdgeStatus::State>(77));
  EXPECT_NE(ToJson(edge, JsonLayout::kOneLine).find(R"("state":77)"), std::string::npos);
}

TEST(Json, NumbersThatJsonCannotWriteAreNull) {
  v1::SyncReport report;
  report.set_wall_s(std::numeric_limits<double>::infinity());
  EXPECT_NE(ToJson(report, JsonLayout::kOneLine).find(R"("wall_s":null)"), std::string::npos);
}

TEST(Json, IndentedLayoutIsReadable) {
  v1::ListConflictsRequest request;
  EXPECT_EQ(ToJson(request, JsonLayout::kIndented), "{\n  \"open_only\": false,\n  \"id\": 0\n}\n");
}

TEST(JsonString, EscapesWhatJsonAndTerminalsWouldObey) {
  EXPECT_EQ(JsonString("a\"b\\c"), R"("a\"b\\c")");
  EXPECT_EQ(JsonString("\n\r\t"), R"("\n\r\t")");
  EXPECT_EQ(JsonString(std::string_view("\0\x1b\x7f", 3)), R"("\u0000\u001b\u007f")");
  EXPECT_EQ(JsonString("\xC2\x9B"), R"("\u009b")");  // CSI, one of C1
}

TEST(JsonString, KeepsUtf8AndReplacesEverythingElse) {
  EXPECT_EQ(JsonString("Entwürfe/草稿 📬"), "\"Entwürfe/草稿 📬\"");
  EXPECT_EQ(JsonString("\xFF"), "\"\xEF\xBF\xBD\"");
  EXPECT_EQ(JsonString("\xC3"), "\"\xEF\xBF\xBD\"");                                  // cut short
  EXPECT_EQ(JsonString("\xC0\xAF"), "\"\xEF\xBF\xBD\xEF\xBF\xBD\"");                  // overlong
  EXPECT_EQ(JsonString("\xED\xA0\x80"), "\"\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\"");  // surrogate
}

}  // namespace
}  // namespace imapmesh
