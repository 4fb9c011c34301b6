// Mailbox names that people, or servers, may take for one, as they differ in case or in Unicode spelling alone; names
// in the characters that every server takes; and names that coordinators chose.
//
// mailbox_listing.cc asks when a mailbox turns up, apply_mailboxes.cc when a server would not make one. Pure; any
// thread.
#ifndef IMAPMESH_ENGINE_SYNC_MAILBOX_SPELLING_H_
#define IMAPMESH_ENGINE_SYNC_MAILBOX_SPELLING_H_

#include <optional>
#include <string>
#include <string_view>

#include "graph/graph.h"

namespace imapmesh {

// Equal for names that differ in case or composition alone (Nameprep, RFC 3491: case folded, NFKC). What is no UTF-8,
// holds control characters, or is longer than 1,000 bytes, is as it is.
std::string FoldSpelling(std::string_view name);

// Each level in letters, figures, spaces and "_-.+": other characters of ASCII, and those beyond the Basic Multilingual
// Plane, are "=XX" for each byte. Of what has nothing to escape, itself.
std::string PlainSpelling(std::string_view name);
// What has this plain spelling; nullopt where nothing but the name itself could.
std::optional<std::string> UnusualSpelling(std::string_view plain);

// The name that people gave a mailbox: without what coordinators put behind one that two mailboxes would have, as in
// "Work (r1)", "Work (r1 2)" and "Work (deleted)".
std::string AsGiven(std::string name, const Graph& graph);
// Whether coordinators chose it, or the name of a mailbox above it.
bool IsChosen(const std::string& name, const Graph& graph);

}  // namespace imapmesh

#endif  // IMAPMESH_ENGINE_SYNC_MAILBOX_SPELLING_H_
