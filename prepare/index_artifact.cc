#include "prepare/index_artifact.h"

#include <algorithm>
#include <set>
#include <utility>

#include <nlohmann/json.hpp>

#include "base/quote.h"
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

std::string Text(const Json& object, std::string_view key) {
  auto found = object.is_object() ? object.find(std::string(key)) : object.end();
  return object.is_object() && found != object.end() && found->is_string()
             ? found->get<std::string>()
             : std::string();
}

// The image manifest whose artifact an entry of an OCI index binds; empty when it binds none.
std::string BoundImage(const Json& entry) {
  if (Text(entry, "artifactType") != image::kIndexArtifactType || !entry.contains("annotations")) {
    return {};
  }
  return Text(entry["annotations"], kIndexImageAnnotation);
}

// Where the artifact of an image is bound; the end when it is not.
Json::iterator FindBinding(Json& entries, const std::string& image_manifest) {
  return std::find_if(entries.begin(), entries.end(),
                      [&](const Json& entry) { return BoundImage(entry) == image_manifest; });
}

// Discarded when it is no index. The depth is bounded because copies and output are recursive.
Json ParseIndexJson(std::string_view bytes) {
  constexpr int kMaxDepth = 64;
  bool too_deep = false;
  auto index = Json::parse(
      bytes.begin(), bytes.end(),
      [&](int depth, Json::parse_event_t /*event*/, Json& /*value*/) {
        too_deep = too_deep || depth > kMaxDepth;
        return !too_deep;
      },
      false);
  bool good = !too_deep && index.is_object() && index.contains("manifests") &&
              index["manifests"].is_array();
  return good ? index : Json(Json::value_t::discarded);
}

Json PlatformJson(const image::Platform& platform) {
  Json json{{"architecture", platform.architecture}, {"os", platform.os}};
  if (!platform.variant.empty()) {
    json["variant"] = platform.variant;
  }
  if (!platform.os_features.empty()) {
    json["os.features"] = platform.os_features;
  }
  return json;
}

// The index of an image that has none.
Json SingleImageIndex(const image::Descriptor& image_manifest) {
  Json entry{{"mediaType", image_manifest.media_type},
             {"digest", image_manifest.digest.ToString()},
             {"size", image_manifest.size_bytes}};
  if (image_manifest.platform) {
    entry["platform"] = PlatformJson(*image_manifest.platform);
  }
  return {{"schemaVersion", 2},
          {"mediaType", kIndexMediaType},
          {"manifests", Json::array({std::move(entry)})}};
}

// Appends the bindings of `before` whose image is among the entries and not bound there.
void KeepBindings(Json& entries, const Json& before) {
  std::set<std::string> images;
  for (const Json& entry : entries) {
    images.insert(Text(entry, "digest"));
  }
  for (const Json& entry : before) {
    const std::string image = BoundImage(entry);
    if (!image.empty() && images.contains(image) && FindBinding(entries, image) == entries.end()) {
      entries.push_back(entry);
    }
  }
}

}  // namespace

Result<IndexArtifact> ParseIndexArtifact(std::string_view manifest_bytes) {
  FLOE_ASSIGN_OR_RETURN(image::ImageManifest manifest, image::ParseImageManifest(manifest_bytes));
  if (manifest.artifact_type != image::kIndexArtifactType) {
    return InvalidArgument("not a Floe index: artifactType is {}", Quote(manifest.artifact_type));
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

std::optional<BoundDescriptor> FindBoundArtifact(std::string_view index_bytes,
                                                 const Digest& image_manifest) {
  auto index = image::ParseImageIndex(index_bytes);
  if (!index) {
    return std::nullopt;
  }
  for (const image::Descriptor& entry : index->manifests) {
    auto annotation = entry.annotations.find(std::string(kIndexImageAnnotation));
    if (IsOurArtifact(entry) && annotation != entry.annotations.end() &&
        annotation->second == image_manifest.ToString()) {
      return BoundDescriptor{entry.digest, entry.size_bytes};
    }
  }
  return std::nullopt;
}

Result<std::string> WriteBoundIndex(std::string_view index_bytes, std::string_view bound_before,
                                    const image::Descriptor& image_manifest,
                                    const BoundDescriptor& artifact) {
  Json index = index_bytes.empty() ? SingleImageIndex(image_manifest) : ParseIndexJson(index_bytes);
  if (index.is_discarded()) {
    return InvalidArgument("the index of manifest {} is none that can be written again",
                           image_manifest.digest.ToString());
  }
  index["mediaType"] = kIndexMediaType;
  Json& entries = index["manifests"];
  if (Json before = ParseIndexJson(bound_before); !before.is_discarded()) {
    KeepBindings(entries, before["manifests"]);
  }
  const std::string image = image_manifest.digest.ToString();
  Json binding{{"mediaType", kManifestMediaType},
               {"artifactType", image::kIndexArtifactType},
               {"digest", artifact.digest.ToString()},
               {"size", artifact.size_bytes},
               // As for attestations: no platform matches it, so no client takes it for an image.
               {"platform", {{"architecture", "unknown"}, {"os", "unknown"}}},
               {"annotations", {{std::string(kIndexImageAnnotation), image}}}};
  if (auto known = FindBinding(entries, image); known != entries.end()) {
    *known = std::move(binding);
  } else {
    entries.push_back(std::move(binding));
  }
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
