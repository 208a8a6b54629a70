#pragma once

#include <cstdint>
#include <vector>

#include "base/result.h"
#include "erofs/format.h"
#include "erofs/merge.h"
#include "erofs/survey.h"

namespace floe::erofs {

/// A bootstrap larger than this is refused: it would hold ten million files, or a sparse file cut
/// into absurdly many chunks.
inline constexpr uint64_t kMaxBootstrapBytes = 1ULL << 30U;

/// Where one node lies.
struct NodePlace {
  uint32_t nid = 0;
  uint32_t first_block = kNoBlock;  ///< Directories and symlinks; from Layout::data_offset.
  uint64_t size_bytes = 0;
  DataLayout layout = DataLayout::kFlatPlain;
  uint8_t chunk_bits = 0;
};

/// Where everything lies in the bootstrap, in bytes from its start:
///
///     | 1024 zeros | superblock | device table | inodes ... | shared xattrs | data blocks |
///     0            1024         1152           root         shared_offset   data_offset   total
///
/// An inode is followed by its xattrs and by its chunk indexes or its inline tail; an inode with
/// an inline tail lies in one block as a whole. Data blocks hold what does not fit inline of
/// directories and symlinks; shared xattrs are 4-byte aligned (where there are none, their offset
/// is 0), blocks 4096.
struct Layout {
  std::vector<NodePlace> places;  ///< By node.
  uint32_t meta_block = 0;        ///< nids count from here.
  uint64_t shared_offset = 0;
  uint64_t data_offset = 0;
  uint64_t total_bytes = 0;

  [[nodiscard]] uint64_t OffsetOf(const NodePlace& place) const {
    return meta_block * uint64_t{1U << kBlockBits} + place.nid * kSlotBytes;
  }
};

/// InvalidArgument when it does not fit the format or kMaxBootstrapBytes.
Result<Layout> PlaceTree(const MergedTree& tree, const Survey& survey);

}  // namespace floe::erofs
