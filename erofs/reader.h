#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "erofs/format.h"

namespace floe::erofs {

/// An extra device, as the device table has it.
struct DeviceInfo {
  std::string_view tag;  ///< 64 hex digits.
  uint64_t size_bytes = 0;
};

/// An inode of a bootstrap.
struct InodeInfo {
  uint64_t nid = 0;
  uint32_t mode = 0;  ///< S_IFMT and permission bits.
  uint32_t uid = 0;
  uint32_t gid = 0;
  uint32_t nlink = 0;
  uint64_t size_bytes = 0;
  int64_t mtime_seconds = 0;
  uint32_t mtime_nanoseconds = 0;
  uint32_t rdev_major = 0;  ///< Character and block devices.
  uint32_t rdev_minor = 0;
  // Where its parts lie, in bytes from the start of the image; for the reader's own use.
  DataLayout layout = DataLayout::kFlatPlain;
  uint64_t offset = 0;
  uint64_t xattr_bytes = 0;
  uint64_t blocks_offset = 0;  ///< Of the whole blocks of directories and symlinks.
  uint8_t chunk_bits = 0;
};

struct DirentInfo {
  std::string_view name;
  uint64_t nid = 0;
  uint8_t file_type = 0;  ///< FileTypeOfMode of the inode.
};

struct XattrInfo {
  std::string name;  ///< Full name: "user.foo".
  std::string_view value;
};

/// A piece of a regular file that is one hole, or contiguous in one device.
struct FilePiece {
  uint64_t file_offset = 0;
  uint64_t length = 0;         ///< Bytes; the last piece ends with the file.
  uint16_t device = 0;         ///< Device id, 1 + slot; 0 for a hole.
  uint64_t device_offset = 0;  ///< Bytes.
};

/// Reads the bootstraps that WriteBootstrap makes, and refuses everything else: what EROFS allows
/// but Floe never writes (compact inodes, compression, other block sizes) is InvalidArgument, what
/// contradicts itself is DataLoss, both with what and where. Safe on any bytes. The image is
/// borrowed and must outlive the reader and all views it gives. Immutable; any thread.
class BootstrapReader {
 public:
  /// Checks the superblock, its checksum and the device table.
  static Result<BootstrapReader> Open(std::string_view image);

  [[nodiscard]] const SuperBlock& super() const { return super_; }
  [[nodiscard]] uint64_t root_nid() const { return super_.root_nid; }
  /// In slot order: device id 1 is devices()[0].
  [[nodiscard]] const std::vector<DeviceInfo>& devices() const { return devices_; }

  [[nodiscard]] Result<InodeInfo> ReadInode(uint64_t nid) const;
  /// All entries, "." and ".." too, in their order. `into` is overwritten.
  Result<void> ReadDirectory(const InodeInfo& directory, std::vector<DirentInfo>& into) const;
  [[nodiscard]] Result<std::string_view> ReadSymlink(const InodeInfo& symlink) const;
  [[nodiscard]] Result<std::vector<XattrInfo>> ReadXattrs(const InodeInfo& inode) const;
  /// The pieces of a regular file, in order, without gaps; neighbours never continue each other.
  [[nodiscard]] Result<std::vector<FilePiece>> ReadPieces(const InodeInfo& file) const;
  /// The inode that a path leads to ("usr/lib"; "" and "." are the root). NotFound when a part of
  /// it does not exist; symlinks are not followed.
  [[nodiscard]] Result<InodeInfo> Lookup(std::string_view path) const;

  /// Checks the whole tree: every inode, name, xattr and chunk, that no two things lie in the same
  /// place, that each directory is reached once, "." and ".." are right, link counts and the inode
  /// count are true. To be called before an image is mounted: the kernel checks little of it.
  [[nodiscard]] Result<void> Validate() const;

  /// Bytes from the start of the image.
  [[nodiscard]] uint64_t OffsetOfNid(uint64_t nid) const;
  [[nodiscard]] uint64_t size_bytes() const { return image_.size(); }
  /// Bytes of the inode itself, its xattrs, and its chunk indexes or its inline tail.
  [[nodiscard]] static uint64_t InodeBytes(const InodeInfo& inode);

 private:
  explicit BootstrapReader(std::string_view image) : image_(image) {}

  Result<void> CheckSuperBlock() const;
  Result<void> ReadDevices();
  Result<void> ReadDataField(uint32_t data, InodeInfo& inode) const;
  Result<void> CheckFlatData(uint32_t first_block, InodeInfo& inode) const;
  [[nodiscard]] std::string_view Tail(const InodeInfo& inode) const;

  std::string_view image_;
  SuperBlock super_;
  std::vector<DeviceInfo> devices_;
};

}  // namespace floe::erofs
