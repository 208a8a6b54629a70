#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <set>
#include <span>
#include <unordered_map>
#include <vector>

#include "base/byte_range.h"
#include "base/mutex.h"
#include "image/blob_map.h"

namespace floe::cachemgr {

/// The groups that have bytes in the block at `offset`: sorted, unique.
std::vector<uint32_t> GroupsInBlock(const image::BlobMap& map, uint64_t offset);

/// Blocks that several groups share, for a cache file whose every written block counts as present
/// (WriteRules::written_is_present): such a block is written once, whole, when all its groups are
/// verified. Until then the verified pieces wait here, and the groups they belong to are *held*:
/// all else of them is written, nothing of them is fetched again.
///
///     groups  |------ 7 ------|------ 8 ------|
///     blocks  |       |       |       |       |      one group in each block: nothing to share
///     blocks  |    |     |  *  |     |     |         * waits until 7 and 8 are verified
///
/// One for each cache file. Thread-safe. Memory: at most a block for each border between groups.
class SharedBlocks {
 public:
  /// `map` must outlive this.
  explicit SharedBlocks(const image::BlobMap& map) : map_(map) {}

  /// What a verified group has in a shared block.
  struct Part {
    uint64_t block = 0;  ///< Offset of the block.
    uint32_t group = 0;
    uint64_t offset = 0;  ///< Of the bytes, on the device.
    std::span<const std::byte> bytes;
  };
  struct Block {
    uint64_t offset = 0;
    std::vector<std::byte> bytes;  ///< All of the block; what no group covers is zero.
  };

  /// All that the groups of `parts` have in shared blocks, in one call. Returns the blocks that
  /// waited for nothing else: write each, then call Written() or PutBack(). Parts of blocks that
  /// were written already are passed over.
  std::vector<Block> Add(std::span<const Part> parts);
  /// Returns the held groups that have waited for nothing else: they are wholly written now. Mark
  /// them present, then let go of them (Release), so that they are one or the other at any moment.
  std::vector<uint32_t> Written(std::span<const Block> blocks);
  /// They could not be written: they wait for these groups again.
  void PutBack(std::span<const Block> blocks, std::span<const Part> parts);
  /// After everything else of these groups was written: those of them that are wholly written now.
  /// The rest of them is held.
  std::vector<uint32_t> Settle(std::span<const uint32_t> groups);
  /// They are marked present: held no more.
  void Release(std::span<const uint32_t> groups);

  [[nodiscard]] bool IsHeld(uint32_t group) const;
  /// True for a block that waits for a group: it must come through Add().
  [[nodiscard]] bool IsWaiting(uint64_t block) const;
  /// Held, and no block of the range still waits.
  [[nodiscard]] bool IsWritten(uint32_t group, ByteRange range) const;

 private:
  struct Waiting {
    std::vector<std::byte> bytes = {};
    std::set<uint32_t> missing = {};
    std::set<uint32_t> added = {};
  };

  const image::BlobMap& map_;
  mutable Mutex mutex_;
  std::map<uint64_t, Waiting> waiting_ FLOE_GUARDED_BY(mutex_);
  /// The waiting blocks of each group that has added its parts.
  std::unordered_map<uint32_t, std::set<uint64_t>> blocks_of_ FLOE_GUARDED_BY(mutex_);
  std::set<uint32_t> held_ FLOE_GUARDED_BY(mutex_);
  std::set<uint64_t> written_ FLOE_GUARDED_BY(mutex_);
};

}  // namespace floe::cachemgr
