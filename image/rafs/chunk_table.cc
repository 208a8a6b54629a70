#include "image/rafs/chunk_table.h"

#include <algorithm>
#include <tuple>

namespace floe::image::rafs {
namespace {

constexpr uint64_t kRecordBytes = 80;

// Holes are not: no builder writes them.
constexpr uint32_t kKnownFlags = kChunkCompressed | kChunkBatch | kChunkHasCrc32;

Chunk Parse(const Record& record) {
  Chunk chunk;
  for (size_t i = 0; i < chunk.digest.size(); ++i) {
    chunk.digest[i] = record.U8(i);
  }
  chunk.blob = record.U32(32);
  chunk.flags = record.U32(36);
  chunk.compressed_bytes = record.U32(40);
  chunk.uncompressed_bytes = record.U32(44);
  chunk.compressed_offset = record.U64(48);
  chunk.uncompressed_offset = record.U64(56);
  chunk.index = record.U32(72);
  chunk.crc32 = record.U32(76);
  return chunk;
}

Result<void> CheckFlags(const Chunk& chunk, size_t number) {
  if ((chunk.flags & kChunkEncrypted) != 0) {
    return Unimplemented("encrypted blobs (AES-128-XTS) are not supported");
  }
  if ((chunk.flags & ~kKnownFlags) != 0) {
    return Unimplemented("chunk {}: unknown flags {:#x}", number, chunk.flags & ~kKnownFlags);
  }
  return Ok();
}

Result<void> CheckDevice(const Chunk& chunk, size_t number, const Blob& blob,
                         const Superblock& superblock) {
  const ByteRange device{chunk.uncompressed_offset, chunk.uncompressed_bytes};
  if (device.empty() || device.length > superblock.chunk_bytes ||
      device.offset % kBlockBytes != 0 || !device.IsValid() ||
      device.end() > blob.uncompressed_bytes) {
    return DataLoss("chunk {}: it is {}+{} of a device of {} bytes", number, device.offset,
                    device.length, blob.uncompressed_bytes);
  }
  if (chunk.index >= blob.chunk_count) {
    return DataLoss("chunk {}: number {} of {} chunks of its blob", number, chunk.index,
                    blob.chunk_count);
  }
  return Ok();
}

Result<void> CheckData(const Chunk& chunk, size_t number, const Blob& blob) {
  if (blob.Has(kBlobBatch)) {
    return Ok();  // The chunk information decides.
  }
  const ByteRange data{chunk.compressed_offset, chunk.compressed_bytes};
  if (!data.IsValid() || data.end() > blob.DataEnd()) {
    return DataLoss("chunk {}: it is {}+{} of {} bytes of its blob", number, data.offset,
                    data.length, blob.DataEnd());
  }
  const bool is_compressed = (chunk.flags & kChunkCompressed) != 0;
  if (!blob.Has(kBlobZran) &&
      (is_compressed ? data.empty() : data.length != chunk.uncompressed_bytes)) {
    return DataLoss("chunk {}: {} bytes become {}", number, data.length, chunk.uncompressed_bytes);
  }
  return Ok();
}

Result<void> CheckOverlaps(std::span<const Chunk> sorted) {
  for (size_t i = 1; i < sorted.size(); ++i) {
    const Chunk& before = sorted[i - 1];
    if (before.blob == sorted[i].blob &&
        before.uncompressed_offset + before.uncompressed_bytes > sorted[i].uncompressed_offset) {
      return DataLoss("chunks {} and {} of blob {} overlap on the device", before.index,
                      sorted[i].index, before.blob);
    }
  }
  return Ok();
}

}  // namespace

Result<std::vector<Chunk>> ReadChunkTable(Bytes bootstrap, const Superblock& superblock,
                                          std::span<const Blob> blobs) {
  const Bytes table =
      superblock.chunk_table.empty() ? Bytes() : Slice(bootstrap, superblock.chunk_table);
  std::vector<Chunk> chunks;
  chunks.reserve(table.size() / kRecordBytes);
  for (size_t at = 0; at < table.size(); at += kRecordBytes) {
    const size_t number = chunks.size();
    const Chunk chunk = Parse(Record(table.subspan(at, kRecordBytes)));
    if (chunk.blob >= blobs.size()) {
      return DataLoss("chunk {}: it is of blob {} of {}", number, chunk.blob, blobs.size());
    }
    FLOE_RETURN_IF_ERROR(CheckFlags(chunk, number));
    FLOE_RETURN_IF_ERROR(CheckDevice(chunk, number, blobs[chunk.blob], superblock));
    FLOE_RETURN_IF_ERROR(CheckData(chunk, number, blobs[chunk.blob]));
    chunks.push_back(chunk);
  }
  // New builders order it by digest, old ones by nothing.
  std::ranges::sort(chunks, {}, [](const Chunk& chunk) {
    return std::tuple(chunk.blob, chunk.uncompressed_offset);
  });
  FLOE_RETURN_IF_ERROR(CheckOverlaps(chunks));
  return chunks;
}

}  // namespace floe::image::rafs
