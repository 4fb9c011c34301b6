// GETMETADATA and SETMETADATA (RFC 5464): the annotations of mailboxes.
//
// engine/replica calls them; the rules of commands.h hold here. Mailbox names are raw, entry names in lower case, as
// they are the same in any case. Hostile input: entries and values are counted and capped. Engine thread.
#ifndef IMAPMESH_ENGINE_IMAP_COMMANDS_METADATA_H_
#define IMAPMESH_ENGINE_IMAP_COMMANDS_METADATA_H_

#include <asio/awaitable.hpp>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/status.h"
#include "engine/imap/session.h"

namespace imapmesh::imap {

inline constexpr size_t kMetadataValueBytesMax = 65'536;  // MAXSIZE
inline constexpr size_t kMetadataEntriesMax = 1000;       // of one mailbox

struct MailboxAnnotations {
  std::map<std::string, std::string> values;  // of entries that have one; none is empty
  bool complete = true;  // false: some are larger or more than the caps; what is not in `values` may be there
};

// Whether it is an entry of a mailbox that can be carried: "/private/…" or "/shared/…" as section 3.2 has it.
bool IsEntryName(std::string_view name);

// Asks for all annotations of several mailboxes; queued, so that they can go with other commands.
class GetMetadata {
 public:
  // At most kTogether at once; keep what is pipelined below what Session::Send asks for.
  static constexpr size_t kTogether = 200;
  absl::Status Send(Session& session, const std::vector<std::string>& mailboxes_raw);
  // For each response while this or another command is awaited.
  absl::Status Take(const Response& response);
  // By raw name; mailboxes that the server refuses are left out.
  asio::awaitable<absl::StatusOr<std::map<std::string, MailboxAnnotations>>> Await(Session& session);

 private:
  std::vector<std::pair<std::string, std::string>> sent_;  // tag, mailbox
  std::map<std::string, MailboxAnnotations> found_;
};

// Sets all or none; "" removes an entry.
asio::awaitable<absl::Status> SetMetadata(Session& session, std::string mailbox_raw,
                                          std::vector<std::pair<std::string, std::string>> entries);

}  // namespace imapmesh::imap

#endif  // IMAPMESH_ENGINE_IMAP_COMMANDS_METADATA_H_
