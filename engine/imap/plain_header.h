// The header fields that identify a message, read in the message itself. Pure; commands_message.cc asks it.
#ifndef IMAPMESH_ENGINE_IMAP_PLAIN_HEADER_H_
#define IMAPMESH_ENGINE_IMAP_PLAIN_HEADER_H_

#include <optional>
#include <string>
#include <string_view>

namespace imapmesh::imap {

// What a server answers for HEADER.FIELDS (MESSAGE-ID DATE FROM TO CC SUBJECT CONTENT-TYPE), of the beginning of a
// message. Nullopt where servers may read it in different ways, or the header does not end in it: it is asked for then,
// as otherwise, so that a message is known by the same fields everywhere.
std::optional<std::string> PlainHeaderFields(std::string_view message);

}  // namespace imapmesh::imap

#endif  // IMAPMESH_ENGINE_IMAP_PLAIN_HEADER_H_
