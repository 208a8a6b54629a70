// What no fixture has, and what is wrong: images written by hand, read by the reader.
#include "image/rafs/rafs_layer.h"

#include <sys/stat.h>

#include <map>
#include <random>
#include <string>
#include <utility>

#include <gtest/gtest.h>

#include "tests/image/rafs/rafs_support.h"
#include "tests/image/rafs/rafs_writer.h"
#include "tests/support/result_matchers.h"

namespace floe::image::rafs {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

std::string Prose(size_t bytes, uint32_t seed) {
  std::mt19937 random(seed);
  std::string text;
  while (text.size() < bytes) {
    text += std::to_string(random() % 1000) + " words ";
  }
  text.resize(bytes);
  return text;
}

/// Reads a written image, with the chunk information of its files.
Result<RafsLayer> Read(const WrittenImage& image) {
  const Bytes bytes = AsBytes(image.bootstrap);
  FLOE_ASSIGN_OR_RETURN(const Bootstrap bootstrap, ReadBootstrap(bytes));
  std::vector<BlobSource> sources;
  for (size_t i = 0; i < bootstrap.blobs.size(); ++i) {
    BlobSource& source = sources.emplace_back();
    source.size_bytes = image.blobs[i].size();
    FLOE_ASSIGN_OR_RETURN(source.chunk_info, ReadChunkInfoFile(AsBytes(image.chunk_info_files[i]),
                                                               bootstrap.blobs[i]));
  }
  return ReadRafsLayer(bytes, bootstrap, sources);
}

Result<std::vector<std::string>> Fill(const RafsLayer& layer, const WrittenImage& image) {
  return FillDevices(layer.index, layer.windows, [&](const Digest& digest) {
    for (const std::string& blob : image.blobs) {
      if (Digest::Of(blob) == digest) {
        return blob;
      }
    }
    return std::string();
  });
}

/// A tree with some of everything; large/many has more than a block of names.
WriterNode SampleTree(const std::vector<uint32_t>& blobs) {
  std::vector<WriterNode> many;
  for (int i = 1000; i < 1300; ++i) {
    many.push_back(File("a-rather-long-name-" + std::to_string(i), std::to_string(i), blobs));
  }
  WriterNode link;
  link.name = "link";
  link.mode = S_IFLNK | 0777;
  link.content = "../large/many";
  WriterNode device;
  device.name = "null";
  device.mode = S_IFCHR | 0666;
  device.device = 0x103;
  WriterNode whiteout = device;
  whiteout.name = "whiteout";
  whiteout.device = 0;
  WriterNode file = File("file", Prose(20000, 1), blobs);
  file.uid = 1000;
  file.gid = 2000;
  file.xattrs = {{1, "one", "1"}, {4, "thing", "2"}, {4, "overlay.opaque", "y"}, {6, "x", ""}};
  WriterNode opaque = Directory("opaque", {});
  opaque.xattrs = {{4, "overlay.opaque", "y"}};
  return Directory("",
                   {Directory("dev", {std::move(device), std::move(whiteout)}), File("empty", ""),
                    std::move(file), Directory("large", {Directory("many", std::move(many))}),
                    std::move(link), std::move(opaque)});
}

void ExpectSampleTree(const RafsLayer& layer, const WrittenImage& image) {
  FLOE_ASSERT_OK_AND_ASSIGN(const auto devices, Fill(layer, image));
  const Inode* file = FindPath(layer.index, "file");
  ASSERT_NE(file, nullptr);
  EXPECT_EQ(ReadFileOf(layer.index, *file, devices), Prose(20000, 1));
  EXPECT_EQ(file->uid, 1000U);
  EXPECT_EQ(file->gid, 2000U);
  for (int i = 1000; i < 1300; ++i) {
    const Inode* small =
        FindPath(layer.index, "large/many/a-rather-long-name-" + std::to_string(i));
    ASSERT_NE(small, nullptr);
    EXPECT_EQ(ReadFileOf(layer.index, *small, devices), std::to_string(i));
  }
  EXPECT_EQ(layer.index.str(FindPath(layer.index, "link")->target), "../large/many");
  EXPECT_EQ(FindPath(layer.index, "dev/null")->rdev_major, 1U);
  EXPECT_EQ(FindPath(layer.index, "dev/null")->rdev_minor, 3U);
  EXPECT_EQ(FindPath(layer.index, "empty")->size_bytes, 0U);
}

class RafsLayerTest : public ::testing::Test {};

TEST_F(RafsLayerTest, ReadsEveryKindOfBlob) {
  for (const Compressor compressor :
       {Compressor::kNone, Compressor::kLz4Block, Compressor::kZstd}) {
    for (const DigestKind digest : {DigestKind::kBlake3, DigestKind::kSha256}) {
      for (const int form : {1, 2, 3}) {
        const WrittenImage image = WriteImage(SampleTree({0}), {.compressor = compressor,
                                                                .digest_kind = digest,
                                                                .chunk_info_v2 = form >= 2,
                                                                .batch = form == 3});
        FLOE_ASSERT_OK_AND_ASSIGN(const RafsLayer layer, Read(image));
        ExpectSampleTree(layer, image);
        EXPECT_EQ(layer.index.data().groups.front().digest_kind, digest);
      }
    }
  }
}

TEST_F(RafsLayerTest, CompactInodesHaveTheBuildTime) {
  const WrittenImage image = WriteImage(SampleTree({0}), {.compact = true});
  FLOE_ASSERT_OK_AND_ASSIGN(const RafsLayer layer, Read(image));
  ExpectSampleTree(layer, image);
  EXPECT_EQ(FindPath(layer.index, "file")->mtime_seconds, 1234567890);
}

TEST_F(RafsLayerTest, ChunksOfOneFileLieInSeveralBlobs) {
  // As with a chunk dictionary: blob 1 is of another image, some of its chunks are used here.
  const WrittenImage image =
      WriteImage(SampleTree({0, 1, 0, 2, 2}), {.blob_count = 3, .sorted_table = false});
  FLOE_ASSERT_OK_AND_ASSIGN(const RafsLayer layer, Read(image));
  ExpectSampleTree(layer, image);
  std::vector<uint32_t> blobs;
  for (const Segment& segment : layer.index.segments(*FindPath(layer.index, "file"))) {
    blobs.push_back(segment.blob);
  }
  EXPECT_THAT(blobs, ElementsAre(0, 1, 0, 2));  // The last two chunks are neighbours.
}

TEST_F(RafsLayerTest, ChunksThatNoFileUsesAreDropped) {
  WrittenImage image = WriteImage(Directory("", {File("a", Prose(9000, 1)), File("b", "b")}), {});
  // The file b becomes empty.
  const ByteRange inode = image.parts["inodes"][2];
  image.bootstrap[inode.offset + 8] = 0;
  FLOE_ASSERT_OK_AND_ASSIGN(const RafsLayer layer, Read(image));
  EXPECT_EQ(layer.index.data().groups.size(), 3U);
  FLOE_ASSERT_OK_AND_ASSIGN(const auto devices, Fill(layer, image));
  EXPECT_EQ(ReadFileOf(layer.index, *FindPath(layer.index, "a"), devices), Prose(9000, 1));
}

TEST_F(RafsLayerTest, ABlobThatNoFileUsesHasNoDevice) {
  const WrittenImage image = WriteImage(Directory("", {File("a", "a", {1})}), {.blob_count = 2});
  FLOE_ASSERT_OK_AND_ASSIGN(const RafsLayer layer, Read(image));
  EXPECT_EQ(layer.index.data().blobs[0].device_size_bytes, 0U);
  EXPECT_EQ(layer.index.data().blobs[1].device_size_bytes, 4096U);
}

TEST_F(RafsLayerTest, WhatOverlayfsWouldTakeForItsOwnIsLeftOut) {
  const WrittenImage image = WriteImage(SampleTree({0}), {});
  FLOE_ASSERT_OK_AND_ASSIGN(const RafsLayer layer, Read(image));
  EXPECT_EQ(FindPath(layer.index, "dev/whiteout"), nullptr);
  EXPECT_EQ(FindPath(layer.index, "opaque")->xattr_count, 0U);
  EXPECT_EQ(FindPath(layer.index, "opaque")->flags, 0);
  std::vector<std::string> names;
  for (const Xattr& xattr : layer.index.xattrs(*FindPath(layer.index, "file"))) {
    names.emplace_back(layer.index.str(xattr.name));
  }
  EXPECT_THAT(names, ElementsAre("security.x", "trusted.thing", "user.one"));
}

TEST_F(RafsLayerTest, AFormatWordThatSpansTheWholeFile) {
  const WrittenImage image =
      WriteImage(Directory("", {File("a", Prose(50000, 3))}), {.wide_format = true});
  FLOE_ASSERT_OK_AND_ASSIGN(const RafsLayer layer, Read(image));
  FLOE_ASSERT_OK_AND_ASSIGN(const auto devices, Fill(layer, image));
  const Inode* file = FindPath(layer.index, "a");
  EXPECT_EQ(file->segment_count, 1U);
  EXPECT_EQ(ReadFileOf(layer.index, *file, devices), Prose(50000, 3));
}

TEST_F(RafsLayerTest, AFormatWordThatTheIndexesContradict) {
  const WrittenImage image = WriteImage(Directory("", {File("a", Prose(50000, 3), {0, 1})}),
                                        {.blob_count = 2, .wide_format = true});
  FLOE_EXPECT_ERROR(Read(image), ErrorCode::kDataLoss, "is not where its chunk format puts it");
}

TEST_F(RafsLayerTest, ANullIndexIsAHole) {
  WrittenImage image = WriteImage(Directory("", {File("a", Prose(12288, 3))}), {});
  const uint64_t at = image.parts["chunk indexes"][0].offset + 8;
  image.bootstrap.replace(at, 8, "\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF");
  FLOE_ASSERT_OK_AND_ASSIGN(const RafsLayer layer, Read(image));
  FLOE_ASSERT_OK_AND_ASSIGN(const auto devices, Fill(layer, image));
  const Inode* file = FindPath(layer.index, "a");
  EXPECT_EQ(file->segment_count, 2U);
  std::string expected = Prose(12288, 3);
  expected.replace(4096, 4096, 4096, '\0');
  EXPECT_EQ(ReadFileOf(layer.index, *file, devices), expected);
}

TEST_F(RafsLayerTest, PrefetchFollowsTheList) {
  const WriterNode tree =
      Directory("", {File("a", Prose(9000, 1)),
                     Directory("d", {File("b", "bbb"), File("c", "ccc")}), File("e", "eee")});
  const std::map<std::string, uint32_t> nids = WriteImage(tree, {}).nids;
  const WrittenImage image = WriteImage(
      tree, {.prefetch = {nids.at("e"), nids.at("d"), 99999, nids.at("d/c"), 0, nids.at("a")}});
  FLOE_ASSERT_OK_AND_ASSIGN(const RafsLayer layer, Read(image));
  const LayerIndexData& data = layer.index.data();
  ASSERT_EQ(data.units.size(), 6U);
  ASSERT_EQ(data.prefetch.size(), 2U);
  EXPECT_EQ(data.prefetch[0].first_unit, 5U);  // e; then b and c; 0 ends the list.
  EXPECT_EQ(data.prefetch[1].first_unit, 3U);
  EXPECT_EQ(data.prefetch[1].unit_count, 2U);
}

TEST_F(RafsLayerTest, PrefetchOfTheRootIsNoList) {
  const WrittenImage image = WriteImage(SampleTree({0, 1}), {.blob_count = 2, .prefetch = {128}});
  FLOE_ASSERT_OK_AND_ASSIGN(const RafsLayer layer, Read(image));
  EXPECT_TRUE(layer.index.data().prefetch.empty());
}

TEST_F(RafsLayerTest, BatchesNeedChunkInformation) {
  const WrittenImage image = WriteImage(SampleTree({0}), {.chunk_info_v2 = true, .batch = true});
  FLOE_ASSERT_OK_AND_ASSIGN(const Bootstrap bootstrap, ReadBootstrap(AsBytes(image.bootstrap)));
  const std::vector<BlobSource> sources = {
      {.size_bytes = image.blobs[0].size(), .media_type = "", .chunk_info = {}}};
  FLOE_EXPECT_ERROR(ReadRafsLayer(AsBytes(image.bootstrap), bootstrap, sources),
                    ErrorCode::kDataLoss, "blob 0: its chunk information is missing");
}

TEST_F(RafsLayerTest, ABlobThatIsTooShort) {
  const WrittenImage image = WriteImage(SampleTree({0}), {});
  FLOE_ASSERT_OK_AND_ASSIGN(const Bootstrap bootstrap, ReadBootstrap(AsBytes(image.bootstrap)));
  const std::vector<BlobSource> sources = {{.size_bytes = 10, .media_type = "", .chunk_info = {}}};
  FLOE_EXPECT_ERROR(ReadRafsLayer(AsBytes(image.bootstrap), bootstrap, sources),
                    ErrorCode::kDataLoss, "of chunks in 10");
}

TEST_F(RafsLayerTest, AHeaderOnlyChunkInformationFile) {
  const WrittenImage image = WriteImage(SampleTree({0}), {});
  FLOE_ASSERT_OK_AND_ASSIGN(const Bootstrap bootstrap, ReadBootstrap(AsBytes(image.bootstrap)));
  FLOE_ASSERT_OK_AND_ASSIGN(
      const auto info,
      ReadChunkInfoFile(AsBytes(image.chunk_info_files[0]).last(kChunkInfoHeaderBytes),
                        bootstrap.blobs[0]));
  EXPECT_FALSE(info.has_value());
}

/// A byte of the bootstrap that is changed, and what is said about it.
struct Lie {
  const char* name;
  const char* part;
  size_t entry;  ///< Which of the part's ranges.
  size_t at;
  std::string bytes;
  ErrorCode code;
  const char* says;
};

class RafsLieTest : public ::testing::TestWithParam<Lie> {};

TEST_P(RafsLieTest, IsRefused) {
  const Lie& lie = GetParam();
  WrittenImage image = WriteImage(SampleTree({0, 1}), {.blob_count = 2, .chunk_info_v2 = true});
  ASSERT_LT(lie.entry, image.parts[lie.part].size());
  const ByteRange part = image.parts[lie.part][lie.entry];
  ASSERT_LE(lie.at + lie.bytes.size(), part.length);
  image.bootstrap.replace(part.offset + lie.at, lie.bytes.size(), lie.bytes);
  FLOE_EXPECT_ERROR(Read(image), lie.code, lie.says);
}

std::string Number(uint64_t value, size_t bytes) {
  std::string text;
  for (size_t i = 0; i < bytes; ++i) {
    text.push_back(static_cast<char>(value >> (8 * i)));
  }
  return text;
}

constexpr ErrorCode kLoss = ErrorCode::kDataLoss;
constexpr ErrorCode kNot = ErrorCode::kUnimplemented;

// Inodes in the order of the tree: 0 root, 1 dev, 2 null, 3 whiteout, 4 empty, 5 file, 6 large.
INSTANTIATE_TEST_SUITE_P(
    All, RafsLieTest,
    ::testing::Values(
        Lie{"Magic", "superblock", 0, 0, "x", ErrorCode::kInvalidArgument, "not RAFS"},
        Lie{"NotRafs", "superblock", 0, 11, Number(0, 1), ErrorCode::kInvalidArgument,
            "but not RAFS v6"},
        Lie{"Checksum", "superblock", 0, 4, "x", kLoss, "a checksum"},
        Lie{"BlockSize", "superblock", 0, 12, Number(13, 1), kNot, "blocks of 2^13 bytes"},
        Lie{"Feature", "superblock", 0, 80, Number(0x1C, 1), kNot, "incompatible features 0x1c"},
        Lie{"NoInodes", "superblock", 0, 16, Number(0, 8), kLoss, "0 inodes"},
        Lie{"FewInodes", "superblock", 0, 16, Number(5, 8), kLoss, "more than 5 inodes"},
        Lie{"RootOutside", "superblock", 0, 14, Number(65535, 2), kLoss, "inode 65535 is outside"},
        Lie{"RootNoDirectory", "inodes", 0, 4, Number(S_IFREG | 0644, 2), kLoss,
            "the root is no directory"},
        Lie{"MetadataOutside", "superblock", 0, 40, Number(0xFFFFFFF, 4), kLoss, "inodes at"},
        Lie{"ManyDevices", "superblock", 0, 86, Number(300, 2), kLoss, "300 devices"},
        Lie{"Encrypted", "extended superblock", 0, 3, Number(2, 1), kNot,
            "encrypted blobs (AES-128-XTS)"},
        Lie{"Tarfs", "extended superblock", 0, 1, Number(2, 1), kNot, "tarfs"},
        Lie{"TwoCompressors", "extended superblock", 0, 0, Number(0xB6, 1), kLoss,
            "do not name one compressor"},
        Lie{"UnknownFlag", "extended superblock", 0, 2, Number(1, 1), kNot, "unknown RAFS flags"},
        Lie{"BlobTableSize", "extended superblock", 0, 16, Number(256, 4), kLoss, "a blob table"},
        Lie{"BlobTableAlignment", "extended superblock", 0, 8, Number(4097, 8), kLoss,
            "the blob table is at 4097"},
        Lie{"ChunkTableOverlap", "extended superblock", 0, 24, Number(4096, 8), kLoss, "overlaps"},
        Lie{"ChunkTableOutside", "extended superblock", 0, 32, Number(80000000, 8), kLoss,
            "the chunk table is at"},
        Lie{"ChunkSize", "extended superblock", 0, 20, Number(5000, 4), kLoss,
            "chunks of 5000 bytes"},
        Lie{"SlotName", "device slots", 0, 3, "!", kLoss, "its device slot is of"},
        Lie{"SlotBlocks", "device slots", 0, 64, Number(1, 4), kLoss, "with 1 blocks"},
        Lie{"BlobId", "blob table", 0, 3, "!", kLoss, "its id is"},
        Lie{"BlobIndex", "blob table", 0, 64, Number(1, 4), kLoss, "its entry is of blob 1"},
        Lie{"BlobCompressor", "blob table", 0, 76, Number(9, 4), kNot, "unknown compressor (9"},
        Lie{"BlobFeature", "blob table", 0, 85, Number(0x10, 1), kNot, "unknown features 0x1000"},
        Lie{"BlobEncrypted", "blob table", 0, 85, Number(1, 1), kNot, "encrypted blobs"},
        Lie{"BlobCipher", "blob table", 0, 216, Number(1, 4), kNot, "encrypted blobs"},
        Lie{"BlobExternal", "blob table", 0, 85, Number(8, 1), kNot, "external blobs"},
        Lie{"BlobNotAligned", "blob table", 0, 84, Number(4, 1), kLoss, "do not go together"},
        Lie{"BlobSize", "blob table", 0, 88, Number(1ULL << 41U, 8), kLoss, "chunks in"},
        Lie{"ChunkInfoSize", "blob table", 0, 128, Number(1, 8), kLoss, "chunk information at"},
        Lie{"ChunkInfoCount", "blob table", 0, 72, Number(3, 4), kLoss, "chunk information at"},
        Lie{"InodeLayout", "inodes", 5, 0, Number(3, 1), kNot, "inode"},
        Lie{"FileInline", "inodes", 5, 0, Number(1, 1), kNot, "not in chunks"},
        Lie{"FileFormat", "inodes", 5, 16, Number(0x60, 4), kNot, "not in chunks"},
        Lie{"FileSize", "inodes", 5, 8, Number(20001, 8), kLoss, "no chunk 2 of 3617 bytes"},
        Lie{"FileHuge", "inodes", 5, 8, Number(1ULL << 62U, 8), kLoss, "inodes share bytes"},
        Lie{"DirectoryLinks", "inodes", 1, 44, Number(3, 4), kLoss, "3 links, not 2"},
        Lie{"FileLinks", "inodes", 5, 44, Number(0, 4), kLoss, "0 links, not 1"},
        Lie{"DirectorySize", "inodes", 1, 8, Number(11, 8), kLoss, "a block with bad entries"},
        Lie{"DirectoryEmpty", "inodes", 1, 8, Number(0, 8), kLoss, "is missing"},
        Lie{"DirectoryOutside", "inodes", 1, 8, Number(1ULL << 40U, 8), kLoss, "share bytes"},
        Lie{"XattrCount", "inodes", 5, 2, Number(4, 2), kLoss, "an xattr"},
        Lie{"XattrIndex", "xattrs", 0, 13, Number(5, 1), kNot, "an xattr with name index 5"},
        Lie{"XattrShared", "xattrs", 0, 4, Number(1, 1), kNot, "shared xattrs"},
        Lie{"Dot", "dirents", 1, 0, Number(128, 8), kLoss, "\".\" is inode 128"},
        Lie{"DotDot", "dirents", 1, 12, Number(129, 8), kLoss, "\"..\" is inode 129"},
        Lie{"FileType", "dirents", 0, 24 + 10, Number(1, 1), kLoss, "has file type 1"},
        Lie{"NidOutside", "dirents", 0, 24, Number(1ULL << 50U, 8), kLoss, "is outside"},
        Lie{"Cycle", "dirents", 0, 24, Number(128, 8), kLoss, "which has another name"},
        Lie{"NameOffset", "dirents", 0, 8, Number(13, 2), kLoss, "a block with bad entries"},
        Lie{"IndexDevice", "chunk indexes", 1, 2, Number(3, 1), kLoss, "is on device 3 of 2"},
        Lie{"IndexNoDevice", "chunk indexes", 1, 2, Number(0, 1), kLoss, "is on device 0"},
        Lie{"IndexBlock", "chunk indexes", 1, 4, Number(9000, 4), kLoss, "no chunk"},
        Lie{"IndexNumber", "chunk indexes", 1, 0, Number(9, 2), kLoss, "no chunk 9"},
        Lie{"ChunkBlob", "chunk table", 0, 32, Number(2, 4), kLoss, "it is of blob 2 of 2"},
        Lie{"ChunkFlags", "chunk table", 0, 36, Number(0x40, 4), kNot, "unknown flags 0x40"},
        Lie{"ChunkEncrypted", "chunk table", 0, 36, Number(4, 4), kNot, "encrypted blobs"},
        Lie{"ChunkDevice", "chunk table", 0, 56, Number(1, 8), kLoss, "of a device of"},
        Lie{"ChunkFar", "chunk table", 0, 48, Number(1ULL << 63U, 8), kLoss, "of its blob"},
        Lie{"ChunkZero", "chunk table", 0, 44, Number(0, 4), kLoss, "of a device of"},
        Lie{"ChunkIndex", "chunk table", 0, 72, Number(9999, 4), kLoss, "number 9999"}),
    [](const auto& test) { return std::string(test.param.name); });

TEST_F(RafsLayerTest, AnInodeReachedAsTwoDirectories) {
  WrittenImage image = WriteImage(Directory("", {Directory("a", {}), Directory("b", {})}), {});
  // "b" (the last of the root's names) becomes "a" again.
  const ByteRange names = image.parts["dirents"][0];
  image.bootstrap.replace(names.offset + 36, 8, Number(image.nids["a"], 8));
  FLOE_EXPECT_ERROR(Read(image), ErrorCode::kDataLoss, "which has another name");
}

TEST_F(RafsLayerTest, ChunkInformationThatDisagrees) {
  const WriterOptions v2{.chunk_info_v2 = true};
  const WrittenImage image = WriteImage(Directory("", {File("a", Prose(9000, 1))}), v2);
  const struct {
    size_t at;
    const char* says;
  } kLies[] = {{0, "chunk information says"},
               {4, "chunk information says"},
               {7, "flags 0x"},
               {8, "chunk information says"},
               {13, "chunk information says"}};
  for (const auto& lie : kLies) {
    WrittenImage changed = image;
    changed.chunk_info_files[0][lie.at] =
        static_cast<char>(changed.chunk_info_files[0][lie.at] ^ 1);
    FLOE_EXPECT_ERROR(Read(changed), ErrorCode::kDataLoss, lie.says);
  }
}

TEST_F(RafsLayerTest, AChunkInformationHeaderThatLies) {
  const WrittenImage image = WriteImage(Directory("", {File("a", Prose(9000, 1))}),
                                        {.chunk_info_v2 = true, .batch = true});
  const size_t header = image.chunk_info_files[0].size() - kChunkInfoHeaderBytes;
  for (const size_t at : {0U, 4U, 8U, 12U, 16U, 24U, 32U, 40U, 48U, 56U, 4095U}) {
    WrittenImage changed = image;
    changed.chunk_info_files[0][header + at] =
        static_cast<char>(changed.chunk_info_files[0][header + at] ^ 8);
    EXPECT_FALSE(Read(changed).has_value()) << at;
  }
}

TEST_F(RafsLayerTest, LegacyImages) {
  const WriterNode tree = SampleTree({0});
  WrittenImage image = WriteImage(tree, {.sorted_table = false});
  // A size, but no place, of a prefetch table.
  image.bootstrap.replace(1152 + 48, 4, Number(4, 4));
  FLOE_ASSERT_OK_AND_ASSIGN(const RafsLayer layer, Read(image));
  EXPECT_THAT(layer.index.data().prefetch, IsEmpty());
  ExpectSampleTree(layer, image);
}

TEST_F(RafsLayerTest, AnImageWithoutBlobs) {
  const WrittenImage image = WriteImage(Directory("", {Directory("a", {})}), {.blob_count = 0});
  FLOE_ASSERT_OK_AND_ASSIGN(const RafsLayer layer, Read(image));
  EXPECT_THAT(layer.index.data().blobs, IsEmpty());
  EXPECT_NE(FindPath(layer.index, "a"), nullptr);
}

TEST_F(RafsLayerTest, CutOffBootstraps) {
  const WrittenImage image = WriteImage(SampleTree({0}), {});
  for (size_t size = 0; size < image.bootstrap.size(); size += 512) {
    WrittenImage cut = image;
    cut.bootstrap.resize(size);
    EXPECT_FALSE(Read(cut).has_value()) << size;
  }
}

}  // namespace
}  // namespace floe::image::rafs
