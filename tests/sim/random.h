// One seeded source of randomness: SplitMix64, small and the same everywhere. Values; one thread.
#ifndef IMAPMESH_TESTS_SIM_RANDOM_H_
#define IMAPMESH_TESTS_SIM_RANDOM_H_

#include <cstdint>

namespace imapmesh::sim {

class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}

  uint64_t Next() {
    uint64_t mixed = (state_ += 0x9E3779B97F4A7C15);
    mixed = (mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9;
    mixed = (mixed ^ (mixed >> 27)) * 0x94D049BB133111EB;
    return mixed ^ (mixed >> 31);
  }
  // 0 to bound - 1; REQUIRES bound > 0.
  uint64_t Below(uint64_t bound) { return Next() % bound; }
  int64_t Between(int64_t low, int64_t high) {
    return low + static_cast<int64_t>(Below(static_cast<uint64_t>(high - low + 1)));
  }
  // True in `percent` of 100 draws.
  bool Chance(int percent) { return Below(100) < static_cast<uint64_t>(percent); }
  // 0 to 2^bits - 1, each order of magnitude as likely as another.
  uint64_t Logarithmic(int bits) { return Next() >> (64 - 1 - Below(static_cast<uint64_t>(bits))); }

 private:
  uint64_t state_;
};

}  // namespace imapmesh::sim

#endif  // IMAPMESH_TESTS_SIM_RANDOM_H_
