#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "image/layer_index.h"

namespace floe::image {

/// "a/b" in parts. Parts are never empty or "."; ".." stands only where it could not be folded.
using PathParts = std::vector<std::string>;

/// Splits at '/', drops empty parts and ".", folds "x/..". A leading ".." stays in a relative path
/// and vanishes in an absolute one (the root's parent is the root).
PathParts CleanPath(std::string_view path);

/// The directory tree of one layer while its archive is applied: what containerd would have in the
/// layer's own upper directory. Inodes are numbered in the order of their creation and never
/// renumbered; one without links is dead. Knows nothing of tar. One thread at a time.
class LayerTree {
 public:
  using NodeId = uint32_t;
  static constexpr NodeId kRoot = 0;
  static constexpr NodeId kWhiteout = kWhiteoutInode;  ///< A name that hides lower layers' entry.

  struct Node {
    Inode inode;  ///< Everything but target, segments, xattrs and dirents.
    std::string target;
    std::map<std::string, std::string, std::less<>> xattrs;
    std::map<std::string, NodeId, std::less<>> children;  ///< Sorted by unsigned bytes.
    uint32_t links = 0;
    uint32_t depth = 0;                               ///< Directories; the root's is 0.
    uint32_t first_fragment = 0, fragment_count = 0;  ///< For the owner's use.
  };

  /// A name in a directory that exists.
  struct Place {
    NodeId directory = kRoot;
    std::string name;
  };

  LayerTree();

  [[nodiscard]] Node& node(NodeId id) { return nodes_[id]; }
  [[nodiscard]] const Node& node(NodeId id) const { return nodes_[id]; }
  [[nodiscard]] NodeId node_count() const { return static_cast<NodeId>(nodes_.size()); }
  [[nodiscard]] bool IsDirectory(NodeId id) const;

  /// The directory that `parts` name, through this layer's symlinks and never above the root;
  /// what is missing is created as implied directories. InvalidArgument: something on the way is
  /// not a directory (a whiteout is none), too many symlinks, a name or depth beyond the limits.
  Result<NodeId> MakeDirectories(const PathParts& parts);
  /// The same, but what is missing is an error.
  [[nodiscard]] Result<NodeId> FindDirectory(const PathParts& parts) const;

  /// The node of a name, kWhiteout, or nullptr when there is no such name.
  [[nodiscard]] const NodeId* Find(const Place& place) const;
  /// A new inode under a new name, which must be free; a set-group-ID directory passes its group
  /// on. InvalidArgument: limits.
  Result<NodeId> Create(const Place& place, uint32_t mode);
  /// One more name for an inode (or a whiteout). The name must be free.
  Result<void> Link(const Place& place, NodeId id);
  /// Takes the name away, with all that is below it.
  void Remove(const Place& place);

 private:
  struct Walk {
    NodeId directory = kRoot;  ///< The deepest directory that exists.
    PathParts found;           ///< The parts that led to it, symlinks resolved.
    PathParts missing;         ///< What does not exist below it.
  };
  [[nodiscard]] Result<Walk> Resolve(const PathParts& parts) const;
  Result<void> AddName(const Place& place, NodeId id);
  void Unlink(NodeId id, std::vector<NodeId>& dead_directories);

  std::vector<Node> nodes_;
  uint64_t name_count_ = 0;
};

}  // namespace floe::image
