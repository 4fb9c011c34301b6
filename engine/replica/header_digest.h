// The identity of a message by its header: what stays the same on every server (DESIGN.md section 3, step 2).
// Pure; any thread.
#ifndef IMAPMESH_ENGINE_REPLICA_HEADER_DIGEST_H_
#define IMAPMESH_ENGINE_REPLICA_HEADER_DIGEST_H_

#include <string>
#include <string_view>

#include "base/digest.h"

namespace imapmesh {

struct HeaderIdentity {
  Digest digest{};
  bool has_message_id = false;
  std::string message_id;  // as written, cut at 998 bytes
};

// `header` holds the fields that were asked for, as the server sent them. Line ends, folding, the case of field names
// and the order of fields make no difference; every byte of a value does, but for runs of white space.
HeaderIdentity IdentifyHeader(std::string_view header);

}  // namespace imapmesh

#endif  // IMAPMESH_ENGINE_REPLICA_HEADER_DIGEST_H_
