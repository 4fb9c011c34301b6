// One round: look and observe, plan, apply (DESIGN.md section 3). A replica that is slow is left behind: what it does
// goes on in its lane, the round goes on without it, and it takes part again once its lane is empty.
#include <algorithm>
#include <deque>
#include <utility>

#include "engine/sync/apply.h"
#include "engine/sync/coordinator.h"
#include "engine/sync/kept_back.h"
#include "engine/sync/lane.h"
#include "engine/sync/listen.h"
#include "engine/sync/look.h"
#include "engine/sync/memories.h"
#include "engine/sync/observe.h"
#include "engine/sync/refusals.h"
#include "engine/sync/seen.h"
#include "engine/sync/start_state.h"
#include "engine/sync/sync_metadata.h"

namespace imapmesh {
namespace {

using std::chrono::seconds;

constexpr Duration kPatience = seconds(2);
constexpr Duration kPatienceWithBulk = seconds(15);  // what is small interrupts the wait
constexpr Duration kMarginWithBulk = seconds(5);
constexpr Duration kFirstPatience = seconds(10);  // with a replica that was not up yet
constexpr Duration kPassLimit = seconds(10);      // after it what is due is looked at, and the plan begins anew
constexpr int kPartsInVainMost = 3;               // rounds in which mailbox copies waited for one another alone
constexpr Duration kPlanAgain = seconds(5);       // while a pass that is not complete waits for busy replicas
constexpr int64_t kSkippedMost = 20'000;          // messages of busy replicas planned in vain in one pass
constexpr int64_t kHistoryMillis = int64_t{90} * 24 * 3600 * 1000;
constexpr int64_t kHistorySteps = 500'000;
constexpr int64_t kBetweenPrunes = int64_t{3600} * 1000;

}  // namespace

// ---- waiting

// Until the replicas are done with what was begun, or are left behind. False when it ended early because something else
// is to be done.
asio::awaitable<bool> Coordinator::Settle(std::set<ReplicaIndex> awaited, bool interruptible) {
  const Duration limit = mesh_.clock->Now() + kPassLimit;
  while (!stopping_) {
    const Duration now = mesh_.clock->Now();
    Duration until = interruptible ? limit : Duration::max();
    std::erase_if(awaited, [&](ReplicaIndex r) { return !mesh_.IsAwaited(r); });
    if (awaited.empty()) co_return true;
    if (interruptible) BeginCarrying();
    if (interruptible && (now >= limit || !orders_.empty() || ObservationIsDue())) co_return false;
    for (const ReplicaIndex r : awaited) until = std::min(until, mesh_.AwaitedUntil(r));
    if (interruptible && FirstLooksWait() && mesh_.carried.PatienceEnds() > now) {
      until = std::min(until, mesh_.carried.PatienceEnds());
    }
    co_await wake_.WaitFor(*mesh_.clock, until - now);
  }
  co_return false;
}

// Also when the last pass was not complete: once all lanes are empty, and now and then before, as more replicas may be
// left behind by then.
bool Coordinator::PlanIsDue() const {
  return plan_due_ || (!pass_complete_ && (!AnyBusy() || mesh_.clock->Now() >= plan_again_));
}

// Not for mailbox copies that wait for their server to come to rest: those have time.
bool Coordinator::ObservationIsDue() const {
  return !settling_ && std::any_of(mesh_.due.begin(), mesh_.due.end(), [&](const auto& due) {
    const ReplicaIndex r(due.first);
    return mesh_.IsUp(r) && !mesh_.IsBusy(r) && !mesh_.WaitsForRoom(due);
  });
}

// Whether messages went somewhere that a look is about to show.
bool Coordinator::MovesAreDue() const {
  return std::any_of(mesh_.replicas.begin(), mesh_.replicas.end(),
                     [&](const ReplicaSlot& slot) { return slot.gone_since_look && LookIsDue(slot); });
}

bool Coordinator::AnyBusy() const {
  return std::any_of(mesh_.replicas.begin(), mesh_.replicas.end(),
                     [](const ReplicaSlot& slot) { return slot.tasks > 0; });
}

asio::awaitable<void> Coordinator::AwaitWorkOn(std::set<MessageId> messages) {
  const auto concerns = [&](const std::weak_ptr<const Work>& begun) {
    const auto work = begun.lock();
    return work != nullptr && std::any_of(work->messages.begin(), work->messages.end(),
                                          [&](const auto& planned) { return messages.contains(planned.message.id); });
  };
  while (std::any_of(under_way_.begin(), under_way_.end(), concerns)) co_await wake_.WaitFor(*mesh_.clock, seconds(1));
}

// ---- look and observe

bool Coordinator::LookIsDue(const ReplicaSlot& slot) const {
  if (slot.tasks > 0) return false;
  if (slot.state != ReplicaState::kDown) return slot.look_due;
  return !slot.hopeless && mesh_.clock->Now() >= slot.next_attempt;
}

// One of as many as may observe side by side. What is left when nobody waits for it any more stays due.
asio::awaitable<void> Coordinator::ObserveTask(ReplicaIndex r, std::deque<std::vector<std::string>>& left) {
  while (!left.empty()) {
    const bool nobody_waits = plan_cancelled_ != nullptr && *plan_cancelled_;
    if (!mesh_.IsUp(r) || !lane_failure_.ok() || stopping_ || nobody_waits) co_return;
    std::vector<std::string> mailboxes = std::move(left.front());
    left.pop_front();
    const absl::Status status = co_await ObserveCopies(mesh_, r, std::move(mailboxes));
    if (!status.ok()) lane_failure_ = status;
  }
}

asio::awaitable<void> Coordinator::LookLane(ReplicaIndex r, std::shared_ptr<const Lane> lane, bool look) {
  mesh_.slot(r).looking = true;
  if (look) {
    // Before the look is recorded: where it tells that INBOX was renamed, nothing is known of INBOX behind it.
    mesh_.slot(r).first_contact = IsFirstContact(mesh_, r);
    co_await LookAt(mesh_, r);
    const absl::Status status = co_await RecordLook(r);
    if (!status.ok()) lane_failure_ = status;
    mesh_.slot(r).unrecorded = false;
    listed_.Notify();
    if (mesh_.IsUp(r)) co_await FindCarryingAt(r);
  }
  if (mesh_.IsUp(r) && lane_failure_.ok()) co_await ObserveDue(r);
  ReplicaSlot& slot = mesh_.slot(r);
  if (!look && slot.gone_since_look && !slot.replica->info().can_push) slot.look_due = true;
  if (look && mesh_.IsUp(r)) {
    const absl::Status noted = co_await NoteSeen(mesh_, r);
    if (!noted.ok()) lane_failure_ = noted;
  }
  mesh_.slot(r).looking = false;
  lane.reset();
}

asio::awaitable<absl::Status> Coordinator::RecordLook(ReplicaIndex r) {
  if (!TellsOfRenames(mesh_, r)) co_return co_await RecordListing(mesh_, r, listings_);
  co_await QuietForRenames(r);
  const Held names(names_);
  co_return co_await RecordListing(mesh_, r, listings_);
}

// What other replicas have under way, and what is planned, names mailboxes as they were called when it began. Those
// that wait here as well have nothing under way. Acquires `names_`.
asio::awaitable<void> Coordinator::QuietForRenames(ReplicaIndex r) {
  mesh_.slot(r).waits_for_quiet = true;
  listed_.Notify();
  const auto at_work = [&] {
    return std::any_of(mesh_.replicas.begin(), mesh_.replicas.end(),
                       [](const ReplicaSlot& slot) { return slot.tasks > 0 && !slot.waits_for_quiet; });
  };
  for (;;) {
    co_await names_.Acquire();
    if (!at_work() || stopping_) break;
    names_.Release();
    co_await Sleep(*mesh_.clock, mesh_.executor, std::chrono::milliseconds(20));
  }
  mesh_.slot(r).waits_for_quiet = false;
}

asio::awaitable<void> Coordinator::ObserveDue(ReplicaIndex r) {
  std::deque<std::vector<std::string>> left = DueTogether(mesh_, r);
  const auto side_by_side = static_cast<size_t>(std::max(1, mesh_.graph->replica(r).max_connections()));
  TaskGroup observations(mesh_.executor);
  for (size_t i = std::min(side_by_side, left.size()); i > 0; --i) observations.Start(ObserveTask(r, left));
  co_await observations.Join();
}

asio::awaitable<absl::Status> Coordinator::LookAndObserve() {
  std::set<ReplicaIndex> begun;
  const auto batch = mesh_.NewBatch(kPatience, kPatience);
  const bool for_parts = std::exchange(look_for_parts_, false);
  for (size_t i = 0; i < mesh_.replicas.size(); ++i) {
    const ReplicaIndex r(static_cast<int32_t>(i));
    mesh_.slot(r).look_due |= for_parts;
    if (mesh_.IsBusy(r)) continue;
    const bool look = LookIsDue(mesh_.slot(r));
    const bool observe = mesh_.IsUp(r) && HasObservable(r);
    if (!look && !observe) continue;
    mesh_.slot(r).unrecorded = look;
    if (!mesh_.slot(r).was_up) batch->patience = batch->margin = kFirstPatience;
    begun.insert(r);
    lanes_.Start(LookLane(r, std::make_shared<const Lane>(mesh_, r, batch), look));
  }
  const bool observed = !begun.empty();
  co_await Settle(std::move(begun), false);
  if (!lane_failure_.ok() || !observed) co_return lane_failure_;
  const auto count = [](State& state) { return state.conflicts().Count(true); };
  const auto open = co_await mesh_.store->Run(count);
  if (!open.ok() || *open == 0) co_return open.status();
  const auto view = mesh_.View(false);
  const int64_t now = mesh_.clock->UnixMillis();
  const auto review = [&](State& state) { return ReviewBrakes(state, *view, now); };
  const auto reviewed = co_await mesh_.store->Run(review);
  co_return reviewed.status();
}

// ---- plan and apply

asio::awaitable<absl::Status> Coordinator::TellConflicts(const Work& work) {
  for (const ConflictNote& note : work.conflicts) {
    mesh_.Emit(note.resolved ? "CONFLICT_RESOLVED" : "CONFLICT", note.replica, EdgeIndex(-1), note.mailbox, note.text);
    if (note.race) CO_RETURN_IF_ERROR(co_await NoteOthers(mesh_));
  }
  co_return absl::OkStatus();
}

PlanExceptions Coordinator::Exceptions() const {
  PlanExceptions exceptions;
  for (const auto& [key, refusal] : mesh_.refusals) {
    exceptions.refused.insert(key);
    if (refusal.left_out) exceptions.left_out.insert(key);
  }
  for (const auto& [key, refusal] : mesh_.mailbox_refusals) {
    const auto mailbox = mesh_.mailboxes.find(key.second);
    if (mailbox != mesh_.mailboxes.end()) exceptions.no_mailbox.emplace(ReplicaIndex(key.first), mailbox->second.id);
  }
  exceptions.no_copy = mesh_.no_copy;
  exceptions.unfetchable = mesh_.unfetchable;
  return exceptions;
}

asio::awaitable<absl::StatusOr<std::vector<UnsettledMailbox>>> Coordinator::UnsettledMailboxes() {
  const auto load = [](State& state) { return state.UnsettledMailboxes(); };
  const auto counts = co_await mesh_.store->Run(load);
  if (!counts.ok()) co_return counts.status();
  std::vector<UnsettledMailbox> mailboxes;
  for (const auto& [name, entry] : mesh_.mailboxes) {
    const auto count = counts->find(entry.id);
    if (count != counts->end()) mailboxes.push_back({entry.id, name, count->second});
  }
  SortForPlanning(mailboxes);
  co_return mailboxes;
}

// ---- mailboxes

asio::awaitable<void> Coordinator::ConfirmLane(ReplicaIndex r, std::shared_ptr<std::set<MailboxCopyId>> confirmed,
                                               std::shared_ptr<const Lane> lane) {
  co_await ConfirmGone(mesh_, r, std::move(confirmed));
  lane.reset();
}

asio::awaitable<absl::Status> Coordinator::DecideGoneMailboxes() {
  const auto confirmed = std::make_shared<std::set<MailboxCopyId>>();
  const auto batch = mesh_.NewBatch(kPatience, kPatience);
  std::set<ReplicaIndex> begun;
  for (size_t i = 0; i < mesh_.replicas.size(); ++i) {
    const ReplicaIndex r(static_cast<int32_t>(i));
    if (mesh_.IsBusy(r) || !HasUndecidedMailboxes(mesh_, r)) continue;
    begun.insert(r);
    lanes_.Start(ConfirmLane(r, confirmed, std::make_shared<const Lane>(mesh_, r, batch)));
  }
  co_await Settle(std::move(begun), false);
  std::set<MailboxCopyId> certain = *confirmed;
  co_return co_await DecideGone(mesh_, std::move(certain));
}

asio::awaitable<void> Coordinator::MailboxLane(ReplicaIndex r, std::vector<MailboxOperation> operations,
                                               std::shared_ptr<const Lane> lane) {
  const auto done = co_await ApplyMailboxes(mesh_, r, std::move(operations));
  if (done.ok()) {
    operations_ += *done;
  } else {
    lane_failure_ = done.status();
  }
  lane.reset();
}

asio::awaitable<absl::Status> Coordinator::RunMailboxes(MailboxPhase phase) {
  std::set<ReplicaIndex> begun;
  CO_RETURN_IF_ERROR(co_await BeginMailboxes(phase, begun));
  co_await Settle(std::move(begun), false);
  co_return lane_failure_;
}

asio::awaitable<absl::Status> Coordinator::BeginMailboxes(MailboxPhase phase, std::set<ReplicaIndex>& begun) {
  co_await names_.Acquire();
  const Held names(names_);
  CO_ASSIGN_OR_RETURN(MailboxWork work, co_await PlanMailboxWork(mesh_, phase));
  operations_ += work.settled;
  const auto batch = mesh_.NewBatch(kPatience, kPatience);
  for (auto& [r, operations] : work.commands) {
    begun.insert(r);
    lanes_.Start(MailboxLane(r, std::move(operations), std::make_shared<const Lane>(mesh_, r, batch)));
  }
  co_return absl::OkStatus();
}

// ---- the pass

asio::awaitable<absl::Status> Coordinator::PlanAndApply() {
  mesh_.carried.BeginPass();
  const bool first_looks_wait = FirstLooksWait();
  if (!first_looks_wait) CO_RETURN_IF_ERROR(co_await DecideGoneMailboxes());
  CO_RETURN_IF_ERROR(co_await RunMailboxes(MailboxPhase::kAdditions));
  CO_ASSIGN_OR_RETURN(const std::vector<UnsettledMailbox> mailboxes, co_await UnsettledMailboxes());
  const bool estimate = mesh_.on_progress && (pass_complete_ || first_looks_wait);
  if (estimate) CO_RETURN_IF_ERROR(co_await EstimateProgress(mailboxes));
  pending_in_.clear();
  uncounted_.clear();
  for (const UnsettledMailbox& mailbox : mailboxes) uncounted_.insert(mailbox.name);
  plan_due_ = false;
  last_pass_ = mesh_.clock->Now();
  plan_again_ = last_pass_ + kPlanAgain;
  PendingByEdge pending;
  CO_ASSIGN_OR_RETURN(pass_complete_, co_await Pass(mailboxes, false, pending));
  // What is wanted nowhere after all need not be brought along any more.
  if (pass_complete_ && mesh_.carried.EndPass()) mesh_.carrying.clear();
  const bool deletions =
      std::any_of(pending.begin(), pending.end(), [](const auto& edge) { return edge.second.deletions > 0; });
  // Of a message that was moved, the new place may be among what became due meanwhile: it is looked at first. Once, as
  // something may always be due.
  const bool defer = deletions && pass_complete_ && (ObservationIsDue() || MovesAreDue()) && !deletions_deferred_;
  deletions_deferred_ = defer;
  if (defer || first_looks_wait) pass_complete_ = false;
  if (deletions && pass_complete_) {
    CO_RETURN_IF_ERROR(co_await DescribeNewConflicts());  // what they are about must be read before it is gone
    PendingByEdge counted_before;
    CO_ASSIGN_OR_RETURN(pass_complete_, co_await Pass(mailboxes, true, counted_before));
  }
  if (pass_complete_ && !stopping_) {
    CO_RETURN_IF_ERROR(co_await RunMailboxes(MailboxPhase::kDeletions));
    CO_RETURN_IF_ERROR(co_await CountPendingMailboxes(mesh_));
  }
  for (const auto& [edge, count] : mesh_.pending_mailboxes) pending[edge].mailboxes += count;
  pending_ = std::move(pending);
  NotePending(mesh_.clock->UnixMillis());
  if (pass_complete_ && !AnyBusy()) plan_due_ = false;  // what its operations call for, the looks tell
  co_return lane_failure_;
}

// Plans the next batch behind `next` and begins it in the lanes of its targets.
asio::awaitable<absl::StatusOr<Coordinator::BegunBatch>> Coordinator::BeginBatch(
    const std::vector<UnsettledMailbox>& mailboxes, const MeshView& ideal, PlanPosition next, bool deletions,
    PendingByEdge& pending) {
  co_await names_.Acquire();
  const Held names(names_);
  const auto view = mesh_.View(false);
  const PlanExceptions exceptions = Exceptions();
  PlanBatch batch(*view, ideal, exceptions, mailboxes, next, mesh_.clock->UnixMillis());
  const auto planned = co_await mesh_.store->Run(batch);
  if (!planned.ok()) co_return planned.status();
  const auto work = std::make_shared<Work>(*planned);
  work->view = view;
  for (const auto& [edge, counts] : batch.pending) pending[edge].Add(counts);
  for (auto& [mailbox, edges] : batch.pending_in) pending_in_[view->mailboxes.at(mailbox).name].merge(edges);
  CO_RETURN_IF_ERROR(co_await TellConflicts(*work));
  BegunBatch begun;
  begun.work = work;
  begun.targets = work->Targets(deletions);
  if (begun.targets.empty()) co_return begun;
  const bool bulk = work->messages.size() > static_cast<size_t>(PlanBatch::kSmallWork);
  const auto lanes_batch =
      bulk ? mesh_.NewBatch(kPatienceWithBulk, kMarginWithBulk) : mesh_.NewBatch(kPatience, kPatience);
  Lanes lanes;
  for (const ReplicaIndex r : begun.targets) lanes[r] = std::make_shared<const Lane>(mesh_, r, lanes_batch);
  std::erase_if(under_way_, [](const auto& done) { return done.expired(); });
  under_way_.push_back(work);
  lanes_.Start(Apply(work, std::move(lanes), deletions));
  co_return begun;
}

// All batches once: additions and flags, or deletions. False when it was not finished.
asio::awaitable<absl::StatusOr<bool>> Coordinator::Pass(const std::vector<UnsettledMailbox>& mailboxes, bool deletions,
                                                        PendingByEdge& pending) {
  if (mailboxes.empty()) co_return true;
  const Duration started = mesh_.clock->Now();
  const auto ideal = mesh_.View(true);
  int64_t skipped = 0;
  PlanPosition next;
  for (bool more = true; more;) {
    CO_ASSIGN_OR_RETURN(BegunBatch begun, co_await BeginBatch(mailboxes, *ideal, next, deletions, pending));
    for (size_t i = next.mailbox; i < begun.work->next.mailbox; ++i) uncounted_.erase(mailboxes[i].name);
    next = begun.work->next;
    more = begun.work->more;
    skipped += begun.work->skipped;
    if (begun.work->waits_briefly) plan_again_ = std::min(plan_again_, mesh_.clock->Now() + kBriefly);
    if (!begun.targets.empty()) {
      const bool settled = co_await Settle(std::move(begun.targets), true);
      if (!lane_failure_.ok()) co_return lane_failure_;
      if (!settled) co_return false;
    }
    const bool enough = mesh_.clock->Now() - started > kPassLimit || skipped > kSkippedMost;
    if (stopping_ || (more && enough)) co_return false;
  }
  co_return skipped == 0;
}

asio::awaitable<void> Coordinator::Apply(std::shared_ptr<const Work> work, Lanes lanes, bool deletions) {
  absl::StatusOr<int64_t> done(0);
  if (deletions) {
    done = co_await ApplyDeletions(mesh_, *work, std::move(lanes));
  } else {
    done = co_await ApplyAdditionsAndFlags(mesh_, *work, std::move(lanes));
  }
  if (done.ok()) {
    operations_ += *done;
  } else {
    lane_failure_ = done.status();
  }
  wake_.Notify();
}

asio::awaitable<void> Coordinator::DescribeLane(ReplicaIndex r, std::vector<ToDescribe> wanted,
                                                std::shared_ptr<const Lane> lane) {
  const absl::Status described = co_await DescribeConflicts(mesh_, r, std::move(wanted));
  if (!described.ok()) lane_failure_ = described;
  lane.reset();
}

asio::awaitable<absl::Status> Coordinator::DescribeNewConflicts() {
  CO_ASSIGN_OR_RETURN(auto found, co_await FindUndescribed(mesh_));
  const auto batch = mesh_.NewBatch(kPatience, kPatience);
  std::set<ReplicaIndex> begun;
  for (auto& [r, wanted] : found) {
    begun.insert(r);
    lanes_.Start(DescribeLane(r, std::move(wanted), std::make_shared<const Lane>(mesh_, r, batch)));
  }
  co_await Settle(std::move(begun), false);
  co_return lane_failure_;
}

asio::awaitable<absl::StatusOr<Coordinator::RoundOutcome>> Coordinator::Round() {
  RoundOutcome outcome;
  ++rounds_;
  const int64_t operations_before = operations_;
  CO_RETURN_IF_ERROR(co_await LookAndObserve());
  CO_RETURN_IF_ERROR(co_await SaveMemories(mesh_));
  if (stopping_) co_return outcome;
  CO_RETURN_IF_ERROR(co_await PlanAndApply());
  CO_RETURN_IF_ERROR(co_await ReviewRefusals(mesh_));
  CO_ASSIGN_OR_RETURN(const int64_t annotated, co_await SyncMetadata(mesh_));
  operations_ += annotated;
  outcome.operations = operations_of_round_ = operations_ - operations_before;
  for (size_t i = 0; i < mesh_.replicas.size(); ++i) {
    const ReplicaIndex r(static_cast<int32_t>(i));
    const auto due = mesh_.due.lower_bound({r.value, ""});
    const bool any_due = due != mesh_.due.end() && due->first == r.value;
    if (mesh_.IsUp(r) && !mesh_.IsBusy(r) && !any_due) mesh_.Achieved(r);
  }
  const int64_t now = mesh_.clock->UnixMillis();
  const bool prune = now >= prune_again_unix_ms_;
  if (prune) prune_again_unix_ms_ = now + kBetweenPrunes;
  const std::map<int32_t, int64_t> waiting = LongPending(now);
  const auto count = [&](State& state) {
    for (size_t e = 0; waiting != saved_waiting_ && e < mesh_.graph->edges().size(); ++e) {
      const auto since = waiting.find(static_cast<int32_t>(e));
      state.SetMetaNumber(PendingKey(mesh_.graph->edges()[e]), since == waiting.end() ? 0 : since->second);
    }
    if (prune) state.history().Prune(now - kHistoryMillis, kHistorySteps);
    state.GiveBackSpace();
    return std::make_tuple(state.CopiesWithIntents(), state.conflicts().Count(true), state.conflicts().Count(false),
                           state.conflicts().HasUndescribed(), LoadKeptBack(state));
  };
  const auto counted = co_await mesh_.store->Run(count);
  if (!counted.ok()) co_return counted.status();
  saved_waiting_ = waiting;
  conflicts_open_ = std::get<1>(*counted);
  conflicts_resolved_ = std::get<2>(*counted);
  mesh_.kept_back = std::get<4>(*counted);
  if (std::get<3>(*counted)) CO_RETURN_IF_ERROR(co_await DescribeNewConflicts());
  outcome.settling = settling_ = ObserveAgain(std::get<0>(*counted));
  co_return outcome;
}

// Open intents that no lane works on keep their mailbox copy due: only another observation settles them.
bool Coordinator::ObserveAgain(const std::vector<MailboxCopyId>& with_intents) {
  bool any = false;
  const std::set<MailboxCopyId> copies(with_intents.begin(), with_intents.end());
  for (const auto& [name, entry] : mesh_.mailboxes) {
    for (size_t i = 0; i < entry.copies.size() && !copies.empty(); ++i) {
      const ReplicaIndex r(static_cast<int32_t>(i));
      if (!copies.contains(entry.copies[i].id) || !mesh_.IsUp(r) || mesh_.IsBusy(r)) continue;
      if (!entry.copies[i].exists) continue;  // gone: there is nothing to observe until it comes back
      any = true;
      mesh_.due.insert({r.value, name});
    }
  }
  return any | ObservePartsAgain();
}

// What was observed in part waits for content: of a replica that is away, or of a message that is just gone there.
// While that replica is at work it is not observed, so nothing is learned before its lane is empty. The looks that may
// tell more come with the next round, so that nothing is asked of the servers without a pause.
bool Coordinator::ObservePartsAgain() {
  bool any = false, refused = false;
  mesh_.waits_no_more.reset();
  if (AnyBusy()) return false;
  for (const ReplicaSlot& slot : mesh_.replicas) {
    if (slot.state != ReplicaState::kUp) return false;
  }
  for (const auto& [r, mailbox] : mesh_.incomplete) {
    if (mesh_.FindCopy(ReplicaIndex(r), mailbox) == nullptr || mesh_.carrying.contains({r, mailbox})) continue;
    refused |= mesh_.mailbox_refusals.contains({r, mailbox});
    if (mesh_.mailbox_refusals.contains({r, mailbox})) continue;
    any = true;
    mesh_.due.insert({r, mailbox});
  }
  look_for_parts_ = any;
  CountPartsInVain(any && !refused);
  return any;
}

// Two mailbox copies may each wait for what the other has still to find again. When all that is incomplete was looked
// at and nothing came of it, one after the other waits no longer: what is new then may be a second copy, which is kept.
void Coordinator::CountPartsInVain(bool wait) {
  const bool learned = std::exchange(learned_before_, mesh_.learned) != mesh_.learned || operations_of_round_ > 0;
  parts_in_vain_ = wait && !learned ? parts_in_vain_ + 1 : 0;
  if (parts_in_vain_ < kPartsInVainMost) return;
  const auto turn = static_cast<size_t>(parts_in_vain_ - kPartsInVainMost) % mesh_.incomplete.size();
  mesh_.waits_no_more = *std::next(mesh_.incomplete.begin(), static_cast<std::ptrdiff_t>(turn));
}

}  // namespace imapmesh
