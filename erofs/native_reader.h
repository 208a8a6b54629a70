#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "base/byte_range.h"
#include "base/result.h"
#include "erofs/image_bytes.h"
#include "erofs/native_format.h"
#include "image/tar_reader.h"

namespace floe::erofs {

/// An inode of an image that mkfs.erofs or another writer made.
struct NativeInode {
  uint64_t nid = 0;
  uint32_t mode = 0;  ///< S_IFMT and permission bits.
  uint32_t uid = 0;
  uint32_t gid = 0;
  uint64_t size_bytes = 0;  ///< Regular files, directories, symlinks; else 0.
  int64_t mtime_seconds = 0;
  uint32_t mtime_nanoseconds = 0;
  uint32_t rdev_major = 0;  ///< Character and block devices.
  uint32_t rdev_minor = 0;
  // Where its parts lie; for the reader's own use.
  DataLayout layout = DataLayout::kFlatPlain;
  uint64_t offset = 0;       ///< Bytes from the start of the image.
  uint64_t inode_bytes = 0;  ///< Of the inode itself.
  uint64_t xattr_bytes = 0;
  uint32_t data = 0;  ///< First block, or chunk format.
};

struct NativeDirent {
  std::string name;
  uint64_t nid = 0;
  uint8_t file_type = 0;
};

/// Full name and value, sorted by name, unique.
using NativeXattrs = std::vector<std::pair<std::string, std::string>>;

/// Reads the metadata of EROFS images as mkfs.erofs writes them (1.5 to 1.8, without 48-bit
/// addresses): compact and extended inodes, flat, inline and chunk-based data, blocks of 512 to
/// 4096 bytes, inline and shared xattrs, long xattr prefixes. Safe on any bytes: everything is
/// checked before it is read, memory is bounded by one directory block, one inode's xattrs or one
/// chunk map. What is true of the tree as a whole is ReadNativeTree's business.
///
/// InvalidArgument: no EROFS image. DataLoss: it contradicts itself. Unimplemented: extra devices,
/// compressed inodes, incompat features that are not known, other block sizes. Else what the medium
/// says. The image is borrowed. One thread at a time.
class NativeReader {
 public:
  /// Checks the superblock and its checksum, reads the long xattr prefixes.
  static Result<NativeReader> Open(ImageBytes& image);

  [[nodiscard]] const SuperBlock& super() const { return super_; }
  [[nodiscard]] uint64_t root_nid() const { return super_.root_nid; }
  [[nodiscard]] uint64_t block_bytes() const { return uint64_t{1} << super_.block_bits; }

  /// With all that belongs to it inside the image.
  [[nodiscard]] Result<NativeInode> ReadInode(uint64_t nid) const;
  /// The entries of one block of a directory, "." and ".." too; sorted within it. `into` is
  /// overwritten. `block` is below DirectoryBlocks.
  Result<void> ReadDirectoryBlock(const NativeInode& directory, uint64_t block,
                                  std::vector<NativeDirent>& into) const;
  [[nodiscard]] uint64_t DirectoryBlocks(const NativeInode& directory) const;
  [[nodiscard]] Result<std::string> ReadSymlink(const NativeInode& symlink) const;
  [[nodiscard]] Result<NativeXattrs> ReadXattrs(const NativeInode& inode) const;
  /// Appends where a regular file's bytes lie in the image, holes left out, neighbours that
  /// continue each other as one. InvalidArgument once `into` has more than `limit`.
  Result<void> AppendPieces(const NativeInode& file, size_t limit,
                            std::vector<image::TarFragment>& into) const;

  /// The inode with its xattrs and its inline tail or chunk map ...
  [[nodiscard]] ByteRange HeadOf(const NativeInode& inode) const;
  /// ... and the whole blocks of a directory or symlink, which may be none.
  [[nodiscard]] ByteRange BlocksOf(const NativeInode& inode) const;

 private:
  struct LongPrefix {
    uint8_t base = 0;
    std::string infix;
  };

  explicit NativeReader(ImageBytes& image) : image_(&image) {}

  [[nodiscard]] Result<std::string> Fetch(ByteRange range) const;
  Result<void> CheckSuperBlock() const;
  Result<void> CheckChecksum() const;
  Result<void> ReadLongPrefixes();
  Result<LongPrefix> ReadLongPrefix(const std::vector<image::TarFragment>& from,
                                    uint64_t& position) const;
  [[nodiscard]] Result<std::vector<image::TarFragment>> LongPrefixTable() const;
  [[nodiscard]] Result<std::string> ReadThrough(const std::vector<image::TarFragment>& pieces,
                                                ByteRange range) const;

  [[nodiscard]] bool Contains(uint64_t offset, uint64_t length) const;
  Result<void> CheckPlace(const NativeInode& inode) const;
  Result<void> CheckFlat(const NativeInode& inode) const;
  Result<void> AppendPiece(const NativeInode& file, image::TarFragment piece, size_t first,
                           std::vector<image::TarFragment>& into) const;
  Result<void> AppendChunks(const NativeInode& file, size_t limit,
                            std::vector<image::TarFragment>& into) const;
  [[nodiscard]] Result<uint64_t> ChunkStart(const NativeInode& file, std::string_view entry) const;
  [[nodiscard]] Result<std::string> ReadFlat(const NativeInode& inode, ByteRange range) const;

  [[nodiscard]] uint64_t TailBytes(const NativeInode& inode) const;
  [[nodiscard]] uint64_t TailOffset(const NativeInode& inode) const;
  [[nodiscard]] uint64_t ChunkBytes(const NativeInode& inode) const;
  [[nodiscard]] uint64_t ChunkCount(const NativeInode& inode) const;
  [[nodiscard]] uint64_t ChunksOffset(const NativeInode& inode) const;

  struct SizedXattr {
    std::string name, value;
    uint64_t entry_bytes = 0;
  };
  [[nodiscard]] Result<SizedXattr> ReadXattr(uint64_t nid, std::string_view from) const;
  [[nodiscard]] Result<std::string> XattrName(uint64_t nid, uint8_t prefix,
                                              std::string_view rest) const;
  [[nodiscard]] Result<SizedXattr> ReadSharedXattr(uint64_t nid, uint32_t id) const;

  ImageBytes* image_;
  SuperBlock super_;
  uint64_t limit_ = 0;  ///< Bytes of the image that the superblock counts.
  std::vector<LongPrefix> long_prefixes_;
};

}  // namespace floe::erofs
