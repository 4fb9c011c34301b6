// A replica in memory and the time it takes, for tests of the order of work: no IMAP, no network, any number of them.
//
// mesh_test.cc and engine/sync/control_test.cc drive the real coordinator over these. Each call takes one of
// `max_connections`, then `latency` and `per_byte` of virtual time. One thread.
#ifndef IMAPMESH_TESTS_ORDER_MEMORY_REPLICA_H_
#define IMAPMESH_TESTS_ORDER_MEMORY_REPLICA_H_

#include <asio/io_context.hpp>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "engine/net/signal.h"
#include "engine/replica/replica.h"
#include "engine/sync/task_group.h"

namespace imapmesh {

// Time that passes only when nothing else can happen.
class VirtualClock : public Clock {
 public:
  Duration Now() const override { return now_; }
  int64_t UnixMillis() const override { return 1'700'000'000'000 + now_ / std::chrono::milliseconds(1); }
  std::unique_ptr<Alarm> CallAfter(Duration delay, std::function<void()> call) override;
  // Runs what is ready, or lets time pass to the next alarm; false when there is none.
  bool Step(asio::io_context& context);

 private:
  using Key = std::pair<Duration, uint64_t>;
  class Pending;
  std::map<Key, std::function<void()>> calls_;
  Duration now_{0};
  uint64_t last_ = 0;
};

class MemoryReplica : public Replica {
 public:
  struct Message {
    std::string bytes;
    int64_t date = 0;
    uint64_t modseq = 0;
    std::set<std::string> flags;
  };

  MemoryReplica(asio::any_io_executor executor, Clock& clock, std::string name, int max_connections)
      : clock_(clock), name_(std::move(name)), connections_(executor, max_connections), changed_(executor) {
    info_.can_push = true;
  }

  // What a user does.
  Uid Put(const std::string& mailbox, const std::string& bytes);
  void SetFlag(const std::string& mailbox, Uid uid, const std::string& flag);
  const std::map<uint32_t, Message>& Messages(const std::string& mailbox) { return boxes_[mailbox].messages; }
  // These the server does not push: the next look finds them.
  void Remove(const std::string& mailbox) { boxes_.erase(mailbox); }
  void SetSubscribed(const std::string& mailbox, bool subscribed) { boxes_[mailbox].subscribed = subscribed; }
  bool Has(const std::string& mailbox) const { return boxes_.contains(mailbox); }
  // It takes every command and answers none, until `stuck` is false again.
  void SetStuck(bool stuck);
  bool looks_while_stuck = false;  // it still answers LIST, as a server does whose mailboxes another process has locked

  Duration latency{std::chrono::milliseconds(1)};
  Duration per_byte{0};
  bool restless = false;                // each look finds a higher HIGHESTMODSEQ, though nothing has happened
  bool gives_bodies = true;             // else FETCH is refused
  std::function<void()> before_append;  // what another one does there just before; once
  uint64_t bytes_fetched = 0;
  uint64_t bytes_appended = 0;
  uint64_t stores = 0;  // each of a set of messages, to which it does the same
  Duration last_append{0};

  const std::string& name() const override { return name_; }
  asio::awaitable<absl::StatusOr<std::vector<MailboxStatus>>> Look() override;
  asio::awaitable<absl::StatusOr<Observation>> Observe(std::string mailbox, MailboxCursor since,
                                                       ObserveLimits limits) override;
  asio::awaitable<absl::Status> FetchBodies(MailboxReference mailbox, UidSet uids,
                                            std::function<void(Uid, std::shared_ptr<const Body>)> take) override;
  asio::awaitable<absl::Status> FetchHeaders(MailboxReference mailbox, UidSet uids,
                                             std::function<void(Uid, HeaderText)> take) override;
  asio::awaitable<absl::StatusOr<Appended>> Append(MailboxReference mailbox, std::vector<AppendItem> items) override;
  size_t max_append() const override { return 100; }
  asio::awaitable<absl::StatusOr<std::vector<CopiedUid>>> CopyMessages(MailboxReference from, MailboxReference to,
                                                                       UidSet uids, bool move) override;
  bool can_move() const override { return false; }
  asio::awaitable<absl::Status> StoreFlags(MailboxReference mailbox, UidSet uids, std::vector<std::string> add,
                                           std::vector<std::string> remove) override;
  asio::awaitable<absl::StatusOr<ExpungeResult>> Expunge(MailboxReference mailbox, UidSet uids,
                                                         ModSeq unchanged_since) override;
  asio::awaitable<absl::StatusOr<bool>> CreateMailbox(std::string mailbox, bool subscribe) override;
  asio::awaitable<absl::Status> Subscribe(std::string mailbox, bool subscribed) override;
  asio::awaitable<absl::Status> DeleteMailbox(std::string mailbox) override;
  asio::awaitable<absl::StatusOr<bool>> MailboxExists(std::string local_name) override;
  asio::awaitable<absl::StatusOr<bool>> RenameMailbox(std::string from, std::string to,
                                                      std::vector<std::string> subscribed) override;
  void SetAliases(std::map<std::string, std::string>) override {}
  asio::awaitable<absl::Status> Watch(std::function<void(std::vector<std::string>)> due) override;
  asio::awaitable<void> KeepAlive() override { co_return; }
  void Close() override;
  asio::awaitable<void> Logout() override;
  ReplicaCounters counters() const override { return counters_; }
  const ServerInfo& info() const override { return info_; }

 private:
  struct Box {
    uint32_t uid_next = 1;
    uint64_t modseq = 1;
    bool subscribed = false;
    std::map<uint32_t, Message> messages;
    std::map<uint32_t, uint64_t> expunged;  // UID to MODSEQ
  };

  // One command: waits for a connection and for the time it takes. An error when the server does not answer.
  asio::awaitable<absl::Status> Command(uint64_t bytes);
  void Changed(const std::string& mailbox);

  Clock& clock_;
  std::string name_;
  Permits connections_;
  Signal changed_;
  std::map<std::string, Box> boxes_{{"INBOX", Box()}};
  std::set<std::string> news_;
  bool stuck_ = false;
  uint64_t closed_ = 0;  // times
  ReplicaCounters counters_;
  ServerInfo info_;
};

}  // namespace imapmesh

#endif  // IMAPMESH_TESTS_ORDER_MEMORY_REPLICA_H_
