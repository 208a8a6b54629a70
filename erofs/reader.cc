#include "erofs/reader.h"

#include <sys/stat.h>

#include <algorithm>

#include "base/byte_range.h"
#include "image/layer_index.h"

namespace floe::erofs {
namespace {

constexpr uint64_t kTagLength = 64;
constexpr uint32_t kNanosecondsPerSecond = 1'000'000'000;

template <typename Array>
bool IsZero(const Array& bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](auto byte) { return byte == 0; });
}

bool Contains(std::string_view image, uint64_t offset, uint64_t length) {
  return offset <= image.size() && length <= image.size() - offset;
}

uint64_t ChunkBytes(const InodeInfo& inode) { return kBlockBytes << inode.chunk_bits; }

uint64_t ChunkCount(const InodeInfo& inode) {
  return inode.size_bytes == 0 ? 0 : (inode.size_bytes - 1) / ChunkBytes(inode) + 1;
}

uint64_t ChunksOffset(const InodeInfo& inode) {
  return AlignUp(inode.offset + sizeof(ExtendedInode) + inode.xattr_bytes, sizeof(ChunkIndex));
}

/// For messages: a tag may hold any bytes.
std::string Printable(std::string_view tag) {
  std::string text(tag);
  std::replace_if(text.begin(), text.end(), [](char c) { return c < ' ' || c > '~'; }, '?');
  return text;
}

bool HoldsData(uint32_t mode) { return S_ISDIR(mode) || S_ISLNK(mode); }

/// What the type of an inode says about its size and layout.
Result<void> CheckKind(const InodeInfo& inode) {
  const uint64_t size = inode.size_bytes;
  bool right = true;
  if (S_ISREG(inode.mode)) {
    right = size <= image::kMaxFileBytes &&
            inode.layout == (size == 0 ? DataLayout::kFlatPlain : DataLayout::kChunkBased);
  } else if (S_ISDIR(inode.mode)) {
    right = size > 0 && inode.layout != DataLayout::kChunkBased;
  } else if (S_ISLNK(inode.mode)) {
    right = size > 0 && size <= image::kMaxTargetBytes && inode.layout != DataLayout::kChunkBased;
  } else {
    right = size == 0 && inode.layout == DataLayout::kFlatPlain;
  }
  if (!right) {
    return DataLoss("inode {} of mode {:o} has {} bytes in layout {}", inode.nid, inode.mode, size,
                    static_cast<int>(inode.layout));
  }
  return Ok();
}

Result<DataLayout> LayoutOf(uint64_t nid, uint16_t format) {
  for (DataLayout layout :
       {DataLayout::kFlatPlain, DataLayout::kFlatInline, DataLayout::kChunkBased}) {
    if (format == InodeFormat(layout)) {
      return layout;
    }
  }
  return InvalidArgument("inode {} has the unknown format {:#x}", nid, format);
}

}  // namespace

uint64_t BootstrapReader::OffsetOfNid(uint64_t nid) const {
  return super_.meta_block * kBlockBytes + nid * kSlotBytes;
}

uint64_t BootstrapReader::InodeBytes(const InodeInfo& inode) {
  const uint64_t head = sizeof(ExtendedInode) + inode.xattr_bytes;
  switch (inode.layout) {
    case DataLayout::kChunkBased:
      return ChunksOffset(inode) - inode.offset + ChunkCount(inode) * sizeof(ChunkIndex);
    case DataLayout::kFlatInline:
      return head + inode.size_bytes % kBlockBytes;
    default:
      return head;
  }
}

std::string_view BootstrapReader::Tail(const InodeInfo& inode) const {
  return image_.substr(inode.offset + sizeof(ExtendedInode) + inode.xattr_bytes,
                       inode.size_bytes % kBlockBytes);
}

Result<BootstrapReader> BootstrapReader::Open(std::string_view image) {
  if (image.size() < kBlockBytes || image.size() % kBlockBytes != 0) {
    return InvalidArgument("not a bootstrap: {} bytes", image.size());
  }
  BootstrapReader reader(image);
  reader.super_ = LoadAt<SuperBlock>(image, kSuperOffset);
  FLOE_RETURN_IF_ERROR(reader.CheckSuperBlock());
  FLOE_RETURN_IF_ERROR(reader.ReadDevices());
  FLOE_ASSIGN_OR_RETURN(const InodeInfo root, reader.ReadInode(reader.root_nid()));
  if (!S_ISDIR(root.mode)) {
    return DataLoss("the root is no directory");
  }
  return reader;
}

Result<void> BootstrapReader::CheckSuperBlock() const {
  const SuperBlock& super = super_;
  if (super.magic != kSuperMagic) {
    return InvalidArgument("not an EROFS image: magic {:#x}", super.magic);
  }
  if (super.feature_compat != (kCompatChecksum | kCompatMtime) ||
      (super.feature_incompat & ~(kIncompatChunkedFile | kIncompatDeviceTable)) != 0 ||
      (super.feature_incompat & kIncompatChunkedFile) == 0) {
    return InvalidArgument("features that are not a bootstrap's: compat {:#x}, incompat {:#x}",
                           super.feature_compat, super.feature_incompat);
  }
  if (super.block_bits != kBlockBits || super.extension_slots != 0 ||
      super.directory_block_bits != 0) {
    return InvalidArgument("block size bits {}, directory block bits {}, extension slots {}",
                           super.block_bits, super.directory_block_bits, super.extension_slots);
  }
  const uint32_t checksum = SuperBlockChecksum(image_);
  if (super.checksum != checksum) {
    return DataLoss("superblock checksum {:#010x}, computed {:#010x}", super.checksum, checksum);
  }
  if (super.blocks != image_.size() / kBlockBytes) {
    return DataLoss("superblock counts {} blocks, the image has {}", super.blocks,
                    image_.size() / kBlockBytes);
  }
  if (super.epoch != 0 || super.fixed_nanoseconds != 0 || super.compression_algorithms != 0 ||
      super.xattr_prefix_count != 0 || super.xattr_prefix_start != 0 || super.packed_nid != 0 ||
      !IsZero(super.reserved) || !IsZero(super.volume_name)) {
    return InvalidArgument("superblock fields that a bootstrap leaves zero are set");
  }
  if (super.meta_block >= super.blocks || super.xattr_block >= super.blocks) {
    return DataLoss("metadata at block {} or xattrs at block {} of {}", super.meta_block,
                    super.xattr_block, super.blocks);
  }
  return Ok();
}

Result<void> BootstrapReader::ReadDevices() {
  const bool has_table = (super_.feature_incompat & kIncompatDeviceTable) != 0;
  if (has_table != (super_.extra_devices > 0) || (!has_table && super_.device_table_slot != 0)) {
    return DataLoss("{} devices, but features {:#x} and table slot {}", super_.extra_devices,
                    super_.feature_incompat, super_.device_table_slot);
  }
  const uint64_t table = super_.device_table_slot * sizeof(DeviceSlot);
  if (has_table && (table < kSuperOffset + sizeof(SuperBlock) ||
                    !Contains(image_, table, super_.extra_devices * sizeof(DeviceSlot)))) {
    return DataLoss("device table at byte {} of {}", table, image_.size());
  }
  uint64_t address = super_.blocks;
  for (uint32_t i = 0; i < super_.extra_devices; ++i) {
    const uint64_t offset = table + i * sizeof(DeviceSlot);
    const auto slot = LoadAt<DeviceSlot>(image_, offset);
    const std::string_view tag = image_.substr(offset, kTagLength);
    const uint64_t expected = address + slot.blocks < kNoBlock ? address : 0;
    if (slot.blocks == 0 || slot.blocks == kNoBlock || slot.unified_address != expected ||
        !IsZero(slot.reserved) ||
        tag.find_first_not_of("0123456789abcdef") != std::string_view::npos) {
      return DataLoss("device {}: tag '{}', {} blocks at {}", i + 1, Printable(tag), slot.blocks,
                      slot.unified_address);
    }
    devices_.push_back({tag, slot.blocks * kBlockBytes});
    address += slot.blocks;
  }
  return Ok();
}

Result<InodeInfo> BootstrapReader::ReadInode(uint64_t nid) const {
  if (nid == 0 || nid > image_.size() / kSlotBytes ||
      !Contains(image_, OffsetOfNid(nid), sizeof(ExtendedInode))) {
    return DataLoss("inode {} lies outside of the image", nid);
  }
  const auto stored = LoadAt<ExtendedInode>(image_, OffsetOfNid(nid));
  FLOE_ASSIGN_OR_RETURN(const DataLayout layout, LayoutOf(nid, stored.format));
  InodeInfo inode{.nid = nid,
                  .mode = stored.mode,
                  .uid = stored.uid,
                  .gid = stored.gid,
                  .nlink = stored.nlink,
                  .size_bytes = stored.size,
                  .mtime_seconds = static_cast<int64_t>(stored.mtime),
                  .mtime_nanoseconds = stored.mtime_nanoseconds,
                  .layout = layout,
                  .offset = OffsetOfNid(nid),
                  .xattr_bytes = XattrBytesOfCount(stored.xattr_count)};
  if (FileTypeOfMode(inode.mode) == 0 || stored.start_block_high != 0 ||
      inode.mtime_nanoseconds >= kNanosecondsPerSecond || inode.nlink == 0 ||
      stored.xattr_count == 1 || !IsZero(stored.reserved)) {
    return DataLoss("inode {} is malformed: mode {:o}, nlink {}, mtime {} ns, xattr count {}", nid,
                    inode.mode, inode.nlink, inode.mtime_nanoseconds, stored.xattr_count);
  }
  FLOE_RETURN_IF_ERROR(CheckKind(inode));
  FLOE_RETURN_IF_ERROR(ReadDataField(stored.data, inode));
  if (!Contains(image_, inode.offset, InodeBytes(inode))) {
    return DataLoss("inode {} and what belongs to it lie outside of the image", nid);
  }
  return inode;
}

Result<void> BootstrapReader::ReadDataField(uint32_t data, InodeInfo& inode) const {
  if (inode.layout == DataLayout::kChunkBased) {
    if ((data & ~kChunkBitsMask) != kChunkIndexes) {
      return DataLoss("inode {} has the unknown chunk format {:#x}", inode.nid, data);
    }
    inode.chunk_bits = static_cast<uint8_t>(data & kChunkBitsMask);
    return Ok();
  }
  if (HoldsData(inode.mode)) {
    return CheckFlatData(data, inode);
  }
  if (S_ISCHR(inode.mode) || S_ISBLK(inode.mode)) {
    inode.rdev_major = DeviceMajor(data);
    inode.rdev_minor = DeviceMinor(data);
    return Ok();
  }
  if (data != (S_ISREG(inode.mode) ? kNoBlock : 0)) {
    return DataLoss("inode {} of mode {:o} has the data field {:#x}", inode.nid, inode.mode, data);
  }
  return Ok();
}

Result<void> BootstrapReader::CheckFlatData(uint32_t first_block, InodeInfo& inode) const {
  const bool has_tail = inode.layout == DataLayout::kFlatInline;
  const uint64_t tail = inode.size_bytes % kBlockBytes;
  if (has_tail && (tail == 0 || inode.offset % kBlockBytes + InodeBytes(inode) > kBlockBytes)) {
    return DataLoss("inode {} has an inline tail of {} bytes that leaves its block", inode.nid,
                    tail);
  }
  const uint64_t blocks =
      (has_tail ? inode.size_bytes : AlignUp(inode.size_bytes, kBlockBytes)) / kBlockBytes;
  // Block 0 is the superblock's.
  const bool inside =
      first_block != 0 && Contains(image_, first_block * kBlockBytes, blocks * kBlockBytes);
  if (inode.size_bytes > image_.size() || (blocks == 0 ? first_block != kNoBlock : !inside)) {
    return DataLoss("inode {} has {} blocks from block {} on", inode.nid, blocks, first_block);
  }
  inode.blocks_offset = blocks == 0 ? 0 : first_block * kBlockBytes;
  return Ok();
}

Result<std::string_view> BootstrapReader::ReadSymlink(const InodeInfo& symlink) const {
  if (!S_ISLNK(symlink.mode)) {
    return InvalidArgument("inode {} is no symlink", symlink.nid);
  }
  const std::string_view target = symlink.layout == DataLayout::kFlatInline
                                      ? Tail(symlink)
                                      : image_.substr(symlink.blocks_offset, symlink.size_bytes);
  if (target.find('\0') != std::string_view::npos) {
    return DataLoss("symlink {} has a NUL in its target", symlink.nid);
  }
  return target;
}

Result<std::vector<FilePiece>> BootstrapReader::ReadPieces(const InodeInfo& file) const {
  if (!S_ISREG(file.mode)) {
    return InvalidArgument("inode {} is no regular file", file.nid);
  }
  std::vector<FilePiece> pieces;
  for (uint64_t chunk = 0; chunk < ChunkCount(file); ++chunk) {
    const auto index = LoadAt<ChunkIndex>(image_, ChunksOffset(file) + chunk * sizeof(ChunkIndex));
    FilePiece piece;
    piece.file_offset = chunk * ChunkBytes(file);
    piece.length = std::min(ChunkBytes(file), file.size_bytes - piece.file_offset);
    piece.device = index.device;
    const bool hole = index.start_block == kNoBlock;
    piece.device_offset = hole ? 0 : index.start_block * kBlockBytes;
    if (index.start_block_high != 0 || hole != (index.device == 0) ||
        index.device > devices_.size() ||
        (!hole && piece.device_offset + AlignUp(piece.length, kBlockBytes) >
                      devices_[index.device - 1U].size_bytes)) {
      return DataLoss("chunk {} of inode {} lies in device {} at block {}", chunk, file.nid,
                      index.device, index.start_block);
    }
    FilePiece* last = pieces.empty() ? nullptr : &pieces.back();
    if (last != nullptr && last->device == piece.device &&
        (hole || last->device_offset + last->length == piece.device_offset)) {
      last->length += piece.length;
    } else {
      pieces.push_back(piece);
    }
  }
  return pieces;
}

Result<InodeInfo> BootstrapReader::Lookup(std::string_view path) const {
  FLOE_ASSIGN_OR_RETURN(InodeInfo inode, ReadInode(root_nid()));
  std::vector<DirentInfo> dirents;
  for (std::string_view rest = path == "." ? "" : path; !rest.empty();) {
    const std::string_view name = rest.substr(0, rest.find('/'));
    rest.remove_prefix(std::min(rest.size(), name.size() + 1));
    if (!S_ISDIR(inode.mode)) {
      return NotFound("no '{}': not a directory above it", path);
    }
    FLOE_RETURN_IF_ERROR(ReadDirectory(inode, dirents));
    const auto found = std::find_if(dirents.begin(), dirents.end(),
                                    [&](const DirentInfo& entry) { return entry.name == name; });
    if (found == dirents.end()) {
      return NotFound("no '{}' in the image", path);
    }
    FLOE_ASSIGN_OR_RETURN(inode, ReadInode(found->nid));
  }
  return inode;
}

}  // namespace floe::erofs
