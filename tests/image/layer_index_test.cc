#include "image/layer_index.h"

#include <sys/stat.h>

#include <functional>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/image/sample_index.h"
#include "tests/support/result_matchers.h"

namespace floe::image {
namespace {

struct Broken {
  const char* name;
  std::function<void(LayerIndexData&)> edit;
  const char* message;
};

void SetName(LayerIndexData& data, size_t dirent, std::string_view name) {
  data.dirents[dirent].name = {static_cast<uint32_t>(data.strings.size()),
                               static_cast<uint32_t>(name.size())};
  data.strings += name;
}

void SwapNames(LayerIndexData& data, size_t a, size_t b) {
  std::swap(data.dirents[a].name, data.dirents[b].name);
}

const uint64_t kHuge = UINT64_MAX - 10;

const Broken kBroken[] = {
    // Blobs.
    {"BlobDigest", [](auto& d) { d.blobs[0].digest = Digest(); }, "blob 0 has no digest"},
    {"BlobMediaType", [](auto& d) { d.blobs[1].media_type = "a\nb"; }, "blob 1 has a bad media"},
    {"BlobMediaTypeLong", [](auto& d) { d.blobs[1].media_type.assign(256, 'a'); }, "media type"},
    {"BlobSize", [](auto& d) { d.blobs[0].size_bytes = kHuge; }, "blob 0 has 184"},
    {"DeviceNotAligned", [](auto& d) { d.blobs[0].device_size_bytes += 1; }, "a device of 12289"},
    {"DeviceTooLarge", [](auto& d) { d.blobs[0].device_size_bytes = kMaxDeviceBytes + 4096; },
     "a device of"},
    {"WindowsWithoutDigest", [](auto& d) { d.blobs[0].windows_digest = Digest(); },
     "without a digest"},
    {"WindowsWithoutBytes", [](auto& d) { d.blobs[1].windows_digest = Digest::Of(""); },
     "with a digest"},
    {"BlobUnitsNotFirst", [](auto& d) { d.blobs[1].first_unit = 1; }, "not where they belong"},
    {"BlobUnitsPastEnd", [](auto& d) { d.blobs[1].unit_count = 2; }, "not where they belong"},
    {"BlobGroupsNotFirst", [](auto& d) { d.blobs[1].first_group = 3; }, "not where they belong"},
    {"BlobGroupsPastEnd", [](auto& d) { d.blobs[1].group_count = UINT32_MAX; },
     "not where they belong"},
    {"BlobExtentsNotFirst", [](auto& d) { d.blobs[1].first_extent = 2; }, "not where they belong"},
    {"BlobExtentsPastEnd", [](auto& d) { d.blobs[1].extent_count = 3; }, "not where they belong"},
    {"ExtentsLeftOver", [](auto& d) { d.blobs[1].extent_count = 1; }, "of no blob"},
    {"Producer", [](auto& d) { d.producer = "\x1b[0m"; }, "bad producer"},
    // Units.
    {"UnitBlob", [](auto& d) { d.units[1].blob = 1; }, "unit 1 is of blob 1, not of 0"},
    {"UnitEmpty", [](auto& d) { d.units[0].range.length = 0; }, "unit 0 has bytes 0+0"},
    {"UnitPastBlob", [](auto& d) { d.units[1].range.length = 602; }, "unit 1 has bytes 399+602"},
    {"UnitWraps", [](auto& d) { d.units[2].range.offset = kHuge; }, "unit 2 has bytes"},
    {"UnitRangeTooLong",
     [](auto& d) {
       d.blobs[1].size_bytes = 1ULL << 40U;
       d.units[2].range.length = kMaxUnitRangeBytes + 1;
     },
     "unit 2 has bytes"},
    {"UnitDecodesToNothing", [](auto& d) { d.units[0].decoded_length = 0; }, "decodes to 0"},
    {"UnitDecodesToTooMuch", [](auto& d) { d.units[0].decoded_length = kMaxUnitBytes + 1; },
     "unit 0 decodes to"},
    {"StreamedUnitDecodesToTooMuch",
     [](auto& d) {
       d.units[0].codec = Codec::kZstd;
       d.units[0].decoded_length = kMaxDeviceBytes + 1;
     },
     "unit 0 decodes to"},
    {"SliceTooLong",
     [](auto& d) {
       d.units[0].codec = Codec::kZstd;
       d.units[0].decoded_length = kMaxUnitBytes + 1;
       d.groups[0].in_unit = {0, kMaxSliceBytes + 1};
     },
     "group 0 of a streamed unit has"},
    {"SliceOfCompressedDigest",
     [](auto& d) {
       d.units[0].codec = Codec::kZstd;
       d.units[0].decoded_length = kMaxUnitBytes + 1;
       d.groups[0].digest_kind = DigestKind::kCompressedSha256;
     },
     "group 0 of a streamed unit has a digest of compressed bytes"},
    {"UnitCodec", [](auto& d) { d.units[0].codec = static_cast<Codec>(5); }, "unit 0 has codec 5"},
    {"PlainLength", [](auto& d) { d.units[2].codec = Codec::kPlain; }, "plain unit 2"},
    {"BitsWithoutDeflate", [](auto& d) { d.units[0].bits = 1; }, "is not deflate"},
    {"WindowWithoutDeflate", [](auto& d) { d.units[0].window = {0, 1}; }, "is not deflate"},
    {"Bits", [](auto& d) { d.units[1].bits = 8; }, "8 bits"},
    {"WindowPastEnd", [](auto& d) { d.units[1].window.length = 301; }, "a window at 0+301"},
    {"WindowWraps", [](auto& d) { d.units[1].window.offset = UINT64_MAX; }, "a window at"},
    {"WindowTooLong",
     [](auto& d) {
       d.blobs[0].windows_size_bytes = 1U << 20U;
       d.units[1].window.length = kMaxWindowFrameBytes + 1;
     },
     "a window at"},
    {"UnitsOutOfOrder",
     [](auto& d) {
       d.units[0].range.offset = 20;
       d.units[1].range.offset = 19;
     },
     "unit 1 starts at 19, before the last one at 20"},
    {"PrefetchOfNoUnit", [](auto& d) { d.prefetch = {{2, 2}}; }, "prefetch of units 2+2"},
    {"PrefetchOfTwoBlobs", [](auto& d) { d.prefetch = {{1, 2}}; }, "prefetch of units 1+2"},
    {"PrefetchOfNothing", [](auto& d) { d.prefetch = {{1, 0}}; }, "prefetch of units 1+0"},
    {"DigestKind", [](auto& d) { d.groups[0].digest_kind = static_cast<DigestKind>(4); },
     "group 0 has a digest of kind 4"},
    // Groups.
    {"GroupOfOtherBlob", [](auto& d) { d.groups[1].unit = 2; }, "group 1 is of unit 2"},
    {"GroupsOutOfOrder",
     [](auto& d) {
       d.groups[0].unit = 1;
       d.groups[0].in_unit.length = 5000;
       d.groups[1].unit = 0;
     },
     "group 1 is of unit 0"},
    {"GroupEmpty", [](auto& d) { d.groups[0].in_unit.length = 0; }, "group 0 is 0+0"},
    {"GroupPastUnit", [](auto& d) { d.groups[3].in_unit.length = 3001; }, "group 3 is 5000+3001"},
    {"GroupWraps", [](auto& d) { d.groups[3].in_unit.offset = kHuge; }, "group 3 is"},
    {"GroupsOverlap", [](auto& d) { d.groups[3].in_unit.offset = 4999; }, "group 3 starts at 4999"},
    // Extents.
    {"ExtentOfOtherBlob", [](auto& d) { d.extents[2].group = 2; }, "extent 2 is of group 2"},
    {"ExtentOfEarlierBlob", [](auto& d) { d.extents[3].group = 1; }, "extent 3 is of group 1"},
    {"ExtentEmpty", [](auto& d) { d.extents[0].length = 0; }, "extent 0 is 0+0"},
    {"ExtentPastDevice", [](auto& d) { d.extents[4].device_offset = 8100; },
     "extent 4 is 8100+100 of a device"},
    {"ExtentWraps", [](auto& d) { d.extents[4].device_offset = kHuge; }, "extent 4 is"},
    {"ExtentsOverlap", [](auto& d) { d.extents[1].device_offset = 4999; },
     "extent 1 starts at 4999"},
    {"ExtentPastGroup", [](auto& d) { d.extents[4].offset_in_group = 2901; },
     "extent 4 is 2901+100 of a group"},
    {"ExtentInGroupWraps", [](auto& d) { d.extents[4].offset_in_group = kHuge; },
     "of a group of 3000"},
    // Inodes.
    {"NoInodes", [](auto& d) { d.inodes.clear(); }, "no root directory"},
    {"RootIsNoDirectory", [](auto& d) { d.inodes[0].mode = S_IFREG; }, "no root directory"},
    {"Mode", [](auto& d) { d.inodes[5].mode = 0644; }, "inode 5 has mode 644"},
    {"ModeBits", [](auto& d) { d.inodes[5].mode |= 0x10000; }, "inode 5 has mode"},
    {"Flags", [](auto& d) { d.inodes[1].flags = 4; }, "inode 1 has flags 4"},
    {"FlagsOfAFile", [](auto& d) { d.inodes[2].flags = kInodeOpaque; }, "inode 2 has flags 2"},
    {"DeviceMajor", [](auto& d) { d.inodes[4].rdev_major = 4096; }, "device number 4096:3"},
    {"DeviceMinor", [](auto& d) { d.inodes[4].rdev_minor = 1U << 20U; }, "device number 1:"},
    {"DeviceOfAFile", [](auto& d) { d.inodes[2].rdev_minor = 1; }, "device number 0:1"},
    {"Nanoseconds", [](auto& d) { d.inodes[2].mtime_nanoseconds = 1000000000; }, "nanoseconds"},
    {"FileSize", [](auto& d) { d.inodes[2].size_bytes = kMaxFileBytes + 1; }, "inode 2 has 879"},
    {"PipeSize", [](auto& d) { d.inodes[5].size_bytes = 1; }, "inode 5 has 1 bytes"},
    {"LinkSize", [](auto& d) { d.inodes[3].size_bytes = 7; }, "symlink 3 has 7"},
    {"LinkWithoutTarget", [](auto& d) { d.inodes[3].target = {}; }, "bad symlink target"},
    {"LinkTargetPastPool", [](auto& d) { d.inodes[3].target.offset = UINT32_MAX; },
     "bad symlink target"},
    {"LinkTargetWithNul",
     [](auto& d) { d.inodes[3].target = {static_cast<uint32_t>(d.strings.find('\0')), 1}; },
     "bad symlink target"},
    {"LinkTargetTooLong",
     [](auto& d) {
       d.inodes[3].target = {static_cast<uint32_t>(d.strings.size()), kMaxTargetBytes + 1};
       d.strings.append(kMaxTargetBytes + 1, 'x');
     },
     "bad symlink target"},
    {"TargetOfAFile", [](auto& d) { d.inodes[2].target = {0, 1}; }, "is no symlink"},
    {"TargetOfAFilePastPool", [](auto& d) { d.inodes[2].target = {UINT32_MAX, 0}; },
     "is no symlink"},
    // Segments.
    {"SegmentsPastEnd", [](auto& d) { d.inodes[2].segment_count = 4; }, "shares segments"},
    {"SegmentsFirstPastEnd", [](auto& d) { d.inodes[2].first_segment = 1; }, "bad segments"},
    {"SegmentsOfADirectory",
     [](auto& d) {
       d.inodes[1].segment_count = 1;
       d.inodes[2].segment_count = 2;
     },
     "inode 1 has bad segments"},
    {"SegmentEmpty", [](auto& d) { d.segments[0].length = 0; }, "segment 0 of inode 2 is 0+0"},
    {"SegmentNotAligned", [](auto& d) { d.segments[1].file_offset = 8193; }, "is 8193+8192"},
    {"SegmentsOverlap", [](auto& d) { d.segments[1].file_offset = 0; }, "segment 1 of inode 2"},
    {"SegmentPastFile", [](auto& d) { d.inodes[2].size_bytes = 19383; }, "is 16384+3000 of 19383"},
    {"SegmentWraps", [](auto& d) { d.segments[2].file_offset = UINT64_MAX - 4095; },
     "segment 2 of inode 2"},
    {"SegmentEndsInsideABlock", [](auto& d) { d.segments[0].length = 4095; },
     "ends inside a block"},
    {"SegmentBlob", [](auto& d) { d.segments[0].blob = 2; }, "of the device of blob 2"},
    {"SegmentDeviceNotAligned", [](auto& d) { d.segments[0].device_offset = 512; },
     "is 512+4096 of the device"},
    {"SegmentPastDevice", [](auto& d) { d.segments[1].device_offset = 4096; },
     "is 4096+8192 of the device"},
    // Xattrs.
    {"XattrsShared", [](auto& d) { d.inodes[1].xattr_count = 1; }, "shares"},
    {"XattrsPastEnd", [](auto& d) { d.inodes[2].first_xattr = 1; }, "bad xattrs"},
    {"XattrName", [](auto& d) { d.xattrs[0].name.length = 0; }, "has a bad name"},
    {"XattrNameTooLong",
     [](auto& d) {
       d.strings.append(300, 'x');
       d.xattrs[0].name.length = 256;
     },
     "has a bad name"},
    {"XattrNamePastPool", [](auto& d) { d.xattrs[0].name.offset = 100000; }, "has a bad name"},
    {"XattrNameWithNul", [](auto& d) { d.xattrs[0].name = d.xattrs[0].value; }, "has a bad name"},
    {"XattrValuePastPool", [](auto& d) { d.xattrs[1].value.length = 70; }, "has a bad value"},
    {"XattrValueTooLong",
     [](auto& d) {
       d.strings.append(kMaxXattrValueBytes + 200, 'x');
       d.xattrs[0].value.length = kMaxXattrValueBytes + 1;
     },
     "has a bad value"},
    {"XattrsOutOfOrder", [](auto& d) { std::swap(d.xattrs[0], d.xattrs[1]); }, "out of order"},
    {"XattrTwice", [](auto& d) { d.xattrs[1].name = d.xattrs[0].name; }, "out of order"},
    // Dirents.
    {"DirentsShared", [](auto& d) { d.inodes[6].dirent_count = 1; }, "shares"},
    {"DirentsPastEnd", [](auto& d) { d.inodes[1].first_dirent = 6; }, "bad dirents"},
    {"DirentsOfAFile",
     [](auto& d) {
       d.inodes[5].dirent_count = 1;
       d.inodes[1].dirent_count = 2;
     },
     "inode 5 has bad dirents"},
    {"NameEmpty", [](auto& d) { d.dirents[0].name.length = 0; }, "has 0 bytes"},
    {"NameTooLong", [](auto& d) { SetName(d, 4, std::string(256, 'z')); }, "has 256 bytes"},
    {"NamePastPool", [](auto& d) { d.dirents[0].name.offset = 100000; }, "a name in directory 0"},
    {"NameWithSlash", [](auto& d) { SetName(d, 4, "l/m"); }, "cannot be one"},
    {"NameWithNul", [](auto& d) { SetName(d, 4, std::string_view("l\0m", 3)); }, "cannot be one"},
    {"NameDot", [](auto& d) { SetName(d, 0, "."); }, "cannot be one"},
    {"NameDotDot", [](auto& d) { SetName(d, 0, ".."); }, "cannot be one"},
    {"NamesOutOfOrder", [](auto& d) { SwapNames(d, 0, 1); }, "out of order"},
    {"NameTwice", [](auto& d) { SetName(d, 1, "dir"); }, "name 1 of directory 0 is out of order"},
    {"NamesCompareUnsigned", [](auto& d) { SetName(d, 0, "\xff"); }, "out of order"},
    {"DirentInode", [](auto& d) { d.dirents[1].inode = 7; }, "is of inode 7"},
    {"RootHasAName", [](auto& d) { d.dirents[0].inode = 0; }, "directory 0 has two names"},
    {"DirectoryHasTwoNames", [](auto& d) { d.dirents[6].inode = 1; }, "directory 1 has two names"},
    {"DirectoryNotReached", [](auto& d) { d.dirents[3].inode = 5; }, "directory 6 is not reached"},
    {"DirectoryInItself",
     [](auto& d) {
       d.dirents[0].inode = 5;
       d.dirents[6].inode = 1;
     },
     "directory 1 is not reached"},
};

class LayerIndexRuleTest : public ::testing::TestWithParam<Broken> {};

TEST_P(LayerIndexRuleTest, IsRefusedWithItsPlace) {
  LayerIndexData data = SampleIndexData();
  GetParam().edit(data);
  FLOE_EXPECT_ERROR(LayerIndex::Create(std::move(data)), ErrorCode::kDataLoss, GetParam().message);
}

INSTANTIATE_TEST_SUITE_P(Rules, LayerIndexRuleTest, ::testing::ValuesIn(kBroken),
                         [](const auto& rule) { return rule.param.name; });

TEST(LayerIndexTest, TheSampleIsValidAndEmptyLayersAreToo) {
  FLOE_EXPECT_OK(LayerIndex::Create(SampleIndexData()));
  LayerIndexData empty;
  empty.inodes.emplace_back();
  empty.inodes[0].mode = S_IFDIR | 0755;
  FLOE_EXPECT_OK(LayerIndex::Create(std::move(empty)));
}

TEST(LayerIndexTest, RandomLayersAreValid) {
  const uint64_t seed = std::random_device()();
  SCOPED_TRACE(seed);
  std::mt19937_64 random(seed);
  for (int round = 0; round < 20; ++round) {
    FLOE_EXPECT_OK(
        LayerIndex::Create(RandomIndexData(random, random() % 500, 4096 + random() % 100000)));
  }
}

// A chain of directories, each in the one before; the last is `depth` below the root.
LayerIndexData Chain(uint32_t depth) {
  LayerIndexData data;
  data.strings = "d";
  for (uint32_t i = 0; i <= depth; ++i) {
    Inode inode;
    inode.mode = S_IFDIR | 0755;
    inode.first_dirent = i;
    inode.dirent_count = i < depth ? 1 : 0;
    data.inodes.push_back(inode);
    if (i < depth) {
      data.dirents.push_back({{0, 1}, i + 1});
    }
  }
  return data;
}

TEST(LayerIndexTest, DepthIsLimited) {
  FLOE_EXPECT_OK(LayerIndex::Create(Chain(kMaxTreeDepth)));
  FLOE_EXPECT_ERROR(LayerIndex::Create(Chain(kMaxTreeDepth + 1)), ErrorCode::kDataLoss, "deep");
  // Numbered against the walk's direction.
  LayerIndexData reversed = Chain(kMaxTreeDepth + 1);
  const auto last = static_cast<uint32_t>(reversed.inodes.size() - 1);
  std::reverse(reversed.inodes.begin() + 1, reversed.inodes.end());
  for (Dirent& dirent : reversed.dirents) {
    dirent.inode = last + 1 - dirent.inode;
  }
  FLOE_EXPECT_ERROR(LayerIndex::Create(std::move(reversed)), ErrorCode::kDataLoss, "deep");
}

}  // namespace
}  // namespace floe::image
