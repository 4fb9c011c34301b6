#include "engine/replica/imap_observe.h"

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "engine/imap/commands.h"
#include "engine/imap/date_time.h"
#include "engine/replica/header_digest.h"

namespace imapmesh {
namespace {

constexpr uint32_t kQuickArrivalsMax = 200;      // UIDs; more are worth an exchange of their own
constexpr uint64_t kSmallBodyBytes = 64 * 1024;  // of a message that may come along with a look
constexpr int kListingsMax = 3;  // until one is as long as the server's count; others may be at work meanwhile

bool HasModSeq(const imap::Session& session) {
  return session.HasCapability("CONDSTORE") || session.HasCapability("QRESYNC");
}

ArrivedMessage ToArrived(imap::NewMessage message) {
  ArrivedMessage arrived;
  arrived.uid = message.uid;
  arrived.flags = std::move(message.flags);
  arrived.size = message.size;
  const auto date = imap::ParseDateTime(message.internal_date).value_or(imap::DateTime());
  arrived.internal_date = date.unix_seconds;
  arrived.zone_minutes = date.zone_minutes;
  HeaderIdentity identity = IdentifyHeader(message.header.value_or(""));
  arrived.header_digest = identity.digest;
  arrived.has_message_id = identity.has_message_id;
  arrived.message_id = std::move(identity.message_id);
  arrived.server_guid = std::move(message.guid);
  arrived.body = std::move(message.body);
  return arrived;
}

void SortByUid(std::vector<ArrivedMessage>& arrived) {
  std::sort(arrived.begin(), arrived.end(),
            [](const ArrivedMessage& a, const ArrivedMessage& b) { return a.uid < b.uid; });
  const auto same = [](const ArrivedMessage& a, const ArrivedMessage& b) { return a.uid == b.uid; };
  arrived.erase(std::unique(arrived.begin(), arrived.end(), same), arrived.end());
}

void TakeSelected(const imap::SelectResult& selected, Observation& observation) {
  observation.read_only = selected.read_only;
  observation.permanent_flags = selected.permanent_flags;
  observation.cursor = {selected.uid_validity, selected.uid_next, selected.highest_modseq, std::nullopt};
}

// What FETCH told of an arrival, or of a message that is known and to be recognised.
void Take(imap::NewMessage message, const UidSet& recognise, Observation& observation) {
  const bool known = recognise.Contains(message.uid);
  (known ? observation.recognised : observation.arrived).push_back(ToArrived(std::move(message)));
}

// What SELECT told by QRESYNC of the messages known.
void TakeResync(imap::SelectResult& selected, Uid uid_next_before, Observation& observation) {
  observation.vanished = std::move(selected.vanished);
  for (imap::MessageFlags& changed : selected.changed) {
    if (changed.uid < uid_next_before) observation.changed.push_back({changed.uid, std::move(changed.flags)});
  }
}

class Observer {
 public:
  Observer(imap::Session& session, ObserveRequest request) : session_(session), request_(std::move(request)) {}

  asio::awaitable<absl::StatusOr<Observation>> Run();

 private:
  struct BySize {
    UidSet small;
    UidSet large;
  };

  asio::awaitable<absl::Status> SelectIt();
  asio::awaitable<absl::Status> FetchArrivals(Uid first, UidSet recognise);
  asio::awaitable<absl::StatusOr<BySize>> DivideBySize(UidSet wanted);
  asio::awaitable<absl::Status> FetchArrivalsWithBodies(UidSet wanted);
  asio::awaitable<absl::Status> FetchChanged();
  asio::awaitable<absl::Status> CompareCounts();
  asio::awaitable<absl::Status> CompareAll();
  asio::awaitable<absl::Status> ListPresent();
  const MailboxCursor& since() const { return request_.since; }

  imap::Session& session_;
  const ObserveRequest request_;
  imap::SelectResult selected_;
  bool resynced_ = false;  // SELECT told what happened since
  Observation observation_;
};

asio::awaitable<absl::StatusOr<Observation>> Observer::Run() {
  CO_RETURN_IF_ERROR(co_await SelectIt());
  // Another UIDVALIDITY gives neither error nor VANISHED: compare before anything is believed (DESIGN.md section 7).
  const bool known =
      since().uid_validity.value != 0 && selected_.uid_validity == since().uid_validity && since().uid_next.value != 0;
  observation_.complete = !known;
  const Uid first = known ? since().uid_next : Uid(1);
  UidSet recognise;
  if (known) recognise = since().recognise;
  CO_RETURN_IF_ERROR(co_await FetchArrivals(first, std::move(recognise)));
  if (known && resynced_) {
    TakeResync(selected_, since().uid_next, observation_);
    observation_.counted = selected_.exists;
  } else if (known && observation_.more) {
    observation_.cursor.highest_modseq = since().highest_modseq;  // what changed below is for the last batch
  } else if (known) {
    // Of a mailbox copy that was empty nothing is to be compared, but what was added since may be gone again.
    const bool empty = since().uid_next.value <= 1;
    const bool told = since().highest_modseq.value != 0 && selected_.highest_modseq >= since().highest_modseq;
    const bool moved = told && selected_.highest_modseq != since().highest_modseq;
    if (moved && !empty) CO_RETURN_IF_ERROR(co_await FetchChanged());
    if (told || empty) {
      CO_RETURN_IF_ERROR(co_await CompareCounts());
    } else {
      CO_RETURN_IF_ERROR(co_await CompareAll());
    }
  }
  // Something went while all was being fetched, so after the HIGHESTMODSEQ that was told. A server that is restored to
  // just that must not look as if nothing had happened: what arrived is looked at once more.
  const bool torn = !known && !observation_.more && observation_.arrived.size() < selected_.exists;
  if (torn) observation_.cursor.uid_next = Uid(1);
  observation_.exists = session_.exists();
  co_return std::move(observation_);
}

asio::awaitable<absl::Status> Observer::SelectIt() {
  imap::SelectRequest select(request_.mailbox_raw);
  const bool resync = request_.trust_resync && since().uid_validity.value != 0 && since().highest_modseq.value != 0 &&
                      session_.enabled().contains("QRESYNC");
  if (resync) {
    select.uid_validity = since().uid_validity;
    select.modseq = since().highest_modseq;
  }
  CO_ASSIGN_OR_RETURN(selected_, co_await imap::Select(session_, std::move(select)));
  if (selected_.uid_not_sticky) {
    co_return Error(absl::StatusCode::kUnimplemented,
                    "the server does not keep the UIDs of this mailbox (UIDNOTSTICKY), so nothing can be told of its "
                    "messages; exclude it on the edges to this replica");
  }
  resynced_ = resync && selected_.highest_modseq >= since().highest_modseq && session_.resync_defect().empty();
  if (selected_.uid_next.value == 0) {  // it need not tell (RFC 3501 section 7.1)
    CO_ASSIGN_OR_RETURN(const Uid last, co_await imap::FetchLastUid(session_));
    const Uid least = selected_.uid_validity == since().uid_validity ? since().uid_next : Uid();
    selected_.uid_next = std::max({Uid(last.value + 1), least, request_.status_uid_next});
  }
  TakeSelected(selected_, observation_);
  co_return absl::OkStatus();
}

// And once more what is to be recognised.
asio::awaitable<absl::Status> Observer::FetchArrivals(Uid first, UidSet recognise) {
  if (selected_.exists == 0) co_return absl::OkStatus();
  UidSet wanted;
  if (selected_.uid_next > first) wanted.AddRange(first.value, selected_.uid_next.value - 1);
  if (selected_.exists > request_.max_messages && wanted.size() > request_.max_messages) {
    const auto all = co_await imap::UidSearchAll(session_);
    if (!all.ok()) co_return all.status();
    std::vector<Uid> present;
    for (const UidRange& range : all->ranges()) {
      for (uint64_t uid = std::max(range.first, first.value); uid <= range.last; ++uid) {
        if (uid >= selected_.uid_next.value || present.size() > request_.max_messages) break;
        present.emplace_back(static_cast<uint32_t>(uid));
      }
    }
    if (present.size() > request_.max_messages) {
      present.resize(request_.max_messages);
      observation_.more = true;
      observation_.cursor.uid_next = Uid(present.back().value + 1);
    }
    wanted = UidSet(present);
  }
  const bool with_bodies = request_.body_bytes > 0 && !wanted.empty();
  if (with_bodies) CO_RETURN_IF_ERROR(co_await FetchArrivalsWithBodies(std::move(wanted)));
  UidSet asked = with_bodies ? UidSet() : std::move(wanted);
  asked.Add(recognise);
  if (asked.empty()) co_return absl::OkStatus();
  const std::function<absl::Status(imap::NewMessage)> take = [&](imap::NewMessage message) {
    // `n:*` and other clients' doings bring more
    if (asked.Contains(message.uid)) Take(std::move(message), recognise, observation_);
    return absl::OkStatus();
  };
  CO_RETURN_IF_ERROR(co_await imap::FetchNew(session_, asked, take));
  SortByUid(observation_.arrived);
  co_return absl::OkStatus();
}

// Up to the limit in the order of their UIDs; what lies behind it is for the next look.
asio::awaitable<absl::StatusOr<Observer::BySize>> Observer::DivideBySize(UidSet wanted) {
  std::map<Uid, uint64_t> sizes;
  const std::function<absl::Status(Uid, uint64_t)> take = [&](Uid uid, uint64_t size) {
    sizes[uid] = size;
    return absl::OkStatus();
  };
  CO_RETURN_IF_ERROR(co_await imap::FetchSizes(session_, wanted, take));
  BySize divided;
  uint64_t bytes = 0;
  for (const auto& [uid, size] : sizes) {
    const bool small = size <= kSmallBodyBytes;
    if (small && bytes > 0 && bytes + size > request_.body_bytes) {
      observation_.more = true;
      observation_.cursor.uid_next = uid;
      break;
    }
    bytes += small ? size : 0;
    (small ? divided.small : divided.large).Add(uid);
  }
  co_return divided;
}

asio::awaitable<absl::Status> Observer::FetchArrivalsWithBodies(UidSet wanted) {
  CO_ASSIGN_OR_RETURN(BySize divided, co_await DivideBySize(std::move(wanted)));
  UidSet to_ask = std::move(divided.large);              // for their header fields
  std::map<Uid, std::shared_ptr<const Body>> not_plain;  // of which only these are lacking
  auto& arrived = observation_.arrived;
  uint64_t bytes = 0;
  const std::function<absl::Status(imap::NewMessage)> take_whole = [&](imap::NewMessage message) {
    // A server may send more than it told.
    const bool keep = message.body != nullptr && message.body->in_memory() && message.body->size() <= kSmallBodyBytes &&
                      bytes <= 2 * request_.body_bytes;
    if (!keep) message.body.reset();
    bytes += keep ? message.body->size() : 0;
    if (message.header) {
      arrived.push_back(ToArrived(std::move(message)));
    } else {
      to_ask.Add(message.uid);
      not_plain[message.uid] = std::move(message.body);
    }
    return absl::OkStatus();
  };
  CO_RETURN_IF_ERROR(co_await imap::FetchNewWithBodies(session_, std::move(divided.small), take_whole));
  const std::function<absl::Status(imap::NewMessage)> take_fields = [&](imap::NewMessage message) {
    if (const auto body = not_plain.find(message.uid); body != not_plain.end()) message.body = std::move(body->second);
    arrived.push_back(ToArrived(std::move(message)));
    return absl::OkStatus();
  };
  CO_RETURN_IF_ERROR(co_await imap::FetchNew(session_, std::move(to_ask), take_fields));
  SortByUid(arrived);
  co_return absl::OkStatus();
}

asio::awaitable<absl::Status> Observer::FetchChanged() {
  UidSet known;
  known.AddRange(1, since().uid_next.value - 1);
  const std::function<absl::Status(imap::MessageFlags)> take = [&](imap::MessageFlags flags) {
    observation_.changed.push_back({flags.uid, std::move(flags.flags)});
    return absl::OkStatus();
  };
  co_return co_await imap::FetchFlags(session_, known, since().highest_modseq, take);
}

// What the server counts is what is known and what arrived: nothing is gone. A message that went and another that came
// between SELECT and now can make it look so once; the next observation, due by UIDNEXT, does not add up then.
asio::awaitable<absl::Status> Observer::CompareCounts() {
  if (since().known && *since().known + observation_.arrived.size() == session_.exists()) co_return absl::OkStatus();
  co_return co_await ListPresent();
}

asio::awaitable<absl::Status> Observer::CompareAll() {
  UidSet known;
  known.AddRange(1, since().uid_next.value - 1);
  std::vector<Uid> listed;
  const std::function<absl::Status(imap::MessageFlags)> take = [&](imap::MessageFlags flags) {
    listed.push_back(flags.uid);
    observation_.changed.push_back({flags.uid, std::move(flags.flags)});
    return absl::OkStatus();
  };
  CO_RETURN_IF_ERROR(co_await imap::FetchFlags(session_, known, ModSeq(), take));
  for (const ArrivedMessage& arrived : observation_.arrived) listed.push_back(arrived.uid);
  UidSet present(listed);
  if (present.size() != session_.exists()) co_return co_await ListPresent();
  observation_.present = std::move(present);
  co_return absl::OkStatus();
}

asio::awaitable<absl::Status> Observer::ListPresent() {
  uint64_t listed = 0;
  for (int attempt = 0; attempt < kListingsMax; ++attempt) {
    if (attempt > 0) CO_RETURN_IF_ERROR(co_await imap::Noop(session_));
    CO_ASSIGN_OR_RETURN(UidSet present, co_await imap::UidSearchAll(session_));
    listed = present.size();
    if (listed != session_.exists()) continue;
    observation_.present = std::move(present);
    co_return absl::OkStatus();
  }
  co_return Error(absl::StatusCode::kAborted,
                  "the server lists %d messages but counts %d, so nobody can tell which are gone; nothing is taken for "
                  "deleted, and it is looked at again later",
                  listed, session_.exists());
}

// One mailbox copy of ObserveQuickly: Send for all, then Await in the same order.
class QuickLook {
 public:
  explicit QuickLook(ObserveRequest request) : request_(std::move(request)) {}

  // False: not by this way, and nothing was sent.
  bool Send(imap::Session& session) {
    const MailboxCursor& since = request_.since;
    const bool known = since.uid_validity.value != 0 && since.highest_modseq.value != 0 && since.uid_next.value != 0;
    const bool trusted = request_.trust_resync && session.enabled().contains("QRESYNC");
    const Uid last = request_.status_uid_next;
    if (!known || !trusted || last < since.uid_next || last.value - since.uid_next.value > kQuickArrivalsMax) {
      return false;
    }
    imap::SelectRequest select(request_.mailbox_raw);
    select.uid_validity = since.uid_validity;
    select.modseq = since.highest_modseq;
    absl::StatusOr<imap::SentSelect> selecting = imap::SendSelect(session, std::move(select));
    if (!selecting.ok()) return false;
    select_ = *std::move(selecting);
    if (last > since.uid_next) wanted_.AddRange(since.uid_next.value, last.value - 1);
    wanted_.Add(since.recognise);
    if (wanted_.empty()) return true;
    absl::StatusOr<std::string> fetching = imap::SendFetchNew(session, wanted_);
    if (fetching.ok()) fetch_tag_ = *std::move(fetching);
    return true;
  }

  asio::awaitable<std::optional<Observation>> Await(imap::Session& session) {
    if (!select_) co_return std::nullopt;
    imap::SentSelect sent = *std::move(select_);
    absl::StatusOr<imap::SelectResult> selected = co_await imap::AwaitSelect(session, std::move(sent));
    Observation observation;
    bool fetched = wanted_.empty();
    if (!fetch_tag_.empty()) {
      const std::function<absl::Status(imap::NewMessage)> take = [&](imap::NewMessage message) {
        Take(std::move(message), request_.since.recognise, observation);
        return absl::OkStatus();
      };
      const absl::Status status = co_await imap::AwaitFetchNew(session, fetch_tag_, wanted_, take);
      fetched = status.ok();
    }
    if (!selected.ok() || !fetched) co_return std::nullopt;
    const MailboxCursor& since = request_.since;
    const bool as_listed =
        selected->uid_validity == since.uid_validity && selected->uid_next == request_.status_uid_next;
    const bool resynced = selected->highest_modseq >= since.highest_modseq && session.resync_defect().empty();
    if (!as_listed || !resynced || selected->uid_not_sticky) co_return std::nullopt;
    TakeSelected(*selected, observation);
    TakeResync(*selected, since.uid_next, observation);
    observation.counted = selected->exists;
    SortByUid(observation.arrived);
    observation.exists = session.exists();
    co_return observation;
  }

 private:
  const ObserveRequest request_;
  std::optional<imap::SentSelect> select_;
  UidSet wanted_;
  std::string fetch_tag_;
};

}  // namespace

bool WentBack(const MailboxCursor& since, const Observation& observation) {
  const bool same = since.uid_validity.value != 0 && since.uid_validity == observation.cursor.uid_validity;
  return same && !observation.more && observation.cursor.highest_modseq.value != 0 &&
         observation.cursor.highest_modseq < since.highest_modseq;
}

Tier TierOf(const imap::Session& session, bool trust_resync) {
  if (trust_resync && session.resync_defect().empty() && session.enabled().contains("QRESYNC")) return Tier::kQresync;
  return HasModSeq(session) ? Tier::kCondstore : Tier::kPlain;
}

const char* TierName(Tier tier) {
  switch (tier) {
    case Tier::kQresync:
      return "QRESYNC";
    case Tier::kCondstore:
      return "CONDSTORE";
    case Tier::kPlain:
      return "PLAIN";
  }
  return "";
}

asio::awaitable<absl::StatusOr<Observation>> ObserveMailbox(imap::Session& session, ObserveRequest request) {
  Observer observer(session, std::move(request));
  co_return co_await observer.Run();
}

asio::awaitable<std::vector<std::optional<Observation>>> ObserveQuickly(imap::Session& session,
                                                                        std::vector<ObserveRequest> requests,
                                                                        uint64_t& sent) {
  std::vector<QuickLook> looks;
  looks.reserve(requests.size());
  for (ObserveRequest& request : requests) {
    looks.emplace_back(std::move(request));
    if (looks.back().Send(session)) ++sent;
  }
  std::vector<std::optional<Observation>> observations;
  for (QuickLook& look : looks) {
    std::optional<Observation> observation = co_await look.Await(session);
    observations.push_back(std::move(observation));
  }
  co_return observations;
}

}  // namespace imapmesh
