#include "engine/sync/backoff.h"

#include <gtest/gtest.h>

#include <limits>
#include <random>
#include <set>

namespace imapmesh {
namespace {

Duration Nothing(Duration) {
  return Duration(0);
}
Duration All(Duration longest) {
  return longest;
}

TEST(PauseAfter, DoublesFromHalfASecondToFiveMinutes) {
  EXPECT_EQ(PauseAfter(0, Nothing), std::chrono::milliseconds(500));
  for (int failures = 0; failures < 9; ++failures) {
    EXPECT_EQ(PauseAfter(failures + 1, Nothing), 2 * PauseAfter(failures, Nothing)) << failures;
  }
  for (const int failures : {10, 11, 1000, std::numeric_limits<int>::max()}) {
    EXPECT_EQ(PauseAfter(failures, Nothing), std::chrono::minutes(5)) << failures;
  }
}

TEST(PauseAfter, IsNeverLessThanHalfOfThat) {
  for (int failures = 0; failures < 20; ++failures) {
    EXPECT_EQ(PauseAfter(failures, All), PauseAfter(failures, Nothing) - PauseAfter(failures, Nothing) / 2);
  }
}

TEST(PauseAfter, ClientsThatFailedTogetherDoNotComeBackTogether) {
  std::mt19937_64 random(6);
  const auto draw = [&](Duration longest) {
    return Duration(static_cast<int64_t>(random() % static_cast<uint64_t>(longest.count() + 1)));
  };
  std::set<Duration> slots;  // of a tenth of a second
  for (int client = 0; client < 1000; ++client) {
    slots.insert(PauseAfter(5, draw) / std::chrono::milliseconds(100) * std::chrono::milliseconds(100));
  }
  EXPECT_GT(slots.size(), 70u);  // of the 80 within 8 to 16 s
}

}  // namespace
}  // namespace imapmesh
