#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/result.h"
#include "cachemgr/cache/blob_cache.h"
#include "cachemgr/cache/block_writer.h"
#include "cachemgr/cache/extent_piece.h"
#include "image/blob_map.h"
#include "image/unit_decoder.h"

namespace floe::cachemgr {

/// Turns the fetched bytes of a unit into present groups: decode, verify, write, mark. Keeps its
/// buffers between units; one thread at a time.
class UnitFiller {
 public:
  /// `compressed` and `window` as UnitDecoder::Decode wants them. Groups that are present already
  /// are left alone. DataLoss: the unit does not decode, or a group's digest does not match; groups
  /// that do match are written and present all the same. ResourceExhausted: the disk is full;
  /// nothing is present that was not wholly written.
  Result<void> Fill(const image::BlobMap& map, BlobCache& cache, uint32_t unit,
                    std::span<const std::byte> compressed, std::span<const std::byte> window);

  /// The same for one group of a streamed unit, whose decoded bytes are `bytes`.
  Result<void> FillSlice(const image::BlobMap& map, BlobCache& cache, uint32_t group,
                         std::span<const std::byte> bytes);

 private:
  /// Verifies the absent groups of the unit: their numbers, and their extents in device order.
  Result<void> Verify(const image::BlobMap& map, const BlobCache& cache,
                      const image::UnitView& unit, std::span<const std::byte> compressed);
  Result<void> VerifyGroup(const image::BlobMap& map, uint32_t number,
                           std::span<const std::byte> bytes, std::span<const std::byte> compressed);
  /// Writes what was verified and marks it, in whatever is the cache file by then.
  Result<void> Store(const image::BlobMap& map, BlobCache& cache);
  /// The groups that are wholly written now.
  Result<std::vector<uint32_t>> Write(const image::BlobMap& map, const BlobCache& cache,
                                      const BlobCache::Target& target);
  Result<void> WritePieces(const image::BlobMap& map, CacheFile& file);

  image::UnitDecoder decoder_;
  std::vector<std::byte> decoded_;
  std::vector<std::byte> run_;
  std::vector<ExtentPiece> pieces_;
  std::vector<uint32_t> verified_;
  BlockWriter blocks_;
};

}  // namespace floe::cachemgr
