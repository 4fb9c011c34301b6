#include "engine/replica/imap_change.h"

#include <algorithm>
#include <utility>

#include "engine/imap/commands.h"
#include "engine/replica/imap_change_known.h"
#include "engine/replica/imap_expunge.h"

namespace imapmesh {
namespace {

constexpr size_t kPipelinedBytes = 32 * 1024;  // of one mailbox's UID sets, see imap::Session::Send

// Two for each of `stores`: what is added, what is taken away.
std::vector<imap::StoreRequest> StoreRequests(const std::vector<FlagStore>& stores) {
  std::vector<imap::StoreRequest> requests;
  requests.reserve(2 * stores.size());
  for (const FlagStore& store : stores) {
    for (const bool adding : {true, false}) {
      imap::StoreRequest& request = requests.emplace_back();
      request.uids = store.uids;
      request.add = adding;
      request.flags = adding ? store.add : store.remove;
    }
  }
  return requests;
}

imap::StoreRequest MarkRequest(const MailboxChanges& changes) {
  imap::StoreRequest mark;
  mark.uids = changes.expunge;
  mark.flags.push_back("\\Deleted");
  mark.unchanged_since = changes.unchanged_since;
  return mark;
}

size_t Bytes(const MailboxChanges& changes) {
  size_t bytes = 2 * changes.expunge.ToString().size();
  for (const FlagStore& store : changes.stores) bytes += 2 * store.uids.ToString().size();
  return bytes;
}

class Changes {
 public:
  Changes(imap::Session& session, std::vector<ChangeRequest> requests, const FlagNames& flag_names, uint64_t& selected)
      : session_(session),
        requests_(std::move(requests)),
        flag_names_(flag_names),
        selected_(selected),
        outcomes_(requests_.size()) {
    for (size_t i = 0; i < requests_.size(); ++i) outcomes_[i].stored.resize(requests_[i].changes.stores.size());
  }

  asio::awaitable<std::vector<MailboxOutcome>> Run() {
    Enter(0);
    for (size_t i = 0; i < requests_.size(); ++i) co_await Change(i);
    co_await FindKept();
    for (Unsettled& each : unsettled_) co_await Settle(std::move(each));
    co_return std::move(outcomes_);
  }

 private:
  // An expunge that was refused, or of which the server did not tell everything: Dovecot tells nothing of a mailbox
  // once it has read a SELECT behind.
  struct Unsettled {
    size_t request;
    UidSet doomed;
    absl::StatusOr<UidSet> untold;
  };

  void Enter(size_t i);
  asio::awaitable<absl::Status> Selected(size_t i);
  asio::awaitable<void> Change(size_t i);
  asio::awaitable<void> ChangePipelined(size_t i);
  asio::awaitable<void> ChangeStepwise(size_t i);
  asio::awaitable<void> Expunge(size_t i, imap::SentForUids mark);
  asio::awaitable<void> FindKept();
  asio::awaitable<void> AwaitKept(Unsettled expunged, imap::SentForUids fetch);
  asio::awaitable<void> Settle(Unsettled unsettled);
  void CheckFlags(size_t i);
  void TakeStored(size_t i, const std::vector<absl::Status>& stored);
  void Fail(size_t i, const absl::Status& status);

  imap::Session& session_;
  std::vector<ChangeRequest> requests_;
  const FlagNames& flag_names_;
  uint64_t& selected_;
  std::vector<MailboxOutcome> outcomes_;
  std::vector<Unsettled> untold_, unsettled_;
  // The SELECT that is on its way, unless the mailbox is selected already.
  absl::StatusOr<imap::SentSelect> select_ = absl::UnknownError("");
  bool is_selected_ = false;
};

// A mailbox that was selected before may not show yet what another connection added, and STORE and EXPUNGE of a UID
// that is not shown are OK without effect: NOOP brings the view up to date (RFC 3501 section 6.1.2). It is awaited,
// since Dovecot does so only after the commands that it has read behind.
void Changes::Enter(size_t i) {
  is_selected_ = false;
  if (i >= requests_.size()) return;
  const ChangeRequest& request = requests_[i];
  const UidValidity wanted = request.changes.mailbox.uid_validity;
  const bool same = wanted.value == 0 || session_.selected_validity() == wanted;
  if (i == 0 && same && session_.selected() == request.mailbox_raw) {
    is_selected_ = true;
    return;
  }
  ++selected_;
  imap::SelectRequest select(request.mailbox_raw);
  select_ = imap::SendSelect(session_, std::move(select));
}

asio::awaitable<absl::Status> Changes::Selected(size_t i) {
  if (!select_.ok()) co_return select_.status();
  imap::SentSelect sent = *std::move(select_);
  const auto selected = co_await imap::AwaitSelect(session_, std::move(sent));
  if (!selected.ok()) co_return selected.status();
  co_return CheckValidity(requests_[i].changes.mailbox, selected->uid_validity);
}

asio::awaitable<void> Changes::Change(size_t i) {
  absl::Status status;
  if (is_selected_) {
    status = co_await imap::Noop(session_);
  } else {
    status = co_await Selected(i);
  }
  if (status.ok() && Bytes(requests_[i].changes) <= kPipelinedBytes) {
    co_await ChangePipelined(i);
    co_return;
  }
  if (status.ok()) {
    co_await ChangeStepwise(i);
  } else {
    Fail(i, status);
  }
  Enter(i + 1);
}

asio::awaitable<void> Changes::ChangePipelined(size_t i) {
  const MailboxChanges& changes = requests_[i].changes;
  CheckFlags(i);
  std::vector<imap::SentForUids> stores;
  for (const imap::StoreRequest& store : StoreRequests(changes.stores)) {
    stores.push_back(imap::SendStore(session_, store));
  }
  imap::SentForUids mark;
  const bool expunges = !changes.expunge.empty();
  if (expunges) mark = imap::SendStore(session_, MarkRequest(changes));
  if (!expunges) Enter(i + 1);
  std::vector<absl::Status> stored;
  for (imap::SentForUids& store : stores) {
    const absl::StatusOr<UidSet> outcome = co_await imap::AwaitStore(session_, std::move(store));
    stored.push_back(outcome.status());
  }
  TakeStored(i, stored);
  if (expunges) co_await Expunge(i, std::move(mark));
}

// UID EXPUNGE waits for the answer to the marks: which of them were refused, and Dovecot 2.3.19 lets an EXPUNGE that it
// has read already pass by marks that its view does not show yet.
asio::awaitable<void> Changes::Expunge(size_t i, imap::SentForUids mark) {
  const MailboxChanges& changes = requests_[i].changes;
  absl::StatusOr<ExpungeResult>& expunged = outcomes_[i].expunged;
  const absl::StatusOr<UidSet> modified = co_await imap::AwaitStore(session_, std::move(mark));
  UidSet doomed;
  if (modified.ok()) doomed = Without(changes.expunge, *modified);
  imap::SentForUids expunge;
  if (!doomed.empty()) expunge = imap::SendUidExpunge(session_, doomed);
  Enter(i + 1);
  absl::StatusOr<UidSet> untold = co_await imap::AwaitUidExpunge(session_, std::move(expunge), doomed);
  if (!modified.ok()) {
    expunged = modified.status();
    co_return;
  }
  expunged->modified = *modified;
  const bool lost = !untold.ok() && !session_.closed().ok();
  if (lost) {
    expunged = untold.status();
  } else if (!untold.ok()) {
    unsettled_.push_back({i, std::move(doomed), std::move(untold)});
  } else if (!untold->empty()) {
    untold_.push_back({i, std::move(doomed), std::move(untold)});
  }
}

// Of what the server did not tell to be gone mostly nothing is there: all mailboxes are asked in one exchange.
asio::awaitable<void> Changes::FindKept() {
  for (size_t first = 0, next = 0; first < untold_.size(); first = next) {
    std::vector<absl::StatusOr<imap::SentSelect>> selects;
    std::vector<imap::SentForUids> fetches;
    for (size_t bytes = 0; next < untold_.size() && bytes < kPipelinedBytes; ++next) {
      imap::SelectRequest select(requests_[untold_[next].request].mailbox_raw);
      bytes += untold_[next].untold->ToString().size() + select.mailbox_raw.size();
      ++selected_;
      selects.push_back(imap::SendSelect(session_, std::move(select)));
      fetches.push_back(imap::SendFetchFlags(session_, *untold_[next].untold));
    }
    for (size_t i = first; i < next; ++i) {
      select_ = std::move(selects[i - first]);
      co_await AwaitKept(std::move(untold_[i]), std::move(fetches[i - first]));
    }
  }
}

asio::awaitable<void> Changes::AwaitKept(Unsettled expunged, imap::SentForUids fetch) {
  std::vector<Uid> kept;
  const std::function<absl::Status(imap::MessageFlags)> take = [&](imap::MessageFlags message) {
    kept.push_back(message.uid);
    return absl::OkStatus();
  };
  const absl::Status entered = co_await Selected(expunged.request);
  const absl::Status told = co_await imap::AwaitFetchFlags(session_, std::move(fetch), *expunged.untold, take);
  const absl::Status& worse = entered.ok() ? told : entered;
  if (!worse.ok()) {
    outcomes_[expunged.request].expunged = worse;
  } else if (!kept.empty()) {
    unsettled_.push_back({expunged.request, UidSet(kept), UidSet(kept)});
  }
}

asio::awaitable<void> Changes::Settle(Unsettled unsettled) {
  imap::SelectRequest select(requests_[unsettled.request].mailbox_raw);
  ++selected_;
  select_ = imap::SendSelect(session_, std::move(select));
  absl::StatusOr<ExpungeResult>& expunged = outcomes_[unsettled.request].expunged;
  const absl::Status entered = co_await Selected(unsettled.request);
  if (!entered.ok()) {
    expunged = unsettled.untold.ok() ? entered : unsettled.untold.status();
    co_return;
  }
  const auto kept = co_await SettleExpunge(session_, std::move(unsettled.doomed), std::move(unsettled.untold));
  if (kept.ok()) {
    expunged->kept = *kept;
  } else {
    expunged = kept.status();
  }
}

asio::awaitable<void> Changes::ChangeStepwise(size_t i) {
  const MailboxChanges& changes = requests_[i].changes;
  CheckFlags(i);
  std::vector<imap::StoreRequest> stores = StoreRequests(changes.stores);
  const std::vector<absl::Status> stored = co_await imap::StoreTogether(session_, std::move(stores));
  TakeStored(i, stored);
  if (changes.expunge.empty()) co_return;
  outcomes_[i].expunged = co_await ExpungeMessages(session_, changes.expunge, changes.unchanged_since);
}

// In the server's names; what the mailbox does not keep is not sent.
void Changes::CheckFlags(size_t i) {
  for (size_t s = 0; s < outcomes_[i].stored.size(); ++s) {
    FlagStore& store = requests_[i].changes.stores[s];
    store.add = flag_names_.ToSet(store.add);
    store.remove = flag_names_.ToRemove(store.remove, session_.permanent_flags());
    outcomes_[i].stored[s] = CheckKept(session_.permanent_flags(), store);
    if (!outcomes_[i].stored[s].ok()) store.uids = UidSet();
  }
}

void Changes::TakeStored(size_t i, const std::vector<absl::Status>& stored) {
  for (size_t s = 0; 2 * s < stored.size(); ++s) {
    if (!outcomes_[i].stored[s].ok()) continue;
    outcomes_[i].stored[s] = stored[2 * s].ok() ? stored[2 * s + 1] : stored[2 * s];
  }
}

void Changes::Fail(size_t i, const absl::Status& status) {
  for (absl::Status& stored : outcomes_[i].stored) stored = status;
  outcomes_[i].expunged = status;
}

}  // namespace

absl::Status CheckValidity(const MailboxReference& mailbox, UidValidity now) {
  if (mailbox.uid_validity.value == 0 || mailbox.uid_validity == now) return absl::OkStatus();
  return Error(absl::StatusCode::kFailedPrecondition, "its UIDVALIDITY changed from %u to %u; it is observed anew",
               mailbox.uid_validity.value, now.value);
}

namespace {

bool IsDone(const ChangeRequest& request) {
  const auto stored = [](const FlagStore& store) { return store.uids.empty(); };
  return request.changes.expunge.empty() &&
         std::all_of(request.changes.stores.begin(), request.changes.stores.end(), stored);
}

// `rest` is of what was left to do.
void Join(MailboxOutcome rest, MailboxOutcome& outcome) {
  outcome.stored = std::move(rest.stored);
  if (!outcome.expunged.ok()) return;
  if (!rest.expunged.ok()) {
    outcome.expunged = rest.expunged.status();
    return;
  }
  outcome.expunged->modified.Add(rest.expunged->modified);
  outcome.expunged->kept.Add(rest.expunged->kept);
}

}  // namespace

asio::awaitable<std::vector<MailboxOutcome>> ChangeMailboxes(imap::Session& session,
                                                             std::vector<ChangeRequest> requests,
                                                             const FlagNames& flag_names, uint64_t& selected) {
  std::vector<MailboxOutcome> outcomes(requests.size());
  for (size_t i = 0; i < requests.size(); ++i) outcomes[i].stored.resize(requests[i].changes.stores.size());
  co_await ChangeKnown(session, requests, flag_names, outcomes, selected);
  std::vector<ChangeRequest> left;
  std::vector<size_t> places;
  for (size_t i = 0; i < requests.size(); ++i) {
    if (IsDone(requests[i])) continue;
    places.push_back(i);
    left.push_back(std::move(requests[i]));
  }
  Changes changes(session, std::move(left), flag_names, selected);
  std::vector<MailboxOutcome> rest = co_await changes.Run();
  for (size_t i = 0; i < rest.size(); ++i) Join(std::move(rest[i]), outcomes[places[i]]);
  co_return outcomes;
}

}  // namespace imapmesh
