// What the kernel's own EROFS, and overlayfs above it, make of bootstraps.
#include <sys/stat.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "erofs/writer.h"
#include "tests/erofs/kernel_mount.h"
#include "tests/erofs/layer_fixture.h"
#include "tests/erofs/sample_layers.h"
#include "tests/erofs/tree_dump.h"
#include "tests/support/result_matchers.h"
#include "tests/support/temp_dir.h"

namespace floe::erofs::testing {
namespace {

using ::testing::ElementsAre;

class KernelMountTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (auto can = CanMountErofsFiles(); !can.has_value()) {
      GTEST_SKIP() << can.error().ToString();
    }
  }

  Result<KernelMount> Mount(const std::string& name, const std::vector<const LayerFixture*>& layers,
                            WhiteoutForm form = WhiteoutForm::kApply) {
    FLOE_ASSIGN_OR_RETURN(const Bootstrap bootstrap, Stack(layers).Write(form));
    return KernelMount::Erofs(work_ / name, bootstrap.bytes, DevicesOf(bootstrap, layers));
  }

  floe::testing::TempDir work_;
};

void ExpectSameTree(const Tree& seen, const Tree& expected) {
  EXPECT_EQ(Paths(seen), Paths(expected));
  for (const auto& [path, row] : expected) {
    const auto found = seen.find(path);
    if (found != seen.end()) {
      EXPECT_EQ(found->second, row) << path;
      EXPECT_TRUE(found->second.content == row.content) << path;
    }
  }
}

TEST_F(KernelMountTest, KernelSeesTheTreeThatTheReaderSees) {
  const SampleLayers sample;
  FLOE_ASSERT_OK_AND_ASSIGN(const Tree expected, Merge(sample.layers()));
  FLOE_ASSERT_OK_AND_ASSIGN(const KernelMount mount, Mount("sample", sample.layers()));
  ExpectSameTree(DumpDirectory(mount.path()), expected);
}

TEST_F(KernelMountTest, KernelSeesWhiteoutsAndOpaqueDirectoriesOfARun) {
  LayerFixture layer;
  layer.Whiteout("a").Dir("d").Opaque("d").File("d/f", "f").Whiteout("sub/b");
  FLOE_ASSERT_OK_AND_ASSIGN(const Tree expected, Merge({&layer}, WhiteoutForm::kOverlay));
  FLOE_ASSERT_OK_AND_ASSIGN(const KernelMount mount,
                            Mount("run", {&layer}, WhiteoutForm::kOverlay));
  ExpectSameTree(DumpDirectory(mount.path()), expected);
}

/// Overlayfs over two runs shows what one merge of all layers would.
TEST_F(KernelMountTest, OverlayOfRunsEqualsOneMerge) {
  std::vector<LayerFixture> layers(5);
  layers[0].Dir("d", {.mode = 0700, .uid = 4}).File("d/low", "l").File("gone/x", "x");
  layers[0]
      .Dir("o")
      .File("o/low", "l")
      .File("f", "0")
      .File("t", "t")
      .Dir("back")
      .File("back/0", "");
  layers[0].File("void/v", "v").File("w/deep/down", "d").File("turn", "file");
  layers[1].File("d/one", "1").Symlink("link", "d").File("o/one", "1");
  layers[2].Whiteout("gone").Whiteout("back").Whiteout("void").Dir("o", {.mode = 0711}).Opaque("o");
  layers[2]
      .File("o/two", "2")
      .Dir("d", {.mode = 0750})
      .Whiteout("d/one")
      .Whiteout("lonely/nothing");
  layers[3].File("back/3", "3").File("f", "3").Dir("t").File("t/in", "i").Whiteout("w/deep");
  layers[3].Dir("turn", {.mode = 0701}).File("lonely/something", "s");
  layers[4].Dir("w").Dir("w/deep", {.mode = 0707}).File("w/deep/new", "n").Whiteout("o/two");
  const std::vector<const LayerFixture*> all = {&layers[0], &layers[1], &layers[2], &layers[3],
                                                &layers[4]};
  FLOE_ASSERT_OK_AND_ASSIGN(const Tree expected, Merge(all));

  for (size_t split = 1; split < all.size(); ++split) {
    SCOPED_TRACE(split);
    const auto middle = all.begin() + static_cast<ptrdiff_t>(split);
    const std::string name = "split" + std::to_string(split);
    FLOE_ASSERT_OK_AND_ASSIGN(const KernelMount lower,
                              Mount(name + "-lower", {all.begin(), middle}));
    FLOE_ASSERT_OK_AND_ASSIGN(const KernelMount upper,
                              Mount(name + "-upper", {middle, all.end()}, WhiteoutForm::kOverlay));
    FLOE_ASSERT_OK_AND_ASSIGN(
        const KernelMount merged,
        KernelMount::Overlay(work_ / (name + "-merged"), {upper.path(), lower.path()}));
    Tree seen = DumpDirectory(merged.path());
    FLOE_ASSERT_OK_AND_ASSIGN(const Bootstrap run,
                              Stack({middle, all.end()}).Write(WhiteoutForm::kOverlay));
    for (const std::string& path : run.unresolved_implied) {
      seen.at(path).mode = expected.at(path).mode;  // Told by its list that it is not known.
    }
    for (auto& [path, row] : seen) {
      row.nlink = expected.contains(path) ? expected.at(path).nlink : row.nlink;
      if (S_ISDIR(row.mode)) {  // overlayfs counts 1; an implied directory's time is nobody's.
        row.mtime_seconds = expected.contains(path) ? expected.at(path).mtime_seconds : 0;
      }
    }
    ExpectSameTree(seen, expected);
  }
}

}  // namespace
}  // namespace floe::erofs::testing
