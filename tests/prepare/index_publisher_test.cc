#include "prepare/index_publisher.h"

#include <atomic>

#include <gtest/gtest.h>

#include "fetcher/registry/referrers.h"
#include "image/index_codec.h"
#include "image/manifest.h"
#include "prepare/index_artifact.h"
#include "tests/prepare/image_support.h"
#include "tests/support/result_matchers.h"
#include "tests/support/temp_dir.h"

namespace floe::prepare {
namespace {

using ::testing::HasSubstr;

class CreateIndexTest : public ::testing::Test {
 protected:
  void SetUp() override {
    FLOE_ASSERT_OK_AND_ASSIGN(image_, fixture_.Resolve());
    fixture_.registry.ForgetCalls();
  }

  std::vector<fetcher::ReferrerDescriptor> Referrers() {
    auto list = fixture_.registry.ListReferrers(fixture_.repository, fixture_.manifest,
                                                image::kIndexArtifactType, Deadline());
    return list ? *list : std::vector<fetcher::ReferrerDescriptor>();
  }
  image::ImageIndex Index(const std::string& name) {
    auto found = fixture_.registry.FindManifest(fixture_.repository, name);
    auto index = image::ParseImageIndex(found ? found->bytes : "");
    EXPECT_TRUE(index.has_value()) << name;
    return index ? *index : image::ImageIndex();
  }

  ImageFixture fixture_;
  ResolvedImage image_;
};

TEST_F(CreateIndexTest, PushesAnArtifactWhoseSubjectIsTheImage) {
  FLOE_ASSERT_OK_AND_ASSIGN(PublishedIndex published, fixture_.Index(image_));
  auto pushed = fixture_.registry.FindManifest(fixture_.repository, published.manifest.ToString());
  ASSERT_TRUE(pushed.has_value());
  FLOE_ASSERT_OK_AND_ASSIGN(image::ImageManifest manifest,
                            image::ParseImageManifest(pushed->bytes));
  EXPECT_EQ(manifest.artifact_type, image::kIndexArtifactType);
  EXPECT_EQ(manifest.config.media_type, "application/vnd.oci.empty.v1+json");
  EXPECT_EQ(manifest.config.digest, Digest::Of("{}"));
  ASSERT_TRUE(manifest.subject.has_value());
  EXPECT_EQ(manifest.subject->digest, fixture_.manifest);
  EXPECT_EQ(manifest.subject->media_type, kManifestType);
  EXPECT_EQ(manifest.subject->size_bytes, image_.manifest_bytes.size());
  EXPECT_FALSE(published.used_fallback_tag);
  ASSERT_EQ(Referrers().size(), 1U);
  EXPECT_EQ(Referrers()[0].digest, published.manifest);
}

TEST_F(CreateIndexTest, PutsTreeAndWindowsOfEachLayerApart) {
  FLOE_ASSERT_OK_AND_ASSIGN(PublishedIndex published, fixture_.Index(image_));
  ASSERT_EQ(published.layers.size(), 2U);
  const PublishedLayer& large = published.layers[0];
  EXPECT_EQ(large.layer, fixture_.layers[0].digest());
  EXPECT_GT(large.units, 4U);
  EXPECT_FALSE(large.windows.IsZero());
  EXPECT_TRUE(published.layers[1].windows.IsZero());
  auto windows = fixture_.registry.BlobBytes(fixture_.repository, large.windows);
  ASSERT_TRUE(windows.has_value());
  EXPECT_EQ(windows->size(), large.windows_bytes);
  auto tree = fixture_.registry.BlobBytes(fixture_.repository, large.tree);
  ASSERT_TRUE(tree.has_value());
  FLOE_ASSERT_OK_AND_ASSIGN(image::LayerIndex index, image::DecodeLayerIndex(*tree));
  EXPECT_EQ(index.data().blobs[0].windows_digest, large.windows);
}

TEST_F(CreateIndexTest, LeavesTheImageAlone) {
  FLOE_ASSERT_OK(fixture_.Index(image_));
  EXPECT_EQ(fixture_.registry.FindManifest(fixture_.repository, "1")->digest, fixture_.manifest);
}

TEST_F(CreateIndexTest, StreamsEachLayerOnce) {
  Digest twice = PushImage(fixture_.registry, fixture_.repository, "twice",
                           {fixture_.layers[0], fixture_.layers[1], fixture_.layers[0]});
  FLOE_ASSERT_OK_AND_ASSIGN(ResolvedImage image, fixture_.Resolve("twice"));
  EXPECT_EQ(image.manifest_digest, twice);
  FLOE_ASSERT_OK_AND_ASSIGN(PublishedIndex published, fixture_.Index(image));
  EXPECT_EQ(fixture_.registry.CountCalls("StreamBlob"), 2U);
  EXPECT_EQ(published.layers.size(), 2U);
}

TEST_F(CreateIndexTest, TwiceGivesTheSameArtifactAndPushesNothingAgain) {
  FLOE_ASSERT_OK_AND_ASSIGN(PublishedIndex first, fixture_.Index(image_));
  EXPECT_FALSE(first.layers[0].reused);
  fixture_.registry.ForgetCalls();
  FLOE_ASSERT_OK_AND_ASSIGN(PublishedIndex second, fixture_.Index(image_));
  EXPECT_EQ(second.manifest, first.manifest);
  EXPECT_TRUE(second.layers[0].reused);
  EXPECT_TRUE(second.layers[1].reused);
  EXPECT_EQ(fixture_.registry.CountCalls("PushBlob"), 0U);
  EXPECT_EQ(Referrers().size(), 1U);
}

TEST_F(CreateIndexTest, LayersKnownFromAnotherImageAreReused) {
  FLOE_ASSERT_OK(fixture_.Index(image_));
  PushImage(fixture_.registry, fixture_.repository, "2",
            {fixture_.layers[0], GzipLayer("new", 2000, 9)});
  FLOE_ASSERT_OK_AND_ASSIGN(ResolvedImage image, fixture_.Resolve("2"));
  FLOE_ASSERT_OK_AND_ASSIGN(PublishedIndex published, fixture_.Index(image));
  EXPECT_TRUE(published.layers[0].reused);
  EXPECT_FALSE(published.layers[1].reused);
}

TEST_F(CreateIndexTest, FallbackTagListsTheArtifactOnceWithoutReferrersApi) {
  fixture_.registry.EnableReferrersApi(false);
  FLOE_ASSERT_OK_AND_ASSIGN(PublishedIndex published, fixture_.Index(image_));
  EXPECT_TRUE(published.used_fallback_tag);
  FLOE_ASSERT_OK(fixture_.Index(image_));
  image::ImageIndex listed = Index(fetcher::FallbackTag(fixture_.manifest));
  ASSERT_EQ(listed.manifests.size(), 1U);
  EXPECT_EQ(listed.manifests[0].digest, published.manifest);
  EXPECT_EQ(listed.manifests[0].artifact_type, image::kIndexArtifactType);
}

TEST_F(CreateIndexTest, TruncatedLayerPushesNothing) {
  const Digest layer = fixture_.layers[0].digest();
  std::string bytes = fixture_.layers[0].blob;
  fixture_.registry.ReplaceBlob(fixture_.repository, layer, bytes.substr(0, bytes.size() / 2));
  const size_t blobs = fixture_.registry.blob_count(fixture_.repository);
  FLOE_EXPECT_ERROR(fixture_.Index(image_), ErrorCode::kDataLoss, layer.ToString());
  EXPECT_EQ(fixture_.registry.CountCalls("Push"), 0U);
  EXPECT_EQ(fixture_.registry.blob_count(fixture_.repository), blobs);
  EXPECT_TRUE(Referrers().empty());
}

TEST_F(CreateIndexTest, ChangedLayerPushesNothing) {
  const Digest layer = fixture_.layers[1].digest();
  std::string bytes = GzipLayer("small", 3000, 77).blob;
  bytes.resize(fixture_.layers[1].blob.size(), '\0');
  fixture_.registry.ReplaceBlob(fixture_.repository, layer, bytes);
  auto published = fixture_.Index(image_);
  ASSERT_FALSE(published.has_value());
  EXPECT_THAT(published.error().message, HasSubstr(layer.ToString()));
  EXPECT_EQ(fixture_.registry.CountCalls("Push"), 0U);
}

TEST_F(CreateIndexTest, LayerThatIsNoArchiveIsUnimplementedBeforeAnythingIsRead) {
  TestLayer odd = fixture_.layers[1];
  odd.media_type = "application/vnd.example.thing";
  PushImage(fixture_.registry, fixture_.repository, "odd", {fixture_.layers[0], odd});
  FLOE_ASSERT_OK_AND_ASSIGN(ResolvedImage image, fixture_.Resolve("odd"));
  FLOE_EXPECT_ERROR(fixture_.Index(image), ErrorCode::kUnimplemented, odd.digest().ToString());
  EXPECT_EQ(fixture_.registry.CountCalls("StreamBlob"), 0U);
}

TEST_F(CreateIndexTest, FailedPushIsReported) {
  fixture_.registry.FailCalls("PushBlob", PermissionDenied("no push here"));
  FLOE_EXPECT_ERROR(fixture_.Index(image_), ErrorCode::kPermissionDenied, "no push here");
  EXPECT_TRUE(Referrers().empty());
}

TEST_F(CreateIndexTest, ReportsProgressUpToTheLayersSize) {
  std::array<std::atomic<uint64_t>, 2> done{};
  FLOE_ASSERT_OK(CreateIndex(
      fixture_.registry, image_, {},
      [&](const Progress& progress) {
        EXPECT_EQ(progress.bytes_total, fixture_.layers[progress.layer].blob.size());
        done[progress.layer].store(progress.bytes_done);
      },
      Deadline()));
  EXPECT_EQ(done[0].load(), fixture_.layers[0].blob.size());
  EXPECT_EQ(done[1].load(), fixture_.layers[1].blob.size());
}

TEST_F(CreateIndexTest, KeptIndexIsLocalAndNamesNoArtifact) {
  testing::TempDir store;
  PublishOptions options;
  options.store_dir = store.path();
  FLOE_ASSERT_OK(fixture_.Index(image_, options));
  fixture_.registry.ForgetCalls();
  FLOE_ASSERT_OK_AND_ASSIGN(IndexedImage found, fixture_.Find(IndexTrust::kLocal, store.path()));
  EXPECT_EQ(found.layers[0].origin, image::IndexOrigin::kLocal);
  EXPECT_TRUE(found.layers[0].index_manifest.IsZero());
  EXPECT_EQ(fixture_.registry.CountCalls("ListReferrers"), 0U);
}

TEST_F(CreateIndexTest, BindingHoldsImageAndIndexUnderTheTag) {
  PublishOptions options;
  options.bind = true;
  FLOE_ASSERT_OK_AND_ASSIGN(PublishedIndex published, fixture_.Index(image_, options));
  image::ImageIndex index = Index("1");
  ASSERT_EQ(index.manifests.size(), 2U);
  EXPECT_EQ(index.manifests[0].digest, fixture_.manifest);
  ASSERT_TRUE(index.manifests[0].platform.has_value());
  EXPECT_EQ(index.manifests[0].platform->architecture, "amd64");
  EXPECT_EQ(index.manifests[1].digest, published.manifest);
  EXPECT_EQ(index.manifests[1].artifact_type, image::kIndexArtifactType);
  EXPECT_EQ(index.manifests[1].annotations.at(std::string(kIndexImageAnnotation)),
            fixture_.manifest.ToString());
  EXPECT_EQ(fixture_.registry.FindManifest(fixture_.repository, "1")->digest,
            published.bound_index);
  FLOE_ASSERT_OK_AND_ASSIGN(ResolvedImage again, fixture_.Resolve());
  EXPECT_EQ(again.manifest_digest, fixture_.manifest);
}

TEST_F(CreateIndexTest, BindingTwiceGivesTheSameIndex) {
  PublishOptions options;
  options.bind = true;
  FLOE_ASSERT_OK_AND_ASSIGN(PublishedIndex first, fixture_.Index(image_, options));
  FLOE_ASSERT_OK_AND_ASSIGN(ResolvedImage again, fixture_.Resolve());
  FLOE_ASSERT_OK_AND_ASSIGN(PublishedIndex second, fixture_.Index(again, options));
  EXPECT_EQ(second.bound_index, first.bound_index);
}

TEST_F(CreateIndexTest, BindTagLeavesTheImagesOwnTagAlone) {
  PublishOptions options;
  options.bind = true;
  options.bind_tag = "1-lazy";
  FLOE_ASSERT_OK(fixture_.Index(image_, options));
  EXPECT_EQ(fixture_.registry.FindManifest(fixture_.repository, "1")->digest, fixture_.manifest);
  EXPECT_EQ(Index("1-lazy").manifests.size(), 2U);
}

TEST_F(CreateIndexTest, BindingWithoutATagIsRefusedBeforeAnythingIsRead) {
  ResolvedImage untagged = image_;
  untagged.reference.tag.clear();
  untagged.reference.digest = fixture_.manifest;
  PublishOptions options;
  options.bind = true;
  FLOE_EXPECT_ERROR(fixture_.Index(untagged, options), ErrorCode::kInvalidArgument, "tag");
  EXPECT_EQ(fixture_.registry.CountCalls("StreamBlob"), 0U);
  EXPECT_EQ(fixture_.registry.CountCalls("Push"), 0U);
}

class CreateIndexForPlatformsTest : public CreateIndexTest {
 protected:
  void SetUp() override {
    CreateIndexTest::SetUp();
    arm_ = PushImage(fixture_.registry, fixture_.repository, "", {fixture_.layers[1]},
                     {.architecture = "arm64"});
    PushImageIndex(fixture_.registry, fixture_.repository, "multi",
                   {{fixture_.manifest, "amd64"}, {arm_, "arm64"}});
  }

  Result<PublishedIndex> Bind(const std::string& architecture, const std::string& bind_tag) {
    FLOE_ASSIGN_OR_RETURN(ResolvedImage image, fixture_.Resolve("multi", architecture));
    PublishOptions options;
    options.bind = true;
    options.bind_tag = bind_tag;
    return fixture_.Index(image, options);
  }

  Digest arm_;
};

TEST_F(CreateIndexForPlatformsTest, BindingKeepsEveryEntry) {
  FLOE_ASSERT_OK_AND_ASSIGN(PublishedIndex amd, Bind("amd64", ""));
  FLOE_ASSERT_OK_AND_ASSIGN(PublishedIndex arm, Bind("arm64", ""));
  image::ImageIndex index = Index("multi");
  ASSERT_EQ(index.manifests.size(), 4U);
  EXPECT_EQ(index.manifests[0].digest, fixture_.manifest);
  EXPECT_EQ(index.manifests[1].digest, arm_);
  EXPECT_EQ(index.manifests[2].digest, amd.manifest);
  EXPECT_EQ(index.manifests[3].digest, arm.manifest);
}

TEST_F(CreateIndexForPlatformsTest, BindingOnePlatformAgainChangesNothing) {
  FLOE_ASSERT_OK(Bind("amd64", ""));
  FLOE_ASSERT_OK_AND_ASSIGN(PublishedIndex both, Bind("arm64", ""));
  FLOE_ASSERT_OK_AND_ASSIGN(PublishedIndex again, Bind("amd64", ""));
  EXPECT_EQ(again.bound_index, both.bound_index);
}

TEST_F(CreateIndexForPlatformsTest, SecondPlatformKeepsTheFirstUnderABindTag) {
  FLOE_ASSERT_OK_AND_ASSIGN(PublishedIndex amd, Bind("amd64", "lazy"));
  FLOE_ASSERT_OK_AND_ASSIGN(PublishedIndex arm, Bind("arm64", "lazy"));
  EXPECT_EQ(Index("multi").manifests.size(), 2U);
  image::ImageIndex index = Index("lazy");
  ASSERT_EQ(index.manifests.size(), 4U);
  EXPECT_EQ(index.manifests[2].digest, amd.manifest);
  EXPECT_EQ(index.manifests[3].digest, arm.manifest);
  FLOE_ASSERT_OK_AND_ASSIGN(PublishedIndex again, Bind("amd64", "lazy"));
  EXPECT_EQ(again.bound_index, arm.bound_index);
}

}  // namespace
}  // namespace floe::prepare
