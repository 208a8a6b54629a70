#include "image/rafs/inode.h"

#include <sys/stat.h>

namespace floe::image::rafs {
namespace {

constexpr uint64_t kInodeUnit = 32;  // What inode numbers count.
constexpr uint64_t kCompactBytes = 32;
constexpr uint64_t kExtendedBytes = 64;
constexpr uint64_t kMaxNid = 1ULL << 40U;
constexpr uint16_t kFormatExtended = 1;
constexpr uint16_t kFormatMask = 0xF;
constexpr uint64_t kXattrHeaderBytes = 12;
constexpr uint64_t kXattrUnit = 4;  // Entries are padded to it, and the inode counts it.
constexpr size_t kXattrSharedCount = 4;

Result<DataLayout> ReadLayout(uint16_t format, uint64_t nid) {
  const auto layout = static_cast<DataLayout>((format & kFormatMask) >> 1U);
  if ((format & ~kFormatMask) != 0 ||
      (layout != DataLayout::kFlatPlain && layout != DataLayout::kFlatInline &&
       layout != DataLayout::kChunkBased)) {
    return Unimplemented("inode {}: format {:#x}", nid, format);
  }
  return layout;
}

void ReadCompact(const Record& record, const Superblock& superblock, InodeRecord& to) {
  to.link_count = record.U16(6);
  to.size_bytes = record.U32(8);
  to.data = record.U32(16);
  to.uid = record.U16(24);
  to.gid = record.U16(26);
  to.mtime_seconds = superblock.build_seconds;
  to.mtime_nanoseconds = superblock.build_nanoseconds;
}

void ReadExtended(const Record& record, InodeRecord& to) {
  to.size_bytes = record.U64(8);
  to.data = record.U32(16);
  to.uid = record.U32(24);
  to.gid = record.U32(28);
  to.mtime_seconds = record.U64(32);
  to.mtime_nanoseconds = record.U32(40);
  to.link_count = record.U32(44);
}

std::string_view Text(Bytes bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// The prefix that a name index stands for (include of EROFS and RAFS), or nullptr.
const char* XattrPrefix(uint8_t index) {
  switch (index) {
    case 1:
      return "user.";
    case 2:
      return "system.posix_acl_access";
    case 3:
      return "system.posix_acl_default";
    case 4:
      return "trusted.";
    case 6:
      return "security.";
    default:
      return nullptr;
  }
}

// Takes the first entry off `rest`.
Result<void> TakeXattr(Bytes& rest, uint64_t nid, Xattrs& to) {
  if (rest.size() < kXattrUnit) {
    return DataLoss("inode {}: xattrs end inside an entry", nid);
  }
  const Record record(rest);
  const size_t name_bytes = record.U8(0);
  const size_t value_bytes = record.U16(2);
  const char* prefix = XattrPrefix(record.U8(1));
  if (prefix == nullptr) {
    return Unimplemented("inode {}: an xattr with name index {}", nid, record.U8(1));
  }
  const size_t entry_bytes = AlignUp(kXattrUnit + name_bytes + value_bytes, kXattrUnit);
  if (entry_bytes > rest.size()) {
    return DataLoss("inode {}: an xattr of {} bytes in {}", nid, entry_bytes, rest.size());
  }
  to.emplace_back(std::string(prefix).append(Text(record.Part(kXattrUnit, name_bytes))),
                  Text(record.Part(kXattrUnit + name_bytes, value_bytes)));
  rest = rest.subspan(entry_bytes);
  return Ok();
}

}  // namespace

Result<InodeRecord> ReadInode(Bytes bootstrap, const Superblock& superblock, uint64_t nid) {
  const ByteRange compact{superblock.metadata_offset + (nid * kInodeUnit), kCompactBytes};
  if (nid > kMaxNid || !IsInside(compact, bootstrap)) {
    return DataLoss("inode {} is outside the bootstrap of {} bytes", nid, bootstrap.size());
  }
  const uint16_t format = Record(Slice(bootstrap, compact)).U16(0);
  const bool extended = (format & kFormatExtended) != 0;
  const ByteRange whole{compact.offset, extended ? kExtendedBytes : kCompactBytes};
  const uint16_t xattr_count = Record(Slice(bootstrap, compact)).U16(2);
  const uint64_t xattr_bytes =
      xattr_count == 0 ? 0 : kXattrHeaderBytes + ((xattr_count - 1) * kXattrUnit);
  if (!IsInside({whole.offset, whole.length + xattr_bytes}, bootstrap)) {
    return DataLoss("inode {} ends outside the bootstrap of {} bytes", nid, bootstrap.size());
  }
  const Record record(Slice(bootstrap, whole));
  InodeRecord inode;
  inode.nid = nid;
  FLOE_ASSIGN_OR_RETURN(inode.layout, ReadLayout(format, nid));
  inode.mode = record.U16(4);
  if (extended) {
    ReadExtended(record, inode);
  } else {
    ReadCompact(record, superblock, inode);
  }
  inode.xattrs = {whole.end(), xattr_bytes};
  inode.header_end = inode.xattrs.end();
  return inode;
}

Result<FlatData> FindFlatData(Bytes bootstrap, const InodeRecord& inode) {
  if (inode.layout == DataLayout::kChunkBased || inode.size_bytes > bootstrap.size()) {
    return DataLoss("inode {}: {} bytes of flat data in layout {}", inode.nid, inode.size_bytes,
                    static_cast<int>(inode.layout));
  }
  const bool is_inline = inode.layout == DataLayout::kFlatInline;
  const uint64_t tail_bytes = is_inline ? inode.size_bytes % kBlockBytes : 0;
  FlatData data;
  data.tail = {inode.header_end, tail_bytes};
  data.blocks = {inode.data * kBlockBytes, inode.size_bytes - tail_bytes};
  if (data.blocks.empty()) {
    data.blocks.offset = 0;  // The field then says nothing.
  }
  if (!IsInside(data.blocks, bootstrap) || !IsInside(data.tail, bootstrap) ||
      (tail_bytes != 0 && data.tail.offset / kBlockBytes != (data.tail.end() - 1) / kBlockBytes)) {
    return DataLoss("inode {}: data at {}+{} and {}+{} of {}", inode.nid, data.blocks.offset,
                    data.blocks.length, data.tail.offset, data.tail.length, bootstrap.size());
  }
  return data;
}

Result<Xattrs> ReadXattrs(Bytes bootstrap, const InodeRecord& inode) {
  Xattrs xattrs;
  if (inode.xattrs.empty()) {
    return xattrs;
  }
  Bytes rest = Slice(bootstrap, inode.xattrs);
  if (Record(rest).U8(kXattrSharedCount) != 0) {
    return Unimplemented("inode {}: shared xattrs", inode.nid);
  }
  rest = rest.subspan(kXattrHeaderBytes);
  while (!rest.empty()) {
    FLOE_RETURN_IF_ERROR(TakeXattr(rest, inode.nid, xattrs));
  }
  return xattrs;
}

}  // namespace floe::image::rafs
