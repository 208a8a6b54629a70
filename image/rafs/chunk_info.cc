#include "image/rafs/chunk_info.h"

#include <algorithm>

#include "image/inflate_stream.h"
#include "image/rafs/codec.h"
#include "image/unit_decoder.h"

namespace floe::image::rafs {
namespace {

constexpr uint32_t kMagic = 0xb10bb10b;  // First and last word of the header.
constexpr uint64_t kV1Bytes = 16;
constexpr uint64_t kV2Bytes = 24;
constexpr uint64_t kContextBytes = 40;  // Batches as well.
constexpr uint64_t kOffsetMask = (1ULL << 40U) - 1;
constexpr uint8_t kKnownFlags =
    kInfoCompressed | kInfoZran | kInfoBatch | kInfoEncrypted | kInfoHasCrc32;
// What the bootstrap and the header must say alike; others tell how the blob was packed.
constexpr uint32_t kSameFeatures = kBlobAligned | kBlobChunkInfoV2 | kBlobZran | kBlobBatch;
// A region may decompress to this much whatever its size, above to so many times its size.
constexpr uint64_t kFreeRegionBytes = 64U << 20U;
constexpr uint64_t kMaxRegionRatio = 256;

bool HasContexts(uint32_t features) { return (features & (kBlobZran | kBlobBatch)) != 0; }

Result<void> CheckHeader(const ChunkInfoHeader& header) {
  const bool v2 = (header.features & kBlobChunkInfoV2) != 0;
  const uint64_t array_bytes = header.entry_count * (v2 ? kV2Bytes : kV1Bytes);
  const ByteRange rest = HasContexts(header.features) ? header.contexts : ByteRange{array_bytes, 0};
  if ((HasContexts(header.features) ? !v2 : header.context_count != 0) ||
      rest.offset != array_bytes || !rest.IsValid() || rest.end() != header.bytes ||
      rest.length < header.context_count * kContextBytes) {
    return DataLoss("chunk information: {} bytes, {} of entries, {} contexts at {}+{}",
                    header.bytes, array_bytes, header.context_count, header.contexts.offset,
                    header.contexts.length);
  }
  return Ok();
}

ChunkInfoEntry ParseV1(const Record& record) {
  const uint64_t plain = record.U64(0);
  const uint64_t packed = record.U64(8);
  ChunkInfoEntry entry;
  entry.uncompressed_offset = plain & (kOffsetMask << 4U) & ~(kBlockBytes - 1);
  entry.uncompressed_bytes = static_cast<uint32_t>((plain >> 44U) | ((plain & 0xF00U) << 12U)) + 1;
  entry.compressed_offset = packed & kOffsetMask;
  entry.compressed_bytes =
      static_cast<uint32_t>((packed >> 44U) | ((packed >> 20U) & 0xF00000U)) + 1;
  entry.flags = entry.compressed_bytes != entry.uncompressed_bytes ? kInfoCompressed : 0;
  return entry;
}

ChunkInfoEntry ParseV2(const Record& record) {
  const uint64_t plain = record.U64(0);
  const uint64_t packed = record.U64(8);
  ChunkInfoEntry entry;
  entry.uncompressed_offset = uint64_t{record.U32(0)} * kBlockBytes;
  entry.uncompressed_bytes = static_cast<uint32_t>((plain >> 32U) & 0xFFFFFFU) + 1;
  entry.flags = static_cast<uint8_t>(plain >> 56U);
  entry.compressed_offset = packed & kOffsetMask;
  entry.compressed_bytes = static_cast<uint32_t>(packed >> 40U);
  entry.in_context = record.U32(16);
  entry.context = record.U32(20);
  return entry;
}

// The decoded bytes of the batch or context that the entry is in; itself where it is in none.
Result<uint64_t> ContextBytes(const ChunkInfo& info, const ChunkInfoEntry& entry, size_t number) {
  const bool zran = (entry.flags & kInfoZran) != 0;
  const size_t count = zran ? info.contexts.size() : info.batches.size();
  if (entry.context >= count) {
    return DataLoss("chunk information: entry {} is in context {} of {}", number, entry.context,
                    count);
  }
  return zran ? info.contexts[entry.context].out.length
              : info.batches[entry.context].uncompressed_bytes;
}

Result<void> CheckEntry(const ChunkInfo& info, const ChunkInfoEntry& entry, size_t number) {
  if ((entry.flags & ~kKnownFlags) != 0 || (entry.flags & kInfoEncrypted) != 0) {
    return Unimplemented("chunk information: entry {} has flags {:#x}", number, entry.flags);
  }
  const bool zran = (entry.flags & kInfoZran) != 0;
  const bool batch = (entry.flags & kInfoBatch) != 0;
  if (zran != ((info.features & kBlobZran) != 0) || (batch && (info.features & kBlobBatch) == 0)) {
    return DataLoss("chunk information: entry {} has flags {:#x} in a blob with features {:#x}",
                    number, entry.flags, info.features);
  }
  if (!zran && !batch) {
    return Ok();
  }
  FLOE_ASSIGN_OR_RETURN(const uint64_t context_bytes, ContextBytes(info, entry, number));
  if (uint64_t{entry.in_context} + entry.uncompressed_bytes > context_bytes) {
    return DataLoss("chunk information: entry {} is {}+{} of a context of {} bytes", number,
                    entry.in_context, entry.uncompressed_bytes, context_bytes);
  }
  return Ok();
}

Result<void> ReadEntries(const ChunkInfoHeader& header, Bytes region, ChunkInfo& info) {
  const bool v2 = (header.features & kBlobChunkInfoV2) != 0;
  const uint64_t entry_bytes = v2 ? kV2Bytes : kV1Bytes;
  info.entries.reserve(header.entry_count);
  for (size_t i = 0; i < header.entry_count; ++i) {
    const Record record(region.subspan(i * entry_bytes, entry_bytes));
    info.entries.push_back(v2 ? ParseV2(record) : ParseV1(record));
    FLOE_RETURN_IF_ERROR(CheckEntry(info, info.entries.back(), i));
  }
  return Ok();
}

ZranContext ParseContext(const Record& record) {
  return {.in = {record.U64(0), record.U32(24)},
          .out = {record.U64(8), record.U32(28)},
          .dictionary = {record.U64(16), record.U32(32)},
          .byte = record.U8(36),
          .bits = static_cast<uint8_t>(record.U8(37) & 7U)};
}

Result<void> CheckContext(const ZranContext& context, size_t number, uint64_t dictionary_bytes) {
  if (!context.in.IsValid() || context.in.empty() || !context.out.IsValid() ||
      context.out.empty() || context.out.length > kMaxUnitBytes ||
      context.in.length >= kMaxUnitRangeBytes || (context.bits != 0 && context.in.offset == 0)) {
    return DataLoss("chunk information: context {} turns {}+{} into {}+{}", number,
                    context.in.offset, context.in.length, context.out.offset, context.out.length);
  }
  if (!context.dictionary.IsValid() || context.dictionary.end() > dictionary_bytes ||
      context.dictionary.length > kInflateWindowBytes) {
    return DataLoss("chunk information: context {} has a dictionary at {}+{} of {}", number,
                    context.dictionary.offset, context.dictionary.length, dictionary_bytes);
  }
  return Ok();
}

Result<void> ReadContexts(const ChunkInfoHeader& header, Bytes region, ChunkInfo& info) {
  const Bytes dictionaries =
      Slice(region, header.contexts).subspan(header.context_count * kContextBytes);
  for (size_t i = 0; i < header.context_count; ++i) {
    const Record record(region.subspan(header.contexts.offset + i * kContextBytes, kContextBytes));
    if ((header.features & kBlobZran) != 0) {
      info.contexts.push_back(ParseContext(record));
      FLOE_RETURN_IF_ERROR(CheckContext(info.contexts.back(), i, dictionaries.size()));
    } else {
      info.batches.push_back({record.U32(0), record.U32(4)});
    }
  }
  info.dictionaries.assign(reinterpret_cast<const char*>(dictionaries.data()), dictionaries.size());
  return Ok();
}

Result<void> CheckHeaderOfBlob(const ChunkInfoHeader& header, const Blob& blob) {
  if (header.entry_count != blob.chunk_count || header.compressor != blob.chunk_info_compressor ||
      header.compressed != blob.chunk_info ||
      ((header.features ^ blob.features) & kSameFeatures) != 0) {
    return DataLoss(
        "chunk information: {} entries at {}+{}, features {:#x}; the bootstrap says {} "
        "at {}+{}, {:#x}",
        header.entry_count, header.compressed.offset, header.compressed.length, header.features,
        blob.chunk_count, blob.chunk_info.offset, blob.chunk_info.length, blob.features);
  }
  if (header.bytes != blob.chunk_info_bytes) {
    return DataLoss("chunk information: {} bytes, the bootstrap says {}", header.bytes,
                    blob.chunk_info_bytes);
  }
  return Ok();
}

Result<std::string> Decompress(Bytes compressed, const Blob& blob) {
  const uint64_t limit = std::max(kFreeRegionBytes, kMaxRegionRatio * compressed.size());
  if (blob.chunk_info_bytes > limit) {
    return DataLoss("chunk information: {} bytes become {}", compressed.size(),
                    blob.chunk_info_bytes);
  }
  UnitView unit;
  unit.range.length = compressed.size();
  unit.decoded_length = blob.chunk_info_bytes;
  unit.codec = CodecOf(blob.chunk_info_compressor);
  std::string region(unit.decoded_length, '\0');
  auto decoded = UnitDecoder().Decode(
      unit, compressed, {}, std::as_writable_bytes(std::span(region.data(), region.size())));
  if (!decoded) {
    return WithContext(decoded.error(), "chunk information");
  }
  return region;
}

}  // namespace

Result<ChunkInfoHeader> ReadChunkInfoHeader(Bytes bytes) {
  if (bytes.size() != kChunkInfoHeaderBytes) {
    return DataLoss("chunk information: a header of {} bytes", bytes.size());
  }
  const Record record(bytes);
  if (record.U32(0) != kMagic || record.U32(kChunkInfoHeaderBytes - sizeof(kMagic)) != kMagic) {
    return DataLoss("chunk information: a header with magic {:#x} and {:#x}", record.U32(0),
                    record.U32(kChunkInfoHeaderBytes - sizeof(kMagic)));
  }
  ChunkInfoHeader header;
  header.features = record.U32(4);
  if ((header.features & kBlobIncompatMask & ~kBlobKnownFeatures) != 0 ||
      (header.features & (kBlobEncrypted | kBlobTarfs)) != 0 ||
      record.U32(8) > static_cast<uint32_t>(Compressor::kZstd)) {
    return Unimplemented("chunk information: features {:#x}, compressor {}", header.features,
                         record.U32(8));
  }
  header.compressor = static_cast<Compressor>(record.U32(8));
  header.entry_count = record.U32(12);
  header.compressed = {record.U64(16), record.U64(24)};
  header.bytes = record.U64(32);
  header.contexts = {record.U64(40), record.U64(48)};
  header.context_count = record.U32(56);
  FLOE_RETURN_IF_ERROR(CheckHeader(header));
  return header;
}

Result<ChunkInfo> ReadChunkInfo(const ChunkInfoHeader& header, Bytes region) {
  if (region.size() < header.bytes) {
    return DataLoss("chunk information: {} bytes of {}", region.size(), header.bytes);
  }
  ChunkInfo info;
  info.features = header.features;
  if (HasContexts(header.features)) {
    FLOE_RETURN_IF_ERROR(ReadContexts(header, region, info));
  }
  FLOE_RETURN_IF_ERROR(ReadEntries(header, region, info));
  return info;
}

Result<std::optional<ChunkInfo>> ReadChunkInfoFile(Bytes file, const Blob& blob) {
  if (file.size() < kChunkInfoHeaderBytes) {
    return DataLoss("chunk information: a file of {} bytes", file.size());
  }
  FLOE_ASSIGN_OR_RETURN(const ChunkInfoHeader header,
                        ReadChunkInfoHeader(file.last(kChunkInfoHeaderBytes)));
  FLOE_RETURN_IF_ERROR(CheckHeaderOfBlob(header, blob));
  if (file.size() == kChunkInfoHeaderBytes && blob.chunk_info_bytes != 0) {
    return std::optional<ChunkInfo>();
  }
  FLOE_ASSIGN_OR_RETURN(ChunkInfo info,
                        ReadChunkInfo(header, file.first(file.size() - kChunkInfoHeaderBytes)));
  return std::optional(std::move(info));
}

Result<ChunkInfo> ReadChunkInfoRange(Bytes fetched, const Blob& blob) {
  if (fetched.size() != blob.ChunkInfoRange().length) {
    return DataLoss("chunk information: {} bytes of {}", fetched.size(),
                    blob.ChunkInfoRange().length);
  }
  FLOE_ASSIGN_OR_RETURN(const ChunkInfoHeader header,
                        ReadChunkInfoHeader(fetched.last(kChunkInfoHeaderBytes)));
  FLOE_RETURN_IF_ERROR(CheckHeaderOfBlob(header, blob));
  const Bytes compressed = fetched.first(fetched.size() - kChunkInfoHeaderBytes);
  if (compressed.empty()) {
    return ReadChunkInfo(header, {});
  }
  FLOE_ASSIGN_OR_RETURN(const std::string region, Decompress(compressed, blob));
  return ReadChunkInfo(header, std::as_bytes(std::span(region.data(), region.size())));
}

}  // namespace floe::image::rafs
