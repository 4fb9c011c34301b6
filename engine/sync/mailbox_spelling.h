// Whether people, or servers, may take two mailbox names for one: they differ in case or in Unicode spelling alone.
//
// mailbox_listing.cc asks when a mailbox turns up. Pure; any thread.
#ifndef IMAPMESH_ENGINE_SYNC_MAILBOX_SPELLING_H_
#define IMAPMESH_ENGINE_SYNC_MAILBOX_SPELLING_H_

#include <string>
#include <string_view>

namespace imapmesh {

// Equal for names that differ in case or composition alone (Nameprep, RFC 3491: case folded, NFKC). What is no UTF-8,
// holds control characters, or is longer than 1,000 bytes, is as it is.
std::string FoldSpelling(std::string_view name);

}  // namespace imapmesh

#endif  // IMAPMESH_ENGINE_SYNC_MAILBOX_SPELLING_H_
