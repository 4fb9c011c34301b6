#include "engine/sync/deliver.h"

#include <algorithm>
#include <utility>

#include "engine/sync/duplicates.h"
#include "engine/sync/listen.h"
#include "engine/sync/observe.h"
#include "engine/sync/task_group.h"

namespace imapmesh {
namespace {

constexpr Duration kTurnAlone = std::chrono::hours(1);  // where nobody else was seen

uint64_t BytesOf(const Deliverer::Parts& parts, MailboxCopyId copy) {
  uint64_t bytes = 0;
  for (const std::vector<Change>& part : parts) {
    if (part.front().mailbox_copy != copy) continue;
    for (const Change& change : part) bytes += change.planned->message.size;
  }
  return bytes;
}

}  // namespace

AppendRequest Deliverer::RequestOf(const std::vector<Change>& changes, const Bodies& bodies, bool keywords) const {
  AppendRequest request;
  request.mailbox = recorder_.Reference(changes.front().mailbox_copy);
  for (const Change& change : changes) {
    AppendItem item;
    item.body = bodies.at(change.planned->message.id);
    item.flags = SetFlags(change.plan->flags, keywords);
    item.internal_date = change.planned->message.internal_date;
    item.zone_minutes = change.planned->message.zone_minutes;
    request.items.push_back(std::move(item));
  }
  return request;
}

std::set<std::string> Deliverer::MailboxesOf(const Parts& parts) const {
  std::set<std::string> mailboxes;
  for (const std::vector<Change>& part : parts) mailboxes.insert(recorder_.MailboxName(*part.front().planned));
  return mailboxes;
}

// The first for each mailbox copy where it is not our turn already. The only one too: others may come from other
// sources.
Deliverer::Parts Deliverer::TakeAhead(ReplicaIndex target, Parts& parts) {
  const std::map<MailboxCopyId, Duration>& turns = mesh_.slot(target).turns;
  const Duration now = mesh_.clock->Now();
  const Duration lasts = HasCompany(mesh_) ? Moment(mesh_, target) : kTurnAlone;
  std::set<MailboxCopyId> taken;
  Parts first;
  for (std::vector<Change>& part : parts) {
    const auto turn = turns.find(part.front().mailbox_copy);
    const bool ours = turn != turns.end() && now - turn->second < lasts;
    if (ours || !taken.insert(part.front().mailbox_copy).second) continue;
    first.emplace_back(1, std::move(part.front()));
    part.erase(part.begin());
  }
  std::erase_if(parts, [](const std::vector<Change>& part) { return part.empty(); });
  return first;
}

// One of many goes ahead; the others follow once it is there, and where something else came just before it, once that
// was looked at. Coordinators bring the same mail in the same moment, and at first do not know of each other: of
// hundreds of messages only the first is doubled then, as the UIDs tell each who came second. That one leaves the turn
// to the other. Of this daemon, too, one batch at a time has the turn where others are at work.
asio::awaitable<void> Deliverer::AppendInTurn(ReplicaIndex target, Parts parts, std::shared_ptr<const Bodies> bodies) {
  const auto waits = [&](const std::vector<Change>& part) { return in_turn_.contains(part.front().mailbox_copy); };
  while (std::any_of(parts.begin(), parts.end(), waits)) co_await turn_over_.Wait();
  std::set<MailboxCopyId> turns;
  for (const std::vector<Change>& part : parts) turns.insert(part.front().mailbox_copy);
  in_turn_.insert(turns.begin(), turns.end());
  const auto give_away = [&] {
    for (const MailboxCopyId copy : turns) in_turn_.erase(copy);
    turns.clear();
    turn_over_.Notify();
  };
  Parts first = TakeAhead(target, parts);
  if (!first.empty()) {
    std::vector<Change> ahead;
    for (const std::vector<Change>& part : first) ahead.push_back(part.front());
    co_await Listen(mesh_, target, MailboxesOf(first));
    co_await AppendParts(target, std::move(first), bodies);
    for (const Change& change : ahead) {
      absl::Status looked = co_await LookWhereCrowded(target, change, BytesOf(parts, change.mailbox_copy));
      if (!looked.ok()) recorder_.Fail(std::move(looked));
    }
  }
  if (!HasCompany(mesh_)) give_away();
  std::erase_if(parts, [&](const std::vector<Change>& part) {
    const bool unknown = mesh_.incomplete.contains({target.value, recorder_.MailboxName(*part.front().planned)});
    return unknown || declined_.contains(part.front().mailbox_copy);
  });
  if (!parts.empty()) co_await AppendParts(target, std::move(parts), bodies);
  give_away();
}

// Where the same mail stands beside what went ahead, somebody else brought it, and brings what follows.
asio::awaitable<absl::Status> Deliverer::LookWhereCrowded(ReplicaIndex target, Change first, uint64_t following) {
  if (!crowded_.contains(first.mailbox_copy) || !recorder_.MayWork(target)) co_return absl::OkStatus();
  const std::string mailbox = recorder_.MailboxName(first.mailbox_copy);
  std::vector<std::string> look(1, mailbox), look_again(1, mailbox);
  CO_RETURN_IF_ERROR(co_await ObserveCopies(mesh_, target, std::move(look)));
  const auto is_doubled = [&](State& state) {
    const auto message = state.Load(first.planned->message.id);
    return message && HasEqualBeside(state, *message, first.mailbox_copy);
  };
  CO_ASSIGN_OR_RETURN(const bool doubled, co_await mesh_.store->Run(is_doubled));
  if (!doubled) {
    mesh_.slot(target).turns[first.mailbox_copy] = mesh_.clock->Now();
    co_return absl::OkStatus();
  }
  CO_RETURN_IF_ERROR(co_await NoteOthers(mesh_));
  Yield(mesh_, target, mailbox, following);
  std::set<std::string> mailboxes = {mailbox};
  co_await Listen(mesh_, target, std::move(mailboxes));
  if (!recorder_.MayWork(target)) co_return absl::OkStatus();
  co_return co_await ObserveCopies(mesh_, target, std::move(look_again));
}

// Those that nobody else has made meanwhile. The intents of the others are closed. First the server is asked, then the
// state: a look for the flags of other messages may have recorded just now what came.
asio::awaitable<Deliverer::Parts> Deliverer::Allowed(ReplicaIndex target, Parts parts) {
  if (!HasCompany(mesh_) && crowded_.empty()) co_return parts;
  const std::set<std::string> mailboxes = co_await MayAdd(mesh_, target, MailboxesOf(parts));
  std::vector<Change> asked;
  for (const std::vector<Change>& part : parts) {
    const std::string& mailbox = recorder_.MailboxName(*part.front().planned);
    if (mailboxes.contains(mailbox)) {
      asked.insert(asked.end(), part.begin(), part.end());
    } else {
      declined_.insert(part.front().mailbox_copy);
      Yield(mesh_, target, mailbox, BytesOf(parts, part.front().mailbox_copy));
    }
  }
  std::set<MessageId> wanted;
  if (recorder_.MayWork(target)) {
    const auto still = co_await StillWanted(mesh_, recorder_.view(), std::move(asked));
    if (!still.ok()) recorder_.Fail(still.status());
    if (!still.ok()) co_return Parts();
    for (const Change& change : *still) wanted.insert(change.planned->message.id);
  }
  std::vector<Change> others;
  for (std::vector<Change>& part : parts) {
    const auto left = std::stable_partition(
        part.begin(), part.end(), [&](const Change& change) { return wanted.contains(change.planned->message.id); });
    others.insert(others.end(), left, part.end());
    part.erase(left, part.end());
  }
  std::erase_if(parts, [](const std::vector<Change>& part) { return part.empty(); });
  if (!others.empty()) co_await recorder_.CloseIntents(others);
  co_return parts;
}

asio::awaitable<void> Deliverer::AppendParts(ReplicaIndex target, Parts parts, std::shared_ptr<const Bodies> bodies) {
  if (!recorder_.MayWork(target)) co_return;
  std::vector<Change> all;
  for (const std::vector<Change>& part : parts) all.insert(all.end(), part.begin(), part.end());
  if (!co_await recorder_.OpenIntents(all, IntentKind::kAdd)) co_return;
  parts = co_await Allowed(target, std::move(parts));
  if (parts.empty()) co_return;
  std::vector<AppendRequest> requests;
  for (const std::vector<Change>& part : parts) requests.push_back(RequestOf(part, *bodies, true));
  auto uids = co_await mesh_.slot(target).replica->AppendTogether(std::move(requests));
  TaskGroup finishing(mesh_.executor);  // side by side: one commit for all
  for (size_t i = 0; i < parts.size(); ++i) {
    finishing.Start(FinishAppend(target, std::move(parts[i]), bodies, std::move(uids[i])));
  }
  co_await finishing.Join();
}

asio::awaitable<void> Deliverer::FinishAppend(ReplicaIndex target, std::vector<Change> changes,
                                              std::shared_ptr<const Bodies> bodies, absl::StatusOr<Appended> uids) {
  bool keywords = true;
  const bool has_keywords = std::any_of(changes.begin(), changes.end(), [&](const Change& change) {
    return SetFlags(change.plan->flags, true) != SetFlags(change.plan->flags, false);
  });
  if (!uids.ok() && !OutcomeUnknown(uids.status()) && changes.size() == 1 && has_keywords) {
    keywords = false;  // perhaps only a keyword is refused: the message first, its keywords by STORE later
    AppendRequest request = RequestOf(changes, *bodies, keywords);
    uids = co_await mesh_.slot(target).replica->Append(request.mailbox, std::move(request.items));
  }
  if (!uids.ok()) {
    if (OutcomeUnknown(uids.status())) {
      co_await recorder_.Unknown(target, uids.status());
      co_return;
    }
    co_await recorder_.CloseIntents(changes);
    if (absl::IsNotFound(uids.status()) && Recreate(target, recorder_.MailboxName(*changes.front().planned))) co_return;
    if (absl::IsPermissionDenied(uids.status())) {
      recorder_.Forbid(target, changes.front(), /*addition=*/true, uids.status());
      co_return;
    }
    if (changes.size() == 1) {
      recorder_.Refuse(target, changes.front(), "APPEND", uids.status());
      co_return;
    }
    for (const Change& change : changes) {  // all or none: find the one that is refused
      Parts single(1, std::vector<Change>(1, change));
      co_await AppendParts(target, std::move(single), bodies);
    }
    co_return;
  }
  co_await RecordAppended(target, changes, *uids, keywords);
  Progressed(changes);
}

asio::awaitable<void> Deliverer::RecordAppended(ReplicaIndex target, const std::vector<Change>& changes,
                                                const Appended& appended, bool keywords) {
  const std::vector<Uid>& uids = appended.uids;
  const std::string& mailbox = recorder_.MailboxName(*changes.front().planned);
  std::vector<Recorded> records;
  for (size_t i = 0; i < changes.size() && i < uids.size(); ++i) {
    if (uids[i].value == 0) continue;  // the intent stays: the next observation finds the UID
    Recorded record{changes[i].planned->message.id, CopyRegisters(), StepKind::kAppended,
                    changes[i].plan->because.edge};
    record.copy.mailbox_copy = changes[i].mailbox_copy;
    record.copy.uid = uids[i];
    record.copy.presence = Presence::kPresent;
    record.copy.stamp = changes[i].plan->stamp;
    for (const FlagRegister& entry : changes[i].plan->flags.entries()) {
      const bool sent = keywords || !entry.set || recorder_.FlagName(entry.flag).starts_with('\\');
      if (sent) record.copy.flags.Put(entry.flag, entry.set, entry.stamp);
    }
    records.push_back(std::move(record));
    recorder_.Done(changes[i], mailbox, "APPEND");
  }
  const MailboxCopyId copy = changes.front().mailbox_copy;
  const MailboxCopyRecord* known = mesh_.FindCopy(target, mailbox);
  const bool gap = !uids.empty() && known != nullptr && uids.front() > std::max(known->uid_next, Uid(1));
  co_await recorder_.Record(target, mailbox, std::move(records), appended.uid_validity);
  if (!gap) {
    mesh_.slot(target).turns[copy] = mesh_.clock->Now();
  } else if (in_turn_.contains(copy)) {
    crowded_.insert(copy);
    mesh_.slot(target).turns.erase(copy);
  }
}

// What the display shows while a long sync runs.
void Deliverer::Progressed(const std::vector<Change>& changes) {
  for (const Change& change : changes) {
    for (auto& edge : recorder_.mesh().progress.edges) {
      const GraphEdge& declared = recorder_.mesh().graph->edges()[static_cast<size_t>(change.plan->because.edge.value)];
      if (edge.a != recorder_.mesh().name(declared.a) || edge.b != recorder_.mesh().name(declared.b)) continue;
      ++edge.messages_done;
      edge.bytes_done += static_cast<int64_t>(change.planned->message.size);
    }
  }
  if (recorder_.mesh().on_progress) recorder_.mesh().on_progress();
}

std::vector<std::string> Deliverer::SetFlags(const FlagRegisters& flags, bool keywords) const {
  std::vector<std::string> names;
  for (const FlagRegister& entry : flags.entries()) {
    if (!entry.set) continue;
    const std::string& name = recorder_.FlagName(entry.flag);
    if (keywords || name.starts_with('\\')) names.push_back(name);
  }
  return names;
}

// A mailbox that was deleted there while mail for it arrives here: the mail wins, the next round makes it again. False
// when that was tried and refused.
bool Deliverer::Recreate(ReplicaIndex target, const std::string& mailbox) {
  Mesh& mesh = recorder_.mesh();
  if (mesh.FindCopy(target, mailbox) == nullptr) return false;
  if (mesh.mailbox_refusals.contains({target.value, mailbox})) return false;
  mesh.slot(target).look_due = true;
  return true;
}

}  // namespace imapmesh
