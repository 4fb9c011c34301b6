// Where state and sockets are when nobody says otherwise (CONTRACT.md section 2). Reads the environment; any thread.
#ifndef IMAPMESH_RPC_PATHS_H_
#define IMAPMESH_RPC_PATHS_H_

#include <string>

#include "base/status.h"

namespace imapmesh {

// $XDG_STATE_HOME/imapmesh/NAME.db, else ~/.local/state/imapmesh/NAME.db. kFailedPrecondition without a home.
absl::StatusOr<std::string> DefaultStatePath(const std::string& topology_name);

// "unix:$XDG_RUNTIME_DIR/imapmesh/NAME.sock"; where there is no runtime directory, beside the state.
absl::StatusOr<std::string> DefaultListenAddress(const std::string& topology_name);

// $XDG_CONFIG_HOME/imapmesh, else ~/.config/imapmesh. kFailedPrecondition without a home.
absl::StatusOr<std::string> DefaultConfigFolder();

// $XDG_CONFIG_HOME/imapmesh/tls, else ~/.config/imapmesh/tls. kFailedPrecondition without a home.
absl::StatusOr<std::string> DefaultCertificateFolder();

// The address of the only daemon of this user; an error that tells what to do when there is none or several.
absl::StatusOr<std::string> FindDaemonAddress();

}  // namespace imapmesh

#endif  // IMAPMESH_RPC_PATHS_H_
