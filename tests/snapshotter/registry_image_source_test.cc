#include "snapshotter/registry_image_source.h"

#include <gtest/gtest.h>

#include "fetcher/reference.h"
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
