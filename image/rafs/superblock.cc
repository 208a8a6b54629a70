#include "image/rafs/superblock.h"

#include <algorithm>
#include <array>
#include <bit>
#include <string_view>

namespace floe::image::rafs {
namespace {

constexpr uint32_t kRafsV5Magic = 0x52414653;  // At offset 0.
constexpr uint32_t kErofsMagic = 0xE0F5E1E2;
constexpr ByteRange kSuperblock{1024, 128};
constexpr ByteRange kExtension{1152, 256};
constexpr uint64_t kDeviceSlotBytes = 128;
constexpr uint64_t kSlotOffset = kExtension.offset + kExtension.length;
constexpr uint64_t kBlobEntryBytes = 256;
constexpr uint64_t kChunkRecordBytes = 80;
constexpr uint32_t kMinChunkBytes = 4096;
constexpr uint32_t kMaxChunkBytes = 16U << 20U;
constexpr uint8_t kBlockBits = 12;
constexpr uint32_t kMaxDevices = 254;  // A chunk index names its device with 8 bits, 0 is none.
constexpr uint32_t kNanosecondsPerSecond = 1'000'000'000;

constexpr uint32_t kCompatRafsV6 = 0x40000000;
constexpr uint32_t kIncompatFeatures = 0x4 | 0x8;  // Chunked files, device table.

constexpr uint64_t kCompressorFlags = 0x1 | 0x2 | 0x40 | 0x80;
constexpr uint64_t kDigestFlags = 0x4 | 0x8;
constexpr uint64_t kTarfs = 0x200;
constexpr uint64_t kEncryptedAes128Xts = 0x02000000;
constexpr uint64_t kKnownFlags = 0x3FF | 0x01000000 | kEncryptedAes128Xts;
constexpr uint64_t kCompatibleFlags = 0xFC000000;  // Reserved for what old readers may ignore.

// The features of both superblocks that make it another format, the telling ones first.
Result<void> CheckFeatures(const Record& erofs, const Record& rafs) {
  const uint64_t flags = rafs.U64(0);
  if ((erofs.U32(8) & kCompatRafsV6) == 0) {
    return InvalidArgument("superblock: an EROFS image, but not RAFS v6");
  }
  if ((flags & kTarfs) != 0) {
    return Unimplemented("RAFS in tarfs mode is not supported");
  }
  if ((flags & kEncryptedAes128Xts) != 0) {
    return Unimplemented("encrypted blobs (AES-128-XTS) are not supported");
  }
  if (erofs.U8(12) != kBlockBits) {
    return Unimplemented("superblock: blocks of 2^{} bytes are not supported, only of 4096",
                         erofs.U8(12));
  }
  if (erofs.U32(80) != kIncompatFeatures) {
    return Unimplemented("superblock: incompatible features {:#x}, only {:#x} are known",
                         erofs.U32(80), kIncompatFeatures);
  }
  if ((flags & ~(kKnownFlags | kCompatibleFlags)) != 0) {
    return Unimplemented("superblock: unknown RAFS flags {:#x}",
                         flags & ~(kKnownFlags | kCompatibleFlags));
  }
  if (std::popcount(flags & kCompressorFlags) != 1 || std::popcount(flags & kDigestFlags) != 1) {
    return DataLoss("superblock: RAFS flags {:#x} do not name one compressor and one digest",
                    flags);
  }
  return Ok();
}

Result<void> ReadErofs(const Record& erofs, Bytes bootstrap, Superblock& to) {
  // The number of blocks is not looked at: old builders write 4096 always, and nothing uses it.
  if (erofs.U32(4) != 0 || erofs.U8(13) != 0 || erofs.U32(44) != 0) {
    return DataLoss("superblock: a checksum, slots or shared xattrs where RAFS has none");
  }
  to.root_nid = erofs.U16(14);
  to.inode_count = erofs.U64(16);
  to.build_seconds = erofs.U64(24);
  to.build_nanoseconds = erofs.U32(32);
  to.metadata_offset = erofs.U32(40) * kBlockBytes;
  to.device_count = erofs.U16(86);
  to.device_slots = {erofs.U16(88) * kDeviceSlotBytes, to.device_count * kDeviceSlotBytes};
  if (to.inode_count == 0 || to.build_nanoseconds >= kNanosecondsPerSecond) {
    return DataLoss("superblock: {} inodes, built at nanosecond {}", to.inode_count,
                    to.build_nanoseconds);
  }
  if (to.metadata_offset >= bootstrap.size()) {
    return DataLoss("superblock: inodes at {} of {}", to.metadata_offset, bootstrap.size());
  }
  if (to.device_count > kMaxDevices || to.device_slots.offset != kSlotOffset ||
      !IsInside(to.device_slots, bootstrap)) {
    return DataLoss("superblock: {} devices at {}", to.device_count, to.device_slots.offset);
  }
  return Ok();
}

Result<void> CheckTable(std::string_view name, ByteRange table, uint64_t entry_bytes,
                        uint64_t alignment, Bytes bootstrap) {
  if (table.empty()) {
    return Ok();
  }
  if (table.offset % alignment != 0 || table.length % entry_bytes != 0 ||
      !IsInside(table, bootstrap)) {
    return DataLoss("superblock: the {} table is at {}+{} of {}", name, table.offset, table.length,
                    bootstrap.size());
  }
  return Ok();
}

// Tables without entries may say any offset (old builders leave it, or the size, behind).
Result<void> CheckTables(Bytes bootstrap, const Superblock& superblock) {
  FLOE_RETURN_IF_ERROR(
      CheckTable("blob", superblock.blob_table, kBlobEntryBytes, kBlockBytes, bootstrap));
  FLOE_RETURN_IF_ERROR(
      CheckTable("chunk", superblock.chunk_table, kChunkRecordBytes, kBlockBytes, bootstrap));
  FLOE_RETURN_IF_ERROR(CheckTable("prefetch", superblock.prefetch_table, sizeof(uint32_t),
                                  sizeof(uint32_t), bootstrap));
  std::array parts = {ByteRange{0, kSlotOffset}, superblock.device_slots, superblock.blob_table,
                      superblock.prefetch_table, superblock.chunk_table};
  std::ranges::sort(parts);
  uint64_t end = 0;
  for (const ByteRange& part : parts) {
    if (!part.empty() && part.offset < end) {
      return DataLoss("superblock: a table at {} overlaps what ends at {}", part.offset, end);
    }
    end = part.empty() ? end : part.end();
  }
  return Ok();
}

Result<void> ReadExtension(const Record& rafs, Bytes bootstrap, Superblock& to) {
  to.blob_table = {rafs.U64(8), rafs.U32(16)};
  to.chunk_bytes = rafs.U32(20);
  to.chunk_table = {rafs.U64(24), rafs.U64(32)};
  to.prefetch_table = {rafs.U64(40), rafs.U32(48)};
  if (to.prefetch_table.offset == 0) {  // An empty file system of an old builder has a size here.
    to.prefetch_table = {};
  }
  if (!std::has_single_bit(to.chunk_bytes) || to.chunk_bytes < kMinChunkBytes ||
      to.chunk_bytes > kMaxChunkBytes) {
    return DataLoss("superblock: chunks of {} bytes", to.chunk_bytes);
  }
  if (to.blob_table.length != to.device_count * kBlobEntryBytes) {
    return DataLoss("superblock: a blob table of {} bytes for {} devices", to.blob_table.length,
                    to.device_count);
  }
  return CheckTables(bootstrap, to);
}

}  // namespace

Result<Superblock> ReadSuperblock(Bytes bootstrap) {
  if (!IsInside(kExtension, bootstrap)) {
    return InvalidArgument("bootstrap of {} bytes", bootstrap.size());
  }
  if (Record(bootstrap).U32(0) == kRafsV5Magic) {
    return Unimplemented("RAFS v5 is not supported, only v6");
  }
  const Record erofs(Slice(bootstrap, kSuperblock));
  const Record rafs(Slice(bootstrap, kExtension));
  if (erofs.U32(0) != kErofsMagic) {
    return InvalidArgument("superblock: not RAFS, its magic is {:#x}", erofs.U32(0));
  }
  FLOE_RETURN_IF_ERROR(CheckFeatures(erofs, rafs));
  if (bootstrap.size() % kBlockBytes != 0) {
    return DataLoss("bootstrap of {} bytes, which are not whole blocks", bootstrap.size());
  }
  Superblock superblock;
  FLOE_RETURN_IF_ERROR(ReadErofs(erofs, bootstrap, superblock));
  FLOE_RETURN_IF_ERROR(ReadExtension(rafs, bootstrap, superblock));
  return superblock;
}

}  // namespace floe::image::rafs
