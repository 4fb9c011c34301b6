// Flag limits: which flags of a message a mailbox copy can hold (PERMANENTFLAGS, RFC 3501 section 7.1).
//
// Pure. record_observation.cc learns the limits from what SELECT told, merge.cc asks whether the absence of a flag can
// be somebody's doing, plan.cc plans only what can be stored. Registers stay true throughout: what a copy cannot hold
// is unset there and set for the others, and what it should get is kept back (KeptBack) until its limits change.
#ifndef IMAPMESH_ENGINE_SYNC_FLAG_LIMITS_H_
#define IMAPMESH_ENGINE_SYNC_FLAG_LIMITS_H_

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/replica/replica.h"
#include "engine/store/registers.h"

namespace imapmesh {

// What a mailbox copy can take.
struct CopyLimits {
  bool read_only = false;
  bool no_additions = false;  // tried and refused for want of rights (RFC 4314: i)
  bool no_deletions = false;  // likewise (e)
  FlagLimits flags;
};

// What an observation tells. `intern` gives each flag its id.
FlagLimits LimitsOf(const Observation& observation, const std::function<FlagId(std::string_view)>& intern);

// Whether setting or removing the flag would last.
bool CanChange(const FlagLimits& limits, FlagId flag);

// Whether the absence of a flag that was recorded as set tells nothing: the server kept it under the limits of before
// and may have dropped it with those of now. What was seen to be set under the same limits was taken away by somebody.
bool MayHaveDropped(const FlagLimits& before, const FlagLimits& now, FlagId flag);

// Changes of one copy's flags, divided.
struct FlagChanges {
  std::vector<FlagRegister> stored;
  FlagRegisters kept_back;
};
FlagChanges Divide(const FlagLimits& limits, const std::vector<FlagRegister>& wanted);

}  // namespace imapmesh

#endif  // IMAPMESH_ENGINE_SYNC_FLAG_LIMITS_H_
