#include "engine/sync/identify.h"

#include <algorithm>

namespace imapmesh {
namespace {

bool IsExact(const Arrival& arrival, const Candidate& candidate) {
  return arrival.size == candidate.size && arrival.internal_date == candidate.internal_date;
}

// Candidates that may be matched, in the order in which equal ones are taken: an exact one first.
std::vector<const Candidate*> Matchable(const Arrival& arrival, const std::vector<Candidate>& candidates) {
  std::vector<const Candidate*> matchable;
  for (const Candidate& candidate : candidates) {
    const bool comparable = !candidate.alone || candidate.content || IsExact(arrival, candidate);
    if (candidate.free && comparable) matchable.push_back(&candidate);
  }
  std::stable_sort(matchable.begin(), matchable.end(), [&](const Candidate* a, const Candidate* b) {
    if (IsExact(arrival, *a) != IsExact(arrival, *b)) return IsExact(arrival, *a);
    return a->message < b->message;
  });
  return matchable;
}

template <typename Predicate>
std::optional<MessageId> First(const std::vector<const Candidate*>& candidates, Predicate matches) {
  const auto found = std::find_if(candidates.begin(), candidates.end(),
                                  [&](const Candidate* candidate) { return matches(*candidate); });
  if (found == candidates.end()) return std::nullopt;
  return (*found)->message;
}

std::optional<MessageId> MatchContent(const Arrival& arrival, const std::vector<const Candidate*>& candidates) {
  const auto same = [&](const Candidate& candidate) {
    return candidate.content && candidate.content->exact == arrival.content->exact;
  };
  if (const auto match = First(candidates, same)) return match;
  const auto carried_by_others = [&](const Candidate& candidate) {
    return arrival.has_message_id && candidate.content && candidate.content->stable == arrival.content->stable;
  };
  if (const auto match = First(candidates, carried_by_others)) return match;
  // What is known nowhere else can be compared with nothing, and is lost by no mistake.
  return First(candidates, [&](const Candidate& candidate) { return candidate.alone && !candidate.content; });
}

}  // namespace

Identification Identify(const Arrival& arrival, const std::vector<Candidate>& candidates) {
  using Verdict = Identification::Verdict;
  const std::vector<const Candidate*> matchable = Matchable(arrival, candidates);
  if (matchable.empty()) return {};

  const bool certain =
      matchable.size() == 1 && IsExact(arrival, *matchable[0]) && arrival.has_message_id && !arrival.has_twin;
  if (certain) return {Verdict::kMatch, matchable[0]->message, {}, false};

  Identification need{Verdict::kNeedContent, MessageId(), {}, false};
  bool comparable = false;
  for (const Candidate* candidate : matchable) {
    comparable |= candidate->content || !candidate->alone;
    if (!candidate->content && !candidate->alone) need.need_content.push_back(candidate->message);
  }
  if (comparable && (!arrival.content || !need.need_content.empty())) return need;
  if (!comparable) return {Verdict::kMatch, matchable[0]->message, {}, false};
  if (const auto match = MatchContent(arrival, matchable)) return {Verdict::kMatch, *match, {}, false};
  return {Verdict::kNew, MessageId(), {}, arrival.has_message_id};
}

}  // namespace imapmesh
