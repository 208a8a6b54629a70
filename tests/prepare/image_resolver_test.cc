#include "prepare/image_resolver.h"

#include <gtest/gtest.h>

#include "tests/prepare/image_support.h"
#include "tests/support/result_matchers.h"

namespace floe::prepare {
namespace {

using testing::MemoryRegistryClient;

TEST(ResolveImageTest, ReadsManifestConfigAndChainIds) {
  ImageFixture fixture;
  FLOE_ASSERT_OK_AND_ASSIGN(ResolvedImage image, fixture.Resolve());
  EXPECT_EQ(image.manifest_digest, fixture.manifest);
  EXPECT_EQ(Digest::Of(image.manifest_bytes), fixture.manifest);
  EXPECT_EQ(image.config.diff_ids,
            (std::vector{fixture.layers[0].diff_id, fixture.layers[1].diff_id}));
  ASSERT_EQ(image.chain_ids.size(), 2U);
  EXPECT_EQ(image.chain_ids[0], fixture.layers[0].diff_id);
  EXPECT_EQ(image.chain_ids[1], Digest::Of(fixture.layers[0].diff_id.ToString() + " " +
                                           fixture.layers[1].diff_id.ToString()));
  EXPECT_FALSE(image.index_digest.has_value());
}

TEST(ResolveImageTest, FollowsAnIndexToThePlatform) {
  ImageFixture fixture;
  Digest arm = PushImage(fixture.registry, fixture.repository, "", {fixture.layers[1]},
                         {.architecture = "arm64"});
  Digest index = PushImageIndex(fixture.registry, fixture.repository, "multi",
                                {{fixture.manifest, "amd64"}, {arm, "arm64"}});
  FLOE_ASSERT_OK_AND_ASSIGN(ResolvedImage image, fixture.Resolve("multi", "arm64"));
  EXPECT_EQ(image.manifest_digest, arm);
  EXPECT_EQ(image.index_digest, index);
  EXPECT_EQ(Digest::Of(image.index_bytes), index);
  FLOE_EXPECT_ERROR(fixture.Resolve("multi", "riscv64"), ErrorCode::kNotFound, index.ToString());
}

TEST(ResolveImageTest, KnownManifestDigestSkipsTheTag) {
  ImageFixture fixture;
  FLOE_ASSERT_OK_AND_ASSIGN(ResolvedImage image,
                            ResolveImage(fixture.registry, fixture.Ref("gone"), fixture.manifest,
                                         LinuxOn("amd64"), Deadline()));
  EXPECT_EQ(image.manifest_digest, fixture.manifest);
  EXPECT_EQ(fixture.registry.CountCalls("GetManifest gone"), 0U);
}

TEST(ResolveImageTest, MissingTagIsNotFoundAndNamesTheReference) {
  ImageFixture fixture;
  FLOE_EXPECT_ERROR(fixture.Resolve("nope"), ErrorCode::kNotFound, "registry.test/app:nope");
}

TEST(ResolveImageTest, DiffIdsMustMatchTheLayersInNumber) {
  ImageFixture fixture;
  PushImage(fixture.registry, fixture.repository, "short", fixture.layers,
            {.diff_ids = std::vector{fixture.layers[0].diff_id}});
  FLOE_EXPECT_ERROR(fixture.Resolve("short"), ErrorCode::kInvalidArgument,
                    "1 diff IDs for the 2 layers");
}

TEST(ResolveImageTest, OneLayerMayNotHaveTwoDiffIds) {
  ImageFixture fixture;
  PushImage(fixture.registry, fixture.repository, "twice", {fixture.layers[1], fixture.layers[1]},
            {.diff_ids = std::vector{fixture.layers[1].diff_id, fixture.layers[0].diff_id}});
  FLOE_EXPECT_ERROR(fixture.Resolve("twice"), ErrorCode::kInvalidArgument,
                    fixture.layers[1].digest().ToString());
}

TEST(ResolveImageTest, ConfigOfAnotherSizeIsDataLoss) {
  ImageFixture fixture;
  PushImage(fixture.registry, fixture.repository, "size", fixture.layers, {.config_size = 7});
  FLOE_EXPECT_ERROR(fixture.Resolve("size"), ErrorCode::kDataLoss, "its descriptor says 7");
}

TEST(ResolveImageTest, ManifestOfAnotherSizeThanTheIndexSaysIsDataLoss) {
  ImageFixture fixture;
  FLOE_ASSERT_OK_AND_ASSIGN(auto manifest, Result<fetcher::Manifest>(*fixture.registry.FindManifest(
                                               fixture.repository, "1")));
  std::string index = R"({"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json",)"
                      R"("manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json",)"
                      R"("size":1,"platform":{"os":"linux","architecture":"amd64"},"digest":")" +
                      manifest.digest.ToString() + "\"}]}";
  fixture.registry.AddManifest(fixture.repository, "lying", kIndexType, index);
  FLOE_EXPECT_ERROR(fixture.Resolve("lying"), ErrorCode::kDataLoss, manifest.digest.ToString());
}

TEST(ResolveImageTest, CorruptConfigIsDataLoss) {
  ImageFixture fixture;
  FLOE_ASSERT_OK_AND_ASSIGN(ResolvedImage image, fixture.Resolve());
  fixture.registry.ReplaceBlob(fixture.repository, image.manifest.config.digest, "{}");
  FLOE_EXPECT_ERROR(fixture.Resolve(), ErrorCode::kDataLoss,
                    image.manifest.config.digest.ToString());
}

TEST(ResolveImageTest, WhatIsNoManifestIsRefused) {
  ImageFixture fixture;
  fixture.registry.AddManifest(fixture.repository, "text", "text/plain\nx", "hello");
  FLOE_EXPECT_ERROR(fixture.Resolve("text"), ErrorCode::kInvalidArgument, "'text/plain\\x0ax'");
  fixture.registry.AddManifest(fixture.repository, "bad", kManifestType, "hello");
  FLOE_EXPECT_ERROR(fixture.Resolve("bad"), ErrorCode::kInvalidArgument,
                    Digest::Of("hello").ToString());
}

TEST(ResolveImageTest, ManifestWithoutMediaTypeTakesTheRegistrys) {
  ImageFixture fixture;
  PushImage(fixture.registry, fixture.repository, "bare", fixture.layers,
            {.media_type_in_manifest = false});
  FLOE_ASSERT_OK_AND_ASSIGN(ResolvedImage image, fixture.Resolve("bare"));
  EXPECT_EQ(image.manifest.media_type, kManifestType);
}

TEST(ResolveImageTest, EntryWithoutPlatformIsDecidedByItsConfig) {
  ImageFixture fixture;
  PushImageIndex(fixture.registry, fixture.repository, "plain", {{fixture.manifest, ""}});
  FLOE_EXPECT_OK(fixture.Resolve("plain", "amd64"));
  FLOE_EXPECT_ERROR(fixture.Resolve("plain", "arm64"), ErrorCode::kNotFound, "linux/amd64");
}

TEST(ParseIndexTrustTest, KnowsThreeWords) {
  EXPECT_EQ(*ParseIndexTrust("repository"), IndexTrust::kRepository);
  EXPECT_EQ(*ParseIndexTrust("bound"), IndexTrust::kBound);
  EXPECT_EQ(*ParseIndexTrust("local"), IndexTrust::kLocal);
  FLOE_EXPECT_ERROR(ParseIndexTrust("all"), ErrorCode::kInvalidArgument, "all");
}

}  // namespace
}  // namespace floe::prepare
