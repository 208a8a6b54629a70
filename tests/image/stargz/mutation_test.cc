// Every structure of the formats, damaged at random: what the manifest's digests cover is always
// noticed; what is damaged *with* new digests is refused, or makes a valid index whose data match
// the digests in it, or are refused when they are read.
#include <algorithm>
#include <cstdio>
#include <functional>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "image/stargz/annotations.h"
#include "image/stargz/footer.h"
#include "image/stargz/toc_container.h"
#include "tests/image/stargz/stargz_support.h"
#include "tests/image/tar_support.h"
#include "tests/support/result_matchers.h"

namespace floe::image {
namespace {

using nlohmann::json;

constexpr uint32_t kSeed = 20240917;
constexpr const char* kTocDigestKey = "containerd.io/snapshot/stargz/toc.digest";

struct Counts {
  int mutations = 0;
  int refused = 0;       ///< No index.
  int data_refused = 0;  ///< An index, but data that do not match it.
  int same = 0;          ///< What was hit is never read: the same index and the same files.
  int other = 0;         ///< Another index, whose data match it: only with new digests.
};

/// What reading a layer to the end gives.
struct Outcome {
  std::vector<std::string> tree;
  std::vector<std::string> files;
  bool operator==(const Outcome&) const = default;
};
enum class Failure { kNone, kIndex, kData };

class MutationTest : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    const auto layout = kFixtureImages / GetParam();
    if (!std::filesystem::exists(layout)) {
      GTEST_SKIP() << layout << " is absent";
    }
    FLOE_ASSERT_OK_AND_ASSIGN(auto layers, ReadFixtureLayers(layout));
    layer_ = std::move(layers.at(2));  // Small, but with files, directories, whiteouts, xattrs.
    large_ = std::move(layers.at(1));
  }
  void TearDown() override {
    if (!IsSkipped()) {
      std::printf(
          "%s %s seed=%u: %d mutations, %d refused, %d refused as data, %d same, %d other\n",
          GetParam(), ::testing::UnitTest::GetInstance()->current_test_info()->name(), kSeed,
          counts_.mutations, counts_.refused, counts_.data_refused, counts_.same, counts_.other);
    }
  }

  size_t Below(size_t limit) {
    return std::uniform_int_distribution<size_t>(0, limit - 1)(random_);
  }
  /// Flips, cuts, swaps, enlarges or overwrites; never changes nothing.
  std::string Mutate(const std::string& bytes);

  static Failure Finish(const Result<LayerIndex>& index, const std::string& blob,
                        Outcome& outcome) {
    if (!index.has_value()) {
      EXPECT_EQ(index.error().message.find('\n'), std::string::npos);
      return Failure::kIndex;
    }
    const Result<std::string> device = FillCheckedDevice(*index, blob);
    if (!device.has_value()) {
      EXPECT_EQ(device.error().code, ErrorCode::kDataLoss) << device.error().ToString();
      return Failure::kData;
    }
    outcome = {Describe(index->data()), FileDigests(*index, *device)};
    return Failure::kNone;
  }
  static Outcome Right(const FixtureLayer& layer) {
    Outcome outcome;
    EXPECT_EQ(Finish(IndexFixture(layer), layer.blob, outcome), Failure::kNone);
    EXPECT_FALSE(outcome.files.empty());
    return outcome;
  }
  /// Reads `layer` to the end and counts what came of it.
  void Count(const Result<LayerIndex>& index, const std::string& blob, const Outcome& right) {
    Outcome outcome;
    const Failure failure = Finish(index, blob, outcome);
    ++counts_.mutations;
    counts_.refused += failure == Failure::kIndex ? 1 : 0;
    counts_.data_refused += failure == Failure::kData ? 1 : 0;
    counts_.same += failure == Failure::kNone && outcome == right ? 1 : 0;
    counts_.other += failure == Failure::kNone && outcome != right ? 1 : 0;
  }

  FixtureLayer layer_, large_;
  std::mt19937 random_{kSeed};
  Counts counts_;
};

std::string MutationTest::Mutate(const std::string& bytes) {
  std::string mutated = bytes;
  while (mutated == bytes) {
    const size_t at = Below(bytes.size());
    const size_t length = 1 + Below(std::min<size_t>(bytes.size() - at, 16));
    switch (Below(5)) {
      case 0:
        mutated[at] = static_cast<char>(mutated[at] ^ (1 << Below(8)));
        break;
      case 1:
        mutated.erase(at, length);
        break;
      case 2: {
        const size_t other = Below(bytes.size());
        if (other + length <= at) {
          std::swap_ranges(mutated.begin() + static_cast<long>(at),
                           mutated.begin() + static_cast<long>(at + length),
                           mutated.begin() + static_cast<long>(other));
        }
        break;
      }
      case 3:
        mutated.insert(at, bytes, at, length);
        break;
      default:
        mutated[at] = static_cast<char>(Below(256));
    }
  }
  return mutated;
}

/// Annotates the layer with the digests of this table.
void Sign(FixtureLayer& layer, const TocParts& parts) {
  for (auto& [key, value] : layer.descriptor.annotations) {
    if (key == kTocDigestKey) {
      value = Digest::Of(parts.json).ToString();
    } else if (key.ends_with("manifest-checksum")) {
      value = Digest::Of(parts.compressed).ToString();
    }
  }
}

TEST_P(MutationTest, Footer) {
  const Outcome right = Right(layer_);
  for (int i = 0; i < 400; ++i) {
    FixtureLayer layer = layer_;
    const size_t at = layer.blob.size() - 64;
    layer.blob = layer.blob.substr(0, at) + Mutate(layer.blob.substr(at));
    layer.blob.resize(layer_.blob.size(), '\0');
    Count(IndexFixture(layer), layer.blob, right);
  }
  EXPECT_EQ(counts_.other, 0);
  EXPECT_GT(counts_.refused, 50);
}

TEST_P(MutationTest, Annotations) {
  const Outcome right = Right(layer_);
  const size_t annotations = layer_.descriptor.annotations.size();
  for (int i = 0; i < 400; ++i) {
    FixtureLayer layer = layer_;
    auto& [key, value] =
        *std::next(layer.descriptor.annotations.begin(), static_cast<long>(Below(annotations)));
    value = Mutate(value);
    Count(IndexFixture(layer), layer.blob, right);
    const Result<LayerIndex> index = IndexFixture(layer);
    EXPECT_TRUE(!index.has_value() || !key.ends_with("digest")) << value;
    EXPECT_TRUE(!index.has_value() || !key.ends_with("checksum")) << value;
  }
  EXPECT_EQ(counts_.other, 0);
  EXPECT_GT(counts_.refused, 50);
}

TEST_P(MutationTest, CompressedTableWithTheOldDigests) {
  const Outcome right = Right(layer_);
  FLOE_ASSERT_OK_AND_ASSIGN(const TocParts parts, ReadTocParts(layer_));
  FLOE_ASSERT_OK_AND_ASSIGN(const TocAnnotations annotations,
                            ParseTocAnnotations(layer_.descriptor));
  for (int i = 0; i < 600; ++i) {
    TocParts mutated = parts;
    mutated.compressed = Mutate(parts.compressed);
    const auto read = [&]() -> Result<LayerIndex> {
      FLOE_RETURN_IF_ERROR(CheckCompressedToc(annotations, BytesOf(mutated.compressed)));
      FLOE_ASSIGN_OR_RETURN(mutated.json,
                            parts.codec == Codec::kZstd
                                ? DecodeZstdToc(BytesOf(mutated.compressed), parts.decoded_length)
                                : DecodeGzipToc(BytesOf(mutated.compressed)));
      FLOE_RETURN_IF_ERROR(CheckTocJson(annotations, mutated.json));
      return IndexFromToc(mutated.json, TocSource(layer_, mutated));
    };
    Count(read(), layer_.blob, right);
  }
  EXPECT_EQ(counts_.other + counts_.data_refused, 0);
}

TEST_P(MutationTest, CompressedTableWithNewDigests) {
  const Outcome right = Right(layer_);
  FLOE_ASSERT_OK_AND_ASSIGN(const TocParts parts, ReadTocParts(layer_));
  for (int i = 0; i < 600; ++i) {
    TocParts mutated = parts;
    mutated.compressed = Mutate(parts.compressed);
    const auto decoded = parts.codec == Codec::kZstd
                             ? DecodeZstdToc(BytesOf(mutated.compressed), kMaxTocBytes)
                             : DecodeGzipToc(BytesOf(mutated.compressed));
    if (!decoded.has_value()) {
      ++counts_.mutations;
      ++counts_.refused;
      continue;
    }
    Count(IndexFromToc(*decoded, TocSource(layer_, parts)), layer_.blob, right);
  }
}

TEST_P(MutationTest, TextOfTheTable) {
  const Outcome right = Right(layer_);
  FLOE_ASSERT_OK_AND_ASSIGN(const TocParts parts, ReadTocParts(layer_));
  FLOE_ASSERT_OK_AND_ASSIGN(const TocAnnotations annotations,
                            ParseTocAnnotations(layer_.descriptor));
  for (int i = 0; i < 1500; ++i) {
    const std::string text = Mutate(parts.json);
    EXPECT_TRUE(!annotations.toc_digest || !CheckTocJson(annotations, text).has_value());
    Count(IndexFromToc(text, TocSource(layer_, parts)), layer_.blob, right);
  }
}

/// Another value for a field: of any kind, near and far from what it was.
json OtherValue(const json& value, const std::function<size_t(size_t)>& below) {
  const int64_t number = value.is_number() ? value.get<int64_t>() : 0;
  const std::string text = value.is_string() ? value.get<std::string>() : "";
  const std::vector<json> values = {number + 1,
                                    number - 1,
                                    -number,
                                    0,
                                    number * 2,
                                    INT64_MAX,
                                    INT64_MIN,
                                    UINT64_MAX,
                                    INT64_MAX - number,
                                    1.5,
                                    nullptr,
                                    true,
                                    "",
                                    text + "/..",
                                    "../" + text,
                                    text.substr(0, text.size() / 2),
                                    text + text,
                                    std::string(5000, 'x'),
                                    "reg",
                                    "chunk",
                                    "hardlink",
                                    "zeros",
                                    json::object(),
                                    json::array({1, "x"})};
  return values[below(values.size())];
}

constexpr const char* kFields[] = {
    "name",      "type",        "size",        "modtime",   "linkName", "mode",   "uid",
    "gid",       "devMajor",    "devMinor",    "xattrs",    "digest",   "offset", "innerOffset",
    "chunkSize", "chunkOffset", "chunkDigest", "chunkType", "endOffset"};

/// Deletes, swaps, repeats or changes entries of the table, one thing at a time.
json MutateEntries(const json& document, const std::function<size_t(size_t)>& below) {
  json mutated = document;
  json& entries = mutated["entries"];
  json& entry = entries[below(entries.size())];
  json& other = entries[below(entries.size())];
  const std::string field = kFields[below(std::size(kFields))];
  switch (below(8)) {
    case 0:
      entries.erase(below(entries.size()));
      break;
    case 1:
      entry.swap(other);
      break;
    case 2:
      entries.push_back(json(other));
      break;
    case 3:
      entry[field] = other.value(field, json());
      break;
    default:
      entry[field] = OtherValue(entry.value(field, json()), below);
  }
  return mutated;
}

TEST_P(MutationTest, FieldsOfTheTable) {
  const auto below = [this](size_t limit) { return Below(limit); };
  for (const auto& [layer, times] : {std::pair(&layer_, 1000), std::pair(&large_, 40)}) {
    const Outcome right = Right(*layer);
    FLOE_ASSERT_OK_AND_ASSIGN(const TocParts parts, ReadTocParts(*layer));
    const json document = json::parse(parts.json);
    for (int i = 0; i < times; ++i) {
      Count(IndexFromToc(MutateEntries(document, below).dump(), TocSource(*layer, parts)),
            layer->blob, right);
    }
  }
  EXPECT_GT(counts_.refused, 100);
}

TEST_P(MutationTest, Data) {
  const Outcome right = Right(layer_);
  FLOE_ASSERT_OK_AND_ASSIGN(const TocParts parts, ReadTocParts(layer_));
  const Result<LayerIndex> index = IndexFromToc(parts.json, TocSource(layer_, parts));
  for (int i = 0; i < 1000; ++i) {
    std::string blob = Mutate(layer_.blob.substr(0, parts.payload_end));
    blob.resize(layer_.blob.size(), '\0');
    Count(index, blob, right);
  }
  EXPECT_EQ(counts_.other + counts_.refused, 0);
}

TEST_P(MutationTest, NewDigestsAreWhatIsChecked) {
  FLOE_ASSERT_OK_AND_ASSIGN(TocParts parts, ReadTocParts(layer_));
  FixtureLayer layer = layer_;
  Sign(layer, parts);
  EXPECT_EQ(layer.descriptor.annotations, layer_.descriptor.annotations);
  parts.json += " ";
  parts.compressed += " ";
  Sign(layer, parts);
  FLOE_EXPECT_ERROR(IndexFixture(layer), ErrorCode::kDataLoss, "which the manifest says");
}

INSTANTIATE_TEST_SUITE_P(AllConversions, MutationTest,
                         ::testing::Values("estargz", "estargz-minchunk", "estargz-exttoc",
                                           "zstdchunked-stargz", "zstdchunked-podman"),
                         [](const auto& test) {
                           std::string name = test.param;
                           std::erase(name, '-');
                           return name;
                         });

}  // namespace
}  // namespace floe::image
