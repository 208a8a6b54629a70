#include "tests/image/soci/soci_fixture.h"

#include <nlohmann/json.hpp>

#include "base/file.h"
#include "image/manifest.h"

namespace floe::image {
namespace {

Result<std::string> ReadBlob(const std::string& layout, const Digest& digest) {
  return ReadFile(kSociFixtures / layout / "blobs/sha256" / digest.hex());
}

/// The manifest in a layout that is a SOCI index, also one that an image index names.
Result<std::string> FindSociManifest(const std::string& layout) {
  FLOE_ASSIGN_OR_RETURN(const std::string text, ReadFile(kSociFixtures / layout / "index.json"));
  FLOE_ASSIGN_OR_RETURN(ImageIndex index, ParseImageIndex(text));
  if (IsIndexMediaType(index.manifests.front().media_type)) {
    FLOE_ASSIGN_OR_RETURN(const std::string inner,
                          ReadBlob(layout, index.manifests.front().digest));
    FLOE_ASSIGN_OR_RETURN(index, ParseImageIndex(inner));
  }
  return ReadBlob(layout, index.manifests.back().digest);
}

}  // namespace

Result<SociFixture> ReadSociFixture(const std::string& name) {
  SociFixture fixture;
  FLOE_ASSIGN_OR_RETURN(const std::string soci_text, FindSociManifest(name));
  FLOE_ASSIGN_OR_RETURN(fixture.index, ParseSociIndex(soci_text));
  FLOE_ASSIGN_OR_RETURN(const std::string top, ReadFile(kSociFixtures / "oci/index.json"));
  FLOE_ASSIGN_OR_RETURN(const ImageIndex index, ParseImageIndex(top));
  FLOE_ASSIGN_OR_RETURN(const std::string text, ReadBlob("oci", index.manifests.front().digest));
  FLOE_ASSIGN_OR_RETURN(const ImageManifest manifest, ParseImageManifest(text));
  FLOE_ASSIGN_OR_RETURN(const std::string config_text, ReadBlob("oci", manifest.config.digest));
  FLOE_ASSIGN_OR_RETURN(const ImageConfig config, ParseImageConfig(config_text));
  for (const Descriptor& descriptor : manifest.layers) {
    SociFixtureLayer layer;
    layer.source = {.digest = descriptor.digest,
                    .size_bytes = descriptor.size_bytes,
                    .media_type = descriptor.media_type,
                    .diff_id = config.diff_ids[fixture.layers.size()]};
    FLOE_ASSIGN_OR_RETURN(layer.blob, ReadBlob("oci", descriptor.digest));
    FLOE_ASSIGN_OR_RETURN(layer.ztoc,
                          ReadBlob(name, fixture.index.layers.at(descriptor.digest).ztoc.digest));
    fixture.layers.push_back(std::move(layer));
  }
  return fixture;
}

}  // namespace floe::image
