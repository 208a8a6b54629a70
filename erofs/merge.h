#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "erofs/writer.h"
#include "image/layer_index.h"

namespace floe::erofs {

inline constexpr uint32_t kNoNode = UINT32_MAX;

/// One name in a merged directory. The name lies in the strings of the layer it came from.
struct MergedEntry {
  std::string_view name;
  uint32_t node = 0;
};

enum class NodeKind : uint8_t {
  kInode,             ///< All metadata is that of {layer, inode}.
  kImpliedDirectory,  ///< No layer holds it: 0755, root, no xattrs.
  kWhiteout,          ///< The one 0/0 character device that every whiteout of the image names.
};

/// An inode of the merged tree.
struct MergedNode {
  uint32_t layer = 0;
  uint32_t inode = 0;
  uint32_t nlink = 0;
  NodeKind kind = NodeKind::kInode;
  bool directory = false;
  bool opaque = false;           ///< Directory that hides what is below the run (kOverlay only).
  bool holds_whiteouts = false;  ///< Directory with whiteouts among its entries (kOverlay only).
  // Directories only.
  uint32_t parent = kNoNode;      ///< The root is its own parent.
  uint32_t name_entry = kNoNode;  ///< The entry that names it; kNoNode for the root.
  uint32_t first_entry = 0;
  uint32_t entry_count = 0;
};

/// The merged tree. Nodes are in breadth-first order, nodes[0] is the root; the entries of a
/// directory are contiguous and sorted by unsigned bytes. Refers to the layers it was made from:
/// they must outlive it.
struct MergedTree {
  std::span<const MergeLayer> layers;
  std::vector<MergedNode> nodes;
  std::vector<MergedEntry> entries;
  /// Nodes of kind kImpliedDirectory whose metadata a directory below the run may hold.
  std::vector<uint32_t> unresolved_implied;

  [[nodiscard]] std::span<const MergedEntry> children(const MergedNode& directory) const {
    return std::span(entries).subspan(directory.first_entry, directory.entry_count);
  }
  /// REQUIRES: the node is not the whiteout.
  [[nodiscard]] const image::Inode& inode(const MergedNode& node) const {
    return layers[node.layer].index->data().inodes[node.inode];
  }
  /// Mode with its type; what the node's kind says when no layer holds it.
  [[nodiscard]] uint32_t mode(const MergedNode& node) const;
  /// "usr/lib"; "." for the root. REQUIRES: a directory.
  [[nodiscard]] std::string PathOf(uint32_t directory) const;
};

/// Merges layers bottom to top. Each layer's LayerIndex is valid by contract (image/layer_index.h).
/// Cost: the dirents of all layers, times the logarithm of the layers that share a directory.
Result<MergedTree> MergeLayers(std::span<const MergeLayer> bottom_to_top, WhiteoutForm whiteouts);

}  // namespace floe::erofs
