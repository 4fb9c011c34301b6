// Identify: which message of the mesh a UID seen for the first time is (DESIGN.md section 3, step 2).
//
// Pure; the coordinator calls it with what observation and store tell, fetches what it asks for, and calls again.
// Rules: a message is matched only with one that has no copy in this mailbox copy yet ("free"), so equal messages keep
// their number; one exact candidate (same header digest, size and INTERNALDATE, and a Message-ID) is enough, anything
// less certain is decided by the digest of the whole content. Never are two different messages merged.
#ifndef IMAPMESH_ENGINE_SYNC_IDENTIFY_H_
#define IMAPMESH_ENGINE_SYNC_IDENTIFY_H_

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "base/digest.h"
#include "base/ids.h"

namespace imapmesh {

// A message of the mailbox with the same header digest as the arrival.
struct Candidate {
  MessageId message;
  uint64_t size = 0;
  int64_t internal_date = 0;
  std::optional<Digest> content;
  bool free = false;       // no copy of it is known in this mailbox copy
  bool obtainable = true;  // some copy of it can be fetched, now or once its replica is reachable
  bool lost_here = false;  // it was in this mailbox copy, under a UID that no longer counts
};

struct Arrival {
  uint64_t size = 0;
  int64_t internal_date = 0;
  bool has_message_id = false;
  std::optional<Digest> content;
  bool has_twin = false;  // another arrival of this observation has the same header digest
};

struct Identification {
  enum class Verdict { kNew, kMatch, kNeedContent } verdict = Verdict::kNew;
  MessageId message;                    // kMatch
  std::vector<MessageId> need_content;  // kNeedContent: these candidates' digests, and the arrival's own
};

Identification Identify(const Arrival& arrival, const std::vector<Candidate>& candidates);

// Digest of a whole message, insensitive to what servers do to line ends and NUL (Dovecot: bare LF to CRLF, NUL to
// 0x80). Fed in pieces.
class ContentDigest {
 public:
  ContentDigest();
  ~ContentDigest();
  ContentDigest(const ContentDigest&) = delete;
  ContentDigest& operator=(const ContentDigest&) = delete;
  void Add(std::string_view bytes);
  Digest Finish();

 private:
  void* context_;  // EVP_MD_CTX
  bool after_return_ = false;
};

}  // namespace imapmesh

#endif  // IMAPMESH_ENGINE_SYNC_IDENTIFY_H_
