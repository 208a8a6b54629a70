#include "prepare/layer_indexers.h"

#include <cstdlib>
#include <utility>

#include "base/quote.h"
#include "erofs/native_layer_indexer.h"
#include "image/manifest.h"

namespace floe::prepare {

bool CanIndexLayer(std::string_view media_type) {
  return image::IsTarLayerMediaType(media_type) || image::IsErofsLayerMediaType(media_type);
}

Result<std::unique_ptr<image::LayerIndexer>> CreateLayerIndexer(
    image::LayerSource source, image::IndexerOptions options,
    const std::filesystem::path& spool_directory) {
  if (image::IsErofsLayerMediaType(source.media_type)) {
    return erofs::NativeLayerIndexer::Create(
        std::move(source), options,
        spool_directory.empty() ? DefaultSpoolDirectory() : spool_directory);
  }
  if (image::IsTarLayerMediaType(source.media_type)) {
    return image::LayerIndexer::Create(std::move(source), options);
  }
  return Unimplemented("layer {} has media type {}, which cannot be indexed",
                       source.digest.ToString(), Quote(source.media_type));
}

std::filesystem::path DefaultSpoolDirectory() {
  const char* directory = std::getenv("TMPDIR");
  return directory != nullptr && *directory != '\0' ? directory : "/var/tmp";
}

}  // namespace floe::prepare
