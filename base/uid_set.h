// A set of UIDs as sorted, disjoint, non-adjacent ranges: what RFC 3501 calls a sequence-set of UIDs.
//
// A few bytes from a server can name billions of UIDs, so nothing here costs more than the number of ranges.
// Values only; any thread.
#ifndef IMAPMESH_BASE_UID_SET_H_
#define IMAPMESH_BASE_UID_SET_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"

namespace imapmesh {

struct UidRange {
  uint32_t first = 0;  // 1 <= first <= last
  uint32_t last = 0;
  bool operator==(const UidRange&) const = default;
};

class UidSet {
 public:
  UidSet() = default;
  explicit UidSet(const std::vector<Uid>& uids);  // in any order, repeats allowed
  // The same of ranges (1 <= first <= last): many at once, where AddRange one by one would be slow.
  static UidSet FromRanges(std::vector<UidRange> ranges);

  void Add(Uid uid) { AddRange(uid.value, uid.value); }
  void AddRange(uint32_t first, uint32_t last);  // ends in any order; 0 is ignored as an end
  void Add(const UidSet& other);
  bool Contains(Uid uid) const;
  bool empty() const { return ranges_.empty(); }
  uint64_t size() const;  // how many UIDs
  const std::vector<UidRange>& ranges() const { return ranges_; }
  // The UIDs one by one, at most `max`.
  std::vector<Uid> Take(size_t max) const;

  // "1:5,9": sorted, compact (RFC 3501 section 9, sequence-set). Empty for the empty set.
  std::string ToString() const;
  // The same in pieces of at most `max_bytes` (at least 24), for servers that cap the command line.
  std::vector<std::string> ToStrings(size_t max_bytes) const;
  // Numbers 1 to 2^32-1 and ranges, in any order; `*` only when `star` tells its value. At most `max_ranges` ranges.
  static std::optional<UidSet> Parse(std::string_view text, std::optional<uint32_t> star = std::nullopt,
                                     size_t max_ranges = 1'000'000);
  bool operator==(const UidSet&) const = default;

 private:
  std::vector<UidRange> ranges_;
};

}  // namespace imapmesh

#endif  // IMAPMESH_BASE_UID_SET_H_
