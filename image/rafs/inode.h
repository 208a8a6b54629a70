#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/byte_range.h"
#include "base/result.h"
#include "image/rafs/superblock.h"

/// Inodes of a bootstrap and what belongs to them: EROFS's own format
/// (fs/erofs/erofs_fs.h of Linux) as far as RAFS uses it.
namespace floe::image::rafs {

/// How an inode's data is found.
enum class DataLayout : uint8_t {
  kFlatPlain = 0,   ///< Whole blocks.
  kFlatInline = 2,  ///< Whole blocks; the last, partial one right behind the inode.
  kChunkBased = 4,  ///< An array of chunk indexes behind the inode.
};

struct InodeRecord {
  uint64_t nid = 0;
  DataLayout layout = DataLayout::kFlatPlain;
  uint32_t mode = 0;
  uint32_t uid = 0, gid = 0;
  uint32_t link_count = 0;
  uint64_t size_bytes = 0;
  /// First block (flat), chunk format (chunks) or device number (devices).
  uint32_t data = 0;
  uint64_t mtime_seconds = 0;
  uint32_t mtime_nanoseconds = 0;
  ByteRange xattrs;         ///< In the bootstrap; empty when it has none.
  uint64_t header_end = 0;  ///< Where the inline tail begins, behind inode and xattrs.
};

/// DataLoss: outside the bootstrap; Unimplemented: a layout that RAFS does not use.
Result<InodeRecord> ReadInode(Bytes bootstrap, const Superblock& superblock, uint64_t nid);

/// Where the data of a flat inode (a directory or symlink) lies: first `blocks`, then `tail`.
struct FlatData {
  ByteRange blocks, tail;
};
Result<FlatData> FindFlatData(Bytes bootstrap, const InodeRecord& inode);

/// Full name and value, as stored: not sorted.
using Xattrs = std::vector<std::pair<std::string, std::string_view>>;
/// The values point into the bootstrap.
Result<Xattrs> ReadXattrs(Bytes bootstrap, const InodeRecord& inode);

}  // namespace floe::image::rafs
