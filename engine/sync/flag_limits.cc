#include "engine/sync/flag_limits.h"

#include <algorithm>

namespace imapmesh {
namespace {

// RFC 3501 section 2.3.2, without \Recent, which nobody stores.
constexpr const char* kSystemFlags[] = {"\\Answered", "\\Flagged", "\\Deleted", "\\Seen", "\\Draft"};

void SortUnique(std::vector<FlagId>& flags) {
  std::sort(flags.begin(), flags.end());
  flags.erase(std::unique(flags.begin(), flags.end()), flags.end());
}

bool Contains(const FlagLimits& limits, FlagId flag) {
  return std::binary_search(limits.flags.begin(), limits.flags.end(), flag);
}

}  // namespace

FlagLimits LimitsOf(const Observation& observation, const std::function<FlagId(std::string_view)>& intern) {
  FlagLimits limits;
  std::vector<FlagId> apart, told;
  for (const std::string& keyword : observation.keywords_apart) apart.push_back(intern(keyword));
  SortUnique(apart);
  bool new_keywords = false;
  if (observation.permanent_flags) {
    for (const std::string& flag : *observation.permanent_flags) {
      if (flag == "\\*") {
        new_keywords = true;
      } else {
        told.push_back(intern(flag));
      }
    }
  }
  SortUnique(told);
  if (observation.read_only || (observation.permanent_flags && !new_keywords)) {
    limits.only = true;
    if (observation.read_only) return limits;
    std::set_difference(told.begin(), told.end(), apart.begin(), apart.end(), std::back_inserter(limits.flags));
    return limits;
  }
  limits.flags = apart;
  for (const char* name : kSystemFlags) {
    const FlagId flag = intern(name);
    const bool kept = !observation.permanent_flags || std::binary_search(told.begin(), told.end(), flag);
    if (!kept) limits.flags.push_back(flag);
  }
  SortUnique(limits.flags);
  return limits;
}

bool CanChange(const FlagLimits& limits, FlagId flag) {
  return Contains(limits, flag) == limits.only;
}

bool MayHaveDropped(const FlagLimits& before, const FlagLimits& now, FlagId flag) {
  return CanChange(before, flag) && !CanChange(now, flag);
}

FlagChanges Divide(const FlagLimits& limits, const std::vector<FlagRegister>& wanted) {
  FlagChanges changes;
  for (const FlagRegister& change : wanted) {
    if (CanChange(limits, change.flag)) {
      changes.stored.push_back(change);
    } else {
      changes.kept_back.Put(change.flag, change.set, change.stamp);
    }
  }
  return changes;
}

}  // namespace imapmesh
