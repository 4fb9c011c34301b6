#include "engine/sync/imported_pairs.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace imapmesh {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

// Two replicas' INBOX. The other tool had UID n here and UID 100 + n there as one message, for n from 1 to `pairs`.
class ImportedPairsTest : public testing::Test {
 protected:
  ImportedPairsTest() : state_(":memory:") {
    brake_.set_fraction(0.5);
    brake_.set_min_messages(50);
    here_ = AddCopy("here");
    there_ = AddCopy("there");
  }

  MailboxCopyRecord AddCopy(const char* replica) {
    MailboxCopyRecord record;
    record.replica = state_.InternReplica(replica);
    record.mailbox = state_.InternMailbox("INBOX");
    record.mailbox_name = record.local_name = "INBOX";
    state_.Save(record);
    return record;
  }

  void ImportPairs(uint32_t pairs) {
    const int64_t a = state_.imported().AddCopy(here_.replica, "INBOX", UidValidity(7));
    const int64_t b = state_.imported().AddCopy(there_.replica, "INBOX", UidValidity(8));
    for (uint32_t n = 1; n <= pairs; ++n) {
      state_.imported().AddUid(a, Uid(n), n);
      state_.imported().AddUid(b, Uid(100 + n), n);
    }
  }

  static ArrivedMessage Arrival(uint32_t uid, uint8_t header, const std::string& message_id = "") {
    ArrivedMessage arrived;
    arrived.uid = Uid(uid);
    arrived.header_digest.fill(header);
    arrived.message_id = message_id;
    arrived.has_message_id = !message_id.empty();
    return arrived;
  }

  // As RecordObservation does with an arrival that is new to the mesh, or that `id` is.
  MessageId Record(ImportedPairs& pairs, const MailboxCopyRecord& where, const ArrivedMessage& arrived,
                   MessageId id = MessageId()) {
    MessageRegisters message;
    message.mailbox = where.mailbox;
    message.identity = arrived.header_digest;
    message.message_id = arrived.message_id;
    if (id.value == 0) id = state_.InsertMessage(message);
    CopyRegisters copy;
    copy.mailbox_copy = where.id;
    copy.uid = arrived.uid;
    copy.presence = Presence::kPresent;
    state_.SaveCopy(id, copy);
    pairs.Note(state_, arrived.uid, id);
    return id;
  }

  // The first observation of `where`: these UIDs.
  std::vector<ImportedGone> Observe(const MailboxCopyRecord& where, UidValidity validity, std::vector<uint32_t> uids) {
    ImportedPairs pairs;
    pairs.Begin(state_, where, validity);
    for (const uint32_t uid : uids) {
      const auto match = pairs.Match(state_, Arrival(uid, 1));
      Record(pairs, where, Arrival(uid, 1), match ? match->id : MessageId());
    }
    auto gone = pairs.Finish(state_, where, true, brake_);
    distrust_ = pairs.distrust();
    return gone;
  }

  State state_;
  v1::Brake brake_;
  MailboxCopyRecord here_, there_;
  std::string distrust_;
};

TEST_F(ImportedPairsTest, WhatTheOtherToolHadAsOneIsOne) {
  ImportPairs(2);
  ImportedPairs here;
  here.Begin(state_, here_, UidValidity(7));
  EXPECT_FALSE(here.Match(state_, Arrival(1, 1)));  // the first of the two to be seen
  const MessageId first = Record(here, here_, Arrival(1, 1));
  const MessageId second = Record(here, here_, Arrival(2, 1));
  ImportedPairs there;
  there.Begin(state_, there_, UidValidity(8));
  EXPECT_EQ(there.Match(state_, Arrival(101, 1))->id, first);
  EXPECT_EQ(there.Match(state_, Arrival(102, 1))->id, second);
  EXPECT_FALSE(there.Match(state_, Arrival(103, 1)));
  EXPECT_TRUE(there.IsAnother(state_, first, Uid(102)));  // though they look the same
  EXPECT_FALSE(there.IsAnother(state_, first, Uid(101)));
}

TEST_F(ImportedPairsTest, DifferentMessagesAreNotMerged) {
  ImportPairs(2);
  ImportedPairs here;
  here.Begin(state_, here_, UidValidity(7));
  Record(here, here_, Arrival(1, 1, "<one@x>"));
  Record(here, here_, Arrival(2, 1));
  ImportedPairs there;
  there.Begin(state_, there_, UidValidity(8));
  EXPECT_TRUE(there.Match(state_, Arrival(101, 9, "<one@x>")));  // a header that a server rewrote
  EXPECT_FALSE(there.Match(state_, Arrival(101, 9, "<other@x>")));
  EXPECT_FALSE(there.Match(state_, Arrival(102, 9)));
}

TEST_F(ImportedPairsTest, AnotherUidValidityMakesItUseless) {
  ImportPairs(2);
  EXPECT_THAT(Observe(here_, UidValidity(7), {1, 2}), IsEmpty());
  EXPECT_THAT(Observe(there_, UidValidity(99), {}), IsEmpty());
  EXPECT_THAT(distrust_, HasSubstr("UIDVALIDITY has changed"));
}

TEST_F(ImportedPairsTest, WhatIsMissingWasDeletedWhicheverSideIsSeenFirst) {
  ImportPairs(3);
  EXPECT_THAT(Observe(here_, UidValidity(7), {1, 2}), IsEmpty());  // 3: it is not known yet which message that was
  const auto gone = Observe(there_, UidValidity(8), {102, 103});
  ASSERT_THAT(gone, SizeIs(2));
  std::map<MailboxCopyId, Uid> of;
  for (const ImportedGone& each : gone) {
    const auto message = state_.Load(each.message);
    for (const CopyRegisters& copy : message->copies) of[each.mailbox_copy] = copy.uid;
  }
  EXPECT_EQ(of[here_.id], Uid(103));
  EXPECT_EQ(of[there_.id], Uid(1));
  ImportedPairs after;
  after.Begin(state_, here_, UidValidity(7));
  EXPECT_THAT(after.Finish(state_, here_, true, brake_), IsEmpty());  // each once
}

TEST_F(ImportedPairsTest, TheBrakeHolds) {
  ImportPairs(60);
  Observe(here_, UidValidity(7), {});
  EXPECT_THAT(distrust_, HasSubstr("60 of the 60 messages"));
  std::vector<uint32_t> all;
  for (uint32_t n = 1; n <= 60; ++n) all.push_back(100 + n);
  EXPECT_THAT(Observe(there_, UidValidity(8), all), IsEmpty());
}

TEST_F(ImportedPairsTest, NothingIsDecidedFromAPart) {
  ImportPairs(2);
  Observe(there_, UidValidity(8), {101, 102});
  ImportedPairs part;
  part.Begin(state_, here_, UidValidity(7));
  EXPECT_THAT(part.Finish(state_, here_, false, brake_), IsEmpty());
  EXPECT_THAT(Observe(here_, UidValidity(7), {1, 2}), IsEmpty());
}

}  // namespace
}  // namespace imapmesh
