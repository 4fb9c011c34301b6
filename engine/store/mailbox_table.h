// The mailboxes of the mesh and their copies, as recorded.
//
// Reached through State::mailboxes(); store thread, inside its transactions. It decides nothing: engine/sync does.
#ifndef IMAPMESH_ENGINE_STORE_MAILBOX_TABLE_H_
#define IMAPMESH_ENGINE_STORE_MAILBOX_TABLE_H_

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/ids.h"
#include "engine/store/database.h"
#include "engine/store/registers.h"

namespace imapmesh {

// What is known of a mailbox copy that is not listed any more.
enum class MailboxGone : uint8_t {
  kNo = 0,         // it is there, or never was, or its deletion is accepted
  kUndecided = 1,  // it is to be decided whether that is a deletion; its messages are held until then
  kWaits = 2,      // an open conflict decides
  kKept = 3        // it was deleted, and no edge carries that: the others keep theirs
};

// A mailbox copy as recorded.
struct MailboxCopyRecord {
  MailboxCopyId id;
  ReplicaId replica;
  MailboxId mailbox;
  std::string mailbox_name;  // in the mesh
  Stamp mailbox_name_stamp;  // since when
  std::string name_here;     // as the server spells it; "" when it was made and not listed yet
  std::string local_name;    // here, before aliases (MailboxNames::LocalName)
  Stamp name_stamp;          // of local_name
  std::string server_id;     // MailboxStatus::server_id
  std::string special_use;   // its role here, "\Sent"; "" for none
  bool exists = false;       // it was listed at the last look
  MailboxGone gone = MailboxGone::kNo;
  Stamp exists_stamp;  // of its being there or not; 0: it never was there, or is to be made again
  bool subscribed = false;
  Stamp subscribed_stamp;
  UidValidity uid_validity;
  Uid uid_next;           // from where on nothing is known: beyond what was observed and what was added without a gap
  Uid observed_uid_next;  // the same at the last observation; 0 before the first
  ModSeq highest_modseq;
  bool rebinding = false;  // UIDVALIDITY changed or state is behind: UIDs are being matched anew
  bool read_only = false;  // its messages can be read and nothing else (RFC 3501 section 7.1, READ-ONLY)
  FlagLimits flag_limits;
  int64_t messages = 0;  // in the mailbox copy at the last observation
  // The greatest that a message is known under, beyond uid_next where something was added behind a gap and not observed
  // yet; 0: none. Save leaves it alone.
  Uid last_uid;
};

class MailboxTable {
 public:
  explicit MailboxTable(Database& database) : database_(database) {}

  std::vector<MailboxCopyRecord> Copies();
  // Those of a replica, and all of some mailboxes.
  std::vector<MailboxCopyRecord> Copies(ReplicaId replica, const std::set<MailboxId>& mailboxes);
  std::optional<MailboxCopyRecord> FindCopy(ReplicaId replica, MailboxId mailbox);
  std::optional<MailboxCopyRecord> FindCopy(MailboxCopyId copy);
  // 0 where there is no such copy, or none is known.
  UidValidity UidValidityOf(MailboxCopyId copy);
  // Inserts (id 0) or updates.
  void Save(MailboxCopyRecord& record);

  std::optional<MailboxId> Find(std::string_view name);
  std::pair<std::string, Stamp> NameOf(MailboxId mailbox);
  // No other mailbox may have the name.
  void Rename(MailboxId mailbox, std::string_view name, Stamp stamp);

  // Deletions that no edge carried (kKept) are to be decided again: the edges are others.
  void DecideKeptAgain();
  // Everything known of a replica's mailbox copies, as if it were looked at for the first time: its mail is identified
  // again, and nothing of it counts as deleted.
  void ForgetReplica(ReplicaId replica);

  // Messages of a copy that are held, present, and present without a newer deletion elsewhere.
  int64_t CountHeld(MailboxCopyId copy);
  int64_t CountPresent(MailboxCopyId copy);
  int64_t CountLive(MailboxCopyId copy);
  // Whether `other` holds a message that `copy` does not know of.
  bool HasNews(MailboxCopyId other, MailboxCopyId copy);
  // The held messages of a copy were deleted; or they count as never had.
  void DeleteHeld(MailboxCopyId copy, Stamp stamp);
  void ForgetHeld(MailboxCopyId copy);
  // Or they are there still, under UIDs that are not known.
  void ReleaseHeld(MailboxCopyId copy);

 private:
  int64_t Count(const char* sql, MailboxCopyId copy);
  void MarkHeldUnsettled(MailboxCopyId copy);

  Database& database_;
};

}  // namespace imapmesh

#endif  // IMAPMESH_ENGINE_STORE_MAILBOX_TABLE_H_
