#include "image/layer_builder.h"

#include <sys/stat.h>

#include <limits>
#include <string_view>
#include <utility>

#include "base/quote.h"

namespace floe::image {
namespace {

constexpr std::string_view kWhiteoutPrefix = ".wh.";
constexpr std::string_view kOpaqueMarker = ".wh..wh..opq";
constexpr size_t kMaxPathBytes = 4096;  // PATH_MAX: nobody could unpack more.
constexpr uint32_t kPermissionMask = 07777;
/// Linux device numbers: 12 and 20 bits.
constexpr int64_t kMaxDevMajor = 0xFFF;
constexpr int64_t kMaxDevMinor = 0xFFFFF;
/// The last time that fits into 64 bits of nanoseconds; containerd takes no later one.
constexpr int64_t kMaxMtimeSeconds = 9223372036;
constexpr uint32_t kMaxMtimeNanoseconds = 854775807;
constexpr size_t kMaxXattrNameBytes = 255;
constexpr std::string_view kCapability = "security.capability";

Result<PathParts> CheckPath(std::string_view name) {
  if (name.empty() || name.size() > kMaxPathBytes || name.find('\0') != std::string_view::npos) {
    return InvalidArgument("not a valid name ({} bytes)", name.size());
  }
  PathParts parts = CleanPath(name);
  if (!parts.empty() && parts.front() == "..") {
    return InvalidArgument("path traversal: the name leaves the layer's root");
  }
  return parts;
}

/// lchown(2) takes 32 bits; (uid_t)-1 leaves the owner as it is.
Result<uint32_t> OwnerId(int64_t id, uint32_t current) {
  if (id < std::numeric_limits<int32_t>::min() || id > std::numeric_limits<uint32_t>::max()) {
    return InvalidArgument("owner {} is out of range", id);
  }
  const auto value = static_cast<uint32_t>(id);
  return value == std::numeric_limits<uint32_t>::max() ? current : value;
}

/// Whether the kernel lets root set the attribute on an inode of this kind.
bool CanSetXattr(std::string_view name, uint32_t mode) {
  if (name.starts_with("user.")) {
    return S_ISREG(mode) || S_ISDIR(mode);
  }
  if (name == "system.posix_acl_access") {
    return !S_ISLNK(mode);
  }
  if (name == "system.posix_acl_default") {
    return S_ISDIR(mode);
  }
  return name.starts_with("security.");
}

}  // namespace

Result<void> LayerBuilder::OnEntry(const TarEntry& entry) {
  if (Result<void> result = Apply(entry); !result.has_value()) {
    return WithContext(std::move(result).error(), Quote(entry.name));
  }
  return Ok();
}

Result<void> LayerBuilder::Apply(const TarEntry& entry) {
  FLOE_ASSIGN_OR_RETURN(PathParts parts, CheckPath(entry.name));
  if (parts.empty()) {
    return Ok();
  }
  Place place{.name = std::move(parts.back())};
  parts.pop_back();
  FLOE_ASSIGN_OR_RETURN(place.directory, tree_.MakeDirectories(parts));
  if (place.name == kOpaqueMarker) {
    tree_.node(place.directory).inode.flags |= kInodeOpaque;
    return Ok();
  }
  if (place.name.starts_with(kWhiteoutPrefix)) {
    place.name.erase(0, kWhiteoutPrefix.size());
    return AddWhiteout(place);
  }
  if (const NodeId* existing = tree_.Find(place);
      existing != nullptr && !(entry.type == '5' && tree_.IsDirectory(*existing))) {
    tree_.Remove(place);
  }
  switch (entry.type) {
    case '0':
      return AddRegular(place, entry);
    case '1':
      return AddHardLink(place, entry);
    case '2':
      return AddSymlink(place, entry);
    case '3':
    case '4':
      return AddDevice(place, entry);
    case '5':
      return AddDirectory(place, entry);
    case '6':
      return AddNode(place, entry);
    case 'g':
      return Ok();
    default:
      return InvalidArgument("unhandled tar header type {}", static_cast<int>(entry.type));
  }
}

Result<void> LayerBuilder::AddWhiteout(const Place& place) {
  if (place.name.empty() || place.name == "." || place.name == "..") {
    return InvalidArgument("invalid whiteout name");
  }
  const NodeId* existing = tree_.Find(place);
  if (existing == nullptr) {
    return tree_.Link(place, LayerTree::kWhiteout);
  }
  if (tree_.IsDirectory(*existing)) {
    tree_.node(*existing).inode.flags |= kInodeOpaque;
  }
  return Ok();
}

Result<void> LayerBuilder::AddHardLink(const Place& place, const TarEntry& entry) {
  if (entry.link_name.size() > kMaxPathBytes) {
    return InvalidArgument("a link target of {} bytes", entry.link_name.size());
  }
  PathParts parts = CleanPath("/" + entry.link_name);
  if (parts.empty()) {
    return InvalidArgument("hard link to the root");
  }
  Place target{.name = std::move(parts.back())};
  parts.pop_back();
  FLOE_ASSIGN_OR_RETURN(target.directory, tree_.FindDirectory(parts));
  const NodeId* found = tree_.Find(target);
  if (found == nullptr) {
    return InvalidArgument("hard link to {}, which is not in this layer", Quote(entry.link_name));
  }
  const NodeId id = *found;
  if (tree_.IsDirectory(id)) {
    return InvalidArgument("hard link to {}, a directory", Quote(entry.link_name));
  }
  FLOE_RETURN_IF_ERROR(tree_.Link(place, id));
  if (id == LayerTree::kWhiteout) {
    return Ok();
  }
  tree_.node(id).xattrs.erase(std::string(kCapability));  // chown(2) takes it away.
  return SetMetadata(id, entry);
}

Result<void> LayerBuilder::AddSymlink(const Place& place, const TarEntry& entry) {
  const std::string& target = entry.link_name;
  if (target.empty() || target.size() > kMaxTargetBytes || target.find('\0') != target.npos) {
    return InvalidArgument("not a valid symlink target ({} bytes)", target.size());
  }
  FLOE_ASSIGN_OR_RETURN(const NodeId id, tree_.Create(place, S_IFLNK | 0777U));
  tree_.node(id).target = target;
  tree_.node(id).inode.size_bytes = target.size();
  return SetMetadata(id, entry);
}

Result<void> LayerBuilder::AddRegular(const Place& place, const TarEntry& entry) {
  if (fragments_.size() + entry.data.size() > std::numeric_limits<uint32_t>::max()) {
    return InvalidArgument("too many pieces of sparse files");
  }
  FLOE_ASSIGN_OR_RETURN(const NodeId id, tree_.Create(place, S_IFREG));
  LayerTree::Node& node = tree_.node(id);
  node.inode.size_bytes = entry.size_bytes;
  node.first_fragment = static_cast<uint32_t>(fragments_.size());
  node.fragment_count = static_cast<uint32_t>(entry.data.size());
  fragments_.insert(fragments_.end(), entry.data.begin(), entry.data.end());
  return SetMetadata(id, entry);
}

Result<void> LayerBuilder::AddDirectory(const Place& place, const TarEntry& entry) {
  if (const NodeId* existing = tree_.Find(place); existing != nullptr) {
    tree_.node(*existing).inode.flags &= static_cast<uint8_t>(~kInodeImplied);
    return SetMetadata(*existing, entry);
  }
  FLOE_ASSIGN_OR_RETURN(const NodeId id, tree_.Create(place, S_IFDIR));
  return SetMetadata(id, entry);
}

Result<void> LayerBuilder::AddDevice(const Place& place, const TarEntry& entry) {
  if (entry.dev_major < 0 || entry.dev_major > kMaxDevMajor || entry.dev_minor < 0 ||
      entry.dev_minor > kMaxDevMinor) {
    return InvalidArgument("device number {}:{} is out of range", entry.dev_major, entry.dev_minor);
  }
  if (entry.type == '3' && entry.dev_major == 0 && entry.dev_minor == 0) {
    return tree_.Link(place, LayerTree::kWhiteout);
  }
  return AddNode(place, entry);
}

Result<void> LayerBuilder::AddNode(const Place& place, const TarEntry& entry) {
  const uint32_t type = entry.type == '3' ? S_IFCHR : entry.type == '4' ? S_IFBLK : S_IFIFO;
  FLOE_ASSIGN_OR_RETURN(const NodeId id, tree_.Create(place, type));
  if (type != S_IFIFO) {
    tree_.node(id).inode.rdev_major = static_cast<uint32_t>(entry.dev_major);
    tree_.node(id).inode.rdev_minor = static_cast<uint32_t>(entry.dev_minor);
  }
  return SetMetadata(id, entry);
}

Result<void> LayerBuilder::SetMetadata(NodeId id, const TarEntry& entry) {
  LayerTree::Node& node = tree_.node(id);
  Inode& inode = node.inode;
  FLOE_ASSIGN_OR_RETURN(inode.uid, OwnerId(entry.uid, inode.uid));
  FLOE_ASSIGN_OR_RETURN(inode.gid, OwnerId(entry.gid, inode.gid));
  if (!S_ISLNK(inode.mode)) {
    inode.mode = (inode.mode & S_IFMT) | (static_cast<uint32_t>(entry.mode) & kPermissionMask);
  }
  const bool late =
      entry.mtime_seconds > kMaxMtimeSeconds ||
      (entry.mtime_seconds == kMaxMtimeSeconds && entry.mtime_nanoseconds > kMaxMtimeNanoseconds);
  const bool in_range = entry.mtime_seconds >= 0 && !late;
  inode.mtime_seconds = in_range ? entry.mtime_seconds : 0;
  inode.mtime_nanoseconds = in_range ? entry.mtime_nanoseconds : 0;
  return SetXattrs(node, entry);
}

Result<void> LayerBuilder::SetXattrs(LayerTree::Node& node, const TarEntry& entry) {
  for (const auto& [name, value] : entry.xattrs) {
    if (!CanSetXattr(name, node.inode.mode)) {
      continue;
    }
    if (name.size() > kMaxXattrNameBytes || name == "user." || name == "security." ||
        value.size() > kMaxXattrValueBytes) {
      return InvalidArgument("extended attribute {} of {} bytes is not valid", Quote(name),
                             value.size());
    }
    node.xattrs.insert_or_assign(name, value);
  }
  return Ok();
}

}  // namespace floe::image
