// Log lines of the daemon: text or JSON, to standard error.
//
// Set up once by main; Log may then be called from any thread.
#ifndef IMAPMESH_RPC_LOGGING_H_
#define IMAPMESH_RPC_LOGGING_H_

#include <string>
#include <string_view>

#include "engine/sync/mesh.h"

namespace imapmesh {

// debug, info, warn, error, off.
bool KnownLogLevel(std::string_view level);

// `json`: one object a line with time, level and message; else text.
void SetUpLogging(const std::string& level, bool json);

// Control characters are escaped. A text of several lines (the errors of a topology) is logged line by line.
void Log(LogLevel level, std::string_view text);

}  // namespace imapmesh

#endif  // IMAPMESH_RPC_LOGGING_H_
