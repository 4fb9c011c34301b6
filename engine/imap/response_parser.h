// The grammar's terminals over one RawResponse: atoms, strings, numbers, lists, and skipping what is unknown.
//
// Only response.cc and response_code.cc use it. Malformed is thrown where the text is not what the grammar wants;
// ParseResponse catches it, it never leaves this package. Invariant: nesting is capped, every step consumes something.
#ifndef IMAPMESH_ENGINE_IMAP_RESPONSE_PARSER_H_
#define IMAPMESH_ENGINE_IMAP_RESPONSE_PARSER_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/imap/response.h"
#include "engine/imap/response_reader.h"

namespace imapmesh::imap {

struct Malformed {
  const char* expected;
};

std::string InCapitals(std::string_view text);
bool EqualsInAnyCase(std::string_view a, std::string_view b);
// Decimal digits only, at most `max`.
std::optional<uint64_t> ParseNumber(std::string_view text, uint64_t max);
inline constexpr uint64_t kNumber32Max = UINT32_MAX;
inline constexpr uint64_t kNumber63Max = INT64_MAX;
inline constexpr size_t kWordsMax = 10'000;  // of one list: flags, capabilities, the fields of ID

class ResponseParser {
 public:
  explicit ResponseParser(RawResponse& raw) : raw_(raw) {}

  bool AtEnd() const { return AtTextEnd() && piece_ == raw_.literals.size(); }
  bool AtLiteral() const { return AtTextEnd() && piece_ < raw_.literals.size(); }
  // The next character; NUL at the end and before a literal.
  char Peek() const { return AtTextEnd() ? '\0' : raw_.texts[piece_][position_]; }
  bool TryTake(char wanted);
  void Take(char wanted, const char* expected);
  void SkipSpaces();
  // All up to the end of the current text, consumed.
  std::string_view TakeRest();

  // Any characters but space, parentheses and quotes; also without `[` when `stop_at_bracket`. At least one.
  std::string_view Atom(const char* expected, bool stop_at_bracket = false);
  uint64_t Number(uint64_t max, const char* expected);
  // A quoted string, a literal, or an atom.
  std::string AString(const char* expected);
  // The same, or NIL.
  std::optional<std::string> NString(const char* expected);
  // "(a b c)": atoms or strings.
  std::vector<std::string> Words(const char* expected);
  // A quoted string or a literal: for message data. nullopt for NIL.
  std::optional<Literal> MessageData();
  // Past one value of any form.
  void SkipValue(int depth = 0);

 private:
  bool AtTextEnd() const { return position_ >= raw_.texts[piece_].size(); }
  std::string Quoted();
  Literal TakeLiteral();
  std::string LiteralText();

  RawResponse& raw_;
  size_t piece_ = 0;     // of raw_.texts
  size_t position_ = 0;  // in it
};

// The code and the human text of what follows OK, NO, BAD, BYE or PREAUTH. Never fails: what is no code is text.
void ParseStatusText(std::string_view text, StatusResponse* response);

}  // namespace imapmesh::imap

#endif  // IMAPMESH_ENGINE_IMAP_RESPONSE_PARSER_H_
