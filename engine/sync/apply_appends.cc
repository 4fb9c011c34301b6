#include "engine/sync/apply_appends.h"

#include <algorithm>
#include <map>

#include "engine/sync/task_group.h"

namespace imapmesh {
namespace {

constexpr size_t kChunkMessages = 100;
constexpr uint64_t kChunkBytes = 2 * 1024 * 1024;
constexpr int kChunksAtOnce = 6;  // bounds memory: at most this many times kChunkBytes, larger bodies spill

class Appender {
 public:
  explicit Appender(Recorder& recorder) : recorder_(recorder) {}
  asio::awaitable<void> Additions(const Work& work);

 private:
  // Messages of one mailbox from one source to the same targets.
  struct Chunk {
    ReplicaIndex source;
    std::vector<ReplicaIndex> targets;
    std::vector<const PlannedMessage*> messages;
    uint64_t bytes = 0;
  };
  using Bodies = std::map<MessageId, std::shared_ptr<const Body>>;

  std::vector<Chunk> Chunks(const Work& work) const;
  asio::awaitable<void> RunChunk(Chunk chunk, Permits& permits);
  asio::awaitable<void> AppendTo(ReplicaIndex target, const Chunk& chunk, const Bodies& bodies);
  asio::awaitable<void> AppendItems(ReplicaIndex target, std::vector<Change> changes, const Bodies& bodies);
  asio::awaitable<absl::StatusOr<std::vector<Uid>>> Append(ReplicaIndex target, const std::vector<Change>& changes,
                                                           const Bodies& bodies, bool keywords);
  asio::awaitable<void> RecordAppended(ReplicaIndex target, const std::vector<Change>& changes,
                                       const std::vector<Uid>& uids, bool keywords);
  bool Recreate(ReplicaIndex target, const std::string& mailbox);
  void Progressed(const std::vector<Change>& changes);
  std::vector<std::string> SetFlags(const FlagRegisters& flags, bool keywords) const;

  Recorder& recorder_;
};

std::vector<std::string> Appender::SetFlags(const FlagRegisters& flags, bool keywords) const {
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
bool Appender::Recreate(ReplicaIndex target, const std::string& mailbox) {
  MailboxCopyRecord* record = recorder_.mesh().FindCopy(target, mailbox);
  if (record == nullptr || recorder_.mesh().mailbox_refusals.contains({target.value, mailbox})) return false;
  if (!record->exists) record->tombstone = false;
  recorder_.mesh().slot(target).look_due = true;
  return true;
}

std::vector<Appender::Chunk> Appender::Chunks(const Work& work) const {
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

asio::awaitable<void> Appender::Additions(const Work& work) {
  TaskGroup tasks(recorder_.mesh().executor);
  Permits permits(recorder_.mesh().executor, kChunksAtOnce);
  for (Chunk& chunk : Chunks(work)) {
    co_await permits.Acquire();
    if (!recorder_.failure().ok()) {
      permits.Release();
      break;
    }
    tasks.Start(RunChunk(std::move(chunk), permits));
  }
  co_await tasks.Join();
}

asio::awaitable<void> Appender::RunChunk(Chunk chunk, Permits& permits) {
  std::map<Uid, MessageId> wanted;
  UidSet uids;
  const std::string& mailbox = recorder_.MailboxName(*chunk.messages.front());
  MailboxReference reference = recorder_.Reference(chunk.source, mailbox);
  const MailboxCopyRecord* source = recorder_.mesh().FindCopy(chunk.source, mailbox);
  for (const PlannedMessage* planned : chunk.messages) {
    const CopyRegisters* copy = source == nullptr ? nullptr : planned->message.Find(source->id);
    if (copy == nullptr || copy->uid.value == 0) continue;
    wanted[copy->uid] = planned->message.id;
    uids.Add(copy->uid);
  }
  Bodies bodies;
  std::function<void(Uid, std::shared_ptr<const Body>)> take = [&](Uid uid, std::shared_ptr<const Body> body) {
    const auto message = wanted.find(uid);
    if (message != wanted.end()) bodies[message->second] = std::move(body);
  };
  const bool usable = recorder_.mesh().IsUp(chunk.source) && recorder_.failure().ok();
  absl::Status fetched;
  if (usable) fetched = co_await recorder_.mesh().slot(chunk.source).replica->FetchBodies(reference, uids, take);
  if (!fetched.ok()) {
    if (OutcomeUnknown(fetched)) {
      recorder_.mesh().MarkDown(chunk.source, fetched);
    } else {
      recorder_.mesh().Warn(Message(fetched));
      recorder_.mesh().slot(chunk.source).look_due = true;
    }
  }
  if (!bodies.empty()) {
    TaskGroup tasks(recorder_.mesh().executor);
    for (const ReplicaIndex target : chunk.targets) tasks.Start(AppendTo(target, chunk, bodies));
    co_await tasks.Join();
  }
  permits.Release();
}

asio::awaitable<void> Appender::AppendTo(ReplicaIndex target, const Chunk& chunk, const Bodies& bodies) {
  const size_t most = std::max<size_t>(1, recorder_.mesh().slot(target).replica->max_append());
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

asio::awaitable<absl::StatusOr<std::vector<Uid>>> Appender::Append(ReplicaIndex target,
                                                                   const std::vector<Change>& changes,
                                                                   const Bodies& bodies, bool keywords) {
  std::vector<AppendItem> items;
  for (const Change& change : changes) {
    AppendItem item;
    item.body = bodies.at(change.planned->message.id);
    item.flags = SetFlags(change.plan->flags, keywords);
    item.internal_date = change.planned->message.internal_date;
    item.zone_minutes = change.planned->message.zone_minutes;
    items.push_back(std::move(item));
  }
  MailboxReference reference = recorder_.Reference(target, recorder_.MailboxName(*changes.front().planned));
  co_return co_await recorder_.mesh().slot(target).replica->Append(reference, std::move(items));
}

asio::awaitable<void> Appender::AppendItems(ReplicaIndex target, std::vector<Change> changes, const Bodies& bodies) {
  if (!recorder_.MayWork(target)) co_return;
  if (!co_await recorder_.OpenIntents(changes, IntentKind::kAdd)) co_return;
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
      co_await recorder_.Unknown(target, uids.status());
      co_return;
    }
    co_await recorder_.CloseIntents(changes);
    if (absl::IsNotFound(uids.status()) && Recreate(target, recorder_.MailboxName(*changes.front().planned))) co_return;
    if (changes.size() == 1) {
      recorder_.Refuse(target, changes.front(), "APPEND", uids.status());
      co_return;
    }
    for (const Change& change : changes) {  // all or none: find the one that is refused
      std::vector<Change> single(1, change);
      co_await AppendItems(target, std::move(single), bodies);
    }
    co_return;
  }
  co_await RecordAppended(target, changes, *uids, keywords);
  Progressed(changes);
}

asio::awaitable<void> Appender::RecordAppended(ReplicaIndex target, const std::vector<Change>& changes,
                                               const std::vector<Uid>& uids, bool keywords) {
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
  co_await recorder_.Record(target, mailbox, std::move(records));
}

// What the display shows while a long sync runs.
void Appender::Progressed(const std::vector<Change>& changes) {
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

}  // namespace

asio::awaitable<void> ApplyAppends(Recorder& recorder, const Work& work) {
  Appender appender(recorder);
  co_await appender.Additions(work);
}

}  // namespace imapmesh
