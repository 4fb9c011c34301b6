#include "engine/sync/apply_copies.h"

#include <map>
#include <set>
#include <tuple>

#include "engine/sync/listen.h"
#include "engine/sync/task_group.h"

namespace imapmesh {
namespace {

constexpr size_t kMessagesACopy = 1000;

// A copy carries the flags of where it came from, as far as it can hold them: what differs from the wanted ones stays
// pending.
CopyRegisters AsCopied(const Change& change, Uid uid, const CopyRegisters* source, const FlagLimits& limits) {
  CopyRegisters copy;
  copy.mailbox_copy = change.mailbox_copy;
  copy.uid = uid;
  copy.presence = Presence::kPresent;
  copy.stamp = change.plan->stamp;
  if (source != nullptr) {
    for (const FlagRegister& entry : source->flags.entries()) {
      if (entry.set && CanChange(limits, entry.flag)) copy.flags.Put(entry.flag, true, kCarried);
    }
  }
  for (const FlagRegister& entry : change.plan->flags.entries()) {
    if (copy.flags.IsSet(entry.flag) == entry.set) copy.flags.Put(entry.flag, entry.set, entry.stamp);
  }
  return copy;
}

class Copier {
 public:
  explicit Copier(Recorder& recorder) : recorder_(recorder) {}
  asio::awaitable<void> Copies(const Work& work, ReplicaIndex target);

 private:
  // Messages that one COPY or MOVE brings from one mailbox copy into another of the same replica.
  struct CopyGroup {
    ReplicaIndex replica;
    MailboxCopyId from;
    bool move = false;
    std::vector<std::pair<Change, ServerSideCopy>> changes;
  };

  std::vector<CopyGroup> CopyGroups(const Work& work, ReplicaIndex target) const;
  asio::awaitable<void> RunCopies(CopyGroup group);
  asio::awaitable<void> RecordCopies(const CopyGroup& group, const std::vector<CopiedUid>& copied);
  asio::awaitable<bool> MayCopy(const CopyGroup& group, std::vector<Change> changes);
  asio::awaitable<bool> OpenDepartures(const CopyGroup& group);
  asio::awaitable<void> GiveUpCopies(const CopyGroup& group);
  asio::awaitable<void> LookAgain(const CopyGroup& group, std::vector<Change> missing);

  Recorder& recorder_;
};

std::vector<Copier::CopyGroup> Copier::CopyGroups(const Work& work, ReplicaIndex target) const {
  std::map<std::tuple<MailboxCopyId, MailboxCopyId, bool>, std::vector<CopyGroup>> groups;  // from, to, move
  std::set<std::pair<MailboxCopyId, Uid>> taken;
  for (const PlannedMessage& planned : work.messages) {
    for (const CopyPlan& copy : planned.plan.copies) {
      if (copy.target != target) continue;
      const auto found = planned.copy_from.find(copy.target.value);
      if (copy.action != Action::kAdd || found == planned.copy_from.end() || copy.mailbox_copy.value == 0) continue;
      const MessageSource& source = found->second.source;
      if (!taken.emplace(source.mailbox_copy, source.uid).second) continue;  // the next round takes it
      const bool move = found->second.departure.has_value();
      auto& parts = groups[{source.mailbox_copy, copy.mailbox_copy, move}];
      if (parts.empty() || parts.back().changes.size() >= kMessagesACopy) {
        parts.push_back({copy.target, source.mailbox_copy, move, {}});
      }
      parts.back().changes.push_back({{&planned, &copy, copy.mailbox_copy}, found->second});
    }
  }
  std::vector<CopyGroup> result;
  for (auto& [key, parts] : groups) std::move(parts.begin(), parts.end(), std::back_inserter(result));
  return result;
}

asio::awaitable<void> Copier::RunCopies(CopyGroup group) {
  if (!recorder_.MayWork(group.replica)) co_return;
  std::vector<Change> changes;
  UidSet uids;
  for (const auto& [change, copy] : group.changes) {
    changes.push_back(change);
    uids.Add(copy.source.uid);
  }
  if (!group.move) {  // of two moves one finds nothing left
    std::set<std::string> mailbox = {recorder_.MailboxName(*changes.front().planned)};
    co_await Listen(recorder_.mesh(), group.replica, std::move(mailbox));
  }
  if (group.move && !co_await OpenDepartures(group)) co_return;
  if (!co_await recorder_.OpenIntents(changes, IntentKind::kCopy)) co_return;
  if (!group.move && !co_await MayCopy(group, changes)) {
    co_await recorder_.CloseIntents(changes);
    co_return;
  }
  MailboxReference from = recorder_.Reference(group.from), to = recorder_.Reference(changes.front().mailbox_copy);
  const auto copied = co_await recorder_.mesh().slot(group.replica).replica->CopyMessages(from, to, uids, group.move);
  if (copied.ok()) {
    co_await RecordCopies(group, *copied);
  } else if (OutcomeUnknown(copied.status())) {
    co_await recorder_.Unknown(group.replica, copied.status());
  } else {
    co_await GiveUpCopies(group);
  }
}

// All or none: what is no longer wanted is planned otherwise in the next round, with the rest.
asio::awaitable<bool> Copier::MayCopy(const CopyGroup& group, std::vector<Change> changes) {
  if (!HasCompany(recorder_.mesh())) co_return true;
  const size_t all = changes.size();
  std::set<std::string> mailbox = {recorder_.MailboxName(*changes.front().planned)};
  mailbox = co_await MayAdd(recorder_.mesh(), group.replica, std::move(mailbox));
  if (mailbox.empty()) co_return false;
  const auto wanted = co_await StillWanted(recorder_.mesh(), recorder_.view(), std::move(changes));
  if (!wanted.ok()) recorder_.Fail(wanted.status());
  co_return wanted.ok() && wanted->size() == all;
}

asio::awaitable<bool> Copier::OpenDepartures(const CopyGroup& group) {
  const int64_t now = recorder_.mesh().clock->UnixMillis();
  const auto open = [&](State& state) {
    for (const auto& [change, copy] : group.changes) {
      Intent intent;
      intent.message = copy.source.message;
      intent.mailbox_copy = copy.source.mailbox_copy;
      intent.kind = IntentKind::kExpunge;
      intent.stamp = *copy.departure;
      intent.unix_ms = now;
      state.AddIntent(intent);
    }
    return true;
  };
  const auto opened = co_await recorder_.mesh().store->Run(open);
  if (!opened.ok()) recorder_.Fail(opened.status());
  co_return opened.ok();
}

// The server refused, and nothing changed: they are uploaded instead, and expunged where they were.
asio::awaitable<void> Copier::GiveUpCopies(const CopyGroup& group) {
  for (const auto& [change, copy] : group.changes) {
    recorder_.mesh().no_copy.insert({change.planned->message.id, change.mailbox_copy});
  }
  const auto close = [&](State& state) {
    for (const auto& [change, copy] : group.changes) {
      state.CloseIntent(change.planned->message.id, change.mailbox_copy);
      if (group.move) state.CloseIntent(copy.source.message, copy.source.mailbox_copy);
    }
    return true;
  };
  const auto closed = co_await recorder_.mesh().store->Run(close);
  if (!closed.ok()) recorder_.Fail(closed.status());
  recorder_.mesh().slot(group.replica).look_due = true;
}

// The server said OK but not under which UIDs: either the source was gone, or it names none (RFC 4315 section 3). The
// intents stay, and the next observation tells.
asio::awaitable<void> Copier::LookAgain(const CopyGroup& group, std::vector<Change> missing) {
  for (const Change& change : missing)
    recorder_.mesh().no_copy.insert({change.planned->message.id, change.mailbox_copy});
  const auto answered = [&](State& state) {
    for (const Change& change : missing) state.AnswerIntent(change.planned->message.id, change.mailbox_copy);
    return true;
  };
  const auto saved = co_await recorder_.mesh().store->Run(answered);
  if (!saved.ok()) recorder_.Fail(saved.status());
  recorder_.mesh().slot(group.replica).look_due = true;
}

asio::awaitable<void> Copier::RecordCopies(const CopyGroup& group, const std::vector<CopiedUid>& copied) {
  const auto load = [&](State& state) {
    std::map<Uid, CopyRegisters> sources;
    for (const auto& [change, copy] : group.changes) {
      const auto message = state.Load(copy.source.message);
      if (message && message->Find(group.from) != nullptr) sources[copy.source.uid] = *message->Find(group.from);
    }
    return sources;
  };
  const auto sources = co_await recorder_.mesh().store->Run(load);
  if (!sources.ok()) {
    recorder_.Fail(sources.status());
    co_return;
  }
  const std::string& from_name = recorder_.MailboxName(group.from);
  const std::string& to_name = recorder_.MailboxName(*group.changes.front().first.planned);
  std::map<Uid, Uid> arrived;
  for (const CopiedUid& pair : copied) arrived[pair.from] = pair.to;
  std::vector<Recorded> arrivals, departures;
  std::vector<Change> missing;
  for (const auto& [change, copy] : group.changes) {
    const auto found = arrived.find(copy.source.uid);
    if (found == arrived.end() || found->second.value == 0) {
      missing.push_back(change);
      continue;
    }
    const auto source = sources->find(copy.source.uid);
    const CopyRegisters* before = source == sources->end() ? nullptr : &source->second;
    const EdgeIndex edge = change.plan->because.edge;
    const StepKind step = group.move ? StepKind::kMoved : StepKind::kCopied;
    const MailboxView& mailbox = recorder_.view().mailboxes.at(change.planned->message.mailbox);
    const FlagLimits& limits = mailbox.limits[static_cast<size_t>(group.replica.value)].flags;
    arrivals.push_back({change.planned->message.id, AsCopied(change, found->second, before, limits), step, edge});
    if (group.move && before != nullptr) {
      departures.push_back({copy.source.message, *before, step, edge});
      departures.back().copy.presence = Presence::kAbsent;
      departures.back().copy.uid = Uid();
      departures.back().copy.stamp = *copy.departure;
    }
    recorder_.Done(change, to_name, group.move ? "MOVE" : "COPY");
  }
  co_await recorder_.Record(group.replica, to_name, std::move(arrivals));
  co_await recorder_.Record(group.replica, from_name, std::move(departures));
  if (!missing.empty()) co_await LookAgain(group, std::move(missing));
}

asio::awaitable<void> Copier::Copies(const Work& work, ReplicaIndex target) {
  TaskGroup tasks(recorder_.mesh().executor);
  for (CopyGroup& group : CopyGroups(work, target)) tasks.Start(RunCopies(std::move(group)));
  co_await tasks.Join();
}

}  // namespace

asio::awaitable<void> ApplyCopies(Recorder& recorder, const Work& work, ReplicaIndex target) {
  Copier copier(recorder);
  co_await copier.Copies(work, target);
}

}  // namespace imapmesh
