#include "engine/replica/imap_replica.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "base/printable.h"
#include "engine/imap/commands.h"
#include "engine/imap/date_time.h"
#include "engine/replica/header_text.h"
#include "engine/replica/imap_change.h"
#include "engine/replica/imap_expunge.h"
#include "engine/replica/imap_fetch.h"
#include "engine/replica/imap_observe.h"

namespace imapmesh {
namespace {

constexpr size_t kMaxAppend = 100;
constexpr size_t kQuirksShown = 100;
constexpr Duration kIdleRefresh = std::chrono::minutes(5);

// RFC 3501 section 2.3.2: every server takes these in an APPEND.
bool IsSystemFlag(std::string_view flag) {
  static constexpr std::string_view kFlags[] = {"\\Seen", "\\Answered", "\\Flagged", "\\Deleted", "\\Draft"};
  return std::find(std::begin(kFlags), std::end(kFlags), flag) != std::end(kFlags);
}

std::string DescribeIgnored(const imap::Capabilities& ignored) {
  std::string names;
  for (const std::string& name : ignored) names += (names.empty() ? "" : ", ") + Printable(name);
  return "not used, as the topology says (ignore_capabilities): " + names;
}

ImapReplicaOptions WithMemory(ImapReplicaOptions options) {
  if (options.open.memory == nullptr) options.open.memory = std::make_shared<imap::ServerMemory>();
  return options;
}

}  // namespace

ImapReplica::ImapReplica(asio::any_io_executor executor, Clock& clock, Dialer& dialer, ImapReplicaOptions options)
    : executor_(executor),
      clock_(clock),
      dialer_(dialer),
      options_(WithMemory(std::move(options))),
      expunged_(executor),
      pool_(executor, clock, options_.max_connections, [this] { return Open(); }),
      flag_names_(options_.keyword_map) {}

absl::Status ImapReplica::Explain(const absl::Status& status, std::string_view mailbox, std::string_view what) const {
  if (status.ok()) return status;
  std::string prefix = "replica " + options_.name + ": ";
  if (!mailbox.empty()) prefix += "mailbox " + Printable(mailbox) + ": ";
  return Annotate(status, prefix + std::string(what));
}

// ---- connections

asio::awaitable<absl::StatusOr<std::unique_ptr<imap::Session>>> ImapReplica::Open() {
  const bool believed = !options_.open.memory->distrusted;
  auto session = co_await OpenOnce();
  // What was remembered of the server may be why: one more attempt goes step by step.
  const bool again = !session.ok() && believed && options_.open.memory->distrusted;
  if (again) session = co_await OpenOnce();
  co_return session;
}

asio::awaitable<absl::StatusOr<std::unique_ptr<imap::Session>>> ImapReplica::OpenOnce() {
  Endpoint endpoint = options_.endpoint;
  auto stream = co_await dialer_.Dial(endpoint);
  if (!stream.ok()) co_return stream.status();
  imap::OpenOptions open = options_.open;
  std::optional<imap::NamespaceResponse> namespaces;
  if (!knows_names_) open.take_namespaces = [&](imap::NamespaceResponse told) { namespaces = std::move(told); };
  auto session = co_await imap::OpenSession(*std::move(stream), clock_, executor_, std::move(open));
  if (!session.ok()) co_return Annotate(session.status(), Describe(options_.endpoint));
  CO_RETURN_IF_ERROR(co_await LearnServer(**session, std::move(namespaces)));
  co_return session;
}

asio::awaitable<absl::Status> ImapReplica::LearnServer(imap::Session& session,
                                                       std::optional<imap::NamespaceResponse> namespaces) {
  const auto& id = session.server_id();
  if (const auto name = id.find("name"); name != id.end()) {
    info_.software = Printable(name->second);
    if (const auto version = id.find("version"); version != id.end())
      info_.software += " " + Printable(version->second);
  }
  info_.capabilities.assign(session.capabilities().begin(), session.capabilities().end());
  info_.can_push = session.HasCapability("NOTIFY");
  multi_append_ = session.HasCapability("MULTIAPPEND");
  has_uidplus_ = session.HasCapability("UIDPLUS");
  searches_known_ = imap::CanSearchKnown(session);
  takes_unasked_literals_ = imap::TakesUnaskedLiterals(session);
  LearnTier(session);
  if (knows_names_) co_return absl::OkStatus();
  std::optional<std::string> delimiter;
  std::string prefix;
  std::vector<std::string> foreign;
  if (namespaces) {
    if (!namespaces->personal.empty()) {
      delimiter = namespaces->personal.front().delimiter;
      prefix = namespaces->personal.front().prefix;
    }
    for (const auto& other : namespaces->other_users) foreign.push_back(other.prefix);
    for (const auto& other : namespaces->shared) foreign.push_back(other.prefix);
  }
  if (!delimiter) {
    CO_ASSIGN_OR_RETURN(delimiter, co_await imap::HierarchyDelimiter(session));
  }
  names_ = MailboxNames(*delimiter, prefix, foreign);
  names_.Declare(options_.namespace_prefix, options_.name_map);
  names_.SetAliases(aliases_);
  knows_names_ = true;
  co_return absl::OkStatus();
}

// After each command that may have shown it: once a server has broken the rules of QRESYNC it is not asked by it again.
void ImapReplica::LearnTier(const imap::Session& session) {
  if (trust_resync_ && !session.resync_defect().empty()) {
    trust_resync_ = false;
    resync_quirk_ = "QRESYNC is not used: " + session.resync_defect();
  }
  tier_ = TierOf(session, trust_resync_);
  info_.tier = TierName(tier_);
}

// Before ObserveMailbox's result is given away.
void ImapReplica::LearnMailbox(const std::string& mailbox, const Observation& observation) {
  if (tier_ == Tier::kPlain || observation.cursor.highest_modseq.value != 0) {
    without_modseq_.erase(mailbox);
  } else {
    without_modseq_.insert(mailbox);
  }
}

asio::awaitable<absl::StatusOr<ImapReplica::Lease>> ImapReplica::Acquire(const std::string& mailbox) {
  std::string raw = mailbox.empty() ? "" : names_.ToServer(mailbox);
  co_return co_await pool_.Acquire(std::move(raw));
}

asio::awaitable<absl::Status> ImapReplica::EnsureSelected(imap::Session& session, MailboxReference mailbox) {
  const std::string raw = names_.ToServer(mailbox.mailbox);
  // A mailbox that was selected before may not show yet what another connection added, and STORE and EXPUNGE of a UID
  // that is not shown are OK without effect: NOOP brings the view up to date (RFC 3501 section 6.1.2).
  const bool same = mailbox.uid_validity.value == 0 || session.selected_validity() == mailbox.uid_validity;
  if (session.selected() == raw && same) co_return co_await imap::Noop(session);
  imap::SelectRequest request(raw);
  ++counters_.mailboxes_selected;
  const auto selected = co_await imap::Select(session, std::move(request));
  if (!selected.ok()) co_return selected.status();
  co_return CheckValidity(mailbox, selected->uid_validity);
}

// ---- looking

asio::awaitable<absl::StatusOr<std::vector<imap::ListedMailbox>>> ImapReplica::List(imap::Session& session,
                                                                                    bool identity,
                                                                                    imap::ResponseHandler also) {
  imap::ListItems items;
  items.identity = identity;
  items.counts = TierOf(session, trust_resync_) != Tier::kQresync || !without_modseq_.empty();
  co_return co_await imap::ListStatus(session, "*", items, std::move(also));
}

// Each mailbox, under a UIDVALIDITY that no other has: nothing was renamed.
bool ImapReplica::AsExpected(const std::vector<imap::ListedMailbox>& listed) const {
  size_t found = 0;
  std::set<UidValidity> validities;
  for (const imap::ListedMailbox& mailbox : listed) {
    const auto mesh = names_.ToMesh(mailbox.list.mailbox);
    if (!mesh || !options_.selects(*mesh)) continue;
    if (mailbox.list.HasAttribute("\\Noselect") || mailbox.list.HasAttribute("\\NonExistent")) continue;
    if (!mailbox.status || !mailbox.status->uid_validity) return false;
    const UidValidity validity = *mailbox.status->uid_validity;
    const std::string local = names_.LocalName(mailbox.list.mailbox).value_or(*mesh);
    if (validity.value == 0 || !expected_.contains({local, validity}) || !validities.insert(validity).second)
      return false;
    ++found;
  }
  return found == expected_.size();
}

asio::awaitable<absl::StatusOr<std::vector<MailboxStatus>>> ImapReplica::Look() {
  auto lease = co_await pool_.Acquire("");
  if (!lease.ok()) co_return Explain(lease.status(), "", "connecting");
  imap::Session& session = **lease;
  // STATUS of the selected mailbox may be stale (RFC 3501 section 6.3.10): look from no mailbox.
  absl::StatusOr<std::string> unselect = std::string();
  if (!session.selected().empty()) unselect = imap::SendUnselect(session);
  if (!unselect.ok()) co_return Explain(unselect.status(), "", "leaving the selected mailbox");
  const Duration asked = clock_.Now();
  MetadataLook metadata(names_);
  const std::vector<std::string> asked_metadata = std::exchange(metadata_asked_, {});
  CO_RETURN_IF_ERROR(metadata.Send(session, asked_metadata));
  // Which mailbox it is matters where a name is new, gone, or another's now.
  const bool expecting = !expected_.empty();
  auto listed = co_await List(session, !expecting, metadata.handler());
  if (!listed.ok()) co_return Explain(listed.status(), "", "listing the mailboxes");
  const double answered_ms = std::chrono::duration<double, std::milli>(clock_.Now() - asked).count();
  const bool quickest = info_.round_trip_ms == 0 || answered_ms < info_.round_trip_ms;
  if (quickest) info_.round_trip_ms = answered_ms;
  auto annotated = co_await metadata.Await(session);
  if (!annotated.ok()) co_return Explain(annotated.status(), "", "reading annotations");
  metadata_ = *std::move(annotated);
  if (!unselect->empty()) {
    const absl::Status unselected = co_await imap::AwaitUnselect(session, *unselect);
    if (!unselected.ok()) co_return Explain(unselected, "", "leaving the selected mailbox");
  }
  const bool asked_identity = !expecting || !AsExpected(*listed);
  if (expecting && asked_identity) listed = co_await List(session, true, nullptr);
  if (!listed.ok()) co_return Explain(listed.status(), "", "listing the mailboxes");
  std::vector<MailboxStatus> statuses;
  mailboxes_listed_.clear();
  looked_.clear();
  for (const imap::ListedMailbox& mailbox : *listed) {
    const auto mesh = names_.ToMesh(mailbox.list.mailbox);
    if (!mesh || !options_.selects(*mesh)) continue;
    MailboxStatus status;
    status.mailbox = *mesh;
    status.name_here = mailbox.list.mailbox;
    status.local_name = names_.LocalName(mailbox.list.mailbox).value_or(*mesh);
    if (!names_.IsMapped(status.local_name)) status.special_use = imap::SpecialUse(mailbox.list);
    if (mailbox.status && asked_identity) status.server_id = mailbox.status->mailbox_id;
    status.selectable = !mailbox.list.HasAttribute("\\Noselect") && !mailbox.list.HasAttribute("\\NonExistent");
    status.subscribed = mailbox.subscribed;
    if (mailbox.status && mailbox.status->uid_validity && mailbox.status->uid_next) {
      status.status_known = true;
      status.uid_validity = *mailbox.status->uid_validity;
      if (!asked_identity) status.server_id = expected_.at({status.local_name, status.uid_validity});
      status.uid_next = *mailbox.status->uid_next;
      looked_[*mesh] = status.uid_next;
      status.highest_modseq = mailbox.status->highest_modseq.value_or(ModSeq());
      if (tier_ != Tier::kQresync || status.highest_modseq.value == 0) {
        status.messages = mailbox.status->messages;
        status.unseen = mailbox.status->unseen;
      }
    }
    if (status.selectable) mailboxes_listed_.insert(*mesh);
    statuses.push_back(std::move(status));
  }
  co_return statuses;
}

asio::awaitable<absl::StatusOr<Observation>> ImapReplica::Observe(std::string mailbox, MailboxCursor since,
                                                                  size_t max_messages) {
  auto lease = co_await Acquire(mailbox);
  if (!lease.ok()) co_return Explain(lease.status(), mailbox, "connecting");
  ObserveRequest request(names_.ToServer(mailbox));
  request.since = since;
  request.max_messages = max_messages;
  request.trust_resync = trust_resync_;
  if (const auto looked = looked_.find(mailbox); looked != looked_.end()) request.status_uid_next = looked->second;
  ++counters_.mailboxes_selected;
  absl::StatusOr<Observation> observation = co_await ObserveMailbox(**lease, std::move(request));
  LearnTier(**lease);
  if (!observation.ok()) co_return Explain(observation.status(), mailbox, "looking what changed");
  LearnMailbox(mailbox, *observation);
  if (WentBack(since, *observation)) went_back_.insert(mailbox);
  flag_names_.Translate(*observation);
  co_return observation;
}

asio::awaitable<std::vector<std::optional<Observation>>> ImapReplica::ObserveTogether(
    std::vector<std::pair<std::string, MailboxCursor>> mailboxes) {
  auto lease = co_await pool_.Acquire("");
  if (!lease.ok()) co_return std::vector<std::optional<Observation>>(mailboxes.size());
  std::vector<ObserveRequest> requests;
  for (const auto& [mailbox, since] : mailboxes) {
    ObserveRequest& request = requests.emplace_back(names_.ToServer(mailbox));
    request.since = since;
    request.trust_resync = trust_resync_;
    const auto listed = looked_.find(mailbox);
    if (listed != looked_.end()) request.status_uid_next = listed->second;
  }
  auto observations = co_await ObserveQuickly(**lease, std::move(requests), counters_.mailboxes_selected);
  LearnTier(**lease);
  for (size_t i = 0; i < observations.size(); ++i) {
    if (!observations[i]) continue;
    LearnMailbox(mailboxes[i].first, *observations[i]);
    flag_names_.Translate(*observations[i]);
  }
  co_return observations;
}

asio::awaitable<absl::Status> ImapReplica::FetchBodies(MailboxReference mailbox, UidSet uids,
                                                       std::function<void(Uid, std::shared_ptr<const Body>)> take) {
  std::vector<BodiesRequest> requests(1);
  requests[0].mailbox = std::move(mailbox);
  requests[0].uids = std::move(uids);
  const std::function<void(size_t, Uid, std::shared_ptr<const Body>)> take_here =
      [&take](size_t, Uid uid, std::shared_ptr<const Body> body) { take(uid, std::move(body)); };
  co_return co_await FetchBodiesTogether(std::move(requests), take_here);
}

asio::awaitable<absl::Status> ImapReplica::FetchBodiesTogether(
    std::vector<BodiesRequest> requests, std::function<void(size_t, Uid, std::shared_ptr<const Body>)> take) {
  auto lease = co_await Acquire(requests[0].mailbox.mailbox);
  if (!lease.ok()) co_return Explain(lease.status(), requests[0].mailbox.mailbox, "connecting");
  std::vector<FetchRequest> wanted;
  for (const BodiesRequest& request : requests) {
    FetchRequest& each = wanted.emplace_back();
    each.mailbox_raw = names_.ToServer(request.mailbox.mailbox);
    each.mailbox = request.mailbox;
    each.uids = request.uids;
  }
  const std::function<void(size_t, Uid, std::shared_ptr<const Body>)> count = [&](size_t request, Uid uid,
                                                                                  std::shared_ptr<const Body> body) {
    ++counters_.messages_fetched;
    take(request, uid, std::move(body));
  };
  const auto fetched = co_await FetchMailboxes(**lease, std::move(wanted), count, counters_.mailboxes_selected);
  for (size_t i = 0; i < fetched.size(); ++i) {
    if (!fetched[i].ok()) co_return Explain(fetched[i], requests[i].mailbox.mailbox, "fetching messages");
  }
  co_return absl::OkStatus();
}

asio::awaitable<absl::Status> ImapReplica::FetchHeaders(MailboxReference mailbox, UidSet uids,
                                                        std::function<void(Uid, HeaderText)> take) {
  auto lease = co_await Acquire(mailbox.mailbox);
  if (!lease.ok()) co_return Explain(lease.status(), mailbox.mailbox, "connecting");
  const absl::Status selected = co_await EnsureSelected(**lease, mailbox);
  if (!selected.ok()) co_return Explain(selected, mailbox.mailbox, "selecting it");
  const std::function<absl::Status(imap::NewMessage)> read = [&](imap::NewMessage message) {
    take(message.uid, ReadHeaderText(message.header));
    return absl::OkStatus();
  };
  const absl::Status fetched = co_await imap::FetchNew(**lease, uids, read);
  co_return Explain(fetched, mailbox.mailbox, "fetching headers");
}

// ---- changing

bool ImapReplica::can_move() const {
  return std::find(info_.capabilities.begin(), info_.capabilities.end(), "MOVE") != info_.capabilities.end();
}

bool ImapReplica::has_metadata() const {
  return std::find(info_.capabilities.begin(), info_.capabilities.end(), "METADATA") != info_.capabilities.end();
}

asio::awaitable<absl::StatusOr<MetadataByMailbox>> ImapReplica::GetMetadata(std::vector<std::string> mailboxes) {
  auto lease = co_await pool_.Acquire("");
  if (!lease.ok()) co_return Explain(lease.status(), "", "connecting");
  auto found = co_await LookAtMetadata(**lease, names_, std::move(mailboxes));
  if (!found.ok()) co_return Explain(found.status(), "", "reading annotations");
  co_return found;
}

asio::awaitable<absl::Status> ImapReplica::SetMetadata(std::string mailbox,
                                                       std::vector<std::pair<std::string, std::string>> entries) {
  auto lease = co_await pool_.Acquire("");
  if (!lease.ok()) co_return Explain(lease.status(), mailbox, "connecting");
  const absl::Status set = co_await imap::SetMetadata(**lease, names_.ToServer(mailbox), std::move(entries));
  co_return Explain(set, mailbox, "setting annotations");
}

size_t ImapReplica::max_append() const {
  return multi_append_ ? kMaxAppend : 1;
}

bool ImapReplica::CannotBeRefused(const MailboxReference& mailbox, const std::vector<AppendItem>& items) const {
  if (!mailboxes_listed_.contains(mailbox.mailbox)) return false;
  for (const AppendItem& item : items) {
    for (const std::string& flag : item.flags) {
      if (!IsSystemFlag(flag) && !flags_taken_.contains(flag)) return false;
    }
  }
  return true;
}

std::vector<imap::AppendMessage> ImapReplica::MessagesOf(const std::vector<AppendItem>& items) const {
  std::vector<imap::AppendMessage> messages;
  for (const AppendItem& item : items) {
    imap::AppendMessage message;
    message.body = item.body;
    message.flags = flag_names_.ToSet(item.flags);
    imap::DateTime date;
    date.unix_seconds = item.internal_date;
    date.zone_minutes = item.zone_minutes;
    message.internal_date = imap::FormatDateTime(date);
    messages.push_back(std::move(message));
  }
  return messages;
}

absl::StatusOr<Appended> ImapReplica::UidsOf(const MailboxReference& mailbox, size_t items,
                                             const imap::AppendResult& appended) {
  Appended told;
  told.uids = appended.uids;
  told.uid_validity = appended.uid_validity;
  const bool other = mailbox.uid_validity.value != 0 && appended.uid_validity.value != 0 &&
                     appended.uid_validity != mailbox.uid_validity;
  if (!other && told.uids.size() == items) return told;
  told.uids.assign(items, Uid());  // the next observation finds them
  told.uid_validity = UidValidity();
  return told;
}

asio::awaitable<absl::StatusOr<Appended>> ImapReplica::AppendOnce(const MailboxReference& mailbox,
                                                                  const std::vector<AppendItem>& items,
                                                                  imap::LiteralSafety safety, bool& refused_unasked) {
  auto lease = co_await pool_.Acquire("");
  if (!lease.ok()) co_return lease.status();
  std::string raw = names_.ToServer(mailbox.mailbox);
  const auto appended = co_await imap::Append(**lease, std::move(raw), MessagesOf(items), safety);
  refused_unasked = !appended.ok() && (*lease)->refused_behind_literal();
  if (!appended.ok()) co_return appended.status();
  co_return UidsOf(mailbox, items.size(), *appended);
}

asio::awaitable<std::vector<absl::StatusOr<Appended>>> ImapReplica::AppendTogether(
    std::vector<AppendRequest> requests) {
  std::vector<absl::StatusOr<Appended>> outcomes(requests.size());
  std::vector<size_t> together;
  for (size_t i = 0; i < requests.size(); ++i) {
    const bool several = requests.size() > 1 && takes_unasked_literals_ && !refused_together_;
    if (several && CannotBeRefused(requests[i].mailbox, requests[i].items)) {
      together.push_back(i);
    } else {
      outcomes[i] = co_await Append(requests[i].mailbox, requests[i].items);
    }
  }
  if (!together.empty()) co_await AppendAtOnce(requests, std::move(together), outcomes);
  co_return outcomes;
}

// All goes out before an answer is awaited. A refusal closes the connection, and what was sent behind it has an unknown
// outcome: from then on it is done one by one, where each is told why.
asio::awaitable<void> ImapReplica::AppendAtOnce(const std::vector<AppendRequest>& requests, std::vector<size_t> which,
                                                std::vector<absl::StatusOr<Appended>>& outcomes) {
  auto lease = co_await pool_.Acquire("");
  std::vector<absl::StatusOr<imap::SentAppend>> sent(which.size());
  for (size_t i = 0; i < which.size(); ++i) {
    const AppendRequest& request = requests[which[i]];
    if (lease.ok()) {
      sent[i] = imap::SendAppend(**lease, names_.ToServer(request.mailbox.mailbox), MessagesOf(request.items),
                                 imap::LiteralSafety::kCannotBeRefused);
    } else {
      sent[i] = lease.status();
    }
  }
  for (size_t i = 0; i < which.size(); ++i) {
    const AppendRequest& request = requests[which[i]];
    absl::StatusOr<imap::AppendResult> appended = absl::UnknownError("");
    if (sent[i].ok()) {
      appended = co_await imap::AwaitAppend(**lease, *std::move(sent[i]));
    } else {
      appended = sent[i].status();
    }
    if (appended.ok()) {
      counters_.messages_appended += request.items.size();
      outcomes[which[i]] = UidsOf(request.mailbox, request.items.size(), *appended);
    } else {
      outcomes[which[i]] = Explain(appended.status(), request.mailbox.mailbox, "adding messages");
    }
  }
  if (!lease.ok() || !(*lease)->refused_behind_literal()) co_return;
  refused_together_ = true;
  flags_taken_.clear();
}

asio::awaitable<absl::StatusOr<Appended>> ImapReplica::Append(MailboxReference mailbox, std::vector<AppendItem> items) {
  const bool unasked = CannotBeRefused(mailbox, items);
  bool refused_unasked = false;
  const auto safety = unasked ? imap::LiteralSafety::kCannotBeRefused : imap::LiteralSafety::kMayBeRefused;
  auto uids = co_await AppendOnce(mailbox, items, safety, refused_unasked);
  if (refused_unasked) {  // nothing was added; asked for the literal first, the server says why
    flags_taken_.clear();
    uids = co_await AppendOnce(mailbox, items, imap::LiteralSafety::kMayBeRefused, refused_unasked);
  }
  if (!uids.ok()) co_return Explain(uids.status(), mailbox.mailbox, "adding messages");
  for (const AppendItem& item : items) flags_taken_.insert(item.flags.begin(), item.flags.end());
  counters_.messages_appended += items.size();
  co_return uids;
}

asio::awaitable<absl::StatusOr<Uid>> ImapReplica::NextUid(std::string mailbox) {
  auto lease = co_await pool_.Acquire("");
  if (!lease.ok()) co_return Explain(lease.status(), mailbox, "connecting");
  const auto next = co_await imap::NextUid(**lease, names_.ToServer(mailbox));
  if (!next.ok()) co_return Explain(next.status(), mailbox, "asking for its UIDNEXT");
  co_return *next;
}

asio::awaitable<absl::StatusOr<std::vector<CopiedUid>>> ImapReplica::CopyMessages(MailboxReference from,
                                                                                  MailboxReference to, UidSet uids,
                                                                                  bool move) {
  auto lease = co_await Acquire(from.mailbox);
  if (!lease.ok()) co_return Explain(lease.status(), from.mailbox, "connecting");
  const absl::Status selected = co_await EnsureSelected(**lease, from);
  if (!selected.ok()) co_return Explain(selected, from.mailbox, "selecting it");
  std::string target = names_.ToServer(to.mailbox);
  absl::StatusOr<imap::CopyResult> result = absl::UnknownError("");
  if (move) {
    result = co_await imap::UidMove(**lease, uids, std::move(target));
  } else {
    result = co_await imap::UidCopy(**lease, uids, std::move(target));
  }
  if (!result.ok()) co_return Explain(result.status(), from.mailbox, "copying to " + Printable(to.mailbox));
  // Of another UIDVALIDITY than is known the UIDs mean nothing yet: the next observation finds them.
  const bool other =
      to.uid_validity.value != 0 && result->uid_validity.value != 0 && result->uid_validity != to.uid_validity;
  std::vector<CopiedUid> copied;
  for (const auto& [source, copy] : result->uids) copied.push_back({source, other ? Uid() : copy});
  counters_.messages_copied_server_side += copied.size();
  if (move) counters_.messages_expunged += copied.size();
  co_return copied;
}

asio::awaitable<absl::Status> ImapReplica::StoreFlags(MailboxReference mailbox, UidSet uids,
                                                      std::vector<std::string> add, std::vector<std::string> remove) {
  std::vector<MailboxChanges> changes(1);
  changes[0].mailbox = std::move(mailbox);
  FlagStore& store = changes[0].stores.emplace_back();
  store.uids = std::move(uids);
  store.add = std::move(add);
  store.remove = std::move(remove);
  const std::vector<MailboxOutcome> outcomes = co_await ChangeTogether(std::move(changes));
  co_return outcomes[0].stored[0];
}

size_t ImapReplica::mailboxes_a_connection() const {
  return searches_known_ ? kObserveTogether : Replica::mailboxes_a_connection();
}

asio::awaitable<std::vector<MailboxOutcome>> ImapReplica::ChangeTogether(std::vector<MailboxChanges> changes) {
  const bool expunges =
      std::any_of(changes.begin(), changes.end(), [](const auto& each) { return !each.expunge.empty(); });
  if (expunges && !has_uidplus_) co_return co_await Replica::ChangeTogether(std::move(changes));
  std::vector<ChangeRequest> requests;
  for (const MailboxChanges& each : changes) requests.push_back({names_.ToServer(each.mailbox.mailbox), each});
  auto lease = co_await pool_.Acquire(requests[0].mailbox_raw);
  if (!lease.ok()) {
    MailboxOutcome failed;
    failed.expunged = Explain(lease.status(), changes[0].mailbox.mailbox, "connecting");
    std::vector<MailboxOutcome> none(changes.size(), failed);
    for (size_t i = 0; i < changes.size(); ++i)
      none[i].stored.resize(changes[i].stores.size(), failed.expunged.status());
    co_return none;
  }
  auto outcomes = co_await ChangeMailboxes(**lease, std::move(requests), flag_names_, counters_.mailboxes_selected);
  for (size_t i = 0; i < changes.size(); ++i) Count(changes[i], outcomes[i]);
  co_return outcomes;
}

// And tells what an error is about.
void ImapReplica::Count(const MailboxChanges& changes, MailboxOutcome& outcome) {
  const std::string& mailbox = changes.mailbox.mailbox;
  for (size_t s = 0; s < changes.stores.size(); ++s) {
    if (outcome.stored[s].ok()) counters_.flags_changed += changes.stores[s].uids.size();
    outcome.stored[s] = Explain(outcome.stored[s], mailbox, "changing flags");
  }
  if (!outcome.expunged.ok()) {
    outcome.expunged = Explain(outcome.expunged.status(), mailbox, "expunging messages");
  } else {
    counters_.messages_expunged += Without(changes.expunge, outcome.expunged->modified).size();
  }
}

asio::awaitable<absl::StatusOr<ExpungeResult>> ImapReplica::Expunge(MailboxReference mailbox, UidSet uids,
                                                                    ModSeq unchanged_since) {
  // Where EXPUNGE takes everything marked, two at once in a mailbox would each find the other's marks.
  while (!has_uidplus_ && !expunging_.insert(mailbox.mailbox).second) co_await expunged_.Wait();
  absl::StatusOr<ExpungeResult> result = co_await ExpungeOnce(mailbox, uids, unchanged_since);
  expunging_.erase(mailbox.mailbox);
  expunged_.Notify();
  if (result.ok()) counters_.messages_expunged += Without(uids, result->modified).size();
  co_return result;
}

asio::awaitable<absl::StatusOr<ExpungeResult>> ImapReplica::ExpungeOnce(MailboxReference mailbox, UidSet uids,
                                                                        ModSeq unchanged_since) {
  auto lease = co_await Acquire(mailbox.mailbox);
  if (!lease.ok()) co_return Explain(lease.status(), mailbox.mailbox, "connecting");
  const absl::Status selected = co_await EnsureSelected(**lease, mailbox);
  if (!selected.ok()) co_return Explain(selected, mailbox.mailbox, "selecting it");
  absl::StatusOr<ExpungeResult> result = co_await ExpungeMessages(**lease, std::move(uids), unchanged_since);
  if (!result.ok()) co_return Explain(result.status(), mailbox.mailbox, "expunging messages");
  co_return result;
}

asio::awaitable<absl::Status> ImapReplica::CreateMailbox(std::string mailbox, bool subscribe) {
  auto lease = co_await pool_.Acquire("");
  if (!lease.ok()) co_return Explain(lease.status(), mailbox, "connecting");
  const std::string raw = names_.ToServer(mailbox);
  absl::Status created = co_await imap::Create(**lease, raw);
  if (!created.ok() && !OutcomeUnknown(created)) {
    const auto exists = co_await imap::Exists(**lease, raw);
    if (!exists.ok()) co_return Explain(exists.status(), mailbox, "looking for it");
    if (*exists) created = absl::OkStatus();
  }
  if (!created.ok()) co_return Explain(created, mailbox, "creating it");
  mailboxes_listed_.insert(mailbox);
  if (!subscribe) co_return absl::OkStatus();
  const absl::Status subscribed = co_await imap::Subscribe(**lease, raw);
  co_return Explain(subscribed, mailbox, "subscribing to it");
}

asio::awaitable<absl::Status> ImapReplica::Subscribe(std::string mailbox, bool subscribed) {
  auto lease = co_await pool_.Acquire("");
  if (!lease.ok()) co_return Explain(lease.status(), mailbox, "connecting");
  const std::string raw = names_.ToServer(mailbox);
  absl::Status status;
  if (subscribed) {
    status = co_await imap::Subscribe(**lease, raw);
  } else {
    status = co_await imap::Unsubscribe(**lease, raw);
  }
  co_return Explain(status, mailbox, "changing the subscription");
}

asio::awaitable<absl::StatusOr<bool>> ImapReplica::MailboxExists(std::string local_name) {
  auto lease = co_await pool_.Acquire("");
  if (!lease.ok()) co_return Explain(lease.status(), local_name, "connecting");
  const auto exists = co_await imap::Exists(**lease, names_.LocalToServer(local_name));
  if (!exists.ok()) co_return Explain(exists.status(), local_name, "looking for it");
  co_return exists;
}

asio::awaitable<absl::Status> ImapReplica::DeleteMailbox(std::string mailbox) {
  auto lease = co_await pool_.Acquire("");
  if (!lease.ok()) co_return Explain(lease.status(), mailbox, "connecting");
  imap::Session& session = **lease;
  // The mailbox must not be selected, by this connection or, for some servers, by any.
  const absl::Status left = co_await imap::Unselect(session);
  if (!left.ok()) co_return Explain(left, mailbox, "leaving the selected mailbox");
  const std::string raw = names_.ToServer(mailbox);
  const auto messages = co_await imap::CountMessages(session, raw);
  if (!messages.ok()) co_return Explain(messages.status(), mailbox, "counting its messages before deleting it");
  if (*messages > 0) {
    co_return Explain(Error(absl::StatusCode::kFailedPrecondition, "%d messages have arrived in it", *messages),
                      mailbox, "deleting it");
  }
  const absl::Status status = co_await imap::Delete(session, raw);
  if (status.ok()) pool_.Deselect(raw);
  co_return Explain(status, mailbox, "deleting it");
}

asio::awaitable<absl::StatusOr<bool>> ImapReplica::RenameMailbox(std::string from, std::string to,
                                                                 std::vector<std::string> subscribed) {
  auto lease = co_await pool_.Acquire("");
  if (!lease.ok()) co_return Explain(lease.status(), from, "connecting");
  imap::Session& session = **lease;
  const absl::Status left = co_await imap::Unselect(session);
  if (!left.ok()) co_return Explain(left, from, "leaving the selected mailbox");
  const std::string raw_from = names_.LocalToServer(from), raw_to = names_.LocalToServer(to);
  const absl::Status renamed = co_await imap::Rename(session, raw_from, raw_to);
  if (!renamed.ok()) co_return Explain(renamed, from, "renaming it to " + Printable(to));
  pool_.Deselect("");
  // A subscription is to a name, and stays with it.
  bool followed = true;
  for (const std::string& name : subscribed) {
    const std::string now = names_.LocalToServer(to + name.substr(from.size()));
    const absl::Status status = co_await imap::Subscribe(session, now);
    followed &= status.ok();
    if (!status.ok()) continue;
    const absl::Status left_behind = co_await imap::Unsubscribe(session, names_.LocalToServer(name));
    if (OutcomeUnknown(left_behind)) co_return Explain(left_behind, name, "unsubscribing from its old name");
  }
  co_return followed;
}

void ImapReplica::SetAliases(std::map<std::string, std::string> mesh_to_local) {
  aliases_ = std::move(mesh_to_local);
  names_.SetAliases(aliases_);
}

// ---- watching

// It only says that there may be something: the next look tells what.
void ImapReplica::WatchFolder(const std::function<void(std::vector<std::string>)>& due) {
  if (options_.watch_path.empty() || folder_watch_ != nullptr) return;
  auto changed = [due] { due({}); };
  auto watch = FolderWatch::Start(executor_, clock_, options_.watch_path, std::move(changed));
  watch_quirk_ = watch.ok() ? "" : "watch_path is not used: " + Message(watch.status());
  if (watch.ok()) folder_watch_ = *std::move(watch);
}

asio::awaitable<absl::Status> ImapReplica::Watch(std::function<void(std::vector<std::string>)> due) {
  WatchFolder(due);
  const uint64_t generation = pool_.generation();
  auto session = co_await Open();
  if (!session.ok()) co_return Explain(session.status(), "", "connecting to watch");
  if (generation != pool_.generation()) {  // Close found no watcher yet
    const absl::Status closed = absl::UnavailableError("the connection was closed here");
    co_return Explain(closed, "", "connecting to watch");
  }
  watcher_ = session->get();
  const absl::Status ended = co_await WatchOn(**session, std::move(due));
  watcher_ = nullptr;
  pool_.AddTraffic(**session);
  // An overflow, or no way to push: whoever called polls instead.
  const bool cannot = absl::IsResourceExhausted(ended) || absl::IsUnimplemented(ended);
  if (cannot) co_return Explain(absl::UnimplementedError(ended.message()), "", "watching");
  co_return Explain(ended, "", "watching");
}

asio::awaitable<absl::Status> ImapReplica::WatchOn(imap::Session& session,
                                                   std::function<void(std::vector<std::string>)> due) {
  if (session.HasCapability("NOTIFY")) {
    CO_RETURN_IF_ERROR(co_await imap::NotifySet(session));
  } else {
    imap::SelectRequest inbox(std::string("INBOX"));
    inbox.read_only = true;
    const auto selected = co_await imap::Select(session, std::move(inbox));
    if (!selected.ok()) co_return selected.status();
  }
  due({});  // what happened between the last look and now
  const std::function<void(std::vector<std::string>)> translate = [&](std::vector<std::string> raw) {
    std::vector<std::string> mailboxes;
    for (const std::string& name : raw) {
      const auto mesh = names_.ToMesh(name);
      if (mesh && options_.selects(*mesh)) mailboxes.push_back(*mesh);
    }
    if (raw.empty() || !mailboxes.empty()) due(std::move(mailboxes));
  };
  co_return co_await imap::WatchLoop(session, kIdleRefresh, translate);
}

asio::awaitable<void> ImapReplica::KeepAlive() {
  co_return;
}  // the pool drops what has been idle for minutes

void ImapReplica::Close() {
  pool_.Close();
  folder_watch_.reset();
  if (watcher_ != nullptr) watcher_->Close();
}

asio::awaitable<void> ImapReplica::Logout() {
  co_await pool_.Logout();
  Close();
}

ReplicaCounters ImapReplica::counters() const {
  const ConnectionPool::Traffic traffic = pool_.traffic();
  counters_.commands = traffic.commands;
  counters_.bytes_sent = traffic.bytes_sent;
  counters_.bytes_received = traffic.bytes_received;
  return counters_;
}

void ImapReplica::DistrustResync(std::string why) {
  if (!trust_resync_) return;
  trust_resync_ = false;
  resync_quirk_ = "QRESYNC is not used: " + std::move(why);
}

const ServerInfo& ImapReplica::info() const {
  info_.connections = pool_.size() + (watcher_ != nullptr ? 1 : 0);
  info_.quirks.clear();
  if (!options_.open.ignored.empty()) info_.quirks.push_back(DescribeIgnored(options_.open.ignored));
  if (!resync_quirk_.empty()) info_.quirks.push_back(resync_quirk_);
  if (!watch_quirk_.empty()) info_.quirks.push_back(watch_quirk_);
  for (const std::string& mailbox : went_back_) {
    if (info_.quirks.size() >= kQuirksShown) break;
    info_.quirks.push_back("mailbox " + Printable(mailbox) +
                           ": HIGHESTMODSEQ went back, so the mailbox was compared in full");
  }
  for (const std::string& mailbox : without_modseq_) {
    if (info_.quirks.size() >= kQuirksShown) break;
    info_.quirks.push_back("mailbox " + Printable(mailbox) +
                           ": the server keeps no mod-sequences (NOMODSEQ), so its flags and UIDs are compared");
  }
  return info_;
}

}  // namespace imapmesh
