// The strong types of the mesh: numbers that must not be confused with one another.
//
// Used by every room. Values only; any thread.
#ifndef IMAPMESH_BASE_IDS_H_
#define IMAPMESH_BASE_IDS_H_

#include <compare>
#include <cstdint>
#include <functional>

namespace imapmesh {

// A number that only equals and compares with its own kind. `Tag` is never defined.
template <typename Tag, typename Rep>
struct StrongNumber {
  constexpr StrongNumber() = default;
  constexpr explicit StrongNumber(Rep number) : value(number) {}
  constexpr auto operator<=>(const StrongNumber&) const = default;
  Rep value = 0;
};

// Position of a replica or an edge in the graph's list; -1 never. Stable only for one loaded topology.
using ReplicaIndex = StrongNumber<struct ReplicaIndexTag, int32_t>;
using EdgeIndex = StrongNumber<struct EdgeIndexTag, int32_t>;

// Row ids of the state file; 0 is no row.
using ReplicaId = StrongNumber<struct ReplicaIdTag, int64_t>;
using MailboxId = StrongNumber<struct MailboxIdTag, int64_t>;
using MailboxCopyId = StrongNumber<struct MailboxCopyIdTag, int64_t>;
using MessageId = StrongNumber<struct MessageIdTag, int64_t>;
using FlagId = StrongNumber<struct FlagIdTag, int32_t>;

// RFC 3501 section 2.3.1.1: 32 bits, never 0. A zero Uid or UidValidity here means "none known".
using Uid = StrongNumber<struct UidTag, uint32_t>;
using UidValidity = StrongNumber<struct UidValidityTag, uint32_t>;
// RFC 7162 section 3.1: 63 bits, 0 means the mailbox has none (NOMODSEQ).
using ModSeq = StrongNumber<struct ModSeqTag, uint64_t>;

// DESIGN.md section 2: the mesh's one counter. 0 is "never changed since the mesh knows it".
using Stamp = StrongNumber<struct StampTag, int64_t>;

}  // namespace imapmesh

template <typename Tag, typename Rep>
struct std::hash<imapmesh::StrongNumber<Tag, Rep>> {
  size_t operator()(const imapmesh::StrongNumber<Tag, Rep>& number) const noexcept {
    return std::hash<Rep>{}(number.value);
  }
};

#endif  // IMAPMESH_BASE_IDS_H_
