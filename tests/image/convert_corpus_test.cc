// The fixtures' layers, converted to each format: the same archives, and decoders that know nothing
// of the formats accept them.
#include <sys/wait.h>

#include <filesystem>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "base/file.h"
#include "tests/image/convert_support.h"
#include "tests/image/gzip_support.h"
#include "tests/support/result_matchers.h"
#include "tests/support/temp_dir.h"

namespace floe::image {
namespace {

const std::filesystem::path kFixtures = FLOE_SOURCE_DIR "/../shared/fixtures";

struct Case {
  const char* name;
  const char* image;
  SeekableFormat format;
  uint64_t chunk_bytes;
};

Result<std::vector<std::string>> LayersOf(const std::filesystem::path& layout) {
  const auto read_blob = [&](const nlohmann::json& digest) {
    return ReadFile(layout / "blobs/sha256" / digest.get<std::string>().substr(7));
  };
  FLOE_ASSIGN_OR_RETURN(const std::string index, ReadFile(layout / "index.json"));
  FLOE_ASSIGN_OR_RETURN(const std::string manifest,
                        read_blob(nlohmann::json::parse(index)["manifests"][0]["digest"]));
  const auto document = nlohmann::json::parse(manifest);
  std::vector<std::string> layers;
  for (const auto& descriptor : document["layers"]) {
    FLOE_ASSIGN_OR_RETURN(layers.emplace_back(), read_blob(descriptor["digest"]));
  }
  return layers;
}

class ConvertCorpusTest : public ::testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    const auto layout = kFixtures / "images" / GetParam().image;
    if (!std::filesystem::exists(layout)) {
      GTEST_SKIP() << layout << " is absent";
    }
    FLOE_ASSERT_OK_AND_ASSIGN(layers_, LayersOf(layout));
  }
  [[nodiscard]] Result<Converted> ConvertLayer(const std::string& layer) const {
    SeekableOptions options;
    options.format = GetParam().format;
    options.chunk_bytes = GetParam().chunk_bytes;
    return Convert(layer, options);
  }
  std::vector<std::string> layers_;
};

TEST_P(ConvertCorpusTest, ArchivesAndPiecesAreRight) {
  for (const std::string& layer : layers_) {
    FLOE_ASSERT_OK_AND_ASSIGN(const Converted converted, ConvertLayer(layer));
    const std::string archive = GetParam().format == SeekableFormat::kZstdChunked
                                    ? UnzstdAll(converted.blob)
                                    : GunzipAll(converted.blob);
    EXPECT_EQ(Digest::Of(archive), converted.layer.blob.diff_id);
    if (GetParam().format != SeekableFormat::kEStargz) {
      EXPECT_TRUE(archive == GunzipAll(layer));
    }
    const auto toc = nlohmann::json::parse(TocOf(converted, GetParam().format));
    for (const TocPiece& piece : Pieces(toc)) {
      const std::string bytes = DecodePiece(converted.blob, piece, GetParam().format);
      ASSERT_EQ(Digest::Of(bytes).ToString(), piece.digest) << piece.name;
    }
  }
}

// gzip -t or zstd -t, then Python's tarfile over what they write.
TEST_P(ConvertCorpusTest, OtherProgramsTakeTheBlob) {
  if (std::system("command -v zstd gzip python3 >/dev/null") != 0) {
    GTEST_SKIP() << "zstd, gzip or python3 is absent";
  }
  const std::string program = GetParam().format == SeekableFormat::kZstdChunked ? "zstd" : "gzip";
  testing::TempDir dir;
  for (const std::string& layer : layers_) {
    FLOE_ASSERT_OK_AND_ASSIGN(const Converted converted, ConvertLayer(layer));
    FLOE_ASSERT_OK(WriteFileAtomically(dir / "blob", converted.blob));
    const std::string command = program + " -dc < " + (dir / "blob").native() + " > " +
                                (dir / "tar").native() +
                                " && python3 -c 'import sys, tarfile; "
                                "print(len(tarfile.open(sys.argv[1]).getmembers()))' " +
                                (dir / "tar").native() + " > " + (dir / "count").native();
    ASSERT_EQ(std::system(command.c_str()), 0) << command;
    FLOE_ASSERT_OK_AND_ASSIGN(const std::string count, ReadFile(dir / "count"));
    const uint64_t table = GetParam().format == SeekableFormat::kEStargz ? 1 : 0;
    EXPECT_EQ(std::stoull(count), converted.layer.blob.entries + table);
  }
}

INSTANTIATE_TEST_SUITE_P(
    AllFormats, ConvertCorpusTest,
    ::testing::Values(Case{"ZstdChunked", "oci", SeekableFormat::kZstdChunked, 4U << 20U},
                      Case{"ZstdChunkedSmall", "oci", SeekableFormat::kZstdChunked, 1U << 16U},
                      Case{"EStargz", "oci", SeekableFormat::kEStargz, 4U << 20U},
                      Case{"EStargzSmall", "oci", SeekableFormat::kEStargz, 1U << 16U},
                      Case{"ExternalToc", "oci", SeekableFormat::kEStargzExternalToc, 4U << 20U},
                      Case{"FromEStargz", "estargz", SeekableFormat::kZstdChunked, 4U << 20U}),
    [](const auto& test) { return test.param.name; });

// Its last layer has sparse files, the others convert.
TEST(ConvertEdgeTest, OnlyTheSparseLayerIsRefused) {
  const auto layout = kFixtures / "images/oci-edge";
  if (!std::filesystem::exists(layout)) {
    GTEST_SKIP() << layout << " is absent";
  }
  FLOE_ASSERT_OK_AND_ASSIGN(const std::vector<std::string> layers, LayersOf(layout));
  for (size_t i = 0; i + 1 < layers.size(); ++i) {
    FLOE_ASSERT_OK_AND_ASSIGN(const Converted converted, Convert(layers[i], {}));
    EXPECT_TRUE(UnzstdAll(converted.blob) == GunzipAll(layers[i]));
  }
  FLOE_EXPECT_ERROR(Convert(layers.back(), {}), ErrorCode::kUnimplemented, "is sparse");
}

}  // namespace
}  // namespace floe::image
