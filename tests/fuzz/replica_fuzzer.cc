// libFuzzer over a whole replica: the engine's calls, in any order, to a server that answers whatever it likes.
//
// Input: one byte of options (the low six bits: how the bytes are cut; kRemembers: a second object of the replica is
// made half-way, with the memory of the first), one for how many calls, one for each of them (the order of kCalls),
// then the server's script (hostile_server.h). Checked: no crash, no call that never ends, nothing raw for a terminal
// in the errors, and what replica.h promises of the answers.
#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/io_context.hpp>
#include <iterator>
#include <utility>
#include <vector>

#include "engine/net/dialer.h"
#include "engine/replica/make_replica.h"
#include "graph/load.h"
#include "tests/fuzz/hostile_server.h"

namespace {

using namespace imapmesh;  // NOLINT: a program of one file

constexpr uint8_t kRemembers = 0x40;
constexpr size_t kCallsMost = 12;

void Require(bool holds) {
  if (!holds) std::abort();
}

const Graph& SomeGraph() {
  static const auto loaded = LoadTopologyText(
      "name: \"g\" "
      "replica { name: \"a\" imap { host: \"127.0.0.1\" security: PLAINTEXT } auth { username: \"u\" password: \"p\" } "
      "compress: false name_map { mesh: \"Sent\" here: \"Gesendet\" } keyword_map { mesh: \"$Work\" here: \"Work\" } } "
      "replica { name: \"b\" tunnel { command: \"b\" } } edge { a: \"a\" b: \"b\" }",
      "g", "/");
  return *loaded->graph;
}

class HostileDialer : public Dialer {
 public:
  HostileDialer(std::string_view script, size_t chunk) : script_(script), chunk_(chunk) {}
  asio::awaitable<absl::StatusOr<std::unique_ptr<ByteStream>>> Dial(Endpoint) override {
    co_return std::make_unique<HostileServer>(script_, chunk_);
  }

 private:
  std::string_view script_;
  size_t chunk_;
};

UidSet SomeUids() {
  return UidSet::FromRanges({{1, 9}, {4294967295, 4294967295}});
}

MailboxCursor SomeCursor() {
  MailboxCursor since{UidValidity(5), Uid(10), ModSeq(7), 5};
  since.recognise = UidSet::FromRanges({{7, 9}});
  return since;
}

std::vector<AppendItem> SomeMessages(size_t count) {
  auto body = std::make_shared<Body>();
  Require(body->Append("Subject: x\r\n\r\nx\r\n").ok());
  AppendItem item;
  item.body = body;
  item.flags.assign(1, "$Work");
  return std::vector<AppendItem>(count, item);
}

MailboxReference In(const char* mailbox) {
  return {mailbox, UidValidity(5)};
}

void CheckAscending(const std::vector<ArrivedMessage>& messages, Uid from) {
  for (size_t i = 0; i < messages.size(); ++i) {
    Require(messages[i].uid >= from && messages[i].uid.value != 0);
    Require(i == 0 || messages[i - 1].uid < messages[i].uid);
  }
}

void CheckObservation(const MailboxCursor& since, const Observation& observation) {
  CheckAscending(observation.arrived, observation.complete ? Uid(1) : since.uid_next);
  Require(!observation.complete || observation.recognised.empty());
  for (const ArrivedMessage& message : observation.recognised) Require(since.recognise.Contains(message.uid));
  for (const FlagChange& change : observation.changed) Require(change.uid < since.uid_next);
}

asio::awaitable<void> Look(Replica& replica) {
  replica.Expect({{{"INBOX", UidValidity(5)}, "identity"}});
  replica.AskMetadata(std::vector<std::string>(1, "INBOX"));
  CheckPrintable((co_await replica.Look()).status());
  replica.TakeMetadata();
}

asio::awaitable<void> ObserveFrom(Replica& replica, MailboxCursor since, ObserveLimits limits) {
  const auto observation = co_await replica.Observe("INBOX", since, limits);
  CheckPrintable(observation.status());
  if (observation.ok()) CheckObservation(since, *observation);
}

asio::awaitable<void> ObserveAnew(Replica& replica) {
  ObserveLimits few;
  few.messages = 3;
  co_await ObserveFrom(replica, MailboxCursor(), few);
}

asio::awaitable<void> ObserveWithBodies(Replica& replica) {
  ObserveLimits with_bodies;
  with_bodies.messages = 100;
  with_bodies.body_bytes = 1000;
  co_await ObserveFrom(replica, SomeCursor(), with_bodies);
}

asio::awaitable<void> ObserveTogether(Replica& replica) {
  std::vector<std::pair<std::string, MailboxCursor>> mailboxes(2, {"INBOX", SomeCursor()});
  mailboxes[1].first = "Sent";
  const auto observations = co_await replica.ObserveTogether(mailboxes);
  Require(observations.size() == mailboxes.size());
  for (size_t i = 0; i < observations.size(); ++i) {
    if (observations[i]) CheckObservation(mailboxes[i].second, *observations[i]);
  }
}

asio::awaitable<void> FetchBodies(Replica& replica) {
  std::vector<BodiesRequest> requests(2, {In("INBOX"), SomeUids()});
  requests[1].mailbox = In("Sent");
  std::function<void(size_t, Uid, std::shared_ptr<const Body>)> take = [&](size_t place, Uid uid,
                                                                           std::shared_ptr<const Body> body) {
    Require(place < 2 && SomeUids().Contains(uid) && body != nullptr);
  };
  CheckPrintable(co_await replica.FetchBodiesTogether(requests, take));
  std::function<void(Uid, HeaderText)> take_header = [](Uid uid, const HeaderText& text) {
    Require(SomeUids().Contains(uid) && text.subject.size() <= 1000 && text.sender.size() <= 1000);
  };
  CheckPrintable(co_await replica.FetchHeaders(In("INBOX"), SomeUids(), take_header));
}

asio::awaitable<void> Append(Replica& replica) {
  std::vector<AppendRequest> requests(2);
  requests[0] = {In("INBOX"), SomeMessages(replica.max_append() > 1 ? 2 : 1)};
  requests[1] = {In("Sent"), SomeMessages(1)};
  const auto outcomes = co_await replica.AppendTogether(requests);
  Require(outcomes.size() == requests.size());
  for (size_t i = 0; i < outcomes.size(); ++i) {
    CheckPrintable(outcomes[i].status());
    Require(!outcomes[i].ok() || outcomes[i]->uids.size() == requests[i].items.size());
  }
  CheckPrintable((co_await replica.CursorNow("INBOX")).status());
}

asio::awaitable<void> CopyTo(Replica& replica, bool move) {
  const auto copied = co_await replica.CopyMessages(In("INBOX"), In("Sent"), SomeUids(), move);
  CheckPrintable(copied.status());
  if (!copied.ok()) co_return;
  for (const CopiedUid& uid : *copied) Require(SomeUids().Contains(uid.from));
}

asio::awaitable<void> Copy(Replica& replica) {
  co_await CopyTo(replica, false);
}

asio::awaitable<void> Move(Replica& replica) {
  if (replica.can_move()) co_await CopyTo(replica, true);
}

asio::awaitable<void> ChangeOne(Replica& replica) {
  std::vector<std::string> add(1, "\\Seen"), remove(1, "$Work");
  CheckPrintable(co_await replica.StoreFlags(In("INBOX"), SomeUids(), add, remove));
  CheckPrintable((co_await replica.Expunge(In("INBOX"), SomeUids(), ModSeq(7))).status());
}

asio::awaitable<void> ChangeTogether(Replica& replica) {
  std::vector<MailboxChanges> changes(2);
  for (size_t i = 0; i < changes.size(); ++i) {
    changes[i].mailbox = In(i == 0 ? "INBOX" : "Sent");
    changes[i].stores.resize(1);
    changes[i].stores[0].uids = SomeUids();
    changes[i].stores[0].add.assign(1, "\\Seen");
    changes[i].expunge = UidSet::FromRanges({{2, 3}});
    for (uint32_t uid = 1; uid < 10; ++uid) changes[i].known[Uid(uid)] = {44, uid == 3 ? "" : "<a@b>"};
  }
  const auto outcomes = co_await replica.ChangeTogether(changes);
  Require(outcomes.size() == changes.size());
  for (size_t i = 0; i < outcomes.size(); ++i) {
    Require(outcomes[i].stored.size() == changes[i].stores.size());
    for (const absl::Status& stored : outcomes[i].stored) CheckPrintable(stored);
    CheckPrintable(outcomes[i].expunged.status());
  }
}

asio::awaitable<void> ChangeMailboxes(Replica& replica) {
  CheckPrintable((co_await replica.CreateMailbox("Entwürfe", true)).status());
  CheckPrintable(co_await replica.Subscribe("Sent", false));
  CheckPrintable((co_await replica.MailboxExists("Gesendet")).status());
  std::vector<std::string> subscribed(1, "Lists/x");
  CheckPrintable((co_await replica.RenameMailbox("Lists", "Archive/Lists", subscribed)).status());
  CheckPrintable(co_await replica.DeleteMailbox("Archive/Lists"));
}

asio::awaitable<void> Annotate(Replica& replica) {
  std::vector<std::string> mailboxes(1, "INBOX");
  CheckPrintable((co_await replica.GetMetadata(mailboxes)).status());
  std::vector<std::pair<std::string, std::string>> entries(1, {"/shared/comment", "x"});
  CheckPrintable(co_await replica.SetMetadata("INBOX", entries));
}

asio::awaitable<void> Watch(Replica& replica) {
  const std::function<void(std::vector<std::string>)> due = [](const std::vector<std::string>&) {};
  CheckPrintable(co_await replica.Watch(due));
  co_await replica.KeepAlive();
}

asio::awaitable<void> LogOut(Replica& replica) {
  co_await replica.Logout();
}

using Call = asio::awaitable<void> (*)(Replica&);
constexpr Call kCalls[] = {Look, ObserveAnew, ObserveWithBodies, ObserveTogether, FetchBodies, Append, Copy,
                           Move, ChangeOne,   ChangeTogether,    ChangeMailboxes, Annotate,    Watch,  LogOut};

asio::awaitable<void> UseEverything(Clock& clock, Dialer& dialer, asio::any_io_executor executor,
                                    std::basic_string_view<uint8_t> calls, bool remembers, bool& ended) {
  const auto make = [&] {
    return MakeImapReplica(executor, clock, dialer, SomeGraph(), ReplicaIndex(0),
                           [](std::string_view) { return true; });
  };
  std::unique_ptr<Replica> replica = make();
  for (size_t i = 0; i < calls.size(); ++i) {
    if (remembers && i == calls.size() / 2) {
      const std::string memory = replica->memory();
      replica->Close();
      replica = make();
      replica->Remember(memory);
    }
    co_await kCalls[calls[i] % std::size(kCalls)](*replica);
  }
  replica->Close();
  ended = true;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  const size_t calls = std::min<size_t>(data[1] % (kCallsMost + 1), size - 2);
  const std::string_view script(reinterpret_cast<const char*>(data) + 2 + calls, size - 2 - calls);
  const size_t chunk = data[0] % 64 == 0 ? 65536 : data[0] % 64;
  StoppedClock clock;
  asio::io_context context(1);
  HostileDialer dialer(script, chunk);
  bool ended = false;
  asio::co_spawn(
      context,
      UseEverything(clock, dialer, context.get_executor(), {data + 2, calls}, (data[0] & kRemembers) != 0, ended),
      asio::detached);
  context.run();
  Require(ended);
  return 0;
}
