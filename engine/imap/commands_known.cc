// Changes of messages that are what they are known by, and of no others: what a search has saved (RFC 5182).
#include <algorithm>
#include <utility>

#include "engine/imap/command_support.h"
#include "engine/imap/commands.h"

namespace imapmesh::imap {
namespace {

constexpr size_t kSearchableBytesMax = 250;

// HEADER finds what contains the text: with its brackets a Message-ID is contained in no other.
std::string Criterion(const KnownMessage& message) {
  return absl::StrFormat("(UID %d LARGER %d SMALLER %d HEADER MESSAGE-ID \"%s\")", message.uid.value, message.size - 1,
                         message.size + 1, message.message_id);
}

SentForUids SendForFound(Session& session, const std::string& name, const std::string& suffix) {
  SentForUids sent;
  Command command(name);
  command.Text(" $").Text(suffix);
  absl::StatusOr<std::string> tag = session.Send(std::move(command));
  sent.failed = tag.status();
  if (tag.ok()) sent.tags.push_back(*std::move(tag));
  return sent;
}

}  // namespace

bool CanSearchKnown(const Session& session) {
  return session.HasCapability("SEARCHRES") && session.HasCapability("ESEARCH");
}

bool IsSearchable(const KnownMessage& message) {
  const std::string& id = message.message_id;
  const auto plain = [](char c) { return c > ' ' && c < 0x7f && c != '"' && c != '\\'; };
  return message.size > 0 && id.size() > 2 && id.size() <= kSearchableBytesMax && id.front() == '<' &&
         id.back() == '>' && std::all_of(id.begin(), id.end(), plain);
}

absl::StatusOr<std::string> SendSearchKnown(Session& session, const std::vector<KnownMessage>& messages, bool deleted) {
  UidSet uids;
  for (const KnownMessage& message : messages) uids.Add(message.uid);
  std::string criteria = "UID " + uids.ToString();
  if (deleted) criteria += " DELETED";
  for (size_t i = 0; i < messages.size(); ++i) {
    criteria += (i + 1 < messages.size() ? " OR " : " ") + Criterion(messages[i]);
  }
  Command command("UID SEARCH");
  command.Text(" RETURN (SAVE ALL) ").Text(criteria);
  return session.Send(std::move(command));
}

absl::StatusOr<std::string> SendSearchNothing(Session& session) {
  Command command("UID SEARCH");
  command.Text(" RETURN (SAVE) NOT ALL");
  return session.Send(std::move(command));
}

asio::awaitable<absl::StatusOr<UidSet>> AwaitSearchKnown(Session& session, std::string tag) {
  UidSet found;
  ResponseHandler handler = [&found, &tag](Response& response) {
    auto* search = std::get_if<SearchResponse>(&response);
    if (search != nullptr && search->uid && search->tag == tag) found = std::move(search->numbers);
    return absl::OkStatus();
  };
  const absl::StatusOr<StatusResponse> done = co_await session.Await(tag, std::move(handler));
  if (!done.ok()) co_return done.status();
  co_return found;
}

SentForUids SendStoreFound(Session& session, const StoreRequest& request) {
  SentForUids sent;
  sent.failed = CheckFlags("UID STORE", request.flags);
  if (request.flags.empty() || !sent.failed.ok()) return sent;
  return SendForFound(session, "UID STORE", StoreSuffix(request));
}

SentForUids SendUidExpungeFound(Session& session) {
  return SendForFound(session, "UID EXPUNGE", "");
}

}  // namespace imapmesh::imap
