#include "erofs/chunk_map.h"

#include <algorithm>
#include <bit>

#include "base/byte_range.h"

namespace floe::erofs {
namespace {

uint64_t BlocksOf(uint64_t bytes) { return AlignUp(bytes, kBlockBytes) / kBlockBytes; }

uint64_t FirstBlock(const image::Segment& segment) { return segment.file_offset / kBlockBytes; }

uint64_t EndBlock(const image::Segment& segment) {
  return FirstBlock(segment) + BlocksOf(segment.length);
}

bool Continues(const image::Segment& before, const image::Segment& after) {
  return before.blob == after.blob && EndBlock(before) == FirstBlock(after) &&
         after.device_offset - before.device_offset == after.file_offset - before.file_offset;
}

/// The file's blocks at which the mapping breaks, all or-ed together: its lowest set bit is the
/// largest power of two that divides each of them.
///
///     file    |  hole  |  segment 0  |  segment 1  |  hole  |
///     breaks           ^             ^ unless 1    ^
///                                      continues 0
uint64_t UnionOfBreaks(uint64_t blocks, std::span<const image::Segment> segments) {
  uint64_t breaks = 0;
  const image::Segment* before = nullptr;
  for (const image::Segment& segment : segments) {
    if (segment.length == 0) {
      continue;
    }
    if (before == nullptr || !Continues(*before, segment)) {
      breaks |= FirstBlock(segment);
      breaks |= before == nullptr ? 0 : EndBlock(*before);
    }
    before = &segment;
  }
  if (before != nullptr && EndBlock(*before) < blocks) {
    breaks |= EndBlock(*before);
  }
  return breaks;
}

}  // namespace

ChunkShape ShapeOf(uint64_t size_bytes, std::span<const image::Segment> segments) {
  if (size_bytes == 0) {
    return {};
  }
  const uint64_t blocks = BlocksOf(size_bytes);
  const uint64_t breaks = UnionOfBreaks(blocks, segments);
  const auto bits = breaks == 0 ? static_cast<uint32_t>(std::bit_width(blocks - 1))
                                : static_cast<uint32_t>(std::countr_zero(breaks));
  ChunkShape shape;
  shape.bits = static_cast<uint8_t>(std::min(bits, kChunkBitsMask));
  shape.count = ((blocks - 1) >> shape.bits) + 1;
  return shape;
}

void StoreChunks(const ChunkShape& shape, std::span<const image::Segment> segments,
                 std::span<const uint16_t> device_of_blob, char* to) {
  auto segment = segments.begin();
  for (uint64_t chunk = 0; chunk < shape.count; ++chunk) {
    const uint64_t block = chunk << shape.bits;
    while (segment != segments.end() && EndBlock(*segment) <= block) {
      ++segment;
    }
    ChunkIndex index;
    if (segment != segments.end() && FirstBlock(*segment) <= block) {
      const uint64_t at = segment->device_offset / kBlockBytes + (block - FirstBlock(*segment));
      index.device = device_of_blob[segment->blob];
      index.start_block = static_cast<uint32_t>(at);
    }
    StoreAt(to, chunk * sizeof(ChunkIndex), index);
  }
}

}  // namespace floe::erofs
