#include "tests/sim/world.h"

#include <algorithm>
#include <array>
#include <functional>
#include <utility>

#include "base/printable.h"

namespace imapmesh::sim {
namespace {

constexpr std::array<const char*, 6> kMailboxNames = {"INBOX", "Work", "Lists/a", "Spam", "Archive", "Lists"};
constexpr std::array<const char*, 4> kNewNames = {"Old", "Lists/b", "Projects", "Work/done"};
constexpr std::array<const char*, 6> kFlagNames = {"\\Seen",  "\\Flagged",  "\\Answered",
                                                   "\\Draft", "$Forwarded", "todo"};
constexpr int64_t kRacesMost = 200, kRacesOfAMessage = 2;  // the latter at each replica
constexpr size_t kBrakeOff = 1000;                         // min_messages that no history reaches
constexpr int64_t kDateStart = 1'600'000'000;

std::string ReplicaName(int r) {
  return "r" + std::to_string(r);
}

// Turns the usual traits round, four bits a replica.
ServerTraits Traits(const History& history, int replica) {
  const uint32_t bits = history.server_bits >> ((replica % 8) * 4);
  const uint32_t tier = (history.tier_bits >> ((replica % 16) * 2)) & 3;
  ServerTraits traits;
  traits.tier = tier == 3 ? ServerTier::kPlain : tier == 2 ? ServerTier::kCondstore : ServerTier::kQresync;
  traits.notify = (bits & 1) == 0;
  traits.move = (bits & 2) == 0;
  traits.multi_append = (bits & 4) == 0;
  traits.guid = (bits & 8) == 0;
  traits.literal_plus = (bits & 3) != 3;
  traits.forgets_expunges = (bits & 12) == 12;
  traits.eager_views = (bits & 6) != 6;
  traits.fixed_keywords = (history.keyword_bits >> (replica % 32) & 1) != 0;
  return traits;
}

}  // namespace

World::World(const History& history, TraceSink trace)
    : faults_(HasFaults(history)),
      approves_(history.approves),
      time_(history.seed ^ 0x71),
      network_(time_, history.seed ^ 0x4e),
      trace_(std::move(trace)) {
  network_size_ = history.replicas;
  network_.latency_max = std::chrono::microseconds(history.latency_us);
  network_.slow_percent = history.slow_percent;
  network_.fragments = history.fragments;
  network_.intern = [this](std::string bytes) { return Intern(std::move(bytes)); };
  network_.on_command = [this](const std::string& host, const std::string& command) {
    if (command == "LIST") restored_.erase(std::stoi(host.substr(1)));
  };
  network_.tap = [this](int daemon, const std::string& host, char what, std::string_view bytes) {
    const auto add = [this](uint64_t value) { trace_hash_ = (trace_hash_ ^ value) * 1099511628211ULL; };
    add(std::hash<std::string>()(host));
    add(static_cast<uint64_t>(time_.now().count()));
    add(std::hash<std::string_view>()(bytes));
    const std::string who = coordinators_.size() > 1 ? " " + std::to_string(daemon) : "";
    if (trace_) Trace(host + " " + what + who + " " + Printable(bytes, 700));
  };
  network_.on_added = [this](int daemon, const std::string& host, const std::string& mailbox, uint32_t uid) {
    AddedByDaemon(daemon, host, mailbox, uid);
  };
  network_.on_expunge = [this](int daemon, const std::string& host, const std::string& mailbox,
                               const Content& content) { ExpungedByDaemon(daemon, host, mailbox, content); };
  network_.on_deleted_uncounted = [this](const std::string& mailbox, const Content& content) {
    Trace("-- deleted with its mailbox, uncounted: " + std::to_string(content.number));
    model_.DeletedUncounted(mailbox, content);
  };
  network_.on_body = [this](int daemon, const Content& content) { model_.BodyFetched(daemon, content); };
  constexpr std::string_view kMin = "min_messages: ";
  const size_t min = history.policy.find(kMin);
  if (min != std::string::npos) brake_min_ = std::stoul(history.policy.substr(min + kMin.size()));
  for (int r = 0; r < history.replicas; ++r) {
    network_.hosts().push_back(std::make_unique<Host>(ReplicaName(r), Traits(history, r)));
    if (account(r).traits().fixed_keywords) model_.FixedKeywords(r);
  }
}

void World::SetCoordinators(std::vector<Coordinator> coordinators, std::shared_ptr<const Graph> whole) {
  coordinators_ = std::move(coordinators);
  whole_ = std::move(whole);
  model_.SetCoordinators(static_cast<int>(coordinators_.size()));
}

// Additions come before deletions across the whole mesh, so a move never leaves a replica without the content. Faults,
// and another daemon that is ahead, break the order for good reasons.
void World::ExpungedByDaemon(int daemon, const std::string& host, const std::string& mailbox, const Content& content) {
  if (faults_ || coordinators_.size() > 1 || whole_ == nullptr || model_.renamed()) return;
  const int r = std::stoi(host.substr(1));
  StateReader state(coordinators_[static_cast<size_t>(daemon)].state_file);
  for (const auto& [name, elsewhere] : account(r).mailboxes()) {
    // What the brake holds is given back once a person has decided so.
    if (name == mailbox || model_.WasRemoved(name, content) || model_.WasWiped(r, name, content)) continue;
    const std::vector<Place> copies = Copies(name, content);
    const bool here = std::any_of(copies.begin(), copies.end(), [r](const Place& copy) { return copy.replica == r; });
    if (here) continue;
    for (const Place& copy : copies) {
      if (!MustHoldToo(state, r, copy)) continue;
      broken_.push_back("no loss: " + host + ": " + mailbox + ": " + std::to_string(content.number) +
                        " is expunged before it is added to " + name);
      return;
    }
  }
}

// Whether the daemon knows a copy that belongs at this replica as well.
bool World::MustHoldToo(StateReader& state, int replica, const Place& elsewhere) {
  return Reaches(elsewhere.replica, replica, elsewhere.mailbox) && IsKnown(state, elsewhere);
}

// What a daemon adds that another one, or a user, has just put there, unknown to it, is there twice.
void World::AddedByDaemon(int daemon, const std::string& host, const std::string& mailbox, uint32_t uid) {
  const int r = std::stoi(host.substr(1));
  auto& messages = account(r).Find(mailbox)->messages;
  MessageCopy& added = messages.at(uid);
  added.made_by = daemon;
  if (coordinators_.size() < 2) return;
  StateReader state(coordinators_[static_cast<size_t>(daemon)].state_file);
  for (const auto& [other, copy] : messages) {
    const bool others = copy.content == added.content && copy.made_by != daemon;
    // Where connections break, what is added now may have been sent before the other copy was known.
    if (others && (faults_ || !IsKnown(state, {r, mailbox, other, copy.content}))) {
      Trace("-- a race of two daemons: " + host + " " + mailbox + " UIDs " + std::to_string(other) + " and " +
            std::to_string(uid));
      const int64_t most = kRacesMost + kRacesOfAMessage * model_.additions() * network_size_;
      if (++races_ > most) broken_.push_back("no duplicates: races without end: " + host + ": " + mailbox);
      return model_.Raced(mailbox, *added.content, IsSeenByAll(r, mailbox, *added.content, {daemon, copy.made_by}));
    }
  }
}

// Whether all daemons but those in a race have looked into the mailbox, and know the message elsewhere: else to them
// two messages that are equal were always there, or came by a user.
bool World::IsSeenByAll(int replica, const std::string& mailbox, const Content& content, const std::set<int>& racing) {
  const uint32_t uid_validity = account(replica).Find(mailbox)->uid_validity;
  const std::vector<Place> copies = Copies(mailbox, content);
  for (size_t i = 0; i < coordinators_.size(); ++i) {
    const Coordinator& coordinator = coordinators_[i];
    if (racing.contains(static_cast<int>(i)) || !coordinator.replicas.contains(replica)) continue;
    StateReader state(coordinator.state_file);
    const bool known = std::any_of(copies.begin(), copies.end(), [&](const Place& place) {
      return place.replica != replica && coordinator.replicas.contains(place.replica) && IsKnown(state, place);
    });
    if (!known || !state.LookedInto(ReplicaName(replica), mailbox, uid_validity)) return false;
  }
  return true;
}

void World::Trace(const std::string& line) {
  if (!trace_) return;
  const double seconds = std::chrono::duration<double>(time_.now()).count();
  trace_(std::to_string(seconds) + " " + line);
}

void World::Do(const Step& step) {
  const int r = Replica(step.a);
  Host& host = *network_.hosts()[static_cast<size_t>(r)];
  switch (step.kind) {
    case StepKind::kDeliver:
      return Deliver(step, 1);
    case StepKind::kBurst:
      return Deliver(step, 2 + static_cast<int>(step.c % 12));
    case StepKind::kRedeliver:
      return Redeliver(step);
    case StepKind::kFlag:
    case StepKind::kUnflag:
      return ChangeFlag(step, step.kind == StepKind::kFlag);
    case StepKind::kExpunge:
      if (const auto place = Message(r, step.b)) Remove(*place);
      return;
    case StepKind::kMove:
    case StepKind::kCopy:
      return CopyOrMove(step, step.kind == StepKind::kMove);
    case StepKind::kCreate:
      return CreateMailbox(r, kMailboxNames[step.b % kMailboxNames.size()]);
    case StepKind::kDeleteMailbox:
      return DeleteMailbox(r, Mailbox(r, step.b | 1));
    case StepKind::kRenameMailbox:
      return RenameMailbox(step);
    case StepKind::kWipe:
      return Wipe(r, Mailbox(r, step.b));
    case StepKind::kCutToServer:
      host.cut_after[0] = step.b % 20'000;
      return;
    case StepKind::kCutToClient:
      host.cut_after[1] = step.b % 20'000;
      return;
    case StepKind::kStall:
      host.stall_after = step.b % 20'000;
      return;
    case StepKind::kDown:
      host.down = true;
      network_.Cut(&host);
      time_.After(std::chrono::milliseconds(step.b % 20'000), [&host] { host.down = false; });
      return;
    case StepKind::kRenumber:
      return Renumber(step);
    case StepKind::kBackup:
      backups_[r] = host.account.MakeBackup();
      return;
    case StepKind::kRestore:
      return Restore(r);
    default:
      return;
  }
}

// ---- what steps mean

std::string World::Mailbox(int replica, uint32_t number) {
  auto& mailboxes = account(replica).mailboxes();
  if (number % 2 == 0) return "INBOX";
  auto found = mailboxes.begin();
  std::advance(found, (number / 2) % mailboxes.size());
  return found->first;
}

// The number-th message of the replica, counted round.
std::optional<World::Place> World::Message(int replica, uint32_t number) {
  if (restored_.contains(replica)) return std::nullopt;
  size_t total = 0;
  auto& mailboxes = account(replica).mailboxes();
  for (const auto& [name, mailbox] : mailboxes) total += mailbox.messages.size();
  if (total == 0) return std::nullopt;
  size_t left = number % total;
  for (const auto& [name, mailbox] : mailboxes) {
    if (left >= mailbox.messages.size()) {
      left -= mailbox.messages.size();
      continue;
    }
    auto found = mailbox.messages.begin();
    std::advance(found, left);
    return Place{replica, name, found->first, found->second.content};
  }
  return std::nullopt;
}

// Variants: most are unlike all others; some lack a Message-ID, some share one with the message before, or everything
// but the body.
std::shared_ptr<const Content> World::NewContent(uint32_t variant) {
  auto content = std::make_shared<Content>();
  content->number = static_cast<int64_t>(contents_.size()) + 1;
  const std::string number = std::to_string(content->number);
  const bool twin = variant % 10 == 8 && last_ != nullptr;
  content->internal_date = twin ? last_->internal_date : kDateStart + content->number * 61;
  const std::string id = twin ? "twin" : number;
  std::string header;
  if (variant % 10 != 7) header += "Message-ID: <" + id + "@sim>\r\n";
  header += "From: user@sim\r\nSubject: message " + std::string(variant % 10 < 7 ? number : "without name") + "\r\n";
  // The engine takes Message-ID, size and date together as proof of identity: unlike messages differ in one of them.
  std::string body = "body of " + number + " " + std::string(static_cast<size_t>(content->number) % 37, '.') + "\r\n";
  if (variant % 50 == 3) {
    for (int i = 0; i < 2000; ++i) body += "a long line to make it long enough for more than one read\r\n";
  }
  content->bytes = header + "\r\n" + body;
  content->unlike_others = variant % 10 < 7;
  contents_[content->bytes] = content;
  last_ = content;
  return content;
}

std::shared_ptr<const Content> World::Intern(std::string bytes) {
  const auto found = contents_.find(bytes);
  if (found != contents_.end()) return found->second;
  auto broken = std::make_shared<Content>();  // no user wrote this
  broken->number = -static_cast<int64_t>(contents_.size()) - 1;
  broken->bytes = bytes;
  contents_[std::move(bytes)] = broken;
  return broken;
}

void World::Put(int replica, const std::string& mailbox, const std::shared_ptr<const Content>& content,
                const Flags& flags) {
  Flags kept = flags;
  std::erase_if(kept, [&](const std::string& flag) { return !account(replica).Keeps(flag); });
  account(replica).Append(mailbox, content, kept, content->internal_date);
  model_.Added(replica, mailbox, content, kept, Held(replica, mailbox, *content));
}

Model::Held World::Held(int replica, const std::string& mailbox, const Content& content) {
  Model::Held held;
  for (const auto& [name, here] : account(replica).mailboxes()) {
    const auto count = std::count_if(here.messages.begin(), here.messages.end(),
                                     [&](const auto& message) { return message.second.content.get() == &content; });
    held.anywhere += count;
    if (name == mailbox) held.here = count;
  }
  return held;
}

void World::Deliver(const Step& step, int count) {
  const int r = Replica(step.a);
  if (restored_.contains(r)) return;
  for (int i = 0; i < count; ++i) {
    Flags flags;
    if (step.c % 4 == 0) flags.insert(kFlagNames[(step.c / 4) % kFlagNames.size()]);
    Put(r, Mailbox(r, step.b), NewContent(step.c / 7 + static_cast<uint32_t>(i)), flags);
  }
}

void World::Redeliver(const Step& step) {
  const int r = Replica(step.a), other = Replica(step.c);
  const auto place = Message(other, step.b);
  if (!place || restored_.contains(r)) return;
  Put(r, account(r).Find(place->mailbox) != nullptr ? place->mailbox : "INBOX", place->content, {});
}

void World::ChangeFlag(const Step& step, bool set) {
  const auto place = Message(Replica(step.a), step.b);
  if (!place) return;
  const std::string flag = kFlagNames[step.c % kFlagNames.size()];
  const auto& copy = account(place->replica).Find(place->mailbox)->messages.at(place->uid);
  if (copy.flags.contains(flag) == set) return;
  if (!account(place->replica).SetFlag(place->mailbox, place->uid, flag, set)) return;
  model_.FlagChanged(place->replica, place->mailbox, *place->content, flag, set);
}

void World::CopyOrMove(const Step& step, bool move) {
  const auto place = Message(Replica(step.a), step.b);
  if (!place) return;
  const std::string to = Mailbox(place->replica, step.c | 1);
  if (to == place->mailbox) return;
  const Flags flags = account(place->replica).Find(place->mailbox)->messages.at(place->uid).flags;
  account(place->replica).Copy(place->mailbox, place->uid, to);
  model_.Added(place->replica, to, place->content, flags, Held(place->replica, to, *place->content));
  if (move) Remove(*place);
}

std::set<int> World::Holders(const std::string& mailbox, const Content& content, int64_t at_least) {
  std::set<int> holders;
  for (int r = 0; r < network_size_; ++r) {
    const AccountMailbox* here = account(r).Find(mailbox);
    if (here == nullptr) continue;
    const auto copies = std::count_if(here->messages.begin(), here->messages.end(),
                                      [&](const auto& message) { return message.second.content.get() == &content; });
    if (copies >= std::max<int64_t>(at_least, 1)) holders.insert(r);
  }
  return holders;
}

std::vector<World::Place> World::Copies(const std::string& mailbox, const Content& content) {
  std::vector<Place> copies;
  for (int r = 0; r < network_size_; ++r) {
    const AccountMailbox* here = account(r).Find(mailbox);
    if (here == nullptr) continue;
    for (const auto& [uid, copy] : here->messages) {
      if (copy.content.get() == &content) copies.push_back({r, mailbox, uid, copy.content});
    }
  }
  return copies;
}

// Once every daemon has recognised every copy that it carries, each knows which message this is.
void World::Remove(const Place& place, bool may_be_rejected, bool expunge) {
  const std::vector<Place> copies = Copies(place.mailbox, *place.content);
  const int64_t most = model_.MostAtOnce(place.mailbox, *place.content);
  const bool held = !approves_ && brake_min_ < kBrakeOff;
  // What another daemon is about to add somewhere is new there for those that know of the removal.
  const bool settled = coordinators_.size() == 1 || IsEverywhere(place, copies);
  const bool known = !may_be_rejected && !held && settled && KnownToAll(copies);
  model_.Removed(place.replica, place.mailbox, *place.content, Holders(place.mailbox, *place.content, most), known,
                 time_.now());
  if (expunge) account(place.replica).Expunge(place.mailbox, place.uid);
}

// Wherever it can come from one of the copies.
bool World::IsEverywhere(const Place& place, const std::vector<Place>& copies) const {
  for (int r = 0; r < network_size_; ++r) {
    const auto holds = [r](const Place& copy) { return copy.replica == r; };
    const auto comes = [&](const Place& copy) { return Reaches(copy.replica, r, place.mailbox); };
    const bool wanted = std::any_of(copies.begin(), copies.end(), comes);
    if (wanted && std::none_of(copies.begin(), copies.end(), holds)) return false;
  }
  return true;
}

bool World::KnownToAll(const std::vector<Place>& places) {
  return std::all_of(coordinators_.begin(), coordinators_.end(), [&](const Coordinator& coordinator) {
    StateReader state(coordinator.state_file);
    return std::all_of(places.begin(), places.end(), [&](const Place& place) {
      return !coordinator.replicas.contains(place.replica) || IsKnown(state, place);
    });
  });
}

bool World::IsKnown(StateReader& state, const Place& place) {
  const uint32_t uid_validity = account(place.replica).Find(place.mailbox)->uid_validity;
  return state.Binds(ReplicaName(place.replica), place.mailbox, uid_validity, place.uid);
}

// ---- mailboxes

void World::CreateMailbox(int replica, const std::string& mailbox) {
  if (!account(replica).Create(mailbox)) return;
  // Made again before the engine could miss it, it is one that was rebuilt: what it lacks is given back.
  if (deleted_mailboxes_.contains({replica, mailbox})) model_.Renumbered(replica, mailbox);
}

// With all that is in it.
void World::DeleteMailbox(int replica, const std::string& mailbox) {
  if (mailbox == "INBOX" || restored_.contains(replica)) return;
  const auto messages = account(replica).Find(mailbox)->messages;
  // One that the engine made and that was never listed may be another's by another name: it is made again.
  const bool may_be_rejected = !approves_ || model_.renamed() || model_.LooksNew(replica) ||
                               IsFilledElsewhere(replica, mailbox) || !IsLookedInto(replica, mailbox);
  for (const auto& [uid, copy] : messages) Remove({replica, mailbox, uid, copy.content}, may_be_rejected);
  account(replica).Delete(mailbox);
  deleted_mailboxes_.insert({replica, mailbox});
  model_.MailboxDeleted(replica, mailbox, may_be_rejected);
}

// Whether some other replica has mail in it that this one lacks, be it a second copy of what is here: such a one is
// carried nowhere while somebody is asked whether a race made it.
bool World::IsFilledElsewhere(int replica, const std::string& mailbox) {
  for (int other = 0; other < network_size_; ++other) {
    const AccountMailbox* there = other == replica ? nullptr : account(other).Find(mailbox);
    if (there == nullptr) continue;
    for (const auto& [uid, copy] : there->messages) {
      if (Held(other, mailbox, *copy.content).here > Held(replica, mailbox, *copy.content).here) return true;
    }
  }
  return false;
}

// By all daemons that carry it.
bool World::IsLookedInto(int replica, const std::string& mailbox) {
  const uint32_t uid_validity = account(replica).Find(mailbox)->uid_validity;
  return std::all_of(coordinators_.begin(), coordinators_.end(), [&](const Coordinator& coordinator) {
    if (!coordinator.replicas.contains(replica)) return true;
    return StateReader(coordinator.state_file).LookedInto(ReplicaName(replica), mailbox, uid_validity);
  });
}

void World::RenameMailbox(const Step& step) {
  const int r = Replica(step.a);
  if (restored_.contains(r)) return;
  const std::string from = Mailbox(r, step.b | 1);
  const size_t names = kNewNames.size() + kMailboxNames.size();
  const size_t chosen = step.c % names;
  const std::string to = chosen < kNewNames.size() ? kNewNames[chosen] : kMailboxNames[chosen - kNewNames.size()];
  if (from == "INBOX") return RenameInbox(r, to);
  NoteUnknown(r, from);
  // Without an identity it is known by what is in it: an emptied one is not, and counts as deleted under its old name.
  const bool is_recognised = account(r).traits().guid || !account(r).Find(from)->messages.empty();
  if (!account(r).Rename(from, to)) return;
  if (!is_recognised) model_.MailboxDeleted(r, from, /*comes_back=*/true);
  model_.MailboxRenamed();
}

// What is in it; or that another replica has it too, as one may that was left out when the state was lost, and is met
// under the old name. INBOX is there everywhere in any case.
void World::NoteUnknown(int replica, const std::string& mailbox) {
  std::vector<Place> places;
  for (const auto& [uid, copy] : account(replica).Find(mailbox)->messages) {
    places.push_back({replica, mailbox, uid, copy.content});
  }
  bool known = KnownToAll(places);
  for (int other = 0; other < network_size_; ++other) {
    const bool there = other != replica && mailbox != "INBOX" && account(other).Find(mailbox) != nullptr;
    known &= !there || IsLookedInto(other, mailbox);
  }
  if (!known) model_.RenamedUnknown();
}

// Whether a replica lacks a mailbox that another one has: it may be called otherwise there.
bool World::NamesDiffer() {
  for (int from = 0; from < network_size_; ++from) {
    for (const auto& [name, mailbox] : account(from).mailboxes()) {
      for (int to = 0; to < network_size_; ++to) {
        if (to != from && Reaches(from, to, name) && account(to).Find(name) == nullptr) return true;
      }
    }
  }
  return false;
}

// Its messages move, and it has another UIDVALIDITY.
void World::RenameInbox(int replica, const std::string& to) {
  if (account(replica).Find(to) != nullptr) return;
  model_.Renumbered(replica, "INBOX");
  NoteUnknown(replica, "INBOX");
  const auto messages = account(replica).Find("INBOX")->messages;
  const Model::Held all{INT64_MAX, INT64_MAX};  // they are not there yet
  for (const auto& [uid, copy] : messages) {
    model_.Added(replica, to, copy.content, copy.flags, all);
    Remove({replica, "INBOX", uid, copy.content}, false, /*expunge=*/false);
    model_.InboxRenamed(to, *copy.content);
  }
  account(replica).RenameInbox(to);
}

// Everything in it at once, as a broken client or disk does.
void World::Wipe(int replica, const std::string& mailbox) {
  if (restored_.contains(replica)) return;
  const bool held = !approves_ && BrakeMustHold(replica, mailbox);
  const auto messages = account(replica).Find(mailbox)->messages;
  for (const auto& [uid, copy] : messages) {
    if (held) {
      model_.Wiped(replica, mailbox, *copy.content);
      account(replica).Expunge(mailbox, uid);
    } else {
      Remove({replica, mailbox, uid, copy.content}, !approves_);
    }
  }
}

// Whether every daemon knows all that is in it, each is a message of its own that another replica can give back, none
// of it was deleted anywhere, and it is enough.
bool World::BrakeMustHold(int replica, const std::string& mailbox) {
  const auto& messages = account(replica).Find(mailbox)->messages;
  if (messages.size() < brake_min_ || GrowsNow(replica, mailbox)) return false;
  return std::all_of(messages.begin(), messages.end(), [&](const auto& message) {
    const Content& content = *message.second.content;
    const std::vector<Place> copies = Copies(mailbox, content);
    const bool elsewhere = std::any_of(copies.begin(), copies.end(), [&](const Place& copy) {
      return copy.replica != replica && Reaches(copy.replica, replica, mailbox);
    });
    return elsewhere && model_.WasAddedOnce(mailbox, content) && KnownToAll(copies);
  });
}

// Whether something is on its way there: what is wiped may be a small part of what is there when it is seen.
bool World::GrowsNow(int replica, const std::string& mailbox) {
  for (int other = 0; other < network_size_; ++other) {
    if (other == replica || !Reaches(other, replica, mailbox) || account(other).Find(mailbox) == nullptr) continue;
    for (const auto& [uid, copy] : account(other).Find(mailbox)->messages) {
      if (!Holders(mailbox, *copy.content, 1).contains(replica)) return true;
    }
  }
  return false;
}

bool World::Reaches(int from, int to, const std::string& mailbox) const {
  const auto a = whole_->FindReplica(ReplicaName(from)), b = whole_->FindReplica(ReplicaName(to));
  return a && b && whole_->Reaches(*a, *b, mailbox, ChangeKind::kAddition);
}

// ---- what happens to servers

void World::Renumber(const Step& step) {
  const int r = Replica(step.a);
  const std::string mailbox = Mailbox(r, step.b);
  if (!account(r).traits().guid && !IsLookedInto(r, mailbox)) model_.RenameUnseen(mailbox);
  account(r).Renumber(mailbox);
  model_.Renumbered(r, mailbox);
}

void World::Restore(int replica) {
  const auto backup = backups_.find(replica);
  if (backup == backups_.end()) return;
  Host& host = *network_.hosts()[static_cast<size_t>(replica)];
  network_.Cut(&host);
  const auto before = host.account.mailboxes();
  Account::Backup restored = backup->second;
  for (const auto& [name, mailbox] : before) restored.mailboxes.try_emplace(name, mailbox);  // made since: they stay
  host.account.Restore(restored);
  restored_.insert(replica);
  for (const auto& [name, now] : restored.mailboxes) {
    model_.Renumbered(replica, name);  // what users did there and the engine had not seen is gone likewise
    const auto old = before.find(name);
    const auto holds = [](const AccountMailbox& mailbox, const MessageCopy& copy) {
      const auto found = mailbox.messages.find(copy.uid);
      return found != mailbox.messages.end() && found->second.content == copy.content &&
             found->second.flags == copy.flags;
    };
    if (old != before.end()) {
      for (const auto& [uid, copy] : old->second.messages) {
        if (holds(now, copy)) continue;
        const auto copies =
            std::count_if(old->second.messages.begin(), old->second.messages.end(),
                          [&, &kept = copy](const auto& message) { return message.second.content == kept.content; });
        const std::set<int> holders = Holders(name, *copy.content, copies);
        const bool given_back = std::any_of(holders.begin(), holders.end(), [&, mailbox = name](int holder) {
          return holder != replica && Reaches(holder, replica, mailbox);
        });
        model_.RestoredAway(replica, name, *copy.content, given_back);
      }
    }
    for (const auto& [uid, copy] : now.messages) {
      const bool back = old == before.end() || !holds(old->second, copy);
      if (back) model_.RestoredBack(replica, name, copy.content, copy.flags);
    }
  }
}

void World::AddSnapshots(checker::History& history) {
  for (int r = 0; r < network_size_; ++r) {
    checker::Snapshot& snapshot = *history.add_snapshots();
    snapshot.set_replica(ReplicaName(r));
    for (const auto& [name, mailbox] : account(r).mailboxes()) {
      checker::Mailbox& copy = *snapshot.add_mailboxes();
      copy.set_name(name);
      for (const auto& [uid, message] : mailbox.messages) {
        checker::Message& line = *copy.add_messages();
        line.set_digest(std::to_string(message.content->number));
        line.set_size(message.content->bytes.size());
        line.set_internal_date(message.internal_date);
        for (const std::string& flag : message.flags) line.add_flags(flag);
      }
    }
  }
}

}  // namespace imapmesh::sim
