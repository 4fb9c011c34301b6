#include "engine/replica/flag_names.h"

#include <algorithm>

#include "absl/strings/match.h"

#include "base/printable.h"

namespace imapmesh {

absl::Status CheckKept(const std::optional<std::vector<std::string>>& permanent, const FlagStore& store) {
  if (!permanent) return absl::OkStatus();
  const auto listed = [&](const std::string& flag) {
    return std::any_of(permanent->begin(), permanent->end(),
                       [&](const std::string& each) { return absl::EqualsIgnoreCase(ToAbsl(each), ToAbsl(flag)); });
  };
  const bool keywords = listed("\\*");
  for (const std::vector<std::string>* flags : {&store.add, &store.remove}) {
    for (const std::string& flag : *flags) {
      if (listed(flag) || (keywords && !flag.starts_with('\\'))) continue;
      return Error(absl::StatusCode::kFailedPrecondition, "the server does not keep the flag %s there (PERMANENTFLAGS)",
                   Printable(flag));
    }
  }
  return absl::OkStatus();
}

}  // namespace imapmesh
