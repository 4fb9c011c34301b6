// NAMESPACE, LIST with STATUS, SELECT, and the commands that make, rename and remove mailboxes.
#include <deque>
#include <unordered_map>
#include <utility>

#include "engine/imap/command_support.h"
#include "engine/imap/commands.h"
#include "engine/imap/response_parser.h"

namespace imapmesh::imap {
namespace {

constexpr size_t kChangesMax = 2'000'000;
constexpr size_t kFlagBytesMax = 256 << 20;    // of the flags told by one SELECT, together
constexpr size_t kListingBytesMax = 64 << 20;  // of the names and attributes told by one LIST, together
constexpr size_t kIdentityBytesMax = 200;
constexpr char kCyrusUniqueId[] = "/shared/vendor/cmu/cyrus-imapd/uniqueid";

// LIST and STATUS responses joined by name.
class Listing {
 public:
  absl::Status Take(Response& response) {
    if (auto* list = std::get_if<ListResponse>(&response)) return TakeList(std::move(*list));
    if (auto* status = std::get_if<MailboxStatusResponse>(&response)) {
      const auto found = places_.find(Key(status->mailbox));
      if (found != places_.end()) mailboxes_[found->second].status = std::move(*status);
    } else if (const auto* metadata = std::get_if<MetadataResponse>(&response)) {
      TakeIdentity(*metadata);
    }
    return absl::OkStatus();
  }
  std::vector<ListedMailbox>& mailboxes() { return mailboxes_; }
  // The last call.
  std::vector<ListedMailbox> Finish() {
    for (auto& [place, identity] : identities_) {
      if (mailboxes_[place].status) mailboxes_[place].status->mailbox_id = std::move(identity);
    }
    return std::move(mailboxes_);
  }

 private:
  // INBOX alone is the same in any case.
  static std::string Key(const std::string& name) { return EqualsInAnyCase(name, "INBOX") ? "INBOX" : name; }

  absl::Status TakeList(ListResponse list) {
    const auto [place, added] = places_.try_emplace(Key(list.mailbox), mailboxes_.size());
    if (list.subscriptions_only) {
      // A name that is subscribed but not there came only by LSUB.
      if (!added) mailboxes_[place->second].subscribed = true;
      if (added) places_.erase(place);
      return absl::OkStatus();
    }
    bytes_ += 2 * list.mailbox.size() + list.old_name.size();
    for (const std::string& attribute : list.attributes) bytes_ += sizeof(std::string) + attribute.size();
    if (bytes_ > kListingBytesMax) {
      return Error(absl::StatusCode::kResourceExhausted, "LIST: the server told of names of over %d bytes",
                   kListingBytesMax);
    }
    if (mailboxes_.size() >= kMailboxesMax) {
      return Error(absl::StatusCode::kResourceExhausted, "LIST: the server has over %d mailboxes", kMailboxesMax);
    }
    if (added) mailboxes_.emplace_back();
    ListedMailbox& mailbox = mailboxes_[place->second];
    mailbox.subscribed |= list.HasAttribute("\\Subscribed");
    mailbox.list = std::move(list);
    return absl::OkStatus();
  }

  void TakeIdentity(const MetadataResponse& metadata) {
    const auto found = places_.find(Key(metadata.mailbox));
    for (const auto& [entry, value] : metadata.entries) {
      const bool tells = entry == kCyrusUniqueId && value && value->size() <= kIdentityBytesMax;
      if (tells && found != places_.end()) identities_[found->second] = *value;
    }
  }

  std::vector<ListedMailbox> mailboxes_;
  std::unordered_map<std::string, size_t> places_;
  std::unordered_map<size_t, std::string> identities_;  // by place, told as annotations
  size_t bytes_ = 0;
};

bool IsCyrus(const Session& session) {
  const auto name = session.server_id().find("name");
  return name != session.server_id().end() && name->second.starts_with("Cyrus");
}

// It keeps a mailbox's UIDVALIDITY when it is renamed, and gives one to all that are made within a second: without
// their identity a mailbox that was renamed to another's name would be taken for that one.
std::string IdentityOption(const Session& session, const ListItems& wanted) {
  const bool tells = wanted.identity && IsCyrus(session) && session.HasCapability("LIST-METADATA");
  return tells ? std::string(" METADATA (\"") + kCyrusUniqueId + "\")" : "";
}

std::string StatusItems(const Session& session, ListItems wanted) {
  std::string items = HasModSeq(session) ? "UIDVALIDITY UIDNEXT HIGHESTMODSEQ" : "UNSEEN UIDVALIDITY UIDNEXT";
  if (wanted.counts) items = "MESSAGES " + items;
  const std::string identity = wanted.identity ? MailboxIdentityItem(session) : "";
  return "(" + items + (identity.empty() ? "" : " " + identity) + ")";
}

bool MaySelect(const ListResponse& list) {
  return !list.HasAttribute("\\Noselect") && !list.HasAttribute("\\NonExistent");
}

bool SaysThatItIsNotThere(const StatusResponse& response) {
  if (response.kind != StatusKind::kNo) return false;
  const auto tells = [&](std::string_view words) { return response.text.find(words) != std::string::npos; };
  return response.code.name == "NONEXISTENT" || tells("doesn't exist") || tells("does not exist");
}

// STATUS of those that have none yet, pipelined; one that is refused leaves its mailbox without a status.
asio::awaitable<absl::Status> AskMissingStatus(Session& session, ListItems wanted, Listing& listing) {
  ResponseHandler handler = [&listing](Response& response) { return listing.Take(response); };
  const std::string items = StatusItems(session, wanted);
  std::vector<size_t> missing;
  for (size_t i = 0; i < listing.mailboxes().size(); ++i) {
    const ListedMailbox& mailbox = listing.mailboxes()[i];
    if (MaySelect(mailbox.list) && !mailbox.status) missing.push_back(i);
  }
  std::deque<std::string> tags;
  size_t answered = 0;
  for (size_t next = 0; next < missing.size() || !tags.empty();) {
    while (next < missing.size() && tags.size() < kCommandsInFlight) {
      Command command("STATUS");
      command.Text(" ").String(listing.mailboxes()[missing[next++]].list.mailbox).Text(" ").Text(items);
      absl::StatusOr<std::string> tag = session.Send(std::move(command));
      if (!tag.ok()) co_return tag.status();
      tags.push_back(*std::move(tag));
    }
    std::string tag = std::move(tags.front());
    tags.pop_front();
    const absl::StatusOr<StatusResponse> response = co_await session.AwaitCompletion(std::move(tag), handler);
    if (!response.ok()) co_return Annotate(response.status(), "STATUS");
    ListResponse& list = listing.mailboxes()[missing[answered++]].list;
    if (SaysThatItIsNotThere(*response)) list.attributes.push_back("\\NonExistent");
  }
  co_return absl::OkStatus();
}

// What SELECT tells, gathered.
class Selection {
 public:
  absl::Status Take(Response& response) {
    if (auto* status = std::get_if<StatusResponse>(&response)) {
      TakeCode(status->code);
    } else if (auto* flags = std::get_if<FlagsResponse>(&response)) {
      result.flags = std::move(flags->flags);
    } else if (auto* exists = std::get_if<ExistsResponse>(&response)) {
      result.exists = exists->count;
    } else if (std::holds_alternative<ExpungeResponse>(response)) {
      if (result.exists > 0) --result.exists;
    } else if (auto* vanished = std::get_if<VanishedResponse>(&response)) {
      return TakeVanished(*vanished);
    } else if (auto* fetch = std::get_if<FetchResponse>(&response)) {
      return TakeChange(*fetch);
    }
    return absl::OkStatus();
  }

  // The last call.
  SelectResult Finish() {
    result.vanished = UidSet::FromRanges(std::move(vanished_));
    return std::move(result);
  }

  SelectResult result;

 private:
  void TakeCode(const ResponseCode& code) {
    if (code.name == "CLOSED") {
      result = SelectResult();  // what came before was about the mailbox selected before (RFC 7162 section 3.2.11)
      vanished_.clear();
    } else if (code.name == "UIDVALIDITY") {
      result.uid_validity = UidValidity(static_cast<uint32_t>(code.number));
    } else if (code.name == "UIDNEXT") {
      result.uid_next = Uid(static_cast<uint32_t>(code.number));
    } else if (code.name == "HIGHESTMODSEQ") {
      result.highest_modseq = ModSeq(code.number);
    } else if (code.name == "NOMODSEQ") {
      result.highest_modseq = ModSeq();
    } else if (code.name == "PERMANENTFLAGS") {
      result.permanent_flags = code.words;
    } else if (code.name == "UIDNOTSTICKY") {
      result.uid_not_sticky = true;
    }
  }

  absl::Status TakeVanished(const VanishedResponse& vanished) {
    if (!vanished.earlier) {
      result.exists -= static_cast<uint32_t>(std::min<uint64_t>(result.exists, vanished.uids.size()));
    }
    const std::vector<UidRange>& ranges = vanished.uids.ranges();
    if (vanished_.size() + ranges.size() > kChangesMax) return TooMany();
    vanished_.insert(vanished_.end(), ranges.begin(), ranges.end());
    return absl::OkStatus();
  }

  absl::Status TakeChange(FetchResponse& fetch) {
    if (!fetch.uid || !fetch.flags) return absl::OkStatus();
    for (const std::string& flag : *fetch.flags) flag_bytes_ += sizeof(std::string) + flag.size();
    if (result.changed.size() >= kChangesMax || flag_bytes_ > kFlagBytesMax) return TooMany();
    MessageFlags flags;
    flags.uid = *fetch.uid;
    flags.modseq = fetch.modseq.value_or(ModSeq());
    flags.flags = WithoutRecent(*std::move(fetch.flags));
    result.changed.push_back(std::move(flags));
    return absl::OkStatus();
  }

  static absl::Status TooMany() {
    return Error(absl::StatusCode::kResourceExhausted, "SELECT: the server told of over %d changes", kChangesMax);
  }

  std::vector<UidRange> vanished_;
  size_t flag_bytes_ = 0;
};

asio::awaitable<absl::Status> RunOnMailbox(Session& session, std::string name, std::string mailbox_raw) {
  Command command(name);
  command.Text(" ").String(mailbox_raw);
  co_return co_await RunPlain(session, std::move(command));
}

}  // namespace

std::string MailboxIdentityItem(const Session& session) {
  // Cyrus 3.6 answers MAILBOXID with bytes that are none, and no IMAP; IdentityOption asks it for the same otherwise.
  if (IsCyrus(session)) return "";
  if (session.HasCapability("OBJECTID")) return "MAILBOXID";
  return IdentityItem(session) == "X-GUID" ? "X-GUID" : "";
}

asio::awaitable<absl::StatusOr<NamespaceResponse>> Namespace(Session& session) {
  if (!session.HasCapability("NAMESPACE")) co_return Missing("NAMESPACE");
  NamespaceResponse result;
  ResponseHandler handler = [&result](Response& response) {
    if (auto* namespaces = std::get_if<NamespaceResponse>(&response)) result = std::move(*namespaces);
    return absl::OkStatus();
  };
  Command command("NAMESPACE");
  const absl::StatusOr<StatusResponse> done = co_await session.Run(std::move(command), std::move(handler));
  if (!done.ok()) co_return done.status();
  co_return result;
}

asio::awaitable<absl::StatusOr<std::string>> HierarchyDelimiter(Session& session) {
  std::string delimiter;
  ResponseHandler handler = [&delimiter](Response& response) {
    if (auto* list = std::get_if<ListResponse>(&response)) delimiter = list->delimiter;
    return absl::OkStatus();
  };
  Command command("LIST");
  command.Text(" \"\" \"\"");
  const absl::StatusOr<StatusResponse> done = co_await session.Run(std::move(command), std::move(handler));
  if (!done.ok()) co_return done.status();
  co_return delimiter;
}

asio::awaitable<absl::StatusOr<std::vector<ListedMailbox>>> ListStatus(Session& session, std::string pattern,
                                                                       ListItems items, ResponseHandler also) {
  Listing listing;
  ResponseHandler handler = [&](Response& response) {
    const absl::Status taken = also ? also(response) : absl::OkStatus();
    return taken.ok() ? listing.Take(response) : taken;
  };
  Command list("LIST");
  list.Text(" \"\" ").String(pattern);
  const bool one_exchange = session.HasCapability("LIST-STATUS");
  const std::string roles = session.HasCapability("SPECIAL-USE") ? "SPECIAL-USE " : "";
  if (one_exchange)
    list.Text(" RETURN (SUBSCRIBED " + roles + "STATUS " + StatusItems(session, items) +
              IdentityOption(session, items) + ")");
  const absl::StatusOr<StatusResponse> listed = co_await session.Run(std::move(list), handler);
  if (!listed.ok()) co_return listed.status();
  if (!one_exchange) {
    Command subscriptions("LSUB");
    subscriptions.Text(" \"\" ").String(pattern);
    const absl::StatusOr<StatusResponse> done = co_await session.Run(std::move(subscriptions), handler);
    if (!done.ok()) co_return done.status();
  }
  // Also where LIST gave none: with its index of mailboxes Dovecot's Maildir++ lists a parent as a mailbox that was
  // deleted and has children.
  CO_RETURN_IF_ERROR(co_await AskMissingStatus(session, items, listing));
  co_return listing.Finish();
}

std::string SpecialUse(const ListResponse& list) {
  // \\All and \\Flagged are views of other mailboxes' mail.
  for (const char* role : {"\\Sent", "\\Trash", "\\Drafts", "\\Junk", "\\Archive"}) {
    if (list.HasAttribute(role)) return role;
  }
  return "";
}

asio::awaitable<absl::StatusOr<bool>> Exists(Session& session, std::string mailbox_raw) {
  bool exists = false;
  // What LIST takes for wildcards in the name brings others, too.
  ResponseHandler handler = [&](Response& response) {
    const auto* list = std::get_if<ListResponse>(&response);
    exists |= list != nullptr && !list->subscriptions_only && list->mailbox == mailbox_raw && MaySelect(*list);
    return absl::OkStatus();
  };
  Command command("LIST");
  command.Text(" \"\" ").String(mailbox_raw);
  const absl::StatusOr<StatusResponse> done = co_await session.Run(std::move(command), std::move(handler));
  if (!done.ok()) co_return done.status();
  if (!exists) co_return false;
  // Listed is not always there (ListStatus).
  Command status("STATUS");
  status.Text(" ").String(mailbox_raw).Text(" (UIDVALIDITY)");
  absl::StatusOr<std::string> tag = session.Send(std::move(status));
  if (!tag.ok()) co_return tag.status();
  ResponseHandler none;
  const absl::StatusOr<StatusResponse> told = co_await session.AwaitCompletion(*std::move(tag), std::move(none));
  if (!told.ok()) co_return told.status();
  co_return !SaysThatItIsNotThere(*told);
}

namespace {

// What STATUS tells of the selected mailbox may be stale (RFC 3501 section 6.3.10), and is at Dovecot: it is left
// before, in the same exchange.
asio::awaitable<absl::StatusOr<MailboxStatusResponse>> StatusOf(Session& session, std::string mailbox_raw,
                                                                std::string_view item) {
  MailboxStatusResponse told;
  ResponseHandler handler = [&](Response& response) {
    const auto* status = std::get_if<MailboxStatusResponse>(&response);
    if (status != nullptr && status->mailbox == mailbox_raw) told = *status;
    return absl::OkStatus();
  };
  absl::StatusOr<std::string> unselect = std::string();
  if (session.selected() == mailbox_raw) unselect = SendUnselect(session);
  if (!unselect.ok()) co_return unselect.status();
  Command command("STATUS");
  command.Text(" ").String(mailbox_raw).Text(" (").Text(item).Text(")");
  const absl::StatusOr<StatusResponse> done = co_await session.Run(std::move(command), std::move(handler));
  if (!unselect->empty()) {
    const absl::Status left = co_await AwaitUnselect(session, *std::move(unselect));
    if (!left.ok()) co_return left;
  }
  if (!done.ok()) co_return done.status();
  co_return told;
}

}  // namespace

asio::awaitable<absl::StatusOr<uint32_t>> CountMessages(Session& session, std::string mailbox_raw) {
  const auto status = co_await StatusOf(session, std::move(mailbox_raw), "MESSAGES");
  if (!status.ok()) co_return status.status();
  if (!status->messages) co_return absl::InternalError("STATUS: the server did not say how many messages there are");
  co_return *status->messages;
}

asio::awaitable<absl::StatusOr<NextUidResult>> NextUid(Session& session, std::string mailbox_raw) {
  const auto status = co_await StatusOf(session, std::move(mailbox_raw), "UIDVALIDITY UIDNEXT");
  if (!status.ok()) co_return status.status();
  NextUidResult next;
  next.uid_validity = status->uid_validity.value_or(UidValidity());
  next.uid = status->uid_next.value_or(Uid());
  co_return next;
}

absl::StatusOr<SentSelect> SendSelect(Session& session, SelectRequest request) {
  Command command(request.read_only ? "EXAMINE" : "SELECT");
  command.Text(" ").String(request.mailbox_raw);
  const bool resync =
      session.enabled().contains("QRESYNC") && request.uid_validity != UidValidity() && request.modseq != ModSeq();
  if (resync) {
    std::string known = request.known_uids.ToString();
    known = known.empty() || known.size() > kSetBytesMax ? "" : " " + known;
    command.Text(absl::StrFormat(" (QRESYNC (%d %d%s))", request.uid_validity.value, request.modseq.value, known));
  } else if (HasModSeq(session)) {
    command.Text(" (CONDSTORE)");
  }
  absl::StatusOr<std::string> tag = session.Send(std::move(command));
  if (!tag.ok()) return tag.status();
  return SentSelect(std::move(request), *std::move(tag), resync);
}

asio::awaitable<absl::StatusOr<SelectResult>> AwaitSelect(Session& session, SentSelect sent) {
  Selection selection;
  ResponseHandler handler = [&selection](Response& response) { return selection.Take(response); };
  session.set_selected("");
  const absl::StatusOr<StatusResponse> done = co_await session.Await(sent.tag, std::move(handler));
  if (!done.ok()) co_return done.status();
  SelectResult result = selection.Finish();
  session.set_selected(sent.request.mailbox_raw, result.uid_validity);
  result.read_only = sent.request.read_only || done->code.name == "READ-ONLY";
  if (!sent.resync || result.uid_validity != sent.request.uid_validity) {
    result.vanished = UidSet();
    result.changed.clear();
  }
  co_return result;
}

asio::awaitable<absl::StatusOr<SelectResult>> Select(Session& session, SelectRequest request) {
  absl::StatusOr<SentSelect> sent = SendSelect(session, std::move(request));
  if (!sent.ok()) co_return sent.status();
  co_return co_await AwaitSelect(session, *std::move(sent));
}

absl::StatusOr<std::string> SendUnselect(Session& session) {
  session.set_selected("");
  Command command(session.HasCapability("UNSELECT") ? "UNSELECT" : "EXAMINE");
  // A mailbox that cannot be opened leaves none selected (RFC 3501 section 6.3.1).
  if (command.name() == "EXAMINE") command.Text(" ").String("imapmesh-no-such-mailbox");
  return session.Send(std::move(command));
}

asio::awaitable<absl::Status> AwaitUnselect(Session& session, std::string tag) {
  ResponseHandler handler;
  const absl::StatusOr<StatusResponse> done = co_await session.AwaitCompletion(std::move(tag), std::move(handler));
  co_return done.status();
}

asio::awaitable<absl::Status> Unselect(Session& session) {
  if (session.selected().empty()) co_return absl::OkStatus();
  absl::StatusOr<std::string> tag = SendUnselect(session);
  if (!tag.ok()) co_return tag.status();
  co_return co_await AwaitUnselect(session, *std::move(tag));
}

asio::awaitable<absl::Status> Create(Session& session, std::string mailbox_raw) {
  return RunOnMailbox(session, "CREATE", std::move(mailbox_raw));
}

asio::awaitable<absl::Status> Delete(Session& session, std::string mailbox_raw) {
  return RunOnMailbox(session, "DELETE", std::move(mailbox_raw));
}

asio::awaitable<absl::Status> Rename(Session& session, std::string from_raw, std::string to_raw) {
  Command command("RENAME");
  command.Text(" ").String(from_raw).Text(" ").String(to_raw);
  co_return co_await RunPlain(session, std::move(command));
}

asio::awaitable<absl::Status> Subscribe(Session& session, std::string mailbox_raw) {
  return RunOnMailbox(session, "SUBSCRIBE", std::move(mailbox_raw));
}

asio::awaitable<absl::Status> Unsubscribe(Session& session, std::string mailbox_raw) {
  return RunOnMailbox(session, "UNSUBSCRIBE", std::move(mailbox_raw));
}

}  // namespace imapmesh::imap
