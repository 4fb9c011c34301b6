// What mailbox copies could not take: message by message, until their limits change or it is no longer wanted.
//
// Reached through State::kept_back(); written where a message is planned, so it tells what the last plan of each
// message left out. Store thread, inside its transactions.
#ifndef IMAPMESH_ENGINE_STORE_KEPT_BACK_TABLE_H_
#define IMAPMESH_ENGINE_STORE_KEPT_BACK_TABLE_H_

#include <cstdint>
#include <map>
#include <set>
#include <vector>

#include "base/ids.h"
#include "engine/store/database.h"
#include "engine/store/registers.h"

namespace imapmesh {

// Of one mailbox copy.
struct KeptBackSummary {
  int64_t additions = 0;
  int64_t deletions = 0;
  int64_t flagged = 0;  // messages some flags of which are other than they should be
  std::set<FlagId> flags;
};

class KeptBackTable {
 public:
  explicit KeptBackTable(Database& database) : database_(database) {}

  // Replaces what is noted of the message; all of `kept` are its.
  void Put(MessageId message, const std::vector<KeptBack>& kept);
  std::vector<KeptBack> Of(MessageId message);
  std::map<MailboxCopyId, KeptBackSummary> Summaries();
  // Every message of which something is kept back from `copy` is to be planned anew.
  void Unsettle(MailboxCopyId copy);
  // The same wherever messages could not be added or deleted: rights are not told, only tried.
  void UnsettleMessages();

 private:
  bool IsEmpty();

  Database& database_;
  bool empty_ = false;  // certainly; once something was put there it is looked up, also after a rollback
  bool asked_ = false;
};

}  // namespace imapmesh

#endif  // IMAPMESH_ENGINE_STORE_KEPT_BACK_TABLE_H_
