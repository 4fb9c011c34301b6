#include "engine/sync/observe.h"

#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "base/printable.h"
#include "engine/sync/content_digest.h"
#include "engine/sync/listen.h"
#include "engine/sync/record_observation.h"
#include "engine/sync/seen.h"
#include "engine/sync/task_group.h"

namespace imapmesh {
namespace {

constexpr size_t kBatchMessages = 5000;
constexpr size_t kBatchWithBodies = 1000;  // their bytes end most looks before
// What was given last is what is given again by a server that was restored from an older copy.
constexpr size_t kRecognise = 4;

ContentIdentity DigestOf(const Body& body) {
  ContentDigest digest;
  std::vector<char> buffer(64 * 1024);
  for (uint64_t offset = 0; offset < body.size();) {
    const auto read = body.ReadAt(offset, buffer.data(), buffer.size());
    if (!read.ok() || *read == 0) break;
    digest.Add({buffer.data(), *read});
    offset += *read;
  }
  return digest.Finish();
}

// Fetches the whole messages that identification asked for and digests them.
asio::awaitable<void> FetchContent(Mesh& mesh, ReplicaIndex here, const MailboxCopyRecord& record,
                                   const Observation& observation, ContentNeeds needs, RecordObservation& recording) {
  for (const ArrivedMessage& arrived : observation.arrived) {
    if (arrived.body == nullptr || needs.arrivals.erase(arrived.uid) == 0) continue;
    recording.arrival_content[arrived.uid] = DigestOf(*arrived.body);
  }
  UidSet arrivals;
  for (const Uid uid : needs.arrivals) arrivals.Add(uid);
  std::function<void(Uid, std::shared_ptr<const Body>)> take = [&](Uid uid, std::shared_ptr<const Body> body) {
    recording.arrival_content[uid] = DigestOf(*body);
  };
  MailboxReference reference{record.mailbox_name, observation.cursor.uid_validity};
  if (!arrivals.empty()) {
    const absl::Status fetched = co_await mesh.slot(here).replica->FetchBodies(reference, arrivals, take);
    if (!fetched.ok()) mesh.Warn(Message(fetched));
  }
  // Candidates, grouped by the mailbox copy they are fetched from.
  const auto view = mesh.View(false);
  std::map<std::pair<MailboxCopyId, UidValidity>, std::map<Uid, MessageId>> wanted;
  for (const auto& [message, sources] : needs.known) {
    recording.unreachable_content.insert(message);
    for (const ContentSource& source : sources) {
      const auto where = view->copies.find(source.mailbox_copy);
      if (where == view->copies.end() || !mesh.IsUp(where->second.first)) continue;
      wanted[{source.mailbox_copy, source.uid_validity}][source.uid] = message;
      break;
    }
  }
  for (const auto& [copy, messages] : wanted) {
    const auto [replica, mailbox] = view->copies.at(copy.first);
    UidSet uids;
    for (const auto& [uid, message] : messages) uids.Add(uid);
    MailboxReference other{view->mailboxes.at(mailbox).name, copy.second};
    const auto& messages_of_copy = messages;
    std::function<void(Uid, std::shared_ptr<const Body>)> take_known = [&](Uid uid, std::shared_ptr<const Body> body) {
      const auto message = messages_of_copy.find(uid);
      if (message == messages_of_copy.end()) return;
      recording.known_content[message->second] = DigestOf(*body);
      recording.unreachable_content.erase(message->second);
    };
    const absl::Status fetched = co_await mesh.slot(replica).replica->FetchBodies(other, uids, take_known);
    if (!fetched.ok()) mesh.Warn(Message(fetched));
  }
}

// Where to observe from. What is known is counted only for servers that cannot tell what vanished.
asio::awaitable<absl::StatusOr<MailboxCursor>> CursorOf(Mesh& mesh, ReplicaIndex r, MailboxCopyRecord record) {
  const MailboxCursor cursor{record.uid_validity, record.uid_next, record.highest_modseq, std::nullopt, UidSet()};
  const bool counts = mesh.slot(r).replica->info().tier != "QRESYNC";
  // Only others who carry the same mail bring the counters of a restored server back to those that are known.
  const bool recognises = HasCompany(mesh) && !mesh.slot(r).recognised.contains(record.id);
  if (record.uid_next.value <= 1 || (!counts && !recognises)) co_return cursor;
  const auto complete = [&](State& state) {
    MailboxCursor completed = cursor;
    UidSet below;
    below.AddRange(1, record.uid_next.value - 1);
    const int64_t known = counts ? state.CountByUids(record.id, below) : 0;
    if (counts && known == state.CountPresent(record.id)) completed.known = static_cast<uint64_t>(known);
    for (const Uid uid : state.LastUids(record.id, recognises ? kRecognise : 0).Take(kRecognise)) {
      if (uid < record.uid_next) completed.recognise.Add(uid);
    }
    return completed;
  };
  co_return co_await mesh.store->Run(complete);
}

void Report(Mesh& mesh, ReplicaIndex r, const MergeResult& result) {
  std::string text;
  const auto add = [&](int64_t count, const char* what) {
    if (count == 0) return;
    text += (text.empty() ? "" : ", ") + std::to_string(count) + " " + what;
  };
  add(result.arrived, "new");
  add(result.adopted, "recognised");
  add(result.changed, "changed flags");
  add(result.vanished, result.brake ? "expunged, held by the brake" : "expunged");
  if (text.empty()) return;
  mesh.Emit("CHANGE_SEEN", r, EdgeIndex(-1), result.record.mailbox_name, text);
  if (result.brake) mesh.Emit("CONFLICT", r, EdgeIndex(-1), result.record.mailbox_name, text);
}

}  // namespace

namespace {

// An observation that was made together with others, and the cursor that it began at.
struct Prepared {
  MailboxCursor since;
  std::optional<Observation> observation;
};

// Under another UIDVALIDITY it may be another mailbox, while the one that is known was renamed: the look tells, and
// then it is due again.
bool AsksForALook(ReplicaSlot& slot, const MailboxCopyRecord& record, UidValidity now) {
  if (record.uid_validity.value == 0 || record.rebinding || record.uid_validity == now) return false;
  if (std::exchange(slot.other_validity[record.id], now) == now) return false;
  slot.look_due = true;
  return true;
}

// Keeps the bodies that came along with messages that are recorded now.
void Carry(Mesh& mesh, MailboxCopyId copy, const Observation& observation, const MergeResult& result) {
  for (const ArrivedMessage& arrived : observation.arrived) {
    const bool recorded = !result.cut || arrived.uid < result.record.uid_next;
    if (arrived.body == nullptr || !recorded) continue;
    mesh.carried.Put({copy, observation.cursor.uid_validity, arrived.uid}, arrived, mesh.clock->Now());
  }
}

asio::awaitable<absl::Status> ObserveFrom(Mesh& mesh, ReplicaIndex r, std::string mailbox, Prepared prepared) {
  const std::pair<int32_t, std::string> here(r.value, mailbox);
  if (mesh.WaitsForRoom(here)) co_return absl::OkStatus();
  mesh.due.erase(here);
  mesh.incomplete.insert(here);
  bool compared = false, untold = false, waited = false;
  for (bool more = true; more;) {
    const MailboxCopyRecord* found = mesh.FindCopy(r, mailbox);
    if (found == nullptr || !found->exists) co_return absl::OkStatus();
    const MailboxCopyRecord record = *found;
    CO_ASSIGN_OR_RETURN(const MailboxCursor since, co_await CursorOf(mesh, r, record));
    absl::StatusOr<Observation> observation = absl::UnknownError("");
    std::optional<CarriedBodies::Share> share;
    if (prepared.observation && prepared.since == since) {
      observation = *std::exchange(prepared.observation, std::nullopt);
    } else {
      ObserveLimits limits;
      limits.messages = kBatchMessages;
      if (mesh.carrying.contains(here)) limits.body_bytes = share.emplace(mesh.carried).bytes();
      if (limits.body_bytes > 0) limits.messages = kBatchWithBodies;
      observation = co_await mesh.slot(r).replica->Observe(mailbox, since, limits);
    }
    if (!observation.ok()) {
      if (OutcomeUnknown(observation.status())) {
        mesh.MarkDown(r, observation.status());
      } else {
        Refusal refusal;
        refusal.replica = r;
        refusal.report = {mesh.name(r),
                          mailbox,
                          "SELECT",
                          "",
                          Message(observation.status()),
                          "see what the server says about this mailbox",
                          mesh.clock->UnixMillis()};
        // It may be gone, or renamed: the look tells.
        const bool news = mesh.mailbox_refusals.insert_or_assign({r.value, mailbox}, refusal).second;
        mesh.slot(r).look_due |= news;
        mesh.Warn(Message(observation.status()));
      }
      co_return absl::OkStatus();
    }
    mesh.mailbox_refusals.erase({r.value, mailbox});
    if (AsksForALook(mesh.slot(r), record, observation->cursor.uid_validity)) co_return absl::OkStatus();
    const bool same = since.uid_validity == observation->cursor.uid_validity && !observation->more;
    const ModSeq told = observation->cursor.highest_modseq;
    if (same && told.value != 0 && told < since.highest_modseq) {
      mesh.Warn("replica " + mesh.name(r) + ": mailbox " + Printable(mailbox) + ": HIGHESTMODSEQ went back from " +
                std::to_string(since.highest_modseq.value) + " to " + std::to_string(told.value) +
                "; the mailbox was compared in full");
    }
    mesh.Progressed(r);
    RecordObservation recording(mesh, r, record, *observation);
    absl::StatusOr<MergeResult> result = co_await mesh.store->Run(recording);
    for (int attempt = 0; attempt < 3 && result.ok() && !result->needs.empty(); ++attempt) {
      ContentNeeds needs = result->needs;
      co_await FetchContent(mesh, r, record, *observation, std::move(needs), recording);
      result = co_await mesh.store->Run(recording);
    }
    if (!result.ok()) co_return result.status();
    if (!result->needs.empty()) co_return absl::OkStatus();  // went away meanwhile: the next look finds it due
    if (MailboxCopyRecord* now = mesh.FindCopy(r, mailbox)) *now = result->record;
    if (result->uids_of_others) {
      mesh.Warn("replica " + mesh.name(r) + ": mailbox " + Printable(mailbox) +
                ": the server has given UIDs for the second time, as one does that was restored from an older copy; "
                "the mailbox is identified anew");
      continue;
    }
    mesh.slot(r).recognised.insert(record.id);
    std::erase_if(mesh.unfetchable, [&](const auto& missed) { return missed.second == record.id; });
    Carry(mesh, record.id, *observation, *result);
    if (!result->distrust.empty()) mesh.Warn(mesh.name(r) + ": " + mailbox + ": " + result->distrust);
    Report(mesh, r, *result);
    mesh.slot(r).gone_since_look |= result->vanished > 0;
    if (result->arrived + result->adopted + result->changed + result->vanished > 0) {
      mesh.Achieved(r);
      ++mesh.learned;
    }
    if (result->others) CO_RETURN_IF_ERROR(co_await NoteOthers(mesh));
    if (result->replaced) NoteReplacement(mesh);
    mesh.metadata.Doubt({r.value, mailbox});
    if (untold && result->vanished > 0) {
      const std::string why = "mailbox " + Printable(mailbox) + ": the server did not tell of " +
                              std::to_string(result->vanished) + " expunged messages; it was compared in full";
      mesh.slot(r).replica->DistrustResync(why);
      mesh.Warn("replica " + mesh.name(r) + ": " + why);
    }
    untold = result->untold;
    const bool compare = result->compare && !std::exchange(compared, true);
    more = (observation->more && !result->cut) || compare;
    if (result->marked && !std::exchange(waited, true)) {
      const bool again = co_await AwaitExpunge(mesh, r);
      more = more || again;
    }
    if (!observation->more && !result->cut) {
      mesh.incomplete.erase({r.value, mailbox});
      mesh.carrying.erase(here);
    }
    if (result->adopted > 0) mesh.carrying.erase(here);  // others hold it too by now
    if (more && mesh.WaitsForRoom(here)) {
      mesh.due.insert(here);
      co_return absl::OkStatus();
    }
  }
  co_return absl::OkStatus();
}

asio::awaitable<void> RecordPrepared(Mesh& mesh, ReplicaIndex r, std::string mailbox, Prepared prepared,
                                     absl::Status& recorded) {
  const absl::Status status = co_await ObserveFrom(mesh, r, std::move(mailbox), std::move(prepared));
  if (!status.ok()) recorded = status;
}

}  // namespace

asio::awaitable<absl::Status> ObserveCopies(Mesh& mesh, ReplicaIndex r, std::vector<std::string> mailboxes) {
  std::vector<std::pair<std::string, MailboxCursor>> wanted;
  for (const std::string& mailbox : mailboxes) {
    const MailboxCopyRecord* found = mesh.FindCopy(r, mailbox);
    if (found == nullptr || !found->exists) {
      mesh.due.erase({r.value, mailbox});
      continue;
    }
    const MailboxCopyRecord record = *found;
    CO_ASSIGN_OR_RETURN(const MailboxCursor since, co_await CursorOf(mesh, r, record));
    wanted.emplace_back(mailbox, since);
  }
  std::vector<std::optional<Observation>> observations(wanted.size());
  // A single one is looked into as it is: a push came for it, perhaps, and no look told what to expect.
  if (wanted.size() > 1) observations = co_await mesh.slot(r).replica->ObserveTogether(wanted);
  TaskGroup recording(
      mesh.executor);  // of those that are looked into: side by side, so that one commit serves them all
  absl::Status recorded;
  std::vector<size_t> others;
  for (size_t i = 0; i < wanted.size(); ++i) {
    if (!observations[i]) {
      others.push_back(i);
      continue;
    }
    Prepared prepared;
    prepared.since = wanted[i].second;
    prepared.observation = std::move(observations[i]);
    if (mesh.IsUp(r)) recording.Start(RecordPrepared(mesh, r, wanted[i].first, std::move(prepared), recorded));
  }
  co_await recording.Join();
  for (const size_t i : others) {
    if (!mesh.IsUp(r) || !recorded.ok()) break;
    Prepared unprepared;
    unprepared.since = wanted[i].second;
    recorded = co_await ObserveFrom(mesh, r, wanted[i].first, std::move(unprepared));
  }
  co_return recorded;
}

std::deque<std::vector<std::string>> DueTogether(Mesh& mesh, ReplicaIndex r) {
  std::deque<std::vector<std::string>> groups;
  std::optional<size_t> open;  // the group that has room
  for (auto due = mesh.due.lower_bound({r.value, ""}); due != mesh.due.end() && due->first == r.value; ++due) {
    if (mesh.WaitsForRoom(*due)) continue;
    const std::string& mailbox = due->second;
    const MailboxCopyRecord* record = mesh.FindCopy(r, mailbox);
    const bool known =
        record != nullptr && record->uid_validity.value != 0 && !record->rebinding && !mesh.carrying.contains(*due);
    if (known && open && groups[*open].size() < kObserveTogether) {
      groups[*open].push_back(mailbox);
      continue;
    }
    if (known) open = groups.size();
    groups.emplace_back(1, mailbox);
  }
  // Of first looks that may have to wait for room, INBOX and what is small come first, as when it is planned.
  const auto& listed = mesh.slot(r).not_observed;
  const auto rank = [&](const std::vector<std::string>& group) {
    const std::string& mailbox = group.front();
    const bool waits = mesh.carrying.contains({r.value, mailbox}) && mailbox != "INBOX";
    const auto found = waits ? listed.find(mailbox) : listed.end();
    return found == listed.end() ? Uid() : found->second.uid_next;
  };
  std::stable_sort(groups.begin(), groups.end(), [&](const auto& a, const auto& b) { return rank(a) < rank(b); });
  return groups;
}

}  // namespace imapmesh
