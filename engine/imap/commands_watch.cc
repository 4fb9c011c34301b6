// NOTIFY and IDLE: being told that something changed.
#include <set>
#include <utility>

#include "engine/imap/command_support.h"
#include "engine/imap/commands.h"

namespace imapmesh::imap {
namespace {

constexpr size_t kNamesMax = 10'000;

// The mailboxes that some responses point at.
class DueNames {
 public:
  explicit DueNames(const Session& session) : session_(session) {}

  absl::Status Take(const Response& response) {
    if (const auto* status = std::get_if<MailboxStatusResponse>(&response)) {
      Add(status->mailbox);
    } else if (const auto* list = std::get_if<ListResponse>(&response)) {
      Add(list->mailbox);
      if (!list->old_name.empty()) Add(list->old_name);
      listed_ = true;
    } else if (std::holds_alternative<ExistsResponse>(response) || std::holds_alternative<ExpungeResponse>(response) ||
               std::holds_alternative<VanishedResponse>(response) || std::holds_alternative<FetchResponse>(response)) {
      if (session_.selected().empty())
        any_ = true;
      else
        Add(session_.selected());
    } else if (const auto* text = std::get_if<StatusResponse>(&response);
               text != nullptr && text->code.name == "NOTIFICATIONOVERFLOW") {
      any_ = true;
      return absl::ResourceExhaustedError("NOTIFY: the server gave up telling of changes (NOTIFICATIONOVERFLOW)");
    }
    return absl::OkStatus();
  }

  // Tells `due` and begins anew.
  void Tell(const std::function<void(std::vector<std::string>)>& due) {
    if (!any_ && names_.empty()) return;
    std::vector<std::string> names(names_.begin(), names_.end());
    if (any_) names.clear();
    names_.clear();
    any_ = false;
    due(std::move(names));
    // Made, renamed, deleted, subscribed: what that means only a listing tells.
    if (std::exchange(listed_, false)) due({});
  }

 private:
  void Add(const std::string& name) {
    if (names_.size() < kNamesMax)
      names_.insert(name);
    else
      any_ = true;
  }

  const Session& session_;
  std::set<std::string> names_;
  bool any_ = false;
  bool listed_ = false;
};

// Waits within IDLE until `end`, telling as things happen. False when the server ended the IDLE by itself.
asio::awaitable<absl::StatusOr<bool>> WaitInIdle(Session& session, Duration end, DueNames& names,
                                                 const std::function<void(std::vector<std::string>)>& due) {
  while (true) {
    const Duration left = end - session.clock().Now();
    if (left <= Duration::zero()) co_return true;
    CO_ASSIGN_OR_RETURN(std::optional<Response> response, co_await session.WaitForResponse(left));
    // All that came together is told together.
    absl::Status status;
    while (response && status.ok()) {
      const auto* completion = std::get_if<StatusResponse>(&*response);
      if (completion != nullptr && !completion->tag.empty()) {
        names.Tell(due);
        co_return false;
      }
      status = names.Take(*response);
      CO_ASSIGN_OR_RETURN(response, co_await session.WaitForResponse(Duration::zero()));
    }
    names.Tell(due);
    CO_RETURN_IF_ERROR(status);
  }
}

}  // namespace

asio::awaitable<absl::Status> NotifySet(Session& session) {
  if (!session.HasCapability("NOTIFY")) co_return Missing("NOTIFY");
  Command command("NOTIFY SET");
  command.Text(" (personal (MessageNew MessageExpunge FlagChange MailboxName SubscriptionChange))");
  const absl::Status status = co_await RunPlain(session, std::move(command));
  // Refused, not broken: this server cannot push what is needed.
  if (!status.ok() && session.closed().ok()) {
    co_return absl::Status(absl::StatusCode::kUnimplemented, status.message());
  }
  co_return status;
}

asio::awaitable<absl::Status> WatchLoop(Session& session, Duration refresh,
                                        std::function<void(std::vector<std::string>)> due) {
  if (!session.HasCapability("IDLE")) co_return Missing("IDLE");
  DueNames names(session);
  ResponseHandler handler = [&names](Response& response) { return names.Take(response); };
  while (true) {
    // Dovecot tells of mailboxes that are not selected only while a command runs: within IDLE.
    Command command("IDLE");
    absl::StatusOr<std::string> tag = session.Send(std::move(command));
    if (!tag.ok()) co_return tag.status();
    const absl::StatusOr<std::string> accepted = co_await session.AwaitContinuation(*tag, handler);
    names.Tell(due);
    if (!accepted.ok()) co_return accepted.status();
    const Duration end = session.clock().Now() + refresh;
    CO_ASSIGN_OR_RETURN(const bool idling, co_await WaitInIdle(session, end, names, due));
    if (idling) CO_RETURN_IF_ERROR(co_await session.SendLine("DONE"));
    const absl::StatusOr<StatusResponse> done = co_await session.Await(*tag, handler);
    names.Tell(due);
    if (!done.ok()) co_return done.status();
  }
}

}  // namespace imapmesh::imap
