#pragma once

#include <filesystem>
#include <memory>
#include <string_view>

#include "base/result.h"
#include "image/layer_indexer.h"

/// Which indexer reads which layer, by media type.
namespace floe::prepare {

/// Whether there is one: tar layers (plain, gzip, zstd) and native EROFS layers.
bool CanIndexLayer(std::string_view media_type);

/// The indexer for the layer's media type. `spool_directory`: where a native EROFS layer's image is
/// kept, without a name, while it is indexed; empty: DefaultSpoolDirectory(). Other layers need
/// none. Unimplemented: a media type that cannot be indexed.
Result<std::unique_ptr<image::LayerIndexer>> CreateLayerIndexer(
    image::LayerSource source, image::IndexerOptions options,
    const std::filesystem::path& spool_directory);

/// $TMPDIR, else /var/tmp: images are too large for a /tmp that is in memory.
std::filesystem::path DefaultSpoolDirectory();

}  // namespace floe::prepare
