// The mesh's memory of one message: its copies, and the registers of each (DESIGN.md section 2).
//
// The store reads and writes these values; identify, merge and plan are functions over them. Values only; any thread.
#ifndef IMAPMESH_ENGINE_STORE_REGISTERS_H_
#define IMAPMESH_ENGINE_STORE_REGISTERS_H_

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/digest.h"
#include "base/ids.h"

namespace imapmesh {

// Is flag F set, and since when. A flag without an entry is unset at stamp 0.
struct FlagRegister {
  FlagId flag;
  bool set = false;
  Stamp stamp;
  bool operator==(const FlagRegister&) const = default;
};

// The flag registers of one message copy, sorted by flag.
class FlagRegisters {
 public:
  FlagRegister Get(FlagId flag) const {
    const auto found = Find(flag);
    return found != entries_.end() && found->flag == flag ? *found : FlagRegister{flag, false, Stamp(0)};
  }
  bool IsSet(FlagId flag) const { return Get(flag).set; }
  void Put(FlagId flag, bool set, Stamp stamp) {
    const auto found = entries_.begin() + (Find(flag) - entries_.begin());
    if (found != entries_.end() && found->flag == flag) {
      *found = {flag, set, stamp};
    } else {
      entries_.insert(found, {flag, set, stamp});
    }
  }
  const std::vector<FlagRegister>& entries() const { return entries_; }
  bool operator==(const FlagRegisters&) const = default;

 private:
  std::vector<FlagRegister>::const_iterator Find(FlagId flag) const {
    return std::lower_bound(entries_.begin(), entries_.end(), flag,
                            [](const FlagRegister& entry, FlagId wanted) { return entry.flag < wanted; });
  }
  std::vector<FlagRegister> entries_;
};

enum class Presence : uint8_t {
  kAbsent = 0,  // not there: never was (stamp 0), or its deletion was observed
  kPresent = 1,
  kHeld = 2  // gone, but held by the brake: neither a deletion nor a source until someone decides
};

struct CopyRegisters {
  MailboxCopyId mailbox_copy;
  Uid uid;  // 0: none, or not known since UIDVALIDITY changed
  Presence presence = Presence::kAbsent;
  Stamp stamp;  // of presence
  FlagRegisters flags;
  uint64_t guid = 0;  // hash of the server's own identity of the content; 0: none
  bool present() const { return presence == Presence::kPresent; }
};

struct MessageRegisters {
  MessageId id;
  MailboxId mailbox;
  Digest identity{};  // ArrivedMessage::header_digest
  uint64_t size = 0;
  int64_t internal_date = 0;
  int32_t zone_minutes = 0;
  std::optional<ContentIdentity> content;  // where it was needed to tell messages apart
  std::string message_id;
  std::vector<CopyRegisters> copies;

  CopyRegisters* Find(MailboxCopyId copy) {
    for (CopyRegisters& candidate : copies) {
      if (candidate.mailbox_copy == copy) return &candidate;
    }
    return nullptr;
  }
  const CopyRegisters* Find(MailboxCopyId copy) const { return const_cast<MessageRegisters*>(this)->Find(copy); }
};

// Which flags of a mailbox copy can be changed for good, as its server told last (PERMANENTFLAGS, RFC 3501
// section 7.1).
struct FlagLimits {
  bool only = false;          // `flags` alone can be changed; else all but `flags`
  std::vector<FlagId> flags;  // ascending
  bool operator==(const FlagLimits&) const = default;
};

// What a copy should get and cannot take: its mailbox copy is read-only, lacks rights, or does not keep the flags.
struct KeptBack {
  MessageId message;
  MailboxCopyId mailbox_copy;
  bool addition = false;
  bool deletion = false;
  FlagRegisters flags;  // as they should be
  bool operator==(const KeptBack&) const = default;
};

// What is about to be done to one message copy, committed before the server is told (DESIGN.md section 3, apply).
enum class IntentKind : uint8_t { kAdd = 1, kFlags = 2, kExpunge = 3, kCopy = 4 };

// Whether it brings a message copy into being: by APPEND, or by COPY within the replica.
inline bool Adds(IntentKind kind) {
  return kind == IntentKind::kAdd || kind == IntentKind::kCopy;
}

// Of a flag that a server-side copy brought along unasked: older than "never changed", so the wanted value follows.
inline constexpr Stamp kCarried(-1);

struct Intent {
  MessageId message;
  MailboxCopyId mailbox_copy;
  IntentKind kind = IntentKind::kAdd;
  Stamp stamp;          // of presence, for all but kFlags
  FlagRegisters flags;  // what the flags will be, with the stamps they carry
  int64_t unix_ms = 0;  // when it was committed, later: when its connection was lost
};

}  // namespace imapmesh

#endif  // IMAPMESH_ENGINE_STORE_REGISTERS_H_
