// libFuzzer over the whole engine: two or three simulated servers of which all may lie, while users change mail.
//
// Input: one byte of what the servers are, then lies of kLieBytes each: how many responses after the last one, what is
// done to the response, and with what. Checked: the engine ends every sync, does not spin, and does not end by itself.
// What becomes of the mail is not: a server that says a message is gone is believed.
#include <array>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "graph/load.h"
#include "tests/sim/daemon.h"
#include "tests/sim/memory_files.h"
#include "tests/sim/network.h"

namespace {

using namespace imapmesh;       // NOLINT: a program of one file
using namespace imapmesh::sim;  // NOLINT

constexpr size_t kLieBytes = 4;
constexpr size_t kLiesMost = 40;
constexpr uint64_t kStepsMost = 400'000;
constexpr uint64_t kStepsOfAnInstant = 50'000;

constexpr const char* kNumbers[] = {"0",
                                    "1",
                                    "2",
                                    "4294967295",
                                    "4294967294",
                                    "2147483648",
                                    "1000",
                                    "1001",
                                    "9223372036854775807",
                                    "9223372036854775806",
                                    "77",
                                    "4294967296",
                                    "9999999999",
                                    "18446744073709551615",
                                    "007",
                                    ""};
constexpr const char* kWords[] = {
    "INBOX",     "Lists",      "Lists/a",  "Inbox",    "\"\"", "imapmesh-renaming-1", "a (deleted)", "NIL",
    "\\Deleted", "\\Noselect", "\\Recent", "VANISHED", "OK",   "NO [NONEXISTENT] x",  "BAD x",       "* BYE x"};

// How many responses are left alone, then what is done to one: the fuzzer's bytes.
class Liar {
 public:
  explicit Liar(std::string_view lies) : lies_(lies) { Next(); }

  std::string operator()(std::string bytes) {
    if (!armed_) return bytes;
    if (wait_ > 0) {
      --wait_;
      return bytes;
    }
    const int what = what_, with = with_, where = where_;
    Next();
    switch (what % 8) {
      case 0:
        return "";
      case 1:
        return bytes + bytes;
      case 2:
      case 3:
      case 4:
        return Replace(std::move(bytes), static_cast<size_t>(where), kNumbers[with % std::size(kNumbers)], true);
      case 5:
        return Replace(std::move(bytes), static_cast<size_t>(where), kWords[with % std::size(kWords)], false);
      case 6:
        kept_ = bytes;
        return bytes;
      default:
        return kept_ + bytes;
    }
  }

 private:
  void Next() {
    armed_ = lies_.size() >= kLieBytes && ++count_ <= kLiesMost;
    if (!armed_) return;
    wait_ = static_cast<uint8_t>(lies_[0]);
    what_ = static_cast<uint8_t>(lies_[1]);
    where_ = static_cast<uint8_t>(lies_[2]);
    with_ = static_cast<uint8_t>(lies_[3]);
    lies_.remove_prefix(kLieBytes);
  }

  // The `place`th number, or else word, of a response.
  static std::string Replace(std::string bytes, size_t place, const std::string& by, bool number) {
    const auto part = [number](char c) {
      const bool digit = c >= '0' && c <= '9';
      return number ? digit : (c > ' ' && c != '(' && c != ')');
    };
    std::vector<std::pair<size_t, size_t>> parts;
    for (size_t i = 0; i < bytes.size(); ++i) {
      if (!part(bytes[i])) continue;
      const size_t begin = i;
      while (i < bytes.size() && part(bytes[i])) ++i;
      parts.emplace_back(begin, i - begin);
    }
    if (parts.empty()) return bytes;
    const auto [begin, length] = parts[place % parts.size()];
    return bytes.replace(begin, length, by);
  }

  std::string_view lies_;
  std::string kept_;
  size_t count_ = 0;
  bool armed_ = false;
  int wait_ = 0, what_ = 0, where_ = 0, with_ = 0;
};

std::shared_ptr<const Graph> SomeGraph() {
  static const auto loaded = LoadTopologyText(
      "name: \"g\" "
      "replica { name: \"a\" tunnel { command: \"a\" } } replica { name: \"b\" tunnel { command: \"b\" } } "
      "replica { name: \"c\" tunnel { command: \"c\" } } "
      "edge { a: \"a\" b: \"b\" } edge { a: \"b\" b: \"c\" } edge { a: \"c\" b: \"a\" }",
      "g", "/");
  return loaded->graph;
}

ServerTraits TraitsOf(uint8_t bits) {
  ServerTraits traits;
  traits.tier = (bits & 3) == 3 ? ServerTier::kPlain : (bits & 3) == 2 ? ServerTier::kCondstore : ServerTier::kQresync;
  traits.notify = (bits & 4) == 0;
  traits.move = (bits & 8) == 0;
  traits.multi_append = (bits & 16) == 0;
  traits.guid = (bits & 32) == 0;
  traits.literal_plus = (bits & 64) == 0;
  traits.eager_views = (bits & 128) == 0;
  return traits;
}

class LyingWorld {
 public:
  LyingWorld(uint8_t servers, std::string_view lies) : time_(1), network_(time_, 1), liar_(lies) {
    MemoryFiles().clear();
    network_.intern = [](std::string bytes) { return Make(std::move(bytes)); };
    network_.garble = [this](std::string bytes) { return liar_(std::move(bytes)); };
    for (const char* name : {"a", "b", "c"}) {
      network_.hosts().push_back(std::make_unique<Host>(name, TraitsOf(servers)));
    }
    Account& first = network_.hosts()[0]->account;
    first.Create("Lists/a");
    for (int i = 0; i < 4; ++i) Deliver(first, i % 2 == 0 ? "INBOX" : "Lists/a", i);
    DaemonOptions options;
    options.state_file = "state";
    options.graph = SomeGraph();
    options.log = [](LogLevel, const std::string&) {};
    daemon_ = std::make_unique<Daemon>(network_, std::move(options));
  }

  void Run() {
    Sync();
    Account& a = network_.hosts()[0]->account;
    Account& b = network_.hosts()[1]->account;
    Deliver(b, "INBOX", 7);
    if (AccountMailbox* inbox = a.Find("INBOX"); inbox != nullptr && !inbox->messages.empty()) {
      a.SetFlag("INBOX", inbox->messages.begin()->first, "\\Flagged", true);
    }
    Sync();
    if (AccountMailbox* inbox = b.Find("INBOX"); inbox != nullptr && !inbox->messages.empty()) {
      b.Expunge("INBOX", inbox->messages.begin()->first);
    }
    a.Rename("Lists/a", "Lists/b");
    Sync();
    if (!daemon_->Stop()) std::abort();
  }

 private:
  static std::shared_ptr<const Content> Make(std::string bytes) {
    auto content = std::make_shared<Content>();
    content->bytes = std::move(bytes);
    return content;
  }
  static void Deliver(Account& account, const char* mailbox, int number) {
    const std::string bytes = "Message-ID: <" + std::to_string(number) + "@x>\r\nSubject: x\r\n\r\nx\r\n";
    account.Append(mailbox, Make(bytes), Flags(), 1'600'000'000 + number);
  }
  void Sync() {
    const auto report = daemon_->Sync(kStepsMost);
    if (!report || !daemon_->failed().ok()) std::abort();
    if (time_.steps_at_this_instant() > kStepsOfAnInstant) std::abort();
  }

  VirtualTime time_;
  Network network_;
  Liar liar_;
  std::unique_ptr<Daemon> daemon_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const bool installed = (InstallMemoryFiles(), true);
  if (!installed || size == 0) return 0;
  LyingWorld world(data[0], {reinterpret_cast<const char*>(data) + 1, size - 1});
  world.Run();
  return 0;
}
