// Continuous operation: watchers, polls and orders between the rounds.
#include <algorithm>
#include <utility>

#include "engine/sync/coordinator.h"

namespace imapmesh {
namespace {

using std::chrono::seconds;

constexpr Duration kLongestRetry = std::chrono::hours(1);

}  // namespace

void Coordinator::Stop() {
  auto stop = [this] {
    stopping_ = true;
    for (ReplicaSlot& slot : mesh_.replicas) slot.replica->Close();
    wake_.Notify();
  };
  asio::post(mesh_.executor, stop);
}

void Coordinator::StartWatchers() {
  watching_ = true;
  for (size_t r = 0; r < mesh_.replicas.size(); ++r) {
    if (watched_[r] || mesh_.replicas[r].state != ReplicaState::kUp) continue;
    watched_[r] = true;
    watchers_.Start(WatchTask(ReplicaIndex(static_cast<int32_t>(r))));
  }
}

asio::awaitable<void> Coordinator::StopWatchers() {
  watching_ = false;
  for (ReplicaSlot& slot : mesh_.replicas) slot.replica->Close();
  wake_.Notify();
  co_await watchers_.Join();
  co_await lanes_.Join();
}

asio::awaitable<void> Coordinator::WatchTask(ReplicaIndex r) {
  std::function<void(std::vector<std::string>)> due = [this, r](std::vector<std::string> mailboxes) {
    for (const std::string& mailbox : mailboxes) {
      if (mesh_.FindCopy(r, mailbox) != nullptr) {
        mesh_.due.insert({r.value, mailbox});
      } else {
        mesh_.slot(r).look_due = true;
      }
    }
    if (mailboxes.empty()) mesh_.slot(r).look_due = true;
    wake_.Notify();
  };
  const absl::Status ended = co_await mesh_.slot(r).replica->Watch(due);
  watched_[static_cast<size_t>(r.value)] = false;
  if (!watching_ || stopping_) co_return;
  if (absl::IsUnimplemented(ended)) {
    watched_[static_cast<size_t>(r.value)] = true;  // polled instead, until it reconnects
    co_return;
  }
  mesh_.Debug(Message(ended));
  if (mesh_.IsUp(r))
    mesh_.MarkDown(
        r, ended.ok() ? absl::UnavailableError("replica " + mesh_.name(r) + ": the watching connection ended") : ended);
  wake_.Notify();
}

// Opens the edges whose interval is over: what has waited for them is planned. How long until the next one.
Duration Coordinator::UntilEdgesOpen() {
  const Duration now = mesh_.clock->Now();
  Duration wait = seconds(3600);
  for (Duration& opens : mesh_.edge_opens) {
    if (opens == Duration(0)) continue;
    if (now >= opens) {
      opens = Duration(0);
      plan_due_ = true;
    } else {
      wait = std::min(wait, opens - now);
    }
  }
  return wait;
}

// An edge with interval_s that has nothing left to carry rests for that long.
void Coordinator::CloseEdges() {
  for (size_t e = 0; e < mesh_.edge_opens.size(); ++e) {
    const int interval_s = mesh_.graph->topology().edge(static_cast<int>(e)).interval_s();
    const auto pending = pending_.find(static_cast<int32_t>(e));
    const bool idle = pending == pending_.end() || pending->second.total() == 0;
    const bool rests = interval_s > 0 && mesh_.edge_opens[e] == Duration(0) && idle && pass_complete_;
    if (rests) mesh_.edge_opens[e] = mesh_.clock->Now() + seconds(interval_s);
  }
}

// Tries what a server refused for now once more when it is time, and tells how long until then.
Duration Coordinator::UntilRetry(ReplicaIndex r) {
  ReplicaSlot& slot = mesh_.slot(r);
  if (!mesh_.RefusesForNow(r)) {
    slot.next_retry = Duration(0);
    if (!slot.look_due && pass_complete_ && !PlanIsDue()) slot.retries = 0;  // else it is just being tried
    return kLongestRetry;
  }
  const Duration now = mesh_.clock->Now();
  if (slot.next_retry == Duration(0)) {
    const Duration first = seconds(mesh_.graph->topology().policy().poll_interval_s());
    const Duration pause = std::min<Duration>(first * (int64_t{1} << std::min(slot.retries, 20)), kLongestRetry);
    slot.next_retry = now + std::max(pause, first);
    ++slot.retries;
  }
  if (now < slot.next_retry) return slot.next_retry - now;
  mesh_.RenewHope(r);
  slot.next_retry = Duration(0);
  return Duration(0);
}

Duration Coordinator::UntilNextDue() {
  const Duration now = mesh_.clock->Now();
  Duration wait = std::min(UntilEdgesOpen(), settling_ ? kPauseToSettle : Duration(seconds(3600)));
  for (size_t r = 0; r < mesh_.replicas.size(); ++r) {
    ReplicaSlot& slot = mesh_.replicas[r];
    if (slot.tasks > 0) continue;
    if (LookIsDue(slot)) wait = Duration(0);  // one that a reload brought has no state yet
    if (slot.state == ReplicaState::kDown && !slot.hopeless) wait = std::min(wait, slot.next_attempt - now);
    if (slot.state != ReplicaState::kUp) continue;
    if (next_poll_[r] == Duration(0)) {
      const bool pushed = slot.replica->info().can_push;
      const auto interval = static_cast<int64_t>(mesh_.graph->topology().policy().poll_interval_s());
      next_poll_[r] = now + (pushed ? Duration(std::chrono::minutes(15)) : Duration(seconds(interval)));
    }
    if (now >= next_poll_[r]) {
      slot.look_due = true;
      slot.compare_due = true;
      slot.metadata_due = true;
      next_poll_[r] = Duration(0);
    }
    wait = std::min(wait, UntilRetry(ReplicaIndex(static_cast<int32_t>(r))));
    wait = std::min(wait, slot.look_due ? Duration(0) : next_poll_[r] - now);
  }
  if (!pass_complete_) wait = std::min<Duration>({wait, seconds(1), plan_again_ - now});  // PlanIsDue tells then
  // A lane that became empty may have had nothing to do, and so may all others until the busy replica is done.
  if (PlanIsDue()) wait = std::min(wait, in_vain_ ? last_pass_ + kPauseInVain - now : Duration(0));
  if (ObservationIsDue()) wait = Duration(0);
  return std::max(wait, Duration(0));
}

asio::awaitable<absl::Status> Coordinator::RunForever() {
  absl::Status status = co_await LoadState();
  bool was_converged = false;
  while (status.ok() && !stopping_) {
    if (!orders_.empty()) {
      const Order order = std::move(orders_.front());
      orders_.pop_front();
      status = co_await order();
      continue;
    }
    const Duration wait = UntilNextDue();
    if (wait > Duration(0) && rounds_ > 0) {
      co_await wake_.WaitFor(*mesh_.clock, wait);
      if (!settling_) continue;  // what woke us is looked at first; open intents need a round by themselves
    }
    if (stopping_) break;
    Publish(true);
    const auto outcome = co_await Round();
    status = outcome.status();
    if (!status.ok() || stopping_) break;
    in_vain_ = outcome->operations == 0 && (AnyBusy() || !pass_complete_);
    if (syncs_.empty()) CloseEdges();
    StartWatchers();
    Publish(false);
    AnswerSyncs();
    // Who waits for a sync makes rounds follow one another: not without a pause for what needs time to come to rest.
    if (!syncs_.empty() && settling_) {
      co_await Sleep(*mesh_.clock, mesh_.executor, kPauseToSettle);
    } else if (!syncs_.empty() && outcome->operations == 0 && !pass_complete_ && !AnyBusy()) {
      co_await Sleep(*mesh_.clock, mesh_.executor, kPauseForOthers);
    }
    const bool converged = Converged();
    if (converged && !was_converged) mesh_.Emit("CONVERGED", ReplicaIndex(-1), EdgeIndex(-1), "", "nothing is pending");
    was_converged = converged;
  }
  stopping_ = true;
  while (!orders_.empty()) {  // each caller gets its answer
    const Order order = std::move(orders_.front());
    orders_.pop_front();
    const absl::Status ignored = co_await order();
    (void)ignored;
  }
  EndSyncs(status.ok() ? absl::UnavailableError("the daemon is stopping") : status);
  co_await StopWatchers();
  co_return status;
}

}  // namespace imapmesh
