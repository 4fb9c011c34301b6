// Deliberate defects: what the engine would do to the servers and to its state if a step of it were wrong.
//
// defects_test.cc shows that the simulation finds each of them; nothing else uses one. They sit at the engine's own
// seams (the Replica interface, the graph, the state file), so that the program that is tested is the one that ships.
#ifndef IMAPMESH_TESTS_SIM_DEFECTS_H_
#define IMAPMESH_TESTS_SIM_DEFECTS_H_

#include <memory>
#include <string>

#include "engine/replica/replica.h"

namespace imapmesh::sim {

enum class Defect {
  kNone,
  kIdentifiesNothing,  // identify: no arrival looks like a message of another replica
  kSkipsArrivals,      // observe: the cursor moves past a message that was not consumed
  kSkipsDeletions,     // observe: the cursor moves past what vanished
  kIgnoresPolicy,      // plan: every edge carries everything both ways
  kAppendsNothing,     // apply: an addition counts as confirmed that never happened
  kDeletesTooMuch,     // apply: an EXPUNGE takes the next message along
  kReplacesFlags,      // apply: FLAGS instead of +FLAGS
  kSpoilsContent,      // apply: a byte more
  kForgetsToRecord,    // record: an addition that was done counts as refused
  kForgetsIntents,     // record: the intent is not there after a crash
  kExpungesFirst,      // apply: what is added is there only after the round's expunges
  kCount
};
const char* Name(Defect defect);

std::unique_ptr<Replica> WithDefect(Defect defect, std::unique_ptr<Replica> replica);
// An edge of a topology file as a planner takes it that knows no policy.
std::string WithoutPolicy(const std::string& edge);
// From now on the state forgets each intent as soon as it is noted.
void ForgetIntents(const std::string& state_file);

}  // namespace imapmesh::sim

#endif  // IMAPMESH_TESTS_SIM_DEFECTS_H_
