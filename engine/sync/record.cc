#include "engine/sync/record.h"

#include <algorithm>
#include <optional>
#include <set>

#include "base/printable.h"
#include "engine/sync/record_observation.h"
#include "engine/sync/refusals.h"

namespace imapmesh {

MailboxReference Recorder::Reference(MailboxCopyId copy) const {
  return MailboxReference{MailboxName(copy), view_->uid_validities.at(copy)};
}

asio::awaitable<void> Recorder::LoadFlagNames(const Work& work) {
  std::set<FlagId> flags;
  for (const PlannedMessage& planned : work.messages) {
    for (const CopyPlan& copy : planned.plan.copies) {
      for (const FlagRegister& entry : copy.flags.entries()) flags.insert(entry.flag);
    }
  }
  const auto load = [&](State& state) {
    std::map<FlagId, std::string> names;
    for (const FlagId flag : flags) names[flag] = state.FlagName(flag);
    return names;
  };
  auto names = co_await mesh_.store->Run(load);
  if (names.ok()) {
    flag_names_ = *std::move(names);
  } else {
    failure_ = names.status();
  }
}

asio::awaitable<bool> Recorder::OpenIntents(const std::vector<Change>& changes, IntentKind kind) {
  const int64_t now = mesh_.clock->UnixMillis();
  const auto open = [&](State& state) {
    for (const Change& change : changes) {
      Intent intent;
      intent.message = change.planned->message.id;
      intent.mailbox_copy = change.mailbox_copy;
      intent.kind = kind;
      intent.stamp = change.plan->stamp;
      intent.flags = change.plan->flags;
      intent.unix_ms = now;
      state.AddIntent(intent);
    }
    return true;
  };
  const auto opened = co_await mesh_.store->Run(open);
  if (!opened.ok()) failure_ = opened.status();
  co_return opened.ok();
}

asio::awaitable<void> Recorder::CloseIntents(const std::vector<Change>& changes) {
  const auto close = [&](State& state) {
    for (const Change& change : changes) state.CloseIntent(change.planned->message.id, change.mailbox_copy);
    return true;
  };
  const auto closed = co_await mesh_.store->Run(close);
  if (!closed.ok()) failure_ = closed.status();
}

namespace {

bool IsArrival(const Recorded& record) {
  return record.step != StepKind::kStored && record.copy.present() && record.copy.uid.value != 0;
}

Uid LastOf(const std::vector<Recorded>& records) {
  Uid last;
  for (const Recorded& record : records) {
    if (IsArrival(record)) last = std::max(last, record.copy.uid);
  }
  return last;
}

// UIDs ascend (RFC 3501 section 2.3.1.1): a server that gives one which was given before has been restored from an
// older copy since it was observed.
bool TakesUidsBack(const MailboxCopyRecord& now, const std::vector<Recorded>& records) {
  return now.uid_validity.value != 0 && !now.rebinding &&
         std::any_of(records.begin(), records.end(),
                     [&](const Recorded& record) { return IsArrival(record) && record.copy.uid < now.uid_next; });
}

// The same, of what was never observed: another message is recorded under the UID.
bool TakesUidsOfOthers(State& state, const std::vector<Recorded>& records) {
  UidSet given;
  for (const Recorded& record : records) {
    if (IsArrival(record)) given.Add(record.copy.uid);
  }
  const MailboxCopyId here = records.empty() ? MailboxCopyId() : records.front().copy.mailbox_copy;
  if (given.empty() || state.CountByUids(here, given) == 0) return false;
  return std::any_of(records.begin(), records.end(), [&](const Recorded& record) {
    const auto known = IsArrival(record) ? state.LoadByUid(here, record.copy.uid) : std::nullopt;
    return known && known->id != record.message;
  });
}

// While all that is there is identified anew, only what the state has found again counts as UID: the plan's may be of
// the old UIDVALIDITY.
Uid UidFoundAgain(State& state, const Recorded& record) {
  if (!record.copy.present()) return Uid();
  const auto message = state.Load(record.message);
  const CopyRegisters* copy = message ? message->Find(record.copy.mailbox_copy) : nullptr;
  return copy == nullptr ? Uid() : copy->uid;
}

}  // namespace

asio::awaitable<void> Recorder::Record(ReplicaIndex target, const std::string& mailbox, std::vector<Recorded> records,
                                       UidValidity validity) {
  if (records.empty()) co_return;
  mesh_.Progressed(target);
  mesh_.Achieved(target);
  const MailboxCopyRecord* now = mesh_.FindCopy(target, mailbox);
  std::optional<MailboxCopyRecord> moved;
  const bool went_back = now != nullptr && TakesUidsBack(*now, records);
  if (went_back) moved = *now;
  bool rebinding = went_back || (now != nullptr && now->rebinding);
  if (rebinding) std::erase_if(records, IsArrival);  // left to their intents
  std::sort(records.begin(), records.end(),
            [](const Recorded& a, const Recorded& b) { return a.copy.uid < b.copy.uid; });
  if (now != nullptr && !now->rebinding && !went_back) moved = MoveCursor(*now, records, validity);
  const int64_t now_ms = mesh_.clock->UnixMillis();
  if (went_back) PrepareRebinding(*moved);
  const std::optional<MailboxCopyRecord> known = now == nullptr ? std::nullopt : std::make_optional(*now);
  const auto save = [&](State& state) {
    const bool collides = !rebinding && known && TakesUidsOfOthers(state, records);
    if (collides) {
      moved = *known;
      PrepareRebinding(*moved);
      rebinding = true;
      std::erase_if(records, IsArrival);
    }
    if (went_back || collides) state.Unbind(moved->id);
    for (Recorded& record : records) {
      if (rebinding) record.copy.uid = UidFoundAgain(state, record);
      const std::string& edge = view_->graph->edges()[static_cast<size_t>(record.edge.value)].name;
      state.history().Add({now_ms, record.message, record.copy.mailbox_copy, record.step, edge});
      state.SaveCopy(record.message, record.copy);
      state.CloseIntent(record.message, record.copy.mailbox_copy);
      state.MarkUnsettled(record.message);
    }
    if (moved) state.Save(*moved);
    return collides;
  };
  // The table moves with the transaction: another Record of this mailbox copy may run before this one returns.
  if (moved) *mesh_.FindCopy(target, mailbox) = *moved;
  const auto saved = co_await mesh_.store->Run(save);
  if (!saved.ok()) failure_ = saved.status();
  MailboxCopyRecord* after = mesh_.FindCopy(target, mailbox);
  if (saved.ok() && *saved && after != nullptr) PrepareRebinding(*after);
  if (!rebinding && after != nullptr) after->last_uid = std::max(after->last_uid, LastOf(records));
  mesh_.slot(target).look_due = true;
}

// By what was given without a gap; nullopt where that is nothing.
std::optional<MailboxCopyRecord> Recorder::MoveCursor(const MailboxCopyRecord& now,
                                                      const std::vector<Recorded>& records, UidValidity validity) {
  if (now.uid_validity.value != 0) validity = now.uid_validity;
  if (validity.value == 0) return std::nullopt;
  UidSet& given = given_[{now.id, validity}];
  for (const Recorded& record : records) {
    if (IsArrival(record)) given.Add(record.copy.uid);
  }
  MailboxCopyRecord next = now;
  if (now.uid_validity.value == 0) next.uid_next = Uid(1);
  while (given.Contains(next.uid_next)) ++next.uid_next.value;
  if (next.uid_next == now.uid_next || (now.uid_validity.value == 0 && next.uid_next == Uid(1))) return std::nullopt;
  next.uid_validity = validity;
  // A server without mod-sequences tells by its count when some of them are gone again.
  next.messages += next.uid_next.value - (now.uid_validity.value == 0 ? 1 : now.uid_next.value);
  return next;
}

asio::awaitable<void> Recorder::Unknown(ReplicaIndex target, absl::Status status) {
  mesh_.MarkDown(target, status);
  const int64_t now = mesh_.clock->UnixMillis();
  const auto touch = [&](State& state) {
    state.TouchIntents(now);
    return true;
  };
  const auto touched = co_await mesh_.store->Run(touch);
  if (!touched.ok()) failure_ = touched.status();
}

void Recorder::Refuse(ReplicaIndex target, const Change& change, const char* operation, const absl::Status& status) {
  Refusal refusal;
  refusal.replica = target;
  const MessageRegisters& message = change.planned->message;
  const std::string& mailbox = MailboxName(*change.planned);
  refusal.report = {
      mesh_.name(target),
      mailbox,
      operation,
      message.message_id.empty() ? "message " + std::to_string(message.id.value) : Printable(message.message_id),
      Message(status),
      kTriedAgain,
      mesh_.clock->UnixMillis()};
  refusal.for_good = change.plan->action == Action::kAdd && IsForGood(status);
  if (refusal.for_good) refusal.report.remedy = kRefusalRemedy;
  mesh_.Warn(Message(status));
  mesh_.Emit("PROBLEM", target, change.plan->because.edge, mailbox, Message(status));
  mesh_.refusals[{message.id, change.mailbox_copy}] = std::move(refusal);
}

void Recorder::Forbid(ReplicaIndex target, const Change& change, bool addition, const absl::Status& status) {
  const std::string& mailbox = MailboxName(*change.planned);
  ProblemReport report = {mesh_.name(target),
                          mailbox,
                          addition ? "APPEND" : "EXPUNGE",
                          "",
                          Message(status),
                          "give the account the right there (RFC 4314), then sync again; the rest goes on",
                          mesh_.clock->UnixMillis()};
  const bool news = mesh_.forbidden.insert_or_assign({change.mailbox_copy, addition}, std::move(report)).second;
  if (!news) return;
  mesh_.Warn(Message(status));
  mesh_.Emit("PROBLEM", target, change.plan->because.edge, mailbox, Message(status));
  mesh_.slot(target).look_due = true;  // another round plans without it
}

void Recorder::Done(const Change& change, const std::string& mailbox, const char* operation) {
  ++done_;
  const EdgeIndex edge = change.plan->because.edge;
  ++mesh_.edge_operations[static_cast<size_t>(edge.value)];
  mesh_.edge_last_sync_unix_ms[static_cast<size_t>(edge.value)] = mesh_.clock->UnixMillis();
  const MessageRegisters& message = change.planned->message;
  mesh_.Emit(
      "OPERATION_DONE", change.plan->target, edge, mailbox,
      std::string(operation) + " " +
          (message.message_id.empty() ? "message " + std::to_string(message.id.value) : Printable(message.message_id)));
}

}  // namespace imapmesh
