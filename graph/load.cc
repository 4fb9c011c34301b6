#include "graph/load.h"

#include <google/protobuf/io/tokenizer.h>
#include <google/protobuf/text_format.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <sstream>

#include "base/printable.h"
#include "graph/validate.h"

namespace imapmesh {
namespace {

using google::protobuf::TextFormat;

constexpr size_t kMaxFile = 1024 * 1024;

std::string Place(const std::string& file, int line, int column) {
  return file + ":" + std::to_string(line) + ":" + std::to_string(column) + ": ";
}

class Collector : public google::protobuf::io::ErrorCollector {
 public:
  explicit Collector(std::string file) : file_(std::move(file)) {}
  void AddError(int line, google::protobuf::io::ColumnNumber column, const std::string& message) override {
    errors.push_back(Place(file_, line + 1, column + 1) + Printable(message) +
                     "; the fields are described in graph/topology.proto");
  }
  void AddWarning(int line, google::protobuf::io::ColumnNumber column, const std::string& message) override {
    warnings.push_back(Place(file_, line + 1, column + 1) + Printable(message));
  }
  std::vector<std::string> errors;
  std::vector<std::string> warnings;

 private:
  std::string file_;
};

std::string Dotted(const FieldPath& path) {
  std::string text;
  for (const FieldStep& step : path) {
    if (!text.empty()) text += '.';
    text += step.field;
    if (step.index >= 0) text += "[" + std::to_string(step.index) + "]";
  }
  return text;
}

// Where the field of a path stands, or else the innermost message around it that the file has.
TextFormat::ParseLocation Locate(const FieldPath& path, const TextFormat::ParseInfoTree& root) {
  const google::protobuf::Descriptor* descriptor = v1::Topology::descriptor();
  const TextFormat::ParseInfoTree* tree = &root;
  TextFormat::ParseLocation location;
  for (const FieldStep& step : path) {
    const auto* field = descriptor == nullptr ? nullptr : descriptor->FindFieldByName(step.field);
    if (field == nullptr || tree == nullptr) break;
    const int index = field->is_repeated() ? std::max(step.index, 0) : -1;
    const TextFormat::ParseLocation here = tree->GetLocation(field, index);
    if (here.line < 0) break;
    location = here;
    descriptor = field->message_type();
    tree = descriptor == nullptr ? nullptr : tree->GetTreeForNested(field, index);
  }
  return location;
}

void FillDefaults(v1::Topology& topology) {
  for (v1::Replica& replica : *topology.mutable_replica()) {
    if (!replica.has_link_cost()) replica.set_link_cost(1);
    if (!replica.has_max_connections()) replica.set_max_connections(4);
    if (!replica.has_compress()) replica.set_compress(replica.has_imap());
    if (replica.has_imap() && !replica.imap().has_port()) {
      replica.mutable_imap()->set_port(replica.imap().security() == v1::Imap::TLS ? 993 : 143);
    }
  }
  v1::Policy& policy = *topology.mutable_policy();
  if (!policy.brake().has_fraction()) policy.mutable_brake()->set_fraction(0.5);
  if (!policy.brake().has_min_messages()) policy.mutable_brake()->set_min_messages(50);
  if (!policy.has_poll_interval_s()) policy.set_poll_interval_s(60);
}

absl::Status Joined(const std::vector<std::string>& errors) {
  std::string text;
  for (const std::string& error : errors) text += (text.empty() ? "" : "\n") + error;
  return absl::InvalidArgumentError(ToAbsl(text));
}

}  // namespace

absl::StatusOr<LoadedTopology> LoadTopologyText(std::string_view text, const std::string& file_name,
                                                const std::string& folder) {
  if (text.size() > kMaxFile) {
    return Error(absl::StatusCode::kInvalidArgument, "%s: larger than 1 MiB; this is no topology file", file_name);
  }
  v1::Topology topology;
  TextFormat::ParseInfoTree tree;
  Collector collector(file_name);
  TextFormat::Parser parser;
  parser.RecordErrorsTo(&collector);
  parser.WriteLocationsTo(&tree);
  parser.SetRecursionLimit(20);
  const bool parsed = parser.ParseFromString(std::string(text), &topology);
  if (!parsed && collector.errors.empty()) collector.errors.push_back(file_name + ":1:1: this is no topology");
  LoadedTopology loaded;
  loaded.warnings = collector.warnings;
  std::vector<std::string> errors = collector.errors;
  if (!parsed) return Joined(errors);
  for (const Finding& finding : Validate(topology)) {
    const TextFormat::ParseLocation where = Locate(finding.path, tree);
    const std::string line =
        Place(file_name, where.line + 1 > 0 ? where.line + 1 : 1, where.column + 1 > 0 ? where.column + 1 : 1) +
        Dotted(finding.path) + ": " + finding.text;
    (finding.warning ? loaded.warnings : errors).push_back(line);
  }
  if (!errors.empty()) return Joined(errors);
  FillDefaults(topology);
  loaded.graph = std::make_shared<const Graph>(std::move(topology), folder);
  return loaded;
}

absl::StatusOr<LoadedTopology> LoadTopologyFile(const std::string& path) {
  struct stat status;
  std::ifstream file(path);
  if (!file || stat(path.c_str(), &status) != 0 || S_ISDIR(status.st_mode)) {
    const int error = S_ISDIR(status.st_mode) ? EISDIR : errno;
    return Error(error == EACCES ? absl::StatusCode::kPermissionDenied : absl::StatusCode::kNotFound,
                 "topology file %s cannot be read: %s", path, std::strerror(error));
  }
  std::string text(kMaxFile + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<size_t>(file.gcount()));
  const size_t slash = path.rfind('/');
  const std::string folder = slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
  ASSIGN_OR_RETURN(LoadedTopology loaded, LoadTopologyText(text, path, folder));
  for (const v1::Replica& replica : loaded.graph->topology().replica()) {
    if (replica.auth().secret_case() != v1::Auth::kPassword || (status.st_mode & (S_IRGRP | S_IROTH)) == 0) continue;
    loaded.warnings.push_back(path + ":1:1: the file holds a password and others can read it; run chmod 600 " + path +
                              ", or use password_command");
    break;
  }
  return loaded;
}

}  // namespace imapmesh
