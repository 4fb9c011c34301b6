// Plans, conflicts and traces, as people read them.
#include <algorithm>
#include <cctype>
#include <map>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "base/printable.h"
#include "base/status.h"
#include "rpc/print.h"

namespace imapmesh {
namespace {

constexpr size_t kLongText = 2000;

std::string PlanTotal(const v1::PlanReply& plan) {
  int64_t uploads = 0;
  int64_t downloads = 0;
  for (const v1::PlanItem& item : plan.items()) {
    uploads += item.bytes();
    downloads += item.fetch_bytes();
  }
  std::string text = PluralText(plan.total(), "operation");
  if (plan.total() > plan.items_size()) text += ", the first " + CountText(plan.items_size()) + " shown";
  return text + "; bodies: " + BytesText(downloads) + " to fetch, " + BytesText(uploads) + " to upload.\n";
}

std::string MessageName(const v1::PlanItem& item) {
  if (!item.message_id().empty()) return item.message_id();
  return item.message() > 0 ? "#" + std::to_string(item.message()) : "";
}

// The rule, and why the change comes along this edge and no other.
std::string Reason(const v1::PlanItem& item) {
  std::string text = item.rule();
  if (item.distance() > 0) {
    text += absl::StrFormat("; %s from %s by way of %s, path cost %d, none cheaper",
                            PluralText(item.distance(), "edge"), item.source(), item.via(), item.path_cost());
  }
  std::string holders;
  for (const std::string& holder : item.holders()) holders += (holders.empty() ? "" : ", ") + holder;
  if (!holders.empty()) text += "; holders, cheapest first: " + holders;
  return text + absl::StrFormat("; change %d", item.stamp());
}

// The command with the options that fit.
std::string HowToDecide(const v1::Conflict& conflict) {
  std::string options;
  for (const int choice : conflict.choices()) {
    const auto decision = static_cast<v1::ResolveConflictRequest::Decision>(choice);
    std::string name = v1::ResolveConflictRequest::Decision_Name(decision);
    if (name.empty()) continue;
    std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return std::tolower(c); });
    options += (options.empty() ? "--" : " | --") + name;
    if (decision == v1::ResolveConflictRequest::KEEP) options += " REPLICA";
  }
  return absl::StrFormat("imapmesh conflicts resolve %d %s", conflict.id(), options);
}

// A line of "name: value", nothing for an empty value.
void AddField(std::string& text, const char* name, const std::string& value) {
  if (!value.empty()) text += absl::StrFormat("  %-9s %s\n", std::string(name) + ":", Printable(value, kLongText));
}

std::string OrDash(const std::string& text) {
  return text.empty() ? "-" : text;
}

std::vector<std::string> TraceRow(const v1::TracedCopy& copy) {
  std::string flags;
  for (const std::string& flag : copy.flags()) flags += (flags.empty() ? "" : " ") + flag;
  return {copy.replica(),
          copy.present() ? "yes" : "no",
          copy.uid() > 0 ? std::to_string(copy.uid()) : "-",
          OrDash(flags),
          copy.since_unix_ms() > 0 ? TimeText(copy.since_unix_ms()) : "-",
          OrDash(copy.edge()),
          OrDash(copy.pending()),
          copy.because()};
}

}  // namespace

std::string PlanText(const v1::PlanReply& plan) {
  if (plan.items().empty()) return "Nothing is pending.\n";
  Table table({"WAVE", "EDGE", "OPERATION", "AT", "MAILBOX", "MESSAGE", "SIZE", "DETAIL", "WHY"});
  for (const v1::PlanItem& item : plan.items()) {
    table.Add({std::to_string(item.wave()), item.edge(), item.operation(), item.target(), item.mailbox(),
               MessageName(item), item.bytes() > 0 ? BytesText(item.bytes()) : "", item.detail(), item.rule()});
  }
  return table.Text() + PlanTotal(plan);
}

std::string ExplainedPlanText(const v1::PlanReply& plan) {
  if (plan.items().empty()) return "Nothing is pending.\n";
  std::map<std::tuple<bool, int64_t, std::string>, std::vector<const v1::PlanItem*>> groups;
  for (const v1::PlanItem& item : plan.items()) {
    groups[{item.operation() == "EXPUNGE", item.wave(), item.edge()}].push_back(&item);
  }
  std::string text =
      "Waves run one after the other, the edges of a wave side by side; deletions come after all else.\n";
  std::string last_heading;
  for (const auto& [place, items] : groups) {
    const auto& [deletions, wave, edge] = place;
    const std::string heading = absl::StrFormat("\nWave %d%s\n", wave, deletions ? " of deletions" : "");
    if (heading != last_heading) text += heading;
    last_heading = heading;
    int64_t bytes = 0;
    for (const v1::PlanItem* item : items) bytes += item->bytes();
    text += absl::StrFormat("  %s: %s, %s\n", Printable(edge),
                            PluralText(static_cast<int64_t>(items.size()), "operation"), BytesText(bytes));
    for (const v1::PlanItem* item : items) {
      std::string line =
          absl::StrFormat("%s at %s: %s %s", item->operation(), item->target(), item->mailbox(), MessageName(*item));
      if (item->bytes() > 0) line += ", " + BytesText(item->bytes());
      if (!item->detail().empty()) line += ", " + item->detail();
      text += absl::StrFormat("    %s\n      because: %s\n", Printable(line, kLongText),
                              Printable(Reason(*item), kLongText));
    }
  }
  return text + "\n" + PlanTotal(plan);
}

std::string ConflictsText(const v1::ListConflictsReply& conflicts) {
  if (conflicts.conflicts().empty()) return "No conflicts.\n";
  std::string text;
  for (const v1::Conflict& conflict : conflicts.conflicts()) {
    text += absl::StrFormat("%d  %s  %s  %s  %s\n", conflict.id(), conflict.open() ? "OPEN" : "resolved",
                            Printable(conflict.kind()), TimeText(conflict.observed_unix_ms()),
                            Printable(conflict.mailbox()));
    if (!conflict.subject().empty() || !conflict.message_id().empty()) {
      text += absl::StrFormat("    %s %s\n", Printable(conflict.subject()), Printable(conflict.message_id()));
    }
    const auto side = [&](const std::string& replica, const std::string& change) {
      if (!replica.empty()) text += absl::StrFormat("    %s: %s\n", Printable(replica), Printable(change));
    };
    side(conflict.replica_a(), conflict.change_a());
    side(conflict.replica_b(), conflict.change_b());
    text += absl::StrFormat("    %s: %s\n", Printable(conflict.policy()), Printable(conflict.outcome()));
    if (conflict.open()) text += "    " + HowToDecide(conflict) + "\n";
  }
  return text;
}

std::string ConflictText(const v1::Conflict& conflict) {
  const std::string state = conflict.open() ? "OPEN" : "resolved at " + TimeText(conflict.resolved_unix_ms());
  std::string text = absl::StrFormat("Conflict %d: %s, %s\n", conflict.id(), Printable(conflict.kind()), state);
  AddField(text, "seen", TimeText(conflict.observed_unix_ms()));
  AddField(text, "mailbox", conflict.mailbox());
  AddField(text, "subject", conflict.subject());
  AddField(text, "from", conflict.sender());
  if (conflict.internal_date_unix_ms() != 0) AddField(text, "date", TimeText(conflict.internal_date_unix_ms()));
  AddField(text, "id", conflict.message_id());
  const auto side = [&](const std::string& replica, const std::string& change, int64_t unix_ms) {
    if (replica.empty() && change.empty()) return;
    AddField(text, "side",
             (replica.empty() ? "" : replica + ": ") + change +
                 (unix_ms > 0 ? ", seen " + TimeText(unix_ms) : std::string()));
  };
  side(conflict.replica_a(), conflict.change_a(), conflict.change_a_unix_ms());
  side(conflict.replica_b(), conflict.change_b(), conflict.change_b_unix_ms());
  AddField(text, "policy", conflict.policy());
  AddField(text, "outcome", conflict.outcome());
  if (conflict.held() > 0) AddField(text, "held", PluralText(conflict.held(), "message"));
  if (conflict.open()) AddField(text, "decide", HowToDecide(conflict));
  return text;
}

std::string TraceText(const v1::TraceMessageReply& trace) {
  std::string text;
  for (const v1::TracedMessage& message : trace.messages()) {
    text += absl::StrFormat("%s%s in %s, %s, %s\n", text.empty() ? "" : "\n", Printable(message.message_id()),
                            Printable(message.mailbox()), BytesText(message.size()),
                            TimeText(message.internal_date_unix_ms()));
    Table copies({"REPLICA", "THERE", "UID", "FLAGS", "SINCE", "EDGE", "PENDING", "WHY"});
    for (const v1::TracedCopy& copy : message.copies()) copies.Add(TraceRow(copy));
    text += copies.Text();
    if (!message.history().empty()) text += "History\n";
    for (const v1::TracedStep& step : message.history()) {
      const std::string along = step.edge().empty() ? "" : " along " + Printable(step.edge());
      text += absl::StrFormat("  %s  %s  %s%s\n", TimeText(step.unix_ms()), Printable(step.replica()),
                              Printable(step.what()), along);
    }
  }
  return text;
}

}  // namespace imapmesh
