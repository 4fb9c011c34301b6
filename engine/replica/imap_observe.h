// One look into one mailbox copy, by whatever means its server has to tell what changed.
//
// imap_replica.cc calls it with a leased session; the result is an Observation (replica.h). Three tiers:
//   QRESYNC    SELECT tells changed flags and vanished UIDs.
//   CONDSTORE  FETCH CHANGEDSINCE tells changed flags; UIDs are compared when the number of messages is not the known.
//   PLAIN      the flags of all known messages are fetched and compared, and with them the UIDs.
// Invariant: UIDs count as gone only by VANISHED or by a listing as long as the server's own count (RFC 3501 EXISTS).
// Engine thread.
#ifndef IMAPMESH_ENGINE_REPLICA_IMAP_OBSERVE_H_
#define IMAPMESH_ENGINE_REPLICA_IMAP_OBSERVE_H_

#include <asio/awaitable.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/status.h"
#include "engine/imap/session.h"
#include "engine/replica/replica.h"

namespace imapmesh {

enum class Tier { kQresync, kCondstore, kPlain };

// What the session can do; `trust_resync` false: what it tells by QRESYNC is not to be relied on.
Tier TierOf(const imap::Session& session, bool trust_resync);
// As ServerInfo::tier has it.
const char* TierName(Tier tier);

struct ObserveRequest {
  explicit ObserveRequest(std::string mailbox) : mailbox_raw(std::move(mailbox)) {}
  std::string mailbox_raw;
  MailboxCursor since;
  size_t max_messages = 0;  // of arrivals, about
  uint64_t body_bytes = 0;  // ObserveLimits
  bool trust_resync = true;
  // What STATUS told last, 0 for nothing: counts where SELECT does not tell UIDNEXT, and lets arrivals be expected.
  Uid status_uid_next;
};

// Whether the mod-sequences of an observed mailbox are behind those known: the server lost them, or went back to an
// older state, and what it tells of changes since is not to be relied on (it was compared in full).
bool WentBack(const MailboxCursor& since, const Observation& observation);

// Errors: as the server refuses, kAborted for a server that contradicts itself (it is asked again at the next look),
// kUnimplemented for a mailbox without lasting UIDs. session.resync_defect() tells afterwards whether QRESYNC was
// found not to be trusted; this observation then did without it.
asio::awaitable<absl::StatusOr<Observation>> ObserveMailbox(imap::Session& session, ObserveRequest request);

// Several mailbox copies in one exchange: for each, what SELECT with QRESYNC tells and the few arrivals that the last
// look let expect. In the order of `requests`; nullopt where more is needed, or where the answer was no plain success:
// ObserveMailbox is for those. `sent` counts the SELECTs.
asio::awaitable<std::vector<std::optional<Observation>>> ObserveQuickly(imap::Session& session,
                                                                        std::vector<ObserveRequest> requests,
                                                                        uint64_t& sent);

}  // namespace imapmesh

#endif  // IMAPMESH_ENGINE_REPLICA_IMAP_OBSERVE_H_
