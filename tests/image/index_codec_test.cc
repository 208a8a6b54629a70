#include "image/index_codec.h"

#include <sys/stat.h>
#include <zstd.h>

#include <functional>
#include <random>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "floe/index/v1/index.pb.h"
#include "tests/image/sample_index.h"
#include "tests/support/result_matchers.h"

namespace floe::image {
namespace {

namespace pb = floe::index::v1;

std::string ZstdFrame(const std::string& bytes) {
  std::string frame(ZSTD_compressBound(bytes.size()), '\0');
  frame.resize(ZSTD_compress(frame.data(), frame.size(), bytes.data(), bytes.size(), 1));
  return frame;
}

pb::LayerIndex SampleMessage() {
  const std::string bytes = EncodeLayerIndex(LayerIndex::Create(SampleIndexData()).value()).value();
  std::string decoded(ZSTD_getFrameContentSize(bytes.data(), bytes.size()), '\0');
  ZSTD_decompress(decoded.data(), decoded.size(), bytes.data(), bytes.size());
  pb::LayerIndex message;
  EXPECT_TRUE(message.ParseFromString(decoded));
  return message;
}

Result<LayerIndex> DecodeMessage(const pb::LayerIndex& message) {
  return DecodeLayerIndex(ZstdFrame(message.SerializeAsString()));
}

TEST(IndexCodecTest, TheSampleComesBackAndEncodesToTheSameBytes) {
  FLOE_ASSERT_OK_AND_ASSIGN(const LayerIndex index, LayerIndex::Create(SampleIndexData()));
  FLOE_ASSERT_OK_AND_ASSIGN(const std::string bytes, EncodeLayerIndex(index));
  FLOE_ASSERT_OK_AND_ASSIGN(const LayerIndex decoded, DecodeLayerIndex(bytes));
  ExpectSameIndex(decoded, index);
  FLOE_ASSERT_OK_AND_ASSIGN(const std::string again, EncodeLayerIndex(decoded));
  EXPECT_TRUE(again == bytes);
}

TEST(IndexCodecTest, WhatOtherFormatsNeedComesBack) {
  LayerIndexData data = SampleIndexData();
  data.units[0].codec = Codec::kLz4Block;
  data.units[1].range = {150, 600};  // Starts inside the one before.
  data.groups[1].digest_kind = DigestKind::kCompressedSha256;
  data.groups[2].digest_kind = DigestKind::kBlake3;
  data.prefetch = {{2, 1}, {0, 2}};
  FLOE_ASSERT_OK_AND_ASSIGN(const LayerIndex index, LayerIndex::Create(data));
  FLOE_ASSERT_OK_AND_ASSIGN(const std::string bytes, EncodeLayerIndex(index));
  FLOE_ASSERT_OK_AND_ASSIGN(const LayerIndex decoded, DecodeLayerIndex(bytes));
  ExpectSameIndex(decoded, index);
}

TEST(IndexCodecTest, RandomLayersComeBack) {
  const uint64_t seed = std::random_device()();
  SCOPED_TRACE(seed);
  std::mt19937_64 random(seed);
  for (int round = 0; round < 15; ++round) {
    SCOPED_TRACE(round);
    FLOE_ASSERT_OK_AND_ASSIGN(
        const LayerIndex index,
        LayerIndex::Create(RandomIndexData(random, random() % 700, 4096 + random() % 300000)));
    FLOE_ASSERT_OK_AND_ASSIGN(const std::string bytes, EncodeLayerIndex(index));
    FLOE_ASSERT_OK_AND_ASSIGN(const LayerIndex decoded, DecodeLayerIndex(bytes));
    ExpectSameIndex(decoded, index);
  }
}

TEST(IndexCodecTest, ExtentsOfATarLayerCostAlmostNothing) {
  std::mt19937_64 random(1);
  FLOE_ASSERT_OK_AND_ASSIGN(const LayerIndex index,
                            LayerIndex::Create(RandomIndexData(random, 5000, 256U << 10U)));
  FLOE_ASSERT_OK_AND_ASSIGN(const std::string bytes, EncodeLayerIndex(index));
  const size_t without_digests = bytes.size() - index.data().groups.size() * sizeof(Sha256);
  // Sizes, times and the shape of the tree are random here; names are not.
  EXPECT_LT(without_digests, 5000U * 8U);
}

TEST(IndexCodecTest, EveryTruncationAndManyCorruptionsAreRefused) {
  FLOE_ASSERT_OK_AND_ASSIGN(const LayerIndex index, LayerIndex::Create(SampleIndexData()));
  FLOE_ASSERT_OK_AND_ASSIGN(const std::string bytes, EncodeLayerIndex(index));
  for (size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_FALSE(DecodeLayerIndex(bytes.substr(0, size)).has_value());
  }
  EXPECT_FALSE(DecodeLayerIndex(bytes + "x").has_value());
  EXPECT_FALSE(DecodeLayerIndex(bytes + bytes).has_value());
  const uint64_t seed = std::random_device()();
  SCOPED_TRACE(seed);
  std::mt19937_64 random(seed);
  const std::string message = SampleMessage().SerializeAsString();
  for (int round = 0; round < 3000; ++round) {
    std::string bad = message;
    bad[random() % bad.size()] = static_cast<char>(random());
    const Result<LayerIndex> decoded = DecodeLayerIndex(ZstdFrame(bad));
    if (decoded.has_value()) {
      FLOE_EXPECT_OK(EncodeLayerIndex(*decoded));
    }
  }
}

TEST(IndexCodecTest, RefusesWhatIsNoIndex) {
  FLOE_EXPECT_ERROR(DecodeLayerIndex("{\"schemaVersion\": 2}"), ErrorCode::kInvalidArgument,
                    "not a zstd frame");
  FLOE_EXPECT_ERROR(DecodeLayerIndex(ZstdFrame("not a message")), ErrorCode::kInvalidArgument,
                    "not a Floe index");
  pb::LayerIndex newer = SampleMessage();
  newer.set_version(2);
  FLOE_EXPECT_ERROR(DecodeMessage(newer), ErrorCode::kInvalidArgument, "version 2");
}

TEST(IndexCodecTest, RefusesAFrameThatPromisesTooMuch) {
  // A frame header with an 8-byte content size, and nothing after it.
  std::string bomb("\x28\xb5\x2f\xfd\xe0", 5);
  bomb += std::string("\0\0\0\x80\0\0\0\0", 8);
  FLOE_EXPECT_ERROR(DecodeLayerIndex(bomb), ErrorCode::kDataLoss, "too many");
  FLOE_EXPECT_ERROR(DecodeLayerIndex(ZstdFrame(std::string(65U << 20U, '\0'))),
                    ErrorCode::kDataLoss, "too many");
}

struct Broken {
  const char* name;
  std::function<void(pb::LayerIndex&)> edit;
  const char* message;
};

const Broken kBroken[] = {
    {"DiffId", [](auto& m) { m.set_diff_id("short"); }, "a digest of 5 bytes"},
    {"BlobDigest", [](auto& m) { m.mutable_blobs(0)->clear_digest(); }, "a digest of 0 bytes"},
    {"UnitColumns", [](auto& m) { m.mutable_blobs(0)->add_unit_gap(0); }, "columns of units"},
    {"GroupColumns", [](auto& m) { m.mutable_blobs(0)->add_group_gap(0); }, "columns of groups"},
    {"ExtentColumns", [](auto& m) { m.mutable_blobs(0)->add_extent_position(0); },
     "columns of extents"},
    {"GroupDigests", [](auto& m) { m.mutable_blobs(0)->mutable_group_digest()->pop_back(); },
     "bytes of digests"},
    {"UnitOffset", [](auto& m) { m.mutable_blobs(0)->set_unit_gap(0, UINT64_MAX); }, "too large"},
    {"UnitLength", [](auto& m) { m.mutable_blobs(0)->set_unit_length(0, UINT64_MAX); },
     "unit 1 of blob 0"},
    {"UnitDecoded", [](auto& m) { m.mutable_blobs(0)->set_unit_decoded_length(0, UINT64_MAX); },
     "too large"},
    {"UnitWindow", [](auto& m) { m.mutable_blobs(0)->set_unit_window_length(1, UINT64_MAX); },
     "too large"},
    {"UnitCodec", [](auto& m) { m.mutable_blobs(0)->set_unit_codec_bits(0, 4096); },
     "unit 0 has codec 255"},
    {"TooManyGroups", [](auto& m) { m.mutable_blobs(0)->set_unit_group_count(1, UINT32_MAX); },
     "more groups than there are"},
    {"TooFewGroups", [](auto& m) { m.mutable_blobs(0)->set_unit_group_count(1, 0); },
     "of them in units"},
    {"GroupGap", [](auto& m) { m.mutable_blobs(0)->set_group_gap(0, UINT64_MAX); },
     "past its unit"},
    {"GroupLength", [](auto& m) { m.mutable_blobs(0)->set_group_length(0, UINT64_MAX); },
     "past its unit"},
    {"ExtentPosition", [](auto& m) { m.mutable_blobs(1)->set_extent_position(0, -462); },
     "extent 0 of blob 1 is in no group"},
    {"ExtentPositionFar", [](auto& m) { m.mutable_blobs(1)->set_extent_position(0, INT64_MAX); },
     "of a group of"},
    {"ExtentLength", [](auto& m) { m.mutable_blobs(1)->set_extent_length(0, INT64_MIN); },
     "of a device of"},
    {"InodeColumns", [](auto& m) { m.mutable_inodes()->add_uid(0); }, "columns of inodes"},
    {"DeviceColumns", [](auto& m) { m.mutable_inodes()->add_device_major(0); },
     "columns of devices"},
    {"DirentColumns", [](auto& m) { m.mutable_dirents()->add_inode(0); }, "columns of dirents"},
    {"SegmentColumns", [](auto& m) { m.mutable_segments()->add_blob(0); }, "columns of segments"},
    {"XattrColumns", [](auto& m) { m.mutable_xattrs()->add_name_length(0); }, "columns of xattrs"},
    {"SegmentCount", [](auto& m) { m.mutable_inodes()->set_segment_count(0, 1); }, "of no inode"},
    {"DirentCount", [](auto& m) { m.mutable_inodes()->set_dirent_count(0, 4); }, "of no inode"},
    {"XattrCount", [](auto& m) { m.mutable_inodes()->set_xattr_count(0, 1); }, "of no inode"},
    {"Counts64",
     [](auto& m) {
       m.mutable_inodes()->set_segment_count(0, UINT32_MAX);
       m.mutable_inodes()->set_segment_count(1, UINT32_MAX);
     },
     "segments: 8"},
    {"DeviceInode", [](auto& m) { m.mutable_inodes()->set_device_inode(0, 7); },
     "a device number of inode 7"},
    {"NameLength", [](auto& m) { m.mutable_dirents()->set_name_length(0, UINT32_MAX); },
     "a string of 4294967295 bytes"},
    {"DirentInode", [](auto& m) { m.mutable_dirents()->set_inode(0, INT64_MAX); },
     "dirent 0 is of inode"},
    {"Whiteout", [](auto& m) { m.mutable_dirents()->add_whiteout(1); }, "whiteout 1 is no dirent"},
    {"SegmentBlob", [](auto& m) { m.mutable_segments()->set_blob(0, 2); }, "is of blob 2"},
    {"SegmentBlobFar", [](auto& m) { m.mutable_segments()->set_blob(0, -1); }, "a segment of blob"},
    {"SegmentLength", [](auto& m) { m.mutable_segments()->set_length(0, INT64_MAX); },
     "extent 0 is 512+"},
    {"StringsLeftOver", [](auto& m) { m.mutable_strings()->append("x"); }, "of them used"},
    {"SymlinkSize", [](auto& m) { m.mutable_inodes()->set_size_bytes(3, UINT64_MAX); },
     "a string of 18446744073709551615"},
};

class IndexColumnTest : public ::testing::TestWithParam<Broken> {};

TEST_P(IndexColumnTest, IsRefused) {
  pb::LayerIndex message = SampleMessage();
  GetParam().edit(message);
  FLOE_EXPECT_ERROR(DecodeMessage(message), ErrorCode::kDataLoss, GetParam().message);
}

INSTANTIATE_TEST_SUITE_P(Columns, IndexColumnTest, ::testing::ValuesIn(kBroken),
                         [](const auto& rule) { return rule.param.name; });

}  // namespace
}  // namespace floe::image
