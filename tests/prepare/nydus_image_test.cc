// Nydus images as a registry holds them: fixtures/images/nydus-*, and what is wrong with copies.
#include "prepare/nydus_image.h"

#include <filesystem>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "image/rafs/bootstrap_archive.h"
#include "tests/image/rafs/rafs_support.h"
#include "tests/image/tar_support.h"
#include "tests/prepare/image_support.h"
#include "tests/support/memory_registry_client.h"
#include "tests/support/result_matchers.h"

namespace floe::prepare {
namespace {

using image::rafs::CompareWithCorpus;
using image::rafs::FillDevices;
using image::rafs::FixtureRoot;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

using Json = nlohmann::json;

/// A registry that holds an OCI layout of fixtures/images.
class Layout {
 public:
  static bool Exists(const std::string& name) {
    return std::filesystem::exists(FixtureRoot() / "images" / name);
  }

  explicit Layout(const std::string& name)
      : blobs_(FixtureRoot() / "images" / name / "blobs/sha256") {
    for (const auto& file : std::filesystem::directory_iterator(blobs_)) {
      const std::string bytes = ReadFile(file.path()).value_or("");
      if (file.file_size() < 64U << 10U && Json::accept(bytes)) {
        AddDocument(bytes);
      }
      registry.AddBlob(repository, bytes);
    }
  }

  /// The only Nydus manifest.
  [[nodiscard]] const Json& manifest() const { return manifest_; }
  [[nodiscard]] const Json& index() const { return index_; }

  [[nodiscard]] Result<ResolvedImage> Resolve(const Json& manifest) {
    const Digest digest = registry.AddManifest(repository, "", kManifestType, manifest.dump());
    return ResolveImage(registry, {repository, digest.ToString(), std::nullopt}, digest,
                        LinuxOn("amd64"), Deadline());
  }
  [[nodiscard]] Result<ResolvedImage> Resolve() { return Resolve(manifest_); }

  Result<ReadLayer> Read(const ResolvedImage& image) {
    registry.ForgetCalls();
    return ReadNydusImage({.client = registry,
                           .image = image,
                           .position = image.manifest.layers.size() - 1,
                           .deadline = {}});
  }
  Result<ReadLayer> Read() {
    FLOE_ASSIGN_OR_RETURN(const ResolvedImage image, Resolve());
    return Read(image);
  }

  [[nodiscard]] image::rafs::BlobReader Blobs() const { return image::rafs::BlobsIn(blobs_); }

  testing::MemoryRegistryClient registry;
  const fetcher::Repository repository{"registry.test", "nydus"};

 private:
  void AddDocument(const std::string& bytes) {
    Json document = Json::parse(bytes);
    if (document.contains("manifests")) {
      index_ = document;
    } else if (document.contains("layers") && bytes.find("nydus-bootstrap") != std::string::npos) {
      manifest_ = std::move(document);
    }
  }

  std::filesystem::path blobs_;
  Json manifest_;
  Json index_;
};

class NydusImagesTest : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    if (!Layout::Exists(GetParam())) {
      GTEST_SKIP() << GetParam() << " is absent";
    }
  }
};

TEST_P(NydusImagesTest, EveryChunkIsVerifiedAndTheTreeIsRight) {
  Layout layout(GetParam());
  FLOE_ASSERT_OK_AND_ASSIGN(const ReadLayer layer, layout.Read());
  EXPECT_EQ(layer.origin, image::IndexOrigin::kBound);
  ASSERT_EQ(layer.index->data().blobs.size(), 3U);
  FLOE_ASSERT_OK_AND_ASSIGN(const std::vector<std::string> devices,
                            FillDevices(*layer.index, layer.windows, layout.Blobs()));
  EXPECT_THAT(
      CompareWithCorpus(*layer.index, devices),
      ElementsAre(HasSubstr("xattrs/trusted"),
                  ::testing::AllOf(HasSubstr("xattrs/trusted"), HasSubstr("\"trusted.thing\""))));
}

INSTANTIATE_TEST_SUITE_P(All, NydusImagesTest,
                         ::testing::Values("nydus-zstd", "nydus-lz4", "nydus-none", "nydus-batch",
                                           "nydus-zran", "nydus-merge"),
                         [](const auto& test) { return std::string(test.param).substr(6); });

class NydusImageTest : public ::testing::Test {
 protected:
  void SetUp() override {
    for (const char* name : {"nydus-zstd", "nydus-lz4", "nydus-zran", "nydus-merge"}) {
      if (!Layout::Exists(name)) {
        GTEST_SKIP() << name << " is absent";
      }
    }
  }
};

std::string DigestOf(const Json& manifest, size_t layer) {
  return manifest["layers"][layer]["digest"];
}

TEST_F(NydusImageTest, OneRequestWhereTheBootstrapLayerHasAll) {
  Layout layout("nydus-zstd");
  FLOE_ASSERT_OK_AND_ASSIGN(const ReadLayer layer, layout.Read());
  EXPECT_THAT(layout.registry.calls(), ElementsAre("GetBlob " + DigestOf(layout.manifest(), 3)));
  EXPECT_EQ(layer.read_bytes, layout.manifest()["layers"][3]["size"]);
}

TEST_F(NydusImageTest, ChunkInformationOfHeaderOnlyFilesComesFromTheBlobs) {
  Layout layout("nydus-lz4");
  FLOE_ASSERT_OK_AND_ASSIGN(const ReadLayer layer, layout.Read());
  EXPECT_EQ(layout.registry.CountCalls("GetBlob"), 1U);
  EXPECT_EQ(layout.registry.CountCalls("FetchRange"), 3U);
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(layout.registry.CountCalls("FetchRange " + DigestOf(layout.manifest(), i)), 1U);
  }
  EXPECT_EQ(layer.read_bytes,
            layout.manifest()["layers"][3]["size"].get<uint64_t>() + 16852 + 98 + 43 + 3 * 4096);
}

TEST_F(NydusImageTest, ZranBlobsAreTheOrdinaryLayers) {
  Layout layout("nydus-zran");
  FLOE_ASSERT_OK_AND_ASSIGN(const ReadLayer layer, layout.Read());
  const image::SourceBlob& blob = layer.index->data().blobs[0];
  EXPECT_EQ(blob.digest.ToString(),
            layout.manifest()["layers"][0]["annotations"]["containerd.io/snapshot/nydus-ref"]);
  EXPECT_EQ(blob.size_bytes, 1844703U);
  EXPECT_EQ(blob.media_type, kGzipLayerType);
  EXPECT_EQ(blob.windows_digest, Digest::Of(layer.windows[0]));
  EXPECT_EQ(blob.windows_size_bytes, layer.windows[0].size());
  EXPECT_TRUE(layer.windows[1].empty());  // One context from the start needs none.
}

TEST_F(NydusImageTest, PrefetchTableBecomesRuns) {
  Layout layout("nydus-zstd");
  FLOE_ASSERT_OK_AND_ASSIGN(const ReadLayer everything, layout.Read());  // It lists the root.
  EXPECT_TRUE(everything.index->data().prefetch.empty());
  Layout listed("nydus-none");
  FLOE_ASSERT_OK_AND_ASSIGN(const ReadLayer some, listed.Read());  // It lists /sizes.
  uint64_t units = 0;
  for (const image::PrefetchRun& run : some.index->data().prefetch) {
    units += run.unit_count;
  }
  EXPECT_GT(units, 10U);
  EXPECT_LT(units, some.index->data().units.size());
}

TEST_F(NydusImageTest, OnlyTheBootstrapLayerOfANydusImage) {
  Layout layout("nydus-zstd");
  FLOE_ASSERT_OK_AND_ASSIGN(ResolvedImage image, layout.Resolve());
  EXPECT_TRUE(IsNydusImage(image.manifest));
  EXPECT_TRUE(IsNydusBlobLayer(image.manifest.layers[0]));
  EXPECT_FALSE(IsNydusBlobLayer(image.manifest.layers[3]));
  FLOE_EXPECT_ERROR(
      ReadNydusImage({.client = layout.registry, .image = image, .position = 0, .deadline = {}}),
      ErrorCode::kNotFound, "not the bootstrap layer");
  image.manifest.layers[1] = image.manifest.layers[3];
  EXPECT_FALSE(IsNydusImage(image.manifest));
  EXPECT_FALSE(IsNydusImage({}));
}

TEST_F(NydusImageTest, ADamagedBootstrapLayer) {
  Layout layout("nydus-zstd");
  FLOE_ASSERT_OK_AND_ASSIGN(const ResolvedImage image, layout.Resolve());
  const Digest digest = image.manifest.layers.back().digest;
  std::string bytes = *layout.registry.BlobBytes(layout.repository, digest);
  bytes[5000] = static_cast<char>(bytes[5000] ^ 1);
  layout.registry.ReplaceBlob(layout.repository, digest, bytes);
  FLOE_EXPECT_ERROR(layout.Read(image), ErrorCode::kDataLoss, "");
}

TEST_F(NydusImageTest, AnotherDiffId) {
  Layout layout("nydus-zstd");
  FLOE_ASSERT_OK_AND_ASSIGN(ResolvedImage image, layout.Resolve());
  image.config.diff_ids.back() = Digest::Of("other");
  FLOE_EXPECT_ERROR(layout.Read(image), ErrorCode::kDataLoss, "the bootstrap layer's diff ID is");
}

TEST_F(NydusImageTest, ABlobSmallerThanTheBootstrapSays) {
  Layout layout("nydus-zstd");
  FLOE_ASSERT_OK_AND_ASSIGN(ResolvedImage image, layout.Resolve());
  image.manifest.layers[0].size_bytes = 1858061;
  FLOE_EXPECT_ERROR(layout.Read(image), ErrorCode::kDataLoss,
                    "it has 1858061 bytes, the bootstrap says 1858062");
}

TEST_F(NydusImageTest, ALayerThatRefersToAnotherBlob) {
  Layout layout("nydus-zran");
  FLOE_ASSERT_OK_AND_ASSIGN(ResolvedImage image, layout.Resolve());
  image.manifest.layers[0].annotations["containerd.io/snapshot/nydus-ref"] =
      Digest::Of("other").ToString();
  FLOE_EXPECT_ERROR(layout.Read(image), ErrorCode::kDataLoss, "refers to another blob");
}

TEST_F(NydusImageTest, DamagedChunkInformationInABlob) {
  Layout layout("nydus-lz4");
  FLOE_ASSERT_OK_AND_ASSIGN(const ResolvedImage image, layout.Resolve());
  const Digest digest = image.manifest.layers[0].digest;
  std::string bytes = *layout.registry.BlobBytes(layout.repository, digest);
  const size_t header = 2443643 + 16852;
  bytes[header] = 'x';
  layout.registry.ReplaceBlob(layout.repository, digest, bytes);
  FLOE_EXPECT_ERROR(layout.Read(image), ErrorCode::kDataLoss,
                    "blob " + digest.ToString() + ": chunk information: a header with magic");
}

TEST_F(NydusImageTest, ARegistryThatIsDown) {
  Layout layout("nydus-lz4");
  FLOE_ASSERT_OK_AND_ASSIGN(const ResolvedImage image, layout.Resolve());
  layout.registry.FailCalls("FetchRange", Unavailable("no answer"));
  FLOE_EXPECT_ERROR(layout.Read(image), ErrorCode::kUnavailable, "no answer");
}

TEST_F(NydusImageTest, TheMetadataBlobIsReadWhereFilesAreMissing) {
  Layout layout("nydus-zran");
  FLOE_ASSERT_OK_AND_ASSIGN(ResolvedImage image, layout.Resolve());
  const Digest digest = image.manifest.layers.back().digest;
  const std::string layer = *layout.registry.BlobBytes(layout.repository, digest);
  FLOE_ASSERT_OK_AND_ASSIGN(const auto archive, image::rafs::BootstrapArchive::Read(
                                                    image::rafs::AsBytes(layer), 1U << 30U));
  const auto bootstrap = archive.bootstrap();
  const std::string tar =
      image::TarArchive()
          .File("image.boot", {reinterpret_cast<const char*>(bootstrap.data()), bootstrap.size()})
          .End()
          .bytes();
  image.manifest.layers.back().digest = layout.registry.AddBlob(layout.repository, tar);
  image.manifest.layers.back().size_bytes = tar.size();
  image.config.diff_ids.back() = Digest::Of(tar);
  FLOE_ASSERT_OK_AND_ASSIGN(const ReadLayer read, layout.Read(image));
  EXPECT_EQ(layout.registry.CountCalls("GetBlob"), 4U);
  FLOE_ASSERT_OK_AND_ASSIGN(const auto devices,
                            FillDevices(*read.index, read.windows, layout.Blobs()));
  EXPECT_EQ(CompareWithCorpus(*read.index, devices).size(), 2U);
}

TEST_F(NydusImageTest, TheAlternativeInAnIndex) {
  Layout layout("nydus-merge");
  FLOE_ASSERT_OK_AND_ASSIGN(const image::ImageIndex index,
                            image::ParseImageIndex(layout.index().dump()));
  const auto found = NydusAlternative(index, LinuxOn("amd64"));
  ASSERT_TRUE(found.has_value());
  EXPECT_EQ(found->artifact_type, "application/vnd.nydus.image.manifest.v1+json");
  EXPECT_EQ(found->digest, Digest::Of(ReadFile(FixtureRoot() / "images/nydus-merge/blobs/sha256" /
                                               found->digest.hex())
                                          .value_or("")));
  EXPECT_FALSE(NydusAlternative(index, LinuxOn("arm64")).has_value());
}

TEST_F(NydusImageTest, TheAlternativeByOsFeature) {
  image::ImageIndex index;
  image::Descriptor plain;
  plain.digest = Digest::Of("plain");
  plain.media_type = kManifestType;
  plain.platform = LinuxOn("amd64");
  image::Descriptor nydus = plain;
  nydus.digest = Digest::Of("nydus");
  nydus.platform->os_features = {"nydus.remoteimage.v1"};
  index.manifests = {plain, nydus};
  const auto found = NydusAlternative(index, LinuxOn("amd64"));
  ASSERT_TRUE(found.has_value());
  EXPECT_EQ(found->digest, nydus.digest);
  EXPECT_EQ(found->platform->os_features, nydus.platform->os_features);
  index.manifests = {plain};
  EXPECT_FALSE(NydusAlternative(index, LinuxOn("amd64")).has_value());
}

TEST_F(NydusImageTest, AnIndexWithoutPlatformsHasNone) {
  FLOE_ASSERT_OK_AND_ASSIGN(const std::string text,
                            ReadFile(FixtureRoot() / "images/nydus-zran/index.json"));
  FLOE_ASSERT_OK_AND_ASSIGN(const image::ImageIndex index, image::ParseImageIndex(text));
  EXPECT_FALSE(NydusAlternative(index, LinuxOn("amd64")).has_value());
}

}  // namespace
}  // namespace floe::prepare
