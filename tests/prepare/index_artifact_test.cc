#include "prepare/index_artifact.h"

#include <gtest/gtest.h>

#include "tests/support/result_matchers.h"

namespace floe::prepare {
namespace {

const Digest kImage = Digest::Of("image");
const Digest kLayer = Digest::Of("layer");
constexpr std::string_view kType = "application/vnd.oci.image.manifest.v1+json";

std::string Artifact() {
  return WriteIndexArtifact(
      kImage, kType, 100,
      {{kLayer, {{Digest::Of("tree"), 4}, ArtifactObject{Digest::Of("windows"), 7}}}});
}

std::string Replaced(std::string text, std::string_view what, std::string_view with) {
  size_t at = text.find(what);
  EXPECT_NE(at, std::string::npos);
  return text.replace(at, what.size(), with);
}

image::Descriptor ImageDescriptor() {
  image::Descriptor image;
  image.media_type = kType;
  image.digest = kImage;
  image.size_bytes = 100;
  return image;
}

TEST(IndexArtifactTest, ReadsBackWhatItWrites) {
  FLOE_ASSERT_OK_AND_ASSIGN(IndexArtifact artifact, ParseIndexArtifact(Artifact()));
  EXPECT_EQ(artifact.image_manifest, kImage);
  ASSERT_EQ(artifact.layers.size(), 1U);
  const ArtifactLayer& layer = artifact.layers.at(kLayer);
  EXPECT_EQ(layer.tree.digest, Digest::Of("tree"));
  EXPECT_EQ(layer.tree.size_bytes, 4U);
  ASSERT_TRUE(layer.windows.has_value());
  EXPECT_EQ(layer.windows->digest, Digest::Of("windows"));
  EXPECT_EQ(Artifact(), Artifact());
}

TEST(IndexArtifactTest, RefusesWhatIsNotOne) {
  FLOE_EXPECT_ERROR(ParseIndexArtifact("[]"), ErrorCode::kInvalidArgument, "");
  FLOE_EXPECT_ERROR(
      ParseIndexArtifact(Replaced(Artifact(), "vnd.floe.index.v1", "vnd.other\\nthing.v1")),
      ErrorCode::kInvalidArgument, "vnd.other\\x0athing");
  FLOE_EXPECT_ERROR(ParseIndexArtifact(Replaced(Artifact(), "\"subject\"", "\"subjekt\"")),
                    ErrorCode::kInvalidArgument, "subject");
  FLOE_EXPECT_ERROR(ParseIndexArtifact(Replaced(Artifact(), "layer-digest", "layer-digits")),
                    ErrorCode::kInvalidArgument, Digest::Of("tree").ToString());
  FLOE_EXPECT_ERROR(ParseIndexArtifact(Replaced(Artifact(), "index.tree.v1", "index.twig.v1")),
                    ErrorCode::kInvalidArgument, kLayer.ToString());
}

TEST(BoundIndexTest, FindsWhatItBinds) {
  FLOE_ASSERT_OK_AND_ASSIGN(std::string index,
                            WriteBoundIndex("", "", ImageDescriptor(), {Digest::Of("a"), 9}));
  auto bound = FindBoundArtifact(index, kImage);
  ASSERT_TRUE(bound.has_value());
  EXPECT_EQ(bound->digest, Digest::Of("a"));
  EXPECT_EQ(bound->size_bytes, 9U);
  EXPECT_FALSE(FindBoundArtifact(index, Digest::Of("other")).has_value());
  EXPECT_FALSE(FindBoundArtifact("nonsense", kImage).has_value());
}

TEST(BoundIndexTest, BoundArtifactIsNeverChosenAsAnImage) {
  FLOE_ASSERT_OK_AND_ASSIGN(std::string index,
                            WriteBoundIndex("", "", ImageDescriptor(), {Digest::Of("a"), 9}));
  FLOE_ASSERT_OK_AND_ASSIGN(image::ImageIndex parsed, image::ParseImageIndex(index));
  FLOE_ASSERT_OK_AND_ASSIGN(image::Descriptor chosen,
                            image::ChoosePlatform(parsed, image::Platform::Host()));
  EXPECT_EQ(chosen.digest, kImage);
}

TEST(BoundIndexTest, KeepsWhatTheImageAsksOfItsPlatform) {
  image::Descriptor descriptor = ImageDescriptor();
  descriptor.platform = image::Platform::Host();
  descriptor.platform->os_features = {"erofs"};
  FLOE_ASSERT_OK_AND_ASSIGN(std::string index,
                            WriteBoundIndex("", "", descriptor, {Digest::Of("a"), 9}));
  FLOE_ASSERT_OK_AND_ASSIGN(image::ImageIndex parsed, image::ParseImageIndex(index));
  EXPECT_EQ(parsed.manifests[0].platform->os_features, std::vector<std::string>{"erofs"});
}

TEST(BoundIndexTest, ReplacesTheArtifactOfTheSameImage) {
  FLOE_ASSERT_OK_AND_ASSIGN(std::string first,
                            WriteBoundIndex("", "", ImageDescriptor(), {Digest::Of("a"), 9}));
  FLOE_ASSERT_OK_AND_ASSIGN(std::string second,
                            WriteBoundIndex(first, "", ImageDescriptor(), {Digest::Of("b"), 9}));
  EXPECT_EQ(FindBoundArtifact(second, kImage)->digest, Digest::Of("b"));
  FLOE_ASSERT_OK_AND_ASSIGN(image::ImageIndex parsed, image::ParseImageIndex(second));
  EXPECT_EQ(parsed.manifests.size(), 2U);
}

TEST(BoundIndexTest, KeepsWhatItDoesNotKnow) {
  const std::string index = R"({"schemaVersion":2,"future":{"a":[1]},"manifests":[{"mediaType":")" +
                            std::string(kType) + R"(","digest":")" + kImage.ToString() +
                            R"(","size":100,"urls":["x"]}],)" + R"("annotations":{"k":"v"}})";
  FLOE_ASSERT_OK_AND_ASSIGN(std::string bound,
                            WriteBoundIndex(index, "", ImageDescriptor(), {Digest::Of("a"), 9}));
  EXPECT_THAT(bound, ::testing::HasSubstr(R"("future":{"a":[1]})"));
  EXPECT_THAT(bound, ::testing::HasSubstr(R"("urls":["x"])"));
  EXPECT_THAT(bound, ::testing::HasSubstr(R"("k":"v")"));
}

TEST(BoundIndexTest, KeepsNoBindingOfAnImageThatIsNotInTheIndex) {
  image::Descriptor other = ImageDescriptor();
  other.digest = Digest::Of("other");
  FLOE_ASSERT_OK_AND_ASSIGN(std::string before,
                            WriteBoundIndex("", "", other, {Digest::Of("o"), 9}));
  FLOE_ASSERT_OK_AND_ASSIGN(std::string bound,
                            WriteBoundIndex("", before, ImageDescriptor(), {Digest::Of("a"), 9}));
  EXPECT_FALSE(FindBoundArtifact(bound, other.digest).has_value());
}

TEST(BoundIndexTest, RefusesAnIndexThatIsNestedTooDeep) {
  const std::string deep =
      R"({"manifests":[],"x":)" + std::string(500000, '[') + std::string(500000, ']') + "}";
  FLOE_EXPECT_ERROR(WriteBoundIndex(deep, "", ImageDescriptor(), {Digest::Of("a"), 9}),
                    ErrorCode::kInvalidArgument, kImage.ToString());
}

}  // namespace
}  // namespace floe::prepare
