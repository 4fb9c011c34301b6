// libFuzzer over the whole client: a session is opened to a hostile server and every command is tried on it.
//
// Input: one byte of options (kDeflated: what follows is a deflate stream, read through that layer; the low bits: how
// the bytes are cut), then what the server says, whatever it is asked. A byte 0x01 in it stands for the tag of the
// oldest command that has not been answered so, 0x02 for the end of what the server says before it is asked again.
// Checked: no crash, no command that never ends, and nothing raw for a terminal in the errors.
#include <algorithm>
#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/io_context.hpp>
#include <cstdint>
#include <cstdlib>
#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "engine/imap/commands.h"
#include "engine/imap/open.h"
#include "engine/net/deflate.h"
#include "engine/net/signal.h"

namespace {

using namespace imapmesh;        // NOLINT: a program of one file
using namespace imapmesh::imap;  // NOLINT

constexpr uint8_t kDeflated = 0x80;
constexpr char kTag = '\x01';
constexpr char kPause = '\x02';

// Time stands still: whatever waits, waits for the server, which ends by closing.
class StoppedClock : public Clock {
 public:
  Duration Now() const override { return Duration(0); }
  int64_t UnixMillis() const override { return 0; }
  std::unique_ptr<Alarm> CallAfter(Duration, std::function<void()>) override { return std::make_unique<Alarm>(); }
};

class HostileServer : public ByteStream {
 public:
  HostileServer(std::string_view script, size_t chunk) : script_(script), chunk_(chunk) {}

  asio::awaitable<absl::StatusOr<size_t>> Read(std::span<char> into) override {
    if (closed_) co_return absl::UnavailableError("closed");
    if (next_.empty()) Prepare();
    const size_t count = std::min({into.size(), chunk_, next_.size()});
    std::copy_n(next_.begin(), count, into.begin());
    next_.erase(0, count);
    received_ += count;
    co_return count;
  }
  asio::awaitable<absl::Status> Write(std::string_view bytes) override {
    if (closed_) co_return absl::UnavailableError("closed");
    for (size_t begin = 0; begin < bytes.size();) {
      const std::string_view line = bytes.substr(begin, bytes.find('\n', begin) - begin);
      const size_t end = line.find(' ');
      const bool tagged = end != std::string_view::npos && end > 1 && line[0] == 'A' &&
                          line.substr(1, end - 1).find_first_not_of("0123456789") == std::string_view::npos;
      if (tagged) tags_.emplace_back(line.substr(0, end));
      begin += line.size() + 1;
    }
    co_return absl::OkStatus();
  }
  void Close() override { closed_ = true; }
  uint64_t bytes_sent() const override { return 0; }
  uint64_t bytes_received() const override { return received_; }

 private:
  // What comes up to the next pause; nothing when the script is over.
  void Prepare() {
    while (next_.empty() && !script_.empty()) {
      const std::string_view part = script_.substr(0, script_.find(kPause));
      script_.remove_prefix(std::min(part.size() + 1, script_.size()));
      for (const char c : part) {
        if (c != kTag) {
          next_ += c;
          continue;
        }
        if (tags_.empty()) continue;
        next_ += tags_.front();
        tags_.pop_front();
      }
    }
  }

  std::string_view script_;
  std::string next_;
  std::deque<std::string> tags_;
  size_t chunk_;
  uint64_t received_ = 0;
  bool closed_ = false;
};

void CheckPrintable(const absl::Status& status) {
  for (const char c : FromAbsl(status.message())) {
    if ((static_cast<unsigned char>(c) < 0x20 && c != '\n') || c == 0x7f) std::abort();
  }
}

asio::awaitable<absl::StatusOr<std::string>> Password() {
  co_return std::string("secret");
}

asio::awaitable<absl::Status> AppendTwo(Session& session) {
  std::vector<AppendMessage> messages(2);
  for (AppendMessage& message : messages) {
    auto body = std::make_shared<Body>();
    CO_RETURN_IF_ERROR(body->Append("Subject: x\r\n\r\nx\r\n"));
    message.body = body;
    message.flags.assign(1, "\\Seen");
    message.internal_date = "01-Jan-2024 01:02:03 +0100";
  }
  const auto appended = co_await Append(session, "INBOX", std::move(messages), LiteralSafety::kCannotBeRefused);
  co_return appended.status();
}

// The fetches and the changes; each may fail.
asio::awaitable<void> UseMessages(Session& session, UidSet uids) {
  const std::function<absl::Status(NewMessage)> take_new = [](const NewMessage& message) {
    if (message.header && message.header->size() > 1 << 20) std::abort();
    return absl::OkStatus();
  };
  const std::function<absl::Status(MessageFlags)> take_flags = [](const MessageFlags&) { return absl::OkStatus(); };
  const std::function<absl::Status(Uid, std::shared_ptr<const Body>)> take_body =
      [](Uid, const std::shared_ptr<const Body>& body) {
        return body ? absl::OkStatus() : absl::InternalError("null");
      };
  CheckPrintable(co_await FetchNew(session, uids, take_new));
  CheckPrintable(co_await FetchNewWithBodies(session, uids, take_new));
  CheckPrintable(co_await FetchFlags(session, uids, ModSeq(7), take_flags));
  CheckPrintable(co_await FetchBodies(session, uids, take_body));
  StoreRequest store;
  store.uids = uids;
  store.flags.assign(1, "\\Flagged");
  store.unchanged_since = ModSeq(9);
  CheckPrintable((co_await StoreFlags(session, store)).status());
  const auto copied = co_await UidCopy(session, uids, "Work");
  CheckPrintable(copied.status());
  if (copied.ok() && copied->uids.size() > uids.size()) std::abort();
  CheckPrintable((co_await UidMove(session, uids, "Work")).status());
  CheckPrintable((co_await UidExpunge(session, uids)).status());
  CheckPrintable(co_await AppendTwo(session));
}

asio::awaitable<void> UseEverything(std::unique_ptr<ByteStream> stream, Clock& clock, asio::any_io_executor executor,
                                    bool& ended) {
  OpenOptions options;
  options.compress = true;
  options.login.username = "alice";
  options.login.password = Password;
  auto opened = co_await OpenSession(std::move(stream), clock, executor, options);
  CheckPrintable(opened.status());
  if (opened.ok()) {
    Session& session = **opened;
    UidSet uids;
    uids.AddRange(1, 9);
    uids.AddRange(4294967295, 4294967295);
    CheckPrintable((co_await Namespace(session)).status());
    CheckPrintable((co_await ListStatus(session, "*")).status());
    SelectRequest request("INBOX");
    request.uid_validity = UidValidity(5);
    request.modseq = ModSeq(6);
    request.known_uids = uids;
    CheckPrintable((co_await Select(session, request)).status());
    CheckPrintable((co_await UidSearchAll(session)).status());
    co_await UseMessages(session, uids);
    CheckPrintable(co_await Unselect(session));
    CheckPrintable(co_await NotifySet(session));
    const std::function<void(std::vector<std::string>)> due = [](const std::vector<std::string>&) {};
    CheckPrintable(co_await WatchLoop(session, std::chrono::minutes(4), due));
    co_await Logout(session);
  }
  ended = true;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view script(reinterpret_cast<const char*>(data) + 1, size - 1);
  const size_t chunk = data[0] % 64 == 0 ? 65536 : data[0] % 64;
  StoppedClock clock;
  asio::io_context context(1);
  std::unique_ptr<ByteStream> stream = std::make_unique<HostileServer>(script, chunk);
  if ((data[0] & kDeflated) != 0) stream = MakeDeflateStream(std::move(stream));
  bool ended = false;
  asio::co_spawn(context, UseEverything(std::move(stream), clock, context.get_executor(), ended), asio::detached);
  context.run();
  if (!ended) std::abort();
  return 0;
}
