#include "prepare/index_artifact.h"

#include <utility>

#include <nlohmann/json.hpp>

#include "image/index_codec.h"

namespace floe::prepare {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::string_view kManifestMediaType = "application/vnd.oci.image.manifest.v1+json";
constexpr std::string_view kIndexMediaType = "application/vnd.oci.image.index.v1+json";
constexpr std::string_view kEmptyMediaType = "application/vnd.oci.empty.v1+json";

Json ObjectDescriptor(std::string_view media_type, const ArtifactObject& object,
                      const Digest& layer) {
  return Json{{"mediaType", media_type},
              {"digest", object.digest.ToString()},
              {"size", object.size_bytes},
              {"annotations", {{std::string(image::kIndexLayerAnnotation), layer.ToString()}}}};
}

bool IsOurArtifact(const image::Descriptor& descriptor) {
  return descriptor.artifact_type == image::kIndexArtifactType;
}

// True for an entry of an OCI index that binds an artifact to this image manifest.
bool BindsArtifactOf(const Json& entry, const Digest& image_manifest) {
  if (!entry.is_object() ||
      entry.value("artifactType", Json()) != Json(image::kIndexArtifactType)) {
    return false;
  }
  auto annotations = entry.find("annotations");
  return annotations != entry.end() && annotations->is_object() &&
         annotations->value(std::string(kIndexImageAnnotation), Json()) ==
             Json(image_manifest.ToString());
}

}  // namespace

Result<IndexArtifact> ParseIndexArtifact(std::string_view manifest_bytes) {
  FLOE_ASSIGN_OR_RETURN(image::ImageManifest manifest, image::ParseImageManifest(manifest_bytes));
  if (manifest.artifact_type != image::kIndexArtifactType) {
    return InvalidArgument("not a Floe index: artifactType is '{}'", manifest.artifact_type);
  }
  if (!manifest.subject) {
    return InvalidArgument("a Floe index without a subject");
  }
  IndexArtifact artifact;
  artifact.image_manifest = manifest.subject->digest;
  for (const image::Descriptor& object : manifest.layers) {
    auto annotation = object.annotations.find(std::string(image::kIndexLayerAnnotation));
    if (annotation == object.annotations.end()) {
      return InvalidArgument("object {} of a Floe index does not say which layer it is of",
                             object.digest.ToString());
    }
    FLOE_ASSIGN_OR_RETURN(Digest layer, Digest::Parse(annotation->second));
    if (object.media_type == image::kIndexTreeMediaType) {
      artifact.layers[layer].tree = {object.digest, object.size_bytes};
    } else if (object.media_type == image::kIndexWindowsMediaType) {
      artifact.layers[layer].windows = ArtifactObject{object.digest, object.size_bytes};
    }
  }
  for (const auto& [layer, objects] : artifact.layers) {
    if (objects.tree.digest.IsZero()) {
      return InvalidArgument("a Floe index has windows but no tree for layer {}", layer.ToString());
    }
  }
  return artifact;
}

std::string WriteIndexArtifact(const Digest& image_manifest, std::string_view image_media_type,
                               uint64_t image_manifest_bytes,
                               const std::vector<std::pair<Digest, ArtifactLayer>>& layers) {
  static constexpr std::string_view kEmptyConfig = "{}";
  Json objects = Json::array();
  for (const auto& [layer, parts] : layers) {
    objects.push_back(ObjectDescriptor(image::kIndexTreeMediaType, parts.tree, layer));
    if (parts.windows) {
      objects.push_back(ObjectDescriptor(image::kIndexWindowsMediaType, *parts.windows, layer));
    }
  }
  Json manifest{{"schemaVersion", 2},
                {"mediaType", kManifestMediaType},
                {"artifactType", image::kIndexArtifactType},
                {"config",
                 {{"mediaType", kEmptyMediaType},
                  {"digest", Digest::Of(kEmptyConfig).ToString()},
                  {"size", kEmptyConfig.size()}}},
                {"layers", std::move(objects)},
                {"subject",
                 {{"mediaType", image_media_type},
                  {"digest", image_manifest.ToString()},
                  {"size", image_manifest_bytes}}}};
  return manifest.dump();
}

std::optional<Digest> FindBoundArtifact(std::string_view index_bytes,
                                        const Digest& image_manifest) {
  auto index = image::ParseImageIndex(index_bytes);
  if (!index) {
    return std::nullopt;
  }
  for (const image::Descriptor& entry : index->manifests) {
    auto annotation = entry.annotations.find(std::string(kIndexImageAnnotation));
    if (IsOurArtifact(entry) && annotation != entry.annotations.end() &&
        annotation->second == image_manifest.ToString()) {
      return entry.digest;
    }
  }
  return std::nullopt;
}

Result<std::string> WriteBoundIndex(std::string_view index_bytes,
                                    const image::Descriptor& image_manifest,
                                    const BoundDescriptor& artifact) {
  Json index;
  if (index_bytes.empty()) {
    Json entry{{"mediaType", image_manifest.media_type},
               {"digest", image_manifest.digest.ToString()},
               {"size", image_manifest.size_bytes}};
    if (image_manifest.platform) {
      entry["platform"] = {{"architecture", image_manifest.platform->architecture},
                           {"os", image_manifest.platform->os}};
      if (!image_manifest.platform->variant.empty()) {
        entry["platform"]["variant"] = image_manifest.platform->variant;
      }
    }
    index = {{"schemaVersion", 2},
             {"mediaType", kIndexMediaType},
             {"manifests", Json::array({std::move(entry)})}};
  } else {
    index = Json::parse(index_bytes, nullptr, false);
    if (index.is_discarded() || !index.is_object() || !index.contains("manifests") ||
        !index["manifests"].is_array()) {
      return InvalidArgument("not an OCI index");
    }
    index["mediaType"] = kIndexMediaType;
  }
  Json kept = Json::array();
  for (Json& entry : index["manifests"]) {
    if (!BindsArtifactOf(entry, image_manifest.digest)) {
      kept.push_back(std::move(entry));
    }
  }
  kept.push_back(
      {{"mediaType", kManifestMediaType},
       {"artifactType", image::kIndexArtifactType},
       {"digest", artifact.digest.ToString()},
       {"size", artifact.size_bytes},
       // As for attestations: no platform matches it, so no client takes it for an image.
       {"platform", {{"architecture", "unknown"}, {"os", "unknown"}}},
       {"annotations", {{std::string(kIndexImageAnnotation), image_manifest.digest.ToString()}}}});
  index["manifests"] = std::move(kept);
  return index.dump();
}

Result<void> CheckTree(const image::LayerIndex& index, const image::Descriptor& layer,
                       const Digest& diff_id, const std::optional<ArtifactObject>& windows) {
  const image::LayerIndexData& data = index.data();
  if (data.blobs.size() != 1 || data.blobs[0].digest != layer.digest) {
    return DataLoss("the index of layer {} speaks of another blob", layer.digest.ToString());
  }
  const image::SourceBlob& blob = data.blobs[0];
  if (blob.size_bytes != layer.size_bytes) {
    return DataLoss("the index of layer {} says {} bytes, the manifest {}", layer.digest.ToString(),
                    blob.size_bytes, layer.size_bytes);
  }
  if (!data.diff_id.IsZero() && data.diff_id != diff_id) {
    return DataLoss("the index of layer {} has another diff ID than the image's config",
                    layer.digest.ToString());
  }
  ArtifactObject expected = windows.value_or(ArtifactObject{});
  if (blob.windows_digest != expected.digest || blob.windows_size_bytes != expected.size_bytes) {
    return DataLoss("the index of layer {} names other windows than its artifact",
                    layer.digest.ToString());
  }
  return Ok();
}

}  // namespace floe::prepare
