#include "image/manifest.h"

#include <filesystem>
#include <functional>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "tests/support/result_matchers.h"

namespace floe::image {
namespace {

using nlohmann::json;

constexpr const char* kDigestA =
    "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
constexpr const char* kDigestB =
    "sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

json SampleManifest() {
  return {{"schemaVersion", 2},
          {"mediaType", "application/vnd.oci.image.manifest.v1+json"},
          {"artifactType", "application/example"},
          {"config",
           {{"mediaType", "application/vnd.oci.image.config.v1+json"},
            {"digest", kDigestA},
            {"size", 7}}},
          {"layers",
           {{{"mediaType", "application/vnd.oci.image.layer.v1.tar+gzip"},
             {"digest", kDigestB},
             {"size", 9223372036854775807},
             {"annotations", {{"key", "value"}}}},
            {{"mediaType", "application/vnd.oci.image.layer.v1.tar"},
             {"digest", kDigestA},
             {"size", 0}}}},
          {"subject", {{"mediaType", "any"}, {"digest", kDigestB}, {"size", 3}}},
          {"annotations", {{"a", "b"}, {"c", ""}}}};
}

json SampleIndex() {
  return {{"schemaVersion", 2},
          {"mediaType", "application/vnd.oci.image.index.v1+json"},
          {"manifests",
           {{{"mediaType", "application/vnd.oci.image.manifest.v1+json"},
             {"digest", kDigestA},
             {"size", 7},
             {"platform",
              {{"os", "linux"},
               {"architecture", "arm64"},
               {"variant", "v8"},
               {"os.features", {"one"}}}}}}}};
}

json SampleConfig() {
  return {{"os", "linux"},
          {"architecture", "amd64"},
          {"rootfs", {{"type", "layers"}, {"diff_ids", {kDigestA, kDigestB}}}}};
}

TEST(ManifestTest, ReadsEveryField) {
  FLOE_ASSERT_OK_AND_ASSIGN(const ImageManifest manifest,
                            ParseImageManifest(SampleManifest().dump()));
  EXPECT_EQ(manifest.media_type, "application/vnd.oci.image.manifest.v1+json");
  EXPECT_EQ(manifest.artifact_type, "application/example");
  EXPECT_EQ(manifest.config.digest.ToString(), kDigestA);
  EXPECT_EQ(manifest.config.size_bytes, 7U);
  ASSERT_EQ(manifest.layers.size(), 2U);
  EXPECT_EQ(manifest.layers[0].media_type, "application/vnd.oci.image.layer.v1.tar+gzip");
  EXPECT_EQ(manifest.layers[0].size_bytes, 9223372036854775807U);
  EXPECT_EQ(manifest.layers[0].annotations.at("key"), "value");
  ASSERT_TRUE(manifest.subject.has_value());
  EXPECT_EQ(manifest.subject->size_bytes, 3U);
  EXPECT_EQ(manifest.annotations.size(), 2U);
}

TEST(ManifestTest, AbsentAndNullFieldsAreEmpty) {
  const std::string text = std::string(R"({"schemaVersion":2,"layers":null,"annotations":null,)") +
                           R"("config":{"digest":")" + kDigestA + R"(","size":1}})";
  FLOE_ASSERT_OK_AND_ASSIGN(const ImageManifest manifest, ParseImageManifest(text));
  EXPECT_EQ(manifest.media_type, "");
  EXPECT_TRUE(manifest.layers.empty());
  EXPECT_FALSE(manifest.subject.has_value());
}

TEST(ManifestTest, ReadsIndexesAndConfigs) {
  FLOE_ASSERT_OK_AND_ASSIGN(const ImageIndex index, ParseImageIndex(SampleIndex().dump()));
  ASSERT_EQ(index.manifests.size(), 1U);
  ASSERT_TRUE(index.manifests[0].platform.has_value());
  EXPECT_EQ(index.manifests[0].platform->ToString(), "linux(+one)/arm64/v8");
  EXPECT_EQ(index.manifests[0].platform->os_features, std::vector<std::string>{"one"});
  FLOE_ASSERT_OK_AND_ASSIGN(const ImageConfig config, ParseImageConfig(SampleConfig().dump()));
  EXPECT_EQ(config.platform.ToString(), "linux/amd64");
  ASSERT_EQ(config.diff_ids.size(), 2U);
  EXPECT_EQ(config.diff_ids[1].ToString(), kDigestB);
}

TEST(ManifestTest, ReadsTheDocumentsOfTheFixtures) {
  const std::filesystem::path images = FLOE_SOURCE_DIR "/../shared/fixtures/images";
  if (!std::filesystem::exists(images)) {
    GTEST_SKIP() << images << " is not there";
  }
  size_t manifests = 0;
  const auto blob = [](const std::filesystem::path& image, const Digest& digest) {
    return ReadFile(image / "blobs/sha256" / digest.hex()).value();
  };
  const std::function<void(const std::filesystem::path&, const std::string&)> walk =
      [&](const std::filesystem::path& image, const std::string& text) {
        FLOE_ASSERT_OK_AND_ASSIGN(const ImageIndex index, ParseImageIndex(text));
        for (const Descriptor& entry : index.manifests) {
          const std::string document = blob(image, entry.digest);
          if (IsIndexMediaType(entry.media_type)) {
            walk(image, document);
            continue;
          }
          FLOE_ASSERT_OK_AND_ASSIGN(const ImageManifest manifest, ParseImageManifest(document));
          ++manifests;
          // The image of external tables of contents has an empty config.
          const bool tables =
              !manifest.layers.empty() &&
              manifest.layers[0].annotations.contains("containerd.io/snapshot/stargz/layer.digest");
          if (!tables && manifest.config.media_type == "application/vnd.oci.image.config.v1+json") {
            const auto config = ParseImageConfig(blob(image, manifest.config.digest));
            FLOE_EXPECT_OK(config);
          }
        }
      };
  for (const auto& image : std::filesystem::directory_iterator(images)) {
    SCOPED_TRACE(image.path());
    FLOE_ASSERT_OK_AND_ASSIGN(const std::string text, ReadFile(image.path() / "index.json"));
    walk(image.path(), text);
  }
  EXPECT_GT(manifests, 15U);
}

TEST(ManifestTest, KnowsMediaTypes) {
  EXPECT_TRUE(IsIndexMediaType("application/vnd.docker.distribution.manifest.list.v2+json"));
  EXPECT_FALSE(IsIndexMediaType("application/vnd.oci.image.manifest.v1+json"));
  EXPECT_TRUE(IsManifestMediaType("application/vnd.docker.distribution.manifest.v2+json"));
  EXPECT_FALSE(IsManifestMediaType("application/vnd.docker.distribution.manifest.v1+json"));
  EXPECT_TRUE(IsTarLayerMediaType("application/vnd.docker.image.rootfs.diff.tar.gzip"));
  EXPECT_TRUE(IsTarLayerMediaType("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"));
  EXPECT_FALSE(IsTarLayerMediaType("application/vnd.oci.image.config.v1+json"));
}

enum class Document { kManifest, kIndex, kConfig };

struct Broken {
  const char* name;
  Document document;
  std::function<void(json&)> edit;
  const char* message;
};

const Broken kBroken[] = {
    {"NoObject", Document::kManifest, [](json& d) { d = json::array(); }, "not a JSON object"},
    {"SchemaVersion", Document::kManifest, [](json& d) { d["schemaVersion"] = 1; },
     "schemaVersion is not 2"},
    {"SchemaVersionText", Document::kManifest, [](json& d) { d["schemaVersion"] = "2"; },
     "schemaVersion is not 2"},
    {"MediaType", Document::kManifest,
     [](json& d) { d["mediaType"] = "application/vnd.oci.image.index.v1+json"; },
     "manifest: mediaType is 'application/vnd.oci.image.index.v1+json'"},
    {"MediaTypeNumber", Document::kManifest, [](json& d) { d["mediaType"] = 2; },
     "mediaType is not a string"},
    {"AlsoAnIndex", Document::kManifest, [](json& d) { d["manifests"] = json::array(); },
     "has manifests"},
    {"AlsoSchema1", Document::kManifest, [](json& d) { d["fsLayers"] = json::array(); },
     "has fsLayers"},
    {"NoConfig", Document::kManifest, [](json& d) { d.erase("config"); },
     "manifest: config is not an object"},
    {"LayersObject", Document::kManifest, [](json& d) { d["layers"] = json::object(); },
     "layers is not an array"},
    {"LayerNumber", Document::kManifest, [](json& d) { d["layers"][1] = 1; },
     "manifest: layers[1] is not an object"},
    {"TooManyLayers", Document::kManifest,
     [](json& d) { d["layers"] = json::array_t(10001, d["layers"][0]); }, "10001 layers"},
    {"NoSize", Document::kManifest, [](json& d) { d["layers"][1].erase("size"); },
     "manifest: layers[1]: size is not a size"},
    {"NegativeSize", Document::kManifest, [](json& d) { d["layers"][1]["size"] = -1; },
     "size is not a size"},
    {"FractionalSize", Document::kManifest, [](json& d) { d["layers"][1]["size"] = 1.5; },
     "size is not a size"},
    {"HugeSize", Document::kManifest, [](json& d) { d["layers"][1]["size"] = UINT64_MAX; },
     "size is not a size"},
    {"NoDigest", Document::kManifest, [](json& d) { d["config"].erase("digest"); },
     "manifest: config: digest is not a string"},
    {"BadDigest", Document::kManifest, [](json& d) { d["config"]["digest"] = "md5:\n"; },
     "config: digest is no sha256 digest: 'md5:\\x0a'"},
    {"Annotations", Document::kManifest, [](json& d) { d["annotations"] = json::array(); },
     "annotations is not an object"},
    {"AnnotationNumber", Document::kManifest,
     [](json& d) { d["layers"][0]["annotations"]["key"] = 1; },
     "layers[0]: an annotation is not a string"},
    {"Subject", Document::kManifest, [](json& d) { d["subject"] = "digest"; },
     "manifest: subject is not an object"},
    {"IndexMediaType", Document::kIndex,
     [](json& d) { d["mediaType"] = "application/vnd.oci.image.manifest.v1+json"; },
     "image index: mediaType is"},
    {"AlsoAManifest", Document::kIndex, [](json& d) { d["layers"] = json::array(); }, "has layers"},
    {"AlsoAConfig", Document::kIndex, [](json& d) { d["config"] = json::object(); }, "has config"},
    {"NoManifests", Document::kIndex,
     [](json& d) {
       d.erase("manifests");
       d.erase("mediaType");
     },
     "neither mediaType nor manifests"},
    {"Platform", Document::kIndex, [](json& d) { d["manifests"][0]["platform"] = "linux"; },
     "manifests[0]: platform is not an object"},
    {"PlatformOs", Document::kIndex, [](json& d) { d["manifests"][0]["platform"]["os"] = 1; },
     "manifests[0]: platform: os is not a string"},
    {"PlatformFeatures", Document::kIndex,
     [](json& d) { d["manifests"][0]["platform"]["os.features"][0] = 1; },
     "os.features[0] is not a string"},
    {"NoRootfs", Document::kConfig, [](json& d) { d.erase("rootfs"); }, "no rootfs"},
    {"RootfsType", Document::kConfig, [](json& d) { d["rootfs"]["type"] = "tree"; },
     "rootfs of type 'tree'"},
    {"DiffIds", Document::kConfig, [](json& d) { d["rootfs"]["diff_ids"] = "none"; },
     "diff_ids is not an array"},
    {"DiffId", Document::kConfig, [](json& d) { d["rootfs"]["diff_ids"][1] = "sha256:x"; },
     "image config: rootfs: diff_ids[1]"},
};

class ManifestRuleTest : public ::testing::TestWithParam<Broken> {};

TEST_P(ManifestRuleTest, IsRefusedWithItsPlace) {
  switch (GetParam().document) {
    case Document::kManifest: {
      json document = SampleManifest();
      GetParam().edit(document);
      FLOE_EXPECT_ERROR(ParseImageManifest(document.dump()), ErrorCode::kInvalidArgument,
                        GetParam().message);
      break;
    }
    case Document::kIndex: {
      json document = SampleIndex();
      GetParam().edit(document);
      FLOE_EXPECT_ERROR(ParseImageIndex(document.dump()), ErrorCode::kInvalidArgument,
                        GetParam().message);
      break;
    }
    case Document::kConfig: {
      json document = SampleConfig();
      GetParam().edit(document);
      FLOE_EXPECT_ERROR(ParseImageConfig(document.dump()), ErrorCode::kInvalidArgument,
                        GetParam().message);
      break;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Rules, ManifestRuleTest, ::testing::ValuesIn(kBroken),
                         [](const auto& rule) { return rule.param.name; });

TEST(ManifestTest, RefusesWhatIsNoJsonWithoutCrashing) {
  for (const std::string& text :
       {std::string(), std::string("{"), std::string("\xff\xfe"), std::string(100000, '['),
        std::string("{\"a\":") + std::string(50000, '['), std::string(9U << 20U, ' ')}) {
    FLOE_EXPECT_ERROR(ParseImageManifest(text), ErrorCode::kInvalidArgument, "manifest");
    EXPECT_FALSE(ParseImageIndex(text).has_value());
    EXPECT_FALSE(ParseImageConfig(text).has_value());
  }
}

ImageIndex IndexOf(std::initializer_list<const char*> platforms) {
  ImageIndex index;
  for (const char* platform : platforms) {
    Descriptor entry;
    entry.size_bytes = index.manifests.size();
    if (*platform != '\0') {
      entry.platform = Platform::Parse(platform).value();
    }
    index.manifests.push_back(entry);
  }
  return index;
}

// The position of the entry that is chosen, -1 for none.
int Choose(const ImageIndex& index, std::string_view wanted) {
  const auto chosen = ChoosePlatform(index, Platform::Parse(wanted).value());
  return chosen.has_value() ? static_cast<int>(chosen->size_bytes) : -1;
}

TEST(ManifestTest, KnowsErofsLayers) {
  for (const char* good :
       {"application/vnd.erofs.layer.v1", "application/vnd.erofs.layer.v1+zstd",
        "application/vnd.erofs.layer", "application/vnd.oci.image.layer.v1.erofs"}) {
    EXPECT_TRUE(IsErofsLayerMediaType(good)) << good;
    EXPECT_FALSE(IsTarLayerMediaType(good)) << good;
  }
  for (const char* bad :
       {"", "+zstd", "erofs", "application/vnd.erofs.layer.v1+gzip",
        "application/vnd.erofs.layer.v1+zstd+zstd", "application/vnd.oci.image.layer.v1.tar",
        "application/vnd.oci.image.layer.v1.erofs+zstd"}) {
    EXPECT_FALSE(IsErofsLayerMediaType(bad)) << bad;
  }
}

TEST(PlatformTest, OsAndArchitectureMustMatch) {
  const ImageIndex index = IndexOf({"windows/amd64", "linux/arm64", "linux/amd64", "linux/386"});
  EXPECT_EQ(Choose(index, "linux/amd64"), 2);
  EXPECT_EQ(Choose(index, "linux/x86_64"), 2);
  EXPECT_EQ(Choose(index, "linux/arm64/v8"), 1);
  EXPECT_EQ(Choose(index, "linux/aarch64"), 1);
  EXPECT_EQ(Choose(index, "linux/s390x"), -1);
}

TEST(PlatformTest, TheHighestVariantThatRunsIsChosen) {
  const ImageIndex arm = IndexOf({"linux/arm/v5", "linux/arm/v6", "linux/arm/v7", "linux/arm/v8"});
  EXPECT_EQ(Choose(arm, "linux/arm/v7"), 2);
  EXPECT_EQ(Choose(arm, "linux/arm"), 2);
  EXPECT_EQ(Choose(arm, "linux/arm/v6"), 1);
  EXPECT_EQ(Choose(arm, "linux/armel"), 1);
  EXPECT_EQ(Choose(arm, "linux/arm/v8"), 3);
  EXPECT_EQ(Choose(IndexOf({"linux/arm/v7"}), "linux/arm/v6"), -1);
  EXPECT_EQ(Choose(IndexOf({"linux/arm/v5"}), "linux/arm/v7"), 0);
  const ImageIndex amd64 = IndexOf({"linux/amd64/v3", "linux/amd64", "linux/amd64/v2"});
  EXPECT_EQ(Choose(amd64, "linux/amd64"), 1);
  EXPECT_EQ(Choose(amd64, "linux/amd64/v2"), 2);
  EXPECT_EQ(Choose(amd64, "linux/amd64/v4"), 0);
}

TEST(PlatformTest, TheFirstOfEqualsIsChosen) {
  EXPECT_EQ(Choose(IndexOf({"linux/amd64", "linux/amd64"}), "linux/amd64"), 0);
}

TEST(PlatformTest, AnEntryWithUnknownFeaturesNeverMatches) {
  const ImageIndex index = IndexOf({"linux(+odd)/amd64", "linux(+erofs+odd)/amd64"});
  EXPECT_EQ(Choose(index, "linux/amd64"), -1);
  EXPECT_EQ(Choose(IndexOf({"linux(+odd)/amd64", "linux(+erofs)/amd64"}), "linux/amd64"), 1);
}

TEST(PlatformTest, FeaturesDecideBetweenEntriesOfOnePlatform) {
  const ImageIndex index = IndexOf({"linux(+erofs)/amd64", "linux/amd64", "linux(+erofs)/arm64"});
  EXPECT_EQ(Choose(index, "linux/amd64"), 1);  // As a containerd without EROFS.
  EXPECT_EQ(Choose(index, "linux(+erofs)/amd64"), 0);
  EXPECT_EQ(Choose(index, "linux/arm64"), 2);
  EXPECT_EQ(Choose(IndexOf({"linux/amd64"}), "linux(+erofs)/amd64"), 0);
  // The variant comes first.
  EXPECT_EQ(Choose(IndexOf({"linux(+erofs)/amd64", "linux/amd64/v2"}), "linux(+erofs)/amd64/v2"),
            1);
}

TEST(PlatformTest, AttestationsAndArtifactsNeverMatch) {
  ImageIndex index = IndexOf({"unknown/unknown", "linux/amd64", "linux/amd64"});
  index.manifests[1].artifact_type = "application/vnd.floe.index.v1+json";
  EXPECT_EQ(Choose(index, "linux/amd64"), 2);
  EXPECT_EQ(Choose(index, "linux/arm64"), -1);
}

TEST(PlatformTest, AnEntryWithoutPlatformIsTheLastResort) {
  EXPECT_EQ(Choose(IndexOf({"", "linux/amd64"}), "linux/amd64"), 1);
  EXPECT_EQ(Choose(IndexOf({"linux/arm64", ""}), "linux/amd64"), 1);
}

TEST(PlatformTest, NotFoundListsWhatThereIs) {
  FLOE_EXPECT_ERROR(ChoosePlatform(IndexOf({"linux/arm64", "windows/amd64"}),
                                   Platform::Parse("linux/amd64").value()),
                    ErrorCode::kNotFound, "'linux/arm64, windows/amd64'");
}

TEST(PlatformTest, ParsesAndRefuses) {
  FLOE_ASSERT_OK_AND_ASSIGN(const Platform platform, Platform::Parse("Linux/ARM/V7"));
  EXPECT_EQ(platform.ToString(), "linux/arm/v7");
  FLOE_ASSERT_OK_AND_ASSIGN(const Platform features, Platform::Parse("linux(+erofs+b)/amd64"));
  EXPECT_EQ(features.os, "linux");
  EXPECT_EQ(features.os_features, (std::vector<std::string>{"erofs", "b"}));
  EXPECT_EQ(features.ToString(), "linux(+erofs+b)/amd64");
  for (const char* bad : {"linux(+)/amd64", "linux(+a/amd64", "(+a)/amd64", "linux(10)/amd64", "",
                          "linux", "linux/", "/amd64", "a/b/c/d", "linux/amd 64", "linux//v7"}) {
    FLOE_EXPECT_ERROR(Platform::Parse(bad), ErrorCode::kInvalidArgument, "platform '");
  }
  EXPECT_EQ(Platform::Host().os, "linux");
  EXPECT_NE(Platform::Host().architecture, "unknown");
}

TEST(ChainIdsTest, FollowTheImageSpecification) {
  const Digest a = Digest::Parse(kDigestA).value();
  const Digest b = Digest::Parse(kDigestB).value();
  EXPECT_TRUE(ChainIds({}).empty());
  const std::vector<Digest> chain = ChainIds({a, b, a});
  ASSERT_EQ(chain.size(), 3U);
  EXPECT_EQ(chain[0], a);
  EXPECT_EQ(chain[1], Digest::Of(std::string(kDigestA) + " " + kDigestB));
  EXPECT_EQ(chain[2], Digest::Of(chain[1].ToString() + " " + kDigestA));
}

}  // namespace
}  // namespace floe::image
