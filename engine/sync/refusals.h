// Messages that a server refuses for good: conflicts of kind REFUSED, kept in the state, so that they are not sent
// again and again, over restarts neither.
//
// The recorder marks such a refusal (Refusal::for_good); the coordinator loads them at the start and reviews them once
// a round. Engine thread; the decisions of a person are made by conflicts.h. Invariants: what is refused for good is
// tried again only when a person says so or the server is another one than it was; it is let go of when the message is
// there after all, or nowhere any more.
#ifndef IMAPMESH_ENGINE_SYNC_REFUSALS_H_
#define IMAPMESH_ENGINE_SYNC_REFUSALS_H_

#include "engine/sync/mesh.h"

namespace imapmesh {

// The kind of conflict, as recorded and shown.
inline constexpr char kRefused[] = "REFUSED";
inline constexpr char kRefusalRemedy[] =
    "the rest goes on; imapmesh conflicts resolve ID --retry once the server takes it, or --leave";

// Whether trying again is of no use: the server cannot take this message, whatever else is in the account.
bool IsForGood(const absl::Status& refusal);

// Takes over into mesh.refusals what the state holds. An error is of the store.
asio::awaitable<absl::Status> LoadRefusals(Mesh& mesh);
// Records new ones, and lets go of those that are settled or worth another try.
asio::awaitable<absl::Status> ReviewRefusals(Mesh& mesh);

}  // namespace imapmesh

#endif  // IMAPMESH_ENGINE_SYNC_REFUSALS_H_
