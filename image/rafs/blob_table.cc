#include "image/rafs/blob_table.h"

#include <algorithm>
#include <string>
#include <string_view>

#include "base/quote.h"

namespace floe::image::rafs {
namespace {

constexpr uint64_t kEntryBytes = 256;
constexpr uint64_t kSlotBytes = 128;
constexpr size_t kIdBytes = 64;
constexpr uint64_t kTarHeaderBytes = 512;
constexpr uint32_t kMaxChunkCount = 1U << 24U;
constexpr uint64_t kMaxCompressedBytes = 1ULL << 40U;
constexpr uint64_t kMaxUncompressedBytes = 1ULL << 44U;
constexpr uint64_t kChunkInfoV1Bytes = 16;
constexpr uint64_t kChunkInfoV2Bytes = 24;
// Far above what a real blob has (a zran context of 32 KiB for each 512 KiB of the blob).
constexpr uint64_t kMaxChunkInfoBytes = 1ULL << 30U;

std::string_view Text(Bytes bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

Result<void> CheckNumbers(const Record& entry, size_t number, const Superblock& superblock) {
  if (entry.U32(64) != number || entry.U32(68) != superblock.chunk_bytes) {
    return DataLoss("blob {}: its entry is of blob {} with chunks of {} bytes", number,
                    entry.U32(64), entry.U32(68));
  }
  if (entry.U32(76) > static_cast<uint32_t>(Compressor::kZstd) ||
      entry.U32(108) > static_cast<uint32_t>(Compressor::kZstd) || entry.U32(80) > 1) {
    return Unimplemented("blob {}: unknown compressor ({}, {}) or digest ({})", number,
                         entry.U32(76), entry.U32(108), entry.U32(80));
  }
  return Ok();
}

Result<void> CheckFeatures(const Blob& blob, size_t number, uint32_t cipher) {
  if (blob.Has(kBlobEncrypted) || cipher != 0) {
    return Unimplemented("encrypted blobs (AES-128-XTS) are not supported");
  }
  if (blob.Has(kBlobTarfs)) {
    return Unimplemented("RAFS in tarfs mode is not supported");
  }
  if (blob.Has(kBlobExternal)) {
    return Unimplemented("blob {}: external blobs are not supported", number);
  }
  if ((blob.features & kBlobIncompatMask & ~kBlobKnownFeatures) != 0) {
    return Unimplemented("blob {}: unknown features {:#x}", number,
                         blob.features & kBlobIncompatMask & ~kBlobKnownFeatures);
  }
  const bool has_contexts = blob.Has(kBlobZran) || blob.Has(kBlobBatch);
  if (!blob.Has(kBlobAligned) || (has_contexts && !blob.Has(kBlobChunkInfoV2)) ||
      (blob.Has(kBlobZran) && blob.Has(kBlobBatch)) ||
      (blob.Has(kBlobZran) && blob.compressor != Compressor::kGzip)) {
    return DataLoss("blob {}: features {:#x} do not go together", number, blob.features);
  }
  return Ok();
}

Result<void> CheckSizes(const Blob& blob, size_t number) {
  if (blob.chunk_count > kMaxChunkCount || blob.compressed_bytes > kMaxCompressedBytes ||
      blob.uncompressed_bytes > kMaxUncompressedBytes) {
    return DataLoss("blob {}: {} chunks in {} bytes that become {}", number, blob.chunk_count,
                    blob.compressed_bytes, blob.uncompressed_bytes);
  }
  const uint64_t entry_bytes = blob.Has(kBlobChunkInfoV2) ? kChunkInfoV2Bytes : kChunkInfoV1Bytes;
  const uint64_t array_bytes = entry_bytes * blob.chunk_count;
  const bool exact = !blob.Has(kBlobZran) && !blob.Has(kBlobBatch);
  if (blob.chunk_info_bytes < array_bytes || (exact && blob.chunk_info_bytes != array_bytes) ||
      blob.chunk_info_bytes > kMaxChunkInfoBytes ||
      blob.chunk_info.length > blob.chunk_info_bytes ||
      blob.chunk_info.offset > kMaxCompressedBytes) {
    return DataLoss("blob {}: chunk information at {}+{} of {} bytes for {} chunks", number,
                    blob.chunk_info.offset, blob.chunk_info.length, blob.chunk_info_bytes,
                    blob.chunk_count);
  }
  if (blob.Has(kBlobSeparate) &&
      (blob.meta_digest.IsZero() || blob.ChunkInfoRange().end() > blob.meta_bytes)) {
    return DataLoss("blob {}: its metadata blob of {} bytes does not hold its chunk information",
                    number, blob.meta_bytes);
  }
  if (blob.Has(kBlobTarToc) && !blob.Has(kBlobSeparate) && blob.Has(kBlobHasTarHeader) &&
      blob.chunk_info.offset < kTarHeaderBytes) {
    return DataLoss("blob {}: chunk information at {}, inside a tar header", number,
                    blob.chunk_info.offset);
  }
  return Ok();
}

Sha256 Hash(const Record& record, size_t at) {
  Sha256 hash{};
  for (size_t i = 0; i < hash.size(); ++i) {
    hash[i] = record.U8(at + i);
  }
  return hash;
}

Result<Blob> ReadBlob(const Record& entry, size_t number, const Superblock& superblock) {
  Blob blob;
  const std::string id(Text(entry.Part(0, kIdBytes)));
  auto digest = Digest::Parse("sha256:" + id);
  if (!digest) {
    return DataLoss("blob {}: its id is {}", number, Quote(id));
  }
  blob.digest = *digest;
  FLOE_RETURN_IF_ERROR(CheckNumbers(entry, number, superblock));
  blob.chunk_count = entry.U32(72);
  blob.compressor = static_cast<Compressor>(entry.U32(76));
  blob.digest_kind = entry.U32(80) == 0 ? DigestKind::kBlake3 : DigestKind::kSha256;
  blob.features = entry.U32(84);
  blob.compressed_bytes = entry.U64(88);
  blob.uncompressed_bytes = entry.U64(96);
  blob.chunk_info_compressor = static_cast<Compressor>(entry.U32(108));
  blob.chunk_info = {entry.U64(112), entry.U64(120)};
  blob.chunk_info_bytes = entry.U64(128);
  FLOE_RETURN_IF_ERROR(CheckFeatures(blob, number, entry.U32(216)));
  if (blob.Has(kBlobSeparate)) {
    blob.meta_digest = Digest(Hash(entry, 168));
    blob.meta_bytes = entry.U64(200);
  }
  FLOE_RETURN_IF_ERROR(CheckSizes(blob, number));
  return blob;
}

// mapped_blkaddr, the place in one address space of all devices, is not used: files name devices.
Result<void> CheckSlot(const Record& slot, const Blob& blob, size_t number) {
  if (Text(slot.Part(0, kIdBytes)) != blob.digest.hex() ||
      slot.U32(64) * kBlockBytes != blob.uncompressed_bytes) {
    return DataLoss("blob {}: its device slot is of {} with {} blocks", number,
                    Quote(Text(slot.Part(0, kIdBytes))), slot.U32(64));
  }
  return Ok();
}

}  // namespace

uint64_t Blob::DataEnd() const {
  if (Has(kBlobSeparate) || !Has(kBlobTarToc) || chunk_info_bytes == 0) {
    return compressed_bytes;
  }
  return chunk_info.offset - (Has(kBlobHasTarHeader) ? kTarHeaderBytes : 0);
}

Result<std::vector<Blob>> ReadBlobs(Bytes bootstrap, const Superblock& superblock) {
  std::vector<Blob> blobs;
  for (uint32_t i = 0; i < superblock.device_count; ++i) {
    const Record entry(
        Slice(bootstrap, {superblock.blob_table.offset + i * kEntryBytes, kEntryBytes}));
    const Record slot(
        Slice(bootstrap, {superblock.device_slots.offset + i * kSlotBytes, kSlotBytes}));
    FLOE_ASSIGN_OR_RETURN(const Blob blob, ReadBlob(entry, i, superblock));
    FLOE_RETURN_IF_ERROR(CheckSlot(slot, blob, i));
    if (std::ranges::any_of(blobs, [&](const Blob& b) { return b.digest == blob.digest; })) {
      return DataLoss("blob {}: {} is there twice", i, blob.digest.ToString());
    }
    blobs.push_back(blob);
  }
  return blobs;
}

}  // namespace floe::image::rafs
