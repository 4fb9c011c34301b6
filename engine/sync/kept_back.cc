#include "engine/sync/kept_back.h"

#include <algorithm>

#include "base/printable.h"

namespace imapmesh {
namespace {

constexpr size_t kFlagsNamed = 20;

std::string Messages(int64_t count) {
  return std::to_string(count) + (count == 1 ? " message" : " messages");
}

std::string NameFlags(const KeptBackReport& report, const KeptBackSummary& summary) {
  std::string names;
  size_t named = 0;
  for (const FlagId flag : summary.flags) {
    if (++named > kFlagsNamed) return names + "…";
    names += (names.empty() ? "" : ", ") + Printable(report.flag_names.at(flag));
  }
  return names;
}

class Describer {
 public:
  Describer(const Mesh& mesh, size_t replica, const MailboxCopyRecord& record)
      : mesh_(mesh), replica_(mesh.replicas[replica].replica->name()), record_(record) {}

  void Describe(const KeptBackSummary& summary) {
    if (summary.additions > 0) Refused(true, "APPEND", Messages(summary.additions) + " to be added");
    if (summary.deletions > 0) Refused(false, "EXPUNGE", Messages(summary.deletions) + " to be deleted");
    if (summary.flagged == 0) return;
    const std::string names = NameFlags(mesh_.kept_back, summary);
    Add("STORE", Messages(summary.flagged) + " with " + names,
        record_.read_only ? "the mailbox is read-only here, so " + names + " cannot be changed"
                          : names + " cannot be stored here: the server does not keep them (PERMANENTFLAGS)",
        "they are kept for the other replicas, and stored here once the server takes them; keyword_map joins a keyword "
        "with one that it has");
  }

  std::vector<ProblemReport> problems;

 private:
  void Refused(bool addition, const char* operation, std::string what) {
    const auto forbidden = mesh_.forbidden.find({record_.id, addition});
    if (record_.read_only) {
      Add(operation, std::move(what),
          "the mailbox is read-only here (READ-ONLY): mail comes from it and goes not there",
          "nothing else waits for it; give the account rights there (RFC 4314), or declare the edge one-way");
    } else if (forbidden != mesh_.forbidden.end()) {
      problems.push_back(forbidden->second);
      problems.back().mailbox = Printable(problems.back().mailbox);
      problems.back().message = std::move(what);
    } else {
      Add(operation, std::move(what), "the account may not mark messages \\Deleted here (PERMANENTFLAGS)",
          "give the account the right t there (RFC 4314), then sync again; the rest goes on");
    }
  }

  void Add(const char* operation, std::string what, std::string answer, std::string remedy) {
    problems.push_back({replica_, Printable(record_.mailbox_name), operation, std::move(what), std::move(answer),
                        std::move(remedy), mesh_.clock->UnixMillis()});
  }

  const Mesh& mesh_;
  const std::string& replica_;
  const MailboxCopyRecord& record_;
};

}  // namespace

KeptBackReport LoadKeptBack(State& state) {
  KeptBackReport report;
  report.copies = state.kept_back().Summaries();
  for (const auto& [copy, summary] : report.copies) {
    for (const FlagId flag : summary.flags) report.flag_names[flag] = state.FlagName(flag);
  }
  return report;
}

std::vector<ProblemReport> DescribeKeptBack(const Mesh& mesh) {
  std::vector<ProblemReport> problems;
  for (const auto& [name, entry] : mesh.mailboxes) {
    for (size_t r = 0; r < entry.copies.size(); ++r) {
      const auto kept = mesh.kept_back.copies.find(entry.copies[r].id);
      if (kept == mesh.kept_back.copies.end() || !entry.copies[r].exists) continue;
      Describer describer(mesh, r, entry.copies[r]);
      describer.Describe(kept->second);
      for (ProblemReport& problem : describer.problems) problems.push_back(std::move(problem));
    }
  }
  return problems;
}

int64_t CountRefused(const Mesh& mesh, const Within& within) {
  int64_t refused = 0;
  for (const auto& [name, entry] : mesh.mailboxes) {
    for (size_t r = 0; r < entry.copies.size(); ++r) {
      const MailboxCopyRecord& record = entry.copies[r];
      const auto kept = mesh.kept_back.copies.find(record.id);
      if (kept == mesh.kept_back.copies.end() || !record.exists) continue;
      if (!within(ReplicaIndex(static_cast<int32_t>(r)), name)) continue;
      refused += (kept->second.additions > 0 ? 1 : 0) + (kept->second.deletions > 0 ? 1 : 0);
    }
  }
  return refused;
}

std::string DescribeChanges(const std::vector<FlagRegister>& changes,
                            const std::function<std::string(FlagId)>& name_of) {
  std::string text;
  for (const FlagRegister& change : changes) {
    text += (text.empty() ? "" : " ") + std::string(change.set ? "+" : "-") + Printable(name_of(change.flag));
  }
  return text;
}

}  // namespace imapmesh
