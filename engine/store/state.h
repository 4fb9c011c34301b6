// The coordinator's memory in one SQLite file: mailbox copies, messages, registers, intents, conflicts.
//
// engine/sync calls it, only inside StoreThread::Run (store_thread.h), which runs it on the store's thread, each call
// one transaction, and turns its exceptions into absl::Status. It knows no IMAP and decides nothing.
// Invariants kept by the schema: at most one open intent for a message on a replica's mailbox copy; at most one message
// for a UID of a mailbox copy; a cursor is written only by the transaction that records what it covers (the caller's).
#ifndef IMAPMESH_ENGINE_STORE_STATE_H_
#define IMAPMESH_ENGINE_STORE_STATE_H_

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/uid_set.h"
#include "engine/store/conflict_table.h"
#include "engine/store/database.h"
#include "engine/store/history_table.h"
#include "engine/store/imported_table.h"
#include "engine/store/kept_back_table.h"
#include "engine/store/mailbox_table.h"
#include "engine/store/metadata_table.h"
#include "engine/store/registers.h"

namespace imapmesh {

struct MessageSource {  // a holder of the same content within a replica
  MessageId message;
  MailboxCopyId mailbox_copy;
  Uid uid;
};

class State {
 public:
  // Opens or creates the file, applies migrations. Throws SqliteError.
  explicit State(const std::string& path);

  Database& database() { return database_; }
  MailboxTable mailboxes() { return MailboxTable(database_); }
  // After a rollback: ids that were given in it are not given.
  void ForgetCaches() {
    flags_by_folded_name_.clear();
    flag_names_.clear();
    mailboxes_.clear();
  }

  // Makes the file shorter by what is unused in it, if that is much: what is unsettled may be as much as all the rest,
  // for a while.
  void GiveBackSpace();

  // Meta: small facts by name ("graph", …).
  std::optional<std::string> Meta(std::string_view key);
  void SetMeta(std::string_view key, std::string_view value);
  // Of those that are numbers, mostly times: 0 where nothing, or no number, is kept.
  int64_t MetaNumber(std::string_view key);
  void SetMetaNumber(std::string_view key, int64_t number) { SetMeta(key, std::to_string(number)); }
  Stamp NextStamp();

  ReplicaId InternReplica(std::string_view name);
  MailboxId InternMailbox(std::string_view name);
  FlagId InternFlag(std::string_view name);  // keywords are case-insensitive; the first spelling stays
  std::string FlagName(FlagId flag);

  std::vector<MailboxCopyRecord> MailboxCopies() { return mailboxes().Copies(); }
  // Inserts (id 0) or updates.
  void Save(MailboxCopyRecord& record) { mailboxes().Save(record); }

  MessageId InsertMessage(const MessageRegisters& message);  // without copies
  void SetContent(MessageId message, const ContentIdentity& content);
  std::optional<MessageRegisters> Load(MessageId message);
  std::vector<MessageRegisters> LoadCandidates(MailboxId mailbox, const Digest& identity);
  std::optional<MessageRegisters> LoadByUid(MailboxCopyId copy, Uid uid);
  // The one copy alone, and the message that it is of.
  std::optional<std::pair<MessageId, CopyRegisters>> LoadCopyByUid(MailboxCopyId copy, Uid uid);
  Uid LastUid(MailboxCopyId copy);  // the greatest that is known there; 0: none
  UidSet LastUids(MailboxCopyId copy, size_t count);
  // Messages whose copy here has a UID in the set; at most `limit`.
  std::vector<MessageRegisters> LoadByUids(MailboxCopyId copy, const UidSet& uids, size_t limit);
  int64_t CountByUids(MailboxCopyId copy, const UidSet& uids);
  int64_t CountPresent(MailboxCopyId copy);
  UidSet UidsOf(MailboxCopyId copy);  // all that are known there
  void SaveCopy(MessageId message, const CopyRegisters& copy);
  // It counts as never had.
  void ForgetCopy(MessageId message, MailboxCopyId copy);
  // The mesh never knew it.
  void ForgetMessage(MessageId message);
  void Unbind(MailboxCopyId copy);
  // Present copies without a UID were not found again: they count as never had, so that others may give them back.
  int64_t ForgetUnbound(MailboxCopyId copy);
  // Every present copy of a mailbox copy becomes held (the brake).
  int64_t HoldAll(MailboxCopyId copy);
  // Messages of any mailbox with this Message-ID, as written.
  std::vector<MessageId> MessagesWithMessageId(std::string_view message_id, size_t limit);
  // Messages of any mailbox with this identity.
  std::vector<MessageId> MessagesWithIdentity(const Digest& identity, size_t limit);

  void MarkUnsettled(MessageId message);
  void MarkUnsettled(MessageId message, MailboxId mailbox);  // which is its mailbox
  void MarkAllUnsettled();
  void ClearUnsettled(MessageId message, MailboxId mailbox);
  std::map<MailboxId, int64_t> UnsettledMailboxes();  // how many messages in each
  // In order of id, after `after`.
  std::vector<MessageRegisters> LoadUnsettled(MailboxId mailbox, MessageId after, size_t limit);

  void AddIntent(const Intent& intent);  // throws when one is open already
  void CloseIntent(MessageId message, MailboxCopyId copy);
  bool HasIntent(MessageId message, MailboxCopyId copy);
  std::optional<Intent> FindIntent(MessageId message, MailboxCopyId copy);
  std::vector<Intent> IntentsAt(MailboxCopyId copy);
  std::vector<MailboxCopyId> CopiesWithIntents();
  // Its command was answered: nothing of it can take effect any more, so the next observation decides.
  void AnswerIntent(MessageId message, MailboxCopyId copy);
  void TouchIntents(int64_t unix_ms);  // all open ones: their connections are gone since then

  ConflictTable& conflicts() { return conflicts_; }
  HistoryTable& history() { return history_; }
  ImportedTable& imported() { return imported_; }
  KeptBackTable& kept_back() { return kept_back_; }
  MetadataTable& metadata() { return metadata_; }

 private:
  int64_t ReadNumber(const char* sql);
  MessageRegisters ReadMessage(Statement& statement);
  void LoadCopies(MessageRegisters& message);

  Database database_;
  ConflictTable conflicts_{database_};
  HistoryTable history_{database_};
  ImportedTable imported_{database_};
  KeptBackTable kept_back_{database_};
  MetadataTable metadata_{database_};
  std::unordered_map<std::string, FlagId> flags_by_folded_name_;
  std::unordered_map<FlagId, std::string> flag_names_;
  std::unordered_map<std::string, MailboxId> mailboxes_;
};

// Flag registers as stored: varints of (flag << 1 | set) and stamp.
std::string EncodeFlags(const FlagRegisters& flags);
FlagRegisters DecodeFlags(std::string_view bytes);

}  // namespace imapmesh

#endif  // IMAPMESH_ENGINE_STORE_STATE_H_
