// Identify: which message of the mesh a UID seen for the first time is (DESIGN.md section 3, step 2).
//
// Pure; record_observation.cc calls it with what observation and store tell, fetches what it asks for, and calls again.
// Rules: a message is matched only with one that has no copy in this mailbox copy yet ("free"), so equal messages keep
// their number; one exact candidate (same header digest, size and INTERNALDATE, and a Message-ID) is enough, anything
// less certain is decided by digests of the content: of all of it, or, for messages with a Message-ID, of what other
// tools leave alone. Never are two different messages merged; when in doubt the arrival is a message of its own.
#ifndef IMAPMESH_ENGINE_SYNC_IDENTIFY_H_
#define IMAPMESH_ENGINE_SYNC_IDENTIFY_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "base/digest.h"
#include "base/ids.h"

namespace imapmesh {

// A message of the mailbox with the same header digest as the arrival.
struct Candidate {
  MessageId message;
  uint64_t size = 0;
  int64_t internal_date = 0;
  std::optional<ContentIdentity> content;
  bool free = false;            // no copy of it is known in this mailbox copy
  bool obtainable = true;       // some copy of it can be fetched, now or once its replica is reachable
  bool awaited_here = false;    // it was here under a UID that no longer counts, or is being added here
  bool lost_elsewhere = false;  // it can be fetched once another mailbox copy has been identified anew
  bool second = false;          // held as the second copy of an equal one (duplicates.h)
};

struct Arrival {
  uint64_t size = 0;
  int64_t internal_date = 0;
  bool has_message_id = false;
  std::optional<ContentIdentity> content;
  bool has_twin = false;  // another arrival of this observation has the same header digest
  bool may_wait = true;   // for what is lost elsewhere to be found again
};

struct Identification {
  enum class Verdict { kNew, kMatch, kNeedContent } verdict = Verdict::kNew;
  MessageId message;                    // kMatch
  std::vector<MessageId> need_content;  // kNeedContent: these candidates' digests, and the arrival's own
  bool in_doubt = false;                // kNew although another message has the same Message-ID and header
};

Identification Identify(const Arrival& arrival, const std::vector<Candidate>& candidates);

}  // namespace imapmesh

#endif  // IMAPMESH_ENGINE_SYNC_IDENTIFY_H_
