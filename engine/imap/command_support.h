// What several files of commands share: pipelining over a split UID set.
//
// Only commands_*.cc use it. Engine thread.
#ifndef IMAPMESH_ENGINE_IMAP_COMMAND_SUPPORT_H_
#define IMAPMESH_ENGINE_IMAP_COMMAND_SUPPORT_H_

#include <asio/awaitable.hpp>
#include <deque>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/status.h"
#include "base/uid_set.h"
#include "engine/imap/session.h"

namespace imapmesh::imap {

inline constexpr size_t kSetBytesMax = 4000;    // of the UID set in one command
inline constexpr size_t kCommandsInFlight = 8;  // together below what Session::Send asks for
inline constexpr size_t kMailboxesMax = 200'000;
inline constexpr size_t kMessagesMax = 20'000'000;

// Gets the tagged response of each command, refused or not; its error is the outcome.
using CompletionHandler = std::function<absl::Status(const StatusResponse&)>;

// Runs "NAME set SUFFIX" for each piece of the set, pipelined. Every command that was sent is awaited, so that the
// session stays usable; the first error is returned, and nothing more is sent after it. `completed` may be empty: NO
// and BAD are errors then.
asio::awaitable<absl::Status> RunForUids(Session& session, std::string name, UidSet uids, std::string suffix,
                                         ResponseHandler handler, CompletionHandler completed);

// Runs `command` and forgets what the server says on the way.
asio::awaitable<absl::Status> RunPlain(Session& session, Command command);

inline absl::Status Missing(std::string_view what) {
  return Error(absl::StatusCode::kUnimplemented, "the server has no %s", what);
}

// CONDSTORE comes with QRESYNC (RFC 7162 section 3.2).
inline bool HasModSeq(const Session& session) {
  return session.HasCapability("CONDSTORE") || session.HasCapability("QRESYNC");
}

// The server owns \Recent; it is no fact about a message.
std::vector<std::string> WithoutRecent(std::vector<std::string> flags);
// kInvalidArgument for what is no flag, and for \Recent.
absl::Status CheckFlags(std::string_view command_name, const std::vector<std::string>& flags);
std::string JoinFlags(const std::vector<std::string>& flags);

struct StoreRequest;
// What follows the set in a UID STORE.
std::string StoreSuffix(const StoreRequest& request);

// The UIDs of `ranges` in their order; empty when they are not exactly `count`.
std::vector<Uid> ExpandInOrder(const std::vector<UidRange>& ranges, uint64_t count);
uint64_t CountUids(const std::vector<UidRange>& ranges);

}  // namespace imapmesh::imap

#endif  // IMAPMESH_ENGINE_IMAP_COMMAND_SUPPORT_H_
