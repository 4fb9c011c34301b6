// The responses of an IMAP server as typed values, and the parser that makes them of what ResponseReader cut out.
//
// The session parses every response it reads; the commands look at the kinds they know. Lenient about what real servers
// send (trailing spaces, an empty HIGHESTMODSEQ, items nobody asked for), strict about types: a value here is in range.
// Pure; any thread.
#ifndef IMAPMESH_ENGINE_IMAP_RESPONSE_H_
#define IMAPMESH_ENGINE_IMAP_RESPONSE_H_

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "base/ids.h"
#include "base/status.h"
#include "base/uid_set.h"
#include "engine/imap/response_reader.h"
#include "engine/net/body.h"

namespace imapmesh::imap {

// What stands in brackets at the start of a status text. Only the fields of the named code are set; arguments that do
// not parse leave the fields empty, and `arguments` keeps the text.
struct ResponseCode {
  std::string name;                // in capitals; "" for none
  std::string arguments;           // as the server wrote them
  uint64_t number = 0;             // UIDVALIDITY, UIDNEXT, HIGHESTMODSEQ, UNSEEN
  std::vector<std::string> words;  // CAPABILITY, PERMANENTFLAGS, BADEVENT: the words in the list
  UidValidity uid_validity;        // APPENDUID, COPYUID: of the target
  // In the server's order, since the n-th source stands for the n-th target. A range is first <= last.
  std::vector<UidRange> source_uids;  // COPYUID
  std::vector<UidRange> target_uids;  // COPYUID, APPENDUID
  UidSet modified;                    // MODIFIED (of a UID command)
};

enum class StatusKind { kOk, kNo, kBad, kPreauth, kBye };

// OK, NO, BAD, PREAUTH or BYE, tagged or not.
struct StatusResponse {
  std::string tag;  // "" when untagged
  StatusKind kind = StatusKind::kOk;
  ResponseCode code;
  std::string text;  // as the server wrote it: Printable before anyone sees it
};

struct ContinuationResponse {
  std::string text;
};

struct CapabilityResponse {
  std::vector<std::string> capabilities;  // in capitals
};

struct EnabledResponse {
  std::vector<std::string> extensions;  // in capitals
};

struct ListResponse {
  bool subscriptions_only = false;                      // it was an LSUB
  std::vector<std::string> attributes;                  // "\Noselect", as written
  std::string delimiter;                                // one character; "" for NIL
  std::string mailbox;                                  // raw: as the server spells it
  std::string old_name;                                 // extended item OLDNAME; "" for none
  std::vector<std::string> child_info;                  // extended item CHILDINFO
  bool HasAttribute(std::string_view attribute) const;  // in any case
};

struct MailboxStatusResponse {
  std::string mailbox;  // raw
  std::optional<uint32_t> messages;
  std::optional<uint32_t> unseen;
  std::optional<Uid> uid_next;
  std::optional<UidValidity> uid_validity;
  std::optional<ModSeq> highest_modseq;  // 0: NOMODSEQ, or empty
  std::string mailbox_id;                // MAILBOXID, or X-GUID where the server has that
};

struct FlagsResponse {
  std::vector<std::string> flags;
};
struct ExistsResponse {
  uint32_t count = 0;
};
struct RecentResponse {
  uint32_t count = 0;
};
struct ExpungeResponse {
  uint32_t sequence_number = 0;
};

struct VanishedResponse {
  bool earlier = false;
  bool malformed = false;  // what should have been UIDs is none: some servers do that, and cannot be relied on then
  UidSet uids;
};

// BODY[section]<origin>: `bytes` or `body`, neither for NIL.
struct BodySection {
  std::string section;  // "" for the whole message, "HEADER", "HEADER.FIELDS (DATE)"; in capitals
  std::optional<uint64_t> origin;
  std::string bytes;
  std::shared_ptr<Body> body;
};

struct FetchResponse {
  uint32_t sequence_number = 0;
  std::optional<Uid> uid;
  std::optional<std::vector<std::string>> flags;
  std::optional<std::string> internal_date;  // as the server wrote it
  std::optional<uint64_t> size;              // RFC822.SIZE
  std::optional<ModSeq> modseq;
  std::string guid;      // X-GUID
  std::string email_id;  // EMAILID
  std::string gmail_id;  // X-GM-MSGID
  std::vector<BodySection> sections;
};

struct NamespaceEntry {
  std::string prefix;     // raw
  std::string delimiter;  // one character; "" for NIL
};
struct NamespaceResponse {
  std::vector<NamespaceEntry> personal;
  std::vector<NamespaceEntry> other_users;
  std::vector<NamespaceEntry> shared;
};

struct IdResponse {
  std::map<std::string, std::string> fields;  // names in lower case; NIL values left out
};

// SEARCH and ESEARCH.
struct SearchResponse {
  std::string tag;   // ESEARCH's correlator; "" for none
  bool uid = false;  // ESEARCH only: the numbers are UIDs
  UidSet numbers;
  std::optional<uint32_t> min;
  std::optional<uint32_t> max;
  std::optional<uint32_t> count;
  std::optional<ModSeq> modseq;
};

// METADATA (RFC 5464 section 4.4): entries with their values, nullopt for NIL; no entries where only names were told.
struct MetadataResponse {
  std::string mailbox;  // raw; "" for the server's own
  std::vector<std::pair<std::string, std::optional<std::string>>> entries;
};

// Something this client does not know; harmless.
struct UnknownResponse {
  std::string name;
};

using Response = std::variant<StatusResponse, ContinuationResponse, CapabilityResponse, EnabledResponse, ListResponse,
                              MailboxStatusResponse, FlagsResponse, ExistsResponse, RecentResponse, ExpungeResponse,
                              VanishedResponse, FetchResponse, NamespaceResponse, IdResponse, SearchResponse,
                              MetadataResponse, UnknownResponse>;

// kDataLoss, with an excerpt fit to print, when `raw` is no response that IMAP knows.
absl::StatusOr<Response> ParseResponse(RawResponse raw);

}  // namespace imapmesh::imap

#endif  // IMAPMESH_ENGINE_IMAP_RESPONSE_H_
