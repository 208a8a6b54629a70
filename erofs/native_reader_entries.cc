// The parts of NativeReader that read lists of variable-length entries: directories and xattrs.
#include <sys/stat.h>

#include <algorithm>

#include "erofs/native_reader.h"
#include "image/layer_index.h"

namespace floe::erofs {
namespace {

bool IsName(std::string_view name) {
  return !name.empty() && name.size() <= image::kMaxNameBytes &&
         name.find('/') == std::string_view::npos;
}

const XattrPrefix* FindPrefix(uint8_t number) {
  const auto found = std::find_if(kXattrPrefixes.begin(), kXattrPrefixes.end(),
                                  [&](const XattrPrefix& known) { return known.number == number; });
  return found == kXattrPrefixes.end() ? nullptr : &*found;
}

}  // namespace

uint64_t NativeReader::DirectoryBlocks(const NativeInode& directory) const {
  return AlignUp(directory.size_bytes, block_bytes()) / block_bytes();
}

//  | dirent 0 | dirent 1 | name 0 | name 1 | zeros |     each name ends where the next one begins;
//  '---- name_offset of 0 -'                            the last one at a NUL or with the block
Result<void> NativeReader::ReadDirectoryBlock(const NativeInode& directory, uint64_t block,
                                              std::vector<NativeDirent>& into) const {
  into.clear();
  const uint64_t at = block * block_bytes();
  FLOE_ASSIGN_OR_RETURN(
      const std::string stored,
      ReadFlat(directory, {at, std::min(block_bytes(), directory.size_bytes - at)}));
  const std::string_view bytes = stored;
  const auto malformed = [&] {
    return DataLoss("directory {} has a malformed block {}", directory.nid, block);
  };
  if (bytes.size() < sizeof(DirentOnDisk)) {
    return malformed();
  }
  const uint64_t names = LoadAt<DirentOnDisk>(bytes, 0).name_offset;
  if (names == 0 || names % sizeof(DirentOnDisk) != 0 || names >= bytes.size()) {
    return malformed();
  }
  for (uint64_t next = 0; next < names;) {
    const auto dirent = LoadAt<DirentOnDisk>(bytes, next);
    next += sizeof(DirentOnDisk);
    const uint64_t begin = dirent.name_offset;
    const uint64_t end =
        next < names ? LoadAt<DirentOnDisk>(bytes, next).name_offset : bytes.size();
    if (begin < names || begin >= end || end > bytes.size() || dirent.reserved != 0) {
      return malformed();
    }
    std::string_view name = bytes.substr(begin, end - begin);
    name = next < names ? name : name.substr(0, name.find('\0'));
    if (!IsName(name) || name.find('\0') != std::string_view::npos ||
        (!into.empty() && into.back().name >= name)) {
      return DataLoss("directory {} has a bad or unsorted name in block {}", directory.nid, block);
    }
    into.push_back({.name = std::string(name),
                    .nid = dirent.nid_low | (uint64_t{dirent.nid_high} << 32U),
                    .file_type = dirent.file_type});
  }
  return Ok();
}

Result<std::string> NativeReader::XattrName(uint64_t nid, uint8_t prefix,
                                            std::string_view rest) const {
  std::string name;
  if ((prefix & kXattrLongPrefix) != 0) {
    const size_t number = prefix & ~unsigned{kXattrLongPrefix};
    if (number >= long_prefixes_.size()) {
      return DataLoss("inode {} has an xattr of the long prefix {}, there are {}", nid, number,
                      long_prefixes_.size());
    }
    prefix = long_prefixes_[number].base;
    name = long_prefixes_[number].infix;
  }
  name += rest;
  const XattrPrefix* known = FindPrefix(prefix);
  if (known == nullptr || known->whole_name != name.empty() ||
      known->text.size() + name.size() > image::kMaxNameBytes ||
      name.find('\0') != std::string::npos) {
    return DataLoss("inode {} has an xattr of prefix {} with {} bytes of name", nid, prefix,
                    name.size());
  }
  return std::string(known->text) + name;
}

Result<NativeReader::SizedXattr> NativeReader::ReadXattr(uint64_t nid,
                                                         std::string_view from) const {
  if (from.size() < sizeof(XattrEntry)) {
    return DataLoss("inode {} has an xattr that is cut off", nid);
  }
  const auto entry = LoadAt<XattrEntry>(from, 0);
  from.remove_prefix(sizeof(XattrEntry));
  if (uint64_t{entry.name_length} + entry.value_size > from.size()) {
    return DataLoss("inode {} has an xattr that is cut off", nid);
  }
  SizedXattr xattr;
  FLOE_ASSIGN_OR_RETURN(xattr.name,
                        XattrName(nid, entry.prefix, from.substr(0, entry.name_length)));
  xattr.value = from.substr(entry.name_length, entry.value_size);
  xattr.entry_bytes =
      AlignUp(sizeof(XattrEntry) + entry.name_length + entry.value_size, kXattrAlignment);
  return xattr;
}

Result<NativeReader::SizedXattr> NativeReader::ReadSharedXattr(uint64_t nid, uint32_t id) const {
  const uint64_t offset = super_.xattr_block * block_bytes() + id * kXattrAlignment;
  if (!Contains(offset, sizeof(XattrEntry))) {
    return DataLoss("inode {} has the shared xattr {} outside of the image", nid, id);
  }
  FLOE_ASSIGN_OR_RETURN(const std::string head, Fetch({offset, sizeof(XattrEntry)}));
  const auto entry = LoadAt<XattrEntry>(head, 0);
  const uint64_t length = sizeof(XattrEntry) + entry.name_length + entry.value_size;
  FLOE_ASSIGN_OR_RETURN(const std::string bytes,
                        Fetch({offset, std::min(length, limit_ - offset)}));
  return ReadXattr(nid, bytes);
}

//  inode | XattrHeader | ids of shared xattrs | inline xattrs ... |
Result<NativeXattrs> NativeReader::ReadXattrs(const NativeInode& inode) const {
  NativeXattrs xattrs;
  if (inode.xattr_bytes < sizeof(XattrHeader)) {
    return xattrs;  // There are none.
  }
  std::string stored;
  FLOE_ASSIGN_OR_RETURN(stored, Fetch({inode.offset + inode.inode_bytes, inode.xattr_bytes}));
  std::string_view area = stored;
  const auto header = LoadAt<XattrHeader>(area, 0);
  area.remove_prefix(sizeof(XattrHeader));
  if (header.shared_count * sizeof(uint32_t) > area.size()) {
    return DataLoss("inode {} has {} shared xattrs in {} bytes", inode.nid, header.shared_count,
                    inode.xattr_bytes);
  }
  for (uint32_t i = 0; i < header.shared_count; ++i) {
    FLOE_ASSIGN_OR_RETURN(SizedXattr xattr,
                          ReadSharedXattr(inode.nid, LoadAt<uint32_t>(area, i * sizeof(uint32_t))));
    xattrs.emplace_back(std::move(xattr.name), std::move(xattr.value));
  }
  area.remove_prefix(header.shared_count * sizeof(uint32_t));
  while (!area.empty()) {
    FLOE_ASSIGN_OR_RETURN(SizedXattr xattr, ReadXattr(inode.nid, area));
    // The area is of whole words, so what the entry is rounded up to lies in it.
    area.remove_prefix(xattr.entry_bytes);
    xattrs.emplace_back(std::move(xattr.name), std::move(xattr.value));
  }
  std::sort(xattrs.begin(), xattrs.end());
  const auto twice =
      std::adjacent_find(xattrs.begin(), xattrs.end(),
                         [](const auto& a, const auto& b) { return a.first == b.first; });
  if (twice != xattrs.end()) {
    return DataLoss("inode {} has an xattr twice", inode.nid);
  }
  return xattrs;
}

// The kernel's rule: in the packed inode where there is one, unless the image says otherwise.
Result<std::vector<image::TarFragment>> NativeReader::LongPrefixTable() const {
  std::vector<image::TarFragment> pieces = {{0, 0, limit_}};
  const bool has_packed_inode =
      (super_.feature_incompat & kIncompatFragments) != 0 && super_.packed_nid != 0;
  if (!has_packed_inode || (super_.feature_compat & kCompatPlainXattrPrefixes) != 0) {
    return pieces;
  }
  pieces.clear();
  FLOE_ASSIGN_OR_RETURN(const NativeInode packed, ReadInode(super_.packed_nid));
  if (FileTypeOfMode(packed.mode) != FileTypeOfMode(S_IFREG)) {
    return DataLoss("the packed inode {} is no regular file", packed.nid);
  }
  // The table is at most 128 entries: a packed inode in more pieces than this is no table's home.
  constexpr size_t kMaxPieces = 1U << 16U;
  FLOE_RETURN_IF_ERROR(AppendPieces(packed, kMaxPieces, pieces));
  return pieces;
}

Result<void> NativeReader::ReadLongPrefixes() {
  if ((super_.feature_incompat & kIncompatXattrPrefixes) == 0 || super_.xattr_prefix_count == 0) {
    return Ok();
  }
  FLOE_ASSIGN_OR_RETURN(const std::vector<image::TarFragment> table, LongPrefixTable());
  uint64_t position = super_.xattr_prefix_start * kXattrAlignment;
  for (uint32_t i = 0; i < super_.xattr_prefix_count; ++i) {
    FLOE_ASSIGN_OR_RETURN(LongPrefix prefix, ReadLongPrefix(table, position));
    long_prefixes_.push_back(std::move(prefix));
  }
  return Ok();
}

Result<NativeReader::LongPrefix> NativeReader::ReadLongPrefix(
    const std::vector<image::TarFragment>& from, uint64_t& position) const {
  FLOE_ASSIGN_OR_RETURN(std::string bytes, ReadThrough(from, {position, sizeof(uint16_t)}));
  const uint64_t length = LoadAt<uint16_t>(bytes, 0);
  if (length == 0 || length > kMaxLongPrefixBytes) {
    return DataLoss("a long xattr prefix of {} bytes", length);
  }
  FLOE_ASSIGN_OR_RETURN(bytes, ReadThrough(from, {position + sizeof(uint16_t), length}));
  position = AlignUp(position + sizeof(uint16_t) + length, kXattrAlignment);
  return LongPrefix{.base = LoadAt<uint8_t>(bytes, 0), .infix = bytes.substr(1)};
}

}  // namespace floe::erofs
