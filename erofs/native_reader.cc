#include "erofs/native_reader.h"

#include <sys/stat.h>

#include <algorithm>
#include <string_view>

#include "image/layer_index.h"

namespace floe::erofs {
namespace {

constexpr uint32_t kNanosecondsPerSecond = 1'000'000'000;
/// Of a chunk map that are read at once; a multiple of both sizes of its entries.
constexpr uint64_t kMapBytesAtOnce = 64U << 10U;

bool HoldsBlocks(uint32_t mode) { return S_ISREG(mode) || S_ISDIR(mode) || S_ISLNK(mode); }

/// A file of zeros that takes no blocks (Linux 6.15).
bool IsHole(const NativeInode& inode) {
  return S_ISREG(inode.mode) && inode.layout == DataLayout::kFlatPlain && inode.data == kNoBlock;
}

Result<DataLayout> LayoutOf(uint64_t nid, uint16_t format) {
  const unsigned layout = (unsigned{format} >> kFormatLayoutShift) & kFormatLayoutMask;
  if (format >> kFormatBits != 0 || layout > static_cast<unsigned>(DataLayout::kChunkBased)) {
    return Unimplemented("inode {} has the format {:#x}, which is not known", nid, format);
  }
  const auto known = static_cast<DataLayout>(layout);
  if (known == DataLayout::kCompressedFull || known == DataLayout::kCompressedCompact) {
    return Unimplemented("compressed inodes are not supported (inode {}, layout {})", nid, layout);
  }
  return known;
}

NativeInode FromExtended(const ExtendedInode& stored) {
  return {.mode = stored.mode,
          .uid = stored.uid,
          .gid = stored.gid,
          .size_bytes = stored.size,
          .mtime_seconds = static_cast<int64_t>(stored.mtime),
          .mtime_nanoseconds = stored.mtime_nanoseconds,
          .inode_bytes = sizeof(ExtendedInode),
          .xattr_bytes = XattrBytesOfCount(stored.xattr_count),
          .data = stored.data};
}

NativeInode FromCompact(const CompactInode& stored, const SuperBlock& super) {
  return {.mode = stored.mode,
          .uid = stored.uid,
          .gid = stored.gid,
          .size_bytes = stored.size,
          .mtime_seconds = static_cast<int64_t>(super.epoch + stored.mtime),
          .mtime_nanoseconds = super.fixed_nanoseconds,
          .inode_bytes = sizeof(CompactInode),
          .xattr_bytes = XattrBytesOfCount(stored.xattr_count),
          .data = stored.data};
}

/// What an inode's type says about its size and layout.
Result<void> CheckKind(const NativeInode& inode) {
  bool right = S_ISREG(inode.mode) || inode.layout != DataLayout::kChunkBased;
  if (S_ISREG(inode.mode)) {
    right = inode.size_bytes <= image::kMaxFileBytes;
  } else if (S_ISDIR(inode.mode)) {
    right = right && inode.size_bytes > 0 && inode.size_bytes <= image::kMaxFileBytes;
  } else if (S_ISLNK(inode.mode)) {
    right = right && inode.size_bytes > 0 && inode.size_bytes <= image::kMaxTargetBytes;
  }
  if (!right || FileTypeOfMode(inode.mode) == 0 ||
      inode.mtime_nanoseconds >= kNanosecondsPerSecond) {
    return DataLoss("inode {} of mode {:o} has {} bytes in layout {} and {} nanoseconds", inode.nid,
                    inode.mode, inode.size_bytes, static_cast<int>(inode.layout),
                    inode.mtime_nanoseconds);
  }
  return Ok();
}

}  // namespace

bool NativeReader::Contains(uint64_t offset, uint64_t length) const {
  return offset <= limit_ && length <= limit_ - offset;
}

Result<std::string> NativeReader::Fetch(ByteRange range) const {
  FLOE_ASSIGN_OR_RETURN(std::string bytes, image_->Read(range));
  if (bytes.size() != range.length) {
    return Internal("{} bytes were read of {}+{}", bytes.size(), range.offset, range.length);
  }
  return bytes;
}

Result<NativeReader> NativeReader::Open(ImageBytes& image) {
  if (image.size_bytes() < kSuperOffset + sizeof(SuperBlock)) {
    return InvalidArgument("not an EROFS image: {} bytes", image.size_bytes());
  }
  NativeReader reader(image);
  FLOE_ASSIGN_OR_RETURN(const std::string bytes,
                        image.Read({.offset = kSuperOffset, .length = sizeof(SuperBlock)}));
  reader.super_ = LoadAt<SuperBlock>(bytes, 0);
  FLOE_RETURN_IF_ERROR(reader.CheckSuperBlock());
  reader.limit_ = reader.super_.blocks * reader.block_bytes();
  if (reader.limit_ > image.size_bytes() || reader.limit_ < kSuperOffset + sizeof(SuperBlock)) {
    return DataLoss("the superblock counts {} blocks of {} bytes, the image has {} bytes",
                    reader.super_.blocks, reader.block_bytes(), image.size_bytes());
  }
  FLOE_RETURN_IF_ERROR(reader.CheckChecksum());
  FLOE_RETURN_IF_ERROR(reader.ReadLongPrefixes());
  return reader;
}

Result<void> NativeReader::CheckSuperBlock() const {
  if (super_.magic != kSuperMagic) {
    return InvalidArgument("not an EROFS image: magic {:#x}", super_.magic);
  }
  if (const uint32_t unknown = super_.feature_incompat & ~kKnownIncompat; unknown != 0) {
    return Unimplemented("EROFS features {:#x} are not supported", unknown);
  }
  if (super_.block_bits < kMinNativeBlockBits || super_.block_bits > kMaxNativeBlockBits ||
      super_.directory_block_bits != 0) {
    return Unimplemented("blocks of 2^{} bytes and directory blocks of 2^{} blocks",
                         super_.block_bits, super_.directory_block_bits);
  }
  if (super_.extra_devices != 0) {
    return Unimplemented("its data lies on {} extra devices", super_.extra_devices);
  }
  return Ok();
}

// As the kernel computes it: what the block of the superblock holds from there on, or one block.
Result<void> NativeReader::CheckChecksum() const {
  if ((super_.feature_compat & kCompatChecksum) == 0) {
    return Ok();
  }
  const uint64_t block = block_bytes();
  const uint64_t length = block > kSuperOffset ? block - kSuperOffset : block;
  if (!Contains(kSuperOffset, length)) {
    return DataLoss("the superblock's checksum is of {} bytes of {}", length, limit_);
  }
  FLOE_ASSIGN_OR_RETURN(std::string bytes, Fetch({.offset = kSuperOffset, .length = length}));
  StoreAt(bytes.data(), offsetof(SuperBlock, checksum), uint32_t{0});
  if (const uint32_t checksum = Crc32c(bytes); checksum != super_.checksum) {
    return DataLoss("superblock checksum {:#010x}, computed {:#010x}", super_.checksum, checksum);
  }
  return Ok();
}

Result<NativeInode> NativeReader::ReadInode(uint64_t nid) const {
  const uint64_t offset = super_.meta_block * block_bytes() + nid * kSlotBytes;
  if (nid > limit_ / kSlotBytes || !Contains(offset, sizeof(CompactInode))) {
    return DataLoss("inode {} lies outside of the image", nid);
  }
  const uint64_t length = std::min<uint64_t>(sizeof(ExtendedInode), limit_ - offset);
  FLOE_ASSIGN_OR_RETURN(const std::string bytes, Fetch({.offset = offset, .length = length}));
  const auto compact = LoadAt<CompactInode>(bytes, 0);
  FLOE_ASSIGN_OR_RETURN(const DataLayout layout, LayoutOf(nid, compact.format));
  const bool extended = (compact.format & kFormatExtended) != 0;
  if ((extended && length < sizeof(ExtendedInode)) || compact.xattr_count == 1) {
    return DataLoss("inode {} is cut off, or has {} xattr words", nid, compact.xattr_count);
  }
  NativeInode inode =
      extended ? FromExtended(LoadAt<ExtendedInode>(bytes, 0)) : FromCompact(compact, super_);
  inode.nid = nid;
  inode.offset = offset;
  inode.layout = layout;
  if (S_ISCHR(inode.mode) || S_ISBLK(inode.mode)) {
    inode.rdev_major = DeviceMajor(inode.data);
    inode.rdev_minor = DeviceMinor(inode.data);
  }
  if (!HoldsBlocks(inode.mode)) {
    inode.size_bytes = 0;
  }
  FLOE_RETURN_IF_ERROR(CheckKind(inode));
  FLOE_RETURN_IF_ERROR(CheckPlace(inode));
  return inode;
}

Result<void> NativeReader::CheckPlace(const NativeInode& inode) const {
  if (inode.layout == DataLayout::kChunkBased &&
      (inode.data & ~(kChunkBitsMask | kChunkIndexes)) != 0) {
    return DataLoss("inode {} has the unknown chunk format {:#x}", inode.nid, inode.data);
  }
  if (const ByteRange head = HeadOf(inode); !Contains(head.offset, head.length)) {
    return DataLoss("inode {} and what belongs to it lie outside of the image", inode.nid);
  }
  return inode.layout == DataLayout::kChunkBased || !HoldsBlocks(inode.mode) ? Ok()
                                                                             : CheckFlat(inode);
}

Result<void> NativeReader::CheckFlat(const NativeInode& inode) const {
  if (IsHole(inode)) {
    return Ok();
  }
  const uint64_t tail = TailBytes(inode);
  if (TailOffset(inode) % block_bytes() + tail > block_bytes()) {
    return DataLoss("inode {} has an inline tail of {} bytes that leaves its block", inode.nid,
                    tail);
  }
  const uint64_t in_blocks = inode.size_bytes - tail;
  if (in_blocks > 0 && !Contains(inode.data * block_bytes(), in_blocks)) {
    return DataLoss("inode {} has {} bytes from block {} on", inode.nid, in_blocks, inode.data);
  }
  return Ok();
}

// Inline data is never a whole number of blocks but for a last block that is inline as a whole.
uint64_t NativeReader::TailBytes(const NativeInode& inode) const {
  if (inode.layout != DataLayout::kFlatInline || inode.size_bytes == 0) {
    return 0;
  }
  return (inode.size_bytes - 1) % block_bytes() + 1;
}

uint64_t NativeReader::TailOffset(const NativeInode& inode) const {
  return inode.offset + inode.inode_bytes + inode.xattr_bytes;
}

uint64_t NativeReader::ChunkBytes(const NativeInode& inode) const {
  return block_bytes() << (inode.data & kChunkBitsMask);
}

uint64_t NativeReader::ChunkCount(const NativeInode& inode) const {
  return inode.size_bytes == 0 ? 0 : (inode.size_bytes - 1) / ChunkBytes(inode) + 1;
}

namespace {

uint64_t MapEntryBytes(const NativeInode& inode) {
  return (inode.data & kChunkIndexes) != 0 ? sizeof(ChunkIndex) : kBlockMapEntryBytes;
}

}  // namespace

uint64_t NativeReader::ChunksOffset(const NativeInode& inode) const {
  return AlignUp(TailOffset(inode), MapEntryBytes(inode));
}

ByteRange NativeReader::HeadOf(const NativeInode& inode) const {
  const bool chunks = inode.layout == DataLayout::kChunkBased;
  const uint64_t end = chunks ? ChunksOffset(inode) + ChunkCount(inode) * MapEntryBytes(inode)
                              : TailOffset(inode) + TailBytes(inode);
  return {.offset = inode.offset, .length = end - inode.offset};
}

ByteRange NativeReader::BlocksOf(const NativeInode& inode) const {
  const bool has_blocks = S_ISDIR(inode.mode) || S_ISLNK(inode.mode);
  const uint64_t bytes =
      has_blocks ? AlignUp(inode.size_bytes - TailBytes(inode), block_bytes()) : 0;
  return {.offset = bytes == 0 ? 0 : inode.data * block_bytes(), .length = bytes};
}

Result<std::string> NativeReader::ReadFlat(const NativeInode& inode, ByteRange range) const {
  const uint64_t in_blocks = inode.size_bytes - TailBytes(inode);
  const uint64_t from_blocks =
      range.offset < in_blocks ? std::min(range.length, in_blocks - range.offset) : 0;
  std::string bytes;
  if (from_blocks > 0) {
    FLOE_ASSIGN_OR_RETURN(
        bytes, Fetch({.offset = inode.data * block_bytes() + range.offset, .length = from_blocks}));
  }
  if (from_blocks < range.length) {
    FLOE_ASSIGN_OR_RETURN(
        const std::string tail,
        Fetch({.offset = TailOffset(inode) + range.offset + from_blocks - in_blocks,
               .length = range.length - from_blocks}));
    bytes += tail;
  }
  return bytes;
}

Result<std::string> NativeReader::ReadSymlink(const NativeInode& symlink) const {
  FLOE_ASSIGN_OR_RETURN(std::string target,
                        ReadFlat(symlink, {.offset = 0, .length = symlink.size_bytes}));
  if (target.find('\0') != std::string::npos) {
    return DataLoss("symlink {} has a NUL in its target", symlink.nid);
  }
  return target;
}

Result<void> NativeReader::AppendPieces(const NativeInode& file, size_t limit,
                                        std::vector<image::TarFragment>& into) const {
  if (file.layout == DataLayout::kChunkBased) {
    return AppendChunks(file, limit, into);
  }
  if (IsHole(file)) {
    return Ok();
  }
  const uint64_t tail = TailBytes(file);
  const uint64_t in_blocks = file.size_bytes - tail;
  const size_t first = into.size();
  FLOE_RETURN_IF_ERROR(AppendPiece(file, {0, file.data * block_bytes(), in_blocks}, first, into));
  FLOE_RETURN_IF_ERROR(AppendPiece(file, {in_blocks, TailOffset(file), tail}, first, into));
  return into.size() > limit ? InvalidArgument("files in more than {} pieces", limit) : Ok();
}

Result<void> NativeReader::AppendPiece(const NativeInode& file, image::TarFragment piece,
                                       size_t first, std::vector<image::TarFragment>& into) const {
  if (piece.length == 0) {
    return Ok();
  }
  if (!Contains(piece.archive_offset, piece.length)) {
    return DataLoss("inode {} has data at byte {} of an image of {}", file.nid,
                    piece.archive_offset, limit_);
  }
  if (into.size() > first && into.back().file_offset + into.back().length == piece.file_offset &&
      into.back().archive_offset + into.back().length == piece.archive_offset) {
    into.back().length += piece.length;
  } else {
    into.push_back(piece);
  }
  return Ok();
}

Result<void> NativeReader::AppendChunks(const NativeInode& file, size_t limit,
                                        std::vector<image::TarFragment>& into) const {
  const size_t first = into.size();
  const uint64_t entry_bytes = MapEntryBytes(file);
  const uint64_t map_bytes = ChunkCount(file) * entry_bytes;
  uint64_t at = 0;  // In the file.
  for (uint64_t done = 0; done < map_bytes; done += kMapBytesAtOnce) {
    FLOE_ASSIGN_OR_RETURN(
        const std::string map,
        Fetch({ChunksOffset(file) + done, std::min(kMapBytesAtOnce, map_bytes - done)}));
    for (uint64_t entry = 0; entry < map.size(); entry += entry_bytes) {
      const uint64_t length = std::min(ChunkBytes(file), file.size_bytes - at);
      FLOE_ASSIGN_OR_RETURN(const uint64_t block,
                            ChunkStart(file, std::string_view(map).substr(entry, entry_bytes)));
      if (block != kNoBlock) {
        FLOE_RETURN_IF_ERROR(AppendPiece(file, {at, block * block_bytes(), length}, first, into));
      }
      at += length;
    }
    if (into.size() > limit) {
      return InvalidArgument("files in more than {} pieces", limit);
    }
  }
  return Ok();
}

Result<uint64_t> NativeReader::ChunkStart(const NativeInode& file, std::string_view entry) const {
  if (entry.size() == kBlockMapEntryBytes) {
    return LoadAt<uint32_t>(entry, 0);
  }
  const auto index = LoadAt<ChunkIndex>(entry, 0);
  if (index.device != 0) {
    return DataLoss("inode {} has a chunk on device {} of 0", file.nid, index.device);
  }
  return index.start_block;
}

Result<std::string> NativeReader::ReadThrough(const std::vector<image::TarFragment>& pieces,
                                              ByteRange range) const {
  std::string bytes;
  for (const image::TarFragment& piece : pieces) {
    const uint64_t at = range.offset + bytes.size();
    if (at < piece.file_offset || at - piece.file_offset >= piece.length) {
      continue;
    }
    const uint64_t skip = at - piece.file_offset;
    FLOE_ASSIGN_OR_RETURN(const std::string part,
                          Fetch({piece.archive_offset + skip,
                                 std::min(piece.length - skip, range.length - bytes.size())}));
    bytes += part;
    if (bytes.size() == range.length) {
      return bytes;
    }
  }
  return DataLoss("the table of long xattr prefixes lies outside of the image");
}

}  // namespace floe::erofs
