// APPEND, of one message or several (RFC 3502).
#include <utility>

#include "base/printable.h"
#include "engine/imap/command_support.h"
#include "engine/imap/commands.h"

namespace imapmesh::imap {
namespace {

absl::Status CheckMessage(const AppendMessage& message) {
  if (message.body == nullptr) return absl::InvalidArgumentError("APPEND: no message");
  if (!IsDateTime(message.internal_date)) {
    return Error(absl::StatusCode::kInvalidArgument, "APPEND: \"%s\" is no date and time",
                 Printable(message.internal_date, 60));
  }
  return CheckFlags("APPEND", message.flags);
}

}  // namespace

asio::awaitable<absl::StatusOr<AppendResult>> Append(Session& session, std::string mailbox_raw,
                                                     std::vector<AppendMessage> messages, LiteralSafety safety) {
  AppendResult result;
  if (messages.empty()) co_return result;
  if (messages.size() > 1 && !session.HasCapability("MULTIAPPEND")) co_return Missing("MULTIAPPEND");
  Command command("APPEND", safety);
  command.Text(" ").String(mailbox_raw);
  for (const AppendMessage& message : messages) {
    CO_RETURN_IF_ERROR(CheckMessage(message));
    command.Text(" " + JoinFlags(message.flags) + " \"" + message.internal_date + "\" ").Message(message.body);
  }
  ResponseHandler handler;
  const absl::StatusOr<StatusResponse> done = co_await session.Run(std::move(command), std::move(handler));
  if (!done.ok()) co_return done.status();
  if (done->code.name == "APPENDUID") {
    result.uid_validity = done->code.uid_validity;
    result.uids = ExpandInOrder(done->code.target_uids, messages.size());
  }
  result.uids.resize(messages.size());
  co_return result;
}

}  // namespace imapmesh::imap
