#include "tests/checker/checker.h"

#include <gmock/gmock.h>
#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace imapmesh::checker {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

// Two replicas that agree on what they must hold; each test spoils one thing.
constexpr char kGood[] = R"pb(
  snapshots {
    replica: "a"
    mailboxes {
      name: "INBOX"
      messages { digest: "one" size: 10 internal_date: 100 flags: "\\Seen" flags: "Work" }
      messages { digest: "two" size: 20 internal_date: 200 }
      messages { digest: "two" size: 20 internal_date: 200 }
    }
  }
  snapshots {
    replica: "b"
    mailboxes {
      name: "INBOX"
      messages { digest: "two" size: 20 internal_date: 200 }
      messages { digest: "one" size: 10 internal_date: 100 flags: "work" flags: "\\seen" }
      messages { digest: "two" size: 20 internal_date: 200 }
    }
  }
  groups { replicas: "a" replicas: "b" }
)pb";

class CheckerTest : public ::testing::Test {
 protected:
  CheckerTest() {
    EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(kGood, &history_));
    Mailbox* expected = history_.mutable_groups(0)->add_expected_mailboxes();
    *expected = history_.snapshots(0).mailboxes(0);
    history_.mutable_groups(0)->set_has_expected(true);
  }

  // The group is then judged by agreement alone.
  void ForgetExpectation() {
    history_.mutable_groups(0)->set_has_expected(false);
    history_.mutable_groups(0)->clear_expected_mailboxes();
  }

  Mailbox* InboxOfB() { return history_.mutable_snapshots(1)->mutable_mailboxes(0); }

  std::vector<Invariant> Broken() {
    std::vector<Invariant> broken;
    for (const Violation& violation : Check(history_)) broken.push_back(violation.invariant);
    return broken;
  }

  History history_;
};

TEST_F(CheckerTest, FindsNothingWhereAllHoldsAndFlagsDifferInCaseAndOrderOnly) {
  EXPECT_THAT(Check(history_), IsEmpty());
  ForgetExpectation();
  EXPECT_THAT(Check(history_), IsEmpty());
}

TEST_F(CheckerTest, FindsALostMessage) {
  InboxOfB()->mutable_messages()->DeleteSubrange(1, 1);
  ASSERT_THAT(Broken(), ElementsAre(Invariant::kNoLoss));
  EXPECT_EQ(ToString(Check(history_)[0]),
            "no loss: b: INBOX: lost one (10 bytes, date 100, flags (\\seen work)): 0 of 1 there");
}

TEST_F(CheckerTest, FindsALostTwinOfEqualMessages) {
  InboxOfB()->mutable_messages()->DeleteSubrange(0, 1);
  EXPECT_THAT(Broken(), ElementsAre(Invariant::kNoLoss));
}

TEST_F(CheckerTest, FindsADuplicate) {
  *InboxOfB()->add_messages() = InboxOfB()->messages(0);
  EXPECT_THAT(Broken(), ElementsAre(Invariant::kNoDuplicates));
}

TEST_F(CheckerTest, FindsADuplicateThatDiffersInItsFlags) {
  *InboxOfB()->add_messages() = InboxOfB()->messages(0);
  InboxOfB()->mutable_messages(3)->add_flags("\\Flagged");
  EXPECT_THAT(Broken(), ElementsAre(Invariant::kNoDuplicates));
}

TEST_F(CheckerTest, FindsAMessageThatNobodyPutThere) {
  InboxOfB()->add_messages()->set_digest("alien");
  EXPECT_THAT(Broken(), ElementsAre(Invariant::kConvergence));
}

TEST_F(CheckerTest, FindsOtherFlagsSizeAndDate) {
  InboxOfB()->mutable_messages(1)->add_flags("\\Answered");
  InboxOfB()->mutable_messages(0)->set_size(21);
  InboxOfB()->mutable_messages(2)->set_internal_date(7200);
  EXPECT_THAT(Broken(), ElementsAre(Invariant::kFidelity, Invariant::kFidelity, Invariant::kFidelity));
}

TEST_F(CheckerTest, FindsAChangedContentAsOneBreachOfFidelity) {
  InboxOfB()->mutable_messages(1)->set_digest("spoilt");
  EXPECT_THAT(Broken(), ElementsAre(Invariant::kFidelity));
}

TEST_F(CheckerTest, FindsAMissingAndASurplusMailbox) {
  InboxOfB()->set_name("Other");
  InboxOfB()->clear_messages();
  history_.mutable_groups(0)->mutable_expected_mailboxes(0)->clear_messages();
  history_.mutable_snapshots(0)->mutable_mailboxes(0)->clear_messages();
  EXPECT_THAT(Broken(), ElementsAre(Invariant::kConvergence, Invariant::kConvergence));
  ForgetExpectation();
  EXPECT_THAT(Broken(), ElementsAre(Invariant::kConvergence, Invariant::kConvergence));
}

TEST_F(CheckerTest, FindsReplicasThatDisagreeWhereNothingIsKnownBeforehand) {
  ForgetExpectation();
  InboxOfB()->mutable_messages(1)->add_flags("\\Answered");
  EXPECT_THAT(Broken(), ElementsAre(Invariant::kConvergence, Invariant::kConvergence));
}

TEST_F(CheckerTest, FindsAResurrectedMessage) {
  Deletion* deletion = history_.add_deletions();
  deletion->set_mailbox("INBOX");
  deletion->set_digest("one");
  deletion->add_replicas("b");
  ForgetExpectation();
  EXPECT_THAT(Broken(), ElementsAre(Invariant::kNoResurrection));
}

TEST_F(CheckerTest, ADeletedMessageMayHaveATwinThatStays) {
  Deletion* deletion = history_.add_deletions();
  deletion->set_mailbox("INBOX");
  deletion->set_digest("two");
  deletion->add_replicas("b");
  EXPECT_THAT(Check(history_), IsEmpty());
}

TEST_F(CheckerTest, FindsARunThatShouldHaveBeenQuiet) {
  checker::Run* run = history_.add_runs();
  run->set_must_be_quiet(true);
  run->set_bodies_to_fetch(-1);
  run->add_replicas()->set_mailboxes_selected(1);
  EXPECT_THAT(Broken(), ElementsAre(Invariant::kQuiescence));
  run->mutable_replicas(0)->clear_mailboxes_selected();
  EXPECT_THAT(Check(history_), IsEmpty());
}

TEST_F(CheckerTest, FindsABodyFetchedTwice) {
  checker::Run* run = history_.add_runs();
  run->set_bodies_to_fetch(3);
  run->add_replicas()->set_messages_fetched(2);
  run->add_replicas()->set_messages_fetched(2);
  EXPECT_THAT(Broken(), ElementsAre(Invariant::kOneDownload));
}

TEST_F(CheckerTest, FindsAGroupWithoutItsSnapshot) {
  history_.mutable_groups(0)->add_replicas("c");
  EXPECT_THAT(Broken(), ElementsAre(Invariant::kHarness));
}

// What a harness that knows only bounds gives: "one" at b, at most once, with \Seen.
class BoundTest : public CheckerTest {
 protected:
  BoundTest() {
    history_.clear_groups();
    EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(R"pb(
                                                                replica: "b"
                                                                mailbox: "INBOX"
                                                                digest: "one"
                                                                min: 1
                                                                max: 1
                                                                size: 10
                                                                internal_date: 100
                                                                flags_required: "\\Seen"
                                                                flags_allowed: "Work")pb",
                                                              history_.add_bounds()));
  }
  Bound* bound() { return history_.mutable_bounds(0); }
};

TEST_F(BoundTest, FindsNothingWithinBounds) {
  EXPECT_THAT(Check(history_), IsEmpty());
}

TEST_F(BoundTest, TellsLossDuplicateResurrectionAndPolicyApart) {
  bound()->set_min(2);
  bound()->set_max(2);
  EXPECT_THAT(Broken(), ElementsAre(Invariant::kNoLoss));
  *InboxOfB()->add_messages() = InboxOfB()->messages(1);
  bound()->set_min(1);
  bound()->set_max(1);
  EXPECT_THAT(Broken(), ElementsAre(Invariant::kNoDuplicates));
  bound()->set_min(0);
  bound()->set_max(0);
  EXPECT_THAT(Broken(), ElementsAre(Invariant::kPolicy));
  bound()->set_deleted(true);
  EXPECT_THAT(Broken(), ElementsAre(Invariant::kNoResurrection));
}

TEST_F(BoundTest, FindsWrongCopiesAndFlags) {
  bound()->set_internal_date(101);
  EXPECT_THAT(Broken(), ElementsAre(Invariant::kFidelity));
  bound()->set_internal_date(100);
  bound()->add_flags_required("$Forwarded");
  EXPECT_THAT(Broken(), ElementsAre(Invariant::kFidelity));
  bound()->mutable_flags_required()->RemoveLast();
  bound()->clear_flags_allowed();
  EXPECT_THAT(Broken(), ElementsAre(Invariant::kPolicy));
}

// Given a bound for all mailboxes together, when copies are in several, then all of them count.
TEST_F(BoundTest, CountsOverAllMailboxesWhereNoneIsNamed) {
  bound()->set_mailbox("");
  EXPECT_THAT(Check(history_), IsEmpty());
  checker::Mailbox& other = *history_.mutable_snapshots(1)->add_mailboxes();
  other.set_name("Renamed");
  *other.add_messages() = InboxOfB()->messages(1);
  EXPECT_THAT(Broken(), ElementsAre(Invariant::kNoDuplicates));
}

TEST_F(BoundTest, FindsABodyThatWasFetchedTooOften) {
  Download& download = *history_.add_downloads();
  download.set_digest("one");
  download.set_fetched(1);
  download.set_at_most(1);
  EXPECT_THAT(Check(history_), IsEmpty());
  download.set_fetched(2);
  EXPECT_THAT(Broken(), ElementsAre(Invariant::kOneDownload));
}

TEST_F(BoundTest, FindsWhatNobodyPutThere) {
  history_.add_bounded_replicas("b");
  EXPECT_THAT(Broken(), ElementsAre(Invariant::kPolicy, Invariant::kPolicy));  // "two", twice
}

}  // namespace
}  // namespace imapmesh::checker
