#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/digest.h"
#include "base/result.h"
#include "image/layer_index.h"
#include "image/manifest.h"

/// The index artifact: an OCI image manifest whose layers are the tree and windows objects of an
/// image's layers (docs/formats.md). Pure functions over bytes.
namespace floe::prepare {

/// Annotation of an index artifact's descriptor in an OCI index: the image manifest it belongs to.
inline constexpr std::string_view kIndexImageAnnotation = "dev.floe.index.image-manifest";

struct ArtifactObject {
  Digest digest;
  uint64_t size_bytes = 0;
};

/// What the artifact holds for one layer.
struct ArtifactLayer {
  ArtifactObject tree;
  std::optional<ArtifactObject> windows;
};

struct IndexArtifact {
  Digest image_manifest;                   ///< The subject.
  std::map<Digest, ArtifactLayer> layers;  ///< By layer digest.
};

/// InvalidArgument: not an index artifact. An entry whose annotation is missing or odd is refused.
Result<IndexArtifact> ParseIndexArtifact(std::string_view manifest_bytes);

/// `layers`: each distinct layer of the image in manifest order. Byte-for-byte reproducible.
std::string WriteIndexArtifact(const Digest& image_manifest, std::string_view image_media_type,
                               uint64_t image_manifest_bytes,
                               const std::vector<std::pair<Digest, ArtifactLayer>>& layers);

/// Of an index artifact's manifest, as an OCI index holds it.
struct BoundDescriptor {
  Digest digest;
  uint64_t size_bytes = 0;
};

/// The artifact of `image_manifest` that an OCI index binds; nothing when it binds none.
std::optional<BoundDescriptor> FindBoundArtifact(std::string_view index_bytes,
                                                 const Digest& image_manifest);

/// An OCI index that holds what `index_bytes` held (or just the image manifest, when empty) and
/// binds the artifact; an artifact bound before for the same image is replaced where it stands.
/// Artifacts of the other images in it that `bound_before` binds (what the tag stood for until now;
/// may be empty or no index at all) stay bound. Equal input, equal bytes; its own output as
/// `bound_before` or `index_bytes` comes back unchanged.
Result<std::string> WriteBoundIndex(std::string_view index_bytes, std::string_view bound_before,
                                    const image::Descriptor& image_manifest,
                                    const BoundDescriptor& artifact);

/// A tree object must speak of this layer: blob digest and size, diff ID, windows.
Result<void> CheckTree(const image::LayerIndex& index, const image::Descriptor& layer,
                       const Digest& diff_id, const std::optional<ArtifactObject>& windows);

}  // namespace floe::prepare
