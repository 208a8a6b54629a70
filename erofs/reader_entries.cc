// The parts of BootstrapReader that read lists of variable-length entries: directories and xattrs.
#include <sys/stat.h>

#include <algorithm>
#include <limits>

#include "base/byte_range.h"
#include "erofs/reader.h"
#include "image/layer_index.h"

namespace floe::erofs {
namespace {

bool IsName(std::string_view name) {
  constexpr std::string_view kForbidden("/\0", 2);
  return !name.empty() && name.size() <= image::kMaxNameBytes &&
         name.find_first_of(kForbidden) == std::string_view::npos;
}

/// One directory block: `block` is all of it but for a last block, of which it is the used bytes.
Result<void> ReadBlock(uint64_t nid, std::string_view block, bool last,
                       std::vector<DirentInfo>& into) {
  const auto malformed = [&] { return DataLoss("directory {} has a malformed block", nid); };
  if (block.size() < sizeof(DirentOnDisk)) {
    return malformed();
  }
  const uint64_t names = LoadAt<DirentOnDisk>(block, 0).name_offset;
  if (names == 0 || names % sizeof(DirentOnDisk) != 0 || names >= block.size()) {
    return malformed();
  }
  const uint64_t count = names / sizeof(DirentOnDisk);
  for (uint64_t i = 0; i < count; ++i) {
    const auto dirent = LoadAt<DirentOnDisk>(block, i * sizeof(DirentOnDisk));
    const uint64_t begin = dirent.name_offset;
    uint64_t end = block.size();
    if (i + 1 < count) {
      end = LoadAt<DirentOnDisk>(block, (i + 1) * sizeof(DirentOnDisk)).name_offset;
    }
    if (begin < names || begin >= end || end > block.size() || dirent.reserved != 0) {
      return malformed();
    }
    std::string_view name = block.substr(begin, end - begin);
    if (i + 1 == count && !last) {
      name = name.substr(0, name.find('\0'));  // The rest of a full block is padding.
    }
    if (!IsName(name) || (!into.empty() && into.back().name >= name)) {
      return DataLoss("directory {} has a bad or unsorted name at entry {}", nid, into.size());
    }
    into.push_back({name, dirent.nid_low | (uint64_t{dirent.nid_high} << 32U), dirent.file_type});
  }
  return Ok();
}

/// The entry at the start of `from`, whose size becomes `entry_bytes`.
Result<XattrInfo> ReadXattr(uint64_t nid, std::string_view from, uint64_t& entry_bytes) {
  if (from.size() < sizeof(XattrEntry)) {
    return DataLoss("inode {} has an xattr that is cut off", nid);
  }
  const auto entry = LoadAt<XattrEntry>(from, 0);
  const uint64_t bytes = sizeof(XattrEntry) + entry.name_length + entry.value_size;
  entry_bytes = AlignUp(bytes, kXattrAlignment);
  if (entry_bytes > from.size()) {
    return DataLoss("inode {} has an xattr that is cut off", nid);
  }
  const auto prefix =
      std::find_if(kXattrPrefixes.begin(), kXattrPrefixes.end(),
                   [&](const XattrPrefix& known) { return known.number == entry.prefix; });
  if (prefix == kXattrPrefixes.end() || prefix->whole_name != (entry.name_length == 0)) {
    return DataLoss("inode {} has an xattr of prefix {} with {} bytes of name", nid, entry.prefix,
                    entry.name_length);
  }
  XattrInfo xattr{.name = std::string(prefix->text),
                  .value = from.substr(sizeof(XattrEntry) + entry.name_length, entry.value_size)};
  xattr.name.append(from.substr(sizeof(XattrEntry), entry.name_length));
  if (xattr.name.find('\0') != std::string::npos ||
      from.substr(bytes, entry_bytes - bytes).find_first_not_of('\0') != std::string_view::npos) {
    return DataLoss("inode {} has a malformed xattr", nid);
  }
  return xattr;
}

}  // namespace

Result<void> BootstrapReader::ReadDirectory(const InodeInfo& directory,
                                            std::vector<DirentInfo>& into) const {
  into.clear();
  if (!S_ISDIR(directory.mode)) {
    return InvalidArgument("inode {} is no directory", directory.nid);
  }
  for (uint64_t at = 0; at < directory.size_bytes; at += kBlockBytes) {
    const uint64_t length = std::min(kBlockBytes, directory.size_bytes - at);
    const bool in_tail = directory.layout == DataLayout::kFlatInline && length < kBlockBytes;
    const std::string_view block =
        in_tail ? Tail(directory) : image_.substr(directory.blocks_offset + at, length);
    FLOE_RETURN_IF_ERROR(
        ReadBlock(directory.nid, block, at + length == directory.size_bytes, into));
  }
  return Ok();
}

Result<std::vector<XattrInfo>> BootstrapReader::ReadXattrs(const InodeInfo& inode) const {
  std::vector<XattrInfo> xattrs;
  if (inode.xattr_bytes == 0) {
    return xattrs;
  }
  std::string_view area = image_.substr(inode.offset + sizeof(ExtendedInode), inode.xattr_bytes);
  const auto header = LoadAt<XattrHeader>(area, 0);
  area.remove_prefix(sizeof(XattrHeader));
  if (header.name_filter != 0 || header.reserved != decltype(header.reserved){} ||
      header.shared_count * sizeof(uint32_t) > area.size()) {
    return DataLoss("inode {} has a malformed xattr header", inode.nid);
  }
  uint64_t entry_bytes = 0;
  for (uint32_t i = 0; i < header.shared_count; ++i) {
    const uint64_t id = LoadAt<uint32_t>(area, i * sizeof(uint32_t));
    const uint64_t offset = super_.xattr_block * kBlockBytes + id * kXattrAlignment;
    const std::string_view from = offset < image_.size() ? image_.substr(offset) : "";
    FLOE_ASSIGN_OR_RETURN(XattrInfo xattr, ReadXattr(inode.nid, from, entry_bytes));
    xattrs.push_back(std::move(xattr));
  }
  for (area.remove_prefix(header.shared_count * sizeof(uint32_t)); !area.empty();
       area.remove_prefix(entry_bytes)) {
    FLOE_ASSIGN_OR_RETURN(XattrInfo xattr, ReadXattr(inode.nid, area, entry_bytes));
    xattrs.push_back(std::move(xattr));
  }
  std::sort(xattrs.begin(), xattrs.end(),
            [](const XattrInfo& a, const XattrInfo& b) { return a.name < b.name; });
  const auto twice =
      std::adjacent_find(xattrs.begin(), xattrs.end(),
                         [](const XattrInfo& a, const XattrInfo& b) { return a.name == b.name; });
  if (twice != xattrs.end()) {
    return DataLoss("inode {} has an xattr twice", inode.nid);
  }
  return xattrs;
}

}  // namespace floe::erofs
