#include "image/soci/ztoc_layer.h"

#include <sys/stat.h>

#include <filesystem>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "image/blob_map.h"
#include "image/index_codec.h"
#include "tests/image/gzip_support.h"
#include "tests/image/layer_support.h"
#include "tests/image/soci/soci_fixture.h"
#include "tests/image/soci/ztoc_support.h"
#include "tests/image/tar_support.h"
#include "tests/support/result_matchers.h"

namespace floe::image {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;

/// Contents of all files, in inode order, each behind its size.
std::string AllContents(const IndexedLayer& layer, const std::string& device) {
  std::string all;
  for (const Inode& inode : layer.index.data().inodes) {
    if (S_ISREG(inode.mode)) {
      all += std::to_string(inode.size_bytes) + ":" + ReadInode(layer.index.data(), inode, device);
    }
  }
  return all;
}

/// Trees and contents are those that Floe's own index of the layer has.
void ExpectSameLayer(const IndexedLayer& soci, const std::string& blob, const LayerSource& source) {
  FLOE_ASSERT_OK_AND_ASSIGN(const IndexedLayer own, IndexBlob(blob, source));
  EXPECT_EQ(Describe(soci.index.data()), Describe(own.index.data()));
  for (size_t i = 0; i < own.index.data().inodes.size(); ++i) {
    const Inode& inode = own.index.data().inodes[i];
    EXPECT_EQ(soci.index.data().inodes[i].mtime_nanoseconds, inode.mtime_nanoseconds) << i;
  }
  FLOE_ASSERT_OK_AND_ASSIGN(const std::string soci_device, FillDevice(soci, blob));
  FLOE_ASSERT_OK_AND_ASSIGN(const std::string own_device, FillDevice(own, blob));
  EXPECT_TRUE(soci_device == own_device);
  EXPECT_TRUE(AllContents(soci, soci_device) == AllContents(own, own_device));
}

// --- what other programs wrote ---

class ZtocFixtureTest : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    if (!std::filesystem::exists(kSociFixtures / GetParam())) {
      GTEST_SKIP() << kSociFixtures / GetParam() << " is absent";
    }
    FLOE_ASSERT_OK_AND_ASSIGN(fixture_, ReadSociFixture(GetParam()));
    ASSERT_EQ(fixture_.layers.size(), 3U);
  }
  SociFixture fixture_;
};

TEST_P(ZtocFixtureTest, EveryLayerIsTheOneThatFloeIndexes) {
  for (const SociFixtureLayer& layer : fixture_.layers) {
    SCOPED_TRACE(layer.source.digest.ToString());
    FLOE_ASSERT_OK_AND_ASSIGN(const Ztoc ztoc, ParseZtoc(layer.ztoc));
    FLOE_ASSERT_OK_AND_ASSIGN(const IndexedLayer indexed, IndexZtocLayer(ztoc, layer.source));
    ExpectSameLayer(indexed, layer.blob, layer.source);
  }
}

TEST_P(ZtocFixtureTest, SurvivesIndexCodecAndBlobMap) {
  for (const SociFixtureLayer& layer : fixture_.layers) {
    FLOE_ASSERT_OK_AND_ASSIGN(const Ztoc ztoc, ParseZtoc(layer.ztoc));
    FLOE_ASSERT_OK_AND_ASSIGN(const IndexedLayer indexed, IndexZtocLayer(ztoc, layer.source));
    FLOE_ASSERT_OK_AND_ASSIGN(const std::string encoded, EncodeLayerIndex(indexed.index));
    FLOE_ASSERT_OK_AND_ASSIGN(const LayerIndex decoded, DecodeLayerIndex(encoded));
    EXPECT_EQ(Describe(decoded.data()), Describe(indexed.index.data()));
    EXPECT_TRUE(EncodeBlobMap(decoded, 0) == EncodeBlobMap(indexed.index, 0));
  }
}

TEST_P(ZtocFixtureTest, EverySpanIsBoundToItsBytes) {
  for (SociFixtureLayer& layer : fixture_.layers) {
    FLOE_ASSERT_OK_AND_ASSIGN(const Ztoc ztoc, ParseZtoc(layer.ztoc));
    for (const ZtocSpan& span : ztoc.spans) {
      const auto bytes = layer.blob.substr(span.range.offset, span.range.length);
      EXPECT_EQ(Digest::Of(bytes).bytes(), span.digest);
    }
    FLOE_ASSERT_OK_AND_ASSIGN(const IndexedLayer indexed, IndexZtocLayer(ztoc, layer.source));
    for (const Unit& unit : indexed.index.data().units) {
      layer.blob[unit.range.end() - 1] ^= 1;
      FLOE_EXPECT_ERROR(FillDevice(indexed, layer.blob), ErrorCode::kDataLoss, "");
      layer.blob[unit.range.end() - 1] ^= 1;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(BothVersions, ZtocFixtureTest, ::testing::Values("soci-v2", "soci-index"),
                         [](const auto& test) {
                           return std::string(test.param) == "soci-v2" ? "Two" : "One";
                         });

// --- layers made here ---

std::string Noise(size_t bytes, uint32_t seed) {
  std::string text;
  for (uint32_t state = seed; text.size() < bytes;) {
    state = state * 1664525 + 1013904223;
    text += std::to_string(state >> 8U);
  }
  text.resize(bytes);
  return text;
}

TarArchive SampleArchive() {
  TarArchive archive;
  archive.Directory("dir/").File("dir/a", Noise(20000, 1)).Symlink("dir/link", "a");
  archive.File("empty").HardLink("dir/b", "dir/a").File(".wh.gone").File("dir/.wh..wh..opq");
  archive.Add("attr", "x", {.pax = {{"SCHILY.xattr.user.mood", "good\n"}}});
  archive.Add("null", "", {.type = '3', .dev_major = 1, .dev_minor = 3});
  archive.Add("pipe", "", {.type = '6'});
  archive.File("c", Noise(60000, 2)).File("last", "the end").End();
  return archive;
}

Result<IndexedLayer> Index(const std::string& ztoc_bytes, const std::string& blob,
                           const ZtocLayerOptions& options = {}) {
  FLOE_ASSIGN_OR_RETURN(const Ztoc ztoc, ParseZtoc(ztoc_bytes));
  return IndexZtocLayer(ztoc, SourceOf(blob), options);
}

TEST(ZtocLayerTest, GzipLayer) {
  const TarArchive archive = SampleArchive();
  const std::string blob = GzipMember(archive.bytes(), {.mem_level = 1});
  const std::string ztoc = PackZtoc(MakeZtoc(archive.bytes(), blob));
  FLOE_ASSERT_OK_AND_ASSIGN(const IndexedLayer layer, Index(ztoc, blob));
  EXPECT_GT(layer.index.data().units.size(), 5U);
  EXPECT_FALSE(layer.windows.empty());
  ExpectSameLayer(layer, blob, SourceOf(blob));
}

TEST(ZtocLayerTest, UnitsAreExactlyWhatTheDigestsCover) {
  const TarArchive archive = SampleArchive();
  const std::string blob = GzipMember(archive.bytes(), {.mem_level = 1});
  FLOE_ASSERT_OK_AND_ASSIGN(const IndexedLayer layer,
                            Index(PackZtoc(MakeZtoc(archive.bytes(), blob)), blob));
  const LayerIndexData& data = layer.index.data();
  EXPECT_EQ(data.units.front().range.offset, 10U);
  EXPECT_EQ(data.units.front().codec, Codec::kDeflate);
  EXPECT_TRUE(data.units.front().window.empty());
  EXPECT_EQ(data.units.back().range.end(), blob.size());
  for (const Group& group : data.groups) {
    const Unit& unit = data.units[group.unit];
    EXPECT_EQ(group.digest_kind, DigestKind::kCompressedSha256);
    EXPECT_EQ(group.in_unit, (ByteRange{0, unit.decoded_length}));
    EXPECT_EQ(Digest::Of(blob.substr(unit.range.offset, unit.range.length)).bytes(), group.digest);
  }
}

TEST(ZtocLayerTest, SeveralGzipMembers) {
  const TarArchive archive = SampleArchive();
  const std::string& bytes = archive.bytes();
  const std::string blob = GzipMember(bytes.substr(0, 5000)) + GzipMember(bytes.substr(5000, 100)) +
                           GzipMember(bytes.substr(5100, 40000), {.mem_level = 1}) +
                           GzipMember(bytes.substr(45100), {.mem_level = 1});
  const std::string ztoc = PackZtoc(MakeZtoc(bytes, blob, {.span_bytes = 6000}));
  FLOE_ASSERT_OK_AND_ASSIGN(const IndexedLayer layer, Index(ztoc, blob));
  ExpectSameLayer(layer, blob, SourceOf(blob));
}

TEST(ZtocLayerTest, GzipHeaderWithNameAndExtra) {
  const TarArchive archive = SampleArchive();
  const std::string blob =
      GzipMember(archive.bytes(), {.mem_level = 1, .extra = "extra", .name = "layer.tar"});
  const uint64_t header = 10 + 2 + 5 + 10;
  FLOE_ASSERT_OK_AND_ASSIGN(
      const IndexedLayer layer,
      Index(PackZtoc(MakeZtoc(archive.bytes(), blob, {.header_bytes = header})), blob));
  EXPECT_EQ(layer.index.data().units.front().range.offset, header);
  ExpectSameLayer(layer, blob, SourceOf(blob));
}

TEST(ZtocLayerTest, ImpliedStart) {
  const TarArchive archive = SampleArchive();
  const std::string blob = GzipMember(archive.bytes(), {.mem_level = 1});
  const std::string bytes = PackZtoc(MakeZtoc(archive.bytes(), blob, {.implied_start = true}));
  FLOE_ASSERT_OK_AND_ASSIGN(const Ztoc ztoc, ParseZtoc(bytes));
  EXPECT_TRUE(ztoc.start_is_implied);
  FLOE_ASSERT_OK_AND_ASSIGN(const IndexedLayer layer, IndexZtocLayer(ztoc, SourceOf(blob)));
  ExpectSameLayer(layer, blob, SourceOf(blob));
}

TEST(ZtocLayerTest, UncompressedLayer) {
  const TarArchive archive = SampleArchive();
  const std::string& blob = archive.bytes();
  const std::string ztoc =
      PackZtoc(MakeZtoc(blob, blob, {.span_bytes = 10000, .uncompressed = true}));
  FLOE_ASSERT_OK_AND_ASSIGN(const IndexedLayer layer, Index(ztoc, blob));
  EXPECT_EQ(layer.index.data().units.front().codec, Codec::kPlain);
  EXPECT_TRUE(layer.windows.empty());
  ExpectSameLayer(layer, blob, SourceOf(blob));
}

TEST(ZtocLayerTest, OnlyWindowsOfUsedUnitsAreKept) {
  TarArchive archive;
  archive.File("gone", Noise(100000, 3)).File("kept", Noise(5000, 4)).File("gone", "now small");
  archive.End();
  const std::string blob = GzipMember(archive.bytes(), {.mem_level = 1});
  const std::string bytes = PackZtoc(MakeZtoc(archive.bytes(), blob));
  FLOE_ASSERT_OK_AND_ASSIGN(const Ztoc ztoc, ParseZtoc(bytes));
  FLOE_ASSERT_OK_AND_ASSIGN(const IndexedLayer layer, IndexZtocLayer(ztoc, SourceOf(blob)));
  EXPECT_LT(layer.index.data().units.size(), ztoc.spans.size() / 2);
  uint64_t end = 0;
  for (const Unit& unit : layer.index.data().units) {
    EXPECT_EQ(unit.window.offset, end);
    end = unit.window.end();
  }
  EXPECT_EQ(layer.windows.size(), end);
  EXPECT_EQ(layer.index.data().blobs.front().windows_digest, Digest::Of(layer.windows));
  ExpectSameLayer(layer, blob, SourceOf(blob));
}

std::vector<std::pair<uint32_t, uint32_t>> PrefetchOf(const IndexedLayer& layer) {
  std::vector<std::pair<uint32_t, uint32_t>> runs;
  for (const PrefetchRun& run : layer.index.data().prefetch) {
    runs.emplace_back(run.first_unit, run.unit_count);
  }
  return runs;
}

TEST(ZtocLayerTest, PrefetchKeepsItsOrderAndSkipsUnusedSpans) {
  TarArchive archive;
  archive.File("a", Noise(20000, 3)).File("gone", Noise(20000, 4)).File("b", Noise(20000, 5));
  archive.File("gone", "now small").End();
  const std::string& blob = archive.bytes();
  const std::string ztoc =
      PackZtoc(MakeZtoc(blob, blob, {.span_bytes = 10240, .uncompressed = true}));
  // Spans 0, 1, 2 and 4, 5, 6 are used: span 3 holds nothing but what was replaced.
  const std::vector<SociSpanRun> runs = {{5, 5}, {2, 5}, {0, 6}};
  FLOE_ASSERT_OK_AND_ASSIGN(const IndexedLayer layer, Index(ztoc, blob, {.prefetch = runs}));
  ASSERT_EQ(layer.index.data().units.size(), 6U);
  EXPECT_THAT(PrefetchOf(layer),
              ElementsAre(std::pair(4, 1), std::pair(2, 2), std::pair(0, 2), std::pair(5, 1)));
  const std::vector<SociSpanRun> beyond = {{0, 7}};
  FLOE_EXPECT_ERROR(Index(ztoc, blob, {.prefetch = beyond}), ErrorCode::kDataLoss,
                    "are to be prefetched");
}

TEST(ZtocLayerTest, DamagedWindowIsNoticed) {
  const TarArchive archive = SampleArchive();
  const std::string blob = GzipMember(archive.bytes(), {.mem_level = 1});
  FLOE_ASSERT_OK_AND_ASSIGN(IndexedLayer layer,
                            Index(PackZtoc(MakeZtoc(archive.bytes(), blob)), blob));
  for (size_t at = 0; at < layer.windows.size(); at += 997) {
    layer.windows[at] = static_cast<char>(layer.windows[at] ^ 0x10);
    EXPECT_FALSE(FillDevice(layer, blob).has_value()) << at;
    layer.windows[at] = static_cast<char>(layer.windows[at] ^ 0x10);
  }
}

TEST(ZtocLayerTest, ExtendedAttributesAndWhiteouts) {
  const TarArchive archive = SampleArchive();
  const std::string& blob = archive.bytes();
  auto tables = MakeZtoc(blob, blob, {.uncompressed = true});
  auto record = std::make_unique<soci::fbs::XattrT>();
  record->key = "mtime";  // Any PAX record may stand there.
  record->value = "1700000000.5";
  tables.toc->metadata[0]->xattrs.push_back(std::move(record));
  FLOE_ASSERT_OK_AND_ASSIGN(const IndexedLayer layer, Index(PackZtoc(tables), blob));
  EXPECT_THAT(Describe(layer.index.data()),
              Contains("attr file 644 0:0 1700000000 size=1 user.mood=good\n"));
  EXPECT_THAT(Describe(layer.index.data()), Contains("gone whiteout"));
  EXPECT_THAT(Describe(layer.index.data()), Contains("dir dir 755 0:0 1700000000 opaque"));
}

TEST(ZtocLayerTest, ExtendedAttributesCanBeDisabled) {
  const TarArchive archive = SampleArchive();
  const std::string& blob = archive.bytes();
  const std::string ztoc = PackZtoc(MakeZtoc(blob, blob, {.uncompressed = true}));
  FLOE_ASSERT_OK_AND_ASSIGN(const IndexedLayer layer, Index(ztoc, blob, {.disable_xattrs = true}));
  EXPECT_THAT(Describe(layer.index.data()), Contains("attr file 644 0:0 1700000000 size=1"));
}

/// The sample with one more PAX record on its file "c".
Result<IndexedLayer> WithRecords(const std::vector<std::pair<std::string, std::string>>& records) {
  const TarArchive archive = SampleArchive();
  auto tables = MakeZtoc(archive.bytes(), archive.bytes(), {.uncompressed = true});
  for (const auto& [key, value] : records) {
    auto record = std::make_unique<soci::fbs::XattrT>();
    record->key = key;
    record->value = value;
    tables.toc->metadata[10]->xattrs.push_back(std::move(record));
  }
  return Index(PackZtoc(tables), archive.bytes());
}

TEST(ZtocLayerTest, SparseFilesAreRefused) {
  FLOE_EXPECT_OK(WithRecords({{"GNU.sparse.name", "c"}}));
  FLOE_EXPECT_ERROR(WithRecords({{"GNU.sparse.major", "1"}, {"GNU.sparse.minor", "0"}}),
                    ErrorCode::kUnimplemented, "sparse files");
  FLOE_EXPECT_ERROR(WithRecords({{"GNU.sparse.map", "0,1"}}), ErrorCode::kUnimplemented,
                    "'c': sparse files");
}

TEST(ZtocLayerTest, AttributeTwiceIsRefused) {
  FLOE_EXPECT_ERROR(WithRecords({{"SCHILY.xattr.user.a", "1"}, {"SCHILY.xattr.user.a", "2"}}),
                    ErrorCode::kDataLoss, "'user.a' twice");
}

TEST(ZtocLayerTest, LayerOfAnotherSizeIsRefused) {
  const TarArchive archive = SampleArchive();
  const std::string ztoc =
      PackZtoc(MakeZtoc(archive.bytes(), archive.bytes(), {.uncompressed = true}));
  FLOE_EXPECT_ERROR(Index(ztoc, archive.bytes() + "x"), ErrorCode::kDataLoss, "of a layer of");
}

TEST(ZtocLayerTest, HugeSpansAreRefused) {
  TarArchive archive;
  archive.File("zeros", std::string(kMaxUnitBytes + 1, '\0')).End();
  const std::string ztoc = PackZtoc(MakeZtoc(
      archive.bytes(), archive.bytes(), {.span_bytes = kMaxUnitBytes + 512, .uncompressed = true}));
  FLOE_EXPECT_ERROR(Index(ztoc, archive.bytes()), ErrorCode::kUnimplemented, "a span of");
}

TEST(ZtocLayerTest, WhatContainerdRefusesIsRefused) {
  TarArchive archive;
  archive.File("../up", "x").End();
  const std::string ztoc =
      PackZtoc(MakeZtoc(archive.bytes(), archive.bytes(), {.uncompressed = true}));
  FLOE_EXPECT_ERROR(Index(ztoc, archive.bytes()), ErrorCode::kInvalidArgument, "path traversal");
}

}  // namespace
}  // namespace floe::image
