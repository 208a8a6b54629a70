#pragma once

#include <array>
#include <cstdint>

#include "erofs/format.h"

/// What EROFS images of other writers hold beside the structures of erofs/format.h. Source: Linux
/// fs/erofs/erofs_fs.h; which release added what: docs/layer-formats.md.
namespace floe::erofs {

// Features that decide where things lie. Compat ones that are not named here need no reader's help.
inline constexpr uint32_t kCompatPlainXattrPrefixes = 0x10;
inline constexpr uint32_t kIncompatFragments = 0x20;  ///< There may be a packed inode.
inline constexpr uint32_t kIncompatXattrPrefixes = 0x40;
/// Each either is read here (chunks, prefixes), or says something about compressed inodes or extra
/// devices only, which are refused where they are met: zero padding, big clusters, chunks, device
/// table or second algorithm, packed tails, fragments or deduplication, xattr prefixes.
inline constexpr uint32_t kKnownIncompat = 0x7F;

inline constexpr uint8_t kMinNativeBlockBits = 9;
inline constexpr uint8_t kMaxNativeBlockBits = 12;

/// An inode in 32 bytes. Its time is the superblock's epoch plus `mtime`.
struct CompactInode {
  uint16_t format = 0;
  uint16_t xattr_count = 0;
  uint16_t mode = 0;
  uint16_t nlink = 0;
  uint32_t size = 0;
  uint32_t mtime = 0;  ///< Zero before Linux 6.15's layout.
  uint32_t data = 0;
  uint32_t ino = 0;
  uint16_t uid = 0;
  uint16_t gid = 0;
  uint32_t reserved = 0;
};
static_assert(sizeof(CompactInode) == 32);

/// ExtendedInode::format and CompactInode::format: bit 0 and bits 1 to 3; the rest must be zero.
inline constexpr unsigned kFormatLayoutMask = 7;
inline constexpr unsigned kFormatBits = 4;

/// Without kChunkIndexes a chunk map is of block numbers (u32), kNoBlock for a hole.
inline constexpr uint64_t kBlockMapEntryBytes = 4;

/// XattrEntry::prefix: this bit set, the rest is a number in the table of long prefixes.
inline constexpr uint8_t kXattrLongPrefix = 0x80;

/// An entry of that table: a u16 with the bytes that follow it, then the number of a prefix that
/// EROFS knows, then what comes after that prefix. Entries begin at multiples of kXattrAlignment.
inline constexpr uint64_t kMaxLongPrefixBytes = 256;

}  // namespace floe::erofs
