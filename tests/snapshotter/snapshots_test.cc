#include "snapshotter/snapshots.h"

#include <sys/stat.h>

#include <algorithm>

#include <gtest/gtest.h>

#include "snapshotter/labels.h"
#include "tests/snapshotter/snapshotter_fixture.h"

namespace floe::snapshotter {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class SnapshotsTest : public testing::SnapshotterFixture {};

struct stat StatOf(const std::filesystem::path& path) {
  struct stat status{};
  EXPECT_EQ(::lstat(path.c_str(), &status), 0) << path;
  return status;
}

TEST_F(SnapshotsTest, FirstLayerIsAWritableBindOfItsOwnDirectory) {
  FLOE_ASSERT_OK_AND_ASSIGN(const auto mounts, snapshots_->Prepare("a", "", {}));
  ASSERT_EQ(mounts.size(), 1U);
  EXPECT_EQ(mounts[0].type, "bind");
  EXPECT_EQ(mounts[0].source, layout_.upper(1).native());
  EXPECT_THAT(mounts[0].options, ElementsAre("rw", "rbind"));
  EXPECT_EQ(StatOf(layout_.upper(1)).st_mode & 07777, 0755U);
  EXPECT_EQ(StatOf(layout_.snapshot(1)).st_mode & 07777, 0700U);
}

TEST_F(SnapshotsTest, ChildOfALayerIsAnOverlay) {
  MakeUnpacked("one", "");
  MakeUnpacked("two", "one");
  FLOE_ASSERT_OK_AND_ASSIGN(const auto mounts, snapshots_->Prepare("a", "two", {}));
  ASSERT_EQ(mounts.size(), 1U);
  EXPECT_EQ(mounts[0].type, "overlay");
  EXPECT_EQ(mounts[0].source, "overlay");
  EXPECT_THAT(mounts[0].options, ElementsAre("index=off", "workdir=" + layout_.work(3).native(),
                                             "upperdir=" + layout_.upper(3).native(),
                                             "lowerdir=" + layout_.upper(2).native() + ":" +
                                                 layout_.upper(1).native()));
  EXPECT_TRUE(std::filesystem::is_directory(layout_.work(3)));
}

TEST_F(SnapshotsTest, ViewsAreReadOnly) {
  MakeUnpacked("one", "");
  MakeUnpacked("two", "one");
  FLOE_ASSERT_OK_AND_ASSIGN(const auto none, snapshots_->View("v0", "", {}));
  EXPECT_EQ(none[0].type, "bind");
  EXPECT_THAT(none[0].options, ElementsAre("ro", "rbind"));
  FLOE_ASSERT_OK_AND_ASSIGN(const auto single, snapshots_->View("v1", "one", {}));
  EXPECT_EQ(single[0].type, "bind");
  EXPECT_EQ(single[0].source, layout_.upper(1).native());
  EXPECT_THAT(single[0].options, ElementsAre("ro", "rbind"));
  FLOE_ASSERT_OK_AND_ASSIGN(const auto both, snapshots_->View("v2", "two", {}));
  EXPECT_EQ(both[0].type, "overlay");
  EXPECT_THAT(Lowers(both), ElementsAre("snapshots/2/fs", "snapshots/1/fs"));
  EXPECT_EQ(Option(both, "upperdir"), "");
}

TEST_F(SnapshotsTest, MountsAreThoseOfPrepare) {
  MakeUnpacked("one", "");
  FLOE_ASSERT_OK_AND_ASSIGN(const auto prepared, snapshots_->Prepare("a", "one", {}));
  FLOE_ASSERT_OK_AND_ASSIGN(const auto viewed, snapshots_->View("v", "one", {}));
  Restart();
  FLOE_ASSERT_OK_AND_ASSIGN(const auto again, snapshots_->Mounts("a"));
  EXPECT_EQ(again, prepared);
  FLOE_ASSERT_OK_AND_ASSIGN(const auto view_again, snapshots_->Mounts("v"));
  EXPECT_EQ(view_again, viewed);
}

TEST_F(SnapshotsTest, MountsOfACommittedSnapshotAreRefused) {
  MakeUnpacked("one", "");
  FLOE_EXPECT_ERROR(snapshots_->Mounts("one"), ErrorCode::kFailedPrecondition, "committed");
  FLOE_EXPECT_ERROR(snapshots_->Mounts("none"), ErrorCode::kNotFound, "none");
}

TEST_F(SnapshotsTest, CallsNeedAKey) {
  FLOE_EXPECT_ERROR(snapshots_->Prepare("", "", {}), ErrorCode::kInvalidArgument, "key");
  FLOE_EXPECT_ERROR(snapshots_->View("", "", {}), ErrorCode::kInvalidArgument, "key");
  FLOE_EXPECT_ERROR(snapshots_->Commit("", "a", {}, ""), ErrorCode::kInvalidArgument, "key");
}

TEST_F(SnapshotsTest, ParentsAreChecked) {
  FLOE_ASSERT_OK(snapshots_->Prepare("a", "", {}));
  FLOE_EXPECT_ERROR(snapshots_->Prepare("b", "none", {}), ErrorCode::kNotFound, "none");
  FLOE_EXPECT_ERROR(snapshots_->View("b", "a", {}), ErrorCode::kInvalidArgument, "not committed");
  FLOE_EXPECT_ERROR(snapshots_->Prepare("a", "", {}), ErrorCode::kAlreadyExists, "a already");
  EXPECT_THAT(Names(layout_.snapshots()), ElementsAre("1"));
}

TEST_F(SnapshotsTest, NewRootHasTheOwnerOfTheParents) {
  MakeUnpacked("one", "");
  ASSERT_EQ(::chown(layout_.upper(1).c_str(), 1000, 2000), 0);
  FLOE_ASSERT_OK_AND_ASSIGN(const auto mounts, snapshots_->Prepare("a", "one", {}));
  EXPECT_EQ(StatOf(UpperOf(mounts)).st_uid, 1000U);
  EXPECT_EQ(StatOf(UpperOf(mounts)).st_gid, 2000U);
}

TEST_F(SnapshotsTest, UserNamespaceMappingsGoOutAsOptions) {
  MakeUnpacked("one", "");
  const Labels labels = {{kLabelUidMapping, "0:100000:65536"},
                         {kLabelGidMapping, "0:200000:65536"}};
  FLOE_ASSERT_OK_AND_ASSIGN(const auto mounts, snapshots_->Prepare("a", "one", labels));
  EXPECT_EQ(Option(mounts, "uidmap"), "0:100000:65536");
  EXPECT_EQ(Option(mounts, "gidmap"), "0:200000:65536");
  EXPECT_EQ(StatOf(UpperOf(mounts)).st_uid, 100000U);
  EXPECT_EQ(StatOf(UpperOf(mounts)).st_gid, 200000U);
  FLOE_ASSERT_OK_AND_ASSIGN(const auto again, snapshots_->Mounts("a"));
  EXPECT_EQ(again, mounts);
}

TEST_F(SnapshotsTest, MappingsThatCannotBeReadAreRefused) {
  for (const std::string bad : {"", "0", "0:1", "0:1:2x", "1:0:5", "0:-1:5", "0:1:0,"}) {
    const Labels labels = {{kLabelUidMapping, bad}, {kLabelGidMapping, "0:0:1"}};
    FLOE_EXPECT_ERROR(snapshots_->Prepare("a", "", labels), ErrorCode::kInvalidArgument,
                      "uidmapping");
  }
  const Labels two_lines = {{kLabelUidMapping, "0:0:1\n"}, {kLabelGidMapping, "0:0:1"}};
  FLOE_EXPECT_ERROR(snapshots_->Prepare("a", "", two_lines), ErrorCode::kInvalidArgument,
                    "'0:0:1\\x0a'");
  FLOE_EXPECT_ERROR(snapshots_->Prepare("a", "", {{kLabelUidMapping, "0:0:1"}}),
                    ErrorCode::kInvalidArgument, "go together");
  EXPECT_THAT(Names(layout_.snapshots()), IsEmpty());
}

TEST_F(SnapshotsTest, LargeLabelsAreRefused) {
  const Labels labels = {{"key", std::string(kMaxLabelBytes, 'v')}};
  MakeUnpacked("one", "");
  FLOE_EXPECT_ERROR(snapshots_->Prepare("a", "", labels), ErrorCode::kInvalidArgument, "4096");
  FLOE_EXPECT_ERROR(snapshots_->View("a", "", labels), ErrorCode::kInvalidArgument, "4096");
  FLOE_EXPECT_ERROR(snapshots_->Update("one", labels, {}), ErrorCode::kInvalidArgument, "4096");
  FLOE_ASSERT_OK(snapshots_->Prepare("a", "", {}));
  FLOE_EXPECT_ERROR(snapshots_->Commit("b", "a", labels, ""), ErrorCode::kInvalidArgument, "4096");
}

TEST_F(SnapshotsTest, RemovedDirectoryGoesWithTheNextCleanup) {
  MakeUnpacked("one", "", {"file"});
  FLOE_ASSERT_OK(snapshots_->Prepare("a", "one", {}));
  FLOE_ASSERT_OK(snapshots_->Remove("a"));
  EXPECT_THAT(Names(layout_.snapshots()), ElementsAre("1", "2"));
  FLOE_ASSERT_OK(snapshots_->Cleanup());
  EXPECT_THAT(Names(layout_.snapshots()), ElementsAre("1"));
  EXPECT_TRUE(std::filesystem::exists(layout_.upper(1) / "file"));
}

TEST_F(SnapshotsTest, CleanupTakesWhatACrashLeft) {
  MakeUnpacked("one", "");
  // Killed between mkdir and COMMIT, between rename and rm, and something of nobody's.
  std::filesystem::create_directories(layout_.upper(2));
  std::filesystem::create_directories(layout_.snapshots() / "rm-5" / "fs" / "deep");
  std::filesystem::create_directories(layout_.snapshots() / "12x");
  std::filesystem::create_directories(layout_.plan("tmp-" + Digest::Of("x").hex()));
  std::filesystem::create_directories(layout_.mount_point(9));
  Restart();
  FLOE_ASSERT_OK(snapshots_->Cleanup());
  EXPECT_THAT(Names(layout_.snapshots()), ElementsAre("1"));
  EXPECT_THAT(Names(layout_.plans()), IsEmpty());
  EXPECT_THAT(Names(layout_.mount_points()), IsEmpty());
}

TEST_F(SnapshotsTest, DirectoryLeftUnderTheNextIdIsReplaced) {
  std::filesystem::create_directories(layout_.upper(1) / "from a killed attempt");
  FLOE_ASSERT_OK_AND_ASSIGN(const auto mounts, snapshots_->Prepare("a", "", {}));
  EXPECT_THAT(Names(mounts[0].source), IsEmpty());
}

TEST_F(SnapshotsTest, FailedPrepareLeavesNoSnapshot) {
  // The directory cannot be made: a file stands in the way of its parent.
  std::filesystem::remove_all(layout_.snapshots());
  const std::ofstream in_the_way(layout_.snapshots());
  EXPECT_FALSE(snapshots_->Prepare("a", "", {}).has_value());
  FLOE_EXPECT_ERROR(snapshots_->Stat("a"), ErrorCode::kNotFound, "");
}

TEST_F(SnapshotsTest, UsageCountsInodesOnce) {
  MakeUnpacked("one", "", {"d/a"});
  std::filesystem::create_hard_link(layout_.upper(1) / "d/a", layout_.upper(1) / "d/b");
  FLOE_ASSERT_OK_AND_ASSIGN(const Usage usage, snapshots_->GetUsage("one"));
  EXPECT_EQ(usage.inodes, 3U);  // The root, d, and the file.
  EXPECT_GT(usage.size_bytes, 0U);
}

TEST_F(SnapshotsTest, UsageOfAnActiveSnapshotIsAsOfNow) {
  FLOE_ASSERT_OK_AND_ASSIGN(const auto mounts, snapshots_->Prepare("a", "", {}));
  FLOE_ASSERT_OK_AND_ASSIGN(const Usage before, snapshots_->GetUsage("a"));
  std::ofstream(UpperOf(mounts) / "file") << std::string(100000, 'x');
  FLOE_ASSERT_OK_AND_ASSIGN(const Usage after, snapshots_->GetUsage("a"));
  EXPECT_EQ(after.inodes, before.inodes + 1);
  EXPECT_GE(after.size_bytes, before.size_bytes + 100000);
}

TEST_F(SnapshotsTest, UsageOfACommittedSnapshotIsMeasuredOnce) {
  MakeUnpacked("one", "", {"a"});
  FLOE_ASSERT_OK_AND_ASSIGN(const Usage first, snapshots_->GetUsage("one"));
  std::filesystem::remove(layout_.upper(1) / "a");
  Restart();
  FLOE_ASSERT_OK_AND_ASSIGN(const Usage second, snapshots_->GetUsage("one"));
  EXPECT_EQ(second, first);
  FLOE_EXPECT_ERROR(snapshots_->GetUsage("none"), ErrorCode::kNotFound, "none");
}

TEST_F(SnapshotsTest, ListTakesFilters) {
  MakeUnpacked("one", "");
  FLOE_ASSERT_OK(snapshots_->View("v", "one", {{"k", "v"}}));
  FLOE_ASSERT_OK_AND_ASSIGN(const auto views, snapshots_->List({"kind==view"}));
  ASSERT_EQ(views.size(), 1U);
  EXPECT_EQ(views[0].name, "v");
  FLOE_EXPECT_ERROR(snapshots_->List({"=="}), ErrorCode::kInvalidArgument, "filter");
}

TEST_F(SnapshotsTest, KeyIsFreeAgainAfterRemove) {
  FLOE_ASSERT_OK(snapshots_->Prepare("a", "", {}));
  FLOE_ASSERT_OK(snapshots_->Remove("a"));
  FLOE_ASSERT_OK_AND_ASSIGN(const auto mounts, snapshots_->Prepare("a", "", {}));
  EXPECT_EQ(mounts[0].source, layout_.upper(2).native());
}

}  // namespace
}  // namespace floe::snapshotter
