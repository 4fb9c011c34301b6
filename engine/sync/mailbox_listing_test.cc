#include "engine/sync/mailbox_listing.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <optional>

#include "graph/load.h"

namespace imapmesh {
namespace {

constexpr int64_t kNow = 1'700'000'000'000;
enum { kA, kB };

// Two replicas, each listed anew as a test says.
class MailboxListingTest : public testing::Test {
 protected:
  MailboxListingTest()
      : folder_(std::filesystem::temp_directory_path() / ("mailbox-listing-" + std::to_string(getpid()))),
        state_((std::filesystem::create_directories(folder_), folder_ / "state.db")) {
    SetEdge("BOTH");
  }
  ~MailboxListingTest() override { std::filesystem::remove_all(folder_); }

  void SetEdge(const std::string& direction) {
    auto loaded = LoadTopologyText(
        R"(name: "t" replica { name: "a" tunnel { command: "a" } } replica { name: "b" tunnel { command: "b" } }
           edge { a: "a" b: "b" direction: )" +
            direction + " }",
        "t", ".");
    ASSERT_TRUE(loaded.ok()) << loaded.status();
    graph_ = loaded->graph;
  }
  static MailboxStatus Line(const std::string& name, const std::string& identity, int64_t uid_next = 1) {
    MailboxStatus line;
    line.name_here = line.local_name = name;
    line.server_id = identity;
    line.selectable = line.status_known = true;
    line.uid_validity = UidValidity(7);
    line.uid_next = Uid(uid_next);
    return line;
  }
  // As it is listed, and observed.
  void List(int32_t r, std::vector<MailboxStatus> lines) {
    lines.push_back(Line("INBOX", "inbox"));
    Listing listing;
    listing.replica = ReplicaIndex(r);
    listing.lines = lines;
    ListingRecorder(*graph_, replicas_, listing, kNow)(state_);
    for (MailboxCopyRecord& copy : state_.MailboxCopies()) {
      if (copy.replica != replicas_[static_cast<size_t>(r)] || !copy.exists) continue;
      for (const MailboxStatus& line : lines) {
        if (line.local_name != copy.local_name) continue;
        copy.uid_validity = line.uid_validity;
        copy.uid_next = line.uid_next;
        copy.last_uid = Uid(line.uid_next.value - 1);
        state_.Save(copy);
      }
    }
  }
  // As it was made at b, under the mesh's name of then.
  void MakeAtB(const std::string& name, const std::string& identity) {
    const auto [mesh_name, stamp] = state_.mailboxes().NameOf(*state_.mailboxes().Find(name));
    MailboxCopyRecord record;
    record.replica = replicas_[kB];
    record.mailbox = *state_.mailboxes().Find(name);
    record.name_here = record.local_name = name;
    record.name_stamp = stamp;
    record.server_id = identity;
    record.exists = true;
    record.uid_validity = UidValidity(7);
    record.uid_next = Uid(1);
    state_.Save(record);
  }
  // What mailbox of the mesh has that name at the replica; nothing where none has.
  std::optional<std::string> MeshName(int32_t r, const std::string& local_name) {
    for (const MailboxCopyRecord& copy : state_.MailboxCopies()) {
      const bool here = copy.replica == replicas_[static_cast<size_t>(r)] && copy.exists;
      if (here && copy.local_name == local_name) return copy.mailbox_name;
    }
    return std::nullopt;
  }

  std::filesystem::path folder_;
  State state_;
  std::optional<Transaction> transaction_{std::in_place, state_.database()};
  std::shared_ptr<const Graph> graph_;
  const std::vector<ReplicaId> replicas_ = {ReplicaId(1), ReplicaId(2)};
};

TEST_F(MailboxListingTest, WhatWasMadeUnderAnOldNameGivesWayToWhatHasTheNewOne) {
  List(kA, {Line("Old", "a1", 5)});
  MakeAtB("Old", "b1");
  List(kA, {Line("New", "a1", 5)});
  List(kB, {Line("Old", "b1"), Line("New", "b2", 5)});
  EXPECT_EQ(MeshName(kA, "New"), "New");
  EXPECT_EQ(MeshName(kB, "New"), "New") << "another coordinator made it, and brought its mail";
  EXPECT_EQ(MeshName(kB, "Old"), "Old");
}

TEST_F(MailboxListingTest, WhereMailIsInItTheOneThatWasRenamedIsMeant) {
  List(kA, {Line("Old", "a1", 5)});
  MakeAtB("Old", "b1");
  List(kB, {Line("Old", "b1", 5)});
  List(kA, {Line("New", "a1", 5)});
  List(kB, {Line("Old", "b1", 5), Line("New", "b2", 5)});
  EXPECT_EQ(MeshName(kB, "Old"), "New") << "its mail is not to be carried a second time";
  EXPECT_NE(MeshName(kB, "New"), "New");
}

TEST_F(MailboxListingTest, WhatWasMadeUnderTheNewNameBeforeTheRenameWasSeenIsTheSame) {
  List(kA, {Line("Old", "a1", 5)});
  MakeAtB("Old", "b1");
  List(kB, {Line("Old", "b1"), Line("New", "b2", 5)});
  List(kA, {Line("New", "a1", 5)});
  EXPECT_EQ(MeshName(kA, "New"), "New");
  EXPECT_EQ(MeshName(kB, "New"), "New");
  EXPECT_EQ(MeshName(kB, "Old"), "Old");
}

TEST_F(MailboxListingTest, WhatIsRenamedWhereItGoesNowhereIsTheOneOfThatName) {
  SetEdge("A_TO_B");
  List(kA, {Line("Work", "a1", 5)});
  List(kB, {Line("Own", "b1", 5)});
  List(kB, {Line("Work", "b1", 5)});
  EXPECT_EQ(MeshName(kB, "Work"), "Work") << "as if it had been listed so at first";
}

TEST_F(MailboxListingTest, WhatIsThereAlreadyKeepsItsName) {
  SetEdge("A_TO_B");
  List(kA, {Line("Work", "a1", 5)});
  MakeAtB("Work", "b2");
  List(kB, {Line("Own", "b1", 5), Line("Work", "b2", 5)});
  List(kB, {Line("Work", "b1", 5), Line("Own", "b2", 5)});
  EXPECT_EQ(MeshName(kB, "Own"), "Work") << "somebody exchanged the names where it goes nowhere";
}

}  // namespace
}  // namespace imapmesh
