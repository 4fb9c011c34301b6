// libFuzzer over the whole client: a session is opened to a hostile server and every command is tried on it.
//
// Input: one byte of options (kDeflated: what follows is a deflate stream, read through that layer; the low bits: how
// the bytes are cut), then the server's script (hostile_server.h).
// Checked: no crash, no command that never ends, and nothing raw for a terminal in the errors.
#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/io_context.hpp>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "engine/imap/commands.h"
#include "engine/imap/open.h"
#include "engine/net/deflate.h"
#include "tests/fuzz/hostile_server.h"

namespace {

using namespace imapmesh;        // NOLINT: a program of one file
using namespace imapmesh::imap;  // NOLINT

constexpr uint8_t kDeflated = 0x80;

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
  std::string_view script(reinterpret_cast<const char*>(data) + 1, size - 1);
  const size_t chunk = data[0] % 64 == 0 ? 65536 : data[0] % 64;
  StoppedClock clock;
  asio::io_context context(1);
  std::unique_ptr<ByteStream> stream = std::make_unique<HostileServer>(script, chunk);
  if ((data[0] & kDeflated) != 0) stream = MakeDeflateStream(std::move(stream), kDeflateNear);
  bool ended = false;
  asio::co_spawn(context, UseEverything(std::move(stream), clock, context.get_executor(), ended), asio::detached);
  context.run();
  if (!ended) std::abort();
  return 0;
}
