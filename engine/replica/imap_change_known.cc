#include "engine/replica/imap_change_known.h"

#include <algorithm>
#include <utility>

#include "engine/imap/commands.h"
#include "engine/replica/imap_expunge.h"

namespace imapmesh {
namespace {

constexpr size_t kBytesASearch = 7000;      // what every server takes as one line (RFC 7162 section 4)
constexpr size_t kBytesAMessage = 80;       // and its Message-ID
constexpr size_t kRoundBytes = 192 * 1024;  // of commands that are sent before an answer is awaited

// The messages of one search.
using Known = std::vector<imap::KnownMessage>;

size_t Bytes(const Known& messages) {
  size_t bytes = 400;  // of the rest
  for (const imap::KnownMessage& message : messages) bytes += kBytesAMessage + message.message_id.size();
  return bytes;
}

UidSet UidsOf(const Known& messages) {
  UidSet uids;
  for (const imap::KnownMessage& message : messages) uids.Add(message.uid);
  return uids;
}

Known Only(const Known& messages, const UidSet& uids) {
  Known some;
  for (const imap::KnownMessage& message : messages) {
    if (uids.Contains(message.uid)) some.push_back(message);
  }
  return some;
}

// Those of `uids` that can be searched for, in parts.
std::vector<Known> Parts(const MailboxChanges& changes, const UidSet& uids) {
  std::vector<Known> parts;
  size_t bytes = 0;
  for (const Uid uid : uids.Take(SIZE_MAX)) {
    const auto mark = changes.known.find(uid);
    if (mark == changes.known.end()) continue;
    imap::KnownMessage message;
    message.uid = uid;
    message.size = mark->second.size;
    message.message_id = mark->second.message_id;
    if (!imap::IsSearchable(message)) continue;
    bytes += kBytesAMessage + message.message_id.size();
    if (parts.empty() || bytes > kBytesASearch) {
      parts.emplace_back();
      bytes = kBytesAMessage + message.message_id.size();
    }
    parts.back().push_back(std::move(message));
  }
  return parts;
}

// SELECT, the search, and what is to be done with what it finds.
struct Step {
  size_t request = 0;
  std::optional<size_t> store;  // of the request's; else marking what is to be expunged, or expunging it
  Known messages;
  bool goes_on = false;  // in the mailbox that the step before has selected
  absl::StatusOr<imap::SentSelect> select = absl::UnknownError("");
  absl::StatusOr<std::string> forget = absl::UnknownError("");  // what the step before has found
  absl::StatusOr<std::string> search = absl::UnknownError("");
  std::vector<imap::SentForUids> changes;
};

class KnownChanges {
 public:
  KnownChanges(imap::Session& session, std::vector<ChangeRequest>& requests, const FlagNames& flag_names,
               std::vector<MailboxOutcome>& outcomes, uint64_t& selected)
      : session_(session), requests_(requests), flag_names_(flag_names), outcomes_(outcomes), selected_(selected) {}

  asio::awaitable<void> Run() {
    for (size_t i = 0; i < requests_.size(); ++i) Plan(i);
    co_await InRounds(std::move(steps_), false);
    co_await InRounds(std::exchange(marked_, {}), true);
    co_await FindKept();
    for (auto& [request, kept] : kept_) co_await Unmark(request, std::move(kept));
  }

 private:
  void Plan(size_t i);
  asio::awaitable<void> InRounds(std::vector<Step> steps, bool expunging);
  void SendSearch(Step& step, bool deleted);
  void SendChanges(Step& step);
  absl::StatusOr<imap::SentSelect> SendSelect(size_t request);
  asio::awaitable<absl::Status> AwaitSelected(size_t request, absl::StatusOr<imap::SentSelect> sent);
  asio::awaitable<absl::StatusOr<UidSet>> AwaitSearch(Step& step);
  asio::awaitable<void> AwaitChanges(Step step);
  asio::awaitable<void> AwaitExpunge(Step step);
  asio::awaitable<void> FindKept();
  asio::awaitable<void> AwaitKept(size_t request, UidSet untold, absl::StatusOr<imap::SentSelect> select,
                                  imap::SentForUids fetch);
  asio::awaitable<void> Unmark(size_t request, UidSet kept);
  void Fail(size_t request, UidSet marked, const absl::Status& status);

  imap::Session& session_;
  std::vector<ChangeRequest>& requests_;
  const FlagNames& flag_names_;
  std::vector<MailboxOutcome>& outcomes_;
  uint64_t& selected_;
  std::vector<Step> steps_, marked_;
  absl::Status entered_ = absl::UnknownError("");  // the mailbox of the step that is awaited
  std::optional<std::vector<std::string>> permanent_flags_;
  // By request: of these the server did not tell that they are gone; these are there and marked by us.
  std::vector<std::pair<size_t, UidSet>> untold_, kept_;
};

void KnownChanges::Plan(size_t i) {
  const MailboxChanges& changes = requests_[i].changes;
  const auto add = [&](std::optional<size_t> store, const UidSet& uids) {
    for (Known& messages : Parts(changes, uids)) {
      Step& step = steps_.emplace_back();
      step.request = i;
      step.store = store;
      step.messages = std::move(messages);
    }
  };
  for (size_t s = 0; s < changes.stores.size(); ++s) {
    const FlagStore& store = changes.stores[s];
    // Which names a keyword is removed by depends on what SELECT tells.
    const bool plain = flag_names_.ToRemove(store.remove, std::nullopt) == flag_names_.ToSet(store.remove);
    if (plain) add(s, store.uids);
  }
  add(std::nullopt, changes.expunge);
}

asio::awaitable<void> KnownChanges::InRounds(std::vector<Step> steps, bool expunging) {
  for (size_t first = 0, next = 0; first < steps.size(); first = next) {
    for (size_t bytes = 0; next < steps.size() && (bytes == 0 || bytes < kRoundBytes); ++next) {
      bytes += Bytes(steps[next].messages);
      steps[next].goes_on = next > first && steps[next].request == steps[next - 1].request;
      SendSearch(steps[next], expunging);
      if (expunging) {
        steps[next].changes.push_back(imap::SendUidExpungeFound(session_));
      } else {
        SendChanges(steps[next]);
      }
    }
    for (size_t i = first; i < next; ++i) {
      if (expunging) {
        co_await AwaitExpunge(std::move(steps[i]));
      } else {
        co_await AwaitChanges(std::move(steps[i]));
      }
    }
  }
}

absl::StatusOr<imap::SentSelect> KnownChanges::SendSelect(size_t request) {
  ++selected_;
  imap::SelectRequest select(requests_[request].mailbox_raw);
  return imap::SendSelect(session_, std::move(select));
}

// SELECT makes the server forget what was found. Expunging begins with one in each mailbox: Dovecot 2.3.19 is sure to
// show the marks only to a mailbox that is selected anew.
void KnownChanges::SendSearch(Step& step, bool deleted) {
  if (step.goes_on) {
    step.forget = imap::SendSearchNothing(session_);
  } else {
    step.select = SendSelect(step.request);
  }
  step.search = imap::SendSearchKnown(session_, step.messages, deleted);
}

void KnownChanges::SendChanges(Step& step) {
  const MailboxChanges& changes = requests_[step.request].changes;
  imap::StoreRequest request;
  if (!step.store) {
    request.flags.push_back("\\Deleted");
    request.unchanged_since = changes.unchanged_since;
    step.changes.push_back(imap::SendStoreFound(session_, request));
    return;
  }
  const FlagStore& store = changes.stores[*step.store];
  request.flags = flag_names_.ToSet(store.add);
  step.changes.push_back(imap::SendStoreFound(session_, request));
  request.add = false;
  request.flags = flag_names_.ToSet(store.remove);
  step.changes.push_back(imap::SendStoreFound(session_, request));
}

asio::awaitable<absl::Status> KnownChanges::AwaitSelected(size_t request, absl::StatusOr<imap::SentSelect> sent) {
  if (!sent.ok()) co_return sent.status();
  absl::StatusOr<imap::SelectResult> selected = co_await imap::AwaitSelect(session_, *std::move(sent));
  if (!selected.ok()) co_return selected.status();
  permanent_flags_ = std::move(selected->permanent_flags);
  co_return CheckValidity(requests_[request].changes.mailbox, selected->uid_validity);
}

// The mailbox is the one that is meant, and this was found.
asio::awaitable<absl::StatusOr<UidSet>> KnownChanges::AwaitSearch(Step& step) {
  absl::Status forgotten;
  if (!step.goes_on) {
    entered_ = co_await AwaitSelected(step.request, std::move(step.select));
  } else if (step.forget.ok()) {
    const absl::StatusOr<UidSet> nothing = co_await imap::AwaitSearchKnown(session_, *step.forget);
    forgotten = nothing.status();
  }
  if (!step.search.ok()) co_return step.search.status();
  absl::StatusOr<UidSet> found = co_await imap::AwaitSearchKnown(session_, *step.search);
  if (!entered_.ok()) co_return entered_;
  if (!forgotten.ok()) co_return forgotten;
  co_return found;
}

// What did not go as expected is left to the ordinary way, which tells why.
asio::awaitable<void> KnownChanges::AwaitChanges(Step step) {
  const absl::StatusOr<UidSet> found = co_await AwaitSearch(step);
  absl::Status stored;
  UidSet modified;
  for (imap::SentForUids& change : step.changes) {
    const absl::StatusOr<UidSet> outcome = co_await imap::AwaitStore(session_, std::move(change));
    if (outcome.ok()) {
      modified = *outcome;
    } else {
      stored = outcome.status();
    }
  }
  if (!found.ok() || !stored.ok()) co_return;
  MailboxChanges& changes = requests_[step.request].changes;
  if (step.store) {
    FlagStore& store = changes.stores[*step.store];
    FlagStore sent = store;
    sent.add = flag_names_.ToSet(store.add);
    sent.remove = flag_names_.ToSet(store.remove);
    if (CheckKept(permanent_flags_, sent).ok()) store.uids = Without(store.uids, *found);
    co_return;
  }
  changes.expunge = Without(changes.expunge, *found);
  outcomes_[step.request].expunged->modified.Add(modified);
  step.messages = Only(step.messages, Without(*found, modified));
  if (step.messages.empty()) co_return;
  step.changes.clear();
  marked_.push_back(std::move(step));
}

void KnownChanges::Fail(size_t request, UidSet marked, const absl::Status& status) {
  absl::StatusOr<ExpungeResult>& outcome = outcomes_[request].expunged;
  if (outcome.ok()) outcome = status;
  if (session_.closed().ok()) kept_.emplace_back(request, std::move(marked));
}

asio::awaitable<void> KnownChanges::AwaitExpunge(Step step) {
  const absl::StatusOr<UidSet> found = co_await AwaitSearch(step);
  UidSet doomed = UidsOf(step.messages);
  absl::StatusOr<UidSet> untold = co_await imap::AwaitUidExpunge(session_, std::move(step.changes.front()), doomed);
  if (!found.ok() || !untold.ok()) {
    Fail(step.request, std::move(doomed), found.ok() ? untold.status() : found.status());
  } else if (!untold->empty()) {
    untold_.emplace_back(step.request, *std::move(untold));
  }
}

// Of what the server did not tell to be gone mostly nothing is there: all mailboxes are asked in one exchange.
asio::awaitable<void> KnownChanges::FindKept() {
  std::vector<absl::StatusOr<imap::SentSelect>> selects;
  std::vector<imap::SentForUids> fetches;
  for (const auto& [request, untold] : untold_) {
    selects.push_back(SendSelect(request));
    fetches.push_back(imap::SendFetchFlags(session_, untold));
  }
  for (size_t i = 0; i < untold_.size(); ++i) {
    co_await AwaitKept(untold_[i].first, untold_[i].second, std::move(selects[i]), std::move(fetches[i]));
  }
}

// Where our mark was taken away somebody wants the message. Else the server keeps it in spite of its OK.
asio::awaitable<void> KnownChanges::AwaitKept(size_t request, UidSet untold, absl::StatusOr<imap::SentSelect> select,
                                              imap::SentForUids fetch) {
  std::vector<Uid> marked, unmarked;
  const std::function<absl::Status(imap::MessageFlags)> take = [&](imap::MessageFlags message) {
    const auto deleted = std::find(message.flags.begin(), message.flags.end(), "\\Deleted");
    (deleted == message.flags.end() ? unmarked : marked).push_back(message.uid);
    return absl::OkStatus();
  };
  const absl::Status entered = co_await AwaitSelected(request, std::move(select));
  const absl::Status told = co_await imap::AwaitFetchFlags(session_, std::move(fetch), untold, take);
  if (!entered.ok() || !told.ok()) {
    Fail(request, std::move(untold), entered.ok() ? told : entered);
    co_return;
  }
  if (!marked.empty()) kept_.emplace_back(request, UidSet(marked));
  if (outcomes_[request].expunged.ok()) outcomes_[request].expunged->modified.Add(UidSet(unmarked));
}

// Takes our marks away again from what was not expunged.
asio::awaitable<void> KnownChanges::Unmark(size_t request, UidSet kept) {
  absl::StatusOr<ExpungeResult>& outcome = outcomes_[request].expunged;
  ++selected_;
  imap::SelectRequest select(requests_[request].mailbox_raw);
  const auto selected = co_await imap::Select(session_, std::move(select));
  absl::Status entered = selected.status();
  if (selected.ok()) entered = CheckValidity(requests_[request].changes.mailbox, selected->uid_validity);
  if (!entered.ok()) {
    if (outcome.ok()) outcome = entered;
    co_return;
  }
  absl::StatusOr<UidSet> untold = kept;
  if (!outcome.ok()) untold = outcome.status();
  const auto settled = co_await SettleExpunge(session_, std::move(kept), std::move(untold));
  if (!outcome.ok()) co_return;
  if (settled.ok()) {
    outcome->kept.Add(*settled);
  } else {
    outcome = settled.status();
  }
}

}  // namespace

asio::awaitable<void> ChangeKnown(imap::Session& session, std::vector<ChangeRequest>& requests,
                                  const FlagNames& flag_names, std::vector<MailboxOutcome>& outcomes,
                                  uint64_t& selected) {
  if (!imap::CanSearchKnown(session) || !session.HasCapability("UIDPLUS")) co_return;
  KnownChanges changes(session, requests, flag_names, outcomes, selected);
  co_await changes.Run();
}

}  // namespace imapmesh
