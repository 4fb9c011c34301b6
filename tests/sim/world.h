// The servers, the network between them and the daemon, and the users at work on the servers.
//
// run.cc owns one for each history and tells it which step comes next; what users do goes into the model as well. One
// thread.
#ifndef IMAPMESH_TESTS_SIM_WORLD_H_
#define IMAPMESH_TESTS_SIM_WORLD_H_

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "tests/checker/history.pb.h"
#include "tests/sim/history.h"
#include "tests/sim/model.h"
#include "tests/sim/network.h"
#include "tests/sim/state_reader.h"
#include "tests/sim/virtual_time.h"

namespace imapmesh::sim {

class World {
 public:
  using TraceSink = std::function<void(const std::string&)>;
  // A daemon as users' deeds are judged by: where its state is, and which replicas it carries.
  struct Coordinator {
    std::string state_file;
    std::set<int> replicas;
  };
  World(const History& history, TraceSink trace);

  // `whole` is what all of them carry together.
  void SetCoordinators(std::vector<Coordinator> coordinators, std::shared_ptr<const Graph> whole);
  // What must hold at every instant and did not.
  const std::vector<std::string>& broken() const { return broken_; }

  VirtualTime& time() { return time_; }
  Network& network() { return network_; }
  Model& model() { return model_; }
  uint64_t trace_hash() const { return trace_hash_; }
  void Trace(const std::string& line);

  // What users, servers and the network do; not what happens to the daemon.
  void Do(const Step& step);
  // Of mailboxes: a rename may be on its way.
  bool NamesDiffer();
  void AddSnapshots(checker::History& history);

 private:
  // A message that a step means.
  struct Place {
    int replica = 0;
    std::string mailbox;
    uint32_t uid = 0;
    std::shared_ptr<const Content> content;
  };

  Account& account(int replica) { return network_.hosts()[static_cast<size_t>(replica)]->account; }
  int Replica(uint32_t number) const { return static_cast<int>(number % static_cast<uint32_t>(network_size_)); }
  std::string Mailbox(int replica, uint32_t number);
  std::optional<Place> Message(int replica, uint32_t number);
  std::shared_ptr<const Content> NewContent(uint32_t variant);
  std::shared_ptr<const Content> Intern(std::string bytes);
  void Put(int replica, const std::string& mailbox, const std::shared_ptr<const Content>& content, const Flags& flags);
  Model::Held Held(int replica, const std::string& mailbox, const Content& content);
  bool IsLookedInto(int replica, const std::string& mailbox);
  bool IsFilledElsewhere(int replica, const std::string& mailbox);
  void Remove(const Place& place, bool may_be_rejected = false, bool expunge = true);
  bool IsKnown(StateReader& state, const Place& place);
  bool IsEverywhere(const Place& place, const std::vector<Place>& copies) const;
  bool KnownToAll(const std::vector<Place>& places);
  bool IsSeenByAll(int replica, const std::string& mailbox, const Content& content, const std::set<int>& racing);
  std::vector<Place> Copies(const std::string& mailbox, const Content& content);
  // Replicas that hold at least so many copies.
  std::set<int> Holders(const std::string& mailbox, const Content& content, int64_t at_least);

  void Deliver(const Step& step, int count);
  void Redeliver(const Step& step);
  void ChangeFlag(const Step& step, bool set);
  void CopyOrMove(const Step& step, bool move);
  void CreateMailbox(int replica, const std::string& mailbox);
  void DeleteMailbox(int replica, const std::string& mailbox);
  void RenameMailbox(const Step& step);
  void NoteUnknown(int replica, const std::string& mailbox);
  void RenameInbox(int replica, const std::string& to);
  void Wipe(int replica, const std::string& mailbox);
  bool Reaches(int from, int to, const std::string& mailbox) const;  // additions
  bool GrowsNow(int replica, const std::string& mailbox);
  bool BrakeMustHold(int replica, const std::string& mailbox);
  void ExpungedByDaemon(int daemon, const std::string& host, const std::string& mailbox, const Content& content);
  bool MustHoldToo(StateReader& state, int replica, const Place& elsewhere);
  void AddedByDaemon(int daemon, const std::string& host, const std::string& mailbox, uint32_t uid);
  void Renumber(const Step& step);
  void Restore(int replica);

  std::vector<Coordinator> coordinators_;
  std::shared_ptr<const Graph> whole_;
  std::vector<std::string> broken_;
  int64_t races_ = 0;
  const bool faults_;
  const bool approves_;
  size_t brake_min_ = SIZE_MAX;
  std::set<std::pair<int, std::string>> deleted_mailboxes_;
  VirtualTime time_;
  Network network_;
  Model model_;
  TraceSink trace_;
  int network_size_ = 0;
  uint64_t trace_hash_ = 1469598103934665603ULL;
  std::map<std::string, std::shared_ptr<const Content>> contents_;
  std::shared_ptr<const Content> last_;
  std::map<int, Account::Backup> backups_;
  std::set<int> restored_;  // nobody delivers there until the engine has looked
};

}  // namespace imapmesh::sim

#endif  // IMAPMESH_TESTS_SIM_WORLD_H_
