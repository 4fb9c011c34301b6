#include "engine/replica/connection_pool.h"

#include <utility>

#include "engine/imap/commands.h"

namespace imapmesh {
namespace {

// Servers log out idle clients after 30 minutes (RFC 3501 section 5.4), NAT boxes forget them earlier.
constexpr Duration kIdleLimit = std::chrono::minutes(4);

}  // namespace

ConnectionPool::ConnectionPool(asio::any_io_executor executor, Clock& clock, int max_connections, Opener open)
    : executor_(executor),
      clock_(clock),
      max_connections_(max_connections),
      open_(std::move(open)),
      changed_(executor) {}

std::list<ConnectionPool::Slot>::iterator ConnectionPool::BestIdle(const std::string& mailbox_raw) {
  auto best = slots_.end();
  for (auto slot = slots_.begin(); slot != slots_.end();) {
    const bool stale = !slot->busy && (!slot->session->closed().ok() || clock_.Now() - slot->idle_since > kIdleLimit);
    if (stale) {
      Drop(slot++);
      continue;
    }
    if (!slot->busy) {
      if (slot->session->selected() == mailbox_raw) return slot;
      best = slot;
    }
    ++slot;
  }
  return best;
}

asio::awaitable<absl::StatusOr<ConnectionPool::Lease>> ConnectionPool::Acquire(std::string mailbox_raw) {
  const Duration patient_until = clock_.Now() + opening_took_;
  while (true) {
    const auto idle = BestIdle(mailbox_raw);
    if (idle != slots_.end()) {
      idle->busy = true;
      co_return Lease(*this, *idle);
    }
    // One that is at work may be free before another is opened.
    const Duration left = patient_until - clock_.Now();
    const bool patient = size() > 0 && left > Duration::zero();
    if (!patient && size() + opening_ < max_connections_) break;
    if (patient) {
      co_await changed_.WaitFor(clock_, left);
    } else {
      co_await changed_.Wait();
    }
  }
  ++opening_;
  const Duration began = clock_.Now();
  const uint64_t generation = generation_;
  absl::StatusOr<std::unique_ptr<imap::Session>> session = co_await open_();
  --opening_;
  changed_.Notify();
  if (!session.ok()) co_return session.status();
  opening_took_ = clock_.Now() - began;
  if (generation != generation_) co_return absl::UnavailableError("the connection was closed here");
  slots_.push_back({*std::move(session), true, Duration(0)});
  co_return Lease(*this, slots_.back());
}

void ConnectionPool::Return(Slot& slot) {
  slot.busy = false;
  slot.idle_since = clock_.Now();
  if (!slot.session->closed().ok()) {
    for (auto it = slots_.begin(); it != slots_.end(); ++it) {
      if (&*it != &slot) continue;
      Drop(it);
      break;
    }
  }
  changed_.Notify();
}

void ConnectionPool::Drop(std::list<Slot>::iterator slot) {
  AddTraffic(*slot->session);
  slots_.erase(slot);
}

void ConnectionPool::AddTraffic(const imap::Session& session) {
  past_.commands += session.commands();
  past_.bytes_sent += session.bytes_sent();
  past_.bytes_received += session.bytes_received();
}

void ConnectionPool::Deselect(const std::string& mailbox_raw) {
  for (auto slot = slots_.begin(); slot != slots_.end();) {
    const std::string& selected = slot->session->selected();
    if (slot->busy || selected.empty() || (!mailbox_raw.empty() && selected != mailbox_raw)) {
      ++slot;
      continue;
    }
    slot->session->Close();
    Drop(slot++);
  }
  changed_.Notify();
}

void ConnectionPool::Close() {
  ++generation_;
  for (auto slot = slots_.begin(); slot != slots_.end();) {
    slot->session->Close();
    if (slot->busy) {
      ++slot;
    } else {
      Drop(slot++);
    }
  }
  changed_.Notify();
}

asio::awaitable<void> ConnectionPool::Logout() {
  for (auto slot = slots_.begin(); slot != slots_.end();) {
    if (slot->busy) {
      ++slot;
      continue;
    }
    slot->busy = true;
    co_await imap::Logout(*slot->session);
    slot->busy = false;
    Drop(slot++);
  }
}

ConnectionPool::Traffic ConnectionPool::traffic() const {
  Traffic traffic = past_;
  for (const Slot& slot : slots_) {
    traffic.commands += slot.session->commands();
    traffic.bytes_sent += slot.session->bytes_sent();
    traffic.bytes_received += slot.session->bytes_received();
  }
  return traffic;
}

}  // namespace imapmesh
