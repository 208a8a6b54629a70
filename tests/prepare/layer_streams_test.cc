#include "prepare/layer_streams.h"

#include <map>
#include <mutex>

#include <gtest/gtest.h>

#include "image/index_codec.h"
#include "prepare/index_store.h"
#include "tests/image/layer_support.h"
#include "tests/image/tar_support.h"
#include "tests/prepare/image_support.h"
#include "tests/support/result_matchers.h"
#include "tests/support/temp_dir.h"

namespace floe::prepare {
namespace {

// Indexes the layers of a fixture in memory, as the cache manager does while it caches them.
class FakeStreamer final : public LayerStreamer {
 public:
  explicit FakeStreamer(const std::vector<TestLayer>& layers) {
    for (const TestLayer& layer : layers) {
      blobs_[layer.digest()] = layer.blob;
    }
  }

  Result<StreamedLayer> StreamLayer(const StreamCall& call, const ProgressFn& on_progress,
                                    const std::atomic<bool>* /*cancel*/) override {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      ++calls_[call.layer.digest];
    }
    if (failure) {
      return *failure;
    }
    const std::string& blob = blobs_.at(call.layer.digest);
    on_progress(blob.size());
    FLOE_ASSIGN_OR_RETURN(image::IndexedLayer indexed,
                          image::IndexBlob(blob, image::SourceOf(blob)));
    StreamedLayer streamed;
    FLOE_ASSIGN_OR_RETURN(streamed.tree, image::EncodeLayerIndex(indexed.index));
    streamed.windows = indexed.windows;
    return streamed;
  }

  int calls(const Digest& layer) { return calls_[layer]; }
  std::optional<Error> failure;

 private:
  std::map<Digest, std::string> blobs_;
  std::mutex mutex_;
  std::map<Digest, int> calls_;
};

class StreamMissingLayersTest : public ::testing::Test {
 protected:
  Result<IndexedImage> Find(const std::string& tag = "1") {
    return ResolveIndexedImage(fixture_.registry, fixture_.Ref(tag), std::nullopt, LinuxOn("amd64"),
                               {.store_dir = store_.path(), .may_stream = true}, Deadline());
  }

  ImageFixture fixture_;
  testing::TempDir store_;
  FakeStreamer streamer_{fixture_.layers};
};

TEST_F(StreamMissingLayersTest, LayersWithoutAnIndexAreLeftToTheStreamer) {
  FLOE_ASSERT_OK_AND_ASSIGN(IndexedImage image, Find());
  ASSERT_EQ(image.layers.size(), 2U);
  for (const LayerWithIndex& layer : image.layers) {
    EXPECT_EQ(layer.index, nullptr);
    EXPECT_EQ(layer.reader, kStreamReader);
    EXPECT_NE(layer.why_not.find("no index for manifest"), std::string::npos) << layer.why_not;
  }
}

TEST_F(StreamMissingLayersTest, StreamedLayersAreKeptAsIndexesOfThisNode) {
  FLOE_ASSERT_OK_AND_ASSIGN(IndexedImage image, Find());
  FLOE_ASSERT_OK(StreamMissingLayers(streamer_, image, store_.path()));
  for (const LayerWithIndex& layer : image.layers) {
    ASSERT_NE(layer.index, nullptr);
    EXPECT_EQ(layer.origin, image::IndexOrigin::kLocal);
    EXPECT_EQ(layer.reader, kStreamReader);
  }
  const Digest windows = image.layers[0].index->data().blobs[0].windows_digest;
  ASSERT_FALSE(windows.IsZero());
  EXPECT_TRUE(IndexStore(store_.path()).HasWindows(windows));

  FLOE_ASSERT_OK_AND_ASSIGN(IndexedImage again, Find());
  EXPECT_NE(again.layers[0].index, nullptr);
  EXPECT_NE(again.layers[0].why_not.find("no index for manifest"), std::string::npos);
  // Without its windows a kept tree is worth nothing.
  std::filesystem::remove(IndexStore(store_.path()).windows_directory() / windows.hex());
  FLOE_ASSERT_OK_AND_ASSIGN(IndexedImage without, Find());
  EXPECT_EQ(without.layers[0].index, nullptr);
  EXPECT_NE(without.layers[1].index, nullptr);
}

TEST_F(StreamMissingLayersTest, ALayerThatStandsTwiceIsStreamedOnce) {
  PushImage(fixture_.registry, fixture_.repository, "twice",
            {fixture_.layers[0], fixture_.layers[1], fixture_.layers[0]});
  FLOE_ASSERT_OK_AND_ASSIGN(IndexedImage image, Find("twice"));
  std::atomic<int> progress = 0;
  FLOE_ASSERT_OK(StreamMissingLayers(streamer_, image, store_.path(),
                                     [&](size_t /*position*/, uint64_t bytes) {
                                       EXPECT_GT(bytes, 0U);
                                       ++progress;
                                     }));
  EXPECT_EQ(streamer_.calls(fixture_.layers[0].digest()), 1);
  EXPECT_EQ(image.layers[0].index, image.layers[2].index);
  EXPECT_EQ(progress, 2);
}

TEST_F(StreamMissingLayersTest, AFailureNamesTheLayerAndKeepsNothing) {
  FLOE_ASSERT_OK_AND_ASSIGN(IndexedImage image, Find());
  streamer_.failure = DataLoss("its bytes have the digest sha256:other");
  FLOE_EXPECT_ERROR(StreamMissingLayers(streamer_, image, store_.path()), ErrorCode::kDataLoss,
                    "stream layer sha256:");
  FLOE_ASSERT_OK_AND_ASSIGN(IndexedImage again, Find());
  EXPECT_EQ(again.layers[0].index, nullptr);
}

// An image whose layers are partly indexed: each layer through what fits it.
TEST_F(StreamMissingLayersTest, OnlyWhatIsMissingIsStreamed) {
  FLOE_ASSERT_OK_AND_ASSIGN(ResolvedImage resolved, fixture_.Resolve());
  FLOE_ASSERT_OK_AND_ASSIGN(PublishedIndex published, fixture_.Index(resolved));
  const PublishedLayer& upper = published.layers[1];
  ArtifactLayer parts{{upper.tree, upper.tree_bytes}, std::nullopt};
  if (!upper.windows.IsZero()) {
    parts.windows = ArtifactObject{upper.windows, upper.windows_bytes};
  }
  fixture_.registry.RemoveManifest(fixture_.repository, published.manifest);
  fixture_.registry.AddManifest(
      fixture_.repository, "", kManifestType,
      WriteIndexArtifact(fixture_.manifest, kManifestType, resolved.manifest_bytes.size(),
                         {{upper.layer, parts}}));
  FLOE_ASSERT_OK_AND_ASSIGN(IndexedImage image, Find());
  EXPECT_EQ(image.layers[0].index, nullptr);
  EXPECT_NE(image.layers[0].why_not.find("holds nothing for layer"), std::string::npos);
  ASSERT_NE(image.layers[1].index, nullptr);
  EXPECT_EQ(image.layers[1].reader, kFloeIndexReader);
  FLOE_ASSERT_OK(StreamMissingLayers(streamer_, image, store_.path()));
  EXPECT_EQ(image.layers[0].reader, kStreamReader);
  EXPECT_EQ(streamer_.calls(upper.layer), 0);
}

}  // namespace
}  // namespace floe::prepare
