#include "engine/sync/apply.h"

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <tuple>

#include "base/printable.h"
#include "engine/sync/task_group.h"

namespace imapmesh {
namespace {

constexpr size_t kChunkMessages = 100;
constexpr uint64_t kChunkBytes = 2 * 1024 * 1024;
constexpr int kChunksAtOnce = 6;  // bounds memory: at most this many times kChunkBytes, larger bodies spill
constexpr size_t kMessagesAStore = 1000;

// One copy that an operation changes, and how it will be recorded.
struct Change {
  const PlannedMessage* planned = nullptr;
  const CopyPlan* plan = nullptr;
  MailboxCopyId mailbox_copy;
};

struct Recorded {
  MessageId message;
  CopyRegisters copy;
};

// Everything a batch shares.
class Applier {
 public:
  explicit Applier(Mesh& mesh) : mesh_(mesh), view_(mesh.View(false)) {}

  int64_t done = 0;
  absl::Status failure;  // of the store: stop

  asio::awaitable<void> Additions(const Work& work);
  asio::awaitable<void> Flags(const Work& work);
  asio::awaitable<void> Deletions(const Work& work);

 private:
  // Messages of one mailbox from one source to the same targets.
  struct Chunk {
    ReplicaIndex source;
    std::vector<ReplicaIndex> targets;
    std::vector<const PlannedMessage*> messages;
    uint64_t bytes = 0;
  };
  // Messages that one COPY or MOVE brings from one mailbox copy into another of the same replica.
  struct CopyGroup {
    ReplicaIndex replica;
    MailboxCopyId from;
    bool move = false;
    std::vector<std::pair<Change, ServerSideCopy>> changes;
  };

  std::vector<Chunk> Chunks(const Work& work) const;
  std::vector<CopyGroup> CopyGroups(const Work& work) const;
  asio::awaitable<void> RunChunk(Chunk chunk, Permits& permits);
  asio::awaitable<void> AppendTo(ReplicaIndex target, const Chunk& chunk,
                                 const std::map<MessageId, std::shared_ptr<const Body>>& bodies);
  asio::awaitable<void> AppendItems(ReplicaIndex target, std::vector<Change> changes,
                                    const std::map<MessageId, std::shared_ptr<const Body>>& bodies);
  asio::awaitable<absl::StatusOr<std::vector<Uid>>> Append(
      ReplicaIndex target, const std::vector<Change>& changes,
      const std::map<MessageId, std::shared_ptr<const Body>>& bodies, bool keywords);
  asio::awaitable<void> RunCopies(CopyGroup group);
  asio::awaitable<void> RecordCopies(const CopyGroup& group, const std::vector<CopiedUid>& copied);
  asio::awaitable<bool> OpenDepartures(const CopyGroup& group);
  asio::awaitable<void> GiveUpCopies(const CopyGroup& group);
  asio::awaitable<void> LookAgain(const CopyGroup& group, std::vector<Change> missing);
  asio::awaitable<void> RunStore(ReplicaIndex target, std::vector<Change> changes);
  asio::awaitable<void> RunExpunge(ReplicaIndex target, std::vector<Change> changes);

  asio::awaitable<bool> OpenIntents(const std::vector<Change>& changes, IntentKind kind);
  asio::awaitable<void> CloseIntents(const std::vector<Change>& changes);
  asio::awaitable<void> Record(ReplicaIndex target, const std::string& mailbox, std::vector<Recorded> records);
  asio::awaitable<void> Unknown(ReplicaIndex target, absl::Status status);
  void Refuse(ReplicaIndex target, const Change& change, const char* operation, const absl::Status& status);
  bool Recreate(ReplicaIndex target, const std::string& mailbox);
  void Done(const Change& change, const std::string& mailbox, const char* operation);
  void Progressed(const Chunk& chunk, ReplicaIndex target);

  const std::string& MailboxName(const PlannedMessage& planned) const {
    return view_->mailboxes.at(planned.message.mailbox).name;
  }
  MailboxReference Reference(ReplicaIndex r, const std::string& mailbox) {
    const MailboxCopyRecord* record = mesh_.FindCopy(r, mailbox);
    return MailboxReference{mailbox, record == nullptr ? UidValidity() : record->uid_validity};
  }
  std::vector<std::string> SetFlags(const FlagRegisters& flags, bool keywords) const {
    std::vector<std::string> names;
    for (const FlagRegister& entry : flags.entries()) {
      if (!entry.set) continue;
      const std::string& name = flag_names_.at(entry.flag);
      if (keywords || name.starts_with('\\')) names.push_back(name);
    }
    return names;
  }
  asio::awaitable<void> LoadFlagNames(const Work& work);

  Mesh& mesh_;
  std::shared_ptr<const MeshView> view_;
  std::map<FlagId, std::string> flag_names_;

  friend asio::awaitable<absl::StatusOr<int64_t>> imapmesh::ApplyAdditionsAndFlags(Mesh& mesh, const Work& work);
};

asio::awaitable<void> Applier::LoadFlagNames(const Work& work) {
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
    failure = names.status();
  }
}

// ---- intents and records

asio::awaitable<bool> Applier::OpenIntents(const std::vector<Change>& changes, IntentKind kind) {
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
  if (!opened.ok()) failure = opened.status();
  co_return opened.ok();
}

asio::awaitable<void> Applier::CloseIntents(const std::vector<Change>& changes) {
  const auto close = [&](State& state) {
    for (const Change& change : changes) state.CloseIntent(change.planned->message.id, change.mailbox_copy);
    return true;
  };
  const auto closed = co_await mesh_.store->Run(close);
  if (!closed.ok()) failure = closed.status();
}

// Registers and closed intents, and the UIDNEXT of the cursor when the new UIDs follow it without a gap.
asio::awaitable<void> Applier::Record(ReplicaIndex target, const std::string& mailbox, std::vector<Recorded> records) {
  if (records.empty()) co_return;
  const MailboxCopyRecord* now = mesh_.FindCopy(target, mailbox);
  std::optional<MailboxCopyRecord> moved;
  std::sort(records.begin(), records.end(),
            [](const Recorded& a, const Recorded& b) { return a.copy.uid < b.copy.uid; });
  if (now != nullptr && now->uid_validity.value != 0 && !now->rebinding) {
    MailboxCopyRecord next = *now;
    for (const Recorded& record : records) {
      if (record.copy.present() && record.copy.uid == next.uid_next) ++next.uid_next.value;
    }
    if (next.uid_next != now->uid_next) moved = next;
  }
  const auto save = [&](State& state) {
    for (const Recorded& record : records) {
      state.SaveCopy(record.message, record.copy);
      state.CloseIntent(record.message, record.copy.mailbox_copy);
      state.MarkUnsettled(record.message);
    }
    if (moved) state.Save(*moved);
    return true;
  };
  // The table moves with the transaction: another Record of this mailbox copy may run before this one returns.
  if (moved) *mesh_.FindCopy(target, mailbox) = *moved;
  const auto saved = co_await mesh_.store->Run(save);
  if (!saved.ok()) failure = saved.status();
  mesh_.slot(target).look_due = true;
}

asio::awaitable<void> Applier::Unknown(ReplicaIndex target, absl::Status status) {
  mesh_.MarkDown(target, status);
  const int64_t now = mesh_.clock->UnixMillis();
  const auto touch = [&](State& state) {
    state.TouchIntents(now);
    return true;
  };
  const auto touched = co_await mesh_.store->Run(touch);
  if (!touched.ok()) failure = touched.status();
}

void Applier::Refuse(ReplicaIndex target, const Change& change, const char* operation, const absl::Status& status) {
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
      "the rest goes on; it is tried again with the next sync that is asked for",
      mesh_.clock->UnixMillis()};
  mesh_.Warn(Message(status));
  mesh_.Emit("PROBLEM", target, change.plan->because.edge, mailbox, Message(status));
  mesh_.refusals[{message.id, change.mailbox_copy}] = std::move(refusal);
}

// A mailbox that was deleted there while mail for it arrives here: the mail wins, the next round makes it again. False
// when that was tried and refused.
bool Applier::Recreate(ReplicaIndex target, const std::string& mailbox) {
  MailboxCopyRecord* record = mesh_.FindCopy(target, mailbox);
  if (record == nullptr || mesh_.mailbox_refusals.contains({target.value, mailbox})) return false;
  if (!record->exists) record->tombstone = false;
  mesh_.slot(target).look_due = true;
  return true;
}

void Applier::Done(const Change& change, const std::string& mailbox, const char* operation) {
  ++done;
  const EdgeIndex edge = change.plan->because.edge;
  ++mesh_.edge_operations[static_cast<size_t>(edge.value)];
  mesh_.edge_last_sync_unix_ms[static_cast<size_t>(edge.value)] = mesh_.clock->UnixMillis();
  const MessageRegisters& message = change.planned->message;
  mesh_.Emit(
      "OPERATION_DONE", change.plan->target, edge, mailbox,
      std::string(operation) + " " +
          (message.message_id.empty() ? "message " + std::to_string(message.id.value) : Printable(message.message_id)));
}

// ---- additions

std::vector<Applier::Chunk> Applier::Chunks(const Work& work) const {
  std::vector<Chunk> chunks;
  std::map<std::pair<int32_t, std::vector<ReplicaIndex>>, Chunk> open;
  for (const PlannedMessage& planned : work.messages) {
    if (planned.plan.sources.empty()) continue;
    std::vector<ReplicaIndex> targets;
    for (const CopyPlan& copy : planned.plan.copies) {
      const bool append = copy.action == Action::kAdd && !planned.copy_from.contains(copy.target.value);
      if (append && copy.mailbox_copy.value != 0) targets.push_back(copy.target);
    }
    if (targets.empty()) continue;
    const ReplicaIndex source = planned.plan.sources.front();
    Chunk& chunk = open[{source.value, targets}];
    const bool full = chunk.messages.size() >= kChunkMessages || chunk.bytes + planned.message.size > kChunkBytes;
    if (!chunk.messages.empty() && full) {
      chunks.push_back(std::move(chunk));
      chunk = Chunk();
    }
    chunk.source = source;
    chunk.targets = targets;
    chunk.messages.push_back(&planned);
    chunk.bytes += planned.message.size;
  }
  for (auto& [key, chunk] : open) chunks.push_back(std::move(chunk));
  return chunks;
}

std::vector<Applier::CopyGroup> Applier::CopyGroups(const Work& work) const {
  std::map<std::tuple<int32_t, MailboxCopyId, bool>, std::vector<CopyGroup>> groups;
  std::set<std::pair<MailboxCopyId, Uid>> taken;
  for (const PlannedMessage& planned : work.messages) {
    for (const CopyPlan& copy : planned.plan.copies) {
      const auto found = planned.copy_from.find(copy.target.value);
      if (copy.action != Action::kAdd || found == planned.copy_from.end() || copy.mailbox_copy.value == 0) continue;
      const auto& [source, departure] = found->second;
      if (!taken.emplace(source.mailbox_copy, source.uid).second) continue;  // the next round takes it
      auto& parts = groups[{copy.target.value, source.mailbox_copy, departure.has_value()}];
      if (parts.empty() || parts.back().changes.size() >= kMessagesAStore) {
        parts.push_back({copy.target, source.mailbox_copy, departure.has_value(), {}});
      }
      parts.back().changes.push_back({{&planned, &copy, copy.mailbox_copy}, found->second});
    }
  }
  std::vector<CopyGroup> result;
  for (auto& [key, parts] : groups) std::move(parts.begin(), parts.end(), std::back_inserter(result));
  return result;
}

asio::awaitable<void> Applier::Additions(const Work& work) {
  TaskGroup tasks(mesh_.executor);
  for (CopyGroup& group : CopyGroups(work)) tasks.Start(RunCopies(std::move(group)));
  Permits permits(mesh_.executor, kChunksAtOnce);
  for (Chunk& chunk : Chunks(work)) {
    co_await permits.Acquire();
    if (!failure.ok()) {
      permits.Release();
      break;
    }
    tasks.Start(RunChunk(std::move(chunk), permits));
  }
  co_await tasks.Join();
}

asio::awaitable<void> Applier::RunChunk(Chunk chunk, Permits& permits) {
  std::map<Uid, MessageId> wanted;
  UidSet uids;
  const std::string& mailbox = MailboxName(*chunk.messages.front());
  MailboxReference reference = Reference(chunk.source, mailbox);
  const MailboxCopyRecord* source = mesh_.FindCopy(chunk.source, mailbox);
  for (const PlannedMessage* planned : chunk.messages) {
    const CopyRegisters* copy = source == nullptr ? nullptr : planned->message.Find(source->id);
    if (copy == nullptr || copy->uid.value == 0) continue;
    wanted[copy->uid] = planned->message.id;
    uids.Add(copy->uid);
  }
  std::map<MessageId, std::shared_ptr<const Body>> bodies;
  std::function<void(Uid, std::shared_ptr<const Body>)> take = [&](Uid uid, std::shared_ptr<const Body> body) {
    const auto message = wanted.find(uid);
    if (message != wanted.end()) bodies[message->second] = std::move(body);
  };
  const bool usable = mesh_.IsUp(chunk.source) && failure.ok();
  const absl::Status fetched = usable ? co_await mesh_.slot(chunk.source).replica->FetchBodies(reference, uids, take)
                                      : absl::UnavailableError("the source is down");
  if (usable && !fetched.ok()) {
    if (OutcomeUnknown(fetched)) {
      mesh_.MarkDown(chunk.source, fetched);
    } else {
      mesh_.Warn(Message(fetched));
      mesh_.slot(chunk.source).look_due = true;
    }
  }
  if (!bodies.empty()) {
    TaskGroup tasks(mesh_.executor);
    for (const ReplicaIndex target : chunk.targets) tasks.Start(AppendTo(target, chunk, bodies));
    co_await tasks.Join();
  }
  permits.Release();
}

asio::awaitable<void> Applier::AppendTo(ReplicaIndex target, const Chunk& chunk,
                                        const std::map<MessageId, std::shared_ptr<const Body>>& bodies) {
  const size_t most = std::max<size_t>(1, mesh_.slot(target).replica->max_append());
  std::vector<Change> changes;
  for (const PlannedMessage* planned : chunk.messages) {
    if (!bodies.contains(planned->message.id)) continue;
    for (const CopyPlan& copy : planned->plan.copies) {
      if (copy.target == target && copy.action == Action::kAdd) changes.push_back({planned, &copy, copy.mailbox_copy});
    }
    if (changes.size() == most) {
      std::vector<Change> full;
      full.swap(changes);
      co_await AppendItems(target, std::move(full), bodies);
    }
  }
  if (!changes.empty()) co_await AppendItems(target, std::move(changes), bodies);
}

asio::awaitable<absl::StatusOr<std::vector<Uid>>> Applier::Append(
    ReplicaIndex target, const std::vector<Change>& changes,
    const std::map<MessageId, std::shared_ptr<const Body>>& bodies, bool keywords) {
  std::vector<AppendItem> items;
  for (const Change& change : changes) {
    AppendItem item;
    item.body = bodies.at(change.planned->message.id);
    item.flags = SetFlags(change.plan->flags, keywords);
    item.internal_date = change.planned->message.internal_date;
    item.zone_minutes = change.planned->message.zone_minutes;
    items.push_back(std::move(item));
  }
  MailboxReference reference = Reference(target, MailboxName(*changes.front().planned));
  co_return co_await mesh_.slot(target).replica->Append(reference, std::move(items));
}

asio::awaitable<void> Applier::AppendItems(ReplicaIndex target, std::vector<Change> changes,
                                           const std::map<MessageId, std::shared_ptr<const Body>>& bodies) {
  if (!mesh_.IsUp(target) || !failure.ok()) co_return;
  if (!co_await OpenIntents(changes, IntentKind::kAdd)) co_return;
  bool keywords = true;
  auto uids = co_await Append(target, changes, bodies, keywords);
  const bool has_keywords = std::any_of(changes.begin(), changes.end(), [&](const Change& change) {
    return SetFlags(change.plan->flags, true) != SetFlags(change.plan->flags, false);
  });
  if (!uids.ok() && !OutcomeUnknown(uids.status()) && changes.size() == 1 && has_keywords) {
    keywords = false;  // perhaps only a keyword is refused: the message first, its keywords by STORE later
    uids = co_await Append(target, changes, bodies, keywords);
  }
  if (!uids.ok()) {
    if (OutcomeUnknown(uids.status())) {
      co_await Unknown(target, uids.status());
      co_return;
    }
    co_await CloseIntents(changes);
    if (absl::IsNotFound(uids.status()) && Recreate(target, MailboxName(*changes.front().planned))) co_return;
    if (changes.size() == 1) {
      Refuse(target, changes.front(), "APPEND", uids.status());
      co_return;
    }
    for (const Change& change : changes) {  // all or none: find the one that is refused
      std::vector<Change> single(1, change);
      co_await AppendItems(target, std::move(single), bodies);
    }
    co_return;
  }
  const std::string& mailbox = MailboxName(*changes.front().planned);
  std::vector<Recorded> records;
  for (size_t i = 0; i < changes.size() && i < uids->size(); ++i) {
    if ((*uids)[i].value == 0) continue;  // the intent stays: the next observation finds the UID
    Recorded record{changes[i].planned->message.id, CopyRegisters()};
    record.copy.mailbox_copy = changes[i].mailbox_copy;
    record.copy.uid = (*uids)[i];
    record.copy.presence = Presence::kPresent;
    record.copy.stamp = changes[i].plan->stamp;
    for (const FlagRegister& entry : changes[i].plan->flags.entries()) {
      const bool sent = keywords || !entry.set || flag_names_.at(entry.flag).starts_with('\\');
      if (sent) record.copy.flags.Put(entry.flag, entry.set, entry.stamp);
    }
    records.push_back(std::move(record));
    Done(changes[i], mailbox, "APPEND");
  }
  co_await Record(target, mailbox, std::move(records));
  for (const Change& change : changes) {
    for (auto& edge : mesh_.progress.edges) {
      const GraphEdge& declared = mesh_.graph->edges()[static_cast<size_t>(change.plan->because.edge.value)];
      if (edge.a != mesh_.name(declared.a) || edge.b != mesh_.name(declared.b)) continue;
      ++edge.messages_done;
      edge.bytes_done += static_cast<int64_t>(change.planned->message.size);
    }
  }
  if (mesh_.on_progress) mesh_.on_progress();
}

asio::awaitable<void> Applier::RunCopies(CopyGroup group) {
  if (!mesh_.IsUp(group.replica) || !failure.ok()) co_return;
  const auto where = view_->copies.find(group.from);
  const std::string& from_name = view_->mailboxes.at(where->second.second).name;
  const std::string& to_name = MailboxName(*group.changes.front().first.planned);
  std::vector<Change> changes;
  UidSet uids;
  for (const auto& [change, copy] : group.changes) {
    changes.push_back(change);
    uids.Add(copy.source.uid);
  }
  if (group.move && !co_await OpenDepartures(group)) co_return;
  if (!co_await OpenIntents(changes, IntentKind::kCopy)) co_return;
  MailboxReference from = Reference(group.replica, from_name), to = Reference(group.replica, to_name);
  const auto copied = co_await mesh_.slot(group.replica).replica->CopyMessages(from, to, uids, group.move);
  if (copied.ok()) {
    co_await RecordCopies(group, *copied);
  } else if (OutcomeUnknown(copied.status())) {
    co_await Unknown(group.replica, copied.status());
  } else {
    co_await GiveUpCopies(group);
  }
}

asio::awaitable<bool> Applier::OpenDepartures(const CopyGroup& group) {
  const int64_t now = mesh_.clock->UnixMillis();
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
  const auto opened = co_await mesh_.store->Run(open);
  if (!opened.ok()) failure = opened.status();
  co_return opened.ok();
}

// The server refused, and nothing changed: they are uploaded instead, and expunged where they were.
asio::awaitable<void> Applier::GiveUpCopies(const CopyGroup& group) {
  for (const auto& [change, copy] : group.changes) {
    mesh_.no_copy.insert({change.planned->message.id, change.mailbox_copy});
  }
  const auto close = [&](State& state) {
    for (const auto& [change, copy] : group.changes) {
      state.CloseIntent(change.planned->message.id, change.mailbox_copy);
      if (group.move) state.CloseIntent(copy.source.message, copy.source.mailbox_copy);
    }
    return true;
  };
  const auto closed = co_await mesh_.store->Run(close);
  if (!closed.ok()) failure = closed.status();
  mesh_.slot(group.replica).look_due = true;
}

// The server said OK but not under which UIDs: either the source was gone, or it names none (RFC 4315 section 3). The
// intents stay, and the next observation tells.
asio::awaitable<void> Applier::LookAgain(const CopyGroup& group, std::vector<Change> missing) {
  for (const Change& change : missing) mesh_.no_copy.insert({change.planned->message.id, change.mailbox_copy});
  const auto answered = [&](State& state) {
    for (const Change& change : missing) state.AnswerIntent(change.planned->message.id, change.mailbox_copy);
    return true;
  };
  const auto saved = co_await mesh_.store->Run(answered);
  if (!saved.ok()) failure = saved.status();
  mesh_.slot(group.replica).look_due = true;
}

// A copy carries the flags of where it came from: what differs from the wanted ones stays pending.
CopyRegisters AsCopied(const Change& change, Uid uid, const CopyRegisters* source) {
  CopyRegisters copy;
  copy.mailbox_copy = change.mailbox_copy;
  copy.uid = uid;
  copy.presence = Presence::kPresent;
  copy.stamp = change.plan->stamp;
  if (source != nullptr) {
    for (const FlagRegister& entry : source->flags.entries()) {
      if (entry.set) copy.flags.Put(entry.flag, true, kCarried);
    }
  }
  for (const FlagRegister& entry : change.plan->flags.entries()) {
    if (copy.flags.IsSet(entry.flag) == entry.set) copy.flags.Put(entry.flag, entry.set, entry.stamp);
  }
  return copy;
}

asio::awaitable<void> Applier::RecordCopies(const CopyGroup& group, const std::vector<CopiedUid>& copied) {
  const auto load = [&](State& state) {
    std::map<Uid, CopyRegisters> sources;
    for (const auto& [change, copy] : group.changes) {
      const auto message = state.Load(copy.source.message);
      if (message && message->Find(group.from) != nullptr) sources[copy.source.uid] = *message->Find(group.from);
    }
    return sources;
  };
  const auto sources = co_await mesh_.store->Run(load);
  if (!sources.ok()) {
    failure = sources.status();
    co_return;
  }
  const std::string& from_name = view_->mailboxes.at(view_->copies.at(group.from).second).name;
  const std::string& to_name = MailboxName(*group.changes.front().first.planned);
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
    arrivals.push_back({change.planned->message.id, AsCopied(change, found->second, before)});
    if (group.move && before != nullptr) {
      departures.push_back({copy.source.message, *before});
      departures.back().copy.presence = Presence::kAbsent;
      departures.back().copy.uid = Uid();
      departures.back().copy.stamp = *copy.departure;
    }
    Done(change, to_name, group.move ? "MOVE" : "COPY");
  }
  co_await Record(group.replica, to_name, std::move(arrivals));
  co_await Record(group.replica, from_name, std::move(departures));
  if (!missing.empty()) co_await LookAgain(group, std::move(missing));
}

// ---- flags and deletions

std::map<int32_t, std::vector<Change>> ByTarget(const Work& work, Action action) {
  std::map<int32_t, std::vector<Change>> by_target;
  for (const PlannedMessage& planned : work.messages) {
    for (const CopyPlan& copy : planned.plan.copies) {
      if (copy.action == action) by_target[copy.target.value].push_back({&planned, &copy, copy.mailbox_copy});
    }
  }
  return by_target;
}

asio::awaitable<void> Applier::Flags(const Work& work) {
  TaskGroup tasks(mesh_.executor);
  for (auto& [target, changes] : ByTarget(work, Action::kFlags)) {
    // One STORE for all copies whose flags change alike.
    std::map<std::vector<std::pair<FlagId, bool>>, std::vector<Change>> alike;
    for (const Change& change : changes) {
      std::vector<std::pair<FlagId, bool>> key;
      for (const FlagRegister& entry : change.plan->flag_changes) key.emplace_back(entry.flag, entry.set);
      std::vector<Change>& group = alike[key];
      group.push_back(change);
      if (group.size() < kMessagesAStore) continue;
      std::vector<Change> full;
      full.swap(group);
      tasks.Start(RunStore(ReplicaIndex(target), std::move(full)));
    }
    for (auto& [key, group] : alike) {
      if (!group.empty()) tasks.Start(RunStore(ReplicaIndex(target), std::move(group)));
    }
  }
  co_await tasks.Join();
}

asio::awaitable<void> Applier::RunStore(ReplicaIndex target, std::vector<Change> changes) {
  if (!mesh_.IsUp(target) || !failure.ok()) co_return;
  if (!co_await OpenIntents(changes, IntentKind::kFlags)) co_return;
  UidSet uids;
  std::vector<std::string> add, remove;
  for (const FlagRegister& entry : changes.front().plan->flag_changes) {
    (entry.set ? add : remove).push_back(flag_names_.at(entry.flag));
  }
  for (const Change& change : changes) uids.Add(change.planned->message.Find(change.mailbox_copy)->uid);
  const std::string& mailbox = MailboxName(*changes.front().planned);
  MailboxReference reference = Reference(target, mailbox);
  const absl::Status stored = co_await mesh_.slot(target).replica->StoreFlags(reference, uids, add, remove);
  if (!stored.ok()) {
    if (OutcomeUnknown(stored)) {
      co_await Unknown(target, stored);
      co_return;
    }
    co_await CloseIntents(changes);
    for (const Change& change : changes) Refuse(target, change, "STORE", stored);
    mesh_.slot(target).look_due = true;
    co_return;
  }
  std::vector<Recorded> records;
  for (const Change& change : changes) {
    Recorded record{change.planned->message.id, *change.planned->message.Find(change.mailbox_copy)};
    record.copy.stamp = change.plan->stamp;
    record.copy.flags = change.plan->flags;
    records.push_back(std::move(record));
    Done(change, mailbox, "STORE");
  }
  co_await Record(target, mailbox, std::move(records));
}

asio::awaitable<void> Applier::Deletions(const Work& work) {
  TaskGroup tasks(mesh_.executor);
  for (auto& [target, changes] : ByTarget(work, Action::kExpunge)) {
    for (size_t begin = 0; begin < changes.size(); begin += kMessagesAStore) {
      const size_t end = std::min(changes.size(), begin + kMessagesAStore);
      std::vector<Change> part(changes.begin() + static_cast<ptrdiff_t>(begin),
                               changes.begin() + static_cast<ptrdiff_t>(end));
      tasks.Start(RunExpunge(ReplicaIndex(target), std::move(part)));
    }
  }
  co_await tasks.Join();
}

asio::awaitable<void> Applier::RunExpunge(ReplicaIndex target, std::vector<Change> changes) {
  if (!mesh_.IsUp(target) || !failure.ok()) co_return;
  if (!co_await OpenIntents(changes, IntentKind::kExpunge)) co_return;
  UidSet uids;
  for (const Change& change : changes) uids.Add(change.planned->message.Find(change.mailbox_copy)->uid);
  const std::string& mailbox = MailboxName(*changes.front().planned);
  MailboxReference reference = Reference(target, mailbox);
  const ModSeq seen = mesh_.FindCopy(target, mailbox)->highest_modseq;
  const auto expunged = co_await mesh_.slot(target).replica->Expunge(reference, uids, seen);
  if (!expunged.ok()) {
    if (OutcomeUnknown(expunged.status())) {
      co_await Unknown(target, expunged.status());
      co_return;
    }
    co_await CloseIntents(changes);
    for (const Change& change : changes) Refuse(target, change, "EXPUNGE", expunged.status());
    co_return;
  }
  std::vector<Recorded> records;
  std::vector<Change> modified;
  for (const Change& change : changes) {
    const CopyRegisters& before = *change.planned->message.Find(change.mailbox_copy);
    if (expunged->modified.Contains(before.uid)) {
      modified.push_back(change);
      continue;
    }
    Recorded record{change.planned->message.id, before};
    record.copy.presence = Presence::kAbsent;
    record.copy.uid = Uid();
    record.copy.stamp = change.plan->stamp;
    records.push_back(std::move(record));
    Done(change, mailbox, "EXPUNGE");
  }
  co_await Record(target, mailbox, std::move(records));
  if (!modified.empty()) {
    co_await CloseIntents(modified);
    mesh_.slot(target).look_due = true;
    mesh_.due.insert({target.value, mailbox});
  }
}

// ---- mailboxes

// Which replicas lack a mailbox that an edge would bring them, and along which edge.
std::vector<std::pair<ReplicaIndex, EdgeIndex>> MissingCopies(const Mesh& mesh, const MailboxEntry& entry) {
  std::vector<std::pair<ReplicaIndex, EdgeIndex>> missing;
  const Admissions admissions(*mesh.graph, entry.name);
  std::vector<bool> exists;
  for (const MailboxCopyRecord& record : entry.copies) exists.push_back(record.exists);
  for (bool moved = true; moved;) {
    moved = false;
    for (size_t e = 0; e < mesh.graph->edges().size(); ++e) {
      if (mesh.edge_paused[e]) continue;
      const GraphEdge& edge = mesh.graph->edges()[e];
      for (const bool from_a : {true, false}) {
        const ReplicaIndex from = from_a ? edge.a : edge.b, to = from_a ? edge.b : edge.a;
        const auto f = static_cast<size_t>(from.value), t = static_cast<size_t>(to.value);
        const EdgeIndex index(static_cast<int32_t>(e));
        if (!exists[f] || exists[t] || entry.copies[t].tombstone || !mesh.IsUp(to) || !mesh.IsUp(from)) continue;
        if (mesh.mailbox_refusals.contains({to.value, entry.name})) continue;
        if (!admissions.Admits(index, from_a, ChangeKind::kAddition)) continue;
        exists[t] = moved = true;
        missing.emplace_back(to, index);
      }
    }
  }
  return missing;
}

asio::awaitable<absl::Status> CreateCopy(Mesh& mesh, ReplicaIndex target, EdgeIndex edge, std::string name,
                                         bool subscribe) {
  const absl::Status created = co_await mesh.slot(target).replica->CreateMailbox(name, subscribe);
  if (!created.ok()) {
    if (OutcomeUnknown(created)) {
      mesh.MarkDown(target, created);
    } else {
      Refusal refusal;
      refusal.replica = target;
      refusal.report = {mesh.name(target),
                        name,
                        "CREATE",
                        "",
                        Message(created),
                        "create it by hand, or exclude it on the edges to this replica",
                        mesh.clock->UnixMillis()};
      mesh.mailbox_refusals[{target.value, name}] = refusal;
      mesh.Warn(Message(created));
      mesh.Emit("PROBLEM", target, edge, name, Message(created));
    }
    co_return absl::OkStatus();
  }
  MailboxCopyRecord record;
  record.replica = mesh.slot(target).id;
  record.mailbox = mesh.Entry(name).id;
  record.mailbox_name = name;
  record.name_here = name;
  record.exists = true;
  record.subscribed = subscribe;
  if (const MailboxCopyRecord* known = mesh.FindCopy(target, name)) record.id = known->id;
  const auto save = [&](State& state) {
    state.Save(record);
    return record;
  };
  const auto saved = co_await mesh.store->Run(save);
  if (!saved.ok()) co_return saved.status();
  mesh.Entry(name).copies[static_cast<size_t>(target.value)] = *saved;
  mesh.slot(target).look_due = true;
  ++mesh.edge_operations[static_cast<size_t>(edge.value)];
  mesh.Emit("OPERATION_DONE", target, edge, name, "CREATE");
  co_return absl::OkStatus();
}

}  // namespace

asio::awaitable<absl::StatusOr<int64_t>> ApplyMailboxes(Mesh& mesh) {
  struct Creation {
    ReplicaIndex target;
    EdgeIndex edge;
    std::string name;
    bool subscribe;
  };
  std::vector<Creation> creations;
  for (const auto& [name, entry] : mesh.mailboxes) {
    const bool subscribe = std::any_of(entry.copies.begin(), entry.copies.end(),
                                       [](const MailboxCopyRecord& record) { return record.subscribed; });
    for (const auto& [target, edge] : MissingCopies(mesh, entry)) creations.push_back({target, edge, name, subscribe});
  }
  for (const Creation& creation : creations) {
    if (!mesh.IsUp(creation.target)) continue;
    const absl::Status status =
        co_await CreateCopy(mesh, creation.target, creation.edge, creation.name, creation.subscribe);
    if (!status.ok()) co_return status;
  }
  co_return static_cast<int64_t>(creations.size());
}

asio::awaitable<absl::StatusOr<int64_t>> ApplyAdditionsAndFlags(Mesh& mesh, const Work& work) {
  Applier applier(mesh);
  co_await applier.LoadFlagNames(work);
  if (applier.failure.ok()) co_await applier.Additions(work);
  if (applier.failure.ok()) co_await applier.Flags(work);
  if (!applier.failure.ok()) co_return applier.failure;
  co_return applier.done;
}

asio::awaitable<absl::StatusOr<int64_t>> ApplyDeletions(Mesh& mesh, const Work& work) {
  Applier applier(mesh);
  co_await applier.Deletions(work);
  if (!applier.failure.ok()) co_return applier.failure;
  co_return applier.done;
}

}  // namespace imapmesh
