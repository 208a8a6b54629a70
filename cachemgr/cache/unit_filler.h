#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/result.h"
#include "cachemgr/cache/blob_cache.h"
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

 private:
  struct Piece {  // An extent of a verified group, with its bytes.
    uint64_t device_offset = 0;
    std::span<const std::byte> bytes;
  };
  /// Verifies the absent groups of the unit: their numbers, and their extents in device order.
  Result<void> Verify(const image::BlobMap& map, const BlobCache& cache,
                      const image::UnitView& unit);
  Result<void> WritePieces(const image::BlobMap& map, CacheFile& file);

  image::UnitDecoder decoder_;
  std::vector<std::byte> decoded_;
  std::vector<std::byte> run_;
  std::vector<Piece> pieces_;
  std::vector<uint32_t> verified_;
};

}  // namespace floe::cachemgr
