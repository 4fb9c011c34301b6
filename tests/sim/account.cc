#include "tests/sim/account.h"

#include <algorithm>
#include <utility>

namespace imapmesh::sim {

AccountMailbox* Account::Find(const std::string& name) {
  const auto found = mailboxes_.find(name);
  return found == mailboxes_.end() ? nullptr : &found->second;
}

AccountMailbox* Account::FindById(uint64_t id) {
  for (auto& [name, mailbox] : mailboxes_) {
    if (mailbox.id == id) return &mailbox;
  }
  return nullptr;
}

bool Account::Create(const std::string& name) {
  const auto [place, added] = mailboxes_.try_emplace(name);
  if (!added) return false;
  place->second.id = ++last_mailbox_;
  place->second.guid = "mailbox-" + std::to_string(last_mailbox_);
  place->second.uid_validity = ++last_uid_validity_;
  Changed(name, true);
  return true;
}

bool Account::Delete(const std::string& name) {
  if (name == "INBOX" || mailboxes_.erase(name) == 0) return false;
  Changed(name, true);
  return true;
}

bool Account::Rename(const std::string& from, const std::string& to) {
  if (from == "INBOX" || !mailboxes_.contains(from) || mailboxes_.contains(to)) return false;
  std::vector<std::string> names = {from};
  for (const auto& [name, mailbox] : mailboxes_) {
    if (name.starts_with(from + "/")) names.push_back(name);
  }
  for (const std::string& name : names) {
    if (mailboxes_.contains(to + name.substr(from.size()))) return false;
  }
  if (to.starts_with(from + "/")) return false;
  for (const std::string& name : names) {
    auto node = mailboxes_.extract(name);
    node.key() = to + name.substr(from.size());
    mailboxes_.insert(std::move(node));
  }
  for (const std::string& name : names) {
    Changed(name, true);
    Changed(to + name.substr(from.size()), true);
  }
  return true;
}

bool Account::RenameInbox(const std::string& to) {
  if (mailboxes_.contains(to)) return false;
  auto node = mailboxes_.extract("INBOX");
  node.key() = to;
  mailboxes_.insert(std::move(node));
  Create("INBOX");
  Changed(to, true);
  return true;
}

std::string Account::NameOf(uint64_t id) const {
  for (const auto& [name, mailbox] : mailboxes_) {
    if (mailbox.id == id) return name;
  }
  return "";
}

void Account::Subscribe(const std::string& name, bool subscribed) {
  AccountMailbox* mailbox = Find(name);
  if (mailbox == nullptr || mailbox->subscribed == subscribed) return;
  mailbox->subscribed = subscribed;
  Changed(name, true);
}

bool Account::HasRoomFor(const Flags& flags) const {
  size_t added = 0;
  for (const std::string& flag : flags) added += flag.starts_with('\\') || keywords_.contains(flag) ? 0 : 1;
  return keywords_.size() + added <= traits_.keywords_max;
}

bool Account::Keeps(const std::string& flag) const {
  return !traits_.fixed_keywords || flag.starts_with('\\') || flag == kFixedKeyword;
}

uint32_t Account::Append(const std::string& name, std::shared_ptr<const Content> content, Flags flags,
                         int64_t internal_date, const std::string& guid) {
  AccountMailbox& mailbox = mailboxes_.at(name);
  std::erase_if(flags, [this](const std::string& flag) { return !Keeps(flag); });
  for (const std::string& flag : flags) {
    if (!flag.starts_with('\\')) keywords_.insert(flag);
  }
  MessageCopy copy;
  copy.uid = mailbox.uid_next++;
  copy.content = std::move(content);
  copy.internal_date = internal_date;
  copy.flags = std::move(flags);
  copy.modseq = mailbox.NextModseq();
  copy.guid = guid.empty() ? "guid-" + std::to_string(++last_guid_) : guid;
  const uint32_t uid = copy.uid;
  mailbox.messages.emplace(uid, std::move(copy));
  Changed(name);
  return uid;
}

uint32_t Account::Copy(const std::string& from, uint32_t uid, const std::string& to) {
  const auto& messages = mailboxes_.at(from).messages;
  const auto found = messages.find(uid);
  if (found == messages.end()) return 0;
  const MessageCopy source = found->second;
  return Append(to, source.content, source.flags, source.internal_date, source.guid);
}

bool Account::Expunge(const std::string& name, uint32_t uid) {
  AccountMailbox& mailbox = mailboxes_.at(name);
  if (mailbox.messages.erase(uid) == 0) return false;
  mailbox.expunged.emplace_back(mailbox.NextModseq(), uid);
  Changed(name);
  return true;
}

bool Account::SetFlag(const std::string& name, uint32_t uid, const std::string& flag, bool set) {
  AccountMailbox& mailbox = mailboxes_.at(name);
  const auto found = mailbox.messages.find(uid);
  if (found == mailbox.messages.end()) return false;
  if (found->second.flags.contains(flag) == set) return true;
  if (set && (!Keeps(flag) || !HasRoomFor({flag}))) return false;
  if (set) {
    found->second.flags.insert(flag);
    if (!flag.starts_with('\\')) keywords_.insert(flag);
  } else {
    found->second.flags.erase(flag);
  }
  found->second.modseq = mailbox.NextModseq();
  Changed(name);
  return true;
}

void Account::Renumber(const std::string& name) {
  AccountMailbox& mailbox = mailboxes_.at(name);
  std::map<uint32_t, MessageCopy> old;
  old.swap(mailbox.messages);
  mailbox.id = ++last_mailbox_;
  mailbox.uid_validity = ++last_uid_validity_;
  mailbox.uid_next = 1;
  mailbox.highest_modseq = 1;
  mailbox.expunged.clear();
  for (auto& [uid, copy] : old) {
    copy.uid = mailbox.uid_next++;
    copy.modseq = mailbox.NextModseq();
    mailbox.messages.emplace(copy.uid, std::move(copy));
  }
  Changed(name, true);
}

void Account::Restore(const Backup& backup) {
  mailboxes_ = backup.mailboxes;
  for (auto& [name, mailbox] : mailboxes_) mailbox.id = ++last_mailbox_;  // connections to the old ones are gone
  std::vector<std::string> names;
  for (const auto& [name, mailbox] : mailboxes_) names.push_back(name);
  for (const std::string& name : names) Changed(name, true);
}

uint64_t Account::Listen(Listener listener) {
  listeners_[++last_listener_] = std::move(listener);
  return last_listener_;
}

void Account::Changed(const std::string& name, bool listing) {
  for (const auto& [id, listener] : listeners_) listener(name, listing);
}

}  // namespace imapmesh::sim
