// Subject and sender of a message for people: encoded words (RFC 2047) and raw 8-bit bytes decoded to UTF-8.
//
// imap_replica.cc calls it. Pure; any thread. (Debian's GMime would do it too, but brings some fifteen libraries into a
// program whose whole run may take twenty milliseconds.)
#ifndef IMAPMESH_ENGINE_REPLICA_HEADER_TEXT_H_
#define IMAPMESH_ENGINE_REPLICA_HEADER_TEXT_H_

#include <string_view>

#include "engine/replica/replica.h"

namespace imapmesh {

// `header`: fields as a server sent them, in any order; the first Subject and From count.
HeaderText ReadHeaderText(std::string_view header);

}  // namespace imapmesh

#endif  // IMAPMESH_ENGINE_REPLICA_HEADER_TEXT_H_
