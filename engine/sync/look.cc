#include "engine/sync/look.h"

#include <algorithm>
#include <functional>
#include <map>
#include <set>
#include <utility>
#include <vector>

#include "engine/sync/listen.h"
#include "engine/sync/mailbox_listing.h"
#include "engine/sync/seen.h"
#include "engine/sync/sync_metadata.h"

namespace imapmesh {
namespace {

constexpr size_t kSampleMessages = 64;

std::vector<const MailboxCopyRecord*> RecordsAt(const Mesh& mesh, ReplicaIndex r) {
  std::vector<const MailboxCopyRecord*> records;
  for (const auto& [name, entry] : mesh.mailboxes) {
    const MailboxCopyRecord& record = entry.copies[static_cast<size_t>(r.value)];
    if (record.id.value != 0) records.push_back(&record);
  }
  return records;
}

std::vector<MailboxCopyRecord> CopiesAt(const Mesh& mesh, ReplicaIndex r) {
  std::vector<MailboxCopyRecord> copies;
  for (const MailboxCopyRecord* record : RecordsAt(mesh, r)) copies.push_back(*record);
  return copies;
}

bool HasRenameToCarry(const Mesh& mesh, ReplicaIndex r, const std::vector<const MailboxCopyRecord*>& records) {
  return std::any_of(records.begin(), records.end(), [&](const MailboxCopyRecord* record) {
    return imapmesh::HasRenameToCarry(*record, *mesh.graph, r);
  });
}

bool IsAsRecorded(const Mesh& mesh, ReplicaIndex r, const std::vector<MailboxStatus>& lines) {
  const std::vector<const MailboxCopyRecord*> records = RecordsAt(mesh, r);
  return !HasRenameToCarry(mesh, r, records) && DueIfAsRecorded(records, lines, {});
}

// What there is to do, where nothing is to be recorded. Told by the table alone: a mesh may have many mailbox copies,
// and few looks find anything new.
asio::awaitable<absl::StatusOr<std::optional<ListingResult>>> DueOnly(Mesh& mesh, ReplicaIndex r,
                                                                      const std::vector<MailboxStatus>& lines) {
  std::optional<ListingResult> result;
  if (!IsAsRecorded(mesh, r, lines)) co_return result;
  const auto load = [](State& state) { return state.CopiesWithIntents(); };
  const auto intents = co_await mesh.store->Run(load);
  if (!intents.ok()) co_return intents.status();
  const std::set<MailboxCopyId> with_intents(intents->begin(), intents->end());
  const auto due = DueIfAsRecorded(RecordsAt(mesh, r), lines, with_intents);  // the table may have changed meanwhile
  if (!due) co_return result;
  result.emplace();
  for (const MailboxId mailbox : *due) result->due.emplace_back(r, mailbox);
  co_return result;
}

// Looks into mailboxes that may be renamed ones, as far as it takes to tell. False when the connection broke: without
// its samples a listing shows deletions that nobody made.
asio::awaitable<bool> TakeSamples(Mesh& mesh, Listing& listing) {
  const ListingMatch match = MatchListing(CopiesAt(mesh, listing.replica), listing.lines);
  for (const auto& [gone, line] : match.suspicions) {
    if (listing.samples.contains(line)) continue;
    const std::string mailbox = listing.lines[line].mailbox;
    MailboxCursor nothing;
    ObserveLimits limits;
    limits.messages = kSampleMessages;
    auto sample = co_await mesh.slot(listing.replica).replica->Observe(mailbox, nothing, limits);
    if (sample.ok()) {
      listing.samples[line] = std::move(sample->arrived);
    } else if (OutcomeUnknown(sample.status())) {
      mesh.MarkDown(listing.replica, sample.status());
      co_return false;
    } else {
      mesh.Warn(Message(sample.status()));
    }
  }
  co_return true;
}

asio::awaitable<absl::StatusOr<ListingResult>> Record(Mesh& mesh, const Listing& listing) {
  std::vector<ReplicaId> replicas;
  for (const ReplicaSlot& slot : mesh.replicas) replicas.push_back(slot.id);
  ListingRecorder record(*mesh.graph, replicas, listing, mesh.clock->UnixMillis());
  co_return co_await mesh.store->Run(record);
}

void Refuse(Mesh& mesh, ReplicaIndex r, const std::string& mailbox, const char* operation, std::string answer,
            std::string remedy) {
  Refusal refusal;
  refusal.replica = r;
  refusal.report = {
      mesh.name(r), mailbox, operation, "", std::move(answer), std::move(remedy), mesh.clock->UnixMillis()};
  mesh.Emit("PROBLEM", r, EdgeIndex(-1), mailbox, refusal.report.answer);
  mesh.mailbox_refusals[{r.value, mailbox}] = std::move(refusal);
}

void Take(Mesh& mesh, ListingResult result, ReplicaIndex here) {
  // What could not be selected any more is gone, or called otherwise.
  std::erase_if(mesh.mailbox_refusals, [&](const auto& refusal) {
    if (refusal.first.first != here.value || refusal.second.report.operation != "SELECT") return false;
    const MailboxCopyRecord* copy = mesh.FindCopy(here, refusal.first.second);
    const auto same = [&](const MailboxCopyRecord& now) { return copy != nullptr && now.id == copy->id; };
    const auto now = std::find_if(result.copies.begin(), result.copies.end(), same);
    return now != result.copies.end() && (!now->exists || now->mailbox_name != copy->mailbox_name);
  });
  const std::set<ReplicaId> changed = {mesh.slot(here).id};
  if (result.changed) mesh.TakeMailboxes(std::move(result.copies), changed);
  std::erase_if(mesh.left_to_look, [&](const auto& left) {
    const MailboxCopyRecord* found = left.first.first == here.value ? mesh.FindCopy(here, left.first.second) : nullptr;
    return found != nullptr && found->exists && found->name_stamp >= found->mailbox_name_stamp;
  });
  for (auto& [left, looked] : mesh.left_to_look) looked |= left.first == here.value;
  std::map<MailboxId, std::string> names;
  if (!result.due.empty()) {
    for (const auto& [name, entry] : mesh.mailboxes) names[entry.id] = name;
  }
  std::erase_if(mesh.incomplete, [&](const auto& copy) { return copy.first == here.value; });
  for (const auto& [replica, mailbox] : result.due) {
    if (!names.contains(mailbox)) continue;
    mesh.due.insert({replica.value, names[mailbox]});
    mesh.incomplete.insert({replica.value, names[mailbox]});
  }
  for (ListingResult::Seen& seen : result.seen) {
    mesh.Emit(seen.conflict ? "CONFLICT" : "CHANGE_SEEN", seen.replica, EdgeIndex(-1), seen.mailbox, seen.text);
  }
  const auto refusal = mesh.mailbox_refusals.find({here.value, "INBOX"});
  const bool listed = refusal != mesh.mailbox_refusals.end() && refusal->second.report.operation == "LIST";
  if (listed) mesh.mailbox_refusals.erase(refusal);
  for (const ReplicaIndex r : result.doubtful) {
    Refuse(mesh, r, "INBOX", "LIST", "the server does not list INBOX, which it had before",
           "no mailbox of this replica counts as deleted until it does; see what is wrong with the account");
  }
  for (const auto& [r, mailbox] : result.unlisted) {
    Refuse(mesh, r, mailbox, "CREATE", "the server took CREATE, but it does not list the mailbox",
           "the server may take the name for another's, in other case or spelling: rename it on another replica");
  }
}

// Flags may have changed unseen where there is no HIGHESTMODSEQ.
void AddUnshownDue(Mesh& mesh, const Listing& listing) {
  const ReplicaIndex r = listing.replica;
  std::map<std::string, const MailboxCopyRecord*> records;  // by local name
  for (const auto& [name, entry] : mesh.mailboxes) {
    const MailboxCopyRecord& record = entry.copies[static_cast<size_t>(r.value)];
    if (record.exists) records[record.local_name] = &record;
  }
  ReplicaSlot& slot = mesh.slot(r);
  for (const MailboxStatus& status : listing.lines) {
    const auto record = records.find(status.local_name);
    const bool without = status.selectable && status.status_known && status.highest_modseq.value == 0;
    if (record == records.end() || !without || (status.messages == 0 && record->second->messages == 0)) continue;
    const std::string& mailbox = record->second->mailbox_name;
    bool due = slot.compare_due;
    if (status.unseen) {
      const auto [before, added] = slot.unseen.try_emplace(mailbox, *status.unseen);
      due |= !added && before->second != *status.unseen;
      before->second = *status.unseen;
    }
    if (due) mesh.due.insert({r.value, mailbox});
  }
  slot.compare_due = false;
}

// How much there is to see in what was not looked into yet, or not to its end.
void NoteUnseen(Mesh& mesh, const Listing& listing) {
  ReplicaSlot& slot = mesh.slot(listing.replica);
  slot.not_observed.clear();
  std::map<std::string, std::string> unseen;  // mailboxes by local name
  for (const MailboxCopyRecord* record : RecordsAt(mesh, listing.replica)) {
    const bool begun = record->uid_validity.value != 0;
    const bool carrying = mesh.carrying.contains({listing.replica.value, record->mailbox_name});
    if (record->exists && (!begun || carrying)) unseen[record->local_name] = record->mailbox_name;
  }
  if (unseen.empty()) return;
  for (const MailboxStatus& status : listing.lines) {
    const auto mailbox = unseen.find(status.local_name);
    if (mailbox == unseen.end() || !status.status_known) continue;
    slot.not_observed[mailbox->second] = {status.uid_validity, status.uid_next};
  }
}

// Whether a server would take by now what it would not is told by SELECT alone.
void AddKeptBackDue(Mesh& mesh, ReplicaIndex r) {
  if (!std::exchange(mesh.slot(r).limits_due, false)) return;
  for (const auto& [name, entry] : mesh.mailboxes) {
    const MailboxCopyRecord& record = entry.copies[static_cast<size_t>(r.value)];
    if (record.exists && mesh.kept_back.copies.contains(record.id)) mesh.due.insert({r.value, name});
  }
}

// Of a server that was restored from an older copy while it was out of sight, others that carry the same mail may have
// given back what it lacked: its counters can be just those that are known, and its UIDs stand for other messages.
void AddUnrecognisedDue(Mesh& mesh, ReplicaIndex r) {
  if (!std::exchange(mesh.slot(r).recognise_due, false) || !HasCompany(mesh)) return;
  for (const auto& [name, entry] : mesh.mailboxes) {
    const MailboxCopyRecord& record = entry.copies[static_cast<size_t>(r.value)];
    if (!record.exists || record.uid_next.value <= 1) continue;
    mesh.due.insert({r.value, name});
    mesh.incomplete.insert({r.value, name});
  }
}

// What the last look found there; nothing where something is still to be learned of a mailbox, or where names and
// UIDVALIDITYs alone do not tell one from another.
void TellExpected(Mesh& mesh, ReplicaIndex r) {
  std::map<std::pair<std::string, UidValidity>, std::string> known;
  std::set<UidValidity> validities;
  for (const MailboxCopyRecord* record : RecordsAt(mesh, r)) {
    if (!record->exists) continue;
    const bool certain = record->uid_validity.value != 0 && !record->server_id.empty() && !record->rebinding &&
                         validities.insert(record->uid_validity).second;
    if (!certain) known.clear();
    if (!certain) break;
    known[{record->local_name, record->uid_validity}] = record->server_id;
  }
  mesh.slot(r).replica->Expect(std::move(known));
}

}  // namespace

asio::awaitable<void> LookAt(Mesh& mesh, ReplicaIndex r) {
  ReplicaSlot& slot = mesh.slot(r);
  if (slot.state != ReplicaState::kUp) slot.state = ReplicaState::kConnecting;
  slot.look_due = slot.gone_since_look = false;
  AskMetadata(mesh, r);
  TellExpected(mesh, r);
  absl::StatusOr<std::vector<MailboxStatus>> statuses = co_await slot.replica->Look();
  if (!statuses.ok()) {
    mesh.MarkDown(r, statuses.status());
    co_return;
  }
  const bool watched =
      slot.was_up && slot.state == ReplicaState::kUp && slot.replica->info().can_push && slot.all_observed;
  mesh.MarkUp(r);
  TakeMetadata(mesh, r);
  slot.last_look_unix_ms = mesh.clock->UnixMillis();
  slot.unseen_since_unix_ms = watched ? slot.last_look_unix_ms : slot.seen_unix_ms;
  slot.listing = *std::move(statuses);
}

bool TellsOfRenames(const Mesh& mesh, ReplicaIndex r) {
  const auto& listing = mesh.replicas[static_cast<size_t>(r.value)].listing;
  if (!listing || IsAsRecorded(mesh, r, *listing)) return false;
  if (HasRenameToCarry(mesh, r, RecordsAt(mesh, r))) return true;
  const std::vector<MailboxCopyRecord> copies = CopiesAt(mesh, r);
  const ListingMatch match = MatchListing(copies, *listing);
  for (size_t l = 0; l < listing->size(); ++l) {
    if (match.known[l] && copies[*match.known[l]].local_name != (*listing)[l].local_name) return true;
  }
  return !match.suspicions.empty() || match.inbox_renamed;
}

asio::awaitable<absl::Status> RecordListing(Mesh& mesh, ReplicaIndex r, Permits& turns) {
  if (!mesh.slot(r).listing) co_return absl::OkStatus();
  Listing listing;
  listing.replica = r;
  listing.deleted_since = DeletedSinceOf(mesh, r);
  listing.lines = *std::exchange(mesh.slot(r).listing, std::nullopt);
  CO_ASSIGN_OR_RETURN(std::optional<ListingResult> result, co_await DueOnly(mesh, r, listing.lines));
  if (result) {
    Take(mesh, *std::move(result), r);
  } else {
    if (!co_await TakeSamples(mesh, listing)) co_return absl::OkStatus();
    co_await turns.Acquire();
    const Held turn(turns);
    CO_ASSIGN_OR_RETURN(ListingResult recorded, co_await Record(mesh, listing));
    Take(mesh, std::move(recorded), r);
  }
  NoteUnseen(mesh, listing);
  AddUnshownDue(mesh, listing);
  AddKeptBackDue(mesh, r);
  AddUnrecognisedDue(mesh, r);
  co_return absl::OkStatus();
}

}  // namespace imapmesh
