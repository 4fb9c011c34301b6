#include "migrate/mailbox_patterns.h"

#include <algorithm>
#include <cctype>
#include <cstdint>
#include <utility>

#include "engine/imap/modified_utf7.h"

namespace imapmesh {
namespace {

constexpr size_t kPatternsMax = 1000;
constexpr int kNestingMax = 20;
constexpr char kBegin = '\x01';  // ^ and $ among the text of an alternative
constexpr char kEnd = '\x02';

std::optional<int> HexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return std::nullopt;
}

// The byte of "HH" at the front, which is taken off.
std::optional<char> TakeHex(std::string_view& text) {
  if (text.size() < 2) return std::nullopt;
  const auto high = HexDigit(text[0]), low = HexDigit(text[1]);
  if (!high || !low) return std::nullopt;
  text.remove_prefix(2);
  return static_cast<char>(*high * 16 + *low);
}

// What stands behind a backslash in list-mailbox.
std::optional<char> TakeEscape(std::string_view& text) {
  static constexpr std::string_view kLetters = "\"\\0abtnvfr";
  static constexpr std::string_view kBytes("\"\\\0\a\b\t\n\v\f\r", kLetters.size());
  if (text.empty()) return std::nullopt;
  const char letter = text[0];
  text.remove_prefix(1);
  if (letter == 'x') return TakeHex(text);
  const size_t at = kLetters.find(letter);
  if (at == std::string_view::npos) return std::nullopt;
  return kBytes[at];
}

// A string whose opening quote is taken off already; takes the closing one too.
std::optional<std::string> TakeQuoted(std::string_view& text) {
  std::string word;
  while (!text.empty()) {
    const char c = text[0];
    text.remove_prefix(1);
    if (c == '"') return word;
    if (c != '\\') {
      word += c;
      continue;
    }
    const auto escaped = TakeEscape(text);
    if (!escaped) return std::nullopt;
    word += *escaped;
  }
  return std::nullopt;
}

// Recursive descent over the part of Perl's regular expressions that patterns can say. Each parsing function returns
// the texts that match, of which `*` is any text, or nothing for what cannot be said.
class Expression {
 public:
  explicit Expression(std::string_view text) : text_(text) {}

  std::optional<std::vector<std::string>> Parse() {
    auto texts = Alternatives(0);
    if (!texts || !text_.empty()) return std::nullopt;
    return texts;
  }

 private:
  using Texts = std::optional<std::vector<std::string>>;

  Texts Alternatives(int depth) {
    if (depth > kNestingMax) return std::nullopt;
    std::vector<std::string> all;
    while (true) {
      const Texts one = Sequence(depth);
      if (!one || all.size() + one->size() > kPatternsMax) return std::nullopt;
      all.insert(all.end(), one->begin(), one->end());
      if (text_.empty() || text_[0] != '|') return all;
      text_.remove_prefix(1);
    }
  }

  Texts Sequence(int depth) {
    std::vector<std::string> texts{""};
    while (!text_.empty() && text_[0] != '|' && text_[0] != ')') {
      const Texts next = Atom(depth);
      if (!next || texts.size() * next->size() > kPatternsMax) return std::nullopt;
      if (!text_.empty() && std::string_view("*+?{").find(text_[0]) != std::string_view::npos) return std::nullopt;
      std::vector<std::string> longer;
      for (const std::string& head : texts) {
        for (const std::string& tail : *next) longer.push_back(head + tail);
      }
      texts = std::move(longer);
    }
    return texts;
  }

  Texts Atom(int depth) {
    const char c = text_[0];
    text_.remove_prefix(1);
    if (c == '^') return One(kBegin);
    if (c == '$') return One(kEnd);
    if (c == '(') return Group(depth);
    if (c == '\\') return Escaped();
    if (c == '.' && text_.starts_with('*')) {
      text_.remove_prefix(1);
      if (text_.starts_with('?')) text_.remove_prefix(1);  // not greedy, which is no matter here
      return One('*');
    }
    const bool special = std::string_view(".[]{}*+?%").find(c) != std::string_view::npos;
    if (special || static_cast<unsigned char>(c) < 0x20) return std::nullopt;
    return One(c);
  }

  Texts Group(int depth) {
    if (text_.starts_with("?:")) {
      text_.remove_prefix(2);
    } else if (text_.starts_with('?')) {
      return std::nullopt;
    }
    Texts inner = Alternatives(depth + 1);
    if (!inner || !text_.starts_with(')')) return std::nullopt;
    text_.remove_prefix(1);
    return inner;
  }

  Texts Escaped() {
    if (text_.empty()) return std::nullopt;
    const char c = text_[0];
    text_.remove_prefix(1);
    if (c == '0') return One('/');
    if (c == 'x') {
      const auto byte = TakeHex(text_);
      if (!byte || (*byte != '\0' && static_cast<unsigned char>(*byte) < 0x20)) return std::nullopt;
      return One(*byte == '\0' ? '/' : *byte);
    }
    if (c == 'A') return One(kBegin);
    if (c == 'z' || c == 'Z') return One(kEnd);
    if (std::isalnum(static_cast<unsigned char>(c)) || c == '*' || c == '%') return std::nullopt;
    return One(c);
  }

  static Texts One(char c) { return std::vector<std::string>{std::string(1, c)}; }

  std::string_view text_;
};

// An alternative with its ends as a pattern.
std::optional<std::string> Whole(std::string text) {
  const bool begins = text.starts_with(kBegin), ends = text.ends_with(kEnd);
  text = text.substr(begins ? 1 : 0, text.size() - (begins ? 1 : 0) - (ends ? 1 : 0));
  if (text.find(kBegin) != std::string::npos || text.find(kEnd) != std::string::npos) return std::nullopt;
  if (!begins && !text.starts_with('*')) text.insert(0, "*");
  if (!ends && !text.ends_with('*')) text += "*";
  if (text.empty()) return std::nullopt;
  return PatternFromServer(text, '/');
}

}  // namespace

std::optional<std::string> PatternFromServer(std::string_view raw, char delimiter) {
  std::string name;
  while (true) {
    const size_t end = raw.find(delimiter);
    const auto level = imap::DecodeModifiedUtf7(raw.substr(0, end));
    if (!level) return std::nullopt;
    name += *level;
    if (end == std::string_view::npos) break;
    name += '/';
    raw.remove_prefix(end + 1);
  }
  return name;
}

std::optional<std::vector<std::string>> ParseListMailbox(std::string_view value) {
  std::vector<std::string> patterns;
  while (true) {
    while (!value.empty() && (value[0] == ' ' || value[0] == '\t')) value.remove_prefix(1);
    if (value.empty()) break;
    std::string word;
    if (value[0] == '"') {
      value.remove_prefix(1);
      auto quoted = TakeQuoted(value);
      if (!quoted) return std::nullopt;
      word = *std::move(quoted);
    } else {
      const size_t end = std::min(value.find_first_of(" \t"), value.size());
      word = value.substr(0, end);
      if (word.find_first_of("\"\\(){") != std::string::npos) return std::nullopt;
      value.remove_prefix(end);
    }
    const auto pattern = PatternFromServer(word, '\0');
    if (!pattern || pattern->empty() || patterns.size() == kPatternsMax) return std::nullopt;
    patterns.push_back(*pattern);
  }
  return patterns;
}

std::optional<std::vector<std::string>> PatternsOfExpression(std::string_view expression) {
  const auto texts = Expression(expression).Parse();
  if (!texts) return std::nullopt;
  std::vector<std::string> patterns;
  for (const std::string& text : *texts) {
    auto pattern = Whole(text);
    if (!pattern) return std::nullopt;
    if (std::find(patterns.begin(), patterns.end(), *pattern) == patterns.end())
      patterns.push_back(*std::move(pattern));
  }
  return patterns;
}

}  // namespace imapmesh
