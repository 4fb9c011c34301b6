// absl::Status for imapmesh: formatted errors, and the macros that pass them on.
//
// Codes and what they mean to the callers (coordinator, daemon):
//   kUnavailable         the replica cannot be reached or went away: retry with backoff
//   kUnauthenticated     the login was refused: do not retry until the configuration changes
//   kFailedPrecondition  what we knew is outdated (UIDVALIDITY changed, state mismatch): observe again
//   kUnimplemented       the server or this version lacks what is needed
//   kResourceExhausted   a quota, a cap or a limit
//   kPermissionDenied    the server refuses the operation for this account
//   kNotFound, kInvalidArgument, kDeadlineExceeded, kCancelled   as they say
//   kDataLoss            an invariant is broken or the peer sent what cannot be: stop this edge and say why
// Any thread.
#ifndef IMAPMESH_BASE_STATUS_H_
#define IMAPMESH_BASE_STATUS_H_

#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_format.h"

namespace imapmesh {

// Debian's Abseil has its own string_view; this is the only bridge between the two.
inline absl::string_view ToAbsl(std::string_view text) {
  return absl::string_view(text.data(), text.size());
}
inline std::string_view FromAbsl(absl::string_view text) {
  return std::string_view(text.data(), text.size());
}

template <typename... Args>
absl::Status Error(absl::StatusCode code, const absl::FormatSpec<Args...>& format, const Args&... args) {
  return absl::Status(code, absl::StrFormat(format, args...));
}

// The same error with `prefix` before its text: what was tried, where.
inline absl::Status Annotate(const absl::Status& status, std::string_view prefix) {
  if (status.ok()) return status;
  return absl::Status(status.code(),
                      absl::StrFormat("%s: %s", std::string(prefix), std::string(FromAbsl(status.message()))));
}

inline std::string Message(const absl::Status& status) {
  return std::string(FromAbsl(status.message()));
}

}  // namespace imapmesh

#define IMAPMESH_CONCAT_INNER(a, b) a##b
#define IMAPMESH_CONCAT(a, b) IMAPMESH_CONCAT_INNER(a, b)

#define RETURN_IF_ERROR(expression)                                                                                  \
  do {                                                                                                               \
    if (::absl::Status status_of_expression = (expression); !status_of_expression.ok()) return status_of_expression; \
  } while (false)

#define ASSIGN_OR_RETURN(declaration, expression) \
  ASSIGN_OR_RETURN_IMPL(IMAPMESH_CONCAT(status_or_, __LINE__), declaration, expression)
#define ASSIGN_OR_RETURN_IMPL(result, declaration, expression) \
  auto result = (expression);                                  \
  if (!result.ok()) return result.status();                    \
  declaration = std::move(result).value()

// The same inside coroutines.
#define CO_RETURN_IF_ERROR(expression)                                                  \
  do {                                                                                  \
    if (::absl::Status status_of_expression = (expression); !status_of_expression.ok()) \
      co_return status_of_expression;                                                   \
  } while (false)

#define CO_ASSIGN_OR_RETURN(declaration, expression) \
  CO_ASSIGN_OR_RETURN_IMPL(IMAPMESH_CONCAT(status_or_, __LINE__), declaration, expression)
#define CO_ASSIGN_OR_RETURN_IMPL(result, declaration, expression) \
  auto result = (expression);                                     \
  if (!result.ok()) co_return result.status();                    \
  declaration = std::move(result).value()

#endif  // IMAPMESH_BASE_STATUS_H_
