// Every eStargz and zstd:chunked conversion of the corpus, layer by layer, against the index of the
// layer's own archive in fixtures/images/oci, which containerd unpacked for expected-tree.jsonl.
#include <algorithm>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "tests/image/layer_support.h"
#include "tests/image/stargz/stargz_support.h"
#include "tests/image/tar_support.h"
#include "tests/support/result_matchers.h"

namespace floe::image {
namespace {

struct Case {
  const char* image;
  const char* producer;
  bool rounds_times = true;         ///< The table keeps whole seconds.
  bool loses_empty_xattrs = false;  ///< Old containers/storage; its archive has them.
};

/// The trees of images/oci, as the indexer sees them.
struct Expected {
  std::vector<std::string> tree;
  std::vector<std::string> files;
};

Result<std::vector<Expected>> ReadExpected() {
  FLOE_ASSIGN_OR_RETURN(const auto layers, ReadFixtureLayers(kFixtureImages / "oci"));
  std::vector<Expected> all;
  for (const FixtureLayer& layer : layers) {
    FLOE_ASSIGN_OR_RETURN(const IndexedLayer indexed,
                          IndexBlob(layer.blob, {.digest = layer.descriptor.digest,
                                                 .size_bytes = layer.descriptor.size_bytes,
                                                 .media_type = layer.descriptor.media_type,
                                                 .diff_id = layer.diff_id}));
    FLOE_ASSIGN_OR_RETURN(const std::string device, FillDevice(indexed, layer.blob));
    all.push_back({Describe(indexed.index.data()), FileDigests(indexed.index, device)});
  }
  return all;
}

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

/// Where the digits before `end` begin.
size_t DigitsBefore(const std::string& line, size_t end) {
  while (end > 0 && IsDigit(line[end - 1])) {
    --end;
  }
  return end;
}

/// The seconds before the point of "... 0:0 1700000000.987654200 ...": where they begin, or npos
/// when the point is none of a time.
size_t SecondsBefore(const std::string& line, size_t point) {
  const size_t seconds = DigitsBefore(line, point);
  if (seconds == point || seconds < 2 || line[seconds - 1] != ' ') {
    return std::string::npos;
  }
  const size_t group = DigitsBefore(line, seconds - 1);
  return group > 0 && group < seconds - 1 && line[group - 1] == ':' ? seconds : std::string::npos;
}

/// Makes "... 0:0 1700000000.987654200 ..." what the stargz family keeps of it.
void RoundTime(std::string& line) {
  constexpr size_t kFractionDigits = 9;
  for (size_t point = line.find('.'); point != std::string::npos;
       point = line.find('.', point + 1)) {
    const size_t start = SecondsBefore(line, point);
    size_t end = point + 1;
    while (end < line.size() && IsDigit(line[end])) {
      ++end;
    }
    if (start != std::string::npos && end == point + 1 + kFractionDigits) {
      const int64_t seconds =
          std::stoll(line.substr(start, point - start)) + (line[point + 1] >= '5' ? 1 : 0);
      line.replace(start, end - start, std::to_string(seconds));
      return;
    }
  }
}

void DropEmptyXattr(std::string& line) {
  constexpr std::string_view kEmpty = " user.empty=";
  const size_t at = line.find(std::string(kEmpty) + " ");
  if (at != line.npos) {
    line.erase(at, kEmpty.size());
  }
}

/// Like EXPECT_EQ, but says which lines differ.
void ExpectLines(const std::vector<std::string>& found, const std::vector<std::string>& expected) {
  EXPECT_EQ(found.size(), expected.size());
  for (size_t i = 0; i < std::min(found.size(), expected.size()); ++i) {
    EXPECT_EQ(found[i], expected[i]);
  }
}

class StargzCorpusTest : public ::testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    if (!std::filesystem::exists(kFixtureImages / GetParam().image)) {
      GTEST_SKIP() << kFixtureImages / GetParam().image << " is absent";
    }
    FLOE_ASSERT_OK_AND_ASSIGN(layers_, ReadFixtureLayers(kFixtureImages / GetParam().image));
  }
  std::vector<FixtureLayer> layers_;
};

TEST_P(StargzCorpusTest, EachLayerIsWhatItsArchiveIs) {
  FLOE_ASSERT_OK_AND_ASSIGN(std::vector<Expected> expected, ReadExpected());
  ASSERT_EQ(expected.size(), layers_.size());
  for (size_t i = 0; i < layers_.size(); ++i) {
    SCOPED_TRACE(i);
    FLOE_ASSERT_OK_AND_ASSIGN(const LayerIndex index, IndexFixture(layers_[i]));
    if (GetParam().rounds_times) {
      std::ranges::for_each(expected[i].tree, RoundTime);
    }
    if (GetParam().loses_empty_xattrs) {
      std::ranges::for_each(expected[i].tree, DropEmptyXattr);
    }
    ExpectLines(Describe(index.data()), expected[i].tree);
    FLOE_ASSERT_OK_AND_ASSIGN(const std::string device, FillCheckedDevice(index, layers_[i].blob));
    ExpectLines(FileDigests(index, device), expected[i].files);
    EXPECT_FALSE(expected[i].files.empty());
  }
}

TEST_P(StargzCorpusTest, SaysWhereItComesFrom) {
  for (const FixtureLayer& layer : layers_) {
    FLOE_ASSERT_OK_AND_ASSIGN(const LayerIndex index, IndexFixture(layer));
    EXPECT_EQ(index.data().producer, GetParam().producer);
    EXPECT_EQ(index.data().diff_id, layer.diff_id);
    ASSERT_EQ(index.data().blobs.size(), 1U);
    EXPECT_EQ(index.data().blobs[0].digest, layer.descriptor.digest);
    EXPECT_EQ(index.data().blobs[0].size_bytes, layer.blob.size());
    EXPECT_TRUE(index.data().prefetch.empty());
  }
}

TEST_P(StargzCorpusTest, HidesWhatBelongsToTheFormat) {
  for (const FixtureLayer& layer : layers_) {
    FLOE_ASSERT_OK_AND_ASSIGN(const LayerIndex index, IndexFixture(layer));
    for (const char* name : {"stargz.index.json", ".prefetch.landmark", ".no.prefetch.landmark"}) {
      EXPECT_EQ(FindInode(index.data(), name), nullptr) << name;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    AllConversions, StargzCorpusTest,
    ::testing::Values(Case{"estargz", "estargz"}, Case{"estargz-chunked", "estargz"},
                      Case{"estargz-minchunk", "estargz"}, Case{"estargz-exttoc", "estargz"},
                      Case{"zstdchunked-stargz", "zstd:chunked stargz"},
                      Case{"zstdchunked-chunked", "zstd:chunked stargz"},
                      Case{"zstdchunked-podman", "zstd:chunked containers/storage", false, true}),
    [](const auto& test) {
      std::string name = test.param.image;
      std::erase(name, '-');
      return name;
    });

class StargzUnitsTest : public ::testing::Test {
 protected:
  static Result<LayerIndex> FirstLayer(const char* image) {
    FLOE_ASSIGN_OR_RETURN(const auto layers, ReadFixtureLayers(kFixtureImages / image));
    return IndexFixture(layers.front());
  }
};

TEST_F(StargzUnitsTest, SeveralFilesShareOneMember) {
  if (!std::filesystem::exists(kFixtureImages / "estargz-minchunk")) {
    GTEST_SKIP() << "fixtures are absent";
  }
  FLOE_ASSERT_OK_AND_ASSIGN(const LayerIndex index, FirstLayer("estargz-minchunk"));
  EXPECT_GT(index.data().groups.size(), 2000U);
  EXPECT_LT(index.data().units.size(), 60U);
}

TEST_F(StargzUnitsTest, HolesAreNotFetched) {
  if (!std::filesystem::exists(kFixtureImages / "zstdchunked-podman")) {
    GTEST_SKIP() << "fixtures are absent";
  }
  FLOE_ASSERT_OK_AND_ASSIGN(const LayerIndex index, FirstLayer("zstdchunked-podman"));
  const Inode* holes = FindInode(index.data(), "sizes/holes");
  ASSERT_NE(holes, nullptr);
  uint64_t mapped = 0;
  for (const Segment& segment : index.segments(*holes)) {
    mapped += segment.length;
  }
  EXPECT_LT(mapped, holes->size_bytes / 4);
}

}  // namespace
}  // namespace floe::image
