#include "erofs/merge.h"

#include <sys/stat.h>

#include <algorithm>

namespace floe::erofs {
namespace {

constexpr uint32_t kImpliedMode = S_IFDIR | 0755;

/// A directory of one layer that takes part in a merged directory.
struct Participant {
  uint32_t layer = 0;
  uint32_t inode = 0;
};

/// A merged directory whose names are still to be merged. Its participants, top layer first:
///
///     [first, first + visible)        their names are in the merged directory
///     [first + visible, first + count) hidden by an opaque directory above them: no name of theirs
///                                     shows, but an implied directory still takes its metadata
///                                     from them (containerd looks into each layer's own tree,
///                                     where opaque means nothing)
struct PendingDirectory {
  uint32_t node = 0;
  uint32_t first = 0;
  uint32_t visible = 0;
  uint32_t count = 0;
  bool content_ends = false;   ///< Nothing below the run shows in it.
  bool metadata_ends = false;  ///< Nothing below the run lends metadata to what is in it.
  uint32_t depth = 0;
};

/// The names of one participant that are not merged yet.
struct Cursor {
  std::string_view name;
  const image::Dirent* next = nullptr;
  const image::Dirent* end = nullptr;
  uint32_t participant = 0;  ///< From PendingDirectory::first on.
};

/// One participant's entry of the name being merged.
struct Candidate {
  const image::Dirent* dirent = nullptr;
  uint32_t participant = 0;
};

/// For the heap functions of <algorithm>, which keep the greatest in front: smallest name first,
/// of equal names the topmost layer's.
bool ComesLater(const Cursor& a, const Cursor& b) {
  const int order = a.name.compare(b.name);
  return order != 0 ? order > 0 : a.participant > b.participant;
}

class Merger {
 public:
  Merger(std::span<const MergeLayer> layers, WhiteoutForm whiteouts) : whiteouts_(whiteouts) {
    tree_.layers = layers;
  }

  Result<MergedTree> Run() {
    FLOE_RETURN_IF_ERROR(Prepare());
    AddRoot();
    for (size_t next = 0; next < pending_.size(); ++next) {
      const PendingDirectory directory = pending_[next];
      if (directory.depth > image::kMaxTreeDepth) {
        return InvalidArgument("merged tree is deeper than {} directories", image::kMaxTreeDepth);
      }
      Expand(directory);
    }
    return std::move(tree_);
  }

 private:
  [[nodiscard]] const image::LayerIndex& index(uint32_t layer) const {
    return *tree_.layers[layer].index;
  }

  Result<void> Prepare() {
    if (tree_.layers.empty()) {
      return InvalidArgument("no layers to merge");
    }
    uint64_t inodes = 0;
    uint64_t dirents = 0;
    for (const MergeLayer& layer : tree_.layers) {
      first_inode_.push_back(inodes);
      inodes += layer.index->data().inodes.size();
      dirents += layer.index->data().dirents.size();
    }
    if (inodes >= kNoNode || dirents >= kNoNode) {
      return InvalidArgument("layers hold {} inodes and {} names together, too many to merge",
                             inodes, dirents);
    }
    node_of_inode_.assign(inodes, kNoNode);
    tree_.entries.reserve(dirents);
    tree_.nodes.reserve(inodes + 1);
    return Ok();
  }

  /// The roots of all layers take part: overlayfs merges the roots of its layers whatever their
  /// opaque attribute says.
  void AddRoot() {
    PendingDirectory root;
    for (auto layer = static_cast<uint32_t>(tree_.layers.size()); layer-- > 0;) {
      participants_.push_back({layer, 0});
      ++root.count;
    }
    root.visible = root.count;
    root.content_ends = root.metadata_ends = whiteouts_ == WhiteoutForm::kApply;
    AddDirectoryNode(root, 0, kNoNode);
  }

  void Expand(const PendingDirectory& directory) {
    const auto first_entry = static_cast<uint32_t>(tree_.entries.size());
    if (directory.count == 1) {
      ExpandSingle(directory);
    } else {
      ExpandMerged(directory);
    }
    MergedNode& node = tree_.nodes[directory.node];
    node.first_entry = first_entry;
    node.entry_count = static_cast<uint32_t>(tree_.entries.size()) - first_entry;
  }

  void ExpandSingle(const PendingDirectory& directory) {
    const Participant only = participants_[directory.first];
    const image::LayerIndex& layer = index(only.layer);
    for (const image::Dirent& dirent : layer.children(layer.data().inodes[only.inode])) {
      candidates_.assign(1, {&dirent, 0});
      AddName(directory, layer.str(dirent.name));
    }
  }

  void ExpandMerged(const PendingDirectory& directory) {
    cursors_.clear();
    for (uint32_t i = 0; i < directory.count; ++i) {
      const Participant& participant = participants_[directory.first + i];
      const image::LayerIndex& layer = index(participant.layer);
      const auto children = layer.children(layer.data().inodes[participant.inode]);
      if (!children.empty()) {
        cursors_.push_back({layer.str(children.front().name), children.data(),
                            children.data() + children.size(), i});
      }
    }
    std::make_heap(cursors_.begin(), cursors_.end(), ComesLater);
    while (!cursors_.empty()) {
      const std::string_view name = cursors_.front().name;
      candidates_.clear();
      while (!cursors_.empty() && cursors_.front().name == name) {
        candidates_.push_back({cursors_.front().next, cursors_.front().participant});
        AdvanceFront(directory);
      }
      AddName(directory, name);
    }
  }

  void AdvanceFront(const PendingDirectory& directory) {
    std::pop_heap(cursors_.begin(), cursors_.end(), ComesLater);
    Cursor& cursor = cursors_.back();
    if (++cursor.next == cursor.end) {
      cursors_.pop_back();
      return;
    }
    const Participant& participant = participants_[directory.first + cursor.participant];
    cursor.name = index(participant.layer).str(cursor.next->name);
    std::push_heap(cursors_.begin(), cursors_.end(), ComesLater);
  }

  [[nodiscard]] bool IsDirectory(uint32_t layer, uint32_t inode) const {
    return inode != image::kWhiteoutInode && S_ISDIR(index(layer).data().inodes[inode].mode);
  }

  /// overlayfs takes every 0/0 character device for a whiteout, so layers may hold them as such.
  [[nodiscard]] bool IsWhiteout(uint32_t layer, uint32_t inode) const {
    if (inode == image::kWhiteoutInode) {
      return true;
    }
    const image::Inode& source = index(layer).data().inodes[inode];
    return S_ISCHR(source.mode) && source.rdev_major == 0 && source.rdev_minor == 0;
  }

  /// Decides what `candidates_`, top layer first, make of one name.
  void AddName(const PendingDirectory& parent, std::string_view name) {
    const Candidate& top = candidates_.front();
    if (top.participant >= parent.visible) {
      return;
    }
    const uint32_t layer = participants_[parent.first + top.participant].layer;
    if (IsWhiteout(layer, top.dirent->inode)) {
      AddWhiteout(parent, name);
    } else if (IsDirectory(layer, top.dirent->inode)) {
      AddDirectory(parent, name);
    } else {
      AddFile(layer, top.dirent->inode, name);
    }
  }

  void AddWhiteout(const PendingDirectory& parent, std::string_view name) {
    if (parent.content_ends) {
      return;
    }
    if (whiteout_node_ == kNoNode) {
      whiteout_node_ = AddNode({.kind = NodeKind::kWhiteout});
    }
    ++tree_.nodes[whiteout_node_].nlink;
    tree_.nodes[parent.node].holds_whiteouts = true;
    tree_.entries.push_back({name, whiteout_node_});
  }

  void AddFile(uint32_t layer, uint32_t inode, std::string_view name) {
    uint32_t& node = node_of_inode_[first_inode_[layer] + inode];
    if (node == kNoNode) {
      node = AddNode({.layer = layer, .inode = inode});
    }
    ++tree_.nodes[node].nlink;
    tree_.entries.push_back({name, node});
  }

  /// A directory goes down through the layers until one has something else under its name.
  void AddDirectory(const PendingDirectory& parent, std::string_view name) {
    PendingDirectory directory;
    directory.first = static_cast<uint32_t>(participants_.size());
    directory.content_ends = parent.content_ends;
    directory.metadata_ends = parent.metadata_ends;
    directory.depth = parent.depth + 1;
    bool hidden = false;
    for (const Candidate& candidate : candidates_) {
      hidden = hidden || candidate.participant >= parent.visible;
      const uint32_t layer = participants_[parent.first + candidate.participant].layer;
      const uint32_t inode = candidate.dirent->inode;
      if (!IsDirectory(layer, inode)) {
        directory.content_ends = directory.metadata_ends = true;
        break;
      }
      participants_.push_back({layer, inode});
      ++directory.count;
      directory.visible += hidden ? 0 : 1;
      hidden = hidden || (index(layer).data().inodes[inode].flags & image::kInodeOpaque) != 0;
    }
    directory.content_ends = directory.content_ends || hidden;
    AddDirectoryNode(directory, parent.node, static_cast<uint32_t>(tree_.entries.size()));
    tree_.entries.push_back({name, pending_.back().node});
    ++tree_.nodes[parent.node].nlink;
    tree_.nodes[pending_.back().node].opaque = directory.content_ends && !parent.content_ends;
  }

  /// `directory.node` is set here.
  void AddDirectoryNode(PendingDirectory directory, uint32_t parent, uint32_t name_entry) {
    MergedNode node = MetadataOf(directory);
    node.directory = true;
    node.nlink = 2;
    node.parent = parent;
    node.name_entry = name_entry;
    directory.node = AddNode(node);
    // The root's metadata never comes from below: containerd makes each layer's root 0755.
    if (node.kind == NodeKind::kImpliedDirectory && !directory.metadata_ends &&
        name_entry != kNoNode) {
      tree_.unresolved_implied.push_back(directory.node);
    }
    pending_.push_back(directory);
  }

  /// The topmost directory that an archive holds decides; hidden ones count (PendingDirectory).
  [[nodiscard]] MergedNode MetadataOf(const PendingDirectory& directory) const {
    for (uint32_t i = 0; i < directory.count; ++i) {
      const Participant& participant = participants_[directory.first + i];
      const image::Inode& inode = index(participant.layer).data().inodes[participant.inode];
      if ((inode.flags & image::kInodeImplied) == 0) {
        return {.layer = participant.layer, .inode = participant.inode};
      }
    }
    const Participant& top = participants_[directory.first];
    return {.layer = top.layer, .inode = top.inode, .kind = NodeKind::kImpliedDirectory};
  }

  uint32_t AddNode(const MergedNode& node) {
    tree_.nodes.push_back(node);
    return static_cast<uint32_t>(tree_.nodes.size() - 1);
  }

  const WhiteoutForm whiteouts_;
  MergedTree tree_;
  std::vector<uint64_t> first_inode_;    ///< Of each layer, in node_of_inode_.
  std::vector<uint32_t> node_of_inode_;  ///< Non-directories: hard links find their node here.
  std::vector<Participant> participants_;
  std::vector<PendingDirectory> pending_;
  uint32_t whiteout_node_ = kNoNode;
  // Scratch of one directory and of one name.
  std::vector<Cursor> cursors_;
  std::vector<Candidate> candidates_;
};

}  // namespace

uint32_t MergedTree::mode(const MergedNode& node) const {
  switch (node.kind) {
    case NodeKind::kInode:
      return inode(node).mode;
    case NodeKind::kImpliedDirectory:
      return kImpliedMode;
    case NodeKind::kWhiteout:
      return S_IFCHR;
  }
  return 0;
}

std::string MergedTree::PathOf(uint32_t directory) const {
  std::vector<std::string_view> names;
  for (uint32_t node = directory; nodes[node].name_entry != kNoNode; node = nodes[node].parent) {
    names.push_back(entries[nodes[node].name_entry].name);
  }
  std::string path;
  for (auto name = names.rbegin(); name != names.rend(); ++name) {
    path.append(path.empty() ? "" : "/").append(*name);
  }
  return path.empty() ? "." : path;
}

Result<MergedTree> MergeLayers(std::span<const MergeLayer> bottom_to_top, WhiteoutForm whiteouts) {
  return Merger(bottom_to_top, whiteouts).Run();
}

}  // namespace floe::erofs
