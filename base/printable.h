// Makes text that came from a server or a file safe to print: what a terminal would obey becomes \xNN.
//
// Every text that reaches a person (log, error, status, event) and did not come from this program passes here.
// Pure; any thread.
#ifndef IMAPMESH_BASE_PRINTABLE_H_
#define IMAPMESH_BASE_PRINTABLE_H_

#include <cstddef>
#include <string>
#include <string_view>

namespace imapmesh {

// Valid UTF-8 without control characters (C0, DEL, C1, bidirectional overrides) stays; every other byte is shown as
// \xNN. Longer than `max_bytes`, the text is cut and ends in "…".
std::string Printable(std::string_view text, size_t max_bytes = 400);

}  // namespace imapmesh

#endif  // IMAPMESH_BASE_PRINTABLE_H_
