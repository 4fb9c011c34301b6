#include "tests/checker/checker.h"

#include <algorithm>
#include <cctype>
#include <cstdint>
#include <map>
#include <string_view>
#include <tuple>
#include <utility>

namespace imapmesh::checker {
namespace {

std::string Lower(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(), [](unsigned char c) { return std::tolower(c); });
  return out;
}

// A message in a form that compares: flags sorted, in lower case, joined.
struct Copy {
  std::string digest;
  uint64_t size = 0;
  int64_t internal_date = 0;
  std::string flags;

  bool operator==(const Copy&) const = default;
  bool operator<(const Copy& other) const {
    return std::tie(digest, size, internal_date, flags) <
           std::tie(other.digest, other.size, other.internal_date, other.flags);
  }
};

using Copies = std::vector<Copy>;  // sorted
using Account = std::map<std::string, Copies>;

Copy ToCopy(const Message& message) {
  std::vector<std::string> flags;
  for (const std::string& flag : message.flags()) flags.push_back(Lower(flag));
  std::sort(flags.begin(), flags.end());
  Copy copy{message.digest(), message.size(), message.internal_date(), ""};
  for (const std::string& flag : flags) copy.flags += (copy.flags.empty() ? "" : " ") + flag;
  return copy;
}

template <typename Mailboxes>
Account ToAccount(const Mailboxes& mailboxes) {
  Account account;
  for (const Mailbox& mailbox : mailboxes) {
    Copies& copies = account[mailbox.name()];
    for (const Message& message : mailbox.messages()) copies.push_back(ToCopy(message));
  }
  for (auto& [name, copies] : account) std::sort(copies.begin(), copies.end());
  return account;
}

std::string Describe(const Copy& copy) {
  return copy.digest.substr(0, 12) + " (" + std::to_string(copy.size) + " bytes, date " +
         std::to_string(copy.internal_date) + ", flags (" + copy.flags + "))";
}

class Checker {
 public:
  explicit Checker(const History& history) : history_(history) {
    for (const Snapshot& snapshot : history.snapshots())
      accounts_[snapshot.replica()] = ToAccount(snapshot.mailboxes());
  }

  std::vector<Violation> Run() {
    for (const Group& group : history_.groups()) CheckGroup(group);
    for (const Deletion& deletion : history_.deletions()) CheckDeletion(deletion);
    for (const checker::Run& run : history_.runs()) CheckRun(run);
    for (const Bound& bound : history_.bounds()) CheckBound(bound);
    for (const std::string& replica : history_.bounded_replicas()) CheckUnbounded(replica);
    for (const Download& download : history_.downloads()) CheckDownload(download);
    return std::move(violations_);
  }

 private:
  void Add(Invariant invariant, std::string_view replica, std::string_view mailbox, std::string text) {
    violations_.push_back({invariant, std::string(replica), std::string(mailbox), std::move(text)});
  }

  const Account* Find(const std::string& replica) {
    auto found = accounts_.find(replica);
    if (found != accounts_.end()) return &found->second;
    Add(Invariant::kHarness, replica, "", "the history has no snapshot of this replica");
    return nullptr;
  }

  void CheckGroup(const Group& group) {
    const Account expected = ToAccount(group.expected_mailboxes());
    const Account* first = nullptr;
    std::string first_name;
    for (const std::string& replica : group.replicas()) {
      const Account* account = Find(replica);
      if (account == nullptr) continue;
      if (group.has_expected()) {
        Compare(replica, expected, *account);
      } else if (first != nullptr) {
        CompareReplicas(group, first_name, *first, replica, *account);
      }
      if (first == nullptr) {
        first = account;
        first_name = replica;
      }
    }
  }

  static bool InGroup(const Group& group, const std::string& mailbox) {
    const auto& names = group.mailboxes();
    return names.empty() || std::find(names.begin(), names.end(), mailbox) != names.end();
  }

  void CompareReplicas(const Group& group, const std::string& first_name, const Account& first,
                       const std::string& replica, const Account& account) {
    for (const std::string& mailbox : Names(first, account)) {
      if (!InGroup(group, mailbox)) continue;
      const Copies* here = At(account, mailbox);
      const Copies* there = At(first, mailbox);
      if (here == nullptr || there == nullptr) {
        Add(Invariant::kConvergence, replica, mailbox,
            here == nullptr ? "missing, " + first_name + " has it" : "exists, " + first_name + " does not have it");
        continue;
      }
      Difference(*there, *here, [&](const Copy& copy) {
        Add(Invariant::kConvergence, replica, mailbox, "lacks " + Describe(copy) + ", which " + first_name + " holds");
      });
      Difference(*here, *there, [&](const Copy& copy) {
        Add(Invariant::kConvergence, replica, mailbox, "holds " + Describe(copy) + ", which " + first_name + " lacks");
      });
    }
  }

  // Says which invariant each difference from the expectation breaks.
  void Compare(const std::string& replica, const Account& expected, const Account& account) {
    for (const std::string& mailbox : Names(expected, account)) {
      if (At(expected, mailbox) == nullptr) {
        Add(Invariant::kConvergence, replica, mailbox, "a mailbox that must not be there");
      } else if (At(account, mailbox) == nullptr) {
        Add(Invariant::kConvergence, replica, mailbox, "the mailbox is missing");
      }
      const Copies* wanted = At(expected, mailbox);
      const Copies* found = At(account, mailbox);
      CompareMailbox(replica, mailbox, wanted ? *wanted : Copies(), found ? *found : Copies());
    }
  }

  void CompareMailbox(const std::string& replica, const std::string& mailbox, const Copies& wanted,
                      const Copies& found) {
    Copies missing;
    Copies surplus;
    Difference(wanted, found, [&](const Copy& copy) { missing.push_back(copy); });
    Difference(found, wanted, [&](const Copy& copy) { surplus.push_back(copy); });
    // The same content with another size, date or flags; then, among the rest, another content under the same date.
    auto pair = [&](auto same) {
      for (auto copy = missing.begin(); copy != missing.end();) {
        auto twin = std::find_if(surplus.begin(), surplus.end(), [&](const Copy& other) { return same(*copy, other); });
        if (twin == surplus.end()) {
          ++copy;
          continue;
        }
        Add(Invariant::kFidelity, replica, mailbox, "must be " + Describe(*copy) + ", is " + Describe(*twin));
        surplus.erase(twin);
        copy = missing.erase(copy);
      }
    };
    pair([](const Copy& a, const Copy& b) { return a.digest == b.digest; });
    pair([&](const Copy& a, const Copy& b) {
      return a.internal_date == b.internal_date && a.flags == b.flags && Count(wanted, b.digest) == 0;
    });
    for (const Copy& copy : missing) {
      Add(Invariant::kNoLoss, replica, mailbox,
          "lost " + Describe(copy) + ": " + std::to_string(Count(found, copy.digest)) + " of " +
              std::to_string(Count(wanted, copy.digest)) + " there");
    }
    for (const Copy& copy : surplus) {
      const int64_t times = Count(wanted, copy.digest);
      const bool copied = times > 0 || Count(found, copy.digest) > 1;
      Add(copied ? Invariant::kNoDuplicates : Invariant::kConvergence, replica, mailbox,
          (copied ? "one too many of " : "nobody put here ") + Describe(copy) + ": " +
              std::to_string(Count(found, copy.digest)) + " there, " + std::to_string(times) + " wanted");
    }
  }

  void CheckDeletion(const Deletion& deletion) {
    for (const std::string& replica : deletion.replicas()) {
      const Account* account = Find(replica);
      const Copies* copies = account == nullptr ? nullptr : At(*account, deletion.mailbox());
      if (copies == nullptr) continue;
      const int64_t found = Count(*copies, deletion.digest());
      if (found <= Expected(replica, deletion)) continue;
      Add(Invariant::kNoResurrection, replica, deletion.mailbox(),
          deletion.digest().substr(0, 12) + " was deleted and is there " + std::to_string(found) + " times");
    }
  }

  // How many copies of a deleted content still belong here: equal messages that were not deleted.
  int64_t Expected(const std::string& replica, const Deletion& deletion) const {
    int64_t most = 0;
    for (const Group& group : history_.groups()) {
      if (std::find(group.replicas().begin(), group.replicas().end(), replica) == group.replicas().end()) continue;
      const Account expected = ToAccount(group.expected_mailboxes());
      const Copies* copies = At(expected, deletion.mailbox());
      if (copies != nullptr) most = std::max(most, Count(*copies, deletion.digest()));
    }
    return most;
  }

  void CheckRun(const checker::Run& run) {
    int64_t fetched = 0;
    for (const checker::Run::Replica& replica : run.replicas()) {
      fetched += replica.messages_fetched();
      if (!run.must_be_quiet()) continue;
      const std::pair<const char*, int64_t> counters[] = {
          {"mailboxes selected", replica.mailboxes_selected()}, {"messages fetched", replica.messages_fetched()},
          {"messages appended", replica.messages_appended()},   {"messages copied", replica.messages_copied()},
          {"flags changed", replica.flags_changed()},           {"messages expunged", replica.messages_expunged()}};
      for (const auto& [what, count] : counters) {
        if (count != 0) {
          Add(Invariant::kQuiescence, replica.replica(), "",
              std::string(what) + ": " + std::to_string(count) + " in a run with nothing to do");
        }
      }
    }
    if (run.bodies_to_fetch() >= 0 && fetched > run.bodies_to_fetch()) {
      Add(Invariant::kOneDownload, "", "",
          std::to_string(fetched) + " bodies fetched for " + std::to_string(run.bodies_to_fetch()) + " messages");
    }
  }

  void CheckBound(const Bound& bound) {
    const Account* account = Find(bound.replica());
    if (account == nullptr) return;
    Copies copies;
    for (const auto& [mailbox, held] : *account) {
      if (!bound.mailbox().empty() && mailbox != bound.mailbox()) continue;
      std::copy_if(held.begin(), held.end(), std::back_inserter(copies),
                   [&](const Copy& copy) { return copy.digest == bound.digest(); });
    }
    const auto found = static_cast<int64_t>(copies.size());
    const std::string numbers = bound.digest().substr(0, 12) + " is there " + std::to_string(found) +
                                " times, at least " + std::to_string(bound.min()) + " and at most " +
                                std::to_string(bound.max()) + " wanted";
    if (found < bound.min()) Add(Invariant::kNoLoss, bound.replica(), bound.mailbox(), numbers);
    if (found > bound.max()) {
      const Invariant broken = bound.deleted()    ? Invariant::kNoResurrection
                               : bound.max() == 0 ? Invariant::kPolicy
                                                  : Invariant::kNoDuplicates;
      Add(broken, bound.replica(), bound.mailbox(), numbers);
    }
    for (const Copy& copy : copies) CheckCopy(bound, copy);
  }

  void CheckDownload(const Download& download) {
    if (download.fetched() <= download.at_most()) return;
    Add(Invariant::kOneDownload, "", "",
        download.digest().substr(0, 12) + " was fetched " + std::to_string(download.fetched()) + " times, at most " +
            std::to_string(download.at_most()) + " wanted");
  }

  void CheckCopy(const Bound& bound, const Copy& copy) {
    if (copy.size != bound.size() || copy.internal_date != bound.internal_date()) {
      Add(Invariant::kFidelity, bound.replica(), bound.mailbox(),
          Describe(copy) + ": must be of " + std::to_string(bound.size()) + " bytes, date " +
              std::to_string(bound.internal_date()));
    }
    const std::string flags = " " + copy.flags + " ";
    std::string rest = flags;
    for (const std::string& flag : bound.flags_required()) {
      if (flags.find(" " + Lower(flag) + " ") == std::string::npos) {
        Add(Invariant::kFidelity, bound.replica(), bound.mailbox(), Describe(copy) + " lacks the flag " + flag);
      }
    }
    for (const auto* names : {&bound.flags_required(), &bound.flags_allowed()}) {
      for (const std::string& flag : *names) {
        const size_t at = rest.find(" " + Lower(flag) + " ");
        if (at != std::string::npos) rest.erase(at, flag.size() + 1);
      }
    }
    if (rest != " " && rest != "  ") {
      Add(Invariant::kPolicy, bound.replica(), bound.mailbox(),
          Describe(copy) + " has flags nobody may have set here:" + rest);
    }
  }

  void CheckUnbounded(const std::string& replica) {
    const Account* account = Find(replica);
    if (account == nullptr) return;
    for (const auto& [mailbox, copies] : *account) {
      for (const Copy& copy : copies) {
        const bool bounded =
            std::any_of(history_.bounds().begin(), history_.bounds().end(), [&, name = mailbox](const Bound& bound) {
              const bool here = bound.mailbox().empty() || bound.mailbox() == name;
              return here && bound.replica() == replica && bound.digest() == copy.digest;
            });
        if (!bounded) Add(Invariant::kPolicy, replica, mailbox, "nobody put here " + Describe(copy));
      }
    }
  }

  static std::vector<std::string> Names(const Account& a, const Account& b) {
    std::vector<std::string> names;
    for (const auto& [name, copies] : a) names.push_back(name);
    for (const auto& [name, copies] : b) {
      if (!a.contains(name)) names.push_back(name);
    }
    return names;
  }

  static const Copies* At(const Account& account, const std::string& mailbox) {
    auto found = account.find(mailbox);
    return found == account.end() ? nullptr : &found->second;
  }

  static int64_t Count(const Copies& copies, const std::string& digest) {
    return std::count_if(copies.begin(), copies.end(), [&](const Copy& copy) { return copy.digest == digest; });
  }

  // Calls `each` for what `a` has more of than `b`; both are sorted multisets.
  template <typename Each>
  static void Difference(const Copies& a, const Copies& b, Each each) {
    Copies rest;
    std::set_difference(a.begin(), a.end(), b.begin(), b.end(), std::back_inserter(rest));
    for (const Copy& copy : rest) each(copy);
  }

  const History& history_;
  std::map<std::string, Account> accounts_;
  std::vector<Violation> violations_;
};

}  // namespace

const char* Name(Invariant invariant) {
  switch (invariant) {
    case Invariant::kNoLoss:
      return "no loss";
    case Invariant::kNoDuplicates:
      return "no duplicates";
    case Invariant::kFidelity:
      return "fidelity";
    case Invariant::kNoResurrection:
      return "no resurrection";
    case Invariant::kConvergence:
      return "convergence";
    case Invariant::kQuiescence:
      return "quiescence";
    case Invariant::kPolicy:
      return "policy";
    case Invariant::kOneDownload:
      return "one download";
    case Invariant::kHarness:
      return "harness";
  }
  return "unknown";
}

std::vector<Violation> Check(const History& history) {
  return Checker(history).Run();
}

std::string ToString(const Violation& violation) {
  std::string out = Name(violation.invariant);
  for (const std::string& part : {violation.replica, violation.mailbox, violation.text}) {
    if (!part.empty()) out += ": " + part;
  }
  return out;
}

}  // namespace imapmesh::checker
