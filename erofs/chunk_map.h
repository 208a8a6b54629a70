#pragma once

#include <cstdint>
#include <span>

#include "erofs/format.h"
#include "image/layer_index.h"

namespace floe::erofs {

/// How a regular file is cut into chunks: kBlockBytes << bits each, the last may be short.
struct ChunkShape {
  uint8_t bits = 0;
  uint64_t count = 0;  ///< 0 for an empty file.
};

/// The largest chunks of which each is either all hole or contiguous in one device, so that the
/// file needs as few chunk indexes as possible: one, where all of it is one piece.
ChunkShape ShapeOf(uint64_t size_bytes, std::span<const image::Segment> segments);

/// Writes the file's chunk indexes at `to`; `device_of_blob[b]` is the device id of the layer's
/// blob b. REQUIRES: shape == ShapeOf(its size, segments); room for shape.count ChunkIndex.
void StoreChunks(const ChunkShape& shape, std::span<const image::Segment> segments,
                 std::span<const uint16_t> device_of_blob, char* to);

}  // namespace floe::erofs
