// What mailbox copies could not take, told to people: flags that a server does not keep, messages that a read-only
// mailbox or missing rights keep out or in.
//
// The coordinator loads it after each round and shows it among the problems; Tracer and Explainer use the words. It
// decides nothing: plan.cc does. LoadKeptBack runs on the store's thread, the rest on the engine's.
#ifndef IMAPMESH_ENGINE_SYNC_KEPT_BACK_H_
#define IMAPMESH_ENGINE_SYNC_KEPT_BACK_H_

#include <cstdint>
#include <string>
#include <vector>

#include "engine/store/state.h"
#include "engine/sync/control.h"
#include "engine/sync/mesh.h"

namespace imapmesh {

KeptBackReport LoadKeptBack(State& state);

// One for each mailbox copy and kind of operation.
std::vector<ProblemReport> DescribeKeptBack(const Mesh& mesh);

// Mailbox copies that lack a message, or have one too many, for want of rights. Flags do not count: nothing fails
// there.
int64_t CountRefused(const Mesh& mesh, const Within& within = Anywhere);

// "+$Work -\\Seen"
std::string DescribeChanges(const std::vector<FlagRegister>& changes,
                            const std::function<std::string(FlagId)>& name_of);

}  // namespace imapmesh

#endif  // IMAPMESH_ENGINE_SYNC_KEPT_BACK_H_
