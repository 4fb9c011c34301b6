#include "rpc/topology_commands.h"

#include <string_view>
#include <vector>

#include "base/printable.h"
#include "graph/describe.h"
#include "graph/draw.h"
#include "graph/load.h"
#include "rpc/exit_codes.h"
#include "rpc/json.h"

namespace imapmesh {
namespace {

std::vector<std::string> Lines(std::string_view text) {
  std::vector<std::string> lines;
  while (!text.empty()) {
    const size_t end = text.find('\n');
    if (end != 0) lines.push_back(Printable(text.substr(0, end), 4000));
    if (end == std::string_view::npos) break;
    text.remove_prefix(end + 1);
  }
  return lines;
}

std::string JsonList(const std::vector<std::string>& texts) {
  std::string list = "[";
  for (const std::string& text : texts) list += (list.size() > 1 ? "," : "") + JsonString(text);
  return list + "]";
}

std::string JsonArrivals(const Graph& graph) {
  const std::vector<MailboxProbe> probes = MailboxProbes(graph);
  const auto flag = [](bool value) { return value ? "true" : "false"; };
  std::string list = "[";
  for (const Arrival& arrival : Arrivals(graph)) {
    list += absl::StrFormat(R"(%s{"from":%s,"to":%s,"mailboxes":%s,"additions":%s,"flags":%s,"deletions":%s})",
                            list.size() > 1 ? "," : "", JsonString(graph.replica(arrival.from).name()),
                            JsonString(graph.replica(arrival.to).name()), JsonString(probes[arrival.probe].stands_for),
                            flag(arrival.additions), flag(arrival.flags), flag(arrival.deletions));
  }
  return list + "]";
}

// Errors one a line, for people or as JSON; the exit code.
int Refuse(const absl::Status& status, bool json, std::ostream& out, std::ostream& error) {
  const std::vector<std::string> errors = Lines(Message(status));
  if (json) {
    out << R"({"valid":false,"errors":)" << JsonList(errors) << ",\"warnings\":[]}\n";
  } else {
    for (const std::string& line : errors) error << line << "\n";
  }
  return kExitUsage;
}

}  // namespace

int CheckTopology(const std::string& path, bool json, std::ostream& out, std::ostream& error) {
  const auto topology = LoadTopologyFile(path);
  if (!topology.ok()) return Refuse(topology.status(), json, out, error);
  const Graph& graph = *topology->graph;
  if (json) {
    std::vector<std::string> warnings;
    for (const std::string& warning : topology->warnings) warnings.push_back(Printable(warning, 4000));
    out << R"({"valid":true,"name":)" << JsonString(graph.name()) << R"(,"errors":[],"warnings":)" << JsonList(warnings)
        << R"(,"arrivals":)" << JsonArrivals(graph) << "}\n";
    return kExitDone;
  }
  for (const std::string& warning : topology->warnings) error << "warning: " << Printable(warning, 4000) << "\n";
  out << Printable(path) << ": good: " << graph.replica_count() << " replicas, " << graph.edges().size() << " edges\n\n"
      << DescribeReach(graph);
  return kExitDone;
}

int DrawTopology(const std::string& path, const std::string& format, bool json, std::ostream& out,
                 std::ostream& error) {
  const auto topology = LoadTopologyFile(path);
  if (!topology.ok()) return Refuse(topology.status(), json, out, error);
  const Graph& graph = *topology->graph;
  absl::StatusOr<std::string> drawing = format == "dot"   ? DrawDot(graph)
                                        : format == "svg" ? DrawSvg(graph)
                                                          : absl::StatusOr<std::string>(DrawText(graph));
  if (!drawing.ok()) {
    error << "imapmesh: " << Message(drawing.status()) << "\n";
    return kExitFailed;
  }
  if (json) {
    out << R"({"name":)" << JsonString(graph.name()) << R"(,"format":)" << JsonString(format) << R"(,"drawing":)"
        << JsonString(*drawing) << "}\n";
  } else {
    out << *drawing;
  }
  return kExitDone;
}

}  // namespace imapmesh
