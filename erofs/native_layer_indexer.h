#pragma once

#include <filesystem>
#include <memory>

#include "base/result.h"
#include "image/layer_indexer.h"

namespace floe::erofs {

/// Indexes native EROFS layers (image::IsErofsLayerMediaType) from bytes as they are downloaded,
/// with what image::LayerIndexer promises. The media type says whether the image is wrapped in
/// zstd; what is in it is not believed but read.
///
/// The raw image goes to an unlinked file in the directory that Create is given: an image's
/// metadata may lie anywhere, so the tree is read when all of it is there, and only after digest,
/// size and diff ID are right. Memory: bounded by the index. Unimplemented: what NativeReader does
/// not read, and a zstd frame that is too large for a unit: such an image needs to be fetched
/// whole.
class NativeLayerIndexer {
 public:
  /// `device_fd`, unless it is -1: an empty file that becomes the layer's device before Finish
  /// returns; not synced; must outlive the indexer.
  /// InvalidArgument: not such a media type, options out of range. Else what the directory says.
  static Result<std::unique_ptr<image::LayerIndexer>> Create(
      image::LayerSource source, image::IndexerOptions options,
      const std::filesystem::path& spool_directory, int device_fd = -1);
};

}  // namespace floe::erofs
