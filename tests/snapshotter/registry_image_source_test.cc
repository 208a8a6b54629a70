#include "snapshotter/registry_image_source.h"

#include <atomic>
#include <span>

#include <gtest/gtest.h>

#include "fetcher/reference.h"
#include "image/index_codec.h"
#include "image/layer_indexer.h"
#include "prepare/index_publisher.h"
#include "tests/support/fake_registry.h"
#include "tests/support/result_matchers.h"
#include "tests/support/temp_dir.h"

namespace floe::snapshotter {
namespace {

const std::string kLayout = FLOE_SOURCE_DIR "/tests/data/oci";

class RegistryImageSourceTest : public ::testing::Test {
 protected:
  void SetUp() override {
    FLOE_ASSERT_OK_AND_ASSIGN(manifest_, registry_.AddOciLayout("library/app", "1", kLayout));
    FLOE_ASSERT_OK_AND_ASSIGN(client_, fetcher::RegistryClient::Create({}));
    source_ = std::make_unique<RegistryImageSource>(
        *client_, prepare::FindOptions{.store_dir = (directory_ / "store").native()}, nullptr);
  }

  void PublishIndex() {
    FLOE_ASSERT_OK_AND_ASSIGN(const auto reference, fetcher::Reference::Parse(ref()));
    FLOE_ASSERT_OK_AND_ASSIGN(const auto image,
                              prepare::ResolveImage(*client_, reference, std::nullopt,
                                                    image::Platform::Host(), Deadline::Infinite()));
    FLOE_ASSERT_OK(prepare::CreateIndex(*client_, image, {}, nullptr, Deadline::Infinite()));
  }

  std::string ref() const { return registry_.host() + "/library/app:1"; }

  testing::TempDir directory_;
  testing::FakeRegistry registry_;
  Digest manifest_;
  std::unique_ptr<fetcher::RegistryClient> client_;
  std::unique_ptr<RegistryImageSource> source_;
};

TEST_F(RegistryImageSourceTest, ImageWithoutIndexIsNotFound) {
  FLOE_EXPECT_ERROR(source_->Load(ref(), manifest_, Deadline::Infinite()), ErrorCode::kNotFound,
                    "no index");
}

// Indexes a layer as the cache manager does, without its cache.
class IndexingStreamer final : public prepare::LayerStreamer {
 public:
  explicit IndexingStreamer(fetcher::RegistryClient& client) : client_(client) {}

  Result<prepare::StreamedLayer> StreamLayer(const prepare::StreamCall& call,
                                             const ProgressFn& /*on_progress*/,
                                             const std::atomic<bool>* /*cancel*/) override {
    ++streamed;
    FLOE_ASSIGN_OR_RETURN(auto indexer,
                          image::LayerIndexer::Create({call.layer.digest, call.layer.size_bytes,
                                                       call.layer.media_type, call.diff_id}));
    FLOE_RETURN_IF_ERROR(client_.StreamBlob(
        call.source, call.layer.digest, call.layer.size_bytes,
        [&](std::span<const std::byte> bytes) { return indexer->Feed(bytes); },
        Deadline::Infinite()));
    FLOE_ASSIGN_OR_RETURN(image::IndexedLayer indexed, indexer->Finish());
    FLOE_ASSIGN_OR_RETURN(std::string tree, image::EncodeLayerIndex(indexed.index));
    return prepare::StreamedLayer{std::move(tree), std::move(indexed.windows)};
  }

  std::atomic<int> streamed = 0;

 private:
  fetcher::RegistryClient& client_;
};

// The first node streams and publishes; the second one finds its index and streams nothing.
TEST_F(RegistryImageSourceTest, StreamedLayersArePublishedForOthers) {
  IndexingStreamer streamer(*client_);
  const std::string first_store = (directory_ / "first").native();
  IndexPushQueue publisher(*client_, first_store);
  RegistryImageSource first(*client_, {.store_dir = first_store, .may_stream = true}, &streamer,
                            &publisher);
  FLOE_ASSERT_OK_AND_ASSIGN(const auto image, first.Load(ref(), manifest_, Deadline::Infinite()));
  EXPECT_EQ(image.layers[0].reader, "stream");
  EXPECT_EQ(streamer.streamed, static_cast<int>(image.layers.size()));
  publisher.WaitUntilIdle();

  RegistryImageSource second(
      *client_, {.store_dir = (directory_ / "second").native(), .may_stream = true}, &streamer);
  FLOE_ASSERT_OK_AND_ASSIGN(const auto again, second.Load(ref(), manifest_, Deadline::Infinite()));
  EXPECT_EQ(again.layers[0].reader, "floe-index");
  EXPECT_EQ(again.layers[0].origin, image::IndexOrigin::kRepository);
  EXPECT_EQ(streamer.streamed, static_cast<int>(image.layers.size()));
}

TEST_F(RegistryImageSourceTest, WithoutAStreamerNothingIsStreamed) {
  RegistryImageSource source(
      *client_, {.store_dir = (directory_ / "store").native(), .may_stream = true}, nullptr);
  FLOE_EXPECT_ERROR(source.Load(ref(), manifest_, Deadline::Infinite()), ErrorCode::kNotFound,
                    "no index");
}

TEST_F(RegistryImageSourceTest, IndexedImageHasAllItsLayers) {
  PublishIndex();
  FLOE_ASSERT_OK_AND_ASSIGN(const auto image,
                            source_->Load(ref(), manifest_, Deadline::Infinite()));
  EXPECT_EQ(image.image.manifest_digest, manifest_);
  EXPECT_EQ(image.layers.size(), image.image.manifest.layers.size());
}

TEST_F(RegistryImageSourceTest, MovedTagIsResolvedByDigest) {
  PublishIndex();
  registry_.AddManifest("library/app", "1", "application/vnd.oci.image.index.v1+json",
                        R"({"schemaVersion":2,"manifests":[]})");
  FLOE_ASSERT_OK_AND_ASSIGN(const auto image,
                            source_->Load(ref(), manifest_, Deadline::Infinite()));
  EXPECT_EQ(image.image.manifest_digest, manifest_);
}

TEST_F(RegistryImageSourceTest, KeptIndexNeedsNoRegistry) {
  PublishIndex();
  FLOE_ASSERT_OK_AND_ASSIGN(const auto image,
                            source_->Load(ref(), manifest_, Deadline::Infinite()));
  registry_.Stop();
  FLOE_ASSERT_OK_AND_ASSIGN(
      const auto kept,
      source_->ReadKept(image.layers[0].scope, image.image.manifest.layers[0].digest));
  EXPECT_EQ(kept.index->data().inodes.size(), image.layers[0].index->data().inodes.size());
  FLOE_EXPECT_ERROR(source_->ReadKept("other", image.image.manifest.layers[0].digest),
                    ErrorCode::kNotFound, "");
}

TEST_F(RegistryImageSourceTest, BadReferenceIsInvalid) {
  FLOE_EXPECT_ERROR(source_->Load("UPPER CASE", manifest_, Deadline::Infinite()),
                    ErrorCode::kInvalidArgument, "");
}

TEST_F(RegistryImageSourceTest, GoneRegistryIsUnavailable) {
  registry_.Stop();
  const auto image =
      source_->Load(ref(), manifest_, Deadline::After(std::chrono::milliseconds(500)));
  ASSERT_FALSE(image.has_value());
  EXPECT_TRUE(image.error().code == ErrorCode::kUnavailable ||
              image.error().code == ErrorCode::kDeadlineExceeded)
      << image.error().ToString();
}

}  // namespace
}  // namespace floe::snapshotter
