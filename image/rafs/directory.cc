#include "image/rafs/directory.h"

#include <sys/stat.h>

#include <algorithm>

namespace floe::image::rafs {
namespace {

constexpr size_t kDirentBytes = 12;

class Reader {
 public:
  Reader(const InodeRecord& directory, uint64_t parent) : directory_(directory), parent_(parent) {}

  /// One block: first its entries, then their names.
  Result<void> Block(Bytes block);
  Result<std::vector<DirectoryEntry>> Finish();

 private:
  Result<void> Add(const DirectoryEntry& entry);
  [[nodiscard]] Error BadBlock() const {
    return DataLoss("directory {}: a block with bad entries behind {} names", directory_.nid,
                    entries_.size());
  }

  const InodeRecord& directory_;
  const uint64_t parent_;
  std::string_view previous_;
  bool self_seen_ = false;
  bool parent_seen_ = false;
  std::vector<DirectoryEntry> entries_;
};

Result<void> Reader::Add(const DirectoryEntry& entry) {
  if (entry.name <= previous_) {
    return DataLoss("directory {}: its names are not in order", directory_.nid);
  }
  previous_ = entry.name;
  const bool is_self = entry.name == ".";
  if (!is_self && entry.name != "..") {
    entries_.push_back(entry);
    return Ok();
  }
  (is_self ? self_seen_ : parent_seen_) = true;
  const uint64_t expected = is_self ? directory_.nid : parent_;
  if (entry.nid != expected || entry.file_type != FileTypeOf(S_IFDIR)) {
    return DataLoss("directory {}: \"{}\" is inode {}, not {}", directory_.nid, entry.name,
                    entry.nid, expected);
  }
  return Ok();
}

Result<void> Reader::Block(Bytes block) {
  if (block.size() < kDirentBytes) {
    return BadBlock();
  }
  const size_t names = Record(block).U16(8);
  if (names == 0 || names % kDirentBytes != 0 || names > block.size()) {
    return BadBlock();
  }
  for (size_t at = 0; at < names; at += kDirentBytes) {
    const Record record(block.subspan(at, kDirentBytes));
    const size_t start = record.U16(8);
    const bool last = at + kDirentBytes == names;
    const size_t end =
        last ? block.size() : Record(block.subspan(at + kDirentBytes, kDirentBytes)).U16(8);
    if (start < names || start > end || end > block.size()) {
      return BadBlock();
    }
    std::string_view name(reinterpret_cast<const char*>(block.data()) + start, end - start);
    if (last) {
      name = name.substr(0, name.find('\0'));  // What fills the block is zero.
    }
    FLOE_RETURN_IF_ERROR(Add({.name = name, .nid = record.U64(0), .file_type = record.U8(10)}));
  }
  return Ok();
}

Result<std::vector<DirectoryEntry>> Reader::Finish() {
  if (!self_seen_ || !parent_seen_) {
    return DataLoss("directory {}: \".\" or \"..\" is missing", directory_.nid);
  }
  return std::move(entries_);
}

}  // namespace

uint8_t FileTypeOf(uint32_t mode) {
  switch (mode & S_IFMT) {
    case S_IFREG:
      return 1;
    case S_IFDIR:
      return 2;
    case S_IFCHR:
      return 3;
    case S_IFBLK:
      return 4;
    case S_IFIFO:
      return 5;
    case S_IFSOCK:
      return 6;
    case S_IFLNK:
      return 7;
    default:
      return 0;
  }
}

Result<std::vector<DirectoryEntry>> ReadDirectory(Bytes bootstrap, const InodeRecord& directory,
                                                  uint64_t parent) {
  FLOE_ASSIGN_OR_RETURN(const FlatData data, FindFlatData(bootstrap, directory));
  Reader reader(directory, parent);
  Bytes blocks = Slice(bootstrap, data.blocks);
  while (!blocks.empty()) {
    const Bytes block = blocks.first(std::min<size_t>(blocks.size(), kBlockBytes));
    FLOE_RETURN_IF_ERROR(reader.Block(block));
    blocks = blocks.subspan(block.size());
  }
  if (!data.tail.empty()) {
    FLOE_RETURN_IF_ERROR(reader.Block(Slice(bootstrap, data.tail)));
  }
  return reader.Finish();
}

}  // namespace floe::image::rafs
