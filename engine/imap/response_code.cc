#include <algorithm>

#include "engine/imap/response_parser.h"

namespace imapmesh::imap {
namespace {

constexpr size_t kRangesMax = 100'000;

// Where the bracket that opens `text` is closed: outside quotes and parentheses if it can be, else the first.
size_t ClosingBracket(std::string_view text) {
  bool quoted = false;
  int depth = 0;
  for (size_t i = 1; i < text.size(); ++i) {
    if (quoted) {
      if (text[i] == '\\')
        ++i;
      else if (text[i] == '"')
        quoted = false;
    } else if (text[i] == '"') {
      quoted = true;
    } else if (text[i] == '(') {
      ++depth;
    } else if (text[i] == ')') {
      --depth;
    } else if (text[i] == ']' && depth <= 0) {
      return i;
    }
  }
  return text.find(']');
}

std::vector<std::string> SplitWords(std::string_view text) {
  std::vector<std::string> words;
  while (true) {
    const size_t begin = text.find_first_not_of(" ()");
    if (begin == std::string_view::npos) return words;
    text.remove_prefix(begin);
    const size_t end = std::min(text.find_first_of(" ()"), text.size());
    words.emplace_back(text.substr(0, end));
    text.remove_prefix(end);
  }
}

// A UID set in the order written, as RFC 4315 wants it; empty when it is none.
std::vector<UidRange> ParseOrderedSet(std::string_view text) {
  std::vector<UidRange> ranges;
  while (true) {
    const size_t comma = std::min(text.find(','), text.size());
    const std::string_view item = text.substr(0, comma);
    const size_t colon = std::min(item.find(':'), item.size());
    const auto first = ParseNumber(item.substr(0, colon), kNumber32Max);
    const auto last = colon == item.size() ? first : ParseNumber(item.substr(colon + 1), kNumber32Max);
    if (!first || !last || *first == 0 || *last == 0 || ranges.size() == kRangesMax) return {};
    ranges.push_back({static_cast<uint32_t>(std::min(*first, *last)), static_cast<uint32_t>(std::max(*first, *last))});
    if (comma == text.size()) return ranges;
    text.remove_prefix(comma + 1);
  }
}

void ParseArguments(ResponseCode* code) {
  const std::string& name = code->name;
  if (name == "CAPABILITY" || name == "PERMANENTFLAGS" || name == "BADEVENT" || name == "BADCHARSET") {
    code->words = SplitWords(code->arguments);
  } else if (name == "MODIFIED") {
    code->modified = UidSet::Parse(code->arguments).value_or(UidSet());
  } else if (name == "APPENDUID" || name == "COPYUID") {
    const std::vector<std::string> words = SplitWords(code->arguments);
    const bool copy = name == "COPYUID";
    if (words.size() != (copy ? 3 : 2)) return;
    code->uid_validity = UidValidity(static_cast<uint32_t>(ParseNumber(words[0], kNumber32Max).value_or(0)));
    if (copy) code->source_uids = ParseOrderedSet(words[1]);
    code->target_uids = ParseOrderedSet(words.back());
  } else {
    const uint64_t max = name == "HIGHESTMODSEQ" ? kNumber63Max : kNumber32Max;
    code->number = ParseNumber(code->arguments, max).value_or(0);
  }
}

std::string_view Trimmed(std::string_view text) {
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
  return text;
}

}  // namespace

void ParseStatusText(std::string_view text, StatusResponse* response) {
  text = Trimmed(text);
  response->text = std::string(text);
  if (text.empty() || text[0] != '[') return;
  const size_t close = ClosingBracket(text);
  if (close == std::string_view::npos) return;
  const std::string_view inside = Trimmed(text.substr(1, close - 1));
  const size_t space = std::min(inside.find(' '), inside.size());
  response->code.name = InCapitals(inside.substr(0, space));
  response->code.arguments = std::string(Trimmed(inside.substr(space)));
  response->text = std::string(Trimmed(text.substr(close + 1)));
  ParseArguments(&response->code);
}

}  // namespace imapmesh::imap
