#include "cli/pull.h"

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/cli/fake_containerd.h"
#include "tests/support/fake_registry.h"
#include "tests/support/result_matchers.h"

namespace floe::cli {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class PullTest : public ::testing::Test {
 protected:
  void SetUp() override {
    FLOE_ASSERT_OK(registry_.AddOciLayout("corpus", "7", FLOE_SOURCE_DIR "/tests/data/oci"));
    FLOE_ASSERT_OK_AND_ASSIGN(client_, fetcher::RegistryClient::Create({}));
    FLOE_ASSERT_OK_AND_ASSIGN(const auto reference,
                              fetcher::Reference::Parse(registry_.host() + "/corpus:7"));
    FLOE_ASSERT_OK_AND_ASSIGN(
        image_, prepare::ResolveImage(*client_, reference, std::nullopt,
                                      image::Platform::Parse("linux/amd64").value(), Deadline()));
    for (size_t i = 0; i < image_.manifest.layers.size(); ++i) {
      containerd_.diff_ids[image_.manifest.layers[i].digest] = image_.config.diff_ids[i];
    }
    registry_.ForgetRequests();
  }

  Result<PullReport> Pull() {
    return PullImage(
        containerd_, *client_, image_, "floe", [](size_t, uint64_t, uint64_t) {}, Deadline());
  }
  void MakeLazy(size_t layer) { containerd_.lazy.insert(image_.chain_ids[layer].ToString()); }
  static std::vector<LayerOutcome> Outcomes(const PullReport& report) {
    std::vector<LayerOutcome> outcomes;
    std::transform(report.layers.begin(), report.layers.end(), std::back_inserter(outcomes),
                   [](const PulledLayer& layer) { return layer.outcome; });
    return outcomes;
  }

  testing::FakeRegistry registry_;
  std::unique_ptr<fetcher::RegistryClient> client_;
  prepare::ResolvedImage image_;
  testing::FakeContainerd containerd_;
};

TEST_F(PullTest, ALazyImageDownloadsNoLayer) {
  for (size_t i = 0; i < 3; ++i) {
    MakeLazy(i);
  }
  FLOE_ASSERT_OK_AND_ASSIGN(const auto report, Pull());
  EXPECT_THAT(Outcomes(report),
              ElementsAre(LayerOutcome::kLazy, LayerOutcome::kLazy, LayerOutcome::kLazy));
  EXPECT_EQ(registry_.CountRequests("GET", "/blobs/"), 0);
  EXPECT_EQ(containerd_.content.size(), 2U);  // Manifest and config.
  EXPECT_THAT(containerd_.images,
              ElementsAre(::testing::Pair(registry_.host() + "/corpus:7", image_.manifest_digest)));
  EXPECT_FALSE(containerd_.leased);
  EXPECT_FALSE(containerd_.made_without_lease);
}

TEST_F(PullTest, AnImageThatIsNotLazyIsDownloadedAndUnpacked) {
  FLOE_ASSERT_OK_AND_ASSIGN(const auto report, Pull());
  EXPECT_THAT(Outcomes(report), ElementsAre(LayerOutcome::kUnpacked, LayerOutcome::kUnpacked,
                                            LayerOutcome::kUnpacked));
  for (const PulledLayer& layer : report.layers) {
    EXPECT_EQ(layer.downloaded_bytes, layer.size_bytes);
    EXPECT_TRUE(containerd_.content.contains(layer.digest));
  }
  EXPECT_EQ(containerd_.committed.at(image_.chain_ids[2].ToString()).parent,
            image_.chain_ids[1].ToString());
  EXPECT_TRUE(containerd_.active.empty());
}

TEST_F(PullTest, LayersAreDecidedOneByOne) {
  MakeLazy(0);
  containerd_.committed[image_.chain_ids[1].ToString()] = {};
  FLOE_ASSERT_OK_AND_ASSIGN(const auto report, Pull());
  EXPECT_THAT(Outcomes(report),
              ElementsAre(LayerOutcome::kLazy, LayerOutcome::kPresent, LayerOutcome::kUnpacked));
}

TEST_F(PullTest, TheGarbageCollectorSeesOneTree) {
  FLOE_ASSERT_OK(Pull());
  const auto& manifest = containerd_.content.at(image_.manifest_digest);
  EXPECT_EQ(manifest.at("containerd.io/gc.ref.content.config"),
            image_.manifest.config.digest.ToString());
  EXPECT_EQ(manifest.at("containerd.io/gc.ref.content.l.2"),
            image_.manifest.layers[2].digest.ToString());
  EXPECT_EQ(containerd_.content.at(image_.manifest.config.digest)
                .at("containerd.io/gc.ref.snapshot.floe"),
            image_.chain_ids[2].ToString());
}

TEST_F(PullTest, ALayerThatUnpacksToAnotherDiffIdIsRefusedAndNothingIsLeft) {
  containerd_.diff_ids[image_.manifest.layers[1].digest] = Digest::Of("something else");
  const auto report = Pull();
  FLOE_EXPECT_ERROR(report, ErrorCode::kDataLoss, image_.manifest.layers[1].digest.ToString());
  EXPECT_TRUE(containerd_.active.empty());
  EXPECT_TRUE(containerd_.images.empty());
  EXPECT_FALSE(containerd_.leased);
}

TEST_F(PullTest, ALayerWhoseBytesDoNotMatchIsRefused) {
  registry_.InjectFault({.kind = testing::Fault::Kind::kCorrupt,
                         .path_contains = image_.manifest.layers[0].digest.hex()});
  const auto report = Pull();
  ASSERT_FALSE(report.has_value());
  EXPECT_THAT(report.error().message, HasSubstr(image_.manifest.layers[0].digest.ToString()));
  EXPECT_TRUE(containerd_.active.empty());
  EXPECT_TRUE(containerd_.images.empty());
}

TEST_F(PullTest, ASnapshotterThatHidesWhatItPromisedIsAnError) {
  MakeLazy(0);
  containerd_.hides_lazy = true;
  FLOE_EXPECT_ERROR(Pull(), ErrorCode::kUnavailable, image_.chain_ids[0].ToString());
}

TEST_F(PullTest, LabelsNameTheImageTheLayerAndTheLayersAbove) {
  const client::Labels labels = LayerLabels(image_, 1);
  EXPECT_EQ(labels.at("containerd.io/snapshot.ref"), image_.chain_ids[1].ToString());
  EXPECT_EQ(labels.at("containerd.io/snapshot/cri.image-ref"), registry_.host() + "/corpus:7");
  EXPECT_EQ(labels.at("containerd.io/snapshot/cri.manifest-digest"),
            image_.manifest_digest.ToString());
  EXPECT_EQ(labels.at("containerd.io/snapshot/cri.layer-digest"),
            image_.manifest.layers[1].digest.ToString());
  EXPECT_EQ(labels.at("containerd.io/snapshot/cri.image-layers"),
            image_.manifest.layers[1].digest.ToString() + "," +
                image_.manifest.layers[2].digest.ToString());
}

TEST_F(PullTest, LabelsOfManyLayersFitContainerdsLimit) {
  image_.manifest.layers.resize(200, image_.manifest.layers[0]);
  image_.chain_ids.resize(200, image_.chain_ids[0]);
  for (const auto& [key, value] : LayerLabels(image_, 0)) {
    EXPECT_LE(key.size() + value.size(), 4096U) << key;
  }
}

}  // namespace
}  // namespace floe::cli
