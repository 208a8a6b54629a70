#pragma once

#include <cstdint>
#include <string_view>

#include "erofs/layout.h"
#include "erofs/merge.h"

namespace floe::erofs {

/// A merged directory as its blocks hold it: its entries with "." and ".." among them, sorted by
/// unsigned bytes. Refers to the tree, which must outlive it.
class DirectoryBlocks {
 public:
  DirectoryBlocks(const MergedTree& tree, uint32_t directory);

  /// The directory's size: whole blocks, but for the last one, of which the used bytes count.
  [[nodiscard]] uint64_t SizeBytes() const;

  /// Writes the whole blocks at `blocks` and the used bytes of the last at `tail` where it is
  /// inline, else all of them at `blocks`. REQUIRES: room for them, zeroed.
  void Store(const Layout& layout, char* blocks, char* tail) const;

 private:
  [[nodiscard]] size_t count() const { return entries_.size() + 2; }
  [[nodiscard]] MergedEntry item(size_t position) const;
  /// The first item behind `first` that its block has no room for; `used` gets the block's bytes.
  [[nodiscard]] size_t EndOfBlock(size_t first, uint64_t& used) const;
  void StoreBlock(const Layout& layout, size_t first, size_t end, char* to) const;

  const MergedTree& tree_;
  const uint32_t self_;
  const std::span<const MergedEntry> entries_;
  size_t dot_ = 0;      ///< Position of ".".
  size_t dot_dot_ = 0;  ///< Position of "..".
};

}  // namespace floe::erofs
