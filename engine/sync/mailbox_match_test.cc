#include "engine/sync/mailbox_match.h"

#include <gtest/gtest.h>

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

TEST(MatchListing, InboxStaysInboxThoughItsMailboxIsCalledOtherwiseNow) {
  const auto match = MatchListing({Known("INBOX", "A", 1)}, {Line("INBOX", "N", 3, 1), Line("old", "A", 1)});
  EXPECT_EQ(match.known, (Indexes{0, std::nullopt}));
  EXPECT_EQ(match.inbox_renamed, std::make_pair(size_t{0}, size_t{1}));
  EXPECT_TRUE(match.gone.empty());
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

}  // namespace
}  // namespace imapmesh
