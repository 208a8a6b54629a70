// Index artifacts and the OCI indexes that bind them: whatever a registry holds, what is written
// over it can be read and written again.
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "base/check.h"
#include "image/manifest.h"
#include "prepare/index_artifact.h"
#include "tests/fuzz/input.h"

namespace floe::prepare {
namespace {

constexpr const char* kManifestType = "application/vnd.oci.image.manifest.v1+json";

image::Descriptor ImageManifest() {
  image::Descriptor manifest;
  manifest.media_type = kManifestType;
  manifest.digest = Digest::Of("image");
  manifest.size_bytes = 5;
  manifest.platform =
      image::Platform{.os = "linux", .architecture = "arm64", .variant = "v8", .os_features = {}};
  return manifest;
}

const std::vector<std::string>& Seeds() {
  static const std::vector<std::string> kSeeds = [] {
    const ArtifactLayer layer{.tree = {Digest::Of("tree"), 4},
                              .windows = ArtifactObject{Digest::Of("windows"), 7}};
    const auto bound = WriteBoundIndex("", "", ImageManifest(), {Digest::Of("artifact"), 8});
    image::Descriptor other = ImageManifest();
    other.digest = Digest::Of("other");
    const auto both = WriteBoundIndex(*bound, "", other, {Digest::Of("other artifact"), 9});
    FLOE_CHECK(bound.has_value() && both.has_value());
    return std::vector<std::string>{
        WriteIndexArtifact(Digest::Of("image"), kManifestType, 5, {{Digest::Of("layer"), layer}}),
        *bound, *both};
  }();
  return kSeeds;
}

void CheckArtifact(const std::string& text) {
  const auto artifact = ParseIndexArtifact(text);
  if (!artifact) {
    FLOE_CHECK(artifact.error().message.find('\n') == std::string::npos);
    return;
  }
  const std::vector<std::pair<Digest, ArtifactLayer>> layers(artifact->layers.begin(),
                                                             artifact->layers.end());
  const auto again =
      ParseIndexArtifact(WriteIndexArtifact(artifact->image_manifest, kManifestType, 1, layers));
  FLOE_CHECK(again.has_value() && again->image_manifest == artifact->image_manifest);
  FLOE_CHECK(again->layers.size() == layers.size());
}

/// Binds an artifact in `index`, with what `before` bound.
void CheckBinding(const std::string& index, const std::string& before) {
  const image::Descriptor image = ImageManifest();
  const BoundDescriptor artifact{Digest::Of("new artifact"), 12};
  const auto bound = WriteBoundIndex(index, before, image, artifact);
  if (!bound) {
    FLOE_CHECK(bound.error().message.find('\n') == std::string::npos);
    return;
  }
  FLOE_CHECK(WriteBoundIndex(*bound, "", image, artifact).value() == *bound);
  FLOE_CHECK(WriteBoundIndex(index, *bound, image, artifact).value() == *bound);
  // An index that other readers refuse keeps what makes them refuse it.
  if (image::ParseImageIndex(*bound).has_value()) {
    const auto found = FindBoundArtifact(*bound, image.digest);
    FLOE_CHECK(found.has_value() && found->digest == artifact.digest);
  }
}

}  // namespace
}  // namespace floe::prepare

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace floe::prepare;  // NOLINT(google-build-using-namespace): an extern "C" function.
  floe::testing::FuzzInput input(data, size);
  const size_t use = input.Below(4);
  const std::string text = floe::testing::EditedText(input, Seeds());
  switch (use) {
    case 0:
      CheckArtifact(text);
      break;
    case 1:
      CheckBinding(text, "");
      break;
    case 2:
      CheckBinding(Seeds()[1], text);
      break;
    default:
      (void)FindBoundArtifact(text, floe::Digest::Of("image"));
  }
  return 0;
}
