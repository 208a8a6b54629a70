#include "image/blob_map.h"

#include <fcntl.h>

#include <functional>
#include <random>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/file.h"
#include "tests/image/sample_index.h"
#include "tests/support/result_matchers.h"
#include "tests/support/temp_dir.h"

namespace floe::image {
namespace {

using floe::testing::TempDir;

std::string SampleMap(uint32_t blob) {
  return EncodeBlobMap(LayerIndex::Create(SampleIndexData()).value(), blob);
}

Result<std::unique_ptr<BlobMap>> OpenBytes(const TempDir& directory, std::string_view bytes,
                                           std::string_view key = "") {
  const std::filesystem::path path = directory / "map";
  FLOE_ASSIGN_OR_RETURN(const UniqueFd file, OpenFile(path, O_WRONLY | O_CREAT | O_TRUNC));
  FLOE_RETURN_IF_ERROR(
      PwriteAll(file.get(), std::as_bytes(std::span(bytes.data(), bytes.size())), 0));
  return BlobMap::Open(path, key);
}

// Everything that the map says about blob `number` is what the index says.
void ExpectMapOf(const BlobMap& map, const LayerIndex& index, uint32_t number) {
  const SourceBlob& blob = index.data().blobs[number];
  EXPECT_EQ(map.blob_digest(), blob.digest);
  EXPECT_EQ(map.blob_size_bytes(), blob.size_bytes);
  EXPECT_EQ(map.device_size_bytes(), blob.device_size_bytes);
  EXPECT_EQ(map.windows_digest(), blob.windows_digest);
  EXPECT_EQ(map.windows_size_bytes(), blob.windows_size_bytes);
  ASSERT_EQ(map.unit_count(), blob.unit_count);
  ASSERT_EQ(map.group_count(), blob.group_count);
  ASSERT_EQ(map.extent_count(), blob.extent_count);
  for (uint32_t i = 0; i < map.unit_count(); ++i) {
    const Unit& unit = index.units(blob)[i];
    const UnitView view = map.unit(i);
    EXPECT_EQ(view.range, unit.range);
    EXPECT_EQ(view.decoded_length, unit.decoded_length);
    EXPECT_EQ(view.codec, unit.codec);
    EXPECT_EQ(view.bits, unit.bits);
    EXPECT_EQ(view.window, unit.window);
    for (uint32_t g = 0; g < view.group_count; ++g) {
      EXPECT_EQ(map.group(view.first_group + g).unit, i);
    }
  }
  uint32_t extents_seen = 0;
  for (uint32_t i = 0; i < map.group_count(); ++i) {
    const Group& group = index.groups(blob)[i];
    const GroupView view = map.group(i);
    EXPECT_EQ(view.unit + blob.first_unit, group.unit);
    EXPECT_EQ(view.in_unit, group.in_unit);
    EXPECT_EQ(view.digest, group.digest);
    for (uint32_t n = 0; n < view.extent_count; ++n, ++extents_seen) {
      EXPECT_EQ(map.GroupExtent(view, n).group, i);
    }
  }
  EXPECT_EQ(extents_seen, map.extent_count());
  for (uint32_t i = 0; i < map.extent_count(); ++i) {
    const Extent& extent = index.extents(blob)[i];
    const ExtentView view = map.extent(i);
    EXPECT_EQ(view.device_offset, extent.device_offset);
    EXPECT_EQ(view.length, extent.length);
    EXPECT_EQ(view.group + blob.first_group, extent.group);
    EXPECT_EQ(view.offset_in_group, extent.offset_in_group);
  }
}

TEST(BlobMapTest, HoldsWhatTheIndexSays) {
  const TempDir directory;
  FLOE_ASSERT_OK_AND_ASSIGN(const LayerIndex index, LayerIndex::Create(SampleIndexData()));
  for (uint32_t blob = 0; blob < 2; ++blob) {
    const std::string bytes = EncodeBlobMap(index, blob);
    FLOE_ASSERT_OK_AND_ASSIGN(const auto map, OpenBytes(directory, bytes, DeviceKey(bytes)));
    EXPECT_EQ(map->key(), Digest::Of(bytes).hex());
    EXPECT_EQ(bytes.size() % 8, 0U);
    ExpectMapOf(*map, index, blob);
  }
}

TEST(BlobMapTest, HoldsRandomLayersAndFindsExtents) {
  const uint64_t seed = std::random_device()();
  SCOPED_TRACE(seed);
  std::mt19937_64 random(seed);
  const TempDir directory;
  for (int round = 0; round < 10; ++round) {
    SCOPED_TRACE(round);
    FLOE_ASSERT_OK_AND_ASSIGN(
        const LayerIndex index,
        LayerIndex::Create(RandomIndexData(random, random() % 300, 4096 + random() % 100000)));
    FLOE_ASSERT_OK_AND_ASSIGN(const auto map, OpenBytes(directory, EncodeBlobMap(index, 0)));
    ExpectMapOf(*map, index, 0);
    for (int probe = 0; probe < 200; ++probe) {
      const uint64_t offset = random() % (map->device_size_bytes() + 4096);
      uint32_t expected = 0;
      while (expected < map->extent_count() &&
             map->extent(expected).device_offset + map->extent(expected).length <= offset) {
        ++expected;
      }
      ASSERT_EQ(map->FirstExtentEndingAfter(offset), expected);
    }
  }
}

TEST(BlobMapTest, KeysDifferWhenAnythingDiffers) {
  const std::string key = DeviceKey(SampleMap(0));
  EXPECT_EQ(key.size(), 64U);
  LayerIndexData other = SampleIndexData();
  other.groups[0].digest[31] ^= 1;
  EXPECT_NE(DeviceKey(EncodeBlobMap(LayerIndex::Create(other).value(), 0)), key);
  other = SampleIndexData();
  other.extents[0].offset_in_group += 1;
  EXPECT_NE(DeviceKey(EncodeBlobMap(LayerIndex::Create(other).value(), 0)), key);
  other = SampleIndexData();
  other.blobs[0].device_size_bytes += 4096;
  EXPECT_NE(DeviceKey(EncodeBlobMap(LayerIndex::Create(other).value(), 0)), key);
}

TEST(BlobMapTest, RefusesAnotherKey) {
  const TempDir directory;
  FLOE_EXPECT_ERROR(OpenBytes(directory, SampleMap(0), DeviceKey(SampleMap(1))),
                    ErrorCode::kDataLoss, "its sha256 is");
}

// What needs nothing new keeps its version, and so its key and its cache file.
TEST(BlobMapTest, KnowsOtherDigestsAndCodecs) {
  LayerIndexData data = SampleIndexData();
  EXPECT_EQ(EncodeBlobMap(*LayerIndex::Create(data), 0)[8], 1);
  data.units[0].codec = Codec::kLz4Block;
  data.groups[0].digest_kind = DigestKind::kBlake3;
  data.groups[1].digest_kind = DigestKind::kCompressedSha256;
  FLOE_ASSERT_OK_AND_ASSIGN(const LayerIndex index, LayerIndex::Create(data));
  const std::string bytes = EncodeBlobMap(index, 0);
  EXPECT_EQ(bytes[8], 2);
  EXPECT_EQ(EncodeBlobMap(index, 1)[8], 1);
  const TempDir directory;
  FLOE_ASSERT_OK_AND_ASSIGN(const auto map, OpenBytes(directory, bytes));
  EXPECT_EQ(map->unit(0).codec, Codec::kLz4Block);
  EXPECT_EQ(map->group(0).digest_kind, DigestKind::kBlake3);
  EXPECT_EQ(map->group(1).digest_kind, DigestKind::kCompressedSha256);
}

TEST(BlobMapTest, RefusesWhatIsNoBlobMap) {
  const TempDir directory;
  FLOE_EXPECT_ERROR(OpenBytes(directory, ""), ErrorCode::kInvalidArgument, "not a blob map");
  FLOE_EXPECT_ERROR(OpenBytes(directory, std::string(4096, 'x')), ErrorCode::kInvalidArgument,
                    "not a blob map");
  FLOE_EXPECT_ERROR(BlobMap::Open(directory.path(), ""), ErrorCode::kInvalidArgument,
                    "not a blob map");
  FLOE_EXPECT_ERROR(BlobMap::Open(directory / "absent", ""), ErrorCode::kNotFound, "absent");
  std::string newer = SampleMap(0);
  newer[8] = 3;
  FLOE_EXPECT_ERROR(OpenBytes(directory, newer), ErrorCode::kInvalidArgument, "version 3");
}

TEST(BlobMapTest, RefusesEveryTruncation) {
  const TempDir directory;
  const std::string bytes = SampleMap(0);
  for (size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_FALSE(OpenBytes(directory, bytes.substr(0, size)).has_value()) << size;
  }
  EXPECT_FALSE(OpenBytes(directory, bytes + std::string(8, '\0')).has_value());
}

// Where the tables of SampleMap(1) lie: 1 unit, 2 groups, 2 extents.
constexpr size_t kUnits = 160, kGroups = kUnits + 48, kExtents = kGroups + 2 * 64,
                 kRefs = kExtents + 2 * 32;

struct Broken {
  const char* name;
  size_t at;
  std::vector<uint8_t> bytes;
  const char* message;
};

const Broken kBroken[] = {
    {"UnitCount", 104, {2}, "do not hold the tables"},
    {"ExtentCount", 115, {255}, "do not hold the tables"},
    {"UnitsAt", 120, {161}, "do not hold the tables"},
    {"GroupsAt", 128, {0}, "do not hold the tables"},
    {"ExtentsAt", 136, {0}, "do not hold the tables"},
    {"GroupExtentsAt", 144, {0}, "do not hold the tables"},
    {"FileBytes", 152, {1}, "do not hold the tables"},
    {"Reserved", 116, {1}, "do not hold the tables"},
    {"DeviceSize", 56, {1}, "a device of"},
    {"UnitRange", kUnits + 8, {0xff, 0xff}, "unit 0 has bytes"},
    {"UnitDecodedLength", kUnits + 23, {255}, "unit 0 decodes to"},
    {"UnitCodec", kUnits + 36, {9}, "unit 0 has codec 9"},
    {"UnitBits", kUnits + 37, {1}, "is not deflate"},
    {"UnitFirstGroup", kUnits + 40, {1}, "unit 0 has groups 1+2"},
    {"UnitGroupCount", kUnits + 44, {1}, "2 groups, 1 of them in units"},
    {"UnitGroupCountPastEnd", kUnits + 44, {3}, "unit 0 has groups 0+3"},
    {"GroupOffset", kGroups + 7, {255}, "group 0 is"},
    {"GroupUnit", kGroups + 48, {1}, "group 0 is of unit 1"},
    {"GroupFirstRef", kGroups + 52, {1}, "group 0 has extents 1+1"},
    {"GroupExtentCount", kGroups + 56, {2}, "is not the 1th of group 0"},
    {"GroupExtentCountPastEnd", kGroups + 56, {3}, "group 0 has extents 0+3"},
    {"GroupExtentCountTooFew", kGroups + 64 + 56, {0}, "2 extents, 1 of them in groups"},
    {"ExtentOffset", kExtents + 32, {0, 0}, "extent 1 starts at"},
    {"ExtentPastDevice", kExtents + 32 + 1, {0x20}, "extent 1 is"},
    {"ExtentGroup", kExtents + 24, {2}, "extent 0 is of group 2"},
    {"ExtentOffsetInGroup", kExtents + 16 + 7, {255}, "of a group of"},
    {"RefPastEnd", kRefs, {2}, "extent 2 is not"},
    {"RefOfOtherGroup", kRefs, {1}, "extent 1 is not"},
};

class BlobMapRuleTest : public ::testing::TestWithParam<Broken> {};

TEST_P(BlobMapRuleTest, IsRefused) {
  const TempDir directory;
  std::string bytes = SampleMap(1);
  for (size_t i = 0; i < GetParam().bytes.size(); ++i) {
    bytes[GetParam().at + i] = static_cast<char>(GetParam().bytes[i]);
  }
  FLOE_EXPECT_ERROR(OpenBytes(directory, bytes), ErrorCode::kDataLoss, GetParam().message);
}

INSTANTIATE_TEST_SUITE_P(Rules, BlobMapRuleTest, ::testing::ValuesIn(kBroken),
                         [](const auto& rule) { return rule.param.name; });

}  // namespace
}  // namespace floe::image
