// SASLprep (RFC 4013): user names and passwords in the one form that both sides hash. By GNU libidn. Pure; any thread.
#ifndef IMAPMESH_ENGINE_IMAP_SASL_PREP_H_
#define IMAPMESH_ENGINE_IMAP_SASL_PREP_H_

#include <string>
#include <string_view>

#include "base/status.h"

namespace imapmesh::imap {

// Of a "stored string": code points that Unicode 3.2 does not assign are refused too (RFC 5802 section 2.2).
// kInvalidArgument with what is wrong, as in "it …": "holds a character that is prohibited". The text itself is not in
// it.
absl::StatusOr<std::string> SaslPrep(std::string_view text);

}  // namespace imapmesh::imap

#endif  // IMAPMESH_ENGINE_IMAP_SASL_PREP_H_
