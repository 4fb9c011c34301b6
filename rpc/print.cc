#include "rpc/print.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <ctime>
#include <utility>

#include "base/printable.h"
#include "base/status.h"

namespace imapmesh {
namespace {

constexpr double kPlainInterval = 5;  // seconds between lines where nothing can be redrawn
constexpr double kRateWindow = 10;    // seconds that a rate is taken over

char32_t CodePoint(std::string_view text, size_t length) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  if (length == 1) return byte(0);
  char32_t point = byte(0) & (0x7F >> length);
  for (size_t i = 1; i < length; ++i) point = point << 6 | (byte(i) & 0x3F);
  return point;
}

bool Within(char32_t point, char32_t from, char32_t to) {
  return point >= from && point <= to;
}

size_t PointWidth(char32_t point) {
  if (Within(point, 0x300, 0x36F) || Within(point, 0x200B, 0x200F) || Within(point, 0xFE00, 0xFE0F)) return 0;
  const bool wide = Within(point, 0x1100, 0x115F) || Within(point, 0x2E80, 0xA4CF) || Within(point, 0xAC00, 0xD7A3) ||
                    Within(point, 0xF900, 0xFAFF) || Within(point, 0xFE30, 0xFE6F) || Within(point, 0xFF00, 0xFF60) ||
                    Within(point, 0x1F300, 0x1FAFF) || Within(point, 0x20000, 0x3FFFD);
  return wide ? 2 : 1;
}

std::string Pad(const std::string& text, size_t width) {
  const size_t used = DisplayWidth(text);
  return used >= width ? text : text + std::string(width - used, ' ');
}

std::string StateName(v1::ReplicaStatus::State state) {
  return v1::ReplicaStatus::State_IsValid(state) ? v1::ReplicaStatus::State_Name(state) : "?";
}

std::string StateName(v1::EdgeStatus::State state) {
  return v1::EdgeStatus::State_IsValid(state) ? v1::EdgeStatus::State_Name(state) : "?";
}

std::string ReplicasTable(const v1::GetStatusReply& status) {
  Table table({"REPLICA", "STATE", "LAG", "MAILBOXES", "MESSAGES", "SERVER", "CONNECTIONS", "ROUND TRIP", "SENT",
               "RECEIVED", "LAST ERROR"});
  for (const v1::ReplicaStatus& replica : status.replicas()) {
    std::string server = replica.server_software();
    if (!replica.tier().empty()) server += " (" + replica.tier() + (replica.pushes() ? ", pushes)" : ", polled)");
    std::string error = replica.last_error();
    if (replica.state() == v1::ReplicaStatus::DOWN && replica.next_attempt_unix_ms() > 0) {
      error += "; next attempt " + TimeText(replica.next_attempt_unix_ms());
    }
    table.Add({replica.name(), StateName(replica.state()), replica.lag_s() > 0 ? SecondsText(replica.lag_s()) : "-",
               CountText(replica.mailboxes()), CountText(replica.messages()), server, CountText(replica.connections()),
               replica.round_trip_ms() > 0 ? absl::StrFormat("%.1f ms", replica.round_trip_ms()) : "-",
               BytesText(replica.counters().bytes_sent()), BytesText(replica.counters().bytes_received()), error});
  }
  return table.Text();
}

std::string PendingText(const v1::EdgeStatus& edge) {
  std::string text = CountText(edge.pending());
  if (edge.pending() == 0) return text;
  return text + absl::StrFormat(" (%d new, %d flags, %d deleted, %d mailboxes)", edge.pending_additions(),
                                edge.pending_flags(), edge.pending_deletions(), edge.pending_mailboxes());
}

std::string EdgesTable(const v1::GetStatusReply& status) {
  Table table({"EDGE", "STATE", "PENDING", "LAG", "DONE", "LAST SYNC", "LAST ERROR"});
  for (const v1::EdgeStatus& edge : status.edges()) {
    const int64_t waits_ms = status.generated_unix_ms() - edge.oldest_pending_unix_ms();
    const bool lags = edge.oldest_pending_unix_ms() > 0 && waits_ms > 0;
    table.Add({edge.edge(), StateName(edge.state()), PendingText(edge),
               lags ? SecondsText(static_cast<double>(waits_ms) / 1000) : "-", CountText(edge.operations()),
               TimeText(edge.last_sync_unix_ms()), edge.last_error()});
  }
  return table.Text();
}

// Messages of each mailbox on each replica; "*" where the copy is not as the mesh wants it.
std::string MailboxesTable(const v1::GetStatusReply& status) {
  std::vector<std::string> heading = {"MAILBOX"};
  for (const v1::ReplicaStatus& replica : status.replicas()) heading.push_back(replica.name());
  Table table(heading);
  for (const v1::MailboxStatus& mailbox : status.mailboxes()) {
    std::vector<std::string> row = {mailbox.mailbox()};
    for (const v1::ReplicaStatus& replica : status.replicas()) {
      std::string cell = "-";
      for (const v1::MailboxCopyStatus& copy : mailbox.copies()) {
        if (copy.replica() == replica.name()) cell = CountText(copy.messages()) + (copy.in_sync() ? "" : " *");
      }
      row.push_back(cell);
    }
    table.Add(row);
  }
  return table.empty() ? "" : "\n" + table.Text();
}

// How many characters are written as "=XX" (engine/replica/mailbox_names.h).
int CountEscapes(const std::string& name) {
  int escapes = 0;
  for (size_t at = name.find('='); at != std::string::npos; at = name.find('=', at + 1)) {
    const bool escape = at + 2 < name.size() && std::isxdigit(static_cast<unsigned char>(name[at + 1])) != 0 &&
                        std::isxdigit(static_cast<unsigned char>(name[at + 2])) != 0;
    escapes += escape ? 1 : 0;
  }
  return escapes;
}

// Mailboxes whose name a server cannot have.
std::string EscapedNamesText(const v1::GetStatusReply& status) {
  constexpr int kShown = 20;
  std::string text;
  int shown = 0;
  for (const v1::MailboxStatus& mailbox : status.mailboxes()) {
    for (const v1::MailboxCopyStatus& copy : mailbox.copies()) {
      if (CountEscapes(copy.name_here()) <= CountEscapes(mailbox.mailbox())) continue;
      if (++shown > kShown) continue;
      text += absl::StrFormat("%s: mailbox %s is called %s there, as the server cannot have that name\n",
                              Printable(copy.replica()), Printable(mailbox.mailbox()), Printable(copy.name_here()));
    }
  }
  if (shown > kShown) text += absl::StrFormat("… and %d more\n", shown - kShown);
  return text.empty() ? "" : "\n" + text;
}

std::string ProblemsText(const v1::GetStatusReply& status) {
  std::string text;
  for (const v1::ReplicaStatus& replica : status.replicas()) {
    for (const std::string& quirk : replica.quirks()) {
      text += absl::StrFormat("\n%s: %s\n", Printable(replica.name()), Printable(quirk, 2000));
    }
  }
  for (const v1::Problem& problem : status.problems()) {
    text += absl::StrFormat("\nPROBLEM at %s, %s: %s\n", Printable(problem.replica()), Printable(problem.mailbox()),
                            Printable(problem.message(), 2000));
    text +=
        absl::StrFormat("  tried:  %s, since %s\n", Printable(problem.operation()), TimeText(problem.since_unix_ms()));
    text += absl::StrFormat("  answer: %s\n", Printable(problem.answer(), 2000));
    if (!problem.remedy().empty()) text += absl::StrFormat("  remedy: %s\n", Printable(problem.remedy(), 2000));
  }
  return text;
}

}  // namespace

std::string CountText(int64_t number) {
  std::string digits = std::to_string(number < 0 ? -number : number);
  for (size_t i = digits.size(); i > 3;) digits.insert(i -= 3, ",");
  return number < 0 ? "-" + digits : digits;
}

std::string PluralText(int64_t number, const char* noun) {
  return CountText(number) + " " + noun + (number == 1 ? "" : "s");
}

size_t DisplayWidth(std::string_view text) {
  size_t width = 0;
  while (!text.empty()) {
    const auto lead = static_cast<unsigned char>(text[0]);
    const size_t length = std::min<size_t>(lead < 0xC0 ? 1 : lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2, text.size());
    width += PointWidth(CodePoint(text, length));
    text.remove_prefix(length);
  }
  return width;
}

void Table::Add(std::vector<std::string> row) {
  for (std::string& cell : row) cell = Printable(cell, 1000);
  rows_.push_back(std::move(row));
}

std::string Table::Text() const {
  std::vector<size_t> widths(rows_.front().size(), 0);
  for (const auto& row : rows_) {
    for (size_t i = 0; i < widths.size() && i < row.size(); ++i) widths[i] = std::max(widths[i], DisplayWidth(row[i]));
  }
  std::string text;
  for (const auto& row : rows_) {
    std::string line;
    for (size_t i = 0; i < row.size(); ++i) line += Pad(row[i], i < widths.size() ? widths[i] + 2 : 0);
    line.erase(line.find_last_not_of(' ') + 1);
    text += line + "\n";
  }
  return text;
}

std::string BytesText(int64_t bytes) {
  constexpr const char* kUnits[] = {"B", "kB", "MB", "GB", "TB"};
  auto value = static_cast<double>(bytes);
  size_t unit = 0;
  while (value >= 999.95 && unit + 1 < std::size(kUnits)) {
    value /= 1000;
    ++unit;
  }
  return unit == 0 ? absl::StrFormat("%d B", bytes) : absl::StrFormat("%.1f %s", value, kUnits[unit]);
}

std::string SecondsText(double seconds) {
  if (seconds < 59.95) return absl::StrFormat("%.1f s", seconds);
  const auto whole = static_cast<int64_t>(std::llround(std::min(seconds, 1e9)));
  if (whole < 3600) return absl::StrFormat("%d:%02d", whole / 60, whole % 60);
  return absl::StrFormat("%d:%02d:%02d", whole / 3600, whole / 60 % 60, whole % 60);
}

std::string TimeText(int64_t unix_ms) {
  if (unix_ms <= 0) return "never";
  const auto seconds = static_cast<time_t>(unix_ms / 1000);
  const time_t now = time(nullptr);
  tm then{};
  tm today{};
  localtime_r(&seconds, &then);
  localtime_r(&now, &today);
  const bool same_day = then.tm_year == today.tm_year && then.tm_yday == today.tm_yday;
  char text[64];
  const size_t length = strftime(text, sizeof(text), same_day ? "%H:%M:%S" : "%Y-%m-%d %H:%M:%S", &then);
  return std::string(text, length);
}

std::string WaitingText(const v1::GetStatusReply& status) {
  std::string text;
  for (const v1::EdgeStatus& edge : status.edges()) {
    const bool closed = edge.state() == v1::EdgeStatus::PAUSED || edge.state() == v1::EdgeStatus::UNREACHABLE;
    if (!closed || edge.pending() == 0) continue;
    text +=
        absl::StrFormat("Waits, as %s is %s: %s%s\n", Printable(edge.edge()), StateName(edge.state()),
                        PendingText(edge), edge.last_error().empty() ? "" : "; " + Printable(edge.last_error(), 1000));
  }
  return text;
}

std::string StatusText(const v1::GetStatusReply& status) {
  const char* state = status.syncing() ? "syncing" : status.converged() ? "converged" : "not converged";
  std::string text = absl::StrFormat("%s: %s at %s, %s, %s open", Printable(status.topology_name()), state,
                                     TimeText(status.generated_unix_ms()), PluralText(status.rounds(), "round"),
                                     PluralText(status.conflicts_open(), "conflict"));
  if (status.conflicts_open() > 0) text += " (imapmesh conflicts --open)";
  const auto paused = std::count_if(status.edges().begin(), status.edges().end(),
                                    [](const v1::EdgeStatus& edge) { return edge.state() == v1::EdgeStatus::PAUSED; });
  if (paused > 0) text += ", " + PluralText(paused, "edge") + " paused";
  text += "\n\n";
  text += ReplicasTable(status) + "\n" + EdgesTable(status) + MailboxesTable(status) + EscapedNamesText(status) +
          ProblemsText(status);
  return text;
}

std::string ReportText(const v1::SyncReport& report) {
  std::string text = absl::StrFormat("%s in %s, %s", report.converged() ? "Converged" : "Not converged",
                                     SecondsText(report.wall_s()), PluralText(report.rounds(), "round"));
  if (report.refused() > 0) text += ", " + PluralText(report.refused(), "refused operation");
  if (report.conflicts_resolved() > 0) text += ", " + PluralText(report.conflicts_resolved(), "conflict") + " resolved";
  if (report.conflicts_open() > 0) {
    text += ", " + PluralText(report.conflicts_open(), "conflict") + " open (imapmesh conflicts --open)";
  }
  text += "\n";
  Table replicas({"REPLICA", "ADDED", "FLAGGED", "EXPUNGED", "FETCHED", "SENT", "RECEIVED", "ERROR"});
  for (const v1::SyncReportReplica& replica : report.replicas()) {
    const std::string error = replica.reachable() ? replica.last_error() : "unreachable: " + replica.last_error();
    replicas.Add({replica.name(), CountText(replica.messages_appended() + replica.messages_copied_server_side()),
                  CountText(replica.flags_changed()), CountText(replica.messages_expunged()),
                  CountText(replica.messages_fetched()), BytesText(replica.bytes_sent()),
                  BytesText(replica.bytes_received()), error});
  }
  Table edges({"EDGE", "STATE", "OPERATIONS", "PENDING"});
  for (const v1::SyncReportEdge& edge : report.edges()) {
    edges.Add(
        {edge.a() + ":" + edge.b(), StateName(edge.state()), CountText(edge.operations()), CountText(edge.pending())});
  }
  return text + replicas.Text() + edges.Text();
}

std::string TopologyText(const v1::GetTopologyReply& topology) {
  Table replicas({"REPLICA", "ENDPOINT", "USER", "COST", "NAMESPACE"});
  for (const v1::TopologyReplica& replica : topology.replicas()) {
    replicas.Add({replica.name(), replica.endpoint(), replica.username(), std::to_string(replica.link_cost()),
                  replica.namespace_prefix()});
  }
  Table edges({"EDGE", "DIRECTION", "MAILBOXES", "FLAGS", "DELETES", "EVERY", "PAUSED"});
  for (const v1::TopologyEdge& edge : topology.edges()) {
    std::string mailboxes = edge.include().empty() ? "*" : "";
    for (const std::string& pattern : edge.include()) mailboxes += (mailboxes.empty() ? "" : " ") + pattern;
    for (const std::string& pattern : edge.exclude()) mailboxes += " -" + pattern;
    edges.Add({edge.edge(), edge.direction(), mailboxes, edge.flags(), edge.deletes(),
               edge.interval_s() > 0 ? std::to_string(edge.interval_s()) + " s" : "push", edge.paused() ? "yes" : ""});
  }
  return replicas.Text() + "\n" + edges.Text();
}

std::string EventLine(const v1::Event& event) {
  std::string line = absl::StrFormat("%s  %s", TimeText(event.unix_ms()), Pad(event.kind(), 17));
  for (const std::string* place : {&event.replica(), &event.edge(), &event.mailbox()}) {
    if (!place->empty()) line += "  " + *place;
  }
  if (!event.text().empty()) line += "  " + event.text();
  return Printable(line, 4000);
}

// ---- progress

std::string ProgressDisplay::EdgeLine(const v1::EdgeProgress& edge, double elapsed_s) {
  const std::string name = edge.a() + ":" + edge.b();
  std::deque<Sample>& samples = samples_[name];
  samples.push_back({elapsed_s, edge.messages_done(), edge.bytes_done()});
  while (samples.size() > 2 && samples.front().elapsed_s < elapsed_s - kRateWindow) samples.pop_front();
  std::string line =
      absl::StrFormat("%s  %s of %s messages, %s of %s", name, CountText(edge.messages_done()),
                      CountText(edge.messages_total()), BytesText(edge.bytes_done()), BytesText(edge.bytes_total()));
  const double seconds = elapsed_s - samples.front().elapsed_s;
  if (seconds < 0.5) return line;
  const double bytes_rate = static_cast<double>(edge.bytes_done() - samples.front().bytes) / seconds;
  const double messages_rate = static_cast<double>(edge.messages_done() - samples.front().messages) / seconds;
  line += absl::StrFormat(", %s/s", BytesText(static_cast<int64_t>(bytes_rate)));
  const auto bytes_left = static_cast<double>(edge.bytes_total() - edge.bytes_done());
  const auto messages_left = static_cast<double>(edge.messages_total() - edge.messages_done());
  if (bytes_left <= 0 && messages_left <= 0) return line;
  // The slower of the two counts: small mail is bound by messages, big mail by bytes.
  double left = 0;
  if (bytes_left > 0) left = bytes_rate > 0 ? bytes_left / bytes_rate : 1e9;
  if (messages_left > 0) left = std::max(left, messages_rate > 0 ? messages_left / messages_rate : 1e9);
  if (left < 1e8) line += ", " + SecondsText(left) + " left";
  return line;
}

std::vector<std::string> ProgressDisplay::Lines(const v1::SyncProgress& progress) {
  std::vector<std::string> lines;
  lines.push_back(absl::StrFormat("%s, %s", progress.phase().empty() ? "syncing" : progress.phase(),
                                  SecondsText(progress.elapsed_s())));
  for (const v1::EdgeProgress& edge : progress.edges()) {
    if (edge.messages_total() == 0 && edge.messages_done() == 0) continue;
    lines.push_back(EdgeLine(edge, progress.elapsed_s()));
  }
  for (std::string& line : lines) line = Printable(line);
  return lines;
}

void ProgressDisplay::Show(const v1::SyncProgress& progress) {
  const double interval = terminal_ ? 0.1 : kPlainInterval;
  if (progress.elapsed_s() < last_shown_s_ + interval) return;
  const bool first = last_shown_s_ < 0;
  last_shown_s_ = progress.elapsed_s();
  const std::vector<std::string> lines = Lines(progress);
  if (!terminal_) {
    // The start of a run that may be over in a blink is no news.
    if (first && lines.size() == 1) return;
    for (const std::string& line : lines) std::fprintf(out_, "%s\n", line.c_str());
  } else {
    Clear();
    // Autowrap is off meanwhile: a line that wrapped would put the redrawing out of step.
    std::fputs("\x1b[?7l", out_);
    for (const std::string& line : lines) std::fprintf(out_, "%s\n", line.c_str());
    std::fputs("\x1b[?7h", out_);
    lines_shown_ = lines.size();
  }
  std::fflush(out_);
}

void ProgressDisplay::Clear() {
  if (!terminal_ || lines_shown_ == 0) return;
  std::fprintf(out_, "\x1b[%zuA\r\x1b[J", lines_shown_);
  std::fflush(out_);
  lines_shown_ = 0;
}

}  // namespace imapmesh
