// One mail account as a server keeps it: mailboxes, UIDs, MODSEQs, what was expunged (RFC 3501, RFC 7162).
//
// Users change it directly, as other clients of that server would; the engine reaches it through sim::Session
// (session.h). Invariants: a UID is never given twice under one UIDVALIDITY; every change of a mailbox raises its
// HIGHESTMODSEQ. One thread.
#ifndef IMAPMESH_TESTS_SIM_ACCOUNT_H_
#define IMAPMESH_TESTS_SIM_ACCOUNT_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "base/uid_set.h"

namespace imapmesh::sim {

// A message as somebody wrote it; shared by all its copies.
struct Content {
  int64_t number = 0;  // equal contents have equal numbers: what the checker calls a digest
  std::string bytes;
  int64_t internal_date = 0;   // seconds since 1970
  bool unlike_others = false;  // its header and date say which message it is
};

using Flags = std::set<std::string>;

struct MessageCopy {
  uint32_t uid = 0;
  std::shared_ptr<const Content> content;
  int64_t internal_date = 0;
  Flags flags;
  uint64_t modseq = 0;
  std::string guid;  // of the content within this account
  int made_by = -1;  // the daemon that added it; -1: a user
};

struct AccountMailbox {
  uint64_t id = 0;   // never given twice, whatever it is called
  std::string guid;  // the same after it was renamed, rebuilt or restored
  uint32_t uid_validity = 0;
  uint32_t uid_next = 1;
  uint64_t highest_modseq = 1;
  bool subscribed = false;
  std::map<uint32_t, MessageCopy> messages;
  std::vector<std::pair<uint64_t, uint32_t>> expunged;  // (modseq, UID), oldest first

  uint64_t NextModseq() { return ++highest_modseq; }
};

enum class ServerTier { kQresync, kCondstore, kPlain };

inline constexpr char kFixedKeyword[] = "$Forwarded";

// What a server can do and does; drawn for each replica of a history.
struct ServerTraits {
  ServerTier tier = ServerTier::kQresync;
  bool notify = true;
  bool move = true;
  bool multi_append = true;
  bool literal_plus = true;
  bool guid = true;               // X-GUID, as Dovecot has it
  bool forgets_expunges = false;  // VANISHED (EARLIER) names every known UID that is not there
  bool eager_views = true;        // tells of changes after each command that permits it, not only when asked
  size_t keywords_max = 100;      // further ones are refused
  bool fixed_keywords = false;    // keeps kFixedKeyword and no other: PERMANENTFLAGS without "\\*"
};

class Account {
 public:
  explicit Account(ServerTraits traits) : traits_(traits) { Create("INBOX"); }

  const ServerTraits& traits() const { return traits_; }
  std::map<std::string, AccountMailbox>& mailboxes() { return mailboxes_; }
  AccountMailbox* Find(const std::string& name);
  AccountMailbox* FindById(uint64_t id);

  // False when the name is taken, or not there.
  bool Create(const std::string& name);
  bool Delete(const std::string& name);
  // With its children.
  bool Rename(const std::string& from, const std::string& to);
  // What a server that does as RFC 3501 section 6.3.5 says makes of a RENAME of INBOX: it is there again, empty.
  bool RenameInbox(const std::string& to);
  // "" when it is gone.
  std::string NameOf(uint64_t id) const;
  void Subscribe(const std::string& name, bool subscribed);

  uint32_t Append(const std::string& name, std::shared_ptr<const Content> content, Flags flags, int64_t internal_date,
                  const std::string& guid = "");
  // The new UID; 0: there is no such message.
  uint32_t Copy(const std::string& from, uint32_t uid, const std::string& to);
  bool Expunge(const std::string& name, uint32_t uid);
  // False when the flag does not last here, or one keyword more than this server has room for would be needed, or the
  // message is gone.
  bool SetFlag(const std::string& name, uint32_t uid, const std::string& flag, bool set);
  bool HasRoomFor(const Flags& flags) const;
  // Whether the flag lasts here; another one is taken, and forgotten at once.
  bool Keeps(const std::string& flag) const;

  // A new UIDVALIDITY and new UIDs, as after a mailbox was rebuilt.
  void Renumber(const std::string& name);

  // What a backup holds, and back to it.
  struct Backup {
    std::map<std::string, AccountMailbox> mailboxes;
  };
  Backup MakeBackup() const { return {mailboxes_}; }
  void Restore(const Backup& backup);

  // Called after each change of a mailbox, by name; of the list of mailboxes with `listing`. Sessions listen.
  using Listener = std::function<void(const std::string& name, bool listing)>;
  uint64_t Listen(Listener listener);
  void StopListening(uint64_t id) { listeners_.erase(id); }

 private:
  void Changed(const std::string& name, bool listing = false);

  ServerTraits traits_;
  std::map<std::string, AccountMailbox> mailboxes_;
  std::set<std::string> keywords_;
  std::map<uint64_t, Listener> listeners_;
  uint64_t last_listener_ = 0;
  uint64_t last_mailbox_ = 0;
  uint64_t last_guid_ = 0;
  uint32_t last_uid_validity_ = 1000;
};

}  // namespace imapmesh::sim

#endif  // IMAPMESH_TESTS_SIM_ACCOUNT_H_
