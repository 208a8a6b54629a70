#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "erofs/native_reader.h"

namespace floe::erofs::testing {

/// An inode as a test wants it, right or wrong.
struct TinyInode {
  uint32_t mode = 0;
  bool extended = false;
  DataLayout layout = DataLayout::kFlatPlain;
  uint64_t size = 0;
  uint32_t data = 0;        ///< First block, chunk format or device number.
  std::string xattrs = {};  ///< The area: header, ids, entries.
  std::string rest = {};    ///< Inline tail, or chunk map.
  uint32_t uid = 0, gid = 0;
  uint32_t mtime = 0;
  uint16_t format_bits = 0;  ///< Added to the format.
};

/// Writes small EROFS images of any block size, byte by byte: what mkfs.erofs 1.5 cannot write, and
/// what nobody should. Inodes lie from 2048 on, blocks from 32768 on.
class TinyImage {
 public:
  explicit TinyImage(uint8_t block_bits = kBlockBits);

  uint64_t Add(const TinyInode& inode);
  /// Writes an inode anew; it must not have grown.
  void Replace(uint64_t nid, const TinyInode& inode);
  /// Whole blocks; gives the number of the first.
  uint32_t AddBlocks(std::string_view bytes);
  void Write(uint64_t offset, std::string_view bytes);

  /// A directory in one block of its own; "." and ".." are added.
  uint64_t AddDirectory(std::vector<NativeDirent> entries, const TinyInode& like = {});
  /// Says which directory a directory's ".." is.
  void SetParent(uint64_t nid, uint64_t parent);

  [[nodiscard]] uint64_t block_bytes() const { return uint64_t{1} << super.block_bits; }
  /// The image with its superblock; with a checksum when the feature is set.
  [[nodiscard]] std::string Finish(uint64_t root_nid) const;

  static std::string DirectoryBytes(const std::vector<NativeDirent>& sorted);
  /// An entry, padded.
  static std::string XattrBytes(uint8_t prefix, std::string_view name, std::string_view value);
  /// The whole area: shared ids, then entries.
  static std::string XattrArea(const std::vector<uint32_t>& shared, std::string_view entries);

  SuperBlock super;

 private:
  struct PlacedDirectory {
    uint64_t nid = 0;
    uint64_t offset = 0;
    std::vector<NativeDirent> entries;
  };

  std::string bytes_;
  uint64_t next_inode_;
  std::vector<PlacedDirectory> directories_;
};

/// One of everything: inodes of both sizes, all layouts, inline and shared xattrs, long prefixes,
/// hard links, a whiteout and an opaque directory.
std::string SampleTinyImage(uint8_t block_bits = kBlockBits);

}  // namespace floe::erofs::testing
