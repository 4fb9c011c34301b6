#include "engine/imap/date_time.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>

namespace imapmesh::imap {
namespace {

constexpr std::array<std::string_view, 12> kMonths = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                                      "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};

// `count` digits at `at`; the first may be a space.
std::optional<int> Digits(std::string_view text, size_t at, size_t count) {
  int value = 0;
  for (size_t i = at; i < at + count; ++i) {
    const bool padding = text[i] == ' ' && i == at && count == 2 && at == 0;
    if (!padding && (text[i] < '0' || text[i] > '9')) return std::nullopt;
    value = value * 10 + (padding ? 0 : text[i] - '0');
  }
  return value;
}

std::optional<unsigned> Month(std::string_view text) {
  for (size_t m = 0; m < kMonths.size(); ++m) {
    bool same = true;
    for (size_t i = 0; i < 3; ++i) same &= (text[i] | 0x20) == (kMonths[m][i] | 0x20);
    if (same) return static_cast<unsigned>(m + 1);
  }
  return std::nullopt;
}

}  // namespace

std::optional<DateTime> ParseDateTime(std::string_view text) {
  std::string padded;
  if (text.size() == 25 && text[1] == '-') text = padded = " " + std::string(text);  // "1-Jan-…", as some servers write
  if (text.size() != 26) return std::nullopt;
  const bool punctuation = text[2] == '-' && text[6] == '-' && text[11] == ' ' && text[14] == ':' && text[17] == ':' &&
                           text[20] == ' ' && (text[21] == '+' || text[21] == '-');
  const auto day = Digits(text, 0, 2), year = Digits(text, 7, 4), hour = Digits(text, 12, 2),
             minute = Digits(text, 15, 2), second = Digits(text, 18, 2), zone_hour = Digits(text, 22, 2),
             zone_minute = Digits(text, 24, 2);
  const auto month = Month(text.substr(3, 3));
  if (!punctuation || !day || !month || !year || !hour || !minute || !second || !zone_hour || !zone_minute) {
    return std::nullopt;
  }
  if (*hour > 23 || *minute > 59 || *second > 60 || *zone_hour > 23 || *zone_minute > 59) return std::nullopt;
  const std::chrono::year_month_day date{std::chrono::year(*year), std::chrono::month(*month),
                                         std::chrono::day(static_cast<unsigned>(*day))};
  if (!date.ok() || *year == 0) return std::nullopt;
  const int sign = text[21] == '-' ? -1 : 1;
  DateTime result;
  result.zone_minutes = sign * (*zone_hour * 60 + *zone_minute);
  const int64_t days = std::chrono::sys_days(date).time_since_epoch().count();
  // A leap second has no number of its own, and the last one of 9999 must not lead out of the range.
  const int counted = std::min(*second, 59);
  result.unix_seconds = days * 86400 + *hour * 3600 + *minute * 60 + counted - result.zone_minutes * 60;
  return result;
}

std::string FormatDateTime(DateTime date) {
  const int64_t local = date.unix_seconds + date.zone_minutes * 60;
  const int64_t days = local >= 0 ? local / 86400 : -((86399 - local) / 86400);
  const auto seconds = static_cast<int>(local - days * 86400);
  const std::chrono::year_month_day day{std::chrono::sys_days(std::chrono::days(days))};
  const int zone = date.zone_minutes < 0 ? -date.zone_minutes : date.zone_minutes;
  char text[40];
  std::snprintf(text, sizeof text, "%02u-%s-%04d %02d:%02d:%02d %c%02d%02d", static_cast<unsigned>(day.day()),
                kMonths[static_cast<unsigned>(day.month()) - 1].data(), static_cast<int>(day.year()), seconds / 3600,
                seconds / 60 % 60, seconds % 60, date.zone_minutes < 0 ? '-' : '+', zone / 60 % 24, zone % 60);
  return text;
}

}  // namespace imapmesh::imap
