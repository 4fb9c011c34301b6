#include "engine/sync/mailbox_spelling.h"

#include <stringprep.h>

#include <cctype>
#include <cstdlib>
#include <memory>

#include "base/status.h"

namespace imapmesh {
namespace {

constexpr size_t kNameBytesMax = 1000;
constexpr std::string_view kUsual = " _-.+/";

struct Free {
  void operator()(char* text) const { std::free(text); }
};

}  // namespace

std::string FoldSpelling(std::string_view name) {
  const std::string given(name);
  if (given.size() > kNameBytesMax || given.find('\0') != std::string::npos) return given;
  const std::unique_ptr<char, Free> composed(stringprep_utf8_nfkc_normalize(given.c_str(), -1));
  if (composed == nullptr) return given;
  std::string folded(composed.get());
  folded.resize(8 * folded.size() + 64);  // folding makes some characters longer
  const int result = stringprep(folded.data(), folded.size(), STRINGPREP_NO_BIDI, stringprep_nameprep);
  return result == STRINGPREP_OK ? std::string(folded.c_str()) : given;
}

std::string PlainSpelling(std::string_view name) {
  std::string plain;
  bool escapes = false;
  for (size_t i = 0; i < name.size(); ++i) {
    const auto byte = static_cast<unsigned char>(name[i]);
    const size_t length = byte >= 0xF0 ? 4 : 1;  // of a character beyond the BMP
    const bool usual = byte >= 0x80 ? length == 1 : std::isalnum(byte) != 0 || kUsual.find(name[i]) != kUsual.npos;
    if (usual) {
      plain += name[i];
      continue;
    }
    escapes |= name[i] != '=';
    for (const char escaped : name.substr(i, length))
      plain += absl::StrFormat("=%02X", static_cast<unsigned char>(escaped));
    i += length - 1;
  }
  return escapes ? plain : std::string(name);
}

std::optional<std::string> UnusualSpelling(std::string_view plain) {
  std::string name;
  for (size_t i = 0; i < plain.size(); ++i) {
    const std::string code(plain.substr(i, 3));
    const bool escape = code.size() == 3 && code[0] == '=' && std::isxdigit(static_cast<unsigned char>(code[1])) &&
                        std::isxdigit(static_cast<unsigned char>(code[2]));
    name += escape ? static_cast<char>(std::stoi(code.substr(1), nullptr, 16)) : plain[i];
    if (escape) i += 2;
  }
  if (name == plain || PlainSpelling(name) != plain) return std::nullopt;
  return name;
}

std::string AsGiven(std::string name, const Graph& graph) {
  while (true) {
    const size_t open = name.rfind(" ("), close = name.find(')', open);
    if (open == std::string::npos || close != name.size() - 1) return name;
    const std::string within = name.substr(open + 2, close - open - 2);
    const size_t space = within.find(' ');
    const std::string word = within.substr(0, space);
    const bool number = space == std::string::npos || within.find_first_not_of("0123456789", space + 1) == within.npos;
    if (!number || (word != "deleted" && !graph.FindReplica(word))) return name;
    name.resize(open);
  }
}

bool IsChosen(const std::string& name, const Graph& graph) {
  for (size_t end = name.find('/'); true; end = name.find('/', end + 1)) {
    const std::string level = name.substr(0, end);
    if (AsGiven(level, graph) != level) return true;
    if (end == std::string::npos) return false;
  }
}

}  // namespace imapmesh
