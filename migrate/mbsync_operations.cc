#include "migrate/mbsync_operations.h"

#include <cctype>
#include <optional>
#include <string_view>

namespace imapmesh {
namespace {

constexpr MbsyncOperations kAll{true, true, true};

std::string Lower(std::string text) {
  for (char& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return text;
}

void Join(MbsyncOperations& into, const MbsyncOperations& more) {
  into.add |= more.add;
  into.flags |= more.flags;
  into.deletions |= more.deletions;
}

// "New", "Delete", "Flags", and "ReNew", which fills in placeholders: there are none here.
std::optional<MbsyncOperations> Type(std::string_view word) {
  if (word == "new") return MbsyncOperations{true, false, false};
  if (word == "flags") return MbsyncOperations{false, true, false};
  if (word == "delete") return MbsyncOperations{false, false, true};
  if (word == "renew") return MbsyncOperations{};
  return std::nullopt;
}

void SetSync(const MbsyncOption& option, MbsyncRules& rules, Notes& notes) {
  MbsyncOperations types, pull, push;
  bool pulls = false, pushes = false, typed = false, compound = false;
  for (const std::string& argument : option.arguments) {
    const std::string word = Lower(argument);
    const bool towards_near = word.starts_with("pull"), towards_far = word.starts_with("push");
    const auto type = Type(word);
    const auto part = towards_near || towards_far ? Type(std::string_view(word).substr(4)) : std::nullopt;
    if (word == "none" || word == "noop") continue;
    if (word == "all" || word == "full") {
      pulls = pushes = true;
    } else if (type) {
      Join(types, *type);
      typed = true;
    } else if (part) {
      Join(towards_near ? pull : push, *part);
      compound = true;
    } else if (word == "pull") {
      pulls = true;
    } else if (word == "push") {
      pushes = true;
    } else {
      notes.Error(option.line, "Sync " + argument + ": is no operation; see Sync in mbsync(1)");
    }
  }
  if (compound) {  // single words then stand for a whole row or column
    Join(pull, pulls ? kAll : types);
    Join(push, pushes ? kAll : types);
  } else {
    const bool any = pulls || pushes;
    if (!typed && any) types = kAll;
    if (pulls || (!any && typed)) pull = types;
    if (pushes || (!any && typed)) push = types;
  }
  rules.pull = pull;
  rules.push = push;
  rules.sync_line = option.line;
}

MbsyncSides Sides(const MbsyncOption& option, Notes& notes) {
  MbsyncSides sides;
  for (const std::string& argument : option.arguments) {
    const std::string word = Lower(argument);
    if (word == "both") {
      sides = {true, true};
    } else if (word == "far" || word == "master") {
      sides.far = true;
    } else if (word == "near" || word == "slave") {
      sides.near = true;
    } else if (word != "none") {
      notes.Error(option.line, argument + ": is none of None, Far, Near and Both");
    }
  }
  return sides;
}

void Apply(const std::vector<MbsyncOption>& options, MbsyncRules& rules, Notes& notes) {
  for (const MbsyncOption& option : options) {
    if (option.keyword == "sync") SetSync(option, rules, notes);
    if (option.keyword == "create") rules.create = Sides(option, notes);
    if (option.keyword == "remove") rules.remove = Sides(option, notes);
    if (option.keyword == "expunge") {
      rules.expunge = Sides(option, notes);
      rules.expunge_line = option.line;
    }
  }
}

}  // namespace

MbsyncRules RulesOf(const std::vector<MbsyncOption>& globals, const MbsyncSection& channel, Notes& notes) {
  MbsyncRules rules;
  rules.pull = rules.push = kAll;
  Apply(globals, rules, notes);
  Apply(channel.options, rules, notes);
  return rules;
}

bool ToEdge(const MbsyncRules& rules, const MbsyncSection& channel, v1::Edge& edge, Notes& notes) {
  const int line = rules.sync_line > 0 ? rules.sync_line : channel.line;
  const auto lone = [&](const MbsyncOperations& operations, const char* direction) {
    if (operations.add || (!operations.flags && !operations.deletions)) return;
    notes.Warning(line, "channel " + channel.name + ": " + direction +
                            " without New has no counterpart: an edge that carries changes carries new mail too, so "
                            "nothing is carried in this direction");
  };
  lone(rules.pull, "Pull");
  lone(rules.push, "Push");
  const bool pull = rules.pull.add, push = rules.push.add;
  if (!pull && !push) return false;
  edge.set_direction(pull && push ? v1::Edge::BOTH : pull ? v1::Edge::A_TO_B : v1::Edge::B_TO_A);

  const bool flags = (!pull || rules.pull.flags) && (!push || rules.push.flags);
  if (!flags) edge.set_flags(v1::Edge::NONE);
  if (pull && push && rules.pull.flags != rules.push.flags) {
    notes.Warning(line, "channel " + channel.name +
                            ": flags in one direction only have no counterpart on an edge both ways: they are carried "
                            "in none; without flags: NONE in both");
  }
  // A deletion is carried out by mbsync only where it expunges; elsewhere it marks.
  const bool pull_deletes = rules.pull.deletions && rules.expunge.near;
  const bool push_deletes = rules.push.deletions && rules.expunge.far;
  const bool deletes = (!pull || pull_deletes) && (!push || push_deletes);
  if (!deletes) edge.set_deletes(v1::Edge::KEEP);
  if (pull && push && pull_deletes != push_deletes) {
    notes.Warning(rules.expunge_line > 0 ? rules.expunge_line : line,
                  "channel " + channel.name +
                      ": deletions in one direction only have no counterpart on an edge both ways: they are carried in "
                      "none; without deletes: KEEP in both");
  } else if (!deletes && (rules.pull.deletions || rules.push.deletions)) {
    notes.Warning(rules.expunge_line > 0 ? rules.expunge_line : line,
                  "channel " + channel.name +
                      ": without Expunge mbsync only marks what was deleted, so the edge keeps it; without deletes: "
                      "KEEP deletions are carried out");
  }
  return true;
}

}  // namespace imapmesh
