#include "prepare/erofs_layer.h"

#include <sys/stat.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "prepare/layer_indexers.h"
#include "tests/erofs/tiny_image.h"
#include "tests/prepare/image_support.h"
#include "tests/support/result_matchers.h"
#include "tests/support/temp_dir.h"

namespace floe::prepare {
namespace {

using erofs::testing::SampleTinyImage;
using erofs::testing::TinyImage;
using ::testing::HasSubstr;

constexpr const char* kErofsLayerType = "application/vnd.erofs.layer.v1";

TestLayer ErofsLayer(std::string image, const char* media_type = kErofsLayerType) {
  TestLayer layer;
  layer.blob = std::move(image);
  layer.diff_id = Digest::Of(layer.blob);
  layer.media_type = media_type;
  return layer;
}

/// One file of many megabytes: hardly any metadata.
std::string LargeImage() {
  TinyImage image;
  const uint32_t blocks = image.AddBlocks(std::string(20U << 20U, 'x'));
  const uint64_t file = image.Add({.mode = S_IFREG | 0644, .size = 20U << 20U, .data = blocks});
  return image.Finish(image.AddDirectory({{"file", file, 1}}));
}

image::LayerSource SourceOf(const char* media_type) {
  image::LayerSource source;
  source.digest = Digest::Of("a layer");
  source.media_type = media_type;
  return source;
}

class ErofsLayerTest : public ::testing::Test {
 protected:
  /// An image of the layers, as "erofs".
  Result<ResolvedImage> Push(const std::vector<TestLayer>& layers,
                             const ImageOptions& options = {}) {
    PushImage(fixture_.registry, fixture_.repository, "erofs", layers, options);
    auto image = fixture_.Resolve("erofs");
    fixture_.registry.ForgetCalls();
    return image;
  }
  Result<ReadLayer> Read(const ResolvedImage& image, bool allow_unverified = true) {
    return ReadErofsLayerUnverified(
        {.client = fixture_.registry, .image = image, .allow_unverified = allow_unverified});
  }
  ImageFixture fixture_;
};

TEST_F(ErofsLayerTest, AnImageOfBothKindsOfLayersIsIndexed) {
  const std::vector<TestLayer> layers = {GzipLayer("a", 100'000, 1), ErofsLayer(SampleTinyImage())};
  FLOE_ASSERT_OK_AND_ASSIGN(const ResolvedImage image, Push(layers));
  const testing::TempDir spool;
  PublishOptions options;
  options.spool_dir = spool.path().native();
  FLOE_ASSERT_OK_AND_ASSIGN(const PublishedIndex published, fixture_.Index(image, options));
  ASSERT_EQ(published.layers.size(), 2U);
  EXPECT_TRUE(published.layers[1].windows.IsZero());
  EXPECT_GT(published.layers[1].units, 0U);
  const testing::TempDir store;
  for (int i = 0; i < 2; ++i) {  // From the registry, then from the store.
    FLOE_ASSERT_OK_AND_ASSIGN(
        const IndexedImage found,
        fixture_.Find(IndexTrust::kRepository, store.path().native(), "erofs"));
    ASSERT_EQ(found.layers.size(), 2U);
    EXPECT_EQ(found.layers[1].index->data().diff_id, layers[1].diff_id);
    EXPECT_EQ(found.layers[1].index->data().blobs[0].media_type, kErofsLayerType);
  }
}

TEST_F(ErofsLayerTest, ALayerThatIsNotWhatItsDiffIdSaysIsNotIndexed) {
  TestLayer layer = ErofsLayer(SampleTinyImage());
  layer.diff_id = Digest::Of("something else");
  FLOE_ASSERT_OK_AND_ASSIGN(const ResolvedImage image, Push({layer}));
  FLOE_EXPECT_ERROR(fixture_.Index(image), ErrorCode::kDataLoss, "the image's configuration says");
  EXPECT_EQ(fixture_.registry.CountCalls("Push"), 0U);
}

TEST_F(ErofsLayerTest, OtherMediaTypesAreNotIndexed) {
  for (const char* type : {"application/vnd.erofs.layer.v1+gzip", "application/octet-stream"}) {
    FLOE_ASSERT_OK_AND_ASSIGN(const ResolvedImage image,
                              Push({ErofsLayer(SampleTinyImage(), type)}));
    FLOE_EXPECT_ERROR(fixture_.Index(image), ErrorCode::kUnimplemented, type);
    EXPECT_FALSE(CanIndexLayer(type));
    FLOE_EXPECT_ERROR(CreateLayerIndexer(SourceOf(type), {}, ""), ErrorCode::kUnimplemented,
                      "cannot be indexed");
  }
}

TEST_F(ErofsLayerTest, TheFactoryGoesByMediaType) {
  for (const char* type : {kErofsLayerType, "application/vnd.erofs.layer.v1+zstd",
                           "application/vnd.oci.image.layer.v1.erofs", kGzipLayerType}) {
    EXPECT_TRUE(CanIndexLayer(type)) << type;
    FLOE_EXPECT_OK(CreateLayerIndexer(SourceOf(type), {}, ""));
  }
  FLOE_EXPECT_ERROR(CreateLayerIndexer(SourceOf(kErofsLayerType), {}, "/not/there"),
                    ErrorCode::kNotFound, "/not/there");
  FLOE_EXPECT_OK(CreateLayerIndexer(SourceOf(kGzipLayerType), {}, "/not/there"));
}

TEST_F(ErofsLayerTest, WithoutAnIndexItNeedsPermission) {
  FLOE_ASSERT_OK_AND_ASSIGN(const ResolvedImage image, Push({ErofsLayer(SampleTinyImage())}));
  FLOE_EXPECT_ERROR(Read(image, false), ErrorCode::kFailedPrecondition, "it needs a Floe index");
  EXPECT_TRUE(fixture_.registry.calls().empty());
}

TEST_F(ErofsLayerTest, TheUnverifiedTreeIsThatOfTheIndex) {
  FLOE_ASSERT_OK_AND_ASSIGN(const ResolvedImage image, Push({ErofsLayer(SampleTinyImage())}));
  FLOE_ASSERT_OK_AND_ASSIGN(const ReadLayer read, Read(image));
  FLOE_ASSERT_OK(fixture_.Index(image));
  FLOE_ASSERT_OK_AND_ASSIGN(const IndexedImage found,
                            fixture_.Find(IndexTrust::kRepository, "", "erofs"));
  const image::LayerIndexData& expected = found.layers[0].index->data();
  const image::LayerIndexData& data = read.index->data();
  EXPECT_EQ(data.dirents.size(), expected.dirents.size());
  EXPECT_EQ(data.inodes.size(), expected.inodes.size());
  EXPECT_EQ(data.blobs[0].device_size_bytes, expected.blobs[0].device_size_bytes);
  EXPECT_EQ(data.diff_id, expected.diff_id);
  EXPECT_EQ(read.origin, image::IndexOrigin::kRepository);
  EXPECT_EQ(read.windows, std::vector<std::string>{""});
  for (const image::Group& group : data.groups) {
    EXPECT_EQ(group.digest_kind, image::DigestKind::kNone);
  }
}

TEST_F(ErofsLayerTest, OnlyMetadataIsFetched) {
  FLOE_ASSERT_OK_AND_ASSIGN(const ResolvedImage image, Push({ErofsLayer(LargeImage())}));
  FLOE_ASSERT_OK_AND_ASSIGN(const ReadLayer read, Read(image));
  EXPECT_EQ(fixture_.registry.CountCalls("FetchRange"), 2U);
  EXPECT_LE(read.read_bytes, 128U << 10U);
  EXPECT_EQ(read.index->data().units.size(), (20U << 20U) / (256U << 10U) + 1);
}

TEST_F(ErofsLayerTest, WhatIsNoSuchLayerIsNotFound) {
  FLOE_ASSERT_OK_AND_ASSIGN(const ResolvedImage image, fixture_.Resolve());
  FLOE_EXPECT_ERROR(Read(image), ErrorCode::kNotFound, "not of an EROFS layer");
  EXPECT_FALSE(IsErofsLayer(image.manifest.layers[0]));
}

TEST_F(ErofsLayerTest, AWrappedImageIsNotReadByRange) {
  FLOE_ASSERT_OK_AND_ASSIGN(
      const ResolvedImage image,
      Push({ErofsLayer(SampleTinyImage(), "application/vnd.erofs.layer.v1+zstd")}));
  FLOE_EXPECT_ERROR(Read(image), ErrorCode::kUnimplemented, "needs to be fetched whole");
}

TEST_F(ErofsLayerTest, TheDiffIdOfAnImageIsItsDigest) {
  TestLayer layer = ErofsLayer(SampleTinyImage());
  layer.diff_id = Digest::Of("something else");
  FLOE_ASSERT_OK_AND_ASSIGN(const ResolvedImage image, Push({layer}));
  FLOE_EXPECT_ERROR(Read(image), ErrorCode::kDataLoss, "its diff ID is");
}

TEST_F(ErofsLayerTest, WhatTheRegistryAndTheReaderSayComesThrough) {
  FLOE_ASSERT_OK_AND_ASSIGN(const ResolvedImage image,
                            Push({ErofsLayer(std::string(100'000, 'x'))}));
  FLOE_EXPECT_ERROR(Read(image), ErrorCode::kInvalidArgument, "not an EROFS image");
  fixture_.registry.FailCalls("FetchRange", Unavailable("no route"));
  FLOE_EXPECT_ERROR(Read(image), ErrorCode::kUnavailable, "no route");
}

}  // namespace
}  // namespace floe::prepare
