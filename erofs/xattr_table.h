#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "erofs/format.h"

namespace floe::erofs {

/// An xattr name as EROFS stores it: a namespace number and what follows the prefix.
struct XattrName {
  uint8_t prefix = 0;
  std::string_view suffix;
};

/// nullopt: a namespace that EROFS has no number for, or a prefix with nothing behind it.
std::optional<XattrName> SplitXattrName(std::string_view name);

/// The distinct (name, value) pairs of an image, and which of them are stored once, in the shared
/// area, and referred to by inodes. Names and values are borrowed. One thread at a time.
class XattrTable {
 public:
  /// Smaller pairs stay inside their inodes: a shared one costs the kernel a second block.
  static constexpr uint64_t kMinSharedBytes = 32;
  /// XattrHeader counts shared ids in one byte.
  static constexpr uint64_t kMaxSharedPerInode = 255;

  /// One more inode has this pair. The same pair always gets the same number, counted from 0.
  uint32_t Add(XattrName name, std::string_view value);

  /// Decides what is shared and gives it its place. Call it once, after the last Add.
  void PlaceShared();

  [[nodiscard]] uint64_t shared_area_bytes() const { return shared_bytes_; }

  /// Bytes of the xattr area behind an inode with these pairs; 0 for none.
  [[nodiscard]] uint64_t AreaBytes(std::span<const uint32_t> pairs) const;

  /// Writes that area at `to`. `area_offset`: of the shared area, from the block that shared ids
  /// count from. REQUIRES: AreaBytes(pairs) zeroed bytes at `to`; area_offset % 4 == 0.
  void StoreArea(std::span<const uint32_t> pairs, uint64_t area_offset, char* to) const;

  /// REQUIRES: shared_area_bytes() zeroed bytes at `to`.
  void StoreShared(char* to) const;

 private:
  struct Pair {
    XattrName name;
    std::string_view value;
    uint64_t hash = 0;
    uint32_t users = 0;
    bool shared = false;
    uint64_t shared_offset = 0;  ///< Bytes from the start of the shared area.
  };

  void Grow();
  [[nodiscard]] static uint64_t EntryBytes(const Pair& pair);
  static void StoreEntry(const Pair& pair, char* to);

  std::vector<Pair> pairs_;
  /// Open addressing over pairs_: 1 + a pair's number, 0 for empty. A power of two long.
  std::vector<uint32_t> slots_;
  uint64_t shared_bytes_ = 0;
};

}  // namespace floe::erofs
