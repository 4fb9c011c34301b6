#include "engine/sync/mailbox_listing.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "engine/sync/mailbox_decide.h"
#include "engine/sync/mailbox_plan.h"
#include "engine/sync/mailbox_spelling.h"
#include "engine/sync/record_observation.h"

namespace imapmesh {
namespace {

bool IsDue(const MailboxCopyRecord& record, const MailboxStatus& status) {
  return record.uid_validity != status.uid_validity || record.uid_next != status.uid_next ||
         record.highest_modseq != status.highest_modseq || record.rebinding ||
         (status.messages && static_cast<int64_t>(*status.messages) != record.messages);
}

// A server that is behind what it was before has been restored from an older copy.
bool WentBack(const MailboxCopyRecord& record, const MailboxStatus& status) {
  return record.uid_validity == status.uid_validity && status.uid_validity.value != 0 &&
         (status.uid_next < record.uid_next || status.uid_next <= record.last_uid ||
          (status.highest_modseq.value != 0 && status.highest_modseq < record.highest_modseq));
}

// Made under a name that somebody had changed elsewhere by then, and nothing came to it since. Another coordinator,
// that saw the rename first, makes it under the new one.
bool MadeInVain(const MailboxCopyRecord& record) {
  return !HeldAny(record) && record.name_stamp < record.mailbox_name_stamp;
}

bool IsAsRecorded(const MailboxCopyRecord& record, const MailboxStatus& line) {
  const bool same = line.name_here == record.name_here && line.server_id == record.server_id &&
                    line.subscribed == record.subscribed && line.special_use == record.special_use;
  return same && (!line.status_known || (line.uid_validity == record.uid_validity && !WentBack(record, line)));
}

}  // namespace

std::optional<std::vector<MailboxId>> DueIfAsRecorded(const std::vector<const MailboxCopyRecord*>& here,
                                                      const std::vector<MailboxStatus>& lines,
                                                      const std::set<MailboxCopyId>& with_intents) {
  std::map<std::string_view, const MailboxCopyRecord*> left;  // by local name
  for (const MailboxCopyRecord* record : here) {
    if (record->exists && !left.emplace(record->local_name, record).second) return std::nullopt;
  }
  std::vector<MailboxId> due;
  for (const MailboxStatus& line : lines) {
    if (!line.selectable) continue;
    const auto found = left.find(line.local_name);
    if (found == left.end() || !IsAsRecorded(*found->second, line)) return std::nullopt;
    const MailboxCopyRecord& record = *found->second;
    if (line.status_known && (IsDue(record, line) || with_intents.contains(record.id))) due.push_back(record.mailbox);
    left.erase(found);
  }
  if (!left.empty()) return std::nullopt;
  return due;
}

bool FlowsAnywhere(const Graph& graph, ReplicaIndex here, const std::string& name) {
  for (int32_t r = 0; r < graph.replica_count(); ++r) {
    const ReplicaIndex there(r);
    if (there != here && graph.Reaches(here, there, name, ChangeKind::kAddition)) return true;
  }
  return false;
}

bool HasRenameToCarry(const MailboxCopyRecord& record, const Graph& graph, ReplicaIndex here) {
  const bool newer = record.exists && record.name_stamp > record.mailbox_name_stamp;
  return newer && record.local_name != record.mailbox_name && FlowsAnywhere(graph, here, record.local_name);
}

ListingResult ListingRecorder::operator()(State& state) {
  result_ = ListingResult();
  renamed_.clear();
  own_names_.clear();
  as_new_.clear();
  given_up_.clear();
  stamp_.reset();
  named_.clear();
  copies_ = state.MailboxCopies();
  std::erase_if(copies_, [&](const MailboxCopyRecord& copy) {
    const auto replica = std::find(replicas_.begin(), replicas_.end(), copy.replica);
    const ReplicaIndex r(static_cast<int32_t>(replica - replicas_.begin()));
    return replica == replicas_.end() || !graph_.Selects(r, copy.mailbox_name);
  });
  const std::vector<MailboxCopyId> intents = state.CopiesWithIntents();
  with_intents_ = std::set<MailboxCopyId>(intents.begin(), intents.end());
  Record(state);
  copies_ = {};  // there may be many
  if (result_.changed) result_.copies = state.mailboxes().Copies(replicas_[static_cast<size_t>(here_.value)], named_);
  return std::move(result_);
}

Stamp ListingRecorder::Now(State& state) {
  if (!stamp_) stamp_ = state.NextStamp();
  return *stamp_;
}

void ListingRecorder::Record(State& state) {
  const ReplicaId replica = replicas_[static_cast<size_t>(here_.value)];
  std::vector<size_t> mine;
  std::vector<MailboxCopyRecord> records;
  for (size_t c = 0; c < copies_.size(); ++c) {
    if (copies_[c].replica != replica) continue;
    mine.push_back(c);
    records.push_back(copies_[c]);
  }
  const std::vector<MailboxStatus>& lines = listing_.lines;
  ListingMatch match = MatchListing(records, lines);
  Confirm(state, mine, match);
  if (match.inbox_renamed) std::erase(match.gone, match.inbox_renamed->first);
  const bool other_account = !match.inbox_renamed && IsOtherAccount(records, match);
  const bool doubtful = std::any_of(match.gone.begin(), match.gone.end(),
                                    [&](size_t gone) { return copies_[mine[gone]].mailbox_name == "INBOX"; });
  if (doubtful) result_.doubtful.push_back(here_);
  for (const size_t c : mine) {
    if (!copies_[c].exists && copies_[c].gone != MailboxGone::kNo) given_up_.insert(copies_[c].mailbox);
  }
  for (const size_t gone : match.gone) {
    if (!doubtful && !other_account) given_up_.insert(copies_[mine[gone]].mailbox);
  }
  // First what is there under its new name, so that a name that became free can be had by another.
  for (size_t l = 0; l < lines.size(); ++l) {
    if (match.known[l]) Update(state, lines[l], copies_[mine[*match.known[l]]]);
  }
  for (const auto& [mailbox, name] : std::exchange(renamed_, {})) RenameInMesh(state, name, mailbox);
  for (const auto& [mailbox, name] : std::exchange(own_names_, {})) Join(state, name, mailbox);
  for (const size_t gone : match.gone) {
    if (doubtful) continue;
    MailboxCopyRecord& record = copies_[mine[gone]];
    Vanish(state, record);
    if (!other_account) continue;
    RejectMailboxDeletion(state, record.id);
    record.gone = MailboxGone::kNo;
    record.exists_stamp = Stamp(0);
  }
  for (size_t l = 0; l < lines.size(); ++l) {
    if (lines[l].selectable && !match.known[l]) Add(state, lines[l]);
  }
  while (!as_new_.empty()) {
    const std::string name = *as_new_.begin();
    as_new_.erase(as_new_.begin());
    const auto line =
        std::find_if(lines.begin(), lines.end(), [&](const MailboxStatus& each) { return each.local_name == name; });
    if (line != lines.end() && line->selectable) Add(state, *line);
  }
  if (match.inbox_renamed) EmptyInbox(state, mine[match.inbox_renamed->first], lines[match.inbox_renamed->second]);
}

// RENAME of INBOX moves its messages and leaves it empty. Until they are seen in the other mailbox they are held.
void ListingRecorder::EmptyInbox(State& state, size_t inbox, const MailboxStatus& line) {
  MailboxCopyRecord& record = copies_[inbox];
  const auto to = std::find_if(copies_.begin(), copies_.end(), [&](const MailboxCopyRecord& copy) {
    return copy.replica == record.replica && copy.exists && copy.local_name == line.local_name;
  });
  if (to == copies_.end()) return;
  HoldRenamedInbox(state, record, to->id, ReplicaName(), line.local_name, Now(state), now_, listing_.deleted_since);
  const auto now = std::find_if(listing_.lines.begin(), listing_.lines.end(),
                                [&](const MailboxStatus& other) { return other.local_name == record.local_name; });
  const bool listed = now != listing_.lines.end();
  record.server_id = listed ? now->server_id : "";
  if (!listed) {  // an INBOX below a prefix is no server's own: it is made again
    record.exists = false;
    record.exists_stamp = Stamp(0);
  }
  state.Save(record);
  result_.changed = true;
  See(record.mailbox_name, "renamed to " + line.local_name + ": its messages move there, and it stays");
}

// A server that was restored from an older copy, or set up anew, lacks mailboxes that nobody deleted: they are put
// back.
bool ListingRecorder::IsOtherAccount(const std::vector<MailboxCopyRecord>& records, const ListingMatch& match) const {
  for (size_t l = 0; l < listing_.lines.size(); ++l) {
    if (!match.known[l] || !listing_.lines[l].status_known) continue;
    const MailboxCopyRecord& record = records[*match.known[l]];
    const bool inbox = record.mailbox_name == "INBOX" && record.uid_validity.value != 0;
    if (WentBack(record, listing_.lines[l]) || (inbox && record.uid_validity != listing_.lines[l].uid_validity)) {
      return true;
    }
  }
  return false;
}

// Whether the mailbox of a sample holds, under the same UIDs, what was recorded; what arrived since does not count.
bool ListingRecorder::Holds(State& state, const std::vector<ArrivedMessage>& sample, const MailboxCopyRecord& record) {
  bool any = false;
  for (const ArrivedMessage& arrived : sample) {
    const auto known = state.LoadByUid(record.id, arrived.uid);
    if (!known && arrived.uid >= record.uid_next) continue;
    if (!known || known->identity != arrived.header_digest) return false;
    any = true;
  }
  return any;
}

// A suspected rename is one if the contents say so, and of no other mailbox the same.
void ListingRecorder::Confirm(State& state, const std::vector<size_t>& mine, ListingMatch& match) {
  std::map<size_t, std::vector<size_t>> lines_of, gone_of;
  for (const auto& [gone, line] : match.suspicions) {
    const auto sample = listing_.samples.find(line);
    if (sample == listing_.samples.end() || !Holds(state, sample->second, copies_[mine[gone]])) continue;
    if (match.known[line] && Holds(state, sample->second, copies_[mine[*match.known[line]]])) continue;
    lines_of[gone].push_back(line);
    gone_of[line].push_back(gone);
  }
  for (const auto& [gone, lines] : lines_of) {
    if (lines.size() > 1 || gone_of[lines.front()].size() > 1) continue;
    std::optional<size_t>& known = match.known[lines.front()];
    if (copies_[mine[gone]].local_name == "INBOX") {
      match.inbox_renamed.emplace(gone, lines.front());
      continue;
    }
    std::erase(match.gone, gone);
    MailboxCopyRecord* before = known ? &copies_[mine[*known]] : nullptr;
    if (before != nullptr && before->exists && before->name_here.empty()) {
      Forget(state, *before);  // was to be made, when the name was taken already
    } else if (before != nullptr && before->exists) {
      match.gone.push_back(*known);
    }
    known = gone;
  }
}

void ListingRecorder::Update(State& state, const MailboxStatus& line, MailboxCopyRecord& record) {
  // An INBOX of another UIDVALIDITY may have been renamed, and where to may be listed a moment later.
  const bool another = line.local_name == "INBOX" && record.exists && record.uid_validity.value != 0 &&
                       line.status_known && line.uid_validity != record.uid_validity;
  const std::string& server_id = another ? record.server_id : line.server_id;
  // Made anew under its name, by a server that used the UIDVALIDITY a second time: the UIDs are others.
  const bool made_anew = record.exists && !another && line.status_known && !record.server_id.empty() &&
                         !line.server_id.empty() && record.server_id != line.server_id &&
                         record.uid_validity == line.uid_validity;
  bool differs = !record.exists || record.name_here != line.name_here || record.subscribed != line.subscribed ||
                 record.server_id != server_id || record.special_use != line.special_use;
  if (!record.exists) ComeBack(state, record);
  const bool renamed = record.local_name != line.local_name;
  if (record.subscribed != line.subscribed) {
    // A subscription stays with the old name (RFC 3501 section 6.3.5 tells of none): that is nobody's change.
    const bool left_behind = renamed && record.subscribed;
    record.subscribed_stamp = left_behind ? kCarried : Now(state);
    record.subscribed = line.subscribed;
  }
  record.name_here = line.name_here;
  if (!another) record.server_id = line.server_id;
  record.special_use = line.special_use;
  const bool carried = HasRenameToCarry(record, graph_, here_);
  if (renamed || carried) Rename(state, line.local_name, record);
  const bool restored = made_anew || (line.status_known && WentBack(record, line));
  if (restored) StartRebinding(state, record);
  differs |= renamed || carried || restored;
  if (differs) {
    state.Save(record);
    result_.changed = true;
  }
  Observe(line, record);
}

// Under its name, or called as the mailbox was renamed elsewhere meanwhile. Where nothing was decided about its
// messages those that came back with it are found again; the others were not meant to go and are given back.
void ListingRecorder::ComeBack(State& state, MailboxCopyRecord& record) {
  CloseMailboxConflict(state, record, now_);
  if (record.gone == MailboxGone::kUndecided || record.gone == MailboxGone::kWaits) {
    state.mailboxes().ReleaseHeld(record.id);
    PrepareRebinding(record);
  }
  record.exists = true;
  record.gone = MailboxGone::kNo;
  record.exists_stamp = Now(state);
}

void ListingRecorder::Observe(const MailboxStatus& line, const MailboxCopyRecord& record) {
  if (!line.status_known) return;
  if (IsDue(record, line) || with_intents_.contains(record.id)) result_.due.emplace_back(here_, record.mailbox);
}

void ListingRecorder::Rename(State& state, const std::string& name, MailboxCopyRecord& record) {
  const Stamp known = record.name_stamp;
  record.local_name = name;
  if (name.starts_with(kTemporaryName)) return;  // our own, on the way to another name
  // Where nobody may learn of it, it is this replica's own affair, as long as nothing flows from there.
  const bool may_be_told = name == record.mailbox_name || FlowsAnywhere(name);
  if (may_be_told || !FlowsAnywhere(record.mailbox_name)) record.name_stamp = Now(state);
  if (!may_be_told) {
    own_names_[record.mailbox] = name;
    return;
  }
  See(record.mailbox_name, "renamed to " + name);
  if (name == record.mailbox_name) return;
  if (record.mailbox_name_stamp > known && !record.mailbox_name.empty()) {
    ConflictRecord conflict;
    conflict.key = "mailbox-renamed:" + std::to_string(record.mailbox.value) + ":" + std::to_string(Now(state).value);
    conflict.kind = "MAILBOX_RENAMED_TWICE";
    conflict.mailbox = name;
    conflict.unix_ms = now_;
    conflict.replica_a = ReplicaName();
    conflict.change_a = "renamed to " + name;
    for (const MailboxCopyRecord& other : copies_) {
      const bool first = other.mailbox == record.mailbox && other.name_stamp == record.mailbox_name_stamp;
      if (first && other.id != record.id) conflict.replica_b = NameOf(other.replica);
    }
    conflict.change_b = "renamed to " + record.mailbox_name;
    conflict.policy = "the newer name holds";
    conflict.outcome = "the mailbox is called " + name;
    state.conflicts().Add(conflict);
    See(name, "renamed to " + name + " and, elsewhere, to " + record.mailbox_name, /*conflict=*/true);
  }
  // Its old name is free for the others that were renamed: names may have been swapped. No mailbox is called so.
  Name(state, record.mailbox, "/" + std::to_string(record.mailbox.value), Now(state));
  renamed_[record.mailbox] = name;
}

// Gives the mailbox its new name in the mesh; one that another mailbox has is changed until it is free.
void ListingRecorder::RenameInMesh(State& state, const std::string& wanted, MailboxId mailbox) {
  if (Join(state, wanted, mailbox)) return;
  const std::string before = Find(mailbox, replicas_[static_cast<size_t>(here_.value)])->mailbox_name;
  const std::string name = FreeName(state, wanted, before);
  GiveName(state, mailbox, name, name == wanted ? Now(state) : state.NextStamp());
}

// Where no replica has both, two mailboxes of one name are one, as at first contact: another coordinator carried the
// rename to where this one did not know of the mailbox yet, or had made it in vain. Where names are contested they
// decide in any case. What is here is identified anew, as a copy of the mailbox that has the name.
bool ListingRecorder::Join(State& state, const std::string& name, MailboxId mailbox) {
  const auto named = state.mailboxes().Find(name);
  if (!named || *named == mailbox || !IsAlive(*named) || given_up_.contains(*named)) return false;
  const ReplicaId replica = replicas_[static_cast<size_t>(here_.value)];
  bool elsewhere = false, filled = false;
  for (const MailboxCopyRecord& copy : state.MailboxCopies()) {  // also of replicas that are left out for now
    const bool there = copy.exists || copy.gone != MailboxGone::kNo;
    if (copy.mailbox != mailbox || copy.replica == replica || !there) continue;
    elsewhere = true;
    filled |= !copy.exists || HeldAny(copy);
  }
  const MailboxCopyRecord* other = Find(*named, replica);
  const bool both_here = other != nullptr && other->exists;
  if ((filled || both_here) && !IsContested(state, name)) return false;
  MailboxCopyRecord& record = *Find(mailbox, replica);
  const std::string before =
      elsewhere ? record.mailbox_name : name + " (deleted " + std::to_string(mailbox.value) + ")";
  Forget(state, record);
  as_new_.insert(name);
  GiveName(state, mailbox, FreeName(state, before), Now(state));
  See(name, "it is the mailbox of that name elsewhere");
  return true;
}

// Whether coordinators that took one mailbox for two, or two for one, give each other's mailboxes new names: one of
// them was chosen already. What further names they chose would be contested too, without end.
bool ListingRecorder::IsContested(State& state, const std::string& name) const {
  return IsChosen(name, graph_) || state.mailboxes().Find(name + " (" + ReplicaName() + ")");
}

// Whether somebody gave it a name here that goes nowhere else.
bool ListingRecorder::IsOwnAffair(const MailboxCopyRecord& record) const {
  const bool spelled = record.local_name == PlainSpelling(record.mailbox_name);
  return record.special_use.empty() && !spelled && !FlowsAnywhere(record.local_name);
}

void ListingRecorder::Name(State& state, MailboxId mailbox, const std::string& name, Stamp stamp) {
  state.mailboxes().Rename(mailbox, name, stamp);
  named_.insert(mailbox);
}

void ListingRecorder::GiveName(State& state, MailboxId mailbox, const std::string& name, Stamp stamp) {
  Name(state, mailbox, name, stamp);
  for (MailboxCopyRecord& copy : copies_) {
    if (copy.mailbox != mailbox) continue;
    copy.mailbox_name = name;
    copy.mailbox_name_stamp = stamp;
  }
}

// `name`, unless a mailbox that is anywhere has it: then the one that was chosen instead before, as each coordinator
// that has the name for free takes it to the next replica; or with the replica's name behind it. A mailbox that is
// nowhere any more gives its name away, and so does one that was deleted here to make room. What was chosen is set
// aside no more, and nothing is put behind it: of one name few are made, however often coordinators disagree.
std::string ListingRecorder::FreeName(State& state, const std::string& name, const std::string& before) {
  const std::string given = AsGiven(name, graph_);
  const bool chosen_before = before != given && AsGiven(before, graph_) == given;
  std::string free = name;
  for (int attempt = 1;; ++attempt) {
    const auto taken = state.mailboxes().Find(free);
    if (!taken) break;
    if (!IsAlive(*taken)) {
      Name(state, *taken, free + " (deleted " + std::to_string(taken->value) + ")", Now(state));
      break;
    }
    if (given_up_.contains(*taken) && free == given) {
      SetAside(state, *taken, free);
      break;
    }
    if (chosen_before && !state.mailboxes().Find(before)) {
      free = before;
      break;
    }
    free = given + " (" + ReplicaName() + (attempt == 1 ? "" : " " + std::to_string(attempt)) + ")";
  }
  if (free == name) return free;
  ConflictRecord conflict;
  conflict.key = "mailbox-name:" + free + ":" + std::to_string(Now(state).value);
  conflict.kind = "MAILBOX_NAME_TAKEN";
  conflict.mailbox = name;
  conflict.unix_ms = now_;
  conflict.replica_a = ReplicaName();
  conflict.change_a = "a mailbox is called " + name + " here";
  conflict.change_b = "another mailbox has that name elsewhere";
  conflict.policy = "both are kept";
  conflict.outcome = "the one of replica " + ReplicaName() + " is called " + free;
  state.conflicts().Add(conflict);
  See(name, "another mailbox has this name already: this one is called " + free, /*conflict=*/true);
  return free;
}

// It is to be deleted elsewhere too, or to come back, under another name.
void ListingRecorder::SetAside(State& state, MailboxId mailbox, const std::string& name) {
  std::string aside = name + " (deleted)";
  for (int n = 2; state.mailboxes().Find(aside); ++n) aside = name + " (deleted " + std::to_string(n) + ")";
  const Stamp stamp = state.NextStamp();
  GiveName(state, mailbox, aside, stamp);
  MailboxCopyRecord* here = Find(mailbox, replicas_[static_cast<size_t>(here_.value)]);
  here->name_stamp = stamp;  // nobody elsewhere has renamed what was deleted here
  state.Save(*here);
  See(aside, "was called " + name + ", which is another mailbox now");
}

bool ListingRecorder::IsAlive(MailboxId mailbox) const {
  return std::any_of(copies_.begin(), copies_.end(), [&](const MailboxCopyRecord& copy) {
    return copy.mailbox == mailbox && (copy.exists || copy.gone != MailboxGone::kNo);
  });
}

void ListingRecorder::Add(State& state, const MailboxStatus& line) {
  const ReplicaId replica = replicas_[static_cast<size_t>(here_.value)];
  const auto role = ByRole(line);
  const auto spelled = role ? std::nullopt : BySpelling(line);
  const MailboxId mailbox = role ? *role : spelled ? *spelled : MailboxOf(state, line);
  MailboxCopyRecord record;
  if (auto known = state.mailboxes().FindCopy(replica, mailbox)) record = *std::move(known);
  const auto [name, name_stamp] = state.mailboxes().NameOf(mailbox);
  record.replica = replica;
  record.mailbox = mailbox;
  record.mailbox_name = name;
  record.mailbox_name_stamp = name_stamp;
  record.name_here = line.name_here;
  record.local_name = line.local_name;
  // It has the mesh's name, which somebody may have given it elsewhere; or it is joined by its role, or by what a
  // server made of its name: then the name here is as good as the one there.
  const bool so_called = line.local_name == name;
  record.name_stamp = role || spelled || so_called ? name_stamp : Stamp(0);
  record.server_id = line.server_id;
  record.special_use = line.special_use;
  ComeBack(state, record);
  record.subscribed = line.subscribed;
  record.subscribed_stamp = line.subscribed ? Now(state) : Stamp(0);
  state.Save(record);
  result_.changed = true;
  if (role) See(name, "here it is " + line.local_name + ", which has the same role " + line.special_use);
  Observe(line, record);
  NoteSpelling(state, record);
  const auto known =
      std::find_if(copies_.begin(), copies_.end(), [&](const MailboxCopyRecord& copy) { return copy.id == record.id; });
  if (known != copies_.end()) {
    *known = std::move(record);
  } else {
    copies_.push_back(std::move(record));
  }
}

// Made under two spellings on two replicas: two mailboxes, but people may take them for one. Where one replica has
// both, somebody wants it so.
void ListingRecorder::NoteSpelling(State& state, const MailboxCopyRecord& record) {
  if (spellings_.empty()) {
    for (const MailboxCopyRecord& copy : copies_) {
      spellings_[FoldSpelling(copy.mailbox_name)].insert(copy.mailbox_name);
    }
  }
  std::set<std::string>& alike = spellings_[FoldSpelling(record.mailbox_name)];
  alike.insert(record.mailbox_name);
  if (alike.size() == 1) return;
  for (const MailboxCopyRecord& other : copies_) {
    if (other.mailbox == record.mailbox || other.mailbox_name == record.mailbox_name || !other.exists) continue;
    if (!alike.contains(other.mailbox_name)) continue;
    const MailboxCopyRecord* here = Find(other.mailbox, record.replica);
    const MailboxCopyRecord* there = Find(record.mailbox, other.replica);
    if ((here != nullptr && here->exists) || (there != nullptr && there->exists)) continue;
    const auto [first, second] = std::minmax(record.mailbox.value, other.mailbox.value);
    ConflictRecord conflict;
    conflict.key = "mailbox-spelling:" + std::to_string(first) + ":" + std::to_string(second);
    conflict.kind = "MAILBOX_TWO_SPELLINGS";
    conflict.mailbox = record.mailbox_name;
    conflict.unix_ms = now_;
    conflict.replica_a = ReplicaName();
    conflict.change_a = "has a mailbox " + record.mailbox_name;
    conflict.replica_b = NameOf(other.replica);
    conflict.change_b = "has a mailbox " + other.mailbox_name + ", which differs in case or Unicode spelling alone";
    conflict.policy = "both are kept";
    conflict.outcome = "both are kept, everywhere; rename one to join them by hand, or map it by name_map";
    state.conflicts().Add(conflict);
    See(record.mailbox_name, "its name differs from " + other.mailbox_name + " in case or Unicode spelling alone",
        /*conflict=*/true);
    return;
  }
}

// The mailbox of the mesh that has the new mailbox's name; a new one where that is taken.
MailboxId ListingRecorder::MailboxOf(State& state, const MailboxStatus& line) {
  const auto named = state.mailboxes().Find(line.local_name);
  if (!named) return state.InternMailbox(line.local_name);
  MailboxCopyRecord* here = Find(*named, replicas_[static_cast<size_t>(here_.value)]);
  if (here == nullptr || !here->exists) return *named;
  // That mailbox is here too, under another name: where nobody else calls it so, where it was to get this name and
  // nothing was ever in it, or where names are contested, the one that has the mesh's name is meant.
  const bool gives_way = IsOwnAffair(*here) || MadeInVain(*here) || IsContested(state, line.local_name);
  if (here->local_name != line.local_name && gives_way) {
    as_new_.insert(here->local_name);
    Forget(state, *here);
    return *named;
  }
  const std::string free = FreeName(state, line.local_name);
  const MailboxId mailbox = state.InternMailbox(free);
  Name(state, mailbox, free, state.NextStamp());
  return mailbox;
}

// At first contact mailboxes of one role are one (RFC 6154), if names do not tell otherwise.
std::optional<MailboxId> ListingRecorder::ByRole(const MailboxStatus& line) const {
  if (line.special_use.empty()) return std::nullopt;
  std::optional<MailboxId> found;
  for (const MailboxCopyRecord& other : copies_) {
    if (other.mailbox_name == line.local_name) return std::nullopt;
    if (!other.exists || other.special_use != line.special_use) continue;
    const ReplicaId replica = replicas_[static_cast<size_t>(here_.value)];
    const bool here = std::any_of(copies_.begin(), copies_.end(), [&](const MailboxCopyRecord& copy) {
      return copy.mailbox == other.mailbox && copy.replica == replica;
    });
    const bool named = std::any_of(listing_.lines.begin(), listing_.lines.end(), [&](const MailboxStatus& status) {
      return status.selectable && status.local_name == other.mailbox_name;
    });
    if (here || named || (found && *found != other.mailbox)) return std::nullopt;
    found = other.mailbox;
  }
  return found;
}

// Where a server would not have its name it was made in another spelling (PlainSpelling), which a state that was lost
// does not know.
std::optional<MailboxId> ListingRecorder::BySpelling(const MailboxStatus& line) const {
  const auto unusual = UnusualSpelling(line.local_name);
  const std::string plain = PlainSpelling(line.local_name);
  std::optional<MailboxId> found;
  for (const MailboxCopyRecord& other : copies_) {
    if (other.mailbox_name == line.local_name) return std::nullopt;
    const bool same = other.mailbox_name == unusual || (plain != line.local_name && other.mailbox_name == plain);
    if (!other.exists || !same) continue;
    const ReplicaId replica = replicas_[static_cast<size_t>(here_.value)];
    const bool here = std::any_of(copies_.begin(), copies_.end(), [&](const MailboxCopyRecord& copy) {
      return copy.mailbox == other.mailbox && copy.replica == replica;
    });
    const bool named = std::any_of(listing_.lines.begin(), listing_.lines.end(), [&](const MailboxStatus& status) {
      return status.selectable && status.local_name == other.mailbox_name;
    });
    if (!here && !named) found = other.mailbox;
  }
  return found;
}

// Whether it was deleted is decided once the round's observations are in.
void ListingRecorder::Vanish(State& state, MailboxCopyRecord& record) {
  if (record.name_here.empty()) {  // made by us, but not as we meant it: servers may take names for equal that are not
    Forget(state, record);
    result_.unlisted.emplace_back(here_, record.mailbox_name);
    return;
  }
  state.HoldAll(record.id);
  record.gone = MailboxGone::kUndecided;
  record.exists_stamp = Now(state);
  Clear(state, record);
  See(record.mailbox_name, "the mailbox is gone");
}

// As if it had never been there: what was put there already, or is known under another name, is not deleted.
void ListingRecorder::Forget(State& state, MailboxCopyRecord& record) {
  state.Unbind(record.id);
  state.ForgetUnbound(record.id);
  record.gone = MailboxGone::kNo;
  record.exists_stamp = Stamp(0);
  Clear(state, record);
}

void ListingRecorder::Clear(State& state, MailboxCopyRecord& record) {
  record.exists = false;
  record.uid_validity = UidValidity();
  record.uid_next = Uid();
  record.last_uid = Uid();
  record.highest_modseq = ModSeq();
  record.messages = 0;
  record.server_id.clear();
  state.Save(record);
  result_.changed = true;
}

MailboxCopyRecord* ListingRecorder::Find(MailboxId mailbox, ReplicaId replica) {
  for (MailboxCopyRecord& copy : copies_) {
    if (copy.mailbox == mailbox && copy.replica == replica) return &copy;
  }
  return nullptr;
}

std::string ListingRecorder::NameOf(ReplicaId replica) const {
  for (size_t r = 0; r < replicas_.size(); ++r) {
    if (replicas_[r] == replica) return graph_.replica(ReplicaIndex(static_cast<int32_t>(r))).name();
  }
  return "";
}

void ListingRecorder::See(const std::string& mailbox, std::string text, bool conflict) {
  result_.seen.push_back({here_, mailbox, std::move(text), conflict});
}

}  // namespace imapmesh
