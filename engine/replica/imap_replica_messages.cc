// Messages of a replica over IMAP: fetched, added, copied, changed, expunged.
#include <algorithm>
#include <iterator>
#include <utility>

#include "base/printable.h"
#include "engine/imap/commands.h"
#include "engine/imap/date_time.h"
#include "engine/replica/header_text.h"
#include "engine/replica/imap_change.h"
#include "engine/replica/imap_expunge.h"
#include "engine/replica/imap_replica.h"

namespace imapmesh {
namespace {

constexpr size_t kMaxAppend = 100;

// RFC 3501 section 2.3.2: every server takes these in an APPEND.
bool IsSystemFlag(std::string_view flag) {
  static constexpr std::string_view kFlags[] = {"\\Seen", "\\Answered", "\\Flagged", "\\Deleted", "\\Draft"};
  return std::find(std::begin(kFlags), std::end(kFlags), flag) != std::end(kFlags);
}

}  // namespace

// ---- fetching

asio::awaitable<absl::Status> ImapReplica::FetchBodies(MailboxReference mailbox, UidSet uids,
                                                       std::function<void(Uid, std::shared_ptr<const Body>)> take) {
  auto lease = co_await Acquire(mailbox.mailbox);
  if (!lease.ok()) co_return Explain(lease.status(), mailbox.mailbox, "connecting");
  imap::Session& session = **lease;
  const std::function<absl::Status(Uid, std::shared_ptr<const Body>)> count = [&](Uid uid,
                                                                                  std::shared_ptr<const Body> body) {
    ++counters_.messages_fetched;
    take(uid, std::move(body));
    return absl::OkStatus();
  };
  absl::Status fetched;
  if (session.selected() == names_.ToServer(mailbox.mailbox)) {
    const absl::Status selected = co_await EnsureSelected(session, mailbox);
    if (!selected.ok()) co_return Explain(selected, mailbox.mailbox, "selecting it");
    fetched = co_await imap::FetchBodies(session, uids, count);
  } else {
    fetched = co_await FetchBodiesSelecting(session, mailbox, uids, count);
  }
  co_return Explain(fetched, mailbox.mailbox, "fetching messages");
}

asio::awaitable<absl::Status> ImapReplica::FetchHeaders(MailboxReference mailbox, UidSet uids,
                                                        std::function<void(Uid, HeaderText)> take) {
  auto lease = co_await Acquire(mailbox.mailbox);
  if (!lease.ok()) co_return Explain(lease.status(), mailbox.mailbox, "connecting");
  const absl::Status selected = co_await EnsureSelected(**lease, mailbox);
  if (!selected.ok()) co_return Explain(selected, mailbox.mailbox, "selecting it");
  const std::function<absl::Status(imap::NewMessage)> read = [&](imap::NewMessage message) {
    take(message.uid, ReadHeaderText(message.header));
    return absl::OkStatus();
  };
  const absl::Status fetched = co_await imap::FetchNew(**lease, uids, read);
  co_return Explain(fetched, mailbox.mailbox, "fetching headers");
}

// SELECT and the fetches in one exchange; nothing is taken before the UIDVALIDITY is known to be the wanted one.
asio::awaitable<absl::Status> ImapReplica::FetchBodiesSelecting(
    imap::Session& session, MailboxReference mailbox, UidSet uids,
    std::function<absl::Status(Uid, std::shared_ptr<const Body>)> take) {
  if (uids.empty()) co_return absl::OkStatus();
  ++counters_.mailboxes_selected;
  imap::SelectRequest request(names_.ToServer(mailbox.mailbox));
  absl::StatusOr<imap::SentSelect> sent = imap::SendSelect(session, std::move(request));
  if (!sent.ok()) co_return sent.status();
  const std::function<asio::awaitable<absl::Status>()> lead = [&]() -> asio::awaitable<absl::Status> {
    const auto selected = co_await imap::AwaitSelect(session, *sent);
    if (!selected.ok()) co_return selected.status();
    co_return CheckValidity(mailbox, selected->uid_validity);
  };
  co_return co_await imap::FetchBodiesBehind(session, std::move(uids), std::move(take), lead);
}

// ---- changing

size_t ImapReplica::max_append() const {
  return multi_append_ ? kMaxAppend : 1;
}

bool ImapReplica::CannotBeRefused(const MailboxReference& mailbox, const std::vector<AppendItem>& items) const {
  if (!mailboxes_listed_.contains(mailbox.mailbox)) return false;
  for (const AppendItem& item : items) {
    for (const std::string& flag : item.flags) {
      if (!IsSystemFlag(flag) && !flags_taken_.contains(flag)) return false;
    }
  }
  return true;
}

asio::awaitable<absl::StatusOr<std::vector<Uid>>> ImapReplica::AppendOnce(const MailboxReference& mailbox,
                                                                          const std::vector<AppendItem>& items,
                                                                          imap::LiteralSafety safety,
                                                                          bool& refused_unasked) {
  auto lease = co_await pool_.Acquire("");
  if (!lease.ok()) co_return lease.status();
  std::vector<imap::AppendMessage> messages;
  for (const AppendItem& item : items) {
    imap::AppendMessage message;
    message.body = item.body;
    message.flags = flag_names_.ToSet(item.flags);
    imap::DateTime date;
    date.unix_seconds = item.internal_date;
    date.zone_minutes = item.zone_minutes;
    message.internal_date = imap::FormatDateTime(date);
    messages.push_back(std::move(message));
  }
  std::string raw = names_.ToServer(mailbox.mailbox);
  const auto appended = co_await imap::Append(**lease, std::move(raw), std::move(messages), safety);
  refused_unasked = !appended.ok() && (*lease)->refused_behind_literal();
  if (!appended.ok()) co_return appended.status();
  std::vector<Uid> uids = appended->uids;
  const bool other = mailbox.uid_validity.value != 0 && appended->uid_validity.value != 0 &&
                     appended->uid_validity != mailbox.uid_validity;
  if (other || uids.size() != items.size()) uids.assign(items.size(), Uid());  // the next observation finds them
  co_return uids;
}

asio::awaitable<absl::StatusOr<std::vector<Uid>>> ImapReplica::Append(MailboxReference mailbox,
                                                                      std::vector<AppendItem> items) {
  const bool unasked = CannotBeRefused(mailbox, items);
  bool refused_unasked = false;
  const auto safety = unasked ? imap::LiteralSafety::kCannotBeRefused : imap::LiteralSafety::kMayBeRefused;
  auto uids = co_await AppendOnce(mailbox, items, safety, refused_unasked);
  if (refused_unasked) {  // nothing was added; asked for the literal first, the server says why
    flags_taken_.clear();
    uids = co_await AppendOnce(mailbox, items, imap::LiteralSafety::kMayBeRefused, refused_unasked);
  }
  if (!uids.ok()) co_return Explain(uids.status(), mailbox.mailbox, "adding messages");
  for (const AppendItem& item : items) flags_taken_.insert(item.flags.begin(), item.flags.end());
  counters_.messages_appended += items.size();
  co_return uids;
}

asio::awaitable<absl::StatusOr<Uid>> ImapReplica::NextUid(std::string mailbox) {
  auto lease = co_await pool_.Acquire("");
  if (!lease.ok()) co_return Explain(lease.status(), mailbox, "connecting");
  const auto next = co_await imap::NextUid(**lease, names_.ToServer(mailbox));
  if (!next.ok()) co_return Explain(next.status(), mailbox, "asking for its UIDNEXT");
  co_return *next;
}

asio::awaitable<absl::StatusOr<std::vector<CopiedUid>>> ImapReplica::CopyMessages(MailboxReference from,
                                                                                  MailboxReference to, UidSet uids,
                                                                                  bool move) {
  auto lease = co_await Acquire(from.mailbox);
  if (!lease.ok()) co_return Explain(lease.status(), from.mailbox, "connecting");
  const absl::Status selected = co_await EnsureSelected(**lease, from);
  if (!selected.ok()) co_return Explain(selected, from.mailbox, "selecting it");
  std::string target = names_.ToServer(to.mailbox);
  absl::StatusOr<imap::CopyResult> result = absl::UnknownError("");
  if (move) {
    result = co_await imap::UidMove(**lease, uids, std::move(target));
  } else {
    result = co_await imap::UidCopy(**lease, uids, std::move(target));
  }
  if (!result.ok()) co_return Explain(result.status(), from.mailbox, "copying to " + Printable(to.mailbox));
  // Of another UIDVALIDITY than is known the UIDs mean nothing yet: the next observation finds them.
  const bool other =
      to.uid_validity.value != 0 && result->uid_validity.value != 0 && result->uid_validity != to.uid_validity;
  std::vector<CopiedUid> copied;
  for (const auto& [source, copy] : result->uids) copied.push_back({source, other ? Uid() : copy});
  counters_.messages_copied_server_side += copied.size();
  if (move) counters_.messages_expunged += copied.size();
  co_return copied;
}

asio::awaitable<absl::Status> ImapReplica::StoreFlags(MailboxReference mailbox, UidSet uids,
                                                      std::vector<std::string> add, std::vector<std::string> remove) {
  std::vector<MailboxChanges> changes(1);
  changes[0].mailbox = std::move(mailbox);
  FlagStore& store = changes[0].stores.emplace_back();
  store.uids = std::move(uids);
  store.add = std::move(add);
  store.remove = std::move(remove);
  const std::vector<MailboxOutcome> outcomes = co_await ChangeTogether(std::move(changes));
  co_return outcomes[0].stored[0];
}

asio::awaitable<std::vector<MailboxOutcome>> ImapReplica::ChangeTogether(std::vector<MailboxChanges> changes) {
  const bool expunges =
      std::any_of(changes.begin(), changes.end(), [](const auto& each) { return !each.expunge.empty(); });
  if (expunges && !has_uidplus_) co_return co_await Replica::ChangeTogether(std::move(changes));
  std::vector<ChangeRequest> requests;
  for (const MailboxChanges& each : changes) requests.push_back({names_.ToServer(each.mailbox.mailbox), each});
  auto lease = co_await pool_.Acquire(requests[0].mailbox_raw);
  if (!lease.ok()) {
    MailboxOutcome failed;
    failed.expunged = Explain(lease.status(), changes[0].mailbox.mailbox, "connecting");
    std::vector<MailboxOutcome> none(changes.size(), failed);
    for (size_t i = 0; i < changes.size(); ++i)
      none[i].stored.resize(changes[i].stores.size(), failed.expunged.status());
    co_return none;
  }
  auto outcomes = co_await ChangeMailboxes(**lease, std::move(requests), flag_names_, counters_.mailboxes_selected);
  for (size_t i = 0; i < changes.size(); ++i) Count(changes[i], outcomes[i]);
  co_return outcomes;
}

// And tells what an error is about.
void ImapReplica::Count(const MailboxChanges& changes, MailboxOutcome& outcome) {
  const std::string& mailbox = changes.mailbox.mailbox;
  for (size_t s = 0; s < changes.stores.size(); ++s) {
    if (outcome.stored[s].ok()) counters_.flags_changed += changes.stores[s].uids.size();
    outcome.stored[s] = Explain(outcome.stored[s], mailbox, "changing flags");
  }
  if (!outcome.expunged.ok()) {
    outcome.expunged = Explain(outcome.expunged.status(), mailbox, "expunging messages");
  } else {
    counters_.messages_expunged += Without(changes.expunge, outcome.expunged->modified).size();
  }
}

asio::awaitable<absl::StatusOr<ExpungeResult>> ImapReplica::Expunge(MailboxReference mailbox, UidSet uids,
                                                                    ModSeq unchanged_since) {
  // Where EXPUNGE takes everything marked, two at once in a mailbox would each find the other's marks.
  while (!has_uidplus_ && !expunging_.insert(mailbox.mailbox).second) co_await expunged_.Wait();
  absl::StatusOr<ExpungeResult> result = co_await ExpungeOnce(mailbox, uids, unchanged_since);
  expunging_.erase(mailbox.mailbox);
  expunged_.Notify();
  if (result.ok()) counters_.messages_expunged += Without(uids, result->modified).size();
  co_return result;
}

asio::awaitable<absl::StatusOr<ExpungeResult>> ImapReplica::ExpungeOnce(MailboxReference mailbox, UidSet uids,
                                                                        ModSeq unchanged_since) {
  auto lease = co_await Acquire(mailbox.mailbox);
  if (!lease.ok()) co_return Explain(lease.status(), mailbox.mailbox, "connecting");
  const absl::Status selected = co_await EnsureSelected(**lease, mailbox);
  if (!selected.ok()) co_return Explain(selected, mailbox.mailbox, "selecting it");
  absl::StatusOr<ExpungeResult> result = co_await ExpungeMessages(**lease, std::move(uids), unchanged_since);
  if (!result.ok()) co_return Explain(result.status(), mailbox.mailbox, "expunging messages");
  co_return result;
}

}  // namespace imapmesh
