#include "engine/sync/apply_appends.h"

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "base/printable.h"
#include "engine/replica/known_body.h"
#include "engine/sync/deliver.h"
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

using Bodies = Deliverer::Bodies;

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
        progress_(mesh_.executor),
        deliverer_(recorder) {}
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

  Recorder& recorder_;
  Mesh& mesh_;
  TaskGroup tasks_;
  Permits permits_;
  Signal progress_;  // a fetch ended, or a target has a chunk
  Deliverer deliverer_;
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
  Deliverer::Parts parts;
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
  co_await deliverer_.AppendInTurn(target, std::move(parts), bodies);
  chunk->lanes.erase(target);
  *delivered = true;
  progress_.Notify();
}

}  // namespace

asio::awaitable<void> ApplyAppends(Recorder& recorder, const Work& work, Lanes lanes) {
  Appender appender(recorder);
  co_await appender.Additions(work, std::move(lanes));
}

}  // namespace imapmesh
