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
#include "engine/replica/imap_fetch.h"
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
  std::vector<BodiesRequest> requests(1);
  requests[0].mailbox = std::move(mailbox);
  requests[0].uids = std::move(uids);
  const std::function<void(size_t, Uid, std::shared_ptr<const Body>)> take_here =
      [&take](size_t, Uid uid, std::shared_ptr<const Body> body) { take(uid, std::move(body)); };
  co_return co_await FetchBodiesTogether(std::move(requests), take_here);
}

asio::awaitable<absl::Status> ImapReplica::FetchBodiesTogether(
    std::vector<BodiesRequest> requests, std::function<void(size_t, Uid, std::shared_ptr<const Body>)> take) {
  auto lease = co_await Acquire(requests[0].mailbox.mailbox);
  if (!lease.ok()) co_return Explain(lease.status(), requests[0].mailbox.mailbox, "connecting");
  std::vector<FetchRequest> wanted;
  for (const BodiesRequest& request : requests) {
    FetchRequest& each = wanted.emplace_back();
    each.mailbox_raw = names_.ToServer(request.mailbox.mailbox);
    each.mailbox = request.mailbox;
    each.uids = request.uids;
  }
  const std::function<void(size_t, Uid, std::shared_ptr<const Body>)> count = [&](size_t request, Uid uid,
                                                                                  std::shared_ptr<const Body> body) {
    ++counters_.messages_fetched;
    take(request, uid, std::move(body));
  };
  const auto fetched = co_await FetchMailboxes(**lease, std::move(wanted), count, counters_.mailboxes_selected);
  for (size_t i = 0; i < fetched.size(); ++i) {
    if (!fetched[i].ok()) co_return Explain(fetched[i], requests[i].mailbox.mailbox, "fetching messages");
  }
  co_return absl::OkStatus();
}

asio::awaitable<absl::Status> ImapReplica::FetchHeaders(MailboxReference mailbox, UidSet uids,
                                                        std::function<void(Uid, HeaderText)> take) {
  auto lease = co_await Acquire(mailbox.mailbox);
  if (!lease.ok()) co_return Explain(lease.status(), mailbox.mailbox, "connecting");
  const absl::Status selected = co_await EnsureSelected(**lease, mailbox);
  if (!selected.ok()) co_return Explain(selected, mailbox.mailbox, "selecting it");
  const std::function<absl::Status(imap::NewMessage)> read = [&](imap::NewMessage message) {
    take(message.uid, ReadHeaderText(message.header.value_or("")));
    return absl::OkStatus();
  };
  const absl::Status fetched = co_await imap::FetchNew(**lease, uids, read);
  co_return Explain(fetched, mailbox.mailbox, "fetching headers");
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

std::vector<imap::AppendMessage> ImapReplica::MessagesOf(const std::vector<AppendItem>& items) const {
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
  return messages;
}

absl::StatusOr<Appended> ImapReplica::UidsOf(const MailboxReference& mailbox, size_t items,
                                             const imap::AppendResult& appended) {
  Appended told;
  told.uids = appended.uids;
  told.uid_validity = appended.uid_validity;
  const bool other = mailbox.uid_validity.value != 0 && appended.uid_validity.value != 0 &&
                     appended.uid_validity != mailbox.uid_validity;
  if (!other && told.uids.size() == items) return told;
  told.uids.assign(items, Uid());  // the next observation finds them
  told.uid_validity = UidValidity();
  return told;
}

asio::awaitable<absl::StatusOr<Appended>> ImapReplica::AppendOnce(const MailboxReference& mailbox,
                                                                  const std::vector<AppendItem>& items,
                                                                  imap::LiteralSafety safety, bool& refused_unasked) {
  auto lease = co_await pool_.Acquire("");
  if (!lease.ok()) co_return lease.status();
  std::string raw = names_.ToServer(mailbox.mailbox);
  const auto appended = co_await imap::Append(**lease, std::move(raw), MessagesOf(items), safety);
  refused_unasked = !appended.ok() && (*lease)->refused_behind_literal();
  if (!appended.ok()) co_return appended.status();
  co_return UidsOf(mailbox, items.size(), *appended);
}

asio::awaitable<std::vector<absl::StatusOr<Appended>>> ImapReplica::AppendTogether(
    std::vector<AppendRequest> requests) {
  std::vector<absl::StatusOr<Appended>> outcomes(requests.size());
  std::vector<size_t> together;
  for (size_t i = 0; i < requests.size(); ++i) {
    const bool several = requests.size() > 1 && takes_unasked_literals_ && !refused_together_;
    if (several && CannotBeRefused(requests[i].mailbox, requests[i].items)) {
      together.push_back(i);
    } else {
      outcomes[i] = co_await Append(requests[i].mailbox, requests[i].items);
    }
  }
  if (!together.empty()) co_await AppendAtOnce(requests, std::move(together), outcomes);
  co_return outcomes;
}

// All goes out before an answer is awaited. A refusal closes the connection, and what was sent behind it has an unknown
// outcome: from then on it is done one by one, where each is told why.
asio::awaitable<void> ImapReplica::AppendAtOnce(const std::vector<AppendRequest>& requests, std::vector<size_t> which,
                                                std::vector<absl::StatusOr<Appended>>& outcomes) {
  auto lease = co_await pool_.Acquire("");
  std::vector<absl::StatusOr<imap::SentAppend>> sent(which.size());
  for (size_t i = 0; i < which.size(); ++i) {
    const AppendRequest& request = requests[which[i]];
    if (lease.ok()) {
      sent[i] = imap::SendAppend(**lease, names_.ToServer(request.mailbox.mailbox), MessagesOf(request.items),
                                 imap::LiteralSafety::kCannotBeRefused);
    } else {
      sent[i] = lease.status();
    }
  }
  for (size_t i = 0; i < which.size(); ++i) {
    const AppendRequest& request = requests[which[i]];
    absl::StatusOr<imap::AppendResult> appended = absl::UnknownError("");
    if (sent[i].ok()) {
      appended = co_await imap::AwaitAppend(**lease, *std::move(sent[i]));
    } else {
      appended = sent[i].status();
    }
    if (appended.ok()) {
      counters_.messages_appended += request.items.size();
      outcomes[which[i]] = UidsOf(request.mailbox, request.items.size(), *appended);
    } else {
      outcomes[which[i]] = Explain(appended.status(), request.mailbox.mailbox, "adding messages");
    }
  }
  if (!lease.ok() || !(*lease)->refused_behind_literal()) co_return;
  refused_together_ = true;
  flags_taken_.clear();
}

asio::awaitable<absl::StatusOr<Appended>> ImapReplica::Append(MailboxReference mailbox, std::vector<AppendItem> items) {
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

asio::awaitable<absl::StatusOr<MailboxCursor>> ImapReplica::CursorNow(std::string mailbox) {
  auto lease = co_await pool_.Acquire("");
  if (!lease.ok()) co_return Explain(lease.status(), mailbox, "connecting");
  const auto next = co_await imap::NextUid(**lease, names_.ToServer(mailbox));
  if (!next.ok()) co_return Explain(next.status(), mailbox, "asking for its UIDNEXT");
  MailboxCursor cursor;
  cursor.uid_validity = next->uid_validity;
  cursor.uid_next = next->uid;
  co_return cursor;
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

size_t ImapReplica::mailboxes_a_connection() const {
  return searches_known_ ? kObserveTogether : Replica::mailboxes_a_connection();
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
