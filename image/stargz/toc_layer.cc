#include "image/stargz/toc_layer.h"

#include <algorithm>
#include <numeric>
#include <optional>
#include <tuple>
#include <utility>
#include <vector>

#include "image/layer_builder.h"
#include "image/stargz/toc.h"
#include "image/stargz/toc_container.h"

namespace floe::image {
namespace {

constexpr std::string_view kPrefetchLandmark = ".prefetch.landmark";
constexpr std::string_view kNoPrefetchLandmark = ".no.prefetch.landmark";

// The name of an entry in the root; empty for others.
std::string NameInRoot(const TocEntry& entry) {
  PathParts parts = CleanPath(entry.header.name);
  return parts.size() == 1 ? std::move(parts.front()) : std::string();
}

bool IsPartOfFormat(const TocEntry& entry) {
  const std::string name = NameInRoot(entry);
  return name == kTocEntryName || name == kPrefetchLandmark || name == kNoPrefetchLandmark;
}

// Units and groups for all chunks of a table, and where each chunk is in the stand-in archive that
// the decoded units make, one after the other.
class ChunkMap {
 public:
  static Result<ChunkMap> Create(const Toc& toc, Codec codec);

  [[nodiscard]] const std::vector<Unit>& units() const { return units_; }
  [[nodiscard]] const std::vector<Group>& groups() const { return groups_; }
  [[nodiscard]] uint64_t archive_offset(uint32_t chunk) const { return archive_offsets_[chunk]; }
  /// How many units hold something that lies before this chunk.
  [[nodiscard]] size_t UnitsBefore(const TocChunk& chunk) const;

 private:
  /// The unit of chunks [first, last) of `order`.
  Result<void> AddUnit(const Toc& toc, std::span<const uint32_t> order, uint64_t next_offset,
                       Codec codec);

  std::vector<Unit> units_;
  std::vector<Group> groups_;
  std::vector<uint64_t> archive_offsets_;  ///< Of each chunk of the table.
  uint64_t archive_size_ = 0;
};

//  blob     | member at 87         | member at 216       | table of contents
//  chunks     | a | | b |            | c      |
//  units    |===========|          |==========|            as decoded; ranges go to the next one
Result<ChunkMap> ChunkMap::Create(const Toc& toc, Codec codec) {
  ChunkMap map;
  map.archive_offsets_.resize(toc.chunks.size());
  std::vector<uint32_t> order(toc.chunks.size());
  std::iota(order.begin(), order.end(), 0U);
  std::ranges::sort(order, {}, [&](uint32_t i) {
    return std::pair(toc.chunks[i].offset, toc.chunks[i].inner_offset);
  });
  for (size_t first = 0; first < order.size();) {
    const uint64_t offset = toc.chunks[order[first]].offset;
    size_t last = first;
    while (last < order.size() && toc.chunks[order[last]].offset == offset) {
      ++last;
    }
    const uint64_t next = last < order.size() ? toc.chunks[order[last]].offset : UINT64_MAX;
    FLOE_RETURN_IF_ERROR(
        map.AddUnit(toc, std::span(order).subspan(first, last - first), next, codec));
    first = last;
  }
  return map;
}

Result<void> ChunkMap::AddUnit(const Toc& toc, std::span<const uint32_t> order,
                               uint64_t next_offset, Codec codec) {
  uint64_t decoded = 0;
  uint64_t end = 0;
  for (const uint32_t i : order) {
    const TocChunk& chunk = toc.chunks[i];
    if (chunk.inner_offset < decoded) {
      return DataLoss("its table of contents: two chunks overlap in the blob at {}+{}",
                      chunk.offset, chunk.inner_offset);
    }
    decoded = chunk.inner_offset + chunk.length;
    end = std::max(end, chunk.end_offset);
    archive_offsets_[i] = archive_size_ + chunk.inner_offset;
    groups_.push_back({.unit = static_cast<uint32_t>(units_.size()),
                       .in_unit = {chunk.inner_offset, chunk.length},
                       .digest_kind = chunk.digest_kind,
                       .digest = chunk.digest});
  }
  // What follows the chunks, headers of empty files, may be long; the decoder never gets there.
  const uint64_t offset = toc.chunks[order.front()].offset;
  Unit unit;
  unit.range = {offset, std::min(std::min(end, next_offset) - offset, kMaxUnitRangeBytes)};
  unit.decoded_length = decoded;
  unit.codec = codec;
  units_.push_back(unit);
  archive_size_ += decoded;
  return Ok();
}

size_t ChunkMap::UnitsBefore(const TocChunk& chunk) const {
  const auto after = std::ranges::lower_bound(units_, chunk.offset, {},
                                              [](const Unit& unit) { return unit.range.offset; });
  const auto before = static_cast<size_t>(after - units_.begin());
  return chunk.inner_offset > 0 ? before + 1 : before;
}

size_t PrefetchUnits(const Toc& toc, const ChunkMap& map) {
  for (const TocEntry& entry : toc.entries) {
    if (entry.chunk_count > 0 && NameInRoot(entry) == kPrefetchLandmark) {
      return map.UnitsBefore(toc.chunks[entry.first_chunk]);
    }
  }
  return 0;
}

Result<void> Apply(const Toc& toc, TocEntry& entry, const ChunkMap& map, LayerBuilder& builder) {
  for (uint32_t i = entry.first_chunk; i < entry.first_chunk + entry.chunk_count; ++i) {
    entry.header.data.push_back({.file_offset = toc.chunks[i].file_offset,
                                 .archive_offset = map.archive_offset(i),
                                 .length = toc.chunks[i].length});
  }
  FLOE_RETURN_IF_ERROR(builder.OnEntry(entry.header));
  entry.header = {};  // The builder has what it needs.
  return Ok();
}

std::string Producer(const TocLayerSource& source) {
  if (source.codec == Codec::kGzip) {
    return "estargz";
  }
  return source.dialect == TocDialect::kStargz ? "zstd:chunked stargz"
                                               : "zstd:chunked containers/storage";
}

}  // namespace

Result<LayerIndex> IndexFromToc(std::string_view json, const TocLayerSource& source) {
  FLOE_ASSIGN_OR_RETURN(Toc toc, ParseToc(json, {.payload_end = source.payload_end,
                                                 .allow_unverified = source.allow_unverified}));
  FLOE_ASSIGN_OR_RETURN(const ChunkMap map, ChunkMap::Create(toc, source.codec));
  const bool is_stargz = source.dialect == TocDialect::kStargz;
  const size_t prefetch_units = is_stargz ? PrefetchUnits(toc, map) : 0;
  LayerBuilder builder;
  for (TocEntry& entry : toc.entries) {
    if (!is_stargz || !IsPartOfFormat(entry)) {
      FLOE_RETURN_IF_ERROR(Apply(toc, entry, map, builder));
    }
  }
  SourceBlob blob;
  blob.digest = source.digest;
  blob.size_bytes = source.size_bytes;
  blob.media_type = source.media_type;
  FLOE_ASSIGN_OR_RETURN(LayerIndexData data,
                        builder.Finish(std::move(blob), {.units = map.units(),
                                                         .groups = map.groups(),
                                                         .prefetch_units = prefetch_units}));
  data.diff_id = source.diff_id;
  data.producer = Producer(source);
  return LayerIndex::Create(std::move(data));
}

}  // namespace floe::image
