#include "engine/imap/commands_metadata.h"

#include <algorithm>

#include "engine/imap/command.h"
#include "engine/imap/command_support.h"
#include "engine/imap/response_parser.h"

namespace imapmesh::imap {
namespace {

constexpr size_t kEntryNameBytesMax = 500;

std::string InLowerCase(std::string_view text) {
  std::string lower(text);
  for (char& c : lower) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + ('a' - 'A'));
  }
  return lower;
}

std::string Key(const std::string& mailbox) {
  return EqualsInAnyCase(mailbox, "INBOX") ? "INBOX" : mailbox;
}

}  // namespace

bool IsEntryName(std::string_view name) {
  if (!name.starts_with("/private/") && !name.starts_with("/shared/")) return false;
  if (name.size() > kEntryNameBytesMax || name.ends_with('/') || name.find("//") != std::string_view::npos)
    return false;
  return std::all_of(name.begin(), name.end(), [](char c) { return c > 0x20 && c < 0x7F && c != '*' && c != '%'; });
}

absl::Status GetMetadata::Send(Session& session, const std::vector<std::string>& mailboxes_raw) {
  for (const std::string& mailbox : mailboxes_raw) {
    Command command("GETMETADATA");
    command.Text(" (DEPTH infinity MAXSIZE " + std::to_string(kMetadataValueBytesMax) + ") ");
    command.String(mailbox).Text(" (/private /shared)");
    ASSIGN_OR_RETURN(std::string tag, session.Send(std::move(command)));
    sent_.emplace_back(std::move(tag), Key(mailbox));
    found_[Key(mailbox)];
  }
  return absl::OkStatus();
}

absl::Status GetMetadata::Take(const Response& response) {
  const auto* metadata = std::get_if<MetadataResponse>(&response);
  if (metadata == nullptr) return absl::OkStatus();
  const auto found = found_.find(Key(metadata->mailbox));
  if (found == found_.end()) return absl::OkStatus();
  MailboxAnnotations& annotations = found->second;
  for (const auto& [name, value] : metadata->entries) {
    const std::string entry = InLowerCase(name);
    if (!value || value->empty() || !IsEntryName(entry)) continue;
    const bool fits = value->size() <= kMetadataValueBytesMax && annotations.values.size() < kMetadataEntriesMax;
    if (fits) annotations.values[entry] = *value;
    annotations.complete &= fits;
  }
  return absl::OkStatus();
}

asio::awaitable<absl::StatusOr<std::map<std::string, MailboxAnnotations>>> GetMetadata::Await(Session& session) {
  ResponseHandler handler = [this](Response& response) { return Take(response); };
  for (const auto& [tag, mailbox] : sent_) {
    const auto done = co_await session.AwaitCompletion(tag, handler);
    if (!done.ok()) co_return Annotate(done.status(), "GETMETADATA");
    if (done->kind != StatusKind::kOk) found_.erase(mailbox);
    const bool longer = done->code.name == "METADATA" && InCapitals(done->code.arguments).starts_with("LONGENTRIES");
    if (const auto found = found_.find(mailbox); longer && found != found_.end()) found->second.complete = false;
  }
  sent_.clear();
  co_return std::move(found_);
}

asio::awaitable<absl::Status> SetMetadata(Session& session, std::string mailbox_raw,
                                          std::vector<std::pair<std::string, std::string>> entries) {
  Command command("SETMETADATA");
  command.Text(" ").String(mailbox_raw).Text(" (");
  bool first = true;
  for (const auto& [entry, value] : entries) {
    command.Text(first ? "" : " ").String(entry).Text(" ");
    first = false;
    if (value.empty()) {
      command.Text("NIL");
    } else {
      command.String(value);
    }
  }
  command.Text(")");
  co_return co_await RunPlain(session, std::move(command));
}

}  // namespace imapmesh::imap
