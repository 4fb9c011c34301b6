#include "engine/sync/mailbox_spelling.h"

#include <stringprep.h>

#include <cstdlib>
#include <memory>

namespace imapmesh {
namespace {

constexpr size_t kNameBytesMax = 1000;

struct Free {
  void operator()(char* text) const { std::free(text); }
};

}  // namespace

std::string FoldSpelling(std::string_view name) {
  const std::string given(name);
  if (given.size() > kNameBytesMax || given.find('\0') != std::string::npos) return given;
  const std::unique_ptr<char, Free> composed(stringprep_utf8_nfkc_normalize(given.c_str(), -1));
  if (composed == nullptr) return given;
  std::string folded(composed.get());
  folded.resize(8 * folded.size() + 64);  // folding makes some characters longer
  const int result = stringprep(folded.data(), folded.size(), STRINGPREP_NO_BIDI, stringprep_nameprep);
  return result == STRINGPREP_OK ? std::string(folded.c_str()) : given;
}

}  // namespace imapmesh
