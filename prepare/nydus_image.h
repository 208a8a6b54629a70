#pragma once

#include <optional>

#include "base/result.h"
#include "image/manifest.h"
#include "prepare/layer_reader.h"

/// Nydus images (RAFS v6): data layers that hold chunks, and as the last layer the bootstrap, which
/// says what the whole image is made of. docs/layer-formats.md.
namespace floe::prepare {

/// A layer of chunks, never unpacked: of Nydus's own media type or annotated as such, or the one
/// that stands for an ordinary layer of another image (nydus-ref).
bool IsNydusBlobLayer(const image::Descriptor& layer);

/// The last layer is annotated as a bootstrap and all others are blob layers. Of any RAFS version:
/// ReadNydusImage then says what is not supported.
bool IsNydusImage(const image::ImageManifest& manifest);

/// The whole image as one index over its data blobs; `context.position` is the bootstrap layer.
/// The bootstrap layer is read whole, its digest and diff ID checked; chunk information comes from
/// its blob.meta files or, where these are missing or only headers, from the blobs. Blobs that the
/// manifest does not list (of a chunk dictionary) are taken at the size that the bootstrap says;
/// they may live in another repository. Errors as of ReadLayer's readers.
Result<ReadLayer> ReadNydusImage(const LayerContext& context);

/// The manifest of `index` that is the Nydus form of the image for this platform, beside an
/// ordinary one (nydusify --merge-platform): marked by its artifact type or by an OS feature.
std::optional<image::Descriptor> NydusAlternative(const image::ImageIndex& index,
                                                  const image::Platform& platform);

}  // namespace floe::prepare
