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

// Looks into one mailbox copy, batch after batch, until what is there is recorded or the look has to wait.
class CopyObserver {
 public:
  CopyObserver(Mesh& mesh, ReplicaIndex r, std::string mailbox, Prepared prepared)
      : mesh_(mesh), r_(r), here_(r.value, std::move(mailbox)), prepared_(std::move(prepared)) {}

  asio::awaitable<absl::Status> Run() {
    if (mesh_.WaitsForRoom(here_)) co_return absl::OkStatus();
    mesh_.due.erase(here_);
    mesh_.incomplete.insert(here_);
    for (bool more = true; more;) {
      const MailboxCopyRecord* found = mesh_.FindCopy(r_, mailbox());
      if (found == nullptr || !found->exists) break;
      CO_ASSIGN_OR_RETURN(more, co_await ObserveBatch(*found));
    }
    co_return absl::OkStatus();
  }

 private:
  const std::string& mailbox() const { return here_.second; }
  ReplicaSlot& slot() const { return mesh_.slot(r_); }

  // Whether there is more to observe.
  asio::awaitable<absl::StatusOr<bool>> ObserveBatch(MailboxCopyRecord record) {
    if (slot().doubted.erase(record.id) > 0) {
      CO_RETURN_IF_ERROR(co_await Rebind(record, 0));
      slot().cleared.insert(record.id);
    }
    CO_ASSIGN_OR_RETURN(const MailboxCursor since, co_await CursorOf(mesh_, r_, record));
    std::optional<CarriedBodies::Share> share;  // until what was carried is put with the rest
    absl::StatusOr<Observation> observation = co_await Observe(since, share);
    if (!observation.ok()) {
      Refused(observation.status());
      co_return false;
    }
    mesh_.mailbox_refusals.erase({r_.value, mailbox()});
    if (AsksForALook(slot(), record, observation->cursor.uid_validity)) co_return false;
    WarnIfItWentBack(since, *observation);
    mesh_.Progressed(r_);
    CO_ASSIGN_OR_RETURN(const MergeResult result, co_await Record(record, *observation));
    if (!result.needs.empty()) co_return false;  // went away meanwhile: the next look finds it due
    if (MailboxCopyRecord* now = mesh_.FindCopy(r_, mailbox())) *now = result.record;
    if (result.uids_of_others) {
      Warn(
          ": the server has given UIDs for the second time, as one does that was restored from an older copy; the "
          "mailbox is identified anew");
      co_return true;
    }
    Carry(mesh_, record.id, *observation, result);
    CO_RETURN_IF_ERROR(co_await Learn(record.id, result));
    co_return co_await Continue(*observation, result);
  }

  asio::awaitable<absl::StatusOr<Observation>> Observe(MailboxCursor since,
                                                       std::optional<CarriedBodies::Share>& share) {
    if (prepared_.observation && prepared_.since == since) {
      co_return *std::exchange(prepared_.observation, std::nullopt);
    }
    ObserveLimits limits;
    limits.messages = kBatchMessages;
    if (mesh_.carrying.contains(here_)) limits.body_bytes = share.emplace(mesh_.carried).bytes();
    if (limits.body_bytes > 0) limits.messages = kBatchWithBodies;
    co_return co_await slot().replica->Observe(mailbox(), since, limits);
  }

  void Refused(const absl::Status& status) {
    if (OutcomeUnknown(status)) {
      mesh_.MarkDown(r_, status);
      return;
    }
    Refusal refusal;
    refusal.replica = r_;
    refusal.report = {mesh_.name(r_),
                      mailbox(),
                      "SELECT",
                      "",
                      Message(status),
                      "see what the server says about this mailbox",
                      mesh_.clock->UnixMillis()};
    // It may be gone, or renamed: the look tells.
    const bool news = mesh_.mailbox_refusals.insert_or_assign({r_.value, mailbox()}, refusal).second;
    slot().look_due |= news;
    mesh_.Warn(Message(status));
  }

  void WarnIfItWentBack(const MailboxCursor& since, const Observation& observation) {
    const bool same = since.uid_validity == observation.cursor.uid_validity && !observation.more;
    const ModSeq told = observation.cursor.highest_modseq;
    if (!same || told.value == 0 || told >= since.highest_modseq) return;
    Warn(": HIGHESTMODSEQ went back from " + std::to_string(since.highest_modseq.value) + " to " +
         std::to_string(told.value) + "; the mailbox was compared in full");
  }

  // With whatever content identification asks for.
  asio::awaitable<absl::StatusOr<MergeResult>> Record(const MailboxCopyRecord& record, Observation& observation) {
    constexpr int kContentAttempts = 3;
    RecordObservation recording(mesh_, r_, record, observation);
    absl::StatusOr<MergeResult> result = co_await mesh_.store->Run(recording);
    for (int attempt = 0; attempt < kContentAttempts && result.ok() && !result->needs.empty(); ++attempt) {
      ContentNeeds needs = result->needs;
      co_await FetchContent(mesh_, r_, record, observation, std::move(needs), recording);
      result = co_await mesh_.store->Run(recording);
    }
    co_return result;
  }

  // What the mesh knows now.
  asio::awaitable<absl::Status> Learn(MailboxCopyId copy, const MergeResult& result) {
    slot().recognised.insert(copy);
    std::erase_if(mesh_.unfetchable, [&](const auto& missed) { return missed.second == copy; });
    if (!result.distrust.empty()) mesh_.Warn(mesh_.name(r_) + ": " + mailbox() + ": " + result.distrust);
    Report(mesh_, r_, result);
    slot().gone_since_look |= result.vanished > 0;
    if (result.arrived + result.adopted + result.changed + result.vanished > 0) {
      mesh_.Achieved(r_);
      ++mesh_.learned;
    }
    if (result.others) CO_RETURN_IF_ERROR(co_await NoteOthers(mesh_));
    if (result.replaced) NoteReplacement(mesh_);
    mesh_.metadata.Doubt(here_);
    DistrustIfUntold(result);
    co_return absl::OkStatus();
  }

  // A comparison in full found what the server should have told in the look before.
  void DistrustIfUntold(const MergeResult& result) {
    if (untold_ && result.vanished > 0) {
      const std::string why = "mailbox " + Printable(mailbox()) + ": the server did not tell of " +
                              std::to_string(result.vanished) + " expunged messages; it was compared in full";
      slot().replica->DistrustResync(why);
      mesh_.Warn("replica " + mesh_.name(r_) + ": " + why);
    }
    untold_ = result.untold;
  }

  asio::awaitable<absl::StatusOr<bool>> Continue(const Observation& observation, const MergeResult& result) {
    const bool all = !observation.more && !result.cut;
    const bool compare = result.compare && !std::exchange(compared_, true);
    bool more = (observation.more && !result.cut) || compare;
    if (result.marked && !std::exchange(waited_, true)) {
      const bool again = co_await AwaitExpunge(mesh_, r_);
      more = more || again;
    }
    if (result.unknown > 0) {
      CO_ASSIGN_OR_RETURN(const bool again, co_await LookForUnknown(result.record, result.unknown));
      if (again) co_return true;
    }
    if (all) mesh_.incomplete.erase(here_);
    if (all || result.adopted > 0) mesh_.carrying.erase(here_);  // what was recognised, others hold by now
    if (!more || !mesh_.WaitsForRoom(here_)) co_return more;
    mesh_.due.insert(here_);
    co_return false;
  }

  // The server counts more messages than are known. If it is still so when asked once more, the mailbox is identified
  // anew; once, as that costs a look at each message. Whether to go on.
  asio::awaitable<absl::StatusOr<bool>> LookForUnknown(MailboxCopyRecord record, int64_t unknown) {
    if (!std::exchange(recounted_, true)) co_return true;
    if (!slot().recounted.insert(record.id).second) co_return false;
    CO_RETURN_IF_ERROR(co_await Rebind(record, unknown));
    Warn(
        ": the server counts more messages than it has told of, as one does that was restored from an older copy; the "
        "mailbox is identified anew");
    co_return true;
  }

  asio::awaitable<absl::Status> Rebind(MailboxCopyRecord& record, int64_t unknown) {
    const auto rebind = [&](State& state) {
      StartRecounting(state, record, unknown);
      state.Save(record);
      return true;
    };
    const auto begun = co_await mesh_.store->Run(rebind);
    if (!begun.ok()) co_return begun.status();
    if (MailboxCopyRecord* now = mesh_.FindCopy(r_, mailbox())) *now = record;
    co_return absl::OkStatus();
  }

  void Warn(const std::string& text) {
    mesh_.Warn("replica " + mesh_.name(r_) + ": mailbox " + Printable(mailbox()) + text);
  }

  Mesh& mesh_;
  ReplicaIndex r_;
  std::pair<int32_t, std::string> here_;  // the replica and the mailbox
  Prepared prepared_;
  bool compared_ = false, untold_ = false, waited_ = false, recounted_ = false;
};

asio::awaitable<absl::Status> ObserveFrom(Mesh& mesh, ReplicaIndex r, std::string mailbox, Prepared prepared) {
  CopyObserver observer(mesh, r, std::move(mailbox), std::move(prepared));
  co_return co_await observer.Run();
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
