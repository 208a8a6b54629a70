#include "image/manifest.h"

#include <algorithm>
#include <array>
#include <limits>
#include <utility>

#include <nlohmann/json.hpp>

#include "base/quote.h"

namespace floe::image {
namespace {

using nlohmann::json;

// Registries refuse manifests above 4 MiB; configs may be larger.
constexpr size_t kMaxDocumentBytes = 8U << 20U;
constexpr size_t kMaxEntries = 10000;  // Layers, manifests, diff IDs, annotations.

constexpr std::array<std::string_view, 2> kIndexTypes = {
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json"};
constexpr std::array<std::string_view, 2> kManifestTypes = {
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json"};
constexpr std::array<std::string_view, 10> kTarLayerTypes = {
    "application/vnd.oci.image.layer.v1.tar",
    "application/vnd.oci.image.layer.v1.tar+gzip",
    "application/vnd.oci.image.layer.v1.tar+zstd",
    "application/vnd.oci.image.layer.nondistributable.v1.tar",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
    "application/vnd.docker.image.rootfs.diff.tar",
    "application/vnd.docker.image.rootfs.diff.tar.gzip",
    "application/vnd.docker.image.rootfs.diff.tar.zstd",
    "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"};

template <size_t N>
bool IsOneOf(const std::array<std::string_view, N>& list, std::string_view text) {
  return std::find(list.begin(), list.end(), text) != list.end();
}

// A JSON object and how an error calls it: "manifest: layers[2]".
struct Object {
  const json& value;
  std::string where;

  /// nullptr: absent, or null, which is what Go writes for an empty list or map.
  [[nodiscard]] const json* Find(const char* key) const {
    const auto found = value.find(key);
    return found == value.end() || found->is_null() ? nullptr : &*found;
  }
};

Result<json> ParseDocument(std::string_view text, const char* where) {
  if (text.size() > kMaxDocumentBytes) {
    return InvalidArgument("{}: {} bytes, at most {}", where, text.size(), kMaxDocumentBytes);
  }
  json document = json::parse(text.begin(), text.end(), nullptr, /*allow_exceptions=*/false);
  if (!document.is_object()) {
    return InvalidArgument("{}: not a JSON object", where);
  }
  return document;
}

// Empty when it is absent.
Result<std::string> GetString(const Object& object, const char* key) {
  const json* value = object.Find(key);
  if (value == nullptr) {
    return std::string();
  }
  if (!value->is_string()) {
    return InvalidArgument("{}: {} is not a string", object.where, key);
  }
  return value->get_ref<const std::string&>();
}

Result<uint64_t> GetSize(const Object& object, const char* key) {
  const json* value = object.Find(key);
  if (value == nullptr || !value->is_number_unsigned() ||
      value->get<uint64_t>() > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
    return InvalidArgument("{}: {} is not a size", object.where, key);
  }
  return value->get<uint64_t>();
}

Result<Digest> ReadDigest(const json& value, const std::string& where) {
  if (!value.is_string()) {
    return InvalidArgument("{} is not a string", where);
  }
  const auto& text = value.get_ref<const std::string&>();
  auto digest = Digest::Parse(text);
  if (!digest.has_value()) {
    return InvalidArgument("{} is no sha256 digest: {}", where, Quote(text));
  }
  return digest;
}

// nullptr when it is absent.
Result<const json*> GetArray(const Object& object, const char* key) {
  const json* value = object.Find(key);
  if (value == nullptr) {
    return nullptr;
  }
  if (!value->is_array()) {
    return InvalidArgument("{}: {} is not an array", object.where, key);
  }
  if (value->size() > kMaxEntries) {
    return InvalidArgument("{}: {} {}, at most {}", object.where, value->size(), key, kMaxEntries);
  }
  return value;
}

Result<const json*> GetObject(const Object& object, const char* key) {
  const json* value = object.Find(key);
  if (value != nullptr && !value->is_object()) {
    return InvalidArgument("{}: {} is not an object", object.where, key);
  }
  return value;
}

Result<std::map<std::string, std::string>> GetAnnotations(const Object& object) {
  std::map<std::string, std::string> annotations;
  FLOE_ASSIGN_OR_RETURN(const json* map, GetObject(object, "annotations"));
  if (map == nullptr) {
    return annotations;
  }
  if (map->size() > kMaxEntries) {
    return InvalidArgument("{}: {} annotations, at most {}", object.where, map->size(),
                           kMaxEntries);
  }
  for (const auto& [key, value] : map->items()) {
    if (!value.is_string()) {
      return InvalidArgument("{}: an annotation is not a string", object.where);
    }
    annotations.emplace(key, value.get_ref<const std::string&>());
  }
  return annotations;
}

Result<Platform> ReadPlatform(const Object& object) {
  Platform platform;
  FLOE_ASSIGN_OR_RETURN(platform.os, GetString(object, "os"));
  FLOE_ASSIGN_OR_RETURN(platform.architecture, GetString(object, "architecture"));
  FLOE_ASSIGN_OR_RETURN(platform.variant, GetString(object, "variant"));
  FLOE_ASSIGN_OR_RETURN(const json* features, GetArray(object, "os.features"));
  for (size_t i = 0; features != nullptr && i < features->size(); ++i) {
    if (!(*features)[i].is_string()) {
      return InvalidArgument("{}: os.features[{}] is not a string", object.where, i);
    }
    platform.os_features.push_back((*features)[i].get_ref<const std::string&>());
  }
  return platform;
}

Result<Descriptor> ReadDescriptor(const json& value, std::string where) {
  if (!value.is_object()) {
    return InvalidArgument("{} is not an object", where);
  }
  const Object object{value, std::move(where)};
  Descriptor descriptor;
  FLOE_ASSIGN_OR_RETURN(descriptor.media_type, GetString(object, "mediaType"));
  FLOE_ASSIGN_OR_RETURN(descriptor.artifact_type, GetString(object, "artifactType"));
  FLOE_ASSIGN_OR_RETURN(descriptor.size_bytes, GetSize(object, "size"));
  FLOE_ASSIGN_OR_RETURN(descriptor.annotations, GetAnnotations(object));
  const json* digest = object.Find("digest");
  FLOE_ASSIGN_OR_RETURN(descriptor.digest, ReadDigest(digest == nullptr ? json() : *digest,
                                                      object.where + ": digest"));
  FLOE_ASSIGN_OR_RETURN(const json* platform, GetObject(object, "platform"));
  if (platform != nullptr) {
    FLOE_ASSIGN_OR_RETURN(descriptor.platform,
                          ReadPlatform({*platform, object.where + ": platform"}));
  }
  return descriptor;
}

Result<std::vector<Descriptor>> GetDescriptors(const Object& object, const char* key) {
  std::vector<Descriptor> descriptors;
  FLOE_ASSIGN_OR_RETURN(const json* array, GetArray(object, key));
  for (size_t i = 0; array != nullptr && i < array->size(); ++i) {
    FLOE_ASSIGN_OR_RETURN(
        Descriptor descriptor,
        ReadDescriptor((*array)[i], fmt::format("{}: {}[{}]", object.where, key, i)));
    descriptors.push_back(std::move(descriptor));
  }
  return descriptors;
}

Result<void> CheckSchemaVersion(const Object& object) {
  const json* version = object.Find("schemaVersion");
  if (version == nullptr || !version->is_number_unsigned() || version->get<uint64_t>() != 2) {
    return InvalidArgument("{}: schemaVersion is not 2", object.where);
  }
  return Ok();
}

// Two programs must never read one document as two things (CVE-2021-41190).
Result<void> CheckAbsent(const Object& object, std::initializer_list<const char*> keys) {
  for (const char* key : keys) {
    if (object.Find(key) != nullptr) {
      return InvalidArgument("{}: has {}, so it is something else", object.where, key);
    }
  }
  return Ok();
}

}  // namespace

bool IsIndexMediaType(std::string_view media_type) { return IsOneOf(kIndexTypes, media_type); }
bool IsManifestMediaType(std::string_view media_type) {
  return IsOneOf(kManifestTypes, media_type);
}
bool IsTarLayerMediaType(std::string_view media_type) {
  return IsOneOf(kTarLayerTypes, media_type);
}
bool IsErofsLayerMediaType(std::string_view media_type) {
  const size_t suffix = std::min(media_type.find('+'), media_type.size());
  const bool is_wrapped_or_raw =
      suffix == media_type.size() || media_type.substr(suffix) == "+zstd";
  return (media_type.starts_with("application/vnd.erofs.layer") && is_wrapped_or_raw) ||
         media_type.ends_with(".erofs");
}

Result<ImageManifest> ParseImageManifest(std::string_view text) {
  FLOE_ASSIGN_OR_RETURN(const json document, ParseDocument(text, "manifest"));
  const Object object{document, "manifest"};
  FLOE_RETURN_IF_ERROR(CheckSchemaVersion(object));
  FLOE_RETURN_IF_ERROR(CheckAbsent(object, {"manifests", "fsLayers"}));
  ImageManifest manifest;
  FLOE_ASSIGN_OR_RETURN(manifest.media_type, GetString(object, "mediaType"));
  if (!manifest.media_type.empty() && !IsManifestMediaType(manifest.media_type)) {
    return InvalidArgument("manifest: mediaType is {}", Quote(manifest.media_type));
  }
  FLOE_ASSIGN_OR_RETURN(manifest.artifact_type, GetString(object, "artifactType"));
  FLOE_ASSIGN_OR_RETURN(manifest.annotations, GetAnnotations(object));
  FLOE_ASSIGN_OR_RETURN(manifest.layers, GetDescriptors(object, "layers"));
  const json* config = object.Find("config");
  FLOE_ASSIGN_OR_RETURN(manifest.config,
                        ReadDescriptor(config == nullptr ? json() : *config, "manifest: config"));
  if (const json* subject = object.Find("subject"); subject != nullptr) {
    FLOE_ASSIGN_OR_RETURN(manifest.subject, ReadDescriptor(*subject, "manifest: subject"));
  }
  return manifest;
}

Result<ImageIndex> ParseImageIndex(std::string_view text) {
  FLOE_ASSIGN_OR_RETURN(const json document, ParseDocument(text, "image index"));
  const Object object{document, "image index"};
  FLOE_RETURN_IF_ERROR(CheckSchemaVersion(object));
  FLOE_RETURN_IF_ERROR(CheckAbsent(object, {"layers", "config", "fsLayers"}));
  ImageIndex index;
  FLOE_ASSIGN_OR_RETURN(index.media_type, GetString(object, "mediaType"));
  if (!index.media_type.empty() && !IsIndexMediaType(index.media_type)) {
    return InvalidArgument("image index: mediaType is {}", Quote(index.media_type));
  }
  FLOE_ASSIGN_OR_RETURN(const json* manifests, GetArray(object, "manifests"));
  if (manifests == nullptr && index.media_type.empty()) {
    return InvalidArgument("image index: neither mediaType nor manifests");
  }
  FLOE_ASSIGN_OR_RETURN(index.manifests, GetDescriptors(object, "manifests"));
  FLOE_ASSIGN_OR_RETURN(index.annotations, GetAnnotations(object));
  return index;
}

Result<ImageConfig> ParseImageConfig(std::string_view text) {
  FLOE_ASSIGN_OR_RETURN(const json document, ParseDocument(text, "image config"));
  const Object object{document, "image config"};
  ImageConfig config;
  FLOE_ASSIGN_OR_RETURN(config.platform, ReadPlatform(object));
  FLOE_ASSIGN_OR_RETURN(const json* rootfs, GetObject(object, "rootfs"));
  if (rootfs == nullptr) {
    return InvalidArgument("image config: no rootfs");
  }
  const Object layers{*rootfs, "image config: rootfs"};
  FLOE_ASSIGN_OR_RETURN(const std::string type, GetString(layers, "type"));
  if (!type.empty() && type != "layers") {
    return InvalidArgument("image config: rootfs of type {}", Quote(type));
  }
  FLOE_ASSIGN_OR_RETURN(const json* diff_ids, GetArray(layers, "diff_ids"));
  for (size_t i = 0; diff_ids != nullptr && i < diff_ids->size(); ++i) {
    FLOE_ASSIGN_OR_RETURN(
        const Digest diff_id,
        ReadDigest((*diff_ids)[i], fmt::format("image config: rootfs: diff_ids[{}]", i)));
    config.diff_ids.push_back(diff_id);
  }
  return config;
}

std::vector<Digest> ChainIds(const std::vector<Digest>& diff_ids) {
  std::vector<Digest> chain;
  chain.reserve(diff_ids.size());
  for (const Digest& diff_id : diff_ids) {
    chain.push_back(chain.empty() ? diff_id
                                  : Digest::Of(chain.back().ToString() + " " + diff_id.ToString()));
  }
  return chain;
}

}  // namespace floe::image
