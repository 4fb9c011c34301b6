#include "engine/sync/mesh.h"

#include <algorithm>
#include <utility>

#include "engine/sync/backoff.h"
#include "engine/sync/listen.h"
#include "engine/sync/seen.h"

namespace imapmesh {

MailboxCopyRecord* Mesh::FindCopy(ReplicaIndex r, const std::string& mailbox) {
  const auto found = mailboxes.find(mailbox);
  if (found == mailboxes.end()) return nullptr;
  MailboxCopyRecord& record = found->second.copies[static_cast<size_t>(r.value)];
  return record.id.value == 0 ? nullptr : &record;
}

int64_t Mesh::CountRefused(const Within& within) const {
  int64_t refused = 0;
  for (const auto& [key, refusal] : refusals) {
    refused += !refusal.left_out && within(refusal.replica, refusal.report.mailbox) ? 1 : 0;
  }
  for (const auto& [copy, refusal] : mailbox_refusals) refused += within(refusal.replica, copy.second) ? 1 : 0;
  return refused;
}

bool Mesh::RefusesForNow(ReplicaIndex r) const {
  const auto of_mailbox = mailbox_refusals.lower_bound({r.value, ""});
  if (of_mailbox != mailbox_refusals.end() && of_mailbox->first.first == r.value) return true;
  const auto of_message = [&](const auto& refusal) { return refusal.second.replica == r && !refusal.second.for_good; };
  if (std::any_of(refusals.begin(), refusals.end(), of_message)) return true;
  const auto without_right = [&](const auto& report) { return report.second.replica == name(r); };
  if (std::any_of(forbidden.begin(), forbidden.end(), without_right)) return true;
  return !kept_back.copies.empty() && std::any_of(mailboxes.begin(), mailboxes.end(), [&](const auto& mailbox) {
    const MailboxCopyRecord& record = mailbox.second.copies[static_cast<size_t>(r.value)];
    return record.exists && kept_back.copies.contains(record.id);
  });
}

void Mesh::RenewHope(ReplicaIndex r) {
  std::erase_if(refusals, [&](const auto& refusal) { return refusal.second.replica == r && !refusal.second.for_good; });
  std::erase_if(mailbox_refusals, [&](const auto& refusal) { return refusal.first.first == r.value; });
  std::erase_if(forbidden, [&](const auto& report) { return report.second.replica == name(r); });
  std::erase_if(metadata.refused, [&](const auto& refused) { return std::get<0>(refused) == r.value; });
  slot(r).look_due = true;
  slot(r).limits_due = true;
}

MailboxEntry& Mesh::Entry(const std::string& mailbox) {
  const auto [found, added] = mailboxes.try_emplace(mailbox);
  if (added) {
    found->second.name = mailbox;
    found->second.copies.resize(replicas.size());
  }
  return found->second;
}

void Mesh::TakeAllMailboxes(std::vector<MailboxCopyRecord> records) {
  std::set<ReplicaId> all;
  for (const ReplicaSlot& slot : replicas) all.insert(slot.id);
  TakeMailboxes(std::move(records), all);
}

void Mesh::TakeMailboxes(std::vector<MailboxCopyRecord> records, const std::set<ReplicaId>& changed) {
  std::map<ReplicaId, size_t> index;
  for (size_t r = 0; r < replicas.size(); ++r) index[replicas[r].id] = r;
  std::map<std::string, MailboxId> known;
  for (const auto& [name, entry] : mailboxes) known[name] = entry.id;
  for (auto& [name, entry] : mailboxes) {
    for (const ReplicaId replica : changed) {
      if (const auto r = index.find(replica); r != index.end()) entry.copies[r->second] = MailboxCopyRecord();
    }
  }
  TakeNames(records);
  for (MailboxCopyRecord& record : records) {
    const auto replica = index.find(record.replica);
    if (replica == index.end()) continue;
    const bool selected = graph->Selects(ReplicaIndex(static_cast<int32_t>(replica->second)), record.mailbox_name);
    if (!selected) continue;  // no longer part of the mesh there: it is not missed when it is not listed
    MailboxEntry& entry = Entry(record.mailbox_name);
    entry.id = record.mailbox;
    MailboxCopyRecord& copy = entry.copies[replica->second];
    if (copy.id != record.id) copy = std::move(record);
  }
  const auto is_known = [](const MailboxCopyRecord& copy) { return copy.id.value != 0; };
  std::erase_if(mailboxes, [&](const auto& mailbox) {
    const std::vector<MailboxCopyRecord>& copies = mailbox.second.copies;
    return std::none_of(copies.begin(), copies.end(), is_known);
  });
  FollowNames(known);
}

// Mailboxes may have changed names among each other.
void Mesh::TakeNames(const std::vector<MailboxCopyRecord>& records) {
  std::map<MailboxId, const MailboxCopyRecord*> named;
  for (const MailboxCopyRecord& record : records) named[record.mailbox] = &record;
  std::vector<MailboxEntry> renamed;
  for (auto mailbox = mailboxes.begin(); mailbox != mailboxes.end();) {
    const auto now = named.find(mailbox->second.id);
    const bool differs = now != named.end() && now->second->mailbox_name != mailbox->first;
    if (differs) renamed.push_back(std::move(mailbox->second));
    mailbox = differs ? mailboxes.erase(mailbox) : std::next(mailbox);
  }
  for (MailboxEntry& entry : renamed) {
    entry.name = named[entry.id]->mailbox_name;
    for (size_t r = 0; r < entry.copies.size(); ++r) {
      if (!graph->Selects(ReplicaIndex(static_cast<int32_t>(r)), entry.name)) entry.copies[r] = MailboxCopyRecord();
    }
    mailboxes[entry.name] = std::move(entry);
  }
  for (auto& [name, entry] : mailboxes) {
    const auto now = named.find(entry.id);
    for (MailboxCopyRecord& copy : entry.copies) {
      if (now == named.end() || copy.id.value == 0) continue;
      copy.mailbox_name = name;
      copy.mailbox_name_stamp = now->second->mailbox_name_stamp;
    }
  }
}

// `known`: the names before.
void Mesh::FollowNames(const std::map<std::string, MailboxId>& known) {
  std::map<MailboxId, std::string> names;
  std::vector<std::map<std::string, std::string>> aliases(replicas.size());
  for (const auto& [name, entry] : mailboxes) {
    names[entry.id] = name;
    for (size_t r = 0; r < entry.copies.size(); ++r) {
      const MailboxCopyRecord& copy = entry.copies[r];
      if (copy.exists && copy.local_name != name) aliases[r][name] = copy.local_name;
    }
  }
  for (size_t r = 0; r < replicas.size(); ++r) replicas[r].replica->SetAliases(std::move(aliases[r]));
  std::set<std::pair<int32_t, std::string>> still_due;
  for (const auto& [replica, name] : due) {
    const auto id = known.find(name);
    if (id != known.end() && names.contains(id->second)) still_due.emplace(replica, names[id->second]);
  }
  due = std::move(still_due);
}

void Mesh::TakeCopy(const MailboxCopyRecord& record) {
  for (auto& [name, entry] : mailboxes) {
    for (MailboxCopyRecord& copy : entry.copies) {
      if (copy.id == record.id) copy = record;
    }
  }
}

PlanContext Mesh::Context(bool ignore_downtime) const {
  PlanContext context;
  context.graph = graph.get();
  for (size_t e = 0; e < edge_paused.size(); ++e) context.edge_paused.push_back(!ignore_downtime && IsClosed(e));
  context.deleted_flag = deleted_flag;
  context.exclusive = exclusive_keywords;
  for (const ReplicaSlot& slot : replicas) {
    context.replica_up.push_back(ignore_downtime || slot.state == ReplicaState::kUp);
  }
  return context;
}

std::shared_ptr<const MeshView> Mesh::View(bool ignore_downtime) const {
  auto view = std::make_shared<MeshView>();
  view->graph = graph;
  view->context = Context(ignore_downtime);
  for (const ReplicaSlot& slot : replicas) {
    view->replicas.push_back(slot.id);
    view->can_move.push_back(slot.replica->can_move());
    view->busy.push_back(!ignore_downtime && slot.tasks > 0);
    const ReplicaIndex r(static_cast<int32_t>(view->awaited.size()));
    view->awaited.push_back(!ignore_downtime && IsAwaited(r));
    view->brief.push_back(!ignore_downtime && IsBrieflyBusy(r));
    if (HasCompany(*this)) view->carried_since[r.value] = DeletedSinceOf(*this, r);
  }
  for (const auto& [name, entry] : mailboxes) {
    MailboxView mailbox;
    mailbox.id = entry.id;
    mailbox.name = name;
    mailbox.copies.reserve(entry.copies.size());
    mailbox.exists.reserve(entry.copies.size());
    mailbox.waits.reserve(entry.copies.size());
    mailbox.limits.reserve(entry.copies.size());
    for (size_t r = 0; r < entry.copies.size(); ++r) {
      const MailboxCopyId id = entry.copies[r].id;
      mailbox.copies.push_back(id);
      mailbox.exists.push_back(entry.copies[r].exists);
      mailbox.waits.push_back(entry.copies[r].gone == MailboxGone::kWaits);
      mailbox.limits.push_back({entry.copies[r].read_only, forbidden.contains({id, true}),
                                forbidden.contains({id, false}), entry.copies[r].flag_limits});
      if (id.value == 0) continue;
      view->copies[id] = {ReplicaIndex(static_cast<int32_t>(r)), entry.id};
      view->uid_validities[id] = entry.copies[r].uid_validity;
      const bool in_part = !incomplete.empty() && incomplete.contains({static_cast<int32_t>(r), name});
      if (in_part) view->incomplete.insert(id);
    }
    view->mailboxes[entry.id] = std::move(mailbox);
  }
  return view;
}

Duration Mesh::Draw(Duration longest) {
  // SplitMix64, stirred by what is another coordinator's otherwise: its graph, and the instant.
  const std::hash<std::string> hash;
  for (const GraphEdge& edge : graph->edges()) draws += hash(edge.name);
  draws += 0x9e3779b97f4a7c15 + static_cast<uint64_t>(clock->Now().count());
  uint64_t mixed = draws;
  mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9;
  mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111eb;
  mixed ^= mixed >> 31;
  return Duration(static_cast<int64_t>(mixed % static_cast<uint64_t>(longest.count() + 1)));
}

std::shared_ptr<Batch> Mesh::NewBatch(Duration patience, Duration margin) const {
  auto batch = std::make_shared<Batch>();
  batch->started = clock->Now();
  batch->patience = patience;
  batch->margin = margin;
  return batch;
}

bool Mesh::IsBrieflyBusy(ReplicaIndex r) const {
  return IsBusy(r) && clock->Now() < replicas[static_cast<size_t>(r.value)].batch->started + kBriefly;
}

Duration Mesh::AwaitedUntil(ReplicaIndex r) const {
  const ReplicaSlot& busy = replicas[static_cast<size_t>(r.value)];
  const Batch& batch = *busy.batch;
  const Duration until = busy.last_progress + batch.patience;
  if (!batch.first_done) return until;
  return std::min(until, *batch.first_done + (*batch.first_done - batch.started) * 2 + batch.margin);
}

void Mesh::Begin(ReplicaIndex r, const std::shared_ptr<Batch>& batch) {
  if (slot(r).tasks++ > 0) return;
  slot(r).batch = batch;
  Progressed(r);
}

void Mesh::End(ReplicaIndex r) {
  if (--slot(r).tasks > 0) return;
  if (!slot(r).batch->first_done) slot(r).batch->first_done = clock->Now();
  slot(r).batch = nullptr;
  if (on_idle) on_idle();
}

void Mesh::MarkDown(ReplicaIndex r, const absl::Status& status) {
  ReplicaSlot& down = slot(r);
  const bool news = !down.tells_of_downtime || down.last_error != Message(status);
  down.last_error = Message(status);
  down.look_due = true;
  down.compare_due = true;
  down.metadata_due = true;
  down.recognised.clear();
  down.cleared.clear();
  down.recognise_due |= down.was_up;
  down.hopeless = absl::IsUnauthenticated(status) || absl::IsUnimplemented(status) || absl::IsInvalidArgument(status);
  down.next_attempt = clock->Now() + PauseAfter(down.failures, [this](Duration longest) { return Draw(longest); });
  down.state = ReplicaState::kDown;
  if (!std::exchange(down.tells_of_downtime, true)) down.state_since_unix_ms = clock->UnixMillis();
  ++down.failures;
  down.replica->Close();
  if (!news) return;
  Warn(down.last_error);
  Emit("REPLICA_DOWN", r, EdgeIndex(-1), "", down.last_error);
}

void Mesh::MarkUp(ReplicaIndex r) {
  ReplicaSlot& up = slot(r);
  if (up.state == ReplicaState::kUp) return;
  if (up.was_up && RefusesForNow(r)) RenewHope(r);  // the server may be configured otherwise now
  up.state = ReplicaState::kUp;
  up.was_up = true;
  up.tells_of_downtime = false;
  up.hopeless = false;
  up.last_error.clear();
  up.state_since_unix_ms = clock->UnixMillis();
  Emit("REPLICA_UP", r, EdgeIndex(-1), "", up.replica->info().software);
}

void Mesh::Emit(std::string kind, ReplicaIndex r, EdgeIndex edge, const std::string& mailbox, std::string text) {
  if (!emit) return;
  Event event;
  event.unix_ms = clock->UnixMillis();
  event.kind = std::move(kind);
  if (r.value >= 0) event.replica = name(r);
  if (edge.value >= 0) event.edge = graph->edges()[static_cast<size_t>(edge.value)].name;
  event.mailbox = mailbox;
  event.text = std::move(text);
  emit(std::move(event));
}

}  // namespace imapmesh
