#include "engine/sync/mailbox_match.h"

#include <algorithm>
#include <map>

namespace imapmesh {
namespace {

// Values that occur once only; the index of each.
template <typename Key>
class Unique {
 public:
  void Add(const Key& key, size_t index) {
    const auto [found, added] = indexes_.try_emplace(key, index);
    if (!added) found->second.reset();
  }
  std::optional<size_t> Find(const Key& key) const {
    const auto found = indexes_.find(key);
    return found == indexes_.end() ? std::nullopt : found->second;
  }

 private:
  std::map<Key, std::optional<size_t>> indexes_;
};

class Matcher {
 public:
  Matcher(const std::vector<MailboxCopyRecord>& copies, const std::vector<MailboxStatus>& listing)
      : copies_(copies), listing_(listing), taken_(copies.size(), false) {
    match_.known.resize(listing.size());
  }

  ListingMatch Run() {
    ByIdentity();
    ByName();
    ByValidity();
    for (size_t c = 0; c < copies_.size(); ++c) {
      if (copies_[c].exists && !taken_[c]) match_.gone.push_back(c);
    }
    Suspect();
    return std::move(match_);
  }

 private:
  bool IsNew(size_t line) const { return listing_[line].selectable && !match_.known[line]; }
  bool IsInbox(size_t copy) const { return copies_[copy].local_name == "INBOX"; }

  void Take(size_t line, size_t copy) {
    match_.known[line] = copy;
    taken_[copy] = true;
  }

  void ByIdentity() {
    Unique<std::string> lines;
    for (size_t l = 0; l < listing_.size(); ++l) {
      if (listing_[l].selectable && !listing_[l].server_id.empty()) lines.Add(listing_[l].server_id, l);
    }
    for (size_t c = 0; c < copies_.size(); ++c) {
      if (!copies_[c].exists || copies_[c].server_id.empty()) continue;
      const auto line = lines.Find(copies_[c].server_id);
      if (!line || match_.known[*line]) continue;
      if (IsInbox(c) && listing_[*line].local_name != "INBOX") {
        if (!WasObservedSince(c, *line)) match_.inbox_renamed.emplace(c, *line);
      } else {
        Take(*line, c);
      }
    }
  }

  // INBOX was renamed between the listing that told its identity and the SELECT that told its UIDs: those are of the
  // one that is there now.
  bool WasObservedSince(size_t inbox, size_t renamed) const {
    const UidValidity known = copies_[inbox].uid_validity;
    if (known.value == 0 || !listing_[renamed].status_known || listing_[renamed].uid_validity == known) return false;
    return std::any_of(listing_.begin(), listing_.end(), [&](const MailboxStatus& line) {
      return line.local_name == "INBOX" && line.status_known && line.uid_validity == known;
    });
  }

  void ByName() {
    std::map<std::string, size_t> names;
    for (size_t c = 0; c < copies_.size(); ++c) {
      // Of several that had the name the one that is there is meant, else the last.
      if (taken_[c]) continue;
      const auto [known, added] = names.try_emplace(copies_[c].local_name, c);
      if (!added && !copies_[known->second].exists) known->second = c;
    }
    for (size_t l = 0; l < listing_.size(); ++l) {
      const auto copy = IsNew(l) ? names.find(listing_[l].local_name) : names.end();
      if (copy != names.end() && !taken_[copy->second]) Take(l, copy->second);
    }
  }

  // Of one that never held anything nothing but its UIDVALIDITY tells, where it has no identity. Two that were made
  // together may have the same (see Suspect); to take the one for the other costs a name.
  void ByValidity() {
    Unique<UidValidity> copies, lines;
    for (size_t c = 0; c < copies_.size(); ++c) {
      const bool gone = copies_[c].exists && !taken_[c] && !IsInbox(c);
      if (gone && copies_[c].uid_validity.value != 0) copies.Add(copies_[c].uid_validity, c);
    }
    for (size_t l = 0; l < listing_.size(); ++l) {
      if (listing_[l].status_known) lines.Add(listing_[l].uid_validity, l);
    }
    for (size_t l = 0; l < listing_.size(); ++l) {
      const auto copy =
          IsNew(l) && lines.Find(listing_[l].uid_validity) ? copies.Find(listing_[l].uid_validity) : std::nullopt;
      const bool named = !listing_[l].server_id.empty();
      if (copy && !named && copies_[*copy].server_id.empty() && !HeldAny(copies_[*copy])) Take(l, *copy);
    }
  }

  void Suspect() {
    std::vector<size_t> missing = match_.gone;
    for (size_t l = 0; l < listing_.size(); ++l) {
      const bool inbox = match_.known[l] && IsInbox(*match_.known[l]) && listing_[l].status_known;
      const bool another = inbox && listing_[l].uid_validity != copies_[*match_.known[l]].uid_validity;
      if (another) missing.push_back(*match_.known[l]);
    }
    for (const size_t c : missing) {
      if (!copies_[c].server_id.empty() || !HeldAny(copies_[c]) || copies_[c].uid_validity.value == 0) continue;
      for (size_t l = 0; l < listing_.size(); ++l) {
        if (MayBe(copies_[c], l)) match_.suspicions.emplace_back(c, l);
      }
    }
  }

  // By an identity that was known already. A copy that was made here and not listed since has none yet.
  bool IsCertain(size_t line) const {
    return match_.known[line] && !listing_[line].server_id.empty() && !copies_[*match_.known[line]].server_id.empty();
  }

  bool MayBe(const MailboxCopyRecord& gone, size_t line) const {
    const MailboxStatus& status = listing_[line];
    const bool fits = status.selectable && status.status_known && !IsCertain(line) &&
                      status.uid_validity == gone.uid_validity && status.uid_next >= gone.uid_next &&
                      status.uid_next > gone.last_uid;
    if (!fits || !match_.known[line]) return fits;
    const MailboxCopyRecord& other = copies_[*match_.known[line]];
    if (IsInbox(*match_.known[line])) return false;
    // One of that name was deleted before, or was to be made when its name was taken.
    if (!other.exists || other.uid_validity.value == 0) return true;
    if (other.uid_validity != status.uid_validity) return false;
    const bool untouched = status.uid_next == other.uid_next && status.highest_modseq == other.highest_modseq;
    const bool alike = gone.uid_next == other.uid_next && gone.highest_modseq == other.highest_modseq;
    return !untouched || alike;
  }

  const std::vector<MailboxCopyRecord>& copies_;
  const std::vector<MailboxStatus>& listing_;
  std::vector<bool> taken_;
  ListingMatch match_;
};

}  // namespace

bool HeldAny(const MailboxCopyRecord& copy) {
  return copy.uid_next.value > 1 || copy.last_uid.value > 0;
}

ListingMatch MatchListing(const std::vector<MailboxCopyRecord>& copies, const std::vector<MailboxStatus>& listing) {
  return Matcher(copies, listing).Run();
}

}  // namespace imapmesh
