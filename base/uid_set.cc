#include "base/uid_set.h"

#include <algorithm>
#include <charconv>
#include <utility>

namespace imapmesh {
namespace {

std::optional<uint32_t> ParseNumber(std::string_view text, std::optional<uint32_t> star) {
  if (text == "*") return star;
  uint32_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size() || number == 0) return std::nullopt;
  return number;
}

std::string RangeText(UidRange range) {
  std::string text = std::to_string(range.first);
  if (range.last != range.first) text += ":" + std::to_string(range.last);
  return text;
}

std::vector<UidRange> Normalised(std::vector<UidRange> ranges) {
  std::sort(ranges.begin(), ranges.end(), [](UidRange a, UidRange b) { return a.first < b.first; });
  std::vector<UidRange> merged;
  for (const UidRange& range : ranges) {
    if (!merged.empty() && range.first <= static_cast<uint64_t>(merged.back().last) + 1) {
      merged.back().last = std::max(merged.back().last, range.last);
    } else {
      merged.push_back(range);
    }
  }
  return merged;
}

}  // namespace

UidSet::UidSet(const std::vector<Uid>& uids) {
  std::vector<UidRange> ranges;
  ranges.reserve(uids.size());
  for (const Uid uid : uids) {
    if (uid.value != 0) ranges.push_back({uid.value, uid.value});
  }
  ranges_ = Normalised(std::move(ranges));
}

UidSet UidSet::FromRanges(std::vector<UidRange> ranges) {
  UidSet set;
  set.ranges_ = Normalised(std::move(ranges));
  return set;
}

void UidSet::AddRange(uint32_t first, uint32_t last) {
  if (first == 0 || last == 0) return;
  if (first > last) std::swap(first, last);
  if (ranges_.empty() || first > static_cast<uint64_t>(ranges_.back().last) + 1) {
    ranges_.push_back({first, last});
    return;
  }
  // The first range that touches [first, last], and the one after the last that does.
  const auto begin = std::lower_bound(ranges_.begin(), ranges_.end(), first, [](const UidRange& range, uint32_t uid) {
    return static_cast<uint64_t>(range.last) + 1 < uid;
  });
  auto end = begin;
  while (end != ranges_.end() && end->first <= static_cast<uint64_t>(last) + 1) {
    first = std::min(first, end->first);
    last = std::max(last, end->last);
    ++end;
  }
  if (begin == end) {
    ranges_.insert(begin, {first, last});
    return;
  }
  *begin = {first, last};
  ranges_.erase(begin + 1, end);
}

void UidSet::Add(const UidSet& other) {
  if (other.empty()) return;
  std::vector<UidRange> ranges = ranges_;
  ranges.insert(ranges.end(), other.ranges_.begin(), other.ranges_.end());
  ranges_ = Normalised(std::move(ranges));
}

bool UidSet::Contains(Uid uid) const {
  const auto after = std::upper_bound(ranges_.begin(), ranges_.end(), uid.value,
                                      [](uint32_t value, const UidRange& range) { return value < range.first; });
  return after != ranges_.begin() && uid.value <= std::prev(after)->last;
}

uint64_t UidSet::size() const {
  uint64_t count = 0;
  for (const UidRange& range : ranges_) count += static_cast<uint64_t>(range.last) - range.first + 1;
  return count;
}

std::vector<Uid> UidSet::Take(size_t max) const {
  std::vector<Uid> uids;
  for (const UidRange& range : ranges_) {
    for (uint64_t uid = range.first; uid <= range.last; ++uid) {
      if (uids.size() == max) return uids;
      uids.emplace_back(static_cast<uint32_t>(uid));
    }
  }
  return uids;
}

std::string UidSet::ToString() const {
  std::string text;
  for (const UidRange& range : ranges_) {
    if (!text.empty()) text += ',';
    text += RangeText(range);
  }
  return text;
}

std::vector<std::string> UidSet::ToStrings(size_t max_bytes) const {
  std::vector<std::string> pieces;
  for (const UidRange& range : ranges_) {
    const std::string text = RangeText(range);
    if (pieces.empty() || pieces.back().size() + 1 + text.size() > max_bytes) {
      pieces.push_back(text);
    } else {
      pieces.back() += "," + text;
    }
  }
  return pieces;
}

std::optional<UidSet> UidSet::Parse(std::string_view text, std::optional<uint32_t> star, size_t max_ranges) {
  std::vector<UidRange> ranges;
  while (true) {
    const size_t comma = text.find(',');
    const std::string_view item = text.substr(0, comma);
    const size_t colon = item.find(':');
    const auto first = ParseNumber(item.substr(0, colon), star);
    const auto last = colon == std::string_view::npos ? first : ParseNumber(item.substr(colon + 1), star);
    if (!first || !last || ranges.size() == max_ranges) return std::nullopt;
    ranges.push_back({std::min(*first, *last), std::max(*first, *last)});
    if (comma == std::string_view::npos) break;
    text.remove_prefix(comma + 1);
  }
  return FromRanges(std::move(ranges));
}

}  // namespace imapmesh
