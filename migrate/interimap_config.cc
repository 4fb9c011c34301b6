#include "migrate/interimap_config.h"

#include <optional>
#include <set>

namespace imapmesh {
namespace {

constexpr std::string_view kBlanks = " \t\v\f";

std::string_view Trimmed(std::string_view text) {
  const size_t first = text.find_first_not_of(kBlanks);
  if (first == std::string_view::npos) return "";
  return text.substr(first, text.find_last_not_of(kBlanks) - first + 1);
}

// A comment behind a value: from " ;" on, when a blank and something more follow.
std::string_view WithoutComment(std::string_view line) {
  for (size_t at = line.find(';'); at != std::string_view::npos; at = line.find(';', at + 1)) {
    const bool between = at > 0 && at + 2 < line.size() && kBlanks.find(line[at - 1]) != std::string_view::npos &&
                         kBlanks.find(line[at + 1]) != std::string_view::npos;
    if (between) return line.substr(0, at - 1);
  }
  return line;
}

// Takes a line with its end: LF, CRLF or CR.
std::string_view TakeLine(std::string_view& text) {
  const size_t end = text.find_first_of("\r\n");
  const std::string_view line = text.substr(0, end);
  if (end == std::string_view::npos) {
    text = "";
    return line;
  }
  text.remove_prefix(text.substr(end).starts_with("\r\n") ? end + 2 : end + 1);
  return line;
}

class Parser {
 public:
  explicit Parser(Notes& notes) : notes_(notes) {}

  void Line(std::string_view line, int number) {
    const std::string_view bare = Trimmed(line);
    if (bare.empty() || bare[0] == '#' || bare[0] == ';') return;
    const std::string_view content = Trimmed(WithoutComment(line));
    if (content.size() > 2 && content.front() == '[' && content.back() == ']') {
      Section(Trimmed(content.substr(1, content.size() - 2)), number);
      return;
    }
    const size_t equals = content.find('=');
    if (equals == std::string_view::npos || equals == 0) {
      notes_.Error(number, "is neither a section such as [local] nor an option such as host = mail.example.org");
      return;
    }
    if (section_ == nullptr) return;
    const std::string key(Trimmed(content.substr(0, equals)));
    (*section_)[key] = {std::string(Trimmed(content.substr(equals + 1))), number};
  }

  InterimapConfig Take() {
    for (const char* name : {"local", "remote"}) {
      if (!seen_.contains(name)) {
        notes_.Error(0, "has no section [" + std::string(name) + "]; interimap needs [local] and [remote]");
      }
    }
    return std::move(config_);
  }

 private:
  void Section(std::string_view name, int number) {
    seen_.emplace(name);
    section_ = name == "_"        ? &config_.defaults
               : name == "local"  ? &config_.local
               : name == "remote" ? &config_.remote
                                  : nullptr;
    if (section_ == nullptr) {
      notes_.Warning(number, "section [" + std::string(name) +
                                 "] is left out: of interimap's configuration [local] and [remote] count");
    }
  }

  Notes& notes_;
  InterimapConfig config_;
  ConfigSection* section_ = &config_.defaults;
  std::set<std::string, std::less<>> seen_;
};

}  // namespace

InterimapConfig ParseInterimapConfig(std::string_view text, Notes& notes) {
  if (text.size() > kForeignConfigBytesMax) {
    notes.Error(0, "is larger than 1 MiB; this is no configuration file");
    return {};
  }
  Parser parser(notes);
  for (int number = 1; !text.empty(); ++number) parser.Line(TakeLine(text), number);
  return parser.Take();
}

}  // namespace imapmesh
