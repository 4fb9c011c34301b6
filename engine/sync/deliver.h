// Appends to one replica what was fetched for it, in turn with other coordinators that bring the same: the first
// message of many goes ahead, and its UID tells who came second.
//
// apply_appends.cc has one for each batch, and calls it for each chunk and target; its calls run side by side. Each
// addition has an intent before the first byte of it leaves (RFC 4315 APPENDUID closes it). Invariant: where nobody
// else was seen nothing is asked, and nothing waited for but, once an hour, the first addition to each mailbox copy.
// Engine thread.
#ifndef IMAPMESH_ENGINE_SYNC_DELIVER_H_
#define IMAPMESH_ENGINE_SYNC_DELIVER_H_

#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "engine/net/signal.h"
#include "engine/sync/record.h"

namespace imapmesh {

class Deliverer {
 public:
  using Bodies = std::map<MessageId, std::shared_ptr<const Body>>;
  using Parts = std::vector<std::vector<Change>>;  // of one mailbox each, and not empty; one APPEND each

  explicit Deliverer(Recorder& recorder)
      : recorder_(recorder), mesh_(recorder.mesh()), turn_over_(recorder.mesh().executor) {}

  // Returns once each is there, refused, or left to the next round. `bodies` has all of them.
  asio::awaitable<void> AppendInTurn(ReplicaIndex target, Parts parts, std::shared_ptr<const Bodies> bodies);

 private:
  Parts TakeAhead(ReplicaIndex target, Parts& parts);
  std::set<std::string> MailboxesOf(const Parts& parts) const;
  asio::awaitable<absl::Status> LookWhereCrowded(ReplicaIndex target, Change first, uint64_t following);
  asio::awaitable<Parts> Allowed(ReplicaIndex target, Parts parts);
  asio::awaitable<void> AppendParts(ReplicaIndex target, Parts parts, std::shared_ptr<const Bodies> bodies);
  asio::awaitable<void> FinishAppend(ReplicaIndex target, std::vector<Change> changes,
                                     std::shared_ptr<const Bodies> bodies, absl::StatusOr<Appended> uids);
  AppendRequest RequestOf(const std::vector<Change>& changes, const Bodies& bodies, bool keywords) const;
  asio::awaitable<void> RecordAppended(ReplicaIndex target, const std::vector<Change>& changes,
                                       const Appended& appended, bool keywords);
  bool Recreate(ReplicaIndex target, const std::string& mailbox);
  void Progressed(const std::vector<Change>& changes);
  std::vector<std::string> SetFlags(const FlagRegisters& flags, bool keywords) const;

  Recorder& recorder_;
  Mesh& mesh_;
  Signal turn_over_;
  std::set<MailboxCopyId> in_turn_;   // to which one of this batch's chunks adds, and others wait
  std::set<MailboxCopyId> declined_;  // where something came that is not known yet: left to the next round
  std::set<MailboxCopyId> crowded_;   // where something else came just before it
};

}  // namespace imapmesh

#endif  // IMAPMESH_ENGINE_SYNC_DELIVER_H_
