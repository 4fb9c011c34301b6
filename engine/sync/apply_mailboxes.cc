#include "engine/sync/apply_mailboxes.h"

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "base/printable.h"
#include "engine/sync/mailbox_decide.h"

namespace imapmesh {
namespace {

std::vector<ReplicaId> ReplicaIds(const Mesh& mesh) {
  std::vector<ReplicaId> ids;
  for (const ReplicaSlot& slot : mesh.replicas) ids.push_back(slot.id);
  return ids;
}

MailboxRegisters RegistersOf(const MailboxCopyRecord& record) {
  MailboxRegisters registers;
  registers.id = record.id;
  registers.presence = record.exists                     ? Presence::kPresent
                       : record.gone == MailboxGone::kNo ? Presence::kAbsent
                                                         : Presence::kHeld;
  registers.presence_stamp = record.exists_stamp;
  registers.name = record.local_name;
  registers.name_stamp = record.name_stamp;
  registers.subscribed = record.subscribed;
  registers.subscribed_stamp = record.subscribed_stamp;
  return registers;
}

MailboxState StateOf(const MailboxEntry& entry) {
  MailboxState state;
  state.id = entry.id;
  state.name = entry.name;
  for (const MailboxCopyRecord& record : entry.copies) {
    if (record.id.value != 0) state.name_stamp = record.mailbox_name_stamp;
    state.copies.push_back(RegistersOf(record));
  }
  return state;
}

// Whether some copy was deleted that others still have: then their messages count.
bool MayDelete(const MailboxState& mailbox) {
  return std::any_of(mailbox.copies.begin(), mailbox.copies.end(), [](const MailboxRegisters& copy) {
    return copy.presence == Presence::kAbsent && copy.presence_stamp.value > 0;
  });
}

class MailboxApplier {
 public:
  explicit MailboxApplier(Mesh& mesh) : mesh_(mesh) {}

  asio::awaitable<absl::StatusOr<int64_t>> Additions();
  asio::awaitable<absl::StatusOr<int64_t>> Deletions();

 private:
  using Operations = std::vector<MailboxOperation>;

  asio::awaitable<absl::Status> Decide();
  asio::awaitable<absl::Status> Settle(const Operations& operations);
  asio::awaitable<absl::Status> RenameAll(const Operations& operations);
  asio::awaitable<absl::Status> RenameAt(ReplicaIndex target, std::map<std::string, MailboxOperation> operations);
  asio::awaitable<absl::Status> RecordRename(ReplicaIndex target, MailboxRename rename, bool subscriptions);
  asio::awaitable<absl::Status> Create(MailboxOperation operation);
  asio::awaitable<absl::Status> Subscribe(MailboxOperation operation);
  asio::awaitable<absl::Status> Delete(MailboxOperation operation);
  asio::awaitable<absl::Status> Record(MailboxOperation operation);

  bool MayWork(const MailboxOperation& operation) const {
    const bool idle = mesh_.IsUp(operation.target) && !mesh_.IsBusy(operation.target);
    return idle && !mesh_.mailbox_refusals.contains({operation.target.value, operation.name});
  }
  const MailboxCopyRecord* FindLocal(ReplicaIndex r, const std::string& local_name) const;
  void Refuse(const MailboxOperation& operation, const absl::Status& status, std::string remedy);
  void Done(const MailboxOperation& operation, const std::string& text);
  MailboxCopyRecord RecordOf(const MailboxOperation& operation) const;

  Mesh& mesh_;
  int64_t done_ = 0;
};

// ---- deciding

asio::awaitable<absl::Status> MailboxApplier::Decide() {
  std::set<MailboxCopyId> confirmed;
  bool kept = false;
  std::vector<std::pair<ReplicaIndex, MailboxCopyRecord>> undecided;
  for (const auto& [name, entry] : mesh_.mailboxes) {
    for (size_t r = 0; r < entry.copies.size(); ++r) {
      const ReplicaIndex index(static_cast<int32_t>(r));
      kept |= entry.copies[r].gone == MailboxGone::kKept;
      if (entry.copies[r].gone == MailboxGone::kUndecided && mesh_.IsUp(index) && !mesh_.IsBusy(index)) {
        undecided.emplace_back(index, entry.copies[r]);
      }
    }
  }
  for (const auto& [r, record] : undecided) {
    if (FindLocal(r, record.local_name) != nullptr) {  // another mailbox has its name
      confirmed.insert(record.id);
      continue;
    }
    if (!mesh_.IsUp(r)) continue;
    const auto exists = co_await mesh_.slot(r).replica->MailboxExists(record.local_name);
    if (!exists.ok()) {
      if (OutcomeUnknown(exists.status())) mesh_.MarkDown(r, exists.status());
      mesh_.Warn(Message(exists.status()));
    } else if (*exists) {
      mesh_.slot(r).look_due = true;  // it was not gone
    } else {
      confirmed.insert(record.id);
    }
  }
  if (confirmed.empty() && !kept) co_return absl::OkStatus();
  const std::vector<ReplicaId> replicas = ReplicaIds(mesh_);
  DecideMailboxes decide(*mesh_.graph, replicas, confirmed, mesh_.clock->UnixMillis());
  auto decisions = co_await mesh_.store->Run(decide);
  if (!decisions.ok()) co_return decisions.status();
  for (const MailboxDecisions::Made& made : decisions->conflicts) {
    for (const auto& [r, record] : undecided) {
      if (record.id == made.copy) mesh_.Emit("CONFLICT", r, EdgeIndex(-1), record.mailbox_name, made.text);
    }
  }
  if (decisions->changed) {
    std::set<ReplicaId> changed;
    for (size_t r = 0; r < replicas.size(); ++r) {
      if (!mesh_.IsBusy(ReplicaIndex(static_cast<int32_t>(r)))) changed.insert(replicas[r]);
    }
    mesh_.TakeMailboxes(std::move(decisions->copies), changed);
  }
  co_return absl::OkStatus();
}

// ---- recording

MailboxCopyRecord MailboxApplier::RecordOf(const MailboxOperation& operation) const {
  const MailboxEntry& entry = mesh_.mailboxes.at(operation.name);
  MailboxCopyRecord record = entry.copies[static_cast<size_t>(operation.target.value)];
  if (record.id.value == 0) {
    record.replica = mesh_.replicas[static_cast<size_t>(operation.target.value)].id;
    record.mailbox = entry.id;
    record.mailbox_name = entry.name;
    record.mailbox_name_stamp = operation.after.name_stamp;
  }
  record.exists = operation.after.presence == Presence::kPresent;
  record.exists_stamp = operation.after.presence_stamp;
  record.local_name = operation.after.name;
  record.name_stamp = operation.after.name_stamp;
  record.subscribed = operation.after.subscribed;
  record.subscribed_stamp = operation.after.subscribed_stamp;
  return record;
}

asio::awaitable<absl::Status> MailboxApplier::Record(MailboxOperation operation) {
  MailboxCopyRecord record = RecordOf(operation);
  if (operation.action == MailboxAction::kCreate) {
    record.name_here.clear();  // until it is listed
    record.tombstone = false;
  }
  if (operation.action == MailboxAction::kDelete) {
    record.tombstone = true;
    record.uid_validity = UidValidity();
    record.uid_next = Uid();
    record.highest_modseq = ModSeq();
    record.server_id.clear();
  }
  const auto save = [&](State& state) {
    state.Save(record);
    return record;
  };
  auto saved = co_await mesh_.store->Run(save);
  if (!saved.ok()) co_return saved.status();
  mesh_.mailboxes.at(operation.name).copies[static_cast<size_t>(operation.target.value)] = *std::move(saved);
  co_return absl::OkStatus();
}

// What needs no command: stamps that are taken over, and deletions that mail has won over.
asio::awaitable<absl::Status> MailboxApplier::Settle(const Operations& operations) {
  std::vector<std::pair<MailboxOperation, MailboxCopyRecord>> settled;
  for (const MailboxOperation& operation : operations) {
    const bool level = operation.action == MailboxAction::kLevel;
    if (!level && operation.action != MailboxAction::kRestore) continue;
    if (operation.after.id.value != 0 && !mesh_.IsBusy(operation.target))
      settled.emplace_back(operation, RecordOf(operation));
  }
  if (settled.empty()) co_return absl::OkStatus();
  const int64_t now = mesh_.clock->UnixMillis();
  const auto save = [&](State& state) {
    for (auto& [operation, record] : settled) {
      if (operation.action == MailboxAction::kRestore) {
        const std::string origin = mesh_.name(operation.because.origin), here = mesh_.name(operation.target);
        RecordMailWon(state, record, operation.because.stamp, origin, here, now);
        record.exists_stamp = state.NextStamp();
      }
      state.Save(record);
    }
    return true;
  };
  const auto saved = co_await mesh_.store->Run(save);
  if (!saved.ok()) co_return saved.status();
  for (auto& [operation, record] : settled) {
    if (operation.action == MailboxAction::kRestore) {
      ++done_;
      mesh_.Emit("CONFLICT", operation.target, operation.because.edge, operation.name,
                 "deleted elsewhere, but there is mail in it here: it is kept");
    }
    mesh_.mailboxes.at(operation.name).copies[static_cast<size_t>(operation.target.value)] = std::move(record);
  }
  co_return absl::OkStatus();
}

const MailboxCopyRecord* MailboxApplier::FindLocal(ReplicaIndex r, const std::string& local_name) const {
  for (const auto& [name, entry] : mesh_.mailboxes) {
    const MailboxCopyRecord& record = entry.copies[static_cast<size_t>(r.value)];
    if (record.exists && record.local_name == local_name) return &record;
  }
  return nullptr;
}

void MailboxApplier::Refuse(const MailboxOperation& operation, const absl::Status& status, std::string remedy) {
  if (OutcomeUnknown(status)) {
    mesh_.MarkDown(operation.target, status);
    return;
  }
  Refusal refusal;
  refusal.replica = operation.target;
  refusal.report = {
      mesh_.name(operation.target), operation.name, Name(operation.action), "", Message(status), std::move(remedy),
      mesh_.clock->UnixMillis()};
  mesh_.mailbox_refusals[{operation.target.value, operation.name}] = std::move(refusal);
  mesh_.Warn(Message(status));
  mesh_.Emit("PROBLEM", operation.target, operation.because.edge, operation.name, Message(status));
}

void MailboxApplier::Done(const MailboxOperation& operation, const std::string& text) {
  ++done_;
  mesh_.slot(operation.target).look_due = true;
  const EdgeIndex edge = operation.because.edge;
  if (edge.value >= 0) {
    ++mesh_.edge_operations[static_cast<size_t>(edge.value)];
    mesh_.edge_last_sync_unix_ms[static_cast<size_t>(edge.value)] = mesh_.clock->UnixMillis();
  }
  mesh_.Emit("OPERATION_DONE", operation.target, edge, operation.name, text);
}

// ---- commands

asio::awaitable<absl::Status> MailboxApplier::RenameAll(const Operations& operations) {
  std::map<int32_t, std::map<std::string, MailboxOperation>> by_replica;  // by the name until now
  for (const MailboxOperation& operation : operations) {
    const bool rename = operation.action == MailboxAction::kRename && MayWork(operation);
    if (rename) by_replica[operation.target.value][operation.from] = operation;
  }
  for (auto& [r, renames] : by_replica) {
    CO_RETURN_IF_ERROR(co_await RenameAt(ReplicaIndex(r), std::move(renames)));
  }
  co_return absl::OkStatus();
}

asio::awaitable<absl::Status> MailboxApplier::RenameAt(ReplicaIndex target,
                                                       std::map<std::string, MailboxOperation> operations) {
  std::set<std::string> names;
  for (const auto& [name, entry] : mesh_.mailboxes) {
    const MailboxCopyRecord& record = entry.copies[static_cast<size_t>(target.value)];
    if (record.exists) names.insert(record.local_name);
  }
  std::vector<MailboxRename> wanted;
  wanted.reserve(operations.size());
  for (const auto& [from, operation] : operations) wanted.push_back({from, operation.after.name});
  for (const MailboxRename& rename : OrderRenames(names, wanted)) {
    std::vector<std::string> subscribed;
    for (const auto& [name, entry] : mesh_.mailboxes) {
      const MailboxCopyRecord& record = entry.copies[static_cast<size_t>(target.value)];
      const bool carried = record.exists && AfterRename(record.local_name, rename) != record.local_name;
      if (carried && record.subscribed) subscribed.push_back(record.local_name);
    }
    const auto renamed = co_await mesh_.slot(target).replica->RenameMailbox(rename.from, rename.to, subscribed);
    if (!renamed.ok()) {
      const auto refused = operations.find(rename.from);
      Refuse(refused == operations.end() ? operations.begin()->second : refused->second, renamed.status(),
             "rename it by hand; until then its mail is synced under the old name");
      break;
    }
    CO_RETURN_IF_ERROR(co_await RecordRename(target, rename, *renamed));
  }
  for (const auto& [from, operation] : operations) {
    const MailboxCopyRecord* now = mesh_.FindCopy(target, operation.name);
    if (now != nullptr && now->local_name == operation.after.name) Done(operation, "RENAME from " + from);
  }
  co_return absl::OkStatus();
}

asio::awaitable<absl::Status> MailboxApplier::RecordRename(ReplicaIndex target, MailboxRename rename,
                                                           bool subscriptions) {
  const ReplicaId replica = mesh_.slot(target).id;
  const auto save = [&](State& state) {
    std::vector<MailboxCopyRecord> copies = state.MailboxCopies();
    for (MailboxCopyRecord& copy : copies) {
      const std::string name = AfterRename(copy.local_name, rename);
      if (copy.replica != replica || !copy.exists || name == copy.local_name) continue;
      copy.local_name = name;
      if (name == copy.mailbox_name) copy.name_stamp = copy.mailbox_name_stamp;
      if (copy.subscribed && !subscriptions) {
        copy.subscribed = false;
        copy.subscribed_stamp = kCarried;
      }
      state.Save(copy);
    }
    return copies;
  };
  auto saved = co_await mesh_.store->Run(save);
  if (!saved.ok()) co_return saved.status();
  const std::set<ReplicaId> changed = {replica};
  mesh_.TakeMailboxes(*std::move(saved), changed);
  co_return absl::OkStatus();
}

asio::awaitable<absl::Status> MailboxApplier::Create(MailboxOperation operation) {
  const MailboxCopyRecord* taken = FindLocal(operation.target, operation.name);
  if (taken != nullptr) {
    const absl::Status status = Error(
        absl::StatusCode::kAlreadyExists, "replica %s: mailbox %s: creating it: the name is that of mailbox %s there",
        mesh_.name(operation.target), Printable(operation.name), Printable(taken->mailbox_name));
    Refuse(operation, status, "rename one of the two mailboxes");
    co_return absl::OkStatus();
  }
  const absl::Status created =
      co_await mesh_.slot(operation.target).replica->CreateMailbox(operation.name, operation.subscribe);
  if (!created.ok()) {
    Refuse(operation, created, "create it by hand, or exclude it on the edges to this replica");
    co_return absl::OkStatus();
  }
  CO_RETURN_IF_ERROR(co_await Record(operation));
  Done(operation, "CREATE");
  co_return absl::OkStatus();
}

asio::awaitable<absl::Status> MailboxApplier::Subscribe(MailboxOperation operation) {
  const absl::Status status =
      co_await mesh_.slot(operation.target).replica->Subscribe(operation.name, operation.after.subscribed);
  if (!status.ok()) {
    Refuse(operation, status, "the rest goes on; it is tried again with the next sync that is asked for");
    co_return absl::OkStatus();
  }
  // Only this register: the same plan may have renamed the copy.
  const MailboxCopyRecord now = *mesh_.FindCopy(operation.target, operation.name);
  operation.after.name = now.local_name;
  operation.after.name_stamp = now.name_stamp;
  operation.after.presence_stamp = now.exists_stamp;
  CO_RETURN_IF_ERROR(co_await Record(operation));
  Done(operation, Name(operation.action));
  co_return absl::OkStatus();
}

asio::awaitable<absl::Status> MailboxApplier::Delete(MailboxOperation operation) {
  const bool subscribed = mesh_.FindCopy(operation.target, operation.name)->subscribed;
  Replica& replica = *mesh_.slot(operation.target).replica;
  const absl::Status deleted = co_await replica.DeleteMailbox(operation.name);
  if (absl::IsFailedPrecondition(deleted)) {
    mesh_.slot(operation.target).look_due = true;  // mail has arrived: seen first, it keeps the mailbox
    co_return absl::OkStatus();
  }
  if (!deleted.ok() && !absl::IsNotFound(deleted)) {
    Refuse(operation, deleted, "delete it by hand, or make it again where it was deleted");
    co_return absl::OkStatus();
  }
  if (subscribed) {  // a subscription outlives its mailbox (RFC 3501 section 6.3.4)
    const absl::Status left = co_await replica.Subscribe(operation.name, false);
    if (!left.ok()) mesh_.Debug(Message(left));
  }
  CO_RETURN_IF_ERROR(co_await Record(operation));
  Done(operation, "DELETE");
  co_return absl::OkStatus();
}

asio::awaitable<absl::StatusOr<int64_t>> MailboxApplier::Additions() {
  CO_RETURN_IF_ERROR(co_await Decide());
  CO_ASSIGN_OR_RETURN(const Operations operations, co_await PlanMailboxes(mesh_, /*ideal=*/false));
  CO_RETURN_IF_ERROR(co_await Settle(operations));
  CO_RETURN_IF_ERROR(co_await RenameAll(operations));
  for (const MailboxOperation& operation : operations) {
    if (!MayWork(operation)) continue;
    if (operation.action == MailboxAction::kCreate) CO_RETURN_IF_ERROR(co_await Create(operation));
    const bool subscription =
        operation.action == MailboxAction::kSubscribe || operation.action == MailboxAction::kUnsubscribe;
    if (subscription) CO_RETURN_IF_ERROR(co_await Subscribe(operation));
  }
  co_return done_;
}

asio::awaitable<absl::StatusOr<int64_t>> MailboxApplier::Deletions() {
  CO_ASSIGN_OR_RETURN(Operations operations, co_await PlanMailboxes(mesh_, /*ideal=*/false));
  CO_RETURN_IF_ERROR(co_await Settle(operations));
  // Children first.
  std::stable_sort(operations.begin(), operations.end(), [](const MailboxOperation& a, const MailboxOperation& b) {
    return std::count(a.name.begin(), a.name.end(), '/') > std::count(b.name.begin(), b.name.end(), '/');
  });
  for (const MailboxOperation& operation : operations) {
    const bool deletion = operation.action == MailboxAction::kDelete && MayWork(operation);
    if (deletion) CO_RETURN_IF_ERROR(co_await Delete(operation));
  }
  co_return done_;
}

}  // namespace

asio::awaitable<absl::StatusOr<std::vector<MailboxOperation>>> PlanMailboxes(const Mesh& mesh, bool ideal) {
  std::vector<MailboxState> mailboxes;
  bool counts = false;
  for (const auto& [name, entry] : mesh.mailboxes) {
    mailboxes.push_back(StateOf(entry));
    counts |= MayDelete(mailboxes.back());
  }
  if (counts) {
    const auto count = [&](State& state) {
      for (MailboxState& mailbox : mailboxes) {
        if (!MayDelete(mailbox)) continue;
        for (MailboxRegisters& copy : mailbox.copies) {
          if (copy.presence != Presence::kPresent) continue;
          copy.messages = state.mailboxes().CountPresent(copy.id);
          copy.live = state.mailboxes().CountLive(copy.id);
        }
      }
      return true;
    };
    const auto counted = co_await mesh.store->Run(count);
    if (!counted.ok()) co_return counted.status();
  }
  const auto view = mesh.View(ideal);
  std::vector<MailboxOperation> operations;
  for (const MailboxState& mailbox : mailboxes) {
    for (MailboxOperation& operation : PlanMailbox(mailbox, view->context)) operations.push_back(std::move(operation));
  }
  co_return operations;
}

std::vector<PlannedMailbox> MailboxesToMake(const Mesh& mesh) {
  const auto view = mesh.View(false);
  std::vector<MailboxOperation> creations;
  for (const auto& [name, entry] : mesh.mailboxes) {
    for (MailboxOperation& operation : PlanMailbox(StateOf(entry), view->context)) {
      const bool refused = mesh.mailbox_refusals.contains({operation.target.value, name});
      const bool make = operation.action == MailboxAction::kCreate && !mesh.IsBusy(operation.target) && !refused;
      if (make) creations.push_back(std::move(operation));
    }
  }
  std::stable_sort(creations.begin(), creations.end(), [](const MailboxOperation& a, const MailboxOperation& b) {
    return a.because.depth < b.because.depth;
  });
  std::vector<PlannedMailbox> mailboxes;
  mailboxes.reserve(creations.size());
  for (const MailboxOperation& creation : creations) {
    mailboxes.push_back({creation.target, creation.because.edge, creation.name});
  }
  return mailboxes;
}

asio::awaitable<absl::StatusOr<int64_t>> ApplyMailboxes(Mesh& mesh) {
  MailboxApplier applier(mesh);
  co_return co_await applier.Additions();
}

asio::awaitable<absl::StatusOr<int64_t>> ApplyMailboxDeletions(Mesh& mesh) {
  MailboxApplier applier(mesh);
  CO_ASSIGN_OR_RETURN(const int64_t done, co_await applier.Deletions());
  mesh.pending_mailboxes.clear();
  CO_ASSIGN_OR_RETURN(const std::vector<MailboxOperation> left, co_await PlanMailboxes(mesh, /*ideal=*/true));
  for (const MailboxOperation& operation : left) {
    const bool counts = operation.action != MailboxAction::kLevel && operation.because.edge.value >= 0;
    if (counts) ++mesh.pending_mailboxes[operation.because.edge.value];
  }
  co_return done;
}

}  // namespace imapmesh
