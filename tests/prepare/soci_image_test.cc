#include "prepare/soci_image.h"

#include <filesystem>
#include <optional>
#include <string>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "fetcher/registry/referrers.h"
#include "tests/image/gzip_support.h"
#include "tests/image/layer_support.h"
#include "tests/image/soci/ztoc_support.h"
#include "tests/image/tar_support.h"
#include "tests/prepare/image_support.h"
#include "tests/support/result_matchers.h"

namespace floe::prepare {
namespace {

using nlohmann::json;

json DescriptorOf(const std::string& media_type, std::string_view bytes) {
  return {
      {"mediaType", media_type}, {"digest", Digest::Of(bytes).ToString()}, {"size", bytes.size()}};
}

/// An image of two gzip layers, of which the lower one has a ztoc.
class SociImageTest : public ::testing::Test {
 protected:
  SociImageTest() {
    for (const char* name : {"lower", "upper"}) {
      image::TarArchive tar;
      std::string text;
      for (int i = 0; i < 8000; ++i) {
        text += std::to_string(i * i) + name;
      }
      tar.Directory("data/").File(std::string("data/") + name, text).End();
      archives_.push_back(tar.bytes());
      layers_.push_back({.blob = image::GzipMember(tar.bytes(), {.mem_level = 1}),
                         .diff_id = Digest::Of(tar.bytes())});
    }
    registry_.AddBlob(repository_, "{}");
  }

  /// Pushes `ztoc` and the SOCI index that names it for the lower layer.
  Digest PushSociIndex(int version, const std::string& ztoc, const Digest& image_manifest,
                       const json& annotations = {}) {
    json layer = DescriptorOf("application/octet-stream", ztoc);
    layer["annotations"] = {
        {"com.amazon.soci.image-layer-digest", layers_.front().digest().ToString()}};
    layer["annotations"].update(annotations.is_object() ? annotations : json::object());
    json config = DescriptorOf(
        std::string(version == 1 ? image::kSociV1IndexType : image::kSociV2IndexType), "{}");
    json manifest = {{"schemaVersion", 2},
                     {"mediaType", kManifestType},
                     {"config", config},
                     {"layers", {layer}}};
    if (version == 1) {
      manifest["subject"] = {
          {"mediaType", kManifestType}, {"digest", image_manifest.ToString()}, {"size", 1}};
    }
    registry_.AddBlob(repository_, ztoc);
    return registry_.AddManifest(repository_, "", kManifestType, manifest.dump());
  }

  [[nodiscard]] std::string LowerZtoc(const image::TestZtocOptions& options = {}) const {
    return image::PackZtoc(image::MakeZtoc(archives_.front(), layers_.front().blob, options));
  }

  Result<ResolvedImage> Resolve(const std::string& tag) {
    return ResolveImage(registry_, {repository_, tag, std::nullopt}, std::nullopt, LinuxOn("amd64"),
                        Deadline());
  }

  /// The plain image under the tag "1".
  Result<ResolvedImage> PushPlainImage() {
    PushImage(registry_, repository_, "1", layers_);
    return Resolve("1");
  }

  /// As `soci convert` does: the manifest under "1" with an annotation, and an index over it under
  /// "2". `entry`: changes to the SOCI index's descriptor there; null leaves it out.
  Result<ResolvedImage> PushConvertedImage(
      const Digest& soci_index, const std::optional<json>& entry_changes = json::object(),
      const std::string& tag = "2") {
    PushImage(registry_, repository_, "1", layers_);
    json manifest = json::parse(registry_.FindManifest(repository_, "1")->bytes);
    manifest["annotations"]["com.amazon.soci.index-digest"] = soci_index.ToString();
    const std::string text = manifest.dump();
    registry_.AddManifest(repository_, "1", kManifestType, text);
    json image_entry = DescriptorOf(kManifestType, text);
    image_entry["platform"] = {{"os", "linux"}, {"architecture", "amd64"}};
    json manifests = json::array({image_entry});
    if (entry_changes.has_value()) {
      json entry = {{"mediaType", kManifestType},
                    {"digest", soci_index.ToString()},
                    {"size", 1},
                    {"artifactType", image::kSociV2IndexType},
                    {"annotations",
                     {{"com.amazon.soci.image-manifest-digest", Digest::Of(text).ToString()}}}};
      entry.update(*entry_changes);
      manifests.push_back(entry);
    }
    const json index = {{"schemaVersion", 2}, {"mediaType", kIndexType}, {"manifests", manifests}};
    registry_.AddManifest(repository_, "2", kIndexType, index.dump());
    return Resolve(tag);
  }

  Result<ReadLayer> Read(const ResolvedImage& image, const image::SociIndex& index,
                         size_t position = 0) {
    return ReadSociLayer({.client = registry_, .image = image, .position = position}, index,
                         image::IndexOrigin::kRepository);
  }

  Result<image::SociIndex> Fetch(const ResolvedImage& image, const Digest& digest,
                                 std::optional<uint64_t> size = {}) {
    return FetchSociIndex(registry_, repository_, digest, size, image, Deadline());
  }

  Result<ReadLayer> FetchAndRead(const ResolvedImage& image, const Digest& digest) {
    FLOE_ASSIGN_OR_RETURN(const image::SociIndex index, Fetch(image, digest));
    return Read(image, index);
  }

  testing::MemoryRegistryClient registry_;
  const fetcher::Repository repository_{"registry.test", "app"};
  std::vector<std::string> archives_;
  std::vector<TestLayer> layers_;
};

// --- version 2 ---

TEST_F(SociImageTest, AnnotationBindsAnIndex) {
  const Digest soci = PushSociIndex(2, LowerZtoc(), {});
  FLOE_ASSERT_OK_AND_ASSIGN(const ResolvedImage image, PushConvertedImage(soci));
  EXPECT_TRUE(image.index_digest.has_value());
  EXPECT_EQ(SociV2IndexOf(image), soci);
  FLOE_EXPECT_OK(FetchAndRead(image, soci));
}

TEST_F(SociImageTest, AnnotationIsEnoughWithoutTheImageIndex) {
  const Digest soci = PushSociIndex(2, LowerZtoc(), {});
  FLOE_ASSERT_OK_AND_ASSIGN(const ResolvedImage by_manifest,
                            PushConvertedImage(soci, json::object(), "1"));
  EXPECT_TRUE(by_manifest.index_bytes.empty());
  EXPECT_EQ(SociV2IndexOf(by_manifest), soci);
  FLOE_ASSERT_OK_AND_ASSIGN(const ResolvedImage left_out, PushConvertedImage(soci, std::nullopt));
  EXPECT_EQ(SociV2IndexOf(left_out), soci);
}

TEST_F(SociImageTest, ContradictedAnnotationBindsNothing) {
  const Digest soci = PushSociIndex(2, LowerZtoc(), {});
  for (const json& change :
       {json{{"artifactType", "application/x-other"}}, json{{"annotations", json::object()}},
        json{{"annotations",
              {{"com.amazon.soci.image-manifest-digest", Digest::Of("other").ToString()}}}}}) {
    FLOE_ASSERT_OK_AND_ASSIGN(const ResolvedImage image, PushConvertedImage(soci, change));
    EXPECT_FALSE(SociV2IndexOf(image).has_value()) << change;
  }
}

TEST_F(SociImageTest, WithoutAnnotationNothingIsBound) {
  FLOE_ASSERT_OK_AND_ASSIGN(ResolvedImage image, PushPlainImage());
  EXPECT_FALSE(SociV2IndexOf(image).has_value());
  image.manifest.annotations["com.amazon.soci.index-digest"] = "latest";
  EXPECT_FALSE(SociV2IndexOf(image).has_value());
}

TEST_F(SociImageTest, DanglingAnnotationIsNotFound) {
  FLOE_ASSERT_OK_AND_ASSIGN(const ResolvedImage image,
                            PushConvertedImage(Digest::Of("nowhere"), std::nullopt));
  const auto named = SociV2IndexOf(image);
  ASSERT_TRUE(named.has_value());
  FLOE_EXPECT_ERROR(Fetch(image, *named), ErrorCode::kNotFound,
                    "SOCI index " + Digest::Of("nowhere").ToString());
}

// --- version 1 ---

TEST_F(SociImageTest, ReferrersAreListedNewestFirst) {
  FLOE_ASSERT_OK_AND_ASSIGN(const ResolvedImage image, PushPlainImage());
  const Digest older = PushSociIndex(1, LowerZtoc(), image.manifest_digest);
  const Digest newer = PushSociIndex(1, LowerZtoc({.span_bytes = 9000}), image.manifest_digest);
  FLOE_ASSERT_OK_AND_ASSIGN(const auto found, ListSociV1Indexes(registry_, repository_,
                                                                image.manifest_digest, Deadline()));
  ASSERT_EQ(found.size(), 2U);
  EXPECT_EQ(found[0].digest, newer);
  EXPECT_EQ(found[1].digest, older);
  FLOE_EXPECT_OK(Fetch(image, newer, found[0].size_bytes));
}

TEST_F(SociImageTest, FallbackTagWithoutTypes) {
  registry_.EnableReferrersApi(false);
  FLOE_ASSERT_OK_AND_ASSIGN(const ResolvedImage image, PushPlainImage());
  const Digest soci = PushSociIndex(1, LowerZtoc(), image.manifest_digest);
  const uint64_t size = registry_.FindManifest(repository_, soci.ToString())->bytes.size();
  const json tag = {{"schemaVersion", 2},
                    {"mediaType", kIndexType},
                    {"manifests",
                     {{{"mediaType", kManifestType}, {"digest", soci.ToString()}, {"size", size}},
                      {{"mediaType", kManifestType},
                       {"digest", Digest::Of("signature").ToString()},
                       {"size", 3},
                       {"artifactType", "application/x-signature"}}}}};
  registry_.AddManifest(repository_, fetcher::FallbackTag(image.manifest_digest), kIndexType,
                        tag.dump());
  FLOE_ASSERT_OK_AND_ASSIGN(const auto found, ListSociV1Indexes(registry_, repository_,
                                                                image.manifest_digest, Deadline()));
  ASSERT_EQ(found.size(), 1U);
  EXPECT_EQ(found[0].digest, soci);
  FLOE_EXPECT_OK(FetchAndRead(image, soci));
}

TEST_F(SociImageTest, CandidatesAreTypedFirstAndBounded) {
  const auto entry = [](const char* media_type, std::string_view type, std::string_view of) {
    return fetcher::ReferrerDescriptor{.media_type = media_type,
                                       .artifact_type = std::string(type),
                                       .digest = Digest::Of(of),
                                       .size_bytes = 1};
  };
  std::vector<fetcher::ReferrerDescriptor> all = {
      entry(kManifestType, kSociV1ArtifactType, "typed")};
  for (int i = 0; i < 100; ++i) {
    all.push_back(entry(kManifestType, "", std::to_string(i)));
  }
  all.push_back(entry(kManifestType, "application/x-other", "other"));
  all.push_back(entry(kIndexType, "", "an index"));
  const auto candidates = SociV1Candidates(all);
  ASSERT_EQ(candidates.size(), 9U);
  EXPECT_EQ(candidates[0].digest, Digest::Of("typed"));
  EXPECT_EQ(candidates[1].digest, Digest::Of("99"));
}

TEST_F(SociImageTest, IndexOfAnotherImageIsRefused) {
  FLOE_ASSERT_OK_AND_ASSIGN(const ResolvedImage image, PushPlainImage());
  const Digest soci = PushSociIndex(1, LowerZtoc(), Digest::Of("another"));
  FLOE_EXPECT_ERROR(Fetch(image, soci), ErrorCode::kDataLoss, "its subject is another manifest");
}

TEST_F(SociImageTest, IndexOfAnotherSizeIsRefused) {
  FLOE_ASSERT_OK_AND_ASSIGN(const ResolvedImage image, PushPlainImage());
  const Digest soci = PushSociIndex(1, LowerZtoc(), image.manifest_digest);
  FLOE_EXPECT_ERROR(Fetch(image, soci, 17), ErrorCode::kDataLoss, "its descriptor says 17");
}

TEST_F(SociImageTest, WhatIsNoSociIndexIsRefused) {
  FLOE_ASSERT_OK_AND_ASSIGN(const ResolvedImage image, PushPlainImage());
  FLOE_EXPECT_ERROR(Fetch(image, image.manifest_digest), ErrorCode::kInvalidArgument,
                    "not a SOCI index");
}

// --- layers ---

TEST_F(SociImageTest, ReadsALayer) {
  FLOE_ASSERT_OK_AND_ASSIGN(const ResolvedImage image, PushPlainImage());
  const std::string ztoc = LowerZtoc();
  const Digest soci = PushSociIndex(1, ztoc, image.manifest_digest);
  FLOE_ASSERT_OK_AND_ASSIGN(const ReadLayer layer, FetchAndRead(image, soci));
  EXPECT_EQ(layer.origin, image::IndexOrigin::kRepository);
  EXPECT_EQ(layer.read_bytes, ztoc.size());
  const image::LayerIndexData& data = layer.index->data();
  EXPECT_EQ(data.diff_id, layers_.front().diff_id);
  EXPECT_EQ(data.blobs.front().digest, layers_.front().digest());
  ASSERT_EQ(layer.windows.size(), 1U);
  EXPECT_EQ(data.blobs.front().windows_digest, Digest::Of(layer.windows.front()));
  FLOE_ASSERT_OK_AND_ASSIGN(
      const std::string device,
      image::FillDevice({.index = *layer.index, .windows = layer.windows.front()},
                        layers_.front().blob));
  const image::Inode* file = image::FindInode(data, "data/lower");
  ASSERT_NE(file, nullptr);
  EXPECT_TRUE(archives_.front().find(image::ReadInode(data, *file, device)) != std::string::npos);
}

TEST_F(SociImageTest, LayerWithoutZtoc) {
  FLOE_ASSERT_OK_AND_ASSIGN(const ResolvedImage image, PushPlainImage());
  const Digest soci = PushSociIndex(1, LowerZtoc(), image.manifest_digest);
  FLOE_ASSERT_OK_AND_ASSIGN(const image::SociIndex index, Fetch(image, soci));
  FLOE_EXPECT_ERROR(Read(image, index, 1), ErrorCode::kNotFound, "no ztoc for the layer");
}

TEST_F(SociImageTest, DisabledXattrsReachTheReader) {
  FLOE_ASSERT_OK_AND_ASSIGN(const ResolvedImage image, PushPlainImage());
  auto tables = image::MakeZtoc(archives_.front(), layers_.front().blob);
  auto record = std::make_unique<soci::fbs::XattrT>();
  record->key = "SCHILY.xattr.user.a";
  record->value = "1";
  tables.toc->metadata[1]->xattrs.push_back(std::move(record));
  const std::string ztoc = image::PackZtoc(tables);
  const Digest with = PushSociIndex(1, ztoc, image.manifest_digest);
  FLOE_ASSERT_OK_AND_ASSIGN(const ReadLayer layer, FetchAndRead(image, with));
  EXPECT_EQ(layer.index->data().xattrs.size(), 1U);
  const Digest without =
      PushSociIndex(1, ztoc, image.manifest_digest, {{"com.amazon.soci.disable-xattrs", "true"}});
  FLOE_ASSERT_OK_AND_ASSIGN(const ReadLayer bare, FetchAndRead(image, without));
  EXPECT_TRUE(bare.index->data().xattrs.empty());
}

TEST_F(SociImageTest, PrefetchListIsAHint) {
  FLOE_ASSERT_OK_AND_ASSIGN(const ResolvedImage image, PushPlainImage());
  const Digest soci = PushSociIndex(1, LowerZtoc(), image.manifest_digest);
  FLOE_ASSERT_OK_AND_ASSIGN(image::SociIndex index, Fetch(image, soci));
  const std::string list = R"({"version":"1.0","prefetch_spans":[{"start_span":1,"end_span":2}]})";
  index.layers.begin()->second.prefetch =
      image::SociObject{.digest = registry_.AddBlob(repository_, list), .size_bytes = list.size()};
  FLOE_ASSERT_OK_AND_ASSIGN(const ReadLayer with, Read(image, index));
  ASSERT_EQ(with.index->data().prefetch.size(), 1U);
  EXPECT_EQ(with.index->data().prefetch[0].first_unit, 1U);
  EXPECT_EQ(with.index->data().prefetch[0].unit_count, 2U);
  const std::string lie =
      R"({"version":"1.0","prefetch_spans":[{"start_span":1,"end_span":99999}]})";
  index.layers.begin()->second.prefetch =
      image::SociObject{.digest = registry_.AddBlob(repository_, lie), .size_bytes = lie.size()};
  FLOE_ASSERT_OK_AND_ASSIGN(const ReadLayer lied_to, Read(image, index));
  EXPECT_TRUE(lied_to.index->data().prefetch.empty());
  registry_.RemoveBlob(repository_, Digest::Of(lie));
  FLOE_ASSERT_OK_AND_ASSIGN(const ReadLayer without, Read(image, index));
  EXPECT_TRUE(without.index->data().prefetch.empty());
}

TEST_F(SociImageTest, ImpliedStartCostsALookAtTheLayer) {
  FLOE_ASSERT_OK_AND_ASSIGN(const ResolvedImage image, PushPlainImage());
  const std::string ztoc = LowerZtoc({.implied_start = true});
  const Digest soci = PushSociIndex(1, ztoc, image.manifest_digest);
  FLOE_ASSERT_OK_AND_ASSIGN(const ReadLayer layer, FetchAndRead(image, soci));
  EXPECT_EQ(layer.read_bytes, ztoc.size() + 10);
}

TEST_F(SociImageTest, ImpliedStartInsideTheHeaderIsRefused) {
  layers_.front().blob =
      image::GzipMember(archives_.front(), {.mem_level = 1, .name = "layer.tar"});
  FLOE_ASSERT_OK_AND_ASSIGN(const ResolvedImage image, PushPlainImage());
  const Digest soci = PushSociIndex(1, LowerZtoc({.header_bytes = 20, .implied_start = true}),
                                    image.manifest_digest);
  FLOE_EXPECT_ERROR(FetchAndRead(image, soci), ErrorCode::kUnimplemented, "optional fields");
  const Digest good = PushSociIndex(1, LowerZtoc({.header_bytes = 20}), image.manifest_digest);
  FLOE_EXPECT_OK(FetchAndRead(image, good));
}

TEST_F(SociImageTest, DamagedZtocIsRefused) {
  FLOE_ASSERT_OK_AND_ASSIGN(const ResolvedImage image, PushPlainImage());
  std::string ztoc = LowerZtoc();
  const Digest soci = PushSociIndex(1, ztoc, image.manifest_digest);
  const Digest digest = Digest::Of(ztoc);
  ztoc[ztoc.size() / 2] = static_cast<char>(ztoc[ztoc.size() / 2] ^ 1);
  registry_.ReplaceBlob(repository_, digest, ztoc);
  FLOE_EXPECT_ERROR(FetchAndRead(image, soci), ErrorCode::kDataLoss, "ztoc " + digest.ToString());
  registry_.RemoveBlob(repository_, digest);
  FLOE_EXPECT_ERROR(FetchAndRead(image, soci), ErrorCode::kNotFound, "ztoc " + digest.ToString());
}

TEST_F(SociImageTest, ZtocOfAnotherSizeOrTooLargeIsRefused) {
  FLOE_ASSERT_OK_AND_ASSIGN(const ResolvedImage image, PushPlainImage());
  const Digest soci = PushSociIndex(1, LowerZtoc(), image.manifest_digest);
  FLOE_ASSERT_OK_AND_ASSIGN(image::SociIndex index, Fetch(image, soci));
  image::SociLayer& layer = index.layers.begin()->second;
  ++layer.ztoc.size_bytes;
  FLOE_EXPECT_ERROR(Read(image, index), ErrorCode::kDataLoss, "its descriptor says");
  layer.ztoc.size_bytes = 1ULL << 40U;
  FLOE_EXPECT_ERROR(Read(image, index), ErrorCode::kResourceExhausted, "at most");
}

TEST_F(SociImageTest, ZtocOfAnotherLayerIsRefused) {
  FLOE_ASSERT_OK_AND_ASSIGN(const ResolvedImage image, PushPlainImage());
  const std::string other = image::PackZtoc(image::MakeZtoc(archives_.back(), layers_.back().blob));
  const Digest soci = PushSociIndex(1, other, image.manifest_digest);
  FLOE_EXPECT_ERROR(FetchAndRead(image, soci), ErrorCode::kDataLoss, "the ztoc is of a layer of");
}

// --- what other programs wrote ---

const std::filesystem::path kFixtures = FLOE_SOURCE_DIR "/../shared/fixtures/images";

class SociFixtureImageTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!std::filesystem::exists(kFixtures / "soci-v2")) {
      GTEST_SKIP() << kFixtures << " is absent";
    }
  }
  /// Every blob of a layout, as blob and (under its digest) as manifest; the one that its
  /// index.json names has the tag.
  void Load(const std::string& layout, const std::string& tag) {
    const json top = json::parse(*ReadFile(kFixtures / layout / "index.json"));
    const std::string named = top["manifests"][0]["digest"].get<std::string>().substr(7);
    for (const auto& file :
         std::filesystem::directory_iterator(kFixtures / layout / "blobs/sha256")) {
      const std::string bytes = *ReadFile(file.path());
      registry_.AddBlob(repository_, bytes);
      const json parsed = json::parse(bytes, nullptr, false);
      if (parsed.is_object() && parsed.contains("mediaType")) {
        registry_.AddManifest(repository_, file.path().filename() == named ? tag : "",
                              parsed["mediaType"], bytes);
      }
    }
  }
  void ExpectAllLayers(const ResolvedImage& image, const image::SociIndex& index) {
    for (size_t i = 0; i < image.manifest.layers.size(); ++i) {
      FLOE_ASSERT_OK_AND_ASSIGN(const ReadLayer layer,
                                ReadSociLayer({.client = registry_, .image = image, .position = i},
                                              index, image::IndexOrigin::kBound));
      const auto blob = registry_.BlobBytes(repository_, image.manifest.layers[i].digest);
      FLOE_EXPECT_OK(
          image::FillDevice({.index = *layer.index, .windows = layer.windows.front()}, *blob));
    }
  }

  testing::MemoryRegistryClient registry_;
  const fetcher::Repository repository_{"registry.test", "app"};
};

TEST_F(SociFixtureImageTest, VersionTwoIsBound) {
  Load("soci-v2", "2");
  FLOE_ASSERT_OK_AND_ASSIGN(const ResolvedImage image,
                            ResolveImage(registry_, {repository_, "2", std::nullopt}, std::nullopt,
                                         LinuxOn("amd64"), Deadline()));
  const auto digest = SociV2IndexOf(image);
  ASSERT_TRUE(digest.has_value());
  FLOE_ASSERT_OK_AND_ASSIGN(
      const image::SociIndex index,
      FetchSociIndex(registry_, repository_, *digest, std::nullopt, image, Deadline()));
  ExpectAllLayers(image, index);
}

TEST_F(SociFixtureImageTest, VersionOneIsAReferrer) {
  Load("oci", "1");
  Load("soci-index", "");
  FLOE_ASSERT_OK_AND_ASSIGN(const ResolvedImage image,
                            ResolveImage(registry_, {repository_, "1", std::nullopt}, std::nullopt,
                                         LinuxOn("amd64"), Deadline()));
  EXPECT_FALSE(SociV2IndexOf(image).has_value());
  FLOE_ASSERT_OK_AND_ASSIGN(const auto found, ListSociV1Indexes(registry_, repository_,
                                                                image.manifest_digest, Deadline()));
  ASSERT_EQ(found.size(), 1U);
  FLOE_ASSERT_OK_AND_ASSIGN(const image::SociIndex index,
                            FetchSociIndex(registry_, repository_, found[0].digest,
                                           found[0].size_bytes, image, Deadline()));
  ExpectAllLayers(image, index);
}

}  // namespace
}  // namespace floe::prepare
