#include "migrate/mbsync_topology.h"

#include <algorithm>
#include <cctype>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "graph/graph.h"
#include "migrate/mailbox_patterns.h"
#include "migrate/mbsync_account.h"
#include "migrate/mbsync_operations.h"

namespace imapmesh {
namespace {

struct Store {
  MbsyncAccount account;
  std::string folder;  // what Path says, as a namespace_prefix
  int line = 0;
};

const MbsyncOption* Last(const std::vector<MbsyncOption>& options, std::initializer_list<std::string_view> keywords) {
  const MbsyncOption* found = nullptr;
  for (const MbsyncOption& option : options) {
    if (std::find(keywords.begin(), keywords.end(), option.keyword) != keywords.end()) found = &option;
  }
  return found;
}

bool IsInbox(std::string_view name) {
  return name.size() == 5 &&
         std::equal(name.begin(), name.end(), "INBOX", [](unsigned char a, char b) { return std::toupper(a) == b; });
}

// Options that have no counterpart, and what holds instead.
const std::map<std::string, std::string, std::less<>>& Uncarried() {
  static const std::map<std::string, std::string, std::less<>> kTexts = {
      {"maxsize", "messages are carried whole, whatever their size"},
      {"maxmessages", "all messages are kept on both sides"},
      {"expireunread", "all messages are kept on both sides"},
      {"copyarrivaldate", ""},  // dates are always carried
      {"mapinbox", "INBOX is INBOX on every replica"},
      {"trash", "what is deleted is not put into a mailbox first"},
      {"trashnewonly", "what is deleted is not put into a mailbox first"},
      {"trashremotenew", "what is deleted is not put into a mailbox first"},
      {"usenamespace", "the server's personal namespace is taken off the names"},
      {"pathdelimiter", ""},  // the server's is used
      {"subscribedonly",
       "mailboxes are synced whether they are subscribed or not; name those that you want in edge { "
       "mailboxes { include } } before the first sync"},
      {"requiressl", "an option of older versions; see security in the topology"},
      {"requirecram", "an option of older versions; see mechanism in the topology"},
      {"useimaps", "an option of older versions; see security in the topology"},
      {"usesslv2", "nothing older than TLS 1.2 is used"},
      {"usesslv3", "nothing older than TLS 1.2 is used"},
      {"usetlsv1", "nothing older than TLS 1.2 is used"},
      {"usetlsv1.1", "nothing older than TLS 1.2 is used"},
      {"usetlsv1.2", ""},
      {"fsync", "the state is always safe"},
      {"bufferlimit", "memory is bounded whatever is synced"},
  };
  return kTexts;
}

class Importer {
 public:
  Importer(const MbsyncConfig& config, std::string_view home, Notes& notes)
      : config_(config), home_(home), notes_(notes) {
    for (const MbsyncSection& section : config.sections) {
      if (section.kind != "channel" && section.kind != "group") sections_[{section.kind, section.name}] = &section;
    }
  }

  MbsyncDraft Run(std::string_view name) {
    result_.draft.topology.set_name(std::string(name));
    NoteUncarried(config_.globals, {"sync", "create", "remove", "expunge", "syncstate", "fielddelimiter"}, "");
    for (const MbsyncSection& section : config_.sections) {
      if (section.kind == "channel") Channel(section);
      if (section.kind == "group") {
        notes_.Warning(section.line, "group " + section.name +
                                         " is not carried over: all edges are synced; `imapmesh pause` stops one");
      }
    }
    if (result_.draft.topology.edge_size() == 0 && notes_.ok()) {
      notes_.Error(0,
                   "no channel joins two IMAP stores, and imapmesh syncs IMAP accounts only: give the Maildir to a "
                   "local Dovecot (mail_location = maildir:…) and join that, see docs/migration.md");
    }
    if (removes_kept_) {
      result_.draft.topology.mutable_policy()->set_mailbox_deletes(v1::MailboxDeletePolicy::KEEP);
    }
    return std::move(result_);
  }

 private:
  // A channel's side before its replica is made.
  struct Side {
    const MbsyncOption* option = nullptr;
    std::string store, box;
  };

  void LeaveOut(const MbsyncSection& channel, int line, const std::string& why) {
    notes_.Warning(line, "channel " + channel.name + " is left out: " + why);
  }

  void NoteUncarried(const std::vector<MbsyncOption>& options, const std::set<std::string>& known,
                     const std::string& where) {
    for (const MbsyncOption& option : options) {
      if (known.contains(option.keyword)) continue;
      const auto text = Uncarried().find(option.keyword);
      if (text == Uncarried().end()) {
        notes_.Error(option.line, where + option.keyword + ": is no option of mbsync 1.4 here; correct or remove it");
      } else if (!text->second.empty()) {
        notes_.Warning(option.line, where + option.keyword + " is not carried over: " + text->second);
      }
    }
  }

  void Channel(const MbsyncSection& channel) {
    Side far, near;
    if (!FindSide(channel, {"far", "master"}, far) || !FindSide(channel, {"near", "slave"}, near)) return;
    NoteUncarried(
        channel.options,
        {"far", "master", "near", "slave", "pattern", "patterns", "sync", "create", "remove", "expunge", "syncstate"},
        "channel " + channel.name + ": ");
    const MbsyncRules rules = RulesOf(config_.globals, channel, notes_);
    v1::Edge edge;
    if (!ToEdge(rules, channel, edge, notes_)) {
      LeaveOut(channel, channel.line, "it carries no new mail (Sync)");
      return;
    }
    const bool patterns = Last(channel.options, {"pattern", "patterns"}) != nullptr;
    MbsyncStateSource source;
    source.channel = channel.name;
    source.patterns = patterns;
    if (!Join(channel, far, source.far) || !Join(channel, near, source.near)) return;
    const bool selected =
        patterns ? SelectPatterns(channel, far, near, edge) : SelectMailbox(channel, far, near, edge, source);
    if (!selected) return;
    edge.set_a(source.far.replica);
    edge.set_b(source.near.replica);
    AddEdge(channel, std::move(edge));
    NoteMailboxRules(channel, rules);
    AddState(channel, std::move(source));
  }

  bool FindSide(const MbsyncSection& channel, std::initializer_list<std::string_view> keywords, Side& side) {
    side.option = Last(channel.options, keywords);
    const std::string text = side.option == nullptr ? "" : side.option->arguments[0];
    const size_t colon = text.starts_with(':') ? text.find(':', 1) : std::string::npos;
    if (colon == std::string::npos) {
      notes_.Error(side.option == nullptr ? channel.line : side.option->line,
                   "channel " + channel.name + ": a side is missing or malformed; write Far :store: and Near :store:");
      return false;
    }
    side.store = text.substr(1, colon - 1);
    side.box = text.substr(colon + 1);
    if (sections_.contains({"maildirstore", side.store})) {
      LeaveOut(channel, side.option->line,
               "store " + side.store +
                   " is a Maildir; imapmesh syncs IMAP accounts only: give the Maildir to a local "
                   "Dovecot, see docs/migration.md");
      return false;
    }
    if (!sections_.contains({"imapstore", side.store})) {
      notes_.Error(side.option->line, "store " + side.store + " is not defined before; add IMAPStore " + side.store);
      return false;
    }
    return true;
  }

  // The store as a replica whose mailboxes are those of the channel, without what stands before their names.
  bool Join(const MbsyncSection& channel, const Side& side, MbsyncEnd& end) {
    const bool patterns = Last(channel.options, {"pattern", "patterns"}) != nullptr;
    const Store* store = ReadStore(channel, side);
    if (store == nullptr) return false;
    std::string prefix = store->folder;
    end.store = side.store;
    end.box = side.box;
    if (!patterns && side.box.empty()) end.box = "INBOX";
    if (patterns && !side.box.empty()) {
      const auto folder = PatternFromServer(std::string_view(side.box).substr(0, side.box.size() - 1), '/');
      if (!side.box.ends_with('/') || !folder || folder->empty()) {
        LeaveOut(channel, side.option->line,
                 "\"" + side.box +
                     "\" before the names is no level of the hierarchy; only \"folder/\" has a "
                     "counterpart (namespace_prefix)");
        return false;
      }
      prefix += (prefix.empty() ? "" : "/") + *folder;
    }
    end.replica = ReplicaOf(side.store, *store, prefix);
    return true;
  }

  const Store* ReadStore(const MbsyncSection& channel, const Side& side) {
    const auto known = stores_.find(side.store);
    if (known != stores_.end()) return known->second ? &*known->second : nullptr;
    const MbsyncSection& section = *sections_.at({"imapstore", side.store});
    std::vector<MbsyncOption> options = section.options;
    if (const MbsyncOption* account = Last(options, {"account"})) {
      const auto found = sections_.find({"imapaccount", account->arguments[0]});
      if (found == sections_.end()) {
        notes_.Error(account->line, "account " + account->arguments[0] + " is not defined before");
      } else {
        options.insert(options.begin(), found->second->options.begin(), found->second->options.end());
      }
      std::erase_if(options, [](const MbsyncOption& option) { return option.keyword == "account"; });
    }
    Store store;
    store.line = section.line;
    store.account = ReadMbsyncAccount(options, section.line, home_, notes_);
    NoteUncarried(options, {"path", "flatten"}, "store " + section.name + ": ");
    std::optional<Store>& kept = stores_[side.store];
    if (const MbsyncOption* flatten = Last(options, {"flatten"})) {
      LeaveOut(channel, flatten->line,
               "Flatten has no counterpart: the mailboxes would be made again under their own "
               "names");
      return nullptr;
    }
    if (const MbsyncOption* path = Last(options, {"path"})) {
      const auto folder = FolderOf(path->arguments[0]);
      if (!folder) {
        LeaveOut(channel, path->line,
                 "Path " + path->arguments[0] +
                     " is no level of the hierarchy below which the "
                     "mailboxes lie (namespace_prefix), such as mail/");
        return nullptr;
      }
      store.folder = *folder;
    }
    kept = std::move(store);
    return &*kept;
  }

  // "mail/" or "mail."; "INBOX." is the personal namespace of such a server, which needs no saying.
  static std::optional<std::string> FolderOf(std::string_view path) {
    if (path.empty()) return "";
    const char delimiter = path.back();
    if (path.size() < 2 || (delimiter != '/' && delimiter != '.') || path[0] == '/' || path[0] == '~') {
      return std::nullopt;
    }
    path.remove_suffix(1);
    if (IsInbox(path)) return "";
    return PatternFromServer(path, delimiter);
  }

  // One account with one prefix is one replica, whatever the stores are called.
  std::string ReplicaOf(const std::string& store_name, const Store& store, const std::string& prefix) {
    const v1::Replica& account = store.account.replica;
    const std::string identity = account.imap().ShortDebugString() + ";" + account.tunnel().command() + ";" +
                                 account.auth().username() + ";" + prefix;
    std::string& name = replicas_[identity];
    if (!name.empty()) return name;
    const std::string base = TopologyName(prefix.empty() ? store_name : store_name + "-" + prefix, "store");
    name = base;
    for (int number = 2; !names_.insert(name).second; ++number)
      name = base.substr(0, 60) + "-" + std::to_string(number);
    v1::Replica& replica = *result_.draft.topology.add_replica();
    replica = account;
    replica.set_name(name);
    replica.set_namespace_prefix(prefix);
    if (!store.account.password.empty()) result_.draft.passwords[name] = store.account.password;
    result_.draft.origins[name] = "mbsync's store " + store_name;
    return name;
  }

  bool SelectPatterns(const MbsyncSection& channel, const Side& far, const Side& near, v1::Edge& edge) {
    struct Pattern {
      std::string text;
      bool excludes;
      int line;
    };
    std::vector<Pattern> patterns;
    for (const MbsyncOption& option : channel.options) {
      if (option.keyword != "pattern" && option.keyword != "patterns") continue;
      for (const std::string& argument : option.arguments) {
        const bool excludes = argument.starts_with('!');
        const auto text = PatternFromServer(std::string_view(argument).substr(excludes ? 1 : 0), '/');
        if (!text || text->empty()) {
          notes_.Error(option.line, "pattern " + argument + " cannot be read");
        } else {
          patterns.push_back({*text, excludes, option.line});
        }
      }
    }
    v1::MailboxSelection& selection = *edge.mutable_mailboxes();
    for (size_t i = 0; i < patterns.size(); ++i) {
      const Pattern& pattern = patterns[i];
      if (!pattern.excludes) {
        selection.add_include(pattern.text);
        continue;
      }
      bool undone = false;  // in mbsync later patterns take precedence, on an edge what is excluded is
      for (size_t j = i + 1; j < patterns.size() && !undone; ++j) {
        const Pattern& later = patterns[j];
        if (later.excludes) continue;
        undone = later.text == pattern.text || later.text == "*";
        if (!undone && (MatchesPattern(pattern.text, later.text) || MatchesPattern(later.text, pattern.text))) {
          notes_.Warning(later.line, "pattern " + later.text + " after !" + pattern.text +
                                         " has no counterpart: what is excluded stays excluded");
        }
      }
      if (!undone) selection.add_exclude(pattern.text);
    }
    if (selection.include_size() == 0) {
      LeaveOut(channel, channel.line, "its patterns select nothing");
      return false;
    }
    if (!stores_[far.store]->folder.empty() || !stores_[near.store]->folder.empty()) {
      selection.add_exclude("INBOX");
      notes_.Warning(channel.line, "channel " + channel.name +
                                       ": INBOX is not below Path and therefore not on this edge; add a replica "
                                       "without namespace_prefix for it");
    }
    return true;
  }

  bool SelectMailbox(const MbsyncSection& channel, const Side& far, const Side& near, v1::Edge& edge,
                     MbsyncStateSource& source) {
    const auto there = PatternFromServer(source.far.box, '/'), here = PatternFromServer(source.near.box, '/');
    if (!there || !here) {
      notes_.Error(channel.line, "channel " + channel.name + ": a mailbox name is no modified UTF-7");
      return false;
    }
    const bool far_inbox = IsInbox(*there), near_inbox = IsInbox(*here);
    const bool below_path =
        (far_inbox && !stores_[far.store]->folder.empty()) || (near_inbox && !stores_[near.store]->folder.empty());
    if (far_inbox != near_inbox || below_path) {
      LeaveOut(channel, channel.line,
               "INBOX cannot have another name on the other side; namespace_prefix puts a whole "
               "account, INBOX included, below a name");
      return false;
    }
    source.mailbox = far_inbox ? "INBOX" : *there;
    edge.mutable_mailboxes()->add_include(source.mailbox);
    if (far_inbox || *there == *here) return true;
    for (v1::Replica& replica : *result_.draft.topology.mutable_replica()) {
      if (replica.name() != source.near.replica) continue;
      v1::NameMap& map = *replica.add_name_map();
      map.set_mesh(*there);
      map.set_here(*here);
    }
    return true;
  }

  // Channels between the same two replicas become one edge.
  void AddEdge(const MbsyncSection& channel, v1::Edge edge) {
    v1::Topology& topology = result_.draft.topology;
    for (int i = 0; i < topology.edge_size(); ++i) {
      v1::Edge& known = *topology.mutable_edge(i);
      if (known.a() == edge.b() && known.b() == edge.a()) {
        notes_.Error(channel.line, "channel " + channel.name +
                                       " joins the same stores as another one, the other way round; swap Far and Near");
        return;
      }
      if (known.a() != edge.a() || known.b() != edge.b()) continue;
      const bool equal =
          known.direction() == edge.direction() && known.flags() == edge.flags() && known.deletes() == edge.deletes();
      if (!equal) {
        notes_.Error(channel.line, "channel " + channel.name +
                                       " joins the same stores as another one with other rules (Sync, Expunge), and "
                                       "there is one edge between two replicas; make the rules equal");
        return;
      }
      Unite(channel, *known.mutable_mailboxes(), edge.mailboxes());
      result_.draft.edge_origins[static_cast<size_t>(i)] += ", " + channel.name;
      return;
    }
    *topology.add_edge() = std::move(edge);
    result_.draft.edge_origins.push_back("mbsync's channel " + channel.name);
  }

  void Unite(const MbsyncSection& channel, v1::MailboxSelection& into, const v1::MailboxSelection& more) {
    v1::MailboxSelection united;
    const auto keep = [&](const std::string& exclude, const v1::MailboxSelection& other) {
      const auto& includes = other.include();
      if (std::find(includes.begin(), includes.end(), exclude) != includes.end()) return;  // the other one has it
      for (const std::string& include : includes) {
        if (!MatchesPattern(exclude, include) && !MatchesPattern(include, exclude)) continue;
        notes_.Warning(channel.line, "channel " + channel.name + ": " + include + " and !" + exclude +
                                         " come together on one edge, where what is excluded stays excluded");
      }
      united.add_exclude(exclude);
    };
    for (const std::string& include : into.include()) united.add_include(include);
    for (const std::string& include : more.include()) united.add_include(include);
    for (const std::string& exclude : into.exclude()) keep(exclude, more);
    for (const std::string& exclude : more.exclude()) keep(exclude, into);
    into = united;
  }

  void NoteMailboxRules(const MbsyncSection& channel, const MbsyncRules& rules) {
    const bool creates = (rules.create.near || !rules.pull.add) && (rules.create.far || !rules.push.add);
    if (!creates) {
      notes_.Warning(channel.line,
                     "channel " + channel.name + ": mailboxes that one side lacks are made there, also without Create");
    }
    const bool removes = (rules.remove.near || !rules.pull.add) && (rules.remove.far || !rules.push.add);
    if (removes) {
      if (removes_kept_) NoteMixedRemoves(channel);
      removes_seen_ = true;
      return;
    }
    if (removes_seen_) NoteMixedRemoves(channel);
    removes_kept_ = true;
  }

  void NoteMixedRemoves(const MbsyncSection& channel) {
    notes_.Warning(channel.line, "channel " + channel.name +
                                     ": Remove differs from another channel's, and policy { mailbox_deletes } is one "
                                     "for all: deleted mailboxes are kept on the other side");
  }

  void AddState(const MbsyncSection& channel, MbsyncStateSource source) {
    const MbsyncOption* own = Last(channel.options, {"syncstate"});
    const MbsyncOption* global = Last(config_.globals, {"syncstate"});
    const MbsyncOption* delimiter = Last(config_.globals, {"fielddelimiter"});
    source.names_both_ends = own == nullptr;
    source.path = ExpandHome(own != nullptr      ? own->arguments[0]
                             : global != nullptr ? global->arguments[0]
                                                 : std::string("~/.mbsync/"),
                             home_);
    if (delimiter != nullptr && delimiter->arguments[0].size() == 1) source.delimiter = delimiter->arguments[0][0];
    result_.states.push_back(std::move(source));
  }

  const MbsyncConfig& config_;
  const std::string_view home_;
  Notes& notes_;
  std::map<std::pair<std::string, std::string>, const MbsyncSection*> sections_;  // by kind and name
  std::map<std::string, std::optional<Store>> stores_;                            // nullopt: left out
  std::map<std::string, std::string> replicas_;                                   // names by identity
  std::set<std::string> names_;
  bool removes_kept_ = false, removes_seen_ = false;
  MbsyncDraft result_;
};

}  // namespace

MbsyncDraft MbsyncTopology(const MbsyncConfig& config, std::string_view name, std::string_view home, Notes& notes) {
  return Importer(config, home, notes).Run(name);
}

}  // namespace imapmesh
