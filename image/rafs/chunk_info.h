#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/byte_range.h"
#include "base/result.h"
#include "image/rafs/blob_table.h"

/// Chunk information ("blob.meta"): where the chunks of one blob lie in it, as an array of entries
/// (storage/src/meta/{chunk_info_v1,chunk_info_v2,batch,zran}.rs of dragonflyoss/nydus).
///
///     entries | batches, or contexts and dictionaries |      header, 4096 bytes
///     <--------------- region, maybe compressed ------>
///
/// A "blob.meta" file has the region decompressed and padded to 4096 bytes in front of the header;
/// a blob has it compressed, and the header right behind it.
namespace floe::image::rafs {

/// ChunkInfoEntry::flags. Version 1 has none: an entry is compressed when its sizes differ.
inline constexpr uint8_t kInfoCompressed = 0x1;
inline constexpr uint8_t kInfoZran = 0x2;
inline constexpr uint8_t kInfoBatch = 0x4;
inline constexpr uint8_t kInfoEncrypted = 0x8;
inline constexpr uint8_t kInfoHasCrc32 = 0x10;

struct ChunkInfoHeader {
  uint32_t features = 0;
  Compressor compressor = Compressor::kNone;
  uint32_t entry_count = 0;
  ByteRange compressed;        ///< The region in its blob.
  uint64_t bytes = 0;          ///< Of the decompressed region.
  ByteRange contexts;          ///< In the decompressed region: all that follows the entries.
  uint32_t context_count = 0;  ///< Batches or zran contexts.
};

struct ChunkInfoEntry {
  uint64_t uncompressed_offset = 0;
  uint64_t compressed_offset = 0;  ///< Of members of a batch: where the batch starts.
  uint32_t uncompressed_bytes = 0;
  uint32_t compressed_bytes = 0;
  uint32_t context = 0;     ///< Batch or zran context that it is in.
  uint32_t in_context = 0;  ///< Offset in the decoded bytes of that; or the CRC-32 of the chunk.
  uint8_t flags = 0;
};

/// Several chunks that were compressed together.
struct Batch {
  uint32_t compressed_bytes = 0;
  uint32_t uncompressed_bytes = 0;
};

/// A checkpoint in a gzip stream: a piece of it that can be inflated alone.
struct ZranContext {
  ByteRange in;          ///< Of the blob.
  ByteRange out;         ///< Of the decoded stream.
  ByteRange dictionary;  ///< In ChunkInfo::dictionaries; at most 32768 bytes, may be empty.
  uint8_t byte = 0;      ///< The byte before `in`,
  uint8_t bits = 0;      ///< of which so many most significant bits are input: 0..7.
};

struct ChunkInfo {
  uint32_t features = 0;
  std::vector<ChunkInfoEntry> entries;
  std::vector<Batch> batches;
  std::vector<ZranContext> contexts;
  std::string dictionaries;
};

/// DataLoss when it is none or contradicts itself; Unimplemented for features that are not known.
Result<ChunkInfoHeader> ReadChunkInfoHeader(Bytes header);

/// `region` has at least header.bytes. Entries are checked against contexts and batches, not
/// against a blob.
Result<ChunkInfo> ReadChunkInfo(const ChunkInfoHeader& header, Bytes region);

/// The chunk information of a "blob.meta" file, which must be that of `blob`. Nothing: the file has
/// only the header (nydus-image leaves the rest out for lz4), so it must be fetched.
Result<std::optional<ChunkInfo>> ReadChunkInfoFile(Bytes file, const Blob& blob);

/// The same, from the bytes of blob.ChunkInfoRange().
Result<ChunkInfo> ReadChunkInfoRange(Bytes fetched, const Blob& blob);

}  // namespace floe::image::rafs
