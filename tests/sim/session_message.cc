// FETCH, SEARCH, STORE, EXPUNGE, COPY, MOVE and APPEND.
#include <algorithm>
#include <cctype>
#include <utility>

#include "engine/imap/date_time.h"
#include "tests/sim/session.h"

namespace imapmesh::sim {
namespace {

std::string Literal(const std::string& bytes) {
  return "{" + std::to_string(bytes.size()) + "}\r\n" + bytes;
}

bool SameWord(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](unsigned char x, unsigned char y) { return std::tolower(x) == std::tolower(y); });
}

// The fields that "BODY.PEEK[HEADER.FIELDS (A B)]" asks for, and an empty line.
std::string HeaderFields(const std::string& item, const std::string& bytes) {
  std::vector<std::string> wanted;
  const size_t open = item.find('('), close = item.find(')');
  for (size_t at = open + 1; at < close;) {
    const size_t end = std::min(item.find(' ', at), close);
    wanted.push_back(item.substr(at, end - at));
    at = end + 1;
  }
  std::string fields;
  for (size_t at = 0; at < bytes.size();) {
    const size_t end = bytes.find("\r\n", at);
    if (end == std::string::npos || end == at) break;
    const std::string line = bytes.substr(at, end - at);
    const std::string name = line.substr(0, line.find(':'));
    const bool asked =
        std::any_of(wanted.begin(), wanted.end(), [&](const std::string& field) { return SameWord(field, name); });
    if (asked) fields += line + "\r\n";
    at = end + 2;
  }
  return fields + "\r\n";
}

std::string DateTime(int64_t unix_seconds) {
  imap::DateTime date;
  date.unix_seconds = unix_seconds;
  return imap::FormatDateTime(date);
}

std::string FetchItem(const std::string& item, const MessageCopy& copy) {
  if (item == "UID") return "UID " + std::to_string(copy.uid);
  if (item == "FLAGS") return "FLAGS " + JoinFlags(copy.flags);
  if (item == "MODSEQ") return "MODSEQ (" + std::to_string(copy.modseq) + ")";
  if (item == "INTERNALDATE") return "INTERNALDATE \"" + DateTime(copy.internal_date) + "\"";
  if (item == "RFC822.SIZE") return "RFC822.SIZE " + std::to_string(copy.content->bytes.size());
  if (item == "X-GUID") return "X-GUID " + copy.guid;
  const std::string section = "BODY" + item.substr(item.find('['));
  if (item.find("HEADER.FIELDS") == std::string::npos) return section + " " + Literal(copy.content->bytes);
  return section + " " + Literal(HeaderFields(item, copy.content->bytes));
}

}  // namespace

bool Session::RunMessages(const std::string& name) {
  if (name == "APPEND") {
    AppendCommand();
    return true;
  }
  if (!name.starts_with("UID ")) return false;
  if (selected_ == 0) {
    Reply("BAD No mailbox selected");
  } else if (name == "UID FETCH") {
    FetchCommand();
  } else if (name == "UID SEARCH") {
    SearchCommand();
  } else if (name == "UID STORE") {
    StoreCommand();
  } else if (name == "UID EXPUNGE") {
    ExpungeCommand();
  } else if (name == "UID COPY") {
    CopyCommand(false);
  } else if (name == "UID MOVE" && account_.traits().move) {
    CopyCommand(true);
  } else {
    return false;
  }
  return true;
}

void Session::FetchCommand() {
  AccountMailbox& mailbox = *Selected();
  size_t at = 1;
  const std::vector<std::string> items = List(tokens_, at);
  uint64_t since = 0;
  const std::vector<std::string> modifiers = List(tokens_, at);
  if (modifiers.size() == 2 && modifiers[0] == "CHANGEDSINCE") since = std::stoull(modifiers[1]);
  for (const uint32_t uid : InView(Argument(0))) {
    const auto found = mailbox.messages.find(uid);
    if (found == mailbox.messages.end() || found->second.modseq <= since) continue;
    std::string line = std::to_string(SequenceNumber(uid)) + " FETCH (";
    for (const std::string& item : items) {
      if (item.ends_with("[]") && hooks_.on_body) hooks_.on_body(*found->second.content);
      line += (line.ends_with('(') ? "" : " ") + FetchItem(item, found->second);
    }
    Untagged(line + ")");
  }
  if (account_.traits().eager_views) ShowChanges();
  Reply("OK Fetch completed");
}

bool Session::Matches(const MessageCopy& copy, size_t& at) const {
  if (at >= tokens_.size()) return false;
  const Token& token = tokens_[at++];
  if (token.kind == Token::kOpen) {
    bool all = true;
    while (at < tokens_.size() && tokens_[at].kind != Token::kClose) all &= Matches(copy, at);
    ++at;
    return all;
  }
  if (token.text == "OR") {
    const bool first = Matches(copy, at), second = Matches(copy, at);
    return first || second;
  }
  if (token.text == "NOT") return !Matches(copy, at);
  if (token.text == "ALL") return true;
  if (token.text == "DELETED") return copy.flags.contains("\\Deleted");
  const std::string& value = Argument(at++);
  const size_t size = copy.content->bytes.size();
  if (token.text == "UID") return UidSet::Parse(value).value_or(UidSet()).Contains(Uid(copy.uid));
  if (token.text == "LARGER") return size > std::stoull(value);
  if (token.text == "SMALLER") return size < std::stoull(value);
  const std::string& wanted = Argument(at++);  // HEADER
  return HeaderFields("(" + value + ")", copy.content->bytes).find(wanted) != std::string::npos;
}

void Session::SearchCommand() {
  AccountMailbox& mailbox = *Selected();
  size_t first = 1;  // behind RETURN
  const std::vector<std::string> options = List(tokens_, first);
  UidSet found;
  for (const uint32_t uid : view_) {
    const auto copy = mailbox.messages.find(uid);
    bool matches = copy != mailbox.messages.end();
    for (size_t at = first; matches && at < tokens_.size();) matches = Matches(copy->second, at);
    if (matches) found.Add(Uid(uid));
  }
  if (std::find(options.begin(), options.end(), "SAVE") != options.end()) found_ = found;
  Untagged("ESEARCH (TAG \"" + tag_ + "\") UID" + (found.empty() ? "" : " ALL " + found.ToString()));
  if (account_.traits().eager_views) ShowChanges();
  Reply("OK Search completed");
}

void Session::StoreCommand() {
  AccountMailbox& mailbox = *Selected();
  if (read_only_) {
    Reply("NO [CANNOT] Mailbox is read-only");
    return;
  }
  size_t at = 1;
  const std::vector<std::string> modifiers = List(tokens_, at);
  const bool conditional = modifiers.size() == 2 && modifiers[0] == "UNCHANGEDSINCE";
  const bool add = Argument(at).starts_with('+');
  const bool replace = Argument(at).starts_with('F');
  ++at;
  Flags flags;
  for (const std::string& flag : List(tokens_, at)) flags.insert(flag);
  if ((add || replace) && !account_.HasRoomFor(flags)) {
    Reply("NO [LIMIT] Too many keywords");
    return;
  }
  UidSet modified;
  for (const uint32_t uid : InView(Argument(0))) {
    const auto found = mailbox.messages.find(uid);
    if (found == mailbox.messages.end()) continue;  // gone, not shown yet: OK without an echo
    if (conditional && found->second.modseq > std::stoull(modifiers[1])) {
      modified.Add(Uid(uid));
      continue;
    }
    if (replace) {
      const Flags before = found->second.flags;
      for (const std::string& flag : before) account_.SetFlag(selected_name_, uid, flag, false);
    }
    for (const std::string& flag : flags) account_.SetFlag(selected_name_, uid, flag, add || replace);
    if (HasModseq()) {
      Untagged(std::to_string(SequenceNumber(uid)) + " FETCH (UID " + std::to_string(uid) + " MODSEQ (" +
               std::to_string(found->second.modseq) + "))");
    }
  }
  if (account_.traits().eager_views) ShowChanges();
  Reply(modified.empty() ? "OK Store completed" : "OK [MODIFIED " + modified.ToString() + "] Conditional store failed");
}

void Session::ExpungeCommand() {
  AccountMailbox& mailbox = *Selected();
  for (const uint32_t uid : InView(Argument(0))) {
    const auto found = mailbox.messages.find(uid);
    if (found != mailbox.messages.end() && found->second.flags.contains("\\Deleted")) {
      if (hooks_.on_expunge) hooks_.on_expunge(selected_name_, *found->second.content);
      account_.Expunge(selected_name_, uid);
    }
  }
  ShowChanges();
  const std::string code = HasModseq() ? "[HIGHESTMODSEQ " + std::to_string(mailbox.highest_modseq) + "] " : "";
  Reply("OK " + code + "Expunge completed");
}

void Session::CopyCommand(bool move) {
  const std::string target = Argument(1);
  AccountMailbox* into = account_.Find(target);
  if (into == nullptr) {
    Reply("NO [TRYCREATE] Mailbox doesn't exist: " + target);
    return;
  }
  std::string from, to;
  for (const uint32_t uid : InView(Argument(0))) {
    const uint32_t copied = account_.Copy(selected_name_, uid, target);
    if (copied == 0) continue;
    from += (from.empty() ? "" : ",") + std::to_string(uid);
    to += (to.empty() ? "" : ",") + std::to_string(copied);
    if (hooks_.on_added) hooks_.on_added(target, copied);
    if (move) account_.Expunge(selected_name_, uid);
  }
  const std::string code =
      from.empty() ? "" : "[COPYUID " + std::to_string(into->uid_validity) + " " + from + " " + to + "] ";
  if (move && !from.empty()) Untagged("OK " + code + "Moved UIDs");
  if (move || account_.traits().eager_views) ShowChanges();
  Reply("OK " + (move ? "" : code) + (from.empty() ? "No messages found" : "Done"));
}

void Session::AppendCommand() {
  struct Item {
    Flags flags;
    int64_t date = 0;
    std::string bytes;
  };
  std::vector<Item> items;
  for (size_t at = 1; at < tokens_.size();) {
    Item item;
    for (const std::string& flag : List(tokens_, at)) item.flags.insert(flag);
    const auto date = imap::ParseDateTime(Argument(at));
    if (date) item.date = date->unix_seconds;
    item.bytes = Argument(at + 1);
    at += 2;
    items.push_back(std::move(item));
  }
  const std::string mailbox = Argument(0);
  AccountMailbox* into = account_.Find(mailbox);
  if (into == nullptr) {
    Reply("NO [TRYCREATE] Mailbox doesn't exist: " + mailbox);
    return;
  }
  for (const Item& item : items) {
    if (account_.HasRoomFor(item.flags)) continue;
    Reply("NO [LIMIT] Too many keywords");
    return;
  }
  UidSet uids;
  for (Item& item : items) {
    const uint32_t uid = account_.Append(mailbox, hooks_.intern(std::move(item.bytes)), item.flags, item.date);
    uids.Add(Uid(uid));
    if (hooks_.on_added) hooks_.on_added(mailbox, uid);
  }
  if (account_.traits().eager_views) ShowChanges();
  Reply("OK [APPENDUID " + std::to_string(into->uid_validity) + " " + uids.ToString() + "] Append completed");
}

}  // namespace imapmesh::sim
