#include "migrate/mbsync_config.h"

#include <cctype>
#include <optional>
#include <set>
#include <utility>

#include "migrate/interimap_config.h"

namespace imapmesh {
namespace {

constexpr size_t kSectionsMax = 2000;

bool IsSpace(char c) {
  return std::isspace(static_cast<unsigned char>(c)) != 0;
}

std::string Lower(std::string text) {
  for (char& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return text;
}

// The words of a line: quoted or not, a backslash before any character means that character, # begins a comment.
std::optional<std::vector<std::string>> Words(std::string_view line, int number, Notes& notes) {
  std::vector<std::string> words;
  while (true) {
    while (!line.empty() && IsSpace(line[0])) line.remove_prefix(1);
    if (line.empty() || line[0] == '#') return words;
    std::string word;
    bool quoted = false;
    for (; !line.empty() && (quoted || !IsSpace(line[0])); line.remove_prefix(1)) {
      if (line[0] == '"') {
        quoted = !quoted;
        continue;
      }
      if (line[0] == '\\') {
        line.remove_prefix(1);
        if (line.empty()) {
          notes.Error(number, "ends with a backslash; remove it, or double it");
          return std::nullopt;
        }
      }
      word += line[0];
    }
    if (quoted) {
      notes.Error(number, "a quote is not closed; add \" at its end");
      return std::nullopt;
    }
    words.push_back(std::move(word));
  }
}

class Parser {
 public:
  explicit Parser(Notes& notes) : notes_(notes) {}

  void Line(std::string_view line, int number) {
    auto words = Words(line, number, notes_);
    if (!words) return;
    if (words->empty()) {
      if (line.find('#') == std::string_view::npos) open_ = false;  // a line of comment ends no section
      return;
    }
    const std::string keyword = Lower((*words)[0]);
    if (words->size() == 1) {
      notes_.Error(number, (*words)[0] + ": needs a value; add it");
      return;
    }
    std::vector<std::string> arguments(words->begin() + 1, words->end());
    if (!open_ && IsSectionStart(keyword)) {
      if (config_.sections.size() == kSectionsMax) return;
      config_.sections.push_back({keyword, arguments[0], number, {arguments.begin() + 1, arguments.end()}, {}});
      open_ = true;
      return;
    }
    MbsyncOption option{keyword, std::move(arguments), number};
    if (open_) {
      config_.sections.back().options.push_back(std::move(option));
    } else if (config_.sections.empty()) {
      config_.globals.push_back(std::move(option));
    } else {
      notes_.Error(number, (*words)[0] +
                               ": stands outside of any section; an empty line ends a section, and global "
                               "options come before the first one");
    }
  }

  MbsyncConfig Take() { return std::move(config_); }

 private:
  static bool IsSectionStart(const std::string& keyword) {
    static const std::set<std::string> kStarts = {"imapaccount", "imapstore", "maildirstore", "channel", "group"};
    return kStarts.contains(keyword);
  }

  Notes& notes_;
  MbsyncConfig config_;
  bool open_ = false;  // a section is
};

}  // namespace

MbsyncConfig ParseMbsyncConfig(std::string_view text, Notes& notes) {
  if (text.size() > kForeignConfigBytesMax) {
    notes.Error(0, "is larger than 1 MiB; this is no configuration file");
    return {};
  }
  Parser parser(notes);
  for (int number = 1; !text.empty(); ++number) {
    const size_t end = text.find('\n');
    parser.Line(text.substr(0, end), number);
    text = end == std::string_view::npos ? std::string_view() : text.substr(end + 1);
  }
  return parser.Take();
}

}  // namespace imapmesh
