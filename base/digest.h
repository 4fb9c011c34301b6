// The digest by which messages are told apart: the first half of a SHA-256. Values only; any thread.
#ifndef IMAPMESH_BASE_DIGEST_H_
#define IMAPMESH_BASE_DIGEST_H_

#include <array>
#include <cstdint>

namespace imapmesh {

using Digest = std::array<uint8_t, 16>;

}  // namespace imapmesh

#endif  // IMAPMESH_BASE_DIGEST_H_
