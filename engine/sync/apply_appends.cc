#include "engine/sync/apply_appends.h"

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "base/printable.h"
#include "engine/replica/known_body.h"
#include "engine/sync/listen.h"
#include "engine/sync/task_group.h"

namespace imapmesh {
namespace {

constexpr size_t kChunkMessages = 100;
constexpr uint64_t kChunkBytes = 2 * 1024 * 1024;
constexpr int kChunksAhead = 6;                                // fetched or being fetched, and not yet at any target
constexpr Duration kFetchPatience = std::chrono::seconds(10);  // without a body, while another holder could serve

// A message that one source gives to some replicas.
struct Portion {
  const PlannedMessage* planned = nullptr;
  std::vector<const CopyPlan*> copies;
};

// Portions from one source to the same targets, in the order of the plan: mailbox after mailbox.
struct Chunk {
  ReplicaIndex source;
  std::vector<ReplicaIndex> targets;
  std::vector<Portion> portions;
  uint64_t bytes = 0;
  std::set<ReplicaIndex> tried;  // sources, this one among them
  Lanes lanes;                   // of targets that do not have it yet
};

using Bodies = std::map<MessageId, std::shared_ptr<const Body>>;

// What arrived so far. Shared with the task that fetches: it may be left behind.
struct Fetch {
  std::vector<BodiesRequest> requests;                 // a mailbox each
  std::map<std::pair<size_t, Uid>, MessageId> wanted;  // by request and UID
  std::vector<MailboxCopyId> places;                   // of the requests
  std::map<MessageId, const PlannedMessage*> planned;  // that are wanted
  bool elsewhere = true;                               // each of them has another holder
  Bodies bodies;
  absl::Status status;
  bool over = false;
  Duration last_arrival{0};
};

class Appender {
 public:
  explicit Appender(Recorder& recorder)
      : recorder_(recorder),
        mesh_(recorder.mesh()),
        tasks_(mesh_.executor),
        permits_(mesh_.executor, kChunksAhead),
        progress_(mesh_.executor) {}
  asio::awaitable<void> Additions(const Work& work, Lanes lanes);

 private:
  asio::awaitable<void> RunChunk(std::shared_ptr<Chunk> chunk);
  asio::awaitable<void> RunAgain(std::shared_ptr<Chunk> chunk);
  void NoteWanted(const Chunk& chunk, Fetch& fetch);
  asio::awaitable<Bodies> FetchChunk(std::shared_ptr<const Chunk> chunk);
  asio::awaitable<void> RunFetch(ReplicaIndex source, std::shared_ptr<Fetch> fetch);
  void Doubt(ReplicaIndex source, MailboxCopyId place);
  asio::awaitable<void> Deliver(std::shared_ptr<Chunk> chunk, std::shared_ptr<const Bodies> bodies);
  asio::awaitable<void> DeliverTo(ReplicaIndex target, std::shared_ptr<Chunk> chunk,
                                  std::shared_ptr<const Bodies> bodies, std::shared_ptr<bool> delivered);
  asio::awaitable<void> AppendParts(ReplicaIndex target, std::vector<std::vector<Change>> parts,
                                    std::shared_ptr<const Bodies> bodies);
  asio::awaitable<void> FinishAppend(ReplicaIndex target, std::vector<Change> changes,
                                     std::shared_ptr<const Bodies> bodies, absl::StatusOr<Appended> uids);
  AppendRequest RequestOf(const std::vector<Change>& changes, const Bodies& bodies, bool keywords) const;
  asio::awaitable<void> RecordAppended(ReplicaIndex target, const std::vector<Change>& changes,
                                       const Appended& appended, bool keywords);
  bool Recreate(ReplicaIndex target, const std::string& mailbox);
  void Progressed(const std::vector<Change>& changes);
  std::vector<std::string> SetFlags(const FlagRegisters& flags, bool keywords) const;

  Recorder& recorder_;
  Mesh& mesh_;
  TaskGroup tasks_;
  Permits permits_;
  Signal progress_;  // a fetch ended, or a target has a chunk
};

// The chunks of a batch in its order. `tried` holds the sources that failed.
std::vector<std::shared_ptr<Chunk>> Chunks(const Mesh& mesh, const std::vector<Portion>& portions,
                                           const std::set<ReplicaIndex>& tried, const Lanes& lanes) {
  std::vector<std::shared_ptr<Chunk>> chunks;
  std::map<std::pair<ReplicaIndex, std::vector<ReplicaIndex>>, std::shared_ptr<Chunk>> open;
  for (const Portion& portion : portions) {
    std::vector<Demand> demands;
    for (const CopyPlan* copy : portion.copies) {
      demands.push_back({copy, {}});
      for (const ReplicaIndex holder : copy->holders) {
        if (!tried.contains(holder) && mesh.IsUp(holder)) demands.back().holders.push_back(holder);
      }
    }
    for (Supply& supply : ChooseSupplies(*mesh.graph, std::move(demands))) {
      std::vector<ReplicaIndex> targets;
      for (const CopyPlan* copy : supply.copies) targets.push_back(copy->target);
      std::shared_ptr<Chunk>& chunk = open[{supply.source, targets}];
      const uint64_t size = portion.planned->message.size;
      const bool full =
          chunk != nullptr && (chunk->portions.size() >= kChunkMessages || chunk->bytes + size > kChunkBytes);
      if (chunk == nullptr || full) {
        chunk = std::make_shared<Chunk>();
        chunk->source = supply.source;
        chunk->targets = std::move(targets);
        chunk->tried = tried;
        chunk->tried.insert(supply.source);
        for (const ReplicaIndex target : chunk->targets) chunk->lanes[target] = lanes.at(target);
        chunks.push_back(chunk);
      }
      chunk->portions.push_back({portion.planned, std::move(supply.copies)});
      chunk->bytes += size;
    }
  }
  return chunks;
}

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
  Mesh& mesh = recorder_.mesh();
  if (mesh.FindCopy(target, mailbox) == nullptr) return false;
  if (mesh.mailbox_refusals.contains({target.value, mailbox})) return false;
  mesh.slot(target).look_due = true;
  return true;
}

asio::awaitable<void> Appender::Additions(const Work& work, Lanes lanes) {
  std::vector<Portion> portions;
  for (const PlannedMessage& planned : work.messages) {
    Portion portion{&planned, planned.Appends()};
    if (!portion.copies.empty()) portions.push_back(std::move(portion));
  }
  const std::set<ReplicaIndex> none_tried;
  std::vector<std::shared_ptr<Chunk>> chunks = Chunks(mesh_, portions, none_tried, lanes);
  lanes.clear();
  for (std::shared_ptr<Chunk>& chunk : chunks) {
    co_await permits_.Acquire();
    tasks_.Start(RunChunk(std::move(chunk)));
  }
  co_await tasks_.Join();
}

// Begins with a permit and gives it back.
asio::awaitable<void> Appender::RunChunk(std::shared_ptr<Chunk> chunk) {
  Bodies fetched = co_await FetchChunk(chunk);
  const auto bodies = std::make_shared<const Bodies>(std::move(fetched));
  std::vector<Portion> missing;
  for (const Portion& portion : chunk->portions) {
    if (!bodies->contains(portion.planned->message.id)) missing.push_back(portion);
  }
  for (const std::shared_ptr<Chunk>& next : Chunks(mesh_, missing, chunk->tried, chunk->lanes)) {
    tasks_.Start(RunAgain(next));
  }
  if (!bodies->empty()) co_await Deliver(std::move(chunk), bodies);
  permits_.Release();
}

asio::awaitable<void> Appender::RunAgain(std::shared_ptr<Chunk> chunk) {
  co_await permits_.Acquire();
  co_await RunChunk(std::move(chunk));
}

// Takes the bodies that came along with a look, and notes which are to be asked for.
void Appender::NoteWanted(const Chunk& chunk, Fetch& fetch) {
  std::map<MailboxId, size_t> places;  // in fetch.requests
  for (const Portion& portion : chunk.portions) {
    const MessageRegisters& message = portion.planned->message;
    const MailboxCopyRecord* source = mesh_.FindCopy(chunk.source, recorder_.MailboxName(*portion.planned));
    const CopyRegisters* copy = source == nullptr ? nullptr : message.Find(source->id);
    if (copy != nullptr && copy->uid.value != 0) {
      const MailboxReference reference = recorder_.Reference(source->id);
      const BodyPlace at{source->id, reference.uid_validity, copy->uid};
      if (auto body = mesh_.carried.Take(at, message, mesh_.clock->Now())) {
        fetch.bodies[message.id] = std::move(body);
        continue;
      }
      const auto [place, added] = places.try_emplace(message.mailbox, fetch.requests.size());
      if (added) {
        fetch.requests.emplace_back().mailbox = reference;
        fetch.places.push_back(source->id);
      }
      fetch.wanted[{place->second, copy->uid}] = message.id;
      fetch.planned[message.id] = portion.planned;
    }
    for (const CopyPlan* wanting : portion.copies) {
      fetch.elsewhere &= std::any_of(wanting->holders.begin(), wanting->holders.end(), [&](ReplicaIndex holder) {
        return !chunk.tried.contains(holder) && mesh_.IsUp(holder);
      });
    }
  }
  for (const auto& [where, message] : fetch.wanted) fetch.requests[where.first].uids.Add(where.second);
  if (!fetch.bodies.empty() && mesh_.on_room && mesh_.carried.HasRoom()) mesh_.on_room();
}

asio::awaitable<Bodies> Appender::FetchChunk(std::shared_ptr<const Chunk> chunk) {
  Bodies none;
  const bool wanted = std::any_of(chunk->targets.begin(), chunk->targets.end(),
                                  [&](ReplicaIndex target) { return recorder_.MayWork(target); });
  if (!wanted || !recorder_.MayWork(chunk->source)) co_return none;
  auto fetch = std::make_shared<Fetch>();
  NoteWanted(*chunk, *fetch);
  if (fetch->requests.empty()) co_return fetch->bodies;
  fetch->last_arrival = mesh_.clock->Now();
  tasks_.Start(RunFetch(chunk->source, fetch));
  while (!fetch->over) {
    const Duration waited = mesh_.clock->Now() - fetch->last_arrival;
    if (fetch->elsewhere && waited >= kFetchPatience) break;
    co_await progress_.WaitFor(*mesh_.clock, std::max<Duration>(kFetchPatience - waited, std::chrono::seconds(1)));
  }
  co_return fetch->bodies;
}

asio::awaitable<void> Appender::RunFetch(ReplicaIndex source, std::shared_ptr<Fetch> fetch) {
  std::function<void(size_t, Uid, std::shared_ptr<const Body>)> take = [&](size_t request, Uid uid,
                                                                           std::shared_ptr<const Body> body) {
    fetch->last_arrival = mesh_.clock->Now();
    const auto wanted = fetch->wanted.find({request, uid});
    if (wanted == fetch->wanted.end()) return;
    const MessageRegisters& message = fetch->planned.at(wanted->second)->message;
    const MailboxCopyId place = fetch->places[request];
    const bool cleared = mesh_.slot(source).cleared.contains(place);
    if (!cleared && IsAnotherMessage(*body, message.size, message.identity)) {
      Doubt(source, place);
    } else {
      fetch->bodies[message.id] = std::move(body);
    }
  };
  fetch->status = co_await mesh_.slot(source).replica->FetchBodiesTogether(std::move(fetch->requests), take);
  fetch->over = true;
  progress_.Notify();
  if (OutcomeUnknown(fetch->status)) {
    mesh_.MarkDown(source, fetch->status);
    co_return;
  }
  if (!fetch->status.ok()) mesh_.Warn(Message(fetch->status));
  for (const auto& [where, message] : fetch->wanted) {
    if (fetch->bodies.contains(message)) continue;
    const MailboxCopyId place = fetch->places[where.first];
    mesh_.unfetchable.insert({message, place});
    mesh_.due.insert({source.value, recorder_.MailboxName(place)});
    mesh_.slot(source).look_due = true;
  }
}

// UIDs stand for other messages by now: the mailbox is identified anew.
void Appender::Doubt(ReplicaIndex source, MailboxCopyId place) {
  if (!mesh_.slot(source).doubted.insert(place).second) return;
  mesh_.Warn("replica " + mesh_.name(source) + ": mailbox " + Printable(recorder_.MailboxName(place)) +
             ": a message is not the one that was known under its UID; the mailbox is identified anew");
}

// Returns once one target has the chunk, or all failed; the others go on.
asio::awaitable<void> Appender::Deliver(std::shared_ptr<Chunk> chunk, std::shared_ptr<const Bodies> bodies) {
  const auto delivered = std::make_shared<bool>(false);
  for (const ReplicaIndex target : chunk->targets) tasks_.Start(DeliverTo(target, chunk, bodies, delivered));
  while (!*delivered) co_await progress_.Wait();
}

asio::awaitable<void> Appender::DeliverTo(ReplicaIndex target, std::shared_ptr<Chunk> chunk,
                                          std::shared_ptr<const Bodies> bodies, std::shared_ptr<bool> delivered) {
  const size_t most = std::max<size_t>(1, mesh_.slot(target).replica->max_append());
  std::vector<std::vector<Change>> parts;  // of one mailbox each
  for (const Portion& portion : chunk->portions) {
    if (!bodies->contains(portion.planned->message.id)) continue;
    for (const CopyPlan* copy : portion.copies) {
      if (copy->target != target) continue;
      const bool goes_on = !parts.empty() && parts.back().size() < most &&
                           parts.back().front().planned->message.mailbox == portion.planned->message.mailbox;
      if (!goes_on) parts.emplace_back();
      parts.back().push_back({portion.planned, copy, copy->mailbox_copy});
    }
  }
  co_await AppendParts(target, std::move(parts), bodies);
  chunk->lanes.erase(target);
  *delivered = true;
  progress_.Notify();
}

AppendRequest Appender::RequestOf(const std::vector<Change>& changes, const Bodies& bodies, bool keywords) const {
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

asio::awaitable<void> Appender::AppendParts(ReplicaIndex target, std::vector<std::vector<Change>> parts,
                                            std::shared_ptr<const Bodies> bodies) {
  std::vector<Change> all;
  std::vector<std::vector<Change>> allowed;
  for (std::vector<Change>& part : parts) {
    if (!recorder_.MayWork(target)) co_return;
    if (!co_await MayAdd(mesh_, target, recorder_.MailboxName(*part.front().planned))) continue;
    auto wanted = co_await StillWanted(mesh_, recorder_.view(), std::move(part));
    if (!wanted.ok()) recorder_.Fail(wanted.status());
    if (!wanted.ok()) co_return;
    if (wanted->empty()) continue;
    all.insert(all.end(), wanted->begin(), wanted->end());
    allowed.push_back(*std::move(wanted));
  }
  if (allowed.empty() || !recorder_.MayWork(target)) co_return;
  if (!co_await recorder_.OpenIntents(all, IntentKind::kAdd)) co_return;
  std::vector<AppendRequest> requests;
  for (const std::vector<Change>& part : allowed) requests.push_back(RequestOf(part, *bodies, true));
  auto uids = co_await mesh_.slot(target).replica->AppendTogether(std::move(requests));
  TaskGroup finishing(mesh_.executor);  // side by side: one commit for all
  for (size_t i = 0; i < allowed.size(); ++i) {
    finishing.Start(FinishAppend(target, std::move(allowed[i]), bodies, std::move(uids[i])));
  }
  co_await finishing.Join();
}

asio::awaitable<void> Appender::FinishAppend(ReplicaIndex target, std::vector<Change> changes,
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
      std::vector<std::vector<Change>> single(1, std::vector<Change>(1, change));
      co_await AppendParts(target, std::move(single), bodies);
    }
    co_return;
  }
  co_await RecordAppended(target, changes, *uids, keywords);
  Progressed(changes);
}

asio::awaitable<void> Appender::RecordAppended(ReplicaIndex target, const std::vector<Change>& changes,
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
  co_await recorder_.Record(target, mailbox, std::move(records), appended.uid_validity);
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

asio::awaitable<void> ApplyAppends(Recorder& recorder, const Work& work, Lanes lanes) {
  Appender appender(recorder);
  co_await appender.Additions(work, std::move(lanes));
}

}  // namespace imapmesh
