// Who can receive what from whom, over however many edges: for `imapmesh check`. Pure; any thread.
//
// Reach depends on the mailbox, and mailboxes are not known here; so one probe stands for each pattern of the topology
// and one for every mailbox that no pattern names. That is exact for mailboxes as the patterns spell them; two patterns
// that overlap may treat a mailbox in both otherwise than either probe.
#ifndef IMAPMESH_GRAPH_DESCRIBE_H_
#define IMAPMESH_GRAPH_DESCRIBE_H_

#include <string>
#include <vector>

#include "graph/graph.h"

namespace imapmesh {

// A mailbox asked about: its name, and what it stands for ("Spam/*", "every other mailbox").
struct MailboxProbe {
  std::string mailbox;
  std::string stands_for;
};
std::vector<MailboxProbe> MailboxProbes(const Graph& graph);

// What may arrive from one replica at another in the mailboxes of one probe.
struct Arrival {
  ReplicaIndex from;
  ReplicaIndex to;
  size_t probe = 0;  // of MailboxProbes
  bool additions = false;
  bool flags = false;
  bool deletions = false;
  bool operator==(const Arrival&) const = default;
};
// Pairs between which nothing passes are left out. Ordered by to, probe, from.
std::vector<Arrival> Arrivals(const Graph& graph);

// Lines for people: for each replica, what it receives from whom.
std::string DescribeReach(const Graph& graph);

}  // namespace imapmesh

#endif  // IMAPMESH_GRAPH_DESCRIBE_H_
