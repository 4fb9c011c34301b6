// The header fields that identify a message, read in the message itself. Pure; commands_message.cc asks it, and
// known_body.cc of a message that was fetched.
#ifndef IMAPMESH_ENGINE_IMAP_PLAIN_HEADER_H_
#define IMAPMESH_ENGINE_IMAP_PLAIN_HEADER_H_

#include <array>
#include <optional>
#include <string>
#include <string_view>

namespace imapmesh::imap {

// The fields by which a message is known, in the order in which they are asked for.
inline constexpr std::array<std::string_view, 7> kHeaderFieldNames = {"MESSAGE-ID", "DATE",    "FROM",        "TO",
                                                                      "CC",         "SUBJECT", "CONTENT-TYPE"};

// What a server answers for HEADER.FIELDS with these names, of the beginning of a message. Nullopt where servers may
// read it in different ways, or the header does not end in it: it is asked for then, as otherwise, so that a message is
// known by the same fields everywhere.
std::optional<std::string> PlainHeaderFields(std::string_view message);

}  // namespace imapmesh::imap

#endif  // IMAPMESH_ENGINE_IMAP_PLAIN_HEADER_H_
