#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"
#include "image/layer_index.h"

namespace floe::image {

/// Media types of the objects of a Floe index (docs/formats.md).
inline constexpr std::string_view kIndexArtifactType = "application/vnd.floe.index.v1+json";
inline constexpr std::string_view kIndexTreeMediaType = "application/vnd.floe.index.tree.v1+zstd";
inline constexpr std::string_view kIndexWindowsMediaType = "application/vnd.floe.index.windows.v1";
/// Annotation of a tree or windows object in the index manifest: digest of the layer it is of.
inline constexpr std::string_view kIndexLayerAnnotation = "dev.floe.index.layer-digest";

/// Serialises (proto/floe/index/v1/index.proto inside one zstd frame). Byte-for-byte reproducible.
Result<std::string> EncodeLayerIndex(const LayerIndex& index);

/// Reads it back and validates everything. InvalidArgument: not such a file or a newer version;
/// DataLoss: it lies. Decoded size is bounded by kMaxEncodedIndexBytes before it is allocated.
Result<LayerIndex> DecodeLayerIndex(std::string_view bytes);

inline constexpr uint64_t kMaxEncodedIndexBytes = 1ULL << 30U;

}  // namespace floe::image
