// FETCH, SEARCH, STORE, EXPUNGE, COPY and MOVE in the selected mailbox.
#include <algorithm>
#include <deque>
#include <utility>

#include "engine/imap/command_support.h"
#include "engine/imap/commands.h"
#include "engine/imap/plain_header.h"
#include "engine/imap/response_parser.h"

namespace imapmesh::imap {
namespace {

constexpr uint64_t kHeaderBytesMax = 1 << 20;
constexpr std::string_view kBodyItems = " (UID BODY.PEEK[])";

const BodySection* FindSection(const FetchResponse& fetch, bool whole) {
  const auto found = std::find_if(fetch.sections.begin(), fetch.sections.end(), [&](const BodySection& section) {
    return whole ? section.section.empty() && !section.origin : section.section.starts_with("HEADER.FIELDS");
  });
  return found == fetch.sections.end() ? nullptr : &*found;
}

absl::StatusOr<std::string> HeaderText(const BodySection& section) {
  if (section.body == nullptr) return section.bytes.substr(0, kHeaderBytesMax);
  std::string text(std::min<uint64_t>(section.body->size(), kHeaderBytesMax), '\0');
  size_t filled = 0;
  while (filled < text.size()) {
    ASSIGN_OR_RETURN(const size_t count, section.body->ReadAt(filled, text.data() + filled, text.size() - filled));
    if (count == 0) break;
    filled += count;
  }
  text.resize(filled);
  return text;
}

// Passes on what a fetch was asked for, once for each UID: other FETCH responses are changes somebody else made.
class NewMessages {
 public:
  NewMessages(const UidSet& wanted, bool whole, const std::function<absl::Status(NewMessage)>& take)
      : wanted_(wanted), whole_(whole), take_(take) {}

  absl::Status Take(Response& response) {
    auto* fetch = std::get_if<FetchResponse>(&response);
    if (fetch == nullptr || !fetch->uid || !fetch->flags || !fetch->internal_date || !fetch->size) {
      return absl::OkStatus();
    }
    const BodySection* section = FindSection(*fetch, whole_);
    if (section == nullptr || !wanted_.Contains(*fetch->uid) || taken_.Contains(*fetch->uid)) return absl::OkStatus();
    taken_.Add(*fetch->uid);
    NewMessage message;
    if (whole_) {
      message.body = section->body;
      if (message.body != nullptr) message.header = PlainHeaderFields(message.body->memory());
    } else {
      ASSIGN_OR_RETURN(message.header, HeaderText(*section));
    }
    message.uid = *fetch->uid;
    message.flags = WithoutRecent(*std::move(fetch->flags));
    message.internal_date = *std::move(fetch->internal_date);
    message.size = *fetch->size;
    message.modseq = fetch->modseq.value_or(ModSeq());
    message.guid = !fetch->guid.empty() ? fetch->guid : !fetch->email_id.empty() ? fetch->email_id : fetch->gmail_id;
    return take_(std::move(message));
  }

 private:
  const UidSet& wanted_;
  const bool whole_;
  const std::function<absl::Status(NewMessage)>& take_;
  UidSet taken_;
};

class Bodies {
 public:
  Bodies(const UidSet& wanted, const std::function<absl::Status(Uid, std::shared_ptr<const Body>)>& take)
      : wanted_(wanted), take_(take) {}

  absl::Status Take(Response& response) {
    auto* fetch = std::get_if<FetchResponse>(&response);
    if (fetch == nullptr || !fetch->uid) return absl::OkStatus();
    const BodySection* section = FindSection(*fetch, /*whole=*/true);
    if (section == nullptr || !wanted_.Contains(*fetch->uid) || taken_.Contains(*fetch->uid)) return absl::OkStatus();
    taken_.Add(*fetch->uid);
    std::shared_ptr<Body> body = section->body;
    if (body == nullptr) {
      body = std::make_shared<Body>();
      RETURN_IF_ERROR(body->Append(section->bytes));
    }
    return take_(*fetch->uid, std::move(body));
  }

 private:
  const UidSet& wanted_;
  const std::function<absl::Status(Uid, std::shared_ptr<const Body>)>& take_;
  UidSet taken_;
};

// Gathers COPYUID from the untagged OK that MOVE sends and the tagged one that COPY sends.
class Copies {
 public:
  explicit Copies(const UidSet& wanted) : wanted_(wanted) {}

  void Take(const ResponseCode& code) {
    if (code.name != "COPYUID") return;
    const uint64_t count = CountUids(code.source_uids);
    if (count != CountUids(code.target_uids) || count > wanted_.size() || count > kMessagesMax) return;
    const std::vector<Uid> from = ExpandInOrder(code.source_uids, count);
    const std::vector<Uid> to = ExpandInOrder(code.target_uids, count);
    result.uid_validity = code.uid_validity;
    for (size_t i = 0; i < from.size(); ++i) {
      if (wanted_.Contains(from[i]) && result.uids.size() < wanted_.size()) result.uids.emplace_back(from[i], to[i]);
    }
  }

  CopyResult result;

 private:
  const UidSet& wanted_;
};

asio::awaitable<absl::StatusOr<CopyResult>> CopyOrMove(Session& session, std::string name, UidSet uids,
                                                       std::string target_raw) {
  Copies copies(uids);
  ResponseHandler handler = [&copies](Response& response) {
    if (const auto* status = std::get_if<StatusResponse>(&response)) copies.Take(status->code);
    return absl::OkStatus();
  };
  // One after the other: what follows a refusal is not even tried.
  bool any_done = false;
  for (const std::string& piece : uids.ToStrings(kSetBytesMax)) {
    Command command(name);
    command.Text(" ").Text(piece).Text(" ").String(target_raw);
    const absl::StatusOr<StatusResponse> done = co_await session.Run(std::move(command), handler);
    if (!done.ok() && any_done && session.closed().ok()) {
      co_return Error(absl::StatusCode::kUnavailable, "%s (after a part was done)", Message(done.status()));
    }
    if (!done.ok()) co_return done.status();
    copies.Take(done->code);
    any_done = true;
  }
  co_return std::move(copies.result);
}

asio::awaitable<absl::StatusOr<UidSet>> UidSearch(Session& session, std::string criterion) {
  std::vector<UidRange> found;
  ResponseHandler handler = [&found](Response& response) -> absl::Status {
    const auto* search = std::get_if<SearchResponse>(&response);
    if (search == nullptr) return absl::OkStatus();
    const std::vector<UidRange>& ranges = search->numbers.ranges();
    if (found.size() + ranges.size() > kMessagesMax) {
      return Error(absl::StatusCode::kResourceExhausted, "UID SEARCH: the server told of over %d messages",
                   kMessagesMax);
    }
    found.insert(found.end(), ranges.begin(), ranges.end());
    return absl::OkStatus();
  };
  Command command("UID SEARCH");
  if (session.HasCapability("ESEARCH")) command.Text(" RETURN (ALL)");
  command.Text(" ").Text(criterion);
  const absl::StatusOr<StatusResponse> done = co_await session.Run(std::move(command), std::move(handler));
  if (!done.ok()) co_return done.status();
  co_return UidSet::FromRanges(std::move(found));
}

// What EXPUNGE and VANISHED responses tell to be gone; sequence numbers move with each EXPUNGE (RFC 3501
// section 7.4.1).
class Gone {
 public:
  explicit Gone(const UidSet& shown) : order_(shown.Take(kMessagesMax)) {}

  void Take(const Response& response) {
    if (const auto* expunge = std::get_if<ExpungeResponse>(&response)) {
      if (expunge->sequence_number == 0 || expunge->sequence_number > order_.size()) return;
      const auto place = order_.begin() + (expunge->sequence_number - 1);
      uids.push_back(*place);
      order_.erase(place);
    } else if (const auto* vanished = std::get_if<VanishedResponse>(&response)) {
      for (const Uid uid : order_) {
        if (vanished->uids.Contains(uid)) uids.push_back(uid);
      }
    }
  }

  std::vector<Uid> uids;

 private:
  std::vector<Uid> order_;
};

std::string FlagItems(const Session& session) {
  return HasModSeq(session) ? " (UID FLAGS MODSEQ)" : " (UID FLAGS)";
}

absl::Status TakeFlags(Response& response, const UidSet& uids, const std::function<absl::Status(MessageFlags)>& take) {
  auto* fetch = std::get_if<FetchResponse>(&response);
  if (fetch == nullptr || !fetch->uid || !fetch->flags || !uids.Contains(*fetch->uid)) return absl::OkStatus();
  MessageFlags flags;
  flags.uid = *fetch->uid;
  flags.modseq = fetch->modseq.value_or(ModSeq());
  flags.flags = WithoutRecent(*std::move(fetch->flags));
  return take(std::move(flags));
}

constexpr std::string_view kUidExpungeLacks = "UIDPLUS, so single messages cannot be expunged";

// RFC 7162 section 3.1.3: OK or NO, what matters is the set.
absl::Status Stored(const StatusResponse& response, UidSet& modified) {
  modified.Add(response.code.modified);
  if (response.kind == StatusKind::kOk || response.code.name == "MODIFIED") return absl::OkStatus();
  return RefusalStatus("UID STORE", response);
}

SentForUids SendForUids(Session& session, const std::string& name, const UidSet& uids, const std::string& suffix) {
  SentForUids sent;
  for (const std::string& piece : uids.ToStrings(kSetBytesMax)) {
    Command command(name);
    command.Text(" ").Text(piece).Text(suffix);
    absl::StatusOr<std::string> tag = session.Send(std::move(command));
    sent.failed = tag.status();
    if (!tag.ok()) break;
    sent.tags.push_back(*std::move(tag));
  }
  return sent;
}

// The first error, of sending or as `completed` sees it.
asio::awaitable<absl::Status> AwaitForUids(Session& session, SentForUids sent, ResponseHandler handler,
                                           CompletionHandler completed) {
  absl::Status outcome = sent.failed;
  for (std::string& tag : sent.tags) {
    const auto response = co_await session.AwaitCompletion(std::move(tag), handler);
    absl::Status status = response.ok() ? completed(*response) : response.status();
    if (outcome.ok()) outcome = std::move(status);
  }
  co_return outcome;
}

// What a server tells to be gone while it does UID EXPUNGE: by UID with QRESYNC, else by sequence numbers.
class Expunged {
 public:
  absl::Status Take(const Response& response) {
    if (std::holds_alternative<ExpungeResponse>(response)) ++count_;
    const auto* told = std::get_if<VanishedResponse>(&response);
    if (told == nullptr || told->earlier) return absl::OkStatus();
    ranges_.insert(ranges_.end(), told->uids.ranges().begin(), told->uids.ranges().end());
    return absl::OkStatus();
  }

  UidSet Untold(const UidSet& uids) const {
    if (count_ >= uids.size()) return UidSet();
    const UidSet vanished = UidSet::FromRanges(ranges_);
    std::vector<Uid> untold;
    for (const Uid uid : uids.Take(SIZE_MAX)) {
      if (!vanished.Contains(uid)) untold.push_back(uid);
    }
    return UidSet(untold);
  }

 private:
  uint64_t count_ = 0;
  std::vector<UidRange> ranges_;
};

std::string HeaderFields() {
  std::string names;
  for (const std::string_view name : kHeaderFieldNames) names.append(names.empty() ? "" : " ").append(name);
  return "HEADER.FIELDS (" + names + ")";
}

// `whole`: with the message itself, else with its header fields.
std::string NewMessageItems(const Session& session, bool whole) {
  std::string items = " (UID FLAGS INTERNALDATE RFC822.SIZE ";
  if (const std::string identity = IdentityItem(session); !identity.empty()) items += identity + " ";
  return items + "BODY.PEEK[" + (whole ? "" : HeaderFields()) + "])";
}

asio::awaitable<absl::Status> RunFetchNew(Session& session, UidSet uids, bool whole,
                                          std::function<absl::Status(NewMessage)> take) {
  NewMessages messages(uids, whole, take);
  ResponseHandler handler = [&messages](Response& response) { return messages.Take(response); };
  CompletionHandler completed;
  co_return co_await RunForUids(session, "UID FETCH", uids, NewMessageItems(session, whole), std::move(handler),
                                std::move(completed));
}

}  // namespace

std::string IdentityItem(const Session& session) {
  if (session.HasCapability("X-GM-EXT-1")) return "X-GM-MSGID";
  const auto name = session.server_id().find("name");
  if (name != session.server_id().end() && EqualsInAnyCase(name->second, "Dovecot")) return "X-GUID";
  return session.HasCapability("OBJECTID") ? "EMAILID" : "";
}

absl::StatusOr<std::string> SendFetchNew(Session& session, const UidSet& uids) {
  Command command("UID FETCH");
  command.Text(" ").Text(uids.ToString()).Text(NewMessageItems(session, /*whole=*/false));
  return session.Send(std::move(command));
}

asio::awaitable<absl::Status> AwaitFetchNew(Session& session, std::string tag, UidSet uids,
                                            std::function<absl::Status(NewMessage)> take) {
  NewMessages messages(uids, /*whole=*/false, take);
  ResponseHandler handler = [&messages](Response& response) { return messages.Take(response); };
  const absl::StatusOr<StatusResponse> done = co_await session.Await(std::move(tag), std::move(handler));
  co_return done.status();
}

asio::awaitable<absl::Status> FetchNew(Session& session, UidSet uids, std::function<absl::Status(NewMessage)> take) {
  co_return co_await RunFetchNew(session, std::move(uids), /*whole=*/false, std::move(take));
}

asio::awaitable<absl::Status> FetchNewWithBodies(Session& session, UidSet uids,
                                                 std::function<absl::Status(NewMessage)> take) {
  co_return co_await RunFetchNew(session, std::move(uids), /*whole=*/true, std::move(take));
}

asio::awaitable<absl::Status> FetchSizes(Session& session, UidSet uids,
                                         std::function<absl::Status(Uid, uint64_t)> take) {
  ResponseHandler handler = [&uids, &take](Response& response) -> absl::Status {
    const auto* fetch = std::get_if<FetchResponse>(&response);
    if (fetch == nullptr || !fetch->uid || !fetch->size || !uids.Contains(*fetch->uid)) return absl::OkStatus();
    return take(*fetch->uid, *fetch->size);
  };
  CompletionHandler completed;
  co_return co_await RunForUids(session, "UID FETCH", uids, " (UID RFC822.SIZE)", std::move(handler),
                                std::move(completed));
}

asio::awaitable<absl::Status> FetchFlags(Session& session, UidSet uids, ModSeq changed_since,
                                         std::function<absl::Status(MessageFlags)> take) {
  ResponseHandler handler = [&uids, &take](Response& response) { return TakeFlags(response, uids, take); };
  CompletionHandler completed;
  std::string items = FlagItems(session);
  if (changed_since != ModSeq()) items += absl::StrFormat(" (CHANGEDSINCE %d)", changed_since.value);
  co_return co_await RunForUids(session, "UID FETCH", uids, std::move(items), std::move(handler), std::move(completed));
}

SentForUids SendFetchFlags(Session& session, const UidSet& uids) {
  return SendForUids(session, "UID FETCH", uids, FlagItems(session));
}

asio::awaitable<absl::Status> AwaitFetchFlags(Session& session, SentForUids sent, UidSet uids,
                                              std::function<absl::Status(MessageFlags)> take) {
  ResponseHandler handler = [&uids, &take](Response& response) { return TakeFlags(response, uids, take); };
  CompletionHandler completed = [](const StatusResponse& response) {
    return response.kind == StatusKind::kOk ? absl::OkStatus() : RefusalStatus("UID FETCH", response);
  };
  co_return co_await AwaitForUids(session, std::move(sent), std::move(handler), std::move(completed));
}

SentForUids SendFetchBodies(Session& session, const UidSet& uids) {
  return SendForUids(session, "UID FETCH", uids, std::string(kBodyItems));
}

asio::awaitable<absl::Status> AwaitFetchBodies(Session& session, SentForUids sent, UidSet uids,
                                               std::function<absl::Status(Uid, std::shared_ptr<const Body>)> take) {
  Bodies bodies(uids, take);
  ResponseHandler handler;
  if (take) handler = [&bodies](Response& response) { return bodies.Take(response); };
  CompletionHandler completed = [](const StatusResponse& response) {
    return response.kind == StatusKind::kOk ? absl::OkStatus() : RefusalStatus("UID FETCH", response);
  };
  co_return co_await AwaitForUids(session, std::move(sent), std::move(handler), std::move(completed));
}

asio::awaitable<absl::Status> FetchBodies(Session& session, UidSet uids,
                                          std::function<absl::Status(Uid, std::shared_ptr<const Body>)> take) {
  Bodies bodies(uids, take);
  ResponseHandler handler = [&bodies](Response& response) { return bodies.Take(response); };
  CompletionHandler completed;
  co_return co_await RunForUids(session, "UID FETCH", uids, std::string(kBodyItems), std::move(handler),
                                std::move(completed));
}

asio::awaitable<absl::StatusOr<Uid>> FetchLastUid(Session& session) {
  Uid last;
  if (session.exists() == 0) co_return last;
  ResponseHandler handler = [&last](Response& response) {
    const auto* fetch = std::get_if<FetchResponse>(&response);
    if (fetch != nullptr && fetch->uid && *fetch->uid > last) last = *fetch->uid;
    return absl::OkStatus();
  };
  Command command("UID FETCH");
  command.Text(" * (UID)");
  const absl::StatusOr<StatusResponse> done = co_await session.Run(std::move(command), std::move(handler));
  if (!done.ok()) co_return done.status();
  co_return last;
}

asio::awaitable<absl::StatusOr<UidSet>> UidSearchAll(Session& session) {
  return UidSearch(session, "ALL");
}

asio::awaitable<absl::StatusOr<UidSet>> UidSearchDeleted(Session& session) {
  return UidSearch(session, "DELETED");
}

asio::awaitable<std::vector<absl::Status>> StoreTogether(Session& session, std::vector<StoreRequest> requests) {
  std::vector<absl::Status> outcomes(requests.size());
  for (size_t first = 0, next = 0; first < requests.size(); first = next) {
    std::vector<SentForUids> sent;
    for (size_t bytes = 0; next < requests.size() && bytes < kCommandsInFlight * kSetBytesMax; ++next) {
      bytes += requests[next].uids.ToString().size();
      sent.push_back(SendStore(session, requests[next]));
    }
    for (size_t i = first; i < next; ++i) {
      const absl::StatusOr<UidSet> stored = co_await AwaitStore(session, std::move(sent[i - first]));
      outcomes[i] = stored.status();
    }
  }
  co_return outcomes;
}

asio::awaitable<absl::StatusOr<UidSet>> StoreFlags(Session& session, StoreRequest request) {
  UidSet modified;
  if (request.flags.empty()) co_return modified;
  CO_RETURN_IF_ERROR(CheckFlags("UID STORE", request.flags));
  ResponseHandler handler;
  CompletionHandler completed = [&modified](const StatusResponse& response) { return Stored(response, modified); };
  CO_RETURN_IF_ERROR(co_await RunForUids(session, "UID STORE", request.uids, StoreSuffix(request), std::move(handler),
                                         std::move(completed)));
  co_return modified;
}

asio::awaitable<absl::StatusOr<UidSet>> UidExpunge(Session& session, UidSet uids) {
  if (!session.HasCapability("UIDPLUS")) co_return Missing(kUidExpungeLacks);
  Expunged expunged;
  ResponseHandler handler = [&](Response& response) { return expunged.Take(response); };
  CompletionHandler completed;
  CO_RETURN_IF_ERROR(co_await RunForUids(session, "UID EXPUNGE", uids, "", std::move(handler), std::move(completed)));
  co_return expunged.Untold(uids);
}

SentForUids SendStore(Session& session, const StoreRequest& request) {
  SentForUids sent;
  sent.failed = CheckFlags("UID STORE", request.flags);
  if (request.flags.empty() || !sent.failed.ok()) return sent;
  return SendForUids(session, "UID STORE", request.uids, StoreSuffix(request));
}

asio::awaitable<absl::StatusOr<UidSet>> AwaitStore(Session& session, SentForUids sent) {
  UidSet modified;
  ResponseHandler handler;
  CompletionHandler completed = [&modified](const StatusResponse& response) { return Stored(response, modified); };
  CO_RETURN_IF_ERROR(co_await AwaitForUids(session, std::move(sent), std::move(handler), std::move(completed)));
  co_return modified;
}

SentForUids SendUidExpunge(Session& session, const UidSet& uids) {
  if (session.HasCapability("UIDPLUS")) return SendForUids(session, "UID EXPUNGE", uids, "");
  SentForUids sent;
  sent.failed = Missing(kUidExpungeLacks);
  return sent;
}

asio::awaitable<absl::StatusOr<UidSet>> AwaitUidExpunge(Session& session, SentForUids sent, UidSet uids) {
  Expunged expunged;
  ResponseHandler handler = [&](Response& response) { return expunged.Take(response); };
  CompletionHandler completed = [](const StatusResponse& response) {
    return response.kind == StatusKind::kOk ? absl::OkStatus() : RefusalStatus("UID EXPUNGE", response);
  };
  CO_RETURN_IF_ERROR(co_await AwaitForUids(session, std::move(sent), std::move(handler), std::move(completed)));
  co_return expunged.Untold(uids);
}

asio::awaitable<absl::StatusOr<UidSet>> ExpungeMarked(Session& session, UidSet shown) {
  Gone gone(shown);
  ResponseHandler handler = [&gone](Response& response) {
    gone.Take(response);
    return absl::OkStatus();
  };
  Command command("EXPUNGE");
  const absl::StatusOr<StatusResponse> done = co_await session.Run(std::move(command), std::move(handler));
  if (!done.ok()) co_return done.status();
  co_return UidSet(gone.uids);
}

asio::awaitable<absl::StatusOr<CopyResult>> UidCopy(Session& session, UidSet uids, std::string target_raw) {
  return CopyOrMove(session, "UID COPY", std::move(uids), std::move(target_raw));
}

asio::awaitable<absl::StatusOr<CopyResult>> UidMove(Session& session, UidSet uids, std::string target_raw) {
  if (!session.HasCapability("MOVE")) co_return Missing("MOVE");
  co_return co_await CopyOrMove(session, "UID MOVE", std::move(uids), std::move(target_raw));
}

}  // namespace imapmesh::imap
