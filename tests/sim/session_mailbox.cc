// LIST, STATUS, SELECT, and the commands that make, remove and rename mailboxes.
#include <algorithm>
#include <utility>

#include "tests/sim/session.h"

namespace imapmesh::sim {

bool Session::RunMailboxes(const std::string& name) {
  if (name == "LIST") {
    ListCommand();
  } else if (name == "LSUB") {
    for (const auto& [mailbox_name, mailbox] : account_.mailboxes()) {
      if (mailbox.subscribed) Untagged("LSUB () \"/\" " + QuoteName(mailbox_name));
    }
    Reply("OK Lsub completed");
  } else if (name == "STATUS") {
    const AccountMailbox* mailbox = account_.Find(Argument(0));
    if (mailbox != nullptr) Status(Argument(0), *mailbox);
    empty_ = {};
    if (mailbox != nullptr && mailbox->messages.empty()) empty_ = {mailbox->id, mailbox->uid_next};
    Reply(mailbox != nullptr ? "OK Status completed" : "NO [NONEXISTENT] Mailbox doesn't exist");
  } else if (name == "SELECT" || name == "EXAMINE") {
    SelectCommand(name == "EXAMINE");
  } else if (name == "UNSELECT" || name == "CLOSE") {
    Unselect();
    Reply("OK Unselect completed");
  } else if (name == "CREATE" || name == "DELETE" || name == "RENAME" || name == "SUBSCRIBE" || name == "UNSUBSCRIBE") {
    ChangeMailbox(name);
  } else {
    return false;
  }
  return true;
}

// Of the selected mailbox what was shown of it, as Dovecot does: RFC 3501 section 6.3.10 says not to ask.
void Session::Status(const std::string& mailbox_name, const AccountMailbox& mailbox) {
  const bool shown = mailbox.id == selected_;
  std::string items = "MESSAGES " + std::to_string(shown ? view_.size() : mailbox.messages.size()) + " UIDNEXT " +
                      std::to_string(shown ? shown_uid_next_ : mailbox.uid_next) + " UIDVALIDITY " +
                      std::to_string(mailbox.uid_validity);
  if (HasModseq()) {
    items += " HIGHESTMODSEQ " + std::to_string(shown ? shown_modseq_ : mailbox.highest_modseq);
  } else {
    const auto unseen = std::count_if(mailbox.messages.begin(), mailbox.messages.end(),
                                      [](const auto& message) { return !message.second.flags.contains("\\Seen"); });
    items += " UNSEEN " + std::to_string(unseen);
  }
  if (account_.traits().guid) items += " X-GUID " + mailbox.guid;
  Untagged("STATUS " + QuoteName(mailbox_name) + " (" + items + ")");
}

void Session::ListCommand() {
  const bool with_status =
      std::any_of(tokens_.begin(), tokens_.end(), [](const Token& token) { return token.text == "STATUS"; });
  for (const auto& [name, mailbox] : account_.mailboxes()) {
    Untagged(std::string("LIST (") + (mailbox.subscribed ? "\\Subscribed" : "") + ") \"/\" " + QuoteName(name));
    if (with_status) Status(name, mailbox);
  }
  ShowChanges();
  Reply("OK List completed");
}

void Session::SelectCommand(bool read_only) {
  const std::string name = Argument(0);
  if (selected_ != 0 && qresync_) Untagged("OK [CLOSED] Previous mailbox closed");
  Unselect();
  AccountMailbox* mailbox = account_.Find(name);
  if (mailbox == nullptr) {
    Reply("NO [NONEXISTENT] Mailbox doesn't exist: " + name);
    return;
  }
  selected_ = mailbox->id;
  selected_name_ = name;
  read_only_ = read_only;
  for (const auto& [uid, copy] : mailbox->messages) view_.push_back(uid);
  shown_modseq_ = mailbox->highest_modseq;
  shown_uid_next_ = mailbox->uid_next;
  Untagged("FLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft)");
  const std::string keywords = account_.traits().fixed_keywords ? kFixedKeyword : "\\*";
  Untagged("OK [PERMANENTFLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft " + keywords + ")] Flags permitted");
  Untagged(std::to_string(view_.size()) + " EXISTS");
  Untagged("0 RECENT");
  Untagged("OK [UIDVALIDITY " + std::to_string(mailbox->uid_validity) + "] UIDs valid");
  Untagged("OK [UIDNEXT " + std::to_string(mailbox->uid_next) + "] Predicted next UID");
  if (HasModseq()) Untagged("OK [HIGHESTMODSEQ " + std::to_string(mailbox->highest_modseq) + "] Highest");
  for (size_t at = 1; at < tokens_.size(); ++at) {
    if (tokens_[at].text == "QRESYNC" && qresync_) Resync(*mailbox, at + 2);
  }
  Reply(std::string("OK [") + (read_only ? "READ-ONLY" : "READ-WRITE") + "] Select completed");
}

// RFC 7162 section 3.2.5: (uidvalidity modseq [known-uids]).
void Session::Resync(AccountMailbox& mailbox, size_t at) {
  if (Argument(at) != std::to_string(mailbox.uid_validity)) return;
  const uint64_t since = std::stoull(Argument(at + 1));
  UidSet known;
  known.AddRange(1, mailbox.uid_next);
  const bool named = at + 2 < tokens_.size() && tokens_[at + 2].kind == Token::kAtom;
  if (named) known = UidSet::Parse(Argument(at + 2)).value_or(known);
  UidSet vanished;
  if (account_.traits().forgets_expunges) {
    for (const Uid uid : known.Take(100'000)) {
      if (uid.value < mailbox.uid_next && !mailbox.messages.contains(uid.value)) vanished.Add(uid);
    }
  } else {
    for (const auto& [modseq, uid] : mailbox.expunged) {
      if (modseq > since && known.Contains(Uid(uid))) vanished.Add(Uid(uid));
    }
  }
  if (!vanished.empty()) Untagged("VANISHED (EARLIER) " + vanished.ToString());
  for (const auto& [uid, copy] : mailbox.messages) {
    if (copy.modseq <= since || !known.Contains(Uid(uid))) continue;
    Untagged(std::to_string(SequenceNumber(uid)) + " FETCH (" + FlagItems(uid, copy) + ")");
  }
}

void Session::ChangeMailbox(const std::string& name) {
  const std::string mailbox = Argument(0);
  bool done = true;
  std::string refusal = "[NONEXISTENT] Mailbox doesn't exist";
  if (name == "CREATE") {
    done = account_.Create(mailbox);
    refusal = "[ALREADYEXISTS] Mailbox already exists";
  } else if (name == "DELETE") {
    TellUncounted(mailbox);
    done = account_.Delete(mailbox);
  } else if (name == "RENAME") {
    done = account_.Rename(mailbox, Argument(1));
    if (account_.Find(Argument(1)) != nullptr) refusal = "[ALREADYEXISTS] Mailbox already exists";
  } else {
    done = account_.Find(mailbox) != nullptr;
    account_.Subscribe(mailbox, name == "SUBSCRIBE");
  }
  Reply(done ? "OK " + name + " completed" : "NO " + refusal);
}

void Session::TellUncounted(const std::string& name) {
  const AccountMailbox* mailbox = account_.Find(name);
  if (mailbox == nullptr || empty_.first != mailbox->id || !hooks_.on_deleted_uncounted) return;
  for (const auto& [uid, copy] : mailbox->messages) {
    if (uid >= empty_.second) hooks_.on_deleted_uncounted(name, *copy.content);
  }
}

}  // namespace imapmesh::sim
