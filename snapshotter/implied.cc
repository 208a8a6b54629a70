#include "snapshotter/implied.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <memory>
#include <string_view>
#include <utility>

#include "base/file.h"
#include "base/unique_fd.h"

namespace floe::snapshotter {
namespace {

/// A directory below the run.
struct Metadata {
  struct stat status{};
  std::map<std::string, std::string> xattrs;  ///< Sorted, as an index wants them.
};

/// A directory of the tree that is being built.
struct TreeNode {
  std::map<std::string, TreeNode> children;
  std::unique_ptr<Metadata> metadata;  ///< Null: only the parent of one that has.
};

// Overlayfs's own marks are not a directory's metadata.
bool IsCopied(std::string_view xattr) { return !xattr.starts_with("trusted.overlay."); }

Result<std::map<std::string, std::string>> ReadXattrs(int fd, const std::string& path) {
  std::map<std::string, std::string> xattrs;
  std::string names(XATTR_LIST_MAX, '\0');
  const ssize_t length = ::flistxattr(fd, names.data(), names.size());
  if (length < 0) {
    if (errno == ENOTSUP) {
      return xattrs;
    }
    return ErrnoError(errno, "list xattrs of " + path);
  }
  std::string_view rest(names.data(), static_cast<size_t>(length));
  while (!rest.empty()) {
    const std::string name(rest.substr(0, rest.find('\0')));
    rest.remove_prefix(name.size() + 1);
    if (!IsCopied(name)) {
      continue;
    }
    std::string value(XATTR_SIZE_MAX, '\0');
    const ssize_t size = ::fgetxattr(fd, name.c_str(), value.data(), value.size());
    if (size < 0) {
      return ErrnoError(errno, fmt::format("read xattr {} of {}", name, path));
    }
    value.resize(static_cast<size_t>(size));
    xattrs.emplace(name, std::move(value));
  }
  return xattrs;
}

int OpenInRoot(int root, const std::string& path) {
  open_how how{};
  how.flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC;
  how.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;
  return static_cast<int>(::syscall(SYS_openat2, root, path.c_str(), &how, sizeof(how)));
}

// As containerd looks for it: the topmost lower directory that has the path decides. Null: none
// has it as a directory.
Result<std::unique_ptr<Metadata>> FindBelow(const std::string& path,
                                            std::span<const UniqueFd> roots) {
  for (const UniqueFd& root : roots) {
    const UniqueFd directory(OpenInRoot(root.get(), path));
    if (!directory.valid() && errno == ENOENT) {
      continue;
    }
    if (!directory.valid() && (errno == ENOTDIR || errno == ELOOP)) {
      return std::unique_ptr<Metadata>();
    }
    if (!directory.valid()) {
      return ErrnoError(errno, "open lower directory " + path);
    }
    auto found = std::make_unique<Metadata>();
    if (::fstat(directory.get(), &found->status) != 0) {
      return ErrnoError(errno, "stat lower directory " + path);
    }
    FLOE_ASSIGN_OR_RETURN(found->xattrs, ReadXattrs(directory.get(), path));
    return found;
  }
  return std::unique_ptr<Metadata>();
}

TreeNode& NodeAt(TreeNode& root, std::string_view path) {
  TreeNode* node = &root;
  while (!path.empty()) {
    const std::string_view name = path.substr(0, path.find('/'));
    path.remove_prefix(std::min(path.size(), name.size() + 1));
    node = &node->children[std::string(name)];
  }
  return *node;
}

/// Turns the tree into a LayerIndex without blobs.
class IndexBuilder {
 public:
  Result<image::LayerIndex> Build(const TreeNode& root) {
    data_.producer = "floe implied directories";
    data_.inodes.emplace_back();
    Fill(0, root);
    return image::LayerIndex::Create(std::move(data_));
  }

 private:
  // Depth is that of a path of the run, which the writer has bounded.
  void Fill(uint32_t inode, const TreeNode& node) {
    SetMetadata(data_.inodes[inode], node.metadata);
    const auto first_dirent = static_cast<uint32_t>(data_.dirents.size());
    const auto first_child = static_cast<uint32_t>(data_.inodes.size());
    data_.inodes[inode].first_dirent = first_dirent;
    data_.inodes[inode].dirent_count = static_cast<uint32_t>(node.children.size());
    data_.inodes.resize(data_.inodes.size() + node.children.size());
    uint32_t child = first_child;
    for (const auto& [name, below] : node.children) {
      data_.dirents.push_back({.name = Store(name), .inode = child++});
    }
    child = first_child;
    for (const auto& [name, below] : node.children) {
      Fill(child++, below);
    }
  }

  void SetMetadata(image::Inode& inode, const std::unique_ptr<Metadata>& metadata) {
    constexpr uint32_t kDefaultMode = S_IFDIR | 0755;
    if (!metadata) {
      inode.mode = kDefaultMode;
      inode.flags = image::kInodeImplied;
      return;
    }
    const struct stat& status = metadata->status;
    inode.mode = status.st_mode;
    inode.uid = status.st_uid;
    inode.gid = status.st_gid;
    inode.mtime_seconds = status.st_mtim.tv_sec;
    inode.mtime_nanoseconds = static_cast<uint32_t>(status.st_mtim.tv_nsec);
    inode.first_xattr = static_cast<uint32_t>(data_.xattrs.size());
    inode.xattr_count = static_cast<uint32_t>(metadata->xattrs.size());
    for (const auto& [name, value] : metadata->xattrs) {
      data_.xattrs.push_back({.name = Store(name), .value = Store(value)});
    }
  }

  image::StringRef Store(std::string_view text) {
    const image::StringRef ref{static_cast<uint32_t>(data_.strings.size()),
                               static_cast<uint32_t>(text.size())};
    data_.strings += text;
    return ref;
  }

  image::LayerIndexData data_;
};

}  // namespace

Result<std::shared_ptr<const image::LayerIndex>> ReadImpliedDirectories(
    const std::vector<std::string>& paths, std::span<const std::filesystem::path> lowers) {
  std::vector<UniqueFd> roots;
  for (const std::filesystem::path& lower : lowers) {
    FLOE_ASSIGN_OR_RETURN(UniqueFd root, OpenFile(lower, O_PATH | O_DIRECTORY));
    roots.push_back(std::move(root));
  }
  TreeNode tree;
  bool any = false;
  for (const std::string& path : paths) {
    FLOE_ASSIGN_OR_RETURN(std::unique_ptr<Metadata> below, FindBelow(path, roots));
    if (below) {
      NodeAt(tree, path).metadata = std::move(below);
      any = true;
    }
  }
  if (!any) {
    return std::shared_ptr<const image::LayerIndex>();
  }
  FLOE_ASSIGN_OR_RETURN(image::LayerIndex index, IndexBuilder().Build(tree));
  return std::make_shared<const image::LayerIndex>(std::move(index));
}

}  // namespace floe::snapshotter
