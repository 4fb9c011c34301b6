#include "engine/replica/imap_metadata.h"

#include <algorithm>
#include <utility>

namespace imapmesh {

absl::Status MetadataLook::Send(imap::Session& session, const std::vector<std::string>& mailboxes) {
  if (!session.HasCapability("METADATA")) return absl::OkStatus();
  std::vector<std::string> raw;
  for (const std::string& mailbox : mailboxes) {
    if (raw.size() == imap::GetMetadata::kTogether) break;
    raw.push_back(names_.ToServer(mailbox));
  }
  return command_.Send(session, raw);
}

asio::awaitable<absl::StatusOr<MetadataByMailbox>> MetadataLook::Await(imap::Session& session) {
  auto found = co_await command_.Await(session);
  if (!found.ok()) co_return found.status();
  MetadataByMailbox by_mailbox;
  for (auto& [raw, annotations] : *found) {
    const auto mailbox = names_.ToMesh(raw);
    if (!mailbox) continue;
    MailboxMetadata& metadata = by_mailbox[*mailbox];
    metadata.values = std::move(annotations.values);
    metadata.complete = annotations.complete;
  }
  co_return by_mailbox;
}

asio::awaitable<absl::StatusOr<MetadataByMailbox>> LookAtMetadata(imap::Session& session, const MailboxNames& names,
                                                                  std::vector<std::string> mailboxes) {
  MetadataByMailbox all;
  for (size_t next = 0; next < mailboxes.size(); next += imap::GetMetadata::kTogether) {
    const size_t end = std::min(mailboxes.size(), next + imap::GetMetadata::kTogether);
    const std::vector<std::string> part(mailboxes.begin() + static_cast<std::ptrdiff_t>(next),
                                        mailboxes.begin() + static_cast<std::ptrdiff_t>(end));
    MetadataLook look(names);
    CO_RETURN_IF_ERROR(look.Send(session, part));
    auto found = co_await look.Await(session);
    if (!found.ok()) co_return found.status();
    all.merge(*found);
  }
  co_return all;
}

}  // namespace imapmesh
