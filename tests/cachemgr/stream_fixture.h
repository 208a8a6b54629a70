#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <gmock/gmock.h>

#include "base/file.h"
#include "cachemgr/cache/blob_store.h"
#include "cachemgr/cache/filler.h"
#include "cachemgr/stream/layer_streamer.h"
#include "image/blob_map.h"
#include "image/index_codec.h"
#include "image/layer_indexer.h"
#include "tests/image/gzip_support.h"
#include "tests/image/layer_support.h"
#include "tests/image/tar_support.h"
#include "tests/support/fake_registry.h"
#include "tests/support/result_matchers.h"
#include "tests/support/temp_dir.h"

namespace floe::cachemgr::testing {

/// A streamer with a store, over registries that speak HTTP in this process.
class StreamTest : public ::testing::Test {
 protected:
  static constexpr const char* kMediaType = "application/vnd.oci.image.layer.v1.tar";

  void SetUp() override { Restart(); }
  void TearDown() override {
    streamer_.reset();
    filler_->Stop();
  }

  /// As a new process on the same cache.
  void Restart() {
    streamer_.reset();
    store_.reset();
    if (filler_ != nullptr) {
      filler_->Stop();
    }
    filler_ = std::make_unique<Filler>(FillOptions(), clients_, counters_, Clock::Real());
    store_ = std::make_unique<BlobStore>(Blobs(), "boot-1", *filler_, counters_);
    store_->RemoveLeftovers();
    streamer_ = std::make_unique<LayerStreamer>(
        LayerStreamer::Options{
            .blobs = Blobs(), .boot_id = "boot-1", .make_room = [this] { return make_room_(); }},
        clients_, *store_, counters_, Clock::Real());
  }

  [[nodiscard]] virtual std::filesystem::path Blobs() const { return directory_ / "blobs"; }
  /// What an honest manifest says; the registry has the blob.
  StreamRequest Request(const std::string& blob) {
    registry_.AddBlob("app", blob);
    return {.digest = Digest::Of(blob),
            .size_bytes = blob.size(),
            .media_type = kMediaType,
            .diff_id = {},
            .sources = {From(registry_)}};
  }
  static Source From(const floe::testing::FakeRegistry& registry) {
    return {.repository = {.registry = registry.host(), .path = "app"}};
  }
  StreamFlights::Outcome Stream(const StreamRequest& request, const StreamControl& control = {}) {
    return streamer_->Stream(request, control);
  }

  /// The index that the layer gets without a cache manager.
  static Result<image::IndexedLayer> Index(const StreamRequest& request, const std::string& blob,
                                           uint64_t span_bytes = LayerPass::kSpanBytes) {
    return image::IndexBlob(
        blob, {request.digest, request.size_bytes, request.media_type, request.diff_id},
        {.span_bytes = span_bytes});
  }
  static std::string KeyOf(const image::IndexedLayer& layer) {
    return image::DeviceKey(image::EncodeBlobMap(layer.index, 0));
  }
  [[nodiscard]] std::string DataFile(const std::string& key) const {
    return ReadFile(Blobs() / key / "data").value_or("no data file");
  }
  /// The layer is streamed, and its blob is what fills by units make of it.
  void ExpectStreamed(const StreamRequest& request, const std::string& blob) {
    FLOE_ASSERT_OK_AND_ASSIGN(const auto streamed, Stream(request));
    ExpectInCache(*streamed, request, blob);
  }
  void ExpectInCache(const StreamedLayer& streamed, const StreamRequest& request,
                     const std::string& blob) {
    FLOE_ASSERT_OK_AND_ASSIGN(const image::IndexedLayer wanted, Index(request, blob));
    EXPECT_EQ(streamed.device_key, KeyOf(wanted));
    FLOE_ASSERT_OK_AND_ASSIGN(const std::string tree, image::EncodeLayerIndex(wanted.index));
    EXPECT_TRUE(streamed.tree == tree);
    EXPECT_TRUE(streamed.windows == wanted.windows);
    FLOE_ASSERT_OK_AND_ASSIGN(const std::string device, image::FillDevice(wanted, blob));
    EXPECT_TRUE(DataFile(streamed.device_key) == device);
    const auto blobs = store_->All();
    const auto found = std::ranges::find_if(
        blobs, [&](const auto& one) { return one->map().key() == streamed.device_key; });
    ASSERT_NE(found, blobs.end());
    EXPECT_TRUE((*found)->cache().AllPresent());
    EXPECT_TRUE((*found)->cache().IsMountable());
    FLOE_EXPECT_OK((*found)->cache().Checkpoint());
    EXPECT_TRUE((*found)->cache().complete());
    EXPECT_EQ((*found)->cache().present_bytes(), device.size());
    for (const Source& source : request.sources) {
      EXPECT_THAT(*(*found)->sources(), ::testing::Contains(source));
    }
  }
  /// Names in the store's directory.
  [[nodiscard]] std::vector<std::string> Names() const {
    return ListDirectory(Blobs()).value_or(std::vector<std::string>());
  }

  floe::testing::TempDir directory_;
  floe::testing::FakeRegistry registry_;
  Counters counters_;
  std::function<bool()> make_room_ = [] { return false; };
  fetcher::RegistryOptions registry_options_ = {.stall_timeout = std::chrono::milliseconds(300),
                                                .max_attempts = 2,
                                                .retry_delay = std::chrono::milliseconds(1)};
  RegistryClients clients_{
      [this](const std::string&) { return fetcher::RegistryClient::Create(registry_options_); }};
  std::unique_ptr<Filler> filler_;
  std::unique_ptr<BlobStore> store_;
  std::unique_ptr<LayerStreamer> streamer_;
};

}  // namespace floe::cachemgr::testing
