#include "graph/load.h"

#include <errno.h>
#include <fcntl.h>
#include <google/protobuf/descriptor.h>
#include <google/protobuf/io/tokenizer.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <google/protobuf/text_format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <optional>

#include "base/printable.h"
#include "graph/findings.h"
#include "graph/validate.h"

namespace imapmesh {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::TextFormat;

constexpr int kNestingMax = 10;

absl::Status Unreadable(std::string_view file_name, int error) {
  const absl::StatusCode code = error == EACCES ? absl::StatusCode::kPermissionDenied : absl::StatusCode::kNotFound;
  return Error(code, "topology file %s cannot be read: %s", Printable(file_name), std::strerror(error));
}

absl::Status Refused(std::string_view file_name, std::string_view what) {
  return Error(absl::StatusCode::kInvalidArgument, "%s: %s", Printable(file_name), what);
}

// The text between the first two quotation marks at or after `from`; moves `from` behind them.
std::string Quoted(const std::string& text, size_t& from) {
  const size_t open = text.find('"', from);
  if (open == std::string::npos) return "";
  const size_t close = text.find('"', open + 1);
  if (close == std::string::npos) return "";
  from = close + 1;
  return text.substr(open + 1, close - open - 1);
}

std::string FieldNames(const Descriptor& message) {
  std::string names;
  for (int i = 0; i < message.field_count(); ++i) names += (i > 0 ? ", " : "") + message.field(i)->name();
  return names;
}

// The names of the enum that a field `name` of some message below `message` has.
std::string EnumNames(const Descriptor& message, const std::string& name) {
  for (int i = 0; i < message.field_count(); ++i) {
    const FieldDescriptor& field = *message.field(i);
    std::string names;
    if (field.name() == name && field.enum_type() != nullptr) {
      for (int v = 0; v < field.enum_type()->value_count(); ++v) {
        names += (v > 0 ? ", " : "") + field.enum_type()->value(v)->name();
      }
    } else if (field.message_type() != nullptr) {
      names = EnumNames(*field.message_type(), name);
    }
    if (!names.empty()) return names;
  }
  return "";
}

// Where the tokenizer is in a text: lines and columns from 0, a tab leads to the next multiple of 8.
struct Cursor {
  size_t offset = 0;
  int line = 0;
  int column = 0;

  void Pass(char c) {
    ++offset;
    column = c == '\n' ? 0 : c == '\t' ? (column / 8 + 1) * 8 : column + 1;
    if (c == '\n') ++line;
  }
};

// Turns the parser's messages into findings: adds the remedy, keeps passwords out.
class SyntaxErrors : public google::protobuf::io::ErrorCollector {
 public:
  SyntaxErrors(std::string_view text, Findings& findings) : text_(text), findings_(findings) {}

  void AddError(int line, int column, const std::string& message) override {
    if (++count_ > kSyntaxErrorsMax) return;
    size_t offset = 0;
    for (Cursor cursor;
         offset < text_.size() && (cursor.line < line || (cursor.line == line && cursor.column < column));
         offset = cursor.offset) {
      cursor.Pass(text_[offset]);
    }
    Explain(line, column, offset, message);
  }
  // Unknown fields: the parser is told to go on behind them, so that the rest of the file is checked too.
  void AddWarning(int line, int column, const std::string& message) override { AddError(line, column, message); }

 private:
  void Explain(int line, int column, size_t offset, const std::string& message) {
    size_t from = 0;
    const std::string first = Quoted(message, from);
    const std::string second = Quoted(message, from);
    const auto says = [&](const char* words) { return message.find(words) != std::string::npos; };
    if (says("has no field named")) {
      const Descriptor* type = google::protobuf::DescriptorPool::generated_pool()->FindMessageTypeByName(first);
      const std::string shown = MayShowSecret(offset) ? "" : absl::StrFormat(" \"%s\"", Printable(second, 80));
      Report(
          second, offset, "",
          absl::StrFormat("there is no field%s here; use one of %s", shown, type ? FieldNames(*type) : "the schema"));
    } else if (says("Unknown enumeration value")) {
      Report(first, offset, second,
             absl::StrFormat("there is no value \"%s\"; use one of %s", Printable(first, 80),
                             EnumNames(*v1::Topology::descriptor(), second)));
    } else if (says("is specified multiple times")) {
      Report(first, offset, first, "is given twice; keep one of them");
    } else if (says("another member of oneof")) {
      Report(first, offset, first,
             absl::StrFormat("stands beside %s; only one of the two is possible, remove the other", second));
    } else if (MayShowSecret(offset)) {
      findings_.ErrorAt(line, column, "", "cannot be read; write the value as \"text in double quotes\"");
    } else {
      findings_.ErrorAt(line, column, "",
                        absl::StrFormat("cannot be read (%s); see graph/topology.proto for what may stand here",
                                        Printable(message, 200)));
    }
  }

  // The parser complains behind the word it means; this reports at the word.
  void Report(const std::string& word, size_t offset, std::string_view field, std::string_view text) {
    const size_t found = text_.substr(0, offset).rfind(word);
    Cursor cursor;
    while (cursor.offset < (found == std::string_view::npos ? offset : found)) cursor.Pass(text_[cursor.offset]);
    findings_.ErrorAt(cursor.line, cursor.column, field, text);
  }

  // The parser quotes what it stumbles over. Shortly behind `password` or `proxy`, that may be a secret.
  bool MayShowSecret(size_t offset) const {
    const size_t end = std::min(offset + 1, text_.size());
    const size_t begin = end - std::min(end, kSecretNear);
    const std::string_view before = text_.substr(begin, end - begin);
    for (const std::string_view word : {"password", "proxy"}) {
      for (size_t at = before.find(word); at != std::string_view::npos; at = before.find(word, at + 1)) {
        const size_t next = at + word.size();
        if (next >= before.size() || before[next] != '_') return true;
      }
    }
    return false;
  }

  static constexpr size_t kSecretNear = 1024;
  static constexpr int kSyntaxErrorsMax = 100;
  std::string_view text_;
  Findings& findings_;
  int count_ = 0;
};

struct FileContent {
  std::string text;
  mode_t mode;
};

absl::StatusOr<FileContent> ReadFile(const std::string& path) {
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (file < 0) return Unreadable(path, errno);
  struct Closer {
    int file;
    ~Closer() { ::close(file); }
  } closer{file};
  struct stat about {};
  if (::fstat(file, &about) != 0) return Unreadable(path, errno);
  if (S_ISDIR(about.st_mode)) return Unreadable(path, EISDIR);
  FileContent content{"", about.st_mode};
  char buffer[16384];
  while (content.text.size() <= kTopologyBytesMax) {
    const ssize_t count = ::read(file, buffer, sizeof(buffer));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return Unreadable(path, errno);
    if (count == 0) break;
    content.text.append(buffer, static_cast<size_t>(count));
  }
  return content;
}

bool HoldsPassword(const v1::Topology& topology) {
  return std::any_of(topology.replica().begin(), topology.replica().end(),
                     [](const v1::Replica& replica) { return replica.auth().secret_case() == v1::Auth::kPassword; });
}

}  // namespace

absl::StatusOr<LoadedTopology> LoadTopologyText(std::string_view text, std::string_view file_name,
                                                std::string_view folder) {
  if (text.size() > kTopologyBytesMax) {
    return Refused(file_name, absl::StrFormat("is larger than %d bytes; this is no topology file", kTopologyBytesMax));
  }
  Findings findings{Printable(file_name)};
  SyntaxErrors syntax_errors(text, findings);
  TextFormat::ParseInfoTree tree;
  TextFormat::Parser parser;
  parser.RecordErrorsTo(&syntax_errors);
  parser.WriteLocationsTo(&tree);
  parser.AllowUnknownField(true);  // SyntaxErrors::AddWarning
  parser.SetRecursionLimit(kNestingMax);
  v1::Topology topology;
  google::protobuf::io::ArrayInputStream input(text.data(), static_cast<int>(text.size()));
  const bool complete = parser.Parse(&input, &topology);
  // Behind a syntax error, what is missing may only be unread.
  const Place root{&tree, v1::Topology::descriptor(), "", TextFormat::ParseLocation(0, 0)};
  if (complete) ValidateTopology(topology, root, findings);
  if (!complete && findings.ok()) findings.ErrorAt(0, 0, "", "cannot be read; see graph/topology.proto");
  if (!findings.ok()) return absl::InvalidArgumentError(findings.Errors());
  FillInDefaults(topology);
  LoadedTopology loaded;
  loaded.graph = std::make_shared<const Graph>(std::move(topology), std::string(folder));
  loaded.warnings = findings.warnings();
  return loaded;
}

absl::StatusOr<LoadedTopology> LoadTopologyFile(const std::string& path) {
  ASSIGN_OR_RETURN(const FileContent content, ReadFile(path));
  std::error_code error;
  const std::filesystem::path absolute = std::filesystem::absolute(path, error);
  if (error) return Refused(path, error.message());
  ASSIGN_OR_RETURN(auto loaded, LoadTopologyText(content.text, path, absolute.parent_path().string()));
  if ((content.mode & (S_IRGRP | S_IROTH)) != 0 && HoldsPassword(loaded.graph->topology())) {
    loaded.warnings.push_back(absl::StrFormat(
        "%s:1:1: auth.password: holds a password and others can read it; chmod 600 the file, or use password_command",
        Printable(path)));
  }
  return loaded;
}

}  // namespace imapmesh
