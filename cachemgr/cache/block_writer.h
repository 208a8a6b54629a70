#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/result.h"
#include "cachemgr/cache/extent_piece.h"
#include "cachemgr/cache/shared_blocks.h"
#include "cachemgr/channel/cache_file.h"
#include "image/blob_map.h"

namespace floe::cachemgr {

/// Writes verified extents to a cache file that wants whole, aligned blocks and takes each of them
/// for present (WriteRules). Keeps its buffer; one thread at a time.
class BlockWriter {
 public:
  /// What it writes for.
  struct Target {
    const image::BlobMap& map;
    CacheFile& file;
    SharedBlocks& shared;
  };

  /// `pieces`: all extents of `groups`, in device order; `groups` sorted. Blocks that other groups
  /// cover as well go to `shared`; those of `is_present` groups are there already. Returns the
  /// groups that are wholly written now. On failure none of `groups` counts as written.
  template <typename IsPresent>
  Result<std::vector<uint32_t>> Write(const Target& target, std::span<const ExtentPiece> pieces,
                                      std::span<const uint32_t> groups,
                                      const IsPresent& is_present) {
    FLOE_RETURN_IF_ERROR(Split(target, pieces, groups));
    std::erase_if(parts_, [&](const SharedBlocks::Part& part) {
      const auto covering = GroupsInBlock(target.map, part.block);
      return std::ranges::any_of(covering, is_present);
    });
    return WriteShared(target, groups);
  }

 private:
  struct Free {
    void operator()(std::byte* buffer) const;
  };

  /// Writes the blocks that `groups` alone cover, and leaves the others in parts_.
  Result<void> Split(const Target& target, std::span<const ExtentPiece> pieces,
                     std::span<const uint32_t> groups);
  Result<std::vector<uint32_t>> WriteShared(const Target& target, std::span<const uint32_t> groups);
  Result<void> Append(CacheFile& file, uint64_t offset, std::span<const std::byte> bytes);
  Result<void> Flush(CacheFile& file);

  std::unique_ptr<std::byte[], Free> run_;  ///< Page-aligned.
  uint64_t run_offset_ = 0;
  uint64_t run_end_ = 0;  ///< Device offset behind the last byte of the run; run_offset_: empty.
  std::vector<SharedBlocks::Part> parts_;
};

}  // namespace floe::cachemgr
