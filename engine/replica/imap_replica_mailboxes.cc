// Mailboxes of a replica over IMAP: made, renamed, deleted, subscribed to; their annotations.
#include <utility>

#include "base/printable.h"
#include "engine/imap/commands.h"
#include "engine/replica/imap_replica.h"

namespace imapmesh {
namespace {

// Servers without response codes (RFC 5530) do not tell in a refusal that the mailbox is gone already.
asio::awaitable<absl::Status> NotFoundOr(imap::Session& session, std::string raw, absl::Status refusal) {
  if (refusal.ok() || OutcomeUnknown(refusal) || absl::IsNotFound(refusal)) co_return refusal;
  const auto exists = co_await imap::Exists(session, raw);
  if (!exists.ok()) co_return OutcomeUnknown(exists.status()) ? exists.status() : refusal;
  co_return *exists ? refusal : absl::NotFoundError(refusal.message());
}

}  // namespace

asio::awaitable<absl::StatusOr<bool>> ImapReplica::CreateMailbox(std::string mailbox, bool subscribe) {
  auto lease = co_await pool_.Acquire("");
  if (!lease.ok()) co_return Explain(lease.status(), mailbox, "connecting");
  const absl::Status confirmed = co_await ConfirmNames(**lease);
  if (!confirmed.ok()) co_return Explain(confirmed, mailbox, "asking for the namespaces before creating it");
  const std::string raw = names_.ToServer(mailbox);
  absl::Status created = co_await imap::Create(**lease, raw);
  const bool made = created.ok();
  if (!created.ok() && !OutcomeUnknown(created)) {
    const auto exists = co_await imap::Exists(**lease, raw);
    // What refuses to make a name may refuse to look for it too: the first answer tells why.
    if (OutcomeUnknown(exists.status())) co_return Explain(exists.status(), mailbox, "looking for it");
    if (exists.ok() && *exists) created = absl::OkStatus();
  }
  if (!created.ok()) co_return Explain(created, mailbox, "creating it");
  mailboxes_listed_.insert(mailbox);
  if (!subscribe) co_return made;
  const absl::Status subscribed = co_await imap::Subscribe(**lease, raw);
  if (!subscribed.ok()) co_return Explain(subscribed, mailbox, "subscribing to it");
  co_return made;
}

asio::awaitable<absl::Status> ImapReplica::Subscribe(std::string mailbox, bool subscribed) {
  auto lease = co_await pool_.Acquire("");
  if (!lease.ok()) co_return Explain(lease.status(), mailbox, "connecting");
  const std::string raw = names_.ToServer(mailbox);
  absl::Status status;
  if (subscribed) {
    status = co_await imap::Subscribe(**lease, raw);
  } else {
    status = co_await imap::Unsubscribe(**lease, raw);
  }
  co_return Explain(status, mailbox, "changing the subscription");
}

asio::awaitable<absl::StatusOr<bool>> ImapReplica::MailboxExists(std::string local_name) {
  auto exists = co_await AskIfExists(local_name);
  // Servers end connections that have a mailbox selected which is deleted (Dovecot does: "BYE Mailbox is deleted"),
  // and a deleted mailbox is what is asked for most.
  if (OutcomeUnknown(exists.status())) exists = co_await AskIfExists(local_name);
  co_return exists;
}

asio::awaitable<absl::StatusOr<bool>> ImapReplica::AskIfExists(std::string local_name) {
  auto lease = co_await pool_.Acquire("");
  if (!lease.ok()) co_return Explain(lease.status(), local_name, "connecting");
  const auto exists = co_await imap::Exists(**lease, names_.LocalToServer(local_name));
  if (!exists.ok()) co_return Explain(exists.status(), local_name, "looking for it");
  co_return exists;
}

asio::awaitable<absl::Status> ImapReplica::DeleteMailbox(std::string mailbox) {
  auto lease = co_await pool_.Acquire("");
  if (!lease.ok()) co_return Explain(lease.status(), mailbox, "connecting");
  imap::Session& session = **lease;
  // The mailbox must not be selected, by this connection or, for some servers, by any.
  const absl::Status left = co_await imap::Unselect(session);
  if (!left.ok()) co_return Explain(left, mailbox, "leaving the selected mailbox");
  const std::string raw = names_.ToServer(mailbox);
  const auto messages = co_await imap::CountMessages(session, raw);
  if (!messages.ok()) {
    const absl::Status refusal = co_await NotFoundOr(session, raw, messages.status());
    co_return Explain(refusal, mailbox, "counting its messages before deleting it");
  }
  if (*messages > 0) {
    co_return Explain(Error(absl::StatusCode::kFailedPrecondition, "%d messages have arrived in it", *messages),
                      mailbox, "deleting it");
  }
  const absl::Status deleted = co_await imap::Delete(session, raw);
  const absl::Status status = co_await NotFoundOr(session, raw, deleted);
  if (status.ok()) pool_.Deselect(raw);
  co_return Explain(status, mailbox, "deleting it");
}

asio::awaitable<absl::StatusOr<bool>> ImapReplica::RenameMailbox(std::string from, std::string to,
                                                                 std::vector<std::string> subscribed) {
  auto lease = co_await pool_.Acquire("");
  if (!lease.ok()) co_return Explain(lease.status(), from, "connecting");
  imap::Session& session = **lease;
  const absl::Status left = co_await imap::Unselect(session);
  if (!left.ok()) co_return Explain(left, from, "leaving the selected mailbox");
  const absl::Status confirmed = co_await ConfirmNames(session);
  if (!confirmed.ok()) co_return Explain(confirmed, from, "asking for the namespaces before renaming it");
  const std::string raw_from = names_.LocalToServer(from), raw_to = names_.LocalToServer(to);
  const absl::Status renamed = co_await imap::Rename(session, raw_from, raw_to);
  if (!renamed.ok()) co_return Explain(renamed, from, "renaming it to " + Printable(to));
  pool_.Deselect("");
  // A subscription is to a name, and stays with it.
  bool followed = true;
  for (const std::string& name : subscribed) {
    const std::string now = names_.LocalToServer(to + name.substr(from.size()));
    const absl::Status status = co_await imap::Subscribe(session, now);
    followed &= status.ok();
    if (!status.ok()) continue;
    const absl::Status left_behind = co_await imap::Unsubscribe(session, names_.LocalToServer(name));
    if (OutcomeUnknown(left_behind)) co_return Explain(left_behind, name, "unsubscribing from its old name");
  }
  co_return followed;
}

// ---- annotations

asio::awaitable<absl::StatusOr<MetadataByMailbox>> ImapReplica::GetMetadata(std::vector<std::string> mailboxes) {
  auto lease = co_await pool_.Acquire("");
  if (!lease.ok()) co_return Explain(lease.status(), "", "connecting");
  auto found = co_await LookAtMetadata(**lease, names_, std::move(mailboxes));
  if (!found.ok()) co_return Explain(found.status(), "", "reading annotations");
  co_return found;
}

asio::awaitable<absl::Status> ImapReplica::SetMetadata(std::string mailbox,
                                                       std::vector<std::pair<std::string, std::string>> entries) {
  auto lease = co_await pool_.Acquire("");
  if (!lease.ok()) co_return Explain(lease.status(), mailbox, "connecting");
  const absl::Status set = co_await imap::SetMetadata(**lease, names_.ToServer(mailbox), std::move(entries));
  co_return Explain(set, mailbox, "setting annotations");
}

}  // namespace imapmesh
