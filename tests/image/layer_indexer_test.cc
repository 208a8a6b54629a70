#include "image/layer_indexer.h"

#include <zstd.h>

#include <random>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "tests/image/gzip_support.h"
#include "tests/image/layer_support.h"
#include "tests/image/tar_support.h"
#include "tests/support/result_matchers.h"

namespace floe::image {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

std::span<const std::byte> Bytes(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

/// Half random, half repeated: compresses to about half.
std::string Content(size_t size, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::string content;
  while (content.size() < size) {
    std::string block(512, '\0');
    for (char& c : block) {
      c = static_cast<char>(random());
    }
    content += block + block;
  }
  content.resize(size);
  return content;
}

struct SampleFile {
  std::string name;
  std::string content;
};

std::vector<SampleFile> SampleFiles() {
  std::vector<SampleFile> files;
  for (size_t size : {0U, 1U, 4096U, 100000U, 900000U, 3000000U}) {
    files.push_back({"files/f" + std::to_string(size), Content(size, size)});
  }
  return files;
}

std::string SampleTar() {
  TarArchive archive;
  for (const SampleFile& file : SampleFiles()) {
    archive.File(file.name, file.content);
  }
  return archive.HardLink("link", "files/f4096").File(".wh.gone").End().bytes();
}

std::string ZstdFrame(std::string_view data) {
  std::string frame(ZSTD_compressBound(data.size()), '\0');
  frame.resize(ZSTD_compress(frame.data(), frame.size(), data.data(), data.size(), 3));
  return frame;
}

/// The blob's index gives back every file of SampleTar.
void ExpectSample(const std::string& blob, std::string_view producer) {
  LayerSource source = SourceOf(blob);
  source.diff_id = Digest::Of(SampleTar());
  FLOE_ASSERT_OK_AND_ASSIGN(const IndexedLayer layer, IndexBlob(blob, source));
  const LayerIndexData& data = layer.index.data();
  EXPECT_EQ(data.diff_id, source.diff_id);
  EXPECT_THAT(data.producer, HasSubstr(producer));
  EXPECT_EQ(data.blobs[0].digest, source.digest);
  EXPECT_EQ(data.blobs[0].size_bytes, blob.size());
  EXPECT_EQ(data.blobs[0].media_type, source.media_type);
  EXPECT_EQ(data.blobs[0].windows_size_bytes, layer.windows.size());
  EXPECT_EQ(data.blobs[0].windows_digest,
            layer.windows.empty() ? Digest() : Digest::Of(layer.windows));
  FLOE_ASSERT_OK_AND_ASSIGN(const std::string device, FillDevice(layer, blob));
  for (const SampleFile& file : SampleFiles()) {
    const Inode* inode = FindInode(data, file.name);
    ASSERT_NE(inode, nullptr) << file.name;
    EXPECT_TRUE(ReadInode(data, *inode, device) == file.content) << file.name;
  }
  EXPECT_THAT(Describe(data), Contains("gone whiteout"));
}

TEST(LayerIndexerTest, IndexesAPlainTar) { ExpectSample(SampleTar(), " tar"); }

TEST(LayerIndexerTest, IndexesGzip) { ExpectSample(GzipMember(SampleTar()), " tar+gzip"); }

TEST(LayerIndexerTest, IndexesManyGzipMembers) {
  const std::string tar = SampleTar();
  std::string blob;
  for (size_t at = 0; at < tar.size(); at += 70000) {
    blob += GzipMember(std::string_view(tar).substr(at, 70000));
  }
  ExpectSample(blob, " tar+gzip");
}

TEST(LayerIndexerTest, IndexesManyZstdFrames) {
  const std::string tar = SampleTar();
  std::string blob;
  for (size_t at = 0; at < tar.size(); at += 70000) {
    blob += ZstdFrame(std::string_view(tar).substr(at, 70000));
  }
  ExpectSample(blob, " tar+zstd");
}

TEST(LayerIndexerTest, CutsOneZstdFrameIntoGroups) {
  const std::string blob = ZstdFrame(SampleTar());
  ExpectSample(blob, " tar+zstd");
  FLOE_ASSERT_OK_AND_ASSIGN(const IndexedLayer layer, IndexBlob(blob, SourceOf(blob)));
  EXPECT_THAT(layer.index.data().units, SizeIs(1));
  EXPECT_THAT(layer.index.data().groups, SizeIs(SampleTar().size() / (1U << 20U) + 1));
}

TEST(LayerIndexerTest, ASkippableFrameInFrontIsZstd) {
  const std::string skippable("\x53\x2a\x4d\x18\x03\0\0\0abc", 11);
  ExpectSample(skippable + ZstdFrame(SampleTar()), " tar+zstd");
}

TEST(LayerIndexerTest, DoesNotCareHowBytesAreSplit) {
  const std::string blob = GzipMember(SampleTar());
  FLOE_ASSERT_OK_AND_ASSIGN(const IndexedLayer whole,
                            IndexBlob(blob, SourceOf(blob), {}, blob.size()));
  FLOE_ASSERT_OK_AND_ASSIGN(const IndexedLayer split, IndexBlob(blob, SourceOf(blob), {}, 1));
  EXPECT_EQ(split.windows, whole.windows);
  EXPECT_EQ(Describe(split.index.data()), Describe(whole.index.data()));
  ASSERT_EQ(split.index.data().extents.size(), whole.index.data().extents.size());
  ASSERT_EQ(split.index.data().groups.size(), whole.index.data().groups.size());
  for (size_t i = 0; i < split.index.data().groups.size(); ++i) {
    EXPECT_EQ(split.index.data().groups[i].digest, whole.index.data().groups[i].digest);
  }
}

TEST(LayerIndexerTest, KeepsOnlyTheWindowsOfUnitsThatAreUsed) {
  TarArchive archive;
  archive.File("big", Content(4U << 20U, 1)).File("small", Content(300000, 2)).File("big").End();
  const std::string blob = GzipMember(archive.bytes());
  FLOE_ASSERT_OK_AND_ASSIGN(const IndexedLayer layer, IndexBlob(blob, SourceOf(blob)));
  EXPECT_LE(layer.index.data().units.size(), 3U);
  EXPECT_LE(layer.windows.size(), 3U << 15U);
  FLOE_ASSERT_OK_AND_ASSIGN(const std::string device, FillDevice(layer, blob));
  const LayerIndexData& data = layer.index.data();
  EXPECT_TRUE(ReadInode(data, *FindInode(data, "small"), device) == Content(300000, 2));
}

TEST(LayerIndexerTest, AnEmptyBlobIsAnEmptyLayer) {
  FLOE_ASSERT_OK_AND_ASSIGN(const IndexedLayer layer, IndexBlob("", SourceOf("")));
  EXPECT_THAT(layer.index.data().inodes, SizeIs(1));
  EXPECT_THAT(layer.index.data().extents, IsEmpty());
}

TEST(LayerIndexerTest, IgnoresWhatFollowsTheArchive) {
  const std::string blob = SampleTar() + std::string(5000, 'j');
  FLOE_EXPECT_OK(IndexBlob(blob, SourceOf(blob)));
}

// Errors: one line, the layer's digest first.

void ExpectRefused(const std::string& blob, const LayerSource& source, ErrorCode code,
                   const std::string& reason, const IndexerOptions& options = {}) {
  const Result<IndexedLayer> result = IndexBlob(blob, source, options);
  ASSERT_FALSE(result.has_value());
  EXPECT_EQ(result.error().code, code) << result.error().ToString();
  EXPECT_THAT(result.error().message, HasSubstr(reason));
  EXPECT_TRUE(result.error().message.starts_with("layer " + source.digest.ToString() + ": "))
      << result.error().message;
  EXPECT_THAT(result.error().message, Not(HasSubstr("\n")));
}

TEST(LayerIndexerTest, RefusesOtherBytesThanTheDigests) {
  const std::string blob = SampleTar();
  LayerSource source = SourceOf(blob);
  source.digest = Digest::Of("something else");
  ExpectRefused(blob, source, ErrorCode::kDataLoss, "its bytes have the digest sha256:");
}

TEST(LayerIndexerTest, RefusesAnotherSize) {
  const std::string blob = SampleTar();
  LayerSource source = SourceOf(blob);
  source.size_bytes += 1;
  ExpectRefused(blob, source, ErrorCode::kDataLoss, "the manifest says");
  source.size_bytes -= 2;
  ExpectRefused(blob, source, ErrorCode::kDataLoss, "more than the");
}

TEST(LayerIndexerTest, RefusesAnotherDiffId) {
  for (const std::string& blob : {SampleTar(), GzipMember(SampleTar())}) {
    LayerSource source = SourceOf(blob);
    source.diff_id = Digest::Of("another archive");
    ExpectRefused(blob, source, ErrorCode::kDataLoss, "its archive has the digest");
  }
}

TEST(LayerIndexerTest, RefusesATruncatedDownload) {
  const std::string blob = GzipMember(SampleTar());
  ExpectRefused(blob.substr(0, blob.size() / 2), SourceOf(blob), ErrorCode::kDataLoss,
                "the manifest says");
}

TEST(LayerIndexerTest, RefusesATruncatedArchive) {
  const std::string tar = SampleTar().substr(0, 300000);
  ExpectRefused(tar, SourceOf(tar), ErrorCode::kInvalidArgument, "cut off at offset 300000");
  const std::string blob = GzipMember(tar);
  ExpectRefused(blob, SourceOf(blob), ErrorCode::kInvalidArgument, "cut off at offset 300000");
}

TEST(LayerIndexerTest, RefusesATruncatedGzipStream) {
  const std::string whole = GzipMember(SampleTar());
  const std::string blob = whole.substr(0, whole.size() - 5);
  ExpectRefused(blob, SourceOf(blob), ErrorCode::kDataLoss, "");
}

TEST(LayerIndexerTest, RefusesWhatIsNoArchive) {
  const std::string blob(5000, 'x');
  ExpectRefused(blob, SourceOf(blob), ErrorCode::kInvalidArgument, "not a tar header");
  ExpectRefused("abc", SourceOf("abc"), ErrorCode::kInvalidArgument, "cut off");
}

TEST(LayerIndexerTest, RefusesPathTraversal) {
  const std::string blob = GzipMember(TarArchive().File("../../etc/cron.d/x").End().bytes());
  ExpectRefused(blob, SourceOf(blob), ErrorCode::kInvalidArgument,
                "'../../etc/cron.d/x': path traversal");
}

TEST(LayerIndexerTest, RefusesMoreDecodedBytesThanAllowed) {
  const std::string blob = GzipMember(SampleTar());
  ExpectRefused(blob, SourceOf(blob), ErrorCode::kInvalidArgument, "decodes to more than 1000000",
                {.max_decoded_bytes = 1000000});
}

TEST(LayerIndexerTest, RefusesAGzipBomb) {
  TarArchive archive;
  archive.Raw(HeaderBlock("zeros", 3ULL << 30U, {}));
  std::string blob = GzipMember(archive.bytes());
  const std::string zeros = GzipMember(std::string(64U << 20U, '\0'));
  for (int i = 0; i < 48; ++i) {
    blob += zeros;
  }
  ExpectRefused(blob, SourceOf(blob), ErrorCode::kInvalidArgument, "times its size",
                {.max_ratio = 100});
}

TEST(LayerIndexerTest, TheFirstErrorStays) {
  const std::string blob(2048, 'x');
  FLOE_ASSERT_OK_AND_ASSIGN(const auto indexer, LayerIndexer::Create(SourceOf(blob)));
  const auto first = indexer->Feed(Bytes(blob));
  ASSERT_FALSE(first.has_value());
  const auto second = indexer->Feed(Bytes(blob));
  ASSERT_FALSE(second.has_value());
  EXPECT_EQ(second.error().message, first.error().message);
  FLOE_EXPECT_ERROR(indexer->Finish(), first.error().code, first.error().message);
}

TEST(LayerIndexerTest, RefusesOptionsAndSourcesThatMakeNoSense) {
  EXPECT_FALSE(LayerIndexer::Create({}).has_value());
  EXPECT_FALSE(LayerIndexer::Create(SourceOf(""), {.span_bytes = 0}).has_value());
  EXPECT_FALSE(LayerIndexer::Create(SourceOf(""), {.max_ratio = 0}).has_value());
}

}  // namespace
}  // namespace floe::image
