#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <cstring>
#include <string_view>

/// The on-disk structures of EROFS that Floe writes and reads. Source: Linux fs/erofs/erofs_fs.h
/// (names follow it where they can); docs/formats.md says which values Floe uses. Everything is
/// little-endian, and structures are copied, never cast in place.
namespace floe::erofs {

static_assert(std::endian::native == std::endian::little, "the structures are copied as they are");

inline constexpr uint32_t kSuperMagic = 0xE0F5E1E2;
inline constexpr uint64_t kSuperOffset = 1024;
inline constexpr uint8_t kBlockBits = 12;
/// nid * kSlotBytes is an inode's distance from the block meta_blkaddr.
inline constexpr uint64_t kSlotBytes = 32;
inline constexpr uint32_t kNoBlock = UINT32_MAX;
inline constexpr uint32_t kMaxRootNid = UINT16_MAX;

inline constexpr uint32_t kCompatChecksum = 0x1;
inline constexpr uint32_t kCompatMtime = 0x2;  ///< Inode times are mtimes, not ctimes.
inline constexpr uint32_t kIncompatChunkedFile = 0x4;
inline constexpr uint32_t kIncompatDeviceTable = 0x8;

struct SuperBlock {
  uint32_t magic = kSuperMagic;
  uint32_t checksum = 0;  ///< crc32c of block 0 from kSuperOffset on, this field taken as zero.
  uint32_t feature_compat = 0;
  uint8_t block_bits = kBlockBits;
  uint8_t extension_slots = 0;
  uint16_t root_nid = 0;
  uint64_t inode_count = 0;
  uint64_t epoch = 0;  ///< Base time of compact inodes.
  uint32_t fixed_nanoseconds = 0;
  uint32_t blocks = 0;  ///< Of the primary device.
  uint32_t meta_block = 0;
  uint32_t xattr_block = 0;
  std::array<uint8_t, 16> uuid{};
  std::array<uint8_t, 16> volume_name{};
  uint32_t feature_incompat = 0;
  uint16_t compression_algorithms = 0;
  uint16_t extra_devices = 0;
  uint16_t device_table_slot = 0;  ///< Unit: sizeof(DeviceSlot), from the start of the image.
  uint8_t directory_block_bits = 0;
  uint8_t xattr_prefix_count = 0;
  uint32_t xattr_prefix_start = 0;
  uint64_t packed_nid = 0;
  std::array<uint8_t, 24> reserved{};
};
static_assert(sizeof(SuperBlock) == 128);

struct DeviceSlot {
  std::array<char, 64> tag{};
  uint32_t blocks = 0;
  uint32_t unified_address = 0;  ///< First block in the unified space; 0: not in it.
  std::array<uint8_t, 56> reserved{};
};
static_assert(sizeof(DeviceSlot) == 128);

enum class DataLayout : uint8_t {
  kFlatPlain = 0,
  kCompressedFull = 1,
  kFlatInline = 2,
  kCompressedCompact = 3,
  kChunkBased = 4,
};

struct ExtendedInode {
  uint16_t format = 0;  ///< Bit 0: extended; bits 1 to 3: DataLayout.
  uint16_t xattr_count = 0;
  uint16_t mode = 0;
  uint16_t start_block_high = 0;
  uint64_t size = 0;
  uint32_t data = 0;  ///< First block, device number or chunk format.
  uint32_t ino = 0;   ///< For 32-bit userspace only.
  uint32_t uid = 0;
  uint32_t gid = 0;
  uint64_t mtime = 0;
  uint32_t mtime_nanoseconds = 0;
  uint32_t nlink = 0;
  std::array<uint8_t, 16> reserved{};
};
static_assert(sizeof(ExtendedInode) == 64);
inline constexpr uint16_t kFormatExtended = 1;
inline constexpr unsigned kFormatLayoutShift = 1;

constexpr uint16_t InodeFormat(DataLayout layout) {
  return static_cast<uint16_t>(kFormatExtended |
                               (static_cast<unsigned>(layout) << kFormatLayoutShift));
}

/// ExtendedInode::data of a chunk-based file: a chunk is kBlockBytes << bits.
inline constexpr uint32_t kChunkBitsMask = 0x1F;
inline constexpr uint32_t kChunkIndexes = 0x20;

/// Where one chunk lies. A hole has no block and device 0.
struct ChunkIndex {
  uint16_t start_block_high = 0;
  uint16_t device = 0;  ///< 1 + slot in the device table.
  uint32_t start_block = kNoBlock;
};
static_assert(sizeof(ChunkIndex) == 8);

/// A directory block: Dirents, then their names without NUL; the first name starts where the
/// dirents end, and a name ends where the next begins.
struct DirentOnDisk {
  uint32_t nid_low = 0;
  uint32_t nid_high = 0;
  uint16_t name_offset = 0;
  uint8_t file_type = 0;
  uint8_t reserved = 0;
};
static_assert(sizeof(DirentOnDisk) == 12);

/// Dirent file types; the numbers of Linux include/linux/fs_types.h. 0 for a mode of no known type.
uint8_t FileTypeOfMode(uint32_t mode);

/// What follows an inode with xattrs: this, shared_count ids (u32), then XattrEntry by XattrEntry.
struct XattrHeader {
  uint32_t name_filter = 0;
  uint8_t shared_count = 0;
  std::array<uint8_t, 7> reserved{};
};
static_assert(sizeof(XattrHeader) == 12);

/// Followed by the name without its prefix, the value, and zeros up to kXattrAlignment.
struct XattrEntry {
  uint8_t name_length = 0;
  uint8_t prefix = 0;
  uint16_t value_size = 0;
};
static_assert(sizeof(XattrEntry) == 4);
inline constexpr uint64_t kXattrAlignment = 4;

/// ExtendedInode::xattr_count of an xattr area of so many bytes, and back.
constexpr uint64_t XattrCountOfBytes(uint64_t bytes) {
  return bytes == 0 ? 0 : (bytes - sizeof(XattrHeader)) / kXattrAlignment + 1;
}
constexpr uint64_t XattrBytesOfCount(uint64_t count) {
  return count == 0 ? 0 : sizeof(XattrHeader) + kXattrAlignment * (count - 1);
}

/// An xattr namespace that EROFS knows by number. The ACL names are whole: nothing follows them.
struct XattrPrefix {
  uint8_t number = 0;
  std::string_view text;
  bool whole_name = false;
};
inline constexpr std::array kXattrPrefixes = {
    XattrPrefix{1, "user.", false},
    XattrPrefix{2, "system.posix_acl_access", true},
    XattrPrefix{3, "system.posix_acl_default", true},
    XattrPrefix{4, "trusted.", false},
    XattrPrefix{6, "security.", false},
};

/// Device numbers are kept in the kernel's 32-bit form: 12 bits of major, 20 bits of minor.
inline constexpr uint32_t kMaxMajor = 0xFFF;
inline constexpr uint32_t kMaxMinor = 0xFFFFF;
constexpr uint32_t EncodeDevice(uint32_t major, uint32_t minor) {
  return (minor & 0xFFU) | (major << 8U) | ((minor & ~0xFFU) << 12U);
}
constexpr uint32_t DeviceMajor(uint32_t device) { return (device >> 8U) & kMaxMajor; }
constexpr uint32_t DeviceMinor(uint32_t device) {
  return (device & 0xFFU) | ((device >> 12U) & 0xFFF00U);
}

/// crc32c (Castagnoli, RFC 3720 appendix B.4) of the bytes with the initial value 0xFFFFFFFF and no
/// final complement: the superblock's checksum.
uint32_t Crc32c(std::string_view bytes);

/// The checksum of an image of at least one block, its checksum field taken as zero.
uint32_t SuperBlockChecksum(std::string_view image);

/// Copies a structure out of, or into, bytes at an offset. REQUIRES: it lies inside.
template <typename T>
T LoadAt(std::string_view bytes, uint64_t offset) {
  T value;
  std::memcpy(&value, bytes.data() + offset, sizeof(T));
  return value;
}
template <typename T>
void StoreAt(char* bytes, uint64_t offset, const T& value) {
  std::memcpy(bytes + offset, &value, sizeof(T));
}

}  // namespace floe::erofs
