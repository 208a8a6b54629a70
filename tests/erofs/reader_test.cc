#include "erofs/reader.h"

#include <sys/stat.h>

#include <cstddef>
#include <random>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/byte_range.h"
#include "tests/erofs/layer_fixture.h"
#include "tests/erofs/sample_layers.h"
#include "tests/erofs/tree_dump.h"
#include "tests/support/result_matchers.h"

namespace floe::erofs::testing {
namespace {

Result<void> OpenAndValidate(std::string_view image) {
  FLOE_ASSIGN_OR_RETURN(const BootstrapReader reader, BootstrapReader::Open(image));
  return reader.Validate();
}

void FixChecksum(std::string& image) {
  StoreAt(image.data(), kSuperOffset + offsetof(SuperBlock, checksum), SuperBlockChecksum(image));
}

class ReaderTest : public ::testing::Test {
 protected:
  ReaderTest() {
    const std::string label = "a label that is long enough to be shared";
    LayerFixture layer;
    layer.File("file", TestContent(9000, 1), {.xattrs = {{"user.inline", "i"}, {"user.s", label}}});
    layer.Sparse("sparse", 3 * kBlockBytes, {{kBlockBytes, "x"}}, {.xattrs = {{"user.s", label}}});
    layer.HardLink("linked", "file").File("empty", "").Symlink("symlink", "target");
    layer.Symlink("zlong", std::string(4090, 'l')).Special("device", S_IFCHR, 5, 1);
    layer.Special("fifo", S_IFIFO).Dir("sub").File("sub/inner", "y").Dir("sub/deeper");
    for (int i = 0; i < 300; ++i) {
      layer.File("wide/some-name-" + std::to_string(i), "");
    }
    auto bootstrap = Stack({&layer}).Write();
    EXPECT_TRUE(bootstrap.has_value());
    good_ = bootstrap->bytes;
    auto reader = BootstrapReader::Open(good_);
    EXPECT_TRUE(reader.has_value());
    reader_.emplace(std::move(reader).value());
  }

  InodeInfo At(std::string_view path) {
    auto inode = reader_->Lookup(path);
    EXPECT_TRUE(inode.has_value()) << path;
    return inode.value();
  }

  /// The good image with one value overwritten must be refused with this code.
  template <typename T>
  void ExpectRefused(uint64_t offset, T value, const std::string& what,
                     ErrorCode code = ErrorCode::kDataLoss) {
    std::string image = good_;
    ASSERT_NE(LoadAt<T>(image, offset), value) << what << ": the mutation changes nothing";
    StoreAt(image.data(), offset, value);
    FixChecksum(image);
    const Result<void> valid = OpenAndValidate(image);
    ASSERT_FALSE(valid.has_value()) << what;
    EXPECT_EQ(valid.error().code, code) << what << ": " << valid.error().ToString();
  }

  template <typename T>
  void ExpectSuperRefused(uint64_t field, T value, ErrorCode code = ErrorCode::kDataLoss) {
    ExpectRefused(kSuperOffset + field, value, "superblock field at " + std::to_string(field),
                  code);
  }

  template <typename T>
  void ExpectInodeRefused(std::string_view path, uint64_t field, T value,
                          ErrorCode code = ErrorCode::kDataLoss) {
    ExpectRefused(At(path).offset + field, value,
                  std::string(path) + " field at " + std::to_string(field), code);
  }

  /// Offset of the n-th dirent of an inline directory.
  uint64_t DirentAt(std::string_view directory, uint64_t n) {
    const InodeInfo inode = At(directory);
    EXPECT_EQ(inode.layout, DataLayout::kFlatInline);
    return inode.offset + sizeof(ExtendedInode) + inode.xattr_bytes + n * sizeof(DirentOnDisk);
  }

  std::string good_;
  std::optional<BootstrapReader> reader_;
};

TEST_F(ReaderTest, GoodImageIsAccepted) { FLOE_EXPECT_OK(OpenAndValidate(good_)); }

TEST_F(ReaderTest, LookupFindsPathsAndSaysWhatIsMissing) {
  EXPECT_TRUE(S_ISDIR(At("").mode));
  EXPECT_TRUE(S_ISDIR(At(".").mode));
  EXPECT_EQ(At("sub/inner").size_bytes, 1U);
  FLOE_EXPECT_ERROR(reader_->Lookup("sub/none"), ErrorCode::kNotFound, "sub/none");
  FLOE_EXPECT_ERROR(reader_->Lookup("file/x"), ErrorCode::kNotFound, "file/x");
}

TEST_F(ReaderTest, AccessorsRefuseInodesOfOtherTypes) {
  std::vector<DirentInfo> dirents;
  FLOE_EXPECT_ERROR(reader_->ReadDirectory(At("file"), dirents), ErrorCode::kInvalidArgument,
                    "no directory");
  FLOE_EXPECT_ERROR(reader_->ReadSymlink(At("file")), ErrorCode::kInvalidArgument, "no symlink");
  FLOE_EXPECT_ERROR(reader_->ReadPieces(At("sub")), ErrorCode::kInvalidArgument, "no regular");
}

TEST_F(ReaderTest, OtherSizesThanTheSuperblockSaysAreRefused) {
  for (const std::string& image : {std::string(), good_.substr(0, 100), good_.substr(0, 4095),
                                   good_.substr(0, good_.size() - 1), good_ + "x"}) {
    FLOE_EXPECT_ERROR(BootstrapReader::Open(image), ErrorCode::kInvalidArgument, "bytes");
  }
  FLOE_EXPECT_ERROR(BootstrapReader::Open(good_.substr(0, good_.size() - kBlockBytes)),
                    ErrorCode::kDataLoss, "blocks");
  FLOE_EXPECT_ERROR(BootstrapReader::Open(good_ + std::string(kBlockBytes, '\0')),
                    ErrorCode::kDataLoss, "blocks");
}

TEST_F(ReaderTest, WrongChecksumIsRefused) {
  std::string image = good_;
  image[2000] = static_cast<char>(image[2000] ^ 1);
  FLOE_EXPECT_ERROR(BootstrapReader::Open(image), ErrorCode::kDataLoss, "checksum");
}

TEST_F(ReaderTest, SuperblockFieldsAreChecked) {
  constexpr ErrorCode kInvalid = ErrorCode::kInvalidArgument;
  ExpectSuperRefused(offsetof(SuperBlock, magic), 0xE0F5E1E3U, kInvalid);
  ExpectSuperRefused(offsetof(SuperBlock, feature_compat), 0x7U, kInvalid);
  ExpectSuperRefused(offsetof(SuperBlock, feature_compat), 0x2U, kInvalid);
  ExpectSuperRefused(offsetof(SuperBlock, block_bits), uint8_t{9}, kInvalid);
  ExpectSuperRefused(offsetof(SuperBlock, extension_slots), uint8_t{1}, kInvalid);
  ExpectSuperRefused(offsetof(SuperBlock, root_nid), uint16_t{0});
  ExpectSuperRefused(offsetof(SuperBlock, root_nid), uint16_t{0xFFFF});
  ExpectSuperRefused(offsetof(SuperBlock, root_nid), static_cast<uint16_t>(At("file").nid));
  ExpectSuperRefused(offsetof(SuperBlock, root_nid), static_cast<uint16_t>(At("sub").nid));
  ExpectSuperRefused(offsetof(SuperBlock, inode_count), uint64_t{1});
  ExpectSuperRefused(offsetof(SuperBlock, epoch), uint64_t{1}, kInvalid);
  ExpectSuperRefused(offsetof(SuperBlock, fixed_nanoseconds), 1U, kInvalid);
  ExpectSuperRefused(offsetof(SuperBlock, blocks), 1U);
  ExpectSuperRefused(offsetof(SuperBlock, meta_block), 1U << 30U);
  ExpectSuperRefused(offsetof(SuperBlock, xattr_block), 1U << 30U);
  ExpectSuperRefused(offsetof(SuperBlock, volume_name), 'x', kInvalid);
  ExpectSuperRefused(offsetof(SuperBlock, feature_incompat), 0x8CU, kInvalid);
  ExpectSuperRefused(offsetof(SuperBlock, feature_incompat), 0x8U, kInvalid);
  ExpectSuperRefused(offsetof(SuperBlock, feature_incompat), 0x4U);
  ExpectSuperRefused(offsetof(SuperBlock, compression_algorithms), uint16_t{1}, kInvalid);
  ExpectSuperRefused(offsetof(SuperBlock, extra_devices), uint16_t{0});
  ExpectSuperRefused(offsetof(SuperBlock, extra_devices), uint16_t{2});
  ExpectSuperRefused(offsetof(SuperBlock, extra_devices), uint16_t{0xFFFF});
  ExpectSuperRefused(offsetof(SuperBlock, device_table_slot), uint16_t{0});
  ExpectSuperRefused(offsetof(SuperBlock, device_table_slot), uint16_t{0xFFFF});
  ExpectSuperRefused(offsetof(SuperBlock, directory_block_bits), uint8_t{1}, kInvalid);
  ExpectSuperRefused(offsetof(SuperBlock, xattr_prefix_count), uint8_t{1}, kInvalid);
  ExpectSuperRefused(offsetof(SuperBlock, packed_nid), uint64_t{5}, kInvalid);
  ExpectSuperRefused(offsetof(SuperBlock, reserved), uint8_t{1}, kInvalid);
}

TEST_F(ReaderTest, DeviceTableIsChecked) {
  const uint64_t slot = kSuperOffset + sizeof(SuperBlock);
  ExpectRefused(slot, 'G', "tag");
  ExpectRefused(slot + offsetof(DeviceSlot, blocks), 0U, "blocks");
  ExpectRefused(slot + offsetof(DeviceSlot, blocks), 1U, "blocks");
  ExpectRefused(slot + offsetof(DeviceSlot, unified_address), 0U, "unified address");
  ExpectRefused(slot + offsetof(DeviceSlot, reserved), uint8_t{1}, "reserved");
}

TEST_F(ReaderTest, InodeFieldsAreChecked) {
  constexpr ErrorCode kInvalid = ErrorCode::kInvalidArgument;
  for (uint32_t format :
       {0x0U, 0x3U, 0x7U, 0xBU, 0x11U, 0x8001U}) {  // Compact, compressed, reserved bits.
    ExpectInodeRefused("file", offsetof(ExtendedInode, format), static_cast<uint16_t>(format),
                       kInvalid);
  }
  ExpectInodeRefused("file", offsetof(ExtendedInode, format), InodeFormat(DataLayout::kFlatPlain));
  ExpectInodeRefused("sub", offsetof(ExtendedInode, format), InodeFormat(DataLayout::kChunkBased));
  ExpectInodeRefused("empty", offsetof(ExtendedInode, xattr_count), uint16_t{1});
  ExpectInodeRefused("empty", offsetof(ExtendedInode, xattr_count), uint16_t{0xFFFF});
  ExpectInodeRefused("file", offsetof(ExtendedInode, mode), uint16_t{0644});
  ExpectInodeRefused("file", offsetof(ExtendedInode, mode), static_cast<uint16_t>(S_IFDIR | 0644));
  ExpectInodeRefused("fifo", offsetof(ExtendedInode, mode), static_cast<uint16_t>(S_IFSOCK | 0644));
  ExpectInodeRefused("file", offsetof(ExtendedInode, start_block_high), uint16_t{1});
  ExpectInodeRefused("file", offsetof(ExtendedInode, size), uint64_t{0});
  ExpectInodeRefused("file", offsetof(ExtendedInode, size), uint64_t{1} << 62U);
  ExpectInodeRefused("file", offsetof(ExtendedInode, size), uint64_t{200 * kBlockBytes});
  ExpectInodeRefused("empty", offsetof(ExtendedInode, size), uint64_t{1});
  ExpectInodeRefused("sub", offsetof(ExtendedInode, size), uint64_t{0});
  ExpectInodeRefused("sub", offsetof(ExtendedInode, size), uint64_t{5});
  ExpectInodeRefused("sub", offsetof(ExtendedInode, size), uint64_t{4000});
  ExpectInodeRefused("symlink", offsetof(ExtendedInode, size), uint64_t{0});
  ExpectInodeRefused("zlong", offsetof(ExtendedInode, size), uint64_t{4096});
  ExpectInodeRefused("fifo", offsetof(ExtendedInode, size), uint64_t{1});
  ExpectInodeRefused("fifo", offsetof(ExtendedInode, data), 1U);
  ExpectInodeRefused("empty", offsetof(ExtendedInode, data), 0U);
  ExpectInodeRefused("zlong", offsetof(ExtendedInode, data), 1U << 20U);
  ExpectInodeRefused("zlong", offsetof(ExtendedInode, data), 0U);
  ExpectInodeRefused("sub", offsetof(ExtendedInode, data), 0U);
  ExpectInodeRefused("file", offsetof(ExtendedInode, data), 0x61U);
  ExpectInodeRefused("file", offsetof(ExtendedInode, data), 0x01U);
  ExpectInodeRefused("file", offsetof(ExtendedInode, data), 0x10020U);
  ExpectInodeRefused("file", offsetof(ExtendedInode, mtime_nanoseconds), 1'000'000'000U);
  ExpectInodeRefused("file", offsetof(ExtendedInode, nlink), 1U);
  ExpectInodeRefused("file", offsetof(ExtendedInode, nlink), 0U);
  ExpectInodeRefused("sub", offsetof(ExtendedInode, nlink), 2U);
  ExpectInodeRefused("sub", offsetof(ExtendedInode, reserved), uint8_t{1});
}

TEST_F(ReaderTest, ChunksAreChecked) {
  const InodeInfo sparse = At("sparse");
  const uint64_t chunks = AlignUp(sparse.offset + sizeof(ExtendedInode) + sparse.xattr_bytes, 8);
  const uint64_t mapped = chunks + sizeof(ChunkIndex);
  ExpectRefused(chunks + offsetof(ChunkIndex, device), uint16_t{1}, "a hole with a device");
  ExpectRefused(chunks + offsetof(ChunkIndex, start_block), 0U, "a block without a device");
  ExpectRefused(mapped + offsetof(ChunkIndex, device), uint16_t{0}, "the unified space");
  ExpectRefused(mapped + offsetof(ChunkIndex, device), uint16_t{2}, "a device that is not there");
  ExpectRefused(mapped + offsetof(ChunkIndex, start_block), 1U << 20U, "past the device");
  ExpectRefused(mapped + offsetof(ChunkIndex, start_block_high), uint16_t{1}, "48-bit blocks");
}

TEST_F(ReaderTest, DirentsAreChecked) {
  // sub: ".", "..", "deeper", "inner".
  const auto field = [&](uint64_t n, uint64_t offset) { return DirentAt("sub", n) + offset; };
  const uint64_t nid = offsetof(DirentOnDisk, nid_low);
  const auto low = [&](std::string_view path) { return static_cast<uint32_t>(At(path).nid); };
  ExpectRefused(field(0, nid), low("file"), ". is another inode");
  ExpectRefused(field(1, nid), low("sub"), ".. is not the parent");
  ExpectRefused(field(2, nid), low("sub"), "a cycle");
  ExpectRefused(field(2, nid), low("."), "the root again");
  ExpectRefused(field(2, nid), low("wide"), "a directory with two names");
  ExpectRefused(field(3, nid), low("empty"), "a link too many");
  ExpectRefused(field(3, nid), low("sub/inner") + 1, "between two inodes",
                ErrorCode::kInvalidArgument);
  ExpectRefused(field(3, nid), UINT32_MAX, "outside");
  ExpectRefused(field(3, offsetof(DirentOnDisk, nid_high)), 0x80000000U, "a metabox nid");
  ExpectRefused(field(3, offsetof(DirentOnDisk, file_type)), uint8_t{2}, "a wrong type");
  ExpectRefused(field(3, offsetof(DirentOnDisk, reserved)), uint8_t{1}, "reserved");
  ExpectRefused(field(0, offsetof(DirentOnDisk, name_offset)), uint16_t{0}, "no names");
  ExpectRefused(field(0, offsetof(DirentOnDisk, name_offset)), uint16_t{47}, "odd names");
  ExpectRefused(field(0, offsetof(DirentOnDisk, name_offset)), uint16_t{0xFFFC}, "far names");
  ExpectRefused(field(2, offsetof(DirentOnDisk, name_offset)), uint16_t{48}, "names backwards");
  ExpectRefused(field(3, offsetof(DirentOnDisk, name_offset)), uint16_t{0xFFFF}, "far name");
}

TEST_F(ReaderTest, NamesAreChecked) {
  const uint64_t names = DirentAt("sub", 4);  // "...deeperinner"
  ASSERT_EQ(good_.substr(names, 14), "...deeperinner");
  ExpectRefused(names + 3, 'z', "unsorted");
  ExpectRefused(names + 4, '/', "a slash");
  ExpectRefused(names + 4, '\0', "a NUL");
  ExpectRefused(names, 'a', "no .");
}

TEST_F(ReaderTest, DirectoryBlocksAreChecked) {
  const InodeInfo wide = At("wide");
  ASSERT_NE(wide.blocks_offset, 0U);
  ExpectRefused(wide.blocks_offset + offsetof(DirentOnDisk, name_offset), uint16_t{12 * 300},
                "names after other dirents");
  ExpectInodeRefused("wide", offsetof(ExtendedInode, data), 1U << 20U);
  ExpectInodeRefused("wide", offsetof(ExtendedInode, data), 0U);
}

TEST_F(ReaderTest, XattrsAreChecked) {
  const uint64_t area = At("file").offset + sizeof(ExtendedInode);
  const uint64_t id = area + sizeof(XattrHeader);
  const uint64_t entry = id + sizeof(uint32_t);
  ExpectRefused(area, 1U, "a name filter");
  ExpectRefused(area + offsetof(XattrHeader, shared_count), uint8_t{200}, "too many shared");
  ExpectRefused(area + offsetof(XattrHeader, reserved), uint8_t{1}, "reserved");
  ExpectRefused(id, UINT32_MAX, "a shared id outside");
  ExpectRefused(entry + offsetof(XattrEntry, name_length), uint8_t{255}, "cut off");
  ExpectRefused(entry + offsetof(XattrEntry, name_length), uint8_t{0}, "no name");
  ExpectRefused(entry + offsetof(XattrEntry, prefix), uint8_t{5}, "unknown prefix");
  ExpectRefused(entry + offsetof(XattrEntry, prefix), uint8_t{2}, "an ACL with a name");
  ExpectRefused(entry + offsetof(XattrEntry, prefix), uint8_t{0x81}, "a long prefix");
  ExpectRefused(entry + offsetof(XattrEntry, value_size), uint16_t{0xFFFF}, "cut off");
  ExpectRefused(entry + sizeof(XattrEntry), '\0', "a NUL in the name");
}

TEST_F(ReaderTest, SymlinkTargetsAreChecked) {
  ExpectRefused(At("symlink").offset + sizeof(ExtendedInode), '\0', "a NUL in the target");
}

TEST_F(ReaderTest, InodesThatOverlapAreRefused) {
  // The last entry of sub names an inode made of another inode's chunk area.
  std::string image = good_;
  const InodeInfo file = At("file");
  const InodeInfo inner = At("sub/inner");
  const ExtendedInode copy = LoadAt<ExtendedInode>(image, inner.offset);
  const uint64_t inside = file.offset + 2 * kSlotBytes;
  ASSERT_LE(inside, file.offset + BootstrapReader::InodeBytes(file));
  StoreAt(image.data(), inside, copy);
  StoreAt(image.data(), DirentAt("sub", 3), static_cast<uint32_t>(file.nid + 2));
  FixChecksum(image);
  EXPECT_FALSE(OpenAndValidate(image).has_value());
}

TEST_F(ReaderTest, DataInTheBlockOfTheSuperblockIsRefused) {
  // The bytes before the superblock are free to hold a target.
  const std::string target = "target";
  const uint64_t symlink = At("symlink").offset;
  std::string image = good_;
  image.replace(0, target.size(), target);
  StoreAt(image.data(), symlink + offsetof(ExtendedInode, format),
          InodeFormat(DataLayout::kFlatPlain));
  StoreAt(image.data(), symlink + offsetof(ExtendedInode, data), uint32_t{0});
  FixChecksum(image);
  FLOE_EXPECT_ERROR(OpenAndValidate(image), ErrorCode::kDataLoss, "1 blocks from block 0");
}

TEST_F(ReaderTest, DirectoriesLargerThanTheImageAreRefused) {
  // Rounded up to blocks, these sizes are small again.
  for (const uint64_t size : {UINT64_MAX, UINT64_MAX - kBlockBytes + 2}) {
    std::string image = good_;
    const uint64_t wide = At("wide").offset;
    StoreAt(image.data(), wide + offsetof(ExtendedInode, format),
            InodeFormat(DataLayout::kFlatPlain));
    StoreAt(image.data(), wide + offsetof(ExtendedInode, size), size);
    StoreAt(image.data(), wide + offsetof(ExtendedInode, data), kNoBlock);
    FixChecksum(image);
    FLOE_ASSERT_OK_AND_ASSIGN(const auto reader, BootstrapReader::Open(image));
    FLOE_EXPECT_ERROR(reader.ReadInode(At("wide").nid), ErrorCode::kDataLoss, "blocks from block");
  }
}

/// Reads all that can be read, whatever Validate says.
void ReadEverything(const BootstrapReader& reader, uint64_t nid, int depth) {
  const auto inode = reader.ReadInode(nid);
  if (!inode.has_value()) {
    return;
  }
  (void)reader.ReadXattrs(*inode);
  (void)reader.ReadSymlink(*inode);
  (void)reader.ReadPieces(*inode);
  std::vector<DirentInfo> dirents;
  if (depth == 0 || !reader.ReadDirectory(*inode, dirents).has_value()) {
    return;
  }
  for (const DirentInfo& dirent : dirents) {
    ReadEverything(reader, dirent.nid, depth - 1);
  }
}

TEST_F(ReaderTest, RandomDamageNeverReadsOutside) {
  constexpr uint32_t kSeed = 20240607;
  SCOPED_TRACE("seed " + std::to_string(kSeed));
  std::mt19937 random(kSeed);
  // Byte for byte in a buffer of its own size, so that the sanitizer sees every byte too far.
  for (int round = 0; round < 3000; ++round) {
    std::string image = good_;
    image.shrink_to_fit();
    for (uint32_t i = 0; i < 1 + random() % 4; ++i) {
      const size_t at = kSuperOffset + random() % (image.size() - kSuperOffset);
      image[at] = static_cast<char>(random());
    }
    FixChecksum(image);
    const auto reader = BootstrapReader::Open(image);
    if (reader.has_value()) {
      (void)reader->Validate();
      ReadEverything(*reader, reader->root_nid(), 3);
    }
  }
}

}  // namespace
}  // namespace floe::erofs::testing
