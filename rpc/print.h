// What the programs show people: tables of a reply, one line of an event, and the progress of a long sync.
//
// The client prints replies with it; the daemon the progress and the summary of --once. Text functions are pure.
// Everything shown is made safe for a terminal again, whoever sent it.
#ifndef IMAPMESH_RPC_PRINT_H_
#define IMAPMESH_RPC_PRINT_H_

#include <cstdint>
#include <cstdio>
#include <deque>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "rpc/control.pb.h"

namespace imapmesh {

std::string StatusText(const v1::GetStatusReply& status);
std::string PlanText(const v1::PlanReply& plan);
std::string ExplainedPlanText(const v1::PlanReply& plan);  // wave by wave, edge by edge, each operation with its reason
// What no plan can hold: changes that wait on edges that are paused or have an end that is down. "" for nothing.
std::string WaitingText(const v1::GetStatusReply& status);
std::string ConflictsText(const v1::ListConflictsReply& conflicts);
std::string ConflictText(const v1::Conflict& conflict);  // one, with everything known and what can be decided
std::string TraceText(const v1::TraceMessageReply& trace);
std::string ReportText(const v1::SyncReport& report);
std::string TopologyText(const v1::GetTopologyReply& topology);
std::string EventLine(const v1::Event& event);  // without line break

std::string BytesText(int64_t bytes);                      // "1.2 MB"
std::string SecondsText(double seconds);                   // "0.4 s", "3:07", "2:03:00"
std::string TimeText(int64_t unix_ms);                     // local time, "never" for 0
std::string CountText(int64_t number);                     // "12,345"
std::string PluralText(int64_t number, const char* noun);  // "1 conflict", "2 conflicts"

// Columns a terminal needs for UTF-8 text.
size_t DisplayWidth(std::string_view text);

// Rows of cells under a heading, columns aligned.
class Table {
 public:
  explicit Table(std::vector<std::string> heading) { Add(std::move(heading)); }
  void Add(std::vector<std::string> row);
  bool empty() const { return rows_.size() == 1; }
  std::string Text() const;  // every line ends in a line break

 private:
  std::vector<std::vector<std::string>> rows_;
};

// Per edge: messages, bytes, rate, time left. On a terminal it is redrawn in place; elsewhere a line every few seconds.
class ProgressDisplay {
 public:
  ProgressDisplay(std::FILE* out, bool terminal) : out_(out), terminal_(terminal) {}
  ~ProgressDisplay() { Clear(); }

  void Show(const v1::SyncProgress& progress);
  // Takes the progress off the terminal, before something else is printed.
  void Clear();

  // What Show prints, line by line; `progress` must not be older than that of the last call.
  std::vector<std::string> Lines(const v1::SyncProgress& progress);

 private:
  struct Sample {
    double elapsed_s;
    int64_t messages;
    int64_t bytes;
  };
  std::string EdgeLine(const v1::EdgeProgress& edge, double elapsed_s);

  std::FILE* out_;
  bool terminal_;
  size_t lines_shown_ = 0;
  double last_shown_s_ = -1e9;
  std::map<std::string, std::deque<Sample>> samples_;  // by edge, of the last seconds
};

}  // namespace imapmesh

#endif  // IMAPMESH_RPC_PRINT_H_
