#include "tests/erofs/tiny_image.h"

#include <sys/stat.h>

#include <algorithm>

#include "base/byte_range.h"
#include "base/check.h"

namespace floe::erofs::testing {
namespace {

constexpr uint64_t kFirstInode = 2048;
constexpr uint64_t kFirstBlock = 32768;

template <typename T>
std::string Bytes(const T& value) {
  return {reinterpret_cast<const char*>(&value), sizeof(value)};
}

std::string Head(const TinyInode& inode) {
  const uint16_t format =
      static_cast<uint16_t>((InodeFormat(inode.layout) & ~unsigned{kFormatExtended}) |
                            (inode.extended ? kFormatExtended : 0U) | inode.format_bits);
  const auto xattrs = static_cast<uint16_t>(XattrCountOfBytes(inode.xattrs.size()));
  if (inode.extended) {
    ExtendedInode stored;
    stored.format = format;
    stored.xattr_count = xattrs;
    stored.mode = static_cast<uint16_t>(inode.mode);
    stored.size = inode.size;
    stored.data = inode.data;
    stored.uid = inode.uid;
    stored.gid = inode.gid;
    stored.mtime = inode.mtime;
    stored.nlink = 1;
    return Bytes(stored) + inode.xattrs;
  }
  CompactInode stored;
  stored.format = format;
  stored.xattr_count = xattrs;
  stored.mode = static_cast<uint16_t>(inode.mode);
  stored.nlink = 1;
  stored.size = static_cast<uint32_t>(inode.size);
  stored.mtime = inode.mtime;
  stored.data = inode.data;
  stored.uid = static_cast<uint16_t>(inode.uid);
  stored.gid = static_cast<uint16_t>(inode.gid);
  return Bytes(stored) + inode.xattrs;
}

}  // namespace

TinyImage::TinyImage(uint8_t block_bits) : bytes_(kFirstBlock, '\0'), next_inode_(kFirstInode) {
  super.block_bits = block_bits;
  super.feature_compat = kCompatMtime;
  super.epoch = 1'600'000'000;
}

uint64_t TinyImage::Add(const TinyInode& inode) {
  const uint64_t head = Head(inode).size();
  const uint64_t block = block_bytes();
  if (inode.layout == DataLayout::kFlatInline &&
      (next_inode_ + head) % block + inode.rest.size() > block) {
    next_inode_ = AlignUp(next_inode_, block);
  }
  const uint64_t nid = next_inode_ / kSlotBytes;
  Replace(nid, inode);
  next_inode_ = AlignUp(next_inode_ + head + 8 + inode.rest.size(), kSlotBytes);
  FLOE_CHECK(next_inode_ <= kFirstBlock);
  return nid;
}

void TinyImage::Replace(uint64_t nid, const TinyInode& inode) {
  const uint64_t offset = nid * kSlotBytes;
  const std::string head = Head(inode);
  Write(offset, head);
  const bool indexes = (inode.data & kChunkIndexes) != 0;
  const bool chunks = inode.layout == DataLayout::kChunkBased;
  Write(AlignUp(offset + head.size(), chunks && indexes ? 8 : 4), inode.rest);
}

uint32_t TinyImage::AddBlocks(std::string_view bytes) {
  const uint64_t offset = bytes_.size();
  bytes_ += bytes;
  bytes_.resize(AlignUp(bytes_.size(), block_bytes()));
  return static_cast<uint32_t>(offset / block_bytes());
}

void TinyImage::Write(uint64_t offset, std::string_view bytes) {
  FLOE_CHECK(offset + bytes.size() <= bytes_.size());
  bytes_.replace(offset, bytes.size(), bytes);
}

uint64_t TinyImage::AddDirectory(std::vector<NativeDirent> entries, const TinyInode& like) {
  TinyInode inode = like;
  inode.mode = S_IFDIR | (like.mode == 0 ? 0755U : like.mode & 07777U);
  entries.push_back({.name = ".", .nid = 0, .file_type = FileTypeOfMode(S_IFDIR)});
  entries.push_back({.name = "..", .nid = 0, .file_type = FileTypeOfMode(S_IFDIR)});
  std::ranges::sort(entries, {}, &NativeDirent::name);
  const std::string block = DirectoryBytes(entries);
  FLOE_CHECK(block.size() <= block_bytes());
  inode.size = block.size();
  inode.data = AddBlocks(block);
  const uint64_t nid = Add(inode);
  directories_.push_back(
      {.nid = nid, .offset = inode.data * block_bytes(), .entries = std::move(entries)});
  SetParent(nid, nid);
  return nid;
}

void TinyImage::SetParent(uint64_t nid, uint64_t parent) {
  const auto found = std::ranges::find(directories_, nid, &PlacedDirectory::nid);
  FLOE_CHECK(found != directories_.end());
  for (NativeDirent& entry : found->entries) {
    entry.nid = entry.name == "." ? nid : entry.name == ".." ? parent : entry.nid;
  }
  Write(found->offset, DirectoryBytes(found->entries));
}

std::string TinyImage::Finish(uint64_t root_nid) const {
  SuperBlock finished = super;
  finished.root_nid = static_cast<uint16_t>(root_nid);
  finished.blocks = static_cast<uint32_t>(bytes_.size() / block_bytes());
  std::string image = bytes_;
  StoreAt(image.data(), kSuperOffset, finished);
  if ((finished.feature_compat & kCompatChecksum) != 0) {
    const uint64_t block = block_bytes();
    finished.checksum = Crc32c(std::string_view(image).substr(
        kSuperOffset, block > kSuperOffset ? block - kSuperOffset : block));
    StoreAt(image.data(), kSuperOffset, finished);
  }
  return image;
}

std::string TinyImage::DirectoryBytes(const std::vector<NativeDirent>& sorted) {
  std::string dirents;
  std::string names;
  for (const NativeDirent& entry : sorted) {
    DirentOnDisk dirent;
    dirent.nid_low = static_cast<uint32_t>(entry.nid);
    dirent.nid_high = static_cast<uint32_t>(entry.nid >> 32U);
    dirent.name_offset = static_cast<uint16_t>(sorted.size() * sizeof(DirentOnDisk) + names.size());
    dirent.file_type = entry.file_type;
    dirents += Bytes(dirent);
    names += entry.name;
  }
  return dirents + names;
}

std::string TinyImage::XattrBytes(uint8_t prefix, std::string_view name, std::string_view value) {
  XattrEntry entry;
  entry.name_length = static_cast<uint8_t>(name.size());
  entry.prefix = prefix;
  entry.value_size = static_cast<uint16_t>(value.size());
  std::string bytes = Bytes(entry).append(name).append(value);
  bytes.resize(AlignUp(bytes.size(), kXattrAlignment));
  return bytes;
}

std::string TinyImage::XattrArea(const std::vector<uint32_t>& shared, std::string_view entries) {
  XattrHeader header;
  header.shared_count = static_cast<uint8_t>(shared.size());
  std::string area = Bytes(header);
  for (const uint32_t id : shared) {
    area += Bytes(id);
  }
  return area.append(entries);
}

namespace {

constexpr uint8_t kUser = 1;
constexpr uint8_t kTrusted = 4;

uint8_t TypeOf(uint32_t mode) { return FileTypeOfMode(mode); }

/// Two long prefixes at byte 16384 (user.deep. and trusted.overlay.) and a shared xattr behind.
std::vector<uint32_t> WriteXattrTables(TinyImage& image) {
  constexpr uint64_t kTable = 16384;
  constexpr uint32_t kSharedId = 64;  // In words from the table on.
  image.super.feature_incompat |= kIncompatXattrPrefixes;
  image.super.xattr_prefix_count = 2;
  image.super.xattr_prefix_start = kTable / kXattrAlignment;
  image.super.xattr_block = static_cast<uint32_t>(kTable / image.block_bytes());
  const auto prefix = [](uint8_t base, std::string_view infix) {
    std::string bytes = Bytes(static_cast<uint16_t>(infix.size() + 1));
    bytes.push_back(static_cast<char>(base));
    bytes += infix;
    bytes.resize(AlignUp(bytes.size(), kXattrAlignment));
    return bytes;
  };
  image.Write(kTable, prefix(kUser, "deep.") + prefix(kTrusted, "overlay."));
  image.Write(kTable + kSharedId * kXattrAlignment,
              TinyImage::XattrBytes(kUser, "shared", "of all"));
  return {kSharedId};
}

std::string ChunkMap(uint32_t block, bool indexes) {
  const std::vector<uint32_t> starts = {block, kNoBlock, block + 1};
  std::string map;
  for (const uint32_t start : starts) {
    map += indexes ? Bytes(ChunkIndex{.start_block = start}) : Bytes(start);
  }
  return map;
}

}  // namespace

std::string SampleTinyImage(uint8_t block_bits) {
  TinyImage image(block_bits);
  image.super.feature_compat |= kCompatChecksum;
  image.super.feature_incompat |= kIncompatChunkedFile;
  const std::vector<uint32_t> shared = WriteXattrTables(image);
  const uint64_t block = image.block_bytes();
  const std::string content = std::string(block, 'a') + std::string(block, 'b') + "tail";
  const uint32_t blocks = image.AddBlocks(content);
  const std::string entries = TinyImage::XattrBytes(kUser, "one", "1") +
                              TinyImage::XattrBytes(kXattrLongPrefix, "er", "long");
  const std::string opaque = TinyImage::XattrBytes(kXattrLongPrefix | 1, "opaque", "y");

  const uint64_t plain =
      image.Add({.mode = S_IFREG | 0644, .size = content.size(), .data = blocks, .uid = 7});
  const uint64_t tail = image.Add({.mode = S_IFREG | 0600,
                                   .extended = true,
                                   .layout = DataLayout::kFlatInline,
                                   .size = block + 5,
                                   .data = blocks,
                                   .xattrs = TinyImage::XattrArea(shared, entries),
                                   .rest = "inlin"});
  const uint64_t map = image.Add({.mode = S_IFREG | 0644,
                                  .layout = DataLayout::kChunkBased,
                                  .size = 2 * block + 3,
                                  .rest = ChunkMap(blocks, false),
                                  .mtime = 5});
  const uint64_t indexes = image.Add({.mode = S_IFREG | 0644,
                                      .extended = true,
                                      .layout = DataLayout::kChunkBased,
                                      .size = 3 * block,
                                      .data = kChunkIndexes,
                                      .xattrs = TinyImage::XattrArea(shared, ""),
                                      .rest = ChunkMap(blocks, true)});
  const uint64_t link = image.Add(
      {.mode = S_IFLNK | 0777, .layout = DataLayout::kFlatInline, .size = 6, .rest = "target"});
  const uint64_t device =
      image.Add({.mode = S_IFCHR | 0600, .extended = true, .data = EncodeDevice(5, 300)});
  const uint64_t whiteout = image.Add({.mode = S_IFCHR | 0600});
  const uint64_t fifo = image.Add({.mode = S_IFIFO | 0600});
  const uint64_t sub = image.AddDirectory({{"linked", plain, TypeOf(S_IFREG)}},
                                          {.xattrs = TinyImage::XattrArea({}, opaque)});
  const uint64_t root = image.AddDirectory({{"chunks", map, TypeOf(S_IFREG)},
                                            {"device", device, TypeOf(S_IFCHR)},
                                            {"fifo", fifo, TypeOf(S_IFIFO)},
                                            {"gone", whiteout, TypeOf(S_IFCHR)},
                                            {"indexes", indexes, TypeOf(S_IFREG)},
                                            {"link", link, TypeOf(S_IFLNK)},
                                            {"plain", plain, TypeOf(S_IFREG)},
                                            {"sub", sub, TypeOf(S_IFDIR)},
                                            {"tail", tail, TypeOf(S_IFREG)}});
  image.SetParent(sub, root);
  return image.Finish(root);
}

}  // namespace floe::erofs::testing
