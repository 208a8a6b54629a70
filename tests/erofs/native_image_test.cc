// What Debian's mkfs.erofs makes of a directory, read back.
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/file.h"
#include "erofs/native_tree.h"
#include "tests/erofs/native_support.h"
#include "tests/support/result_matchers.h"
#include "tests/support/temp_dir.h"

namespace floe::erofs::testing {
namespace {

struct Variant {
  const char* name;
  const char* options;
  bool keeps_times = true;
  bool keeps_xattrs = true;
};

/// What differs for good reasons: ext4 counts a directory's links, others do not.
Tree Comparable(Tree tree, const Variant& variant) {
  for (auto& [path, row] : tree) {
    row.nlink = S_ISDIR(row.mode) ? 0 : row.nlink;
    if (!variant.keeps_times) {
      row.mtime_seconds = row.mtime_nanoseconds = 0;
    }
    if (!variant.keeps_xattrs) {
      row.xattrs.clear();
    }
  }
  return tree;
}

class NativeImageTest : public ::testing::TestWithParam<Variant> {
 protected:
  void SetUp() override {
    if (!HaveMkfs()) {
      GTEST_SKIP() << "no mkfs.erofs (erofs-utils)";
    }
  }
  floe::testing::TempDir source_;
};

TEST_P(NativeImageTest, GivesTheTreeThatItWasMadeOf) {
  MakeSampleTree(source_.path());
  FLOE_ASSERT_OK_AND_ASSIGN(const std::string image, MakeImage(source_.path(), GetParam().options));
  FLOE_ASSERT_OK_AND_ASSIGN(const image::IndexedLayer layer,
                            IndexNative(image, NativeSourceOf(image)));
  FLOE_ASSERT_OK_AND_ASSIGN(const Tree tree, TreeOfLayer(layer, image));
  const Tree expected = Comparable(DumpDirectory(source_.path().native()), GetParam());
  const Tree got = Comparable(tree, GetParam());
  EXPECT_EQ(Paths(got), Paths(expected));
  for (const auto& [path, row] : expected) {
    ASSERT_TRUE(got.contains(path)) << path;
    EXPECT_EQ(got.at(path), row) << path;
  }
}

INSTANTIATE_TEST_SUITE_P(
    Options, NativeImageTest,
    ::testing::Values(
        Variant{"default", ""}, Variant{"compact", "-Eforce-inode-compact", false},
        Variant{"extended", "-Eforce-inode-extended"}, Variant{"no_inline_data", "-Enoinline_data"},
        Variant{"chunks_4k", "--chunksize=4096"}, Variant{"chunks_64k", "--chunksize=65536"},
        Variant{"chunk_indexes", "--chunksize=16384 -Eforce-chunk-indexes"},
        Variant{"all_xattrs_shared", "-x1"}, Variant{"no_shared_xattrs", "-x1000"},
        Variant{"no_xattrs", "-x-1", true, false}, Variant{"legacy", "-Elegacy-compress"}),
    [](const auto& variant) { return variant.param.name; });

class NativeSampleTest : public NativeImageTest {};

TEST_F(NativeSampleTest, OnlyFileContentsAreOnTheDevice) {
  WriteText(source_ / "one", std::string(5000, '1'));
  WriteText(source_ / "two", std::string(5000, '2'));
  FLOE_ASSERT_OK_AND_ASSIGN(const std::string image, MakeImage(source_.path()));
  FLOE_ASSERT_OK_AND_ASSIGN(const image::IndexedLayer layer,
                            IndexNative(image, NativeSourceOf(image)));
  EXPECT_EQ(layer.index.data().blobs[0].device_size_bytes, 4 * kBlockBytes);
  uint64_t mapped = 0;
  for (const image::Extent& extent : layer.index.data().extents) {
    mapped += extent.length;
  }
  EXPECT_EQ(mapped, 10'000U);
}

TEST_F(NativeSampleTest, AnEmptyTreeNeedsNoUnits) {
  FLOE_ASSERT_OK_AND_ASSIGN(const std::string image, MakeImage(source_.path()));
  FLOE_ASSERT_OK_AND_ASSIGN(const image::IndexedLayer layer,
                            IndexNative(image, NativeSourceOf(image)));
  EXPECT_TRUE(layer.index.data().units.empty());
  EXPECT_EQ(layer.index.data().inodes.size(), 1U);
}

TEST_F(NativeSampleTest, CompressedInodesAreRefusedByPath) {
  std::filesystem::create_directories(source_ / "sub");
  WriteText(source_ / "sub" / "zeros", std::string(1U << 20U, 'z'));
  FLOE_ASSERT_OK_AND_ASSIGN(const std::string image, MakeImage(source_.path(), "-zlz4"));
  FLOE_EXPECT_ERROR(IndexNative(image, NativeSourceOf(image)), ErrorCode::kUnimplemented,
                    "'/sub/zeros': compressed inodes are not supported");
}

TEST_F(NativeSampleTest, ExtraDevicesAreRefused) {
  WriteText(source_ / "file", std::string(50'000, 'f'));
  FLOE_ASSERT_OK_AND_ASSIGN(
      const std::string image,
      MakeImage(source_.path(), "--chunksize=4096 --blobdev=" + (source_ / "blob").native()));
  FLOE_EXPECT_ERROR(IndexNative(image, NativeSourceOf(image)), ErrorCode::kUnimplemented,
                    "1 extra devices");
}

TEST_F(NativeSampleTest, WhiteoutsInOverlayFormBecomeWhiteouts) {
  if (::geteuid() != 0) {
    GTEST_SKIP() << "whiteouts are devices: needs root";
  }
  std::filesystem::create_directories(source_ / "opaque");
  std::filesystem::create_directories(source_ / "dir");
  ASSERT_EQ(::mknod((source_ / "gone").c_str(), S_IFCHR, makedev(0, 0)), 0);
  ASSERT_EQ(::link((source_ / "gone").c_str(), (source_ / "dir" / "gone-too").c_str()), 0);
  if (!SetXattr(source_ / "opaque", "trusted.overlay.opaque", "y")) {
    GTEST_SKIP() << "the file system has no trusted xattrs";
  }
  SetXattr(source_ / "dir", "trusted.overlay.origin", "");
  FLOE_ASSERT_OK_AND_ASSIGN(const std::string image, MakeImage(source_.path()));
  FLOE_ASSERT_OK_AND_ASSIGN(const image::IndexedLayer layer,
                            IndexNative(image, NativeSourceOf(image)));
  const image::LayerIndex& index = layer.index;
  const auto names = index.children(index.root());
  ASSERT_EQ(names.size(), 3U);
  EXPECT_EQ(index.str(names[1].name), "gone");
  EXPECT_EQ(names[1].inode, image::kWhiteoutInode);
  const image::Inode& dir = index.data().inodes[names[0].inode];
  EXPECT_EQ(index.children(dir)[0].inode, image::kWhiteoutInode);
  EXPECT_EQ(dir.flags, 0);
  EXPECT_EQ(dir.xattr_count, 0U);
  const image::Inode& opaque = index.data().inodes[names[2].inode];
  EXPECT_EQ(opaque.flags, image::kInodeOpaque);
  EXPECT_EQ(opaque.xattr_count, 0U);
}

TEST_F(NativeSampleTest, OrdersToOverlayfsAreRefused) {
  std::filesystem::create_directories(source_ / "dir");
  if (!SetXattr(source_ / "dir", "trusted.overlay.redirect", "/etc")) {
    GTEST_SKIP() << "no trusted xattrs here: needs root";
  }
  FLOE_ASSERT_OK_AND_ASSIGN(const std::string image, MakeImage(source_.path()));
  FLOE_EXPECT_ERROR(IndexNative(image, NativeSourceOf(image)), ErrorCode::kUnimplemented,
                    "'/dir': trusted.overlay.redirect");
}

TEST_F(NativeSampleTest, TheRootHasItsOwnMetadata) {
  ASSERT_EQ(::chmod(source_.path().c_str(), 0711), 0);
  FLOE_ASSERT_OK_AND_ASSIGN(const std::string image, MakeImage(source_.path()));
  FLOE_ASSERT_OK_AND_ASSIGN(const image::IndexedLayer layer,
                            IndexNative(image, NativeSourceOf(image)));
  EXPECT_EQ(layer.index.root().mode, S_IFDIR | 0711U);
  EXPECT_EQ(layer.index.root().flags, 0);
}

}  // namespace
}  // namespace floe::erofs::testing
