#include "image/rafs/chunk_layout.h"

#include <zstd.h>

#include <algorithm>
#include <limits>
#include <memory>
#include <tuple>

#include "image/rafs/codec.h"

namespace floe::image::rafs {
namespace {

constexpr int kWindowLevel = 3;
constexpr uint32_t kNoContext = std::numeric_limits<uint32_t>::max();

// A chunk with the unit that it is decoded from. Chunks in one context have the same unit.
struct Placed {
  Unit unit;
  uint32_t context = kNoContext;
  uint32_t chunk = 0;  // In BlobLayout::chunks.
  ByteRange in_unit;

  [[nodiscard]] auto Order() const {
    return std::tuple(unit.range.offset, context, unit.range.length, in_unit.offset, chunk);
  }
  [[nodiscard]] bool SharesUnit(const Placed& other) const {
    return context != kNoContext && context == other.context && unit.range == other.unit.range;
  }
};

Result<void> CheckAgreement(const Chunk& chunk, const ChunkInfoEntry& entry) {
  const bool batch = (entry.flags & kInfoBatch) != 0;
  const bool zran = (entry.flags & kInfoZran) != 0;
  if (entry.uncompressed_offset != chunk.uncompressed_offset ||
      entry.uncompressed_bytes != chunk.uncompressed_bytes ||
      entry.compressed_bytes != chunk.compressed_bytes ||
      (!batch && entry.compressed_offset != chunk.compressed_offset)) {
    return DataLoss(
        "chunk {} of blob {}: chunk information says {}+{} in {}+{}, the bootstrap {}+{} in {}+{}",
        chunk.index, chunk.blob, entry.uncompressed_offset, entry.uncompressed_bytes,
        entry.compressed_offset, entry.compressed_bytes, chunk.uncompressed_offset,
        chunk.uncompressed_bytes, chunk.compressed_offset, chunk.compressed_bytes);
  }
  const bool has_crc = (entry.flags & kInfoHasCrc32) != 0;
  if ((!batch && (entry.flags & kInfoCompressed) != (chunk.flags & kChunkCompressed)) ||
      (has_crc && !batch && !zran && entry.in_context != chunk.crc32)) {
    return DataLoss("chunk {} of blob {}: flags {:#x} or CRC differ from the bootstrap's {:#x}",
                    chunk.index, chunk.blob, entry.flags, chunk.flags);
  }
  return Ok();
}

// All of a unit's bytes are chunk data of its blob.
Result<void> CheckRange(const Unit& unit, const Blob& blob, const Chunk& chunk) {
  if (unit.range.empty() || !unit.range.IsValid() || unit.range.end() > blob.DataEnd()) {
    return DataLoss("chunk {} of blob {}: it is in {}+{} of {} bytes", chunk.index, chunk.blob,
                    unit.range.offset, unit.range.length, blob.DataEnd());
  }
  return Ok();
}

class Layout {
 public:
  Layout(const BlobLayout& layout, SourceBlob& source, LayerIndexData& data, std::string& windows)
      : layout_(layout), source_(source), data_(data), windows_(windows) {}

  Result<void> Run();

 private:
  Result<Placed> Place(uint32_t number) const;
  Result<void> PlaceInContext(const ChunkInfoEntry& entry, Placed& to) const;
  Result<void> AddUnit(const Placed& placed);
  Result<void> AddWindow(const ZranContext& context, Unit& unit);
  Result<void> AddUnitsAndGroups(std::vector<Placed>& placed);
  void AddExtents();

  const BlobLayout& layout_;
  SourceBlob& source_;
  LayerIndexData& data_;
  std::string& windows_;
  std::vector<uint32_t> groups_;  // By chunk.
  std::unique_ptr<ZSTD_CCtx, size_t (*)(ZSTD_CCtx*)> zstd_{ZSTD_createCCtx(), ZSTD_freeCCtx};
};

// Inflating starts inside the byte before the context where that has bits of it.
Result<void> Layout::PlaceInContext(const ChunkInfoEntry& entry, Placed& to) const {
  to.context = entry.context;
  to.in_unit.offset = entry.in_context;
  if ((entry.flags & kInfoZran) != 0) {
    const ZranContext& context = layout_.info->contexts[entry.context];
    const uint64_t shared = context.bits != 0 ? 1 : 0;
    to.unit.range = {context.in.offset - shared, context.in.length + shared};
    to.unit.decoded_length = context.out.length;
    to.unit.codec = Codec::kDeflate;
    to.unit.bits = context.bits;
    return Ok();
  }
  const Batch& batch = layout_.info->batches[entry.context];
  to.unit.range = {entry.compressed_offset, batch.compressed_bytes};
  to.unit.decoded_length = batch.uncompressed_bytes;
  to.unit.codec = batch.compressed_bytes == batch.uncompressed_bytes
                      ? Codec::kPlain
                      : CodecOf(layout_.blob.compressor);
  return Ok();
}

Result<Placed> Layout::Place(uint32_t number) const {
  const Chunk& chunk = layout_.chunks[number];
  Placed placed;
  placed.chunk = number;
  placed.in_unit = {0, chunk.uncompressed_bytes};
  placed.unit.blob = layout_.number;
  placed.unit.range = {chunk.compressed_offset, chunk.compressed_bytes};
  placed.unit.decoded_length = chunk.uncompressed_bytes;
  placed.unit.codec =
      (chunk.flags & kChunkCompressed) != 0 ? CodecOf(layout_.blob.compressor) : Codec::kPlain;
  if (layout_.info != nullptr) {
    if (chunk.index >= layout_.info->entries.size()) {
      return DataLoss("chunk {} of blob {}: {} entries of chunk information", chunk.index,
                      chunk.blob, layout_.info->entries.size());
    }
    const ChunkInfoEntry& entry = layout_.info->entries[chunk.index];
    FLOE_RETURN_IF_ERROR(CheckAgreement(chunk, entry));
    if ((entry.flags & (kInfoZran | kInfoBatch)) != 0) {
      FLOE_RETURN_IF_ERROR(PlaceInContext(entry, placed));
    }
  }
  FLOE_RETURN_IF_ERROR(CheckRange(placed.unit, layout_.blob, chunk));
  return placed;
}

Result<void> Layout::AddWindow(const ZranContext& context, Unit& unit) {
  if (context.dictionary.empty()) {
    return Ok();
  }
  const std::string_view dictionary =
      std::string_view(layout_.info->dictionaries)
          .substr(context.dictionary.offset, context.dictionary.length);
  std::string frame(ZSTD_compressBound(dictionary.size()), '\0');
  const size_t size = zstd_ == nullptr
                          ? 0
                          : ZSTD_compressCCtx(zstd_.get(), frame.data(), frame.size(),
                                              dictionary.data(), dictionary.size(), kWindowLevel);
  if (size == 0 || ZSTD_isError(size) != 0) {
    return ResourceExhausted("no memory for a zstd context");
  }
  unit.window = {windows_.size(), size};
  windows_.append(frame, 0, size);
  return Ok();
}

Result<void> Layout::AddUnit(const Placed& placed) {
  data_.units.push_back(placed.unit);
  if (placed.unit.codec != Codec::kDeflate) {
    return Ok();
  }
  return AddWindow(layout_.info->contexts[placed.context], data_.units.back());
}

Result<void> Layout::AddUnitsAndGroups(std::vector<Placed>& placed) {
  std::ranges::sort(placed, {}, &Placed::Order);
  groups_.resize(placed.size());
  for (size_t i = 0; i < placed.size(); ++i) {
    if (i == 0 || !placed[i].SharesUnit(placed[i - 1])) {
      FLOE_RETURN_IF_ERROR(AddUnit(placed[i]));
    }
    groups_[placed[i].chunk] = static_cast<uint32_t>(data_.groups.size());
    data_.groups.push_back({.unit = static_cast<uint32_t>(data_.units.size()) - 1,
                            .in_unit = placed[i].in_unit,
                            .digest_kind = layout_.blob.digest_kind,
                            .digest = layout_.chunks[placed[i].chunk].digest});
  }
  return Ok();
}

void Layout::AddExtents() {
  for (size_t i = 0; i < layout_.chunks.size(); ++i) {
    data_.extents.push_back({.device_offset = layout_.chunks[i].uncompressed_offset,
                             .length = layout_.chunks[i].uncompressed_bytes,
                             .group = groups_[i],
                             .offset_in_group = 0});
  }
}

Result<void> Layout::Run() {
  source_.first_unit = static_cast<uint32_t>(data_.units.size());
  source_.first_group = static_cast<uint32_t>(data_.groups.size());
  source_.first_extent = static_cast<uint32_t>(data_.extents.size());
  std::vector<Placed> placed;
  placed.reserve(layout_.chunks.size());
  for (uint32_t i = 0; i < layout_.chunks.size(); ++i) {
    FLOE_ASSIGN_OR_RETURN(Placed chunk, Place(i));
    placed.push_back(chunk);
  }
  FLOE_RETURN_IF_ERROR(AddUnitsAndGroups(placed));
  AddExtents();
  source_.device_size_bytes = placed.empty() ? 0 : layout_.blob.uncompressed_bytes;
  source_.unit_count = static_cast<uint32_t>(data_.units.size()) - source_.first_unit;
  source_.group_count = static_cast<uint32_t>(data_.groups.size()) - source_.first_group;
  source_.extent_count = static_cast<uint32_t>(data_.extents.size()) - source_.first_extent;
  if (!windows_.empty()) {
    source_.windows_digest = Digest::Of(windows_);
    source_.windows_size_bytes = windows_.size();
  }
  return Ok();
}

}  // namespace

Result<void> LayOutBlob(const BlobLayout& layout, SourceBlob& source, LayerIndexData& data,
                        std::string& windows) {
  if (layout.info == nullptr && (layout.blob.Has(kBlobZran) || layout.blob.Has(kBlobBatch)) &&
      !layout.chunks.empty()) {
    return DataLoss("blob {}: its chunk information is missing", layout.number);
  }
  return Layout(layout, source, data, windows).Run();
}

}  // namespace floe::image::rafs
