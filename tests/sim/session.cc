#include "tests/sim/session.h"

#include <algorithm>
#include <cctype>
#include <utility>

#include "base/uid_set.h"

namespace imapmesh::sim {
namespace {

std::string Upper(std::string_view text) {
  std::string upper(text);
  for (char& c : upper) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return upper;
}

}  // namespace

std::string JoinFlags(const Flags& flags) {
  std::string joined;
  for (const std::string& flag : flags) joined += (joined.empty() ? "" : " ") + flag;
  return "(" + joined + ")";
}

std::string QuoteName(const std::string& name) {
  return "\"" + name + "\"";
}

Session::Session(Account& account, SessionHooks hooks) : account_(account), hooks_(std::move(hooks)) {
  listener_ = account_.Listen([this](const std::string& name, bool listing) { OnChange(name, listing); });
}

Session::~Session() {
  account_.StopListening(listener_);
}

void Session::Greet() {
  Untagged("PREAUTH [CAPABILITY " + Capabilities() + "] ready");
}

std::string Session::Capabilities() const {
  const ServerTraits& traits = account_.traits();
  std::string all = "IMAP4rev1 SASL-IR ID IDLE NAMESPACE LIST-EXTENDED LIST-STATUS UIDPLUS ESEARCH UNSELECT";
  if (HasModseq()) all += " ENABLE CONDSTORE";
  if (traits.tier == ServerTier::kQresync) all += " QRESYNC";
  if (traits.tier == ServerTier::kQresync && traits.guid) all += " SEARCHRES";
  if (traits.literal_plus) all += " LITERAL+";
  if (traits.multi_append) all += " MULTIAPPEND";
  if (traits.move) all += " MOVE";
  if (traits.notify) all += " NOTIFY";
  return all;
}

// ---- lines, literals, tokens

void Session::Receive(std::string_view bytes) {
  input_.append(bytes);
  while (!over_ && TakeLine()) {
  }
}

// Takes a line, or a literal; false when more bytes are needed.
bool Session::TakeLine() {
  if (literal_) {
    if (input_.size() < *literal_) return false;
    tokens_.push_back({Token::kString, input_.substr(0, *literal_)});
    input_.erase(0, *literal_);
    literal_.reset();
  }
  const size_t end = input_.find("\r\n");
  if (end == std::string::npos) return false;
  std::string line = input_.substr(0, end);
  input_.erase(0, end + 2);
  if (idle_) {
    idle_ = false;
    PushNotices();
    ShowChanges();
    Reply(Upper(line) == "DONE" ? "OK Idle completed" : "BAD Expected DONE");
    return true;
  }
  if (!tagged_) {
    const size_t space = line.find(' ');
    tag_ = line.substr(0, space);
    line.erase(0, space == std::string::npos ? line.size() : space + 1);
    tagged_ = true;
  }
  if (line.ends_with('}')) {
    const size_t open = line.rfind('{');
    const bool unasked = line[line.size() - 2] == '+';
    const size_t size = std::stoull(line.substr(open + 1));
    Tokenize(std::string_view(line).substr(0, open));
    if (!unasked && RefusedBeforeLiteral()) return true;
    literal_ = size;
    if (!unasked) hooks_.send("+ OK\r\n");
    return true;
  }
  Tokenize(line);
  Execute();
  tokens_.clear();
  tagged_ = false;
  return true;
}

void Session::Tokenize(std::string_view text) {
  for (size_t at = 0; at < text.size();) {
    const char c = text[at];
    if (c == ' ') {
      ++at;
    } else if (c == '(' || c == ')') {
      tokens_.push_back({c == '(' ? Token::kOpen : Token::kClose, std::string(1, c)});
      ++at;
    } else if (c == '"') {
      std::string value;
      for (++at; at < text.size() && text[at] != '"'; ++at) {
        if (text[at] == '\\') ++at;
        value.push_back(text[at]);
      }
      ++at;
      tokens_.push_back({Token::kString, value});
    } else {
      size_t end = at;
      for (int depth = 0; end < text.size(); ++end) {
        if (text[end] == '[') ++depth;
        if (text[end] == ']') --depth;
        if (depth == 0 && (text[end] == ' ' || text[end] == '(' || text[end] == ')')) break;
      }
      tokens_.push_back({Token::kAtom, std::string(text.substr(at, end - at))});
      at = end;
    }
  }
}

// An APPEND that cannot succeed is refused before its message is sent.
bool Session::RefusedBeforeLiteral() {
  if (tokens_.size() < 2 || Upper(tokens_[0].text) != "APPEND") return false;
  if (account_.Find(tokens_[1].text) != nullptr) return false;
  Reply("NO [TRYCREATE] Mailbox doesn't exist: " + tokens_[1].text);
  tokens_.clear();
  tagged_ = false;
  return true;
}

std::vector<std::string> Session::List(const Tokens& tokens, size_t& at) {
  std::vector<std::string> items;
  if (at >= tokens.size() || tokens[at].kind != Token::kOpen) return items;
  for (++at; at < tokens.size() && tokens[at].kind != Token::kClose; ++at) items.push_back(tokens[at].text);
  ++at;
  return items;
}

const std::string& Session::Argument(size_t at) const {
  static const std::string none;
  return at < tokens_.size() ? tokens_[at].text : none;
}

void Session::Execute() {
  std::string name = Upper(Argument(0));
  if (!tokens_.empty()) tokens_.erase(tokens_.begin());
  if (name == "UID") {
    name += " " + Upper(Argument(0));
    if (!tokens_.empty()) tokens_.erase(tokens_.begin());
  }
  if (hooks_.on_command) hooks_.on_command(name);
  if (!IsStillThere()) return;
  if (RunConnection(name) || RunMailboxes(name) || RunMessages(name)) return;
  Reply("BAD Unknown command " + name);
}

// Its mailbox may have been renamed meanwhile, which does not concern a client; deleted or rebuilt, that ends it.
bool Session::IsStillThere() {
  if (selected_ == 0) return true;
  selected_name_ = account_.NameOf(selected_);
  if (!selected_name_.empty()) return true;
  Untagged("BYE The mailbox is no longer there");
  over_ = true;
  hooks_.hang_up();
  return false;
}

bool Session::RunConnection(const std::string& name) {
  if (name == "CAPABILITY") {
    Untagged("CAPABILITY " + Capabilities());
    Reply("OK Capability completed");
  } else if (name == "ID") {
    Untagged(account_.traits().guid ? "ID (\"name\" \"Dovecot\")" : "ID (\"name\" \"Simulated\")");
    Reply("OK ID completed");
  } else if (name == "ENABLE") {
    qresync_ = account_.traits().tier == ServerTier::kQresync;
    Untagged(qresync_ ? "ENABLED QRESYNC" : "ENABLED");
    Reply("OK Enabled");
  } else if (name == "NAMESPACE") {
    Untagged("NAMESPACE ((\"\" \"/\")) NIL NIL");
    Reply("OK Namespace completed");
  } else if (name == "NOOP") {
    PushNotices();
    ShowChanges();
    Reply("OK NOOP completed");
  } else if (name == "NOTIFY" && account_.traits().notify) {
    notify_ = true;
    Reply("OK NOTIFY completed");
  } else if (name == "IDLE") {
    hooks_.send("+ idling\r\n");
    idle_ = true;
    PushNotices();
    ShowChanges();
  } else if (name == "LOGOUT") {
    Untagged("BYE Logging out");
    Reply("OK Logout completed");
    over_ = true;
    hooks_.hang_up();
  } else {
    return false;
  }
  return true;
}

// ---- the view

AccountMailbox* Session::Selected() {
  AccountMailbox* mailbox = account_.Find(selected_name_);  // the common case, before a search through all
  if (mailbox == nullptr || mailbox->id != selected_) mailbox = account_.FindById(selected_);
  return selected_ == 0 ? nullptr : mailbox;
}

void Session::Unselect() {
  selected_ = 0;
  selected_name_.clear();
  view_.clear();
  found_ = UidSet();
  shown_modseq_ = 0;
}

size_t Session::SequenceNumber(uint32_t uid) const {
  return static_cast<size_t>(std::lower_bound(view_.begin(), view_.end(), uid) - view_.begin()) + 1;
}

std::vector<uint32_t> Session::InView(std::string_view text) const {
  std::vector<uint32_t> uids;
  const auto set = text == "$" ? found_ : UidSet::Parse(text, view_.empty() ? 1 : view_.back());
  for (const uint32_t uid : view_) {
    if (set && set->Contains(Uid(uid))) uids.push_back(uid);
  }
  return uids;
}

std::string Session::FlagItems(uint32_t uid, const MessageCopy& copy) const {
  const std::string modseq = HasModseq() ? " MODSEQ (" + std::to_string(copy.modseq) + ")" : "";
  return "UID " + std::to_string(uid) + " FLAGS " + JoinFlags(copy.flags) + modseq;
}

void Session::ShowFlags(AccountMailbox& mailbox) {
  for (const auto& [uid, copy] : mailbox.messages) {
    if (copy.modseq <= shown_modseq_ || !std::binary_search(view_.begin(), view_.end(), uid)) continue;
    Untagged(std::to_string(SequenceNumber(uid)) + " FETCH (" + FlagItems(uid, copy) + ")");
  }
}

// Expunges, flags and arrivals, as far as they are not shown yet.
void Session::ShowChanges() {
  AccountMailbox* mailbox = Selected();
  if (mailbox == nullptr || shown_modseq_ == mailbox->highest_modseq) return;
  UidSet vanished;
  std::vector<uint32_t> left;
  for (const uint32_t uid : view_) {
    if (mailbox->messages.contains(uid)) {
      left.push_back(uid);
    } else if (qresync_) {
      vanished.Add(Uid(uid));
    } else {
      Untagged(std::to_string(left.size() + 1) + " EXPUNGE");
    }
  }
  if (!vanished.empty()) Untagged("VANISHED " + vanished.ToString());
  view_ = std::move(left);
  ShowFlags(*mailbox);
  const uint32_t last = view_.empty() ? 0 : view_.back();
  const size_t before = view_.size();
  for (auto next = mailbox->messages.upper_bound(last); next != mailbox->messages.end(); ++next) {
    view_.push_back(next->first);
  }
  if (view_.size() != before) Untagged(std::to_string(view_.size()) + " EXISTS");
  shown_modseq_ = mailbox->highest_modseq;
  shown_uid_next_ = mailbox->uid_next;
}

void Session::OnChange(const std::string& name, bool listing) {
  if (!notify_) {
    if (idle_ && name == selected_name_ && Selected() != nullptr) ShowChanges();
    return;
  }
  (listing ? listings_ : notices_).insert(name);
  if (idle_) PushNotices();
}

void Session::PushNotices() {
  if (!notify_) return;
  for (const std::string& name : listings_) {
    Untagged(std::string("LIST ") + (account_.Find(name) == nullptr ? "(\\NonExistent)" : "()") + " \"/\" " +
             QuoteName(name));
  }
  for (const std::string& name : notices_) {
    const AccountMailbox* mailbox = account_.Find(name);
    if (mailbox != nullptr) Status(name, *mailbox);
  }
  listings_.clear();
  notices_.clear();
}

}  // namespace imapmesh::sim
