#pragma once

#include <cstdint>

#include "base/byte_range.h"
#include "base/result.h"
#include "image/rafs/fields.h"

/// The reader of RAFS v6 bootstraps (Nydus images). The format is that of dragonflyoss/nydus
/// (rafs/src/metadata/layout/v6.rs): an EROFS image without file data, whose unused corners hold
/// what the Nydus daemon needs. All of it is little-endian. Pure functions over bytes; any thread.
namespace floe::image::rafs {

/// What the EROFS superblock and the RAFS superblock behind it say, checked: the tables lie in the
/// bootstrap and do not overlap.
struct Superblock {
  uint64_t root_nid = 0;
  uint64_t inode_count = 0;      ///< Never less than there are.
  uint64_t metadata_offset = 0;  ///< Where inode 0 would be; an inode number counts 32 bytes.
  uint64_t build_seconds = 0;    ///< Mtime of inodes that keep none of their own.
  uint32_t build_nanoseconds = 0;
  uint32_t device_count = 0;
  ByteRange device_slots;
  uint32_t chunk_bytes = 0;  ///< A power of two.
  ByteRange blob_table, chunk_table, prefetch_table;
};

/// InvalidArgument: not a RAFS bootstrap. Unimplemented: one that Floe does not read (RAFS v5,
/// tarfs, encrypted blobs, unknown features, blocks other than 4096 bytes). DataLoss: it lies.
Result<Superblock> ReadSuperblock(Bytes bootstrap);

}  // namespace floe::image::rafs
