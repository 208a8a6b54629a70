#include "image/content_sink.h"

#include <zstd.h>

#include <map>
#include <random>
#include <string>

#include <gtest/gtest.h>

#include "image/blob_map.h"
#include "image/layer_indexer.h"
#include "tests/image/gzip_support.h"
#include "tests/image/layer_support.h"
#include "tests/image/tar_support.h"
#include "tests/support/result_matchers.h"

namespace floe::image {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

/// Keeps everything, by where it lies in the archive.
class KeepingSink final : public ContentSink {
 public:
  Result<void> OnFile(std::span<const TarFragment> data, uint64_t size_bytes) override {
    for (const TarFragment& run : data) {
      runs.push_back(run);
    }
    sizes.push_back(size_bytes);
    return Ok();
  }
  Result<void> OnContent(uint64_t archive_offset, std::span<const std::byte> bytes) override {
    EXPECT_FALSE(bytes.empty());
    EXPECT_GE(archive_offset, next) << "not in order";
    next = archive_offset + bytes.size();
    std::string& text = contents[archive_offset];
    text.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    return next > fail_at ? Result<void>(ResourceExhausted("the disk is full")) : Ok();
  }
  /// All content, put where it lies in the archive; zeros else.
  [[nodiscard]] std::string Archive(size_t size) const {
    std::string archive(size, '\0');
    for (const auto& [offset, text] : contents) {
      archive.replace(offset, text.size(), text);
    }
    return archive;
  }

  std::vector<TarFragment> runs;
  std::vector<uint64_t> sizes;
  std::map<uint64_t, std::string> contents;
  uint64_t next = 0;
  uint64_t fail_at = UINT64_MAX;
};

std::string Random(size_t size, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::string content(size, '\0');
  for (char& c : content) {
    c = static_cast<char>('a' + random() % 20);
  }
  return content;
}

std::string SampleTar() {
  TarArchive archive;
  archive.Directory("d/").File("d/a", Random(5000, 1)).File("empty").File("b", Random(700000, 2));
  archive.HardLink("d/link", "b").Symlink("s", "b").File("d/c", Random(512, 3));
  return archive.End().bytes();
}

std::string ZstdFrame(std::string_view data) {
  std::string frame(ZSTD_compressBound(data.size()), '\0');
  frame.resize(ZSTD_compress(frame.data(), frame.size(), data.data(), data.size(), 3));
  return frame;
}

struct Collected {
  KeepingSink sink;
  std::optional<IndexedLayer> layer;
};

void Collect(const std::string& blob, bool pipelined, size_t step, Collected& collected) {
  auto layer = IndexBlob(
      blob, SourceOf(blob),
      {.span_bytes = 64U << 10U, .contents = &collected.sink, .pipelined = pipelined}, step);
  FLOE_ASSERT_OK(layer);
  collected.layer.emplace(std::move(*layer));
}

/// The device, copied together from the contents by the placements.
std::string DeviceOf(const Collected& collected) {
  std::string device(collected.layer->index.data().blobs[0].device_size_bytes, '\0');
  const std::string archive = collected.sink.Archive(collected.sink.next);
  for (const Placement& placement : collected.layer->placements) {
    device.replace(placement.device_offset, placement.length, archive, placement.archive_offset,
                   placement.length);
  }
  return device;
}

TEST(ContentSinkTest, GetsTheContentsOfEveryFormatHoweverItIsFed) {
  const std::string tar = SampleTar();
  for (const std::string& blob : {tar, GzipMember(tar), ZstdFrame(tar)}) {
    for (const bool pipelined : {false, true}) {
      for (const size_t step : {size_t{7}, size_t{5000}, blob.size()}) {
        Collected collected;
        ASSERT_NO_FATAL_FAILURE(Collect(blob, pipelined, step, collected));
        EXPECT_THAT(collected.sink.sizes, ElementsAre(5000, 700000, 512));
        ASSERT_THAT(collected.sink.runs, SizeIs(3));
        for (const TarFragment& run : collected.sink.runs) {
          EXPECT_TRUE(collected.sink.Archive(tar.size()).substr(run.archive_offset, run.length) ==
                      tar.substr(run.archive_offset, run.length));
        }
        FLOE_ASSERT_OK_AND_ASSIGN(const std::string device, FillDevice(*collected.layer, blob));
        EXPECT_TRUE(DeviceOf(collected) == device);
      }
    }
  }
}

TEST(ContentSinkTest, ThePipelineMakesTheSameIndex) {
  const std::string blob = GzipMember(SampleTar());
  Collected one;
  Collected two;
  ASSERT_NO_FATAL_FAILURE(Collect(blob, false, 1000, one));
  ASSERT_NO_FATAL_FAILURE(Collect(blob, true, 1000, two));
  EXPECT_EQ(EncodeBlobMap(one.layer->index, 0), EncodeBlobMap(two.layer->index, 0));
  EXPECT_EQ(one.layer->windows, two.layer->windows);
  EXPECT_EQ(one.layer->placements, two.layer->placements);
}

TEST(ContentSinkTest, PlacementsLeaveOutWhatIsReplacedAndWhiteouts) {
  TarArchive archive;
  archive.File("a", Random(5000, 1)).File(".wh.gone", "x").File("b", Random(100, 2));
  archive.File("a", Random(9000, 3)).File("empty");
  const std::string blob = archive.End().bytes();
  Collected collected;
  ASSERT_NO_FATAL_FAILURE(Collect(blob, true, 4096, collected));
  EXPECT_THAT(collected.sink.sizes, ElementsAre(5000, 1, 100, 9000));
  ASSERT_THAT(collected.layer->placements, SizeIs(2));
  EXPECT_EQ(collected.layer->placements[0].device_offset, 0U);
  EXPECT_EQ(collected.layer->placements[0].length, 100U);
  EXPECT_EQ(collected.layer->placements[1].device_offset, 4096U);
  FLOE_ASSERT_OK_AND_ASSIGN(const std::string device, FillDevice(*collected.layer, blob));
  EXPECT_TRUE(DeviceOf(collected) == device);
}

TEST(ContentSinkTest, ASparseFileComesInItsRuns) {
  TarArchive archive;
  archive.Add("f", "xyyzz",
              {.pax = {{"GNU.sparse.major", "0"},
                       {"GNU.sparse.minor", "1"},
                       {"GNU.sparse.numblocks", "3"},
                       {"GNU.sparse.map", "0,1,196606,2,196608,2"},
                       {"GNU.sparse.size", "300000"}}});
  const std::string blob = archive.File("g", "g").End().bytes();
  Collected collected;
  ASSERT_NO_FATAL_FAILURE(Collect(blob, false, 3, collected));
  EXPECT_THAT(collected.sink.sizes, ElementsAre(300000, 1));
  ASSERT_THAT(collected.sink.runs, SizeIs(4));
  EXPECT_EQ(collected.sink.runs[1].file_offset, 196606U);
  FLOE_ASSERT_OK_AND_ASSIGN(const std::string device, FillDevice(*collected.layer, blob));
  EXPECT_TRUE(DeviceOf(collected) == device);
}

TEST(ContentSinkTest, ItsErrorEndsTheIndexing) {
  const std::string blob = GzipMember(SampleTar());
  for (const bool pipelined : {false, true}) {
    KeepingSink sink;
    sink.fail_at = 100000;
    FLOE_EXPECT_ERROR(
        IndexBlob(blob, SourceOf(blob), {.contents = &sink, .pipelined = pipelined}, 10000),
        ErrorCode::kResourceExhausted, "the disk is full");
  }
}

TEST(ContentSinkTest, WithoutOneThereAreNoPlacements) {
  const std::string blob = SampleTar();
  FLOE_ASSERT_OK_AND_ASSIGN(const IndexedLayer layer, IndexBlob(blob, SourceOf(blob)));
  EXPECT_THAT(layer.placements, IsEmpty());
}

TEST(ContentSinkTest, AnEmptyBlobThroughThePipeline) {
  KeepingSink sink;
  FLOE_ASSERT_OK(IndexBlob("", SourceOf(""), {.contents = &sink, .pipelined = true}));
  EXPECT_THAT(sink.sizes, IsEmpty());
}

}  // namespace
}  // namespace floe::image
