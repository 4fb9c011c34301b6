#include "engine/imap/response_parser.h"

#include <algorithm>
#include <charconv>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"

namespace imapmesh::imap {
namespace {

constexpr int kNestingMax = 64;

bool IsAtomEnd(char c) {
  return c == ' ' || c == '(' || c == ')' || c == '"';
}

}  // namespace

std::string InCapitals(std::string_view text) {
  return absl::AsciiStrToUpper(ToAbsl(text));
}

bool EqualsInAnyCase(std::string_view a, std::string_view b) {
  return absl::EqualsIgnoreCase(ToAbsl(a), ToAbsl(b));
}

std::optional<uint64_t> ParseNumber(std::string_view text, uint64_t max) {
  uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size() || text.empty() || number > max) return std::nullopt;
  return number;
}

bool ResponseParser::TryTake(char wanted) {
  if (AtTextEnd() || Peek() != wanted) return false;
  ++position_;
  return true;
}

void ResponseParser::Take(char wanted, const char* expected) {
  if (!TryTake(wanted)) throw Malformed{expected};
}

void ResponseParser::SkipSpaces() {
  while (TryTake(' ')) {
  }
}

std::string_view ResponseParser::TakeRest() {
  const std::string_view rest = std::string_view(raw_.texts[piece_]).substr(position_);
  position_ = raw_.texts[piece_].size();
  return rest;
}

std::string_view ResponseParser::Atom(const char* expected, bool stop_at_bracket) {
  const std::string_view text = raw_.texts[piece_];
  const size_t begin = position_;
  while (position_ < text.size() && !IsAtomEnd(text[position_]) && !(stop_at_bracket && text[position_] == '[')) {
    ++position_;
  }
  if (position_ == begin) throw Malformed{expected};
  return text.substr(begin, position_ - begin);
}

uint64_t ResponseParser::Number(uint64_t max, const char* expected) {
  const std::optional<uint64_t> number = ParseNumber(Atom(expected), max);
  if (!number) throw Malformed{expected};
  return *number;
}

std::string ResponseParser::Quoted() {
  Take('"', "a quote");
  std::string value;
  while (!AtTextEnd()) {
    const char c = Peek();
    ++position_;
    if (c == '"') return value;
    if (c != '\\') {
      value += c;
    } else if (!AtTextEnd()) {
      value += Peek();
      ++position_;
    }
  }
  throw Malformed{"a closing quote"};
}

Literal ResponseParser::TakeLiteral() {
  Literal literal = std::move(raw_.literals[piece_]);
  ++piece_;
  position_ = 0;
  return literal;
}

std::string ResponseParser::LiteralText() {
  Literal literal = TakeLiteral();
  if (literal.body == nullptr) return std::move(literal.bytes);
  // Streamed as message data, though this is none: only while it is small.
  if (!literal.body->in_memory()) throw Malformed{"a short string"};
  return std::string(literal.body->memory());
}

std::string ResponseParser::AString(const char* expected) {
  if (AtLiteral()) return LiteralText();
  if (Peek() == '"') return Quoted();
  return std::string(Atom(expected));
}

std::optional<std::string> ResponseParser::NString(const char* expected) {
  const bool may_be_nil = !AtLiteral() && Peek() != '"';
  std::string value = AString(expected);
  if (may_be_nil && EqualsInAnyCase(value, "NIL")) return std::nullopt;
  return value;
}

std::vector<std::string> ResponseParser::Words(const char* expected) {
  std::vector<std::string> words;
  Take('(', expected);
  SkipSpaces();
  while (!TryTake(')')) {
    if (words.size() == kWordsMax) throw Malformed{"fewer words"};
    words.push_back(AString(expected));
    SkipSpaces();
  }
  return words;
}

std::optional<Literal> ResponseParser::MessageData() {
  if (AtLiteral()) return TakeLiteral();
  if (Peek() == '"') {
    Literal literal;
    literal.bytes = Quoted();
    return literal;
  }
  if (!EqualsInAnyCase(Atom("message data"), "NIL")) throw Malformed{"message data"};
  return std::nullopt;
}

void ResponseParser::SkipValue(int depth) {
  if (depth > kNestingMax) throw Malformed{"less deeply nested lists"};
  if (AtLiteral()) {
    TakeLiteral();
  } else if (Peek() == '"') {
    Quoted();
  } else if (TryTake('(')) {
    SkipSpaces();
    while (!TryTake(')')) {
      SkipValue(depth + 1);
      SkipSpaces();
    }
  } else {
    Atom("a value");
  }
}

}  // namespace imapmesh::imap
