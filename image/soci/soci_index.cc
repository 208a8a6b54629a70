#include "image/soci/soci_index.h"

#include <charconv>
#include <utility>

#include "base/quote.h"

namespace floe::image {
namespace {

constexpr std::string_view kZtocMediaType = "application/octet-stream";
constexpr std::string_view kPrefetchMediaType = "application/vnd.amazon.soci.prefetch.v1+json";
constexpr const char* kLayerDigest = "com.amazon.soci.image-layer-digest";
constexpr const char* kLayerMediaType = "com.amazon.soci.image-layer-mediaType";
constexpr const char* kSpanSize = "com.amazon.soci.span-size";
constexpr const char* kDisableXattrs = "com.amazon.soci.disable-xattrs";

// Empty when it is absent.
std::string_view FindAnnotation(const Descriptor& descriptor, const char* key) {
  const auto found = descriptor.annotations.find(key);
  return found == descriptor.annotations.end() ? std::string_view() : found->second;
}

Result<std::optional<uint64_t>> ReadSpanSize(std::string_view text) {
  if (text.empty()) {
    return std::optional<uint64_t>();
  }
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value == 0) {
    return InvalidArgument("not a span size: {}", Quote(text));
  }
  return std::optional(value);
}

Result<SociLayer> ReadLayer(const Descriptor& descriptor) {
  SociLayer layer;
  layer.ztoc = {.digest = descriptor.digest, .size_bytes = descriptor.size_bytes};
  layer.media_type = FindAnnotation(descriptor, kLayerMediaType);
  layer.disable_xattrs = FindAnnotation(descriptor, kDisableXattrs) == "true";
  FLOE_ASSIGN_OR_RETURN(layer.span_bytes, ReadSpanSize(FindAnnotation(descriptor, kSpanSize)));
  return layer;
}

Result<void> AddLayer(const Descriptor& descriptor, SociIndex& index) {
  auto digest = Digest::Parse(FindAnnotation(descriptor, kLayerDigest));
  if (!digest.has_value()) {
    return WithContext(std::move(digest).error(), kLayerDigest);
  }
  FLOE_ASSIGN_OR_RETURN(SociLayer layer, ReadLayer(descriptor));
  const auto [known, is_new] = index.layers.emplace(*digest, std::move(layer));
  // An image may hold a layer twice.
  if (!is_new && known->second.ztoc.digest != descriptor.digest) {
    return DataLoss("another ztoc of layer {}", digest->ToString());
  }
  return Ok();
}

// A hint: one that says nothing of use is no reason to refuse the index.
void AddPrefetch(const Descriptor& descriptor, SociIndex& index) {
  const auto digest = Digest::Parse(FindAnnotation(descriptor, kLayerDigest));
  const auto layer = digest.has_value() ? index.layers.find(*digest) : index.layers.end();
  if (layer != index.layers.end()) {
    layer->second.prefetch =
        SociObject{.digest = descriptor.digest, .size_bytes = descriptor.size_bytes};
  }
}

Result<int> VersionOf(const ImageManifest& manifest) {
  if (manifest.config.media_type == kSociV1IndexType) {
    return 1;
  }
  if (manifest.config.media_type == kSociV2IndexType) {
    return 2;
  }
  return InvalidArgument("not a SOCI index: its config is {}", Quote(manifest.config.media_type));
}

}  // namespace

Result<SociIndex> ParseSociIndex(std::string_view manifest_bytes) {
  FLOE_ASSIGN_OR_RETURN(const ImageManifest manifest, ParseImageManifest(manifest_bytes));
  SociIndex index;
  FLOE_ASSIGN_OR_RETURN(index.version, VersionOf(manifest));
  if (manifest.subject.has_value() != (index.version == 1)) {
    return InvalidArgument("a SOCI index of version {} {} a subject", index.version,
                           manifest.subject.has_value() ? "with" : "without");
  }
  if (manifest.subject.has_value()) {
    index.image_manifest = manifest.subject->digest;
  }
  for (size_t i = 0; i < manifest.layers.size(); ++i) {
    if (manifest.layers[i].media_type != kZtocMediaType) {
      continue;
    }
    if (Result<void> added = AddLayer(manifest.layers[i], index); !added.has_value()) {
      return WithContext(std::move(added).error(), fmt::format("SOCI index: layers[{}]", i));
    }
  }
  for (const Descriptor& descriptor : manifest.layers) {
    if (descriptor.media_type == kPrefetchMediaType) {
      AddPrefetch(descriptor, index);
    }
  }
  return index;
}

}  // namespace floe::image
