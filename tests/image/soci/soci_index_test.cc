#include "image/soci/soci_index.h"

#include <filesystem>
#include <string>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "tests/image/soci/soci_fixture.h"
#include "tests/support/result_matchers.h"

namespace floe::image {
namespace {

using nlohmann::json;

std::string DigestText(std::string_view of) { return Digest::Of(of).ToString(); }

json ZtocDescriptor(std::string_view layer, std::string_view ztoc) {
  return {{"mediaType", "application/octet-stream"},
          {"digest", DigestText(ztoc)},
          {"size", ztoc.size()},
          {"annotations",
           {{"com.amazon.soci.image-layer-digest", DigestText(layer)},
            {"com.amazon.soci.image-layer-mediaType", "application/x-layer"},
            {"com.amazon.soci.span-size", "262144"}}}};
}

json Manifest(int version) {
  json manifest = {{"schemaVersion", 2},
                   {"mediaType", "application/vnd.oci.image.manifest.v1+json"},
                   {"config",
                    {{"mediaType", version == 1 ? kSociV1IndexType : kSociV2IndexType},
                     {"digest", DigestText("{}")},
                     {"size", 2}}},
                   {"layers", {ZtocDescriptor("layer 0", "ztoc 0")}}};
  if (version == 1) {
    manifest["subject"] = {{"mediaType", "application/vnd.oci.image.manifest.v1+json"},
                           {"digest", DigestText("image")},
                           {"size", 5}};
  }
  return manifest;
}

TEST(SociIndexTest, ReadsVersionOne) {
  FLOE_ASSERT_OK_AND_ASSIGN(const SociIndex index, ParseSociIndex(Manifest(1).dump()));
  EXPECT_EQ(index.version, 1);
  EXPECT_EQ(index.image_manifest, Digest::Of("image"));
  ASSERT_EQ(index.layers.size(), 1U);
  const SociLayer& layer = index.layers.at(Digest::Of("layer 0"));
  EXPECT_EQ(layer.ztoc.digest, Digest::Of("ztoc 0"));
  EXPECT_EQ(layer.ztoc.size_bytes, 6U);
  EXPECT_FALSE(layer.prefetch.has_value());
  EXPECT_EQ(layer.media_type, "application/x-layer");
  EXPECT_EQ(layer.span_bytes, 262144U);
  EXPECT_FALSE(layer.disable_xattrs);
}

TEST(SociIndexTest, ReadsVersionTwo) {
  json manifest = Manifest(2);
  manifest["layers"][0]["annotations"]["com.amazon.soci.disable-xattrs"] = "true";
  manifest["layers"][0]["annotations"].erase("com.amazon.soci.span-size");
  FLOE_ASSERT_OK_AND_ASSIGN(const SociIndex index, ParseSociIndex(manifest.dump()));
  EXPECT_EQ(index.version, 2);
  EXPECT_FALSE(index.image_manifest.has_value());
  EXPECT_TRUE(index.layers.at(Digest::Of("layer 0")).disable_xattrs);
  EXPECT_FALSE(index.layers.at(Digest::Of("layer 0")).span_bytes.has_value());
}

TEST(SociIndexTest, PrefetchListBelongsToItsLayer) {
  json manifest = Manifest(2);
  json prefetch = ZtocDescriptor("layer 0", "prefetch");
  prefetch["mediaType"] = "application/vnd.amazon.soci.prefetch.v1+json";
  json of_another = ZtocDescriptor("layer 1", "other prefetch");
  of_another["mediaType"] = prefetch["mediaType"];
  // The order does not matter.
  manifest["layers"] = json::array({prefetch, of_another, manifest["layers"][0]});
  FLOE_ASSERT_OK_AND_ASSIGN(const SociIndex index, ParseSociIndex(manifest.dump()));
  ASSERT_EQ(index.layers.size(), 1U);
  const SociLayer& layer = index.layers.at(Digest::Of("layer 0"));
  EXPECT_EQ(layer.ztoc.digest, Digest::Of("ztoc 0"));
  ASSERT_TRUE(layer.prefetch.has_value());
  EXPECT_EQ(layer.prefetch->digest, Digest::Of("prefetch"));
}

TEST(SociIndexTest, LeavesOutWhatItDoesNotKnow) {
  json manifest = Manifest(2);
  json other = ZtocDescriptor("layer 0", "other");
  other["mediaType"] = "application/x-other";
  manifest["layers"].push_back(other);
  FLOE_ASSERT_OK_AND_ASSIGN(const SociIndex index, ParseSociIndex(manifest.dump()));
  EXPECT_EQ(index.layers.size(), 1U);
}

TEST(SociIndexTest, RefusesOtherManifests) {
  json manifest = Manifest(2);
  manifest["config"]["mediaType"] = "application/vnd.oci.image.config.v1+json";
  FLOE_EXPECT_ERROR(ParseSociIndex(manifest.dump()), ErrorCode::kInvalidArgument,
                    "not a SOCI index");
  FLOE_EXPECT_ERROR(ParseSociIndex("{}"), ErrorCode::kInvalidArgument, "schemaVersion");
}

TEST(SociIndexTest, SubjectBelongsToVersionOne) {
  json one = Manifest(1);
  one.erase("subject");
  FLOE_EXPECT_ERROR(ParseSociIndex(one.dump()), ErrorCode::kInvalidArgument, "without a subject");
  json two = Manifest(2);
  two["subject"] = Manifest(1)["subject"];
  FLOE_EXPECT_ERROR(ParseSociIndex(two.dump()), ErrorCode::kInvalidArgument, "with a subject");
}

TEST(SociIndexTest, EveryZtocNamesItsLayer) {
  json manifest = Manifest(2);
  manifest["layers"][0]["annotations"].erase("com.amazon.soci.image-layer-digest");
  FLOE_EXPECT_ERROR(ParseSociIndex(manifest.dump()), ErrorCode::kInvalidArgument, "layers[0]");
  manifest["layers"][0]["annotations"]["com.amazon.soci.image-layer-digest"] = "sha256:00";
  FLOE_EXPECT_ERROR(ParseSociIndex(manifest.dump()), ErrorCode::kInvalidArgument, "layers[0]");
}

TEST(SociIndexTest, SpanSizeIsANumber) {
  for (const char* text : {"4M", "0", "-1", "99999999999999999999"}) {
    json manifest = Manifest(2);
    manifest["layers"][0]["annotations"]["com.amazon.soci.span-size"] = text;
    FLOE_EXPECT_ERROR(ParseSociIndex(manifest.dump()), ErrorCode::kInvalidArgument, "span size");
  }
}

TEST(SociIndexTest, OneLayerHasOneZtoc) {
  json manifest = Manifest(2);
  manifest["layers"].push_back(ZtocDescriptor("layer 0", "ztoc 0"));
  FLOE_EXPECT_OK(ParseSociIndex(manifest.dump()));
  manifest["layers"].push_back(ZtocDescriptor("layer 0", "ztoc 1"));
  FLOE_EXPECT_ERROR(ParseSociIndex(manifest.dump()), ErrorCode::kDataLoss, "another ztoc");
}

TEST(SociIndexTest, ReadsTheFixtures) {
  if (!std::filesystem::exists(kSociFixtures / "soci-v2")) {
    GTEST_SKIP() << kSociFixtures << " is absent";
  }
  FLOE_ASSERT_OK_AND_ASSIGN(const SociFixture one, ReadSociFixture("soci-index"));
  EXPECT_EQ(one.index.version, 1);
  EXPECT_EQ(one.index.layers.size(), 3U);
  FLOE_ASSERT_OK_AND_ASSIGN(const SociFixture two, ReadSociFixture("soci-v2"));
  EXPECT_EQ(two.index.version, 2);
  EXPECT_EQ(two.index.layers.size(), 3U);
  EXPECT_EQ(two.index.layers.begin()->second.span_bytes, 262144U);
}

}  // namespace
}  // namespace floe::image
