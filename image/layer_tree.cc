#include "image/layer_tree.h"

#include <sys/stat.h>

#include <algorithm>
#include <iterator>

#include "base/check.h"
#include "base/quote.h"

namespace floe::image {
namespace {

constexpr uint32_t kMaxSymlinks = 255;  // As containerd's fs.RootPath.
constexpr uint32_t kImpliedMode = S_IFDIR | 0755U;

/// `base` and then `path`, which may be absolute; folded, and clamped at the root.
PathParts JoinAtRoot(const PathParts& base, std::string_view path) {
  std::string joined = "/";
  if (!path.starts_with('/')) {
    for (const std::string& part : base) {
      joined.append(part).push_back('/');
    }
  }
  return CleanPath(joined.append(path));
}

std::string Join(const PathParts& parts) {
  std::string path;
  for (const std::string& part : parts) {
    path.append(path.empty() ? "" : "/").append(part);
  }
  return path;
}

}  // namespace

PathParts CleanPath(std::string_view path) {
  const bool absolute = path.starts_with('/');
  PathParts parts;
  while (!path.empty()) {
    const size_t slash = path.find('/');
    const std::string_view part = path.substr(0, slash);
    path.remove_prefix(slash == std::string_view::npos ? path.size() : slash + 1);
    if (part.empty() || part == ".") {
      continue;
    }
    const bool is_up = part == "..";
    if (is_up && !parts.empty() && parts.back() != "..") {
      parts.pop_back();
    } else if (!is_up || !absolute) {
      parts.emplace_back(part);
    }
  }
  return parts;
}

LayerTree::LayerTree() {
  Node& root = nodes_.emplace_back();
  root.inode.mode = kImpliedMode;
  root.inode.flags = kInodeImplied;
  root.links = 1;
}

bool LayerTree::IsDirectory(NodeId id) const {
  return id != kWhiteout && S_ISDIR(nodes_[id].inode.mode);
}

const LayerTree::NodeId* LayerTree::Find(const Place& place) const {
  const auto& children = nodes_[place.directory].children;
  const auto found = children.find(place.name);
  return found == children.end() ? nullptr : &found->second;
}

Result<LayerTree::Walk> LayerTree::Resolve(const PathParts& parts) const {
  Walk walk;
  PathParts todo(parts.rbegin(), parts.rend());  // The next part is the last.
  uint32_t symlinks = 0;
  while (!todo.empty()) {
    std::string part = std::move(todo.back());
    todo.pop_back();
    if (!walk.missing.empty()) {
      walk.missing.push_back(std::move(part));
      continue;
    }
    const auto& children = nodes_[walk.directory].children;
    const auto found = children.find(part);
    if (found == children.end()) {
      walk.missing.push_back(std::move(part));
      continue;
    }
    walk.found.push_back(std::move(part));
    const NodeId id = found->second;
    if (IsDirectory(id)) {
      walk.directory = id;
      continue;
    }
    if (id == kWhiteout || !S_ISLNK(nodes_[id].inode.mode)) {
      return InvalidArgument("{}: not a directory", Quote(Join(walk.found)));
    }
    if (++symlinks > kMaxSymlinks) {
      return InvalidArgument("{}: too many symlinks", Quote(Join(walk.found)));
    }
    // Start again at the root with the link's target in its place.
    walk.found.pop_back();
    const PathParts target = JoinAtRoot(walk.found, nodes_[id].target);
    if (target.size() + todo.size() > kMaxTreeDepth) {
      return InvalidArgument("{}: a symlink that leads too deep", Quote(Join(parts)));
    }
    std::copy(target.rbegin(), target.rend(), std::back_inserter(todo));
    walk = {};
  }
  return walk;
}

Result<LayerTree::NodeId> LayerTree::FindDirectory(const PathParts& parts) const {
  FLOE_ASSIGN_OR_RETURN(const Walk walk, Resolve(parts));
  if (!walk.missing.empty()) {
    return InvalidArgument("{}: no such directory in this layer", Quote(Join(parts)));
  }
  return walk.directory;
}

Result<LayerTree::NodeId> LayerTree::MakeDirectories(const PathParts& parts) {
  FLOE_ASSIGN_OR_RETURN(Walk walk, Resolve(parts));
  for (std::string& name : walk.missing) {
    FLOE_ASSIGN_OR_RETURN(walk.directory, Create({walk.directory, std::move(name)}, kImpliedMode));
    nodes_[walk.directory].inode.flags = kInodeImplied;
  }
  return walk.directory;
}

Result<void> LayerTree::AddName(const Place& place, NodeId id) {
  if (place.name.size() > kMaxNameBytes) {
    return InvalidArgument("{}: a name of more than {} bytes", Quote(place.name), kMaxNameBytes);
  }
  if (name_count_ >= kMaxInodes || nodes_.size() >= kMaxInodes) {
    return InvalidArgument("more than {} entries", kMaxInodes);
  }
  const bool is_new = nodes_[place.directory].children.emplace(place.name, id).second;
  FLOE_CHECK(is_new);
  ++name_count_;
  return Ok();
}

Result<LayerTree::NodeId> LayerTree::Create(const Place& place, uint32_t mode) {
  const uint32_t depth = nodes_[place.directory].depth + 1;
  if (S_ISDIR(mode) && depth > kMaxTreeDepth) {
    return InvalidArgument("{}: more than {} directories deep", Quote(place.name), kMaxTreeDepth);
  }
  const auto id = static_cast<NodeId>(nodes_.size());
  FLOE_RETURN_IF_ERROR(AddName(place, id));
  Node& node = nodes_.emplace_back();
  node.inode.mode = mode;
  if (const Inode& parent = nodes_[place.directory].inode; (parent.mode & S_ISGID) != 0) {
    node.inode.gid = parent.gid;
  }
  node.links = 1;
  node.depth = depth;
  return id;
}

Result<void> LayerTree::Link(const Place& place, NodeId id) {
  FLOE_RETURN_IF_ERROR(AddName(place, id));
  if (id != kWhiteout) {
    ++nodes_[id].links;
  }
  return Ok();
}

void LayerTree::Remove(const Place& place) {
  auto& children = nodes_[place.directory].children;
  const auto found = children.find(place.name);
  FLOE_CHECK(found != children.end());
  std::vector<NodeId> dead_directories;
  Unlink(found->second, dead_directories);
  children.erase(found);
  while (!dead_directories.empty()) {
    const NodeId directory = dead_directories.back();
    dead_directories.pop_back();
    for (const auto& [name, child] : std::exchange(nodes_[directory].children, {})) {
      Unlink(child, dead_directories);
    }
  }
}

void LayerTree::Unlink(NodeId id, std::vector<NodeId>& dead_directories) {
  --name_count_;
  if (id == kWhiteout) {
    return;
  }
  Node& node = nodes_[id];
  if (--node.links > 0) {
    return;
  }
  node.target.clear();
  node.xattrs.clear();
  if (S_ISDIR(node.inode.mode)) {
    dead_directories.push_back(id);
  }
}

}  // namespace floe::image
