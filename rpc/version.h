// The version that both programs print and the daemon reports.
#ifndef IMAPMESH_RPC_VERSION_H_
#define IMAPMESH_RPC_VERSION_H_

namespace imapmesh {

inline constexpr char kVersion[] = "0.1.0";

}  // namespace imapmesh

#endif  // IMAPMESH_RPC_VERSION_H_
