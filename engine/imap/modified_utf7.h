// Modified UTF-7 (RFC 3501 section 5.1.3): how IMAP spells mailbox names. Pure; any thread.
#ifndef IMAPMESH_ENGINE_IMAP_MODIFIED_UTF7_H_
#define IMAPMESH_ENGINE_IMAP_MODIFIED_UTF7_H_

#include <optional>
#include <string>
#include <string_view>

namespace imapmesh::imap {

// nullopt when `utf8` is not valid UTF-8 or holds NUL.
std::optional<std::string> EncodeModifiedUtf7(std::string_view utf8);

// nullopt when `raw` is not what EncodeModifiedUtf7 makes of some text: a name that a server sends back must be spelled
// as it was.
std::optional<std::string> DecodeModifiedUtf7(std::string_view raw);

}  // namespace imapmesh::imap

#endif  // IMAPMESH_ENGINE_IMAP_MODIFIED_UTF7_H_
