// The digest by which messages are told apart: the first half of a SHA-256. Values only; any thread.
#ifndef IMAPMESH_BASE_DIGEST_H_
#define IMAPMESH_BASE_DIGEST_H_

#include <array>
#include <cstdint>

namespace imapmesh {

using Digest = std::array<uint8_t, 16>;

// Two views of one message's content.
struct ContentIdentity {
  Digest exact{};   // all of it, but for what servers do to line ends and NUL
  Digest stable{};  // without the fields that are added on the way (Received, X-…) and blank lines at the end
  bool operator==(const ContentIdentity&) const = default;
};

}  // namespace imapmesh

#endif  // IMAPMESH_BASE_DIGEST_H_
