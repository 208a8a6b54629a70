#include "erofs/writer.h"

#include <sys/stat.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/byte_range.h"
#include "erofs/format.h"
#include "erofs/reader.h"
#include "tests/erofs/layer_fixture.h"
#include "tests/erofs/sample_layers.h"
#include "tests/erofs/tree_dump.h"
#include "tests/support/result_matchers.h"

namespace floe::erofs::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Pair;
using ::testing::SizeIs;

Bootstrap MustWrite(const std::vector<const LayerFixture*>& layers) {
  auto bootstrap = Stack(layers).Write();
  EXPECT_TRUE(bootstrap.has_value()) << bootstrap.error().ToString();
  return bootstrap.has_value() ? std::move(bootstrap).value() : Bootstrap{};
}

BootstrapReader MustOpen(const Bootstrap& bootstrap) {
  auto reader = BootstrapReader::Open(bootstrap.bytes);
  EXPECT_TRUE(reader.has_value()) << reader.error().ToString();
  auto valid = reader->Validate();
  EXPECT_TRUE(valid.has_value()) << valid.error().ToString();
  return std::move(reader).value();
}

TEST(WriterTest, EmptyLayerIsOneBlockWithoutDevices) {
  const LayerFixture layer;
  const Bootstrap bootstrap = MustWrite({&layer});
  EXPECT_EQ(bootstrap.bytes.size(), kBlockBytes);
  EXPECT_EQ(bootstrap.inode_count, 1U);
  EXPECT_THAT(bootstrap.devices, IsEmpty());
  const BootstrapReader reader = MustOpen(bootstrap);
  EXPECT_EQ(reader.super().feature_incompat, kIncompatChunkedFile);
}

TEST(WriterTest, EqualInputGivesEqualBytes) {
  const SampleLayers sample;
  const Bootstrap first = MustWrite(sample.layers());
  const Bootstrap second = MustWrite(SampleLayers().layers());
  EXPECT_EQ(first.bytes, second.bytes);
}

TEST(WriterTest, OtherContentHasAnotherUuid) {
  LayerFixture one;
  LayerFixture other;
  one.File("f", "a");
  other.File("g", "a");
  const Bootstrap first = MustWrite({&one});
  const Bootstrap second = MustWrite({&other});
  EXPECT_NE(MustOpen(first).super().uuid, MustOpen(second).super().uuid);
}

TEST(WriterTest, EverythingOfTheSampleIsReadBack) {
  const SampleLayers sample;
  const auto layers = sample.layers();
  const Bootstrap bootstrap = MustWrite(layers);
  FLOE_ASSERT_OK_AND_ASSIGN(const Tree tree,
                            DumpBootstrap(bootstrap.bytes, DevicesOf(bootstrap, layers)));
  EXPECT_EQ(tree.at(".").mode, S_IFDIR | 0751U);
  EXPECT_EQ(tree.at("sizes/f300001").content, TestContent(300001, 300001));
  EXPECT_EQ(tree.at("sizes/f4097").content, TestContent(4097, 8));
  EXPECT_EQ(tree.at("sizes/two-blobs").content,
            TestContent(4 * kBlockBytes, 4) + std::string(2 * kBlockBytes, '\0'));
  EXPECT_EQ(tree.at("owners/big").gid, 4294967293U);
  EXPECT_EQ(tree.at("times/old").mtime_seconds, -86400);
  EXPECT_EQ(tree.at("times/nsec").mtime_nanoseconds, 987654321U);
  EXPECT_EQ(tree.at("special/blk").rdev_minor, 70000U);
  EXPECT_EQ(tree.at("links/long").content, std::string(4095, 'l'));
  EXPECT_EQ(tree.at("links/target").nlink, 3U);
  EXPECT_EQ(tree.at("xattrs/link").xattrs.at("trusted.big"), std::string(4000, 'b'));
  EXPECT_EQ(tree.at("xattrs/same39").xattrs.at("user.own"), "39");
  EXPECT_EQ(tree.count("many/entry-7"), 0U);
  EXPECT_EQ(tree.count("many/entry-2999"), 1U);
}

TEST(WriterTest, OnlyReferencedBlobsAreDevicesInLayerOrder) {
  LayerFixture bottom;
  LayerFixture middle;
  LayerFixture top;
  bottom.File("replaced", "old");
  middle.UseBlob(1).File("b1", "1").UseBlob(2).File("b2", "2").UseBlob(0).File("gone", "0");
  top.File("replaced", "new").Whiteout("gone");
  const Bootstrap bootstrap = MustWrite({&bottom, &middle, &top});
  ASSERT_THAT(bootstrap.devices, SizeIs(3));
  EXPECT_EQ(bootstrap.devices[0].layer, 1U);
  EXPECT_EQ(bootstrap.devices[0].blob, 1U);
  EXPECT_EQ(bootstrap.devices[1].blob, 2U);
  EXPECT_EQ(bootstrap.devices[2].layer, 2U);
  EXPECT_EQ(bootstrap.devices[2].tag, top.Tags()[0]);
  const BootstrapReader reader = MustOpen(bootstrap);
  ASSERT_THAT(reader.devices(), SizeIs(3));
  EXPECT_EQ(reader.devices()[2].tag, top.Tags()[0]);
  EXPECT_EQ(reader.devices()[2].size_bytes, kBlockBytes);
}

TEST(WriterTest, LayersOfOneBlobShareItsDevice) {
  LayerFixture layer;
  layer.File("f", "same");
  LayerFixture top;
  top.File("g", "same");
  const Bootstrap bootstrap = MustWrite({&layer, &top});
  EXPECT_THAT(bootstrap.devices, SizeIs(1));
}

TEST(WriterTest, WholeFilesHaveOneChunk) {
  LayerFixture layer;
  layer.SkipBlocks(3).File("f", TestContent(10 << 20, 1));
  const Bootstrap bootstrap = MustWrite({&layer});
  const BootstrapReader reader = MustOpen(bootstrap);
  FLOE_ASSERT_OK_AND_ASSIGN(const InodeInfo file, reader.Lookup("f"));
  EXPECT_EQ(BootstrapReader::InodeBytes(file), sizeof(ExtendedInode) + sizeof(ChunkIndex));
  FLOE_ASSERT_OK_AND_ASSIGN(const auto pieces, reader.ReadPieces(file));
  ASSERT_THAT(pieces, SizeIs(1));
  EXPECT_EQ(pieces[0].device_offset, 3 * kBlockBytes);
}

TEST(WriterTest, LargeEqualXattrsAreStoredOnce) {
  const std::string value(1000, 'v');
  LayerFixture layer;
  for (int i = 0; i < 100; ++i) {
    layer.File("f" + std::to_string(i), "", {.xattrs = {{"user.x", value}}});
  }
  const Bootstrap bootstrap = MustWrite({&layer});
  EXPECT_LT(bootstrap.bytes.size(), 30000U);
  FLOE_ASSERT_OK_AND_ASSIGN(const Tree tree, Merge({&layer}));
  EXPECT_EQ(tree.at("f99").xattrs.at("user.x"), value);
}

TEST(WriterTest, MoreSharedXattrsThanTheHeaderCounts) {
  Xattrs xattrs;
  for (int i = 0; i < 300; ++i) {
    xattrs["user.long-enough-to-be-shared-" + std::to_string(i)] = std::string(40, 'x');
  }
  LayerFixture layer;
  layer.File("a", "", {.xattrs = xattrs}).File("b", "", {.xattrs = xattrs});
  FLOE_ASSERT_OK_AND_ASSIGN(const Tree tree, Merge({&layer}));
  EXPECT_EQ(tree.at("a").xattrs, xattrs);
  EXPECT_EQ(tree.at("b").xattrs, xattrs);
}

TEST(WriterTest, XattrsThatUnpackingLeavesOutAreLeftOutAndNamed) {
  LayerFixture layer;
  layer.File(
      "f", "",
      {.xattrs = {
           {"com.apple.provenance", "x"}, {"user.kept", "k"}, {"trusted.overlay.opaque", "y"}}});
  layer.Symlink("s", "f", {.mode = 0777, .xattrs = {{"user.on-a-link", "x"}}});
  const std::vector<const LayerFixture*> layers = {&layer};
  const Bootstrap bootstrap = MustWrite(layers);
  EXPECT_THAT(bootstrap.skipped_xattrs,
              ElementsAre("com.apple.provenance", "trusted.overlay.opaque", "user.on-a-link"));
  FLOE_ASSERT_OK_AND_ASSIGN(const Tree tree,
                            DumpBootstrap(bootstrap.bytes, DevicesOf(bootstrap, layers)));
  EXPECT_THAT(tree.at("f").xattrs, ElementsAre(Pair("user.kept", "k")));
  EXPECT_THAT(tree.at("s").xattrs, IsEmpty());
}

TEST(WriterTest, OverlongXattrValueIsRefusedByName) {
  LayerFixture layer;
  layer.File("f", "", {.xattrs = {{"user.huge", std::string(65536, 'x')}}});
  FLOE_EXPECT_ERROR(Stack({&layer}).Write(), ErrorCode::kInvalidArgument, "user.huge");
}

TEST(WriterTest, MoreXattrsThanAnInodeHoldsAreRefused) {
  Xattrs xattrs;
  for (int i = 0; i < 5; ++i) {
    xattrs["user.x" + std::to_string(i)] = std::string(60000, 'x');
  }
  LayerFixture layer;
  layer.File("f", "", {.xattrs = xattrs});
  FLOE_EXPECT_ERROR(Stack({&layer}).Write(), ErrorCode::kInvalidArgument, "too many for EROFS");
}

TEST(WriterTest, SparseFileOfAbsurdlyManyChunksIsRefused) {
  LayerFixture layer;
  layer.Sparse("f", image::kMaxFileBytes, {{kBlockBytes, "x"}});
  FLOE_EXPECT_ERROR(Stack({&layer}).Write(), ErrorCode::kInvalidArgument, "exceeds");
}

TEST(WriterTest, WrongDeviceTagsAreRefused) {
  LayerFixture layer;
  layer.File("f", "x");
  Stack none;
  none.Push(layer.Build(), {});
  FLOE_EXPECT_ERROR(none.Write(), ErrorCode::kInvalidArgument, "0 device tags");
  Stack odd;
  odd.Push(layer.Build(), {"sha256:" + std::string(57, 'a')});
  FLOE_EXPECT_ERROR(odd.Write(), ErrorCode::kInvalidArgument, "64 hex digits");
}

TEST(WriterTest, DevicesBeyondTheUnifiedSpaceHaveNoAddressInIt) {
  // Three devices of 2^31 blocks: the third would end past 2^32.
  Stack stack;
  for (int i = 0; i < 3; ++i) {
    LayerFixture layer;
    layer.File("f" + std::to_string(i), "x");
    image::LayerIndexData data = layer.Data();
    data.blobs[0].device_size_bytes = image::kMaxDeviceBytes;
    FLOE_ASSERT_OK_AND_ASSIGN(image::LayerIndex index, image::LayerIndex::Create(std::move(data)));
    stack.Push(std::move(index), {std::string(63, 'a') + std::to_string(i)});
  }
  FLOE_ASSERT_OK_AND_ASSIGN(const Bootstrap bootstrap, stack.Write());
  MustOpen(bootstrap);
  const uint64_t table = kSuperOffset + sizeof(SuperBlock);
  const auto slot = [&](uint64_t i) {
    return LoadAt<DeviceSlot>(bootstrap.bytes, table + i * sizeof(DeviceSlot));
  };
  EXPECT_EQ(slot(0).unified_address, 1U);
  EXPECT_EQ(slot(1).unified_address, 0U);
  EXPECT_EQ(slot(2).unified_address, 0U);
}

TEST(WriterTest, ManyDevicesMoveTheRootButKeepItsNidSmall) {
  LayerFixture layer;
  for (uint32_t blob = 0; blob < 5000; ++blob) {
    layer.UseBlob(blob).File("f" + std::to_string(blob), std::to_string(blob));
  }
  const Bootstrap bootstrap = MustWrite({&layer});
  EXPECT_EQ(bootstrap.devices.size(), 5000U);
  const BootstrapReader reader = MustOpen(bootstrap);
  EXPECT_LE(reader.root_nid(), 256U);
  FLOE_ASSERT_OK_AND_ASSIGN(const InodeInfo file, reader.Lookup("f4999"));
  FLOE_ASSERT_OK_AND_ASSIGN(const auto pieces, reader.ReadPieces(file));
  EXPECT_EQ(reader.devices()[pieces[0].device - 1U].tag, layer.Tags()[4999]);
}

TEST(WriterTest, InodesMayEndWhereTheImageEnds) {
  // Nothing is shared, all directories and symlinks are inline, and the inodes fill the last block.
  const uint64_t begin = AlignUp(kSuperOffset + sizeof(SuperBlock), kSlotBytes);
  const uint64_t root = AlignUp(sizeof(ExtendedInode) + 3 * sizeof(DirentOnDisk) + 4, kSlotBytes);
  const uint64_t length = kBlockBytes - begin - root - sizeof(ExtendedInode);
  LayerFixture layer;
  layer.Symlink("l", std::string(length, 't'));
  const Bootstrap bootstrap = MustWrite({&layer});
  ASSERT_EQ(bootstrap.bytes.size(), kBlockBytes);
  ASSERT_EQ(bootstrap.bytes.back(), 't');
  const BootstrapReader reader = MustOpen(bootstrap);
  EXPECT_LT(reader.super().xattr_block, reader.super().blocks);
}

/// Whatever follows whatever, nothing may cross a block that must not.
TEST(WriterTest, InlineDataOfEverySizeStaysInItsBlock) {
  LayerFixture layer;
  for (uint32_t i = 1; i < 4096; i += 7) {
    layer.Symlink("s" + std::to_string(i), std::string(i, 's'));
    layer.Dir("d" + std::to_string(i))
        .File("d" + std::to_string(i) + "/" + std::string(i % 255 + 1, 'n'), "");
  }
  FLOE_ASSERT_OK_AND_ASSIGN(const Tree tree, Merge({&layer}));
  EXPECT_EQ(tree.at("s4089").content, std::string(4089, 's'));
}

}  // namespace
}  // namespace floe::erofs::testing
