#include "engine/replica/imap_change_known.h"

#include <algorithm>
#include <utility>

#include "engine/imap/commands.h"
#include "engine/replica/imap_expunge.h"

namespace imapmesh {
namespace {

constexpr size_t kMessagesASearch = 64;
constexpr size_t kRoundBytes = 192 * 1024;  // of commands that are sent before an answer is awaited

// The messages of one search.
using Known = std::vector<imap::KnownMessage>;

size_t Bytes(const Known& messages) {
  size_t bytes = 400;
  for (const imap::KnownMessage& message : messages) bytes += 60 + message.message_id.size();
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

template <typename... Status>
absl::Status FirstError(const Status&... statuses) {
  absl::Status first;
  ((first.ok() ? void(first = statuses) : void()), ...);
  return first;
}

// Those of `uids` that can be searched for, in parts.
std::vector<Known> Parts(const MailboxChanges& changes, const UidSet& uids) {
  std::vector<Known> parts;
  for (const Uid uid : uids.Take(SIZE_MAX)) {
    const auto mark = changes.known.find(uid);
    if (mark == changes.known.end()) continue;
    imap::KnownMessage message;
    message.uid = uid;
    message.size = mark->second.size;
    message.message_id = mark->second.message_id;
    if (!imap::IsSearchable(message)) continue;
    if (parts.empty() || parts.back().size() >= kMessagesASearch) parts.emplace_back();
    parts.back().push_back(std::move(message));
  }
  return parts;
}

// SELECT, the search, and what is to be done with what it finds.
struct Step {
  size_t request = 0;
  std::optional<size_t> store;  // of the request's; else marking what is to be expunged, or expunging it
  Known messages;
  absl::StatusOr<imap::SentSelect> select = absl::UnknownError("");
  absl::StatusOr<std::string> search = absl::UnknownError("");
  std::vector<imap::SentForUids> changes;
  absl::StatusOr<imap::SentSelect> select_again = absl::UnknownError("");
  imap::SentForUids fetch;
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
    for (auto& [request, kept] : kept_) co_await Unmark(request, std::move(kept));
  }

 private:
  void Plan(size_t i);
  asio::awaitable<void> InRounds(std::vector<Step> steps, bool expunging);
  absl::StatusOr<imap::SentSelect> SendSelect(const Step& step);
  void SendChanges(Step& step);
  void SendExpunge(Step& step);
  asio::awaitable<absl::StatusOr<imap::SelectResult>> AwaitSelected(const Step& step,
                                                                    absl::StatusOr<imap::SentSelect> sent);
  asio::awaitable<void> AwaitChanges(Step step);
  asio::awaitable<void> AwaitExpunge(Step step);
  asio::awaitable<void> Unmark(size_t request, UidSet kept);
  void Fail(size_t request, absl::Status status) { outcomes_[request].expunged = std::move(status); }

  imap::Session& session_;
  std::vector<ChangeRequest>& requests_;
  const FlagNames& flag_names_;
  std::vector<MailboxOutcome>& outcomes_;
  uint64_t& selected_;
  std::vector<Step> steps_, marked_;
  std::vector<std::pair<size_t, UidSet>> kept_;
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
      if (expunging) {
        SendExpunge(steps[next]);
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

absl::StatusOr<imap::SentSelect> KnownChanges::SendSelect(const Step& step) {
  ++selected_;
  imap::SelectRequest select(requests_[step.request].mailbox_raw);
  return imap::SendSelect(session_, std::move(select));
}

void KnownChanges::SendChanges(Step& step) {
  step.select = SendSelect(step);
  step.search = imap::SendSearchKnown(session_, step.messages, false);
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

asio::awaitable<absl::StatusOr<imap::SelectResult>> KnownChanges::AwaitSelected(const Step& step,
                                                                                absl::StatusOr<imap::SentSelect> sent) {
  if (!sent.ok()) co_return sent.status();
  absl::StatusOr<imap::SelectResult> selected = co_await imap::AwaitSelect(session_, *std::move(sent));
  if (!selected.ok()) co_return selected.status();
  CO_RETURN_IF_ERROR(CheckValidity(requests_[step.request].changes.mailbox, selected->uid_validity));
  co_return selected;
}

// What did not go as expected is left to the ordinary way, which tells why.
asio::awaitable<void> KnownChanges::AwaitChanges(Step step) {
  const absl::StatusOr<imap::SelectResult> selected = co_await AwaitSelected(step, std::move(step.select));
  absl::StatusOr<UidSet> found = absl::UnknownError("");
  if (step.search.ok()) found = co_await imap::AwaitSearchKnown(session_, *step.search);
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
  if (!selected.ok() || !found.ok() || !stored.ok()) co_return;
  MailboxChanges& changes = requests_[step.request].changes;
  if (step.store) {
    FlagStore& store = changes.stores[*step.store];
    FlagStore sent = store;
    sent.add = flag_names_.ToSet(store.add);
    sent.remove = flag_names_.ToSet(store.remove);
    if (CheckKept(selected->permanent_flags, sent).ok()) store.uids = Without(store.uids, *found);
    co_return;
  }
  changes.expunge = Without(changes.expunge, *found);
  for (const UidRange& range : modified.ranges()) {
    outcomes_[step.request].expunged->modified.AddRange(range.first, range.last);
  }
  step.messages = Only(step.messages, Without(*found, modified));
  if (step.messages.empty()) co_return;
  step.changes.clear();
  marked_.push_back(std::move(step));
}

// Dovecot 2.3.19 shows the marks for certain only to a mailbox that is selected anew, and then also what is left.
void KnownChanges::SendExpunge(Step& step) {
  step.select = SendSelect(step);
  step.search = imap::SendSearchKnown(session_, step.messages, true);
  step.changes.push_back(imap::SendUidExpungeFound(session_));
  step.select_again = SendSelect(step);
  step.fetch = imap::SendFetchFlags(session_, UidsOf(step.messages));
}

asio::awaitable<void> KnownChanges::AwaitExpunge(Step step) {
  const UidSet doomed = UidsOf(step.messages);
  const auto selected = co_await AwaitSelected(step, std::move(step.select));
  absl::StatusOr<UidSet> found = absl::UnknownError("");
  if (step.search.ok()) found = co_await imap::AwaitSearchKnown(session_, *step.search);
  const auto expunged = co_await imap::AwaitUidExpunge(session_, std::move(step.changes.front()), doomed);
  const auto again = co_await AwaitSelected(step, std::move(step.select_again));
  std::vector<Uid> left;
  const std::function<absl::Status(imap::MessageFlags)> take = [&](imap::MessageFlags message) {
    left.push_back(message.uid);
    return absl::OkStatus();
  };
  const absl::Status told = co_await imap::AwaitFetchFlags(session_, std::move(step.fetch), doomed, take);
  absl::StatusOr<ExpungeResult>& outcome = outcomes_[step.request].expunged;
  const absl::Status failed = FirstError(selected.status(), found.status(), expunged.status(), again.status(), told);
  if (!failed.ok()) {
    if (outcome.ok()) outcome = failed;
    if (session_.closed().ok()) kept_.emplace_back(step.request, doomed);
    co_return;
  }
  // Where a mark was taken away somebody wants the message. Else the server keeps it in spite of its OK.
  const UidSet still(left);
  const UidSet unmarked = Without(still, *found);
  UidSet kept = Without(still, unmarked);
  if (!kept.empty()) kept_.emplace_back(step.request, std::move(kept));
  if (!outcome.ok()) co_return;
  for (const UidRange& range : unmarked.ranges()) outcome->modified.AddRange(range.first, range.last);
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
    for (const UidRange& range : settled->ranges()) outcome->kept.AddRange(range.first, range.last);
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
