#include "engine/sync/identify.h"

#include <algorithm>

namespace imapmesh {
namespace {

bool IsExact(const Arrival& arrival, const Candidate& candidate) {
  return arrival.size == candidate.size && arrival.internal_date == candidate.internal_date;
}

using Candidates = std::vector<const Candidate*>;

// What can be fetched nowhere, unread, cannot be compared, and is not waited for.
bool IsIncomparable(const Candidate* candidate) {
  return !candidate->content && !candidate->obtainable;
}

// A mailbox copy without look-alikes of its own to find again waits for those that have some; these wait for nobody, so
// that no two wait for one another.
bool WaitsForOthers(const Candidates& free) {
  const auto awaited = [](const Candidate* candidate) { return candidate->awaited_here; };
  const auto lost = [](const Candidate* candidate) { return IsIncomparable(candidate) && candidate->lost_elsewhere; };
  return std::any_of(free.begin(), free.end(), lost) && std::none_of(free.begin(), free.end(), awaited);
}

bool IsAnywhere(const Candidate& candidate) {
  return candidate.obtainable || candidate.awaited_here;
}

// Equal messages are told apart by their order alone; an exact one goes first, and one that was deleted everywhere
// last: another one, which is somewhere, would be carried here beside it. What comes is the message and not the second
// copy of it: else other coordinators would take for the first what is the second here, and a decision to remove it
// would remove the one there and the other one here.
void SortForMatching(const Arrival& arrival, Candidates& candidates) {
  std::stable_sort(candidates.begin(), candidates.end(), [&](const Candidate* a, const Candidate* b) {
    if (IsExact(arrival, *a) != IsExact(arrival, *b)) return IsExact(arrival, *a);
    if (IsAnywhere(*a) != IsAnywhere(*b)) return IsAnywhere(*a);
    if (a->second != b->second) return b->second;
    return a->message < b->message;
  });
}

template <typename Predicate>
std::optional<MessageId> First(const Candidates& candidates, Predicate matches) {
  const auto found = std::find_if(candidates.begin(), candidates.end(),
                                  [&](const Candidate* candidate) { return matches(*candidate); });
  if (found == candidates.end()) return std::nullopt;
  return (*found)->message;
}

// All have content, as has the arrival.
std::optional<MessageId> MatchContent(const Arrival& arrival, const Candidates& candidates) {
  const auto same = [&](const Candidate& candidate) { return candidate.content->exact == arrival.content->exact; };
  if (const auto match = First(candidates, same)) return match;
  return First(candidates, [&](const Candidate& candidate) {  // as other tools carried it
    return arrival.has_message_id && candidate.content->stable == arrival.content->stable;
  });
}

// A message that this mailbox copy held under a UID that no longer counts, or that was sent here and not answered, and
// that looks the same: it, if there is one only, or if a Message-ID says that all of them are equal.
std::optional<MessageId> FindAwaited(const Arrival& arrival, const Candidates& candidates) {
  std::optional<MessageId> found;
  for (const Candidate* candidate : candidates) {
    if (!IsIncomparable(candidate) || !candidate->awaited_here || !IsExact(arrival, *candidate)) continue;
    if (found && !arrival.has_message_id) return std::nullopt;
    if (!found || candidate->message < *found) found = candidate->message;
  }
  return found;
}

}  // namespace

Identification Identify(const Arrival& arrival, const std::vector<Candidate>& candidates) {
  using Verdict = Identification::Verdict;
  Candidates free;
  for (const Candidate& candidate : candidates) {
    if (candidate.free) free.push_back(&candidate);
  }
  if (free.empty()) return {};

  const bool certain = free.size() == 1 && IsExact(arrival, *free[0]) && arrival.has_message_id && !arrival.has_twin;
  if (certain) return {Verdict::kMatch, free[0]->message, {}, false};

  const std::optional<MessageId> found_again = FindAwaited(arrival, free);
  const bool waits = arrival.may_wait && WaitsForOthers(free);
  std::erase_if(free, [waits](const Candidate* candidate) {
    return IsIncomparable(candidate) && !(waits && candidate->lost_elsewhere);
  });
  const Identification last_resort = found_again ? Identification{Verdict::kMatch, *found_again, {}, false}
                                                 : Identification{Verdict::kNew, MessageId(), {}, false};
  if (free.empty()) return last_resort;

  Identification need{Verdict::kNeedContent, MessageId(), {}, false};
  for (const Candidate* candidate : free) {
    if (!candidate->content) need.need_content.push_back(candidate->message);
  }
  if (!arrival.content || !need.need_content.empty()) return need;

  SortForMatching(arrival, free);
  if (const auto match = MatchContent(arrival, free)) return {Verdict::kMatch, *match, {}, false};
  if (found_again) return last_resort;
  return {Verdict::kNew, MessageId(), {}, arrival.has_message_id};
}

}  // namespace imapmesh
