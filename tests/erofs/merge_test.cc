#include "erofs/merge.h"

#include <sys/stat.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/erofs/layer_fixture.h"
#include "tests/erofs/tree_dump.h"
#include "tests/support/result_matchers.h"

namespace floe::erofs::testing {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Key;
using ::testing::Not;
using ::testing::Pair;

constexpr WhiteoutForm kOverlay = WhiteoutForm::kOverlay;

bool IsWhiteout(const Row& row) {
  return S_ISCHR(row.mode) && row.rdev_major == 0 && row.rdev_minor == 0;
}

bool IsOpaque(const Row& row) {
  const auto found = row.xattrs.find("trusted.overlay.opaque");
  return found != row.xattrs.end() && found->second == "y";
}

TEST(MergeTest, UpperFileReplacesLowerOne) {
  LayerFixture lower;
  LayerFixture upper;
  lower.File("f", "old", {.mode = 0600}).File("kept", "kept");
  upper.File("f", "new", {.mode = 0644});
  FLOE_ASSERT_OK_AND_ASSIGN(const Tree tree, Merge({&lower, &upper}));
  EXPECT_THAT(Paths(tree), ElementsAre(".", "f", "kept"));
  EXPECT_EQ(tree.at("f").content, "new");
  EXPECT_EQ(tree.at("f").mode, S_IFREG | 0644U);
}

TEST(MergeTest, UpperDirectoryOverridesMetadataAndKeepsLowerNames) {
  LayerFixture lower;
  LayerFixture upper;
  lower.Dir("d", {.mode = 0700, .uid = 1, .xattrs = {{"user.low", "x"}}}).File("d/low", "l");
  upper.Dir("d", {.mode = 02755, .uid = 5, .mtime_seconds = 9}).File("d/up", "u");
  FLOE_ASSERT_OK_AND_ASSIGN(const Tree tree, Merge({&lower, &upper}));
  EXPECT_THAT(Paths(tree), ElementsAre(".", "d", "d/low", "d/up"));
  EXPECT_EQ(tree.at("d").mode, S_IFDIR | 02755U);
  EXPECT_EQ(tree.at("d").uid, 5U);
  EXPECT_EQ(tree.at("d").mtime_seconds, 9);
  EXPECT_THAT(tree.at("d").xattrs, IsEmpty());
}

TEST(MergeTest, ImpliedDirectoryKeepsLowerMetadata) {
  LayerFixture lower;
  LayerFixture middle;
  LayerFixture upper;
  lower.Dir("d", {.mode = 0700, .uid = 5, .gid = 6, .xattrs = {{"user.note", "kept"}}});
  middle.File("d/middle", "m");
  upper.File("d/upper", "u");
  FLOE_ASSERT_OK_AND_ASSIGN(const Tree tree, Merge({&lower, &middle, &upper}));
  EXPECT_EQ(tree.at("d").mode, S_IFDIR | 0700U);
  EXPECT_EQ(tree.at("d").uid, 5U);
  EXPECT_EQ(tree.at("d").gid, 6U);
  EXPECT_THAT(tree.at("d").xattrs, ElementsAre(Pair("user.note", "kept")));
}

TEST(MergeTest, ImpliedDirectoryOverNothingIs0755Root) {
  LayerFixture lower;
  LayerFixture upper;
  lower.File("x", "x");
  upper.File("a/b/f", "f");
  FLOE_ASSERT_OK_AND_ASSIGN(const Tree tree, Merge({&lower, &upper}));
  EXPECT_EQ(tree.at("a").mode, S_IFDIR | 0755U);
  EXPECT_EQ(tree.at("a/b").mode, S_IFDIR | 0755U);
  EXPECT_EQ(tree.at("a/b").uid, 0U);
}

TEST(MergeTest, ImpliedDirectoryReplacesLowerSymlink) {
  LayerFixture lower;
  LayerFixture upper;
  lower.Dir("usr/lib").File("usr/lib/real", "r").Symlink("lib", "usr/lib");
  upper.File("lib/added", "a");
  FLOE_ASSERT_OK_AND_ASSIGN(const Tree tree, Merge({&lower, &upper}));
  EXPECT_EQ(tree.at("lib").mode, S_IFDIR | 0755U);
  EXPECT_THAT(tree, Contains(Key("lib/added")));
  EXPECT_THAT(tree, Contains(Key("usr/lib/real")));
  EXPECT_THAT(tree, Not(Contains(Key("lib/real"))));
}

TEST(MergeTest, WhiteoutRemovesFilesAndTrees) {
  LayerFixture lower;
  LayerFixture upper;
  lower.File("f", "f").Dir("d").File("d/sub/x", "x").File("stays", "s");
  upper.Whiteout("f").Whiteout("d").Whiteout("never-was");
  FLOE_ASSERT_OK_AND_ASSIGN(const Tree tree, Merge({&lower, &upper}));
  EXPECT_THAT(Paths(tree), ElementsAre(".", "stays"));
}

TEST(MergeTest, NameComesBackAfterWhiteoutWithoutItsOldContent) {
  LayerFixture lower;
  LayerFixture middle;
  LayerFixture upper;
  lower.Dir("removed", {.mode = 0711, .uid = 3}).File("removed/a", "a");
  middle.Whiteout("removed");
  upper.File("removed/again", "again");
  FLOE_ASSERT_OK_AND_ASSIGN(const Tree tree, Merge({&lower, &middle, &upper}));
  EXPECT_THAT(Paths(tree), ElementsAre(".", "removed", "removed/again"));
  EXPECT_EQ(tree.at("removed").mode, S_IFDIR | 0755U);
  EXPECT_EQ(tree.at("removed").uid, 0U);
}

TEST(MergeTest, OpaqueDirectoryHidesLowerNamesAndKeepsInheritedMetadata) {
  LayerFixture lower;
  LayerFixture upper;
  lower.Dir("o", {.mode = 0705})
      .File("o/low", "l")
      .Dir("o/sub", {.mode = 0707})
      .File("o/sub/x", "");
  upper.Opaque("o").File("o/sub/new", "n");
  FLOE_ASSERT_OK_AND_ASSIGN(const Tree tree, Merge({&lower, &upper}));
  EXPECT_THAT(Paths(tree), ElementsAre(".", "o", "o/sub", "o/sub/new"));
  EXPECT_EQ(tree.at("o").mode, S_IFDIR | 0705U);
  // containerd looks for the metadata of an implied directory in the lower layer's own tree.
  EXPECT_EQ(tree.at("o/sub").mode, S_IFDIR | 0707U);
}

TEST(MergeTest, NamesUnderAnOpaqueDirectoryComeFromUpperLayersToo) {
  LayerFixture lower;
  LayerFixture middle;
  LayerFixture upper;
  lower.Dir("o").File("o/low", "l");
  middle.Dir("o", {.mode = 0750}).Opaque("o").File("o/middle", "m");
  upper.File("o/upper", "u");
  FLOE_ASSERT_OK_AND_ASSIGN(const Tree tree, Merge({&lower, &middle, &upper}));
  EXPECT_THAT(Paths(tree), ElementsAre(".", "o", "o/middle", "o/upper"));
  EXPECT_EQ(tree.at("o").mode, S_IFDIR | 0750U);
}

TEST(MergeTest, OpaqueRootMeansNothingAsInOverlayfs) {
  LayerFixture lower;
  LayerFixture upper;
  lower.File("low", "l");
  upper.Opaque("").File("up", "u");
  FLOE_ASSERT_OK_AND_ASSIGN(const Tree tree, Merge({&lower, &upper}));
  EXPECT_THAT(Paths(tree), ElementsAre(".", "low", "up"));
}

TEST(MergeTest, TypesChangeInBothDirections) {
  LayerFixture lower;
  LayerFixture upper;
  lower.File("file-to-dir", "f").File("dir-to-file/x", "x").File("dir-to-link/y", "y");
  lower.Symlink("link-to-dir", "../sizes");
  upper.Dir("file-to-dir", {.mode = 0701}).File("file-to-dir/in", "i").File("dir-to-file", "file");
  upper.Symlink("dir-to-link", "names").Dir("link-to-dir").File("link-to-dir/z", "z");
  FLOE_ASSERT_OK_AND_ASSIGN(const Tree tree, Merge({&lower, &upper}));
  EXPECT_THAT(Paths(tree), ElementsAre(".", "dir-to-file", "dir-to-link", "file-to-dir",
                                       "file-to-dir/in", "link-to-dir", "link-to-dir/z"));
  EXPECT_EQ(tree.at("file-to-dir").mode, S_IFDIR | 0701U);
}

TEST(MergeTest, HardLinksCountTheNamesThatAreLeft) {
  LayerFixture lower;
  LayerFixture upper;
  lower.File("target", "t").HardLink("hard1", "target").HardLink("d/hard2", "target");
  lower.Symlink("s", "x").HardLink("hs", "s");
  upper.Whiteout("hard1").File("target", "new").HardLink("from-upper", "target");
  FLOE_ASSERT_OK_AND_ASSIGN(const Tree tree, Merge({&lower, &upper}));
  EXPECT_EQ(tree.at("d/hard2").nlink, 1U);
  EXPECT_EQ(tree.at("d/hard2").content, "t");
  EXPECT_EQ(tree.at("target").nlink, 2U);
  EXPECT_EQ(tree.at("target").same_inode_as, "from-upper");
  EXPECT_EQ(tree.at("s").same_inode_as, "hs");
  EXPECT_EQ(tree.at("s").nlink, 2U);
}

TEST(MergeTest, DirectoriesCountTheirSubdirectories) {
  LayerFixture lower;
  LayerFixture upper;
  lower.Dir("a").Dir("a/one").Dir("a/two").File("a/f", "");
  upper.Dir("a/three").Whiteout("a/one");
  FLOE_ASSERT_OK_AND_ASSIGN(const Tree tree, Merge({&lower, &upper}));
  EXPECT_EQ(tree.at(".").nlink, 3U);
  EXPECT_EQ(tree.at("a").nlink, 4U);
  EXPECT_EQ(tree.at("a/two").nlink, 2U);
}

TEST(MergeTest, ManyLayersMergeOneDirectoryInOrder) {
  std::vector<LayerFixture> layers(40);
  std::vector<const LayerFixture*> stack;
  for (size_t i = 0; i < layers.size(); ++i) {
    layers[i].File("d/own-" + std::to_string(i), "").File("d/same", std::to_string(i));
    stack.push_back(&layers[i]);
  }
  FLOE_ASSERT_OK_AND_ASSIGN(const Tree tree, Merge(stack));
  EXPECT_EQ(tree.size(), layers.size() + 3);
  EXPECT_EQ(tree.at("d/same").content, "39");
}

TEST(MergeTest, NoLayersAreRefused) {
  FLOE_EXPECT_ERROR(MergeLayers({}, WhiteoutForm::kApply), ErrorCode::kInvalidArgument,
                    "no layers");
}

TEST(MergeOverlayTest, WhiteoutsStayAsOneSharedDevice) {
  LayerFixture lower;
  LayerFixture upper;
  lower.Dir("d").File("d/here", "h");
  upper.Whiteout("d/here").Whiteout("d/below").Whiteout("gone");
  FLOE_ASSERT_OK_AND_ASSIGN(const Tree tree, Merge({&lower, &upper}, kOverlay));
  EXPECT_THAT(Paths(tree), ElementsAre(".", "d", "d/below", "d/here", "gone"));
  EXPECT_TRUE(IsWhiteout(tree.at("gone")));
  EXPECT_TRUE(IsWhiteout(tree.at("d/here")));
  EXPECT_EQ(tree.at("gone").nlink, 3U);
  EXPECT_EQ(tree.at("gone").same_inode_as, "d/below");
  EXPECT_FALSE(IsOpaque(tree.at("d")));
  // So that overlayfs hides the whiteouts also where it does not merge the directory.
  EXPECT_THAT(tree.at("d").xattrs, Contains(Pair("trusted.overlay.origin", "")));
  EXPECT_THAT(tree.at(".").xattrs, Contains(Pair("trusted.overlay.origin", "")));
}

TEST(MergeOverlayTest, OpaqueDirectoryStaysOpaqueForWhatIsBelowTheRun) {
  LayerFixture lower;
  LayerFixture upper;
  lower.Dir("o").File("o/low", "l").Dir("plain").File("plain/p", "p");
  upper.Dir("o", {.mode = 0700}).Opaque("o").File("o/up", "u").Dir("o/sub").Whiteout("o/none");
  FLOE_ASSERT_OK_AND_ASSIGN(const Tree tree, Merge({&lower, &upper}, kOverlay));
  EXPECT_THAT(Paths(tree), ElementsAre(".", "o", "o/sub", "o/up", "plain", "plain/p"));
  EXPECT_TRUE(IsOpaque(tree.at("o")));
  EXPECT_FALSE(IsOpaque(tree.at("o/sub"))) << "nothing below can show there";
  EXPECT_FALSE(IsOpaque(tree.at("plain")));
}

TEST(MergeOverlayTest, OpaqueMarkerInTheLowestLayerOfTheRunStays) {
  LayerFixture lower;
  LayerFixture upper;
  lower.Dir("o").Opaque("o").File("o/low", "l");
  upper.File("o/up", "u");
  FLOE_ASSERT_OK_AND_ASSIGN(const Tree tree, Merge({&lower, &upper}, kOverlay));
  EXPECT_THAT(Paths(tree), ElementsAre(".", "o", "o/low", "o/up"));
  EXPECT_TRUE(IsOpaque(tree.at("o")));
}

TEST(MergeOverlayTest, DirectoryOverAWhiteoutOfTheRunIsOpaque) {
  LayerFixture lower;
  LayerFixture upper;
  lower.Whiteout("d").Whiteout("e");
  upper.Dir("d", {.mode = 0711}).File("e/f", "f");
  const std::vector<const LayerFixture*> layers = {&lower, &upper};
  FLOE_ASSERT_OK_AND_ASSIGN(const Bootstrap bootstrap, Stack(layers).Write(kOverlay));
  FLOE_ASSERT_OK_AND_ASSIGN(const Tree tree,
                            DumpBootstrap(bootstrap.bytes, DevicesOf(bootstrap, layers)));
  EXPECT_TRUE(IsOpaque(tree.at("d")));
  EXPECT_TRUE(IsOpaque(tree.at("e")));
  EXPECT_EQ(tree.at("e").mode, S_IFDIR | 0755U);
  EXPECT_THAT(bootstrap.unresolved_implied, IsEmpty()) << "the whiteout ends what e could inherit";
}

TEST(MergeOverlayTest, DirectoryOverAFileOfTheRunIsOpaque) {
  LayerFixture lower;
  LayerFixture upper;
  lower.File("d", "f").Symlink("e", "x");
  upper.Dir("d").File("e/f", "f");
  FLOE_ASSERT_OK_AND_ASSIGN(const Tree tree, Merge({&lower, &upper}, kOverlay));
  EXPECT_TRUE(IsOpaque(tree.at("d")));
  EXPECT_TRUE(IsOpaque(tree.at("e")));
}

TEST(MergeOverlayTest, ImpliedDirectoriesWithUnknownMetadataAreListed) {
  LayerFixture lower;
  LayerFixture upper;
  lower.Dir("known", {.mode = 0700}).File("unknown/low", "l");
  upper.File("known/f", "f").File("unknown/sub/f", "f").Opaque("marked").File("marked/x", "x");
  const std::vector<const LayerFixture*> layers = {&lower, &upper};
  FLOE_ASSERT_OK_AND_ASSIGN(const Bootstrap bootstrap, Stack(layers).Write(kOverlay));
  EXPECT_THAT(bootstrap.unresolved_implied, ElementsAre("marked", "unknown", "unknown/sub"));
  FLOE_ASSERT_OK_AND_ASSIGN(const Bootstrap bottom, Stack(layers).Write());
  EXPECT_THAT(bottom.unresolved_implied, IsEmpty());
}

TEST(MergeTest, DeviceZeroIsAWhiteoutAsOverlayfsTakesIt) {
  LayerFixture lower;
  LayerFixture upper;
  lower.File("f", "f");
  upper.Special("f", S_IFCHR, 0, 0);
  FLOE_ASSERT_OK_AND_ASSIGN(const Tree tree, Merge({&lower, &upper}));
  EXPECT_THAT(Paths(tree), ElementsAre("."));
}

}  // namespace
}  // namespace floe::erofs::testing
