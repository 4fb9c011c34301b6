#include "engine/imap/command_support.h"

#include "base/printable.h"
#include "engine/imap/commands.h"
#include "engine/imap/response_parser.h"

namespace imapmesh::imap {

asio::awaitable<absl::Status> RunForUids(Session& session, std::string name, UidSet uids, std::string suffix,
                                         ResponseHandler handler, CompletionHandler completed) {
  const std::vector<std::string> pieces = uids.ToStrings(kSetBytesMax);
  std::deque<std::string> tags;
  absl::Status outcome;
  for (size_t next = 0; !tags.empty() || (outcome.ok() && next < pieces.size());) {
    while (outcome.ok() && next < pieces.size() && tags.size() < kCommandsInFlight) {
      Command command(name);
      command.Text(" ").Text(pieces[next++]).Text(suffix);
      absl::StatusOr<std::string> tag = session.Send(std::move(command));
      if (!tag.ok()) co_return tag.status();
      tags.push_back(*std::move(tag));
    }
    std::string tag = std::move(tags.front());
    tags.pop_front();
    absl::StatusOr<StatusResponse> response = co_await session.AwaitCompletion(std::move(tag), handler);
    if (!response.ok()) co_return Annotate(response.status(), name);
    absl::Status status;
    if (completed) {
      status = completed(*response);
    } else if (response->kind != StatusKind::kOk) {
      status = RefusalStatus(name, *response);
    }
    if (outcome.ok()) outcome = status;
  }
  co_return outcome;
}

asio::awaitable<absl::Status> RunPlain(Session& session, Command command) {
  ResponseHandler handler;
  const absl::StatusOr<StatusResponse> response = co_await session.Run(std::move(command), std::move(handler));
  co_return response.status();
}

std::vector<std::string> WithoutRecent(std::vector<std::string> flags) {
  std::erase_if(flags, [](const std::string& flag) { return EqualsInAnyCase(flag, "\\Recent"); });
  return flags;
}

absl::Status CheckFlags(std::string_view command_name, const std::vector<std::string>& flags) {
  for (const std::string& flag : flags) {
    if (IsFlag(flag) && !EqualsInAnyCase(flag, "\\Recent")) continue;
    return Error(absl::StatusCode::kInvalidArgument, "%s: \"%s\" cannot be a flag", command_name, Printable(flag, 80));
  }
  return absl::OkStatus();
}

std::string JoinFlags(const std::vector<std::string>& flags) {
  std::string joined = "(";
  for (const std::string& flag : flags) joined += (joined.size() > 1 ? " " : "") + flag;
  return joined + ")";
}

std::string StoreSuffix(const StoreRequest& request) {
  std::string suffix;
  if (request.unchanged_since != ModSeq()) {
    suffix = absl::StrFormat(" (UNCHANGEDSINCE %d)", request.unchanged_since.value);
  }
  return suffix + (request.add ? " +FLAGS.SILENT " : " -FLAGS.SILENT ") + JoinFlags(request.flags);
}

uint64_t CountUids(const std::vector<UidRange>& ranges) {
  uint64_t count = 0;
  for (const UidRange& range : ranges) count += static_cast<uint64_t>(range.last) - range.first + 1;
  return count;
}

std::vector<Uid> ExpandInOrder(const std::vector<UidRange>& ranges, uint64_t count) {
  std::vector<Uid> uids;
  if (CountUids(ranges) != count) return uids;
  for (const UidRange& range : ranges) {
    for (uint64_t uid = range.first; uid <= range.last; ++uid) uids.emplace_back(static_cast<uint32_t>(uid));
  }
  return uids;
}

}  // namespace imapmesh::imap
