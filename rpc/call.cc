#include "rpc/call.h"

#include <algorithm>
#include <string>
#include <string_view>

#include "base/printable.h"

namespace imapmesh {
namespace {

// An error text travels in an HTTP/2 header, and clients refuse headers of more than 8 kB.
constexpr size_t kMaxErrorBytes = 4000;

// Line by line, since the errors of a topology file stand on lines of their own.
std::string PrintableLines(std::string_view text) {
  std::string lines;
  while (!text.empty() && lines.size() < kMaxErrorBytes) {
    const size_t end = text.find('\n');
    if (!lines.empty()) lines += '\n';
    lines += Printable(text.substr(0, end), kMaxErrorBytes - std::min(kMaxErrorBytes, lines.size()) + 100);
    if (end == std::string_view::npos) return lines;
    text.remove_prefix(end + 1);
  }
  return text.empty() ? lines : lines + "\n…";
}

}  // namespace

grpc::Status ToGrpc(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  return grpc::Status(static_cast<grpc::StatusCode>(status.code()), PrintableLines(FromAbsl(status.message())));
}

}  // namespace imapmesh
