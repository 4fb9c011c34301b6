// The server's end of one IMAP connection: bytes in, bytes out, over an Account.
//
// sim::Link feeds it what arrived and sends what it says. It speaks what Dovecot speaks to this engine: RFC 3501 with
// LITERAL+, UIDPLUS, MOVE, MULTIAPPEND, ENABLE, CONDSTORE and QRESYNC, LIST-STATUS, NOTIFY, IDLE. As a real server it
// shows a connection its own view of the selected mailbox: what others do appears only when a command permits it
// (RFC 3501 section 7.4.1), and a command sees only what is shown. One thread.
#ifndef IMAPMESH_TESTS_SIM_SESSION_H_
#define IMAPMESH_TESTS_SIM_SESSION_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "tests/sim/account.h"

namespace imapmesh::sim {

struct SessionHooks {
  std::function<void(std::string)> send;
  std::function<void()> hang_up;  // the server closes the connection; what was sent before still arrives
  // The content with these bytes, made known when it is new.
  std::function<std::shared_ptr<const Content>(std::string)> intern;
  // Called with each complete command before it is carried out, by name.
  std::function<void(const std::string& name)> on_command;
  // Called after this client added a copy to a mailbox, and when it is given a whole message.
  std::function<void(const std::string& mailbox, uint32_t uid)> on_added;
  std::function<void(const Content& content)> on_body;
  // Called before this client expunges a copy; not by a MOVE, which adds it elsewhere in the same instant.
  std::function<void(const std::string& mailbox, const Content& content)> on_expunge;
  // Called before this client deletes a mailbox, for what came into it after a STATUS had told this client that it is
  // empty.
  std::function<void(const std::string& mailbox, const Content& content)> on_deleted_uncounted;
};

class Session {
 public:
  Session(Account& account, SessionHooks hooks);
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  void Greet();
  void Receive(std::string_view bytes);

 private:
  struct Token {
    enum Kind { kAtom, kString, kOpen, kClose } kind = kAtom;
    std::string text;
  };
  using Tokens = std::vector<Token>;

  // Lines, literals and tokens.
  bool TakeLine();
  void Tokenize(std::string_view text);
  bool RefusedBeforeLiteral();
  void Execute();
  void Reply(const std::string& text) { hooks_.send(tag_ + " " + text + "\r\n"); }
  void Untagged(const std::string& text) { hooks_.send("* " + text + "\r\n"); }
  std::string Capabilities() const;
  bool HasModseq() const { return account_.traits().tier != ServerTier::kPlain; }
  // "UID 5 FLAGS (\Seen) MODSEQ (7)", the latter where the server has one.
  std::string FlagItems(uint32_t uid, const MessageCopy& copy) const;
  // The atoms of a parenthesised list that begins at `at`, which then stands behind it.
  static std::vector<std::string> List(const Tokens& tokens, size_t& at);
  const std::string& Argument(size_t at) const;

  // The view of the selected mailbox.
  AccountMailbox* Selected();
  bool IsStillThere();
  void Unselect();
  void ShowChanges();
  void ShowFlags(AccountMailbox& mailbox);
  size_t SequenceNumber(uint32_t uid) const;
  std::vector<uint32_t> InView(std::string_view set) const;
  void OnChange(const std::string& name, bool listing);
  void PushNotices();

  // Commands.
  bool RunConnection(const std::string& name);
  bool RunMailboxes(const std::string& name);
  bool RunMessages(const std::string& name);
  void Status(const std::string& mailbox_name, const AccountMailbox& mailbox);
  void ListCommand();
  void SelectCommand(bool read_only);
  void Resync(AccountMailbox& mailbox, size_t at);
  void ChangeMailbox(const std::string& name);
  void TellUncounted(const std::string& mailbox);
  void FetchCommand();
  void SearchCommand();
  // One criterion of UID SEARCH, which begins at `at`, which then stands behind it.
  bool Matches(const MessageCopy& copy, size_t& at) const;
  void StoreCommand();
  void ExpungeCommand();
  void CopyCommand(bool move);
  void AppendCommand();

  Account& account_;
  SessionHooks hooks_;
  uint64_t listener_ = 0;
  bool over_ = false;

  std::string input_;
  std::optional<size_t> literal_;  // bytes that are still to come
  Tokens tokens_;                  // of the command so far, without tag
  std::string tag_;
  bool tagged_ = false;
  bool idle_ = false;
  bool qresync_ = false;
  bool notify_ = false;
  std::set<std::string> notices_;   // mailboxes that changed, not told yet
  std::set<std::string> listings_;  // names that came or went, not told yet

  uint64_t selected_ = 0;  // AccountMailbox::id; 0: none
  std::string selected_name_;
  bool read_only_ = false;
  std::vector<uint32_t> view_;              // UIDs shown, ascending
  std::optional<UidSet> found_ = UidSet();  // "$": what the last SEARCH with SAVE found
  uint64_t shown_modseq_ = 0;
  uint32_t shown_uid_next_ = 0;
  std::pair<uint64_t, uint32_t> empty_;  // AccountMailbox::id and UIDNEXT, as the last STATUS told of an empty one
};

// Parts shared by session*.cc.
std::string JoinFlags(const Flags& flags);
std::string QuoteName(const std::string& name);

}  // namespace imapmesh::sim

#endif  // IMAPMESH_TESTS_SIM_SESSION_H_
