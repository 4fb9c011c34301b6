#include "tests/sim/world.h"

#include <sqlite3.h>

#include <algorithm>
#include <array>
#include <utility>

#include "base/printable.h"
#include "tests/sim/daemon.h"

namespace imapmesh::sim {
namespace {

constexpr std::array<const char*, 6> kMailboxNames = {"INBOX", "Work", "Lists/a", "Spam", "Archive", "Lists"};
constexpr std::array<const char*, 6> kFlagNames = {"\\Seen",  "\\Flagged",  "\\Answered",
                                                   "\\Draft", "$Forwarded", "todo"};
constexpr int64_t kDateStart = 1'600'000'000;

std::string ReplicaName(int r) {
  return "r" + std::to_string(r);
}

// Turns the usual traits round, four bits a replica.
ServerTraits Traits(uint32_t bits, int replica) {
  bits >>= (replica % 8) * 4;
  ServerTraits traits;
  traits.notify = (bits & 1) == 0;
  traits.move = (bits & 2) == 0;
  traits.multi_append = (bits & 4) == 0;
  traits.guid = (bits & 8) == 0;
  traits.literal_plus = (bits & 3) != 3;
  traits.forgets_expunges = (bits & 12) == 12;
  traits.eager_views = (bits & 6) != 6;
  return traits;
}

}  // namespace

World::World(const History& history, TraceSink trace)
    : time_(history.seed ^ 0x71), network_(time_, history.seed ^ 0x4e), trace_(std::move(trace)) {
  network_size_ = history.replicas;
  network_.latency_max = std::chrono::microseconds(history.latency_us);
  network_.slow_percent = history.slow_percent;
  network_.fragments = history.fragments;
  network_.intern = [this](std::string bytes) { return Intern(std::move(bytes)); };
  network_.on_command = [this](const std::string& host, const std::string& command) {
    if (command == "LIST") restored_.erase(std::stoi(host.substr(1)));
  };
  network_.tap = [this](const std::string& host, char what, std::string_view bytes) {
    const auto add = [this](std::string_view text) {
      for (const char c : text) trace_hash_ = (trace_hash_ ^ static_cast<unsigned char>(c)) * 1099511628211ULL;
    };
    add(host);
    add(std::to_string(time_.now().count()));
    add(bytes);
    if (trace_) Trace(host + " " + what + " " + Printable(bytes, 700));
  };
  for (int r = 0; r < history.replicas; ++r) {
    network_.hosts().push_back(std::make_unique<Host>(ReplicaName(r), Traits(history.server_bits, r)));
  }
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
      host.account.Create(kMailboxNames[step.b % kMailboxNames.size()]);
      return;
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
  account(replica).Append(mailbox, content, flags, content->internal_date);
  model_.Added(replica, mailbox, content, flags);
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
  model_.Added(place->replica, to, place->content, flags);
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

void World::Remove(const Place& place) {
  const auto& here = account(place.replica).Find(place.mailbox)->messages;
  const auto copies = std::count_if(here.begin(), here.end(),
                                    [&](const auto& message) { return message.second.content == place.content; });
  bool known = true;  // once the engine has recognised every copy, it knows which message this is
  for (const int r : Holders(place.mailbox, *place.content, 1)) {
    for (const auto& [uid, copy] : account(r).Find(place.mailbox)->messages) {
      if (copy.content == place.content) known &= KnownToEngine({r, place.mailbox, uid, place.content});
    }
  }
  model_.Removed(place.replica, place.mailbox, *place.content, Holders(place.mailbox, *place.content, copies), known);
  account(place.replica).Expunge(place.mailbox, place.uid);
}

// Whether the engine's state, as it is committed, binds this copy to a message: then it cannot miss its end.
bool World::KnownToEngine(const Place& place) {
  sqlite3* database = nullptr;
  sqlite3_stmt* statement = nullptr;
  bool known = false;
  const bool open = sqlite3_open_v2(kStateFile, &database, SQLITE_OPEN_READWRITE, nullptr) == SQLITE_OK;
  constexpr char kQuery[] =
      "SELECT 1 FROM message_copy c JOIN mailbox_copy mc ON mc.id = c.mailbox_copy JOIN replica r ON r.id = mc.replica "
      "JOIN mailbox m ON m.id = mc.mailbox "
      "WHERE r.name = ? AND m.name = ? AND c.uid = ? AND mc.uid_validity = ? AND mc.rebinding = 0";
  if (open && sqlite3_prepare_v2(database, kQuery, -1, &statement, nullptr) == SQLITE_OK) {
    const std::string name = ReplicaName(place.replica);
    sqlite3_bind_text(statement, 1, name.c_str(), -1, SQLITE_STATIC);
    sqlite3_bind_text(statement, 2, place.mailbox.c_str(), -1, SQLITE_STATIC);
    sqlite3_bind_int64(statement, 3, place.uid);
    sqlite3_bind_int64(statement, 4, account(place.replica).Find(place.mailbox)->uid_validity);
    known = sqlite3_step(statement) == SQLITE_ROW;
  }
  sqlite3_finalize(statement);
  sqlite3_close(database);
  return known;
}

// ---- what happens to servers

void World::Renumber(const Step& step) {
  const int r = Replica(step.a);
  const std::string mailbox = Mailbox(r, step.b);
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
        const auto copies = std::count_if(old->second.messages.begin(), old->second.messages.end(),
                                          [&](const auto& message) { return message.second.content == copy.content; });
        model_.RestoredAway(name, *copy.content, !Holders(name, *copy.content, copies).empty());
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
