#include "engine/sync/apply_mailboxes.h"

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "base/printable.h"
#include "engine/sync/listen.h"
#include "engine/sync/mailbox_decide.h"
#include "engine/sync/mailbox_spelling.h"

namespace imapmesh {
namespace {

constexpr size_t kSettledAtOnce = 1000;

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

const MailboxCopyRecord* FindLocal(const Mesh& mesh, ReplicaIndex r, const std::string& local_name) {
  for (const auto& [name, entry] : mesh.mailboxes) {
    const MailboxCopyRecord& record = entry.copies[static_cast<size_t>(r.value)];
    if (record.exists && record.local_name == local_name) return &record;
  }
  return nullptr;
}

// Whether it is the name, as it is or as a server that would not have it so.
bool IsSpelled(const std::string& name_here, const std::string& name) {
  return name_here == name || name_here == PlainSpelling(name);
}

// One replica's operations, or, for Settle, everybody's.
class MailboxApplier {
 public:
  explicit MailboxApplier(Mesh& mesh) : mesh_(mesh) {}

  using Operations = std::vector<MailboxOperation>;
  using Settled = std::vector<std::pair<const MailboxOperation*, MailboxCopyRecord>>;

  asio::awaitable<absl::Status> Settle(const Operations& operations);
  asio::awaitable<absl::Status> RecordSettled(Settled settled);
  bool IsStill(const MailboxOperation& operation) const;
  asio::awaitable<absl::Status> Apply(ReplicaIndex target, const Operations& operations);
  bool MayWork(const MailboxOperation& operation) const {
    return mesh_.IsUp(operation.target) && !mesh_.mailbox_refusals.contains({operation.target.value, operation.name});
  }
  int64_t done() const { return done_; }

 private:
  asio::awaitable<absl::Status> RenameAt(ReplicaIndex target, std::map<std::string, MailboxOperation> operations);
  asio::awaitable<absl::Status> RecordRename(ReplicaIndex target, MailboxRename rename, bool subscriptions);
  std::optional<MailboxOperation> NameTakenBack(const MailboxOperation& operation) const;
  asio::awaitable<absl::Status> TakeBackName(MailboxOperation operation);
  asio::awaitable<absl::Status> Create(MailboxOperation operation);
  bool LeaveToLook(const MailboxOperation& operation);
  void LookFirst(ReplicaIndex target, const std::string& mailbox);
  asio::awaitable<absl::Status> RecordSpelling(MailboxOperation operation, std::string name_here);
  asio::awaitable<absl::Status> Subscribe(MailboxOperation operation);
  asio::awaitable<absl::Status> Delete(MailboxOperation operation);
  asio::awaitable<absl::Status> Record(MailboxOperation operation);

  const MailboxCopyRecord* FindLocal(ReplicaIndex r, const std::string& local_name) const {
    return imapmesh::FindLocal(mesh_, r, local_name);
  }
  std::string SpelledOtherwise(ReplicaIndex target, const std::string& name, const absl::Status& refusal) const;
  void Refuse(const MailboxOperation& operation, const absl::Status& status, std::string remedy);
  void Done(const MailboxOperation& operation, const std::string& text);
  MailboxCopyRecord RecordOf(const MailboxOperation& operation) const;

  Mesh& mesh_;
  int64_t done_ = 0;
};

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
  if (operation.action == MailboxAction::kCreate) record.name_here.clear();  // until it is listed
  if (operation.action == MailboxAction::kDelete) {
    record.uid_validity = UidValidity();
    record.uid_next = Uid();
    record.last_uid = Uid();
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

// What needs no command: stamps that are taken over, and deletions that mail has won over. Of many replicas' first
// contact there are as many as mailbox copies: some at a time.
asio::awaitable<absl::Status> MailboxApplier::Settle(const Operations& operations) {
  Settled settled;
  for (const MailboxOperation& operation : operations) {
    const bool level = operation.action == MailboxAction::kLevel;
    if (!level && operation.action != MailboxAction::kRestore) continue;
    if (operation.after.id.value == 0 || mesh_.IsBusy(operation.target) || !IsStill(operation)) continue;
    settled.emplace_back(&operation, RecordOf(operation));
    if (settled.size() < kSettledAtOnce) continue;
    CO_RETURN_IF_ERROR(co_await RecordSettled(std::exchange(settled, {})));
  }
  co_return co_await RecordSettled(std::move(settled));
}

asio::awaitable<absl::Status> MailboxApplier::RecordSettled(Settled settled) {
  if (settled.empty()) co_return absl::OkStatus();
  const int64_t now = mesh_.clock->UnixMillis();
  const auto save = [&](State& state) {
    for (auto& [settling, record] : settled) {
      const MailboxOperation& operation = *settling;
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
  for (auto& [settling, record] : settled) {
    const MailboxOperation& operation = *settling;
    if (operation.action == MailboxAction::kRestore) {
      ++done_;
      mesh_.Emit("CONFLICT", operation.target, operation.because.edge, operation.name,
                 "deleted elsewhere, but there is mail in it here: it is kept");
    }
    if (!IsStill(operation)) continue;
    mesh_.mailboxes.at(operation.name).copies[static_cast<size_t>(operation.target.value)] = std::move(record);
  }
  co_return absl::OkStatus();
}

// Whether the mailbox is called as when it was planned.
bool MailboxApplier::IsStill(const MailboxOperation& operation) const {
  const auto mailbox = mesh_.mailboxes.find(operation.name);
  return mailbox != mesh_.mailboxes.end() && mailbox->second.id == operation.mailbox;
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

// What to try where a server would not have a name; "" for nothing.
std::string MailboxApplier::SpelledOtherwise(ReplicaIndex target, const std::string& name,
                                             const absl::Status& refusal) const {
  const bool of_name = !refusal.ok() && !OutcomeUnknown(refusal) && !absl::IsPermissionDenied(refusal) &&
                       !absl::IsResourceExhausted(refusal) && !absl::IsAlreadyExists(refusal);
  const std::string plain = of_name ? PlainSpelling(name) : name;
  const bool free = plain != name && !mesh_.mailboxes.contains(plain) && FindLocal(target, plain) == nullptr;
  return free ? plain : "";
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
    Replica& replica = *mesh_.slot(target).replica;
    const auto renamed = co_await replica.RenameMailbox(rename.from, rename.to, subscribed);
    if (renamed.ok()) {
      CO_RETURN_IF_ERROR(co_await RecordRename(target, rename, *renamed));
      continue;
    }
    const std::string plain = SpelledOtherwise(target, rename.to, renamed.status());
    if (!plain.empty()) {
      const MailboxRename otherwise = {rename.from, plain};
      const auto spelled = co_await replica.RenameMailbox(rename.from, plain, subscribed);
      if (spelled.ok()) {
        CO_RETURN_IF_ERROR(co_await RecordRename(target, otherwise, *spelled));
        break;  // the others are planned anew
      }
    }
    const auto refused = operations.find(rename.from);
    const MailboxOperation& operation = refused == operations.end() ? operations.begin()->second : refused->second;
    if (absl::IsAlreadyExists(renamed.status()) && LeaveToLook(operation)) break;
    Refuse(operation, renamed.status(), "rename it by hand; until then its mail is synced under the old name");
    break;
  }
  for (const auto& [from, operation] : operations) {
    const MailboxCopyRecord* now = mesh_.FindCopy(target, operation.name);
    const bool there = now != nullptr && IsSpelled(now->local_name, operation.after.name);
    if (there) Done(operation, "RENAME from " + from);
  }
  co_return absl::OkStatus();
}

asio::awaitable<absl::Status> MailboxApplier::RecordRename(ReplicaIndex target, MailboxRename rename,
                                                           bool subscriptions) {
  const ReplicaId replica = mesh_.slot(target).id;
  const auto save = [&](State& state) {
    std::vector<MailboxCopyRecord> copies = state.mailboxes().Copies(replica, {});
    for (MailboxCopyRecord& copy : copies) {
      const std::string name = AfterRename(copy.local_name, rename);
      if (!copy.exists || name == copy.local_name) continue;
      copy.local_name = name;
      if (IsSpelled(name, copy.mailbox_name)) copy.name_stamp = copy.mailbox_name_stamp;
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

// At the end of one-way edges a mailbox may be called otherwise than anywhere else. Once another one comes by that name
// the first is called again what it is called in the mesh.
std::optional<MailboxOperation> MailboxApplier::NameTakenBack(const MailboxOperation& operation) const {
  const MailboxCopyRecord* own = FindLocal(operation.target, operation.name);
  const bool otherwise = own != nullptr && own->mailbox != operation.mailbox && own->local_name != own->mailbox_name;
  if (!otherwise || !own->special_use.empty()) return std::nullopt;
  MailboxOperation rename;
  rename.mailbox = own->mailbox;
  rename.target = operation.target;
  rename.action = MailboxAction::kRename;
  rename.name = rename.after.name = own->mailbox_name;
  rename.from = own->local_name;
  rename.because = operation.because;
  return rename;
}

asio::awaitable<absl::Status> MailboxApplier::TakeBackName(MailboxOperation operation) {
  auto rename = NameTakenBack(operation);
  if (!rename) co_return absl::OkStatus();
  std::map<std::string, MailboxOperation> renames;
  const std::string from = rename->from;
  renames[from] = *std::move(rename);
  co_return co_await RenameAt(operation.target, std::move(renames));
}

asio::awaitable<absl::Status> MailboxApplier::Create(MailboxOperation operation) {
  if (FindLocal(operation.target, operation.name) != nullptr) CO_RETURN_IF_ERROR(co_await TakeBackName(operation));
  const MailboxCopyRecord* taken = FindLocal(operation.target, operation.name);
  if (taken != nullptr) {
    const absl::Status status = Error(
        absl::StatusCode::kAlreadyExists, "replica %s: mailbox %s: creating it: the name is that of mailbox %s there",
        mesh_.name(operation.target), Printable(operation.name), Printable(taken->mailbox_name));
    Refuse(operation, status, "rename one of the two mailboxes");
    co_return absl::OkStatus();
  }
  if (!co_await MayCreate(mesh_, operation.target, operation.because.origin, operation.name))
    co_return absl::OkStatus();
  Replica& replica = *mesh_.slot(operation.target).replica;
  const auto created = co_await replica.CreateMailbox(operation.name, operation.subscribe);
  const std::string plain = SpelledOtherwise(operation.target, operation.name, created.status());
  if (!plain.empty()) {
    const auto spelled = co_await replica.CreateMailbox(plain, operation.subscribe);
    if (spelled.ok() && !*spelled) LookFirst(operation.target, operation.name);
    if (spelled.ok()) co_return co_await RecordSpelling(std::move(operation), plain);
  }
  if (!created.ok()) {
    Refuse(operation, created.status(),
           "give it another name there by name_map, create it by hand, or exclude it on the edges to this replica");
    co_return absl::OkStatus();
  }
  if (!*created && LeaveToLook(operation)) co_return absl::OkStatus();  // where the look tells nothing it is recorded
  mesh_.left_to_look.erase({operation.target.value, operation.name});
  if (!*created) LookFirst(operation.target, operation.name);
  CO_RETURN_IF_ERROR(co_await Record(operation));
  Done(operation, "CREATE");
  co_return absl::OkStatus();
}

// Whether the name that a mailbox was to get is taken there, and that was not looked at yet: somebody made one of that
// name meanwhile, or gave it to another one. The look tells, and nothing is added under the old name before.
bool MailboxApplier::LeaveToLook(const MailboxOperation& operation) {
  const auto [left, added] = mesh_.left_to_look.try_emplace({operation.target.value, operation.name}, false);
  if (left->second) return false;
  mesh_.slot(operation.target).look_due = true;
  mesh_.incomplete.insert({operation.target.value, operation.name});
  return true;
}

// Somebody made it meanwhile: nothing is added before it is known what is in it.
void MailboxApplier::LookFirst(ReplicaIndex target, const std::string& mailbox) {
  mesh_.due.insert({target.value, mailbox});
  mesh_.incomplete.insert({target.value, mailbox});
}

// It is there under another name, which is as good as the mesh's.
asio::awaitable<absl::Status> MailboxApplier::RecordSpelling(MailboxOperation operation, std::string name_here) {
  operation.after.name = name_here;
  CO_RETURN_IF_ERROR(co_await Record(operation));
  const ReplicaId replica = mesh_.slot(operation.target).id;
  const auto load = [replica](State& state) { return state.mailboxes().Copies(replica, {}); };
  auto copies = co_await mesh_.store->Run(load);
  if (!copies.ok()) co_return copies.status();
  const std::set<ReplicaId> changed = {replica};
  mesh_.TakeMailboxes(*std::move(copies), changed);
  Done(operation, "CREATE as " + name_here);
  co_return absl::OkStatus();
}

asio::awaitable<absl::Status> MailboxApplier::Subscribe(MailboxOperation operation) {
  const absl::Status status =
      co_await mesh_.slot(operation.target).replica->Subscribe(operation.name, operation.after.subscribed);
  if (!status.ok()) {
    Refuse(operation, status, kTriedAgain);
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

asio::awaitable<absl::Status> MailboxApplier::Apply(ReplicaIndex target, const Operations& operations) {
  std::map<std::string, MailboxOperation> renames;  // by the name until now
  for (const MailboxOperation& operation : operations) {
    if (operation.action != MailboxAction::kRename) continue;
    renames[operation.from] = operation;
    if (auto back = NameTakenBack(operation)) renames.try_emplace(back->from, *back);
  }
  if (!renames.empty()) {
    std::vector<std::string> mailboxes;
    for (const auto& [from, operation] : renames) mailboxes.push_back(operation.name);
    if (!co_await MayRename(mesh_, target, std::move(mailboxes))) co_return absl::OkStatus();
    CO_RETURN_IF_ERROR(co_await RenameAt(target, std::move(renames)));
  }
  for (const MailboxOperation& operation : operations) {
    if (!MayWork(operation)) continue;
    if (operation.action == MailboxAction::kCreate) CO_RETURN_IF_ERROR(co_await Create(operation));
    if (operation.action == MailboxAction::kDelete) CO_RETURN_IF_ERROR(co_await Delete(operation));
    const bool subscription =
        operation.action == MailboxAction::kSubscribe || operation.action == MailboxAction::kUnsubscribe;
    if (subscription) CO_RETURN_IF_ERROR(co_await Subscribe(operation));
  }
  co_return absl::OkStatus();
}

// What is pending. `ideal`: as if every replica were up and no edge paused. `afterwards`: as if the messages that a
// deleted mailbox takes with it were gone already.
asio::awaitable<absl::StatusOr<std::vector<MailboxOperation>>> PlanMailboxes(const Mesh& mesh, bool ideal,
                                                                             bool afterwards) {
  std::vector<MailboxState> mailboxes;
  bool counts = false;
  for (const auto& [name, entry] : mesh.mailboxes) {
    if (IsLevel(entry.copies)) continue;
    mailboxes.push_back(StateOf(entry));
    counts |= MayDelete(mailboxes.back());
  }
  if (counts) {
    const auto count = [&](State& state) {
      for (MailboxState& mailbox : mailboxes) {
        if (!MayDelete(mailbox)) continue;
        for (MailboxRegisters& copy : mailbox.copies) {
          if (copy.presence != Presence::kPresent) continue;
          copy.live = state.mailboxes().CountLive(copy.id);
          copy.messages = afterwards ? copy.live : state.mailboxes().CountPresent(copy.id);
        }
      }
      return true;
    };
    const auto counted = co_await mesh.store->Run(count);
    if (!counted.ok()) co_return counted.status();
  }
  const PlanContext context = mesh.Context(ideal);
  std::vector<MailboxOperation> operations;
  for (const MailboxState& mailbox : mailboxes) {
    for (MailboxOperation& operation : PlanMailbox(mailbox, context)) operations.push_back(std::move(operation));
  }
  co_return operations;
}

bool IsUndecided(const Mesh& mesh, const MailboxEntry& entry, ReplicaIndex r) {
  const MailboxGone gone = entry.copies[static_cast<size_t>(r.value)].gone;
  return gone == MailboxGone::kUndecided && mesh.IsUp(r);
}

}  // namespace

bool HasUndecidedMailboxes(const Mesh& mesh, ReplicaIndex r) {
  return std::any_of(mesh.mailboxes.begin(), mesh.mailboxes.end(),
                     [&](const auto& mailbox) { return IsUndecided(mesh, mailbox.second, r); });
}

asio::awaitable<void> ConfirmGone(Mesh& mesh, ReplicaIndex r, std::shared_ptr<std::set<MailboxCopyId>> confirmed) {
  std::vector<MailboxCopyRecord> undecided;
  for (const auto& [name, entry] : mesh.mailboxes) {
    if (IsUndecided(mesh, entry, r)) undecided.push_back(entry.copies[static_cast<size_t>(r.value)]);
  }
  for (const MailboxCopyRecord& record : undecided) {
    if (FindLocal(mesh, r, record.local_name) != nullptr) {  // another mailbox has its name
      confirmed->insert(record.id);
      continue;
    }
    if (!mesh.IsUp(r)) co_return;
    const auto exists = co_await mesh.slot(r).replica->MailboxExists(record.local_name);
    if (!exists.ok()) {
      if (OutcomeUnknown(exists.status())) mesh.MarkDown(r, exists.status());
      mesh.Warn(Message(exists.status()));
    } else if (*exists) {
      mesh.slot(r).look_due = true;  // it was not gone
    } else {
      confirmed->insert(record.id);
    }
  }
}

asio::awaitable<absl::Status> DecideGone(Mesh& mesh, std::set<MailboxCopyId> confirmed) {
  const auto waits_for_mail = [](const MailboxCopyRecord& copy) {
    return copy.gone == MailboxGone::kKept || copy.gone == MailboxGone::kWaits || IsDeleted(copy);
  };
  const bool waits = std::any_of(mesh.mailboxes.begin(), mesh.mailboxes.end(), [&](const auto& mailbox) {
    const std::vector<MailboxCopyRecord>& copies = mailbox.second.copies;
    return std::any_of(copies.begin(), copies.end(), waits_for_mail);
  });
  if (confirmed.empty() && !waits) co_return absl::OkStatus();
  std::map<MailboxCopyId, std::pair<ReplicaIndex, std::string>> undecided;  // where, and the name
  for (const auto& [name, entry] : mesh.mailboxes) {
    for (size_t r = 0; r < entry.copies.size(); ++r)
      undecided[entry.copies[r].id] = {ReplicaIndex(static_cast<int32_t>(r)), name};
  }
  const std::vector<ReplicaId> replicas = ReplicaIds(mesh);
  std::set<ReplicaId> idle, busy;
  for (size_t r = 0; r < replicas.size(); ++r) {
    (mesh.IsBusy(ReplicaIndex(static_cast<int32_t>(r))) ? busy : idle).insert(replicas[r]);
  }
  DecideMailboxes decide(*mesh.graph, replicas, std::move(confirmed), std::move(busy), mesh.clock->UnixMillis());
  auto decisions = co_await mesh.store->Run(decide);
  if (!decisions.ok()) co_return decisions.status();
  for (const MailboxDecisions::Made& made : decisions->conflicts) {
    const auto& [r, name] = undecided.at(made.copy);
    mesh.Emit("CONFLICT", r, EdgeIndex(-1), name, made.text);
  }
  if (decisions->changed) mesh.TakeMailboxes(std::move(decisions->copies), idle);
  co_return absl::OkStatus();
}

asio::awaitable<absl::StatusOr<MailboxWork>> PlanMailboxWork(Mesh& mesh, MailboxPhase phase) {
  CO_ASSIGN_OR_RETURN(std::vector<MailboxOperation> operations, co_await PlanMailboxes(mesh, false, false));
  MailboxApplier applier(mesh);
  CO_RETURN_IF_ERROR(co_await applier.Settle(operations));
  MailboxWork work;
  work.settled = applier.done();
  if (phase == MailboxPhase::kDeletions) {  // children first
    std::stable_sort(operations.begin(), operations.end(), [](const MailboxOperation& a, const MailboxOperation& b) {
      return std::count(a.name.begin(), a.name.end(), '/') > std::count(b.name.begin(), b.name.end(), '/');
    });
  }
  for (MailboxOperation& operation : operations) {
    const bool command = operation.action != MailboxAction::kLevel && operation.action != MailboxAction::kRestore;
    const bool deletion = operation.action == MailboxAction::kDelete;
    if (!command || deletion != (phase == MailboxPhase::kDeletions)) continue;
    if (mesh.IsBusy(operation.target) || !applier.MayWork(operation)) continue;
    work.commands[operation.target].push_back(std::move(operation));
  }
  co_return work;
}

asio::awaitable<absl::StatusOr<int64_t>> ApplyMailboxes(Mesh& mesh, ReplicaIndex target,
                                                        std::vector<MailboxOperation> operations) {
  MailboxApplier applier(mesh);
  const absl::Status applied = co_await applier.Apply(target, operations);
  if (!applied.ok()) co_return applied;
  co_return applier.done();
}

asio::awaitable<absl::Status> CountPendingMailboxes(Mesh& mesh) {
  CO_ASSIGN_OR_RETURN(const std::vector<MailboxOperation> left, co_await PlanMailboxes(mesh, true, false));
  mesh.pending_mailboxes.clear();
  for (const MailboxOperation& operation : left) {
    const bool counts = operation.action != MailboxAction::kLevel && operation.because.edge.value >= 0;
    if (counts) ++mesh.pending_mailboxes[operation.because.edge.value];
  }
  co_return absl::OkStatus();
}

asio::awaitable<absl::StatusOr<std::vector<MailboxOperation>>> ForeseeMailboxes(const Mesh& mesh) {
  CO_ASSIGN_OR_RETURN(std::vector<MailboxOperation> operations, co_await PlanMailboxes(mesh, false, true));
  std::erase_if(operations, [&](const MailboxOperation& operation) {
    const bool command = operation.action != MailboxAction::kLevel && operation.action != MailboxAction::kRestore;
    const bool refused = mesh.mailbox_refusals.contains({operation.target.value, operation.name});
    return !command || refused || mesh.IsBusy(operation.target);
  });
  co_return operations;
}

}  // namespace imapmesh
