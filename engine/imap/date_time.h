// IMAP's date-time (RFC 3501 section 9): INTERNALDATE. Pure; any thread.
#ifndef IMAPMESH_ENGINE_IMAP_DATE_TIME_H_
#define IMAPMESH_ENGINE_IMAP_DATE_TIME_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace imapmesh::imap {

struct DateTime {
  int64_t unix_seconds = 0;
  int32_t zone_minutes = 0;  // east of Greenwich, -1439 to 1439
  bool operator==(const DateTime&) const = default;
};

// " 1-Jan-2024 01:02:03 +0100", also with a digit for the space. Years 1 to 9999.
std::optional<DateTime> ParseDateTime(std::string_view text);
// "01-Jan-2024 01:02:03 +0100".
std::string FormatDateTime(DateTime date);

}  // namespace imapmesh::imap

#endif  // IMAPMESH_ENGINE_IMAP_DATE_TIME_H_
