#include "image/rafs/file_chunks.h"

#include <algorithm>
#include <tuple>

namespace floe::image::rafs {
namespace {

constexpr uint64_t kIndexBytes = 8;
constexpr uint32_t kFormatIndexes = 0x20;
constexpr uint32_t kFormatBitsMask = 0x1F;
constexpr uint32_t kNullBlock = 0xFFFFFFFF;  // EROFS: a hole.

}  // namespace

// Where a chunk index says that the bytes are.
struct ChunkResolver::Place {
  bool hole = false;
  uint32_t blob = 0;
  uint64_t device_offset = 0;
  uint32_t chunk = 0;  // In the blob's chunk information.
};

uint64_t ChunkResolver::IndexBytes(const InodeRecord& file) const {
  const uint64_t count = (file.size_bytes / superblock_.chunk_bytes) +
                         (file.size_bytes % superblock_.chunk_bytes != 0 ? 1 : 0);
  return count * kIndexBytes;
}

Result<ChunkResolver::Place> ChunkResolver::ReadIndex(const InodeRecord& file,
                                                      uint64_t number) const {
  const Record record(Slice(
      bootstrap_, {AlignUp(file.header_end, kIndexBytes) + number * kIndexBytes, kIndexBytes}));
  if (record.U32(4) == kNullBlock) {
    return Place{.hole = true};
  }
  const uint32_t device = record.U16(2) & 0xFFU;
  if (device == 0 || device > superblock_.device_count) {
    return DataLoss("inode {}: chunk {} is on device {} of {}", file.nid, number, device,
                    superblock_.device_count);
  }
  return Place{.blob = device - 1,
               .device_offset = record.U32(4) * kBlockBytes,
               .chunk = ((record.U16(2) & 0xFF00U) << 8U) | record.U16(0)};
}

// The kernel goes by the chunk size of the inode's format word. For a file that lies in one piece
// builders make that larger than the file, so that the kernel reads index 0 only, and still write
// an index for each chunk. Both views must tell the same.
//
//     format word    | index 0: all of the file   |
//     chunk_bytes    | 0 | 1 | 2 | 3 | 4 | 5 | 6  |
Result<ChunkResolver::Place> ChunkResolver::FindPlace(const InodeRecord& file, uint64_t number,
                                                      uint64_t kernel_chunk) const {
  FLOE_ASSIGN_OR_RETURN(const Place own, ReadIndex(file, number));
  const uint64_t offset = number * superblock_.chunk_bytes;
  FLOE_ASSIGN_OR_RETURN(Place read, ReadIndex(file, offset / kernel_chunk));
  read.device_offset += read.hole ? 0 : offset % kernel_chunk;
  if (read.hole != own.hole || read.blob != own.blob || read.device_offset != own.device_offset) {
    return DataLoss("inode {}: chunk {} is not where its chunk format puts it", file.nid, number);
  }
  return own;
}

Result<void> ChunkResolver::UseChunk(const InodeRecord& file, const Place& place, uint64_t length) {
  const auto found = std::ranges::lower_bound(
      chunks_, std::tuple(place.blob, place.device_offset), {},
      [](const Chunk& chunk) { return std::tuple(chunk.blob, chunk.uncompressed_offset); });
  if (found == chunks_.end() || found->blob != place.blob ||
      found->uncompressed_offset != place.device_offset || found->index != place.chunk ||
      found->uncompressed_bytes != length) {
    return DataLoss("inode {}: no chunk {} of {} bytes at {} of blob {}", file.nid, place.chunk,
                    length, place.device_offset, place.blob);
  }
  used_[static_cast<size_t>(found - chunks_.begin())] = true;
  return Ok();
}

Result<void> ChunkResolver::AddSegments(const InodeRecord& file, std::vector<Segment>& segments) {
  const uint64_t chunk_bytes = superblock_.chunk_bytes;
  const uint64_t kernel_chunk = kBlockBytes << (file.data & kFormatBitsMask);
  if (file.layout != DataLayout::kChunkBased || (file.data & ~kFormatBitsMask) != kFormatIndexes) {
    return Unimplemented("inode {}: a file in layout {}, format {:#x}, not in chunks", file.nid,
                         static_cast<int>(file.layout), file.data);
  }
  const ByteRange indexes{AlignUp(file.header_end, kIndexBytes), IndexBytes(file)};
  if (kernel_chunk < chunk_bytes || file.size_bytes > kMaxFileBytes ||
      !IsInside(indexes, bootstrap_)) {
    return DataLoss("inode {}: {} bytes in chunks of {}, {} bytes of indexes at {}", file.nid,
                    file.size_bytes, kernel_chunk, indexes.length, indexes.offset);
  }
  bool joins = false;  // What comes continues the last segment, if the device does.
  for (uint64_t number = 0; number < indexes.length / kIndexBytes; ++number) {
    FLOE_ASSIGN_OR_RETURN(const Place place, FindPlace(file, number, kernel_chunk));
    const uint64_t offset = number * chunk_bytes;
    const uint64_t length = std::min(chunk_bytes, file.size_bytes - offset);
    if (place.hole) {
      joins = false;
      continue;
    }
    FLOE_RETURN_IF_ERROR(UseChunk(file, place, length));
    if (joins && segments.back().blob == place.blob &&
        segments.back().device_offset + segments.back().length == place.device_offset) {
      segments.back().length += length;
    } else {
      segments.push_back({.file_offset = offset,
                          .length = length,
                          .blob = place.blob,
                          .device_offset = place.device_offset});
    }
    joins = true;
  }
  return Ok();
}

}  // namespace floe::image::rafs
