#include "engine/sync/listen.h"

#include <algorithm>
#include <set>

#include "engine/net/signal.h"
#include "engine/sync/duplicates.h"
#include "engine/sync/observe.h"

namespace imapmesh {
namespace {

using std::chrono::duration;
using std::chrono::duration_cast;
using std::chrono::milliseconds;

constexpr char kOthers[] = "others_unix_ms";
constexpr int64_t kRememberedMillis = int64_t{7} * 24 * 3600 * 1000;
constexpr int64_t kSavedEveryMillis = int64_t{3600} * 1000;
// The moments of two coordinators differ by more than a question and an APPEND take, mostly.
constexpr Duration kLongestWait = milliseconds(300);
constexpr double kRoundTripsToWait = 10;
constexpr int kMomentsToYield = 3;
constexpr uint64_t kBytesAMillisecond = 1000;  // of a slow line

bool IsPlanned(State& state, const MeshView& view, const Change& change) {
  const auto message = state.Load(change.planned->message.id);
  if (!message) return false;
  const MailboxView& mailbox = view.mailboxes.at(message->mailbox);
  const MessagePlan plan = PlanMessage(*message, mailbox, Admissions(*view.graph, mailbox.name), view.context);
  return std::any_of(plan.copies.begin(), plan.copies.end(), [&](const CopyPlan& copy) {
    if (copy.action != change.plan->action || copy.target != change.plan->target) return false;
    return copy.action != Action::kFlags || copy.flag_changes == change.plan->flag_changes;
  });
}

// What a person decided to remove as a second copy is in no plan: its place tells.
bool IsStillToChange(State& state, const MeshView& view, const Change& change) {
  const auto message = state.Load(change.planned->message.id);
  const CopyRegisters* here = message ? message->Find(change.mailbox_copy) : nullptr;
  const CopyRegisters* planned = change.planned->message.Find(change.mailbox_copy);
  if (here == nullptr || !here->present() || here->uid != planned->uid) return false;
  const bool decided = change.plan->because.depth == 0;
  return decided ? HasEqualBeside(state, *message, change.mailbox_copy) : IsPlanned(state, view, change);
}

// Another one may be called so by now. One that was never observed was made just now, and empty.
bool HasNothingNew(const MailboxCopyRecord& recorded, const MailboxCursor& now) {
  const bool another =
      recorded.uid_validity.value != 0 && now.uid_validity.value != 0 && recorded.uid_validity != now.uid_validity;
  return !another && now.uid_next <= std::max(recorded.uid_next, Uid(1));
}

}  // namespace

Duration Moment(Mesh& mesh, ReplicaIndex r) {
  const double round_trips_ms = mesh.slot(r).replica->info().round_trip_ms * kRoundTripsToWait;
  return std::max<Duration>(kLongestWait, duration_cast<Duration>(duration<double, std::milli>(round_trips_ms)));
}

bool HasCompany(const Mesh& mesh) {
  return mesh.clock->UnixMillis() - mesh.others_unix_ms <= kRememberedMillis;
}

asio::awaitable<absl::Status> NoteOthers(Mesh& mesh) {
  const int64_t now = mesh.clock->UnixMillis();
  const bool news = now - mesh.others_unix_ms > kSavedEveryMillis;
  if (!news) co_return absl::OkStatus();
  mesh.others_unix_ms = now;
  mesh.Debug("another coordinator, or another tool, carries the same mail: additions are made with more care");
  const auto save = [now](State& state) {
    state.SetMetaNumber(kOthers, now);
    return true;
  };
  const auto saved = co_await mesh.store->Run(save);
  co_return saved.status();
}

asio::awaitable<absl::Status> LoadOthers(Mesh& mesh) {
  const auto load = [](State& state) { return state.MetaNumber(kOthers); };
  const auto loaded = co_await mesh.store->Run(load);
  if (!loaded.ok()) co_return loaded.status();
  mesh.others_unix_ms = *loaded;
  co_return absl::OkStatus();
}

asio::awaitable<absl::StatusOr<std::vector<Change>>> StillWanted(Mesh& mesh, const MeshView& view,
                                                                 std::vector<Change> additions) {
  const auto select = [&](State& state) {
    std::vector<Change> wanted;
    for (const Change& addition : additions) {
      if (IsPlanned(state, view, addition)) wanted.push_back(addition);
    }
    return wanted;
  };
  const auto wanted = co_await mesh.store->Run(select);
  if (wanted.ok() && wanted->size() < additions.size()) {  // another round sees what became of them
    mesh.slot(additions.front().plan->target).look_due = true;
  }
  co_return wanted;
}

asio::awaitable<absl::StatusOr<std::vector<Change>>> StillToChange(Mesh& mesh, const MeshView& view,
                                                                   std::vector<Change> changes) {
  const ReplicaIndex target = changes.front().plan->target;
  if (HasCompany(mesh)) co_await Sleep(*mesh.clock, mesh.executor, mesh.Draw(Moment(mesh, target)));
  if (mesh.slot(target).look_due)
    co_return std::vector<Change>();  // what is looked into without may be another mailbox
  std::set<std::string> mailboxes;
  for (const Change& change : changes) mailboxes.insert(view.mailboxes.at(change.planned->message.mailbox).name);
  for (const std::string& mailbox : mailboxes) {
    std::vector<std::string> one = {mailbox};
    CO_RETURN_IF_ERROR(co_await ObserveCopies(mesh, target, std::move(one)));
  }
  const auto select = [&](State& state) {
    std::vector<Change> left;
    for (const Change& change : changes) {
      if (IsStillToChange(state, view, change)) left.push_back(change);
    }
    return left;
  };
  const auto left = co_await mesh.store->Run(select);
  if (left.ok() && left->size() < changes.size()) mesh.slot(target).look_due = true;
  co_return left;
}

asio::awaitable<void> Listen(Mesh& mesh, ReplicaIndex target, std::set<std::string> mailboxes) {
  if (!HasCompany(mesh)) co_return;
  const Duration now = mesh.clock->Now();
  Duration yields{0};
  for (const std::string& mailbox : mailboxes) {
    const auto until = mesh.slot(target).yields.find(mailbox);
    if (until != mesh.slot(target).yields.end()) yields = std::max(yields, until->second - now);
  }
  co_await Sleep(*mesh.clock, mesh.executor, yields + mesh.Draw(Moment(mesh, target)));
}

void Yield(Mesh& mesh, ReplicaIndex target, const std::string& mailbox, uint64_t bytes) {
  const auto transfer = duration_cast<Duration>(milliseconds(bytes / kBytesAMillisecond));
  mesh.slot(target).yields[mailbox] = mesh.clock->Now() + kMomentsToYield * Moment(mesh, target) + transfer;
}

asio::awaitable<std::set<std::string>> MayAdd(Mesh& mesh, ReplicaIndex target, std::set<std::string> mailboxes) {
  if (!HasCompany(mesh)) co_return mailboxes;
  std::set<std::string> as_recorded;
  for (const std::string& mailbox : mailboxes) {
    const auto now = co_await mesh.slot(target).replica->CursorNow(mailbox);
    const MailboxCopyRecord* recorded = mesh.FindCopy(target, mailbox);
    const bool told = now.ok() && now->uid_next.value != 0 && recorded != nullptr;  // an error shows with the addition
    if (!told || HasNothingNew(*recorded, *now)) {
      as_recorded.insert(mailbox);
      continue;
    }
    mesh.slot(target).look_due = true;
    mesh.due.insert({target.value, mailbox});
  }
  co_return as_recorded;
}

asio::awaitable<bool> MayRename(Mesh& mesh, ReplicaIndex target, std::vector<std::string> mailboxes) {
  if (!HasCompany(mesh)) co_return true;
  co_await Sleep(*mesh.clock, mesh.executor, mesh.Draw(Moment(mesh, target)));
  for (const std::string& mailbox : mailboxes) {
    const auto now = co_await mesh.slot(target).replica->CursorNow(mailbox);
    const MailboxCopyRecord* recorded = mesh.FindCopy(target, mailbox);
    if (!now.ok() || recorded == nullptr || recorded->uid_validity.value == 0) continue;  // an error shows with RENAME
    if (now->uid_validity.value == 0 || now->uid_validity == recorded->uid_validity) continue;
    mesh.slot(target).look_due = true;
    co_return false;
  }
  co_return true;
}

asio::awaitable<bool> MayCreate(Mesh& mesh, ReplicaIndex target, ReplicaIndex origin, std::string mailbox) {
  if (!HasCompany(mesh) || origin == target || !mesh.IsUp(origin)) co_return true;
  co_await Sleep(*mesh.clock, mesh.executor, mesh.Draw(Moment(mesh, target)));
  const MailboxCopyRecord* recorded = mesh.FindCopy(origin, mailbox);
  if (recorded == nullptr || !recorded->exists) co_return true;
  const auto there = co_await mesh.slot(origin).replica->MailboxExists(recorded->local_name);
  if (!there.ok() || *there) co_return true;
  mesh.slot(origin).look_due = mesh.slot(target).look_due = true;
  co_return false;
}

asio::awaitable<bool> AwaitExpunge(Mesh& mesh, ReplicaIndex r) {
  if (!HasCompany(mesh)) co_return false;
  co_await Sleep(*mesh.clock, mesh.executor, Moment(mesh, r));
  co_return true;
}

}  // namespace imapmesh
