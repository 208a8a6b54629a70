#include "image/layer_layout.h"

#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "tests/image/tar_support.h"
#include "tests/support/result_matchers.h"

namespace floe::image {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

TEST(LayerLayoutTest, NumbersInodesBreadthFirst) {
  TarArchive archive;
  archive.File("b/y").File("b/x").File("a").HardLink("b/z", "a").File("c");
  FLOE_ASSERT_OK_AND_ASSIGN(const LayerIndexData data, BuildLayer(archive));
  std::vector<std::string> numbered;
  for (const Dirent& dirent : data.dirents) {
    numbered.push_back(data.strings.substr(dirent.name.offset, dirent.name.length) +
                       std::to_string(dirent.inode));
  }
  EXPECT_THAT(numbered, ElementsAre("a1", "b2", "c3", "x4", "y5", "z1"));
}

TEST(LayerLayoutTest, LaysContentsOutInArchiveOrder) {
  TarArchive archive;
  archive.File("z", std::string(5000, 'z')).File("gone", std::string(9000, 'g')).File("empty");
  archive.File("a", "a").File("gone").File("m", std::string(4096, 'm'));
  FLOE_ASSERT_OK_AND_ASSIGN(const LayerIndexData data, BuildLayer(archive));
  const auto device_offset = [&](std::string_view path) {
    return data.segments[FindInode(data, path)->first_segment].device_offset;
  };
  EXPECT_EQ(device_offset("z"), 0U);
  EXPECT_EQ(device_offset("a"), 8192U);  // What was replaced takes no space.
  EXPECT_EQ(device_offset("m"), 12288U);
  EXPECT_EQ(data.blobs[0].device_size_bytes, 16384U);
  EXPECT_EQ(FindInode(data, "empty")->segment_count, 0U);
  EXPECT_EQ(FindInode(data, "gone")->segment_count, 0U);
}

TEST(LayerLayoutTest, KeepsOnlyUnitsAndGroupsThatFilesDrawFrom) {
  TarArchive archive;
  archive.File("gone", std::string(40960, 'g')).File("f", std::string(512, 'f')).File("gone");
  FLOE_ASSERT_OK_AND_ASSIGN(const LayerIndexData data, BuildLayer(archive, 8192, 1024));
  // "f" lies at 512 + 40960 + 512 = 41984, in the sixth unit (40960) and its second group.
  ASSERT_THAT(data.units, SizeIs(1));
  EXPECT_EQ(data.units[0].range.offset, 40960U);
  ASSERT_THAT(data.groups, SizeIs(1));
  EXPECT_EQ(data.groups[0].unit, 0U);
  EXPECT_EQ(data.groups[0].in_unit, (ByteRange{1024, 1024}));
  ASSERT_THAT(data.extents, SizeIs(1));
  EXPECT_EQ(data.extents[0].group, 0U);
  EXPECT_EQ(data.extents[0].offset_in_group, 0U);
  EXPECT_EQ(data.blobs[0].unit_count, 1U);
  EXPECT_EQ(data.blobs[0].group_count, 1U);
  EXPECT_EQ(data.blobs[0].extent_count, 1U);
}

std::vector<uint64_t> UnitStarts(const LayerIndexData& data) {
  std::vector<uint64_t> starts;
  for (const Unit& unit : data.units) {
    starts.push_back(unit.range.offset);  // Of plain units.
  }
  return starts;
}

TEST(LayerLayoutTest, ExtentsGiveBackEveryFile) {
  std::mt19937_64 random(7);
  TarArchive archive;
  std::vector<std::pair<std::string, std::string>> files;
  for (size_t size : {1, 511, 512, 4095, 4096, 4097, 10000, 70000, 300000}) {
    std::string content(size, '\0');
    std::generate(content.begin(), content.end(), [&] { return static_cast<char>(random()); });
    files.emplace_back("f" + std::to_string(size), content);
    archive.File(files.back().first, content);
  }
  archive.End();
  for (const auto& [span, group] : {std::pair{4096U, 4096U}, {1000U, 1000U}, {65536U, 10000U}}) {
    FLOE_ASSERT_OK_AND_ASSIGN(const LayerIndexData data, BuildLayer(archive, span, group));
    const std::string device = BuildDevice(data, archive.bytes(), UnitStarts(data));
    for (const auto& [name, content] : files) {
      EXPECT_EQ(ReadInode(data, *FindInode(data, name), device), content) << name << ' ' << span;
    }
    EXPECT_TRUE(std::is_sorted(data.extents.begin(), data.extents.end(),
                               [](const Extent& a, const Extent& b) {
                                 return a.device_offset + a.length <= b.device_offset;
                               }));
  }
}

//  granules    0       1       2       3       4
//  data        |x      |       |     yy|zz     |        up to 4.5 granules
TEST(LayerLayoutTest, LeavesWholeGranulesOfHolesOut) {
  constexpr uint64_t kGranule = kHoleGranuleBytes;
  const uint64_t size = 4 * kGranule + kGranule / 2;
  const std::string map = fmt::format("0,1,{},2,{},2", 3 * kGranule - 2, 3 * kGranule);
  TarArchive archive;
  archive.Add("f", "xyyzz",
              {.pax = {{"GNU.sparse.major", "0"},
                       {"GNU.sparse.minor", "1"},
                       {"GNU.sparse.numblocks", "3"},
                       {"GNU.sparse.map", map},
                       {"GNU.sparse.size", std::to_string(size)}}});
  archive.File("next", "n");
  FLOE_ASSERT_OK_AND_ASSIGN(const LayerIndexData data, BuildLayer(archive));
  const Inode& inode = *FindInode(data, "f");
  ASSERT_EQ(inode.segment_count, 2U);
  EXPECT_EQ(data.segments[0].file_offset, 0U);
  EXPECT_EQ(data.segments[0].length, kGranule);
  EXPECT_EQ(data.segments[0].device_offset, 0U);
  EXPECT_EQ(data.segments[1].file_offset, 2 * kGranule);
  EXPECT_EQ(data.segments[1].length, 2 * kGranule);
  EXPECT_EQ(data.segments[1].device_offset, kGranule);
  EXPECT_EQ(data.blobs[0].device_size_bytes, 3 * kGranule + 4096);

  std::string expected(size, '\0');
  expected[0] = 'x';
  expected.replace(3 * kGranule - 2, 4, "yyzz");
  const std::string device = BuildDevice(data, archive.bytes(), UnitStarts(data));
  EXPECT_EQ(ReadInode(data, inode, device), expected);
}

TEST(LayerLayoutTest, TheTailOfASparseFileEndsInsideItsBlock) {
  TarArchive archive;
  archive.Add("f", "tail",
              {.pax = {{"GNU.sparse.major", "0"},
                       {"GNU.sparse.minor", "1"},
                       {"GNU.sparse.numblocks", "1"},
                       {"GNU.sparse.map", "99996,4"},
                       {"GNU.sparse.size", "100000"}}});
  FLOE_ASSERT_OK_AND_ASSIGN(const LayerIndexData data, BuildLayer(archive));
  ASSERT_THAT(data.segments, SizeIs(1));
  EXPECT_EQ(data.segments[0].file_offset, kHoleGranuleBytes);
  EXPECT_EQ(data.segments[0].length, 100000 - kHoleGranuleBytes);
}

TEST(LayerLayoutTest, AFileThatIsAllHoleHasNoSegment) {
  TarArchive archive;
  archive.Add("f", "",
              {.pax = {{"GNU.sparse.major", "0"},
                       {"GNU.sparse.minor", "1"},
                       {"GNU.sparse.numblocks", "0"},
                       {"GNU.sparse.map", ""},
                       {"GNU.sparse.size", "2097152"}}});
  FLOE_ASSERT_OK_AND_ASSIGN(const LayerIndexData data, BuildLayer(archive));
  EXPECT_EQ(FindInode(data, "f")->size_bytes, 2097152U);
  EXPECT_THAT(data.segments, IsEmpty());
  EXPECT_EQ(data.blobs[0].device_size_bytes, 0U);
}

TEST(LayerLayoutTest, SharesEqualXattrs) {
  TarArchive archive;
  for (int i = 0; i < 20; ++i) {
    archive.Add("f" + std::to_string(i), "",
                {.pax = {{"SCHILY.xattr.user.same", std::string(1000, 'v')}}});
  }
  FLOE_ASSERT_OK_AND_ASSIGN(const LayerIndexData data, BuildLayer(archive));
  EXPECT_THAT(data.xattrs, SizeIs(20));
  EXPECT_LT(data.strings.size(), 2000U);
}

}  // namespace
}  // namespace floe::image
