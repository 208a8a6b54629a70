#pragma once

#include <cstdint>
#include <vector>

#include "base/byte_range.h"
#include "base/digest.h"
#include "base/result.h"
#include "image/layer_index.h"
#include "image/rafs/superblock.h"

namespace floe::image::rafs {

/// Compressors, by their numbers in the format.
enum class Compressor : uint32_t { kNone = 0, kLz4Block = 1, kGzip = 2, kZstd = 3 };

/// Blob::features (BlobFeatures of dragonflyoss/nydus storage/src/device.rs).
inline constexpr uint32_t kBlobAligned = 0x1;
inline constexpr uint32_t kBlobChunkInfoV2 = 0x4;
inline constexpr uint32_t kBlobZran = 0x8;
inline constexpr uint32_t kBlobSeparate = 0x10;
inline constexpr uint32_t kBlobTarfs = 0x40;
inline constexpr uint32_t kBlobBatch = 0x80;
inline constexpr uint32_t kBlobEncrypted = 0x100;
inline constexpr uint32_t kBlobExternal = 0x800;
inline constexpr uint32_t kBlobHasTarHeader = 0x10000000;
inline constexpr uint32_t kBlobTarToc = 0x40000000;
/// Of the features that change how the blob is read, those that Floe knows.
inline constexpr uint32_t kBlobIncompatMask = 0xFFFF;
inline constexpr uint32_t kBlobKnownFeatures = 0x0FFF;

/// The chunk information's own header lies behind it, wherever it is kept.
inline constexpr uint64_t kChunkInfoHeaderBytes = 4096;

/// A data blob as the bootstrap describes it: its entry of the blob table and its device slot.
struct Blob {
  Digest digest;  ///< Of the registry object that holds its data.
  uint32_t chunk_count = 0;
  Compressor compressor = Compressor::kNone;
  DigestKind digest_kind = DigestKind::kSha256;
  uint32_t features = 0;
  uint64_t compressed_bytes = 0;    ///< What the builder counted; the object may be longer.
  uint64_t uncompressed_bytes = 0;  ///< Of the device; whole blocks.
  Compressor chunk_info_compressor = Compressor::kNone;
  /// Compressed chunk information: in the blob itself, or in the metadata blob (kBlobSeparate).
  ByteRange chunk_info;
  uint64_t chunk_info_bytes = 0;  ///< Decompressed.
  Digest meta_digest;             ///< kBlobSeparate: of the metadata blob.
  uint64_t meta_bytes = 0;        ///< kBlobSeparate: its size.

  [[nodiscard]] bool Has(uint32_t feature) const { return (features & feature) != 0; }
  /// Chunk data of the blob ends here.
  [[nodiscard]] uint64_t DataEnd() const;
  /// What to fetch for the chunk information with its header.
  [[nodiscard]] ByteRange ChunkInfoRange() const {
    return {chunk_info.offset, chunk_info.length + kChunkInfoHeaderBytes};
  }
};

/// All blobs, in the order of the devices. Unimplemented: tarfs, encrypted or external blobs,
/// unknown features; DataLoss: entries that contradict themselves or their device slots.
Result<std::vector<Blob>> ReadBlobs(Bytes bootstrap, const Superblock& superblock);

}  // namespace floe::image::rafs
