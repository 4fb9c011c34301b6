#include "engine/imap/sasl_prep.h"

#include <stringprep.h>

#include <cstdlib>
#include <memory>

namespace imapmesh::imap {
namespace {

struct Free {
  void operator()(char* text) const { std::free(text); }
};

}  // namespace

absl::StatusOr<std::string> SaslPrep(std::string_view text) {
  if (text.find('\0') != std::string_view::npos) return absl::InvalidArgumentError("holds a NUL byte");
  const std::string input(text);
  char* output = nullptr;
  const int result = stringprep_profile(input.c_str(), &output, "SASLprep", STRINGPREP_NO_UNASSIGNED);
  const std::unique_ptr<char, Free> owner(output);
  switch (result) {
    case STRINGPREP_OK:
      break;
    case STRINGPREP_CONTAINS_UNASSIGNED:
      return absl::InvalidArgumentError("holds a character that is too new for SASLprep (RFC 4013)");
    case STRINGPREP_CONTAINS_PROHIBITED:
    case STRINGPREP_BIDI_CONTAINS_PROHIBITED:
      return absl::InvalidArgumentError("holds a control or other character that SASLprep (RFC 4013) prohibits");
    case STRINGPREP_BIDI_BOTH_L_AND_RAL:
    case STRINGPREP_BIDI_LEADTRAIL_NOT_RAL:
      return absl::InvalidArgumentError("mixes writing directions as SASLprep (RFC 4013) prohibits");
    default:
      return absl::InvalidArgumentError("is not valid UTF-8");
  }
  const std::string prepared = output;
  if (prepared.empty()) return absl::InvalidArgumentError("is empty once SASLprep (RFC 4013) has prepared it");
  return prepared;
}

}  // namespace imapmesh::imap
