#include "engine/imap/command.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <utility>

#include "engine/imap/response_parser.h"

namespace imapmesh::imap {
namespace {

constexpr size_t kFlagBytesMax = 1000;
constexpr size_t kQuotedBytesMax = 1000;

bool IsPlain(char c) {
  return c >= 0x20 && c < 0x7F;
}

}  // namespace

Command::Command(std::string_view name, LiteralSafety safety) : name_(name), safety_(safety) {
  pieces_.emplace_back();
  Text(name);
}

Command& Command::Text(std::string_view text) {
  if (text.find_first_of(std::string_view("\r\n\0", 3)) != std::string_view::npos) {
    status_ = Error(absl::StatusCode::kInvalidArgument, "%s: a line end within a command", name_);
    return *this;
  }
  if (pieces_.back().has_literal) pieces_.emplace_back();
  pieces_.back().text += text;
  return *this;
}

Command& Command::String(std::string_view value) {
  if (value.find('\0') != std::string_view::npos) {
    status_ = Error(absl::StatusCode::kInvalidArgument, "%s: a NUL byte within a string", name_);
    return *this;
  }
  if (value.size() <= kQuotedBytesMax && std::all_of(value.begin(), value.end(), IsPlain)) {
    std::string quoted = "\"";
    for (const char c : value) {
      if (c == '"' || c == '\\') quoted += '\\';
      quoted += c;
    }
    return Text(quoted + '"');
  }
  if (pieces_.back().has_literal) pieces_.emplace_back();
  pieces_.back().has_literal = true;
  pieces_.back().bytes = std::string(value);
  return *this;
}

Command& Command::Message(std::shared_ptr<const Body> body) {
  if (pieces_.back().has_literal) pieces_.emplace_back();
  pieces_.back().has_literal = true;
  pieces_.back().body = std::move(body);
  return *this;
}

bool IsFlag(std::string_view flag) {
  if (flag.empty() || flag.size() > kFlagBytesMax) return false;
  if (flag.front() == '\\') flag.remove_prefix(1);
  return !flag.empty() && std::all_of(flag.begin(), flag.end(), [](char c) {
    return IsPlain(c) && std::string_view("(){ %*\"\\]").find(c) == std::string_view::npos;
  });
}

bool IsDateTime(std::string_view text) {
  static constexpr std::array<std::string_view, 12> kMonths = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                                               "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  static constexpr std::array<uint64_t, 12> kDays = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
  if (text.size() != 26 || text[2] != '-' || text[6] != '-' || text[11] != ' ' || text[14] != ':' || text[17] != ':' ||
      text[20] != ' ' || (text[21] != '+' && text[21] != '-')) {
    return false;
  }
  const auto number = [&](size_t begin, size_t length) {
    return ParseNumber(text.substr(begin, length), UINT32_MAX).value_or(UINT32_MAX);
  };
  const auto month = std::find(kMonths.begin(), kMonths.end(), text.substr(3, 3));
  if (month == kMonths.end()) return false;
  const uint64_t year = number(7, 4);
  const bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
  const auto index = static_cast<size_t>(month - kMonths.begin());
  const uint64_t days = kDays[index] + (index == 1 && leap ? 1 : 0);
  const uint64_t day = text[0] == ' ' ? number(1, 1) : number(0, 2);
  return year <= 9999 && day >= 1 && day <= days && number(12, 2) < 24 && number(15, 2) < 60 && number(18, 2) <= 60 &&
         number(22, 2) < 24 && number(24, 2) < 60;
}

}  // namespace imapmesh::imap
