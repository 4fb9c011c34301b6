#include "engine/replica/known_body.h"

#include <algorithm>
#include <string>

#include "engine/imap/plain_header.h"
#include "engine/replica/header_digest.h"

namespace imapmesh {
namespace {

constexpr uint64_t kHeaderBytes = 64 * 1024;  // hardly any header is longer

std::string BeginningOf(const Body& body) {
  std::string beginning(static_cast<size_t>(std::min(body.size(), kHeaderBytes)), '\0');
  const auto read = body.ReadAt(0, beginning.data(), beginning.size());
  beginning.resize(read.ok() ? *read : 0);
  return beginning;
}

}  // namespace

bool IsAnotherMessage(const Body& body, uint64_t size, const Digest& header_digest) {
  if (body.size() == size) return false;
  const auto fields = imap::PlainHeaderFields(BeginningOf(body));
  return fields && IdentifyHeader(*fields).digest != header_digest;
}

}  // namespace imapmesh
