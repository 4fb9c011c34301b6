#include "engine/imap/response_reader.h"

#include <algorithm>
#include <charconv>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "base/printable.h"

namespace imapmesh::imap {
namespace {

constexpr size_t kExcerptBytes = 120;
constexpr size_t kTakenOverMin = 16 * 1024;  // fewer bytes are copied sooner than another buffer is filled

// "n" of the "{n}" or "~{n}" that ends `line`, and where that begins; nullopt when the line ends otherwise.
struct Marker {
  size_t begin = 0;
  std::string_view digits;
};
std::optional<Marker> LiteralMarker(std::string_view line) {
  if (line.size() < 3 || line.back() != '}') return std::nullopt;
  const size_t brace = line.rfind('{');
  if (brace == std::string_view::npos) return std::nullopt;
  const std::string_view digits = line.substr(brace + 1, line.size() - brace - 2);
  if (digits.empty() || digits.find_first_not_of("0123456789") != std::string_view::npos) return std::nullopt;
  const bool binary = brace > 0 && line[brace - 1] == '~';
  return Marker{binary ? brace - 1 : brace, digits};
}

std::string_view NextWord(std::string_view* text) {
  const size_t end = std::min(text->find(' '), text->size());
  const std::string_view word = text->substr(0, end);
  text->remove_prefix(std::min(end + 1, text->size()));
  return word;
}

bool IsWord(std::string_view word, std::string_view expected) {
  return absl::EqualsIgnoreCase(ToAbsl(word), ToAbsl(expected));
}

// Status texts and continuations are for people: a "{5}" at their end is no literal.
bool MayHoldLiterals(std::string_view first_line) {
  if (NextWord(&first_line) != "*") return false;
  const std::string_view name = NextWord(&first_line);
  for (const std::string_view status : {"OK", "NO", "BAD", "BYE", "PREAUTH"}) {
    if (IsWord(name, status)) return false;
  }
  return true;
}

bool IsFetch(std::string_view first_line) {
  NextWord(&first_line);
  const std::string_view number = NextWord(&first_line);
  return !number.empty() && number.find_first_not_of("0123456789") == std::string_view::npos &&
         IsWord(NextWord(&first_line), "FETCH");
}

}  // namespace

ResponseReader::ResponseReader(ReaderLimits limits) : limits_(std::move(limits)) {}

void ResponseReader::Feed(std::string_view bytes) {
  if (!error_.ok()) return;
  buffer_.erase(0, position_);
  searched_ -= std::min(searched_, position_);
  position_ = 0;
  buffer_.append(bytes);
}

void ResponseReader::Feed(std::string& buffer, size_t count) {
  if (!error_.ok() || position_ < buffer_.size() || count < kTakenOverMin) {
    return Feed(std::string_view(buffer).substr(0, count));
  }
  buffer_.swap(buffer);
  buffer_.resize(count);
  position_ = searched_ = 0;
}

absl::StatusOr<std::optional<RawResponse>> ResponseReader::Next() {
  while (error_.ok()) {
    if (position_ == buffer_.size() && !(in_literal_ && literal_left_ == 0)) return std::optional<RawResponse>();
    const size_t before = position_;
    const bool was_in_literal = in_literal_;
    const absl::StatusOr<bool> complete = Step();
    if (!complete.ok()) {
      error_ = complete.status();
      break;
    }
    if (*complete) return std::optional<RawResponse>(Finish());
    if (position_ == before && was_in_literal == in_literal_) return std::optional<RawResponse>();  // half a line
  }
  buffer_.clear();
  position_ = searched_ = 0;
  return error_;
}

// Consumes literal bytes or one line. True when a response is whole; nothing consumed when the line is not.
absl::StatusOr<bool> ResponseReader::Step() {
  if (in_literal_) {
    RETURN_IF_ERROR(TakeLiteralBytes());
    return false;
  }
  const size_t end = buffer_.find('\n', std::max(position_, searched_));
  searched_ = end == std::string::npos ? buffer_.size() : end;
  if (searched_ - position_ > limits_.line_bytes_max) {
    return Error(absl::StatusCode::kResourceExhausted, "the server sent a line of over %d bytes: \"%s\"",
                 limits_.line_bytes_max, Printable(std::string_view(buffer_).substr(position_, kExcerptBytes)));
  }
  if (end == std::string::npos) return false;
  std::string_view line = std::string_view(buffer_).substr(position_, end - position_);
  if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
  position_ = end + 1;
  return TakeLine(line);
}

absl::StatusOr<bool> ResponseReader::TakeLine(std::string_view line) {
  if (!in_response()) {
    literals_allowed_ = MayHoldLiterals(line);
    is_fetch_ = literals_allowed_ && IsFetch(line);
  }
  text_bytes_ += line.size();
  if (text_bytes_ > limits_.response_bytes_max) {
    return Error(absl::StatusCode::kResourceExhausted, "the server sent a response of over %d bytes: \"%s\"",
                 limits_.response_bytes_max,
                 Printable(response_.texts.empty() ? line : response_.texts[0], kExcerptBytes));
  }
  const std::optional<Marker> marker = literals_allowed_ ? LiteralMarker(line) : std::nullopt;
  if (!marker) {
    response_.texts.emplace_back(line);
    return true;
  }
  uint64_t size = 0;
  const auto [end, error] = std::from_chars(marker->digits.data(), marker->digits.data() + marker->digits.size(), size);
  if (error != std::errc()) {
    return Error(absl::StatusCode::kResourceExhausted, "the server announced a literal of impossible size: \"%s\"",
                 Printable(marker->digits, kExcerptBytes));
  }
  const std::string_view before = line.substr(0, marker->begin);
  response_.texts.emplace_back(before);
  RETURN_IF_ERROR(BeginLiteral(before, size));
  return false;
}

absl::Status ResponseReader::BeginLiteral(std::string_view before, uint64_t size) {
  if (response_.literals.size() >= limits_.literals_max) {
    return Error(absl::StatusCode::kResourceExhausted, "the server sent a response with over %d literals",
                 limits_.literals_max);
  }
  while (!before.empty() && before.back() == ' ') before.remove_suffix(1);
  // Only message data is announced behind "BODY[…]" or "BODY[…]<0>".
  const bool is_body = is_fetch_ && !before.empty() && (before.back() == ']' || before.back() == '>');
  Literal literal;
  if (is_body) {
    if (size > limits_.body_bytes_max - body_bytes_ || ++bodies_ > limits_.bodies_max) {
      return Error(absl::StatusCode::kResourceExhausted,
                   "the server sent a message of %d bytes; the limit is %d bytes, and %d messages in one response",
                   size, limits_.body_bytes_max, limits_.bodies_max);
    }
    body_bytes_ += size;
    literal.body = std::make_shared<Body>(limits_.body_memory_bytes, limits_.body_directory);
    literal.body->Expect(size);
  } else if (size > limits_.inline_literal_bytes_max || inline_bytes_ + size > limits_.inline_literal_bytes_max) {
    return Error(absl::StatusCode::kResourceExhausted, "the server sent literals of over %d bytes in one response",
                 limits_.inline_literal_bytes_max);
  } else {
    inline_bytes_ += size;
  }
  response_.literals.push_back(std::move(literal));
  in_literal_ = true;
  literal_left_ = size;
  return absl::OkStatus();
}

absl::Status ResponseReader::TakeLiteralBytes() {
  const size_t count = static_cast<size_t>(std::min<uint64_t>(literal_left_, buffer_.size() - position_));
  const std::string_view bytes = std::string_view(buffer_).substr(position_, count);
  Literal& literal = response_.literals.back();
  if (literal.body != nullptr) {
    RETURN_IF_ERROR(literal.body->Append(bytes));
  } else {
    literal.bytes.append(bytes);
  }
  position_ += count;
  literal_left_ -= count;
  if (literal_left_ == 0) in_literal_ = false;
  return absl::OkStatus();
}

RawResponse ResponseReader::Finish() {
  RawResponse whole = std::move(response_);
  response_ = RawResponse();
  text_bytes_ = inline_bytes_ = bodies_ = 0;
  body_bytes_ = 0;
  literals_allowed_ = is_fetch_ = false;
  return whole;
}

}  // namespace imapmesh::imap
