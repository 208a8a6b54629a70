#include "image/rafs/tree_reader.h"

#include <sys/stat.h>

#include <algorithm>
#include <limits>
#include <string_view>

#include "base/quote.h"

namespace floe::image::rafs {
namespace {

constexpr std::string_view kOverlayPrefix = "trusted.overlay.";
constexpr uint64_t kMinInodeBytes = 32;

// The kernel's 32-bit encoding of a device number (new_encode_dev).
uint32_t Major(uint32_t device) { return (device >> 8U) & 0xFFFU; }
uint32_t Minor(uint32_t device) { return (device & 0xFFU) | ((device >> 12U) & 0xFFF00U); }

bool IsDevice(uint32_t mode) { return S_ISCHR(mode) || S_ISBLK(mode); }

bool IsOverlayWhiteout(const InodeRecord& inode) { return S_ISCHR(inode.mode) && inode.data == 0; }

std::string_view Text(Bytes bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

Result<void> CheckLinks(const InodeRecord& inode, uint32_t expected) {
  // A name of a file that an upper layer removed is often still counted.
  if (S_ISDIR(inode.mode) ? inode.link_count != expected : inode.link_count < expected) {
    return DataLoss("inode {}: {} links, not {}", inode.nid, inode.link_count, expected);
  }
  return Ok();
}

}  // namespace

Result<StringRef> TreeReader::Append(std::string_view text) {
  if (data_.strings.size() + text.size() > std::numeric_limits<uint32_t>::max()) {
    return DataLoss("more than 4 GiB of names and attributes");
  }
  const StringRef ref{static_cast<uint32_t>(data_.strings.size()),
                      static_cast<uint32_t>(text.size())};
  data_.strings.append(text);
  return ref;
}

const uint32_t* TreeReader::Find(uint64_t nid) const {
  const auto found = numbers_.find(nid);
  return found == numbers_.end() ? nullptr : &found->second;
}

// Counts the bytes that belong to the inode alone. More than there are: some are shared, and
// reading them again and again could go on for ever.
Result<void> TreeReader::Claim(const InodeRecord& inode) {
  uint64_t bytes = kMinInodeBytes + inode.xattrs.length;
  if (S_ISREG(inode.mode)) {
    bytes += chunks_.IndexBytes(inode);
  } else if (S_ISDIR(inode.mode) || S_ISLNK(inode.mode)) {
    bytes += std::min<uint64_t>(inode.size_bytes, bootstrap_.size());
  }
  claimed_bytes_ += bytes;
  if (claimed_bytes_ > bootstrap_.size()) {
    return DataLoss("inode {}: inodes share bytes, or end outside the bootstrap", inode.nid);
  }
  return Ok();
}

Result<uint32_t> TreeReader::AddNode(uint64_t nid, uint64_t parent) {
  if (nodes_.size() >= std::min<uint64_t>(superblock_.inode_count, kMaxInodes)) {
    return DataLoss("inode {}: there are more than {} inodes", nid, nodes_.size());
  }
  FLOE_ASSIGN_OR_RETURN(const InodeRecord inode, ReadInode(bootstrap_, superblock_, nid));
  FLOE_RETURN_IF_ERROR(Claim(inode));
  const auto number = static_cast<uint32_t>(nodes_.size());
  nodes_.push_back({.inode = inode, .parent = parent, .names = 0});
  numbers_.emplace(nid, number);
  return number;
}

Result<void> TreeReader::AddChild(const DirectoryEntry& entry, const Node& parent,
                                  uint32_t& directories) {
  const uint64_t directory = parent.inode.nid;
  const uint32_t* known = Find(entry.nid);
  uint32_t number = known == nullptr ? 0 : *known;
  if (known == nullptr) {
    FLOE_ASSIGN_OR_RETURN(number, AddNode(entry.nid, directory));
  }
  Node& child = nodes_[number];
  const uint32_t mode = child.inode.mode;
  if (entry.file_type == 0 || entry.file_type != FileTypeOf(mode)) {
    return DataLoss("directory {}: {} has file type {} and mode {:o}", directory, Quote(entry.name),
                    entry.file_type, mode);
  }
  if (S_ISDIR(mode)) {
    if (known != nullptr) {
      return DataLoss("directory {}: {} is directory {}, which has another name", directory,
                      Quote(entry.name), entry.nid);
    }
    ++directories;
  }
  ++child.names;
  if (!IsOverlayWhiteout(child.inode)) {
    FLOE_ASSIGN_OR_RETURN(const StringRef name, Append(entry.name));
    data_.dirents.push_back({.name = name, .inode = number});
  }
  return Ok();
}

Result<void> TreeReader::ReadChildren(const Node& node, Inode& to) {
  const Node directory = node;  // AddChild moves the nodes.
  FLOE_ASSIGN_OR_RETURN(const std::vector<DirectoryEntry> entries,
                        ReadDirectory(bootstrap_, directory.inode, directory.parent));
  to.first_dirent = static_cast<uint32_t>(data_.dirents.size());
  uint32_t directories = 0;
  for (const DirectoryEntry& entry : entries) {
    FLOE_RETURN_IF_ERROR(AddChild(entry, directory, directories));
  }
  if (data_.dirents.size() > kMaxInodes) {
    return DataLoss("directory {}: more than {} names", directory.inode.nid, kMaxInodes);
  }
  to.dirent_count = static_cast<uint32_t>(data_.dirents.size()) - to.first_dirent;
  return CheckLinks(directory.inode, directories + 2);
}

Result<void> TreeReader::ReadTarget(const InodeRecord& inode, Inode& to) {
  if (inode.size_bytes > kMaxTargetBytes) {
    return DataLoss("inode {}: a symlink of {} bytes", inode.nid, inode.size_bytes);
  }
  FLOE_ASSIGN_OR_RETURN(const FlatData data, FindFlatData(bootstrap_, inode));
  const Bytes target = Slice(bootstrap_, data.blocks.empty() ? data.tail : data.blocks);
  FLOE_ASSIGN_OR_RETURN(to.target, Append(Text(target)));
  to.size_bytes = inode.size_bytes;
  return Ok();
}

Result<void> TreeReader::AddXattrs(const InodeRecord& inode, Inode& to) {
  FLOE_ASSIGN_OR_RETURN(Xattrs xattrs, ReadXattrs(bootstrap_, inode));
  std::erase_if(xattrs, [](const auto& xattr) { return xattr.first.starts_with(kOverlayPrefix); });
  std::ranges::sort(xattrs);
  to.first_xattr = static_cast<uint32_t>(data_.xattrs.size());
  to.xattr_count = static_cast<uint32_t>(xattrs.size());
  for (const auto& [name, value] : xattrs) {
    Xattr xattr;
    FLOE_ASSIGN_OR_RETURN(xattr.name, Append(name));
    FLOE_ASSIGN_OR_RETURN(xattr.value, Append(value));
    data_.xattrs.push_back(xattr);
  }
  return Ok();
}

Result<void> TreeReader::ReadContent(const Node& node, Inode& to) {
  const InodeRecord& inode = node.inode;
  if (S_ISDIR(inode.mode)) {
    return ReadChildren(node, to);
  }
  if (S_ISLNK(inode.mode)) {
    return ReadTarget(inode, to);
  }
  if (!S_ISREG(inode.mode)) {
    to.rdev_major = IsDevice(inode.mode) ? Major(inode.data) : 0;
    to.rdev_minor = IsDevice(inode.mode) ? Minor(inode.data) : 0;
    return Ok();
  }
  to.size_bytes = inode.size_bytes;
  to.first_segment = static_cast<uint32_t>(data_.segments.size());
  if (inode.size_bytes != 0) {
    FLOE_RETURN_IF_ERROR(chunks_.AddSegments(inode, data_.segments));
  }
  to.segment_count = static_cast<uint32_t>(data_.segments.size()) - to.first_segment;
  return Ok();
}

Result<void> TreeReader::ReadNode(uint32_t number) {
  const InodeRecord inode = nodes_[number].inode;
  Inode to;
  to.mode = inode.mode;
  to.uid = inode.uid;
  to.gid = inode.gid;
  to.mtime_seconds = static_cast<int64_t>(inode.mtime_seconds);
  to.mtime_nanoseconds = inode.mtime_nanoseconds;
  FLOE_RETURN_IF_ERROR(AddXattrs(inode, to));
  FLOE_RETURN_IF_ERROR(ReadContent(nodes_[number], to));
  data_.inodes.push_back(to);
  return Ok();
}

Result<void> TreeReader::Run() {
  FLOE_ASSIGN_OR_RETURN(const uint32_t root, AddNode(superblock_.root_nid, superblock_.root_nid));
  if (!S_ISDIR(nodes_[root].inode.mode)) {
    return DataLoss("inode {}: the root is no directory", superblock_.root_nid);
  }
  for (uint32_t number = 0; number < nodes_.size(); ++number) {
    FLOE_RETURN_IF_ERROR(ReadNode(number));
  }
  for (const Node& node : nodes_) {
    if (!S_ISDIR(node.inode.mode)) {
      FLOE_RETURN_IF_ERROR(CheckLinks(node.inode, node.names));
    }
  }
  return Ok();
}

}  // namespace floe::image::rafs
