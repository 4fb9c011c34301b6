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

bool TakesUnaskedLiterals(const Session& session) {
  return session.HasCapability("LITERAL+");
}

absl::StatusOr<SentAppend> SendAppend(Session& session, std::string mailbox_raw,
                                      const std::vector<AppendMessage>& messages, LiteralSafety safety) {
  if (messages.size() > 1 && !session.HasCapability("MULTIAPPEND")) return Missing("MULTIAPPEND");
  Command command("APPEND", safety);
  command.Text(" ").String(mailbox_raw);
  for (const AppendMessage& message : messages) {
    RETURN_IF_ERROR(CheckMessage(message));
    command.Text(" " + JoinFlags(message.flags) + " \"" + message.internal_date + "\" ").Message(message.body);
  }
  SentAppend sent;
  ASSIGN_OR_RETURN(sent.tag, session.Send(std::move(command)));
  sent.messages = messages.size();
  return sent;
}

asio::awaitable<absl::StatusOr<AppendResult>> AwaitAppend(Session& session, SentAppend sent) {
  AppendResult result;
  ResponseHandler handler;
  const absl::StatusOr<StatusResponse> done = co_await session.Await(sent.tag, std::move(handler));
  if (!done.ok()) co_return done.status();
  if (done->code.name == "APPENDUID") {
    result.uid_validity = done->code.uid_validity;
    result.uids = ExpandInOrder(done->code.target_uids, sent.messages);
  }
  result.uids.resize(sent.messages);
  co_return result;
}

asio::awaitable<absl::StatusOr<AppendResult>> Append(Session& session, std::string mailbox_raw,
                                                     std::vector<AppendMessage> messages, LiteralSafety safety) {
  AppendResult none;
  if (messages.empty()) co_return none;
  CO_ASSIGN_OR_RETURN(SentAppend sent, SendAppend(session, std::move(mailbox_raw), messages, safety));
  co_return co_await AwaitAppend(session, std::move(sent));
}

}  // namespace imapmesh::imap
