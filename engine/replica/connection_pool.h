// The connections of one replica: opened when needed, leased one by one, dropped when they break.
//
// imap_replica.cc leases a session for each call. At most `max_connections` at once; who finds none free waits in turn.
// Engine thread only. Invariant: a session is used by one lease at a time; a closed session is never leased again.
#ifndef IMAPMESH_ENGINE_REPLICA_CONNECTION_POOL_H_
#define IMAPMESH_ENGINE_REPLICA_CONNECTION_POOL_H_

#include <functional>
#include <list>
#include <memory>
#include <string>

#include "engine/imap/session.h"
#include "engine/net/signal.h"

namespace imapmesh {

class ConnectionPool {
 public:
  using Opener = std::function<asio::awaitable<absl::StatusOr<std::unique_ptr<imap::Session>>>()>;

  struct Traffic {
    uint64_t commands = 0;
    uint64_t bytes_sent = 0;
    uint64_t bytes_received = 0;
  };

 private:
  struct Slot {
    std::unique_ptr<imap::Session> session;
    bool busy = false;
    Duration idle_since{0};
  };

 public:
  class Lease {
   public:
    Lease(ConnectionPool& pool, Slot& slot) : pool_(&pool), slot_(&slot) {}
    Lease(Lease&& other) noexcept : pool_(other.pool_), slot_(other.slot_) { other.slot_ = nullptr; }
    Lease& operator=(Lease&&) = delete;
    ~Lease() {
      if (slot_ != nullptr) pool_->Return(*slot_);
    }
    imap::Session& operator*() const { return *slot_->session; }
    imap::Session* operator->() const { return slot_->session.get(); }

   private:
    ConnectionPool* pool_;
    Slot* slot_;
  };

  ConnectionPool(asio::any_io_executor executor, Clock& clock, int max_connections, Opener open);

  // A session, by preference one that has `mailbox_raw` selected ("": one that has none). Opens one when none is free.
  asio::awaitable<absl::StatusOr<Lease>> Acquire(std::string mailbox_raw);

  // Drops idle sessions that have `mailbox_raw` selected ("": any mailbox): it is no longer what it was.
  void Deselect(const std::string& mailbox_raw);
  // Closes every session; leased ones go when their lease ends.
  void Close();
  asio::awaitable<void> Logout();
  // Rises with each Close.
  uint64_t generation() const { return generation_; }
  int size() const { return static_cast<int>(slots_.size()); }
  Traffic traffic() const;
  // Adds what a session outside the pool (the watcher) has moved.
  void AddTraffic(const imap::Session& session);

 private:
  friend class Lease;
  void Return(Slot& slot);
  void Drop(std::list<Slot>::iterator slot);
  std::list<Slot>::iterator BestIdle(const std::string& mailbox_raw);

  asio::any_io_executor executor_;
  Clock& clock_;
  int max_connections_;
  Opener open_;
  std::list<Slot> slots_;
  int opening_ = 0;
  Duration opening_took_{0};  // the last time
  uint64_t generation_ = 0;   // rises with Close: what was being opened then is dropped
  Signal changed_;
  Traffic past_;
};

}  // namespace imapmesh

#endif  // IMAPMESH_ENGINE_REPLICA_CONNECTION_POOL_H_
