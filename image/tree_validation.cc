#include <sys/stat.h>

#include <limits>
#include <string_view>
#include <vector>

#include "image/layer_index_validation.h"

namespace floe::image {
namespace {

// What the kernel's 32-bit dev_t holds, and so what an EROFS inode can say.
constexpr uint32_t kMaxDeviceMajor = (1U << 12U) - 1;
constexpr uint32_t kMaxDeviceMinor = (1U << 20U) - 1;
constexpr size_t kMaxXattrNameBytes = 255;  // XATTR_NAME_MAX.
constexpr uint32_t kNanosecondsPerSecond = 1'000'000'000;
constexpr uint32_t kUnreached = std::numeric_limits<uint32_t>::max();

bool HasNul(std::string_view text) { return text.find('\0') != std::string_view::npos; }

class TreeValidator {
 public:
  explicit TreeValidator(const LayerIndexData& data) : data_(data) {}

  Result<void> Run();

 private:
  [[nodiscard]] std::string_view Str(StringRef ref) const {
    return std::string_view(data_.strings).substr(ref.offset, ref.length);
  }
  [[nodiscard]] bool IsDirectory(uint32_t inode) const { return S_ISDIR(data_.inodes[inode].mode); }

  Result<void> CheckCounts() const;
  Result<void> CheckInode(uint32_t number);
  Result<void> CheckMode(const Inode& inode, uint32_t number) const;
  Result<void> CheckSize(const Inode& inode, uint32_t number) const;
  Result<void> CheckSegments(const Inode& inode, uint32_t number) const;
  Result<void> CheckXattrs(const Inode& inode, uint32_t number) const;
  Result<void> CheckName(const Dirent& dirent, uint32_t directory) const;
  Result<void> CheckDirents(const Inode& inode, uint32_t number);
  Result<void> CheckReachable() const;

  const LayerIndexData& data_;
  // What the inodes together have of the arrays: shared ranges would make the work quadratic.
  uint64_t segments_ = 0;
  uint64_t xattrs_ = 0;
  uint64_t dirents_ = 0;
  std::vector<uint32_t> parents_;  // Of directories; kUnreached: none yet.
};

Result<void> TreeValidator::CheckCounts() const {
  if (data_.inodes.empty() || !IsDirectory(0)) {
    return DataLoss("index: no root directory");
  }
  if (data_.inodes.size() > kMaxInodes || data_.dirents.size() > kMaxInodes) {
    return DataLoss("index: {} inodes and {} dirents, at most {}", data_.inodes.size(),
                    data_.dirents.size(), kMaxInodes);
  }
  constexpr size_t kLimit = std::numeric_limits<uint32_t>::max();
  if (data_.segments.size() > kLimit || data_.xattrs.size() > kLimit ||
      data_.strings.size() > kLimit) {
    return DataLoss("index: too many segments, xattrs or strings");
  }
  return Ok();
}

Result<void> TreeValidator::CheckMode(const Inode& inode, uint32_t number) const {
  const bool device = S_ISCHR(inode.mode) || S_ISBLK(inode.mode);
  const bool known = device || S_ISREG(inode.mode) || S_ISDIR(inode.mode) || S_ISLNK(inode.mode) ||
                     S_ISFIFO(inode.mode) || S_ISSOCK(inode.mode);
  if (!known || (inode.mode & ~uint32_t{S_IFMT | 07777}) != 0) {
    return DataLoss("index: inode {} has mode {:o}", number, inode.mode);
  }
  const uint8_t flags = S_ISDIR(inode.mode) ? kInodeImplied | kInodeOpaque : 0;
  if ((inode.flags & ~flags) != 0) {
    return DataLoss("index: inode {} has flags {:x}", number, inode.flags);
  }
  if (inode.rdev_major > (device ? kMaxDeviceMajor : 0) ||
      inode.rdev_minor > (device ? kMaxDeviceMinor : 0)) {
    return DataLoss("index: inode {} has device number {}:{}", number, inode.rdev_major,
                    inode.rdev_minor);
  }
  if (inode.mtime_nanoseconds >= kNanosecondsPerSecond) {
    return DataLoss("index: inode {} has {} nanoseconds", number, inode.mtime_nanoseconds);
  }
  return Ok();
}

Result<void> TreeValidator::CheckSize(const Inode& inode, uint32_t number) const {
  if (S_ISLNK(inode.mode)) {
    if (!InPool(inode.target, data_) || inode.target.length == 0 ||
        inode.target.length > kMaxTargetBytes || HasNul(Str(inode.target))) {
      return DataLoss("index: inode {} has a bad symlink target", number);
    }
    if (inode.size_bytes != inode.target.length) {
      return DataLoss("index: symlink {} has {} bytes and a target of {}", number, inode.size_bytes,
                      inode.target.length);
    }
    return Ok();
  }
  if (inode.target.length != 0 || !InPool(inode.target, data_)) {
    return DataLoss("index: inode {} is no symlink and has a target", number);
  }
  if (inode.size_bytes > (S_ISREG(inode.mode) ? kMaxFileBytes : 0)) {
    return DataLoss("index: inode {} has {} bytes", number, inode.size_bytes);
  }
  return Ok();
}

Result<void> TreeValidator::CheckSegments(const Inode& inode, uint32_t number) const {
  if (!InArray(inode.first_segment, inode.segment_count, data_.segments.size()) ||
      (inode.segment_count != 0 && !S_ISREG(inode.mode))) {
    return DataLoss("index: inode {} has bad segments", number);
  }
  uint64_t previous_end = 0;
  for (uint32_t i = 0; i < inode.segment_count; ++i) {
    const Segment& segment = data_.segments[inode.first_segment + i];
    const ByteRange file{segment.file_offset, segment.length};
    if (file.empty() || !file.IsValid() || file.end() > inode.size_bytes ||
        file.offset < previous_end || file.offset % kBlockBytes != 0) {
      return DataLoss("index: segment {} of inode {} is {}+{} of {}", i, number, file.offset,
                      file.length, inode.size_bytes);
    }
    previous_end = file.end();
    const bool last = i + 1 == inode.segment_count;
    if (!last && file.length % kBlockBytes != 0) {
      return DataLoss("index: segment {} of inode {} ends inside a block", i, number);
    }
    const ByteRange device{segment.device_offset, segment.length};
    if (segment.blob >= data_.blobs.size() || device.offset % kBlockBytes != 0 ||
        !device.IsValid() || device.end() > data_.blobs[segment.blob].device_size_bytes) {
      return DataLoss("index: segment {} of inode {} is {}+{} of the device of blob {}", i, number,
                      device.offset, device.length, segment.blob);
    }
  }
  return Ok();
}

Result<void> TreeValidator::CheckXattrs(const Inode& inode, uint32_t number) const {
  if (!InArray(inode.first_xattr, inode.xattr_count, data_.xattrs.size())) {
    return DataLoss("index: inode {} has bad xattrs", number);
  }
  std::string_view previous;
  for (uint32_t i = 0; i < inode.xattr_count; ++i) {
    const Xattr& xattr = data_.xattrs[inode.first_xattr + i];
    if (!InPool(xattr.name, data_) || xattr.name.length == 0 ||
        xattr.name.length > kMaxXattrNameBytes || HasNul(Str(xattr.name))) {
      return DataLoss("index: xattr {} of inode {} has a bad name", i, number);
    }
    if (!InPool(xattr.value, data_) || xattr.value.length > kMaxXattrValueBytes) {
      return DataLoss("index: xattr {} of inode {} has a bad value", i, number);
    }
    if (i > 0 && Str(xattr.name) <= previous) {
      return DataLoss("index: xattr {} of inode {} is out of order", i, number);
    }
    previous = Str(xattr.name);
  }
  return Ok();
}

Result<void> TreeValidator::CheckName(const Dirent& dirent, uint32_t directory) const {
  if (!InPool(dirent.name, data_) || dirent.name.length == 0 ||
      dirent.name.length > kMaxNameBytes) {
    return DataLoss("index: a name in directory {} has {} bytes", directory, dirent.name.length);
  }
  const std::string_view name = Str(dirent.name);
  if (HasNul(name) || name.find('/') != std::string_view::npos || name == "." || name == "..") {
    return DataLoss("index: a name in directory {} cannot be one", directory);
  }
  return Ok();
}

Result<void> TreeValidator::CheckDirents(const Inode& inode, uint32_t number) {
  if (!InArray(inode.first_dirent, inode.dirent_count, data_.dirents.size()) ||
      (inode.dirent_count != 0 && !S_ISDIR(inode.mode))) {
    return DataLoss("index: inode {} has bad dirents", number);
  }
  std::string_view previous;
  for (uint32_t i = 0; i < inode.dirent_count; ++i) {
    const Dirent& dirent = data_.dirents[inode.first_dirent + i];
    FLOE_RETURN_IF_ERROR(CheckName(dirent, number));
    if (i > 0 && Str(dirent.name) <= previous) {
      return DataLoss("index: name {} of directory {} is out of order", i, number);
    }
    previous = Str(dirent.name);
    if (dirent.inode == kWhiteoutInode) {
      continue;
    }
    if (dirent.inode >= data_.inodes.size()) {
      return DataLoss("index: name {} of directory {} is of inode {}", i, number, dirent.inode);
    }
    if (IsDirectory(dirent.inode)) {
      if (dirent.inode == 0 || parents_[dirent.inode] != kUnreached) {
        return DataLoss("index: directory {} has two names", dirent.inode);
      }
      parents_[dirent.inode] = number;
    }
  }
  return Ok();
}

// With one parent each, the directories that the root does not reach form cycles.
Result<void> TreeValidator::CheckReachable() const {
  std::vector<uint32_t> depth(data_.inodes.size(), kUnreached);
  depth[0] = 0;
  std::vector<uint32_t> path;
  for (uint32_t i = 0; i < data_.inodes.size(); ++i) {
    if (!IsDirectory(i)) {
      continue;
    }
    uint32_t at = i;
    for (; depth[at] == kUnreached; at = parents_[at]) {
      if (parents_[at] == kUnreached || path.size() > kMaxTreeDepth) {
        return DataLoss("index: directory {} is not reached from the root, or too deep", i);
      }
      path.push_back(at);
    }
    if (depth[at] + path.size() > kMaxTreeDepth) {
      return DataLoss("index: directory {} is deeper than {}", i, kMaxTreeDepth);
    }
    for (uint32_t below = depth[at]; !path.empty(); path.pop_back()) {
      depth[path.back()] = ++below;
    }
  }
  return Ok();
}

Result<void> TreeValidator::CheckInode(uint32_t number) {
  const Inode& inode = data_.inodes[number];
  segments_ += inode.segment_count;
  xattrs_ += inode.xattr_count;
  dirents_ += inode.dirent_count;
  if (segments_ > data_.segments.size() || xattrs_ > data_.xattrs.size() ||
      dirents_ > data_.dirents.size()) {
    return DataLoss("index: inode {} shares segments, xattrs or dirents", number);
  }
  FLOE_RETURN_IF_ERROR(CheckMode(inode, number));
  FLOE_RETURN_IF_ERROR(CheckSize(inode, number));
  FLOE_RETURN_IF_ERROR(CheckSegments(inode, number));
  FLOE_RETURN_IF_ERROR(CheckXattrs(inode, number));
  return CheckDirents(inode, number);
}

Result<void> TreeValidator::Run() {
  FLOE_RETURN_IF_ERROR(CheckCounts());
  parents_.assign(data_.inodes.size(), kUnreached);
  for (uint32_t i = 0; i < data_.inodes.size(); ++i) {
    FLOE_RETURN_IF_ERROR(CheckInode(i));
  }
  return CheckReachable();
}

}  // namespace

Result<void> ValidateTree(const LayerIndexData& data) { return TreeValidator(data).Run(); }

}  // namespace floe::image
