#include "tests/sim/model.h"

#include <algorithm>

namespace imapmesh::sim {
namespace {

constexpr int64_t kAsManyAsYouLike = 1'000'000;
constexpr Duration kDoubtful = std::chrono::seconds(10);

std::string ReplicaName(int r) {
  return "r" + std::to_string(r);
}

int Number(const Graph& graph, ReplicaIndex index) {
  return std::stoi(graph.replica(index).name().substr(1));
}

}  // namespace

// Who may receive what from whom, for one mailbox; by the runner's numbers.
class Model::Reach {
 public:
  Reach(const Graph& graph, const Carried& carried, const std::string& mailbox) {
    for (const ChangeKind kind : {ChangeKind::kAddition, ChangeKind::kFlags, ChangeKind::kDeletion}) {
      for (int32_t from = 0; from < graph.replica_count(); ++from) {
        for (int32_t to = 0; to < graph.replica_count(); ++to) {
          const ReplicaIndex a(from), b(to);
          if (from != to && graph.Reaches(a, b, mailbox, kind)) {
            pairs_[static_cast<size_t>(kind)].insert({Number(graph, a), Number(graph, b)});
          }
        }
      }
    }
    for (const std::shared_ptr<const Graph>& one : carried) {
      const Pairs whole = Whole(*one, mailbox);
      for (const auto& [a, b] : whole) {
        if (whole.contains({b, a})) together_.insert({a, b});
      }
    }
    equal_ = together_;
    Close(equal_);
  }

  bool operator()(int from, int to, ChangeKind kind) const {
    return from == to || pairs_[static_cast<size_t>(kind)].contains({from, to});
  }
  // Whether everything passes both ways: then the two must be equal. Each way must be one coordinator's: of a cycle of
  // one-way edges that several carry none can tell a message that came again from one that was not deleted yet.
  bool Equal(int a, int b) const { return equal_.contains({a, b}); }
  // The same, by one coordinator.
  bool Together(int a, int b) const { return together_.contains({a, b}); }

 private:
  using Pairs = std::set<std::pair<int, int>>;

  // From where to where everything passes.
  static Pairs Whole(const Graph& graph, const std::string& mailbox) {
    Pairs whole;
    for (size_t e = 0; e < graph.edges().size(); ++e) {
      const GraphEdge& edge = graph.edges()[e];
      for (const bool from_a : {true, false}) {
        const ReplicaIndex from = from_a ? edge.a : edge.b, to = from_a ? edge.b : edge.a;
        bool all = true;
        for (const ChangeKind kind : {ChangeKind::kAddition, ChangeKind::kFlags, ChangeKind::kDeletion}) {
          all &= graph.Admits(EdgeIndex(static_cast<int32_t>(e)), from, mailbox, kind);
        }
        if (all) whole.insert({Number(graph, from), Number(graph, to)});
      }
    }
    Close(whole);
    return whole;
  }

  static void Close(Pairs& relation) {
    for (bool moved = true; moved;) {
      moved = false;
      const Pairs pairs = relation;
      for (const auto& [a, b] : pairs) {
        for (const auto& [c, d] : pairs) {
          if (b == c && a != d) moved |= relation.insert({a, d}).second;
        }
      }
    }
  }

  Pairs pairs_[3];
  Pairs together_;
  Pairs equal_;
};

// Whether what was removed from the mailbox stays removed is open.
void Model::Doubt(Fates& fates, const std::string& mailbox, int replica) {
  for (auto& [key, fate] : fates) {
    if (!mailbox.empty() && key.first != mailbox) continue;
    for (Removal& removal : fate.removals) removal.known &= replica != kAnyReplica && replica != removal.replica;
  }
}

void Model::MailboxDeleted(int replica, const std::string& mailbox, bool comes_back) {
  deleted_.insert(mailbox);
  if (comes_back) Doubt(fates_, mailbox, replica);
}

void Model::Renumbered(int replica, const std::string& mailbox) {
  renumbered_at_[{replica, mailbox}] = renumbered_at_[{replica, ""}] = ++now_;
  if (mailbox != "INBOX" || deleted_.empty()) return;
  for (const std::string& each : deleted_) Doubt(fates_, each);
  Doubt(anywhere_, "");
}

void Model::RenameUnseen(const std::string& to) {
  const bool was_inbox = std::any_of(inbox_renamed_.begin(), inbox_renamed_.end(),
                                     [&](const auto& renamed) { return renamed.first.first == to; });
  if (was_inbox) Doubt(fates_, "INBOX");
}

void Model::MailboxRenamed() {
  renamed_ = true;
  if (!deleted_.empty()) Doubt(anywhere_, "");
}

void Model::Added(int replica, const std::string& mailbox, const std::shared_ptr<const Content>& content,
                  const Flags& flags, Held held) {
  ++additions_;
  ++now_;
  if (deleted_.contains(mailbox)) {
    Doubt(fates_, mailbox);
    Doubt(anywhere_, "");
  }
  for (Fate* fate : Find(mailbox, content->number)) {
    fate->content = content;
    ++fate->added[replica];
    ++fate->there[replica];
    const int64_t most = fate == &fates_[{mailbox, content->number}] ? held.here : held.anywhere;
    fate->peak[replica] = std::max(fate->peak[replica], std::min(fate->there[replica], most));
    for (const std::string& flag : flags) fate->flags[flag].push_back({now_, replica, true});
  }
}

int64_t Model::MostAtOnce(const std::string& mailbox, const Content& content) const {
  int64_t most = 0;
  const auto fate = fates_.find({mailbox, content.number});
  if (fate == fates_.end()) return most;
  for (const auto& [replica, count] : fate->second.peak) most = std::max(most, count);
  return most;
}

void Model::Removed(int replica, const std::string& mailbox, const Content& content, std::set<int> holders, bool known,
                    Duration when) {
  ++now_;
  for (Fate* fate : Find(mailbox, content.number)) {
    fate->removals.push_back({now_, replica, holders, known, when});
    --fate->there[replica];
  }
}

void Model::DeletedUncounted(const std::string& mailbox, const Content& content) {
  for (Fate* fate : Find(mailbox, content.number)) fate->lost = true;
}

void Model::Wiped(int replica, const std::string& mailbox, const Content& content) {
  for (Fate* fate : Find(mailbox, content.number)) fate->wipes.push_back(replica);
}

bool Model::WasRemoved(const std::string& mailbox, const Content& content) const {
  const auto fate = fates_.find({mailbox, content.number});
  return fate != fates_.end() && !fate->second.removals.empty();
}

bool Model::WasWiped(int replica, const std::string& mailbox, const Content& content) const {
  const auto fate = fates_.find({mailbox, content.number});
  return fate != fates_.end() && std::count(fate->second.wipes.begin(), fate->second.wipes.end(), replica) > 0;
}

bool Model::WasAddedOnce(const std::string& mailbox, const Content& content) const {
  const auto found = fates_.find({mailbox, content.number});
  if (found == fates_.end() || !found->second.removals.empty()) return false;
  int64_t added = 0;
  for (const auto& [replica, count] : found->second.added) added += count;
  return added == 1 && found->second.restored.empty() && found->second.races == 0;
}

void Model::Raced(const std::string& mailbox, const Content& content, bool reported) {
  for (Fate* fate : Find(mailbox, content.number)) {
    ++fate->races;
    fate->race_unreported |= !reported;
  }
}

void Model::FlagChanged(int replica, const std::string& mailbox, const Content& content, const std::string& flag,
                        bool set) {
  ++now_;
  for (Fate* fate : Find(mailbox, content.number)) fate->flags[flag].push_back({now_, replica, set});
}

void Model::RestoredAway(int replica, const std::string& mailbox, const Content& content, bool given_back) {
  for (Fate* fate : Find(mailbox, content.number)) {
    --fate->there[replica];  // what comes there next may be taken for it
    fate->lost |= !given_back;
    fate->flags_uncertain = true;
  }
}

void Model::RestoredBack(int replica, const std::string& mailbox, const std::shared_ptr<const Content>& content,
                         const Flags& flags) {
  ++now_;
  for (Fate* fate : Find(mailbox, content->number)) {
    fate->content = content;
    ++fate->restored[replica];
    fate->flags_uncertain = true;
    for (const std::string& flag : flags) fate->flags[flag].push_back({now_, replica, true});
  }
}

bool Model::HasRemovals(const std::string& mailbox) const {
  return std::any_of(fates_.begin(), fates_.end(),
                     [&](const auto& each) { return each.first.first == mailbox && !each.second.removals.empty(); });
}

bool Model::IsElsewhere(const Key& key) const {
  return std::any_of(fates_.begin(), fates_.end(), [&](const auto& other) {
    return other.first.second == key.second && other.first.first != key.first && other.second.content != nullptr;
  });
}

bool Model::MetARename(const Key& key) const {
  const auto renames = inbox_renamed_.find(key);
  const auto inbox = fates_.find({"INBOX", key.second});
  if (renames == inbox_renamed_.end() || inbox == fates_.end()) return false;
  return static_cast<int64_t>(inbox->second.removals.size()) > renames->second || !inbox->second.wipes.empty();
}

// Where most of what a RENAME of INBOX moved is gone again before anybody looked, its INBOX looks like one that was
// built anew, and what was in it is given back. So it is where two RENAMEs meet.
bool Model::LeftARename(const Key& key) const {
  int64_t renames = 0;
  bool gone = false;
  for (const auto& [where, times] : inbox_renamed_) {
    if (where.second != key.second) continue;
    renames += times;
    const auto there = fates_.find(where);
    gone |= there != fates_.end() && (!there->second.removals.empty() || !there->second.wipes.empty());
  }
  return key.first == "INBOX" && (gone || renames > 1);
}

// Where a person had all but one of equal messages removed as second copies: that one; unless it is the one that
// somebody deleted here, which nobody can see at the replica that holds them all, as the deletion does not get there.
// Then it stays there, and deleted here: nothing is lost of which the mesh was not told that it is one message.
int64_t Model::LeastOfOne(const Reach& reach, int replica, const Fate& fate) const {
  const bool deleted_here = std::any_of(fate.removals.begin(), fate.removals.end(), [&](const Removal& removal) {
    if (!reach(removal.replica, replica, ChangeKind::kDeletion)) return false;
    return std::any_of(fate.peak.begin(), fate.peak.end(), [&](const auto& held) {
      const auto& [from, count] = held;
      return count > 1 && reach(from, replica, ChangeKind::kAddition) &&
             !reach(removal.replica, from, ChangeKind::kDeletion);
    });
  });
  return deleted_here ? 0 : 1;
}

// At least as many as one replica was given to hold at once, less what was deleted where it could matter here.
int64_t Model::Least(const Reach& reach, int replica, const Fate& fate, bool elsewhere) const {
  if (fate.lost) return 0;
  int64_t least = 0;
  for (const auto& [from, count] : fate.peak) {
    if (reach(from, replica, ChangeKind::kAddition)) least = std::max(least, count);
  }
  for (const Removal& removal : fate.removals) {
    // Where deletions are kept, a copy that was here already stays; one that was still on its way may be stopped.
    const bool passes = reach(removal.replica, replica, ChangeKind::kDeletion);
    const bool stops = reach(removal.replica, replica, ChangeKind::kAddition) && !removal.holders.contains(replica);
    if (passes || stops) --least;
  }
  // What was moved away, or is a copy, the brake lets go of; and what the engine was about to expunge there does not
  // count as vanished; nor does what a lost state knew alone.
  if (renamed_ || elsewhere || state_lost_at_ > 0) least -= static_cast<int64_t>(fate.wipes.size());
  if (duplicates_go_) least = std::min<int64_t>(least, LeastOfOne(reach, replica, fate));
  return std::max<int64_t>(least, 0);
}

// Removed just before while one of several daemons was still bringing it: to that one what comes in its place is the
// same message, and a deletion that it sees elsewhere within some seconds may be the first one, carried (DeletedSince).
bool Model::IsDoubtful(const Fate& fate, const Removal& removal) const {
  return coordinators_ > 1 && std::any_of(fate.removals.begin(), fate.removals.end(), [&](const Removal& earlier) {
           return !earlier.known && earlier.at < removal.at && removal.when - earlier.when <= kDoubtful;
         });
}

bool Model::CertainlyDeleted(const Graph& graph, const Reach& reach, int replica, const std::string& mailbox,
                             const Fate& fate) const {
  int64_t added = 0;
  for (const auto& [from, count] : fate.added) added += count;
  if (added != 1 || !fate.restored.empty() || fate.races > 0) return false;
  const bool change_wins = graph.topology().policy().delete_vs_change() != v1::Policy::DELETE_WINS;
  if (change_wins && !fate.flags.empty()) return false;
  const auto deletions = std::count_if(fate.removals.begin(), fate.removals.end(), [&](const Removal& removal) {
    const auto renumbered = renumbered_at_.find({removal.replica, mailbox});
    const bool seen = removal.known && removal.at > state_lost_at_ &&
                      (renumbered == renumbered_at_.end() || renumbered->second < removal.at);
    return seen && !IsDoubtful(fate, removal) && reach(removal.replica, replica, ChangeKind::kDeletion);
  });
  // What is kept under two names is deleted once it is under both.
  return deletions >= (int64_t{1} << std::min(renames_lost_, 20));
}

// Flags that somebody took away from this content in another mailbox: a copy or a move may have gone with that.
std::set<std::string> Model::TakenElsewhere(const Key& key) const {
  std::set<std::string> taken;
  for (const auto& [other, fate] : fates()) {
    if (other.second != key.second || other.first == key.first) continue;
    for (const auto& [flag, events] : fate.flags) {
      if (std::any_of(events.begin(), events.end(), [](const FlagEvent& event) { return !event.set; }))
        taken.insert(flag);
    }
  }
  return taken;
}

void Model::AddFlags(const Reach& reach, int replica, const Key& key, const Fate& fate, checker::Bound& bound) const {
  const std::set<std::string> taken_elsewhere = TakenElsewhere(key);
  int64_t added = 0;
  for (const auto& [from, count] : fate.added) added += count;
  for (const auto& [flag, events] : fate.flags) {
    if (fixed_keywords_.contains(replica) && !flag.starts_with('\\') && flag != kFixedKeyword) continue;
    bool allowed = false, always = false, one_place = true;
    for (const FlagEvent& event : events) {
      if (!reach(event.replica, replica, ChangeKind::kFlags)) continue;
      allowed |= event.set;
      always |= event.set;
    }
    for (const FlagEvent& event : events) {
      always &= event.set;  // somebody took it away, somewhere
      one_place &= event.replica == events.front().replica;
    }
    // What is kept under two names has flags of its own under each.
    const bool doubled = renames_lost_ > 0 || RenamesMayDouble();
    const bool stops = KeywordsMayStop() && !flag.starts_with('\\') && flag != kFixedKeyword;
    // No user sets it: what was copied had the mark of an EXPUNGE on its way.
    const bool mark = flag == "\\Deleted";
    const bool certain = added == 1 && !doubled && !stops && !mark && !taken_elsewhere.contains(flag) &&
                         fate.removals.empty() && !fate.flags_uncertain && fate.restored.empty() &&
                         fate.wipes.empty() && fate.races == 0;
    const bool reaches = reach(events.back().replica, replica, ChangeKind::kFlags);
    // After a loss of the state, or without a base, flags of all sides are kept. Several coordinators take what another
    // carried for what somebody did just now.
    const bool last_counts =
        certain && one_place && reaches && state_lost_at_ == 0 && renumbered_at_.empty() && coordinators_ == 1;
    if (certain && always && allowed) {
      bound.add_flags_required(flag);
    } else if (last_counts && events.back().set) {
      bound.add_flags_required(flag);
    } else if (allowed && !(last_counts && !events.back().set)) {
      bound.add_flags_allowed(flag);
    }
  }
}

// Whether somebody set or removed the flag where this replica may learn of it.
bool Model::HeardOf(const Reach& reach, int replica, const Fate& fate, const std::string& flag) const {
  const auto events = fate.flags.find(flag);
  return events != fate.flags.end() &&
         std::any_of(events->second.begin(), events->second.end(),
                     [&](const FlagEvent& event) { return reach(event.replica, replica, ChangeKind::kFlags); });
}

void Model::AddBound(const Graph& graph, const Reaches& reaches, int replica, const Key& key, const Fate& fate,
                     checker::History& history) const {
  const Reach& reach = reaches.at(key.first);
  int64_t most = 0;
  for (const auto& [from, count] : fate.added) most += reach(from, replica, ChangeKind::kAddition) ? count : 0;
  for (const auto& [from, count] : fate.restored) most += reach(from, replica, ChangeKind::kAddition) ? count : 0;
  int64_t added = 0;
  for (const auto& [from, count] : fate.added) added += count;
  // Each second copy of a race is reported, and goes if a person says so; unless a user put it there twice as well, or
  // deleted the first one: then the second one is what is left, and stays.
  const bool reported = races_are_reported_ && !fate.race_unreported;
  const bool settled = reported && duplicates_go_ && added == 1 && fate.removals.empty();
  if (most > 0 && !settled) most += fate.races;
  // Deleted while one of several daemons was still adding it: that one's copy came back as another message.
  for (const Removal& removal : fate.removals) most += coordinators_ > 1 && !removal.known ? 1 : 0;
  for (int i = 0; i < renames_lost_; ++i) most = std::min(2 * most, kAsManyAsYouLike);
  // What several coordinators doubled as each carried a rename goes as the second copies of a race do.
  if (most > 0 && renamed_ && coordinators_ > 1 && !settled) most = kAsManyAsYouLike;
  checker::Bound& bound = *history.add_bounds();
  bound.set_replica(ReplicaName(replica));
  bound.set_mailbox(key.first);
  bound.set_digest(std::to_string(key.second));
  bound.set_min(Least(reach, replica, fate, !fate.wipes.empty() && (IsElsewhere(key) || HasRemovals(key.first))));
  if (MetARename(key)) bound.set_min(0);
  bound.set_deleted(!LeftARename(key) && CertainlyDeleted(graph, reach, replica, key.first, fate));
  bound.set_max(bound.deleted() ? 0 : most);
  bound.set_size(fate.content->bytes.size());
  bound.set_internal_date(fate.content->internal_date);
  AddFlags(reach, replica, key, fate, bound);
  // One coordinator's mark on the way to its EXPUNGE is for another one a flag that somebody set; so it is for itself
  // after it lost its state.
  const bool marked = state_lost_at_ > 0 && !fate.removals.empty();
  if (coordinators_ > 1 || marked) bound.add_flags_allowed("\\Deleted");
  // A copy made by a server itself keeps what its copy in another mailbox had, where nothing says otherwise, and goes
  // on with that.
  for (const auto& [other, elsewhere] : fates()) {
    if (other.second != key.second || other.first == key.first) continue;
    for (const auto& [flag, events] : elsewhere.flags) {
      for (const FlagEvent& event : events) {
        bool carried = false;
        for (int32_t i = 0; event.set && i < graph.replica_count(); ++i) {
          const int there = Number(graph, ReplicaIndex(i));
          carried |= reaches.at(other.first)(event.replica, there, ChangeKind::kFlags) &&
                     reach(there, replica, ChangeKind::kAddition);
        }
        // After a loss of the state flags of all sides are kept.
        const bool says = state_lost_at_ == 0 && HeardOf(reach, replica, fate, flag);
        if (carried && !says) bound.add_flags_allowed(flag);
      }
    }
  }
}

void Model::Expect(const Graph& graph, const Carried& carried, checker::History& history) const {
  Reaches reaches;
  for (const auto& [key, fate] : fates()) reaches.try_emplace(key.first, graph, carried, key.first);
  for (const auto& [mailbox, reach] : reaches) {
    std::set<int> grouped;
    for (int32_t i = 0; i < graph.replica_count(); ++i) {
      const int replica = Number(graph, ReplicaIndex(i));
      for (const auto& [key, fate] : fates()) {
        // What no user put anywhere is no message of theirs: the engine made it up.
        if (key.first == mailbox && fate.content != nullptr) AddBound(graph, reaches, replica, key, fate, history);
      }
      if (!grouped.insert(replica).second) continue;
      checker::Group group;
      group.add_replicas(ReplicaName(replica));
      if (!renamed_) group.add_mailboxes(mailbox);
      for (int32_t j = 0; j < graph.replica_count(); ++j) {
        const int other = Number(graph, ReplicaIndex(j));
        // One that cannot hold what the others do is not equal to them.
        const bool alike = fixed_keywords_.contains(replica) == fixed_keywords_.contains(other) &&
                           (!KeywordsMayStop() || reach.Together(replica, other));
        if (other == replica || !reach.Equal(replica, other) || !alike) continue;
        group.add_replicas(ReplicaName(other));
        grouped.insert(other);
      }
      if (group.replicas_size() > 1) *history.add_groups() = group;
    }
  }
  for (int32_t i = 0; i < graph.replica_count(); ++i)
    history.add_bounded_replicas(graph.replica(ReplicaIndex(i)).name());
}

// Messages that a user put into one mailbox once and that stayed there. A mailbox copy with a look-alike in it may take
// its additions later than others, and then they are fetched for it alone; where one message was put somewhere twice,
// another coordinator seems to be at work, and each replica is listened to before anything is added.
void Model::ExpectDownloads(checker::History& history) const {
  const bool all_unlike = std::all_of(fates_.begin(), fates_.end(), [](const auto& each) {
    int64_t added = 0;
    for (const auto& [replica, count] : each.second.added) added += count;
    return each.second.content != nullptr && each.second.content->unlike_others && added == 1;
  });
  if (!all_unlike || renamed_ || !deleted_.empty() || coordinators_ > 1) return;
  for (const auto& [key, fate] : fates_) {
    int64_t added = 0;
    for (const auto& [replica, count] : fate.added) added += count;
    const bool plain =
        added == 1 && fate.races == 0 && fate.wipes.empty() && fate.removals.empty() && !IsElsewhere(key);
    if (!plain) continue;
    for (const auto& [place, count] : fetched_) {
      if (place.second != key.second) continue;
      checker::Download& download = *history.add_downloads();
      download.set_digest(std::to_string(key.second));
      download.set_fetched(count);
      download.set_at_most(1);
    }
  }
}

}  // namespace imapmesh::sim
