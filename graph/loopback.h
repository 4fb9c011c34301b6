// Whether a host is this machine: what crosses to it is seen by nobody else. Pure; any thread.
#ifndef IMAPMESH_GRAPH_LOOPBACK_H_
#define IMAPMESH_GRAPH_LOOPBACK_H_

#include <algorithm>
#include <string_view>

namespace imapmesh {

// "localhost", ::1, and 127.0.0.0/8 in figures; a name such as 127.example.org is not.
inline bool IsLoopback(std::string_view host) {
  if (host == "localhost" || host == "::1") return true;
  const bool figures = std::all_of(host.begin(), host.end(), [](char c) { return (c >= '0' && c <= '9') || c == '.'; });
  return figures && host.starts_with("127.") && std::count(host.begin(), host.end(), '.') == 3;
}

}  // namespace imapmesh

#endif  // IMAPMESH_GRAPH_LOOPBACK_H_
