#include "engine/replica/imap_replica.h"

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"

#include "base/printable.h"
#include "engine/imap/commands.h"
#include "engine/replica/imap_change.h"
#include "engine/replica/imap_observe.h"

namespace imapmesh {
namespace {

constexpr size_t kQuirksShown = 100;
// What Cyrus has in no name: "NO Invalid mailbox name" (mboxname.c, GOODCHARS).
constexpr char kForbiddenByCyrus[] = "!\"%;<>\\^`{|}";
constexpr Duration kIdleRefresh = std::chrono::minutes(5);

std::string DescribeIgnored(const imap::Capabilities& ignored) {
  std::string names;
  for (const std::string& name : ignored) names += (names.empty() ? "" : ", ") + Printable(name);
  return "not used, as the topology says (ignore_capabilities): " + names;
}

// Of the personal namespaces the one that the mesh's mailboxes are in: INBOX's, whatever order the server has; null for
// none.
const imap::NamespaceEntry* FirstNamespace(const std::vector<imap::NamespaceEntry>& personal) {
  for (const imap::NamespaceEntry& entry : personal) {
    if (entry.prefix.empty()) return &entry;
  }
  for (const imap::NamespaceEntry& entry : personal) {
    if (absl::AsciiStrToUpper(entry.prefix).starts_with("INBOX")) return &entry;
  }
  return personal.empty() ? nullptr : &personal.front();
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

// ---- memory

namespace {

constexpr std::string_view kLogin = "login ";

// What must be as it was for an earlier login to tell which mechanisms the server has.
std::string LoginFingerprint(const ImapReplicaOptions& options) {
  const imap::LoginOptions& login = options.open.login;
  return Printable(login.mechanism + (login.token ? " by token" : "") + " at " + Describe(options.endpoint));
}

}  // namespace

// A line about the last login, where there was one, and what is remembered of the server.
std::string ImapReplica::memory() const {
  const auto& login = options_.open.login.memory;
  const std::string server = imap::Encode(*options_.open.memory);
  if (login == nullptr || login->mechanism.empty()) return server;
  return std::string(kLogin) + login->mechanism + " " + LoginFingerprint(options_) + "\n" + server;
}

void ImapReplica::Remember(std::string memory) {
  if (memory.starts_with(kLogin)) {
    const size_t line_end = std::min(memory.find('\n'), memory.size());
    const std::string line = memory.substr(kLogin.size(), line_end - kLogin.size());
    const size_t space = std::min(line.find(' '), line.size());
    const bool same = line.substr(space) == " " + LoginFingerprint(options_);
    if (same && options_.open.login.memory != nullptr) options_.open.login.memory->mechanism = line.substr(0, space);
    memory.erase(0, line_end + 1);
  }
  *options_.open.memory = imap::DecodeServerMemory(memory);
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
  if (!knows_names_) {
    names_remembered_ = false;
    open.take_namespaces = [&](imap::NamespaceResponse told, bool remembered) {
      namespaces = std::move(told);
      names_remembered_ = remembered;
    };
    open.believe_namespaces = !expected_.empty();
  }
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
  if (!namespaces) namespaces.emplace();
  std::string delimiter;
  if (namespaces->personal.empty()) {
    CO_ASSIGN_OR_RETURN(delimiter, co_await imap::HierarchyDelimiter(session));
  }
  LearnNames(std::move(delimiter), *namespaces);
  co_return absl::OkStatus();
}

// `delimiter` where there is no personal namespace.
void ImapReplica::LearnNames(std::string delimiter, const imap::NamespaceResponse& namespaces) {
  std::string prefix;
  std::vector<std::string> foreign, further;
  if (const imap::NamespaceEntry* first = FirstNamespace(namespaces.personal)) {
    delimiter = first->delimiter;
    prefix = first->prefix;
    for (const auto& other : namespaces.personal) {
      if (other.prefix != prefix) further.push_back(other.prefix);
    }
  }
  for (const auto& other : namespaces.other_users) foreign.push_back(other.prefix);
  for (const auto& other : namespaces.shared) foreign.push_back(other.prefix);
  const bool cyrus = info_.software.starts_with("Cyrus");
  names_ = MailboxNames(delimiter, prefix, foreign, cyrus ? kForbiddenByCyrus : "", further);
  names_.Declare(options_.namespace_prefix, options_.name_map);
  names_.SetAliases(aliases_);
  knows_names_ = true;
}

// Remembered names were as good as told while each mailbox was where they say. Nothing else shows that they are others.
asio::awaitable<absl::Status> ImapReplica::ConfirmNames(imap::Session& session) {
  if (!names_remembered_) co_return absl::OkStatus();
  imap::NamespaceResponse told;
  if (session.HasCapability("NAMESPACE")) {
    CO_ASSIGN_OR_RETURN(told, co_await imap::Namespace(session));
  }
  std::string delimiter;
  if (told.personal.empty()) {
    CO_ASSIGN_OR_RETURN(delimiter, co_await imap::HierarchyDelimiter(session));
  }
  LearnNames(std::move(delimiter), told);
  options_.open.memory->namespaces = told;
  names_remembered_ = false;
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

std::vector<ImapReplica::Line> ImapReplica::LinesOf(const std::vector<imap::ListedMailbox>& listed) const {
  std::vector<Line> lines;
  for (const imap::ListedMailbox& mailbox : listed) {
    auto local = names_.LocalName(mailbox.list.mailbox);
    if (!local) continue;
    std::string mesh = names_.LocalToMesh(*local);
    if (!options_.selects(mesh)) continue;
    const bool selectable = !mailbox.list.HasAttribute("\\Noselect") && !mailbox.list.HasAttribute("\\NonExistent");
    lines.push_back({&mailbox, std::move(mesh), *std::move(local), selectable});
  }
  return lines;
}

// Each mailbox, under a UIDVALIDITY that no other has: nothing was renamed.
bool ImapReplica::AsExpected(const std::vector<Line>& lines) const {
  size_t found = 0;
  std::set<UidValidity> validities;
  for (const Line& line : lines) {
    if (!line.selectable) continue;
    const auto& status = line.listed->status;
    if (!status || !status->uid_validity) return false;
    if (names_remembered_ && line.listed->list.delimiter != names_.delimiter()) return false;
    const UidValidity validity = *status->uid_validity;
    if (validity.value == 0 || !expected_.contains({line.local, validity}) || !validities.insert(validity).second)
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
  std::vector<Line> lines = LinesOf(*listed);
  const bool asked_identity = !expecting || !AsExpected(lines);
  if (asked_identity) {
    const absl::Status confirmed = co_await ConfirmNames(session);
    if (!confirmed.ok()) co_return Explain(confirmed, "", "asking for the namespaces");
    if (expecting) listed = co_await List(session, true, nullptr);
    if (!listed.ok()) co_return Explain(listed.status(), "", "listing the mailboxes");
    lines = LinesOf(*listed);
  }
  co_return Statuses(lines, asked_identity);
}

std::vector<MailboxStatus> ImapReplica::Statuses(const std::vector<Line>& lines, bool asked_identity) {
  std::vector<MailboxStatus> statuses;
  mailboxes_listed_.clear();
  looked_.clear();
  for (const Line& line : lines) {
    statuses.push_back(StatusOf(line, asked_identity));
    if (line.selectable) mailboxes_listed_.insert(line.mesh);
    if (statuses.back().status_known) looked_[line.mesh] = statuses.back().uid_next;
  }
  return statuses;
}

MailboxStatus ImapReplica::StatusOf(const Line& line, bool asked_identity) const {
  const imap::ListedMailbox& mailbox = *line.listed;
  MailboxStatus status;
  status.mailbox = line.mesh;
  status.name_here = mailbox.list.mailbox;
  status.local_name = line.local;
  if (!names_.IsMapped(status.local_name)) status.special_use = imap::SpecialUse(mailbox.list);
  if (mailbox.status && asked_identity) status.server_id = mailbox.status->mailbox_id;
  status.selectable = line.selectable;
  status.subscribed = mailbox.subscribed;
  if (!mailbox.status || !mailbox.status->uid_validity || !mailbox.status->uid_next) return status;
  status.status_known = true;
  status.uid_validity = *mailbox.status->uid_validity;
  // One that cannot be selected was not compared with what was expected.
  const auto expected = expected_.find({status.local_name, status.uid_validity});
  if (!asked_identity && expected != expected_.end()) status.server_id = expected->second;
  status.uid_next = *mailbox.status->uid_next;
  status.highest_modseq = mailbox.status->highest_modseq.value_or(ModSeq());
  if (tier_ != Tier::kQresync || status.highest_modseq.value == 0) {
    status.messages = mailbox.status->messages;
    status.unseen = mailbox.status->unseen;
  }
  return status;
}

asio::awaitable<absl::StatusOr<Observation>> ImapReplica::Observe(std::string mailbox, MailboxCursor since,
                                                                  ObserveLimits limits) {
  auto lease = co_await Acquire(mailbox);
  if (!lease.ok()) co_return Explain(lease.status(), mailbox, "connecting");
  ObserveRequest request(names_.ToServer(mailbox));
  request.since = since;
  request.max_messages = limits.messages;
  request.body_bytes = limits.body_bytes;
  request.trust_resync = trust_resync_;
  if (const auto looked = looked_.find(mailbox); looked != looked_.end()) request.status_uid_next = looked->second;
  ++counters_.mailboxes_selected;
  absl::StatusOr<Observation> observation = co_await ObserveMailbox(**lease, std::move(request));
  LearnTier(**lease);
  if (!observation.ok()) co_return Explain(observation.status(), mailbox, "looking what changed");
  LearnMailbox(mailbox, *observation);
  for (const ArrivedMessage& arrived : observation->arrived) counters_.messages_fetched += arrived.body != nullptr;
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

bool ImapReplica::can_move() const {
  return std::find(info_.capabilities.begin(), info_.capabilities.end(), "MOVE") != info_.capabilities.end();
}

bool ImapReplica::has_metadata() const {
  return std::find(info_.capabilities.begin(), info_.capabilities.end(), "METADATA") != info_.capabilities.end();
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
