#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/digest.h"
#include "base/result.h"
#include "image/rafs/blob_table.h"

namespace floe::image::rafs {

/// Chunk::flags (BlobChunkFlags of storage/src/device.rs). Those of chunk information differ.
inline constexpr uint32_t kChunkCompressed = 0x1;
inline constexpr uint32_t kChunkEncrypted = 0x4;
inline constexpr uint32_t kChunkBatch = 0x8;
inline constexpr uint32_t kChunkHasCrc32 = 0x10;

/// A record of the bootstrap's chunk table: the one place with the digests of chunks.
struct Chunk {
  Sha256 digest{};  ///< Of the uncompressed bytes, of the blob's digest_kind.
  uint32_t blob = 0;
  uint32_t flags = 0;
  uint32_t compressed_bytes = 0;  ///< 0 for members of a batch.
  uint32_t uncompressed_bytes = 0;
  /// In the blob. Of members of a batch it says nothing that can be relied on.
  uint64_t compressed_offset = 0;
  uint64_t uncompressed_offset = 0;  ///< On the device; a multiple of 4096.
  uint32_t index = 0;                ///< In the blob's chunk information.
  uint32_t crc32 = 0;
};

/// All chunks, sorted by blob and device offset. After success they lie inside their blobs and
/// devices and share no block; those of blobs without batches or contexts can be fetched and
/// decoded from what is said here alone.
Result<std::vector<Chunk>> ReadChunkTable(Bytes bootstrap, const Superblock& superblock,
                                          std::span<const Blob> blobs);

}  // namespace floe::image::rafs
