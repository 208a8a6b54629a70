// Images that mkfs.erofs does not write: other block sizes and features, and everything wrong.
#include "erofs/native_reader.h"

#include <sys/stat.h>

#include <functional>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "erofs/claimed_ranges.h"
#include "erofs/native_tree.h"
#include "tests/erofs/native_support.h"
#include "tests/erofs/tiny_image.h"
#include "tests/support/result_matchers.h"

namespace floe::erofs::testing {
namespace {

constexpr uint8_t kUser = 1;

uint8_t Type(uint32_t mode) { return FileTypeOfMode(mode); }

Result<NativeTree> ReadTree(const std::string& image) {
  MemoryImage bytes(image);
  return ReadNativeTree(bytes);
}

/// An image of one regular file "file".
std::string ImageOfFile(const TinyInode& file, uint8_t block_bits = kBlockBits) {
  TinyImage image(block_bits);
  image.AddBlocks("content");
  const uint64_t nid = image.Add(file);
  return image.Finish(image.AddDirectory({{"file", nid, Type(file.mode)}}));
}

std::string ImageOfXattrs(std::string area) {
  return ImageOfFile({.mode = S_IFREG | 0644, .xattrs = std::move(area)});
}

class NativeBlockSizeTest : public ::testing::TestWithParam<uint8_t> {};

TEST_P(NativeBlockSizeTest, TheSampleIsRead) {
  const std::string image = SampleTinyImage(GetParam());
  const uint64_t block = uint64_t{1} << GetParam();
  FLOE_ASSERT_OK_AND_ASSIGN(const image::IndexedLayer layer,
                            IndexNative(image, NativeSourceOf(image)));
  FLOE_ASSERT_OK_AND_ASSIGN(const Tree tree, TreeOfLayer(layer, image));
  const std::string content = std::string(block, 'a') + std::string(block, 'b') + "tail";
  EXPECT_EQ(tree.at("plain").content, content);
  EXPECT_EQ(tree.at("plain").uid, 7U);
  EXPECT_EQ(tree.at("plain").nlink, 2U);
  EXPECT_EQ(tree.at("sub/linked").same_inode_as, "plain");
  EXPECT_EQ(tree.at("tail").content, std::string(block, 'a') + "inlin");
  EXPECT_EQ(tree.at("tail").xattrs,
            (Xattrs{{"user.deep.er", "long"}, {"user.one", "1"}, {"user.shared", "of all"}}));
  EXPECT_EQ(tree.at("chunks").content, std::string(block, 'a') + std::string(block, '\0') + "bbb");
  EXPECT_EQ(tree.at("chunks").mtime_seconds, 1'600'000'005);
  EXPECT_EQ(tree.at("indexes").content,
            std::string(block, 'a') + std::string(block, '\0') + std::string(block, 'b'));
  EXPECT_EQ(tree.at("link").content, "target");
  EXPECT_EQ(tree.at("device").rdev_minor, 300U);
  EXPECT_FALSE(tree.contains("gone"));
  FLOE_ASSERT_OK_AND_ASSIGN(const Tree overlay, TreeOfLayer(layer, image, WhiteoutForm::kOverlay));
  EXPECT_TRUE(S_ISCHR(overlay.at("gone").mode));
  EXPECT_EQ(overlay.at("sub").xattrs.at("trusted.overlay.opaque"), "y");
}

INSTANTIATE_TEST_SUITE_P(Bits, NativeBlockSizeTest, ::testing::Values(9, 10, 11, 12));

TEST(NativeReaderTest, OtherThingsAreNoImage) {
  FLOE_EXPECT_ERROR(ReadTree(""), ErrorCode::kInvalidArgument, "not an EROFS image: 0 bytes");
  FLOE_EXPECT_ERROR(ReadTree(std::string(1U << 16U, 'x')), ErrorCode::kInvalidArgument,
                    "not an EROFS image: magic 0x78787878");
}

struct SuperCase {
  const char* name;
  std::function<void(SuperBlock&)> change;
  ErrorCode code;
  const char* text;
};

class NativeSuperBlockTest : public ::testing::TestWithParam<SuperCase> {};

TEST_P(NativeSuperBlockTest, IsChecked) {
  TinyImage image;
  const uint64_t root = image.AddDirectory({});
  std::string bytes = image.Finish(root);
  FLOE_ASSERT_OK(ReadTree(bytes));
  auto super = LoadAt<SuperBlock>(bytes, kSuperOffset);
  GetParam().change(super);
  StoreAt(bytes.data(), kSuperOffset, super);
  FLOE_EXPECT_ERROR(ReadTree(bytes), GetParam().code, GetParam().text);
}

INSTANTIATE_TEST_SUITE_P(
    Rules, NativeSuperBlockTest,
    ::testing::Values(
        SuperCase{"feature_48_bit", [](SuperBlock& s) { s.feature_incompat |= 0x80; },
                  ErrorCode::kUnimplemented, "features 0x80"},
        SuperCase{"feature_metabox", [](SuperBlock& s) { s.feature_incompat |= 0x100; },
                  ErrorCode::kUnimplemented, "features 0x100"},
        SuperCase{"blocks_of_64k", [](SuperBlock& s) { s.block_bits = 16; },
                  ErrorCode::kUnimplemented, "blocks of 2^16"},
        SuperCase{"blocks_of_256", [](SuperBlock& s) { s.block_bits = 8; },
                  ErrorCode::kUnimplemented, "blocks of 2^8"},
        SuperCase{"directory_blocks", [](SuperBlock& s) { s.directory_block_bits = 1; },
                  ErrorCode::kUnimplemented, "directory blocks of 2^1"},
        SuperCase{"devices", [](SuperBlock& s) { s.extra_devices = 2; }, ErrorCode::kUnimplemented,
                  "2 extra devices"},
        SuperCase{"too_many_blocks", [](SuperBlock& s) { s.blocks += 1; }, ErrorCode::kDataLoss,
                  "blocks of 4096 bytes"},
        SuperCase{"no_blocks", [](SuperBlock& s) { s.blocks = 0; }, ErrorCode::kDataLoss,
                  "0 blocks"},
        SuperCase{"checksum", [](SuperBlock& s) { s.feature_compat |= kCompatChecksum; },
                  ErrorCode::kDataLoss, "superblock checksum"},
        SuperCase{"root_outside", [](SuperBlock& s) { s.root_nid = 60000; }, ErrorCode::kDataLoss,
                  "inode 60000 lies outside"},
        SuperCase{"metadata_outside", [](SuperBlock& s) { s.meta_block = 0xFFFFFFFF; },
                  ErrorCode::kDataLoss, "lies outside"},
        SuperCase{"root_is_none", [](SuperBlock& s) { s.root_nid += 20; }, ErrorCode::kDataLoss,
                  "of mode 0"},
        SuperCase{"prefixes_outside",
                  [](SuperBlock& s) {
                    s.feature_incompat |= kIncompatXattrPrefixes;
                    s.xattr_prefix_count = 1;
                    s.xattr_prefix_start = 0xFFFFFFFF;
                  },
                  ErrorCode::kDataLoss, "table of long xattr prefixes"},
        SuperCase{"packed_inode",
                  [](SuperBlock& s) {
                    s.feature_incompat |= kIncompatXattrPrefixes | kIncompatFragments;
                    s.xattr_prefix_count = 1;
                    s.packed_nid = s.root_nid;
                  },
                  ErrorCode::kDataLoss, "packed inode"}),
    [](const auto& rule) { return rule.param.name; });

TEST(NativeReaderTest, CompatFeaturesAreTolerated) {
  TinyImage image;
  image.super.feature_compat = 0xFFFFFFFE;
  image.super.feature_incompat = 0x3F;
  FLOE_EXPECT_OK(ReadTree(image.Finish(image.AddDirectory({}))));
}

TEST(NativeReaderTest, LongPrefixesMayLieInThePackedInode) {
  TinyImage image;
  std::string table(8, '\0');
  table += std::string(
      "\x05\x00\x01"
      "far.",
      7);
  table += '\0';
  const uint64_t packed =
      image.Add({.mode = S_IFREG | 0777, .size = table.size(), .data = image.AddBlocks(table)});
  image.super.feature_incompat |= kIncompatXattrPrefixes | kIncompatFragments;
  image.super.xattr_prefix_count = 1;
  image.super.xattr_prefix_start = 2;
  image.super.packed_nid = packed;
  const uint64_t file =
      image.Add({.mode = S_IFREG | 0644,
                 .xattrs = TinyImage::XattrArea({}, TinyImage::XattrBytes(0x80, "off", "v"))});
  FLOE_ASSERT_OK_AND_ASSIGN(
      const NativeTree tree,
      ReadTree(image.Finish(image.AddDirectory({{"file", file, Type(S_IFREG)}}))));
  const auto* node = tree.tree.Find({image::LayerTree::kRoot, "file"});
  ASSERT_NE(node, nullptr);
  EXPECT_EQ(tree.tree.node(*node).xattrs.at("user.far.off"), "v");
}

struct InodeCase {
  const char* name;
  TinyInode inode;
  ErrorCode code;
  const char* text;
};

class NativeInodeTest : public ::testing::TestWithParam<InodeCase> {};

TEST_P(NativeInodeTest, IsChecked) {
  const auto result = ReadTree(ImageOfFile(GetParam().inode));
  FLOE_EXPECT_ERROR(result, GetParam().code, GetParam().text);
  EXPECT_THAT(result.error().message, ::testing::HasSubstr("'/file': "));
}

INSTANTIATE_TEST_SUITE_P(
    Rules, NativeInodeTest,
    ::testing::Values(
        InodeCase{"compressed_full",
                  {.mode = S_IFREG, .layout = DataLayout::kCompressedFull, .size = 5},
                  ErrorCode::kUnimplemented,
                  "compressed inodes"},
        InodeCase{"compressed_compact",
                  {.mode = S_IFREG, .layout = DataLayout::kCompressedCompact, .size = 5},
                  ErrorCode::kUnimplemented,
                  "compressed inodes"},
        InodeCase{"format_bits",
                  {.mode = S_IFREG, .format_bits = 0x10},
                  ErrorCode::kUnimplemented,
                  "format 0x10"},
        InodeCase{"layout_7",
                  {.mode = S_IFREG, .layout = static_cast<DataLayout>(7)},
                  ErrorCode::kUnimplemented,
                  "format 0xe"},
        InodeCase{"huge",
                  {.mode = S_IFREG, .extended = true, .size = 1ULL << 60U},
                  ErrorCode::kDataLoss,
                  "has 1152921504606846976 bytes"},
        InodeCase{"data_outside",
                  {.mode = S_IFREG, .size = 9000, .data = 8},
                  ErrorCode::kDataLoss,
                  "9000 bytes from block 8"},
        InodeCase{"symlink_at_no_block",
                  {.mode = S_IFLNK, .size = 1, .data = kNoBlock},
                  ErrorCode::kDataLoss,
                  "from block 4294967295"},
        InodeCase{"tail_leaves_its_block",
                  {.mode = S_IFREG, .layout = DataLayout::kFlatInline, .size = 4090},
                  ErrorCode::kDataLoss,
                  "leaves its block"},
        InodeCase{"chunk_format",
                  {.mode = S_IFREG, .layout = DataLayout::kChunkBased, .size = 1, .data = 0x40},
                  ErrorCode::kDataLoss,
                  "chunk format 0x40"},
        InodeCase{"chunk_map_outside",
                  {.mode = S_IFREG,
                   .extended = true,
                   .layout = DataLayout::kChunkBased,
                   .size = 1ULL << 40U},
                  ErrorCode::kDataLoss,
                  "lie outside of the image"},
        InodeCase{"chunk_outside",
                  {.mode = S_IFREG,
                   .layout = DataLayout::kChunkBased,
                   .size = 1,
                   .rest = std::string("\x0a\0\0\0", 4)},
                  ErrorCode::kDataLoss,
                  "data at byte 40960"},
        InodeCase{"chunk_on_a_device",
                  {.mode = S_IFREG,
                   .layout = DataLayout::kChunkBased,
                   .size = 1,
                   .data = kChunkIndexes,
                   .rest = std::string("\0\0\1\0\1\0\0\0", 8)},
                  ErrorCode::kDataLoss,
                  "device 1"},
        InodeCase{"empty_symlink", {.mode = S_IFLNK}, ErrorCode::kDataLoss, "has 0 bytes"},
        InodeCase{"long_symlink",
                  {.mode = S_IFLNK, .size = 4096, .data = 8},
                  ErrorCode::kDataLoss,
                  "has 4096 bytes"},
        InodeCase{"symlink_with_nul",
                  {.mode = S_IFLNK, .size = 8, .data = 8},
                  ErrorCode::kDataLoss,
                  "NUL in its target"},
        InodeCase{"empty_directory", {.mode = S_IFDIR}, ErrorCode::kDataLoss, "has 0 bytes"},
        InodeCase{"directory_of_chunks",
                  {.mode = S_IFDIR, .layout = DataLayout::kChunkBased, .size = 4096},
                  ErrorCode::kDataLoss,
                  "in layout 4"}),
    [](const auto& rule) { return rule.param.name; });

struct XattrCase {
  const char* name;
  std::string area;
  const char* text;
};

class NativeXattrTest : public ::testing::TestWithParam<XattrCase> {};

TEST_P(NativeXattrTest, IsChecked) {
  FLOE_EXPECT_ERROR(ReadTree(ImageOfXattrs(GetParam().area)), ErrorCode::kDataLoss,
                    GetParam().text);
}

std::string CutOff(std::string entry) {
  entry.resize(8);
  return TinyImage::XattrArea({}, entry);
}

INSTANTIATE_TEST_SUITE_P(
    Rules, NativeXattrTest,
    ::testing::Values(
        XattrCase{"twice",
                  TinyImage::XattrArea({}, TinyImage::XattrBytes(kUser, "a", "1") +
                                               TinyImage::XattrBytes(kUser, "a", "2")),
                  "an xattr twice"},
        XattrCase{"unknown_prefix", TinyImage::XattrArea({}, TinyImage::XattrBytes(9, "a", "1")),
                  "prefix 9"},
        XattrCase{"no_name", TinyImage::XattrArea({}, TinyImage::XattrBytes(kUser, "", "1")),
                  "prefix 1"},
        XattrCase{"acl_with_a_name", TinyImage::XattrArea({}, TinyImage::XattrBytes(2, "a", "1")),
                  "prefix 2"},
        XattrCase{"long_prefix_that_is_none",
                  TinyImage::XattrArea({}, TinyImage::XattrBytes(0x83, "a", "1")),
                  "long prefix 3, there are 0"},
        XattrCase{"cut_off", CutOff(TinyImage::XattrBytes(kUser, "abcdefghij", "1")), "cut off"},
        XattrCase{"shared_outside", TinyImage::XattrArea({0xFFFFFFFF}, ""),
                  "shared xattr 4294967295"},
        XattrCase{"too_many_shared", std::string("\0\0\0\0\xff", 5) + std::string(11, '\0'),
                  "255 shared xattrs"}),
    [](const auto& rule) { return rule.param.name; });

struct DirectoryCase {
  const char* name;
  std::vector<NativeDirent> entries;  ///< Nid 1 stands for the file, 2 for the directory itself.
  const char* text;
};

class NativeDirectoryTest : public ::testing::TestWithParam<DirectoryCase> {};

TEST_P(NativeDirectoryTest, IsChecked) {
  TinyImage image;
  const uint64_t file = image.Add({.mode = S_IFREG | 0644});
  const uint64_t root = image.AddDirectory(std::vector<NativeDirent>(10, NativeDirent{"x", 0, 1}));
  std::vector<NativeDirent> entries = GetParam().entries;
  for (NativeDirent& entry : entries) {
    entry.nid = entry.nid == 1 ? file : entry.nid == 2 ? root : entry.nid;
  }
  std::string block = TinyImage::DirectoryBytes(entries);
  block.resize(155, '\0');  // No longer than the directory that is replaced.
  image.Write(32768, block);
  FLOE_EXPECT_ERROR(ReadTree(image.Finish(root)), ErrorCode::kDataLoss, GetParam().text);
}

const NativeDirent kDot = {".", 2, 2};
const NativeDirent kDotDot = {"..", 2, 2};

INSTANTIATE_TEST_SUITE_P(
    Rules, NativeDirectoryTest,
    ::testing::Values(
        DirectoryCase{"no_dots", {{"a", 1, 1}}, "lacks . or .."},
        DirectoryCase{"no_dot_dot", {kDot, {"a", 1, 1}}, "lacks . or .."},
        DirectoryCase{"wrong_dot", {{".", 1, 2}, kDotDot}, "'/.': it is inode"},
        DirectoryCase{"wrong_dot_dot", {kDot, {"..", 1, 2}}, "'/..': it is inode"},
        DirectoryCase{"unsorted", {kDot, kDotDot, {"b", 1, 1}, {"a", 1, 1}}, "unsorted name"},
        DirectoryCase{"same_name", {kDot, kDotDot, {"a", 1, 1}, {"a", 1, 1}}, "unsorted name"},
        DirectoryCase{"slash", {kDot, kDotDot, {"a/b", 1, 1}}, "bad or unsorted name"},
        DirectoryCase{"nul",
                      {kDot, kDotDot, {std::string("a\0b", 3), 1, 1}, {"c", 1, 1}},
                      "bad or unsorted name"},
        DirectoryCase{"cycle", {kDot, kDotDot, {"a", 2, 2}}, "is reached twice"},
        DirectoryCase{"wrong_type", {kDot, kDotDot, {"a", 1, 2}}, "its name says type 2"},
        DirectoryCase{"wrong_type_of_a_link",
                      {kDot, kDotDot, {"a", 1, 1}, {"b", 1, 3}},
                      "is of type 1, not 3"},
        DirectoryCase{"nid_outside", {kDot, kDotDot, {"a", 1ULL << 40U, 1}}, "lies outside"},
        DirectoryCase{
            "nid_that_overflows", {kDot, kDotDot, {"a", 1ULL << 59U, 1}}, "lies outside"}),
    [](const auto& rule) { return rule.param.name; });

TEST(NativeTreeTest, ADirectoryIsReachedOnce) {
  TinyImage image;
  const uint64_t sub = image.AddDirectory({});
  const uint64_t root = image.AddDirectory({{"a", sub, 2}, {"b", sub, 2}});
  image.SetParent(sub, root);
  FLOE_EXPECT_ERROR(ReadTree(image.Finish(root)), ErrorCode::kDataLoss,
                    "'/b': directory 64 is reached twice");
}

TEST(NativeTreeTest, MetadataDoesNotOverlap) {
  TinyImage image;
  const uint64_t file =
      image.Add({.mode = S_IFREG | 0644, .extended = true, .layout = DataLayout::kChunkBased});
  // An inode within the other one's second half.
  const TinyInode inner = {.mode = S_IFREG | 0644};
  image.Add(inner);
  image.Replace(file + 1, inner);
  const uint64_t root = image.AddDirectory({{"a", file, 1}, {"b", file + 1, 1}});
  FLOE_EXPECT_ERROR(ReadTree(image.Finish(root)), ErrorCode::kDataLoss, "lie where other metadata");
}

TEST(NativeTreeTest, AFileAtNoBlockIsAHole) {
  const std::string image =
      ImageOfFile({.mode = S_IFREG | 0644, .size = 100'000, .data = kNoBlock});
  FLOE_ASSERT_OK_AND_ASSIGN(const image::IndexedLayer layer,
                            IndexNative(image, NativeSourceOf(image)));
  FLOE_ASSERT_OK_AND_ASSIGN(const Tree tree, TreeOfLayer(layer, image));
  EXPECT_EQ(tree.at("file").content, std::string(100'000, '\0'));
  EXPECT_TRUE(layer.index.data().units.empty());
}

TEST(NativeTreeTest, HolesOfChunksTakeNoDeviceSpace) {
  // Chunks of 16 MiB: three holes, and five bytes.
  const std::string image =
      ImageOfFile({.mode = S_IFREG | 0644,
                   .layout = DataLayout::kChunkBased,
                   .size = (48U << 20U) + 5,
                   .data = 12,
                   .rest = std::string(12, '\xFF') + std::string("\x08\0\0\0", 4)});
  FLOE_ASSERT_OK_AND_ASSIGN(const image::IndexedLayer layer,
                            IndexNative(image, NativeSourceOf(image)));
  EXPECT_EQ(layer.index.data().blobs[0].device_size_bytes, kBlockBytes);
  ASSERT_EQ(layer.index.data().segments.size(), 1U);
  EXPECT_EQ(layer.index.data().segments[0].file_offset, 48U << 20U);
}

TEST(NativeTreeTest, FilesThatShareBlocksCannotGrowWithoutBounds) {
  TinyImage image;
  const uint32_t blocks = image.AddBlocks(std::string(1U << 20U, 'd'));
  std::vector<NativeDirent> entries;
  for (int i = 0; i < 100; ++i) {
    const uint64_t nid = image.Add({.mode = S_IFREG | 0644, .size = 1U << 20U, .data = blocks});
    entries.push_back({std::to_string(i), nid, Type(S_IFREG)});
  }
  const std::string bytes = image.Finish(image.AddDirectory(std::move(entries)));
  FLOE_EXPECT_OK(ReadTree(bytes));
  MemoryImage memory(bytes);
  FLOE_EXPECT_ERROR(ReadNativeTree(memory, {.max_ratio = 50, .ratio_free_bytes = 1U << 20U}),
                    ErrorCode::kInvalidArgument, "more than 50 times");
}

TEST(NativeTreeTest, TheLimitsHold) {
  const std::string image = SampleTinyImage();
  MemoryImage bytes(image);
  FLOE_EXPECT_ERROR(ReadNativeTree(bytes, {.max_file_bytes = 5000}), ErrorCode::kInvalidArgument,
                    "files of more than 5000 bytes");
  FLOE_EXPECT_ERROR(ReadNativeTree(bytes, {.max_pieces = 1}), ErrorCode::kInvalidArgument,
                    "more than 1 pieces");
  FLOE_EXPECT_ERROR(ReadNativeTree(bytes, {.max_xattr_bytes = 8}), ErrorCode::kInvalidArgument,
                    "more than 8 bytes of xattrs");
}

TEST(NativeTreeTest, FilesAreInTheOrderOfTheirData) {
  TinyImage image;
  const uint32_t blocks = image.AddBlocks(std::string(2 * kBlockBytes, 'd'));
  const auto add = [&](uint32_t block) {
    return image.Add({.mode = S_IFREG | 0644, .size = kBlockBytes, .data = block});
  };
  const uint64_t late = add(blocks + 1);
  const uint64_t early = add(blocks);
  FLOE_ASSERT_OK_AND_ASSIGN(
      const NativeTree tree,
      ReadTree(image.Finish(image.AddDirectory({{"a", late, 1}, {"b", early, 1}}))));
  EXPECT_LT(*tree.tree.Find({0, "b"}), *tree.tree.Find({0, "a"}));
}

TEST(ClaimedRangesTest, NoTwoOverlap) {
  ClaimedRanges claimed;
  EXPECT_TRUE(claimed.Claim({100, 50}));
  EXPECT_TRUE(claimed.Claim({200, 50}));
  EXPECT_TRUE(claimed.Claim({150, 50}));  // Joins both.
  EXPECT_FALSE(claimed.Claim({249, 1}));
  EXPECT_FALSE(claimed.Claim({0, 101}));
  EXPECT_FALSE(claimed.Claim({120, 10}));
  EXPECT_FALSE(claimed.Claim({0, 1000}));
  EXPECT_TRUE(claimed.Claim({250, 1}));
  EXPECT_TRUE(claimed.Claim({99, 1}));
  EXPECT_TRUE(claimed.Claim({120, 0}));
  EXPECT_FALSE(claimed.Claim({UINT64_MAX, 2}));
}

}  // namespace
}  // namespace floe::erofs::testing
