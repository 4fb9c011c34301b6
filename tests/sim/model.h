// What users did, and so what must hold at the end.
//
// The runner tells it of every action and of the faults that make knowledge uncertain; Expect turns that into bounds
// for the checker. For one content in one mailbox: it must be wherever an addition reaches unless somebody deleted it;
// it must be nowhere else; a deletion that the engine had the means to see must have its way. Where concurrent actions
// or faults leave more than one outcome right, the bounds are wider. Once somebody renamed a mailbox they are for a
// content in all mailboxes together, whatever these are called. One thread.
#ifndef IMAPMESH_TESTS_SIM_MODEL_H_
#define IMAPMESH_TESTS_SIM_MODEL_H_

#include <array>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "engine/net/clock.h"
#include "graph/graph.h"
#include "tests/checker/history.pb.h"
#include "tests/sim/account.h"

namespace imapmesh::sim {

class Model {
 public:
  // `held`: how many of it the replica holds then in that mailbox, and in all: fewer than users put there where the
  // engine took away what somebody removed elsewhere.
  struct Held {
    int64_t here = 0, anywhere = 0;
  };
  void Added(int replica, const std::string& mailbox, const std::shared_ptr<const Content>& content, const Flags& flags,
             Held held);
  // How many of it one replica was given to hold.
  int64_t MostAtOnce(const std::string& mailbox, const Content& content) const;
  // `holders`: replicas that held all of them; `known`: the engine's state had this copy under this UID. `when`: in the
  // simulation's time.
  void Removed(int replica, const std::string& mailbox, const Content& content, std::set<int> holders, bool known,
               Duration when);
  // It came into a mailbox between the STATUS that told a daemon of an empty one and its DELETE, and went with that:
  // IMAP has no DELETE of an empty mailbox alone.
  void DeletedUncounted(const std::string& mailbox, const Content& content);
  // By one who emptied a mailbox that the engine knew, so that the brake must hold it, and whose deletion is rejected.
  void Wiped(int replica, const std::string& mailbox, const Content& content);
  void FlagChanged(int replica, const std::string& mailbox, const Content& content, const std::string& flag, bool set);

  // It brings a mailbox back, with all that was in it, that was deleted elsewhere.
  void MailboxRenamed();
  // A message went from INBOX to `to` by a RENAME: Added there, Removed here. What the engine is just doing to it, in
  // the mailbox that it selected before, it does to it where it is now.
  void InboxRenamed(const std::string& to, const Content& content) { ++inbox_renamed_[{to, content.number}]; }
  // Nothing tells any more that it was INBOX: what is in it is given back there.
  void RenameUnseen(const std::string& to);
  // With all that was in it, told of by Removed. Mail that arrives in it meanwhile brings all of it back too. Where it
  // `comes_back` perhaps, so does what somebody had deleted there just before: nobody saw it there without that.
  void MailboxDeleted(int replica, const std::string& mailbox, bool comes_back);
  // Of a mailbox whose messages some daemon did not know: to it this is another mailbox, and what is in it is put back
  // under the old name too.
  void RenamedUnknown() { ++renames_lost_; }
  bool renamed() const { return renamed_; }
  // Or INBOX, or what it looks like: some mailbox has another UIDVALIDITY.
  bool renamed_or_renumbered() const { return renamed_ || !renumbered_at_.empty(); }
  // Two daemons added the same message at the same time, neither knowing of the other. `reported`: every daemon had
  // looked into that mailbox before; to another one both copies were always there.
  void Raced(const std::string& mailbox, const Content& content, bool reported);
  bool WasRemoved(const std::string& mailbox, const Content& content) const;
  bool WasWiped(int replica, const std::string& mailbox, const Content& content) const;
  // By one user, and nobody removed it.
  bool WasAddedOnce(const std::string& mailbox, const Content& content) const;
  // A person deletes what may have come by a race.
  void DuplicatesGo() { duplicates_go_ = true; }
  // Of a history without faults: nothing that tells a race from what a user did is lost.
  void RacesAreReported() { races_are_reported_ = true; }
  void BodyFetched(int daemon, const Content& content) { ++fetched_[{daemon, content.number}]; }

  // `renames`: some may have been on their way. What was renamed just before, unseen, is another mailbox then: all that
  // is in it comes back under the old name too.
  void StateLost(bool renames) {
    state_lost_at_ = ++now_;
    if (renamed_ && renames) ++renames_lost_;
  }
  void Renumbered(int replica, const std::string& mailbox);
  // Another UIDVALIDITY of INBOX looks as if the account had been set up anew: mailboxes that it lacks are put back.
  bool LooksNew(int replica) const { return renumbered_at_.contains({replica, "INBOX"}); }
  // What a restored backup took away (and whether some other replica can give it back), and what it brought back.
  void RestoredAway(int replica, const std::string& mailbox, const Content& content, bool given_back);
  void RestoredBack(int replica, const std::string& mailbox, const std::shared_ptr<const Content>& content,
                    const Flags& flags);

  // The replica keeps no keyword but kFixedKeyword.
  void FixedKeywords(int replica) { fixed_keywords_.insert(replica); }
  void SetCoordinators(int count) { coordinators_ = count; }
  // `graph` is the final one, of all coordinators together; `carried`: what each of them carries. Replica r of the
  // runner is named "r<r>".
  using Carried = std::vector<std::shared_ptr<const Graph>>;
  void Expect(const Graph& graph, const Carried& carried, checker::History& history) const;
  // For a history without faults: what must have been fetched once by each daemon at most.
  void ExpectDownloads(checker::History& history) const;
  // Messages that users put somewhere, in all.
  int64_t additions() const { return additions_; }

 private:
  struct Removal {
    int64_t at = 0;
    int replica = 0;
    std::set<int> holders;
    bool known = false;
    Duration when{0};
  };
  struct FlagEvent {
    int64_t at = 0;
    int replica = 0;
    bool set = false;
  };
  struct Fate {
    std::shared_ptr<const Content> content;
    std::map<int, int64_t> added;     // by replica
    std::map<int, int64_t> there;     // added less removed: what users alone would have
    std::map<int, int64_t> peak;      // the most that `there` was
    std::map<int, int64_t> restored;  // copies that a backup brought back
    std::vector<Removal> removals;
    std::vector<int> wipes;  // by replica
    int64_t races = 0;
    bool race_unreported = false;
    std::map<std::string, std::vector<FlagEvent>> flags;
    bool lost = false;             // a backup, or the DELETE of its mailbox, took away the only copy
    bool flags_uncertain = false;  // a backup turned flags back
  };
  using Key = std::pair<std::string, int64_t>;  // mailbox, content
  using Fates = std::map<Key, Fate>;
  // In its mailbox, and in any.
  std::array<Fate*, 2> Find(const std::string& mailbox, int64_t content) {
    return {&fates_[{mailbox, content}], &anywhere_[{"", content}]};
  }
  static constexpr int kAnyReplica = -1;
  void Doubt(Fates& fates, const std::string& mailbox, int replica = kAnyReplica);
  const Fates& fates() const { return renamed_ ? anywhere_ : fates_; }
  bool IsElsewhere(const Key& key) const;
  // It came by a RENAME of INBOX, and somebody took it out of INBOX otherwise.
  bool MetARename(const Key& key) const;
  // It went from INBOX by a RENAME, and somebody took it away from where it went, or renamed INBOX elsewhere too.
  bool LeftARename(const Key& key) const;
  bool HasRemovals(const std::string& mailbox) const;
  // At a replica that cannot hold them one coordinator hands on what it saw elsewhere; another one sees nothing there.
  bool KeywordsMayStop() const { return coordinators_ > 1 && !fixed_keywords_.empty(); }
  // Of what is kept twice each RENAME that two daemons carry may make as many again.
  bool RenamesMayDouble() const { return renamed_ && coordinators_ > 1 && !duplicates_go_; }

  class Reach;
  bool HeardOf(const Reach& reach, int replica, const Fate& fate, const std::string& flag) const;
  using Reaches = std::map<std::string, Reach>;  // by mailbox
  void AddBound(const Graph& graph, const Reaches& reaches, int replica, const Key& key, const Fate& fate,
                checker::History& history) const;
  int64_t Least(const Reach& reach, int replica, const Fate& fate, bool elsewhere) const;
  int64_t LeastOfOne(const Reach& reach, int replica, const Fate& fate) const;
  bool IsDoubtful(const Fate& fate, const Removal& removal) const;
  bool CertainlyDeleted(const Graph& graph, const Reach& reach, int replica, const std::string& mailbox,
                        const Fate& fate) const;
  std::set<std::string> TakenElsewhere(const Key& key) const;
  void AddFlags(const Reach& reach, int replica, const Key& key, const Fate& fate, checker::Bound& bound) const;

  Fates fates_;
  Fates anywhere_;                                      // mailbox ""
  std::map<std::pair<int, int64_t>, int64_t> fetched_;  // by daemon and content
  bool renamed_ = false;
  std::set<std::string> deleted_;  // mailboxes
  bool duplicates_go_ = false;
  bool races_are_reported_ = false;
  int coordinators_ = 1;
  std::set<int> fixed_keywords_;                                  // replicas
  std::map<Key, int64_t> inbox_renamed_;                          // how often
  std::map<std::pair<int, std::string>, int64_t> renumbered_at_;  // mailbox "": any of the replica
  int64_t state_lost_at_ = 0;
  int renames_lost_ = 0;
  int64_t additions_ = 0;
  int64_t now_ = 0;
};

}  // namespace imapmesh::sim

#endif  // IMAPMESH_TESTS_SIM_MODEL_H_
