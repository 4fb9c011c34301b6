#include "tests/order/memory_replica.h"

#include <algorithm>

#include "engine/sync/content_digest.h"

namespace imapmesh {
namespace {

constexpr UidValidity kValidity(7);
constexpr Duration kNoAnswer = std::chrono::seconds(30);

}  // namespace

class VirtualClock::Pending : public Alarm {
 public:
  Pending(VirtualClock& clock, Key key) : clock_(clock), key_(key) {}
  ~Pending() override { clock_.calls_.erase(key_); }

 private:
  VirtualClock& clock_;
  Key key_;
};

std::unique_ptr<Alarm> VirtualClock::CallAfter(Duration delay, std::function<void()> call) {
  const Key key{now_ + delay, ++last_};
  calls_[key] = std::move(call);
  return std::make_unique<Pending>(*this, key);
}

bool VirtualClock::Step(asio::io_context& context) {
  context.restart();
  if (context.poll_one() > 0) return true;
  if (calls_.empty()) return false;
  const auto next = calls_.begin();
  now_ = std::max(now_, next->first.first);
  const std::function<void()> call = std::move(next->second);
  calls_.erase(next);
  call();
  return true;
}

Uid MemoryReplica::Put(const std::string& mailbox, const std::string& bytes) {
  Box& box = boxes_[mailbox];
  box.messages[box.uid_next] = {bytes, 1'600'000'000, ++box.modseq, {}};
  Changed(mailbox);
  return Uid(box.uid_next++);
}

void MemoryReplica::SetFlag(const std::string& mailbox, Uid uid, const std::string& flag) {
  Box& box = boxes_[mailbox];
  box.messages.at(uid.value).flags.insert(flag);
  box.messages.at(uid.value).modseq = ++box.modseq;
  Changed(mailbox);
}

void MemoryReplica::SetStuck(bool stuck) {
  stuck_ = stuck;
  changed_.Notify();
}

void MemoryReplica::Changed(const std::string& mailbox) {
  news_.insert(mailbox);
  changed_.Notify();
}

asio::awaitable<absl::Status> MemoryReplica::Command(uint64_t bytes) {
  ++counters_.commands;
  const uint64_t closed_before = closed_;
  co_await connections_.Acquire();
  const Duration until = clock_.Now() + latency + per_byte * static_cast<int64_t>(bytes);
  const Duration give_up = clock_.Now() + kNoAnswer;
  while (closed_ == closed_before && (stuck_ ? clock_.Now() < give_up : clock_.Now() < until)) {
    co_await changed_.WaitFor(clock_, (stuck_ ? give_up : until) - clock_.Now());
  }
  connections_.Release();
  if (closed_ != closed_before) co_return absl::UnavailableError("replica " + name_ + ": closed");
  if (stuck_) co_return absl::DeadlineExceededError("replica " + name_ + ": no answer");
  co_return absl::OkStatus();
}

asio::awaitable<absl::StatusOr<std::vector<MailboxStatus>>> MemoryReplica::Look() {
  if (!stuck_ || !looks_while_stuck) CO_RETURN_IF_ERROR(co_await Command(0));
  std::vector<MailboxStatus> statuses;
  for (auto& [name, box] : boxes_) {
    if (restless) ++box.modseq;
    MailboxStatus status;
    status.mailbox = status.name_here = status.local_name = name;
    status.status_known = true;
    status.subscribed = box.subscribed;
    status.uid_validity = kValidity;
    status.uid_next = Uid(box.uid_next);
    status.highest_modseq = ModSeq(box.modseq);
    statuses.push_back(std::move(status));
  }
  co_return statuses;
}

asio::awaitable<absl::StatusOr<Observation>> MemoryReplica::Observe(std::string mailbox, MailboxCursor since,
                                                                    ObserveLimits limits) {
  CO_RETURN_IF_ERROR(co_await Command(0));
  ++counters_.mailboxes_selected;
  const Box& box = boxes_[mailbox];
  Observation seen;
  seen.complete = since.uid_validity != kValidity;
  seen.exists = box.messages.size();
  seen.cursor.uid_validity = kValidity;
  seen.cursor.uid_next = Uid(box.uid_next);
  seen.cursor.highest_modseq = ModSeq(box.modseq);
  const uint32_t first = std::max<uint32_t>(1, since.uid_next.value);
  for (const auto& [uid, modseq] : box.expunged) {
    if (!seen.complete && modseq > since.highest_modseq.value && uid < first) seen.vanished.Add(Uid(uid));
  }
  for (const auto& [uid, message] : box.messages) {
    const std::vector<std::string> flags(message.flags.begin(), message.flags.end());
    if (uid < first) {
      if (message.modseq > since.highest_modseq.value) seen.changed.push_back({Uid(uid), flags});
      continue;
    }
    if (seen.arrived.size() == limits.messages) {
      seen.more = true;
      seen.cursor.uid_next = Uid(uid);
      break;
    }
    ArrivedMessage arrived;
    arrived.uid = Uid(uid);
    arrived.flags = flags;
    arrived.size = message.bytes.size();
    arrived.internal_date = message.date;
    Sha256 digest;
    digest.Add(message.bytes.substr(0, message.bytes.find(' ')));
    arrived.header_digest = digest.Finish();
    arrived.has_message_id = true;
    arrived.message_id = "<" + message.bytes.substr(0, message.bytes.find(' ')) + ">";
    seen.arrived.push_back(std::move(arrived));
  }
  co_return seen;
}

asio::awaitable<absl::Status> MemoryReplica::FetchBodies(MailboxReference mailbox, UidSet uids,
                                                         std::function<void(Uid, std::shared_ptr<const Body>)> take) {
  uint64_t bytes = 0;
  for (const Uid uid : uids.Take(SIZE_MAX)) bytes += boxes_[mailbox.mailbox].messages[uid.value].bytes.size();
  CO_RETURN_IF_ERROR(co_await Command(bytes));
  if (!gives_bodies) co_return absl::PermissionDeniedError("replica " + name_ + ": no bodies here");
  for (const Uid uid : uids.Take(SIZE_MAX)) {
    auto body = std::make_shared<Body>();
    CO_RETURN_IF_ERROR(body->Append(boxes_[mailbox.mailbox].messages[uid.value].bytes));
    ++counters_.messages_fetched;
    bytes_fetched += body->size();
    take(uid, std::move(body));
  }
  co_return absl::OkStatus();
}

asio::awaitable<absl::Status> MemoryReplica::FetchHeaders(MailboxReference, UidSet,
                                                          std::function<void(Uid, HeaderText)>) {
  co_return co_await Command(0);
}

asio::awaitable<absl::StatusOr<Appended>> MemoryReplica::Append(MailboxReference mailbox,
                                                                std::vector<AppendItem> items) {
  uint64_t bytes = 0;
  for (const AppendItem& item : items) bytes += item.body->size();
  CO_RETURN_IF_ERROR(co_await Command(bytes));
  if (auto before = std::exchange(before_append, nullptr)) before();
  Appended appended;
  std::vector<Uid>& uids = appended.uids;
  for (const AppendItem& item : items) {
    uids.push_back(Put(mailbox.mailbox, std::string(item.body->memory())));
    Message& message = boxes_[mailbox.mailbox].messages.at(uids.back().value);
    message.flags.insert(item.flags.begin(), item.flags.end());
    message.date = item.internal_date;
  }
  counters_.messages_appended += items.size();
  bytes_appended += bytes;
  last_append = clock_.Now();
  co_return appended;
}

asio::awaitable<absl::StatusOr<std::vector<CopiedUid>>> MemoryReplica::CopyMessages(MailboxReference, MailboxReference,
                                                                                    UidSet, bool) {
  co_return absl::UnimplementedError("replica " + name_ + ": no COPY here");
}

asio::awaitable<absl::Status> MemoryReplica::StoreFlags(MailboxReference mailbox, UidSet uids,
                                                        std::vector<std::string> add, std::vector<std::string> remove) {
  CO_RETURN_IF_ERROR(co_await Command(0));
  ++stores;
  Box& box = boxes_[mailbox.mailbox];
  for (const Uid uid : uids.Take(SIZE_MAX)) {
    const auto message = box.messages.find(uid.value);
    if (message == box.messages.end()) continue;
    message->second.flags.insert(add.begin(), add.end());
    for (const std::string& flag : remove) message->second.flags.erase(flag);
    message->second.modseq = ++box.modseq;
    ++counters_.flags_changed;
  }
  Changed(mailbox.mailbox);
  co_return absl::OkStatus();
}

asio::awaitable<absl::StatusOr<ExpungeResult>> MemoryReplica::Expunge(MailboxReference mailbox, UidSet uids, ModSeq) {
  CO_RETURN_IF_ERROR(co_await Command(0));
  Box& box = boxes_[mailbox.mailbox];
  for (const Uid uid : uids.Take(SIZE_MAX)) {
    if (box.messages.erase(uid.value) > 0) box.expunged[uid.value] = ++box.modseq;
  }
  counters_.messages_expunged += uids.size();
  Changed(mailbox.mailbox);
  ExpungeResult none_modified;
  co_return none_modified;
}

asio::awaitable<absl::StatusOr<bool>> MemoryReplica::CreateMailbox(std::string mailbox, bool) {
  CO_RETURN_IF_ERROR(co_await Command(0));
  co_return boxes_.try_emplace(mailbox).second;
}

asio::awaitable<absl::Status> MemoryReplica::Subscribe(std::string mailbox, bool subscribed) {
  CO_RETURN_IF_ERROR(co_await Command(0));
  boxes_[mailbox].subscribed = subscribed;
  co_return absl::OkStatus();
}

asio::awaitable<absl::Status> MemoryReplica::DeleteMailbox(std::string mailbox) {
  CO_RETURN_IF_ERROR(co_await Command(0));
  boxes_.erase(mailbox);
  co_return absl::OkStatus();
}

asio::awaitable<absl::StatusOr<bool>> MemoryReplica::MailboxExists(std::string local_name) {
  CO_RETURN_IF_ERROR(co_await Command(0));
  co_return boxes_.contains(local_name);
}

asio::awaitable<absl::StatusOr<bool>> MemoryReplica::RenameMailbox(std::string from, std::string to,
                                                                   std::vector<std::string>) {
  CO_RETURN_IF_ERROR(co_await Command(0));
  boxes_[to] = std::move(boxes_[from]);
  boxes_.erase(from);
  co_return true;
}

asio::awaitable<absl::Status> MemoryReplica::Watch(std::function<void(std::vector<std::string>)> due) {
  const uint64_t closed_before = closed_;
  while (closed_ == closed_before) {
    if (!news_.empty() && !stuck_) {
      due(std::vector<std::string>(news_.begin(), news_.end()));
      news_.clear();
    }
    co_await changed_.Wait();
  }
  co_return absl::UnavailableError("replica " + name_ + ": closed");
}

void MemoryReplica::Close() {
  ++closed_;
  changed_.Notify();
}

asio::awaitable<void> MemoryReplica::Logout() {
  Close();
  co_return;
}

}  // namespace imapmesh
