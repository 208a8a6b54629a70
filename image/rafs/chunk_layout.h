#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "image/layer_index.h"
#include "image/rafs/chunk_info.h"
#include "image/rafs/chunk_table.h"

namespace floe::image::rafs {

/// The data half of a LayerIndexData, for one blob.
struct BlobLayout {
  uint32_t number = 0;  ///< Of the blob.
  const Blob& blob;
  const ChunkInfo* info = nullptr;  ///< May be missing unless the blob has batches or contexts.
  std::vector<Chunk> chunks;        ///< Those that are used, by device offset.
};

/// Appends units (a chunk, a batch or a zran context each, sorted by where they start in the blob),
/// groups (one a chunk) and extents (one a group) of the blob, and fills in their place in
/// `source`. Where there is chunk information it must say what the chunk table says. `windows`
/// becomes the windows part of the blob: a zstd frame for each unit that has a dictionary.
Result<void> LayOutBlob(const BlobLayout& layout, SourceBlob& source, LayerIndexData& data,
                        std::string& windows);

}  // namespace floe::image::rafs
