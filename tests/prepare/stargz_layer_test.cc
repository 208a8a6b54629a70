// The conversions of the corpus over a registry in memory: what is asked for, and what is refused.
#include "prepare/stargz_layer.h"

#include <functional>
#include <memory>
#include <string>
#include <utility>

#include <gtest/gtest.h>

#include "tests/image/stargz/stargz_support.h"
#include "tests/support/memory_registry_client.h"
#include "tests/support/result_matchers.h"

namespace floe::prepare {
namespace {

using image::FixtureManifest;
using testing::MemoryRegistryClient;

constexpr const char* kTocDigest = "containerd.io/snapshot/stargz/toc.digest";
constexpr const char* kChecksum = "io.containers.zstd-chunked.manifest-checksum";
constexpr const char* kPosition = "io.containers.zstd-chunked.manifest-position";

/// An image of the fixtures in a registry, as registry.test/app:1.
class StargzLayerTest : public ::testing::Test {
 protected:
  /// False: the fixture is absent.
  bool Load(const char* name) {
    const auto layout = image::kFixtureImages / name;
    if (!std::filesystem::exists(layout)) {
      return false;
    }
    auto manifests = image::ReadManifests(layout);
    EXPECT_TRUE(manifests.has_value());
    image_.reference = {repository_, "1", std::nullopt};
    image_.manifest = manifests->front().manifest;
    const auto config = image::ReadFixtureBlob(layout, image_.manifest.config.digest);
    image_.config = image::ParseImageConfig(config.value()).value();
    for (size_t i = 0; i < manifests->size(); ++i) {
      for (const image::Descriptor& layer : (*manifests)[i].manifest.layers) {
        registry_.AddBlob(repository_, image::ReadFixtureBlob(layout, layer.digest).value());
      }
    }
    if (manifests->size() > 1) {
      toc_image_ = (*manifests)[1];
    }
    return true;
  }
  void PushTocImage() {
    registry_.AddManifest(repository_, "1-esgztoc", toc_image_.descriptor.media_type,
                          toc_image_.bytes);
  }
  std::string& Annotation(const char* key, size_t layer = 0) {
    return image_.manifest.layers[layer].annotations[key];
  }
  void Erase(const char* key, size_t layer = 0) {
    image_.manifest.layers[layer].annotations.erase(key);
  }
  Result<ReadLayer> Read(size_t layer = 0) {
    return ReadStargzLayer({.client = registry_, .image = image_, .position = layer});
  }
  /// Changes what the registry gives out for a layer.
  void Damage(const std::function<void(std::string&)>& change, size_t layer = 0) {
    const Digest digest = image_.manifest.layers[layer].digest;
    std::string blob = registry_.BlobBytes(repository_, digest).value();
    change(blob);
    registry_.ReplaceBlob(repository_, digest, std::move(blob));
  }

  const fetcher::Repository repository_{"registry.test", "app"};
  MemoryRegistryClient registry_;
  ResolvedImage image_;
  FixtureManifest toc_image_;
};

#define LOAD_OR_SKIP(name)                  \
  do {                                      \
    if (!Load(name)) {                      \
      GTEST_SKIP() << name << " is absent"; \
    }                                       \
  } while (false)

TEST_F(StargzLayerTest, SmallTableTakesOneRequest) {
  LOAD_OR_SKIP("estargz");
  FLOE_ASSERT_OK_AND_ASSIGN(const ReadLayer read, Read(1));
  EXPECT_EQ(registry_.calls().size(), 1U);
  EXPECT_EQ(read.read_bytes, 65536U);
  EXPECT_EQ(read.origin, image::IndexOrigin::kBound);
  EXPECT_EQ(read.windows, std::vector<std::string>{""});
  EXPECT_EQ(read.index->data().diff_id, image_.config.diff_ids[1]);
}

TEST_F(StargzLayerTest, SmallBlobIsReadWhole) {
  LOAD_OR_SKIP("estargz");
  FLOE_ASSERT_OK_AND_ASSIGN(const ReadLayer read, Read(2));
  EXPECT_EQ(registry_.calls().size(), 1U);
  EXPECT_EQ(read.read_bytes, image_.manifest.layers[2].size_bytes);
}

TEST_F(StargzLayerTest, LargeTableTakesTwoRequestsAndNoByteTwice) {
  LOAD_OR_SKIP("estargz");
  FLOE_ASSERT_OK_AND_ASSIGN(const ReadLayer read, Read(0));
  EXPECT_EQ(registry_.calls().size(), 2U);
  EXPECT_EQ(read.read_bytes, image_.manifest.layers[0].size_bytes - 2027367);
  EXPECT_EQ(registry_.counters().body_bytes, read.read_bytes);
}

TEST_F(StargzLayerTest, AnnotatedPositionTakesOneExactRequest) {
  for (const auto& [name, bytes] :
       {std::pair("zstdchunked-stargz", 108103U), std::pair("zstdchunked-podman", 123740U)}) {
    LOAD_OR_SKIP(name);
    registry_.ForgetCalls();
    FLOE_ASSERT_OK_AND_ASSIGN(const ReadLayer read, Read(0));
    EXPECT_EQ(registry_.calls().size(), 1U);
    EXPECT_EQ(read.read_bytes, bytes);
  }
}

TEST_F(StargzLayerTest, AllFamiliesOfAnnotationsAreTaken) {
  LOAD_OR_SKIP("zstdchunked-podman");
  for (const char* key : {kChecksum, kPosition}) {
    const std::string value = Annotation(key);
    Erase(key);
    Annotation(("io.github" + std::string(key + 2)).c_str()) = value;
  }
  EXPECT_TRUE(IsStargzLayer(image_.manifest.layers[0]));
  FLOE_EXPECT_OK(Read());
}

TEST_F(StargzLayerTest, FooterIsTheFallbackOfTheStargzDialect) {
  LOAD_OR_SKIP("zstdchunked-stargz");
  Erase(kPosition);
  FLOE_EXPECT_OK(Read());
  EXPECT_EQ(registry_.calls().size(), 2U);
}

TEST_F(StargzLayerTest, OtherDialectNeedsThePosition) {
  LOAD_OR_SKIP("zstdchunked-podman");
  Erase(kPosition);
  FLOE_EXPECT_ERROR(Read(), ErrorCode::kFailedPrecondition, "is not annotated");
  EXPECT_TRUE(registry_.calls().empty());
}

TEST_F(StargzLayerTest, OtherLayersAreNotFound) {
  LOAD_OR_SKIP("estargz");
  image_.manifest.layers[0].annotations.clear();
  EXPECT_FALSE(IsStargzLayer(image_.manifest.layers[0]));
  FLOE_EXPECT_ERROR(Read(), ErrorCode::kNotFound, "nothing says");
  EXPECT_TRUE(registry_.calls().empty());
}

TEST_F(StargzLayerTest, TableThatTheManifestDoesNotCoverIsRefused) {
  LOAD_OR_SKIP("estargz");
  Erase(kTocDigest);
  EXPECT_TRUE(IsStargzLayer(image_.manifest.layers[0]));
  FLOE_EXPECT_ERROR(Read(), ErrorCode::kFailedPrecondition, "not covered by the manifest");
}

TEST_F(StargzLayerTest, WrongDigestsAreRefused) {
  const std::string wrong = Digest::Of("else").ToString();
  for (const char* name : {"estargz", "zstdchunked-stargz"}) {
    LOAD_OR_SKIP(name);
    Annotation(kTocDigest) = wrong;
    FLOE_EXPECT_ERROR(Read(), ErrorCode::kDataLoss, "table of contents is not sha256:");
  }
  for (const char* name : {"zstdchunked-stargz", "zstdchunked-podman"}) {
    LOAD_OR_SKIP(name);
    Annotation(kChecksum) = wrong;
    FLOE_EXPECT_ERROR(Read(), ErrorCode::kDataLoss, "compressed table of contents is not sha256:");
  }
}

TEST_F(StargzLayerTest, WrongPositionsAreRefused) {
  LOAD_OR_SKIP("zstdchunked-podman");
  Annotation(kPosition) = "2457967:123740:863684:1";
  FLOE_EXPECT_ERROR(Read(), ErrorCode::kDataLoss, "which the manifest says");
  Annotation(kPosition) = "2457968:123740:863683:1";
  FLOE_EXPECT_ERROR(Read(), ErrorCode::kDataLoss, "more than the 863683");
  Annotation(kPosition) = "2457968:999999999:863684:1";
  FLOE_EXPECT_ERROR(Read(), ErrorCode::kDataLoss, "is said to be");
}

TEST_F(StargzLayerTest, MediaTypeMustFit) {
  LOAD_OR_SKIP("zstdchunked-podman");
  image_.manifest.layers[0].media_type = "application/vnd.oci.image.layer.v1.tar+gzip";
  FLOE_EXPECT_ERROR(Read(), ErrorCode::kDataLoss, "annotated as zstd:chunked");
  image_.manifest.layers[0].media_type = "application/vnd.oci.image.layer.v1.tar";
  FLOE_EXPECT_ERROR(Read(), ErrorCode::kFailedPrecondition, "neither gzip nor zstd");
  LOAD_OR_SKIP("estargz");
  image_.manifest.layers[0].media_type = "application/vnd.oci.image.layer.v1.tar+zstd";
  FLOE_EXPECT_ERROR(Read(), ErrorCode::kDataLoss, "footer is not one of its media type");
}

TEST_F(StargzLayerTest, DamagedBlobsAreRefused) {
  LOAD_OR_SKIP("estargz");
  Damage([](std::string& blob) { blob[blob.size() - 40] = 'x'; }, 1);
  FLOE_EXPECT_ERROR(Read(1), ErrorCode::kNotFound, "no footer");
  Damage([](std::string& blob) { blob[blob.size() - 500] ^= 1; }, 2);
  FLOE_EXPECT_ERROR(Read(2), ErrorCode::kDataLoss, "");
  Damage([](std::string& blob) { blob.resize(blob.size() - 1); });
  FLOE_EXPECT_ERROR(Read(), ErrorCode::kDataLoss, "");
}

TEST_F(StargzLayerTest, WhatTheRegistrySaysIsPassedOn) {
  LOAD_OR_SKIP("estargz");
  registry_.FailCalls("FetchRange", Unavailable("gone fishing"));
  FLOE_EXPECT_ERROR(Read(), ErrorCode::kUnavailable, "gone fishing");
}

TEST_F(StargzLayerTest, TableInAnImageOfItsOwn) {
  LOAD_OR_SKIP("estargz-exttoc");
  PushTocImage();
  for (size_t i = 0; i < image_.manifest.layers.size(); ++i) {
    registry_.ForgetCalls();
    FLOE_ASSERT_OK_AND_ASSIGN(const ReadLayer read, Read(i));
    EXPECT_EQ(registry_.calls().size(), 3U);
    EXPECT_EQ(registry_.calls()[1], "GetManifest 1-esgztoc");
    EXPECT_EQ(read.origin, image::IndexOrigin::kBound);
    const uint64_t tail = std::min<uint64_t>(image_.manifest.layers[i].size_bytes, 65536);
    EXPECT_EQ(read.read_bytes,
              tail + toc_image_.bytes.size() + toc_image_.manifest.layers[i].size_bytes);
  }
}

TEST_F(StargzLayerTest, TocImageMustBeThere) {
  LOAD_OR_SKIP("estargz-exttoc");
  FLOE_EXPECT_ERROR(Read(), ErrorCode::kFailedPrecondition, "in image 1-esgztoc");
  PushTocImage();
  registry_.RemoveBlob(repository_, toc_image_.manifest.layers[0].digest);
  FLOE_EXPECT_ERROR(Read(), ErrorCode::kFailedPrecondition, "in image 1-esgztoc");
  FLOE_EXPECT_OK(Read(1));
  image_.reference.tag.clear();
  FLOE_EXPECT_ERROR(Read(1), ErrorCode::kFailedPrecondition, "only a tag could name");
}

TEST_F(StargzLayerTest, TocImageMustHaveTheLayer) {
  LOAD_OR_SKIP("estargz-exttoc");
  const std::string wanted = image_.manifest.layers[0].digest.hex();
  toc_image_.bytes.replace(toc_image_.bytes.find(wanted), wanted.size(), std::string(64, '0'));
  PushTocImage();
  FLOE_EXPECT_ERROR(Read(), ErrorCode::kFailedPrecondition, "none of its 3 layers");
  registry_.AddManifest(repository_, "1-esgztoc", "text/plain", "no manifest");
  FLOE_EXPECT_ERROR(Read(), ErrorCode::kInvalidArgument, "manifest: not a JSON object");
}

TEST_F(StargzLayerTest, TocImageIsVerified) {
  LOAD_OR_SKIP("estargz-exttoc");
  PushTocImage();
  Annotation(kTocDigest) = Annotation(kTocDigest, 1);
  FLOE_EXPECT_ERROR(Read(), ErrorCode::kDataLoss, "table of contents is not sha256:");
}

}  // namespace
}  // namespace floe::prepare
