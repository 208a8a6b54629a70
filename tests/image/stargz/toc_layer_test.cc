#include "image/stargz/toc_layer.h"

#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/image/stargz/stargz_support.h"
#include "tests/image/tar_support.h"
#include "tests/support/result_matchers.h"

namespace floe::image {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;

TocLayerSource Source() {
  return {.digest = Digest::Of("blob"),
          .size_bytes = 2000,
          .media_type = "application/vnd.oci.image.layer.v1.tar+gzip",
          .diff_id = Digest::Of("archive"),
          .payload_end = 1000};
}
Result<LayerIndex> Index(const std::string& entries, const TocLayerSource& source = Source()) {
  return IndexFromToc(R"({"version":1,"entries":[)" + entries + "]}", source);
}
std::string File(const std::string& name, int size, int offset, int inner = 0) {
  return fmt::format(
      R"({{"name":"{}","type":"reg","size":{},"offset":{},"innerOffset":{},"chunkDigest":"{}"}})",
      name, size, offset, inner, Digest::Of(name).ToString());
}

TEST(TocLayerTest, MembersAreUnitsAndChunksAreGroups) {
  FLOE_ASSERT_OK_AND_ASSIGN(
      const LayerIndex index,
      Index(File("a", 10, 100) + "," + File("b", 20, 100, 512) + "," + File("c", 30, 400)));
  const LayerIndexData& data = index.data();
  ASSERT_EQ(data.units.size(), 2U);
  EXPECT_EQ(data.units[0].range, (ByteRange{100, 300}));
  EXPECT_EQ(data.units[0].decoded_length, 532U);
  EXPECT_EQ(data.units[0].codec, Codec::kGzip);
  EXPECT_EQ(data.units[1].range, (ByteRange{400, 600}));
  EXPECT_EQ(data.units[1].decoded_length, 30U);
  ASSERT_EQ(data.groups.size(), 3U);
  EXPECT_EQ(data.groups[1].unit, 0U);
  EXPECT_EQ(data.groups[1].in_unit, (ByteRange{512, 20}));
  EXPECT_EQ(Digest(data.groups[1].digest), Digest::Of("b"));
  EXPECT_EQ(data.groups[2].unit, 1U);
  EXPECT_EQ(data.blobs[0].device_size_bytes, 3 * 4096U);
  EXPECT_EQ(data.diff_id, Digest::Of("archive"));
  EXPECT_EQ(data.producer, "estargz");
}

TEST(TocLayerTest, FilesNeedNotLieInTheOrderOfTheTable) {
  FLOE_ASSERT_OK_AND_ASSIGN(const LayerIndex index,
                            Index(File("a", 10, 400) + "," + File("b", 20, 100)));
  ASSERT_EQ(index.data().extents.size(), 2U);
  EXPECT_EQ(Digest(index.data().groups[index.data().extents[0].group].digest), Digest::Of("a"));
  EXPECT_EQ(index.data().units[0].range, (ByteRange{100, 300}));
}

TEST(TocLayerTest, ADataEndBoundsTheLastUnit) {
  TocLayerSource source = Source();
  source.codec = Codec::kZstd;
  source.dialect = TocDialect::kContainers;
  FLOE_ASSERT_OK_AND_ASSIGN(
      const LayerIndex index,
      Index(R"({"name":"a","type":"reg","size":10,"offset":100,"endOffset":150,"digest":")" +
                Digest::Of("a").ToString() + "\"}," + File("c", 30, 400),
            source));
  EXPECT_EQ(index.data().units[0].range, (ByteRange{100, 50}));
  EXPECT_EQ(index.data().units[0].codec, Codec::kZstd);
}

TEST(TocLayerTest, WhatIsReplacedIsNotFetched) {
  FLOE_ASSERT_OK_AND_ASSIGN(const LayerIndex index,
                            Index(File("a", 10, 100) + "," + File("a", 20, 400)));
  ASSERT_EQ(index.data().units.size(), 1U);
  EXPECT_EQ(index.data().units[0].range, (ByteRange{400, 600}));
}

TEST(TocLayerTest, LandmarksAndTableAreHiddenInTheRootOnly) {
  const std::string entries = File("stargz.index.json", 1, 100) + "," +
                              File("./.no.prefetch.landmark", 1, 200) + "," +
                              File("d/.prefetch.landmark", 1, 300);
  FLOE_ASSERT_OK_AND_ASSIGN(const LayerIndex index, Index(entries));
  EXPECT_THAT(Describe(index.data()),
              ElementsAre(". dir 755 0:0 0 implied", "d dir 755 0:0 0 implied",
                          "d/.prefetch.landmark file 0 0:0 0 size=1"));
  EXPECT_TRUE(index.data().prefetch.empty());
}

TEST(TocLayerTest, OtherDialectHasNoLandmarks) {
  TocLayerSource source = Source();
  source.dialect = TocDialect::kContainers;
  source.codec = Codec::kZstd;
  FLOE_ASSERT_OK_AND_ASSIGN(
      const LayerIndex index,
      Index(File("a", 1, 50) + "," + File(".prefetch.landmark", 1, 100), source));
  EXPECT_THAT(Describe(index.data()), Contains(".prefetch.landmark file 0 0:0 0 size=1"));
  EXPECT_TRUE(index.data().prefetch.empty());
}

TEST(TocLayerTest, WhatLiesBeforeTheLandmarkIsPrefetched) {
  const std::string files = File("a", 10, 100) + "," + File("b", 20, 200) + ",";
  FLOE_ASSERT_OK_AND_ASSIGN(
      const LayerIndex index,
      Index(files + File(".prefetch.landmark", 1, 300) + "," + File("c", 30, 400)));
  ASSERT_EQ(index.data().prefetch.size(), 1U);
  EXPECT_EQ(index.data().prefetch[0].first_unit, 0U);
  EXPECT_EQ(index.data().prefetch[0].unit_count, 2U);
  FLOE_ASSERT_OK_AND_ASSIGN(const LayerIndex shared,
                            Index(files + File(".prefetch.landmark", 1, 200, 512) + "," +
                                  File("c", 30, 200, 1024) + "," + File("d", 30, 400)));
  ASSERT_EQ(shared.data().prefetch.size(), 1U);
  EXPECT_EQ(shared.data().prefetch[0].unit_count, 2U);
  EXPECT_EQ(shared.data().units.size(), 3U);
}

TEST(TocLayerTest, OverlappingChunksAreALie) {
  FLOE_EXPECT_ERROR(Index(File("a", 10, 100) + "," + File("b", 10, 100, 9)), ErrorCode::kDataLoss,
                    "two chunks overlap");
  FLOE_EXPECT_ERROR(Index(File("a", 10, 100) + "," + File("b", 10, 100)), ErrorCode::kDataLoss,
                    "two chunks overlap");
}

TEST(TocLayerTest, UnpackErrorsAreThoseOfArchives) {
  FLOE_EXPECT_ERROR(Index(File("../a", 10, 100)), ErrorCode::kInvalidArgument, "'../a'");
  FLOE_EXPECT_ERROR(Index(R"({"name":"h","type":"hardlink","linkName":"nowhere"})"),
                    ErrorCode::kInvalidArgument, "not in this layer");
  FLOE_EXPECT_ERROR(Index(R"({"name":"h","type":"symlink"})"), ErrorCode::kInvalidArgument,
                    "symlink");
}

TEST(TocLayerTest, WithoutDigestsOnlyWhereItIsAllowed) {
  const std::string entry = R"({"name":"a","type":"reg","size":10,"offset":100})";
  FLOE_EXPECT_ERROR(Index(entry), ErrorCode::kFailedPrecondition, "chunk digests are missing");
  TocLayerSource source = Source();
  source.allow_unverified = true;
  FLOE_ASSERT_OK_AND_ASSIGN(const LayerIndex index, Index(entry, source));
  EXPECT_EQ(index.data().groups[0].digest_kind, DigestKind::kNone);
}

}  // namespace
}  // namespace floe::image
