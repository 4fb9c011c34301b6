#include "engine/sync/mailbox_match.h"

#include <gtest/gtest.h>

#include <functional>

#include "engine/sync/mailbox_listing.h"

namespace imapmesh {
namespace {

MailboxCopyRecord Known(const std::string& name, const std::string& identity, uint32_t validity, int64_t messages = 3) {
  MailboxCopyRecord copy;
  copy.id = MailboxCopyId(static_cast<int64_t>(validity));
  copy.local_name = name;
  copy.server_id = identity;
  copy.exists = true;
  copy.uid_validity = UidValidity(validity);
  copy.uid_next = Uid(10);
  copy.messages = messages;
  return copy;
}

MailboxStatus Line(const std::string& name, const std::string& identity, uint32_t validity, uint32_t uid_next = 10) {
  MailboxStatus line;
  line.mailbox = line.local_name = name;
  line.server_id = identity;
  line.status_known = true;
  line.uid_validity = UidValidity(validity);
  line.uid_next = Uid(uid_next);
  return line;
}

using Indexes = std::vector<std::optional<size_t>>;

TEST(MatchListing, TheSameNamesAreTheSameMailboxes) {
  const auto match = MatchListing({Known("a", "", 1), Known("b", "", 2)}, {Line("b", "", 2), Line("a", "", 1)});
  EXPECT_EQ(match.known, (Indexes{1, 0}));
  EXPECT_TRUE(match.gone.empty());
}

TEST(MatchListing, AnIdentityIsFoundUnderAnyName) {
  // "a" was renamed to "b", "b" to "c", and a new "a" was made.
  const auto match =
      MatchListing({Known("a", "A", 1), Known("b", "B", 2)}, {Line("a", "N", 3), Line("b", "A", 1), Line("c", "B", 2)});
  EXPECT_EQ(match.known, (Indexes{std::nullopt, 0, 1}));
  EXPECT_TRUE(match.gone.empty());
}

TEST(MatchListing, AnIdentityThatTwoMailboxesHaveIsNone) {
  const auto match = MatchListing({Known("a", "A", 1)}, {Line("x", "A", 1), Line("y", "A", 1)});
  EXPECT_EQ(match.known, (Indexes{std::nullopt, std::nullopt}));
  EXPECT_EQ(match.gone, (std::vector<size_t>{0}));
}

TEST(MatchListing, AnEmptyMailboxWithoutIdentityIsFoundByItsUidValidityAlone) {
  MailboxCopyRecord empty = Known("a", "", 7, 0);
  empty.uid_next = Uid(1);
  EXPECT_EQ(MatchListing({empty}, {Line("b", "", 7, 1)}).known, (Indexes{0}));
  EXPECT_TRUE(MatchListing({empty}, {Line("b", "", 7, 1)}).gone.empty());
  EXPECT_EQ(MatchListing({empty}, {Line("b", "", 7, 2)}).known, (Indexes{0})) << "mail came since";
  EXPECT_EQ(MatchListing({empty}, {Line("b", "", 8, 1)}).known, (Indexes{std::nullopt}));
  EXPECT_EQ(MatchListing({empty}, {Line("b", "B", 7, 1)}).known, (Indexes{std::nullopt}));
  EXPECT_EQ(MatchListing({empty}, {Line("b", "", 7, 1), Line("c", "", 7, 1)}).known,
            (Indexes{std::nullopt, std::nullopt}))
      << "which of them nobody can tell";
  EXPECT_EQ(MatchListing({Known("a", "", 7)}, {Line("b", "", 7, 10)}).known, (Indexes{std::nullopt}))
      << "what it held tells";
}

TEST(MatchListing, AMailboxMadeAnewUnderItsNameStaysTheSameOfTheMesh) {
  const auto match = MatchListing({Known("a", "A", 1)}, {Line("a", "N", 9)});
  EXPECT_EQ(match.known, (Indexes{0}));
}

TEST(MatchListing, WhatIsNotListedIsGoneUnlessItWasGoneBefore) {
  MailboxCopyRecord before = Known("b", "", 2);
  before.exists = false;
  const auto match = MatchListing({Known("a", "", 1), before}, {});
  EXPECT_EQ(match.gone, (std::vector<size_t>{0}));
}

TEST(MatchListing, AMailboxThatComesBackIsKnown) {
  MailboxCopyRecord before = Known("b", "", 2);
  before.exists = false;
  EXPECT_EQ(MatchListing({before}, {Line("b", "", 7)}).known, (Indexes{0}));
}

TEST(MatchListing, WithoutIdentityAUidvalidityRaisesASuspicion) {
  const auto match = MatchListing({Known("a", "", 1), Known("b", "", 2)}, {Line("b", "", 2), Line("c", "", 1)});
  EXPECT_EQ(match.known, (Indexes{1, std::nullopt}));
  EXPECT_EQ(match.suspicions, (std::vector<std::pair<size_t, size_t>>{{0, 1}}));
}

TEST(MatchListing, NoSuspicionFallsOnWhatCannotBeTheSame) {
  // A mailbox that never held anything proves nothing, and an older one is another.
  MailboxCopyRecord empty = Known("a", "", 1, 0);
  empty.uid_next = Uid(1);
  EXPECT_TRUE(MatchListing({empty}, {Line("c", "", 1)}).suspicions.empty());
  EXPECT_TRUE(MatchListing({Known("a", "", 1)}, {Line("c", "", 1, 5)}).suspicions.empty());
}

TEST(MatchListing, WhatWasAddedBehindAGapAndNotObservedYetCounts) {
  MailboxCopyRecord filled = Known("a", "", 1);
  filled.uid_next = Uid(1);
  filled.last_uid = Uid(2);
  EXPECT_EQ(MatchListing({filled}, {Line("c", "", 1, 3)}).suspicions.size(), 1U);
  EXPECT_TRUE(MatchListing({filled}, {Line("c", "", 1, 2)}).suspicions.empty());
}

TEST(MatchListing, AMailboxThatWasMadeAndRenamedBeforeItWasListedIsSuspected) {
  MailboxCopyRecord made = Known("a", "", 1);
  made.name_here.clear();
  const auto match = MatchListing({made, Known("b", "B", 1)}, {Line("b", "B", 1), Line("c", "N", 1)});
  EXPECT_EQ(match.suspicions, (std::vector<std::pair<size_t, size_t>>{{0, 1}}));
}

TEST(MatchListing, SuspicionsFallOnAllThatHaveTheUidvalidity) {
  // A server may give one to all mailboxes that are made within a second: what is in them tells.
  const auto match = MatchListing({Known("a", "", 1), Known("b", "", 1)}, {Line("c", "", 1), Line("d", "", 1)});
  EXPECT_EQ(match.suspicions, (std::vector<std::pair<size_t, size_t>>{{0, 0}, {0, 1}, {1, 0}, {1, 1}}));
}

TEST(MatchListing, ANameOfTheSameUidvalidityMayBeAnothersNow) {
  // "b" was deleted and "a" renamed to "b".
  const auto match = MatchListing({Known("a", "", 1), Known("b", "", 1)}, {Line("b", "", 1)});
  EXPECT_EQ(match.known, (Indexes{1}));
  EXPECT_EQ(match.suspicions, (std::vector<std::pair<size_t, size_t>>{{0, 0}}));
  EXPECT_TRUE(MatchListing({Known("a", "", 1), Known("b", "", 2)}, {Line("b", "", 2)}).suspicions.empty());
}

TEST(MatchListing, TheNameOfOneThatWasDeletedMayBeAnothersNow) {
  MailboxCopyRecord deleted = Known("b", "", 0);
  deleted.exists = false;
  const auto match = MatchListing({Known("a", "", 1), deleted}, {Line("b", "", 1)});
  EXPECT_EQ(match.suspicions, (std::vector<std::pair<size_t, size_t>>{{0, 0}}));
  const auto inbox = MatchListing({Known("INBOX", "", 1), deleted}, {Line("INBOX", "", 3, 1), Line("b", "", 1)});
  EXPECT_EQ(inbox.suspicions, (std::vector<std::pair<size_t, size_t>>{{0, 1}}));
  MailboxCopyRecord to_be_made = Known("b", "", 0);
  to_be_made.name_here.clear();
  const auto taken = MatchListing({Known("a", "", 1), to_be_made}, {Line("b", "", 1)});
  EXPECT_EQ(taken.suspicions, (std::vector<std::pair<size_t, size_t>>{{0, 0}}));
}

TEST(MatchListing, InboxStaysInboxThoughItsMailboxIsCalledOtherwiseNow) {
  const auto match = MatchListing({Known("INBOX", "A", 1)}, {Line("INBOX", "N", 3, 1), Line("old", "A", 1)});
  EXPECT_EQ(match.known, (Indexes{0, std::nullopt}));
  EXPECT_EQ(match.inbox_renamed, std::make_pair(size_t{0}, size_t{1}));
  EXPECT_TRUE(match.gone.empty());
}

TEST(MatchListing, AnInboxThatWasRenamedBetweenItsListingAndItsSelectionIsTheOneThatIsThere) {
  // Its identity is that of the mailbox that was listed, its UIDs are those of the one that was selected.
  const auto match = MatchListing({Known("INBOX", "A", 3)}, {Line("INBOX", "N", 3), Line("old", "A", 1)});
  EXPECT_EQ(match.known, (Indexes{0, std::nullopt}));
  EXPECT_FALSE(match.inbox_renamed);
}

TEST(MatchListing, WithoutIdentityAnInboxOfAnotherUidvalidityRaisesASuspicion) {
  const auto match = MatchListing({Known("INBOX", "", 1)}, {Line("INBOX", "", 3, 1), Line("old", "", 1)});
  EXPECT_EQ(match.known, (Indexes{0, std::nullopt}));
  EXPECT_EQ(match.suspicions, (std::vector<std::pair<size_t, size_t>>{{0, 1}}));
  EXPECT_TRUE(MatchListing({Known("INBOX", "", 1)}, {Line("INBOX", "", 1), Line("old", "", 1)}).suspicions.empty());
}

TEST(MatchListing, ALineThatCannotBeSelectedIsNoMailbox) {
  MailboxStatus parent = Line("a", "", 0);
  parent.selectable = false;
  const auto match = MatchListing({Known("a", "", 1)}, {parent});
  EXPECT_EQ(match.known, (Indexes{std::nullopt}));
  EXPECT_EQ(match.gone, (std::vector<size_t>{0}));
}

// ---- where there is nothing to record

using Due = std::optional<std::vector<MailboxId>>;

class DueIfAsRecordedTest : public testing::Test {
 protected:
  DueIfAsRecordedTest() {
    for (MailboxCopyRecord* copy : {&inbox_, &work_}) {
      copy->mailbox = MailboxId(copy->id.value * 10);
      copy->name_here = copy->local_name;
      lines_.push_back(Line(copy->local_name, copy->server_id, copy->uid_validity.value));
      lines_.back().name_here = copy->name_here;
    }
  }
  Due Find(const std::set<MailboxCopyId>& with_intents = {}) const {
    return DueIfAsRecorded({&inbox_, &work_}, lines_, with_intents);
  }

  MailboxCopyRecord inbox_ = Known("INBOX", "I", 1), work_ = Known("Work", "W", 2);
  std::vector<MailboxStatus> lines_;
};

TEST_F(DueIfAsRecordedTest, NothingIsDueWhereAllIsAsItWas) {
  EXPECT_EQ(Find(), Due(std::vector<MailboxId>()));
  lines_.emplace_back(Line("a level", "", 9)).selectable = false;
  EXPECT_EQ(Find(), Due(std::vector<MailboxId>()));
}

TEST_F(DueIfAsRecordedTest, NewMailAndOpenIntentsAreDue) {
  lines_[1].uid_next = Uid(11);
  EXPECT_EQ(Find(), Due({MailboxId(20)}));
  EXPECT_EQ(Find({inbox_.id}), Due({MailboxId(10), MailboxId(20)}));
  work_.rebinding = true;
  lines_[1].uid_next = Uid(10);
  EXPECT_EQ(Find(), Due({MailboxId(20)}));
}

TEST_F(DueIfAsRecordedTest, WhateverElseDiffersIsToBeRecorded) {
  const std::vector<std::function<void(std::vector<MailboxStatus>&)>> changes = {
      [](auto& lines) { lines.pop_back(); },
      [](auto& lines) { lines.push_back(Line("new", "N", 3)); },
      [](auto& lines) { lines[1].local_name = "Play"; },
      [](auto& lines) { lines[1].name_here = "WORK"; },
      [](auto& lines) { lines[1].server_id = "X"; },
      [](auto& lines) { lines[1].special_use = "\\Sent"; },
      [](auto& lines) { lines[1].subscribed = true; },
      [](auto& lines) { lines[1].selectable = false; },
      [](auto& lines) { lines[1].uid_validity = UidValidity(7); },
      [](auto& lines) { lines[1].uid_next = Uid(9); },  // restored from an older copy
  };
  const std::vector<MailboxStatus> before = lines_;
  for (size_t i = 0; i < changes.size(); ++i) {
    lines_ = before;
    changes[i](lines_);
    EXPECT_EQ(Find(), std::nullopt) << i;
  }
  lines_ = before;
  work_.last_uid = Uid(10);  // added behind a gap, and gone with the server's restoration
  EXPECT_EQ(Find(), std::nullopt);
  work_.last_uid = Uid();
  work_.exists = false;
  EXPECT_EQ(Find(), std::nullopt);
}

}  // namespace
}  // namespace imapmesh
